/* Resize and Upsample: a fixed linear map, so its gradient needs the sizes and scales alone. */
#include <string.h>

#include "compiler/gradients/gradients.h"

/* The backward operator reads the same inputs and attributes as the forward one, and so samples at the same places. */
mitral_status differentiate_resize(struct gradient *gradient, const struct node *node)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    struct attributes attributes = {0};
    value_id inputs[5] = {gradient_of(gradient, node, 0), node_input(node, 1), node_input(node, 2), node_input(node, 3)}, value;
    size_t count = 4;
    for (size_t i = 1; i < node->input_count; i++)
        if (gradient_wants(gradient, node, i))
            return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected scales and a region that are not trained");
    TRY(attributes_copy(&attributes, arena, &node->attributes));
    TRY(attributes_set_string(&attributes, arena, "forward", node->op->name));
    TRY(attributes_set_int(&attributes, arena, "forward_version", node->version));
    TRY(gradient_set_shape(gradient, &attributes, node->inputs[0], inputs, &count));
    TRY(gradient_emit(gradient, "mitral.ResizeGradient", &attributes, inputs, count, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}
