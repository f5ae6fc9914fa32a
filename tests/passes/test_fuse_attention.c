/* Products with a soft-max between them become one step. */
#include "results.h"

static const char *const passes[] = {"fuse-matmul", "fuse-attention"};
static const double tolerance = 1e-5; /* sums of up to 1300 products in another order, exponentials by other polynomials */

struct form {
    int32_t rank;
    int64_t leading[2], rows, depth, keys, outputs;
    float factor;
};

static const struct form forms[] = {
    {2, {0}, 5, 7, 129, 3, 1},
    {3, {3}, 30, 16, 128, 48, 0.25f},
    {4, {2, 3}, 29, 20, 149, 20, 0.3f},
    {4, {1, 2}, 64, 64, 200, 64, 0.125f},
    {3, {2}, 1, 1, 130, 1, 2},
    {3, {2}, 57, 33, 160, 17, 1},
    {2, {0}, 60, 16, 1300, 100, -0.5f},
}, few_keys = {3, {3}, 30, 16, 127, 48, 0.25f};

static value_id matrix(struct graph *graph, const char *name, const struct form *form, int64_t rows, int64_t columns)
{
    int64_t dims[4] = {form->leading[0], form->leading[1]};
    dims[form->rank - 2] = rows;
    dims[form->rank - 1] = columns;
    return test_input(graph, name, form->rank, dims);
}

static value_id softmax(struct graph *graph, value_id x, int64_t axis)
{
    struct attributes attributes = {0};
    assert_ok(graph->context, attributes_set_int(&attributes, graph->arena, "axis", axis));
    return test_node(graph, "Softmax", "s", &attributes, &x, 1);
}

static value_id attention(struct graph *graph, const struct form *form, int64_t axis, value_id *weights)
{
    value_id q = matrix(graph, "q", form, form->rows, form->depth), k = matrix(graph, "k", form, form->depth, form->keys);
    value_id v = matrix(graph, "v", form, form->keys, form->outputs);
    value_id y = test_node(graph, "MatMul", "p", NULL, (value_id[]){q, k}, 2);
    if (form->factor != 1)
        y = test_node(graph, "Mul", "m", NULL, (value_id[]){y, test_constant(graph, "f", 0, NULL, &form->factor)}, 2);
    *weights = softmax(graph, y, axis);
    return test_node(graph, "MatMul", "y", NULL, (value_id[]){*weights, v}, 2);
}

static void every_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct graph *graph = test_open();
        value_id weights, y = attention(graph, &forms[i], i % 2 ? -1 : forms[i].rank - 1, &weights);
        assert_ok(graph->context, graph_add_output(graph, y));
        test_passes_keep_results(graph, passes, 2, tolerance);
        assert_int_equal(graph->node_count, 1);
        assert_int_equal(test_count(graph, "mitral", "Attention"), 1);
        test_close(graph);
    }
}

/* The weights are read elsewhere, the soft-max is along another dimension, the keys are few. */
static void what_stays(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct graph *graph = test_open();
        value_id weights, y = attention(graph, i == 2 ? &few_keys : &forms[2], i == 1 ? -2 : -1, &weights);
        assert_ok(graph->context, graph_add_output(graph, y));
        if (i == 0)
            assert_ok(graph->context, graph_add_output(graph, weights));
        test_passes_keep_results(graph, passes, 2, tolerance);
        assert_int_equal(test_count(graph, "mitral", "Attention"), 0);
        test_close(graph);
    }
}

static void golden(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id weights, y = attention(graph, &forms[1], -1, &weights);
    assert_ok(graph->context, graph_add_output(graph, y));
    assert_ok(graph->context, graph_infer(graph));
    for (int i = 0; i < 2; i++)
        assert_ok(graph->context, pipeline_run_one(graph, passes[i], &(struct pass_options){.threads = 1}));
    assert_dump(graph, "input q: float32[3,30,16]\n"
                       "input k: float32[3,16,128]\n"
                       "input v: float32[3,128,48]\n"
                       "constant f: float32[]\n"
                       "y: float32[3,30,48] = mitral.Attention.1(q, k, v) {alpha=0.25}\n"
                       "output y\n");
    test_close(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_form), cmocka_unit_test(what_stays), cmocka_unit_test(golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
