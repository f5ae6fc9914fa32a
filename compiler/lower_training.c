#include "compiler/lower_training.h"

#include <string.h>

static bool is_float(const struct lowering *lowering, value_id value)
{
    if (value == NO_VALUE)
        return false;
    const struct value_type *type = lowering_type(lowering, value);
    return type->kind == MITRAL_TENSOR && type->dtype == MITRAL_FLOAT;
}

/* Two spatial dimensions, one group; weights [M, C, kh, kw] of known sizes. */
static bool is_plain_convolution(const struct lowering *lowering, const struct node *node, const struct value_type *w)
{
    return lowering->level > 0 && w->rank == 4 && type_is_static(w) && attribute_int(&node->attributes, "group", 1) == 1
           && is_float(lowering, node_input(node, 0)) && lowering_type(lowering, node->inputs[0])->rank == 4;
}

static bool moves_by_one(const struct node *node)
{
    return node_int_at(node, "strides", 0, 1) == 1 && node_int_at(node, "strides", 1, 1) == 1;
}

bool lowers_to_training_convolution(const struct lowering *lowering, const struct node *node, value_id w)
{
    if (!is_float(lowering, w) || !is_plain_convolution(lowering, node, lowering_type(lowering, w)) || !moves_by_one(node)
        || attribute_has(&node->attributes, "activation"))
        return false;
    const int64_t *dims = lowering_type(lowering, w)->dims;
    return (dims[2] == 1 && dims[3] == 1) || (dims[2] == 3 && dims[3] == 3);
}

bool lowers_to_tiles(const struct lowering *lowering, const struct node *node)
{
    return lowering->level > 0 && attribute_int(&node->attributes, "bfloat16", 0) != 0;
}

mitral_status lower_gradient_data(struct lowering *lowering, const struct node *node, bool *done)
{
    const value_id w = node_input(node, 1);
    if (lowers_to_tiles(lowering, node))
        return lower_node(lowering, node, "training.tiles_data", done);
    if (w == NO_VALUE || !lowers_to_training_convolution(lowering, node, w)
        || strcmp(attribute_string(&node->attributes, "auto_pad", "NOTSET"), "NOTSET") != 0)
        return MITRAL_OK;
    for (size_t i = 0; i < 2; i++) /* the window must not begin outside the map */
        if (node_int_at(node, "pads", i, 0) > (lowering_type(lowering, w)->dims[2 + i] - 1) * node_int_at(node, "dilations", i, 1))
            return MITRAL_OK;
    return lower_node(lowering, node, "training.convolution_data", done);
}

mitral_status lower_gradient_weights(struct lowering *lowering, const struct node *node, bool *done)
{
    const value_id w = node_output(node, 0), dy = node_input(node, 1);
    if (lowers_to_tiles(lowering, node))
        return lower_node(lowering, node, "training.tiles_weights", done);
    if (w == NO_VALUE || !is_float(lowering, dy) || !is_plain_convolution(lowering, node, lowering_type(lowering, w)))
        return MITRAL_OK;
    return lower_node(lowering, node, "training.convolution_weights", done);
}

/* The larger map is twice as high and wide as the smaller one; both of known sizes. */
static bool doubles(const struct value_type *large, const struct value_type *small)
{
    bool yes = large->dtype == MITRAL_FLOAT && large->rank == 4 && small->rank == 4 && type_is_static(large) && type_is_static(small);
    for (int d = 0; yes && d < 4; d++)
        yes = large->dims[d] == small->dims[d] * (d < 2 ? 1 : 2);
    return yes;
}

bool pools_by_two(const struct graph *graph, const struct node *node, value_id large, value_id small)
{
    bool yes = large != NO_VALUE && small != NO_VALUE && doubles(&graph->values[large].type, &graph->values[small].type)
               && strncmp(attribute_string(&node->attributes, "auto_pad", "NOTSET"), "SAME", 4) != 0;
    for (size_t i = 0; yes && i < 4; i++)
        yes = node_int_at(node, "kernel_shape", i % 2, 1) == 2 && node_int_at(node, "strides", i % 2, 1) == 2
              && node_int_at(node, "dilations", i % 2, 1) == 1 && node_int_at(node, "pads", i, 0) == 0;
    return yes;
}

bool lowers_to_training_max_pool(const struct lowering *lowering, const struct node *node)
{
    return lowering->level > 0 && pools_by_two(lowering->graph, node, node_input(node, 0), node_output(node, 0))
           && node_output(node, 1) == NO_VALUE;
}

mitral_status lower_max_pool_gradient(struct lowering *lowering, const struct node *node, bool *done)
{
    return lowering->level > 0 && pools_by_two(lowering->graph, node, node_input(node, 1), node_input(node, 0))
               ? lower_node(lowering, node, "training.max_pool_gradient", done) : MITRAL_OK;
}

/* Scales of 2, or sizes (which `doubles` compares). */
static bool scales_by_two(const struct lowering *lowering, const struct node *node)
{
    const value_id scales = node_input(node, 2);
    const mitral_tensor *tensor = scales == NO_VALUE ? NULL : graph_constant(lowering->graph, scales);
    if (scales == NO_VALUE)
        return true;
    if (!tensor || tensor->dtype != MITRAL_FLOAT)
        return false;
    const int64_t count = tensor_count(tensor);
    for (int64_t i = 0; i < count; i++)
        if (count != 4 || tensor_get_double(tensor, i) != (i < 2 ? 1 : 2))
            return count == 0;
    return true;
}

mitral_status lower_resize_gradient(struct lowering *lowering, const struct node *node, bool *done)
{
    const value_id dy = node_input(node, 0), dx = node_output(node, 0);
    const struct attributes *attributes = &node->attributes;
    const char *coordinates = attribute_string(attributes, "coordinate_transformation_mode", "half_pixel");
    size_t axes;
    attribute_ints(attributes, "axes", &axes);
    if (dy == NO_VALUE || dx == NO_VALUE || lowering->level == 0 || !doubles(lowering_type(lowering, dy), lowering_type(lowering, dx)) || axes
        || strcmp(attribute_string(attributes, "forward", "Resize"), "Resize") != 0 || attribute_int(attributes, "forward_version", 13) < 11
        || strcmp(attribute_string(attributes, "mode", "nearest"), "linear") != 0 || attribute_int(attributes, "antialias", 0)
        || strcmp(attribute_string(attributes, "keep_aspect_ratio_policy", "stretch"), "stretch") != 0 || !scales_by_two(lowering, node)
        || (strcmp(coordinates, "half_pixel") != 0
            && (strcmp(coordinates, "pytorch_half_pixel") != 0 || lowering_type(lowering, dx)->dims[2] < 1 || lowering_type(lowering, dx)->dims[3] < 1)))
        return MITRAL_OK;
    return lower_node(lowering, node, "training.resize_gradient", done);
}
