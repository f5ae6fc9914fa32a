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
    if (graph->node_count != nodes || test_count(graph, "mitral", "DilatedParallelBlock") != blocks) {
        char *text;
        assert_ok(graph->context, graph_dump(graph, &text));
        print_error("%s", text);
        mitral_release(graph->context, text);
    }
    assert_int_equal(test_count(graph, "mitral", "DilatedParallelBlock"), blocks);
    assert_int_equal(graph->node_count, nodes);
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

static void what_is_no_block(void **state)
{
    (void)state;
    struct builder b;
    value_id x = begin(&b, 8, 8, 8);
    /* A projecting shortcut of a residual network: two convolutions, one sum, nothing dilated. */
    finish(&b, sum(&b, convolution(&b, x, 8, 8, 3, 1, false), convolution(&b, x, 8, 8, 1, 1, false)), 0, 3);
    /* Branches of different inputs. */
    x = begin(&b, 8, 8, 8);
    value_id z = unary(&b, "Relu", x);
    finish(&b, concatenation(&b, (value_id[]){convolution(&b, x, 8, 8, 3, 2, false), convolution(&b, z, 8, 8, 3, 4, false)}, 2), 0, 4);
    /* Two blocks, one behind the other. */
    x = begin(&b, 16, 10, 10);
    finish(&b, dpu_block(&b, dpu_block(&b, x, 16, 16, true), 16, 32, true), 2, 2);
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
    char *text;
    assert_ok(b.graph->context, graph_dump(b.graph, &text));
    const char *line = strstr(text, "mitral.DilatedParallelBlock");
    assert_non_null(line);
    static const char wanted[] =
        "mitral.DilatedParallelBlock.1(x, w2, b3, _, w6, _, _, w8, _, _, w10, _, _, w13, _, _, w22, b23, _, "
        "BatchNormalization21.scale.folded, BatchNormalization21.shift.folded, _, _) {source_scale=[2], "
        "stages=[-1,0,1,1,1,1,1,0,0,0,0,1,0,0,1,1,1,1,1,1,1,1,1,0,0,0,1,1,1,2,2,2,2,2,2,0,0,0,1,1,1,4,4,4,4,4,4,0,"
        "0,0,1,1,1,8,8,8,8,8,8,0,-1,0,1,1,1,1,1,0,0,0,0,0], branches=[1,2,3,4], merge=\"running\", running_from=1, shortcut=2, "
        "shortcut_first=0, shortcut_stage=5, activation=1}";
    if (strncmp(line, wanted, sizeof wanted - 1) != 0)
        print_error("%s", line);
    assert_memory_equal(line, wanted, sizeof wanted - 1);
    mitral_release(b.graph->context, text);
    test_close(b.graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_dpu_net), cmocka_unit_test(blocks_of_espnet), cmocka_unit_test(merges_and_ends),
        cmocka_unit_test(shortcut_among_the_branches), cmocka_unit_test(what_comes_before), cmocka_unit_test(what_is_read_elsewhere_stays),
        cmocka_unit_test(what_is_no_block), cmocka_unit_test(golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
