/* Attention and what goes with it. */
#include "compiler/gradients/compose.h"

const struct op ops_attention[] = {
    {.name = "Attention", .compose = compose_attention},
    {.name = "FlexAttention", .domain = "ai.onnx.preview", .traits = OP_CONTROL, .compose = compose_flexible_attention},
    {.name = "LinearAttention", .compose = compose_linear_attention},
    {.name = "RotaryEmbedding", .compose = compose_rotary_embedding},
};
const size_t ops_attention_count = sizeof(ops_attention) / sizeof(*ops_attention);
