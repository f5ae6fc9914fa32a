/* Conv and ConvTranspose. The two are each other's data gradient, and share the weight gradient with its operands swapped. */
#include <string.h>

#include "compiler/gradients/gradients.h"

/* dW of `weights` from the map that the window slides over and the map with one element a position; dB beside it on request. */
static mitral_status weight_gradient(struct gradient *gradient, const struct node *node, value_id slid, value_id positions,
                                     value_id weights, value_id *outputs, size_t output_count)
{
    struct attributes attributes = {0};
    value_id inputs[3] = {slid, positions};
    size_t count = 2;
    TRY(attributes_copy(&attributes, gradient_graph(gradient)->arena, &node->attributes));
    TRY(gradient_set_shape(gradient, &attributes, weights, inputs, &count));
    return gradient_emit(gradient, "mitral.ConvGradientWeights", &attributes, inputs, count, outputs, output_count);
}

mitral_status differentiate_convolution(struct gradient *gradient, const struct node *node)
{
    struct graph *graph = gradient_graph(gradient);
    value_id arriving = gradient_of(gradient, node, 0), x = node->inputs[0], w = node->inputs[1];
    bool wants_bias = gradient_wants(gradient, node, 2);
    if (gradient_wants(gradient, node, 1)) {
        value_id outputs[2] = {NO_VALUE, NO_VALUE};
        TRY(weight_gradient(gradient, node, x, arriving, w, outputs, wants_bias ? 2 : 1));
        TRY(gradient_contribute(gradient, node, 1, outputs[0]));
        if (wants_bias)
            TRY(gradient_contribute(gradient, node, 2, outputs[1]));
    } else if (wants_bias) {
        value_id bias;
        TRY(gradient_unary(gradient, &bias, "mitral.BiasGradient", arriving));
        TRY(gradient_contribute(gradient, node, 2, bias));
    }
    if (gradient_wants(gradient, node, 0)) {
        struct attributes attributes = {0};
        value_id inputs[3] = {arriving, w}, value;
        size_t count = 2;
        TRY(attributes_copy(&attributes, graph->arena, &node->attributes));
        TRY(gradient_set_shape(gradient, &attributes, x, inputs, &count));
        TRY(gradient_emit(gradient, "mitral.ConvGradientData", &attributes, inputs, count, &value, 1));
        TRY(gradient_contribute(gradient, node, 0, value));
    }
    return MITRAL_OK;
}

/* auto_pad and output_shape become explicit pads, as the standard defines them for the transposed convolution: the total is
 * what is left over; its odd element goes to the end with SAME_UPPER, else to the beginning. Needs the spatial sizes. */
static mitral_status explicit_pads(struct gradient *gradient, const struct node *node, struct attributes *attributes)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    const char *mode = attribute_string(&node->attributes, "auto_pad", "NOTSET");
    size_t given, stride_count, dilation_count, extra_count;
    attribute_ints(&node->attributes, "output_shape", &given);
    if (strcmp(mode, "NOTSET") == 0 && !given)
        return MITRAL_OK;
    int64_t pads[2 * MITRAL_MAX_RANK] = {0};
    const struct value_type *x = gradient_type(gradient, node->inputs[0]), *w = gradient_type(gradient, node->inputs[1]);
    const struct value_type *y = gradient_type(gradient, node->outputs[0]);
    if (!type_is_static(x) || !type_is_static(w) || !type_is_static(y))
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected fixed shapes with auto_pad, found symbolic ones");
    const int64_t *strides = attribute_ints(&node->attributes, "strides", &stride_count);
    const int64_t *dilations = attribute_ints(&node->attributes, "dilations", &dilation_count);
    const int64_t *extra = attribute_ints(&node->attributes, "output_padding", &extra_count);
    int32_t spatial = x->rank - 2;
    for (int32_t i = 0; i < spatial && strcmp(mode, "VALID") != 0; i++) {
        int64_t stride = strides ? strides[i] : 1, dilation = dilations ? dilations[i] : 1;
        int64_t full = stride * (x->dims[2 + i] - 1) + (extra ? extra[i] : 0) + (w->dims[2 + i] - 1) * dilation + 1;
        int64_t total = full - y->dims[2 + i] > 0 ? full - y->dims[2 + i] : 0;
        bool upper = strcmp(mode, "SAME_UPPER") == 0;
        pads[i] = upper ? total / 2 : total - total / 2;
        pads[spatial + i] = total - pads[i];
    }
    attributes_remove(attributes, "auto_pad");
    return attributes_set_ints(attributes, arena, "pads", pads, 2 * (size_t)spatial);
}

mitral_status differentiate_convolution_transpose(struct gradient *gradient, const struct node *node)
{
    struct graph *graph = gradient_graph(gradient);
    value_id arriving = gradient_of(gradient, node, 0), x = node->inputs[0], w = node->inputs[1], value;
    struct attributes attributes = {0};
    TRY(attributes_copy(&attributes, graph->arena, &node->attributes));
    TRY(explicit_pads(gradient, node, &attributes));
    attributes_remove(&attributes, "output_padding");
    attributes_remove(&attributes, "output_shape");
    struct node slide = *node;
    slide.attributes = attributes;
    if (gradient_wants(gradient, node, 1)) {
        TRY(weight_gradient(gradient, &slide, arriving, x, w, &value, 1));
        TRY(gradient_contribute(gradient, node, 1, value));
    }
    if (gradient_wants(gradient, node, 2)) {
        TRY(gradient_unary(gradient, &value, "mitral.BiasGradient", arriving));
        TRY(gradient_contribute(gradient, node, 2, value));
    }
    if (gradient_wants(gradient, node, 0)) {
        TRY(gradient_emit(gradient, "Conv", &attributes, (value_id[]){arriving, w}, 2, &value, 1));
        size_t count;
        const int64_t *extra = attribute_ints(&node->attributes, "output_padding", &count), *strides;
        size_t stride_count;
        bool longer = false;
        strides = attribute_ints(&node->attributes, "strides", &stride_count);
        for (size_t i = 0; i < count; i++)
            longer |= extra[i] >= (i < stride_count ? strides[i] : 1);
        if (longer) {
            /* An output padding of a whole stride or more gives the convolution positions that no input element has. */
            value_id starts, ends, whole = value;
            const int64_t zeros[MITRAL_MAX_RANK] = {0};
            const struct value_type type = *gradient_type(gradient, x);
            if (type.rank < 0)
                return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected an input of known rank");
            TRY(gradient_ints(gradient, &starts, zeros, (size_t)type.rank));
            if (type_is_static(&type))
                TRY(gradient_ints(gradient, &ends, type.dims, (size_t)type.rank));
            else
                TRY(gradient_unary(gradient, &ends, "Shape", x));
            TRY(gradient_emit(gradient, "Slice", NULL, (value_id[]){whole, starts, ends}, 3, &value, 1));
        }
        TRY(gradient_contribute(gradient, node, 0, value));
    }
    return MITRAL_OK;
}
