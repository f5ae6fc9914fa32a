/* The search for a region's stages and branches. */
#include "compiler/passes/dilated_region.h"

#include <string.h>

enum { LONGEST_CHAIN = 12 };

const struct node *region_producer(const struct region *r, value_id value)
{
    node_id producer = value == NO_VALUE ? NO_NODE : r->graph->values[value].producer;
    return producer == NO_NODE || !r->graph->nodes[producer].op ? NULL : &r->graph->nodes[producer];
}

node_id region_node_id(const struct region *r, const struct node *node)
{
    return (node_id)(node - r->graph->nodes);
}

bool region_is_inside(const struct region *r, node_id node)
{
    for (size_t i = 0; i < r->inside_count; i++)
        if (r->inside[i] == node)
            return true;
    return false;
}

bool region_take(struct region *r, node_id node)
{
    if (region_is_inside(r, node))
        return true;
    if (r->inside_count == sizeof r->inside / sizeof *r->inside)
        return false;
    r->inside[r->inside_count++] = node;
    return true;
}

bool region_only_read_inside(const struct region *r, value_id value)
{
    if (r->uses->is_output[value])
        return false;
    for (uint32_t i = r->uses->offsets[value]; i < r->uses->offsets[value + 1]; i++)
        if (!region_is_inside(r, r->uses->nodes[i]))
            return false;
    return true;
}

bool region_is_map(const struct region *r, value_id value)
{
    const struct value_type *type = &r->graph->values[value].type;
    const int64_t *dims = type->dims;
    return type->kind == MITRAL_TENSOR && type->dtype == MITRAL_FLOAT && type->rank == 4 && dims[1] > 0 && dims[1] <= DILATED_CHANNELS
           && dims[0] <= DILATED_SIZE && dims[2] <= DILATED_SIZE && dims[3] <= DILATED_SIZE
           && (dims[0] < 0 || dims[2] < 0 || dims[0] * dims[2] <= INT32_MAX);
}

static bool same_dim(const struct value_type *a, const struct value_type *b, int32_t i)
{
    return a->dims[i] == b->dims[i]
           && (a->dims[i] >= 0 || (a->symbols[i] && *a->symbols[i] && b->symbols[i] && strcmp(a->symbols[i], b->symbols[i]) == 0));
}

static bool same_dims(const struct value_type *a, const struct value_type *b)
{
    return same_dim(a, b, 0) && same_dim(a, b, 1) && same_dim(a, b, 2) && same_dim(a, b, 3);
}

bool region_is_sum(const struct region *r, const struct node *node)
{
    return node && (node_is(node, "Add") || node_is(node, "Sum")) && node->input_count == 2 && region_is_map(r, node->inputs[0])
           && region_is_map(r, node->inputs[1]) && !graph_constant(r->graph, node->inputs[0]) && !graph_constant(r->graph, node->inputs[1])
           && same_dims(&r->graph->values[node->inputs[0]].type, &r->graph->values[node->inputs[1]].type);
}

/* ---- convolutions ------------------------------------------------------------------------------------------------------ */

static bool all_within(const struct node *node, const char *name, size_t count, int64_t low, int64_t high, int64_t fallback)
{
    for (size_t i = 0; i < count; i++) {
        const int64_t value = node_int_at(node, name, i, fallback);
        if (value < low || value > high)
            return false;
    }
    return true;
}

static bool all_are(const struct node *node, const char *name, size_t count, int64_t value, int64_t fallback)
{
    return all_within(node, name, count, value, value, fallback);
}

/* What the kernel takes (dilated_decode): a convolution of more stays a node of its own. */
static bool is_within_limits(const struct node *node, const mitral_tensor *weights)
{
    const int64_t *kernel = weights->dims + 2;
    return weights->dims[0] <= DILATED_CHANNELS && kernel[0] <= DILATED_KERNEL && kernel[1] <= DILATED_KERNEL
           && all_within(node, "strides", 2, 1, DILATED_STRIDE, 1) && all_within(node, "dilations", 2, 1, DILATED_DILATION, 1)
           && all_within(node, "pads", 4, 0, DILATED_PAD, 0);
}

bool region_is_convolution(const struct region *r, const struct node *node)
{
    if (!node || !node_is(node, "Conv"))
        return false;
    const mitral_tensor *weights = node_input(node, 1) == NO_VALUE ? NULL : graph_constant(r->graph, node->inputs[1]);
    bool bias = node_input(node, 2) == NO_VALUE || graph_constant(r->graph, node->inputs[2]);
    const char *auto_pad = attribute_string(&node->attributes, "auto_pad", "NOTSET");
    const bool pads_are_read = strcmp(auto_pad, "NOTSET") == 0 || (strcmp(auto_pad, "VALID") == 0 && all_are(node, "pads", 4, 0, 0));
    return weights && weights->dtype == MITRAL_FLOAT && weights->rank == 4 && weights->layout == LAYOUT_PLAIN && bias
           && is_within_limits(node, weights) && region_is_map(r, node->inputs[0]) && pads_are_read;
}

static const int64_t *kernel_of(const struct region *r, const struct node *node)
{
    return graph_constant(r->graph, node->inputs[1])->dims + 2;
}

bool region_is_pointwise(const struct region *r, const struct node *node, bool one_group)
{
    if (!region_is_convolution(r, node))
        return false;
    const int64_t *kernel = kernel_of(r, node);
    return kernel[0] == 1 && kernel[1] == 1 && (!one_group || attribute_int(&node->attributes, "group", 1) == 1)
           && all_are(node, "strides", 2, 1, 1) && all_are(node, "pads", 4, 0, 0);
}

/* 3×3 of any dilation, stride 1 and one group, same size out as in, nothing added: what the one loop has for branches. */
static bool is_fused_branch(const struct region *r, const struct region_stage *stage)
{
    const struct node *node = stage->weights == NO_NODE ? NULL : &r->graph->nodes[stage->weights];
    if (stage->kind != STAGE_CONVOLUTION || stage->active || !region_is_convolution(r, node))
        return false;
    const int64_t *kernel = kernel_of(r, node), dilation = node_int_at(node, "dilations", 0, 1);
    return kernel[0] == 3 && kernel[1] == 3 && attribute_int(&node->attributes, "group", 1) == 1 && all_are(node, "strides", 2, 1, 1)
           && all_are(node, "dilations", 2, dilation, 1) && all_are(node, "pads", 4, dilation, 0) && node_input(node, 2) == NO_VALUE;
}

bool region_activation(const struct region *r, value_id value, struct activation *out)
{
    return activation_find(r->graph, r->uses, value, 1, out) && out->node_count == 1
           && (strcmp(out->name, "Relu") == 0 || strcmp(out->name, "LeakyRelu") == 0 || strcmp(out->name, "PRelu") == 0);
}

/* ---- stages -------------------------------------------------------------------------------------------------------------- */

/* An activation that reads `input` beside others. */
static bool read_lone_activation(const struct node *node, struct activation *out)
{
    *out = (struct activation){.name = "Relu", .slope = NO_VALUE, .node_count = 1};
    return node_is(node, "Relu");
}

bool region_is_mean(const struct region *r, const struct node *node)
{
    if (!node || node->input_count < 1 || node->inputs[0] == NO_VALUE || !region_is_map(r, node->inputs[0]))
        return false;
    if (node_is(node, "GlobalAveragePool"))
        return true;
    size_t count;
    const int64_t *axes = attribute_ints(&node->attributes, "axes", &count);
    if (!node_is(node, "ReduceMean") || !attribute_int(&node->attributes, "keepdims", 1))
        return false;
    const mitral_tensor *list = node_input(node, 1) == NO_VALUE ? NULL : graph_constant(r->graph, node->inputs[1]);
    if (list && tensor_count(list) == 2)
        return (tensor_get_int(list, 0) + 4) % 4 == 2 && (tensor_get_int(list, 1) + 4) % 4 == 3;
    return count == 2 && (axes[0] + 4) % 4 == 2 && (axes[1] + 4) % 4 == 3;
}

/* The nodes that compute `value` as a stage does, last one first, and what the stage reads; 0: they are none. */
static size_t read_stage(const struct region *r, value_id value, struct region_stage *out, node_id nodes[4])
{
    size_t count = 0;
    const struct node *node = region_producer(r, value);
    *out = (struct region_stage){.weights = NO_NODE, .result = value, .kind = STAGE_CONVOLUTION};
    if (!node || node->input_count < 1 || node->inputs[0] == NO_VALUE)
        return 0;
    const struct value_type *from = &r->graph->values[node->inputs[0]].type;
    bool spread = node_is(node, "Resize") && region_is_map(r, node->inputs[0]) && from->dims[2] == 1 && from->dims[3] == 1
                  && from->dims[1] == r->graph->values[value].type.dims[1];
    if (spread) { /* one pixel, given to every pixel */
        nodes[count++] = region_node_id(r, node);
        node = region_producer(r, node->inputs[0]);
    }
    if (node && !node_is(node, "Conv") && node->input_count > 0 && node->inputs[0] != NO_VALUE) {
        struct activation activation;
        if (region_activation(r, node->inputs[0], &activation) && activation.nodes[0] == region_node_id(r, node)) {
            nodes[count++] = region_node_id(r, node);
            out->active = true;
            out->activation = activation;
            node = region_producer(r, node->inputs[0]);
        } else if (!spread && read_lone_activation(node, &out->activation) && region_is_map(r, node->inputs[0])) {
            nodes[count++] = region_node_id(r, node);
            out->active = true;
            out->kind = STAGE_ACTIVATION;
            out->input = node->inputs[0];
            return count;
        }
    }
    if (!region_is_convolution(r, node))
        return 0;
    nodes[count++] = out->weights = region_node_id(r, node);
    out->input = node->inputs[0];
    if (spread) {
        const struct node *mean = region_producer(r, node->inputs[0]);
        if (!region_is_mean(r, mean) || !region_is_pointwise(r, node, true))
            return 0;
        /* The kernel gives it to every pixel of what the mean is of; other branches may have strides. */
        const struct value_type *whole = &r->graph->values[mean->inputs[0]].type, *to = &r->graph->values[value].type;
        if (!same_dim(whole, to, 0) || !same_dim(whole, to, 2) || !same_dim(whole, to, 3))
            return 0;
        nodes[count++] = region_node_id(r, mean);
        out->kind = STAGE_GLOBAL;
        out->input = mean->inputs[0];
    }
    return count;
}

int region_add_stage(struct region *r, const struct region_stage *stage)
{
    if (r->stage_count == DILATED_STAGES)
        return -1;
    r->stages[r->stage_count] = *stage;
    return r->stage_count++;
}

static int stage_at_depth(struct region *r, value_id value, int depth)
{
    struct region_stage stage;
    node_id nodes[4];
    for (int i = 0; i < r->stage_count; i++)
        if (r->stages[i].result == value)
            return i;
    const size_t count = read_stage(r, value, &stage, nodes);
    if (count == 0 || depth == LONGEST_CHAIN)
        return -1;
    stage.from = FROM_X;
    if (stage.input != r->x && (stage.from = stage_at_depth(r, stage.input, depth + 1)) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (!region_take(r, nodes[i]))
            return -1;
    return region_add_stage(r, &stage);
}

int region_stage_of(struct region *r, value_id value)
{
    return stage_at_depth(r, value, 0);
}

/* ---- leaves -------------------------------------------------------------------------------------------------------------- */

static bool add_leaf(struct region *r, value_id value)
{
    if (r->branch_count == DILATED_BRANCHES)
        return false;
    r->leaves[r->branch_count++] = value;
    return true;
}

/* Each input is a branch, or the sum of a branch and the input before it. */
static bool find_concatenated(struct region *r, const struct node *merge)
{
    size_t running = merge->input_count;
    const int64_t axis = attribute_int(&merge->attributes, "axis", 1);
    if (axis != 1 && axis != -3)
        return false;
    for (size_t i = 0; i < merge->input_count; i++) {
        const struct node *sum = region_producer(r, merge->inputs[i]);
        if (i > 0 && region_is_sum(r, sum) && (sum->inputs[0] == merge->inputs[i - 1] || sum->inputs[1] == merge->inputs[i - 1])) {
            running = i - 1 < running ? i - 1 : running;
            if (!add_leaf(r, sum->inputs[sum->inputs[0] == merge->inputs[i - 1]]) || !region_take(r, region_node_id(r, sum)))
                return false;
        } else if (running < i || !region_is_map(r, merge->inputs[i]) || !add_leaf(r, merge->inputs[i])) {
            return false;
        }
    }
    r->merge = running < merge->input_count ? MERGE_RUNNING : MERGE_CONCAT;
    r->running_from = r->merge == MERGE_RUNNING ? (int)running : 0;
    return true;
}

/* The leaves of a tree of sums whose inner results nobody else reads, from left to right. */
static bool find_summed(struct region *r, const struct node *sum, int depth)
{
    for (size_t i = 0; i < 2; i++) {
        const value_id value = sum->inputs[i];
        const struct node *inner = region_producer(r, value);
        if (region_is_sum(r, inner) && only_reader(r->graph, r->uses, value) == region_node_id(r, sum) && depth < DILATED_BRANCHES) {
            if (!region_take(r, region_node_id(r, inner)) || !find_summed(r, inner, depth + 1))
                return false;
        } else if (!add_leaf(r, value)) {
            return false;
        }
    }
    return true;
}

/* ---- x ------------------------------------------------------------------------------------------------------------------- */

/* What a leaf is computed from, by stages: itself first, then input after input. */
struct chain {
    value_id values[LONGEST_CHAIN + 1];
    int count;
};

static void follow(const struct region *r, value_id leaf, struct chain *out)
{
    struct region_stage stage;
    node_id nodes[4];
    out->count = 0;
    for (value_id value = leaf; out->count <= LONGEST_CHAIN; value = stage.input) {
        out->values[out->count++] = value;
        if (read_stage(r, value, &stage, nodes) == 0)
            return;
    }
}

static bool is_on(const struct chain *chain, value_id value)
{
    for (int i = 0; i < chain->count; i++)
        if (chain->values[i] == value)
            return true;
    return false;
}

/* Of a sum, one leaf may be what all others are computed from: the shortcut; or one that no stage computes. */
static value_id take_rest(struct region *r, struct chain *chains)
{
    for (int i = 0; i < r->branch_count; i++) {
        bool shared = true;
        for (int k = 0; k < r->branch_count; k++)
            shared = shared && is_on(&chains[k], r->leaves[i]);
        if (!shared)
            continue;
        const value_id rest = r->leaves[i];
        r->branch_count--;
        memmove(r->leaves + i, r->leaves + i + 1, (size_t)(r->branch_count - i) * sizeof *r->leaves);
        memmove(chains + i, chains + i + 1, (size_t)(r->branch_count - i) * sizeof *chains);
        return rest;
    }
    return NO_VALUE;
}

/* The nearest value that all leaves are computed from. */
static bool find_x(struct region *r, const struct chain *chains)
{
    for (int i = 1; i < chains[0].count; i++) {
        bool shared = true;
        for (int k = 1; k < r->branch_count; k++)
            shared = shared && is_on(&chains[k], chains[0].values[i]) && r->leaves[k] != chains[0].values[i];
        if (shared) {
            r->x = chains[0].values[i];
            return true;
        }
    }
    return false;
}

/* A convolution of which nobody but the region's stages reads the result belongs to them: the reduction. Then x is what it reads. */
static void extend_to_reduction(struct region *r)
{
    struct region_stage stage;
    node_id nodes[4];
    const size_t count = read_stage(r, r->x, &stage, nodes);
    if (count == 0 || stage.kind != STAGE_CONVOLUTION || r->stage_count == DILATED_STAGES || !region_only_read_inside(r, r->x))
        return;
    for (size_t i = 0; i < count; i++)
        if (!region_take(r, nodes[i]))
            return;
    memmove(r->stages + 1, r->stages, (size_t)r->stage_count * sizeof *r->stages);
    for (int i = 1; i <= r->stage_count; i++)
        r->stages[i].from = r->stages[i].from == FROM_X ? 0 : r->stages[i].from + 1;
    for (int k = 0; k < r->branch_count; k++)
        r->branches[k]++;
    stage.from = FROM_X;
    r->stages[0] = stage;
    r->stage_count++;
    r->x = stage.input;
}

/* A branch that looks at neighbours somewhere, and whether it does so from afar. */
static bool has_kernel(const struct region *r, int stage, bool *dilated)
{
    bool any = false;
    for (; stage >= 0; stage = r->stages[stage].from) {
        const node_id weights = r->stages[stage].weights;
        if (weights == NO_NODE || r->stages[stage].kind != STAGE_CONVOLUTION)
            continue;
        const struct node *node = &r->graph->nodes[weights];
        const int64_t *kernel = kernel_of(r, node);
        if (kernel[0] * kernel[1] > 1) {
            any = true;
            *dilated = *dilated || node_int_at(node, "dilations", 0, 1) > 1 || node_int_at(node, "dilations", 1, 1) > 1;
        }
    }
    return any;
}

static bool find_branches(struct region *r)
{
    int with_kernel = 0;
    bool dilated = r->merge == MERGE_RUNNING;
    for (int k = 0; k < r->branch_count; k++) {
        const int stage = region_stage_of(r, r->leaves[k]);
        for (int j = 0; j < k; j++)
            if (r->branches[j] == stage)
                return false;
        if (stage < 0)
            return false;
        r->branches[k] = stage;
        with_kernel += has_kernel(r, stage, &dilated);
    }
    return with_kernel > 1 && dilated;
}

/* Whether the one loop can run it: what dilated_block_of asks for. */
static bool is_fused(const struct region *r)
{
    const int reduce = r->stages[r->branches[0]].from;
    int dilations[DILATED_BRANCHES];
    if (r->stage_count != r->branch_count + (reduce >= 0))
        return false;
    for (int k = 0; k < r->branch_count; k++) {
        const struct region_stage *stage = &r->stages[r->branches[k]];
        if (stage->from != reduce || !is_fused_branch(r, stage))
            return false;
        dilations[k] = (int)node_int_at(&r->graph->nodes[stage->weights], "dilations", 0, 1);
    }
    if (!dilated_span(dilations, r->branch_count))
        return false;
    return reduce < 0 || (r->stages[reduce].from == FROM_X && region_is_pointwise(r, &r->graph->nodes[r->stages[reduce].weights], true));
}

/* Whatever nodes inside compute, but the result, is read inside only. */
static bool is_closed(const struct region *r)
{
    for (size_t i = 0; i < r->inside_count; i++) {
        const struct node *node = &r->graph->nodes[r->inside[i]];
        for (size_t j = 0; j < node->output_count; j++)
            if (node->outputs[j] != NO_VALUE && node->outputs[j] != r->result && !region_only_read_inside(r, node->outputs[j]))
                return false;
    }
    return true;
}

bool region_find(const struct graph *graph, const struct graph_uses *uses, node_id merge, bool bfloat16, struct region *r)
{
    const struct node *node = &graph->nodes[merge];
    struct chain chains[DILATED_BRANCHES];
    value_id rest = NO_VALUE;
    *r = (struct region){.graph = graph, .uses = uses, .bfloat16 = bfloat16, .inside = {merge}, .inside_count = 1};
    if (node->output_count < 1 || node->outputs[0] == NO_VALUE || !region_is_map(r, node->outputs[0]))
        return false;
    r->merged = node->outputs[0];
    if (node_is(node, "Concat") && node->input_count > 1) {
        if (!find_concatenated(r, node))
            return false;
    } else if (region_is_sum(r, node)) {
        r->merge = MERGE_SUM;
        if (!find_summed(r, node, 0))
            return false;
    } else {
        return false;
    }
    for (int k = 0; k < r->branch_count; k++)
        follow(r, r->leaves[k], &chains[k]);
    if (r->merge == MERGE_SUM)
        rest = take_rest(r, chains);
    if (r->branch_count < 2 || !find_x(r, chains) || !find_branches(r))
        return false;
    if (rest != r->x)
        extend_to_reduction(r);
    r->fused = is_fused(r);
    return region_find_end(r, rest) && region_find_sources(r) && is_closed(r);
}
