/* Graph in, text out, for the passes that clean up. */
#include "../unit/build.h"

#include "compiler/pipeline.h"

static const struct pass_options options = {.threads = 1};

static void identities_and_casts_go(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct graph *graph = NULL;
    assert_ok(context, graph_create(&graph, context));
    value_id x = test_input(graph, "x", 2, (int64_t[]){2, 3});
    value_id a = test_node(graph, "Identity", "a", NULL, &x, 1);
    struct attributes to = {0}, perm = {0};
    assert_ok(context, attributes_set_int(&to, graph->arena, "to", MITRAL_FLOAT));
    assert_ok(context, attributes_set_ints(&perm, graph->arena, "perm", (int64_t[]){0, 1}, 2));
    value_id b = test_node(graph, "Cast", "b", &to, &a, 1), c = test_node(graph, "Transpose", "c", &perm, &b, 1);
    value_id d = test_node(graph, "Relu", "d", NULL, &c, 1);
    assert_ok(context, graph_add_output(graph, d));
    assert_ok(context, graph_infer(graph));
    assert_ok(context, pipeline_run_one(graph, "simplify", &options));
    assert_dump(graph, "input x: float32[2,3]\nd: float32[2,3] = Relu.14(x)\noutput d\n");
    graph_destroy(&graph);
    mitral_context_destroy(&context);
}

static value_id pads(struct graph *graph, const char *name, const int64_t *values)
{
    mitral_tensor tensor;
    value_id out;
    tensor_set(&tensor, MITRAL_INT64, 1, (int64_t[]){4});
    tensor.data = (void *)(uintptr_t)values;
    assert_ok(graph->context, graph_add_constant(graph, name, &tensor, false, &out));
    return out;
}

static void paddings_of_nothing_go(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct graph *graph = NULL;
    assert_ok(context, graph_create(&graph, context));
    value_id x = test_input(graph, "x", 2, (int64_t[]){2, 3});
    value_id nothing = pads(graph, "nothing", (int64_t[]){0, 0, 0, 0}), moved = pads(graph, "moved", (int64_t[]){0, 1, 0, -1});
    value_id a = test_node(graph, "Pad", "a", NULL, (value_id[]){x, nothing}, 2);
    value_id b = test_node(graph, "Pad", "b", NULL, (value_id[]){a, moved}, 2);
    assert_ok(context, graph_add_output(graph, b));
    assert_ok(context, graph_infer(graph));
    assert_ok(context, pipeline_run_one(graph, "simplify", &options));
    assert_int_equal(graph->node_count, 1);
    assert_int_equal(graph_producer(graph, b)->inputs[0], x);
    graph_destroy(&graph);
    mitral_context_destroy(&context);
}

static void constants_are_folded(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct graph *graph = NULL;
    assert_ok(context, graph_create(&graph, context));
    value_id x = test_input(graph, "x", 1, (int64_t[]){2});
    value_id two = test_constant(graph, "two", 1, (int64_t[]){2}, (float[]){2, 3});
    value_id sum = test_node(graph, "Add", "sum", NULL, (value_id[]){two, two}, 2);
    value_id y = test_node(graph, "Mul", "y", NULL, (value_id[]){x, sum}, 2);
    assert_ok(context, graph_add_output(graph, y));
    assert_ok(context, graph_infer(graph));
    assert_ok(context, pipeline_run_one(graph, "fold-constants", &options));
    const mitral_tensor *folded = graph_constant(graph, sum);
    assert_non_null(folded);
    assert_true(((float *)folded->data)[0] == 4 && ((float *)folded->data)[1] == 6);
    assert_int_equal(graph->node_count, 1);
    graph_destroy(&graph);
    mitral_context_destroy(&context);
}

static void equal_nodes_merge(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct graph *graph = NULL;
    assert_ok(context, graph_create(&graph, context));
    value_id x = test_input(graph, "x", 1, (int64_t[]){2});
    value_id a = test_node(graph, "Relu", "a", NULL, &x, 1), b = test_node(graph, "Relu", "b", NULL, &x, 1);
    value_id y = test_node(graph, "Add", "y", NULL, (value_id[]){a, b}, 2);
    assert_ok(context, graph_add_output(graph, y));
    assert_ok(context, graph_infer(graph));
    assert_ok(context, pipeline_run_one(graph, "merge-equal", &options));
    assert_dump(graph, "input x: float32[2]\na: float32[2] = Relu.14(x)\ny: float32[2] = Add.14(a, a)\noutput y\n");
    graph_destroy(&graph);
    mitral_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identities_and_casts_go),
        cmocka_unit_test(paddings_of_nothing_go),
        cmocka_unit_test(constants_are_folded),
        cmocka_unit_test(equal_nodes_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
