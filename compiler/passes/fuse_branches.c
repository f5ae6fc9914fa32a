/* Dilated 3×3 convolutions of a training graph that read one map, each maybe added to the one before it, become one mitral.Branches; so do
 * their data gradients that are added up. What one has read or written then is in the cache for the next. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"

enum { MOST = 8, FEWEST_CHANNELS = 3 };

struct search {
    struct graph *graph;
    struct graph_uses uses;
};

/* 3×3, stride 1, as large as its input; 0: something else. */
static int64_t dilation_of(const struct graph *graph, const struct node *node)
{
    const value_id w = node_input(node, 1);
    const int64_t dilation = node_int_at(node, "dilations", 0, 1);
    if (!value_is_float_map(graph, w) || !value_is_float_map(graph, node->inputs[0]) || node->output_count != 1
        || !value_is_float_map(graph, node_output(node, 0))
        || graph->values[w].producer != NO_NODE || attribute_int(&node->attributes, "group", 1) != 1
        || attribute_has(&node->attributes, "activation") || attribute_has(&node->attributes, "bfloat16") || node_input(node, 2) != NO_VALUE
        || node_int_at(node, "dilations", 1, 1) != dilation
        || strcmp(attribute_string(&node->attributes, "auto_pad", "NOTSET"), "NOTSET") != 0)
        return 0;
    const int64_t *dims = graph->values[w].type.dims;
    for (size_t i = 0; i < 4; i++)
        if (dims[2 + i % 2] != 3 || dims[i % 2] < FEWEST_CHANNELS || node_int_at(node, "strides", i % 2, 1) != 1
            || node_int_at(node, "pads", i, 0) != dilation)
            return 0;
    return dilation;
}

static bool is_forward(const struct graph *graph, const struct node *node)
{
    return node->op && (node_is(node, "Conv") || node_is_own(node, "Convolution")) && dilation_of(graph, node) > 0;
}

static bool is_data_gradient(const struct graph *graph, const struct node *node)
{
    return node->op && node_is_own(node, "ConvGradientData") && dilation_of(graph, node) > 0;
}

static bool same_weights(const struct graph *graph, const struct node *a, const struct node *b)
{
    return memcmp(graph->values[a->inputs[1]].type.dims, graph->values[b->inputs[1]].type.dims, 4 * sizeof(int64_t)) == 0;
}

/* `nodes` in order, with the one's result added to the next where `sums` says so. */
static mitral_status replace(struct graph *graph, const node_id *nodes, const int64_t *sums, size_t count, bool data)
{
    struct attributes attributes = {0};
    value_id inputs[1 + 2 * MOST] = {node_input(&graph->nodes[nodes[0]], 3)}, outputs[MOST];
    int64_t dilations[MOST];
    const size_t maps = data ? count : 1;
    const char *name = graph->nodes[nodes[0]].name;
    for (size_t k = 0; k < count; k++) {
        const struct node *node = &graph->nodes[nodes[k]];
        dilations[k] = dilation_of(graph, node);
        inputs[1 + (data ? k : 0)] = node->inputs[0];
        inputs[1 + maps + k] = node->inputs[1];
        outputs[data ? 0 : k] = node->outputs[0]; /* of sums the last */
    }
    TRY(attributes_set_ints(&attributes, graph->arena, "dilations", dilations, count));
    TRY(attributes_set_ints(&attributes, graph->arena, "sums", sums, count));
    TRY(attributes_set_int(&attributes, graph->arena, "inputs", (int64_t)maps));
    TRY(attributes_set_int(&attributes, graph->arena, "outputs", data ? 1 : (int64_t)count));
    TRY(attributes_set_int(&attributes, graph->arena, "transposed", data));
    for (size_t k = 0; k < count; k++)
        graph_remove_node(graph, nodes[k]);
    return graph_add_node(graph, op_find("mitral", "Branches"), 1, name, &attributes, inputs, 1 + maps + count, outputs, data ? 1 : count, NULL);
}

/* From the last of a sum back to its first. */
static mitral_status fuse_sum(const struct search *search, node_id id, bool *changed)
{
    struct graph *graph = search->graph;
    node_id found[MOST], nodes[MOST];
    int64_t sums[MOST];
    size_t count = 0;
    for (node_id next = id; next != NO_NODE && count < MOST;) {
        found[count++] = next;
        const value_id addend = node_input(&graph->nodes[next], 3);
        const node_id producer = addend == NO_VALUE ? NO_NODE : graph->values[addend].producer;
        const bool takes = producer != NO_NODE && !search->uses.is_output[addend] && graph_use_count(&search->uses, addend) == 1
                           && is_data_gradient(graph, &graph->nodes[producer]) && same_weights(graph, &graph->nodes[producer], &graph->nodes[id]);
        next = takes ? producer : NO_NODE;
    }
    for (size_t k = 0; k < count; k++) {
        nodes[k] = found[count - 1 - k];
        sums[k] = k > 0;
    }
    if (count < 2)
        return MITRAL_OK;
    *changed = true;
    return replace(graph, nodes, sums, count, true);
}

static bool taken(const node_id *nodes, size_t count, node_id id)
{
    for (size_t i = 0; i < count; i++)
        if (nodes[i] == id)
            return true;
    return false;
}

/* Those of the map that need nothing but it and each other. */
static mitral_status fuse_siblings(const struct search *search, node_id id, bool *changed)
{
    struct graph *graph = search->graph;
    const value_id x = graph->nodes[id].inputs[0];
    node_id nodes[MOST];
    int64_t sums[MOST];
    size_t count = 0;
    for (bool more = true; more;) {
        more = false;
        const value_id before = count ? graph->nodes[nodes[count - 1]].outputs[0] : NO_VALUE;
        node_id next = NO_NODE;
        bool adds = false;
        for (uint32_t k = search->uses.offsets[x]; k < search->uses.offsets[x + 1] && count < MOST; k++) {
            const node_id other = search->uses.nodes[k];
            const struct node *node = &graph->nodes[other];
            if (!is_forward(graph, node) || node->inputs[0] != x || taken(nodes, count, other) || !same_weights(graph, node, &graph->nodes[id]))
                continue;
            const value_id addend = node_input(node, 3);
            if (addend != NO_VALUE && addend == before) {
                next = other;
                adds = true;
                break;
            }
            if (addend == NO_VALUE && next == NO_NODE)
                next = other;
        }
        if (next != NO_NODE) {
            sums[count] = adds;
            nodes[count++] = next;
            more = true;
        }
    }
    if (count < 2)
        return MITRAL_OK;
    *changed = true;
    return replace(graph, nodes, sums, count, false);
}

static mitral_status next_change(struct graph *graph, bool *changed)
{
    struct search search = {.graph = graph};
    TRY(graph_find_uses(graph, &search.uses));
    mitral_status status = MITRAL_OK;
    for (size_t n = graph->node_count; n-- > 0 && status == MITRAL_OK && !*changed;)
        if (is_data_gradient(graph, &graph->nodes[n]))
            status = fuse_sum(&search, (node_id)n, changed);
    for (size_t n = 0, count = graph->node_count; n < count && status == MITRAL_OK && !*changed; n++)
        if (is_forward(graph, &graph->nodes[n]))
            status = fuse_siblings(&search, (node_id)n, changed);
    graph_free_uses(graph, &search.uses);
    return status == MITRAL_OK && *changed ? graph_sort(graph) : status;
}

mitral_status pass_fuse_branches(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    for (bool again = true; again;) {
        again = false;
        TRY(next_change(graph, &again));
        *changed |= again;
    }
    return MITRAL_OK;
}
