/* Tanh, Sigmoid and Softmax whose values are rounded to 8 bits, after no more than moves and products, are computed by ONNX Runtime's sequence of
 * operations (attribute "runtime_bits"; runtime/kernels/reference/vector_math.h). Next to the middle of two steps the last bit of a float
 * decides what comes of the rounding, and in a network that quantizes as it runs, all that follows; with that runtime's bits its rounding comes
 * out, too. Elsewhere ours stay, which are two to four times closer to the exact values; a Softmax that fuse-attention takes is its own. */
#include "compiler/passes/passes.h"

/* Whether a quantization gets the value's elements, or products with them; `reaches` says it of what comes later. */
static bool reaches_quantization(const struct graph *graph, const struct graph_uses *uses, value_id value, bool *reaches)
{
    for (uint32_t i = uses->offsets[value]; i < uses->offsets[value + 1]; i++) {
        const struct node *reader = &graph->nodes[uses->nodes[i]];
        if (!reader->op)
            continue;
        if ((reader->op->traits & OP_QUANTIZES) && reader->inputs[0] == value)
            return true;
        const bool passes = (reader->op->traits & OP_MOVES_DATA) || node_is(reader, "MatMul");
        for (size_t j = 0; passes && j < reader->output_count; j++)
            if (reader->outputs[j] != NO_VALUE && reaches[reader->outputs[j]])
                return true;
    }
    return false;
}

static mitral_status mark(struct graph *graph, const struct graph_uses *uses, bool *reaches)
{
    for (size_t i = graph->node_count; i-- > 0;) { /* readers come before what they read */
        struct node *node = &graph->nodes[i];
        bool any = false;
        for (size_t j = 0; node->op && j < node->output_count; j++)
            if (node->outputs[j] != NO_VALUE)
                any |= reaches[node->outputs[j]] = reaches_quantization(graph, uses, node->outputs[j], reaches);
        if (any && (node_is(node, "Tanh") || node_is(node, "Sigmoid") || node_is(node, "Softmax")))
            TRY(attributes_set_int(&node->attributes, graph->arena, "runtime_bits", 1));
    }
    return MITRAL_OK;
}

mitral_status match_runtime(struct graph *graph)
{
    struct graph_uses uses;
    TRY(graph_find_uses(graph, &uses));
    bool *reaches = mitral_allocate(graph->context, (graph->value_count + 1) * sizeof *reaches);
    mitral_status status = reaches ? mark(graph, &uses, reaches) : MITRAL_NO_MEMORY;
    mitral_release(graph->context, reaches);
    graph_free_uses(graph, &uses);
    for (size_t i = 0; i < graph->node_count && status == MITRAL_OK; i++)
        for (size_t j = 0; graph->nodes[i].op && j < graph->nodes[i].subgraph_count && status == MITRAL_OK; j++)
            status = match_runtime(graph->nodes[i].subgraphs[j]);
    return status;
}
