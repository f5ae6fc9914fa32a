/* Element types that a file declares for what nodes compute, held against those that follow from its inputs. Contradictions are refused, as
 * in ONNX Runtime and onnx.checker's full check. Declared shapes are taken as remarks, as in ONNX Runtime: exporters leave stale ones
 * behind, and what is computed does not depend on them. */
#include "compiler/op.h"

static size_t count_values(const struct graph *graph)
{
    size_t count = graph->value_count;
    for (size_t i = 0; i < graph->node_count; i++)
        for (size_t j = 0; graph->nodes[i].op && j < graph->nodes[i].subgraph_count; j++)
            count += count_values(graph->nodes[i].subgraphs[j]);
    return count;
}

/* Both walk the graph in the same order; inference adds no values. */
static int32_t *note_types(const struct graph *graph, int32_t *types)
{
    for (size_t v = 0; v < graph->value_count; v++) {
        const struct value_type *type = &graph->values[v].type;
        *types++ = graph->values[v].producer == NO_NODE || type->kind != MITRAL_TENSOR ? MITRAL_UNDEFINED : type->dtype;
    }
    for (size_t i = 0; i < graph->node_count; i++)
        for (size_t j = 0; graph->nodes[i].op && j < graph->nodes[i].subgraph_count; j++)
            types = note_types(graph->nodes[i].subgraphs[j], types);
    return types;
}

static mitral_status compare_types(const struct graph *graph, const int32_t **declared)
{
    for (size_t v = 0; v < graph->value_count; v++) {
        const int32_t wanted = *(*declared)++;
        const struct graph_value *value = &graph->values[v];
        if (wanted == MITRAL_UNDEFINED || value->type.dtype == MITRAL_UNDEFINED || wanted == value->type.dtype)
            continue;
        const struct node *node = &graph->nodes[value->producer];
        return mitral_fail(graph->context, MITRAL_INVALID, "node '%s' (%s): expected its output '%s' to be declared %s, found %s", node->name,
                           node->op->name, value->name, mitral_dtype_name((mitral_dtype)value->type.dtype), mitral_dtype_name((mitral_dtype)wanted));
    }
    for (size_t i = 0; i < graph->node_count; i++)
        for (size_t j = 0; graph->nodes[i].op && j < graph->nodes[i].subgraph_count; j++)
            TRY(compare_types(graph->nodes[i].subgraphs[j], declared));
    return MITRAL_OK;
}

/* An If gives what either branch gives, a Loop its states and what it stacks, a Scan likewise. */
static mitral_status compare_bodies(const struct graph *graph)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        const size_t first = node->op && node_is(node, "Loop");
        for (size_t s = 0; node->op && s < node->subgraph_count; s++) {
            const struct graph *body = node->subgraphs[s];
            TRY(compare_bodies(body));
            for (size_t j = 0; j < node->output_count && first + j < body->output_count; j++) {
                const struct graph_value *given = &body->values[body->outputs[first + j]];
                const struct graph_value *output = node->outputs[j] == NO_VALUE ? NULL : &graph->values[node->outputs[j]];
                if (!output || output->type.kind != MITRAL_TENSOR || given->type.kind != MITRAL_TENSOR || output->type.dtype == given->type.dtype
                    || output->type.dtype == MITRAL_UNDEFINED || given->type.dtype == MITRAL_UNDEFINED)
                    continue;
                return mitral_fail(graph->context, MITRAL_INVALID, "node '%s' (%s): expected '%s' of its subgraph '%s' to be %s like the output '%s', found %s",
                                   node->name, node->op->name, given->name, body->name,
                                   mitral_dtype_name((mitral_dtype)output->type.dtype), output->name, mitral_dtype_name((mitral_dtype)given->type.dtype));
            }
        }
    }
    return MITRAL_OK;
}

mitral_status graph_infer_declared(struct graph *graph)
{
    int32_t *declared = mitral_allocate(graph->context, (count_values(graph) + 1) * sizeof *declared);
    if (!declared)
        return MITRAL_NO_MEMORY;
    note_types(graph, declared);
    mitral_status status = graph_infer(graph);
    const int32_t *next = declared;
    if (status == MITRAL_OK)
        status = compare_types(graph, &next);
    mitral_release(graph->context, declared);
    return status == MITRAL_OK ? compare_bodies(graph) : status;
}
