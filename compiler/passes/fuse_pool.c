/* Poolings to half the size take place where the map is normalised, and their gradients where the normalisation's gradient is made: then the
 * map is not read for them once more, and what the pooling passes on is no map of its own. */
#include <string.h>

#include "compiler/lower_training.h"
#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"
#include "runtime/kernels/training/normalization_operands.h"

enum { UNPOOLED_OUTPUTS = NORMALIZATION_OUTPUT_POOLED, MOST_INPUTS = 32 };

struct search {
    struct graph *graph;
    struct graph_uses uses;
};

/* The normalisation that makes the map; NULL: something else does. */
static const struct node *normalisation_of(const struct search *search, value_id map)
{
    const struct node *node = graph_producer(search->graph, map);
    const bool is_found = node && node_is_own(node, "FusedNormalization") && node->outputs[NORMALIZATION_OUTPUT_Y] == map;
    return is_found && node->output_count >= UNPOOLED_OUTPUTS ? node : NULL;
}

static mitral_status fuse_forward(const struct search *search, node_id id, bool *changed)
{
    struct graph *graph = search->graph;
    const struct node pool = graph->nodes[id];
    const struct node *found = normalisation_of(search, node_input(&pool, 0));
    if (!found || found->output_count != UNPOOLED_OUTPUTS || pool.output_count != 1 || !pools_by_two(graph, &pool, pool.inputs[0], pool.outputs[0]))
        return MITRAL_OK;
    const struct node node = *found;
    value_id outputs[UNPOOLED_OUTPUTS + 1];
    memcpy(outputs, node.outputs, UNPOOLED_OUTPUTS * sizeof *outputs);
    outputs[NORMALIZATION_OUTPUT_POOLED] = pool.outputs[0];
    graph_remove_node(graph, id);
    graph_remove_node(graph, graph->values[node.outputs[NORMALIZATION_OUTPUT_Y]].producer);
    *changed = true;
    return graph_add_node(graph, node.op, node.version, node.name, &node.attributes, node.inputs, node.input_count, outputs, UNPOOLED_OUTPUTS + 1,
                          NULL);
}

/* The gradient of a pooling, with what is added to it, that only the gradient of the pooled map's own normalisation reads. That has to give
 * the gradient before the ReLU, too, as it does where there is a shortcut: then it is computed once and not again after the sums. */
static mitral_status fuse_backward(const struct search *search, node_id id, bool *changed)
{
    struct graph *graph = search->graph;
    const struct node node = graph->nodes[id];
    const value_id dy = node.inputs[GRADIENT_INPUT_DY];
    const struct node *found = graph_producer(graph, dy);
    if (!found || !node_is_own(found, "MaxPoolGradient") || node_input(found, 2) == NO_VALUE || node_input(&node, GRADIENT_INPUT_SIGN) == NO_VALUE
        || node_output(&node, GRADIENT_OUTPUT_DZ) == NO_VALUE || search->uses.is_output[dy]
        || graph_use_count(&search->uses, dy) != 1 || node.input_count >= MOST_INPUTS
        || attribute_int(&node.attributes, "pooled", 0))
        return MITRAL_OK;
    const struct node pool = *found;
    const struct node *forward = normalisation_of(search, pool.inputs[1]);
    if (!forward || node_output(forward, NORMALIZATION_OUTPUT_MEAN) != node.inputs[GRADIENT_INPUT_MEAN]
        || !pools_by_two(graph, &pool, pool.inputs[1], pool.inputs[0]))
        return MITRAL_OK;
    struct attributes attributes = {0};
    value_id inputs[MOST_INPUTS + 1];
    memcpy(inputs, node.inputs, GRADIENT_INPUT_PARTS * sizeof *inputs);
    memcpy(inputs + GRADIENT_INPUT_PARTS + 1, node.inputs + GRADIENT_INPUT_PARTS, (node.input_count - GRADIENT_INPUT_PARTS) * sizeof *inputs);
    inputs[GRADIENT_INPUT_DY] = pool.inputs[2];
    inputs[GRADIENT_INPUT_SIGN] = pool.inputs[1];
    inputs[GRADIENT_INPUT_POOLED] = pool.inputs[0];
    TRY(attributes_copy(&attributes, graph->arena, &node.attributes));
    TRY(attributes_set_int(&attributes, graph->arena, "pooled", 1));
    graph_remove_node(graph, graph->values[dy].producer);
    graph_remove_node(graph, id);
    *changed = true;
    return graph_add_node(graph, node.op, node.version, node.name, &attributes, inputs, node.input_count + 1, node.outputs, node.output_count,
                          NULL);
}

mitral_status pass_fuse_pool(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    struct search search = {.graph = graph};
    TRY(graph_find_uses(graph, &search.uses));
    mitral_status status = MITRAL_OK;
    for (node_id n = 0, count = (node_id)graph->node_count; n < count && status == MITRAL_OK; n++) {
        const struct node *node = &graph->nodes[n];
        if (node->op && node_is_own(node, "FusedNormalizationGradient"))
            status = fuse_backward(&search, n, changed);
    }
    for (node_id n = 0, count = (node_id)graph->node_count; n < count && status == MITRAL_OK; n++) {
        const struct node *node = &graph->nodes[n];
        if (node->op && node_is(node, "MaxPool"))
            status = fuse_forward(&search, n, changed);
    }
    graph_free_uses(graph, &search.uses);
    return status;
}
