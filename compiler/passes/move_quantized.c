/* Operators that only move elements, or choose among them, do so on the 8-bit elements: DequantizeLinear and QuantizeLinear change places
 * with them, element by element the same. Where both have one scale and zero point they are gone; else what is left is a change of scale. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"
#include "compiler/passes/quantizer.h"

struct move {
    struct graph *graph;
    struct graph_uses uses;
    bool *changed;
};

/* MaxPool: the largest element stays the largest, as scales are positive. */
static bool moves_elements(const struct node *node)
{
    static const char *const names[] = {"Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "MaxPool", "Reshape", "Slice", "SpaceToDepth",
                                        "Squeeze", "Tile", "Transpose", "Unsqueeze"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (node_is(node, names[i]))
            return node->output_count == 1 || (i == 5 && node_output(node, 1) == NO_VALUE);
    return false;
}

/* The only reader of the node's result, when it is a QuantizeLinear. */
static node_id find_quantizer(const struct move *move, const struct node *node, struct quantizer *out)
{
    const node_id reader = only_reader(move->graph, &move->uses, node->outputs[0]);
    if (reader == NO_NODE || !quantizer_read(move->graph, &move->graph->nodes[reader], "QuantizeLinear", out) || out->input != node->outputs[0])
        return NO_NODE;
    return reader;
}

static mitral_status add_value(struct graph *graph, value_id like, const char *suffix, int32_t dtype, value_id *out)
{
    struct value_type type = graph->values[like].type;
    const char *name = arena_format(graph->arena, "%s.%s", graph->values[like].name, suffix);
    type.dtype = dtype;
    return name ? graph_add_value(graph, name, &type, out) : MITRAL_NO_MEMORY;
}

/* Move(DQ(x)) → Q becomes Q(DQ(Move(x))), or Move(x). */
static mitral_status move_one(struct move *move, node_id id, node_id reader, const struct quantizer *from, const struct quantizer *to)
{
    struct graph *graph = move->graph;
    const value_id moved = graph->nodes[id].outputs[0];
    const node_id source = graph->values[graph->nodes[id].inputs[0]].producer;
    graph->nodes[id].inputs[0] = from->input;
    if (quantizer_undoes(from, to)) {
        node_take_over(graph, id, reader);
        return MITRAL_OK;
    }
    value_id bytes, floats;
    TRY(add_value(graph, moved, "bytes", from->dtype, &bytes));
    TRY(add_value(graph, moved, "floats", MITRAL_FLOAT, &floats));
    graph->nodes[id].outputs[0] = bytes;
    graph->values[moved].producer = NO_NODE;
    graph->values[bytes].producer = id;
    graph->nodes[reader].inputs[0] = floats;
    const struct node dequantize = graph->nodes[source];
    const value_id inputs[3] = {bytes, dequantize.inputs[1], node_input(&dequantize, 2)};
    return graph_add_node(graph, dequantize.op, dequantize.version, graph->values[floats].name, &dequantize.attributes, inputs,
                          inputs[2] == NO_VALUE ? 2 : 3, &floats, 1, NULL);
}

/* Concat(DQ(x), …) → Q becomes Concat of the parts in its scale. */
static mitral_status move_concat(struct move *move, node_id id, node_id reader, const struct quantizer *to)
{
    struct graph *graph = move->graph;
    const struct node quantize = graph->nodes[reader];
    for (size_t i = 0; i < graph->nodes[id].input_count; i++) {
        const value_id part = graph->nodes[id].inputs[i];
        struct quantizer from;
        value_id bytes;
        if (!quantizer_read(graph, graph_producer(graph, part), "DequantizeLinear", &from))
            return mitral_fail(graph->context, MITRAL_INVALID, "Concat '%s': expected DequantizeLinear before each input", graph->nodes[id].name);
        if (quantizer_undoes(&from, to)) {
            graph->nodes[id].inputs[i] = from.input;
            continue;
        }
        TRY(add_value(graph, part, "requantized", to->dtype, &bytes));
        const value_id inputs[3] = {part, quantize.inputs[1], node_input(&quantize, 2)};
        TRY(graph_add_node(graph, quantize.op, quantize.version, graph->values[bytes].name, &quantize.attributes, inputs,
                           inputs[2] == NO_VALUE ? 2 : 3, &bytes, 1, NULL));
        graph->nodes[id].inputs[i] = bytes;
    }
    node_take_over(graph, id, reader);
    return MITRAL_OK;
}

static mitral_status move_node(struct move *move, node_id id)
{
    struct graph *graph = move->graph;
    const struct node *node = &graph->nodes[id];
    struct quantizer from, to;
    if (!node->op || !moves_elements(node) || !node->input_count)
        return MITRAL_OK;
    const node_id reader = find_quantizer(move, node, &to);
    if (reader == NO_NODE)
        return MITRAL_OK;
    const bool concat = node_is(node, "Concat");
    for (size_t i = 0; i < (concat ? node->input_count : 1); i++)
        if (!quantizer_read(graph, graph_producer(graph, node->inputs[i]), "DequantizeLinear", &from))
            return MITRAL_OK;
    *move->changed = true;
    return concat ? move_concat(move, id, reader, &to) : move_one(move, id, reader, &from, &to);
}

mitral_status pass_move_quantized(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    struct move move = {.graph = graph, .changed = changed};
    TRY(graph_find_uses(graph, &move.uses));
    mitral_status status = MITRAL_OK;
    const size_t count = graph->node_count; /* what is added needs no move */
    for (size_t i = 0; i < count && status == MITRAL_OK; i++)
        status = move_node(&move, (node_id)i);
    graph_free_uses(graph, &move.uses);
    return status;
}
