/* GroupNorm and LayerNorm as exporters write them, node by node, become operators. */
#include "results.h"

static const char *const passes[] = {"find-normalization"};
static const double tolerance = 1e-5; /* means and variances of a few hundred numbers, summed in another order */

static void finish(struct graph *graph, value_id y, size_t nodes, const char *found)
{
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, passes, 1, tolerance);
    assert_int_equal(graph->node_count, nodes);
    assert_int_equal(test_count(graph, NULL, found), nodes == 1);
    test_close(graph);
}

static value_id group(struct graph *graph, value_id x, int64_t groups, bool affine, bool elsewhere)
{
    value_id there = test_integers(graph, "there", (int64_t[]){0, groups, -1}, 3), back = test_integers(graph, "back", (int64_t[]){2, 12, 5, 7}, 4);
    value_id scale = test_random_constant(graph, "s", 1, &groups, 1, 0.3f), bias = test_random_constant(graph, "b", 1, &groups, 0, 0.3f);
    value_id y = test_node(graph, "Reshape", "r", NULL, (value_id[]){x, there}, 2);
    y = test_node(graph, "InstanceNormalization", "n", NULL, (value_id[]){y, scale, bias}, 3);
    if (elsewhere)
        assert_ok(graph->context, graph_add_output(graph, y));
    y = test_node(graph, "Reshape", "q", NULL, (value_id[]){y, back}, 2);
    if (!affine)
        return y;
    y = test_node(graph, "Mul", "m", NULL, (value_id[]){test_random_constant(graph, "g", 3, (int64_t[]){12, 1, 1}, 1, 0.5f), y}, 2);
    return test_node(graph, "Add", "a", NULL, (value_id[]){y, test_random_constant(graph, "h", 3, (int64_t[]){12, 1, 1}, 0, 0.5f)}, 2);
}

static void groups(void **state)
{
    (void)state;
    for (int form = 0; form < 6; form++) {
        struct graph *graph = test_open();
        value_id x = test_input(graph, "x", 4, (int64_t[]){2, 12, 5, 7});
        value_id y = group(graph, x, form < 2 ? 3 : form < 4 ? 1 : 12, form & 1, false);
        finish(graph, y, 1, "GroupNormalization");
    }
    struct graph *graph = test_open(); /* what is read elsewhere has to be computed */
    value_id y = group(graph, test_input(graph, "x", 4, (int64_t[]){2, 12, 5, 7}), 3, true, true);
    finish(graph, y, 5, "GroupNormalization");
}

/* Models of before version 21, where GroupNormalization scales groups (18) or is not there at all (17). */
static void groups_of_older_models(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        struct graph *graph = test_open();
        graph->opset = form & 2 ? 18 : 17;
        value_id x = test_input(graph, "x", 4, (int64_t[]){2, 12, 5, 7});
        assert_ok(graph->context, graph_add_output(graph, group(graph, x, 3, form & 1, false)));
        test_passes_keep_results(graph, passes, 1, tolerance);
        assert_int_equal(graph->node_count, 1);
        assert_int_equal(graph->nodes[0].version, 21);
        test_close(graph);
    }
}

static value_id layer(struct graph *graph, value_id x, int form)
{
    const int64_t axis = form & 4 ? 2 : -1, wrong = 1;
    struct attributes axes = test_ints(graph, "axes", form & 32 ? &wrong : &axis, 1);
    value_id list = test_integers(graph, "axes", &axis, 1), two = test_constant(graph, "two", 0, NULL, (float[]){2});
    const int32_t rank = form & 128 ? 4 : form & 64 ? 3 : 0;
    value_id epsilon = test_constant(graph, "epsilon", rank, (int64_t[]){1, 1, 1, 1}, (float[]){1e-3f}), mean, variance, square;
    assert_ok(graph->context, graph_add_value(graph, "mean", NULL, &mean));
    assert_ok(graph->context, graph_add_value(graph, "variance", NULL, &variance));
    const bool given = form & 8; /* axes as an input */
    const int version = given ? 18 : 13;
    assert_ok(graph->context, graph_add_node(graph, op_find("", "ReduceMean"), version, "mean", given ? NULL : &axes, (value_id[]){x, list},
                                             given ? 2 : 1, &mean, 1, NULL));
    value_id d = test_node(graph, "Sub", "d", NULL, (value_id[]){x, mean}, 2);
    square = form & 1 ? test_node(graph, "Mul", "p", NULL, (value_id[]){d, d}, 2) : test_node(graph, "Pow", "p", NULL, (value_id[]){d, two}, 2);
    assert_ok(graph->context, graph_add_node(graph, op_find("", "ReduceMean"), version, "variance", given ? NULL : &axes,
                                             (value_id[]){square, list}, given ? 2 : 1, &variance, 1, NULL));
    value_id e = test_node(graph, "Add", "e", NULL, form & 16 ? (value_id[]){epsilon, variance} : (value_id[]){variance, epsilon}, 2);
    value_id root = test_node(graph, "Sqrt", "root", NULL, &e, 1);
    value_id y = test_node(graph, "Div", "y", NULL, (value_id[]){d, root}, 2);
    if (!(form & 2))
        return y;
    y = test_node(graph, "Mul", "m", NULL, (value_id[]){y, test_random_constant(graph, "g", 1, (int64_t[]){33}, 1, 0.5f)}, 2);
    return test_node(graph, "Add", "a", NULL, (value_id[]){test_random_constant(graph, "h", 1, (int64_t[]){33}, 0, 0.5f), y}, 2);
}

static void layers(void **state)
{
    (void)state;
    for (int form = 0; form < 32; form++) {
        struct graph *graph = test_open();
        finish(graph, layer(graph, test_input(graph, "x", 3, (int64_t[]){4, 9, 33}), form), 1, "LayerNormalization");
    }
    struct graph *graph = test_open(); /* along another dimension */
    finish(graph, layer(graph, test_input(graph, "x", 3, (int64_t[]){4, 9, 33}), 32 + 2), 9, "LayerNormalization");
    for (int form = 64; form <= 128; form *= 2) { /* an ε of more dimensions gives them to the result */
        graph = test_open();
        finish(graph, layer(graph, test_input(graph, "x", 3, (int64_t[]){4, 9, 33}), form), form == 64 ? 1 : 7, "LayerNormalization");
    }
}

static void golden(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id y = group(graph, test_input(graph, "x", 4, (int64_t[]){2, 12, 5, 7}), 3, true, false);
    assert_ok(graph->context, graph_add_output(graph, y));
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, pipeline_run_one(graph, "find-normalization", &(struct pass_options){.threads = 1}));
    char *text = NULL;
    assert_ok(graph->context, graph_dump(graph, &text));
    if (!strstr(text, "a: float32[2,12,5,7] = GroupNormalization.21(x, a.scale, a.shift) {"))
        print_error("%s\n", text);
    assert_non_null(strstr(text, "a: float32[2,12,5,7] = GroupNormalization.21(x, a.scale, a.shift) {"));
    assert_non_null(strstr(text, "num_groups=3"));
    mitral_release(graph->context, text);
    test_close(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(groups), cmocka_unit_test(groups_of_older_models), cmocka_unit_test(layers),
                                       cmocka_unit_test(golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
