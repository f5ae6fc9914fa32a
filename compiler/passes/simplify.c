/* Nodes that hand their input on unchanged are taken out: Identity, Dropout in inference, casts to the same type, transposes and
 * reshapes that change nothing, paddings of nothing, concatenations of one, sums of one. */
#include <string.h>

#include "compiler/passes/passes.h"

static bool same_type(const struct value_type *a, const struct value_type *b)
{
    return type_is_static(a) && type_is_static(b) && a->dtype == b->dtype && a->rank == b->rank
           && (a->rank <= 0 || memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0);
}

static bool is_identity_permutation(const struct node *node, int32_t rank)
{
    size_t count;
    const int64_t *permutation = attribute_ints(&node->attributes, "perm", &count);
    if (!permutation)
        return rank >= 0 && rank <= 1;
    for (size_t i = 0; i < count; i++)
        if (permutation[i] != (int64_t)i)
            return false;
    return true;
}

/* A Dropout that is not told to train passes its data on; its mask must not be wanted. */
static bool is_inactive_dropout(const struct graph *graph, const struct node *node, const struct graph_uses *uses)
{
    value_id mask = node_output(node, 1);
    if (mask != NO_VALUE && (graph_use_count(uses, mask) || uses->is_output[mask]))
        return false;
    if (node->version < 12)
        return true;
    value_id training = node_input(node, 2);
    const mitral_tensor *constant = graph_constant(graph, training);
    return training == NO_VALUE || (constant && tensor_count(constant) == 1 && tensor_get_int(constant, 0) == 0);
}

/* Pads of opset 11 and later. */
static bool pads_nothing(const mitral_tensor *pads)
{
    for (int64_t i = 0; pads && i < tensor_count(pads); i++)
        if (tensor_get_int(pads, i) != 0)
            return false;
    return pads != NULL;
}

static bool passes_on(const struct graph *graph, const struct node *node, const struct graph_uses *uses)
{
    value_id input = node_input(node, 0), output = node_output(node, 0);
    if (input == NO_VALUE || output == NO_VALUE)
        return false;
    const struct value_type *from = &graph->values[input].type, *to = &graph->values[output].type;
    if (node_is(node, "Identity"))
        return true;
    if (node_is(node, "Dropout"))
        return is_inactive_dropout(graph, node, uses);
    if (node_is(node, "Cast"))
        return from->kind == MITRAL_TENSOR && from->dtype != MITRAL_UNDEFINED && from->dtype == attribute_int(&node->attributes, "to", 0);
    if (node_is(node, "Pad"))
        return pads_nothing(graph_constant(graph, node_input(node, 1)));
    if (node_is(node, "Transpose"))
        return is_identity_permutation(node, from->rank);
    if (node_is(node, "Reshape") || node_is(node, "Flatten") || node_is(node, "Squeeze") || node_is(node, "Unsqueeze")
        || node_is(node, "Expand"))
        return same_type(from, to);
    if (node_is(node, "Concat") || node_is(node, "Sum") || node_is(node, "Max") || node_is(node, "Min") || node_is(node, "Mean"))
        return node->input_count == 1;
    return false;
}

mitral_status pass_simplify(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    struct graph_uses uses;
    TRY(graph_find_uses(graph, &uses));
    value_id *alias = mitral_allocate(graph->context, (graph->value_count + 1) * sizeof *alias);
    if (!alias) {
        graph_free_uses(graph, &uses);
        return MITRAL_NO_MEMORY;
    }
    for (size_t v = 0; v < graph->value_count; v++)
        alias[v] = (value_id)v;
    for (size_t i = 0; i < graph->node_count; i++) {
        struct node *node = &graph->nodes[i];
        if (!node->op)
            continue;
        for (size_t j = 0; j < node->input_count; j++)
            if (node->inputs[j] != NO_VALUE)
                node->inputs[j] = alias[node->inputs[j]];
        if (!passes_on(graph, node, &uses))
            continue;
        value_id input = node->inputs[0], output = node->outputs[0];
        /* An output of the graph keeps its own name and value. */
        if (uses.is_output[output])
            continue;
        alias[output] = input;
        graph_remove_node(graph, (node_id)i);
        *changed = true;
    }
    mitral_release(graph->context, alias);
    graph_free_uses(graph, &uses);
    return MITRAL_OK;
}
