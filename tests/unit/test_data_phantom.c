/* The phantom's files: layout, repeatability, and hearts that are what their group says. */
#include "test_data_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/phantom.h"

static void assert_same_file(const struct bench *bench, const char *name)
{
    char a[256], b[256];
    size_t size_a, size_b;
    snprintf(a, sizeof a, "%s/a/%s", bench->folder, name);
    snprintf(b, sizeof b, "%s/b/%s", bench->folder, name);
    void *bytes_a = bench_read(a, &size_a), *bytes_b = bench_read(b, &size_b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(bytes_a, bytes_b, size_a);
    free(bytes_a);
    free(bytes_b);
}

static const char *short_path(const struct bench *bench, const char *path)
{
    return path + strlen(bench->folder) + strlen("/a/");
}

static void test_layout_and_repeatability(void **state)
{
    struct bench *bench = *state;
    mitral_phantom_options options = {.patients = 3, .seed = 5, .without_cine = true, .threads = 1};
    assert_ok(mitral_phantom_write(bench->context, bench_path(bench, "a"), &options));
    options.threads = 3;
    assert_ok(mitral_phantom_write(bench->context, bench_path(bench, "b"), &options));
    assert_same_file(bench, "training/patient001/Info.cfg");
    assert_same_file(bench, "phantom.txt");
    static const char *const splits[2] = {"training", "testing"};
    for (int s = 0; s < 2; s++) {
        mitral_dataset dataset;
        assert_ok(mitral_dataset_open(&dataset, bench->context, bench_path(bench, "a"), splits[s]));
        assert_int_equal(dataset.count, s ? 2 : 4);
        assert_non_null(strstr(dataset.name, "phantom"));
        for (size_t i = 0; i < dataset.count; i++) {
            mitral_volume image;
            mitral_labels labels;
            assert_ok(mitral_case_read(&image, &labels, bench->context, &dataset, i));
            assert_same_file(bench, short_path(bench, dataset.cases[i].image));
            assert_same_file(bench, short_path(bench, dataset.cases[i].label));
            assert_in_range(dataset.cases[i].frame_count, 25, 35);
            assert_in_range(image.geometry.size[2], 6, 18);
            assert_true(image.geometry.spacing[0] >= 0.7 - 1e-6 && image.geometry.spacing[0] <= 1.9 + 1e-6);
            assert_true(image.geometry.spacing[2] >= 5 && image.geometry.spacing[2] <= 10);
            mitral_volume_free(bench->context, &image);
            mitral_labels_free(bench->context, &labels);
        }
        mitral_dataset_free(bench->context, &dataset);
    }
    options.seed = 6;
    assert_ok(mitral_phantom_write(bench->context, bench_path(bench, "b"), &options));
    size_t size_a, size_b;
    void *a = bench_read(bench_path(bench, "a/training/patient001/Info.cfg"), &size_a);
    void *b = bench_read(bench_path(bench, "b/training/patient001/Info.cfg"), &size_b);
    assert_true(size_a != size_b || memcmp(a, b, size_a) != 0);
    free(a);
    free(b);
}

/* The 4D file holds the two labelled frames, and moves between them. */
static void test_cine(void **state)
{
    struct bench *bench = *state;
    const mitral_phantom_options options = {.patients = 1, .seed = 2, .threads = 1};
    assert_ok(mitral_phantom_write(bench->context, bench_path(bench, "a"), &options));
    assert_false(bench_exists(bench_path(bench, "a/testing")));
    mitral_dataset dataset;
    mitral_volume cine, image;
    assert_ok(mitral_dataset_open(&dataset, bench->context, bench_path(bench, "a"), "training"));
    assert_int_equal(dataset.count, 2);
    assert_ok(mitral_volume_read(&cine, bench->context, bench_path(bench, "a/training/patient001/patient001_4d.nii.gz"), 0));
    assert_int_equal(cine.geometry.size[3], dataset.cases[0].frame_count);
    size_t voxels = (size_t)mitral_geometry_frame_voxels(&cine.geometry);
    for (size_t i = 0; i < 2; i++) {
        assert_ok(mitral_case_read(&image, NULL, bench->context, &dataset, i));
        assert_true(mitral_geometry_matches(&image.geometry, &cine.geometry, false));
        assert_memory_equal(image.voxels, cine.voxels + (size_t)(dataset.cases[i].frame - 1) * voxels, voxels * sizeof(float));
        mitral_volume_free(bench->context, &image);
    }
    mitral_volume_free(bench->context, &cine);
    mitral_dataset_free(bench->context, &dataset);
}

static void test_split(void **state)
{
    struct bench *bench = *state;
    mitral_phantom_options options = {.patients = 2, .seed = 2, .without_cine = true, .threads = 2};
    assert_ok(mitral_phantom_write(bench->context, bench_path(bench, "a"), &options));
    assert_true(bench_exists(bench_path(bench, "a/training/patient001")));
    assert_true(bench_exists(bench_path(bench, "a/testing/patient002")));
    /* Others' patients are left alone: those of a larger run, and real ones. */
    options.patients = 1;
    assert_refused(mitral_phantom_write(bench->context, bench_path(bench, "a"), &options), MITRAL_INVALID, "earlier run");
    bench_write(bench, "real/training/patient001/Info.cfg", "", 0);
    assert_refused(mitral_phantom_write(bench->context, bench_path(bench, "real"), &options), MITRAL_INVALID, "without patients");
    assert_false(bench_exists(bench_path(bench, "real/phantom.txt")));
    options.patients = 1000;
    assert_refused(mitral_phantom_write(bench->context, bench_path(bench, "a"), &options), MITRAL_INVALID, "1 to 999");
    bench_write(bench, "file", "", 0);
    options.patients = 1;
    assert_refused(mitral_phantom_write(bench->context, bench_path(bench, "file"), &options), MITRAL_IO, "file");
}

static double mean_wall(const struct heart *heart, double squeeze, double angle)
{
    struct heart_cut cut;
    heart_cut_at(&cut, heart, heart->length * 0.45, squeeze);
    int i = (int)lround(angle / 6.283185307179586 * HEART_ANGLES) % HEART_ANGLES;
    i = (i + HEART_ANGLES) % HEART_ANGLES;
    return cut.outer[i] - cut.inner[i];
}

/* The definitions that ACDC gives of its groups. */
static void test_groups(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct random random = random_start(seed, 77);
        struct heart heart;
        enum phantom_group group = (enum phantom_group)(seed % GROUP_COUNT);
        heart_draw(&heart, group, &random);
        double ed = heart_left_volume(&heart, 0), es = heart_left_volume(&heart, 1), fraction = mitral_ejection_fraction(ed, es);
        double rv_ed = heart_right_volume(&heart, 0), rv_fraction = mitral_ejection_fraction(rv_ed, heart_right_volume(&heart, 1));
        /* What was solved for is what was drawn. */
        assert_true(fabs(ed - heart.lv_ed) < 0.5 && fabs(es - heart.lv_es) < 0.5);
        assert_true(fabs(rv_ed - heart.rv_ed) < 0.5 && heart.contraction < 0.79 && heart.rv_depth_ed < 119);
        double septum = mean_wall(&heart, 0, heart.septum), lateral = mean_wall(&heart, 0, heart.septum + 3.14159);
        switch (group) {
        case GROUP_NOR: assert_true(fraction > 50 && ed < 175 && septum < 13 && rv_fraction > 40); break;
        case GROUP_MINF: assert_true(fraction < 40 && heart.infarct_size > 0.8); break;
        case GROUP_DCM: assert_true(fraction < 40 && ed > 200 && septum < 10); break;
        case GROUP_HCM: assert_true(fraction > 55 && septum > 14 && septum > 1.2 * lateral); break;
        default: assert_true(rv_ed > 200 && rv_fraction < 40 && fraction > 50); break;
        }
        /* Walls thicken as they contract, but not where muscle has died. */
        assert_true(mean_wall(&heart, 1, heart.septum) > septum || group == GROUP_MINF);
        if (group == GROUP_MINF) {
            struct heart_cut rest, full;
            heart_cut_at(&rest, &heart, heart.length * heart.infarct_level, 0);
            heart_cut_at(&full, &heart, heart.shortening + (heart.length - heart.shortening) * heart.infarct_level, 1);
            int dead = (int)lround((heart.infarct_angle + 6.283185307179586) / 6.283185307179586 * HEART_ANGLES) % HEART_ANGLES;
            int alive = (dead + HEART_ANGLES / 2) % HEART_ANGLES;
            assert_true(full.inner[dead] / rest.inner[dead] > full.inner[alive] / rest.inner[alive] + 0.1);
        }
    }
}

/* Squeeze goes from 0 to 1 at end-systole and back, without a jump. */
static void test_cycle(void **state)
{
    (void)state;
    struct random random = random_start(1, 1);
    struct heart heart;
    heart_draw(&heart, GROUP_NOR, &random);
    assert_true(heart_squeeze(&heart, 0) == 0 && fabs(heart_squeeze(&heart, heart.systole) - 1) < 1e-12);
    double before = 0;
    for (int i = 1; i <= 1000; i++) {
        double now = i < 1000 ? heart_squeeze(&heart, i / 1000.0) : 0;
        assert_true(now >= -1e-12 && now <= 1 && fabs(now - before) < 0.02);
        before = now;
    }
}

/* Blood is brighter than muscle, inside of the labels, in plain and in hard scans. */
static void test_contrast(void **state)
{
    struct bench *bench = *state;
    for (int hard = 0; hard < 2; hard++) {
        const mitral_phantom_options options = {.patients = 3, .seed = 3, .hard = hard, .without_cine = true, .threads = 2};
        assert_ok(mitral_phantom_write(bench->context, bench_path(bench, "a"), &options));
        mitral_dataset dataset;
        assert_ok(mitral_dataset_open(&dataset, bench->context, bench_path(bench, "a"), "training"));
        for (size_t i = 0; i < dataset.count; i++) {
            mitral_volume image;
            mitral_labels labels;
            double sum[4] = {0}, count[4] = {0};
            assert_ok(mitral_case_read(&image, &labels, bench->context, &dataset, i));
            for (int64_t v = 0; v < mitral_geometry_frame_voxels(&image.geometry); v++) {
                sum[labels.voxels[v]] += image.voxels[v];
                count[labels.voxels[v]]++;
            }
            double rv = sum[1] / count[1], muscle = sum[2] / count[2], lv = sum[3] / count[3];
            assert_true(rv > 1.3 * muscle && lv > 1.3 * muscle);
            mitral_volume_free(bench->context, &image);
            mitral_labels_free(bench->context, &labels);
        }
        mitral_dataset_free(bench->context, &dataset);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_layout_and_repeatability, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_cine, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_split, bench_setup, bench_teardown),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_cycle),
        cmocka_unit_test_setup_teardown(test_contrast, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
