/* Elementwise kernels where the standard's suite does not look: layouts, broadcasting beside them, bad input. */
#include "kernel_bench.h"

#include <string.h>

/* [1, 3, 2, 2] in channels-last order: element (c, y, x) is 100 c + 10 y + x. */
static const float channels_last[12] = {0, 100, 200, 1, 101, 201, 10, 110, 210, 11, 111, 211};

static void test_channels_last_with_channel_vector(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, "Add", 14);
    bench_input(&bench, MITRAL_FLOAT, 4, DIMS(1, 3, 2, 2), channels_last)->layout = LAYOUT_CHANNELS_LAST;
    bench_input(&bench, MITRAL_FLOAT, 3, DIMS(3, 1, 1), (const float[]){1000, 2000, 3000});
    assert_ok(bench.context, bench_run(&bench));
    assert_int_equal(bench.outputs[0].tensor.layout, LAYOUT_CHANNELS_LAST);
    const float want[12] = {1000, 2100, 3200, 1001, 2101, 3201, 1010, 2110, 3210, 1011, 2111, 3211};
    bench_expect_floats(&bench, 0, want, 12, 0);
    bench_close(&bench);
}

static void test_layouts_mixed(void **state)
{
    (void)state;
    const float plain[12] = {0, 1, 10, 11, 100, 101, 110, 111, 200, 201, 210, 211};
    struct bench bench;
    bench_open(&bench, "Sub", 14);
    bench_input(&bench, MITRAL_FLOAT, 4, DIMS(1, 3, 2, 2), plain);
    bench_input(&bench, MITRAL_FLOAT, 4, DIMS(1, 3, 2, 2), channels_last)->layout = LAYOUT_CHANNELS_LAST;
    assert_ok(bench.context, bench_run(&bench));
    assert_int_equal(bench.outputs[0].tensor.layout, LAYOUT_PLAIN);
    const float want[12] = {0};
    bench_expect_floats(&bench, 0, want, 12, 0);
    bench_close(&bench);
}

/* Long enough for several blocks and threads; every broadcast kind against a plain loop. */
static void test_long_broadcasts(void **state)
{
    (void)state;
    enum { ROWS = 37, COLUMNS = 1201 };
    static float a[ROWS * COLUMNS], row[COLUMNS], column[ROWS], want[ROWS * COLUMNS];
    for (int i = 0; i < ROWS * COLUMNS; i++)
        a[i] = (float)(i % 251) - 100;
    for (int i = 0; i < COLUMNS; i++)
        row[i] = (float)(i % 13);
    for (int i = 0; i < ROWS; i++)
        column[i] = (float)i / 2;
    for (int kind = 0; kind < 4; kind++) {
        struct bench bench;
        bench_open(&bench, "Mul", 14);
        bench_input(&bench, MITRAL_FLOAT, 2, DIMS(ROWS, COLUMNS), a);
        if (kind == 0)
            bench_input(&bench, MITRAL_FLOAT, 2, DIMS(ROWS, COLUMNS), a);
        else if (kind == 1)
            bench_input(&bench, MITRAL_FLOAT, 1, DIMS(COLUMNS), row);
        else if (kind == 2)
            bench_input(&bench, MITRAL_FLOAT, 2, DIMS(ROWS, 1), column);
        else
            bench_input(&bench, MITRAL_FLOAT, 0, NULL, column + 3);
        for (int i = 0; i < ROWS * COLUMNS; i++)
            want[i] = a[i]
                    * (kind == 0   ? a[i]
                       : kind == 1 ? row[i % COLUMNS]
                       : kind == 2 ? column[i / COLUMNS]
                                   : column[3]);
        assert_ok(bench.context, bench_run(&bench));
        bench_expect_floats(&bench, 0, want, ROWS * COLUMNS, 0);
        bench_close(&bench);
    }
}

static void test_bad_input(void **state)
{
    (void)state;
    struct bench bench;
    const float values[6] = {0};

    bench_open(&bench, "Add", 14);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "Add", 14);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(2), values);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(3), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "Add", 14);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(2), values);
    bench_input(&bench, MITRAL_INT32, 1, DIMS(2), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "Sqrt", 13);
    bench_input(&bench, MITRAL_STRING, 1, DIMS(0), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "Gelu", 20);
    bench_text(&bench, "approximate", "roughly");
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(2), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "BitShift", 11);
    bench_input(&bench, MITRAL_UINT8, 1, DIMS(2), values);
    bench_input(&bench, MITRAL_UINT8, 1, DIMS(2), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "PRelu", 16);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(3), values);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 3), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "Clip", 13);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(3), values);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(2), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "Where", 16);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(3), values);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(3), values);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(3), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "Add", 14); /* broadcasting to more than the context allows */
    static const float many[1 << 10];
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(1 << 10, 1), many);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(1, 1 << 10), many);
    bench_refuses(&bench, MITRAL_LIMIT);
}

static void test_integer_corners(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, "Div", 14);
    bench_input(&bench, MITRAL_INT32, 1, DIMS(3), (const int32_t[]){INT32_MIN, 7, -7});
    bench_input(&bench, MITRAL_INT32, 1, DIMS(3), (const int32_t[]){-1, 0, 2});
    assert_ok(bench.context, bench_run(&bench));
    const int32_t *quotients = bench.outputs[0].tensor.data;
    assert_int_equal(quotients[0], INT32_MIN);
    assert_int_equal(quotients[1], 0);
    assert_int_equal(quotients[2], -3);
    bench_close(&bench);

    bench_open(&bench, "Mod", 13);
    bench_input(&bench, MITRAL_INT64, 1, DIMS(3), (const int64_t[]){INT64_MIN, 7, -7});
    bench_input(&bench, MITRAL_INT64, 1, DIMS(3), (const int64_t[]){-1, 0, 3});
    assert_ok(bench.context, bench_run(&bench));
    const int64_t *remainders = bench.outputs[0].tensor.data;
    assert_int_equal(remainders[0], 0);
    assert_int_equal(remainders[1], 0);
    assert_int_equal(remainders[2], 2);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_channels_last_with_channel_vector),
                                       cmocka_unit_test(test_layouts_mixed), cmocka_unit_test(test_long_broadcasts),
                                       cmocka_unit_test(test_bad_input), cmocka_unit_test(test_integer_corners)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
