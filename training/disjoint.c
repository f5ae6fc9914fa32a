/* A transposed convolution of 2×2 with stride 2 computes four 1×1 convolutions, one for each place in the window, and lays them side by side:
 * Conv with the weights [C, M, 2, 2] as [4 M, C, 1, 1], then DepthToSpace. Forward and, above all, backward run by the products of 1×1
 * convolutions then, which are several times as fast as those of a general stride. */
#include "training/disjoint.h"

#include <string.h>

enum { BLOCK = 2 };

static bool is_disjoint(const struct graph *graph, const struct node *node)
{
    const value_id w = node_input(node, 1), y = node_output(node, 0);
    size_t given;
    if (!node_is(node, "ConvTranspose") || w == NO_VALUE || y == NO_VALUE || attribute_int(&node->attributes, "group", 1) != 1
        || strcmp(attribute_string(&node->attributes, "auto_pad", "NOTSET"), "NOTSET") != 0)
        return false;
    const struct value_type *types[] = {&graph->values[node->inputs[0]].type, &graph->values[w].type, &graph->values[y].type};
    for (size_t i = 0; i < 3; i++)
        if (types[i]->dtype != MITRAL_FLOAT || types[i]->rank != 4 || !type_is_static(types[i]))
            return false;
    attribute_ints(&node->attributes, "output_shape", &given);
    bool disjoint = given == 0;
    for (size_t i = 0; i < 4; i++)
        disjoint = disjoint && types[1]->dims[2 + i % 2] == BLOCK && node_int_at(node, "strides", i % 2, 1) == BLOCK
                   && node_int_at(node, "dilations", i % 2, 1) == 1 && node_int_at(node, "pads", i, 0) == 0
                   && node_int_at(node, "output_padding", i % 2, 0) == 0;
    return disjoint;
}

/* [C, M, 2, 2] to [2 · 2 · M, C, 1, 1]. */
static mitral_status turn_weights(struct emitter *emitter, value_id w, value_id *out)
{
    struct attributes order = {0};
    const struct value_type type = emitter->graph->values[w].type;
    value_id inputs[2];
    TRY(attributes_set_ints(&order, emitter->graph->arena, "perm", (const int64_t[]){2, 3, 1, 0}, 4));
    TRY(emit_node(emitter, "Transpose", &order, &w, 1, &inputs[0], 1));
    TRY(emit_ints(emitter, &inputs[1], (const int64_t[]){BLOCK * BLOCK * type.dims[1], type.dims[0], 1, 1}, 4));
    return emit_node(emitter, "Reshape", NULL, inputs, 2, out, 1);
}

static mitral_status replace(struct emitter *emitter, node_id id)
{
    struct graph *graph = emitter->graph;
    const struct node node = graph->nodes[id];
    value_id inputs[3] = {node.inputs[0]}, map, y, bias[2] = {node_input(&node, 2)};
    struct attributes one = {0}, block = {0};
    TRY(turn_weights(emitter, node.inputs[1], &inputs[1]));
    if (bias[0] != NO_VALUE) {
        TRY(emit_ints(emitter, &bias[1], (const int64_t[]){BLOCK * BLOCK}, 1));
        TRY(emit_node(emitter, "Tile", NULL, bias, 2, &inputs[2], 1));
    }
    TRY(attributes_set_ints(&one, graph->arena, "kernel_shape", (const int64_t[]){1, 1}, 2));
    TRY(emit_node(emitter, "Conv", &one, inputs, bias[0] != NO_VALUE ? 3 : 2, &map, 1));
    TRY(attributes_set_int(&block, graph->arena, "blocksize", BLOCK));
    TRY(emit_node(emitter, "DepthToSpace", &block, &map, 1, &y, 1));
    graph_replace_uses(graph, node.outputs[0], y);
    return MITRAL_OK;
}

mitral_status disjoint_windows(struct graph *graph)
{
    struct emitter emitter = {.graph = graph, .prefix = "training/disjoint"};
    bool changed = false;
    for (size_t n = 0, count = graph->node_count; n < count; n++)
        if (graph->nodes[n].op && is_disjoint(graph, &graph->nodes[n])) {
            TRY(replace(&emitter, (node_id)n));
            changed = true;
        }
    if (!changed)
        return MITRAL_OK;
    TRY(graph_sort(graph));
    return graph_infer(graph);
}
