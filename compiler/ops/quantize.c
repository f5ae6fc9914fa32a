/* Quantization, and products of quantized tensors. */
#include "compiler/gradients/compose.h"

const struct op ops_quantize[] = {
    {"ConvInteger"},
    {"DequantizeLinear", .compose = compose_dequantize},
    {"DynamicQuantizeLinear"},
    {"MatMulInteger"},
    {"QLinearConv"},
    {"QLinearMatMul"},
    {"QuantizeLinear"},
};
const size_t ops_quantize_count = sizeof(ops_quantize) / sizeof(ops_quantize[0]);
