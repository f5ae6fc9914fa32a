#include "compiler/lower_training.h"

#include <string.h>

static bool is_float(const struct lowering *lowering, value_id value)
{
    if (value == NO_VALUE)
        return false;
    const struct value_type *type = lowering_type(lowering, value);
    return type->kind == MITRAL_TENSOR && type->dtype == MITRAL_FLOAT;
}

static int64_t listed(const struct node *node, const char *name, size_t index, int64_t fallback)
{
    size_t count;
    const int64_t *values = attribute_ints(&node->attributes, name, &count);
    return index < count ? values[index] : fallback;
}

/* Two spatial dimensions, one group; weights [M, C, kh, kw] of known sizes. */
static bool is_plain_convolution(const struct lowering *lowering, const struct node *node, const struct value_type *w)
{
    return lowering->level > 0 && w->rank == 4 && type_is_static(w) && attribute_int(&node->attributes, "group", 1) == 1
           && is_float(lowering, node_input(node, 0)) && lowering_type(lowering, node->inputs[0])->rank == 4;
}

static bool moves_by_one(const struct node *node)
{
    return listed(node, "strides", 0, 1) == 1 && listed(node, "strides", 1, 1) == 1;
}

bool lowers_to_training_convolution(const struct lowering *lowering, const struct node *node, value_id w)
{
    if (!is_float(lowering, w) || !is_plain_convolution(lowering, node, lowering_type(lowering, w)) || !moves_by_one(node)
        || attribute_has(&node->attributes, "activation"))
        return false;
    const int64_t *dims = lowering_type(lowering, w)->dims;
    return (dims[2] == 1 && dims[3] == 1) || (dims[2] == 3 && dims[3] == 3);
}

mitral_status lower_gradient_data(struct lowering *lowering, const struct node *node, bool *done)
{
    const value_id w = node_input(node, 1);
    if (w == NO_VALUE || !lowers_to_training_convolution(lowering, node, w)
        || strcmp(attribute_string(&node->attributes, "auto_pad", "NOTSET"), "NOTSET") != 0)
        return MITRAL_OK;
    for (size_t i = 0; i < 2; i++) /* the window must not begin outside the map */
        if (listed(node, "pads", i, 0) > (lowering_type(lowering, w)->dims[2 + i] - 1) * listed(node, "dilations", i, 1))
            return MITRAL_OK;
    return lower_node(lowering, node, "training.convolution_data", done);
}

mitral_status lower_gradient_weights(struct lowering *lowering, const struct node *node, bool *done)
{
    const value_id w = node_output(node, 0), dy = node_input(node, 1);
    if (w == NO_VALUE || !is_float(lowering, dy) || !is_plain_convolution(lowering, node, lowering_type(lowering, w)))
        return MITRAL_OK;
    return lower_node(lowering, node, "training.convolution_weights", done);
}
