/* Transposed convolutions whose windows do not overlap become 1×1 convolutions before there are gradients: results and gradients stay. */
#include "compiler/gradient.h"
#include "results.h"
#include "training/disjoint.h"

/* Y = ConvTranspose(X, W, B?) with attributes of the test; outputs Y · Y's mean and the gradients of X, W and B. */
static struct graph *transposed(int64_t window, int64_t stride, int64_t pad, bool bias, bool rewritten)
{
    struct graph *graph = test_open();
    struct attributes attributes = {0}, keep = {0};
    const int64_t features = 5, strides[] = {stride, stride}, pads[] = {pad, pad, pad, pad};
    value_id inputs[3] = {test_input(graph, "x", 4, (int64_t[]){2, 6, 5, 7})}, gradients[3];
    inputs[1] = test_random_constant(graph, "w", 4, (int64_t[]){6, features, window, window}, 0, 0.5f);
    inputs[2] = test_random_constant(graph, "b", 1, &features, 0, 0.5f);
    assert_ok(graph->context, attributes_set_ints(&attributes, graph->arena, "strides", strides, 2));
    assert_ok(graph->context, attributes_set_ints(&attributes, graph->arena, "pads", pads, 4));
    assert_ok(graph->context, attributes_set_int(&keep, graph->arena, "keepdims", 0));
    value_id y = test_node(graph, "ConvTranspose", "y", &attributes, inputs, bias ? 3 : 2);
    value_id loss = test_node(graph, "ReduceMean", "loss", &keep, (value_id[]){test_node(graph, "Mul", "q", NULL, (value_id[]){y, y}, 2)}, 1);
    assert_ok(graph->context, graph_infer(graph));
    for (int i = 1; i < 3; i++)
        graph->values[inputs[i]].variable = true; /* trained */
    if (rewritten)
        assert_ok(graph->context, disjoint_windows(graph));
    assert_ok(graph->context, gradient_build(graph, loss, inputs, bias ? 3 : 2, gradients));
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, graph_add_output(graph, loss));
    for (size_t i = 0; i < (bias ? 3 : 2); i++)
        assert_ok(graph->context, graph_add_output(graph, gradients[i]));
    graph_remove_dead(graph);
    assert_ok(graph->context, graph_sort(graph));
    assert_ok(graph->context, graph_verify(graph));
    return graph;
}

static void check(int64_t window, int64_t stride, int64_t pad, bool bias, bool expected)
{
    struct test_results results[2] = {0};
    size_t outputs = 0;
    for (int rewritten = 0; rewritten < 2; rewritten++) {
        struct graph *graph = transposed(window, stride, pad, bias, rewritten != 0);
        assert_int_equal(test_count(graph, NULL, "ConvTranspose"), !rewritten || !expected);
        assert_int_equal(test_count(graph, NULL, "DepthToSpace"), rewritten && expected);
        outputs = graph->output_count;
        test_run(graph, &results[rewritten]);
        test_close(graph);
    }
    for (size_t i = 0; i < outputs; i++) {
        assert_int_equal(results[0].counts[i], results[1].counts[i]);
        for (size_t k = 0; k < results[0].counts[i]; k++) {
            const double before = (double)results[0].data[i][k], after = (double)results[1].data[i][k];
            assert_true(fabs(after - before) <= 1e-5 * (1 + fabs(before))); /* sums in another order */
        }
        free(results[0].data[i]);
        free(results[1].data[i]);
    }
}

static void windows_side_by_side(void **state)
{
    (void)state;
    check(2, 2, 0, false, true);
    check(2, 2, 0, true, true);
}

static void windows_that_overlap_or_are_cut(void **state)
{
    (void)state;
    check(3, 2, 0, true, false);
    check(2, 1, 0, true, false);
    check(2, 2, 1, false, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(windows_side_by_side), cmocka_unit_test(windows_that_overlap_or_are_cut)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
