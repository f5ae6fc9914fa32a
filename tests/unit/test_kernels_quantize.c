/* Quantization and products of quantized tensors where the standard's suite does not look. */
#include "kernel_bench.h"

#include <math.h>
#include <string.h>

static void test_rounding_and_saturation(void **state)
{
    (void)state;
    struct bench bench;
    const float values[] = {0.5f, 1.5f, 2.5f, -0.5f, 1e30f, -1e30f, NAN, INFINITY}, scale = 1;
    const uint8_t zero = 3; /* odd: rounding after the zero point was added would take the other neighbour */
    const int want[] = {3, 5, 5, 3, 255, 0, 0, 255};
    bench_open(&bench, "QuantizeLinear", 13);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(8), values);
    bench_input(&bench, MITRAL_FLOAT, 0, NULL, &scale);
    bench_input(&bench, MITRAL_UINT8, 0, NULL, &zero);
    assert_ok(bench.context, bench_run(&bench));
    for (int i = 0; i < 8; i++)
        assert_int_equal(((const uint8_t *)bench.outputs[0].tensor.data)[i], want[i]);
    bench_close(&bench);
}

/* As many elements as fill vectors, from beyond one bound to beyond the other in eighths, both types. */
static void test_every_eighth(void **state)
{
    (void)state;
    enum { COUNT = 4801 };
    static float values[COUNT];
    const float scale = 0.5f;
    for (int i = 0; i < COUNT; i++)
        values[i] = (float)(i - COUNT / 2) / 16;
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        struct bench bench;
        const uint8_t zero = is_signed ? (uint8_t)-77 : 201;
        const int offset = is_signed ? -77 : 201, low = is_signed ? -128 : 0, high = is_signed ? 127 : 255;
        bench_open(&bench, "QuantizeLinear", 13);
        bench_input(&bench, MITRAL_FLOAT, 1, DIMS(COUNT), values);
        bench_input(&bench, MITRAL_FLOAT, 0, NULL, &scale);
        bench_input(&bench, is_signed ? MITRAL_INT8 : MITRAL_UINT8, 0, NULL, &zero);
        assert_ok(bench.context, bench_run(&bench));
        for (int i = 0; i < COUNT; i++) {
            const double whole = rint((double)values[i] / 0.5) + offset, want = whole < low ? low : whole > high ? high : whole;
            const void *data = bench.outputs[0].tensor.data;
            assert_int_equal(is_signed ? ((const int8_t *)data)[i] : ((const uint8_t *)data)[i], (int)want);
        }
        bench_close(&bench);
    }
}

/* Blocks of 2 along an axis of 5: the last block is short. */
static void test_short_last_block(void **state)
{
    (void)state;
    struct bench bench;
    const int8_t values[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    const float scales[] = {1, 10, 100, 2, 20, 200}, want[] = {1, 2, 30, 40, 500, 12, 14, 160, 180, 2000};
    bench_open(&bench, "DequantizeLinear", 21);
    bench_int(&bench, "axis", 1);
    bench_int(&bench, "block_size", 2);
    bench_input(&bench, MITRAL_INT8, 2, DIMS(2, 5), values);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 3), scales);
    assert_ok(bench.context, bench_run(&bench));
    bench_expect_floats(&bench, 0, want, 10, 0);
    bench_close(&bench);
}

/* The largest differences and a long sum: 255 * 255 * 40000 passes 2^31 and wraps, as 32-bit sums do. */
static void test_long_sums_wrap(void **state)
{
    (void)state;
    enum { K = 40000 };
    static uint8_t a[K], b[K];
    memset(a, 255, sizeof(a));
    memset(b, 255, sizeof(b));
    struct bench bench;
    bench_open(&bench, "MatMulInteger", 10);
    bench_input(&bench, MITRAL_UINT8, 2, DIMS(1, K), a);
    bench_input(&bench, MITRAL_UINT8, 2, DIMS(K, 1), b);
    assert_ok(bench.context, bench_run(&bench));
    assert_int_equal(*(const int32_t *)bench.outputs[0].tensor.data, (int32_t)(uint32_t)(255ull * 255ull * K));
    bench_close(&bench);
}

static void test_all_zero_dynamic(void **state)
{
    (void)state;
    struct bench bench;
    const float values[3] = {0};
    bench_open(&bench, "DynamicQuantizeLinear", 11);
    bench.call.output_count = 3;
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(3), values);
    assert_ok(bench.context, bench_run(&bench));
    assert_true(*(const float *)bench.outputs[1].tensor.data > 0);
    assert_int_equal(*(const uint8_t *)bench.outputs[2].tensor.data, 0);
    bench_close(&bench);
}

static void test_bad_input(void **state)
{
    (void)state;
    struct bench bench;
    const float values[12] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const uint8_t bytes[64] = {0};

    bench_open(&bench, "QuantizeLinear", 13); /* an axis of 3, 2 scales */
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 3), values);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(2), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "QuantizeLinear", 13); /* another shape of zero points */
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 3), values);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(3), values);
    bench_input(&bench, MITRAL_UINT8, 1, DIMS(2), bytes);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "QuantizeLinear", 21); /* an output type that is none */
    bench_int(&bench, "output_dtype", MITRAL_DOUBLE);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(3), values);
    bench_input(&bench, MITRAL_FLOAT, 0, NULL, values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "DequantizeLinear", 21); /* blocks that do not cover the axis */
    bench_int(&bench, "axis", 0);
    bench_int(&bench, "block_size", 2);
    bench_input(&bench, MITRAL_UINT8, 2, DIMS(6, 2), bytes);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 2), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "MatMulInteger", 10); /* inner sizes differ */
    bench_input(&bench, MITRAL_UINT8, 2, DIMS(2, 3), bytes);
    bench_input(&bench, MITRAL_UINT8, 2, DIMS(2, 3), bytes);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "MatMulInteger", 10); /* zero points for no dimension there is */
    bench_input(&bench, MITRAL_UINT8, 2, DIMS(2, 3), bytes);
    bench_input(&bench, MITRAL_UINT8, 2, DIMS(3, 2), bytes);
    bench_input(&bench, MITRAL_UINT8, 1, DIMS(5), bytes);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "ConvInteger", 10); /* a vector is no image */
    bench_input(&bench, MITRAL_UINT8, 1, DIMS(4), bytes);
    bench_input(&bench, MITRAL_UINT8, 1, DIMS(4), bytes);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "QLinearConv", 10); /* inputs are missing */
    bench_input(&bench, MITRAL_UINT8, 4, DIMS(1, 1, 3, 3), bytes);
    bench_refuses(&bench, MITRAL_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rounding_and_saturation), cmocka_unit_test(test_every_eighth),
                                       cmocka_unit_test(test_short_last_block), cmocka_unit_test(test_long_sums_wrap),
                                       cmocka_unit_test(test_all_zero_dynamic), cmocka_unit_test(test_bad_input)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
