/* Dilated-parallel regions become one node that computes the same, and what is none stays as it is. */
#include <stdio.h>

#include "results.h"

static const char *const passes[] = {"fold-batch-norm", "dilated-parallel"};
/* Winograd's transforms and sums in another order: a few 1e-6 of values around 1. */
static const double tolerance = 3e-5;

struct builder {
    struct graph *graph;
    int names;
};

static const char *name_of(struct builder *b, const char *word)
{
    static char text[64];
    snprintf(text, sizeof text, "%s%d", word, b->names++);
    return text;
}

static value_id node(struct builder *b, const char *op, const struct attributes *attributes, const value_id *inputs, size_t count)
{
    return test_node(b->graph, op, name_of(b, op), attributes, inputs, count);
}

static value_id unary(struct builder *b, const char *op, value_id x)
{
    return node(b, op, NULL, &x, 1);
}

static value_id sum(struct builder *b, value_id x, value_id y)
{
    return node(b, "Add", NULL, (value_id[]){x, y}, 2);
}

static value_id concatenation(struct builder *b, const value_id *inputs, size_t count)
{
    struct attributes attributes = {0};
    assert_ok(b->graph->context, attributes_set_int(&attributes, b->graph->arena, "axis", 1));
    return node(b, "Concat", &attributes, inputs, count);
}

static value_id vector(struct builder *b, const char *word, int64_t channels, float middle, float spread)
{
    return test_random_constant(b->graph, name_of(b, word), 1, &channels, middle, spread);
}

static value_id convolution(struct builder *b, value_id x, int64_t from, int64_t to, int64_t kernel, int64_t dilation, bool bias)
{
    const int64_t dims[] = {to, from, kernel, kernel}, pad = kernel / 2 * dilation;
    struct attributes attributes = test_ints(b->graph, "dilations", (int64_t[]){dilation, dilation}, 2);
    assert_ok(b->graph->context, attributes_set_ints(&attributes, b->graph->arena, "pads", (int64_t[]){pad, pad, pad, pad}, 4));
    value_id inputs[3] = {x, test_random_constant(b->graph, name_of(b, "w"), 4, dims, 0, 1.7f / sqrtf((float)(from * kernel * kernel)))};
    if (bias)
        inputs[2] = vector(b, "b", to, 0, 0.3f);
    return node(b, "Conv", &attributes, inputs, bias ? 3 : 2);
}

static value_id batch_norm(struct builder *b, value_id x, int64_t channels)
{
    return node(b, "BatchNormalization", NULL,
                (value_id[]){x, vector(b, "scale", channels, 1, 0.3f), vector(b, "shift", channels, 0, 0.3f),
                             vector(b, "mean", channels, 0, 0.2f), vector(b, "variance", channels, 1, 0.3f)}, 5);
}

static value_id prelu(struct builder *b, value_id x, int64_t channels)
{
    const int64_t dims[] = {channels, 1, 1};
    return node(b, "PRelu", NULL, (value_id[]){x, test_random_constant(b->graph, name_of(b, "slope"), 3, dims, 0.2f, 0.1f)}, 2);
}

enum merge { CONCAT, SUM, RUNNING, RUNNING_REST };

/* 3×3 branches of `r`, merged. */
static value_id branches(struct builder *b, value_id r, int64_t from, const int64_t *to, const int64_t *dilations, size_t count, int merge)
{
    value_id results[8], total = NO_VALUE;
    for (size_t k = 0; k < count; k++) {
        value_id branch = convolution(b, r, from, to[k], 3, dilations[k], false);
        total = total == NO_VALUE || (merge == RUNNING_REST && k == 1) ? branch : sum(b, branch, total);
        results[k] = merge == RUNNING || merge == RUNNING_REST ? total : branch;
        if (merge == CONCAT)
            total = NO_VALUE;
    }
    return merge == SUM ? total : concatenation(b, results, count);
}

static void finish(struct builder *b, value_id y, size_t blocks, size_t nodes)
{
    struct graph *graph = b->graph;
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, passes, 2, tolerance);
    test_blocks(graph, blocks, nodes);
    test_close(graph);
}

static value_id begin(struct builder *b, int64_t channels, int64_t height, int64_t width)
{
    *b = (struct builder){.graph = test_open()};
    return test_input(b->graph, "x", 4, (int64_t[]){1, channels, height, width});
}

/* DPU-Net's block; the reducing convolution's normalization is there or folded by the exporter. */
static value_id dpu_block(struct builder *b, value_id x, int64_t from, int64_t to, bool folded)
{
    const int64_t n = to / 4, widths[] = {n, n, n, n}, dilations[] = {1, 2, 4, 8};
    value_id r = convolution(b, x, from, n, 1, 1, folded), shortcut = x;
    r = unary(b, "Relu", folded ? r : batch_norm(b, r, n));
    value_id merged = batch_norm(b, branches(b, r, n, widths, dilations, 4, RUNNING_REST), to);
    if (from != to) {
        shortcut = convolution(b, x, from, to, 1, 1, folded);
        shortcut = folded ? shortcut : batch_norm(b, shortcut, to);
    }
    return unary(b, "Relu", sum(b, merged, shortcut));
}

static void blocks_of_dpu_net(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        struct builder b;
        value_id x = begin(&b, 16, 20, 24);
        finish(&b, dpu_block(&b, x, 16, form & 1 ? 16 : 32, form & 2), 1, 1);
    }
}

/* ESPNet's module: unequal widths, the first branch alone, the shortcut before the normalization, PReLU. */
static void blocks_of_espnet(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        struct builder b;
        value_id x = begin(&b, 36, 18, 22);
        const int64_t widths[] = {8, 7, 7, 7, 7}, dilations[] = {1, 2, 4, 8, 16};
        value_id y = branches(&b, convolution(&b, x, 36, 7, 1, 1, false), 7, widths, dilations, 5, RUNNING_REST);
        y = form & 1 ? y : sum(&b, form & 2 ? x : y, form & 2 ? y : x);
        finish(&b, prelu(&b, batch_norm(&b, y, 36), 36), 1, 1);
    }
}

static void merges_and_ends(void **state)
{
    (void)state;
    for (int merge = CONCAT; merge <= RUNNING_REST; merge++)
        for (int form = 0; form < 8; form++) {
            struct builder b;
            value_id x = begin(&b, 12, 14, 17), r = form & 1 ? unary(&b, "Relu", convolution(&b, x, 12, 8, 1, 1, true)) : x;
            const int64_t widths[] = {8, 8, 8}, dilations[] = {1, 3, 5}, to = merge == SUM ? 8 : 24;
            value_id y = branches(&b, r, form & 1 ? 8 : 12, widths, dilations, 3, merge);
            if (form & 2)
                y = sum(&b, convolution(&b, x, 12, to, 1, 1, true), y);
            if (form & 4)
                y = unary(&b, "Relu", batch_norm(&b, y, to));
            finish(&b, y, 1, 1);
        }
}

/* A shortcut within a tree of sums, wherever it stands. */
static void shortcut_among_the_branches(void **state)
{
    (void)state;
    for (int place = 0; place < 4; place++) {
        struct builder b;
        value_id x = begin(&b, 8, 12, 12), leaves[4];
        for (int i = 0, k = 0; i < 4; i++)
            leaves[i] = i == place ? x : convolution(&b, x, 8, 8, 3, (int64_t)1 << k++, false);
        finish(&b, unary(&b, "Relu", sum(&b, sum(&b, leaves[0], leaves[1]), sum(&b, leaves[2], leaves[3]))), 1, 1);
    }
}

static value_id upsampled(struct builder *b, value_id x)
{
    struct attributes attributes = {0};
    assert_ok(b->graph->context, attributes_set_string(&attributes, b->graph->arena, "mode", "linear"));
    value_id scales = test_constant(b->graph, name_of(b, "scales"), 1, (int64_t[]){4}, (float[]){1, 1, 2, 2});
    return node(b, "Resize", &attributes, (value_id[]){x, NO_VALUE, scales}, 3);
}

static value_id pooled(struct builder *b, value_id x)
{
    struct attributes attributes = test_ints(b->graph, "kernel_shape", (int64_t[]){2, 2}, 2);
    assert_ok(b->graph->context, attributes_set_ints(&attributes, b->graph->arena, "strides", (int64_t[]){2, 2}, 2));
    return node(b, "MaxPool", &attributes, &x, 1);
}

/* Concatenation, upsampling and pooling before a block with a projection go into it. */
static void what_comes_before(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        struct builder b;
        value_id x = begin(&b, 8, 16, 18);
        value_id low = test_input(b.graph, "low", 4, (int64_t[]){1, 12, 8, 9}), high = test_input(b.graph, "high", 4, (int64_t[]){1, 4, 33, 37});
        value_id both[] = {form & 1 ? upsampled(&b, low) : x, form & 2 ? pooled(&b, high) : x};
        value_id joined = concatenation(&b, both, 2);
        finish(&b, dpu_block(&b, joined, (form & 1 ? 12 : 8) + (form & 2 ? 4 : 8), 32, true), 1, 1);
    }
}

/* Someone else reads the upsampled map: it stays. */
static void what_is_read_elsewhere_stays(void **state)
{
    (void)state;
    struct builder b;
    value_id x = begin(&b, 8, 8, 8), up = upsampled(&b, x);
    value_id y = dpu_block(&b, up, 8, 16, true);
    assert_ok(b.graph->context, graph_add_output(b.graph, up));
    finish(&b, y, 1, 2);
    /* A branch that is an output too: no block. */
    x = begin(&b, 8, 8, 8);
    value_id first = convolution(&b, x, 8, 8, 3, 1, false), second = convolution(&b, x, 8, 8, 3, 2, false);
    assert_ok(b.graph->context, graph_add_output(b.graph, second));
    finish(&b, concatenation(&b, (value_id[]){first, second}, 2), 0, 3);
}

/* A 1×1 convolution that alone reads a block is its head. */
static void what_comes_after(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        struct builder b;
        value_id x = begin(&b, 64, 16, 18), y = dpu_block(&b, x, 64, 64, true);
        value_id z = convolution(&b, y, 64, 5, form & 1 ? 3 : 1, 1, true);
        if (form & 2)
            assert_ok(b.graph->context, graph_add_output(b.graph, y));
        finish(&b, unary(&b, "Relu", z), 1, form == 0 ? 1 : 3);
    }
}

static void what_is_no_block(void **state)
{
    (void)state;
    struct builder b;
    value_id x = begin(&b, 8, 8, 8);
    /* A projecting shortcut of a residual network: two convolutions, one sum, nothing dilated. */
    finish(&b, sum(&b, convolution(&b, x, 8, 8, 3, 1, false), convolution(&b, x, 8, 8, 1, 1, false)), 0, 3);
    /* Branches of different inputs. */
    x = begin(&b, 8, 8, 8);
    value_id z = unary(&b, "Sigmoid", x);
    finish(&b, concatenation(&b, (value_id[]){convolution(&b, x, 8, 8, 3, 2, false), convolution(&b, z, 8, 8, 3, 4, false)}, 2), 0, 4);
    /* Two blocks, one behind the other. */
    x = begin(&b, 16, 10, 10);
    finish(&b, dpu_block(&b, dpu_block(&b, x, 16, 16, true), 16, 32, true), 2, 2);
}

/* ---- the published forms ----------------------------------------------------------------------------------------------- */

/* A convolution in groups, of stride `stride`, of a kernel that is not square. */
struct kernel_form {
    int64_t groups, stride, kernel[2], dilation[2];
};

static value_id grouped(struct builder *b, value_id x, int64_t from, int64_t to, const struct kernel_form *f, bool bias)
{
    const int64_t dims[] = {to, from / f->groups, f->kernel[0], f->kernel[1]};
    const int64_t pads[] = {f->kernel[0] / 2 * f->dilation[0], f->kernel[1] / 2 * f->dilation[1], f->kernel[0] / 2 * f->dilation[0],
                            f->kernel[1] / 2 * f->dilation[1]};
    struct attributes attributes = test_ints(b->graph, "dilations", f->dilation, 2);
    assert_ok(b->graph->context, attributes_set_ints(&attributes, b->graph->arena, "pads", pads, 4));
    assert_ok(b->graph->context, attributes_set_ints(&attributes, b->graph->arena, "strides", (int64_t[]){f->stride, f->stride}, 2));
    assert_ok(b->graph->context, attributes_set_int(&attributes, b->graph->arena, "group", f->groups));
    float spread = 1.7f / sqrtf((float)(dims[1] * dims[2] * dims[3]));
    value_id inputs[3] = {x, test_random_constant(b->graph, name_of(b, "w"), 4, dims, 0, spread)};
    if (bias)
        inputs[2] = vector(b, "b", to, 0, 0.3f);
    return node(b, "Conv", &attributes, inputs, bias ? 3 : 2);
}

static value_id depthwise(struct builder *b, value_id x, int64_t channels, int64_t height, int64_t width, int64_t dilation)
{
    struct kernel_form form = {channels, 1, {height, width}, {height > 1 ? dilation : 1, width > 1 ? dilation : 1}};
    return grouped(b, x, channels, channels, &form, false);
}

static value_id espnet_down(struct builder *b, value_id x)
{
    const struct kernel_form reduce = {1, 2, {3, 3}, {1, 1}};
    const int64_t widths[] = {6, 5, 5, 5, 5}, dilations[] = {1, 2, 4, 8, 16};
    return prelu(b, batch_norm(b, branches(b, grouped(b, x, 16, 5, &reduce, false), 5, widths, dilations, 5, RUNNING_REST), 26), 26);
}

static value_id espnet_v2(struct builder *b, value_id x)
{
    const struct kernel_form in_fours = {4, 1, {1, 1}, {1, 1}};
    value_id r = prelu(b, batch_norm(b, grouped(b, x, 16, 8, &in_fours, false), 8), 8), results[4];
    for (int64_t k = 0; k < 4; k++) {
        results[k] = depthwise(b, r, 8, 3, 3, k + 1);
        results[k] = k ? sum(b, results[k], results[k - 1]) : results[k];
    }
    value_id y = prelu(b, batch_norm(b, concatenation(b, results, 4), 32), 32);
    y = batch_norm(b, grouped(b, y, 32, 16, &in_fours, false), 16);
    return prelu(b, sum(b, y, x), 16);
}

static value_id ce_net(struct builder *b, value_id x)
{
    value_id first = convolution(b, x, 16, 16, 3, 1, true), third = convolution(b, first, 16, 16, 3, 3, true);
    value_id branches[] = {unary(b, "Relu", first), unary(b, "Relu", convolution(b, convolution(b, x, 16, 16, 3, 3, true), 16, 16, 1, 1, true)),
                           unary(b, "Relu", convolution(b, third, 16, 16, 1, 1, true)),
                           unary(b, "Relu", convolution(b, convolution(b, third, 16, 16, 3, 5, true), 16, 16, 1, 1, true))};
    return sum(b, sum(b, sum(b, sum(b, x, branches[0]), branches[1]), branches[2]), branches[3]);
}

static value_id fully_connected(struct builder *b, value_id x, int64_t from, int64_t to)
{
    struct attributes attributes = {0};
    assert_ok(b->graph->context, attributes_set_int(&attributes, b->graph->arena, "transB", 1));
    value_id w = test_random_constant(b->graph, name_of(b, "w"), 2, (int64_t[]){to, from}, 0, 0.5f);
    return node(b, "Gemm", &attributes, (value_id[]){x, w, vector(b, "b", to, 0, 0.3f)}, 3);
}

static value_id cgnet(struct builder *b, value_id x)
{
    value_id r = prelu(b, batch_norm(b, convolution(b, x, 16, 8, 1, 1, false), 8), 8);
    value_id both[] = {depthwise(b, r, 8, 3, 3, 1), depthwise(b, r, 8, 3, 3, 2)};
    value_id joined = prelu(b, batch_norm(b, concatenation(b, both, 2), 16), 16);
    value_id gate = node(b, "Flatten", NULL, (value_id[]){unary(b, "GlobalAveragePool", joined)}, 1);
    gate = fully_connected(b, unary(b, "Relu", fully_connected(b, gate, 16, 4)), 4, 16);
    mitral_tensor axes;
    value_id axes_id;
    tensor_set(&axes, MITRAL_INT64, 1, (int64_t[]){2});
    axes.data = (int64_t[]){2, 3};
    assert_ok(b->graph->context, graph_add_constant(b->graph, name_of(b, "axes"), &axes, false, &axes_id));
    gate = node(b, "Unsqueeze", NULL, (value_id[]){unary(b, "Sigmoid", gate), axes_id}, 2);
    return sum(b, x, node(b, "Mul", NULL, (value_id[]){joined, gate}, 2));
}

static value_id dabnet(struct builder *b, value_id x)
{
    value_id r = prelu(b, batch_norm(b, x, 16), 16), results[2];
    r = prelu(b, batch_norm(b, convolution(b, r, 16, 8, 3, 1, false), 8), 8);
    for (int64_t k = 0; k < 2; k++) {
        value_id tall = prelu(b, batch_norm(b, depthwise(b, r, 8, 3, 1, k ? 4 : 1), 8), 8);
        results[k] = prelu(b, batch_norm(b, depthwise(b, tall, 8, 1, 3, k ? 4 : 1), 8), 8);
    }
    value_id y = prelu(b, batch_norm(b, sum(b, results[0], results[1]), 8), 8);
    return sum(b, convolution(b, y, 8, 16, 1, 1, false), x);
}

static value_id aspp(struct builder *b, value_id x)
{
    value_id results[5] = {unary(b, "Relu", batch_norm(b, convolution(b, x, 16, 8, 1, 1, false), 8))};
    for (int64_t k = 1; k < 4; k++)
        results[k] = unary(b, "Relu", batch_norm(b, convolution(b, x, 16, 8, 3, 2 * k, false), 8));
    value_id mean = unary(b, "GlobalAveragePool", x);
    mean = unary(b, "Relu", batch_norm(b, convolution(b, mean, 16, 8, 1, 1, false), 8));
    struct attributes attributes = {0};
    assert_ok(b->graph->context, attributes_set_string(&attributes, b->graph->arena, "mode", "linear"));
    mitral_tensor sizes;
    value_id sizes_id;
    tensor_set(&sizes, MITRAL_INT64, 1, (int64_t[]){4});
    sizes.data = (int64_t[]){1, 8, 18, 20};
    assert_ok(b->graph->context, graph_add_constant(b->graph, name_of(b, "sizes"), &sizes, false, &sizes_id));
    results[4] = node(b, "Resize", &attributes, (value_id[]){mean, NO_VALUE, NO_VALUE, sizes_id}, 4);
    return unary(b, "Relu", batch_norm(b, convolution(b, concatenation(b, results, 5), 40, 16, 1, 1, false), 16));
}

static value_id inception(struct builder *b, value_id x)
{
    value_id results[3];
    for (int64_t k = 0; k < 3; k++) {
        value_id r = unary(b, "Relu", batch_norm(b, convolution(b, x, 16, 4 + k, 1, 1, false), 4 + k));
        results[k] = unary(b, "Relu", batch_norm(b, convolution(b, r, 4 + k, 8, 3, k + 1, false), 8));
    }
    return concatenation(b, results, 3);
}

/* The graph's text of the block, from its attributes on; stages are from, kind, groups, strides, dilations, pads, activation. */
static const struct {
    const char *name;
    value_id (*build)(struct builder *b, value_id x);
    size_t nodes;
    const char *wanted;
} published[] = {
    {"ESPNet's downsampler", espnet_down, 1,
     "{source_scale=[1], stages=[-1,0,1,2,2,1,1,1,1,1,1,0,0,0,1,1,1,1,1,1,1,1,1,0,0,0,1,1,1,2,2,2,2,2,"
     "2,0,0,0,1,1,1,4,4,4,4,4,4,0,0,0,1,1,1,8,8,8,8,8,8,0,0,0,1,1,1,16,16,16,16,16,16,0], branches=[1,"
     "2,3,4,5], merge=\"running\", running_from=1, activation=2}"},
    {"ESPNetv2", espnet_v2, 1,
     "{source_scale=[1], stages=[-1,0,4,1,1,1,1,0,0,0,0,2,0,0,8,1,1,1,1,1,1,1,1,0,0,0,8,1,1,2,2,2,2,2,"
     "2,0,0,0,8,1,1,3,3,3,3,3,3,0,0,0,8,1,1,4,4,4,4,4,4,0,-2,0,4,1,1,1,1,0,0,0,0,0], branches=[1,2,3,"
     "4], merge=\"running\", running_from=0, shortcut=1, shortcut_first=0, merged_activation=2,"
     " tail=5, activation=2}"},
    {"CE-Net", ce_net, 1,
     "{source_scale=[1], stages=[-1,0,1,1,1,1,1,1,1,1,1,0,0,2,1,1,1,1,1,0,0,0,0,1,-1,0,1,1,1,3,3,3,3,"
     "3,3,0,2,0,1,1,1,1,1,0,0,0,0,1,0,0,1,1,1,3,3,3,3,3,3,0,4,0,1,1,1,1,1,0,0,0,0,1,4,0,1,1,1,5,5,5,5,"
     "5,5,0,6,0,1,1,1,1,1,0,0,0,0,1], branches=[1,3,5,7], merge=\"sum\", shortcut=1, shortcut_first=0,"
     " activation=0}"},
    {"CGNet", cgnet, 1,
     "{source_scale=[1], stages=[-1,0,1,1,1,1,1,0,0,0,0,2,0,0,8,1,1,1,1,1,1,1,1,0,0,0,8,1,1,2,2,2,2,2,"
     "2,0,-3,0,1,1,1,1,1,0,0,0,0,1,3,0,1,1,1,1,1,0,0,0,0,0], branches=[1,2], merge=\"concat\","
     " shortcut=1, shortcut_first=0, merged_activation=2, gate_first=3, gate_second=4, activation=0}"},
    {"DABNet", dabnet, 3,
     "{source_scale=[1], stages=[-1,0,1,1,1,1,1,1,1,1,1,2,0,0,8,1,1,1,1,1,0,1,0,2,1,0,8,1,1,1,1,0,1,0,"
     "1,2,0,0,8,1,1,4,1,4,0,4,0,2,3,0,8,1,1,1,4,0,4,0,4,2,-2,0,1,1,1,1,1,0,0,0,0,0], branches=[2,4],"
     " merge=\"sum\", shortcut=3, shortcut_first=0, merged_activation=2, tail=5, activation=0}"},
    {"ASPP", aspp, 1,
     "{source_scale=[1], stages=[-1,0,1,1,1,1,1,0,0,0,0,1,-1,0,1,1,1,2,2,2,2,2,2,1,-1,0,1,1,1,4,4,4,4,"
     "4,4,1,-1,0,1,1,1,6,6,6,6,6,6,1,-1,1,1,1,1,1,1,0,0,0,0,1,-2,0,1,1,1,1,1,0,0,0,0,1], branches=[0,"
     "1,2,3,4], merge=\"concat\", tail=5, activation=0}"},
    {"Inception", inception, 1,
     "{source_scale=[1], stages=[-1,0,1,1,1,1,1,0,0,0,0,1,0,0,1,1,1,1,1,1,1,1,1,1,-1,0,1,1,1,1,1,0,0,"
     "0,0,1,2,0,1,1,1,2,2,2,2,2,2,1,-1,0,1,1,1,1,1,0,0,0,0,1,4,0,1,1,1,3,3,3,3,3,3,1], branches=[1,3,"
     "5], merge=\"concat\", activation=0}"},
};

static void check_text(const struct graph *graph, const char *name, const char *wanted)
{
    char *text;
    assert_ok(graph->context, graph_dump(graph, &text));
    const char *line = strstr(text, "mitral.DilatedParallelBlock");
    assert_non_null(line);
    line = strchr(line, '{');
    assert_non_null(line);
    if (strncmp(line, wanted, strlen(wanted)) != 0 || !*wanted)
        print_error("%s: %.*s\n", name, (int)strcspn(line, "\n"), line);
    assert_true(*wanted && strncmp(line, wanted, strlen(wanted)) == 0);
    mitral_release(graph->context, text);
}

static void published_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        struct builder b;
        value_id x = begin(&b, 16, 18, 20);
        assert_ok(b.graph->context, graph_add_output(b.graph, published[i].build(&b, x)));
        test_passes_keep_results(b.graph, passes, 2, tolerance);
        if (b.graph->node_count != published[i].nodes) {
            char *text;
            assert_ok(b.graph->context, graph_dump(b.graph, &text));
            print_error("%s: %s", published[i].name, text);
            mitral_release(b.graph->context, text);
        }
        assert_int_equal(b.graph->node_count, published[i].nodes);
        check_text(b.graph, published[i].name, published[i].wanted);
        test_close(b.graph);
    }
}

/* The text of the node, so that its attributes are seen to say what the graph said. */
static void golden(void **state)
{
    (void)state;
    struct builder b;
    value_id x = begin(&b, 8, 12, 12);
    assert_ok(b.graph->context, graph_add_output(b.graph, dpu_block(&b, upsampled(&b, x), 8, 16, true)));
    assert_ok(b.graph->context, graph_infer(b.graph));
    const struct pass_options options = {.threads = 1};
    for (size_t i = 0; i < 2; i++)
        assert_ok(b.graph->context, pipeline_run_one(b.graph, passes[i], &options));
    check_text(b.graph, "DPU-Net",
               "{source_scale=[2], "
               "stages=[-1,0,1,1,1,1,1,0,0,0,0,1,0,0,1,1,1,1,1,1,1,1,1,0,0,0,1,1,1,2,2,2,2,2,2,0,0,0,1,1,1,4,4,4,4,4,4,0,"
               "0,0,1,1,1,8,8,8,8,8,8,0,-1,0,1,1,1,1,1,0,0,0,0,0], branches=[1,2,3,4], merge=\"running\", running_from=1, shortcut=2, "
               "shortcut_first=0, shortcut_stage=5, activation=1}");
    test_close(b.graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_dpu_net), cmocka_unit_test(blocks_of_espnet), cmocka_unit_test(merges_and_ends),
        cmocka_unit_test(shortcut_among_the_branches), cmocka_unit_test(what_comes_before), cmocka_unit_test(what_comes_after),
        cmocka_unit_test(what_is_read_elsewhere_stays), cmocka_unit_test(what_is_no_block), cmocka_unit_test(golden),
        cmocka_unit_test(published_forms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
