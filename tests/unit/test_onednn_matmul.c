/* onednn.matmul and onednn.gemm against the reference kernels: ranks, broadcasting, transposes, what follows, packed weights. */
#include <math.h>
#include <string.h>

#include "runtime/cpu.h"
#include "test_onednn_support.h"

/* Sums of up to 300 products of numbers below 1, in another order. */
static double tolerance_of(int32_t dtype) { return dtype == MITRAL_FLOAT ? 2e-5 : 0.02; }

static void expect(struct bench *bench, const char *kernel, bool known, const mitral_tensor *expected, int32_t dtype, bool fast)
{
    bench->outputs[0].tensor = (mitral_tensor){0};
    mitral_status status = bench_run(bench, kernel, known);
    if (status != MITRAL_OK)
        print_error("%s\n", mitral_context_message(bench->context));
    assert_int_equal(status, MITRAL_OK);
    double distance = bench_distance(bench, &bench->outputs[0].tensor, expected);
    if (!(distance <= tolerance_of(dtype)))
        print_error("%s by %s: distance %g\n", kernel, bench->description, distance);
    assert_true(distance <= tolerance_of(dtype));
    assert_null(strstr(bench->description, "ref"));
    const bool reference = strstr(bench->description, "MatMul") || strstr(bench->description, "Gemm");
    if (fast && reference)
        print_error("%s runs as %s\n", kernel, bench->description);
    assert_false(fast && reference);
}

struct shapes {
    int32_t a_rank, b_rank;
    int64_t a[5], b[5];
};

static const struct shapes matmuls[] = {
    {2, 2, {7, 33}, {33, 20}},
    {2, 2, {1, 300}, {300, 17}},
    {3, 2, {4, 6, 16}, {16, 8}},
    {3, 3, {4, 6, 16}, {4, 16, 8}},
    {4, 4, {2, 3, 10, 12}, {2, 3, 12, 9}},
    {4, 3, {2, 3, 10, 12}, {3, 12, 9}},
    {3, 4, {3, 10, 12}, {2, 1, 12, 9}},
    {1, 2, {12}, {12, 9}},
    {2, 1, {5, 12}, {12}},
    {1, 1, {12}, {12}},
    {3, 1, {2, 5, 12}, {12}},
    {2, 3, {5, 12}, {4, 12, 3}},
};

static void test_matmul(void **state)
{
    (void)state;
    static const int32_t dtypes[] = {MITRAL_FLOAT, MITRAL_BFLOAT16};
    for (size_t i = 0; i < sizeof matmuls / sizeof *matmuls; i++)
        for (int type = 0; type < 2; type++)
            for (int known = 0; known < 2; known++) {
                struct bench bench;
                bench_open(&bench);
                bench_input(&bench, dtypes[type], matmuls[i].a_rank, matmuls[i].a, 1);
                bench_input(&bench, dtypes[type], matmuls[i].b_rank, matmuls[i].b, 2);
                assert_int_equal(bench_run(&bench, "MatMul", true), MITRAL_OK);
                mitral_tensor expected = bench.outputs[0].tensor;
                expect(&bench, "onednn.matmul", known, &expected, dtypes[type], type == 0);
                if (bench.packed.data) { /* and again from what was packed */
                    bench.inputs[1].tensor = bench.packed;
                    expect(&bench, "onednn.matmul", known, &expected, dtypes[type], type == 0);
                    assert_null(bench.packed.data);
                }
                /* What would be cut into parts, each of which packs the weights again. */
                if (i == 0 && known && type == 0 && cpu_isa() == ISA_AVX2)
                    assert_non_null(strstr(bench.description, "conv"));
                bench_close(&bench);
            }
}

static void test_what_follows(void **state)
{
    (void)state;
    for (int form = 0; form < 8; form++) {
        struct bench bench;
        bench_open(&bench);
        const bool bias = form & 1, residual = form & 2, scaled = form & 4;
        bench_input(&bench, MITRAL_FLOAT, 3, (const int64_t[]){2, 6, 16}, 1);
        bench_input(&bench, MITRAL_FLOAT, 2, (const int64_t[]){16, 8}, 2);
        assert_int_equal(bench_run(&bench, "MatMul", true), MITRAL_OK);
        mitral_tensor expected = bench.outputs[0].tensor;
        mitral_tensor *b = bias ? bench_input(&bench, MITRAL_FLOAT, 1, (const int64_t[]){8}, 3) : bench_absent(&bench);
        mitral_tensor *r = residual ? bench_input(&bench, MITRAL_FLOAT, 3, expected.dims, 4) : NULL;
        if (scaled)
            bench_float(&bench, "alpha", 0.125f);
        bench_text(&bench, "activation", "Gelu");
        for (int64_t i = 0; i < tensor_count(&expected); i++) {
            double x = tensor_get_double(&expected, i) * (scaled ? 0.125 : 1) + (b ? tensor_get_double(b, i % 8) : 0)
                       + (r ? tensor_get_double(r, i) : 0);
            tensor_set_double(&expected, i, 0.5 * x * (1 + erf(x / sqrt(2))), false);
        }
        expect(&bench, "onednn.matmul", true, &expected, MITRAL_FLOAT, true);
        expect(&bench, "onednn.matmul", false, &expected, MITRAL_FLOAT, true);
        bench_close(&bench);
    }
}

static void test_gemm(void **state)
{
    (void)state;
    static const int64_t addends[][2] = {{0, 0}, {5, 9}, {1, 9}, {5, 1}, {1, 1}, {9, 0}};
    for (int transposes = 0; transposes < 4; transposes++)
        for (int c = 0; c < 6; c++)
            for (int factors = 0; factors < 4; factors++) {
                struct bench bench;
                bench_open(&bench);
                const bool ta = transposes & 1, tb = transposes & 2;
                bench_input(&bench, MITRAL_FLOAT, 2, ta ? (const int64_t[]){12, 5} : (const int64_t[]){5, 12}, 1);
                bench_input(&bench, MITRAL_FLOAT, 2, tb ? (const int64_t[]){9, 12} : (const int64_t[]){12, 9}, 2);
                if (c)
                    bench_input(&bench, MITRAL_FLOAT, addends[c][1] ? 2 : 1, addends[c], 3);
                bench_int(&bench, "transA", ta);
                bench_int(&bench, "transB", tb);
                bench_float(&bench, "alpha", factors & 1 ? 0.5f : 1);
                bench_float(&bench, "beta", factors & 2 ? 0.25f : 1);
                assert_int_equal(bench_run(&bench, "Gemm", true), MITRAL_OK);
                mitral_tensor expected = bench.outputs[0].tensor;
                /* oneDNN has nothing fast for an addend that is one column; one that is scaled and not known beforehand is left to
                 * the reference kernel too. */
                const bool column = c == 3;
                expect(&bench, "onednn.gemm", true, &expected, MITRAL_FLOAT, !column);
                expect(&bench, "onednn.gemm", false, &expected, MITRAL_FLOAT, !column && !(c && factors & 2));
                bench_close(&bench);
            }
}

/* Up to four rows are multiplied by the weights as they lie. */
static void test_few_rows(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{70, 37}, {3, 1}, {1, 5}, {130, 1100}, {64, 64}};
    for (int form = 0; form < 8; form++)
        for (int64_t rows = 1; rows <= 4; rows += 3)
            for (int size = 0; size < 5; size++) {
                struct bench bench;
                bench_open(&bench);
                const bool ta = form & 1, tb = form & 2, addend = form & 4;
                const int64_t k = sizes[size][0], n = sizes[size][1];
                bench_input(&bench, MITRAL_FLOAT, 2, ta ? (int64_t[]){k, rows} : (int64_t[]){rows, k}, 1);
                bench_input(&bench, MITRAL_FLOAT, 2, tb ? (int64_t[]){n, k} : (int64_t[]){k, n}, 2);
                if (addend)
                    bench_input(&bench, MITRAL_FLOAT, 1, &n, 3);
                bench_int(&bench, "transA", ta);
                bench_int(&bench, "transB", tb);
                bench_float(&bench, "alpha", 0.5f);
                assert_int_equal(bench_run(&bench, "Gemm", true), MITRAL_OK);
                mitral_tensor expected = bench.outputs[0].tensor;
                if (addend) {
                    bench_text(&bench, "activation", "Relu");
                    for (int64_t i = 0; i < tensor_count(&expected); i++)
                        if (tensor_get_double(&expected, i) < 0)
                            tensor_set_double(&expected, i, 0, false);
                }
                expect(&bench, "onednn.gemm", true, &expected, MITRAL_FLOAT, true);
                assert_non_null(strstr(bench.description, "few rows"));
                mitral_tensor one = bench.outputs[0].tensor;
                for (bench.threads = 2; bench.threads <= 3; bench.threads++) {
                    expect(&bench, "onednn.gemm", true, &expected, MITRAL_FLOAT, true);
                    assert_int_equal(memcmp(one.data, bench.outputs[0].tensor.data, tensor_bytes(&one)), 0);
                }
                bench_close(&bench);
            }
}

/* Bitwise equal for any number of threads, long sums of few outputs too. */
static void test_thread_count_does_not_change_the_result(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{8, 4096, 64}, {5, 2048, 16}, {197, 768, 96}, {64, 64, 1000}, {6, 9216, 10}};
    for (int i = 0; i < 5; i++)
        for (int known = 0; known < 2; known++) {
            struct bench bench;
            bench_open(&bench);
            bench_input(&bench, MITRAL_FLOAT, 2, (int64_t[]){sizes[i][0], sizes[i][1]}, 1);
            bench_input(&bench, MITRAL_FLOAT, 2, (int64_t[]){sizes[i][1], sizes[i][2]}, 2);
            assert_int_equal(bench_run(&bench, "onednn.matmul", known), MITRAL_OK);
            mitral_tensor one = bench.outputs[0].tensor;
            for (bench.threads = 2; bench.threads <= 8; bench.threads++) {
                bench.outputs[0].tensor = (mitral_tensor){0};
                assert_int_equal(bench_run(&bench, "onednn.matmul", known), MITRAL_OK);
                if (memcmp(one.data, bench.outputs[0].tensor.data, tensor_bytes(&one)) != 0)
                    print_error("sizes %d, known %d: %s differs with %d threads\n", i, known, bench.description, bench.threads);
                assert_int_equal(memcmp(one.data, bench.outputs[0].tensor.data, tensor_bytes(&one)), 0);
            }
            bench_close(&bench);
        }
}

static void test_other_types_take_the_reference_kernel(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    bench_input(&bench, MITRAL_DOUBLE, 2, (const int64_t[]){5, 12}, 1);
    bench_input(&bench, MITRAL_DOUBLE, 2, (const int64_t[]){12, 9}, 2);
    assert_int_equal(bench_run(&bench, "MatMul", true), MITRAL_OK);
    mitral_tensor expected = bench.outputs[0].tensor;
    bench_input(&bench, MITRAL_DOUBLE, 1, (const int64_t[]){9}, 3);
    bench_float(&bench, "alpha", 0.5f);
    for (int64_t i = 0; i < 45; i++)
        tensor_set_double(&expected, i, 0.5 * tensor_get_double(&expected, i) + tensor_get_double(&bench.inputs[2].tensor, i % 9), false);
    expect(&bench, "onednn.matmul", true, &expected, MITRAL_FLOAT, false);
    assert_non_null(strstr(bench.description, "MatMul"));
    bench_close(&bench);
}

static void test_empty_products(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    bench_input(&bench, MITRAL_FLOAT, 2, (const int64_t[]){5, 0}, 1);
    bench_input(&bench, MITRAL_FLOAT, 2, (const int64_t[]){0, 9}, 2);
    assert_int_equal(bench_run(&bench, "onednn.matmul", true), MITRAL_OK);
    for (int64_t i = 0; i < 45; i++)
        assert_true(tensor_get_double(&bench.outputs[0].tensor, i) == 0);
    bench_close(&bench);
    bench_open(&bench);
    bench_input(&bench, MITRAL_FLOAT, 2, (const int64_t[]){0, 4}, 1);
    bench_input(&bench, MITRAL_FLOAT, 2, (const int64_t[]){4, 9}, 2);
    assert_int_equal(bench_run(&bench, "onednn.matmul", true), MITRAL_OK);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_what_follows),
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_few_rows),
        cmocka_unit_test(test_thread_count_does_not_change_the_result),
        cmocka_unit_test(test_other_types_take_the_reference_kernel),
        cmocka_unit_test(test_empty_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
