/* 1×1 convolutions of a training graph that share what they read or write: those of one map become one mitral.PointConvolutions, which reads
 * it once; data gradients that are added up become one whose depth is that of all; weight gradients of one map become one
 * mitral.PointGradients. Sums with something else stay addends, which may be written over; one that was doubled need not be made. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"

enum { MOST = 8 };

struct points {
    struct graph *graph;
    struct graph_uses uses;
};

/* Stride 1, no padding, one group. */
static bool is_plain(const struct node *node)
{
    static const char *const lists[] = {"pads", "strides"};
    for (size_t l = 0; l < 2; l++) {
        size_t count;
        const int64_t *values = attribute_ints(&node->attributes, lists[l], &count);
        for (size_t i = 0; i < count; i++)
            if (values[i] != (int64_t)l)
                return false;
    }
    return attribute_int(&node->attributes, "group", 1) == 1 && !attribute_has(&node->attributes, "activation")
           && strncmp(attribute_string(&node->attributes, "auto_pad", "NOTSET"), "SAME", 4) != 0;
}

static bool is_point_weights(const struct graph *graph, value_id w)
{
    return value_is_float_map(graph, w) && graph->values[w].type.dims[2] == 1 && graph->values[w].type.dims[3] == 1;
}

static bool is_forward(const struct graph *graph, const struct node *node)
{
    return node->op && (node_is(node, "Conv") || node_is_own(node, "Convolution")) && is_plain(node) && node->output_count == 1
           && value_is_float_map(graph, node->inputs[0]) && value_is_float_map(graph, node->outputs[0]) && is_point_weights(graph, node_input(node, 1));
}

static bool is_data_gradient(const struct graph *graph, const struct node *node)
{
    return node->op && node_is_own(node, "ConvGradientData") && is_plain(node) && node->output_count == 1 && node->outputs[0] != NO_VALUE
           && node_input(node, 2) == NO_VALUE && value_is_float_map(graph, node->inputs[0]) && value_is_float_map(graph, node->outputs[0])
           && is_point_weights(graph, node_input(node, 1));
}

static bool is_weight_gradient(const struct graph *graph, const struct node *node)
{
    return node->op && node_is_own(node, "ConvGradientWeights") && is_plain(node) && node_output(node, 0) != NO_VALUE
           && node_output(node, 1) == NO_VALUE && node_input(node, 2) == NO_VALUE && value_is_float_map(graph, node->inputs[0])
           && value_is_float_map(graph, node->inputs[1]) && is_point_weights(graph, node->outputs[0]);
}

/* ---- data gradients ------------------------------------------------------------------------------------------------------- */

/* One with its addend, and the addend's own parts when it is one too that nobody else reads. */
static mitral_status fuse_sum(const struct points *points, node_id id, bool *changed)
{
    struct graph *graph = points->graph;
    value_id gradients[MOST], weights[MOST], addend = NO_VALUE;
    const struct node last = graph->nodes[id];
    node_id parts[MOST];
    size_t count = 0;
    for (node_id next = id; next != NO_NODE && count < MOST;) {
        const struct node *node = &graph->nodes[next];
        parts[count] = next;
        gradients[count] = node->inputs[0];
        weights[count++] = node->inputs[1];
        addend = node_input(node, 3);
        next = NO_NODE;
        if (addend != NO_VALUE && !points->uses.is_output[addend] && graph_use_count(&points->uses, addend) == 1) {
            const node_id producer = graph->values[addend].producer;
            if (producer != NO_NODE && is_data_gradient(graph, &graph->nodes[producer]) && count < MOST)
                next = producer;
        }
    }
    if (count == 1 && addend == NO_VALUE)
        return MITRAL_OK;
    struct attributes attributes = {0};
    value_id inputs[1 + 2 * MOST] = {addend};
    TRY(attributes_set_int(&attributes, graph->arena, "inputs", (int64_t)count));
    TRY(attributes_set_int(&attributes, graph->arena, "transposed", 1));
    memcpy(inputs + 1, gradients, count * sizeof *inputs);
    memcpy(inputs + 1 + count, weights, count * sizeof *inputs);
    for (size_t i = 0; i < count; i++)
        graph_remove_node(graph, parts[i]);
    *changed = true;
    return graph_add_node(graph, op_find("mitral", "PointConvolutions"), 1, last.name, &attributes, inputs, 1 + 2 * count, last.outputs, 1, NULL);
}

/* ---- those of one map ------------------------------------------------------------------------------------------------------ */

/* Whether `later` needs what one of the chosen nodes makes, other than the map; nodes are in order. */
static mitral_status depends(const struct graph *graph, const node_id *chosen, size_t count, node_id later, bool *yes)
{
    bool *reached = mitral_allocate(graph->context, graph->value_count + 1);
    if (!reached)
        return MITRAL_NO_MEMORY;
    *yes = false;
    for (node_id n = chosen[0]; n <= later; n++) {
        const struct node *node = &graph->nodes[n];
        bool marked = false;
        for (size_t i = 0; i < count; i++)
            marked |= chosen[i] == n;
        for (size_t i = 0; node->op && !marked && i < node->input_count; i++)
            marked = node->inputs[i] != NO_VALUE && reached[node->inputs[i]];
        *yes = marked; /* the last is `later` */
        for (size_t i = 0; node->op && marked && i < node->output_count; i++)
            if (node->outputs[i] != NO_VALUE)
                reached[node->outputs[i]] = true;
    }
    mitral_release(graph->context, reached);
    return MITRAL_OK;
}

typedef bool kind_function(const struct graph *graph, const struct node *node);

/* The nodes of that kind, from `id` on, that read its first input and need nothing of each other. */
static mitral_status find_siblings(const struct points *points, node_id id, kind_function *kind, node_id *chosen, size_t *count)
{
    const struct graph *graph = points->graph;
    const value_id x = graph->nodes[id].inputs[0];
    *count = 0;
    chosen[(*count)++] = id;
    for (uint32_t k = points->uses.offsets[x]; k < points->uses.offsets[x + 1] && *count < MOST; k++) {
        const node_id other = points->uses.nodes[k];
        bool dependent = true;
        if (other > id && other != chosen[*count - 1] && kind(graph, &graph->nodes[other]) && graph->nodes[other].inputs[0] == x)
            TRY(depends(graph, chosen, *count, other, &dependent));
        if (!dependent)
            chosen[(*count)++] = other;
    }
    return MITRAL_OK;
}

/* A bilinear doubling (half_pixel) that nobody else reads. */
static bool is_doubled(const struct points *points, value_id addend)
{
    const struct graph *graph = points->graph;
    const node_id producer = addend == NO_VALUE ? NO_NODE : graph->values[addend].producer;
    const struct node *node = producer == NO_NODE ? NULL : &graph->nodes[producer];
    if (!node || !node->op || !node_is(node, "Resize") || node->version < 11 || points->uses.is_output[addend]
        || graph_use_count(&points->uses, addend) != 1 || !value_is_float_map(graph, node->inputs[0]) || !value_is_float_map(graph, addend))
        return false;
    const int64_t *small = graph->values[node->inputs[0]].type.dims, *large = graph->values[addend].type.dims;
    for (int i = 0; i < 4; i++)
        if (large[i] != (i < 2 ? 1 : 2) * small[i])
            return false;
    size_t axes;
    const char *coordinates = attribute_string(&node->attributes, "coordinate_transformation_mode", "half_pixel");
    const mitral_tensor *scales = node_input(node, 2) == NO_VALUE ? NULL : graph_constant(graph, node->inputs[2]);
    attribute_ints(&node->attributes, "axes", &axes);
    for (int64_t i = 0; scales && i < tensor_count(scales); i++)
        if (scales->dtype != MITRAL_FLOAT || tensor_count(scales) != 4 || tensor_get_double(scales, i) != (i < 2 ? 1 : 2))
            return false;
    return !axes && (strcmp(coordinates, "half_pixel") == 0 || (strcmp(coordinates, "pytorch_half_pixel") == 0 && small[2] > 1 && small[3] > 1))
           && strcmp(attribute_string(&node->attributes, "mode", "nearest"), "linear") == 0 && !attribute_int(&node->attributes, "antialias", 0)
           && strcmp(attribute_string(&node->attributes, "keep_aspect_ratio_policy", "stretch"), "stretch") == 0
           && (node_input(node, 2) == NO_VALUE || scales);
}

static mitral_status fuse_siblings(const struct points *points, node_id id, bool *changed)
{
    struct graph *graph = points->graph;
    node_id chosen[MOST];
    size_t count;
    TRY(find_siblings(points, id, is_forward, chosen, &count));
    const struct node first = graph->nodes[id];
    if (count == 1 && node_input(&first, 3) == NO_VALUE)
        return MITRAL_OK;
    struct attributes attributes = {0};
    value_id inputs[1 + 3 * MOST], outputs[MOST];
    size_t used = 2 * count + 1;
    inputs[count] = first.inputs[0];
    for (size_t j = 0; j < count; j++) {
        const struct node *node = &graph->nodes[chosen[j]];
        inputs[j] = node_input(node, 3);
        if (is_doubled(points, inputs[j]))
            inputs[j] = graph->nodes[graph->values[inputs[j]].producer].inputs[0];
        inputs[count + 1 + j] = node->inputs[1];
        inputs[2 * count + 1 + j] = node_input(node, 2);
        if (node_input(node, 2) != NO_VALUE)
            used = 2 * count + 2 + j;
        outputs[j] = node->outputs[0];
    }
    TRY(attributes_set_int(&attributes, graph->arena, "outputs", (int64_t)count));
    for (size_t j = 0; j < count; j++)
        graph_remove_node(graph, chosen[j]);
    *changed = true;
    return graph_add_node(graph, op_find("mitral", "PointConvolutions"), 1, first.name, &attributes, inputs, used, outputs, count, NULL);
}

static mitral_status fuse_weights(const struct points *points, node_id id, bool *changed)
{
    struct graph *graph = points->graph;
    node_id chosen[MOST];
    size_t count;
    TRY(find_siblings(points, id, is_weight_gradient, chosen, &count));
    if (count == 1)
        return MITRAL_OK;
    const struct node first = graph->nodes[id];
    value_id inputs[1 + MOST] = {first.inputs[0]}, outputs[MOST];
    for (size_t j = 0; j < count; j++) {
        inputs[1 + j] = graph->nodes[chosen[j]].inputs[1];
        outputs[j] = graph->nodes[chosen[j]].outputs[0];
    }
    for (size_t j = 0; j < count; j++)
        graph_remove_node(graph, chosen[j]);
    *changed = true;
    return graph_add_node(graph, op_find("mitral", "PointGradients"), 1, first.name, NULL, inputs, 1 + count, outputs, count, NULL);
}

/* ---- the whole --------------------------------------------------------------------------------------------------------------- */

/* The graph is in order for each search, so that what depends on what can be seen. Sums are looked for from the last to the first: a sum
 * takes all of its parts; siblings from the first on. */
static mitral_status next_change(struct graph *graph, bool *changed)
{
    struct points points = {.graph = graph};
    TRY(graph_find_uses(graph, &points.uses));
    mitral_status status = MITRAL_OK;
    for (size_t n = graph->node_count; n-- > 0 && status == MITRAL_OK && !*changed;)
        if (is_data_gradient(graph, &graph->nodes[n]))
            status = fuse_sum(&points, (node_id)n, changed);
    for (size_t n = 0, count = graph->node_count; n < count && status == MITRAL_OK && !*changed; n++) {
        if (is_forward(graph, &graph->nodes[n]))
            status = fuse_siblings(&points, (node_id)n, changed);
        else if (is_weight_gradient(graph, &graph->nodes[n]))
            status = fuse_weights(&points, (node_id)n, changed);
    }
    graph_free_uses(graph, &points.uses);
    return status == MITRAL_OK && *changed ? graph_sort(graph) : status;
}

mitral_status pass_fuse_points(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    for (bool again = true; again;) {
        again = false;
        TRY(next_change(graph, &again));
        *changed |= again;
    }
    return MITRAL_OK;
}
