/* Channels that files shuffle by Reshape [N, G, C / G, …], Transpose of the second and third dimension, and Reshape back become one
 * mitral.ChannelShuffle, which any layout will do for. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"

static bool swaps_second_and_third(const struct node *node, int32_t rank)
{
    size_t count;
    const int64_t *order = attribute_ints(&node->attributes, "perm", &count);
    if (!node_is(node, "Transpose") || count != (size_t)rank)
        return false;
    for (int32_t i = 0; i < rank; i++)
        if (order[i] != (i == 1 ? 2 : i == 2 ? 1 : i))
            return false;
    return true;
}

/* The group that the first Reshape, of x, makes; 0: it is another one. */
static int64_t group_of(const struct value_type *x, const struct value_type *apart)
{
    if (x->rank < 2 || apart->rank != x->rank + 1 || x->dims[1] < 1 || apart->dims[1] < 1 || apart->dims[2] < 1
        || apart->dims[1] > x->dims[1] || apart->dims[1] * apart->dims[2] != x->dims[1])
        return 0;
    for (int32_t i = 0; i < x->rank; i++)
        if (i != 1 && (x->dims[i] < 0 || x->dims[i] != apart->dims[i < 1 ? i : i + 1]))
            return 0;
    return apart->dims[1];
}

static mitral_status find(struct graph *graph, const struct graph_uses *uses, node_id id, bool *changed)
{
    const struct node *first = &graph->nodes[id];
    const node_id swap_id = only_reader(graph, uses, first->outputs[0]);
    if (swap_id == NO_NODE)
        return MITRAL_OK;
    const struct node *swap = &graph->nodes[swap_id];
    const node_id last_id = swap->output_count == 1 ? only_reader(graph, uses, swap->outputs[0]) : NO_NODE;
    const struct value_type *x = &graph->values[first->inputs[0]].type, *apart = &graph->values[first->outputs[0]].type;
    if (last_id == NO_NODE || !node_is(&graph->nodes[last_id], "Reshape") || graph->nodes[last_id].inputs[0] != swap->outputs[0]
        || x->kind != MITRAL_TENSOR || x->dtype == MITRAL_STRING || !swaps_second_and_third(swap, apart->rank))
        return MITRAL_OK;
    const int64_t group = group_of(x, apart);
    const value_id result = graph->nodes[last_id].outputs[0];
    if (group == 0 || !type_same_dims(x, &graph->values[result].type))
        return MITRAL_OK;
    struct attributes attributes = {0};
    const value_id input = first->inputs[0];
    const char *name = graph->nodes[last_id].name;
    const struct op *op = op_find("mitral", "ChannelShuffle");
    if (!op)
        return mitral_fail(graph->context, MITRAL_UNSUPPORTED, "expected the operator mitral.ChannelShuffle, found none");
    TRY(attributes_set_int(&attributes, graph->arena, "group", group));
    graph_remove_node(graph, last_id);
    graph_remove_node(graph, swap_id);
    graph_remove_node(graph, id);
    *changed = true;
    return graph_add_node(graph, op, 1, name, &attributes, &input, 1, &result, 1, NULL);
}

mitral_status pass_find_shuffle(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    struct graph_uses uses;
    TRY(graph_find_uses(graph, &uses));
    mitral_status status = MITRAL_OK;
    for (size_t i = 0, count = graph->node_count; i < count && status == MITRAL_OK; i++)
        if (graph->nodes[i].op && node_is(&graph->nodes[i], "Reshape") && graph->nodes[i].inputs[0] != NO_VALUE)
            status = find(graph, &uses, (node_id)i, changed);
    graph_free_uses(graph, &uses);
    return status;
}
