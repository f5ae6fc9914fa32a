#include "compiler/planar.h"

#include "compiler/passes/activation.h"

#include <string.h>

#include "runtime/kernels/planar/dilated.h"

enum { X, W, BIAS, RESIDUAL, SLOPE };

static const mitral_tensor *fixed(const struct graph *graph, value_id value)
{
    return value == NO_VALUE || graph->values[value].variable ? NULL : graph_constant(graph, value);
}

static bool read_activation(const struct graph *graph, const struct node *node, struct convolution_shape *out)
{
    const char *name = attribute_string(&node->attributes, "activation", "");
    if (out->residual && *name && !attribute_int(&node->attributes, "residual_before_activation", 1))
        return false;
    if (strcmp(name, "PRelu") == 0) {
        const mitral_tensor *slope = fixed(graph, node_input(node, SLOPE));
        out->activation = PLANAR_SLOPE;
        return slope && slope->dtype == MITRAL_FLOAT;
    }
    const struct attributes *a = &node->attributes;
    const bool scaled = attribute_float(a, "activation_scale", 1) != 1 || attribute_float(a, "activation_shift", 0) != 0;
    struct planar_function function;
    if (planar_function_of(name, 0, 0, 1, 0, &function) && strcmp(name, "Relu") != 0 && strcmp(name, "LeakyRelu") != 0) {
        out->function = true;
        return true;
    }
    out->activation = strcmp(name, "Relu") == 0 ? PLANAR_RELU : strcmp(name, "LeakyRelu") == 0 ? PLANAR_SLOPE : PLANAR_LINEAR;
    out->function = *name && scaled;
    return !*name || out->activation != PLANAR_LINEAR;
}

bool planar_convolution_of(const struct graph *graph, const struct node *node, struct convolution_shape *out)
{
    const value_id x = node_input(node, X), residual = node_input(node, RESIDUAL);
    const mitral_tensor *w = fixed(graph, node_input(node, W));
    if (x == NO_VALUE || !w || w->dtype != MITRAL_FLOAT || w->rank != 4 || node->output_count < 1 || node->outputs[0] == NO_VALUE)
        return false;
    const struct graph_value *from = &graph->values[x], *to = &graph->values[node->outputs[0]];
    const int32_t expected = attribute_int(&node->attributes, "input_bfloat16", 0) ? MITRAL_BFLOAT16 : MITRAL_FLOAT;
    const bool reads_maps = from->type.kind == MITRAL_TENSOR && from->type.dtype == expected && from->type.rank == 4;
    const bool writes_maps = to->type.rank == 4;
    if (!reads_maps || !writes_maps)
        return false;
    const char *mode = attribute_string(&node->attributes, "auto_pad", "NOTSET");
    const bool same = strncmp(mode, "SAME", 4) == 0;
    *out = (struct convolution_shape){.batch = from->type.dims[0] < 0 ? 1 : from->type.dims[0], .features = w->dims[0],
                                      .groups = attribute_int(&node->attributes, "group", 1), .input_layout = from->layout,
                                      .output_layout = to->layout, .residual = residual != NO_VALUE};
    out->channels = w->dims[1] * out->groups;
    out->residual_layout = out->residual ? graph->values[residual].layout : LAYOUT_PLAIN;
    for (size_t i = 0; i < 2; i++) {
        out->input[i] = from->type.dims[2 + i];
        out->output[i] = to->type.dims[2 + i];
        out->kernel[i] = w->dims[2 + i];
        out->stride[i] = node_int_at(node, "strides", i, 1);
        out->dilation[i] = node_int_at(node, "dilations", i, 1);
        out->pad_begin[i] = same ? (out->kernel[i] - 1) * out->dilation[i] / 2 : node_int_at(node, "pads", i, 0);
    }
    return read_activation(graph, node, out) && planar_convolution_way(out) != WAY_NONE;
}

bool planar_convolution_has_rounded(const struct node *node)
{
    return attribute_int(&node->attributes, "input_bfloat16", 0) || attribute_int(&node->attributes, "output_bfloat16", 0);
}

/* ---- the dilated-parallel block ------------------------------------------------------------------------------------------ */

size_t planar_block_source_count(const struct node *node)
{
    size_t count;
    attribute_ints(&node->attributes, "source_scale", &count);
    return count;
}

/* Whether the block is of the form that one loop runs (dilated_block_of, in short); others run channels-last, stage by stage. */
static bool is_one_loop(const struct node *node, const int64_t *stages, size_t stage_count, const int64_t *branches, size_t branch_count)
{
    enum { FIELDS = 12, FROM = 0, GROUPS = 2 };
    const int64_t reduce = stages[FIELDS * branches[0] + FROM], shortcut = attribute_int(&node->attributes, "shortcut", SHORTCUT_NONE);
    const bool head = attribute_int(&node->attributes, "head", -1) >= 0;
    if (stage_count != branch_count + (reduce >= 0) + (shortcut == SHORTCUT_STAGE) + head || shortcut == SHORTCUT_INPUT
        || attribute_int(&node->attributes, "tail", -1) >= 0 || attribute_int(&node->attributes, "gate_first", -1) >= 0
        || attribute_int(&node->attributes, "merged_activation", PLANAR_LINEAR) != PLANAR_LINEAR)
        return false;
    for (size_t k = 0; k < branch_count; k++)
        if (branches[k] < 0 || (size_t)branches[k] >= stage_count || stages[FIELDS * branches[k] + FROM] != reduce
            || stages[FIELDS * branches[k] + GROUPS] != 1)
            return false;
    return true;
}

bool planar_block_is_one_loop(const struct node *node)
{
    size_t count, branch_count;
    const int64_t *branches = attribute_ints(&node->attributes, "branches", &branch_count);
    const int64_t *stages = attribute_ints(&node->attributes, "stages", &count);
    return node_is_own(node, "DilatedParallelBlock") && branch_count > 0 && branches[0] >= 0 && (size_t)branches[0] < count / 12
           && is_one_loop(node, stages, count / 12, branches, branch_count);
}

bool planar_block_likes_planes(const struct graph *graph, const struct node *node)
{
    size_t branch_count;
    const int64_t *branches = attribute_ints(&node->attributes, "branches", &branch_count);
    if (!planar_block_is_one_loop(node))
        return false;
    const mitral_tensor *weights = fixed(graph, node_input(node, planar_block_source_count(node) + 3 * (size_t)branches[0]));
    return weights && weights->rank == 4 && dilated_prefers_planes((int)weights->dims[1], attribute_int(&node->attributes, "bfloat16", 0) != 0);
}

bool planar_block_reads_any_layout(const struct node *node, size_t index)
{
    return index < planar_block_source_count(node) && attribute_int(&node->attributes, "shortcut", SHORTCUT_NONE) != SHORTCUT_IDENTITY;
}
