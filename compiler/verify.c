/* The graph's structure holds: run after import and after every pass. */
#include <string.h>

#include "compiler/op.h"

static mitral_status broken(const struct graph *graph, const struct node *node, const char *fact, value_id value)
{
    return mitral_fail(graph->context, MITRAL_INVALID, "node '%s' (%s): %s (value '%s')", node->name, node->op->name, fact,
                       value < graph->value_count ? graph->values[value].name : "?");
}

static mitral_status verify_node(const struct graph *graph, node_id id)
{
    const struct node *node = &graph->nodes[id];
    for (size_t j = 0; j < node->input_count; j++) {
        value_id input = node->inputs[j];
        if (input == NO_VALUE)
            continue;
        if (input >= graph->value_count)
            return broken(graph, node, "expected an input that exists", input);
        node_id producer = graph->values[input].producer;
        if (producer != NO_NODE && (producer >= graph->node_count || !graph->nodes[producer].op))
            return broken(graph, node, "expected an input whose producer exists", input);
        if (producer != NO_NODE && producer >= id)
            return broken(graph, node, "expected an input computed before it is read", input);
    }
    for (size_t j = 0; j < node->output_count; j++) {
        value_id output = node->outputs[j];
        if (output == NO_VALUE)
            continue;
        if (output >= graph->value_count)
            return broken(graph, node, "expected an output that exists", output);
        if (graph->values[output].producer != id)
            return broken(graph, node, "expected an output produced once", output);
        if (graph->values[output].constant)
            return broken(graph, node, "expected an output that is no constant", output);
    }
    for (size_t j = 0; j < node->attributes.count; j++) {
        const struct attribute *attribute = &node->attributes.items[j];
        if (attribute->kind == ATTRIBUTE_GRAPH && (attribute->subgraph < 0 || (size_t)attribute->subgraph >= node->subgraph_count))
            return broken(graph, node, "expected a subgraph attribute that points to one", NO_VALUE);
    }
    for (size_t j = 0; j < node->subgraph_count; j++)
        TRY(graph_verify(node->subgraphs[j]));
    return MITRAL_OK;
}

mitral_status graph_verify(const struct graph *graph)
{
    bool *reachable = mitral_allocate(graph->context, graph->value_count + 1);
    if (!reachable)
        return MITRAL_NO_MEMORY;
    mitral_status status = MITRAL_OK;
    for (size_t i = 0; i < graph->input_count; i++)
        reachable[graph->inputs[i]] = true;
    for (size_t v = 0; v < graph->value_count; v++)
        reachable[v] |= graph->values[v].constant != NULL;
    for (size_t i = 0; i < graph->node_count && status == MITRAL_OK; i++) {
        const struct node *node = &graph->nodes[i];
        if (!node->op)
            continue;
        status = verify_node(graph, (node_id)i);
        for (size_t j = 0; j < node->input_count && status == MITRAL_OK; j++)
            if (node->inputs[j] != NO_VALUE && !reachable[node->inputs[j]])
                status = broken(graph, node, "expected an input that something defines", node->inputs[j]);
        for (size_t j = 0; j < node->output_count && status == MITRAL_OK; j++)
            if (node->outputs[j] != NO_VALUE)
                reachable[node->outputs[j]] = true;
    }
    for (size_t i = 0; i < graph->output_count && status == MITRAL_OK; i++)
        if (graph->outputs[i] >= graph->value_count || !reachable[graph->outputs[i]])
            status = mitral_fail(graph->context, MITRAL_INVALID, "graph output %zu ('%s'): expected a value that something defines", i,
                                 graph->outputs[i] < graph->value_count ? graph->values[graph->outputs[i]].name : "?");
    mitral_release(graph->context, reachable);
    return status;
}
