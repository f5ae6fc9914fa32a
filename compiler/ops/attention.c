/* Attention and what goes with it. */
#include "compiler/op.h"

const struct op ops_attention[] = {
    {.name = "Attention"},
    {.name = "FlexAttention", .domain = "ai.onnx.preview", .traits = OP_CONTROL},
    {.name = "LinearAttention"},
    {.name = "RotaryEmbedding"},
};
const size_t ops_attention_count = sizeof(ops_attention) / sizeof(*ops_attention);
