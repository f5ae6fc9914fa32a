/* What follows a region's merge, and what comes before its stages. */
#include <string.h>

#include "compiler/passes/dilated_region.h"

/* ---- what follows ------------------------------------------------------------------------------------------------------ */

static bool is_affine(const struct region *r, const struct node *node)
{
    size_t constants = node_is(node, "BatchNormalization") ? 4 : 2;
    if (!node_is(node, "BatchNormalization") && !(node_is_own(node, "ScaleShift") && !attribute_has(&node->attributes, "activation")))
        return false;
    for (size_t i = 1; i <= constants; i++) {
        const mitral_tensor *constant = node_input(node, i) == NO_VALUE ? NULL : graph_constant(r->graph, node->inputs[i]);
        if (!constant || constant->dtype != MITRAL_FLOAT)
            return false;
    }
    for (size_t i = 1; i < node->output_count; i++)
        if (node->outputs[i] != NO_VALUE && (graph_use_count(r->uses, node->outputs[i]) || r->uses->is_output[node->outputs[i]]))
            return false;
    return !attribute_int(&node->attributes, "training_mode", 0);
}

/* `other` is x itself, or a 1×1 convolution of x that nobody else reads; after a tail or a gate it may be any value. */
static bool find_shortcut(struct region *r, value_id other)
{
    const size_t taken = r->inside_count;
    const int stages = r->stage_count;
    if (other == r->x) {
        r->shortcut = SHORTCUT_IDENTITY;
        return true;
    }
    const int stage = graph_use_count(r->uses, other) == 1 && !r->uses->is_output[other] ? region_stage_of(r, other) : -1;
    if (stage == stages && !r->stages[stage].active && r->stages[stage].kind == STAGE_CONVOLUTION && r->stages[stage].from == FROM_X
        && region_is_pointwise(r, &r->graph->nodes[r->stages[stage].weights], true)) {
        r->shortcut = SHORTCUT_STAGE;
        r->shortcut_stage = stage;
        return true;
    }
    r->inside_count = taken;
    r->stage_count = stages;
    if (r->tail < 0 && r->gate[0] < 0)
        return false;
    r->shortcut = SHORTCUT_INPUT;
    r->added = other;
    return true;
}

/* The affine and the shortcut's sum, in either order, each at most once. */
static bool find_sums(struct region *r)
{
    for (;;) {
        const node_id reader = only_reader(r->graph, r->uses, r->result);
        const struct node *node = reader == NO_NODE ? NULL : &r->graph->nodes[reader];
        const bool open = r->tail < 0 && r->gate[0] < 0; /* the affine is the merged map's */
        if (node && open && r->affine == NO_NODE && is_affine(r, node) && node->inputs[0] == r->result) {
            r->affine = reader;
            r->affine_data = r->result;
            r->shortcut_first = r->shortcut != SHORTCUT_NONE;
        } else if (node && r->shortcut == SHORTCUT_NONE && region_is_sum(r, node)
                   && find_shortcut(r, node->inputs[node->inputs[0] == r->result])) {
            r->shortcut_first = false;
        } else {
            return true;
        }
        if (!region_take(r, reader))
            return false;
        r->result = node->outputs[0];
    }
}

static bool find_last_activation(struct region *r)
{
    if (!region_activation(r, r->result, &r->activation))
        return true;
    r->active = true;
    r->result = r->graph->nodes[r->activation.nodes[0]].outputs[0];
    return region_take(r, r->activation.nodes[0]);
}

/* A 1×1 convolution, with its activation, that alone reads `value`: the number of its stage, −1 where there is none. */
static int take_pointwise(struct region *r, value_id value, int from)
{
    const node_id reader = only_reader(r->graph, r->uses, value);
    if (reader == NO_NODE || !region_is_pointwise(r, &r->graph->nodes[reader], from == FROM_Y))
        return -1;
    struct region_stage stage = {.weights = reader, .input = value, .result = r->graph->nodes[reader].outputs[0], .from = from,
                                 .kind = STAGE_CONVOLUTION};
    struct activation activation;
    if (region_activation(r, stage.result, &activation)) {
        stage.active = true;
        stage.activation = activation;
        stage.result = r->graph->nodes[activation.nodes[0]].outputs[0];
    }
    const int index = region_add_stage(r, &stage);
    return index >= 0 && region_take(r, reader) && (!stage.active || region_take(r, activation.nodes[0])) ? index : -1;
}

/* ---- the gate ------------------------------------------------------------------------------------------------------------ */

/* [N, channels] or [N, channels, 1, 1], of a gate's values of N images: nodes that only give another shape keep their number, so N need
 * not be looked at. */
static bool is_by_channel(const struct region *r, value_id value, int64_t channels)
{
    const struct value_type *type = &r->graph->values[value].type;
    return type->kind == MITRAL_TENSOR && (type->rank == 2 || (type->rank == 4 && type->dims[2] == 1 && type->dims[3] == 1))
           && type->dims[1] == channels;
}

/* The only reader of `value`, past nodes that only give it another shape, but never one that mixes images and channels; those are taken. */
static const struct node *reader_past_shapes(struct region *r, value_id value, int64_t channels)
{
    while (is_by_channel(r, value, channels)) {
        const node_id reader = only_reader(r->graph, r->uses, value);
        if (reader == NO_NODE)
            return NULL;
        const struct node *node = &r->graph->nodes[reader];
        if (!(node_is(node, "Reshape") || node_is(node, "Flatten") || node_is(node, "Squeeze") || node_is(node, "Unsqueeze")))
            return node;
        if (node->inputs[0] != value || !region_take(r, reader))
            return NULL;
        value = node->outputs[0];
    }
    return NULL;
}

/* A Gemm with weights [out, in] and a bias by output, or a 1×1 convolution. */
static bool is_fully_connected(const struct region *r, const struct node *node)
{
    if (region_is_pointwise(r, node, true))
        return true;
    if (!node || !node_is(node, "Gemm") || attribute_int(&node->attributes, "transA", 0) || !attribute_int(&node->attributes, "transB", 0)
        || attribute_float(&node->attributes, "alpha", 1) != 1 || attribute_float(&node->attributes, "beta", 1) != 1)
        return false;
    const mitral_tensor *weights = graph_constant(r->graph, node->inputs[1]);
    const mitral_tensor *bias = node_input(node, 2) == NO_VALUE ? NULL : graph_constant(r->graph, node->inputs[2]);
    if (!weights || weights->dtype != MITRAL_FLOAT || weights->rank != 2 || weights->dims[0] > DILATED_CHANNELS)
        return false;
    return node_input(node, 2) == NO_VALUE
           || (bias && bias->rank >= 1 && bias->dims[bias->rank - 1] == weights->dims[0] && tensor_count(bias) == weights->dims[0]);
}

static int add_gate_stage(struct region *r, const struct node *node, int from)
{
    struct region_stage stage = {.weights = region_node_id(r, node), .input = node->inputs[0], .result = node->outputs[0], .from = from,
                                 .kind = STAGE_CONVOLUTION};
    struct activation activation;
    if (from == FROM_GATE && region_activation(r, stage.result, &activation)) {
        stage.active = true;
        stage.activation = activation;
        stage.result = r->graph->nodes[activation.nodes[0]].outputs[0];
        if (!region_take(r, activation.nodes[0]))
            return -1;
    }
    return region_take(r, stage.weights) ? region_add_stage(r, &stage) : -1;
}

/* merged · sigmoid(second(activation(first(mean(merged))))). */
static bool find_gate(struct region *r, value_id merged)
{
    if (graph_use_count(r->uses, merged) != 2 || r->uses->is_output[merged])
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        const node_id mean = r->uses->nodes[r->uses->offsets[merged] + i], product = r->uses->nodes[r->uses->offsets[merged] + 1 - i];
        if (!region_is_mean(r, &r->graph->nodes[mean]) || !node_is(&r->graph->nodes[product], "Mul") || !region_take(r, mean))
            continue;
        const int64_t channels = r->graph->values[merged].type.dims[1];
        const struct node *first = reader_past_shapes(r, r->graph->nodes[mean].outputs[0], channels);
        if (!is_fully_connected(r, first) || (r->gate[0] = add_gate_stage(r, first, FROM_GATE)) < 0)
            return false;
        const value_id hidden = r->stages[r->gate[0]].result;
        const struct node *second = reader_past_shapes(r, hidden, r->graph->values[hidden].type.dims[1]);
        if (!is_fully_connected(r, second) || (r->gate[1] = add_gate_stage(r, second, r->gate[0])) < 0)
            return false;
        const struct node *sigmoid = reader_past_shapes(r, second->outputs[0], channels);
        if (!sigmoid || !node_is(sigmoid, "Sigmoid") || !region_take(r, region_node_id(r, sigmoid)))
            return false;
        const struct node *end = reader_past_shapes(r, sigmoid->outputs[0], channels);
        if (!end || region_node_id(r, end) != product || !region_take(r, product))
            return false;
        const value_id factor = end->inputs[end->inputs[0] == merged];
        if (r->graph->values[factor].type.rank != 4) /* of rank 2 it would be a factor by row and column */
            return false;
        r->result = end->outputs[0];
        return true;
    }
    return false;
}

/* Nothing of what a failed attempt left behind. */
struct mark {
    size_t inside_count;
    int stage_count;
};

static struct mark mark_of(const struct region *r)
{
    return (struct mark){r->inside_count, r->stage_count};
}

static void go_back(struct region *r, struct mark mark)
{
    r->inside_count = mark.inside_count;
    r->stage_count = mark.stage_count;
    r->tail = r->gate[0] = r->gate[1] = -1;
}

/* A tail or a gate behind the merged map and its activation. */
static bool find_rest(struct region *r)
{
    struct activation activation;
    const struct mark mark = mark_of(r);
    const value_id before = r->result;
    value_id merged = before;
    const bool active = region_activation(r, merged, &activation) && region_take(r, activation.nodes[0]);
    if (active)
        merged = r->graph->nodes[activation.nodes[0]].outputs[0];
    const struct mark with_activation = mark_of(r);
    r->tail = take_pointwise(r, merged, FROM_MERGED);
    bool found = r->tail >= 0;
    if (found) {
        r->result = r->stages[r->tail].result;
    } else {
        go_back(r, with_activation);
        found = find_gate(r, merged);
    }
    if (!found) {
        go_back(r, mark);
        r->result = before;
        return false;
    }
    r->merged_active = active;
    r->merged_activation = activation;
    return true;
}

/* Where the one loop has y in pieces, a 1×1 convolution that alone reads y makes its result of them: y itself is nowhere whole. */
static void find_head(struct region *r)
{
    const struct mark mark = mark_of(r);
    r->y = r->result;
    r->head = -1;
    if (!r->fused)
        return;
    r->head = take_pointwise(r, r->y, FROM_Y);
    if (r->head < 0)
        go_back(r, mark);
    else
        r->result = r->stages[r->head].result;
}

bool region_find_end(struct region *r, value_id rest)
{
    r->affine = NO_NODE;
    r->tail = r->gate[0] = r->gate[1] = -1;
    r->result = r->merged;
    if (rest != NO_VALUE && !find_shortcut(r, rest))
        return false;
    if (!find_sums(r))
        return false;
    /* The one loop ends in an activation; what comes after it is another step. */
    if (!r->fused && r->shortcut == SHORTCUT_NONE && find_rest(r) && !find_sums(r))
        return false;
    if (!find_last_activation(r))
        return false;
    find_head(r);
    return true;
}

/* ---- what comes before ------------------------------------------------------------------------------------------------- */

static bool all_are(const struct node *node, const char *name, size_t count, int64_t value, int64_t fallback)
{
    for (size_t i = 0; i < count; i++)
        if (node_int_at(node, name, i, fallback) != value)
            return false;
    return true;
}

/* Twice the size, bilinear, pixel centres aligned. */
static bool is_upsampling(const struct region *r, const struct node *node)
{
    if (!node_is(node, "Resize") || node->version < 11 || attribute_has(&node->attributes, "axes")
        || attribute_int(&node->attributes, "antialias", 0) || strcmp(attribute_string(&node->attributes, "mode", "nearest"), "linear") != 0)
        return false;
    const char *alignment = attribute_string(&node->attributes, "coordinate_transformation_mode", "half_pixel");
    if (strcmp(alignment, "half_pixel") != 0 && strcmp(alignment, "pytorch_half_pixel") != 0)
        return false;
    const struct value_type *from = &r->graph->values[node->inputs[0]].type, *to = &r->graph->values[node->outputs[0]].type;
    if (!region_is_map(r, node->inputs[0]) || !region_is_map(r, node->outputs[0]) || from->dims[1] != to->dims[1])
        return false;
    const mitral_tensor *scales = node_input(node, 2) == NO_VALUE ? NULL : graph_constant(r->graph, node->inputs[2]);
    if (scales && tensor_count(scales) == 4)
        return tensor_get_double(scales, 0) == 1 && tensor_get_double(scales, 1) == 1 && tensor_get_double(scales, 2) == 2
               && tensor_get_double(scales, 3) == 2;
    /* By sizes: pytorch_half_pixel differs for outputs of one pixel, which twice a size never is. */
    return from->dims[0] == to->dims[0] && from->dims[2] > 0 && from->dims[3] > 0 && to->dims[2] == 2 * from->dims[2]
           && to->dims[3] == 2 * from->dims[3];
}

static bool is_pooling(const struct region *r, const struct node *node)
{
    return node_is(node, "MaxPool") && region_is_map(r, node->inputs[0]) && all_are(node, "kernel_shape", 2, 2, 0)
           && all_are(node, "strides", 2, 2, 1) && all_are(node, "dilations", 2, 1, 1) && all_are(node, "pads", 4, 0, 0)
           && strncmp(attribute_string(&node->attributes, "auto_pad", "NOTSET"), "SAME", 4) != 0
           && !attribute_int(&node->attributes, "ceil_mode", 0)
           && (node_output(node, 1) == NO_VALUE || !graph_use_count(r->uses, node->outputs[1]));
}

static bool add_source(struct region *r, value_id value)
{
    const struct node *node = region_producer(r, value);
    int64_t scale = SCALE_SAME;
    if (node && region_only_read_inside(r, value) && (is_upsampling(r, node) || is_pooling(r, node))) {
        scale = node_is(node, "MaxPool") ? SCALE_POOLED : SCALE_UPSAMPLED;
        if (!region_take(r, region_node_id(r, node)))
            return false;
        value = node->inputs[0];
    }
    r->sources[r->source_count] = value;
    r->scales[r->source_count++] = scale;
    return true;
}

/* Concatenation, upsampling and pooling of x belong to the region where only 1×1 stages read it, which take it apart again. */
bool region_find_sources(struct region *r)
{
    const struct node *node = region_producer(r, r->x);
    const bool apart = r->fused && r->stages[r->branches[0]].from >= 0 && r->shortcut != SHORTCUT_IDENTITY;
    if (!apart || !node || !region_only_read_inside(r, r->x)) {
        r->sources[r->source_count] = r->x;
        r->scales[r->source_count++] = SCALE_SAME;
        return true;
    }
    const int64_t axis = attribute_int(&node->attributes, "axis", 1);
    bool maps = node_is(node, "Concat") && (axis == 1 || axis == -3) && node->input_count <= DILATED_SOURCES;
    for (size_t i = 0; maps && i < node->input_count; i++)
        maps = region_is_map(r, node->inputs[i]);
    if (!maps)
        return add_source(r, r->x);
    if (!region_take(r, region_node_id(r, node)))
        return false;
    for (size_t i = 0; i < node->input_count; i++)
        if (!add_source(r, node->inputs[i]))
            return false;
    return true;
}
