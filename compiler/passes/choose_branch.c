/* An If whose condition is known before a run is what its branch is: exporters write one where they do not know whether there is a dimension to
 * squeeze. So the shapes behind it are known, and what is behind can be fused and differentiated. */
#include <string.h>

#include "compiler/passes/passes.h"

enum { UNKNOWN = -1, MOST_STEPS = 1000 };

static const struct graph *branch_of(const struct node *node, bool condition)
{
    const int32_t index = attribute_subgraph(&node->attributes, condition ? "then_branch" : "else_branch");
    const struct graph *branch = index < 0 || (size_t)index >= node->subgraph_count ? NULL : node->subgraphs[index];
    return branch && branch->output_count == node->output_count && branch->input_count + 1 == node->input_count ? branch : NULL;
}

/* A dimension of known size, whatever the others are: an element of a shape. */
static bool is_fixed_dimension(const struct graph *graph, const struct node *gather)
{
    const struct node *shape = graph_producer(graph, node_input(gather, 0));
    const mitral_tensor *index = node_input(gather, 1) == NO_VALUE ? NULL : graph_constant(graph, node_input(gather, 1));
    if (!node_is(shape, "Shape") || !index || tensor_count(index) != 1 || !dtype_is_integer(index->dtype)
        || attribute_int(&shape->attributes, "start", 0) != 0 || attribute_int(&shape->attributes, "end", INT64_MAX) != INT64_MAX)
        return false;
    const struct value_type *type = &graph->values[node_input(shape, 0)].type;
    int64_t at = tensor_get_int(index, 0);
    at += at < 0 ? type->rank : 0;
    return type->kind == MITRAL_TENSOR && at >= 0 && at < type->rank && type->dims[at] >= 0;
}

/* Whether no symbol has a say in a value. `steps`: how many more values to look at before taking it for one that has. */
static bool is_fixed(const struct graph *graph, value_id value, int *steps)
{
    if (value == NO_VALUE || graph->values[value].constant)
        return true;
    const struct node *node = graph_producer(graph, value);
    if (!node || node->subgraph_count || --*steps < 0)
        return false;
    if (node_is(node, "Gather") && is_fixed_dimension(graph, node))
        return true;
    if (node_is(node, "Shape") && type_is_static(&graph->values[node_input(node, 0)].type))
        return true;
    for (size_t i = 0; i < node->input_count; i++)
        if (!is_fixed(graph, node->inputs[i], steps))
            return false;
    return true;
}

/* Weights of a branch have no place in a file to be written to when they have been trained. */
static bool has_weights(const struct graph *branch)
{
    for (size_t v = 0; v < branch->value_count; v++) {
        const mitral_tensor *constant = branch->values[v].parameter ? branch->values[v].constant : NULL;
        if (constant && dtype_is_float(constant->dtype) && constant->rank >= 1)
            return true;
    }
    return false;
}

/* What the branch gives takes the place of the If's results; names that others look for stay. */
static mitral_status take_branch(struct graph *graph, node_id id, const struct graph *branch)
{
    const size_t count = branch->output_count;
    value_id *outputs = arena_allocate(graph->arena, (count + 1) * sizeof *outputs);
    if (!outputs)
        return MITRAL_NO_MEMORY;
    TRY(graph_inline(graph, branch, NULL, NULL, graph->nodes[id].inputs + 1, outputs));
    const value_id *results = graph->nodes[id].outputs;
    graph_remove_node(graph, id);
    for (size_t i = 0; i < count; i++)
        if (results[i] != NO_VALUE)
            TRY(graph_add_node(graph, op_find(NULL, "Identity"), 0, NULL, NULL, &outputs[i], 1, &results[i], 1, NULL));
    return MITRAL_OK;
}

static mitral_status take_known(struct graph *graph, const struct pass_options *options, bool *found)
{
    int8_t *known = arena_allocate(graph->arena, graph->value_count + 1);
    const size_t count = graph->node_count;
    bool any = false;
    for (size_t i = 0; i < count && !any; i++)
        any = node_is(&graph->nodes[i], "If");
    if (!known)
        return MITRAL_NO_MEMORY;
    if (!any)
        return MITRAL_OK;
    TRY(graph_find_conditions(graph, options->training, known));
    for (size_t i = 0; i < count; i++) {
        const struct node *node = &graph->nodes[i];
        const value_id condition = node_is(node, "If") ? node_input(node, 0) : NO_VALUE;
        int steps = MOST_STEPS;
        const bool is_known = condition != NO_VALUE && known[condition] != UNKNOWN && is_fixed(graph, condition, &steps);
        const struct graph *branch = is_known ? branch_of(node, known[condition]) : NULL;
        if (!branch || (options->training && has_weights(branch)))
            continue;
        TRY(take_branch(graph, (node_id)i, branch));
        *found = true;
    }
    return MITRAL_OK;
}

mitral_status pass_choose_branch(struct graph *graph, const struct pass_options *options, bool *changed)
{
    for (bool found = true; found;) { /* a branch may hold others, and shapes behind it may tell what follows */
        found = false;
        TRY(take_known(graph, options, &found));
        if (!found)
            break;
        *changed = true;
        bool sunk;
        TRY(graph_sort(graph));
        TRY(pass_sink_constants(graph, options, &sunk));
        TRY(graph_sort(graph));
        graph_remove_dead(graph);
        TRY(graph_sort(graph));
        TRY(graph_infer(graph));
    }
    return MITRAL_OK;
}
