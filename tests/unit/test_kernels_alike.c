/* Reference kernels of convolution, pooling, normalization, products, recurrent layers, transforms, attention and
 * losses: the same bits for any number of threads, and the same numbers, to its precision, in every type. */
#include <math.h>
#include <string.h>

#include "kernel_calls.h"

static const int64_t labels[] = {0, 4, 2, 1, 3, 3, 0, 2, 1, 4, 0, 2, 3, 1, 2, 0, 4, 4, 1, 0, 2, 3, 1, 0};
static const int64_t lengths[] = {5, 2, 3}, eight[] = {8}, four[] = {4}, image[] = {6, 7}, block[] = {2, 3},
                     valid[] = {4, 6};

static const struct call_case calls[] = {
    {NULL, "Conv", .inputs = {INPUT(4, 2, 6, 13, 11), INPUT(4, 10, 3, 3, 2), INPUT(1, 10)},
     .attributes = {INT("group", 2), INTS("pads", 4, 1, 0, 2, 1), INTS("strides", 2, 2, 1),
                    INTS("dilations", 2, 1, 3)}},
    {NULL, "Conv", .inputs = {INPUT(5, 1, 3, 5, 6, 7), INPUT(5, 5, 3, 2, 3, 2)},
     .attributes = {TEXT("auto_pad", "SAME_UPPER")}},
    {NULL, "ConvTranspose", .inputs = {INPUT(4, 2, 6, 5, 4), INPUT(4, 6, 2, 3, 3), INPUT(1, 4)},
     .attributes = {INT("group", 2), INTS("strides", 2, 2, 3), INTS("pads", 4, 1, 0, 0, 1),
                    INTS("output_padding", 2, 1, 0)}},
    {NULL, "DeformConv",
     .inputs = {INPUT(4, 2, 4, 6, 5), INPUT(4, 6, 2, 3, 2), INPUT(4, 2, 24, 4, 4), INPUT(1, 6), INPUT(4, 2, 12, 4, 4)},
     .attributes = {INT("group", 2), INT("offset_group", 2)}},
    {NULL, "Col2Im",
     .inputs = {INPUT(3, 2, 18, 25), INTEGERS(MITRAL_INT64, image, 1, 2), INTEGERS(MITRAL_INT64, block, 1, 2)}},
    {NULL, "CausalConvWithState", .outputs = 2,
     .inputs = {INPUT(3, 2, 5, 9), INPUT(3, 5, 1, 4), INPUT(1, 5), INPUT(3, 2, 5, 3)},
     .attributes = {TEXT("activation", "silu")}},
    {NULL, "MaxPool", .outputs = 2, .inputs = {INPUT(4, 2, 3, 9, 8)},
     .attributes = {INTS("kernel_shape", 2, 3, 2), INTS("strides", 2, 2, 2), INTS("pads", 4, 1, 1, 1, 0),
                    INT("ceil_mode", 1)}},
    {NULL, "MaxPool", .inputs = {INPUT(5, 2, 3, 5, 6, 7)},
     .attributes = {INTS("kernel_shape", 3, 2, 3, 2), INTS("dilations", 3, 2, 1, 3)}},
    {NULL, "AveragePool", .inputs = {INPUT(4, 2, 3, 9, 8)},
     .attributes = {INTS("kernel_shape", 2, 3, 4), INTS("strides", 2, 2, 3), INTS("pads", 4, 1, 1, 1, 2),
                    INT("count_include_pad", 1)}},
    {NULL, "LpPool", .inputs = {INPUT(4, 2, 3, 9, 8)}, .attributes = {INTS("kernel_shape", 2, 3, 2), INT("p", 3)}},
    {NULL, "GlobalAveragePool", .inputs = {INPUT(4, 2, 3, 9, 8)}},
    {NULL, "GlobalMaxPool", .inputs = {INPUT(4, 2, 3, 9, 8)}},
    {NULL, "BatchNormalization", .outputs = 3,
     .inputs = {INPUT(4, 3, 5, 4, 4), INPUT(1, 5), INPUT(1, 5), INPUT(1, 5), INPUT(1, 5)},
     .attributes = {INT("training_mode", 1)}},
    {NULL, "InstanceNormalization", .inputs = {INPUT(4, 2, 5, 4, 4), INPUT(1, 5), INPUT(1, 5)}},
    {NULL, "GroupNormalization", .inputs = {INPUT(4, 2, 6, 4, 4), INPUT(1, 6), INPUT(1, 6)},
     .attributes = {INT("num_groups", 3)}},
    {NULL, "LayerNormalization", .outputs = 3, .inputs = {INPUT(4, 2, 3, 4, 5), INPUT(2, 4, 5), INPUT(1, 5)},
     .attributes = {INT("axis", 2)}},
    {NULL, "RMSNormalization", .inputs = {INPUT(4, 2, 3, 4, 5), INPUT(1, 5)}},
    {NULL, "LpNormalization", .inputs = {INPUT(4, 2, 3, 4, 5)}, .attributes = {INT("axis", 1)}},
    {NULL, "LRN", .inputs = {INPUT(4, 2, 7, 4, 5)}, .attributes = {INT("size", 3), REAL_ATTRIBUTE("alpha", 0.5f)}},
    {NULL, "MeanVarianceNormalization", .inputs = {INPUT(4, 2, 3, 4, 5)}},
    {NULL, "Softmax", .inputs = {INPUT(4, 2, 5, 4, 7)}, .attributes = {INT("axis", 1)}},
    {NULL, "LogSoftmax", .inputs = {INPUT(4, 2, 5, 4, 7)}, .attributes = {INT("axis", -1)}},
    {NULL, "Hardmax", .inputs = {INPUT(4, 2, 5, 4, 7)}, .attributes = {INT("axis", 2)}},
    {NULL, "MatMul", .inputs = {INPUT(4, 2, 3, 37, 70), INPUT(3, 3, 70, 29)}},
    {NULL, "Gemm", .inputs = {INPUT(2, 40, 33), INPUT(2, 25, 40), INPUT(2, 33, 1)},
     .attributes = {INT("transA", 1), INT("transB", 1), REAL_ATTRIBUTE("alpha", 0.5f), REAL_ATTRIBUTE("beta", 2)}},
    {NULL, "Det", .inputs = {INPUT(3, 4, 5, 5)}},
    {NULL, "Einsum", .inputs = {INPUT(3, 2, 7, 5), INPUT(3, 2, 5, 6), INPUT(2, 6, 3)},
     .attributes = {TEXT("equation", "bij,bjk,kl->bil")}},
    {NULL, "RNN", .outputs = 2, .inputs = {INPUT(3, 5, 3, 4), INPUT(3, 2, 6, 4), INPUT(3, 2, 6, 6), INPUT(2, 2, 12)},
     .attributes = {TEXT("direction", "bidirectional")}},
    {NULL, "GRU", .outputs = 2,
     .inputs = {INPUT(3, 5, 3, 4), INPUT(3, 1, 18, 4), INPUT(3, 1, 18, 6), ABSENT,
                INTEGERS(MITRAL_INT32, lengths, 1, 3)},
     .attributes = {TEXT("direction", "reverse"), INT("linear_before_reset", 1)}},
    {NULL, "LSTM", .outputs = 3,
     .inputs = {INPUT(3, 3, 5, 4), INPUT(3, 1, 24, 4), INPUT(3, 1, 24, 6), ABSENT, ABSENT, INPUT(3, 3, 1, 6),
                INPUT(3, 3, 1, 6), INPUT(2, 1, 18)},
     .attributes = {INT("layout", 1), REAL_ATTRIBUTE("clip", 0.75f)}},
    {NULL, "DFT", .opset = 17, .inputs = {INPUT(4, 2, 30, 3, 2)}},
    {NULL, "DFT", .opset = 17, .inputs = {INPUT(4, 2, 37, 3, 1)}, .attributes = {INT("onesided", 1)}},
    {NULL, "STFT",
     .inputs = {INPUT(3, 2, 40, 1), INTEGERS(MITRAL_INT64, four, 0), ABSENT, INTEGERS(MITRAL_INT64, eight, 0)}},
    {NULL, "Attention", .outputs = 4,
     .inputs = {INPUT(4, 2, 4, 5, 6), INPUT(4, 2, 2, 7, 6), INPUT(4, 2, 2, 7, 3), INPUT(2, 5, 7)},
     .attributes = {INT("is_causal", 1), REAL_ATTRIBUTE("softcap", 2), INT("qk_matmul_output_mode", 3)}},
    {NULL, "Attention", .opset = 25,
     .inputs = {INPUT(3, 2, 3, 8), INPUT(3, 2, 7, 8), INPUT(3, 2, 7, 6), ABSENT, ABSENT, ABSENT,
                INTEGERS(MITRAL_INT64, valid, 1, 2)},
     .attributes = {INT("q_num_heads", 2), INT("kv_num_heads", 2), INT("left_window_size", 3),
                    INT("right_window_size", 1)}},
    {NULL, "RotaryEmbedding", .inputs = {INPUT(4, 2, 3, 4, 8), INPUT(3, 2, 4, 4), INPUT(3, 2, 4, 4)}},
    {NULL, "LinearAttention", .outputs = 2,
     .inputs = {INPUT(3, 2, 5, 8), INPUT(3, 2, 5, 4), INPUT(3, 2, 5, 6), INPUT(4, 2, 2, 2, 3), INPUT(3, 2, 5, 2),
                INPUT(3, 2, 5, 1)},
     .attributes = {INT("q_num_heads", 4), INT("kv_num_heads", 2)}},
    {NULL, "SoftmaxCrossEntropyLoss", .outputs = 2,
     .inputs = {INPUT(4, 4, 5, 3, 2), INTEGERS(MITRAL_INT64, labels, 3, 4, 3, 2), INPUT(1, 5)},
     .attributes = {INT("ignore_index", 4), TEXT("reduction", "sum")}},
    {NULL, "NegativeLogLikelihoodLoss", .inputs = {INPUT(4, 4, 5, 3, 2), INTEGERS(MITRAL_INT32, labels, 3, 4, 3, 2)},
     .attributes = {TEXT("reduction", "none")}},
    {NULL, "microsoft.FusedMatMul", .inputs = {INPUT(3, 5, 2, 30), INPUT(3, 7, 2, 30)},
     .attributes = {INT("transBatchA", 1), INT("transBatchB", 1), INT("transB", 1)}},
    {NULL, "microsoft.SkipLayerNormalization",
     .inputs = {INPUT(3, 2, 3, 8), INPUT(3, 1, 3, 8), INPUT(1, 8), INPUT(1, 8), INPUT(1, 8)}},
    {NULL, "microsoft.Attention", .outputs = 2,
     .inputs = {INPUT(3, 2, 5, 6), INPUT(2, 6, 24), INPUT(1, 24), ABSENT, INPUT(5, 2, 2, 2, 3, 4)},
     .attributes = {INT("num_heads", 2), INT("unidirectional", 1)}},
};
enum { CALLS = sizeof(calls) / sizeof(*calls) };

static void test_threads(void **state)
{
    (void)state;
    for (size_t i = 0; i < CALLS; i++) {
        struct bench one;
        call_open(&one, &calls[i], MITRAL_FLOAT);
        if (bench_run(&one, calls[i].kernel, true) != MITRAL_OK)
            fail_msg("%s: %s", calls[i].kernel, mitral_context_message(one.context));
        for (int threads = 2; threads <= 7; threads += threads == 3 ? 4 : 1) {
            struct bench many;
            call_open(&many, &calls[i], MITRAL_FLOAT);
            many.threads = threads;
            assert_int_equal(bench_run(&many, calls[i].kernel, true), MITRAL_OK);
            for (size_t j = 0; j < one.output_count; j++) {
                const mitral_tensor *a = &one.outputs[j].tensor, *b = &many.outputs[j].tensor;
                assert_true(tensor_same_shape(a, b));
                if (memcmp(a->data, b->data, tensor_bytes(a)) != 0)
                    fail_msg("%s (call %zu), output %zu: %d threads change bits", calls[i].kernel, i, j, threads);
            }
            bench_close(&many);
        }
        bench_close(&one);
    }
}

/* The inputs rounded to the narrower of two types, so that both compute with the same numbers. */
static void round_inputs(struct bench *bench, int32_t dtype)
{
    const int64_t one = 1;
    for (size_t i = 0; i < bench->input_count; i++) {
        if (!bench->input_list[i] || !dtype_is_float(bench->inputs[i].tensor.dtype))
            continue;
        mitral_tensor *tensor = &bench->inputs[i].tensor, narrow;
        uint64_t storage;
        tensor_set(&narrow, dtype, 1, &one);
        narrow.data = &storage;
        for (int64_t j = 0; j < tensor_count(tensor); j++) {
            tensor_set_double(&narrow, 0, tensor_get_double(tensor, j), true);
            tensor_set_double(tensor, j, tensor_get_double(&narrow, 0), true);
        }
    }
}

static void check_type(int32_t dtype, double tolerance)
{
    for (size_t i = 0; i < CALLS; i++) {
        struct bench plain, other;
        /* These take no double. */
        if (dtype == MITRAL_DOUBLE
            && (strcmp(calls[i].kernel, "RotaryEmbedding") == 0 || strcmp(calls[i].kernel, "LinearAttention") == 0))
            continue;
        call_open(&plain, &calls[i], MITRAL_FLOAT);
        call_open(&other, &calls[i], dtype);
        const int32_t narrower = dtype == MITRAL_DOUBLE ? MITRAL_FLOAT : dtype;
        round_inputs(&plain, narrower);
        round_inputs(&other, narrower);
        assert_int_equal(bench_run(&plain, calls[i].kernel, true), MITRAL_OK);
        if (bench_run(&other, calls[i].kernel, true) != MITRAL_OK)
            fail_msg("%s: %s", calls[i].kernel, mitral_context_message(other.context));
        for (size_t j = 0; j < plain.output_count; j++) {
            const double distance = bench_distance(&plain, &other.outputs[j].tensor, &plain.outputs[j].tensor);
            if (!(distance <= tolerance) && strcmp(calls[i].kernel, "MaxPool") != 0)
                fail_msg("%s (call %zu) in %s, output %zu: off by %g, at most %g expected", calls[i].kernel, i,
                         mitral_dtype_name((mitral_dtype)dtype), j, distance, tolerance);
        }
        bench_close(&plain);
        bench_close(&other);
    }
}

/* float32 against double: sums of up to 70 products of numbers within ±1 are off by some ten roundings. */
static void test_double(void **state)
{
    (void)state;
    check_type(MITRAL_DOUBLE, 2e-5);
}

/* float16 keeps 11 bits, bfloat16 8; soft-max and attention round at every step, and a few of those add up. */
static void test_float16(void **state)
{
    (void)state;
    check_type(MITRAL_FLOAT16, 4e-3);
}

static void test_bfloat16(void **state)
{
    (void)state;
    check_type(MITRAL_BFLOAT16, 3e-2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads), cmocka_unit_test(test_double),
                                       cmocka_unit_test(test_float16), cmocka_unit_test(test_bfloat16)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
