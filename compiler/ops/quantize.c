/* Quantization, and products of quantized tensors. */
#include "compiler/gradients/compose.h"
#include "compiler/lower_onednn.h"

const struct op ops_quantize[] = {
    {.name = "ConvInteger", .lower = lower_convolution_integer},
    {.name = "DequantizeLinear", .compose = compose_dequantize},
    {.name = "DynamicQuantizeLinear", .traits = OP_QUANTIZES},
    {.name = "MatMulInteger", .lower = lower_matmul_integer},
    {.name = "QLinearConv", .lower = lower_convolution_qlinear},
    {.name = "QLinearMatMul", .lower = lower_matmul_qlinear},
    {.name = "QuantizeLinear", .traits = OP_QUANTIZES},
};
const size_t ops_quantize_count = sizeof(ops_quantize) / sizeof(ops_quantize[0]);
