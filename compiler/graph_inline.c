/* A graph put into another: what a function or an operator of several steps expands to. */
#include "compiler/graph.h"

/* How what is inlined is called. */
struct naming {
    const char *prefix; /* NULL: as it was */
    size_t *counter;
};

static mitral_status name_next(const char **out, struct graph *graph, const struct naming *naming, const char *what, const char *before)
{
    *out = naming->prefix ? arena_format(graph->arena, "%s/%s%zu", naming->prefix, what, (*naming->counter)++) : before;
    return *out || !naming->prefix ? MITRAL_OK : MITRAL_NO_MEMORY;
}

static mitral_status inline_node(struct graph *graph, const struct graph *inner, const struct node *from, const struct naming *naming, value_id *map)
{
    value_id *inputs = arena_allocate(graph->arena, (from->input_count + 1) * sizeof *inputs);
    value_id *outputs = arena_allocate(graph->arena, (from->output_count + 1) * sizeof *outputs);
    struct graph **subgraphs = arena_allocate(graph->arena, (from->subgraph_count + 1) * sizeof *subgraphs);
    const char *name;
    node_id id;
    if (!inputs || !outputs || !subgraphs)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < from->input_count; i++)
        inputs[i] = from->inputs[i] == NO_VALUE ? NO_VALUE : map[from->inputs[i]];
    for (size_t i = 0; i < from->output_count; i++) {
        outputs[i] = NO_VALUE;
        if (from->outputs[i] == NO_VALUE)
            continue;
        const struct value_type *type = &inner->values[from->outputs[i]].type;
        TRY(name_next(&name, graph, naming, "", NULL));
        TRY(graph_add_value(graph, name, type->kind == MITRAL_TENSOR ? NULL : type, &outputs[i]));
        map[from->outputs[i]] = outputs[i];
    }
    for (size_t i = 0; i < from->subgraph_count; i++)
        TRY(graph_copy_subgraph(&subgraphs[i], graph, from->subgraphs[i]));
    TRY(name_next(&name, graph, naming, from->name, from->name));
    TRY(graph_add_node(graph, from->op, from->version, name, &from->attributes, inputs, from->input_count, outputs, from->output_count, &id));
    struct node *to = &graph->nodes[id];
    to->subgraphs = subgraphs;
    to->subgraph_count = from->subgraph_count;
    to->capture_count = from->capture_count;
    return MITRAL_OK;
}

mitral_status graph_inline(struct graph *graph, const struct graph *inner, const char *prefix, size_t *counter, const value_id *inputs,
                           value_id *outputs)
{
    const struct naming naming = {prefix, counter};
    value_id *map = arena_allocate(graph->arena, (inner->value_count + 1) * sizeof *map);
    if (!map)
        return MITRAL_NO_MEMORY;
    for (size_t v = 0; v < inner->value_count; v++) {
        map[v] = NO_VALUE;
        if (inner->values[v].constant) {
            const char *name;
            TRY(name_next(&name, graph, &naming, "constant", NULL));
            TRY(graph_add_constant(graph, name, inner->values[v].constant, true, &map[v]));
            graph->values[map[v]].parameter = inner->values[v].parameter;
        }
    }
    for (size_t i = 0; i < inner->input_count; i++)
        map[inner->inputs[i]] = inputs[i];
    for (size_t n = 0; n < inner->node_count; n++)
        if (inner->nodes[n].op)
            TRY(inline_node(graph, inner, &inner->nodes[n], &naming, map));
    for (size_t i = 0; i < inner->output_count; i++)
        outputs[i] = map[inner->outputs[i]];
    return MITRAL_OK;
}
