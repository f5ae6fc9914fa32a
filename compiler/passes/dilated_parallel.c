/* Dilated-parallel regions become one node, mitral.DilatedParallelBlock (runtime/kernels/planar/dilated.h says what it computes). */
#include <math.h>
#include <string.h>

#include "compiler/passes/dilated_region.h"
#include "compiler/passes/passes.h"

enum { STAGE_FIELDS = 12, MOST_INPUTS = DILATED_SOURCES + 3 * DILATED_STAGES + 5 };

/* The node under construction. */
struct block {
    struct graph *graph;
    value_id inputs[MOST_INPUTS];
    size_t input_count;
    struct attributes attributes;
};

static void add_input(struct block *block, value_id value)
{
    block->inputs[block->input_count++] = value;
}

/* A constant [count] of these numbers. */
static mitral_status add_vector(struct block *block, const char *name, const double *values, int64_t count)
{
    mitral_tensor tensor;
    value_id id;
    const char *full = arena_format(block->graph->arena, "%s.by_channel", name);
    tensor_set(&tensor, MITRAL_FLOAT, 1, &count);
    float *data = tensor.data = arena_allocate(block->graph->arena, (size_t)count * sizeof *data + 1);
    if (!data || !full)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < count; i++)
        data[i] = (float)values[i];
    TRY(graph_add_constant(block->graph, full, &tensor, true, &id));
    add_input(block, id);
    return MITRAL_OK;
}

/* A constant of `count` elements as [count]; NO_VALUE stays absent. */
static mitral_status add_flat(struct block *block, value_id value, int64_t count)
{
    if (value == NO_VALUE) {
        add_input(block, NO_VALUE);
        return MITRAL_OK;
    }
    mitral_tensor tensor = *graph_constant(block->graph, value);
    value_id id;
    if (tensor.rank == 1) {
        add_input(block, value);
        return MITRAL_OK;
    }
    const char *name = arena_format(block->graph->arena, "%s.flat", block->graph->values[value].name);
    if (!name)
        return MITRAL_NO_MEMORY;
    tensor_set(&tensor, tensor.dtype, 1, &count);
    tensor.data = graph_constant(block->graph, value)->data;
    TRY(graph_add_constant(block->graph, name, &tensor, true, &id));
    add_input(block, id);
    return MITRAL_OK;
}

static int64_t activation_kind(bool active, const struct activation *activation)
{
    return !active ? PLANAR_LINEAR : strcmp(activation->name, "Relu") == 0 ? PLANAR_RELU : PLANAR_SLOPE;
}

/* The slope of an activation of `channels` channels, or nothing. */
static mitral_status add_slope(struct block *block, bool active, const struct activation *activation, int64_t channels, const char *name)
{
    if (activation_kind(active, activation) != PLANAR_SLOPE) {
        add_input(block, NO_VALUE);
        return MITRAL_OK;
    }
    if (activation->slope != NO_VALUE)
        return add_flat(block, activation->slope, channels);
    double *slopes = arena_allocate(block->graph->arena, (size_t)channels * sizeof *slopes);
    if (!slopes)
        return MITRAL_NO_MEMORY;
    for (int64_t c = 0; c < channels; c++)
        slopes[c] = (double)activation->alpha;
    return add_vector(block, name, slopes, channels);
}

static int64_t channels_of(const struct graph *graph, value_id value)
{
    return graph->values[value].type.dims[1];
}

/* The weights of a Conv as they are, of a Gemm as those of a 1×1 convolution. */
static mitral_status add_weights(struct block *block, value_id value)
{
    const mitral_tensor *weights = graph_constant(block->graph, value);
    if (weights->rank == 4) {
        add_input(block, value);
        return MITRAL_OK;
    }
    const int64_t dims[] = {weights->dims[0], weights->dims[1], 1, 1};
    mitral_tensor square;
    value_id id;
    const char *name = arena_format(block->graph->arena, "%s.1x1", block->graph->values[value].name);
    if (!name)
        return MITRAL_NO_MEMORY;
    tensor_set(&square, weights->dtype, 4, dims);
    square.data = weights->data;
    TRY(graph_add_constant(block->graph, name, &square, true, &id));
    add_input(block, id);
    return MITRAL_OK;
}

static mitral_status add_stage(struct block *block, const struct region_stage *stage, int64_t fields[STAGE_FIELDS])
{
    static const char *const lists[] = {"strides", "dilations", "pads"};
    static const size_t lengths[] = {2, 2, 4}, places[] = {3, 5, 7};
    const struct node *node = stage->weights == NO_NODE ? NULL : &block->graph->nodes[stage->weights];
    const int64_t channels = channels_of(block->graph, stage->result);
    const value_id weights = node ? node->inputs[1] : NO_VALUE, bias = node ? node_input(node, 2) : NO_VALUE;
    fields[0] = stage->from;
    fields[1] = stage->kind;
    fields[2] = node ? attribute_int(&node->attributes, "group", 1) : 1;
    for (size_t i = 0; i < 3; i++) {
        size_t count = 0;
        const int64_t *values = node ? attribute_ints(&node->attributes, lists[i], &count) : NULL;
        for (size_t d = 0; d < lengths[i]; d++)
            fields[places[i] + d] = d < count ? values[d] : i < 2;
    }
    fields[11] = activation_kind(stage->active, &stage->activation);
    if (node)
        TRY(add_weights(block, weights));
    else
        add_input(block, NO_VALUE);
    TRY(add_flat(block, bias, node ? graph_constant(block->graph, weights)->dims[0] : channels));
    return add_slope(block, stage->active, &stage->activation, channels, block->graph->values[stage->result].name);
}

/* Scale and shift by channel of a mitral.ScaleShift or a batch normalization. */
static mitral_status add_affine(struct block *block, node_id affine, int64_t channels)
{
    if (affine == NO_NODE) {
        add_input(block, NO_VALUE);
        add_input(block, NO_VALUE);
        return MITRAL_OK;
    }
    const struct node *node = &block->graph->nodes[affine];
    if (!node_is(node, "BatchNormalization")) {
        const value_id scale = node->inputs[1], shift = node->inputs[2];
        TRY(add_flat(block, scale, channels));
        return add_flat(block, shift, channels);
    }
    const mitral_tensor *constants[4];
    for (size_t i = 0; i < 4; i++)
        constants[i] = graph_constant(block->graph, node->inputs[1 + i]);
    double *scale = arena_allocate(block->graph->arena, (size_t)channels * sizeof *scale);
    double *shift = arena_allocate(block->graph->arena, (size_t)channels * sizeof *shift);
    const double epsilon = (double)attribute_float(&node->attributes, "epsilon", 1e-5f);
    const char *name = node->name;
    if (!scale || !shift)
        return MITRAL_NO_MEMORY;
    for (int64_t c = 0; c < channels; c++) {
        scale[c] = tensor_get_double(constants[0], c) / sqrt(tensor_get_double(constants[3], c) + epsilon);
        shift[c] = tensor_get_double(constants[1], c) - tensor_get_double(constants[2], c) * scale[c];
    }
    TRY(add_vector(block, name, scale, channels));
    return add_vector(block, name, shift, channels);
}

static mitral_status set_attributes(struct block *block, const struct region *region, const int64_t *stages)
{
    static const char *const merges[] = {"concat", "sum", "running"};
    struct attributes *attributes = &block->attributes;
    struct arena *arena = block->graph->arena;
    int64_t branches[DILATED_BRANCHES];
    for (int k = 0; k < region->branch_count; k++)
        branches[k] = region->branches[k];
    TRY(attributes_set_ints(attributes, arena, "source_scale", region->scales, region->source_count));
    TRY(attributes_set_ints(attributes, arena, "stages", stages, (size_t)region->stage_count * STAGE_FIELDS));
    TRY(attributes_set_ints(attributes, arena, "branches", branches, (size_t)region->branch_count));
    TRY(attributes_set_string(attributes, arena, "merge", merges[region->merge]));
    if (region->merge == MERGE_RUNNING)
        TRY(attributes_set_int(attributes, arena, "running_from", region->running_from));
    if (region->shortcut != SHORTCUT_NONE) {
        TRY(attributes_set_int(attributes, arena, "shortcut", region->shortcut));
        TRY(attributes_set_int(attributes, arena, "shortcut_first", region->shortcut_first));
    }
    if (region->shortcut == SHORTCUT_STAGE)
        TRY(attributes_set_int(attributes, arena, "shortcut_stage", region->shortcut_stage));
    if (region->merged_active)
        TRY(attributes_set_int(attributes, arena, "merged_activation", activation_kind(true, &region->merged_activation)));
    if (region->tail >= 0)
        TRY(attributes_set_int(attributes, arena, "tail", region->tail));
    if (region->gate[0] >= 0) {
        TRY(attributes_set_int(attributes, arena, "gate_first", region->gate[0]));
        TRY(attributes_set_int(attributes, arena, "gate_second", region->gate[1]));
    }
    if (region->head >= 0)
        TRY(attributes_set_int(attributes, arena, "head", region->head));
    return attributes_set_int(attributes, arena, "activation", activation_kind(region->active, &region->activation));
}

static mitral_status replace(struct graph *graph, const struct region *region)
{
    const struct op *op = op_find("mitral", "DilatedParallelBlock");
    int64_t stages[STAGE_FIELDS * DILATED_STAGES];
    struct block block = {.graph = graph};
    const int64_t merged = channels_of(graph, region->merged);
    const char *name = graph->nodes[region->inside[0]].name;
    if (!op)
        return mitral_fail(graph->context, MITRAL_UNSUPPORTED, "expected the operator mitral.DilatedParallelBlock, found none");
    for (size_t i = 0; i < region->source_count; i++)
        add_input(&block, region->sources[i]);
    for (int i = 0; i < region->stage_count; i++)
        TRY(add_stage(&block, &region->stages[i], stages + STAGE_FIELDS * i));
    TRY(add_affine(&block, region->affine, merged));
    TRY(add_slope(&block, region->merged_active, &region->merged_activation, merged, name));
    TRY(add_slope(&block, region->active, &region->activation, channels_of(graph, region->y), name));
    if (region->shortcut == SHORTCUT_INPUT)
        add_input(&block, region->added);
    TRY(set_attributes(&block, region, stages));
    for (size_t i = 0; i < region->inside_count; i++)
        graph_remove_node(graph, region->inside[i]);
    return graph_add_node(graph, op, 1, name, &block.attributes, block.inputs, block.input_count, &region->result, 1, NULL);
}

mitral_status pass_dilated_parallel(struct graph *graph, const struct pass_options *options, bool *changed)
{
    if (options->training)
        return MITRAL_OK;
    struct region *region = mitral_allocate(graph->context, sizeof *region);
    mitral_status status = region ? MITRAL_OK : MITRAL_NO_MEMORY;
    /* From the end, so that a tree of sums is met at its root and running sums at their concatenation. */
    for (size_t i = graph->node_count; i-- > 0 && status == MITRAL_OK;) {
        struct graph_uses uses;
        const struct node *node = &graph->nodes[i];
        if (!node->op || !(node_is(node, "Concat") || node_is(node, "Add") || node_is(node, "Sum")))
            continue;
        status = graph_find_uses(graph, &uses);
        if (status != MITRAL_OK)
            break;
        if (region_find(graph, &uses, (node_id)i, options->precision == MITRAL_PRECISION_BF16, region)) {
            status = replace(graph, region);
            *changed = true;
        }
        graph_free_uses(graph, &uses);
    }
    mitral_release(graph->context, region);
    return status == MITRAL_OK && *changed ? graph_sort(graph) : status; /* the new nodes come before their readers */
}
