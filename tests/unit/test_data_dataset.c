/* The folder layouts: what is read from where, and what is refused. */
#include "test_data_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put_text(const struct bench *bench, const char *name, const char *text)
{
    bench_write(bench, name, text, strlen(text));
}

/* A 2 x 2 x slices volume whose voxels are all `value`. */
static void put_volume(const struct bench *bench, const char *name, int slices, double spacing, float value)
{
    float voxels[64];
    for (int i = 0; i < 64; i++)
        voxels[i] = value;
    mitral_volume volume = {{.size = {2, 2, slices, 1}, .spacing = {spacing, spacing, 8, 0}, .qfac = 1, .units = 2}, voxels};
    bench_write(bench, name, "", 0);
    assert_ok(mitral_volume_write(bench->context, &volume, bench_path(bench, name)));
}

static void put_patient(const struct bench *bench, const char *split, int number, int ed, int es, const char *info)
{
    char name[128];
    const int frames[2] = {ed, es};
    snprintf(name, sizeof name, "%s/patient%03d/Info.cfg", split, number);
    put_text(bench, name, info);
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s/patient%03d/patient%03d_frame%02d.nii.gz", split, number, number, frames[i]);
        put_volume(bench, name, 3, 1.5, (float)(100 * number + frames[i]));
        snprintf(name, sizeof name, "%s/patient%03d/patient%03d_frame%02d_gt.nii.gz", split, number, number, frames[i]);
        put_volume(bench, name, 3, 1.5, (float)(i + 1));
    }
}

static mitral_status open_it(struct bench *bench, mitral_dataset *dataset, const char *split)
{
    return mitral_dataset_open(dataset, bench->context, bench->folder, split);
}

static void test_acdc(void **state)
{
    struct bench *bench = *state;
    /* End-diastole after end-systole: the order of files says nothing. */
    put_patient(bench, "training", 10, 11, 3, "ED: 11\r\nES: 3\r\nGroup: HCM\r\nHeight: 184.0\r\nNbFrame: 30\r\nWeight: 74.0\r\n");
    put_patient(bench, "training", 2, 1, 12, "ED: 1\nES: 12\nGroup:DCM\n\n");
    put_patient(bench, "testing", 101, 1, 9, "ED: 1\nES: 9\n");
    put_text(bench, "training/MANDATORY_CITATION.md", "x");
    put_text(bench, "training/patientX/Info.cfg", "x");
    mitral_dataset dataset;
    assert_ok(open_it(bench, &dataset, "training"));
    assert_int_equal(dataset.count, 4);
    assert_int_equal(dataset.class_count, 4);
    assert_string_equal(dataset.labels[2], "myocardium");
    assert_string_equal(dataset.name, "ACDC layout");
    assert_string_equal(dataset.cases[0].patient, "patient002");
    assert_string_equal(dataset.cases[0].group, "DCM");
    assert_string_equal(dataset.cases[2].patient, "patient010");
    assert_int_equal(dataset.cases[2].phase, MITRAL_PHASE_ED);
    assert_int_equal(dataset.cases[2].frame, 11);
    assert_int_equal(dataset.cases[3].phase, MITRAL_PHASE_ES);
    assert_int_equal(dataset.cases[3].frame, 3);
    assert_int_equal(dataset.cases[3].frame_count, 30);
    assert_true(dataset.cases[3].height_cm == 184 && dataset.cases[3].weight_kg == 74);
    mitral_volume image;
    mitral_labels labels;
    assert_ok(mitral_case_read(&image, &labels, bench->context, &dataset, 2));
    assert_true(image.voxels[0] == 1011 && labels.voxels[0] == 1);
    mitral_volume_free(bench->context, &image);
    mitral_labels_free(bench->context, &labels);
    assert_ok(mitral_case_read(&image, NULL, bench->context, &dataset, 3));
    assert_true(image.voxels[0] == 1003);
    mitral_volume_free(bench->context, &image);
    assert_refused(mitral_case_read(&image, NULL, bench->context, &dataset, 4), MITRAL_INVALID, "below 4");
    mitral_dataset_free(bench->context, &dataset);
    assert_ok(open_it(bench, &dataset, "testing"));
    assert_int_equal(dataset.count, 2);
    mitral_dataset_free(bench->context, &dataset);
    assert_refused(open_it(bench, &dataset, "validation"), MITRAL_INVALID, "'validation'");
}

static void test_acdc_info(void **state)
{
    struct bench *bench = *state;
    static const struct {
        const char *text, *words;
    } bad[] = {{"ES: 12\n", "no ED"},
               {"ED: 1\n", "no ES"},
               {"", "no ED"},
               {"ED 1\nES: 12\n", "'ED 1'"},
               {"ED: one\nES: 12\n", "'one'"},
               {"ED: 0\nES: 12\n", "'0'"},
               {"ED: 1x\nES: 12\n", "'1x'"},
               {"ED: 99999999999999999999\nES: 12\n", "'99999999999999999999'"},
               {"ED: 12\nES: 12\n", "differ"},
               {"ED: 1\nES: 12\nNbFrame: 11\n", "within NbFrame 11"},
               {"ED: 2\nES: 12\n", "frame02"}};
    mitral_dataset dataset;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_patient(bench, "training", 1, 1, 12, bad[i].text);
        assert_refused(open_it(bench, &dataset, "training"), MITRAL_INVALID, bad[i].words);
    }
    put_patient(bench, "training", 1, 1, 12, "\xef\xbb\xbf" "ED: 1\r\nES: 12\r\n"); /* as an editor of Windows leaves it */
    assert_int_equal(open_it(bench, &dataset, "training"), MITRAL_OK);
    mitral_dataset_free(bench->context, &dataset);
    char *large = malloc(70000);
    memset(large, '\n', 70000);
    bench_write(bench, "training/patient001/Info.cfg", large, 70000);
    assert_refused(open_it(bench, &dataset, "training"), MITRAL_LIMIT, "70000");
    free(large);
    bench_write(bench, "training/patient001/Info.cfg", "ED: 1\0", 6);
    assert_refused(open_it(bench, &dataset, "training"), MITRAL_INVALID, "NUL");
    unlink(bench_path(bench, "training/patient001/Info.cfg"));
    assert_refused(open_it(bench, &dataset, "training"), MITRAL_IO, "Info.cfg");
}

static void test_acdc_missing(void **state)
{
    struct bench *bench = *state;
    mitral_dataset dataset;
    mitral_volume image;
    mitral_labels labels;
    assert_refused(open_it(bench, &dataset, "training"), MITRAL_INVALID, "'training'");
    put_text(bench, "training/readme.txt", "");
    assert_refused(open_it(bench, &dataset, "training"), MITRAL_INVALID, "patient001");
    put_patient(bench, "training", 1, 1, 12, "ED: 1\nES: 12\n");
    unlink(bench_path(bench, "training/patient001/patient001_frame12_gt.nii.gz"));
    assert_refused(open_it(bench, &dataset, "training"), MITRAL_INVALID, "one for ED alone");
    /* Without any label map it is a scan to segment, but none to measure. */
    unlink(bench_path(bench, "training/patient001/patient001_frame01_gt.nii.gz"));
    assert_ok(open_it(bench, &dataset, "training"));
    assert_null(dataset.cases[0].label);
    assert_refused(mitral_case_read(&image, &labels, bench->context, &dataset, 0), MITRAL_INVALID, "label map");
    assert_null(image.voxels);
    mitral_dataset_free(bench->context, &dataset);
    unlink(bench_path(bench, "training/patient001/patient001_frame12.nii.gz"));
    assert_refused(open_it(bench, &dataset, "training"), MITRAL_INVALID, "the ES that Info.cfg names");
    assert_refused(mitral_dataset_open(&dataset, bench->context, bench_path(bench, "none"), "training"), MITRAL_IO, "none");
}

static void test_mismatch(void **state)
{
    struct bench *bench = *state;
    mitral_dataset dataset;
    mitral_volume image;
    mitral_labels labels;
    put_patient(bench, "training", 1, 1, 12, "ED: 1\nES: 12\n");
    put_volume(bench, "training/patient001/patient001_frame01_gt.nii.gz", 4, 1.5, 1);
    put_volume(bench, "training/patient001/patient001_frame12_gt.nii.gz", 3, 1.6, 1);
    assert_ok(open_it(bench, &dataset, "training"));
    assert_refused(mitral_case_read(&image, &labels, bench->context, &dataset, 0), MITRAL_INVALID, "2x2x3x1");
    assert_null(image.voxels);
    assert_null(labels.voxels);
    assert_refused(mitral_case_read(&image, &labels, bench->context, &dataset, 1), MITRAL_INVALID, "1.6");
    mitral_dataset_free(bench->context, &dataset);
    put_volume(bench, "training/patient001/patient001_frame01_gt.nii.gz", 3, 1.5, 4);
    assert_ok(open_it(bench, &dataset, "training"));
    assert_refused(mitral_case_read(&image, &labels, bench->context, &dataset, 0), MITRAL_INVALID, "labels 0 to 3, found 4");
    mitral_dataset_free(bench->context, &dataset);
}

static void test_inner_folder_and_plain(void **state)
{
    struct bench *bench = *state;
    mitral_dataset dataset;
    put_patient(bench, "database/training", 1, 1, 12, "ED: 1\nES: 12\n");
    put_volume(bench, "database/training/patient001/patient001_frame01.nii", 3, 1.5, 5);
    unlink(bench_path(bench, "database/training/patient001/patient001_frame01.nii.gz"));
    assert_ok(open_it(bench, &dataset, "training"));
    assert_int_equal(dataset.count, 2);
    mitral_volume image;
    assert_ok(mitral_case_read(&image, NULL, bench->context, &dataset, 0));
    assert_true(image.voxels[0] == 5);
    mitral_volume_free(bench->context, &image);
    mitral_dataset_free(bench->context, &dataset);
}

static void test_described(void **state)
{
    struct bench *bench = *state;
    mitral_dataset dataset;
    put_volume(bench, "scans/a.nii.gz", 3, 1.5, 5);
    put_volume(bench, "scans/a_gt.nii.gz", 3, 1.5, 1);
    put_text(bench, "dataset.json",
             "{\"name\": \"hearts\", \"labels\": [\"background\", \"LV\"], \"training\": [{\"image\": "
             "\"scans/a.nii.gz\", \"label\": \"scans/a_gt.nii.gz\", \"patient\": \"A\", \"phase\": \"ES\", \"group\": \"NOR\"}], "
             "\"testing\": [{\"image\": \"./scans/a.nii.gz\"}]}");
    assert_ok(open_it(bench, &dataset, "training"));
    assert_string_equal(dataset.name, "hearts");
    assert_int_equal(dataset.count, 1);
    assert_int_equal(dataset.class_count, 2);
    assert_string_equal(dataset.labels[1], "LV");
    assert_string_equal(dataset.cases[0].patient, "A");
    assert_string_equal(dataset.cases[0].group, "NOR");
    assert_int_equal(dataset.cases[0].phase, MITRAL_PHASE_ES);
    mitral_volume image;
    mitral_labels labels;
    assert_ok(mitral_case_read(&image, &labels, bench->context, &dataset, 0));
    mitral_volume_free(bench->context, &image);
    mitral_labels_free(bench->context, &labels);
    mitral_dataset_free(bench->context, &dataset);
    assert_ok(open_it(bench, &dataset, "testing"));
    assert_string_equal(dataset.cases[0].patient, "a");
    assert_int_equal(dataset.cases[0].phase, MITRAL_PHASE_OTHER);
    assert_null(dataset.cases[0].label);
    mitral_dataset_free(bench->context, &dataset);
    /* The Medical Segmentation Decathlon's form, and classes by number. */
    put_text(bench, "dataset.json",
             "{\"labels\": {\"1\": \"LV\", \"0\": \"background\"}, \"training\": [], \"test\": [\"scans/a.nii.gz\"]}");
    assert_ok(open_it(bench, &dataset, "testing"));
    assert_string_equal(dataset.labels[1], "LV");
    mitral_dataset_free(bench->context, &dataset);
    put_text(bench, "dataset.json", "{\"labels\": {\"LV\": 1, \"background\": 0}, \"testing\": [\"scans/a.nii.gz\"]}");
    assert_ok(open_it(bench, &dataset, "testing"));
    assert_string_equal(dataset.labels[0], "background");
    mitral_dataset_free(bench->context, &dataset);
}

static void test_described_refused(void **state)
{
    struct bench *bench = *state;
    mitral_dataset dataset;
    put_volume(bench, "a.nii.gz", 3, 1.5, 5);
    static const struct {
        const char *text, *words;
    } bad[] = {{"{", "JSON"},
               {"{\"labels\": [\"a\", \"b\"], \"training\": [\"a.nii.gz\"]} more", "at byte 49"},
               {"{\"labels\": [\"a\", \"b\"], \"training\": [\"a.nii.gz\"]}}", "at byte 48"},
               {"[]", "JSON object"},
               {"{}", "\"labels\""},
               {"{\"labels\": [\"one\"]}", "2 to 32"},
               {"{\"labels\": [\"a\", 3]}", "each class"},
               {"{\"labels\": [\"a\", \"b\", \"b\"]}", "'b' twice"},
               {"{\"labels\": {\"a\": 0, \"b\": 0}}", "each class"},
               {"{\"labels\": {\"a\": 0, \"b\": 1.5}}", "each class"},
               {"{\"labels\": {\"x\": \"a\", \"1\": \"b\"}}", "each class"},
               {"{\"labels\": [\"a\", \"b\"]}", "\"training\""},
               {"{\"labels\": [\"a\", \"b\"], \"training\": [3]}", "\"image\""},
               {"{\"labels\": [\"a\", \"b\"], \"training\": [{\"image\": \"../a.nii.gz\"}]}", "inside the folder"},
               {"{\"labels\": [\"a\", \"b\"], \"training\": [{\"image\": \"x/../../a.nii.gz\"}]}", "inside the folder"},
               {"{\"labels\": [\"a\", \"b\"], \"training\": [{\"image\": \"/etc/passwd\"}]}", "inside the folder"},
               {"{\"labels\": [\"a\", \"b\"], \"training\": [{\"image\": \"\"}]}", "inside the folder"},
               {"{\"labels\": [\"a\", \"b\"], \"training\": [{\"image\": \"b.nii.gz\"}]}", "found none"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_text(bench, "dataset.json", bad[i].text);
        assert_refused(open_it(bench, &dataset, "training"), MITRAL_INVALID, bad[i].words);
    }
    char *deep = malloc(200001);
    memset(deep, '[', 200000);
    deep[200000] = 0;
    put_text(bench, "dataset.json", deep);
    assert_refused(open_it(bench, &dataset, "training"), MITRAL_INVALID, "JSON");
    free(deep);
}

static void test_no_memory(void **state)
{
    struct bench *bench = *state;
    put_patient(bench, "training", 1, 1, 12, "ED: 1\nES: 12\n");
    mitral_preprocessing preprocessing;
    mitral_preprocessing_default(&preprocessing);
    preprocessing.height = preprocessing.width = 8;
    mitral_status status = MITRAL_NO_MEMORY;
    for (long n = 0; status != MITRAL_OK; n++) {
        assert_true(n < 1000);
        mitral_dataset dataset;
        mitral_slices slices = {0};
        bench->left = n;
        status = open_it(bench, &dataset, "training");
        if (status == MITRAL_OK)
            status = mitral_slices_load(&slices, bench->context, &dataset, &preprocessing, 1);
        assert_true(status == MITRAL_OK || status == MITRAL_NO_MEMORY);
        if (status == MITRAL_OK) {
            assert_int_equal(slices.count, 6);
            assert_int_equal(slices.cases[3], 1);
            assert_int_equal(slices.positions[5], 2);
            assert_int_equal(slices.labels[3 * 64 + 4 * 8 + 4], 2);
        }
        bench->left = -1;
        mitral_slices_free(bench->context, &slices);
        mitral_dataset_free(bench->context, &dataset);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_acdc, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_acdc_info, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_acdc_missing, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_mismatch, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_inner_folder_and_plain, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_described, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_described_refused, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
