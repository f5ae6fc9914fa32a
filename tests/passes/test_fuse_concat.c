/* Concatenations that only scales and shifts read are not made. */
#include <stdio.h>

#include "results.h"

static const char *const passes[] = {"fuse-concat"};

static value_id input(struct graph *graph, const char *name, int64_t channels)
{
    return test_input(graph, name, 4, (int64_t[]){2, channels, 3, 4});
}

static value_id concat(struct graph *graph, const char *name, value_id a, value_id b)
{
    struct attributes axis = {0};
    assert_ok(graph->context, attributes_set_int(&axis, graph->arena, "axis", 1));
    return test_node(graph, "Concat", name, &axis, (value_id[]){a, b}, 2);
}

static value_id scale_shift(struct graph *graph, const char *name, value_id x, int64_t channels)
{
    char text[32];
    value_id y, inputs[3] = {x};
    snprintf(text, sizeof text, "%s_k", name);
    inputs[1] = test_random_constant(graph, text, 1, &channels, 1, 0.5f);
    snprintf(text, sizeof text, "%s_b", name);
    inputs[2] = test_random_constant(graph, text, 1, &channels, 0, 0.5f);
    assert_ok(graph->context, graph_add_value(graph, name, NULL, &y));
    assert_ok(graph->context, graph_add_node(graph, op_find("mitral", "ScaleShift"), 1, name, NULL, inputs, 3, &y, 1, NULL));
    return y;
}

static void finish(struct graph *graph, size_t concats, size_t joined)
{
    test_passes_keep_results(graph, passes, 1, 0); /* the same operations on the same numbers */
    assert_int_equal(test_count(graph, NULL, "Concat"), concats);
    assert_int_equal(test_count(graph, "mitral", "ConcatScaleShift"), joined);
    test_close(graph);
}

static void one_concatenation(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id c = concat(graph, "c", input(graph, "a", 3), input(graph, "b", 5));
    assert_ok(graph->context, graph_add_output(graph, scale_shift(graph, "y", c, 8)));
    finish(graph, 0, 1);
}

/* Each layer concatenates all before it. */
static void dense_block(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id all = input(graph, "a", 3);
    int64_t channels = 3;
    for (int i = 0; i < 4; i++) {
        char name[3][16];
        for (int k = 0; k < 3; k++)
            snprintf(name[k], sizeof name[k], "%c%d", "ncr"[k], i);
        value_id y = scale_shift(graph, name[0], all, channels);
        y = test_node(graph, "Relu", name[2], NULL, &y, 1);
        all = concat(graph, name[1], all, y);
        channels *= 2;
    }
    assert_ok(graph->context, graph_add_output(graph, scale_shift(graph, "y", all, channels)));
    finish(graph, 0, 4);
}

static void others_read_it_too(void **state)
{
    (void)state;
    for (int form = 0; form < 2; form++) {
        struct graph *graph = test_open();
        value_id c = concat(graph, "c", input(graph, "a", 3), input(graph, "b", 5));
        assert_ok(graph->context, graph_add_output(graph, scale_shift(graph, "y", c, 8)));
        assert_ok(graph->context, graph_add_output(graph, form ? c : test_node(graph, "Relu", "r", NULL, &c, 1)));
        finish(graph, 1, 0);
    }
}

/* A concatenation that must be made is a part of the next one. */
static void one_that_stays_is_a_part(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id c = concat(graph, "c", input(graph, "a", 3), input(graph, "b", 5)), d = concat(graph, "d", c, input(graph, "e", 2));
    assert_ok(graph->context, graph_add_output(graph, test_node(graph, "Relu", "r", NULL, &c, 1)));
    assert_ok(graph->context, graph_add_output(graph, scale_shift(graph, "y", d, 10)));
    finish(graph, 1, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_concatenation),
        cmocka_unit_test(dense_block),
        cmocka_unit_test(others_read_it_too),
        cmocka_unit_test(one_that_stays_is_a_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
