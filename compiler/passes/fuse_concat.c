/* A concatenation that only scales and shifts by channel read (normalizations after it), or further concatenations that go the same way,
 * need not be made: each mitral.ScaleShift reads the parts itself and becomes a mitral.ConcatScaleShift. Dense blocks, where each layer
 * concatenates all before it, copy every map once instead of once a layer. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"

enum { MOST_PARTS = 256 };

struct fusion {
    struct graph *graph;
    struct graph_uses uses;
    bool *free;             /* [node] a concatenation that need not be made */
};

static bool is_channel_concat(const struct graph *graph, const struct node *node)
{
    if (!node->op || !node_is(node, "Concat") || node->input_count > MOST_PARTS)
        return false;
    const struct value_type *type = &graph->values[node->outputs[0]].type;
    const int64_t axis = attribute_int(&node->attributes, "axis", 1);
    if (type->kind != MITRAL_TENSOR || type->rank < 2 || (axis < 0 ? axis + type->rank : axis) != 1 || !dtype_is_float(type->dtype))
        return false;
    for (size_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] == NO_VALUE || graph->values[node->inputs[i]].type.rank != type->rank)
            return false;
    return true;
}

/* Nodes are in order, so that readers are judged before what they read. */
static void find_free(struct fusion *fusion)
{
    const struct graph *graph = fusion->graph;
    for (size_t i = graph->node_count; i-- > 0;) {
        const struct node *node = &graph->nodes[i];
        if (!is_channel_concat(graph, node))
            continue;
        const value_id output = node->outputs[0];
        bool free = !fusion->uses.is_output[output] && graph_use_count(&fusion->uses, output) > 0;
        for (uint32_t k = fusion->uses.offsets[output]; free && k < fusion->uses.offsets[output + 1]; k++) {
            const node_id reader = fusion->uses.nodes[k];
            const struct node *other = &graph->nodes[reader];
            free = (node_is_own(other, "ScaleShift") && other->inputs[0] == output) || (is_channel_concat(graph, other) && fusion->free[reader]);
        }
        fusion->free[i] = free;
    }
}

/* Appends what the value is made of: itself, or the parts of a concatenation that need not be made. Without recursion: dense blocks are
 * as deep as they are long. */
static bool list_parts(const struct fusion *fusion, value_id value, value_id *parts, size_t *count)
{
    const struct graph *graph = fusion->graph;
    value_id stack[MOST_PARTS];
    size_t depth = 0;
    stack[depth++] = value;
    *count = 0;
    while (depth) {
        const value_id top = stack[--depth];
        const node_id producer = graph->values[top].producer;
        if (producer == NO_NODE || !graph->nodes[producer].op || !fusion->free[producer]) {
            if (*count == MOST_PARTS)
                return false;
            parts[(*count)++] = top;
            continue;
        }
        const struct node *node = &graph->nodes[producer];
        if (depth + node->input_count > MOST_PARTS)
            return false;
        for (size_t i = node->input_count; i-- > 0;)
            stack[depth++] = node->inputs[i];
    }
    return true;
}

static mitral_status fuse(struct fusion *fusion, node_id id, bool *changed)
{
    struct graph *graph = fusion->graph;
    value_id parts[MOST_PARTS];
    size_t count;
    const value_id value = graph->nodes[id].inputs[0];
    const node_id producer = graph->values[value].producer;
    if (producer == NO_NODE || !fusion->free[producer] || !list_parts(fusion, value, parts, &count))
        return MITRAL_OK;
    struct node *node = &graph->nodes[id];
    const size_t lists = node->input_count - 1;
    value_id *inputs = arena_allocate(graph->arena, (count + lists) * sizeof *inputs);
    const struct op *op = op_find("mitral", "ConcatScaleShift");
    if (!inputs || !op)
        return mitral_fail(graph->context, MITRAL_NO_MEMORY, "expected the operator mitral.ConcatScaleShift and memory");
    memcpy(inputs, parts, count * sizeof *inputs);
    memcpy(inputs + count, node->inputs + 1, lists * sizeof *inputs);
    node->op = op;
    node->inputs = inputs;
    node->input_count = count + lists;
    *changed = true;
    return attributes_set_int(&node->attributes, graph->arena, "parts", (int64_t)count);
}

mitral_status pass_fuse_concat(struct graph *graph, const struct pass_options *options, bool *changed)
{
    if (options->training)
        return MITRAL_OK;
    struct fusion fusion = {.graph = graph};
    TRY(graph_find_uses(graph, &fusion.uses));
    fusion.free = mitral_allocate(graph->context, graph->node_count + 1);
    mitral_status status = fusion.free ? MITRAL_OK : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        find_free(&fusion);
    for (size_t i = 0; i < graph->node_count && status == MITRAL_OK; i++)
        if (node_is_own(&graph->nodes[i], "ScaleShift"))
            status = fuse(&fusion, (node_id)i, changed);
    mitral_release(graph->context, fusion.free);
    graph_free_uses(graph, &fusion.uses);
    return status;
}
