/* Batch norms of a training graph take along what follows them, and what is concatenated before them is not; sums become addends. */
#include <stdio.h>

#include "compiler/gradient.h"
#include "results.h"

static const char *const passes[] = {"fuse-normalization", "fuse-addend"};

static value_id convolution(struct graph *graph, const char *name, value_id x, int64_t channels, int64_t features, int64_t size)
{
    char text[32];
    struct attributes attributes = {0};
    const int64_t dims[] = {features, channels, size, size}, pad = size / 2, pads[] = {pad, pad, pad, pad};
    snprintf(text, sizeof text, "%s_w", name);
    value_id inputs[] = {x, test_random_constant(graph, text, 4, dims, 0, 0.5f)};
    assert_ok(graph->context, attributes_set_ints(&attributes, graph->arena, "pads", pads, 4));
    return test_node(graph, "Conv", name, &attributes, inputs, 2);
}

static value_id norm(struct graph *graph, const char *name, value_id x, int64_t channels)
{
    char text[32];
    value_id inputs[5] = {x}, outputs[5];
    for (int i = 1; i < 5; i++) {
        snprintf(text, sizeof text, "%s_%d", name, i);
        inputs[i] = test_random_constant(graph, text, 1, &channels, 1, 0.5f);
    }
    for (int i = 0; i < 5; i++) {
        snprintf(text, sizeof text, "%s%d", name, i);
        assert_ok(graph->context, graph_add_value(graph, text, NULL, &outputs[i]));
    }
    assert_ok(graph->context, graph_add_node(graph, op_find("mitral", "BatchNormalizationTraining"), 1, name, NULL, inputs, 5, outputs, 5, NULL));
    return outputs[0];
}

static value_id sum(struct graph *graph, const char *name, value_id a, value_id b)
{
    return test_node(graph, "Add", name, NULL, (value_id[]){a, b}, 2);
}

/* A block of two branches, the second one a running sum, with a shortcut, which may be a convolution and a norm; its mean square and its gradients are the outputs. */
static struct graph *block(bool read_between, bool projected)
{
    struct graph *graph = test_open();
    struct attributes axis = {0}, keep = {0};
    value_id x = test_input(graph, "x", 4, (int64_t[]){2, 8, 6, 7}), wrt[2], gradients[2];
    value_id reduced = test_node(graph, "Relu", "r", NULL, (value_id[]){norm(graph, "n", convolution(graph, "c", x, 8, 4, 1), 4)}, 1);
    value_id a = convolution(graph, "a", reduced, 4, 4, 3), b = sum(graph, "ab", a, convolution(graph, "b", reduced, 4, 4, 3));
    assert_ok(graph->context, attributes_set_int(&axis, graph->arena, "axis", 1));
    value_id both = test_node(graph, "Concat", "both", &axis, (value_id[]){a, b}, 2);
    value_id shortcut = projected ? norm(graph, "p", convolution(graph, "pc", x, 8, 8, 1), 8) : x;
    value_id normed = norm(graph, "m", both, 8), y = test_node(graph, "Relu", "y", NULL, (value_id[]){sum(graph, "s", normed, shortcut)}, 1);
    assert_ok(graph->context, attributes_set_int(&keep, graph->arena, "keepdims", 0));
    value_id square = test_node(graph, "Mul", "square", NULL, (value_id[]){y, y}, 2), loss = test_node(graph, "ReduceMean", "loss", &keep, &square, 1);
    if (read_between)
        assert_ok(graph->context, graph_add_output(graph, normed));
    assert_ok(graph->context, graph_infer(graph));
    wrt[0] = x;
    wrt[1] = graph->nodes[graph->values[a].producer].inputs[1];
    graph->values[wrt[1]].variable = true; /* trained */
    assert_ok(graph->context, gradient_build(graph, loss, wrt, 2, gradients));
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, graph_add_output(graph, loss));
    for (int i = 0; i < 2; i++)
        assert_ok(graph->context, graph_add_output(graph, gradients[i]));
    return graph;
}

/* Gradients of norms that add up those of their parts. */
static int summing(const struct graph *graph)
{
    int count = 0;
    for (size_t i = 0; i < graph->node_count; i++)
        count += graph->nodes[i].op && attribute_has(&graph->nodes[i].attributes, "sums");
    return count;
}

/* Means and sums in another order. */
static const double tolerance = 1e-5;

static void block_is_fused(void **state)
{
    (void)state;
    struct graph *graph = block(false, false);
    test_passes_keep_results(graph, passes, 2, tolerance);
    assert_int_equal(test_count(graph, "mitral", "FusedNormalization"), 2);
    assert_int_equal(test_count(graph, "mitral", "FusedNormalizationGradient"), 2);
    assert_int_equal(test_count(graph, NULL, "Relu"), 0);
    assert_int_equal(test_count(graph, "mitral", "ReluGradient"), 0);
    assert_int_equal(test_count(graph, NULL, "Concat"), 0);
    assert_int_equal(test_count(graph, NULL, "Split"), 0);
    assert_int_equal(test_count(graph, "mitral", "Convolution"), 1); /* b takes a */
    assert_int_equal(summing(graph), 1); /* backward, a has what b has */
    test_close(graph);
}

/* Both norms are one then, and neither their results nor the gradient between are made. */
static void projected_block_is_fused(void **state)
{
    (void)state;
    struct graph *graph = block(false, true);
    test_passes_keep_results(graph, passes, 2, tolerance);
    assert_int_equal(test_count(graph, "mitral", "FusedNormalizationPair"), 1);
    assert_int_equal(test_count(graph, "mitral", "FusedNormalizationPairGradient"), 1);
    assert_int_equal(test_count(graph, "mitral", "FusedNormalization"), 1);
    assert_int_equal(test_count(graph, "mitral", "FusedNormalizationGradient"), 1);
    assert_int_equal(test_count(graph, "mitral", "BatchNormalizationGradient"), 0);
    assert_int_equal(summing(graph), 1);
    assert_int_equal(test_count(graph, NULL, "Concat"), 0);
    test_close(graph);
}

/* A block's output y that is pooled and, with `skip`, read by another convolution as well; its gradient by `skip`'s and the pooling's. */
static struct graph *pooled_block(bool skip, int64_t window)
{
    struct graph *graph = test_open();
    struct attributes keep = {0}, pool = {0};
    const int64_t kernel[] = {window, window}, two[] = {2, 2}, pads[] = {0, 0, window - 2, window - 2};
    value_id x = test_input(graph, "x", 4, (int64_t[]){2, 4, 8, 6}), gradient;
    value_id y = test_node(graph, "Relu", "y", NULL, (value_id[]){sum(graph, "s", norm(graph, "n", convolution(graph, "c", x, 4, 4, 3), 4), x)}, 1);
    assert_ok(graph->context, attributes_set_ints(&pool, graph->arena, "kernel_shape", kernel, 2));
    assert_ok(graph->context, attributes_set_ints(&pool, graph->arena, "strides", two, 2));
    assert_ok(graph->context, attributes_set_ints(&pool, graph->arena, "pads", pads, 4));
    assert_ok(graph->context, attributes_set_int(&keep, graph->arena, "keepdims", 0));
    value_id small = test_node(graph, "MaxPool", "small", &pool, &y, 1), losses[2], loss;
    small = convolution(graph, "k", small, 4, 3, 3);
    losses[0] = test_node(graph, "ReduceMean", "m", &keep, (value_id[]){test_node(graph, "Mul", "q", NULL, (value_id[]){small, small}, 2)}, 1);
    losses[1] = test_node(graph, "ReduceMean", "t", &keep, (value_id[]){convolution(graph, "u", y, 4, 2, 3)}, 1);
    loss = skip ? sum(graph, "loss", losses[0], losses[1]) : losses[0];
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, gradient_build(graph, loss, &x, 1, &gradient));
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, graph_add_output(graph, loss));
    assert_ok(graph->context, graph_add_output(graph, gradient));
    return graph;
}

static size_t marking(const struct graph *graph)
{
    size_t count = 0;
    for (size_t n = 0; n < graph->node_count; n++)
        count += graph->nodes[n].op && strcmp(graph->nodes[n].op->name, "FusedNormalization") == 0 && node_output(&graph->nodes[n], 6) != NO_VALUE;
    return count;
}

/* Afterwards the gradient reads bits instead of the normalised map, but where one of both is pooled and the other is not. */
static void poolings_are_fused(void **state)
{
    static const char *const all[] = {"fuse-normalization", "fuse-addend", "fuse-pool", "mark-open"};
    static const struct {
        bool skip;
        int64_t window;
        size_t forward, backward; /* that are left */
        size_t marking;
    } cases[] = {{true, 2, 0, 0, 1}, {false, 2, 0, 1, 0}, {true, 3, 1, 1, 1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = pooled_block(cases[i].skip, cases[i].window);
        test_passes_keep_results(graph, all, 4, tolerance);
        assert_int_equal(marking(graph), cases[i].marking);
        assert_int_equal(test_count(graph, NULL, "MaxPool"), cases[i].forward);
        assert_int_equal(test_count(graph, "mitral", "MaxPoolGradient"), cases[i].backward);
        assert_int_equal(test_count(graph, "mitral", "FusedNormalizationGradient"), 1);
        test_close(graph);
    }
}

/* What is read between the normalisation and its ReLU stays a value. */
static void read_between(void **state)
{
    (void)state;
    struct graph *graph = block(true, false);
    test_passes_keep_results(graph, passes, 2, tolerance);
    assert_int_equal(test_count(graph, "mitral", "FusedNormalization"), 2);
    assert_int_equal(test_count(graph, NULL, "Relu"), 1);
    assert_int_equal(test_count(graph, "mitral", "ReluGradient"), 1);
    test_close(graph);
}

/* The divergence of a convolution from another map, or its square; the gradient of the weights is an output, too. */
static struct graph *divergence(const char *over, bool squared)
{
    struct graph *graph = test_open();
    struct attributes attributes = {0};
    value_id x = test_input(graph, "x", 4, (int64_t[]){2, 8, 6, 7}), teacher = test_input(graph, "t", 4, (int64_t[]){2, 4, 6, 7}), gradient;
    value_id student = convolution(graph, "c", x, 8, 4, 1), w = graph->nodes[graph->values[student].producer].inputs[1];
    assert_ok(graph->context, attributes_set_string(&attributes, graph->arena, "over", over));
    assert_ok(graph->context, attributes_set_float(&attributes, graph->arena, "temperature", 4));
    value_id loss, inputs[2] = {student, teacher};
    assert_ok(graph->context, graph_add_value(graph, "loss", NULL, &loss));
    assert_ok(graph->context, graph_add_node(graph, op_find("mitral", "Divergence"), 1, "loss", &attributes, inputs, 2, &loss, 1, NULL));
    if (squared)
        loss = test_node(graph, "Mul", "square", NULL, (value_id[]){loss, loss}, 2);
    assert_ok(graph->context, graph_infer(graph));
    graph->values[w].variable = true;
    assert_ok(graph->context, gradient_build(graph, loss, &w, 1, &gradient));
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, graph_add_output(graph, loss));
    assert_ok(graph->context, graph_add_output(graph, gradient));
    return graph;
}

static void divergence_comes_with_its_gradient(void **state)
{
    static const char *const pass = "fuse-divergence";
    (void)state;
    struct graph *graph = divergence("positions", false);
    test_passes_keep_results(graph, &pass, 1, 0);
    assert_int_equal(test_count(graph, "mitral", "Divergence"), 0);
    assert_int_equal(test_count(graph, "mitral", "DivergenceGradient"), 1);
    test_close(graph);
    graph = divergence("positions", true); /* its gradient needs its value */
    test_passes_keep_results(graph, &pass, 1, 0);
    assert_int_equal(test_count(graph, "mitral", "Divergence"), 1);
    test_close(graph);
    graph = divergence("channels", false);
    test_passes_keep_results(graph, &pass, 1, 0);
    assert_int_equal(test_count(graph, "mitral", "Divergence"), 1);
    test_close(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(block_is_fused), cmocka_unit_test(projected_block_is_fused),
                                       cmocka_unit_test(poolings_are_fused), cmocka_unit_test(read_between),
                                       cmocka_unit_test(divergence_comes_with_its_gradient)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
