/* Chains of elementwise operators become one pass over memory. */
#include <stdio.h>

#include "results.h"

static const char *const passes[] = {"fuse-elementwise"}, *const laid_out[] = {"fuse-elementwise", "layout"};
static const double tolerance = 1e-6; /* the same expressions; powers are products */
static const int64_t dims[] = {2, 5, 7, 9};

static value_id apply(struct graph *graph, const char *op, value_id a, value_id b)
{
    static int number;
    char name[32];
    snprintf(name, sizeof name, "%s%d", op, ++number);
    return test_node(graph, op, name, NULL, (value_id[]){a, b}, b == NO_VALUE ? 1 : 2);
}

static void finish(struct graph *graph, value_id y, size_t nodes, size_t chains)
{
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, passes, 1, tolerance);
    assert_int_equal(graph->node_count, nodes);
    assert_int_equal(test_count(graph, "mitral", "Elementwise"), chains);
    test_close(graph);
}

static void every_operator(void **state)
{
    (void)state;
    static const char *const unary[] = {"Abs", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Neg", "Relu", "Sigmoid",
                                        "Softplus", "Swish", "Tanh", "Gelu"};
    static const char *const binary[] = {"Add", "Sub", "Mul", "Div", "PRelu"};
    for (size_t i = 0; i < sizeof unary / sizeof *unary; i++)
        for (size_t j = 0; j < sizeof binary / sizeof *binary; j++) {
            struct graph *graph = test_open();
            value_id x = test_input(graph, "x", 4, dims), c = test_random_constant(graph, "c", 3, (int64_t[]){5, 1, 1}, 2, 0.5f);
            finish(graph, apply(graph, binary[j], apply(graph, unary[i], x, NO_VALUE), c), 1, 1);
        }
    struct graph *graph = test_open(); /* of positive numbers */
    value_id x = apply(graph, "Abs", test_input(graph, "x", 4, dims), NO_VALUE), one = test_constant(graph, "one", 0, NULL, (float[]){1});
    x = apply(graph, "Add", x, one);
    finish(graph, apply(graph, "Reciprocal", apply(graph, "Sqrt", apply(graph, "Log", apply(graph, "Add", x, one), NO_VALUE), NO_VALUE), NO_VALUE),
           1, 1);
}

static void broadcasts(void **state)
{
    (void)state;
    static const int64_t shapes[][4] = {{2, 5, 1, 1}, {1, 5, 1, 1}, {1, 1, 1, 9}, {1, 1, 7, 1}, {2, 1, 7, 9}, {1, 1, 1, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct graph *graph = test_open();
        value_id x = test_input(graph, "x", 4, dims), other = test_input(graph, "o", 4, shapes[i]);
        value_id y = apply(graph, "Mul", other, apply(graph, "Sigmoid", x, NO_VALUE));
        finish(graph, apply(graph, "Sub", y, x), 1, 1);
    }
}

static void powers_and_limits(void **state)
{
    (void)state;
    for (int power = 2; power <= 4; power++) {
        struct graph *graph = test_open();
        value_id x = test_input(graph, "x", 4, dims), p = test_constant(graph, "p", 0, NULL, (float[]){(float)power});
        value_id low = test_constant(graph, "low", 0, NULL, (float[]){-0.25f}), high = test_constant(graph, "high", 0, NULL, (float[]){0.5f});
        value_id y = test_node(graph, "Clip", "y", NULL, (value_id[]){apply(graph, "Neg", x, NO_VALUE), low, high}, 3);
        finish(graph, apply(graph, "Pow", y, p), power < 4 ? 1 : 2, 1);
    }
}

/* GELU and its tanh form as exporters write them; more than a chain holds becomes two. */
static void what_exporters_write(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 3, (int64_t[]){3, 20, 40}), half = test_constant(graph, "half", 0, NULL, (float[]){0.5f});
    value_id one = test_constant(graph, "one", 0, NULL, (float[]){1}), root = test_constant(graph, "root", 0, NULL, (float[]){1.4142135f});
    value_id y = apply(graph, "Add", apply(graph, "Erf", apply(graph, "Div", x, root), NO_VALUE), one);
    finish(graph, apply(graph, "Mul", apply(graph, "Mul", x, y), half), 1, 1);
    graph = test_open();
    y = test_input(graph, "x", 2, (int64_t[]){300, 301});
    one = test_constant(graph, "one", 0, NULL, (float[]){1});
    for (int i = 0; i < 20; i++)
        y = i % 2 ? apply(graph, "Tanh", y, NO_VALUE) : apply(graph, "Add", y, one);
    finish(graph, y, 2, 2);
}

/* A value that somebody else reads, an output, another shape, another type: not taken. */
static void what_stays(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 4, dims), y = apply(graph, "Exp", x, NO_VALUE);
    assert_ok(graph->context, graph_add_output(graph, y));
    finish(graph, apply(graph, "Neg", y, NO_VALUE), 2, 0);
    graph = test_open();
    x = test_input(graph, "x", 4, (int64_t[]){1, 1, 7, 9});
    y = apply(graph, "Exp", x, NO_VALUE);
    value_id z = test_input(graph, "z", 4, dims);
    finish(graph, apply(graph, "Neg", apply(graph, "Add", z, y), NO_VALUE), 2, 1);
}

static void golden(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 2, (int64_t[]){4, 6}), r = test_input(graph, "r", 2, (int64_t[]){4, 6});
    value_id s = test_node(graph, "Sigmoid", "s", NULL, &x, 1), m = test_node(graph, "Mul", "m", NULL, (value_id[]){x, s}, 2);
    value_id y = test_node(graph, "Add", "y", NULL, (value_id[]){m, r}, 2);
    assert_ok(graph->context, graph_add_output(graph, y));
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, pipeline_run_one(graph, "fuse-elementwise", &(struct pass_options){.threads = 1}));
    assert_dump(graph, "input x: float32[4,6]\n"
                       "input r: float32[4,6]\n"
                       "y: float32[4,6] = mitral.Elementwise.1(r, x) {operations=\"Sigmoid Mul Add\", operands=[1,-1,1,2,3,0], "
                       "parameters=[0,0,0,0,0,0]}\n"
                       "output y\n");
    test_close(graph);
}

/* Between convolutions a chain works channels-last, also with gates and planes. */
static void channels_last(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 4, (int64_t[]){2, 16, 9, 11}), w = test_random_constant(graph, "w", 4, (int64_t[]){32, 16, 3, 3}, 0, 0.1f);
    value_id v = test_random_constant(graph, "v", 4, (int64_t[]){16, 32, 3, 3}, 0, 0.1f);
    value_id gate = test_input(graph, "gate", 4, (int64_t[]){2, 32, 1, 1}), plane = test_input(graph, "plane", 4, (int64_t[]){1, 1, 7, 9});
    value_id c = test_random_constant(graph, "c", 3, (int64_t[]){32, 1, 1}, 0, 1);
    value_id y = test_node(graph, "Conv", "first", NULL, (value_id[]){x, w}, 2);
    y = apply(graph, "Mul", apply(graph, "Mul", y, gate), plane);
    y = apply(graph, "Tanh", apply(graph, "Add", y, c), NO_VALUE);
    y = test_node(graph, "Conv", "second", NULL, (value_id[]){y, v}, 2);
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, laid_out, 2, 2e-5);
    assert_int_equal(test_count(graph, "mitral", "Elementwise"), 1);
    assert_int_equal(test_count(graph, "mitral", "Reorder"), 2);
    test_close(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operator), cmocka_unit_test(broadcasts),    cmocka_unit_test(powers_and_limits),
        cmocka_unit_test(what_exporters_write), cmocka_unit_test(what_stays), cmocka_unit_test(golden),
        cmocka_unit_test(channels_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
