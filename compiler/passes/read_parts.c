/* A concatenation that only a convolution by Winograd reads need not be made: the convolution, which spreads its input into tiles vector by
 * vector, spreads each part's channels from where they lie (mitral.JoinedConvolution). Nor need a part be widened first that is bfloat16
 * in memory. After the choice of layouts: only channels-last maps are read so. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"
#include "compiler/planar.h"

enum { X, FURTHER = 5, VECTOR = 16 };

/* Whether the convolution is one that reads parts, for as long as the shapes that were known stay. */
static bool reads_parts(const struct graph *graph, const struct node *node)
{
    struct convolution_shape shape;
    return node->op && (node_is(node, "Conv") || node_is_own(node, "Convolution")) && planar_convolution_of(graph, node, &shape)
           && shape.output[0] >= 0 && shape.output[1] >= 0 && planar_convolution_preferred(&shape)
           && planar_convolution_way(&shape) == WAY_WINOGRAD;
}

/* The map, or what it was before it was widened. */
static value_id narrowest(const struct graph *graph, value_id map)
{
    const node_id producer = graph->values[map].producer;
    const struct node *node = producer == NO_NODE ? NULL : &graph->nodes[producer];
    const bool widened = node && node->op && node_is(node, "Cast") && graph->values[map].type.dtype == MITRAL_FLOAT
                         && graph->values[node->inputs[0]].type.dtype == MITRAL_BFLOAT16
                         && graph->values[node->inputs[0]].layout == graph->values[map].layout;
    return widened ? node->inputs[0] : map;
}

/* Vectors that are spread hold channels of one part, and the last ones of the last. */
static bool is_part(const struct graph *graph, value_id map, bool last)
{
    if (map == NO_VALUE || graph->values[map].constant)
        return false;
    const struct value_type *type = &graph->values[map].type;
    return type->kind == MITRAL_TENSOR && type->rank == 4 && (type->dtype == MITRAL_FLOAT || type->dtype == MITRAL_BFLOAT16)
           && graph->values[map].layout == LAYOUT_CHANNELS_LAST && type->dims[1] > 0 && (last || type->dims[1] % VECTOR == 0);
}

static bool is_free(const struct graph *graph, const struct graph_uses *uses, const struct node *node)
{
    if (!node->op || !node_is(node, "Concat") || node->input_count < 2 || node->input_count > CONVOLUTION_PARTS)
        return false;
    const value_id whole = node->outputs[0];
    const int64_t axis = attribute_int(&node->attributes, "axis", 1), rank = graph->values[whole].type.rank;
    if ((axis < 0 ? axis + rank : axis) != 1 || uses->is_output[whole] || graph_use_count(uses, whole) != 1)
        return false;
    for (size_t i = 0; i < node->input_count; i++)
        if (!is_part(graph, node->inputs[i], i + 1 == node->input_count))
            return false;
    return true;
}

static mitral_status read_parts(struct graph *graph, const struct graph_uses *uses, node_id id, bool *changed)
{
    struct node *node = &graph->nodes[id];
    const node_id producer = reads_parts(graph, node) ? graph->values[node->inputs[X]].producer : NO_NODE;
    if (producer == NO_NODE || !is_free(graph, uses, &graph->nodes[producer]))
        return MITRAL_OK;
    const struct node *concat = &graph->nodes[producer];
    const struct op *op = op_find("mitral", "JoinedConvolution");
    value_id *inputs = arena_allocate(graph->arena, (FURTHER + concat->input_count - 1) * sizeof *inputs);
    if (!op || !inputs)
        return mitral_fail(graph->context, MITRAL_NO_MEMORY, "expected the operator mitral.JoinedConvolution and memory");
    for (size_t i = 0; i < FURTHER; i++)
        inputs[i] = node_input(node, i);
    for (size_t i = 0; i < concat->input_count; i++)
        inputs[i == 0 ? X : FURTHER + i - 1] = narrowest(graph, concat->inputs[i]);
    node->op = op;
    node->inputs = inputs;
    node->input_count = FURTHER + concat->input_count - 1;
    node->version = 1;
    *changed = true;
    return attributes_set_int(&node->attributes, graph->arena, "input_bfloat16", 0); /* each map says so itself */
}

mitral_status pass_read_parts(struct graph *graph, const struct pass_options *options, bool *changed)
{
    if (options->tune) /* oneDNN's convolution could be chosen, which reads no parts */
        return MITRAL_OK;
    struct graph_uses uses;
    TRY(graph_find_uses(graph, &uses));
    mitral_status status = MITRAL_OK;
    for (size_t i = 0; i < graph->node_count && status == MITRAL_OK; i++)
        status = read_parts(graph, &uses, (node_id)i, changed);
    graph_free_uses(graph, &uses);
    return status;
}
