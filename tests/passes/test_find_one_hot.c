/* Products with one-hot matrices become rows picked by number; what only looks like one stays. */
#include "results.h"

static const char *const passes[] = {"find-one-hot"};
enum { ROWS = 5, COLUMNS = 7 };

struct form {
    int64_t dims[3];      /* of x */
    int32_t rank, columns_rank;
    int32_t columns[ROWS];
    bool swapped, infinite, found;
};

static value_id add_columns(struct graph *graph, const struct form *form, bool wide)
{
    int64_t dims[3] = {1, 1, 1}, numbers[ROWS];
    dims[form->columns_rank - 1] = ROWS;
    for (int i = 0; i < ROWS; i++)
        numbers[i] = form->columns[i];
    mitral_tensor tensor;
    tensor_set(&tensor, wide ? MITRAL_INT64 : MITRAL_INT32, form->columns_rank, dims);
    tensor.data = wide ? (void *)numbers : (void *)form->columns;
    value_id id;
    assert_ok(graph->context, graph_add_constant(graph, "columns", &tensor, false, &id));
    return id;
}

static value_id cast(struct graph *graph, const char *name, value_id from, mitral_dtype dtype)
{
    struct attributes to = {0};
    assert_ok(graph->context, attributes_set_int(&to, graph->arena, "to", dtype));
    return test_node(graph, "Cast", name, &to, &from, 1);
}

static void check(const struct form *form, bool wide)
{
    struct graph *graph = test_open();
    float weights[ROWS * COLUMNS];
    for (int i = 0; i < ROWS * COLUMNS; i++)
        weights[i] = (float)(i * i % 23) - 11.25f;
    weights[3] = form->infinite ? INFINITY : 1;
    const float eight = 8;
    value_id x = test_input(graph, "x", form->rank, form->dims), scale = test_constant(graph, "scale", 0, NULL, &eight);
    x = test_node(graph, "Mul", "scaled", NULL, (value_id[]){x, scale}, 2);
    x = cast(graph, "numbers", x, wide ? MITRAL_INT64 : MITRAL_INT32); /* −8 … 7: also below and above the columns */
    const value_id columns = add_columns(graph, form, wide);
    value_id y = test_node(graph, "Equal", "equal", NULL, form->swapped ? (value_id[]){columns, x} : (value_id[]){x, columns}, 2);
    y = cast(graph, "one_hot", y, MITRAL_FLOAT);
    y = test_node(graph, "MatMul", "y", NULL,
                  (value_id[]){y, test_constant(graph, "w", 2, (int64_t[]){ROWS, COLUMNS}, weights)}, 2);
    assert_ok(graph->context, graph_add_output(graph, y));
    if (form->infinite) { /* its products are NaN, which differs from itself */
        assert_ok(graph->context, graph_infer(graph));
        assert_ok(graph->context, pipeline_run_one(graph, passes[0], &(struct pass_options){.threads = 1}));
    } else {
        test_passes_keep_results(graph, passes, 1, 0);
    }
    assert_int_equal(test_count(graph, "", "Gather"), form->found);
    assert_int_equal(test_count(graph, "", "MatMul"), !form->found);
    test_close(graph);
}

static void one_hot(void **state)
{
    (void)state;
    static const struct form forms[] = {
        {{2, 30, 1}, 3, 3, {0, 1, 2, 3, 4}, false, false, true},
        {{2, 30, 1}, 3, 1, {0, 1, 2, 3, 4}, true, false, true},
        {{40, 1}, 2, 2, {0, 1, 2, 3, 4}, false, false, true},
        {{1}, 1, 1, {0, 1, 2, 3, 4}, false, false, true},
        {{40, 1}, 2, 2, {0, 1, 3, 2, 4}, false, false, false},     /* another order */
        {{40, 1}, 2, 2, {1, 2, 3, 4, 5}, false, false, false},
        {{40, ROWS}, 2, 2, {0, 1, 2, 3, 4}, false, false, false},  /* several numbers a row */
        {{40, 1}, 2, 2, {0, 1, 2, 3, 4}, false, true, false},
        {{40, 1}, 2, 3, {0, 1, 2, 3, 4}, false, false, false},     /* the columns add a dimension */
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        for (int wide = 0; wide < 2; wide++)
            check(&forms[i], wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_hot)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
