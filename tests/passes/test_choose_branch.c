/* An If whose condition is known gives way to its branch: by constants, by shapes, and where a symbol has no say in it; others stay. */
#include "results.h"

static const char *const passes[] = {"choose-branch"};

/* then: −x, else: |x|, of what the node takes from outside. */
static struct graph *make_branch(struct graph *graph, const char *op, value_id like)
{
    struct graph *branch;
    value_id x;
    assert_ok(graph->context, graph_create_subgraph(&branch, graph));
    assert_ok(graph->context, graph_add_value(branch, "inside", &graph->values[like].type, &x));
    assert_ok(graph->context, graph_add_input(branch, x));
    assert_ok(graph->context, graph_add_output(branch, test_node(branch, op, "result", NULL, &x, 1)));
    return branch;
}

static value_id add_if(struct graph *graph, value_id condition, value_id x, const char *output)
{
    static const char *const names[2] = {"then_branch", "else_branch"}, *const ops[2] = {"Neg", "Abs"};
    struct attributes attributes = {0};
    struct graph **subgraphs = arena_allocate(graph->arena, 2 * sizeof *subgraphs);
    assert_non_null(subgraphs);
    for (int32_t i = 0; i < 2; i++) {
        struct attribute attribute = {.name = names[i], .kind = ATTRIBUTE_GRAPH, .subgraph = i};
        assert_ok(graph->context, attributes_set(&attributes, graph->arena, &attribute));
        subgraphs[i] = make_branch(graph, ops[i], x);
    }
    const value_id y = test_node(graph, "If", output, &attributes, (value_id[]){condition, x}, 2);
    struct node *node = &graph->nodes[graph->node_count - 1];
    node->subgraphs = subgraphs;
    node->subgraph_count = 2;
    node->capture_count = 1;
    return y;
}

/* Whether dimension `axis` of x is one. */
static value_id is_one(struct graph *graph, value_id x, int64_t axis)
{
    const value_id shape = test_node(graph, "Shape", "shape", NULL, &x, 1);
    const value_id size = test_node(graph, "Gather", "size", NULL, (value_id[]){shape, test_integers(graph, "axis", &axis, 1)}, 2);
    return test_node(graph, "Equal", "equal", NULL, (value_id[]){size, test_integers(graph, "one", (int64_t[]){1}, 1)}, 2);
}

static void finish(struct graph *graph, value_id y, size_t branches, const char *op)
{
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, passes, 1, 0);
    assert_int_equal(test_count(graph, "", "If"), branches);
    assert_int_equal(test_count(graph, "", op), 1 - branches);
    test_close(graph);
}

static void known_conditions(void **state)
{
    (void)state;
    for (uint8_t condition = 0; condition < 2; condition++) {
        struct graph *graph = test_open();
        const mitral_tensor constant = {.dtype = MITRAL_BOOL, .rank = 0, .data = &condition};
        value_id known;
        assert_ok(graph->context, graph_add_constant(graph, "known", &constant, false, &known));
        const value_id x = test_input(graph, "x", 2, (int64_t[]){2, 3});
        finish(graph, add_if(graph, known, x, "y"), 0, condition ? "Neg" : "Abs");
    }
    for (int64_t axis = -2; axis < 2; axis++) { /* 1×3 */
        struct graph *graph = test_open();
        const value_id x = test_input(graph, "x", 2, (int64_t[]){1, 3});
        finish(graph, add_if(graph, is_one(graph, x, axis), x, "y"), 0, axis == 0 || axis == -2 ? "Neg" : "Abs");
    }
}

/* What depends on the one dimension that is not known stays, what on the other does not; then a second one behind it is known too. */
static void symbols(void **state)
{
    (void)state;
    for (int64_t axis = 0; axis < 2; axis++) {
        struct graph *graph = test_open();
        const value_id x = test_input(graph, "x", 2, (int64_t[]){-1, 3});
        value_id y = add_if(graph, is_one(graph, x, axis), x, "first");
        y = add_if(graph, is_one(graph, y, 1), y, "second");
        assert_ok(graph->context, graph_add_output(graph, y));
        assert_ok(graph->context, graph_infer(graph));
        const struct pass_options options = {.threads = 1};
        assert_ok(graph->context, pipeline_run_one(graph, "choose-branch", &options));
        assert_int_equal(test_count(graph, "", "If"), axis == 0 ? 2 : 0); /* behind an If no shape is known */
        assert_int_equal(test_count(graph, "", "Abs"), axis == 0 ? 0 : 2);
        test_close(graph);
    }
}

/* A condition that weights decide changes as they are trained. */
static void weights(void **state)
{
    (void)state;
    for (int training = 0; training < 2; training++) {
        struct graph *graph = test_open();
        const value_id x = test_input(graph, "x", 2, (int64_t[]){2, 3}), w = test_constant(graph, "w", 0, NULL, (float[]){2});
        graph->values[w].parameter = true;
        const value_id zero = test_constant(graph, "zero", 0, NULL, (float[]){0});
        const value_id condition = test_node(graph, "Greater", "greater", NULL, (value_id[]){w, zero}, 2);
        assert_ok(graph->context, graph_add_output(graph, add_if(graph, condition, x, "y")));
        assert_ok(graph->context, graph_infer(graph));
        const struct pass_options options = {.threads = 1, .training = training};
        assert_ok(graph->context, pipeline_run_one(graph, "choose-branch", &options));
        assert_int_equal(test_count(graph, "", "If"), training);
        test_close(graph);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_conditions), cmocka_unit_test(symbols), cmocka_unit_test(weights)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
