/* Operators of com.microsoft that ONNX Runtime's optimiser and quantiser leave in files, and the one that it puts into ai.onnx. */
#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"

#define MICROSOFT "com.microsoft"

const struct op ops_microsoft[] = {
    {.name = "SimplifiedLayerNormalization", .compose = compose_simplified_normalization},
    {.name = "Attention", .domain = MICROSOFT, .compose = compose_projected_attention},
    {.name = "BiasGelu", .domain = MICROSOFT, .gradient = differentiate_biased_gelu},
    {.name = "DequantizeLinear", .domain = MICROSOFT, .kernel = "DequantizeLinear"},
    {.name = "DynamicQuantizeLSTM", .domain = MICROSOFT, .traits = OP_QUANTIZES},
    {.name = "DynamicQuantizeMatMul", .domain = MICROSOFT, .traits = OP_QUANTIZES},
    {.name = "EmbedLayerNormalization", .domain = MICROSOFT, .compose = compose_embedding},
    {.name = "FastGelu", .domain = MICROSOFT, .gradient = differentiate_biased_gelu},
    {.name = "FusedGemm", .domain = MICROSOFT, .compose = compose_fused_gemm},
    {.name = "FusedMatMul", .domain = MICROSOFT, .compose = compose_fused_matmul},
    {.name = "GatherBlockQuantized", .domain = MICROSOFT},
    {.name = "GroupQueryAttention", .domain = MICROSOFT, .compose = compose_grouped_attention},
    {.name = "MatMulIntegerToFloat", .domain = MICROSOFT},
    {.name = "MatMulNBits", .domain = MICROSOFT},
    {.name = "MultiHeadAttention", .domain = MICROSOFT, .compose = compose_separate_attention},
    {.name = "NhwcMaxPool", .domain = MICROSOFT},
    {.name = "QAttention", .domain = MICROSOFT},
    {.name = "QGemm", .domain = MICROSOFT},
    {.name = "QLinearAdd", .domain = MICROSOFT},
    {.name = "QLinearAveragePool", .domain = MICROSOFT},
    {.name = "QLinearConcat", .domain = MICROSOFT},
    {.name = "QLinearConv", .domain = MICROSOFT},
    {.name = "QLinearGlobalAveragePool", .domain = MICROSOFT},
    {.name = "QLinearLeakyRelu", .domain = MICROSOFT},
    {.name = "QLinearMul", .domain = MICROSOFT},
    {.name = "QLinearSigmoid", .domain = MICROSOFT},
    {.name = "QLinearSoftmax", .domain = MICROSOFT},
    {.name = "QLinearWhere", .domain = MICROSOFT},
    {.name = "QuantizeLinear", .domain = MICROSOFT, .kernel = "QuantizeLinear", .traits = OP_QUANTIZES},
    {.name = "RotaryEmbedding", .domain = MICROSOFT, .compose = compose_rotary_embedding},
    {.name = "SkipLayerNormalization", .domain = MICROSOFT, .compose = compose_skip_normalization},
    {.name = "SkipSimplifiedLayerNormalization", .domain = MICROSOFT, .compose = compose_skip_normalization},
    {.name = "TransposeMatMul", .domain = MICROSOFT, .compose = compose_fused_matmul},
};
const size_t ops_microsoft_count = sizeof(ops_microsoft) / sizeof(*ops_microsoft);
