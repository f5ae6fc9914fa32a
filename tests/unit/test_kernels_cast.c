/* Conversions where the standard's suite does not look: rounding once, strings, what cannot be converted. */
#include "kernel_bench.h"

#include <locale.h>
#include <math.h>
#include <string.h>

static mitral_status cast(struct bench *bench, int32_t from, int64_t count, const void *data, int64_t to)
{
    bench_open(bench, "Cast", 24);
    bench_int(bench, "to", to);
    bench_input(bench, from, 1, &count, data);
    return bench_run(bench);
}

/* A double just above the middle of two halves: rounded to float first it would lie on the middle and go to the even
 * one. */
static void test_rounds_once(void **state)
{
    (void)state;
    struct bench bench;
    const double value = 1 + 0x1p-11 + 0x1p-40;
    assert_ok(NULL, cast(&bench, MITRAL_DOUBLE, 1, &value, MITRAL_FLOAT16));
    assert_int_equal(*(const uint16_t *)bench.outputs[0].tensor.data, 0x3c01);
    bench_close(&bench);
    const double lower = 1 + 0x1p-8 + 0x1p-40;
    assert_ok(NULL, cast(&bench, MITRAL_DOUBLE, 1, &lower, MITRAL_BFLOAT16));
    assert_int_equal(*(const uint16_t *)bench.outputs[0].tensor.data, 0x3f81);
    bench_close(&bench);
    const int64_t whole = ((int64_t)1 << 62) + ((int64_t)1 << 54) + 1; /* 2^62 (1 + 2^-8 + a little) */
    assert_ok(NULL, cast(&bench, MITRAL_INT64, 1, &whole, MITRAL_BFLOAT16));
    assert_int_equal(*(const uint16_t *)bench.outputs[0].tensor.data, 0x5e81);
    bench_close(&bench);
}

/* Blocks of halves are converted by other code than single ones: the same bits, for floats of every exponent and all
 * halves. */
static void test_blocks_of_halves(void **state)
{
    (void)state;
    enum { COUNT = 1 << 15 };
    static float floats[COUNT];
    static uint16_t halves[COUNT];
    for (int32_t to = MITRAL_FLOAT16; to <= MITRAL_BFLOAT16; to += MITRAL_BFLOAT16 - MITRAL_FLOAT16) {
        for (uint32_t part = 0; part < 4; part++) {
            struct bench bench;
            for (uint32_t i = 0; i < COUNT; i++) {
                uint32_t bits = (part * COUNT + i) * 32749u;
                memcpy(&floats[i], &bits, sizeof(bits));
            }
            assert_ok(NULL, cast(&bench, MITRAL_FLOAT, COUNT, floats, to));
            const uint16_t *found = bench.outputs[0].tensor.data;
            for (uint32_t i = 0; i < COUNT; i++)
                if (!isnan(floats[i]))
                    assert_int_equal(found[i],
                                     to == MITRAL_FLOAT16 ? float_to_float16(floats[i]) : float_to_bfloat16(floats[i]));
                else
                    assert_true(to == MITRAL_FLOAT16 ? (found[i] & 0x7fff) > 0x7c00 : (found[i] & 0x7fff) > 0x7f80);
            bench_close(&bench);
        }
        for (uint32_t part = 0; part < 2; part++) {
            struct bench bench;
            for (uint32_t i = 0; i < COUNT; i++)
                halves[i] = (uint16_t)(part * COUNT + i);
            assert_ok(NULL, cast(&bench, to, COUNT, halves, MITRAL_FLOAT));
            const float *found = bench.outputs[0].tensor.data;
            for (uint32_t i = 0; i < COUNT; i++) {
                float want = to == MITRAL_FLOAT16 ? float16_to_float(halves[i]) : bfloat16_to_float(halves[i]);
                assert_true(isnan(want) ? isnan(found[i]) : found[i] == want && !signbit(found[i]) == !signbit(want));
            }
            bench_close(&bench);
        }
    }
}

static void test_out_of_range_is_defined(void **state)
{
    (void)state;
    struct bench bench;
    const float values[4] = {1e30f, -1e30f, NAN, 300};
    for (int32_t to = 1; to < MITRAL_DTYPE_COUNT; to++) {
        if (!dtype_is_integer(to))
            continue;
        assert_ok(NULL, cast(&bench, MITRAL_FLOAT, 4, values, to));
        bench_close(&bench);
    }
    assert_ok(NULL, cast(&bench, MITRAL_FLOAT, 4, values, MITRAL_UINT8));
    assert_int_equal(((const uint8_t *)bench.outputs[0].tensor.data)[3], 300 & 255);
    bench_close(&bench);
}

static void expect_strings(const struct bench *bench, const char *const *want, size_t count)
{
    const mitral_string *found = bench->outputs[0].tensor.data;
    for (size_t i = 0; i < count; i++)
        if (found[i].size != strlen(want[i]) || memcmp(found[i].data, want[i], found[i].size) != 0)
            fail_msg("string %zu: '%s' expected, found '%.*s'", i, want[i], (int)found[i].size, found[i].data);
}

static void test_numbers_to_strings(void **state)
{
    (void)state;
    /* A decimal comma must not get in, whatever the process's locale. */
    setlocale(LC_ALL, "de_DE.UTF-8");
    struct bench bench;
    const float floats[] = {0, -0.0f, 1, 0.1f, 314.15926f, 1e-5f, 1e20f, INFINITY, -INFINITY, NAN, 123456.79f};
    const char *const want[] = {"0.0",   "-0.0", "1.0",  "0.1", "314.15927", "1e-05",
                                "1e+20", "inf",  "-inf", "nan", "123456.79"};
    assert_ok(NULL, cast(&bench, MITRAL_FLOAT, 11, floats, MITRAL_STRING));
    expect_strings(&bench, want, 11);
    bench_close(&bench);
    const uint16_t halves[] = {0x2e66, 0x3c00}; /* 0.1 and 1 */
    assert_ok(NULL, cast(&bench, MITRAL_FLOAT16, 2, halves, MITRAL_STRING));
    expect_strings(&bench, (const char *const[]){"0.1", "1.0"}, 2);
    bench_close(&bench);
    const uint64_t large = UINT64_MAX;
    assert_ok(NULL, cast(&bench, MITRAL_UINT64, 1, &large, MITRAL_STRING));
    expect_strings(&bench, (const char *const[]){"18446744073709551615"}, 1);
    bench_close(&bench);
    setlocale(LC_ALL, "C");
}

#define TEXT(literal) {literal, sizeof(literal) - 1}

static void test_strings_to_numbers(void **state)
{
    (void)state;
    struct bench bench;
    const mitral_string texts[] = {TEXT("1.5"), TEXT(" -2e3 "), TEXT("+INF"), TEXT("-inf"), TEXT("NaN"), TEXT("7")};
    assert_ok(NULL, cast(&bench, MITRAL_STRING, 6, texts, MITRAL_FLOAT));
    const float *floats = bench.outputs[0].tensor.data;
    assert_true(floats[0] == 1.5f && floats[1] == -2000 && floats[2] == INFINITY && floats[3] == -INFINITY
                && isnan(floats[4]));
    bench_close(&bench);
    const mitral_string wholes[] = {TEXT("9223372036854775807"), TEXT("-9223372036854775808"), TEXT("100.5")};
    assert_ok(NULL, cast(&bench, MITRAL_STRING, 3, wholes, MITRAL_INT64));
    const int64_t *ints = bench.outputs[0].tensor.data;
    assert_true(ints[0] == INT64_MAX && ints[1] == INT64_MIN && ints[2] == 100);
    bench_close(&bench);
    const mitral_string bad[] = {TEXT("Hello"),  TEXT(""),       TEXT("0x10"), TEXT("1,5"),
                                 TEXT("nan(1)"), TEXT("1\0002"), TEXT("--1")};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        bench_open(&bench, "Cast", 24);
        bench_int(&bench, "to", i % 2 ? MITRAL_INT32 : MITRAL_FLOAT);
        bench_input(&bench, MITRAL_STRING, 0, NULL, &bad[i]);
        bench_refuses(&bench, MITRAL_INVALID);
    }
}

static void test_bad_input(void **state)
{
    (void)state;
    struct bench bench;
    const float value = 1;
    const int64_t wrong[] = {0, -1, 99, MITRAL_COMPLEX64, INT64_MAX};
    for (size_t i = 0; i < 5; i++) {
        bench_open(&bench, "Cast", 24);
        bench_int(&bench, "to", wrong[i]);
        bench_input(&bench, MITRAL_FLOAT, 0, NULL, &value);
        bench_refuses(&bench, MITRAL_UNSUPPORTED);
    }
    bench_open(&bench, "Cast", 24);
    bench_int(&bench, "to", MITRAL_FLOAT8E8M0);
    bench_text(&bench, "round_mode", "sideways");
    bench_input(&bench, MITRAL_FLOAT, 0, NULL, &value);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "BitCast", 26);
    bench_int(&bench, "to", MITRAL_INT16);
    bench_input(&bench, MITRAL_FLOAT, 0, NULL, &value);
    bench_refuses(&bench, MITRAL_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rounds_once),
                                       cmocka_unit_test(test_blocks_of_halves),
                                       cmocka_unit_test(test_out_of_range_is_defined),
                                       cmocka_unit_test(test_numbers_to_strings),
                                       cmocka_unit_test(test_strings_to_numbers),
                                       cmocka_unit_test(test_bad_input)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
