/* From a scan to the network's grid and back, and the description that travels with a network. */
#include "test_data_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mitral_preprocessing plain(int64_t height, int64_t width, double spacing)
{
    mitral_preprocessing preprocessing;
    mitral_preprocessing_default(&preprocessing);
    preprocessing.height = height;
    preprocessing.width = width;
    preprocessing.spacing[0] = preprocessing.spacing[1] = spacing;
    preprocessing.normalisation = MITRAL_NORMALISE_NONE;
    return preprocessing;
}

static mitral_geometry grid(int64_t width, int64_t height, int64_t slices, double spacing)
{
    return (mitral_geometry){.size = {width, height, slices, 1}, .spacing = {spacing, spacing, 8, 0}, .qfac = 1, .units = 2};
}

static void test_identity(void **state)
{
    struct bench *bench = *state;
    float values[24], out[24];
    for (int i = 0; i < 24; i++)
        values[i] = (float)(i * i);
    mitral_volume volume = {grid(4, 3, 2, 1.37), values};
    mitral_preprocessing same = plain(3, 4, 1.37), native = plain(3, 4, 0);
    assert_ok(mitral_preprocess_frame(out, bench->context, &same, &volume, 0, 1));
    for (int i = 0; i < 24; i++)
        assert_true(fabsf(out[i] - values[i]) < 1e-3f); /* 1.37 / 1.37 is 1 but for rounding */
    assert_ok(mitral_preprocess_frame(out, bench->context, &native, &volume, 0, 1));
    assert_memory_equal(out, values, sizeof values);
    assert_refused(mitral_preprocess_frame(out, bench->context, &same, &volume, 1, 1), MITRAL_INVALID, "frame below 1");
    volume.geometry.spacing[1] = 0;
    assert_refused(mitral_preprocess_frame(out, bench->context, &same, &volume, 0, 1), MITRAL_INVALID, "pixdim[2]");
    assert_ok(mitral_preprocess_frame(out, bench->context, &native, &volume, 0, 1));
}

/* A linear image stays linear under linear resampling: value = position of the pixel in mm. */
static void test_ramp(void **state)
{
    struct bench *bench = *state;
    enum { W = 40, H = 30, OUT = 20 };
    static float values[W * H], out[OUT * OUT];
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            values[y * W + x] = (float)(2.0 * (x - 0.5 * (W - 1)) + 100 * (y - 0.5 * (H - 1)));
    mitral_volume volume = {grid(W, H, 1, 2.0), values};
    volume.geometry.spacing[1] = 1.0;
    mitral_preprocessing preprocessing = plain(OUT, OUT, 1.3);
    assert_ok(mitral_preprocess_frame(out, bench->context, &preprocessing, &volume, 0, 1));
    for (int y = 0; y < OUT; y++) {
        for (int x = 0; x < OUT; x++) {
            double expected = 1.3 * (x - 0.5 * (OUT - 1)) + 130 * (y - 0.5 * (OUT - 1));
            assert_true(fabs(out[y * OUT + x] - expected) < 2e-3);
        }
    }
}

static void test_outside_is_mean(void **state)
{
    struct bench *bench = *state;
    float values[4] = {1, 2, 3, NAN}, out[36];
    mitral_volume volume = {grid(2, 2, 1, 1), values};
    mitral_preprocessing preprocessing = plain(6, 6, 1);
    preprocessing.normalisation = MITRAL_NORMALISE_ZSCORE_VOLUME;
    assert_ok(mitral_preprocess_frame(out, bench->context, &preprocessing, &volume, 0, 1));
    assert_true(out[0] == 0 && out[35] == 0);
    assert_true(fabsf(out[2 * 6 + 2] + 1.2247449f) < 1e-6f); /* (1 - 2) / sqrt(2/3) */
    assert_true(out[3 * 6 + 3] == 0);                        /* the NaN */
}

static void test_zscore(void **state)
{
    struct bench *bench = *state;
    enum { N = 16 * 16 * 3 };
    static float values[N], out[N], threads[N];
    for (int i = 0; i < N; i++)
        values[i] = 1e5f + (float)((i * 37) % 101) + 200.0f * (float)(i / 256);
    mitral_volume volume = {grid(16, 16, 3, 1), values};
    mitral_preprocessing preprocessing = plain(16, 16, 0);
    for (int kind = 0; kind < 2; kind++) {
        preprocessing.normalisation = kind ? MITRAL_NORMALISE_ZSCORE_SLICE : MITRAL_NORMALISE_ZSCORE_VOLUME;
        assert_ok(mitral_preprocess_frame(out, bench->context, &preprocessing, &volume, 0, 1));
        assert_ok(mitral_preprocess_frame(threads, bench->context, &preprocessing, &volume, 0, 3));
        assert_memory_equal(out, threads, sizeof out);
        int size = kind ? 256 : N;
        for (int first = 0; first < N; first += size) {
            double sum = 0, squares = 0;
            for (int i = first; i < first + size; i++) {
                sum += out[i];
                squares += (double)out[i] * out[i];
            }
            assert_true(fabs(sum / size) < 1e-4 && fabs(squares / size - 1) < 1e-4);
        }
    }
    for (int i = 0; i < N; i++)
        values[i] = 7;
    assert_ok(mitral_preprocess_frame(out, bench->context, &preprocessing, &volume, 0, 1));
    for (int i = 0; i < N; i++)
        assert_true(out[i] == 0); /* a constant image: no division by zero */
}

/* Labels go to the network's grid and come back as one-hot scores: a disc must survive but for its rim. */
static void test_round_trip(void **state)
{
    struct bench *bench = *state;
    enum { W = 120, H = 100, OUT = 96, CLASSES = 4 };
    static uint8_t native[W * H], network[OUT * OUT], back[W * H];
    static float scores[CLASSES * OUT * OUT], half[CLASSES * OUT * OUT / 4];
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            double r = hypot(x - 55.0, y - 52.0);
            native[y * W + x] = r < 15 ? 3 : r < 24 ? 2 : r < 33 && x < 55 ? 1 : 0;
        }
    mitral_labels labels = {grid(W, H, 1, 1.0), native};
    mitral_preprocessing preprocessing = plain(OUT, OUT, 1.1);
    assert_ok(mitral_preprocess_labels(network, bench->context, &preprocessing, &labels, 0, 1));
    for (int i = 0; i < OUT * OUT; i++)
        for (int c = 0; c < CLASSES; c++)
            scores[c * OUT * OUT + i] = network[i] == c ? 8.0f : 0.0f;
    assert_ok(mitral_restore_slice(back, bench->context, &preprocessing, &labels.geometry, scores, OUT, OUT));
    int wrong = 0;
    for (int i = 0; i < W * H; i++)
        wrong += back[i] != native[i];
    assert_in_range(wrong, 1, 260); /* half a pixel along three rims of about 100, 150 and 130 pixels, and no shift */
    /* An output of half the resolution spans the same field. */
    for (int c = 0; c < CLASSES; c++)
        for (int y = 0; y < OUT / 2; y++)
            for (int x = 0; x < OUT / 2; x++) {
                const float *from = scores + c * OUT * OUT + 2 * y * OUT + 2 * x;
                half[(c * OUT / 2 + y) * (OUT / 2) + x] = 0.25f * (from[0] + from[1] + from[OUT] + from[OUT + 1]);
            }
    assert_ok(mitral_restore_slice(back, bench->context, &preprocessing, &labels.geometry, half, OUT / 2, OUT / 2));
    wrong = 0;
    for (int i = 0; i < W * H; i++)
        wrong += back[i] != native[i];
    assert_in_range(wrong, 1, 500);
}

static void test_restore_details(void **state)
{
    struct bench *bench = *state;
    mitral_preprocessing preprocessing = plain(2, 2, 1);
    mitral_geometry geometry = grid(4, 4, 1, 1);
    float scores[16] = {0};
    uint8_t out[16];
    for (int i = 0; i < 4; i++)
        scores[4 + i] = 5; /* class 1 everywhere */
    assert_ok(mitral_restore_slice(out, bench->context, &preprocessing, &geometry, scores, 2, 2));
    for (int i = 0; i < 16; i++) /* the network sees the middle 2 x 2 alone */
        assert_int_equal(out[i], i == 5 || i == 6 || i == 9 || i == 10);
    memset(scores, 0, sizeof scores);
    assert_ok(mitral_restore_slice(out, bench->context, &preprocessing, &geometry, scores, 2, 2));
    assert_int_equal(out[5], 0); /* a tie goes to the lower class */
    scores[3] = NAN;
    assert_refused(mitral_restore_slice(out, bench->context, &preprocessing, &geometry, scores, 2, 2), MITRAL_INVALID, "finite");
    assert_refused(mitral_restore_slice(out, bench->context, &preprocessing, &geometry, scores, 0, 2), MITRAL_INVALID, "0x2");
    /* Probabilities are taken as they are: large logits would be 0.5 and 0.5 after soft-max of equal classes. */
    preprocessing.probabilities = true;
    for (int i = 0; i < 16; i++)
        scores[i] = i / 4 == 2 ? 0.4f : 0.2f;
    assert_ok(mitral_restore_slice(out, bench->context, &preprocessing, &geometry, scores, 2, 2));
    assert_int_equal(out[5], 2);
}

static void test_keep_largest(void **state)
{
    struct bench *bench = *state;
    /* Two slices of 6 x 3; class 1 in two parts joined through z, a separate voxel, and a diagonal one that does not join. */
    uint8_t labels[36] = {1, 1, 0, 2, 0, 1, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 2, 0,
                          1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 2};
    const uint8_t expected[36] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0,
                                  1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 2};
    assert_ok(mitral_keep_largest(bench->context, labels, (int64_t[3]){6, 3, 2}, 4));
    assert_memory_equal(labels, expected, sizeof labels);
    uint8_t equal[4] = {3, 0, 3, 0};
    assert_ok(mitral_keep_largest(bench->context, equal, (int64_t[3]){4, 1, 1}, 4));
    assert_true(equal[0] == 3 && equal[2] == 0); /* of equals the first */
    assert_refused(mitral_keep_largest(bench->context, equal, (int64_t[3]){0, 1, 1}, 4), MITRAL_INVALID, "found 0");
    assert_refused(mitral_keep_largest(bench->context, equal, (int64_t[3]){1 << 20, 1 << 20, 1}, 4), MITRAL_LIMIT, "2^32");
}

struct property {
    const char *key, *value;
};

static const char *look_up(void *user, const char *key)
{
    const struct property *property = user;
    return strcmp(property->key, key) == 0 ? property->value : NULL;
}

static void test_properties(void **state)
{
    struct bench *bench = *state;
    mitral_preprocessing a, b;
    struct property none = {"", ""};
    assert_ok(mitral_preprocessing_read(&a, bench->context, look_up, &none));
    assert_true(a.spacing[0] == 1.37 && a.height == 224 && a.width == 224 && a.class_count == 4 && !a.probabilities);
    assert_string_equal(a.labels[3], "LV");
    static const struct property good[] = {{"mitral.spacing", "1.25,1.5"},           {"mitral.spacing", "native"},
                                           {"mitral.normalisation", "zscore-slice"}, {"mitral.normalisation", "none"},
                                           {"mitral.input_size", "192,256"},         {"mitral.labels", "background,tumour"},
                                           {"mitral.output", "probabilities"}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct property property = good[i];
        char value[2048];
        const char *key;
        bool found = false;
        assert_ok(mitral_preprocessing_read(&a, bench->context, look_up, &property));
        for (size_t j = 0; mitral_preprocessing_property(&a, j, &key, value, sizeof value); j++) {
            if (strcmp(key, property.key) != 0)
                continue;
            found = true;
            assert_string_equal(value, property.value); /* what is written is what was read */
        }
        assert_true(found);
    }
    assert_ok(mitral_preprocessing_read(&b, bench->context, look_up, &(struct property){"mitral.input_size", "192,256"}));
    assert_true(b.height == 192 && b.width == 256);
    static const struct property bad[] = {{"mitral.spacing", "1.37"},
                                          {"mitral.spacing", "0,1"},
                                          {"mitral.spacing", "nan,1"},
                                          {"mitral.spacing", "1,1,1"},
                                          {"mitral.normalisation", "minmax"},
                                          {"mitral.input_size", "224"},
                                          {"mitral.input_size", "0,224"},
                                          {"mitral.input_size", "224,99999999999999999999999999999999"},
                                          {"mitral.labels", ""},
                                          {"mitral.labels", "one"},
                                          {"mitral.labels", "a,,b"},
                                          {"mitral.labels", "a,a-name-that-is-longer-than-thirty-one-bytes"},
                                          {"mitral.output", "scores"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct property property = bad[i];
        assert_refused(mitral_preprocessing_read(&a, bench->context, look_up, &property), MITRAL_INVALID, property.key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_identity, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_ramp, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_outside_is_mean, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_zscore, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_round_trip, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_restore_details, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_keep_largest, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_properties, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
