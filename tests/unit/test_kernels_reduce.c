/* Reductions, running sums, generated and random tensors where the standard's suite does not look. */
#include "kernel_bench.h"

#include <math.h>
#include <string.h>

static void test_any_axes_against_plain_loops(void **state)
{
    (void)state;
    enum { A = 3, B = 5, C = 300, D = 4 }; /* C is longer than a block */
    static float values[A * B * C * D];
    for (int i = 0; i < A * B * C * D; i++)
        values[i] = (float)(i * 7919 % 1009) / 64 - 7;
    for (int mask = 1; mask < 16; mask++) {
        int64_t axes[4], dims[4] = {A, B, C, D};
        size_t count = 0;
        double want[A * B * C * D] = {0};
        for (int i = 0; i < 4; i++)
            if (mask >> i & 1)
                axes[count++] = i % 2 ? i : i - 4;
        int64_t outputs = 1;
        for (int i = 0; i < 4; i++)
            outputs *= mask >> i & 1 ? 1 : dims[i];
        for (int i = 0; i < A * B * C * D; i++) {
            int64_t index[4] = {i / (B * C * D), i / (C * D) % B, i / D % C, i % D}, at = 0;
            for (int d = 0; d < 4; d++)
                if (!(mask >> d & 1))
                    at = at * dims[d] + index[d];
            want[at] += (double)values[i];
        }
        struct bench bench;
        bench_open(&bench, "ReduceSum", 13);
        bench_int(&bench, "keepdims", 0);
        bench_input(&bench, MITRAL_FLOAT, 4, dims, values);
        bench_input(&bench, MITRAL_INT64, 1, DIMS((int64_t)count), axes);
        assert_ok(bench.context, bench_run(&bench));
        assert_int_equal(tensor_count(&bench.outputs[0].tensor), outputs);
        for (int64_t i = 0; i < outputs; i++) /* sums in double, rounded once */
            assert_true(fabs(tensor_get_double(&bench.outputs[0].tensor, i) - want[i]) <= 1e-6 * (1 + fabs(want[i])));
        bench_close(&bench);
    }
}

/* The same bits for any number of threads. */
static void test_thread_count_does_not_matter(void **state)
{
    (void)state;
    enum { ROWS = 40, COLUMNS = 2000 };
    static float values[ROWS * COLUMNS], first[COLUMNS + ROWS];
    for (int i = 0; i < ROWS * COLUMNS; i++)
        values[i] = sinf((float)i) * expf((float)(i % 11));
    for (int axis = 0; axis < 2; axis++)
        for (int threads = 1; threads <= 4; threads++) {
            struct bench bench;
            bench_open(&bench, "ReduceLogSumExp", 18);
            bench.call.threads = threads;
            const int64_t axes = axis;
            bench_input(&bench, MITRAL_FLOAT, 2, DIMS(ROWS, COLUMNS), values);
            bench_input(&bench, MITRAL_INT64, 1, DIMS(1), &axes);
            assert_ok(bench.context, bench_run(&bench));
            size_t bytes = tensor_bytes(&bench.outputs[0].tensor);
            if (threads == 1)
                memcpy(first, bench.outputs[0].tensor.data, bytes);
            assert_memory_equal(first, bench.outputs[0].tensor.data, bytes);
            bench_close(&bench);
        }
}

static void test_empty_sets(void **state)
{
    (void)state;
    const struct {
        const char *name;
        float want;
    } cases[] = {{"ReduceSum", 0},
                 {"ReduceProd", 1},
                 {"ReduceMax", -INFINITY},
                 {"ReduceMin", INFINITY},
                 {"ReduceLogSumExp", -INFINITY}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench bench;
        const int64_t axes = 1;
        bench_open(&bench, cases[i].name, 20);
        bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 0), &axes);
        bench_input(&bench, MITRAL_INT64, 1, DIMS(1), &axes);
        assert_ok(bench.context, bench_run(&bench));
        const float *found = bench.outputs[0].tensor.data;
        assert_true(found[0] == cases[i].want && found[1] == cases[i].want);
        bench_close(&bench);
    }
}

static void test_axes_not_known_yet(void **state)
{
    (void)state;
    struct bench bench;
    const float value = 1;
    bench_open(&bench, "ReduceSum", 13);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(1), &value);
    bench_input(&bench, MITRAL_INT64, 1, DIMS(1), NULL);
    assert_int_equal(bench_shape(&bench), MITRAL_DEFERRED);
    assert_int_equal(bench.outputs[0].tensor.dtype, MITRAL_FLOAT);
    bench_close(&bench);
    bench_open(&bench, "Range", 11);
    for (int i = 0; i < 3; i++)
        bench_input(&bench, MITRAL_INT64, 0, NULL, NULL);
    assert_int_equal(bench_shape(&bench), MITRAL_DEFERRED);
    assert_int_equal(bench.outputs[0].tensor.dtype, MITRAL_INT64);
    bench_close(&bench);
}

static void refuse_axis(const char *kernel, int opset, bool as_input, int64_t axis)
{
    static const float values[6] = {0};
    struct bench bench;
    bench_open(&bench, kernel, opset);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 3), values);
    if (as_input)
        bench_input(&bench, MITRAL_INT64, 1, DIMS(1), &axis);
    else if (strncmp(kernel, "Arg", 3) == 0)
        bench_int(&bench, "axis", axis);
    else
        bench_ints(&bench, "axes", &axis, 1);
    bench_refuses(&bench, MITRAL_INVALID);
}

static void test_bad_input(void **state)
{
    (void)state;
    struct bench bench;
    const float values[4] = {0};
    refuse_axis("ReduceMax", 20, true, 2);
    refuse_axis("ReduceMax", 13, false, -3);
    refuse_axis("ArgMax", 13, false, 2);
    refuse_axis("CumSum", 14, true, INT64_MIN);

    bench_open(&bench, "ReduceMean", 18); /* not of strings, and not of small integers */
    bench_input(&bench, MITRAL_UINT8, 1, DIMS(4), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "ReduceMean", 18); /* axes that are no integers */
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(4), values);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(1), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "ArgMin", 13); /* of nothing */
    bench_int(&bench, "axis", 1);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 0), values);
    bench_refuses(&bench, MITRAL_INVALID);

    const int64_t range[] = {INT64_MIN, INT64_MAX, 1, 0};
    bench_open(&bench, "Range", 11);
    for (int i = 0; i < 3; i++)
        bench_input(&bench, MITRAL_INT64, 0, NULL, &range[i]);
    bench_refuses(&bench, MITRAL_LIMIT);
    bench_open(&bench, "Range", 11);
    for (int i = 0; i < 3; i++)
        bench_input(&bench, MITRAL_INT64, 0, NULL, &range[i == 2 ? 3 : i]);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "ConstantOfShape", 9);
    bench_input(&bench, MITRAL_INT64, 1, DIMS(2), (const int64_t[]){1 << 20, -1});
    bench_refuses(&bench, MITRAL_INVALID);
    bench_open(&bench, "ConstantOfShape", 9);
    bench_input(&bench, MITRAL_INT64, 1, DIMS(2), (const int64_t[]){INT64_MAX, INT64_MAX});
    bench_refuses(&bench, MITRAL_LIMIT);

    bench_open(&bench, "EyeLike", 22);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(4), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "Multinomial", 22);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(4, 0), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "Bernoulli", 22);
    const float probability = 2;
    bench_input(&bench, MITRAL_FLOAT, 0, NULL, &probability);
    bench_refuses(&bench, MITRAL_INVALID);
}

/* Mean and deviation of 20,000 normal and uniform numbers, within five standard errors; another run draws others. */
static void test_random_numbers(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    for (int kind = 0; kind < 2; kind++) {
        double sum[2] = {0}, squares = 0;
        float first[2];
        for (int run = 0; run < 2; run++) {
            struct bench bench;
            bench_open(&bench, kind ? "RandomUniform" : "RandomNormal", 22);
            bench_int(&bench, "dtype", MITRAL_FLOAT);
            bench_ints(&bench, "shape", DIMS(COUNT), 1);
            assert_ok(bench.context, bench_run(&bench));
            const float *values = bench.outputs[0].tensor.data;
            first[run] = values[0];
            for (int i = 0; i < COUNT; i++) {
                sum[run] += (double)values[i];
                squares += (double)values[i] * (double)values[i];
            }
            bench_close(&bench);
        }
        double mean = (sum[0] + sum[1]) / (2 * COUNT), deviation = sqrt(squares / (2 * COUNT) - mean * mean);
        double want = kind ? 0.5 : 0, want_deviation = kind ? 0.288675 : 1, error = want_deviation / sqrt(2 * COUNT);
        assert_true(fabs(mean - want) < 5 * error && fabs(deviation - want_deviation) < 5 * error);
        assert_true(first[0] != first[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_axes_against_plain_loops), cmocka_unit_test(test_thread_count_does_not_matter),
        cmocka_unit_test(test_empty_sets), cmocka_unit_test(test_axes_not_known_yet), cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_random_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
