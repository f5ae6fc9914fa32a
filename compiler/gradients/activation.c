/* Elementwise functions of one data input. */
#include <string.h>

#include "compiler/gradients/gradients.h"

/* These are differentiated from the output, which the next node keeps alive anyway; all others from the input. */
static const char *const from_output[] = {"Exp", "Sigmoid", "Tanh", "Sqrt", "Reciprocal", "Tan"};

mitral_status differentiate_elementwise(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    struct arena *arena = gradient_graph(gradient)->arena;
    value_id operand = node->inputs[0], value;
    for (size_t i = 0; i < sizeof from_output / sizeof *from_output; i++)
        if (strcmp(node->op->name, from_output[i]) == 0)
            operand = node->outputs[0];
    TRY(attributes_copy(&attributes, arena, &node->attributes));
    TRY(attributes_set_string(&attributes, arena, "function", node->op->name));
    TRY(gradient_emit(gradient, "mitral.ElementwiseGradient", &attributes,
                      (value_id[]){gradient_of(gradient, node, 0), operand}, 2, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_relu(struct gradient *gradient, const struct node *node)
{
    value_id value;
    TRY(gradient_binary(gradient, &value, "mitral.ReluGradient", gradient_of(gradient, node, 0), node->outputs[0]));
    return gradient_contribute(gradient, node, 0, value);
}

/* Limits are attributes before version 11, inputs since; no gradient flows to the limits. */
mitral_status differentiate_clip(struct gradient *gradient, const struct node *node)
{
    value_id value;
    TRY(gradient_emit(gradient, "mitral.ClipGradient", &node->attributes,
                      (value_id[]){gradient_of(gradient, node, 0), node->inputs[0], node_input(node, 1), node_input(node, 2)},
                      4, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_prelu(struct gradient *gradient, const struct node *node)
{
    value_id values[2];
    TRY(gradient_emit(gradient, "mitral.PReluGradient", NULL,
                      (value_id[]){gradient_of(gradient, node, 0), node->inputs[0], node->inputs[1]}, 3, values, 2));
    TRY(gradient_contribute(gradient, node, 0, values[0]));
    return gradient_contribute_reduced(gradient, node, 1, values[1]);
}

/* com.microsoft's gelu(X + bias): by erf (BiasGelu) or tanh (FastGelu, whose bias may be absent). */
mitral_status differentiate_biased_gelu(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    struct arena *arena = gradient_graph(gradient)->arena;
    const bool tangent = strcmp(node->op->name, "FastGelu") == 0;
    value_id operand = node->inputs[0], value;
    if (node_input(node, 1) != NO_VALUE)
        TRY(gradient_binary(gradient, &operand, "Add", operand, node->inputs[1]));
    TRY(attributes_set_string(&attributes, arena, "function", "Gelu"));
    TRY(attributes_set_string(&attributes, arena, "approximate", tangent ? "tanh" : "none"));
    TRY(gradient_emit(gradient, "mitral.ElementwiseGradient", &attributes,
                      (value_id[]){gradient_of(gradient, node, 0), operand}, 2, &value, 1));
    TRY(gradient_contribute_reduced(gradient, node, 0, value));
    return gradient_contribute_reduced(gradient, node, 1, value);
}
