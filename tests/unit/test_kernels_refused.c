/* Bad input to the reference kernels of convolution, pooling, normalization, products, recurrent layers, transforms,
 * attention and losses: a status and a message, never a crash. Run under sanitizers, this finds arithmetic that
 * overflows, too. */
#include "kernel_calls.h"

#define HUGE_VALUE (INT64_MAX - 1)
#define X INPUT(4, 1, 4, 8, 8)
#define COUNT(table) (sizeof(table) / sizeof(*(table)))

static void test_convolution(void **state)
{
    (void)state;
    static const struct call_case calls[] = {
        {"rank 2", "Conv", .status = MITRAL_INVALID, .inputs = {INPUT(2, 4, 4), INPUT(2, 4, 4)}},
        {"ranks differ", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(3, 2, 4, 3)}},
        {"no weights", "Conv", .status = MITRAL_INVALID, .inputs = {X}},
        {"channels", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 3, 3, 3)}},
        {"group", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 3, 2, 3, 3)},
         .attributes = {INT("group", 2)}},
        {"group 0", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 3, 3)},
         .attributes = {INT("group", 0)}},
        {"bias", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 3, 3), INPUT(1, 3)}},
        {"types", "Conv", .status = MITRAL_INVALID, .inputs = {X, TYPED(MITRAL_DOUBLE, 4, 2, 4, 3, 3)}},
        {"integers", "Conv", .status = MITRAL_UNSUPPORTED,
         .inputs = {TYPED(MITRAL_INT32, 4, 1, 4, 8, 8), TYPED(MITRAL_INT32, 4, 2, 4, 3, 3)}},
        {"stride 0", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 3, 3)},
         .attributes = {INTS("strides", 2, 0, 1)}},
        {"dilation -1", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 3, 3)},
         .attributes = {INTS("dilations", 2, 1, -1)}},
        {"dilation", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 3, 3)},
         .attributes = {INTS("dilations", 2, HUGE_VALUE, 1)}},
        {"window", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 3, 3)},
         .attributes = {INTS("dilations", 2, INT32_MAX, 1)}},
        {"pads", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 3, 3)},
         .attributes = {INTS("pads", 4, 0, 0, HUGE_VALUE, 0)}},
        {"pads -1", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 3, 3)},
         .attributes = {INTS("pads", 4, 0, 0, -1, 0)}},
        {"pads count", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 3, 3)},
         .attributes = {INTS("pads", 2, 1, 1)}},
        {"auto_pad", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 3, 3)},
         .attributes = {TEXT("auto_pad", "SAME")}},
        {"kernel_shape", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 3, 3)},
         .attributes = {INTS("kernel_shape", 2, 3, 5)}},
        {"empty kernel", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 0, 3)}},
        {"larger than the input", "Conv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 9, 3)}},
        {"channels", "ConvTranspose", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 3, 2, 3, 3)}},
        {"stride", "ConvTranspose", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 4, 2, 3, 3)},
         .attributes = {INTS("strides", 2, HUGE_VALUE, 1)}},
        {"pads", "ConvTranspose", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 4, 2, 3, 3)},
         .attributes = {INTS("pads", 4, 9, 0, 9, 0)}},
        {"output_shape", "ConvTranspose", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 4, 2, 3, 3)},
         .attributes = {INTS("output_shape", 2, HUGE_VALUE, 8)}},
        {"output_shape count", "ConvTranspose", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 4, 2, 3, 3)},
         .attributes = {INTS("output_shape", 3, 8, 8, 8)}},
        {"offsets", "DeformConv", .status = MITRAL_INVALID, .inputs = {X, INPUT(4, 2, 4, 3, 3), INPUT(4, 1, 9, 6, 6)}},
        {"offset_group", "DeformConv", .status = MITRAL_INVALID,
         .inputs = {X, INPUT(4, 2, 4, 3, 3), INPUT(4, 1, 18, 6, 6)}, .attributes = {INT("offset_group", 3)}},
        {"offset_group", "DeformConv", .status = MITRAL_INVALID,
         .inputs = {X, INPUT(4, 2, 4, 3, 3), INPUT(4, 1, 18, 6, 6)}, .attributes = {INT("offset_group", HUGE_VALUE)}},
        {"mask", "DeformConv", .status = MITRAL_INVALID,
         .inputs = {X, INPUT(4, 2, 4, 3, 3), INPUT(4, 1, 18, 6, 6), INPUT(1, 2), INPUT(4, 1, 9, 6, 5)}},
        {"weights", "CausalConvWithState", .status = MITRAL_INVALID, .inputs = {INPUT(3, 1, 4, 8), INPUT(3, 4, 2, 3)}},
        {"state", "CausalConvWithState", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 1, 4, 8), INPUT(3, 4, 1, 3), ABSENT, INPUT(3, 1, 4, 3)}},
        {"activation", "CausalConvWithState", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 1, 4, 8), INPUT(3, 4, 1, 3)}, .attributes = {TEXT("activation", "relu")}},
    };
    check_refused(calls, COUNT(calls));
}

static void test_fold(void **state)
{
    (void)state;
    static const int64_t image[] = {5, 5}, block[] = {1, 5}, wide[] = {5, 6}, none[] = {0, 5},
                         huge[] = {HUGE_VALUE, HUGE_VALUE};
    static const struct call_case calls[] = {
        {"blocks", "Col2Im", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 1, 5, 4), INTEGERS(MITRAL_INT64, image, 1, 2), INTEGERS(MITRAL_INT64, block, 1, 2)}},
        {"wide", "Col2Im", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 1, 5, 5), INTEGERS(MITRAL_INT64, image, 1, 2), INTEGERS(MITRAL_INT64, wide, 1, 2)}},
        {"empty block", "Col2Im", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 1, 5, 5), INTEGERS(MITRAL_INT64, image, 1, 2), INTEGERS(MITRAL_INT64, none, 1, 2)}},
        {"huge image", "Col2Im", .status = MITRAL_LIMIT,
         .inputs = {INPUT(3, 1, 5, 5), INTEGERS(MITRAL_INT64, huge, 1, 2), INTEGERS(MITRAL_INT64, block, 1, 2)}},
        {"huge block", "Col2Im", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 1, 5, 5), INTEGERS(MITRAL_INT64, image, 1, 2), INTEGERS(MITRAL_INT64, huge, 1, 2)}},
        {"lengths", "Col2Im", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 1, 5, 5), INTEGERS(MITRAL_INT64, image, 1, 2), INTEGERS(MITRAL_INT64, block, 1, 1)}},
        {"strings", "Col2Im", .status = MITRAL_UNSUPPORTED, .inputs = {TYPED(MITRAL_STRING, 3, 0, 5, 5)}},
    };
    check_refused(calls, COUNT(calls));
}

static void test_pooling(void **state)
{
    (void)state;
    static const int64_t outside[] = {0, 1, 2, 99}, negative[] = {0, 1, -2, 3}, small[] = {1, 1, 3, 4},
                         other[] = {2, 1, 4, 4};
    static const struct call_case calls[] = {
        {"rank 2", "MaxPool", .status = MITRAL_INVALID, .inputs = {INPUT(2, 4, 4)},
         .attributes = {INTS("kernel_shape", 1, 1)}},
        {"no kernel_shape", "AveragePool", .status = MITRAL_INVALID, .inputs = {X}},
        {"kernel_shape", "MaxPool", .status = MITRAL_INVALID, .inputs = {X},
         .attributes = {INTS("kernel_shape", 2, 9, 1)}},
        {"kernel 0", "MaxPool", .status = MITRAL_INVALID, .inputs = {X}, .attributes = {INTS("kernel_shape", 2, 0, 1)}},
        {"kernel", "LpPool", .status = MITRAL_INVALID, .inputs = {X},
         .attributes = {INTS("kernel_shape", 2, HUGE_VALUE, HUGE_VALUE)}},
        {"stride 0", "MaxPool", .status = MITRAL_INVALID, .inputs = {X},
         .attributes = {INTS("kernel_shape", 2, 2, 2), INTS("strides", 2, 1, 0)}},
        {"pads", "AveragePool", .status = MITRAL_INVALID, .inputs = {X},
         .attributes = {INTS("kernel_shape", 2, 2, 2), INTS("pads", 4, 0, 0, 0, -1)}},
        {"type", "AveragePool", .status = MITRAL_UNSUPPORTED, .inputs = {TYPED(MITRAL_INT8, 4, 1, 4, 8, 8)},
         .attributes = {INTS("kernel_shape", 2, 2, 2)}},
        {"type", "MaxPool", .status = MITRAL_UNSUPPORTED, .inputs = {TYPED(MITRAL_INT64, 4, 1, 4, 8, 8)},
         .attributes = {INTS("kernel_shape", 2, 2, 2)}},
        {"p", "LpPool", .status = MITRAL_INVALID, .inputs = {X},
         .attributes = {INTS("kernel_shape", 2, 2, 2), INT("p", 0)}},
        {"rank 1", "GlobalAveragePool", .status = MITRAL_INVALID, .inputs = {INPUT(1, 4)}},
        {"p", "GlobalLpPool", .status = MITRAL_INVALID, .inputs = {X}, .attributes = {INT("p", -1)}},
        {"index", "MaxUnpool", .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 1, 1, 2, 2), INTEGERS(MITRAL_INT64, outside, 4, 1, 1, 2, 2)},
         .attributes = {INTS("kernel_shape", 2, 2, 2), INTS("strides", 2, 2, 2)}},
        {"index", "MaxUnpool", .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 1, 1, 2, 2), INTEGERS(MITRAL_INT64, negative, 4, 1, 1, 2, 2)},
         .attributes = {INTS("kernel_shape", 2, 2, 2), INTS("strides", 2, 2, 2)}},
        {"output shape", "MaxUnpool", .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 1, 1, 2, 2), TYPED(MITRAL_INT64, 4, 1, 1, 2, 2), INTEGERS(MITRAL_INT64, small, 1, 4)},
         .attributes = {INTS("kernel_shape", 2, 2, 2), INTS("strides", 2, 2, 2)}},
        {"output shape", "MaxUnpool", .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 1, 1, 2, 2), TYPED(MITRAL_INT64, 4, 1, 1, 2, 2), INTEGERS(MITRAL_INT64, other, 1, 4)},
         .attributes = {INTS("kernel_shape", 2, 2, 2), INTS("strides", 2, 2, 2)}},
    };
    check_refused(calls, COUNT(calls));
}

static void test_normalization(void **state)
{
    (void)state;
    static const struct call_case calls[] = {
        {"scale", "BatchNormalization", .status = MITRAL_INVALID,
         .inputs = {X, INPUT(1, 3), INPUT(1, 4), INPUT(1, 4), INPUT(1, 4)}},
        {"variance", "BatchNormalization", .status = MITRAL_INVALID,
         .inputs = {X, INPUT(1, 4), INPUT(1, 4), INPUT(1, 4)}},
        {"by position", "BatchNormalization", .opset = 7, .status = MITRAL_INVALID,
         .inputs = {X, INPUT(1, 4), INPUT(1, 4), INPUT(1, 4), INPUT(1, 4)}, .attributes = {INT("spatial", 0)}},
        {"scale", "InstanceNormalization", .status = MITRAL_INVALID, .inputs = {X, INPUT(1, 5), INPUT(1, 4)}},
        {"groups", "GroupNormalization", .status = MITRAL_INVALID, .inputs = {X, INPUT(1, 4), INPUT(1, 4)},
         .attributes = {INT("num_groups", 3)}},
        {"groups", "GroupNormalization", .status = MITRAL_INVALID, .inputs = {X, INPUT(1, 4), INPUT(1, 4)},
         .attributes = {INT("num_groups", 0)}},
        {"version 18", "GroupNormalization", .opset = 18, .status = MITRAL_INVALID,
         .inputs = {X, INPUT(1, 4), INPUT(1, 4)}, .attributes = {INT("num_groups", 2)}},
        {"axis", "LayerNormalization", .status = MITRAL_INVALID, .inputs = {X, INPUT(1, 8)},
         .attributes = {INT("axis", 4)}},
        {"scale", "LayerNormalization", .status = MITRAL_INVALID, .inputs = {X, INPUT(1, 7)}},
        {"bias", "LayerNormalization", .status = MITRAL_INVALID, .inputs = {X, INPUT(1, 8), INPUT(5, 1, 1, 1, 1, 8)}},
        {"stash", "LayerNormalization", .status = MITRAL_INVALID, .inputs = {X, INPUT(1, 8)},
         .attributes = {INT("stash_type", 7)}},
        {"scalar", "RMSNormalization", .status = MITRAL_INVALID, .inputs = {INPUT(0), INPUT(0)}},
        {"p", "LpNormalization", .status = MITRAL_INVALID, .inputs = {X}, .attributes = {INT("p", 3)}},
        {"axis", "MeanVarianceNormalization", .status = MITRAL_INVALID, .inputs = {X},
         .attributes = {INTS("axes", 2, 0, 9)}},
        {"size", "LRN", .status = MITRAL_INVALID, .inputs = {X}, .attributes = {INT("size", 0)}},
        {"axis", "Softmax", .status = MITRAL_INVALID, .inputs = {X}, .attributes = {INT("axis", -5)}},
        {"axis", "LogSoftmax", .opset = 11, .status = MITRAL_INVALID, .inputs = {X}, .attributes = {INT("axis", 4)}},
        {"type", "Hardmax", .status = MITRAL_UNSUPPORTED, .inputs = {TYPED(MITRAL_INT64, 1, 4)}},
        {"skip", "microsoft.SkipLayerNormalization", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 2, 3, 4), INPUT(3, 2, 2, 4), INPUT(1, 4)}},
        {"scale", "SimplifiedLayerNormalization", .status = MITRAL_INVALID, .inputs = {INPUT(3, 2, 3, 4), INPUT(1, 3)}},
    };
    check_refused(calls, COUNT(calls));
}

static void test_products(void **state)
{
    (void)state;
    static const struct call_case calls[] = {
        {"inner", "MatMul", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4), INPUT(2, 3, 4)}},
        {"scalar", "MatMul", .status = MITRAL_INVALID, .inputs = {INPUT(0), INPUT(2, 3, 4)}},
        {"batch", "MatMul", .status = MITRAL_INVALID, .inputs = {INPUT(3, 2, 3, 4), INPUT(3, 3, 4, 2)}},
        {"types", "MatMul", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4), TYPED(MITRAL_DOUBLE, 2, 4, 3)}},
        {"strings", "MatMul", .status = MITRAL_UNSUPPORTED,
         .inputs = {TYPED(MITRAL_STRING, 2, 0, 4), TYPED(MITRAL_STRING, 2, 4, 0)}},
        {"rank 3", "Gemm", .status = MITRAL_INVALID, .inputs = {INPUT(3, 1, 3, 4), INPUT(2, 4, 3)}},
        {"inner", "Gemm", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4), INPUT(2, 4, 3)},
         .attributes = {INT("transA", 1), INT("transB", 0)}},
        {"C", "Gemm", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4), INPUT(2, 4, 5), INPUT(1, 3)}},
        {"square", "Det", .status = MITRAL_INVALID, .inputs = {INPUT(3, 2, 3, 4)}},
        {"no equation", "Einsum", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4)}},
        {"terms", "Einsum", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4)},
         .attributes = {TEXT("equation", "ij,jk->ik")}},
        {"terms", "Einsum", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4), INPUT(2, 4, 3)},
         .attributes = {TEXT("equation", "ij->ij")}},
        {"sizes", "Einsum", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4), INPUT(2, 5, 3)},
         .attributes = {TEXT("equation", "ij,jk->ik")}},
        {"rank", "Einsum", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4)},
         .attributes = {TEXT("equation", "ijk->i")}},
        {"output", "Einsum", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4)},
         .attributes = {TEXT("equation", "ij->k")}},
        {"twice", "Einsum", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4)},
         .attributes = {TEXT("equation", "ij->ii")}},
        {"letters", "Einsum", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4)},
         .attributes = {TEXT("equation", "i$->i")}},
        {"dots", "Einsum", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4)},
         .attributes = {TEXT("equation", "..ij->i")}},
        {"arrow", "Einsum", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4)},
         .attributes = {TEXT("equation", "ij-i")}},
        {"arrows", "Einsum", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4)},
         .attributes = {TEXT("equation", "ij->i->i")}},
        {"long", "Einsum", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4)},
         .attributes = {TEXT("equation", "ijijijijijijijijijijijijij->i")}},
        {"scales", "microsoft.MatMulIntegerToFloat", .status = MITRAL_INVALID,
         .inputs = {TYPED(MITRAL_UINT8, 2, 3, 4), TYPED(MITRAL_INT8, 2, 4, 5), INPUT(0), INPUT(1, 3)}},
        {"type", "microsoft.DynamicQuantizeMatMul", .status = MITRAL_INVALID,
         .inputs = {INPUT(2, 3, 4), INPUT(2, 4, 5), INPUT(0)}},
        {"zero point", "microsoft.QLinearAdd", .status = MITRAL_INVALID,
         .inputs = {TYPED(MITRAL_UINT8, 1, 4), INPUT(0), TYPED(MITRAL_INT8, 0), TYPED(MITRAL_UINT8, 1, 4), INPUT(0),
                    ABSENT, INPUT(0)}},
        {"activation", "microsoft.FusedGemm", .status = MITRAL_UNSUPPORTED, .inputs = {INPUT(2, 3, 4), INPUT(2, 4, 5)},
         .attributes = {TEXT("activation", "Cosine")}},
        {"parameters", "microsoft.FusedGemm", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4), INPUT(2, 4, 5)},
         .attributes = {TEXT("activation", "Clip")}},
        {"batch order", "microsoft.FusedMatMul", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 2, 3, 4), INPUT(3, 2, 4, 5)}, .attributes = {INT("transBatchA", 1)}},
    };
    check_refused(calls, COUNT(calls));
}

static void test_recurrent(void **state)
{
    (void)state;
    static const int64_t longer[] = {2, 6}, negative[] = {-1, 2};
    static const struct call_case calls[] = {
        {"rank", "RNN", .status = MITRAL_INVALID, .inputs = {INPUT(2, 5, 2), INPUT(3, 1, 6, 3), INPUT(3, 1, 6, 6)}},
        {"W", "GRU", .status = MITRAL_INVALID, .inputs = {INPUT(3, 5, 2, 3), INPUT(3, 1, 6, 3), INPUT(3, 1, 18, 6)}},
        {"R", "LSTM", .status = MITRAL_INVALID, .inputs = {INPUT(3, 5, 2, 3), INPUT(3, 1, 24, 3), INPUT(3, 1, 18, 6)}},
        {"B", "LSTM", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 5, 2, 3), INPUT(3, 1, 24, 3), INPUT(3, 1, 24, 6), INPUT(2, 1, 24)}},
        {"directions", "RNN", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 5, 2, 3), INPUT(3, 1, 6, 3), INPUT(3, 1, 6, 6)},
         .attributes = {TEXT("direction", "bidirectional")}},
        {"direction", "RNN", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 5, 2, 3), INPUT(3, 1, 6, 3), INPUT(3, 1, 6, 6)},
         .attributes = {TEXT("direction", "sideways")}},
        {"hidden_size", "RNN", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 5, 2, 3), INPUT(3, 1, 6, 3), INPUT(3, 1, 6, 6)}, .attributes = {INT("hidden_size", 5)}},
        {"long sequence", "RNN", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 5, 2, 3), INPUT(3, 1, 6, 3), INPUT(3, 1, 6, 6), ABSENT,
                    INTEGERS(MITRAL_INT32, longer, 1, 2)}},
        {"negative sequence", "GRU", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 5, 2, 3), INPUT(3, 1, 18, 3), INPUT(3, 1, 18, 6), ABSENT,
                    INTEGERS(MITRAL_INT32, negative, 1, 2)}},
        {"state", "RNN", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 5, 2, 3), INPUT(3, 1, 6, 3), INPUT(3, 1, 6, 6), ABSENT, ABSENT, INPUT(3, 2, 1, 6)}},
        {"peepholes", "LSTM", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 5, 2, 3), INPUT(3, 1, 24, 3), INPUT(3, 1, 24, 6), ABSENT, ABSENT, ABSENT, ABSENT,
                    INPUT(2, 1, 24)}},
    };
    check_refused(calls, COUNT(calls));
}

static void test_signal(void **state)
{
    (void)state;
    static const int64_t zero[] = {0}, negative[] = {-3}, huge[] = {HUGE_VALUE}, last[] = {2}, four[] = {4},
                         many[] = {99};
    static const struct call_case calls[] = {
        {"parts", "DFT", .opset = 17, .status = MITRAL_INVALID, .inputs = {INPUT(3, 2, 8, 3)}},
        {"axis", "DFT", .opset = 17, .status = MITRAL_INVALID, .inputs = {INPUT(3, 2, 8, 1)},
         .attributes = {INT("axis", 2)}},
        {"axis", "DFT", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 2, 8, 1), ABSENT, INTEGERS(MITRAL_INT64, last, 0)}},
        {"length 0", "DFT", .status = MITRAL_INVALID, .inputs = {INPUT(3, 2, 8, 1), INTEGERS(MITRAL_INT64, zero, 0)}},
        {"length", "DFT", .status = MITRAL_INVALID, .inputs = {INPUT(3, 2, 8, 1), INTEGERS(MITRAL_INT64, huge, 0)}},
        {"empty", "DFT", .opset = 17, .status = MITRAL_INVALID, .inputs = {INPUT(3, 2, 0, 1)}},
        {"one bin", "DFT", .opset = 17, .status = MITRAL_INVALID, .inputs = {INPUT(3, 2, 1, 2)},
         .attributes = {INT("inverse", 1), INT("onesided", 1)}},
        {"one-sided", "DFT", .opset = 17, .status = MITRAL_INVALID, .inputs = {INPUT(3, 2, 8, 2)},
         .attributes = {INT("onesided", 1)}},
        {"step 0", "STFT", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 1, 32, 1), INTEGERS(MITRAL_INT64, zero, 0), INPUT(1, 8)}},
        {"step", "STFT", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 1, 32, 1), INTEGERS(MITRAL_INT64, negative, 0), INPUT(1, 8)}},
        {"frame", "STFT", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 1, 32, 1), INTEGERS(MITRAL_INT64, four, 0), ABSENT, INTEGERS(MITRAL_INT64, many, 0)}},
        {"window", "STFT", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 1, 32, 1), INTEGERS(MITRAL_INT64, four, 0), INPUT(1, 8), INTEGERS(MITRAL_INT64, four, 0)}},
        {"size", "HannWindow", .status = MITRAL_INVALID, .inputs = {INTEGERS(MITRAL_INT64, negative, 0)}},
        {"type", "HammingWindow", .status = MITRAL_INVALID, .inputs = {INTEGERS(MITRAL_INT64, four, 0)},
         .attributes = {INT("output_datatype", 8)}},
        {"rate", "MelWeightMatrix", .status = MITRAL_INVALID,
         .inputs = {INTEGERS(MITRAL_INT64, four, 0), INTEGERS(MITRAL_INT64, four, 0), INTEGERS(MITRAL_INT64, zero, 0),
                    INPUT(0), INPUT(0)}},
    };
    check_refused(calls, COUNT(calls));
}

static void test_attention(void **state)
{
    (void)state;
    static const int64_t many[] = {99, 1}, few[] = {-1, 1}, positions[] = {0, 1, 2, 9};
    static const struct call_case calls[] = {
        {"rank", "Attention", .status = MITRAL_INVALID, .inputs = {INPUT(2, 3, 4), INPUT(2, 3, 4), INPUT(2, 3, 4)}},
        {"no heads", "Attention", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 2, 3, 8), INPUT(3, 2, 5, 8), INPUT(3, 2, 5, 8)}},
        {"heads", "Attention", .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 2, 3, 4, 8), INPUT(4, 2, 2, 5, 8), INPUT(4, 2, 2, 5, 8)}},
        {"head size", "Attention", .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 2, 2, 4, 8), INPUT(4, 2, 2, 5, 6), INPUT(4, 2, 2, 5, 8)}},
        {"mask", "Attention", .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 2, 2, 4, 8), INPUT(4, 2, 2, 5, 8), INPUT(4, 2, 2, 5, 8), INPUT(2, 3, 5)}},
        {"one past", "Attention", .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 2, 2, 4, 8), INPUT(4, 2, 2, 5, 8), INPUT(4, 2, 2, 5, 8), ABSENT, INPUT(4, 2, 2, 3, 8)}},
        {"past", "Attention", .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 2, 2, 4, 8), INPUT(4, 2, 2, 5, 8), INPUT(4, 2, 2, 5, 8), ABSENT, INPUT(4, 2, 2, 3, 8),
                    INPUT(4, 2, 2, 2, 8)}},
        {"lengths", "Attention", .opset = 24, .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 2, 2, 4, 8), INPUT(4, 2, 2, 5, 8), INPUT(4, 2, 2, 5, 8), ABSENT, ABSENT, ABSENT,
                    INTEGERS(MITRAL_INT64, many, 1, 2)}},
        {"lengths", "Attention", .opset = 24, .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 2, 2, 4, 8), INPUT(4, 2, 2, 5, 8), INPUT(4, 2, 2, 5, 8), ABSENT, ABSENT, ABSENT,
                    INTEGERS(MITRAL_INT64, few, 1, 2)}},
        {"precision", "Attention", .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 2, 2, 4, 8), INPUT(4, 2, 2, 5, 8), INPUT(4, 2, 2, 5, 8)},
         .attributes = {INT("softmax_precision", 6)}},
        {"rank 3", "preview.FlexAttention", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 2, 4, 8), INPUT(3, 2, 5, 8), INPUT(3, 2, 5, 8)},
         .attributes = {INT("q_num_heads", 2), INT("kv_num_heads", 2)}},
        {"heads", "LinearAttention", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 2, 3, 8), INPUT(3, 2, 3, 8), INPUT(3, 2, 3, 8)},
         .attributes = {INT("q_num_heads", 2), INT("kv_num_heads", 3), TEXT("update_rule", "linear")}},
        {"decay", "LinearAttention", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 2, 3, 8), INPUT(3, 2, 3, 8), INPUT(3, 2, 3, 8)},
         .attributes = {INT("q_num_heads", 2), INT("kv_num_heads", 2), TEXT("update_rule", "gated")}},
        {"position", "RotaryEmbedding", .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 1, 2, 4, 8), INPUT(2, 6, 4), INPUT(2, 6, 4), INTEGERS(MITRAL_INT64, positions, 2, 1, 4)}},
        {"cache", "RotaryEmbedding", .status = MITRAL_INVALID,
         .inputs = {INPUT(4, 1, 2, 4, 8), INPUT(3, 1, 4, 3), INPUT(3, 1, 4, 3)}},
        {"weights", "microsoft.Attention", .status = MITRAL_INVALID, .inputs = {INPUT(3, 2, 3, 8), INPUT(2, 7, 24)},
         .attributes = {INT("num_heads", 2)}},
        {"heads", "microsoft.Attention", .status = MITRAL_INVALID, .inputs = {INPUT(3, 2, 3, 8), INPUT(2, 8, 24)},
         .attributes = {INT("num_heads", 3)}},
        {"packed", "microsoft.MultiHeadAttention", .status = MITRAL_UNSUPPORTED, .inputs = {INPUT(5, 2, 3, 2, 3, 4)},
         .attributes = {INT("num_heads", 2)}},
    };
    check_refused(calls, COUNT(calls));
}

static void test_losses(void **state)
{
    (void)state;
    static const int64_t high[] = {0, 1, 5, 2}, low[] = {0, -1, 1, 2};
    static const struct call_case calls[] = {
        {"label", "SoftmaxCrossEntropyLoss", .status = MITRAL_INVALID,
         .inputs = {INPUT(2, 4, 5), INTEGERS(MITRAL_INT64, high, 1, 4)}},
        {"label", "NegativeLogLikelihoodLoss", .status = MITRAL_INVALID,
         .inputs = {INPUT(2, 4, 5), INTEGERS(MITRAL_INT32, low, 1, 4)}},
        {"labels", "NegativeLogLikelihoodLoss", .status = MITRAL_INVALID,
         .inputs = {INPUT(3, 4, 5, 2), TYPED(MITRAL_INT64, 2, 4, 3)}},
        {"weights", "SoftmaxCrossEntropyLoss", .status = MITRAL_INVALID,
         .inputs = {INPUT(2, 4, 5), INTEGERS(MITRAL_INT64, low, 1, 4), INPUT(1, 4)}},
        {"reduction", "SoftmaxCrossEntropyLoss", .status = MITRAL_INVALID,
         .inputs = {INPUT(2, 4, 5), INTEGERS(MITRAL_INT64, low, 1, 4)}, .attributes = {TEXT("reduction", "median")}},
    };
    check_refused(calls, COUNT(calls));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolution),   cmocka_unit_test(test_fold),      cmocka_unit_test(test_pooling),
        cmocka_unit_test(test_normalization), cmocka_unit_test(test_products),  cmocka_unit_test(test_recurrent),
        cmocka_unit_test(test_signal),        cmocka_unit_test(test_attention), cmocka_unit_test(test_losses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
