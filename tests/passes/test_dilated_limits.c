/* What the kernel of dilated-parallel blocks does not take stays as nodes: parts that are too large for it, and what only resembles parts
 * of a block. */
#include <stdio.h>

#include "results.h"

static const char *const passes[] = {"dilated-parallel"};
/* Winograd's transforms and sums in another order: a few 1e-6 of values around 1. */
static const double tolerance = 3e-5;

static value_id named(struct graph *graph, const char *op, const struct attributes *attributes, const value_id *inputs, size_t count)
{
    char name[64];
    snprintf(name, sizeof name, "%s%zu", op, graph->value_count);
    return test_node(graph, op, name, attributes, inputs, count);
}

static value_id unary(struct graph *graph, const char *op, value_id x)
{
    return named(graph, op, NULL, &x, 1);
}

static value_id constant(struct graph *graph, int32_t rank, const int64_t *dims)
{
    char name[64];
    snprintf(name, sizeof name, "c%zu", graph->value_count);
    return test_random_constant(graph, name, rank, dims, 0, 0.5f);
}

static value_id integers(struct graph *graph, const int64_t *values, int64_t count)
{
    char name[64];
    snprintf(name, sizeof name, "i%zu", graph->value_count);
    return test_integers(graph, name, values, count);
}

/* Two numbers each: along the rows, along the columns. */
struct window {
    int64_t kernel[2], dilation[2], stride[2], pad[2];
};

static value_id convolution(struct graph *graph, value_id x, int64_t from, int64_t to, int64_t groups, const struct window *w)
{
    struct attributes attributes = test_ints(graph, "dilations", w->dilation, 2);
    const int64_t pads[] = {w->pad[0], w->pad[1], w->pad[0], w->pad[1]};
    assert_ok(graph->context, attributes_set_ints(&attributes, graph->arena, "pads", pads, 4));
    assert_ok(graph->context, attributes_set_ints(&attributes, graph->arena, "strides", w->stride, 2));
    assert_ok(graph->context, attributes_set_int(&attributes, graph->arena, "group", groups));
    value_id weights = constant(graph, 4, (int64_t[]){to, from / groups, w->kernel[0], w->kernel[1]});
    return named(graph, "Conv", &attributes, (value_id[]){x, weights}, 2);
}

static value_id concatenation(struct graph *graph, const value_id *inputs, size_t count)
{
    struct attributes attributes = {0};
    assert_ok(graph->context, attributes_set_int(&attributes, graph->arena, "axis", 1));
    return named(graph, "Concat", &attributes, inputs, count);
}

static void finish(struct graph *graph, value_id y, size_t blocks, size_t nodes)
{
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, passes, 1, tolerance);
    test_blocks(graph, blocks, nodes);
    test_close(graph);
}

/* One part as large as the kernel takes, then larger. */
static void large_parts(void **state)
{
    (void)state;
    static const struct {
        int64_t width;
        struct window first, second;
        bool is_block;
    } cases[] = {
        {200, {{1, 3}, {1, 1}, {1, 1}, {0, 1}}, {{1, 63}, {1, 2}, {1, 1}, {0, 62}}, true},
        {200, {{1, 3}, {1, 1}, {1, 1}, {0, 1}}, {{1, 65}, {1, 2}, {1, 1}, {0, 64}}, false},
        {9000, {{1, 3}, {1, 1}, {1, 1}, {0, 1}}, {{1, 3}, {1, 4096}, {1, 1}, {0, 4096}}, true},
        {9000, {{1, 3}, {1, 1}, {1, 1}, {0, 1}}, {{1, 3}, {1, 4097}, {1, 1}, {0, 4097}}, false},
        {700, {{1, 3}, {1, 1}, {1, 64}, {0, 1}}, {{1, 3}, {1, 3}, {1, 64}, {0, 3}}, true},
        {700, {{1, 3}, {1, 1}, {1, 65}, {0, 1}}, {{1, 3}, {1, 3}, {1, 65}, {0, 3}}, false},
        {60, {{1, 3}, {1, 1}, {1, 64}, {0, (1 << 20) - 1}}, {{1, 3}, {1, 2}, {1, 64}, {0, 1 << 20}}, true},
        {60, {{1, 3}, {1, 1}, {1, 64}, {0, 1 << 20}}, {{1, 3}, {1, 2}, {1, 64}, {0, 1 + (1 << 20)}}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = test_open();
        value_id x = test_input(graph, "x", 4, (int64_t[]){1, 4, 1, cases[i].width});
        value_id both[] = {convolution(graph, x, 4, 6, 1, &cases[i].first), convolution(graph, x, 4, 6, 1, &cases[i].second)};
        finish(graph, named(graph, "Add", NULL, both, 2), cases[i].is_block, cases[i].is_block ? 1 : 3);
    }
}

/* How large a map is may be known only when the block runs: that is no reason to refuse it. */
static void large_maps(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 4, (int64_t[]){1, 1, 1, (1 << 20) + 5});
    value_id both[] = {convolution(graph, x, 1, 2, 1, &(struct window){{1, 3}, {1, 1}, {1, 1}, {0, 1}}),
                       convolution(graph, x, 1, 2, 1, &(struct window){{1, 3}, {1, 2}, {1, 1}, {0, 2}})};
    finish(graph, named(graph, "Add", NULL, both, 2), 1, 1);
}

/* Tiles that all these dilations divide would be larger than one loop walks: it is a block of stages, whose last one is no head. */
static void dilations_without_common_tiles(void **state)
{
    (void)state;
    static const int64_t dilations[] = {17, 19, 23};
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 4, (int64_t[]){1, 4, 6, 7}), branches[3];
    for (size_t k = 0; k < 3; k++)
        branches[k] = convolution(graph, x, 4, 4, 1,
                                  &(struct window){{3, 3}, {dilations[k], dilations[k]}, {1, 1}, {dilations[k], dilations[k]}});
    value_id y = convolution(graph, concatenation(graph, branches, 3), 12, 5, 1, &(struct window){{1, 1}, {1, 1}, {1, 1}, {0, 0}});
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, passes, 1, tolerance);
    char *text;
    assert_ok(graph->context, graph_dump(graph, &text));
    assert_int_equal(graph->node_count, 1);
    assert_non_null(strstr(text, "tail=3"));
    mitral_release(graph->context, text);
    test_close(graph);
}

/* The mean over x, spread over a map of another size than x has: beside branches of stride 2. */
static void a_mean_beside_strided_branches(void **state)
{
    (void)state;
    for (int64_t stride = 1; stride <= 2; stride++) {
        struct graph *graph = test_open();
        value_id x = test_input(graph, "x", 4, (int64_t[]){1, 8, 16, 18});
        value_id mean = convolution(graph, unary(graph, "GlobalAveragePool", x), 8, 5, 1, &(struct window){{1, 1}, {1, 1}, {1, 1}, {0, 0}});
        value_id sizes = integers(graph, (int64_t[]){1, 5, 16 / stride, 18 / stride}, 4);
        value_id all[] = {convolution(graph, x, 8, 6, 1, &(struct window){{3, 3}, {1, 1}, {stride, stride}, {1, 1}}),
                          convolution(graph, x, 8, 6, 1, &(struct window){{3, 3}, {2, 2}, {stride, stride}, {2, 2}}),
                          named(graph, "Resize", NULL, (value_id[]){unary(graph, "Relu", mean), NO_VALUE, NO_VALUE, sizes}, 4)};
        finish(graph, concatenation(graph, all, 3), stride == 1, stride == 1 ? 1 : 7);
    }
}

/* ---- gates --------------------------------------------------------------------------------------------------------------- */

/* The gate of a block's merged map [images, 8, 8, 8]: what shapes its nodes have on the way. */
struct gate {
    int64_t images, before[2], features[3], bias[2], after[4];
    int32_t bias_rank;
    bool is_gate;
};

static value_id fully_connected(struct graph *graph, value_id x, int64_t from, int64_t to, int32_t bias_rank, const int64_t *bias)
{
    struct attributes attributes = {0};
    assert_ok(graph->context, attributes_set_int(&attributes, graph->arena, "transB", 1));
    return named(graph, "Gemm", &attributes, (value_id[]){x, constant(graph, 2, (int64_t[]){to, from}), constant(graph, bias_rank, bias)}, 3);
}

static void gates(void **state)
{
    (void)state;
    static const struct gate gates[] = {
        {2, {2, 8}, {8, 5, 8}, {8}, {2, 8, 1, 1}, 1, true},
        {8, {8, 8}, {8, 5, 8}, {1, 8}, {8, 8, 1, 1}, 2, true},
        {8, {8, 8}, {8, 5, 8}, {8, 1}, {8, 8, 1, 1}, 2, false},  /* a bias by image */
        {1, {1, 8}, {8, 5, 8}, {8}, {1, 1, 1, 8}, 1, false},     /* a factor by column */
        {1, {1, 8}, {8, 5, 8}, {8}, {1, 1, 8, 1}, 1, false},     /* by row */
        {1, {2, 4}, {4, 3, 4}, {4}, {1, 8, 1, 1}, 1, false},     /* halves of the channels go through one perceptron */
        {2, {1, 16}, {16, 3, 8}, {8}, {1, 8, 1, 1}, 1, false},   /* images together */
    };
    for (size_t i = 0; i < sizeof gates / sizeof *gates; i++) {
        const struct gate *g = &gates[i];
        struct graph *graph = test_open();
        value_id x = test_input(graph, "x", 4, (int64_t[]){g->images, 4, 8, 8});
        value_id both[] = {convolution(graph, x, 4, 4, 4, &(struct window){{3, 3}, {1, 1}, {1, 1}, {1, 1}}),
                           convolution(graph, x, 4, 4, 4, &(struct window){{3, 3}, {2, 2}, {1, 1}, {2, 2}})};
        value_id merged = concatenation(graph, both, 2), mean = unary(graph, "GlobalAveragePool", merged);
        value_id y = named(graph, "Reshape", NULL, (value_id[]){mean, integers(graph, g->before, 2)}, 2);
        y = unary(graph, "Relu", fully_connected(graph, y, g->features[0], g->features[1], 1, &g->features[1]));
        y = unary(graph, "Sigmoid", fully_connected(graph, y, g->features[1], g->features[2], g->bias_rank, g->bias));
        y = named(graph, "Reshape", NULL, (value_id[]){y, integers(graph, g->after, 4)}, 2);
        finish(graph, named(graph, "Mul", NULL, (value_id[]){merged, y}, 2), 1, g->is_gate ? 1 : 9);
    }
}

/* [8, 8] of 8 images of 8 channels, without further dimensions, is a factor by row and column. */
static void a_gate_of_rank_two(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 4, (int64_t[]){8, 4, 8, 8});
    value_id both[] = {convolution(graph, x, 4, 4, 4, &(struct window){{3, 3}, {1, 1}, {1, 1}, {1, 1}}),
                       convolution(graph, x, 4, 4, 4, &(struct window){{3, 3}, {2, 2}, {1, 1}, {2, 2}})};
    value_id merged = concatenation(graph, both, 2), y = unary(graph, "Flatten", unary(graph, "GlobalAveragePool", merged));
    y = fully_connected(graph, unary(graph, "Relu", fully_connected(graph, y, 8, 5, 1, (int64_t[]){5})), 5, 8, 1, (int64_t[]){8});
    finish(graph, named(graph, "Mul", NULL, (value_id[]){merged, unary(graph, "Sigmoid", y)}, 2), 1, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(large_parts), cmocka_unit_test(large_maps),
                                       cmocka_unit_test(dilations_without_common_tiles),
                                       cmocka_unit_test(a_mean_beside_strided_branches), cmocka_unit_test(gates),
                                       cmocka_unit_test(a_gate_of_rank_two)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
