/* Reductions: the gradient is spread over the axes that were reduced. */
#include <string.h>

#include "compiler/gradients/gradients.h"

/* Attributes `axes` (absent: all) and `keepdims` of the node, whose axes may be an attribute or a constant input. *nothing:
 * the node reduces no axis at all. */
static mitral_status reduction_attributes(struct gradient *gradient, const struct node *node, struct attributes *out,
                                          bool *nothing)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    size_t count;
    const int64_t *axes = attribute_ints(&node->attributes, "axes", &count);
    *nothing = false;
    if (node_input(node, 1) != NO_VALUE) {
        axes = gradient_constant_ints(gradient, node, 1, &count);
        if (!axes)
            return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected constant axes, found '%s'",
                                 gradient_graph(gradient)->values[node->inputs[1]].name);
    }
    if (count == 0)
        *nothing = attribute_int(&node->attributes, "noop_with_empty_axes", 0) != 0;
    else
        TRY(attributes_set_ints(out, arena, "axes", axes, count));
    return attributes_set_int(out, arena, "keepdims", attribute_int(&node->attributes, "keepdims", 1));
}

/* `value`, of the shape of the node's output, repeated to the shape of its input. */
static mitral_status spread(struct gradient *gradient, const struct node *node, value_id *out, value_id value, bool mean)
{
    struct attributes attributes = {0};
    bool nothing;
    TRY(reduction_attributes(gradient, node, &attributes, &nothing));
    *out = value;
    if (nothing)
        return MITRAL_OK;
    if (mean)
        TRY(attributes_set_int(&attributes, gradient_graph(gradient)->arena, "mean", 1));
    value_id inputs[2] = {value};
    size_t count = 1;
    TRY(gradient_set_shape(gradient, &attributes, node->inputs[0], inputs, &count));
    return gradient_emit(gradient, "mitral.ReduceGradient", &attributes, inputs, count, out, 1);
}

static mitral_status contribute_spread(struct gradient *gradient, const struct node *node, value_id value, bool mean)
{
    TRY(spread(gradient, node, &value, value, mean));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_reduce_sum(struct gradient *gradient, const struct node *node)
{
    return contribute_spread(gradient, node, gradient_of(gradient, node, 0), false);
}

mitral_status differentiate_reduce_mean(struct gradient *gradient, const struct node *node)
{
    return contribute_spread(gradient, node, gradient_of(gradient, node, 0), true);
}

mitral_status differentiate_reduce_l1(struct gradient *gradient, const struct node *node)
{
    value_id value, sign;
    TRY(spread(gradient, node, &value, gradient_of(gradient, node, 0), false));
    TRY(gradient_unary(gradient, &sign, "Sign", node->inputs[0]));
    TRY(gradient_binary(gradient, &value, "Mul", value, sign));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_reduce_l2(struct gradient *gradient, const struct node *node)
{
    value_id value;
    TRY(gradient_binary(gradient, &value, "Div", gradient_of(gradient, node, 0), node->outputs[0]));
    TRY(spread(gradient, node, &value, value, false));
    TRY(gradient_binary(gradient, &value, "Mul", value, node->inputs[0]));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_reduce_sum_square(struct gradient *gradient, const struct node *node)
{
    value_id value;
    TRY(gradient_scale(gradient, &value, gradient_of(gradient, node, 0), node->outputs[0], 2));
    TRY(spread(gradient, node, &value, value, false));
    TRY(gradient_binary(gradient, &value, "Mul", value, node->inputs[0]));
    return gradient_contribute(gradient, node, 0, value);
}

/* Y = log Σx: dx = dY exp(-Y). */
mitral_status differentiate_reduce_log_sum(struct gradient *gradient, const struct node *node)
{
    value_id value;
    TRY(gradient_unary(gradient, &value, "Neg", node->outputs[0]));
    TRY(gradient_unary(gradient, &value, "Exp", value));
    TRY(gradient_binary(gradient, &value, "Mul", value, gradient_of(gradient, node, 0)));
    return contribute_spread(gradient, node, value, false);
}

/* Y = log Σexp x: dx = dY exp(x - Y). */
mitral_status differentiate_reduce_log_sum_exp(struct gradient *gradient, const struct node *node)
{
    value_id value, arriving;
    TRY(spread(gradient, node, &value, node->outputs[0], false));
    TRY(gradient_binary(gradient, &value, "Sub", node->inputs[0], value));
    TRY(gradient_unary(gradient, &value, "Exp", value));
    TRY(spread(gradient, node, &arriving, gradient_of(gradient, node, 0), false));
    TRY(gradient_binary(gradient, &value, "Mul", value, arriving));
    return gradient_contribute(gradient, node, 0, value);
}

/* Each element's gradient is the product of the others: exact with zeros too, hence an operator of its own. */
mitral_status differentiate_reduce_product(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    bool nothing;
    value_id value = gradient_of(gradient, node, 0);
    TRY(reduction_attributes(gradient, node, &attributes, &nothing));
    if (!nothing)
        TRY(gradient_emit(gradient, "mitral.ReduceProdGradient", &attributes, (value_id[]){value, node->inputs[0]}, 2, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

/* Shared evenly between the elements that reach the extremum. */
mitral_status differentiate_reduce_extremum(struct gradient *gradient, const struct node *node)
{
    value_id mask, count, value, arriving = gradient_of(gradient, node, 0), inputs[2];
    struct attributes attributes = {0};
    struct arena *arena = gradient_graph(gradient)->arena;
    bool nothing;
    TRY(reduction_attributes(gradient, node, &attributes, &nothing));
    if (nothing)
        return gradient_contribute(gradient, node, 0, arriving);
    TRY(spread(gradient, node, &value, node->outputs[0], false));
    TRY(gradient_binary(gradient, &mask, "Equal", node->inputs[0], value));
    TRY(gradient_binary(gradient, &mask, "CastLike", mask, arriving));
    size_t axis_count;
    const int64_t *axes = attribute_ints(&attributes, "axes", &axis_count);
    struct attributes sum = {0};
    TRY(attributes_set_int(&sum, arena, "keepdims", attribute_int(&attributes, "keepdims", 1)));
    TRY(attributes_set_int(&sum, arena, "noop_with_empty_axes", 0));
    inputs[0] = mask;
    if (axis_count)
        TRY(gradient_ints(gradient, &inputs[1], axes, axis_count));
    TRY(gradient_emit(gradient, "ReduceSum", &sum, inputs, axis_count ? 2 : 1, &count, 1));
    TRY(gradient_binary(gradient, &value, "Div", arriving, count));
    TRY(spread(gradient, node, &value, value, false));
    TRY(gradient_binary(gradient, &value, "Mul", value, mask));
    return gradient_contribute(gradient, node, 0, value);
}

/* The gradient of a running sum is the running sum from the other end. */
mitral_status differentiate_cumulative_sum(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    value_id value;
    TRY(attributes_copy(&attributes, gradient_graph(gradient)->arena, &node->attributes));
    TRY(attributes_set_int(&attributes, gradient_graph(gradient)->arena, "reverse",
                           !attribute_int(&node->attributes, "reverse", 0)));
    TRY(gradient_emit(gradient, "CumSum", &attributes, (value_id[]){gradient_of(gradient, node, 0), node->inputs[1]}, 2,
                      &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_top_k(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    value_id zeros, value, arriving = gradient_of(gradient, node, 0);
    if (arriving == NO_VALUE)
        return MITRAL_OK;
    if (node_output(node, 1) == NO_VALUE)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected the indices output to be named, found it absent");
    TRY(attributes_set_int(&attributes, gradient_graph(gradient)->arena, "axis", attribute_int(&node->attributes, "axis", -1)));
    TRY(attributes_set_string(&attributes, gradient_graph(gradient)->arena, "reduction", "none"));
    TRY(gradient_zeros(gradient, &zeros, node->inputs[0]));
    TRY(gradient_emit(gradient, "ScatterElements", &attributes, (value_id[]){zeros, node->outputs[1], arriving}, 3, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}
