/* Constants that a subgraph takes from outside become its own, so that its passes and kernels see them as constants. */
#include <string.h>

#include "compiler/passes/passes.h"

static mitral_status drop_input(struct graph *graph, size_t index)
{
    memmove(&graph->inputs[index], &graph->inputs[index + 1], (graph->input_count - index - 1) * sizeof *graph->inputs);
    graph->input_count--;
    return MITRAL_OK;
}

mitral_status pass_sink_constants(struct graph *graph, const struct pass_options *options, bool *changed)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        struct node *node = &graph->nodes[i];
        if (!node->op)
            continue;
        for (size_t k = 0; k < node->capture_count;) {
            size_t from_end = node->capture_count - k; /* of this capture, in every list */
            value_id outside = node->inputs[node->input_count - from_end];
            const mitral_tensor *constant = graph_constant(graph, outside);
            if (!constant) {
                k++;
                continue;
            }
            for (size_t j = 0; j < node->subgraph_count; j++) {
                struct graph *inner = node->subgraphs[j];
                value_id inside = inner->inputs[inner->input_count - from_end];
                inner->values[inside].constant = constant;
                type_of_tensor(constant, &inner->values[inside].type);
                TRY(drop_input(inner, inner->input_count - from_end));
            }
            size_t index = node->input_count - from_end;
            memmove(&node->inputs[index], &node->inputs[index + 1], (node->input_count - index - 1) * sizeof *node->inputs);
            node->input_count--;
            node->capture_count--;
            *changed = true;
        }
        for (size_t j = 0; j < node->subgraph_count; j++)
            TRY(pass_sink_constants(node->subgraphs[j], options, changed));
    }
    return MITRAL_OK;
}
