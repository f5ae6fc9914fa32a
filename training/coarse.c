/* A 1×1 convolution of a concatenation with enlarged maps, as decoders have it, need not see those maps enlarged: enlarging goes channel by
 * channel and is linear, so that the convolution may come first, where there are fewer pixels. W·[a, R(u)] = Wa·a + R(Wu·u). Neither the
 * enlarged map nor the concatenation is made or kept, and the gradients, which are made of the new nodes, take the same way back. */
#include "training/coarse.h"

#include <string.h>

enum { MOST_PARTS = 8, FEWEST_CHANNELS = 8, FEWEST_TIMES = 2 };

struct place {
    value_id concat;
    value_id fine[MOST_PARTS];
    struct node enlarged[MOST_PARTS]; /* the Resize nodes of the other parts */
    size_t fine_count, enlarged_count;
    int64_t channels[MOST_PARTS];     /* of all parts, in their order */
    bool is_fine[MOST_PARTS];
    size_t count;
};

static bool is_map(const struct graph *graph, value_id value)
{
    const struct value_type *type = value == NO_VALUE ? NULL : &graph->values[value].type;
    return type && type_is_static(type) && type->dtype == MITRAL_FLOAT && type->rank == 4;
}

/* A linear map of the pixels of each channel to more pixels. */
static bool enlarges(const struct graph *graph, const struct node *node)
{
    size_t axes;
    if (!node || !node_is(node, "Resize") || !is_map(graph, node->inputs[0]) || !is_map(graph, node->outputs[0]))
        return false;
    const int64_t *small = graph->values[node->inputs[0]].type.dims, *large = graph->values[node->outputs[0]].type.dims;
    attribute_ints(&node->attributes, "axes", &axes);
    if (axes || node->version < 11 || strcmp(attribute_string(&node->attributes, "coordinate_transformation_mode", "half_pixel"), "tf_crop_and_resize") == 0
        || small[0] != large[0] || small[1] != large[1] || small[1] < FEWEST_CHANNELS
        || large[2] * large[3] < FEWEST_TIMES * small[2] * small[3])
        return false;
    for (size_t i = 1; i < node->input_count; i++)
        if (node->inputs[i] != NO_VALUE && !graph_constant(graph, node->inputs[i]))
            return false;
    return true;
}

static bool is_pointwise(const struct graph *graph, const struct node *node, value_id x)
{
    const value_id w = node_input(node, 1);
    if (!node_is(node, "Conv") || node->inputs[0] != x || w == x || !is_map(graph, w) || !is_map(graph, node->outputs[0])
        || attribute_int(&node->attributes, "group", 1) != 1
        || strncmp(attribute_string(&node->attributes, "auto_pad", "NOTSET"), "SAME", 4) == 0)
        return false;
    for (size_t i = 0; i < 4; i++)
        if (node_int_at(node, "pads", i, 0) != 0 || node_int_at(node, "strides", i % 2, 1) != 1
            || graph->values[w].type.dims[2 + i % 2] != 1)
            return false;
    return true;
}

static bool find_place(const struct graph *graph, const struct graph_uses *uses, const struct node *node, struct place *out)
{
    *out = (struct place){0};
    if (!node_is(node, "Concat") || node->input_count > MOST_PARTS || !is_map(graph, node->outputs[0]))
        return false;
    const int64_t axis = attribute_int(&node->attributes, "axis", 1);
    out->concat = node->outputs[0];
    out->count = node->input_count;
    if ((axis != 1 && axis != -3) || uses->is_output[out->concat] || graph_use_count(uses, out->concat) == 0)
        return false;
    for (uint32_t k = uses->offsets[out->concat]; k < uses->offsets[out->concat + 1]; k++)
        if (!is_pointwise(graph, &graph->nodes[uses->nodes[k]], out->concat))
            return false;
    for (size_t i = 0; i < node->input_count; i++) {
        const value_id part = node->inputs[i];
        if (!is_map(graph, part))
            return false;
        const node_id producer = graph->values[part].producer;
        out->channels[i] = graph->values[part].type.dims[1];
        out->is_fine[i] = uses->is_output[part] || graph_use_count(uses, part) != 1 || producer == NO_NODE
                          || !enlarges(graph, &graph->nodes[producer]);
        if (out->is_fine[i])
            out->fine[out->fine_count++] = part;
        else
            out->enlarged[out->enlarged_count++] = graph->nodes[producer];
    }
    return out->fine_count > 0 && out->enlarged_count > 0;
}

/* The weights of each part. */
static mitral_status split_weights(struct emitter *emitter, const struct place *place, value_id w, value_id *parts)
{
    struct attributes attributes = {0};
    value_id inputs[2] = {w};
    TRY(emit_ints(emitter, &inputs[1], place->channels, place->count));
    TRY(attributes_set_int(&attributes, emitter->graph->arena, "axis", 1));
    return emit_node(emitter, "Split", &attributes, inputs, 2, parts, place->count);
}

static mitral_status enlarge(struct emitter *emitter, const struct node *resize, value_id x, int64_t channels, value_id *out)
{
    struct graph *graph = emitter->graph;
    value_id inputs[4] = {x, node_input(resize, 1), node_input(resize, 2), node_input(resize, 3)};
    const mitral_tensor *sizes = inputs[3] == NO_VALUE ? NULL : graph_constant(graph, inputs[3]);
    if (sizes) {
        int64_t wanted[4];
        for (int64_t i = 0; i < 4; i++)
            wanted[i] = graph->values[resize->outputs[0]].type.dims[i];
        wanted[1] = channels;
        TRY(emit_ints(emitter, &inputs[3], wanted, 4));
    }
    return emit_node(emitter, "Resize", &resize->attributes, inputs, sizes ? 4 : 3, out, 1);
}

/* `place` keeps copies of what it names: nodes move when others are added. */
static mitral_status replace(struct emitter *emitter, const struct place *place, node_id id)
{
    struct graph *graph = emitter->graph;
    const struct node conv = graph->nodes[id];
    const int64_t features = graph->values[conv.outputs[0]].type.dims[1];
    value_id weights[MOST_PARTS], sum = NO_VALUE;
    size_t fine = 0, enlarged = 0;
    TRY(split_weights(emitter, place, conv.inputs[1], weights));
    for (size_t i = 0; i < place->count; i++) {
        value_id y, inputs[3] = {NO_VALUE, weights[i], NO_VALUE};
        if (place->is_fine[i]) {
            inputs[0] = place->fine[fine];
            inputs[2] = fine++ ? NO_VALUE : node_input(&conv, 2);
            TRY(emit_node(emitter, "Conv", &conv.attributes, inputs, inputs[2] == NO_VALUE ? 2 : 3, &y, 1));
        } else {
            const struct node *resize = &place->enlarged[enlarged++];
            inputs[0] = resize->inputs[0];
            TRY(emit_node(emitter, "Conv", &conv.attributes, inputs, 2, &y, 1));
            TRY(enlarge(emitter, resize, y, features, &y));
        }
        if (sum == NO_VALUE)
            sum = y;
        else
            TRY(emit_node(emitter, "Add", NULL, (value_id[]){sum, y}, 2, &sum, 1));
    }
    graph_replace_uses(graph, conv.outputs[0], sum);
    return MITRAL_OK;
}

mitral_status coarse_convolutions(struct graph *graph)
{
    struct emitter emitter = {.graph = graph, .prefix = "training/coarse"};
    struct graph_uses uses;
    const size_t count = graph->node_count;
    bool changed = false;
    TRY(graph_find_uses(graph, &uses));
    mitral_status status = MITRAL_OK;
    for (size_t n = 0; n < count && status == MITRAL_OK; n++) {
        struct place place;
        if (!graph->nodes[n].op || !find_place(graph, &uses, &graph->nodes[n], &place))
            continue;
        changed = true;
        for (uint32_t k = uses.offsets[place.concat]; k < uses.offsets[place.concat + 1] && status == MITRAL_OK; k++)
            status = replace(&emitter, &place, uses.nodes[k]);
    }
    graph_free_uses(graph, &uses);
    if (status != MITRAL_OK || !changed)
        return status;
    TRY(graph_sort(graph));
    return graph_infer(graph);
}
