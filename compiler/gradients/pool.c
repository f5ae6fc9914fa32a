/* Pooling. */
#include <string.h>

#include "compiler/gradients/gradients.h"

/* The first of equal elements of a window gets all of its gradient. */
mitral_status differentiate_max_pool(struct gradient *gradient, const struct node *node)
{
    value_id value;
    if (gradient_of(gradient, node, 0) == NO_VALUE)
        return MITRAL_OK;
    TRY(gradient_emit(gradient, "mitral.MaxPoolGradient", &node->attributes,
                      (value_id[]){gradient_of(gradient, node, 0), node->inputs[0]}, 2, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_average_pool(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    value_id inputs[2] = {gradient_of(gradient, node, 0)}, value;
    size_t count = 1;
    TRY(attributes_copy(&attributes, gradient_graph(gradient)->arena, &node->attributes));
    TRY(gradient_set_shape(gradient, &attributes, node->inputs[0], inputs, &count));
    TRY(gradient_emit(gradient, "mitral.AveragePoolGradient", &attributes, inputs, count, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_lp_pool(struct gradient *gradient, const struct node *node)
{
    value_id value;
    TRY(gradient_emit(gradient, "mitral.LpPoolGradient", &node->attributes,
                      (value_id[]){gradient_of(gradient, node, 0), node->inputs[0], node->outputs[0]}, 3, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_global_average_pool(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    struct arena *arena = gradient_graph(gradient)->arena;
    int64_t axes[MITRAL_MAX_RANK];
    int32_t rank = gradient_type(gradient, node->inputs[0])->rank;
    value_id inputs[2] = {gradient_of(gradient, node, 0)}, value;
    size_t count = 1;
    if (rank < 3)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected an input of known rank from 3, found %d", (int)rank);
    for (int32_t i = 2; i < rank; i++)
        axes[i - 2] = i;
    TRY(attributes_set_ints(&attributes, arena, "axes", axes, (size_t)rank - 2));
    TRY(attributes_set_int(&attributes, arena, "keepdims", 1));
    TRY(attributes_set_int(&attributes, arena, "mean", 1));
    TRY(gradient_set_shape(gradient, &attributes, node->inputs[0], inputs, &count));
    TRY(gradient_emit(gradient, "mitral.ReduceGradient", &attributes, inputs, count, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

/* A global pooling is one whose window is the whole map. */
static mitral_status global_window(struct gradient *gradient, const struct node *node, struct attributes *attributes)
{
    const struct value_type *type = gradient_type(gradient, node->inputs[0]);
    if (!type_is_static(type) || type->rank < 3)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected an input of fixed spatial size");
    return attributes_set_ints(attributes, gradient_graph(gradient)->arena, "kernel_shape", &type->dims[2],
                               (size_t)type->rank - 2);
}

mitral_status differentiate_global_max_pool(struct gradient *gradient, const struct node *node)
{
    struct node window = *node;
    window.attributes = (struct attributes){0};
    TRY(global_window(gradient, node, &window.attributes));
    return differentiate_max_pool(gradient, &window);
}

mitral_status differentiate_global_lp_pool(struct gradient *gradient, const struct node *node)
{
    struct node window = *node;
    window.attributes = (struct attributes){0};
    TRY(global_window(gradient, node, &window.attributes));
    TRY(attributes_set_int(&window.attributes, gradient_graph(gradient)->arena, "p", attribute_int(&node->attributes, "p", 2)));
    return differentiate_lp_pool(gradient, &window);
}

/* What the indices count in: the tensor that had been pooled, which an output shape may exceed at the ends. */
static mitral_status unpooled_part(struct gradient *gradient, const struct node *node, value_id *value)
{
    const struct value_type x = *gradient_type(gradient, node->inputs[0]);
    int64_t ends[MITRAL_MAX_RANK], zeros[MITRAL_MAX_RANK] = {0};
    size_t kernels, strides, pads;
    const int64_t *kernel = attribute_ints(&node->attributes, "kernel_shape", &kernels);
    const int64_t *stride = attribute_ints(&node->attributes, "strides", &strides);
    const int64_t *pad = attribute_ints(&node->attributes, "pads", &pads);
    value_id first, last;
    if (node_input(node, 2) == NO_VALUE)
        return MITRAL_OK;
    if (!type_is_static(&x) || kernels != (size_t)x.rank - 2)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected an input of fixed shape");
    for (int32_t i = 0; i < x.rank; i++) {
        const size_t s = (size_t)i - 2;
        ends[i] = i < 2 ? x.dims[i] : (x.dims[i] - 1) * (s < strides ? stride[s] : 1) + kernel[s];
        if (i >= 2 && pads == 2 * kernels)
            ends[i] -= pad[s] + pad[kernels + s];
    }
    TRY(gradient_ints(gradient, &first, zeros, (size_t)x.rank));
    TRY(gradient_ints(gradient, &last, ends, (size_t)x.rank));
    return gradient_emit(gradient, "Slice", NULL, (value_id[]){*value, first, last}, 3, value, 1);
}

/* Each element came from one place of the output. */
mitral_status differentiate_max_unpool(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    value_id flat, value = gradient_of(gradient, node, 0);
    TRY(unpooled_part(gradient, node, &value));
    TRY(gradient_ints(gradient, &flat, (const int64_t[]){-1}, 1));
    TRY(gradient_binary(gradient, &value, "Reshape", value, flat));
    TRY(attributes_set_int(&attributes, gradient_graph(gradient)->arena, "axis", 0));
    TRY(gradient_emit(gradient, "Gather", &attributes, (value_id[]){value, node->inputs[1]}, 2, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}
