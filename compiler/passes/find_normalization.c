/* Normalizations that exporters write as several nodes become the operators that they are:
 *
 *   GroupNormalization: Reshape [N, G, …] → InstanceNormalization → Reshape back (→ Mul → Add by channel)
 *   LayerNormalization: x − mean, divided by the root of the mean of its square plus ε (→ Mul → Add by the last dimension) */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"

enum { MOST_NODES = 12 };

struct finding {
    struct graph *graph;
    struct graph_uses uses;
    node_id nodes[MOST_NODES]; /* that go */
    size_t count;
};

static const struct value_type *float_map(const struct graph *graph, value_id value)
{
    const struct value_type *type = value == NO_VALUE ? NULL : &graph->values[value].type;
    return type && type->kind == MITRAL_TENSOR && type->dtype == MITRAL_FLOAT && type->rank >= 1 ? type : NULL;
}

/* The node that computes the value, if it is that operator and goes with it: then it is noted. */
static const struct node *take_producer(struct finding *f, value_id value, const char *name)
{
    const struct node *node = value == NO_VALUE ? NULL : graph_producer(f->graph, value);
    if (!node || !node_is(node, name) || f->count == MOST_NODES)
        return NULL;
    f->nodes[f->count++] = f->graph->values[value].producer;
    return node;
}

static const struct node *take_reader(struct finding *f, value_id value, const char *name)
{
    const node_id reader = only_reader(f->graph, &f->uses, value);
    if (reader == NO_NODE || !node_is(&f->graph->nodes[reader], name) || f->count == MOST_NODES)
        return NULL;
    f->nodes[f->count++] = reader;
    return &f->graph->nodes[reader];
}

/* All uses of the value are by nodes that go. */
static bool is_inside(const struct finding *f, value_id value)
{
    if (f->uses.is_output[value])
        return false;
    for (uint32_t i = f->uses.offsets[value]; i < f->uses.offsets[value + 1]; i++) {
        bool goes = false;
        for (size_t k = 0; k < f->count; k++)
            goes = goes || f->nodes[k] == f->uses.nodes[i];
        if (!goes)
            return false;
    }
    return true;
}

/* The constant of a sum or product with `value`, of `count` numbers along `axis` of a value of `rank`. */
static const mitral_tensor *vector_beside(const struct graph *graph, const struct node *node, value_id value, int32_t rank, int32_t axis,
                                          int64_t count)
{
    const value_id other = node->inputs[0] == value ? node->inputs[1] : node->inputs[0];
    const mitral_tensor *constant = graph_constant(graph, other);
    if (!constant || constant->dtype != MITRAL_FLOAT || constant->rank > rank || tensor_count(constant) != count)
        return NULL;
    for (int32_t i = 0; i < constant->rank; i++)
        if (constant->dims[i] != (i + rank - constant->rank == axis ? count : 1))
            return NULL;
    return constant;
}

/* Mul and Add that follow `result`: noted, and `result` moves on. */
static void take_affine(struct finding *f, value_id *result, int32_t axis, int64_t count, const mitral_tensor **scale, const mitral_tensor **shift)
{
    const int32_t rank = f->graph->values[*result].type.rank;
    const struct node *node = take_reader(f, *result, "Mul");
    *scale = node ? vector_beside(f->graph, node, *result, rank, axis, count) : NULL;
    if (node && !*scale)
        f->count--;
    if (*scale)
        *result = node->outputs[0];
    node = take_reader(f, *result, "Add");
    *shift = node ? vector_beside(f->graph, node, *result, rank, axis, count) : NULL;
    if (node && !*shift)
        f->count--;
    if (*shift)
        *result = node->outputs[0];
}

static mitral_status add_vector(struct graph *graph, const char *name, const char *what, const double *values, int64_t count, value_id *out)
{
    const char *title = arena_format(graph->arena, "%s.%s", name, what);
    float *data = arena_allocate(graph->arena, (size_t)(count + 1) * sizeof *data);
    mitral_tensor tensor;
    if (!title || !data)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < count; i++)
        data[i] = (float)values[i];
    tensor_set(&tensor, MITRAL_FLOAT, 1, &count);
    tensor.data = data;
    return graph_add_constant(graph, title, &tensor, true, out);
}

/* `name` of x with scale and shift instead of the nodes that go; the first of them gives its name. */
static mitral_status replace(struct finding *f, const char *name, const struct attributes *attributes, value_id x, const double *scale,
                             const double *shift, int64_t count, value_id result)
{
    struct graph *graph = f->graph;
    const char *title = graph->nodes[f->nodes[0]].name;
    value_id inputs[3] = {x, NO_VALUE, NO_VALUE};
    TRY(add_vector(graph, graph->values[result].name, "scale", scale, count, &inputs[1]));
    TRY(add_vector(graph, graph->values[result].name, "shift", shift, count, &inputs[2]));
    for (size_t i = 0; i < f->count; i++)
        graph_remove_node(graph, f->nodes[i]);
    node_id added;
    TRY(graph_add_node(graph, op_find("", name), 0, title, attributes, inputs, 3, &result, 1, &added));
    /* GroupNormalization scales channels, not groups, since version 21: whatever the model's own opset is. */
    if (strcmp(name, "GroupNormalization") == 0)
        graph->nodes[added].version = 21;
    return MITRAL_OK;
}

/* ---- groups ------------------------------------------------------------------------------------------------------------- */

static mitral_status find_group(struct finding *f, node_id id, bool *changed)
{
    struct graph *graph = f->graph;
    const struct node *node = &graph->nodes[id];
    const value_id normalized = node->outputs[0];
    const mitral_tensor *by_group[2] = {graph_constant(graph, node_input(node, 1)), graph_constant(graph, node_input(node, 2))};
    f->nodes[0] = id;
    f->count = 1;
    const struct node *before = take_producer(f, node->inputs[0], "Reshape");
    const value_id x = before ? before->inputs[0] : NO_VALUE;
    const struct value_type *type = float_map(graph, x), *grouped = float_map(graph, node->inputs[0]);
    if (!type || !grouped || !is_inside(f, node->inputs[0]) || !by_group[0] || !by_group[1] || type->rank < 3 || grouped->rank < 3
        || type->dims[1] < 1 || grouped->dims[1] < 1 || type->dims[1] % grouped->dims[1])
        return MITRAL_OK;
    const int64_t channels = type->dims[1], groups = grouped->dims[1];
    const struct value_type batch = {.rank = 1, .dims = {type->dims[0]}, .symbols = {type->symbols[0]}};
    const struct value_type grouped_batch = {.rank = 1, .dims = {grouped->dims[0]}, .symbols = {grouped->symbols[0]}};
    const struct node *after = take_reader(f, normalized, "Reshape");
    if (!after || !type_same_dims(&batch, &grouped_batch) || !type_same_dims(&graph->values[after->outputs[0]].type, type)
        || tensor_count(by_group[0]) != groups || tensor_count(by_group[1]) != groups)
        return MITRAL_OK;
    value_id result = after->outputs[0];
    const mitral_tensor *given[2];
    take_affine(f, &result, 1, channels, &given[0], &given[1]);
    double *scale = arena_allocate(graph->arena, 2 * (size_t)channels * sizeof *scale), *shift = scale + channels;
    if (!scale)
        return MITRAL_NO_MEMORY;
    for (int64_t c = 0; c < channels; c++) {
        const double factor = given[0] ? tensor_get_double(given[0], c) : 1, added = given[1] ? tensor_get_double(given[1], c) : 0;
        scale[c] = factor * tensor_get_double(by_group[0], c / (channels / groups));
        shift[c] = factor * tensor_get_double(by_group[1], c / (channels / groups)) + added;
    }
    struct attributes attributes = {0};
    TRY(attributes_set_int(&attributes, graph->arena, "num_groups", groups));
    TRY(attributes_set_float(&attributes, graph->arena, "epsilon", attribute_float(&node->attributes, "epsilon", 1e-5f)));
    *changed = true;
    return replace(f, "GroupNormalization", &attributes, x, scale, shift, channels, result);
}

/* ---- layers ------------------------------------------------------------------------------------------------------------- */

/* A mean over the last dimension that keeps it; what it is a mean of. */
static value_id mean_of(struct finding *f, value_id value)
{
    const struct node *node = take_producer(f, value, "ReduceMean");
    if (!node || attribute_int(&node->attributes, "keepdims", 1) != 1)
        return NO_VALUE;
    const struct value_type *type = float_map(f->graph, node->inputs[0]);
    size_t count;
    const int64_t *axes = attribute_ints(&node->attributes, "axes", &count);
    int64_t axis = count == 1 ? axes[0] : 0;
    if (node_input(node, 1) != NO_VALUE) {
        const mitral_tensor *constant = graph_constant(f->graph, node->inputs[1]);
        if (!constant || constant->dtype != MITRAL_INT64 || tensor_count(constant) != 1)
            return NO_VALUE;
        count = 1;
        axis = *(const int64_t *)constant->data;
    }
    return type && count == 1 && (axis == -1 || axis == type->rank - 1) ? node->inputs[0] : NO_VALUE;
}

/* A constant of one number, of no more dimensions than what it goes with: those the result would have too. */
static bool scalar_beside(const struct graph *graph, const struct node *node, size_t side, float *out)
{
    const mitral_tensor *constant = graph_constant(graph, node->inputs[side]);
    if (!constant || constant->dtype != MITRAL_FLOAT || tensor_count(constant) != 1
        || constant->rank > graph->values[node->inputs[1 - side]].type.rank)
        return false;
    *out = (float)tensor_get_double(constant, 0);
    return true;
}

/* The square of a value: Pow by 2, or a product with itself. */
static value_id square_of(struct finding *f, value_id value)
{
    float exponent;
    const struct node *node = take_producer(f, value, "Pow");
    if (node)
        return scalar_beside(f->graph, node, 1, &exponent) && exponent == 2 ? node->inputs[0] : NO_VALUE;
    node = take_producer(f, value, "Mul");
    return node && node->inputs[0] == node->inputs[1] ? node->inputs[0] : NO_VALUE;
}

static mitral_status find_layer(struct finding *f, node_id id, bool *changed)
{
    struct graph *graph = f->graph;
    const value_id centred = graph->nodes[id].inputs[0], root = graph->nodes[id].inputs[1];
    float epsilon;
    f->nodes[0] = id;
    f->count = 1;
    const struct node *difference = take_producer(f, centred, "Sub");
    const value_id x = difference ? difference->inputs[0] : NO_VALUE;
    const struct node *sqrt = difference ? take_producer(f, root, "Sqrt") : NULL, *sum = sqrt ? take_producer(f, sqrt->inputs[0], "Add") : NULL;
    const size_t side = sum && graph_constant(graph, sum->inputs[0]) ? 0 : 1;
    if (!sum || !scalar_beside(graph, sum, side, &epsilon) || !(epsilon > 0) || mean_of(f, difference->inputs[1]) != x)
        return MITRAL_OK;
    const value_id variance = sum->inputs[1 - side], squares = mean_of(f, variance);
    const struct value_type *type = float_map(graph, x);
    if (squares == NO_VALUE || square_of(f, squares) != centred || !type || type->rank < 2 || type->dims[type->rank - 1] < 1)
        return MITRAL_OK;
    const value_id inside[] = {centred, root, sqrt->inputs[0], variance, squares, difference->inputs[1]};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
        if (!is_inside(f, inside[i]))
            return MITRAL_OK;
    const int64_t count = type->dims[type->rank - 1];
    value_id result = graph->nodes[id].outputs[0];
    const mitral_tensor *given[2];
    take_affine(f, &result, type->rank - 1, count, &given[0], &given[1]);
    double *scale = arena_allocate(graph->arena, 2 * (size_t)count * sizeof *scale), *shift = scale + count;
    if (!scale)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        scale[i] = given[0] ? tensor_get_double(given[0], i) : 1;
        shift[i] = given[1] ? tensor_get_double(given[1], i) : 0;
    }
    struct attributes attributes = {0};
    TRY(attributes_set_int(&attributes, graph->arena, "axis", -1));
    TRY(attributes_set_float(&attributes, graph->arena, "epsilon", epsilon));
    *changed = true;
    return replace(f, "LayerNormalization", &attributes, x, scale, shift, count, result);
}

mitral_status pass_find_normalization(struct graph *graph, const struct pass_options *options, bool *changed)
{
    if (options->training)
        return MITRAL_OK;
    mitral_status status = MITRAL_OK;
    /* Nodes that are found are appended: they are none of these. */
    for (size_t i = 0, count = graph->node_count; i < count && status == MITRAL_OK; i++) {
        const struct node *node = &graph->nodes[i];
        const bool group = node->op && node_is(node, "InstanceNormalization");
        if (!group && !(node->op && node_is(node, "Div") && graph_producer(graph, node->inputs[1])
                        && node_is(graph_producer(graph, node->inputs[1]), "Sqrt")))
            continue;
        struct finding finding = {.graph = graph};
        status = graph_find_uses(graph, &finding.uses);
        if (status == MITRAL_OK)
            status = group ? find_group(&finding, (node_id)i, changed) : find_layer(&finding, (node_id)i, changed);
        graph_free_uses(graph, &finding.uses);
    }
    return status == MITRAL_OK && *changed ? graph_sort(graph) : status;
}
