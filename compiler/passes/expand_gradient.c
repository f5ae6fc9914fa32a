/* The Gradient operator (ai.onnx.preview.training) names values of the graph around it: its outputs become what the gradient pass
 * makes of them. */
#include <string.h>

#include "compiler/gradient.h"
#include "compiler/passes/passes.h"

static bool is_gradient(const struct node *node)
{
    return node->op && strcmp(op_domain(node->op), "ai.onnx.preview.training") == 0 && strcmp(node->op->name, "Gradient") == 0;
}

static value_id find_value(const struct graph *graph, const char *name)
{
    for (size_t v = 0; v < graph->value_count; v++)
        if (strcmp(graph->values[v].name, name) == 0)
            return (value_id)v;
    return NO_VALUE;
}

/* What the differentiated value does not depend on has gradient zero. */
static mitral_status make_zeros(struct graph *graph, value_id like, value_id *out)
{
    if (!type_is_static(&graph->values[like].type))
        return mitral_fail(graph->context, MITRAL_UNSUPPORTED, "gradient of '%s': expected a fixed shape, found a symbolic one",
                           graph->values[like].name);
    mitral_tensor zeros;
    type_to_tensor(&graph->values[like].type, &zeros);
    zeros.data = arena_allocate(graph->arena, tensor_bytes(&zeros) + 1);
    if (!zeros.data)
        return MITRAL_NO_MEMORY;
    return graph_add_constant(graph, NULL, &zeros, true, out);
}

static node_id producer_of(const struct graph *graph, const struct node *node)
{
    for (size_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NO_VALUE)
            return graph->values[node->outputs[i]].producer;
    return NO_NODE;
}

static mitral_status expand(struct graph *graph, node_id id)
{
    struct node node = graph->nodes[id]; /* adding nodes moves the array */
    if (producer_of(graph, &node) == NO_NODE) {
        graph->nodes[id].op = NULL; /* nobody asked for anything */
        return MITRAL_OK;
    }
    const char *name = attribute_string(&node.attributes, "y", "");
    value_id y = find_value(graph, name);
    size_t count;
    attribute_strings(&node.attributes, "xs", &count);
    if (y == NO_VALUE || count > node.input_count)
        return mitral_fail(graph->context, MITRAL_INVALID, "Gradient '%s': expected y to name a value and xs the first inputs, found y '%s', "
                           "%zu xs and %zu inputs", node.name, name, count, node.input_count);
    value_id *gradients = arena_allocate(graph->arena, (count + 1) * sizeof *gradients);
    if (!gradients)
        return MITRAL_NO_MEMORY;
    TRY(gradient_build(graph, y, node.inputs, count, gradients));
    id = producer_of(graph, &node); /* node ids may have changed */
    for (size_t i = 0; i < node.output_count && i < count; i++) {
        if (node.outputs[i] == NO_VALUE)
            continue;
        if (gradients[i] == NO_VALUE)
            TRY(make_zeros(graph, node.inputs[i], &gradients[i]));
        /* The output keeps its name. */
        TRY(graph_add_node(graph, op_find(NULL, "Identity"), 0, node.name, NULL, &gradients[i], 1, &node.outputs[i], 1, NULL));
    }
    graph->nodes[id].op = NULL;
    return MITRAL_OK;
}

mitral_status expand_gradients(struct graph *graph)
{
    bool changed = false;
    for (size_t i = 0; i < graph->node_count; i++)
        if (is_gradient(&graph->nodes[i])) {
            TRY(expand(graph, (node_id)i));
            changed = true;
            i = (size_t)-1; /* the order of the nodes may have changed */
        }
    if (!changed)
        return MITRAL_OK;
    TRY(graph_sort(graph));
    return graph_infer(graph);
}
