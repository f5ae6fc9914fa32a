/* Operators of com.microsoft that ONNX Runtime's optimiser and quantiser leave in files, and the one that it puts into ai.onnx. */
#include "compiler/gradients/gradients.h"

#define MICROSOFT "com.microsoft"

const struct op ops_microsoft[] = {
    {.name = "SimplifiedLayerNormalization"},
    {.name = "Attention", .domain = MICROSOFT},
    {.name = "BiasGelu", .domain = MICROSOFT, .gradient = differentiate_biased_gelu},
    {.name = "DynamicQuantizeLSTM", .domain = MICROSOFT},
    {.name = "DynamicQuantizeMatMul", .domain = MICROSOFT},
    {.name = "EmbedLayerNormalization", .domain = MICROSOFT},
    {.name = "FastGelu", .domain = MICROSOFT, .gradient = differentiate_biased_gelu},
    {.name = "FusedConv", .domain = MICROSOFT},
    {.name = "FusedGemm", .domain = MICROSOFT},
    {.name = "FusedMatMul", .domain = MICROSOFT},
    {.name = "MatMulIntegerToFloat", .domain = MICROSOFT},
    {.name = "MultiHeadAttention", .domain = MICROSOFT},
    {.name = "QAttention", .domain = MICROSOFT},
    {.name = "QGemm", .domain = MICROSOFT},
    {.name = "QLinearAdd", .domain = MICROSOFT},
    {.name = "QLinearAveragePool", .domain = MICROSOFT},
    {.name = "QLinearConcat", .domain = MICROSOFT},
    {.name = "QLinearGlobalAveragePool", .domain = MICROSOFT},
    {.name = "QLinearLeakyRelu", .domain = MICROSOFT},
    {.name = "QLinearMul", .domain = MICROSOFT},
    {.name = "QLinearSigmoid", .domain = MICROSOFT},
    {.name = "QLinearSoftmax", .domain = MICROSOFT},
    {.name = "QLinearWhere", .domain = MICROSOFT},
    {.name = "RotaryEmbedding", .domain = MICROSOFT},
    {.name = "SkipLayerNormalization", .domain = MICROSOFT},
    {.name = "SkipSimplifiedLayerNormalization", .domain = MICROSOFT},
    {.name = "TransposeMatMul", .domain = MICROSOFT},
};
const size_t ops_microsoft_count = sizeof(ops_microsoft) / sizeof(*ops_microsoft);
