/* Scales and shifts by channel — batch normalizations with fixed statistics, Mul, Add, Sub and Div by constants of shape [C, 1, …] —
 * go into the weights of the convolution or matrix product before them. What is left of batch normalizations becomes a
 * mitral.ScaleShift, which takes up the scales and shifts around it. */
#include <math.h>
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"

struct affine {
    value_id data;
    int64_t channels;
    double *scale, *shift; /* by channel */
};

struct fold {
    struct graph *graph;
    struct graph_uses uses;
    struct arena scratch;  /* of the affines */
    bool *changed;
};

/* ---- what a node does to its channels ---------------------------------------------------------------------------------- */

static mitral_status affine_allocate(struct fold *fold, value_id data, int64_t channels, struct affine *out)
{
    out->data = data;
    out->channels = channels;
    out->scale = arena_allocate(&fold->scratch, (size_t)channels * sizeof *out->scale);
    out->shift = arena_allocate(&fold->scratch, (size_t)channels * sizeof *out->shift);
    return out->scale && out->shift ? MITRAL_OK : MITRAL_NO_MEMORY;
}

/* Channels of [N, C, …] of a float type; 0: not known. */
static int64_t channels_of(const struct graph *graph, value_id value)
{
    const struct value_type *type = &graph->values[value].type;
    return type->kind == MITRAL_TENSOR && type->rank >= 2 && type->dims[1] > 0 && dtype_is_float(type->dtype) ? type->dims[1] : 0;
}

/* Infinite factors (a division by zero, say) keep their own node: what they do to zeros would change. */
static bool is_finite(const struct affine *affine)
{
    for (int64_t c = 0; c < affine->channels; c++)
        if (!isfinite(affine->scale[c]) || !isfinite(affine->shift[c]))
            return false;
    return true;
}

static bool other_outputs_are_used(const struct fold *fold, const struct node *node)
{
    for (size_t i = 1; i < node->output_count; i++)
        if (node->outputs[i] != NO_VALUE && (graph_use_count(&fold->uses, node->outputs[i]) || fold->uses.is_output[node->outputs[i]]))
            return true;
    return false;
}

static mitral_status read_batch_norm(struct fold *fold, const struct node *node, struct affine *out, bool *found)
{
    const mitral_tensor *constants[4]; /* scale, B, mean, variance */
    value_id data = node_input(node, 0);
    int64_t channels = data == NO_VALUE ? 0 : channels_of(fold->graph, data);
    if (!channels || attribute_int(&node->attributes, "training_mode", 0) || attribute_int(&node->attributes, "spatial", 1) == 0
        || other_outputs_are_used(fold, node) || node->version < 7)
        return MITRAL_OK;
    for (size_t i = 0; i < 4; i++) {
        constants[i] = node_input(node, i + 1) == NO_VALUE ? NULL : graph_constant(fold->graph, node_input(node, i + 1));
        if (!constants[i] || tensor_count(constants[i]) != channels)
            return MITRAL_OK;
    }
    TRY(affine_allocate(fold, data, channels, out));
    const double epsilon = (double)attribute_float(&node->attributes, "epsilon", 1e-5f);
    for (int64_t c = 0; c < channels; c++) {
        out->scale[c] = tensor_get_double(constants[0], c) / sqrt(tensor_get_double(constants[3], c) + epsilon);
        out->shift[c] = tensor_get_double(constants[1], c) - tensor_get_double(constants[2], c) * out->scale[c];
    }
    *found = is_finite(out);
    return MITRAL_OK;
}

/* Whether `constant` broadcasts over [N, C, …] of that rank along the channels only. */
static bool is_by_channel(const mitral_tensor *constant, int32_t rank, int64_t channels)
{
    if (constant->rank > rank || !dtype_is_float(constant->dtype))
        return false;
    for (int32_t i = 0; i < constant->rank; i++) {
        const bool channel = i + rank - constant->rank == 1;
        if (constant->dims[i] != 1 && !(channel && constant->dims[i] == channels))
            return false;
    }
    return true;
}

static mitral_status read_arithmetic(struct fold *fold, const struct node *node, struct affine *out, bool *found)
{
    const bool multiply = node_is(node, "Mul"), add = node_is(node, "Add"), subtract = node_is(node, "Sub"), divide = node_is(node, "Div");
    if (!(multiply || add || subtract || divide) || node->input_count != 2)
        return MITRAL_OK;
    const mitral_tensor *constant = graph_constant(fold->graph, node->inputs[1]);
    value_id data = node->inputs[0];
    if (!constant && (multiply || add)) {
        constant = graph_constant(fold->graph, node->inputs[0]);
        data = node->inputs[1];
    }
    if (!constant || graph_constant(fold->graph, data))
        return MITRAL_OK;
    const int64_t channels = channels_of(fold->graph, data);
    if (!channels || !is_by_channel(constant, fold->graph->values[data].type.rank, channels))
        return MITRAL_OK;
    TRY(affine_allocate(fold, data, channels, out));
    const bool one = tensor_count(constant) == 1;
    for (int64_t c = 0; c < channels; c++) {
        const double value = tensor_get_double(constant, one ? 0 : c);
        out->scale[c] = multiply ? value : divide ? 1 / value : 1;
        out->shift[c] = add ? value : subtract ? -value : 0;
    }
    *found = is_finite(out);
    return MITRAL_OK;
}

static bool is_scale_shift(const struct node *node)
{
    return node->op && strcmp(node->op->name, "ScaleShift") == 0 && strcmp(op_domain(node->op), "mitral") == 0;
}

static mitral_status read_affine(struct fold *fold, const struct node *node, struct affine *out, bool *found)
{
    *found = false;
    if (node_is(node, "BatchNormalization"))
        return read_batch_norm(fold, node, out, found);
    return read_arithmetic(fold, node, out, found);
}

/* ---- into weights ------------------------------------------------------------------------------------------------------ */

static mitral_status add_constant(struct fold *fold, const char *name, const mitral_tensor *like, int32_t rank, const int64_t *dims,
                                  mitral_tensor *out, value_id *id)
{
    tensor_set(out, like->dtype, rank, dims);
    size_t bytes = tensor_bytes(out);
    out->data = arena_allocate(fold->graph->arena, bytes ? bytes : 1);
    char *full = arena_format(fold->graph->arena, "%s.folded", name);
    if (!out->data || !full)
        return MITRAL_NO_MEMORY;
    return graph_add_constant(fold->graph, full, out, true, id);
}

/* Channel of the output that element `index` of the weights belongs to. */
struct weight_map {
    int64_t inner;        /* elements of one channel that lie together */
    int64_t channels;     /* channels before the next group begins */
    int64_t group_inputs; /* ConvTranspose: input channels of a group; 0: all belong to one */
};

static int64_t channel_at(const struct weight_map *map, int64_t index)
{
    int64_t channel = index / map->inner % map->channels;
    if (map->group_inputs)
        channel += index / map->inner / map->channels / map->group_inputs * map->channels;
    return channel;
}

static mitral_status scale_weights(struct fold *fold, node_id id, const struct affine *affine, const struct weight_map *map)
{
    bool unchanged = true;
    for (int64_t c = 0; c < affine->channels; c++)
        unchanged = unchanged && affine->scale[c] == 1;
    if (unchanged)
        return MITRAL_OK;
    value_id old = fold->graph->nodes[id].inputs[1], new;
    const mitral_tensor *weights = graph_constant(fold->graph, old);
    mitral_tensor scaled;
    TRY(add_constant(fold, fold->graph->values[old].name, weights, weights->rank, weights->dims, &scaled, &new));
    for (int64_t i = 0; i < tensor_count(weights); i++)
        tensor_set_double(&scaled, i, tensor_get_double(weights, i) * affine->scale[channel_at(map, i)], false);
    fold->graph->nodes[id].inputs[1] = new;
    return MITRAL_OK;
}

/* Input 2 becomes [C]: old · scale + shift. */
static mitral_status scale_bias(struct fold *fold, node_id id, const struct affine *affine, float old_factor)
{
    struct graph *graph = fold->graph;
    value_id old = node_input(&graph->nodes[id], 2), new;
    const mitral_tensor *weights = graph_constant(graph, graph->nodes[id].inputs[1]);
    const mitral_tensor *bias = old == NO_VALUE ? NULL : graph_constant(graph, old);
    mitral_tensor moved;
    const char *name = arena_format(graph->arena, "%s.bias", graph->nodes[id].name);
    if (!name)
        return MITRAL_NO_MEMORY;
    TRY(add_constant(fold, bias ? graph->values[old].name : name, weights, 1, &affine->channels, &moved, &new));
    const bool one = bias && tensor_count(bias) == 1;
    for (int64_t c = 0; c < affine->channels; c++) {
        const double before = bias ? (double)old_factor * tensor_get_double(bias, one ? 0 : c) : 0;
        tensor_set_double(&moved, c, before * affine->scale[c] + affine->shift[c], false);
    }
    struct node *node = &graph->nodes[id];
    if (node->input_count < 3) {
        value_id *inputs = arena_allocate(graph->arena, 3 * sizeof *inputs);
        if (!inputs)
            return MITRAL_NO_MEMORY;
        memcpy(inputs, node->inputs, node->input_count * sizeof *inputs);
        node->inputs = inputs;
        node->input_count = 3;
    }
    node->inputs[2] = new;
    return MITRAL_OK;
}

static mitral_status fold_into(struct fold *fold, node_id id, const struct affine *affine, bool *done)
{
    struct graph *graph = fold->graph;
    const struct node *node = &graph->nodes[id];
    const bool transposed = node_is(node, "ConvTranspose"), gemm = node_is(node, "Gemm");
    if (!node_is(node, "Conv") && !transposed && !gemm)
        return MITRAL_OK;
    const value_id weights_id = node_input(node, 1), bias_id = node_input(node, 2);
    const mitral_tensor *weights = weights_id == NO_VALUE ? NULL : graph_constant(graph, weights_id);
    const mitral_tensor *bias = bias_id == NO_VALUE ? NULL : graph_constant(graph, bias_id);
    if (!weights || (bias_id != NO_VALUE && !bias) || !dtype_is_float(weights->dtype))
        return MITRAL_OK;
    struct weight_map map = {.inner = 1};
    float bias_factor = 1;
    if (gemm) {
        const bool transpose = attribute_int(&node->attributes, "transB", 0) != 0;
        const float alpha = attribute_float(&node->attributes, "alpha", 1), beta = attribute_float(&node->attributes, "beta", 1);
        map.channels = affine->channels;
        if (weights->rank != 2 || weights->dims[transpose ? 0 : 1] != affine->channels || alpha != 1 || (bias && beta != 1)
            || (bias && tensor_count(bias) != 1 && !(tensor_count(bias) == affine->channels && bias->dims[bias->rank - 1] == affine->channels)))
            return MITRAL_OK;
        map.inner = transpose ? weights->dims[1] : 1;
        bias_factor = beta;
    } else {
        const int64_t group = attribute_int(&node->attributes, "group", 1);
        if (weights->rank < 3 || group < 1 || (transposed ? weights->dims[1] * group : weights->dims[0]) != affine->channels
            || (bias && tensor_count(bias) != affine->channels))
            return MITRAL_OK;
        for (int32_t i = transposed ? 2 : 1; i < weights->rank; i++)
            map.inner *= weights->dims[i];
        map.channels = transposed ? weights->dims[1] : affine->channels;
        map.group_inputs = transposed ? weights->dims[0] / group : 0;
    }
    if (!map.inner || (transposed && !map.group_inputs))
        return MITRAL_OK;
    if (gemm && bias_factor != 1)
        return MITRAL_OK;
    TRY(scale_weights(fold, id, affine, &map));
    TRY(scale_bias(fold, id, affine, bias_factor));
    *done = true;
    return MITRAL_OK;
}

/* ---- what is left ------------------------------------------------------------------------------------------------------ */

static mitral_status store_list(struct fold *fold, const char *name, const double *values, int64_t count, value_id *out)
{
    const mitral_tensor like = {.dtype = MITRAL_FLOAT};
    mitral_tensor tensor;
    TRY(add_constant(fold, name, &like, 1, &count, &tensor, out));
    for (int64_t i = 0; i < count; i++)
        ((float *)tensor.data)[i] = (float)values[i];
    return MITRAL_OK;
}

static mitral_status set_scale_shift(struct fold *fold, node_id id, const struct affine *affine)
{
    struct graph *graph = fold->graph;
    const char *name = graph->nodes[id].name;
    char *scale_name = arena_format(graph->arena, "%s.scale", name), *shift_name = arena_format(graph->arena, "%s.shift", name);
    value_id *inputs = arena_allocate(graph->arena, 3 * sizeof *inputs);
    if (!scale_name || !shift_name || !inputs)
        return MITRAL_NO_MEMORY;
    inputs[0] = affine->data;
    TRY(store_list(fold, scale_name, affine->scale, affine->channels, &inputs[1]));
    TRY(store_list(fold, shift_name, affine->shift, affine->channels, &inputs[2]));
    struct node *node = &graph->nodes[id];
    node->op = op_find("mitral", "ScaleShift");
    node->version = 1;
    node->attributes = (struct attributes){0};
    node->inputs = inputs;
    node->input_count = 3;
    node->output_count = 1;
    *fold->changed = true;
    return node->op ? MITRAL_OK : mitral_fail(graph->context, MITRAL_UNSUPPORTED, "expected the operator mitral.ScaleShift, found none");
}

/* The scale and shift of a mitral.ScaleShift with `after` applied to its result. */
static mitral_status compose(struct fold *fold, node_id before, const struct affine *after)
{
    const struct node *node = &fold->graph->nodes[before];
    const mitral_tensor *scale = graph_constant(fold->graph, node->inputs[1]), *shift = graph_constant(fold->graph, node->inputs[2]);
    struct affine both;
    TRY(affine_allocate(fold, node->inputs[0], after->channels, &both));
    for (int64_t c = 0; c < after->channels; c++) {
        both.scale[c] = tensor_get_double(scale, c) * after->scale[c];
        both.shift[c] = tensor_get_double(shift, c) * after->scale[c] + after->shift[c];
    }
    return set_scale_shift(fold, before, &both);
}

static mitral_status fold_node(struct fold *fold, node_id id)
{
    struct graph *graph = fold->graph;
    struct affine affine;
    bool found, done = false;
    TRY(read_affine(fold, &graph->nodes[id], &affine, &found));
    if (!found)
        return MITRAL_OK;
    const bool normalization = node_is(&graph->nodes[id], "BatchNormalization");
    const node_id producer = graph->values[affine.data].producer;
    if (producer != NO_NODE && graph->nodes[producer].op && graph_use_count(&fold->uses, affine.data) == 1
        && !fold->uses.is_output[affine.data]) {
        if (is_scale_shift(&graph->nodes[producer])) {
            TRY(compose(fold, producer, &affine));
            done = true;
        } else {
            TRY(fold_into(fold, producer, &affine, &done));
        }
    }
    if (done) {
        node_take_over(graph, producer, id);
        *fold->changed = true;
        return MITRAL_OK;
    }
    return normalization ? set_scale_shift(fold, id, &affine) : MITRAL_OK;
}

mitral_status pass_fold_batch_norm(struct graph *graph, const struct pass_options *options, bool *changed)
{
    if (options->training)
        return MITRAL_OK;
    struct fold fold = {.graph = graph, .changed = changed};
    TRY(graph_find_uses(graph, &fold.uses));
    arena_initialise(&fold.scratch, graph->context);
    mitral_status status = MITRAL_OK;
    for (size_t i = 0; i < graph->node_count && status == MITRAL_OK; i++)
        if (graph->nodes[i].op)
            status = fold_node(&fold, (node_id)i);
    arena_clear(&fold.scratch);
    graph_free_uses(graph, &fold.uses);
    return status;
}
