/* Arithmetic with broadcasting: the gradient of an input is summed over what it was repeated to. */
#include <string.h>

#include "compiler/gradients/gradients.h"

mitral_status differentiate_zero(struct gradient *gradient, const struct node *node)
{
    (void)gradient;
    (void)node;
    return MITRAL_OK;
}

mitral_status differentiate_sum(struct gradient *gradient, const struct node *node)
{
    for (size_t i = 0; i < node->input_count; i++)
        TRY(gradient_contribute_reduced(gradient, node, i, gradient_of(gradient, node, 0)));
    return MITRAL_OK;
}

mitral_status differentiate_add(struct gradient *gradient, const struct node *node)
{
    return differentiate_sum(gradient, node);
}

mitral_status differentiate_mean(struct gradient *gradient, const struct node *node)
{
    value_id share;
    TRY(gradient_scale(gradient, &share, gradient_of(gradient, node, 0), node->outputs[0], 1.0 / (double)node->input_count));
    for (size_t i = 0; i < node->input_count; i++)
        TRY(gradient_contribute_reduced(gradient, node, i, share));
    return MITRAL_OK;
}

mitral_status differentiate_negate(struct gradient *gradient, const struct node *node)
{
    value_id value;
    TRY(gradient_unary(gradient, &value, "Neg", gradient_of(gradient, node, 0)));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_subtract(struct gradient *gradient, const struct node *node)
{
    value_id arriving = gradient_of(gradient, node, 0), value;
    TRY(gradient_contribute_reduced(gradient, node, 0, arriving));
    if (!gradient_wants(gradient, node, 1))
        return MITRAL_OK;
    TRY(gradient_unary(gradient, &value, "Neg", arriving));
    return gradient_contribute_reduced(gradient, node, 1, value);
}

mitral_status differentiate_multiply(struct gradient *gradient, const struct node *node)
{
    for (size_t i = 0; i < 2; i++) {
        value_id value;
        if (!gradient_wants(gradient, node, i))
            continue;
        TRY(gradient_binary(gradient, &value, "Mul", gradient_of(gradient, node, 0), node->inputs[1 - i]));
        TRY(gradient_contribute_reduced(gradient, node, i, value));
    }
    return MITRAL_OK;
}

/* Y = A / B: dA = dY / B, dB = -(dY / B) Y. */
mitral_status differentiate_divide(struct gradient *gradient, const struct node *node)
{
    value_id quotient, value;
    TRY(gradient_binary(gradient, &quotient, "Div", gradient_of(gradient, node, 0), node->inputs[1]));
    TRY(gradient_contribute_reduced(gradient, node, 0, quotient));
    if (!gradient_wants(gradient, node, 1))
        return MITRAL_OK;
    TRY(gradient_binary(gradient, &value, "Mul", quotient, node->outputs[0]));
    TRY(gradient_unary(gradient, &value, "Neg", value));
    return gradient_contribute_reduced(gradient, node, 1, value);
}

/* Y = A^B: dA = dY B A^(B-1), dB = dY Y log A, taken as 0 where A is 0. */
mitral_status differentiate_power(struct gradient *gradient, const struct node *node)
{
    value_id arriving = gradient_of(gradient, node, 0), value;
    value_id base = node->inputs[0], exponent = node->inputs[1];
    if (gradient_wants(gradient, node, 0)) {
        value_id one, power, typed_exponent = exponent;
        TRY(gradient_scalar(gradient, &one, gradient_type(gradient, exponent)->dtype, 1));
        TRY(gradient_binary(gradient, &power, "Sub", exponent, one));
        TRY(gradient_binary(gradient, &power, "Pow", base, power));
        if (gradient_type(gradient, exponent)->dtype != gradient_type(gradient, base)->dtype)
            TRY(gradient_binary(gradient, &typed_exponent, "CastLike", exponent, base));
        TRY(gradient_binary(gradient, &value, "Mul", arriving, typed_exponent));
        TRY(gradient_binary(gradient, &value, "Mul", value, power));
        TRY(gradient_contribute_reduced(gradient, node, 0, value));
    }
    if (gradient_wants(gradient, node, 1)) {
        value_id zero, one, is_zero, safe;
        int32_t dtype = gradient_type(gradient, base)->dtype;
        TRY(gradient_scalar(gradient, &zero, dtype, 0));
        TRY(gradient_scalar(gradient, &one, dtype, 1));
        TRY(gradient_binary(gradient, &is_zero, "Equal", base, zero));
        TRY(gradient_emit(gradient, "Where", NULL, (value_id[]){is_zero, one, base}, 3, &safe, 1));
        TRY(gradient_unary(gradient, &safe, "Log", safe));
        TRY(gradient_binary(gradient, &value, "Mul", arriving, node->outputs[0]));
        TRY(gradient_binary(gradient, &value, "Mul", value, safe));
        TRY(gradient_contribute_reduced(gradient, node, 1, value));
    }
    return MITRAL_OK;
}

/* The gradient is shared evenly between the inputs that reach the extremum. */
mitral_status differentiate_extremum(struct gradient *gradient, const struct node *node)
{
    value_id arriving = gradient_of(gradient, node, 0);
    if (node->input_count == 1)
        return gradient_contribute(gradient, node, 0, arriving);
    struct graph *graph = gradient_graph(gradient);
    value_id *masks = arena_allocate(graph->arena, node->input_count * sizeof *masks), total, share;
    if (!masks)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < node->input_count; i++) {
        TRY(gradient_binary(gradient, &masks[i], "Equal", node->inputs[i], node->outputs[0]));
        TRY(gradient_binary(gradient, &masks[i], "CastLike", masks[i], arriving));
    }
    TRY(gradient_emit(gradient, "Sum", NULL, masks, node->input_count, &total, 1));
    TRY(gradient_binary(gradient, &share, "Div", arriving, total));
    for (size_t i = 0; i < node->input_count; i++) {
        value_id value;
        if (!gradient_wants(gradient, node, i))
            continue;
        TRY(gradient_binary(gradient, &value, "Mul", share, masks[i]));
        TRY(gradient_contribute_reduced(gradient, node, i, value));
    }
    return MITRAL_OK;
}

mitral_status differentiate_where(struct gradient *gradient, const struct node *node)
{
    value_id arriving = gradient_of(gradient, node, 0), condition = node->inputs[0], zero, value;
    TRY(gradient_scalar(gradient, &zero, gradient_type(gradient, node->outputs[0])->dtype, 0));
    if (gradient_wants(gradient, node, 1)) {
        TRY(gradient_emit(gradient, "Where", NULL, (value_id[]){condition, arriving, zero}, 3, &value, 1));
        TRY(gradient_contribute_reduced(gradient, node, 1, value));
    }
    if (gradient_wants(gradient, node, 2)) {
        TRY(gradient_emit(gradient, "Where", NULL, (value_id[]){condition, zero, arriving}, 3, &value, 1));
        TRY(gradient_contribute_reduced(gradient, node, 2, value));
    }
    return MITRAL_OK;
}

/* Y = A - B q with the integer q = (A - Y) / B, so dA = dY and dB = -dY q. */
mitral_status differentiate_modulo(struct gradient *gradient, const struct node *node)
{
    value_id arriving = gradient_of(gradient, node, 0), value;
    TRY(gradient_contribute_reduced(gradient, node, 0, arriving));
    if (!gradient_wants(gradient, node, 1))
        return MITRAL_OK;
    TRY(gradient_binary(gradient, &value, "Sub", node->outputs[0], node->inputs[0]));
    TRY(gradient_binary(gradient, &value, "Div", value, node->inputs[1]));
    TRY(gradient_unary(gradient, &value, "Round", value));
    TRY(gradient_binary(gradient, &value, "Mul", value, arriving));
    return gradient_contribute_reduced(gradient, node, 1, value);
}
