/* Optimizers of domain ai.onnx.preview.training. */
#include "compiler/op.h"

const struct op ops_optimizers[] = {
    {"Adagrad", "ai.onnx.preview.training"},
    {"Adam", "ai.onnx.preview.training"},
    {"Momentum", "ai.onnx.preview.training"},
};
const size_t ops_optimizers_count = sizeof(ops_optimizers) / sizeof(ops_optimizers[0]);
