/* Scales and shifts by channel go into weights; what is left is a mitral.ScaleShift. */
#include <stdio.h>

#include "results.h"

static const char *const passes[] = {"fold-batch-norm"};
/* Weights that are scaled before the products instead of the sums after them: rounding alone. */
static const double tolerance = 1e-5;

static value_id batch_norm(struct graph *graph, value_id x, const char *name, int64_t channels)
{
    char names[4][32];
    value_id inputs[5] = {x};
    for (int i = 0; i < 4; i++) {
        snprintf(names[i], sizeof names[i], "%s_%c", name, "sbmv"[i]);
        inputs[i + 1] = test_random_constant(graph, names[i], 1, &channels, i == 0 || i == 3 ? 1 : 0, 0.5f);
    }
    return test_node(graph, "BatchNormalization", name, NULL, inputs, 5);
}

static value_id convolution(struct graph *graph, value_id x, const char *name, const int64_t w[4], bool bias, int64_t group)
{
    char text[64];
    struct attributes attributes = test_ints(graph, "pads", (int64_t[]){1, 1, 1, 1}, 4);
    assert_ok(graph->context, attributes_set_int(&attributes, graph->arena, "group", group));
    snprintf(text, sizeof text, "%s_w", name);
    value_id inputs[3] = {x, test_random_constant(graph, text, 4, w, 0, 0.3f)};
    snprintf(text, sizeof text, "%s_b", name);
    if (bias)
        inputs[2] = test_random_constant(graph, text, 1, w, 0, 0.3f);
    return test_node(graph, "Conv", name, &attributes, inputs, bias ? 3 : 2);
}

static void goes_into_convolutions(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        const bool bias = form & 1;
        const int64_t group = form & 2 ? 2 : 1;
        struct graph *graph = test_open();
        value_id x = test_input(graph, "x", 4, (int64_t[]){1, 4, 6, 6});
        value_id y = batch_norm(graph, convolution(graph, x, "c", (int64_t[]){6, 4 / group, 3, 3}, bias, group), "n", 6);
        assert_ok(graph->context, graph_add_output(graph, y));
        test_passes_keep_results(graph, passes, 1, tolerance);
        assert_int_equal(graph->node_count, 1);
        assert_int_equal(test_count(graph, NULL, "Conv"), 1);
        test_close(graph);
    }
}

static void goes_into_transposed_convolutions(void **state)
{
    (void)state;
    for (int64_t group = 1; group <= 2; group++) {
        struct graph *graph = test_open();
        value_id x = test_input(graph, "x", 4, (int64_t[]){1, 4, 5, 5});
        struct attributes attributes = test_ints(graph, "strides", (int64_t[]){2, 2}, 2);
        assert_ok(graph->context, attributes_set_int(&attributes, graph->arena, "group", group));
        value_id w = test_random_constant(graph, "w", 4, (int64_t[]){4, 6 / group, 2, 2}, 0, 0.3f);
        value_id t = test_node(graph, "ConvTranspose", "t", &attributes, (value_id[]){x, w}, 2);
        assert_ok(graph->context, graph_add_output(graph, batch_norm(graph, t, "n", 6)));
        test_passes_keep_results(graph, passes, 1, tolerance);
        assert_int_equal(graph->node_count, 1);
        test_close(graph);
    }
}

static void goes_into_gemm(void **state)
{
    (void)state;
    for (int64_t form = 0; form < 4; form++) {
        const int64_t transposed = form & 1;
        struct graph *graph = test_open();
        value_id x = test_input(graph, "x", 2, (int64_t[]){3, 4});
        struct attributes attributes = {0};
        assert_ok(graph->context, attributes_set_int(&attributes, graph->arena, "transB", transposed));
        value_id b = test_random_constant(graph, "b", 2, transposed ? (int64_t[]){5, 4} : (int64_t[]){4, 5}, 0, 1);
        value_id c = test_random_constant(graph, "c", 1, (int64_t[]){5}, 0, 1);
        value_id g = test_node(graph, "Gemm", "g", &attributes, (value_id[]){x, b, c}, form & 2 ? 3 : 2);
        assert_ok(graph->context, graph_add_output(graph, batch_norm(graph, g, "n", 5)));
        test_passes_keep_results(graph, passes, 1, tolerance);
        assert_int_equal(graph->node_count, 1);
        test_close(graph);
    }
}

/* As older exporters write it: the scale and shift of a normalization in nodes of their own. */
static void takes_arithmetic_by_channel_along(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 4, (int64_t[]){1, 4, 6, 6});
    value_id y = batch_norm(graph, convolution(graph, x, "c", (int64_t[]){6, 4, 3, 3}, false, 1), "n", 6);
    value_id k = test_random_constant(graph, "k", 3, (int64_t[]){6, 1, 1}, 1, 0.5f);
    value_id s = test_random_constant(graph, "s", 4, (int64_t[]){1, 6, 1, 1}, 0, 0.5f);
    value_id one = test_random_constant(graph, "one", 1, (int64_t[]){1}, 2, 0.5f);
    y = test_node(graph, "Mul", "m", NULL, (value_id[]){k, y}, 2);
    y = test_node(graph, "Add", "a", NULL, (value_id[]){y, s}, 2);
    y = test_node(graph, "Div", "d", NULL, (value_id[]){y, one}, 2);
    y = test_node(graph, "Sub", "u", NULL, (value_id[]){y, s}, 2);
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, passes, 1, tolerance);
    assert_int_equal(graph->node_count, 1);
    test_close(graph);
}

static void what_is_left_becomes_one_scale_and_shift(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 4, (int64_t[]){2, 6, 3, 3});
    value_id k = test_random_constant(graph, "k", 3, (int64_t[]){6, 1, 1}, 1, 0.5f);
    value_id y = test_node(graph, "Mul", "m", NULL, (value_id[]){batch_norm(graph, x, "n", 6), k}, 2);
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, passes, 1, tolerance);
    assert_int_equal(graph->node_count, 1);
    assert_int_equal(test_count(graph, "mitral", "ScaleShift"), 1);
    test_close(graph);
}

static void values_that_are_read_elsewhere_stay(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        struct graph *graph = test_open();
        value_id x = test_input(graph, "x", 4, (int64_t[]){1, 4, 6, 6});
        value_id c = convolution(graph, x, "c", (int64_t[]){4, 4, 3, 3}, false, 1), y = batch_norm(graph, c, "n", 4);
        if (form == 0)
            assert_ok(graph->context, graph_add_output(graph, c));
        else if (form == 1)
            assert_ok(graph->context, graph_add_output(graph, test_node(graph, "Relu", "r", NULL, &c, 1)));
        else
            graph->values[c].tap = true;
        assert_ok(graph->context, graph_add_output(graph, y));
        test_passes_keep_results(graph, passes, 1, tolerance);
        assert_int_equal(test_count(graph, NULL, "Conv"), 1);
        assert_int_equal(test_count(graph, "mitral", "ScaleShift"), 1);
        test_close(graph);
    }
}

/* Two convolutions share their weights; only one is normalized. */
static void shared_weights_are_not_changed(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 4, (int64_t[]){1, 4, 6, 6});
    value_id w = test_random_constant(graph, "w", 4, (int64_t[]){4, 4, 1, 1}, 0, 0.5f);
    value_id a = test_node(graph, "Conv", "a", NULL, (value_id[]){x, w}, 2), b = test_node(graph, "Conv", "b", NULL, (value_id[]){a, w}, 2);
    assert_ok(graph->context, graph_add_output(graph, batch_norm(graph, b, "n", 4)));
    test_passes_keep_results(graph, passes, 1, tolerance);
    assert_int_equal(graph->node_count, 2);
    test_close(graph);
}

static void infinite_factors_stay(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 4, (int64_t[]){1, 4, 6, 6});
    value_id zero = test_constant(graph, "zero", 1, (int64_t[]){1}, (float[]){0});
    value_id y = convolution(graph, x, "c", (int64_t[]){4, 4, 3, 3}, false, 1);
    assert_ok(graph->context, graph_add_output(graph, test_node(graph, "Div", "d", NULL, (value_id[]){y, zero}, 2)));
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, pipeline_run_one(graph, "fold-batch-norm", &(struct pass_options){.threads = 1}));
    assert_int_equal(test_count(graph, NULL, "Div"), 1);
    test_close(graph);
}

static void training_graphs_keep_their_normalization(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 4, (int64_t[]){1, 4, 6, 6});
    assert_ok(graph->context, graph_add_output(graph, batch_norm(graph, x, "n", 4)));
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, pipeline_run_one(graph, "fold-batch-norm", &(struct pass_options){.threads = 1, .training = true}));
    assert_int_equal(test_count(graph, NULL, "BatchNormalization"), 1);
    test_close(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_into_convolutions),
        cmocka_unit_test(goes_into_transposed_convolutions),
        cmocka_unit_test(goes_into_gemm),
        cmocka_unit_test(takes_arithmetic_by_channel_along),
        cmocka_unit_test(what_is_left_becomes_one_scale_and_shift),
        cmocka_unit_test(values_that_are_read_elsewhere_stay),
        cmocka_unit_test(shared_weights_are_not_changed),
        cmocka_unit_test(infinite_factors_stay),
        cmocka_unit_test(training_graphs_keep_their_normalization),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
