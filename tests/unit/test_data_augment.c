#include "test_data_support.h"

#include <math.h>
#include <string.h>

enum { H = 40, W = 48, N = H * W };

struct sample {
    float image[N];
    uint8_t label[N];
};

static void make(struct sample *sample)
{
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            double r = hypot(x - 30.0, y - 17.0);
            sample->label[y * W + x] = r < 6 ? 3 : r < 9 ? 2 : 0;
            sample->image[y * W + x] = (float)(2 * exp(-r * r / 60) - 0.3 + 0.02 * ((x * 7 + y * 13) % 11));
        }
}

static void augment(struct sample *out, const struct sample *in, const mitral_augmentation *augmentation, uint64_t seed,
                    uint64_t index)
{
    mitral_augment_slice(out->image, out->label, in->image, in->label, H, W, augmentation, seed, index);
}

static void test_deterministic(void **state)
{
    (void)state;
    static struct sample in, first[32], again;
    mitral_augmentation augmentation;
    mitral_augmentation_default(&augmentation);
    make(&in);
    for (uint64_t i = 0; i < 32; i++)
        augment(&first[i], &in, &augmentation, 9, i);
    int different = 0;
    for (uint64_t i = 32; i-- > 0;) { /* in another order */
        augment(&again, &in, &augmentation, 9, i);
        assert_memory_equal(&again, &first[i], sizeof again);
        if (i > 0)
            different += memcmp(&first[i], &first[i - 1], sizeof again) != 0;
    }
    assert_in_range(different, 28, 31);
    augment(&again, &in, &augmentation, 10, 3);
    assert_true(memcmp(&again, &first[3], sizeof again) != 0);
}

static void test_nothing(void **state)
{
    (void)state;
    static struct sample in, out;
    make(&in);
    const mitral_augmentation none = {.scale_min = 1, .scale_max = 1, .gamma_min = 1, .gamma_max = 1};
    for (uint64_t i = 0; i < 8; i++) {
        augment(&out, &in, &none, 0, i);
        assert_memory_equal(&out, &in, sizeof in);
    }
}

static void test_flips(void **state)
{
    (void)state;
    static struct sample in, out;
    make(&in);
    for (int kind = 1; kind < 4; kind++) {
        const mitral_augmentation flip = {.flip_x = kind & 1, .flip_y = kind >> 1, .scale_min = 1, .scale_max = 1};
        augment(&out, &in, &flip, 0, 0);
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                int from = (kind & 2 ? H - 1 - y : y) * W + (kind & 1 ? W - 1 - x : x);
                assert_true(out.image[y * W + x] == in.image[from] && out.label[y * W + x] == in.label[from]);
            }
    }
}

/* The disc's area goes with the square of the scale, its centre turns about the image's. */
static void test_geometry(void **state)
{
    (void)state;
    static struct sample in, out;
    make(&in);
    double area = 0;
    for (int i = 0; i < N; i++)
        area += in.label[i] > 0;
    const mitral_augmentation grow = {.scale_min = 1.3, .scale_max = 1.3, .geometry_probability = 1};
    augment(&out, &in, &grow, 0, 0);
    double grown = 0;
    for (int i = 0; i < N; i++)
        grown += out.label[i] > 0;
    assert_true(fabs(grown / area - 1.69) < 0.08);

    mitral_augmentation turn = {.rotation = 20, .scale_min = 1, .scale_max = 1, .geometry_probability = 1};
    double least = 0, most = 0, radius = hypot(30 - 23.5, 17 - 19.5), start = atan2(17 - 19.5, 30 - 23.5);
    for (uint64_t i = 0; i < 60; i++) {
        augment(&out, &in, &turn, 1, i);
        double sx = 0, sy = 0, count = 0;
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                if (out.label[y * W + x]) {
                    sx += x - 23.5;
                    sy += y - 19.5;
                    count++;
                }
        assert_true(fabs(hypot(sx / count, sy / count) - radius) < 0.3);
        double angle = remainder(atan2(sy, sx) - start, 6.283185307179586) * 57.29577951308232;
        least = fmin(least, angle);
        most = fmax(most, angle);
    }
    assert_true(least > -22 && least < -14 && most < 22 && most > 14);
}

static void test_gamma(void **state)
{
    (void)state;
    static struct sample in, out;
    make(&in);
    const mitral_augmentation gamma = {.scale_min = 1, .scale_max = 1, .gamma_min = 1.5, .gamma_max = 1.5, .gamma_probability = 1};
    augment(&out, &in, &gamma, 0, 0);
    double mean[2] = {0}, deviation[2] = {0};
    for (int i = 0; i < N; i++) {
        mean[0] += in.image[i] / N;
        mean[1] += out.image[i] / N;
    }
    for (int i = 0; i < N; i++) {
        deviation[0] += pow(in.image[i] - mean[0], 2) / N;
        deviation[1] += pow(out.image[i] - mean[1], 2) / N;
    }
    assert_true(fabs(mean[0] - mean[1]) < 1e-4 && fabs(sqrt(deviation[0]) - sqrt(deviation[1])) < 1e-4);
    assert_true(memcmp(in.image, out.image, sizeof in.image) != 0);
    assert_memory_equal(in.label, out.label, sizeof in.label);
    for (int i = 1; i < N; i++) /* order is kept */
        assert_true((in.image[i] > in.image[i - 1]) == (out.image[i] > out.image[i - 1])
                    || fabsf(out.image[i] - out.image[i - 1]) < 1e-5f);
    for (int i = 0; i < N; i++)
        in.image[i] = 2;
    augment(&out, &in, &gamma, 0, 0);
    assert_true(out.image[5] == 2); /* nothing to bend */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deterministic), cmocka_unit_test(test_nothing), cmocka_unit_test(test_flips),
        cmocka_unit_test(test_geometry),      cmocka_unit_test(test_gamma),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
