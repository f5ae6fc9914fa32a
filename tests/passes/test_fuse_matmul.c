/* Matrix products take up factor, bias, residual and activation. */
#include "results.h"

static const char *const passes[] = {"fuse-matmul"};
static const double tolerance = 2e-5; /* oneDNN's polynomials */

static void finish(struct graph *graph, value_id y, size_t nodes, const char *fused)
{
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, passes, 1, tolerance);
    assert_int_equal(graph->node_count, nodes);
    if (fused)
        assert_int_equal(test_count(graph, "mitral", fused), 1);
    test_close(graph);
}

static value_id product(struct graph *graph, value_id x)
{
    value_id w = test_random_constant(graph, "w", 2, (int64_t[]){6, 5}, 0, 0.5f);
    return test_node(graph, "MatMul", "p", NULL, (value_id[]){x, w}, 2);
}

static value_id input(struct graph *graph) { return test_input(graph, "x", 3, (int64_t[]){2, 4, 6}); }

static void factor_bias_residual_and_activation(void **state)
{
    (void)state;
    for (int form = 0; form < 16; form++) {
        struct graph *graph = test_open();
        value_id y = product(graph, input(graph)), r = test_input(graph, "r", 3, (int64_t[]){2, 4, 5});
        value_id b = test_random_constant(graph, "b", 1, (int64_t[]){5}, 0, 0.5f);
        value_id eight = test_constant(graph, "eight", 0, NULL, (float[]){8});
        if (form & 1)
            y = test_node(graph, "Div", "d", NULL, (value_id[]){y, eight}, 2);
        if (form & 2)
            y = test_node(graph, "Add", "a", NULL, (value_id[]){b, y}, 2);
        if (form & 4)
            y = test_node(graph, "Relu", "r", NULL, &y, 1);
        if (form & 8)
            y = test_node(graph, "Add", "s", NULL, (value_id[]){y, r}, 2);
        finish(graph, y, 1, form ? "MatMul" : NULL);
    }
}

/* What does not fit the order factor, bias, activation, residual stays. */
static void other_orders_stay(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        struct graph *graph = test_open();
        value_id x = input(graph), y = product(graph, x);
        value_id b = test_random_constant(graph, "b", 1, (int64_t[]){5}, 0, 0.5f);
        value_id column = test_random_constant(graph, "k", 2, (int64_t[]){4, 1}, 0, 0.5f);
        value_id eight = test_constant(graph, "eight", 0, NULL, (float[]){8});
        if (form == 0) { /* a bias after the activation */
            y = test_node(graph, "Relu", "r", NULL, &y, 1);
            y = test_node(graph, "Add", "a", NULL, (value_id[]){y, b}, 2);
        } else if (form == 1) { /* a factor after the bias */
            y = test_node(graph, "Add", "a", NULL, (value_id[]){y, b}, 2);
            y = test_node(graph, "Mul", "m", NULL, (value_id[]){y, eight}, 2);
        } else { /* an addend by row */
            y = test_node(graph, "Add", "a", NULL, (value_id[]){y, column}, 2);
        }
        finish(graph, y, 2, form == 2 ? NULL : "MatMul");
    }
}

/* The result of a factor of more dimensions has those too. */
static void a_factor_of_higher_rank_stays(void **state)
{
    (void)state;
    for (int32_t rank = 3; rank <= 4; rank++) {
        struct graph *graph = test_open();
        value_id factor = test_constant(graph, "factor", rank, (int64_t[]){1, 1, 1, 1}, (float[]){2});
        value_id y = test_node(graph, "Mul", "m", NULL, (value_id[]){factor, product(graph, input(graph))}, 2);
        finish(graph, y, rank == 3 ? 1 : 2, rank == 3 ? "MatMul" : NULL);
    }
}

static void gemm_takes_an_activation(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 2, (int64_t[]){4, 6}), w = test_random_constant(graph, "w", 2, (int64_t[]){6, 5}, 0, 0.5f);
    value_id y = test_node(graph, "Gemm", "g", NULL, (value_id[]){x, w}, 2);
    finish(graph, test_node(graph, "Relu", "y", NULL, &y, 1), 1, "Gemm");
}

static void products_of_two_inputs(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id a = test_input(graph, "a", 3, (int64_t[]){2, 4, 6}), b = test_input(graph, "b", 3, (int64_t[]){2, 6, 5});
    value_id y = test_node(graph, "MatMul", "p", NULL, (value_id[]){a, b}, 2);
    value_id eight = test_constant(graph, "eight", 0, NULL, (float[]){0.125f});
    finish(graph, test_node(graph, "Mul", "m", NULL, (value_id[]){y, eight}, 2), 1, "MatMul");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factor_bias_residual_and_activation),
        cmocka_unit_test(other_orders_stay),
        cmocka_unit_test(a_factor_of_higher_rank_stays),
        cmocka_unit_test(gemm_takes_an_activation),
        cmocka_unit_test(products_of_two_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
