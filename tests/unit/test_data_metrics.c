/* Overlap, distances and summaries against values worked out by hand and by brute force. */
#include "test_data_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/distance.h"
#include "data/random.h"

static mitral_geometry grid(int64_t x, int64_t y, int64_t z, double sx, double sy, double sz)
{
    return (mitral_geometry){.size = {x, y, z, 1}, .spacing = {sx, sy, sz, 0}, .qfac = 1, .units = 2};
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fmax(1, fabs(b));
}

static void test_two_voxels(void **state)
{
    struct bench *bench = *state;
    uint8_t a[6 * 5 * 4] = {0}, b[6 * 5 * 4] = {0};
    mitral_geometry geometry = grid(6, 5, 4, 1.5, 2, 10);
    a[0] = 3;
    b[2 * 30 + 3 * 6 + 4] = 3; /* 4 columns, 3 rows, 2 slices away: 6, 6 and 20 mm */
    mitral_overlap out[4];
    assert_ok(mitral_measure_overlap(out, bench->context, a, b, &geometry, 4));
    assert_true(out[3].in_prediction && out[3].in_reference && out[3].dice == 0);
    assert_true(near(out[3].hausdorff_mm, sqrt(36 + 36 + 400)) && near(out[3].hausdorff95_mm, out[3].hausdorff_mm));
    assert_true(near(out[3].prediction_ml, 0.03));
    assert_false(out[1].in_prediction || out[1].in_reference);
    assert_true(isnan(out[1].dice) && isnan(out[1].hausdorff_mm) && isnan(out[1].hausdorff95_mm) && out[1].prediction_ml == 0);
}

static void test_same_and_missing(void **state)
{
    struct bench *bench = *state;
    uint8_t a[64], b[64] = {0};
    for (int i = 0; i < 64; i++)
        a[i] = (uint8_t)(i % 3);
    mitral_geometry geometry = grid(4, 4, 4, 1, 1, 1);
    mitral_overlap out[4];
    assert_ok(mitral_measure_overlap(out, bench->context, a, a, &geometry, 4));
    assert_true(out[1].dice == 1 && out[2].dice == 1 && out[2].hausdorff_mm == 0 && out[2].hausdorff95_mm == 0);
    assert_ok(mitral_measure_overlap(out, bench->context, a, b, &geometry, 4));
    assert_true(out[1].in_prediction && !out[1].in_reference && isnan(out[1].dice) && isnan(out[1].hausdorff_mm));
    geometry.spacing[2] = 0;
    assert_refused(mitral_measure_overlap(out, bench->context, a, b, &geometry, 4), MITRAL_INVALID, "pixdim[3]");
}

/* A shifted box: the surfaces' distances can be counted. */
static void test_shifted_box(void **state)
{
    struct bench *bench = *state;
    static uint8_t a[20 * 20 * 20], b[20 * 20 * 20];
    for (int z = 5; z < 10; z++)
        for (int y = 5; y < 10; y++)
            for (int x = 5; x < 10; x++) {
                a[(z * 20 + y) * 20 + x] = 1;
                b[(z * 20 + y) * 20 + x + 2] = 1;
            }
    mitral_geometry geometry = grid(20, 20, 20, 1.25, 1, 1);
    mitral_overlap out[2];
    assert_ok(mitral_measure_overlap(out, bench->context, a, b, &geometry, 2));
    assert_true(near(out[1].dice, 2.0 * 75 / 250));
    assert_true(near(out[1].hausdorff_mm, 2.5));
    /* Each surface has 98 voxels, of which 25 lie 2.5 mm from the other: more than a twentieth. */
    assert_true(out[1].hausdorff95_mm == 2.5);
}

static void test_against_brute_force(void **state)
{
    struct bench *bench = *state;
    struct random random = random_start(5, 1);
    enum { X = 9, Y = 7, Z = 5, N = X * Y * Z };
    const int64_t size[3] = {X, Y, Z};
    for (int trial = 0; trial < 20; trial++) {
        uint8_t mask[N];
        double field[N];
        const double spacing[3] = {random_between(&random, 0.5, 3), random_between(&random, 0.5, 3),
                                   random_between(&random, 0.5, 12)};
        int set = 0;
        for (int i = 0; i < N; i++)
            set += mask[i] = random_index(&random, 40) == 0;
        mask[random_index(&random, N)] = 1;
        assert_ok(distance_squared(field, bench->context, mask, size, spacing));
        for (int i = 0; i < N; i++) {
            double least = INFINITY;
            for (int j = 0; j < N; j++) {
                if (!mask[j])
                    continue;
                double dx = (i % X - j % X) * spacing[0], dy = (i / X % Y - j / X % Y) * spacing[1],
                       dz = (i / X / Y - j / X / Y) * spacing[2];
                least = fmin(least, dx * dx + dy * dy + dz * dz);
            }
            assert_true(near(field[i], least));
        }
    }
}

static void test_ejection(void **state)
{
    (void)state;
    assert_true(near(mitral_ejection_fraction(120, 48), 60));
    assert_true(isnan(mitral_ejection_fraction(0, 0)));
    assert_true(mitral_ejection_fraction(100, 110) < 0);
}

static void test_summary(void **state)
{
    (void)state;
    const double values[5] = {2, NAN, 4, 9, NAN};
    mitral_summary s = mitral_summarise(values, 5);
    assert_int_equal(s.count, 3);
    assert_true(near(s.mean, 5) && near(s.deviation, sqrt(13)) && s.minimum == 2 && s.maximum == 9);
    s = mitral_summarise(values, 1);
    assert_true(s.count == 1 && s.deviation == 0);
    s = mitral_summarise(values + 1, 1);
    assert_true(s.count == 0 && isnan(s.mean) && isnan(s.minimum));
    s = mitral_summarise(NULL, 0);
    assert_int_equal(s.count, 0);
}

static void test_agreement(void **state)
{
    (void)state;
    const double a[4] = {10, 20, 33, NAN}, b[4] = {12, 20, 30, 5};
    mitral_agreement g = mitral_agree(a, b, 4);
    assert_int_equal(g.count, 3);
    double bias = 1.0 / 3, deviation = sqrt((pow(-2 - bias, 2) + pow(0 - bias, 2) + pow(3 - bias, 2)) / 2);
    assert_true(near(g.bias, bias) && near(g.lower, bias - 1.96 * deviation) && near(g.upper, bias + 1.96 * deviation));
    assert_true(g.correlation > 0.99 && g.correlation <= 1);
    g = mitral_agree(a, b, 1);
    assert_true(g.count == 1 && g.bias == -2 && isnan(g.lower) && isnan(g.correlation));
    g = mitral_agree(a, b, 2);
    assert_true(g.count == 2 && !isnan(g.lower) && isnan(g.correlation));
    g = mitral_agree(a + 3, b + 3, 1);
    assert_true(g.count == 0 && isnan(g.bias));
}

static void test_no_memory(void **state)
{
    struct bench *bench = *state;
    uint8_t a[64];
    for (int i = 0; i < 64; i++)
        a[i] = (uint8_t)(i % 3);
    mitral_geometry geometry = grid(4, 4, 4, 1, 1, 1);
    mitral_status status = MITRAL_NO_MEMORY;
    for (long n = 0; status != MITRAL_OK; n++) {
        assert_true(n < 200);
        mitral_overlap out[4];
        bench->left = n;
        status = mitral_measure_overlap(out, bench->context, a, a, &geometry, 4);
        if (status == MITRAL_OK)
            status = mitral_keep_largest(bench->context, a, geometry.size, 4);
        assert_true(status == MITRAL_OK || status == MITRAL_NO_MEMORY);
    }
    bench->left = -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_two_voxels, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_same_and_missing, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_shifted_box, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_against_brute_force, bench_setup, bench_teardown),
        cmocka_unit_test(test_ejection),
        cmocka_unit_test(test_summary),
        cmocka_unit_test(test_agreement),
        cmocka_unit_test_setup_teardown(test_no_memory, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
