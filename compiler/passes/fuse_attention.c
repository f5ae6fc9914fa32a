/* MatMul, soft-max along the last dimension, MatMul become one step that never writes the matrix of scores whole: mitral.Attention.
 * Scores of few keys stay in the cache anyhow, and oneDNN's products of small matrices are faster. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"

enum { LEAST_KEYS = 128 };

static bool is_plain_product(const struct graph *graph, const struct node *node)
{
    if (!node || !(node_is(node, "MatMul") || node_is_own(node, "MatMul")) || attribute_has(&node->attributes, "activation"))
        return false;
    for (size_t i = 0; i < 2; i++) {
        const struct value_type *type = &graph->values[node->inputs[i]].type;
        if (type->kind != MITRAL_TENSOR || type->dtype != MITRAL_FLOAT || type->rank < 2)
            return false;
    }
    return node_input(node, 2) == NO_VALUE && node_input(node, 3) == NO_VALUE; /* neither bias nor residual */
}

static bool same_leading(const struct value_type *a, const struct value_type *b)
{
    if (a->rank != b->rank)
        return false;
    for (int32_t i = 0; i < a->rank - 2; i++)
        if (a->dims[i] != b->dims[i]
            || (a->dims[i] < 0 && (!a->symbols[i] || !*a->symbols[i] || !b->symbols[i] || strcmp(a->symbols[i], b->symbols[i]) != 0)))
            return false;
    return true;
}

static bool is_along_last(const struct graph *graph, const struct node *softmax)
{
    const int32_t rank = graph->values[softmax->inputs[0]].type.rank;
    const int64_t axis = attribute_int(&softmax->attributes, "axis", softmax->version < 13 ? 1 : -1);
    return axis == -1 || axis == rank - 1; /* before version 13 all dimensions from the axis on: of the last one, the same */
}

static mitral_status fuse(struct graph *graph, const struct graph_uses *uses, node_id softmax, bool *changed)
{
    const struct node *middle = &graph->nodes[softmax], *first = graph_producer(graph, middle->inputs[0]);
    const node_id scores = graph->values[middle->inputs[0]].producer, last = only_reader(graph, uses, middle->outputs[0]);
    if (last == NO_NODE || !is_plain_product(graph, first) || only_reader(graph, uses, middle->inputs[0]) != softmax
        || !is_along_last(graph, middle))
        return MITRAL_OK;
    const struct node *second = &graph->nodes[last];
    if (!is_plain_product(graph, second) || second->inputs[0] != middle->outputs[0] || second->inputs[1] == middle->outputs[0]
        || attribute_has(&second->attributes, "alpha"))
        return MITRAL_OK;
    const value_id inputs[] = {first->inputs[0], first->inputs[1], second->inputs[1]}, result = second->outputs[0];
    const struct value_type *q = &graph->values[inputs[0]].type;
    const int64_t keys = graph->values[inputs[1]].type.dims[graph->values[inputs[1]].type.rank - 1];
    if (keys < LEAST_KEYS || !same_leading(q, &graph->values[inputs[1]].type) || !same_leading(q, &graph->values[inputs[2]].type))
        return MITRAL_OK;
    struct attributes attributes = {0};
    const char *name = second->name;
    TRY(attributes_set_float(&attributes, graph->arena, "alpha", attribute_float(&first->attributes, "alpha", 1)));
    graph_remove_node(graph, scores);
    graph_remove_node(graph, softmax);
    graph_remove_node(graph, last);
    *changed = true;
    return graph_add_node(graph, op_find("mitral", "Attention"), 1, name, &attributes, inputs, 3, &result, 1, NULL);
}

mitral_status pass_fuse_attention(struct graph *graph, const struct pass_options *options, bool *changed)
{
    if (options->training)
        return MITRAL_OK;
    struct graph_uses uses;
    mitral_status status = graph_find_uses(graph, &uses);
    /* What goes is read by what goes: the other nodes' uses stay as they were found. */
    for (size_t i = 0, count = graph->node_count; i < count && status == MITRAL_OK; i++)
        if (graph->nodes[i].op && node_is(&graph->nodes[i], "Softmax"))
            status = fuse(graph, &uses, (node_id)i, changed);
    graph_free_uses(graph, &uses);
    return status == MITRAL_OK && *changed ? graph_sort(graph) : status;
}
