#include "compiler/passes/dilated_region.h"

#include <string.h>

static const struct node *producer_of(const struct region *r, value_id value)
{
    node_id producer = value == NO_VALUE ? NO_NODE : r->graph->values[value].producer;
    return producer == NO_NODE || !r->graph->nodes[producer].op ? NULL : &r->graph->nodes[producer];
}

static node_id id_of(const struct region *r, const struct node *node)
{
    return (node_id)(node - r->graph->nodes);
}

static bool take(struct region *r, node_id node)
{
    for (size_t i = 0; i < r->inside_count; i++)
        if (r->inside[i] == node)
            return true;
    if (r->inside_count == sizeof r->inside / sizeof *r->inside)
        return false;
    r->inside[r->inside_count++] = node;
    return true;
}

static bool is_inside(const struct region *r, node_id node)
{
    for (size_t i = 0; i < r->inside_count; i++)
        if (r->inside[i] == node)
            return true;
    return false;
}

static bool is_map(const struct graph *graph, value_id value)
{
    const struct value_type *type = &graph->values[value].type;
    return type->kind == MITRAL_TENSOR && type->dtype == MITRAL_FLOAT && type->rank == 4 && type->dims[1] > 0;
}

/* A sum of two maps, neither of them constant. */
static bool is_sum(const struct region *r, const struct node *node)
{
    return node && (node_is(node, "Add") || node_is(node, "Sum")) && node->input_count == 2 && is_map(r->graph, node->inputs[0])
           && is_map(r->graph, node->inputs[1]) && !graph_constant(r->graph, node->inputs[0]) && !graph_constant(r->graph, node->inputs[1]);
}

/* ---- convolutions ------------------------------------------------------------------------------------------------------ */

static bool has_constants(const struct region *r, const struct node *node)
{
    const mitral_tensor *weights = node_input(node, 1) == NO_VALUE ? NULL : graph_constant(r->graph, node->inputs[1]);
    bool bias = node_input(node, 2) == NO_VALUE || graph_constant(r->graph, node->inputs[2]);
    return weights && weights->dtype == MITRAL_FLOAT && weights->rank == 4 && weights->layout == LAYOUT_PLAIN && bias
           && is_map(r->graph, node->inputs[0]);
}

static int64_t at(const struct node *node, const char *name, size_t index, int64_t fallback)
{
    size_t count;
    const int64_t *values = attribute_ints(&node->attributes, name, &count);
    return index < count ? values[index] : fallback;
}

static bool all_are(const struct node *node, const char *name, size_t count, int64_t value, int64_t fallback)
{
    for (size_t i = 0; i < count; i++)
        if (at(node, name, i, fallback) != value)
            return false;
    return true;
}

static const int64_t *kernel_of(const struct region *r, const struct node *node)
{
    return graph_constant(r->graph, node->inputs[1])->dims + 2;
}

/* Whether auto_pad, if any, amounts to pads of `pad` all around. */
static bool pads_are(const struct node *node, int64_t pad)
{
    const char *mode = attribute_string(&node->attributes, "auto_pad", "NOTSET");
    if (strcmp(mode, "SAME_UPPER") == 0 || strcmp(mode, "SAME_LOWER") == 0)
        return true; /* of stride 1 and an odd kernel, which the callers ask for */
    if (strcmp(mode, "VALID") == 0)
        return pad == 0;
    return all_are(node, "pads", 4, pad, 0);
}

static bool is_pointwise(const struct region *r, const struct node *node)
{
    const int64_t *kernel = kernel_of(r, node);
    return kernel[0] == 1 && kernel[1] == 1 && attribute_int(&node->attributes, "group", 1) == 1 && all_are(node, "strides", 2, 1, 1)
           && pads_are(node, 0);
}

static int64_t dilation_of(const struct node *node)
{
    return at(node, "dilations", 0, 1);
}

static bool is_branch(const struct region *r, const struct node *node)
{
    const int64_t *kernel = kernel_of(r, node), dilation = dilation_of(node);
    return kernel[0] == 3 && kernel[1] == 3 && attribute_int(&node->attributes, "group", 1) == 1 && all_are(node, "strides", 2, 1, 1)
           && all_are(node, "dilations", 2, dilation, 1) && pads_are(node, dilation) && node_input(node, 2) == NO_VALUE;
}

static bool is_supported(const struct activation *activation)
{
    return strcmp(activation->name, "Relu") == 0 || strcmp(activation->name, "LeakyRelu") == 0 || strcmp(activation->name, "PRelu") == 0;
}

/* The activation of `value` that all its readers belong to, if it is one that stages have. */
static bool find_activation(const struct region *r, value_id value, struct activation *out)
{
    return activation_find(r->graph, r->uses, value, 1, out) && out->node_count == 1 && is_supported(out);
}

/* The stage that computes `value`; −1 when it is no convolution with constants (and an activation), or there are too many. */
static int stage_of(struct region *r, value_id value)
{
    for (int i = 0; i < r->stage_count; i++)
        if (r->stages[i].result == value)
            return i;
    struct region_stage stage = {.result = value, .from = FROM_X};
    const struct node *node = producer_of(r, value);
    if (node && !node_is(node, "Conv")) {
        if (!node->input_count || !find_activation(r, node->inputs[0], &stage.activation) || stage.activation.nodes[0] != id_of(r, node))
            return -1;
        stage.active = true;
        if (!take(r, id_of(r, node)))
            return -1;
        node = producer_of(r, node->inputs[0]);
    }
    if (!node || !node_is(node, "Conv") || !has_constants(r, node) || r->stage_count == DILATED_STAGES || !take(r, id_of(r, node)))
        return -1;
    stage.convolution = id_of(r, node);
    stage.input = node->inputs[0];
    r->stages[r->stage_count] = stage;
    return r->stage_count++;
}

/* ---- the branches ------------------------------------------------------------------------------------------------------ */

static bool add_branch(struct region *r, value_id value)
{
    const int stages = r->stage_count, stage = stage_of(r, value);
    if (stage < 0 || stage != stages || r->stages[stage].active || r->branch_count == DILATED_BRANCHES
        || !is_branch(r, &r->graph->nodes[r->stages[stage].convolution]))
        return false;
    r->branches[r->branch_count++] = stage;
    return true;
}

/* Each input is a branch, or the sum of a branch and the input before it. */
static bool find_concatenated(struct region *r, const struct node *merge)
{
    size_t running = merge->input_count;
    if (attribute_int(&merge->attributes, "axis", 1) != 1 && attribute_int(&merge->attributes, "axis", 1) != -3)
        return false;
    for (size_t i = 0; i < merge->input_count; i++) {
        const struct node *sum = producer_of(r, merge->inputs[i]);
        if (i > 0 && is_sum(r, sum) && (sum->inputs[0] == merge->inputs[i - 1] || sum->inputs[1] == merge->inputs[i - 1])) {
            running = i - 1 < running ? i - 1 : running;
            if (!add_branch(r, sum->inputs[sum->inputs[0] == merge->inputs[i - 1]]) || !take(r, id_of(r, sum)))
                return false;
        } else if (running < i || !add_branch(r, merge->inputs[i])) {
            return false;
        }
    }
    r->merge = running < merge->input_count ? MERGE_RUNNING : MERGE_CONCAT;
    r->running_from = r->merge == MERGE_RUNNING ? (int)running : 0;
    return true;
}

/* The branches below a tree of sums whose inner results nobody else reads, from left to right. A leaf that is no branch may be the
 * shortcut: it is left in *rest, of which there can be one. */
static bool find_summed(struct region *r, const struct node *sum, value_id *rest, int depth)
{
    for (size_t i = 0; i < 2; i++) {
        value_id value = sum->inputs[i];
        const struct node *inner = producer_of(r, value);
        const size_t taken = r->inside_count;
        const int stages = r->stage_count;
        if (is_sum(r, inner) && only_reader(r->graph, r->uses, value) == id_of(r, sum) && depth < DILATED_BRANCHES) {
            if (!take(r, id_of(r, inner)) || !find_summed(r, inner, rest, depth + 1))
                return false;
        } else if (!add_branch(r, value)) {
            r->inside_count = taken;
            r->stage_count = stages;
            if (*rest != NO_VALUE)
                return false;
            *rest = value;
        }
    }
    return true;
}

/* All branches read one value, and it is worth it: running sums, or a dilation at all. */
static bool branches_agree(const struct region *r)
{
    bool dilated = r->merge == MERGE_RUNNING;
    for (int k = 0; k < r->branch_count; k++) {
        const struct region_stage *stage = &r->stages[r->branches[k]];
        dilated = dilated || dilation_of(&r->graph->nodes[stage->convolution]) > 1;
        if (stage->input != r->stages[r->branches[0]].input)
            return false;
    }
    return dilated && r->branch_count > 1;
}

/* A 1×1 convolution that only the branches read. Stage numbers follow the order of computation, so it becomes stage 0. */
static void find_reduction(struct region *r)
{
    const value_id shared = r->stages[r->branches[0]].input;
    const size_t taken = r->inside_count;
    const int stages = r->stage_count;
    r->x = shared;
    if (graph_use_count(r->uses, shared) != (size_t)r->branch_count || r->uses->is_output[shared])
        return;
    const int stage = stage_of(r, shared);
    if (stage < 0 || !is_pointwise(r, &r->graph->nodes[r->stages[stage].convolution])) {
        r->inside_count = taken;
        r->stage_count = stages;
        return;
    }
    const struct region_stage reduction = r->stages[stage];
    memmove(r->stages + 1, r->stages, (size_t)stage * sizeof *r->stages);
    r->stages[0] = reduction;
    for (int k = 0; k < r->branch_count; k++)
        r->stages[++r->branches[k]].from = 0;
    r->x = reduction.input;
}

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

static bool same_channels(const struct region *r, value_id a, value_id b)
{
    return is_map(r->graph, a) && is_map(r->graph, b) && r->graph->values[a].type.dims[1] == r->graph->values[b].type.dims[1];
}

/* `other` is x itself, or a 1×1 convolution of x that nobody else reads. */
static bool find_shortcut(struct region *r, value_id other, value_id merged)
{
    const size_t taken = r->inside_count;
    const int stages = r->stage_count;
    if (other == r->x && same_channels(r, other, merged)) {
        r->shortcut = SHORTCUT_IDENTITY;
        return true;
    }
    const int stage = graph_use_count(r->uses, other) == 1 && !r->uses->is_output[other] ? stage_of(r, other) : -1;
    if (stage == stages && !r->stages[stage].active && r->stages[stage].input == r->x
        && is_pointwise(r, &r->graph->nodes[r->stages[stage].convolution])) {
        r->shortcut = SHORTCUT_STAGE;
        r->shortcut_stage = stage;
        return true;
    }
    r->inside_count = taken;
    r->stage_count = stages;
    return false;
}

static bool find_end(struct region *r, value_id merged)
{
    r->affine = NO_NODE;
    r->result = merged;
    for (;;) {
        const node_id reader = only_reader(r->graph, r->uses, r->result);
        if (reader == NO_NODE)
            return true;
        const struct node *node = &r->graph->nodes[reader];
        if (r->affine == NO_NODE && is_affine(r, node) && node->inputs[0] == r->result) {
            r->affine = reader;
            r->shortcut_first = r->shortcut != SHORTCUT_NONE;
        } else if (r->shortcut == SHORTCUT_NONE && is_sum(r, node)
                   && find_shortcut(r, node->inputs[node->inputs[0] == r->result], r->result)) {
            r->shortcut_first = false;
        } else {
            break;
        }
        if (!take(r, reader))
            return false;
        r->result = node->outputs[0];
    }
    if (find_activation(r, r->result, &r->activation)) {
        r->active = true;
        r->result = r->graph->nodes[r->activation.nodes[0]].outputs[0];
        return take(r, r->activation.nodes[0]);
    }
    return true;
}

/* ---- what comes before ------------------------------------------------------------------------------------------------- */

static bool only_read_inside(const struct region *r, value_id value)
{
    if (r->uses->is_output[value])
        return false;
    for (uint32_t i = r->uses->offsets[value]; i < r->uses->offsets[value + 1]; i++)
        if (!is_inside(r, r->uses->nodes[i]))
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
    if (!is_map(r->graph, node->inputs[0]) || !is_map(r->graph, node->outputs[0]) || from->dims[1] != to->dims[1])
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
    return node_is(node, "MaxPool") && is_map(r->graph, node->inputs[0]) && all_are(node, "kernel_shape", 2, 2, 0)
           && all_are(node, "strides", 2, 2, 1) && all_are(node, "dilations", 2, 1, 1) && pads_are(node, 0)
           && strncmp(attribute_string(&node->attributes, "auto_pad", "NOTSET"), "SAME", 4) != 0
           && !attribute_int(&node->attributes, "ceil_mode", 0)
           && (node_output(node, 1) == NO_VALUE || !graph_use_count(r->uses, node->outputs[1]));
}

static bool add_source(struct region *r, value_id value)
{
    const struct node *node = producer_of(r, value);
    int64_t scale = SCALE_SAME;
    if (node && only_read_inside(r, value) && (is_upsampling(r, node) || is_pooling(r, node))) {
        scale = node_is(node, "MaxPool") ? SCALE_POOLED : SCALE_UPSAMPLED;
        if (!take(r, id_of(r, node)))
            return false;
        value = node->inputs[0];
    }
    r->sources[r->source_count] = value;
    r->scales[r->source_count++] = scale;
    return true;
}

/* Concatenation, upsampling and pooling of x belong to the region where only 1×1 stages read it, which take it apart again. */
static bool find_sources(struct region *r)
{
    const struct node *node = producer_of(r, r->x);
    const bool pointwise = r->stages[0].input == r->x && is_pointwise(r, &r->graph->nodes[r->stages[0].convolution]);
    if (!pointwise || r->shortcut == SHORTCUT_IDENTITY || !node || !only_read_inside(r, r->x)) {
        r->sources[r->source_count] = r->x;
        r->scales[r->source_count++] = SCALE_SAME;
        return true;
    }
    const int64_t axis = attribute_int(&node->attributes, "axis", 1);
    bool maps = node_is(node, "Concat") && (axis == 1 || axis == -3) && node->input_count <= DILATED_SOURCES;
    for (size_t i = 0; maps && i < node->input_count; i++)
        maps = is_map(r->graph, node->inputs[i]);
    if (!maps)
        return add_source(r, r->x);
    if (!take(r, id_of(r, node)))
        return false;
    for (size_t i = 0; i < node->input_count; i++)
        if (!add_source(r, node->inputs[i]))
            return false;
    return true;
}

/* Whatever nodes inside compute, but the result, is read inside only. */
static bool is_closed(const struct region *r)
{
    for (size_t i = 0; i < r->inside_count; i++) {
        const struct node *node = &r->graph->nodes[r->inside[i]];
        for (size_t j = 0; j < node->output_count; j++)
            if (node->outputs[j] != NO_VALUE && node->outputs[j] != r->result && !only_read_inside(r, node->outputs[j]))
                return false;
    }
    return true;
}

bool region_find(const struct graph *graph, const struct graph_uses *uses, node_id merge, struct region *r)
{
    const struct node *node = &graph->nodes[merge];
    value_id rest = NO_VALUE;
    *r = (struct region){.graph = graph, .uses = uses, .inside = {merge}, .inside_count = 1};
    if (node->output_count < 1 || node->outputs[0] == NO_VALUE)
        return false;
    if (node_is(node, "Concat") && node->input_count > 1) {
        if (!find_concatenated(r, node))
            return false;
    } else if (is_sum(r, node)) {
        r->merge = MERGE_SUM;
        if (!find_summed(r, node, &rest, 0))
            return false;
    } else {
        return false;
    }
    if (!branches_agree(r))
        return false;
    find_reduction(r);
    if (rest != NO_VALUE && !find_shortcut(r, rest, node->outputs[0]))
        return false;
    return find_end(r, node->outputs[0]) && find_sources(r) && is_closed(r);
}
