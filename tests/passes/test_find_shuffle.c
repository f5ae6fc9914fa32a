/* Channel shuffles as files write them become one operator; what only looks like one stays. */
#include "results.h"

static const char *const passes[] = {"find-shuffle"};

struct form {
    int64_t there[5], order[5], back[4];
    bool found;
};

static void check(const struct form *form, bool elsewhere)
{
    struct graph *graph = test_open();
    struct attributes order = {0};
    value_id y = test_input(graph, "x", 4, (int64_t[]){2, 12, 3, 5});
    assert_ok(graph->context, attributes_set_ints(&order, graph->arena, "perm", form->order, 5));
    y = test_node(graph, "Reshape", "r", NULL, (value_id[]){y, test_integers(graph, "there", form->there, 5)}, 2);
    y = test_node(graph, "Transpose", "t", &order, &y, 1);
    if (elsewhere)
        assert_ok(graph->context, graph_add_output(graph, y));
    y = test_node(graph, "Reshape", "y", NULL, (value_id[]){y, test_integers(graph, "back", form->back, 4)}, 2);
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, passes, 1, 0);
    const size_t found = form->found && !elsewhere;
    assert_int_equal(test_count(graph, "mitral", "ChannelShuffle"), found);
    assert_int_equal(graph->node_count, found ? 1 : 3);
    test_close(graph);
}

static void shuffles(void **state)
{
    (void)state;
    static const struct form forms[] = {
        {{2, 3, 4, 3, 5}, {0, 2, 1, 3, 4}, {2, 12, 3, 5}, true},
        {{0, 2, -1, 3, 5}, {0, 2, 1, 3, 4}, {0, 12, 3, -1}, true},
        {{2, 12, 1, 3, 5}, {0, 2, 1, 3, 4}, {2, 12, 3, 5}, true},
        {{2, 3, 4, 3, 5}, {0, 2, 1, 4, 3}, {2, 12, 3, 5}, false}, /* another order */
        {{2, 3, 4, 5, 3}, {0, 2, 1, 3, 4}, {2, 12, 3, 5}, false}, /* the pixels are mixed too */
        {{2, 3, 4, 3, 5}, {0, 2, 1, 3, 4}, {2, 12, 5, 3}, false},
        {{3, 2, 4, 3, 5}, {0, 2, 1, 3, 4}, {2, 12, 3, 5}, false}, /* across images */
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        check(&forms[i], false);
        check(&forms[i], true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(shuffles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
