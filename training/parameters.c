#include "training/parameters.h"

enum { MEAN = 3, VARIANCE = 4 }; /* inputs of a batch norm */

static mitral_status separate_copy(struct graph *graph, node_id id)
{
    const struct node *node = &graph->nodes[id];
    const struct graph_value *from = &graph->values[node->inputs[0]];
    if (!from->parameter || !from->constant || node->outputs[0] == NO_VALUE)
        return MITRAL_OK;
    struct graph_value *to = &graph->values[node->outputs[0]];
    mitral_tensor *copy = arena_allocate(graph->arena, sizeof *copy);
    if (!copy)
        return MITRAL_NO_MEMORY;
    TRY(tensor_copy(copy, graph->arena, from->constant));
    to->constant = copy;
    to->parameter = true;
    type_of_tensor(copy, &to->type);
    graph_remove_node(graph, id);
    return MITRAL_OK;
}

static mitral_status separate_statistics(struct graph *graph, node_id id, size_t input, const struct graph_uses *uses)
{
    const value_id before = node_input(&graph->nodes[id], input);
    value_id own;
    if (before == NO_VALUE || !graph->values[before].constant || graph_use_count(uses, before) < 2)
        return MITRAL_OK;
    const char *name = arena_format(graph->arena, "%s/%s", graph->nodes[id].name, input == MEAN ? "mean" : "variance");
    if (!name)
        return MITRAL_NO_MEMORY;
    TRY(graph_add_constant(graph, name, graph->values[before].constant, false, &own));
    graph->values[own].parameter = true;
    graph->nodes[id].inputs[input] = own;
    return MITRAL_OK;
}

mitral_status parameters_separate(struct graph *graph)
{
    struct graph_uses uses;
    for (size_t n = 0; n < graph->node_count; n++)
        if (graph->nodes[n].op && node_is(&graph->nodes[n], "Identity"))
            TRY(separate_copy(graph, (node_id)n));
    TRY(graph_sort(graph));
    TRY(graph_find_uses(graph, &uses));
    mitral_status status = MITRAL_OK;
    for (size_t n = 0; n < graph->node_count && status == MITRAL_OK; n++)
        for (size_t input = MEAN; input <= VARIANCE && status == MITRAL_OK && node_is(&graph->nodes[n], "BatchNormalization"); input++)
            status = separate_statistics(graph, (node_id)n, input, &uses);
    graph_free_uses(graph, &uses);
    return status;
}
