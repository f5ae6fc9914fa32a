/* Where a ReLU was open, and which elements of a map that is pooled are the largest, takes a bit of each: where the gradient of a normalisation
 * would read the normalised map for that alone, it reads these. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"
#include "runtime/kernels/training/normalization_operands.h"

static mitral_status mark(struct graph *graph, node_id id, bool *changed)
{
    struct node *node = &graph->nodes[id];
    const value_id y = node_input(node, GRADIENT_INPUT_SIGN);
    const struct node *forward = y == NO_VALUE ? NULL : graph_producer(graph, y);
    if (!forward || !node_is_own(forward, "FusedNormalization") || forward->outputs[NORMALIZATION_OUTPUT_Y] != y
        || node_output(forward, NORMALIZATION_OUTPUT_OPEN) != NO_VALUE || !attribute_int(&forward->attributes, "relu", 0)
        || (node_output(forward, NORMALIZATION_OUTPUT_POOLED) != NO_VALUE) != (attribute_int(&node->attributes, "pooled", 0) != 0))
        return MITRAL_OK;
    value_id outputs[NORMALIZATION_OUTPUTS];
    const char *name = arena_format(graph->arena, "%s/open", graph->values[y].name);
    if (!name)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < NORMALIZATION_OUTPUT_OPEN; i++)
        outputs[i] = node_output(forward, i);
    TRY(graph_add_value(graph, name, NULL, &outputs[NORMALIZATION_OUTPUT_OPEN]));
    node->inputs[GRADIENT_INPUT_SIGN] = outputs[NORMALIZATION_OUTPUT_OPEN];
    *changed = true;
    const struct node made = *forward;
    graph_remove_node(graph, graph->values[y].producer);
    return graph_add_node(graph, made.op, made.version, made.name, &made.attributes, made.inputs, made.input_count, outputs, NORMALIZATION_OUTPUTS,
                          NULL);
}

mitral_status pass_mark_open(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    for (node_id n = 0, count = (node_id)graph->node_count; n < count; n++)
        if (graph->nodes[n].op && node_is_own(&graph->nodes[n], "FusedNormalizationGradient"))
            TRY(mark(graph, n, changed));
    return *changed ? graph_sort(graph) : MITRAL_OK;
}
