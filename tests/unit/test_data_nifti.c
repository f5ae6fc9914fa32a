/* Reading and writing NIfTI: every element type, byte orders, scaling, geometry, and files that lie. */
#include "test_data_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <zlib.h>

/* A NIfTI-1 file in memory, by offsets of the format's definition. */
struct file {
    uint8_t bytes[352 + 4096];
    size_t size;
};

static void put16(struct file *file, size_t at, int value)
{
    int16_t v = (int16_t)value;
    memcpy(file->bytes + at, &v, 2);
}

static void put32(struct file *file, size_t at, int32_t value)
{
    memcpy(file->bytes + at, &value, 4);
}

static void putf(struct file *file, size_t at, float value)
{
    memcpy(file->bytes + at, &value, 4);
}

enum {
    DIM = 40,
    DATATYPE = 70,
    BITPIX = 72,
    PIXDIM = 76,
    VOX_OFFSET = 108,
    SLOPE = 112,
    INTER = 116,
    UNITS = 123,
    QFORM = 252,
    SFORM = 254,
    QUATERN = 256,
    QOFFSET = 268,
    SROW = 280,
    MAGIC = 344
};

/* 3 x 2 x 2 voxels of a type of `bytes` bytes, zero. */
static struct file make(int datatype, int bytes)
{
    struct file file = {.size = 352 + 12 * (size_t)bytes};
    put32(&file, 0, 348);
    const int dim[8] = {3, 3, 2, 2, 1, 1, 1, 1};
    for (size_t i = 0; i < 8; i++)
        put16(&file, DIM + 2 * i, dim[i]);
    put16(&file, DATATYPE, datatype);
    put16(&file, BITPIX, 8 * bytes);
    const float pixdim[4] = {1, 1.5f, 1.25f, 8};
    for (size_t i = 0; i < 4; i++)
        putf(&file, PIXDIM + 4 * i, pixdim[i]);
    putf(&file, VOX_OFFSET, 352);
    file.bytes[UNITS] = 2;
    memcpy(file.bytes + MAGIC, "n+1", 4);
    return file;
}

static void store(const struct bench *bench, const struct file *file, const char *name)
{
    bench_write(bench, name, file->bytes, file->size);
}

static mitral_status read_file(struct bench *bench, const struct file *file, mitral_volume *volume)
{
    store(bench, file, "in.nii");
    return mitral_volume_read(volume, bench->context, bench_path(bench, "in.nii"), 0);
}

static void swap(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size / 2; i++) {
        uint8_t kept = bytes[i];
        bytes[i] = bytes[size - 1 - i];
        bytes[size - 1 - i] = kept;
    }
}

/* The other byte order: every multi-byte field that the reader looks at, and the voxels. */
static void swap_file(struct file *file, size_t voxel)
{
    static const struct {
        size_t at, size, count;
    } fields[] = {{0, 4, 1},          {DIM, 2, 8},     {DATATYPE, 2, 1}, {BITPIX, 2, 1}, {PIXDIM, 4, 8},
                  {VOX_OFFSET, 4, 1}, {SLOPE, 4, 1},   {INTER, 4, 1},    {QFORM, 2, 1},  {SFORM, 2, 1},
                  {QUATERN, 4, 3},    {QOFFSET, 4, 3}, {SROW, 4, 12}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        for (size_t j = 0; j < fields[i].count; j++)
            swap(file->bytes + fields[i].at + j * fields[i].size, fields[i].size);
    for (size_t at = 352; at < file->size; at += voxel)
        swap(file->bytes + at, voxel);
}

static void set_voxel(struct file *file, int datatype, size_t i, double value)
{
    uint8_t *at = file->bytes + 352;
#define STORE(type)                                                                                                                \
    do {                                                                                                                           \
        type v = (type)value;                                                                                                      \
        memcpy(at + i * sizeof v, &v, sizeof v);                                                                                   \
    } while (0)
    switch (datatype) {
    case 2: STORE(uint8_t); break;
    case 256: STORE(int8_t); break;
    case 4: STORE(int16_t); break;
    case 512: STORE(uint16_t); break;
    case 8: STORE(int32_t); break;
    case 768: STORE(uint32_t); break;
    case 1024: STORE(int64_t); break;
    case 1280: STORE(uint64_t); break;
    case 16: STORE(float); break;
    default: STORE(double); break;
    }
#undef STORE
}

static void test_types(void **state)
{
    struct bench *bench = *state;
    static const struct {
        int datatype, bytes;
        double most;
    } types[] = {{2, 1, 255},
                 {256, 1, -128},
                 {4, 2, -32768},
                 {512, 2, 65535},
                 {8, 4, -2147483648.0},
                 {768, 4, 4294967295.0},
                 {1024, 8, -9007199254740992.0},
                 {1280, 8, 9007199254740992.0},
                 {16, 4, 1.5e38},
                 {64, 8, -0.1}};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        for (int swapped = 0; swapped < 2; swapped++) {
            for (int scaled = 0; scaled < 2; scaled++) {
                struct file file = make(types[t].datatype, types[t].bytes);
                for (size_t i = 0; i < 12; i++)
                    set_voxel(&file, types[t].datatype, i, i == 11 ? types[t].most : (double)i);
                putf(&file, SLOPE, scaled ? 0.5f : 0);
                putf(&file, INTER, scaled ? -3 : 7); /* without a slope there is no intercept */
                if (swapped)
                    swap_file(&file, (size_t)types[t].bytes);
                mitral_volume volume;
                assert_ok(read_file(bench, &file, &volume));
                for (int i = 0; i < 12; i++) {
                    double value = i == 11 ? types[t].most : i;
                    float expected = (float)(scaled ? value * 0.5 - 3 : value);
                    assert_true(volume.voxels[i] == expected);
                }
                mitral_volume_free(bench->context, &volume);
                assert_null(volume.voxels);
            }
        }
    }
}

static void test_nan_kept(void **state)
{
    struct bench *bench = *state;
    struct file file = make(16, 4);
    set_voxel(&file, 16, 3, NAN);
    set_voxel(&file, 16, 4, INFINITY);
    mitral_volume volume;
    assert_ok(read_file(bench, &file, &volume));
    assert_true(isnan(volume.voxels[3]) && isinf(volume.voxels[4]));
    mitral_volume_free(bench->context, &volume);
}

static void test_geometry(void **state)
{
    struct bench *bench = *state;
    struct file file = make(2, 1);
    put16(&file, DIM, 5);
    put16(&file, DIM + 8, 1);
    put16(&file, DIM + 10, 1);
    putf(&file, PIXDIM, -1);
    putf(&file, PIXDIM + 4, -1.5f); /* a length has no sign */
    putf(&file, PIXDIM + 8, NAN);
    put16(&file, QFORM, 1);
    put16(&file, SFORM, 2);
    putf(&file, QUATERN, 0.5f);
    putf(&file, QOFFSET + 8, -77.25f);
    for (size_t i = 0; i < 12; i++)
        putf(&file, SROW + 4 * i, (float)i);
    mitral_volume volume;
    assert_ok(read_file(bench, &file, &volume));
    const mitral_geometry *g = &volume.geometry;
    assert_int_equal(g->size[0], 3);
    assert_int_equal(g->size[3], 1);
    assert_true(g->spacing[0] == 1.5 && g->spacing[1] == 0 && g->spacing[2] == 8);
    assert_true(g->qfac == -1 && g->quaternion[0] == 0.5 && g->offset[2] == -77.25);
    assert_int_equal(g->qform_code, 1);
    assert_int_equal(g->sform_code, 2);
    assert_true(g->sform[1][2] == 6 && g->sform[2][3] == 11);
    mitral_volume_free(bench->context, &volume);

    file = make(2, 1);
    file.bytes[UNITS] = 3; /* micrometres */
    putf(&file, PIXDIM + 4, 1500);
    assert_ok(read_file(bench, &file, &volume));
    assert_true(fabs(volume.geometry.spacing[0] - 1.5) < 1e-12);
    mitral_volume_free(bench->context, &volume);
}

static void test_lies(void **state)
{
    struct bench *bench = *state;
    mitral_volume volume;
    struct file file;
#define REFUSED(change, status, words)                                                                                             \
    do {                                                                                                                           \
        file = make(4, 2);                                                                                                         \
        change;                                                                                                                    \
        assert_refused(read_file(bench, &file, &volume), status, words);                                                           \
        assert_null(volume.voxels);                                                                                                \
    } while (0)
    REFUSED(file.size = 0, MITRAL_INVALID, "header");
    REFUSED(file.size = 347, MITRAL_INVALID, "header");
    REFUSED(file.size -= 1, MITRAL_INVALID, "376 bytes");
    REFUSED(put32(&file, 0, 349), MITRAL_INVALID, "348 or 540");
    REFUSED(memcpy(file.bytes + MAGIC, "ni1", 4), MITRAL_UNSUPPORTED, "header alone");
    REFUSED(memcpy(file.bytes + MAGIC, "xyz", 4), MITRAL_INVALID, "magic");
    REFUSED(put16(&file, DIM, 0), MITRAL_INVALID, "dim[0]");
    REFUSED(put16(&file, DIM, 8), MITRAL_INVALID, "dim[0]");
    REFUSED(put16(&file, DIM, -1), MITRAL_INVALID, "dim[0]");
    REFUSED(put16(&file, DIM + 4, 0), MITRAL_INVALID, "dim[2]");
    REFUSED(put16(&file, DIM + 4, -5), MITRAL_INVALID, "dim[2]");
    REFUSED(put16(&file, DATATYPE, 0), MITRAL_INVALID, "datatype");
    REFUSED(put16(&file, DATATYPE, 77), MITRAL_INVALID, "datatype");
    REFUSED(put16(&file, DATATYPE, 32), MITRAL_UNSUPPORTED, "COMPLEX64");
    REFUSED(put16(&file, DATATYPE, 128), MITRAL_UNSUPPORTED, "RGB24");
    REFUSED(put16(&file, BITPIX, 8), MITRAL_INVALID, "bitpix");
    REFUSED(putf(&file, VOX_OFFSET, 0), MITRAL_INVALID, "vox_offset");
    REFUSED(putf(&file, VOX_OFFSET, NAN), MITRAL_INVALID, "vox_offset");
    REFUSED(putf(&file, VOX_OFFSET, 352.5f), MITRAL_INVALID, "vox_offset");
    REFUSED(putf(&file, VOX_OFFSET, 1e30f), MITRAL_LIMIT, "vox_offset");
    REFUSED(putf(&file, VOX_OFFSET, 360), MITRAL_INVALID, "384 bytes");
#undef REFUSED
    /* All dimensions at their most: the product overflows 64 bits. */
    file = make(4, 2);
    put16(&file, DIM, 7);
    for (size_t i = 1; i < 8; i++)
        put16(&file, DIM + 2 * i, 32767);
    assert_refused(read_file(bench, &file, &volume), MITRAL_LIMIT, "voxels");
    file = make(4, 2);
    store(bench, &file, "in.nii");
    assert_refused(mitral_volume_read(&volume, bench->context, bench_path(bench, "in.nii"), 11), MITRAL_LIMIT, "at most 11 voxels");
    assert_refused(mitral_volume_read(&volume, bench->context, bench_path(bench, "none.nii"), 0), MITRAL_IO, "No such file");
    assert_refused(mitral_volume_read(&volume, bench->context, bench->folder, 0), MITRAL_INVALID, "a folder");
    assert_int_equal(mkfifo(bench_path(bench, "pipe.nii"), 0600), 0);
    assert_refused(mitral_volume_read(&volume, bench->context, bench_path(bench, "pipe.nii"), 0), MITRAL_INVALID,
                   "no regular file");
}

static void store_compressed(const struct bench *bench, const struct file *file, const char *name)
{
    gzFile stream = gzopen(bench_path(bench, name), "wb9");
    assert_int_equal(gzwrite(stream, file->bytes, (unsigned)file->size), (int)file->size);
    assert_int_equal(gzclose(stream), Z_OK);
}

static void test_compressed(void **state)
{
    struct bench *bench = *state;
    struct file file = make(4, 2);
    for (size_t i = 0; i < 12; i++)
        set_voxel(&file, 4, i, (double)(i * i));
    mitral_volume volume;
    store_compressed(bench, &file, "in.nii.gz");
    assert_ok(mitral_volume_read(&volume, bench->context, bench_path(bench, "in.nii.gz"), 0));
    assert_true(volume.voxels[11] == 121);
    mitral_volume_free(bench->context, &volume);
    /* The content decides, not the name. */
    store_compressed(bench, &file, "in.nii");
    assert_ok(mitral_volume_read(&volume, bench->context, bench_path(bench, "in.nii"), 0));
    mitral_volume_free(bench->context, &volume);
    store(bench, &file, "plain.nii.gz");
    assert_ok(mitral_volume_read(&volume, bench->context, bench_path(bench, "plain.nii.gz"), 0));
    mitral_volume_free(bench->context, &volume);

    size_t size;
    uint8_t *bytes = bench_read(bench_path(bench, "in.nii.gz"), &size);
    for (size_t cut = 0; cut < size; cut++) {
        bench_write(bench, "cut.nii.gz", bytes, cut);
        mitral_status status = mitral_volume_read(&volume, bench->context, bench_path(bench, "cut.nii.gz"), 0);
        assert_int_equal(status, MITRAL_INVALID);
    }
    /* The checksum at the end tells what decompresses all the same; a zero copied from another zero is no damage. The first ten bytes
     * are gzip's header. */
    int refused = 0;
    for (size_t bit = 80; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        bench_write(bench, "flipped.nii.gz", bytes, size);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (mitral_volume_read(&volume, bench->context, bench_path(bench, "flipped.nii.gz"), 0) == MITRAL_INVALID) {
            refused++;
            continue;
        }
        for (size_t i = 0; i < 12; i++)
            assert_true(volume.voxels[i] == (float)(i * i));
        mitral_volume_free(bench->context, &volume);
    }
    assert_true(refused > 8 * ((int)size - 10) * 9 / 10);
    free(bytes);
}

/* A small file that claims a large volume, and one that really holds far more than it claims. */
static void test_bombs(void **state)
{
    struct bench *bench = *state;
    mitral_volume volume;
    struct file file = make(2, 1);
    for (size_t i = 1; i < 4; i++)
        put16(&file, DIM + 2 * i, 640); /* 262 million voxels: within the default limit */
    store_compressed(bench, &file, "claims.nii.gz");
    assert_refused(mitral_volume_read(&volume, bench->context, bench_path(bench, "claims.nii.gz"), 0), MITRAL_INVALID,
                   "262144352 bytes");

    file = make(2, 1);
    gzFile stream = gzopen(bench_path(bench, "holds.nii.gz"), "wb9");
    gzwrite(stream, file.bytes, (unsigned)file.size);
    static const uint8_t zeros[1 << 20];
    for (int i = 0; i < 256; i++)
        gzwrite(stream, zeros, sizeof zeros);
    gzclose(stream);
    assert_ok(mitral_volume_read(&volume, bench->context, bench_path(bench, "holds.nii.gz"), 0));
    assert_int_equal(mitral_geometry_frame_voxels(&volume.geometry), 12);
    mitral_volume_free(bench->context, &volume);
}

static void test_labels(void **state)
{
    struct bench *bench = *state;
    mitral_labels labels;
    struct file file = make(2, 1);
    for (size_t i = 0; i < 12; i++)
        set_voxel(&file, 2, i, (double)(i % 4));
    store(bench, &file, "gt.nii");
    assert_ok(mitral_labels_read(&labels, bench->context, bench_path(bench, "gt.nii"), 4, 0));
    assert_int_equal(labels.voxels[7], 3);
    mitral_labels_free(bench->context, &labels);
    assert_refused(mitral_labels_read(&labels, bench->context, bench_path(bench, "gt.nii"), 3, 0), MITRAL_INVALID,
                   "expected labels 0 to 2, found 3");
    file = make(16, 4);
    set_voxel(&file, 16, 5, 1.5);
    store(bench, &file, "gt.nii");
    assert_refused(mitral_labels_read(&labels, bench->context, bench_path(bench, "gt.nii"), 4, 0), MITRAL_INVALID, "found 1.5");
    set_voxel(&file, 16, 5, NAN);
    store(bench, &file, "gt.nii");
    assert_int_equal(mitral_labels_read(&labels, bench->context, bench_path(bench, "gt.nii"), 4, 0), MITRAL_INVALID);
    set_voxel(&file, 16, 5, -1);
    store(bench, &file, "gt.nii");
    assert_int_equal(mitral_labels_read(&labels, bench->context, bench_path(bench, "gt.nii"), 4, 0), MITRAL_INVALID);
}

static mitral_geometry example_geometry(void)
{
    mitral_geometry geometry = {.size = {5, 4, 3, 2},
                                .spacing = {1.25, 1.5, 8, 0.04},
                                .qform_code = 1,
                                .sform_code = 1,
                                .qfac = -1,
                                .quaternion = {0.1, 0.2, -0.3},
                                .offset = {-10, 20.5, 3},
                                .units = 2 | 8};
    for (int i = 0; i < 12; i++)
        geometry.sform[i / 4][i % 4] = 0.25 * i;
    return geometry;
}

static void test_round_trip(void **state)
{
    struct bench *bench = *state;
    static const char *const names[] = {"out.nii", "out.nii.gz"};
    for (int kind = 0; kind < 3; kind++) {
        for (int n = 0; n < 2; n++) {
            float values[120];
            for (int i = 0; i < 120; i++)
                values[i] = kind == 0 ? (float)(i - 60) : kind == 1 ? 0.37f * (float)i : (float)i * 1000;
            mitral_volume volume = {example_geometry(), values}, back;
            assert_ok(mitral_volume_write(bench->context, &volume, bench_path(bench, names[n])));
            assert_ok(mitral_volume_read(&back, bench->context, bench_path(bench, names[n]), 0));
            assert_memory_equal(back.voxels, values, sizeof values);
            assert_true(mitral_geometry_matches(&back.geometry, &volume.geometry, true));
            assert_int_equal(back.geometry.units, volume.geometry.units);
            assert_true(back.geometry.qfac == -1 && back.geometry.quaternion[2] == (float)-0.3 && back.geometry.offset[1] == 20.5);
            assert_true(back.geometry.sform[2][3] == 2.75);
            mitral_volume_free(bench->context, &back);
        }
    }
    uint8_t values[120];
    for (int i = 0; i < 120; i++)
        values[i] = (uint8_t)(i % 4);
    mitral_labels labels = {example_geometry(), values}, back;
    assert_ok(mitral_labels_write(bench->context, &labels, bench_path(bench, "a.nii.gz")));
    assert_ok(mitral_labels_write(bench->context, &labels, bench_path(bench, "b.nii.gz")));
    size_t size_a, size_b;
    void *a = bench_read(bench_path(bench, "a.nii.gz"), &size_a), *b = bench_read(bench_path(bench, "b.nii.gz"), &size_b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(a, b, size_a); /* no time, no name */
    free(a);
    free(b);
    assert_ok(mitral_labels_read(&back, bench->context, bench_path(bench, "a.nii.gz"), 4, 0));
    assert_memory_equal(back.voxels, values, sizeof values);
    mitral_labels_free(bench->context, &back);
}

static void test_write_failures(void **state)
{
    struct bench *bench = *state;
    uint8_t values[120] = {0};
    mitral_labels labels = {example_geometry(), values};
    assert_refused(mitral_labels_write(bench->context, &labels, bench_path(bench, "mask.png")), MITRAL_INVALID, ".nii or .nii.gz");
    assert_int_equal(mitral_labels_write(bench->context, &labels, bench_path(bench, "none/mask.nii")), MITRAL_IO);
    assert_false(bench_exists(bench_path(bench, "none")));
    labels.geometry.size[0] = 40000;
    assert_refused(mitral_labels_write(bench->context, &labels, bench_path(bench, "wide.nii")), MITRAL_UNSUPPORTED, "40000");
    assert_false(bench_exists(bench_path(bench, "wide.nii")));
}

static void test_geometry_alone(void **state)
{
    struct bench *bench = *state;
    struct file file = make(4, 2);
    mitral_geometry geometry;
    store(bench, &file, "in.nii");
    assert_ok(mitral_geometry_read(&geometry, bench->context, bench_path(bench, "in.nii")));
    assert_int_equal(geometry.size[2], 2);
    file.size--;
    store(bench, &file, "in.nii");
    assert_int_equal(mitral_geometry_read(&geometry, bench->context, bench_path(bench, "in.nii")), MITRAL_INVALID);
}

static void test_no_memory(void **state)
{
    struct bench *bench = *state;
    struct file file = make(2, 1);
    store(bench, &file, "in.nii");
    mitral_labels labels;
    mitral_status status = MITRAL_NO_MEMORY;
    for (long n = 0; status != MITRAL_OK; n++) {
        assert_true(n < 1000);
        bench->left = n;
        status = mitral_labels_read(&labels, bench->context, bench_path(bench, "in.nii"), 4, 0);
        assert_true(status == MITRAL_OK || status == MITRAL_NO_MEMORY);
    }
    status = MITRAL_NO_MEMORY;
    for (long n = 0; status != MITRAL_OK; n++) {
        assert_true(n < 1000);
        bench->left = n;
        status = mitral_labels_write(bench->context, &labels, bench_path(bench, "out.nii.gz"));
        assert_true(status == MITRAL_OK || status == MITRAL_NO_MEMORY);
        assert_int_equal(bench_exists(bench_path(bench, "out.nii.gz")), status == MITRAL_OK);
    }
    bench->left = -1;
    mitral_labels_free(bench->context, &labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_types, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_nan_kept, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_geometry, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_lies, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_compressed, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_bombs, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_labels, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_round_trip, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_write_failures, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_geometry_alone, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
