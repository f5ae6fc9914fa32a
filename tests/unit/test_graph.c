#include "build.h"

#include <string.h>

static void sorts_nodes_and_keeps_order(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct graph *graph = NULL;
    assert_ok(context, graph_create(&graph, context));
    value_id x = test_input(graph, "x", 1, (int64_t[]){4}), y, z;
    assert_ok(context, graph_add_value(graph, "y", NULL, &y));
    z = test_node(graph, "Relu", "z", NULL, &y, 1); /* reads y before it is made */
    assert_ok(context, graph_add_node(graph, op_find(NULL, "Neg"), 0, "late", NULL, &x, 1, &y, 1, NULL));
    assert_ok(context, graph_add_output(graph, z));
    assert_int_equal(graph_verify(graph), MITRAL_INVALID);
    assert_ok(context, graph_sort(graph));
    assert_ok(context, graph_verify(graph));
    assert_ok(context, graph_infer(graph));
    assert_dump(graph, "input x: float32[4]\ny: float32[4] = Neg.13(x)\nz: float32[4] = Relu.14(y)\noutput z\n");
    graph_destroy(&graph);
    mitral_context_destroy(&context);
}

static void refuses_cycles(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct graph *graph = NULL;
    assert_ok(context, graph_create(&graph, context));
    value_id a, b;
    assert_ok(context, graph_add_value(graph, "a", NULL, &a));
    assert_ok(context, graph_add_value(graph, "b", NULL, &b));
    assert_ok(context, graph_add_node(graph, op_find(NULL, "Relu"), 0, "one", NULL, &a, 1, &b, 1, NULL));
    assert_ok(context, graph_add_node(graph, op_find(NULL, "Relu"), 0, "two", NULL, &b, 1, &a, 1, NULL));
    assert_int_equal(graph_sort(graph), MITRAL_INVALID);
    assert_true(strstr(mitral_context_message(context), "cycle") != NULL);
    graph_destroy(&graph);
    mitral_context_destroy(&context);
}

static void symbolic_shapes_follow_the_graph(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct graph *graph = NULL;
    assert_ok(context, graph_create(&graph, context));
    value_id x = test_input(graph, "x", 3, (int64_t[]){-1, 3, -1});
    graph->values[x].type.symbols[0] = "N";
    graph->values[x].type.symbols[2] = "W";
    struct attributes axis = {0};
    assert_ok(context, attributes_set_int(&axis, graph->arena, "axis", 2));
    value_id y = test_node(graph, "Concat", "y", &axis, (value_id[]){x, x}, 2);
    struct attributes flat = {0};
    assert_ok(context, attributes_set_int(&flat, graph->arena, "axis", 2));
    test_node(graph, "Flatten", "z", &flat, &y, 1);
    assert_ok(context, graph_add_output(graph, y));
    assert_ok(context, graph_infer(graph));
    assert_dump(graph, "input x: float32[N,3,W]\ny: float32[N,3,2*W] = Concat.13(x, x) {axis=2}\n"
                       "z: float32[3*N,2*W] = Flatten.25(y) {axis=2}\noutput y\n");
    graph_destroy(&graph);
    mitral_context_destroy(&context);
}

static void dead_nodes_go(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct graph *graph = NULL;
    assert_ok(context, graph_create(&graph, context));
    value_id x = test_input(graph, "x", 1, (int64_t[]){4});
    value_id used = test_node(graph, "Relu", "used", NULL, &x, 1), unused = test_node(graph, "Neg", "unused", NULL, &x, 1);
    test_node(graph, "Abs", "unused2", NULL, &unused, 1);
    assert_ok(context, graph_add_output(graph, used));
    assert_true(graph_remove_dead(graph));
    assert_false(graph_remove_dead(graph));
    assert_ok(context, graph_sort(graph));
    assert_int_equal(graph->node_count, 1);
    graph_destroy(&graph);
    mitral_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorts_nodes_and_keeps_order),
        cmocka_unit_test(refuses_cycles),
        cmocka_unit_test(symbolic_shapes_follow_the_graph),
        cmocka_unit_test(dead_nodes_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
