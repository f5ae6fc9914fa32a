/* Optimizers of domain ai.onnx.preview.training, and its Gradient. */
#include "compiler/lower.h"

/* Outside subgraphs passes/expand_gradient.c has replaced it. */
static mitral_status lower_gradient(struct lowering *lowering, const struct node *node, bool *done)
{
    *done = false;
    return mitral_fail(lowering->context, MITRAL_UNSUPPORTED, "Gradient '%s': expected it outside subgraphs, found it in one", node->name);
}

const struct op ops_optimizers[] = {
    {"Adagrad", "ai.onnx.preview.training"},
    {"Adam", "ai.onnx.preview.training"},
    {"Gradient", "ai.onnx.preview.training", .lower = lower_gradient},
    {"Momentum", "ai.onnx.preview.training"},
};
const size_t ops_optimizers_count = sizeof(ops_optimizers) / sizeof(ops_optimizers[0]);
