/* Layouts of the whole graph: what is computed channels-last, where reorders stand, and that results stay. */
#include <stdio.h>

#include "results.h"

static const char *const passes[] = {"layout"};
/* The same products by other primitives: rounding alone. */
static const double tolerance = 1e-5;

/* Channels are counted in 48s: narrow pointwise convolutions would stay plain, on planes. */
enum { WIDE = 48 };

static int64_t wide(int64_t channels)
{
    return channels == 1 ? 1 : WIDE * channels;
}

static value_id convolution(struct graph *graph, value_id x, const char *name, int64_t channels, int64_t features)
{
    char text[64];
    snprintf(text, sizeof text, "%s_w", name);
    value_id w = test_random_constant(graph, text, 4, (int64_t[]){wide(features), wide(channels), 1, 1}, 0, 0.1f);
    return test_node(graph, "Conv", name, NULL, (value_id[]){x, w}, 2);
}

static value_id input(struct graph *graph, const char *name, int64_t channels)
{
    return test_input(graph, name, 4, (int64_t[]){1, wide(channels), 6, 6});
}

static size_t count_channels_last(const struct graph *graph)
{
    size_t count = 0;
    for (size_t i = 0; i < graph->node_count; i++)
        for (size_t j = 0; j < graph->nodes[i].output_count; j++)
            count += graph->nodes[i].outputs[j] != NO_VALUE && graph->values[graph->nodes[i].outputs[j]].layout == LAYOUT_CHANNELS_LAST;
    return count;
}

static void expect(struct graph *graph, size_t reorders, size_t channels_last)
{
    test_passes_keep_results(graph, passes, 1, tolerance);
    if (test_count(graph, "mitral", "Reorder") != reorders || count_channels_last(graph) != channels_last) {
        char *text;
        assert_ok(graph->context, graph_dump(graph, &text));
        print_error("expected %zu reorders, %zu channels-last values:\n%s", reorders, channels_last, text);
        mitral_release(graph->context, text);
    }
    assert_int_equal(test_count(graph, "mitral", "Reorder"), reorders);
    assert_int_equal(count_channels_last(graph), channels_last);
    test_close(graph);
}

static void a_chain_is_reordered_at_its_ends(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id y = convolution(graph, input(graph, "x", 4), "a", 4, 8);
    y = test_node(graph, "Sin", "s", NULL, &y, 1);
    y = convolution(graph, y, "b", 8, 4);
    assert_ok(graph->context, graph_add_output(graph, y));
    expect(graph, 2, 4); /* the input's copy, a, s, b's own */
}

static void one_channel_needs_no_reorder(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id y = convolution(graph, input(graph, "x", 1), "a", 1, 8);
    y = test_node(graph, "GlobalAveragePool", "p", NULL, &y, 1);
    assert_ok(graph->context, graph_add_output(graph, y));
    expect(graph, 0, 1);
}

static void a_value_is_reordered_once_for_all_readers(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = input(graph, "x", 4), a = convolution(graph, x, "a", 4, 4), b = convolution(graph, x, "b", 4, 4);
    struct attributes flat = {0};
    value_id f = test_node(graph, "Flatten", "f", &flat, &a, 1), g = test_node(graph, "Flatten", "g", &flat, &b, 1);
    value_id h = test_node(graph, "Flatten", "h", &flat, &a, 1);
    for (int i = 0; i < 3; i++)
        assert_ok(graph->context, graph_add_output(graph, (value_id[]){f, g, h}[i]));
    expect(graph, 3, 3); /* x, a and b once each */
}

/* Between two plain neighbours nothing is gained by turning round for a pool. */
static void pools_alone_stay_plain(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    struct attributes kernel = test_ints(graph, "kernel_shape", (int64_t[]){2, 2}, 2);
    value_id x = input(graph, "x", 4), y = test_node(graph, "MaxPool", "p", &kernel, &x, 1);
    assert_ok(graph->context, graph_add_output(graph, y));
    expect(graph, 0, 0);
}

static void sums_and_concatenations_follow(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = input(graph, "x", 4), a = convolution(graph, x, "a", 4, 4), b = convolution(graph, x, "b", 4, 4);
    value_id sum = test_node(graph, "Add", "sum", NULL, (value_id[]){a, b}, 2);
    struct attributes axis = {0};
    assert_ok(graph->context, attributes_set_int(&axis, graph->arena, "axis", 1));
    value_id both = test_node(graph, "Concat", "both", &axis, (value_id[]){sum, a}, 2);
    assert_ok(graph->context, graph_add_output(graph, convolution(graph, both, "c", 8, 4)));
    expect(graph, 2, 6);
}

static void splits_follow(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = input(graph, "x", 4), a = convolution(graph, x, "a", 4, 6), parts[2];
    value_id sizes;
    mitral_tensor two;
    tensor_set(&two, MITRAL_INT64, 1, (int64_t[]){2});
    two.data = (int64_t[]){2 * WIDE, 4 * WIDE};
    assert_ok(graph->context, graph_add_constant(graph, "sizes", &two, false, &sizes));
    struct attributes axis = {0};
    assert_ok(graph->context, attributes_set_int(&axis, graph->arena, "axis", 1));
    for (int i = 0; i < 2; i++)
        assert_ok(graph->context, graph_add_value(graph, i ? "p1" : "p0", NULL, &parts[i]));
    assert_ok(graph->context, graph_add_node(graph, op_find(NULL, "Split"), 0, "split", &axis, (value_id[]){a, sizes}, 2, parts, 2, NULL));
    assert_ok(graph->context, graph_add_output(graph, convolution(graph, parts[0], "b", 2, 4)));
    assert_ok(graph->context, graph_add_output(graph, parts[1]));
    expect(graph, 3, 5);
}

/* Parts of one channel lie the same in both layouts; the map that they are parts of does not. */
static void splits_into_single_channels_follow(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id w = test_random_constant(graph, "w", 4, (int64_t[]){WIDE, wide(4), 1, 1}, 0, 0.1f), parts[WIDE];
    value_id a = test_node(graph, "Conv", "a", NULL, (value_id[]){input(graph, "x", 4), w}, 2);
    struct attributes axis = {0};
    assert_ok(graph->context, attributes_set_int(&axis, graph->arena, "axis", 1));
    for (int i = 0; i < WIDE; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%d", i);
        assert_ok(graph->context, graph_add_value(graph, name, NULL, &parts[i]));
    }
    assert_ok(graph->context, graph_add_node(graph, op_find(NULL, "Split"), 0, "split", &axis, &a, 1, parts, WIDE, NULL));
    for (int i = 0; i < WIDE; i += 7)
        assert_ok(graph->context, graph_add_output(graph, parts[i]));
    expect(graph, 1, 2);
}

/* By channel, by column, and of a whole map that is constant. */
static void constants_that_broadcast(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        struct graph *graph = test_open();
        value_id y = convolution(graph, input(graph, "x", 4), "a", 4, 8);
        value_id k = form == 0   ? test_random_constant(graph, "k", 3, (int64_t[]){8 * WIDE, 1, 1}, 1, 0.5f)
                     : form == 1 ? test_random_constant(graph, "k", 1, (int64_t[]){6}, 1, 0.5f)
                                 : test_random_constant(graph, "k", 4, (int64_t[]){1, 8 * WIDE, 6, 6}, 1, 0.5f);
        y = test_node(graph, "Mul", "m", NULL, form == 2 ? (value_id[]){k, y} : (value_id[]){y, k}, 2);
        assert_ok(graph->context, graph_add_output(graph, convolution(graph, y, "b", 8, 4)));
        expect(graph, form == 2 ? 4 : 2, form == 2 ? 4 : 4);
    }
}

/* A gate by channel (squeeze and excitation) times its map. */
static void gates_broadcast(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id a = convolution(graph, input(graph, "x", 4), "a", 4, 8);
    value_id gate = test_node(graph, "GlobalAveragePool", "p", NULL, &a, 1);
    gate = convolution(graph, gate, "g", 8, 8);
    gate = test_node(graph, "Sigmoid", "s", NULL, &gate, 1);
    value_id y = test_node(graph, "Mul", "m", NULL, (value_id[]){gate, a}, 2);
    assert_ok(graph->context, graph_add_output(graph, convolution(graph, y, "b", 8, 4)));
    expect(graph, 2, 4);
}

static void outputs_and_taps_are_plain(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id a = convolution(graph, input(graph, "x", 4), "a", 4, 8), b = convolution(graph, a, "b", 8, 8);
    value_id c = convolution(graph, b, "c", 8, 4);
    graph->values[b].tap = true;
    assert_ok(graph->context, graph_add_output(graph, a));
    assert_ok(graph->context, graph_add_output(graph, c));
    test_passes_keep_results(graph, passes, 1, tolerance);
    for (size_t i = 0; i < graph->value_count; i++)
        if (strcmp(graph->values[i].name, "a") == 0 || strcmp(graph->values[i].name, "b") == 0 || strcmp(graph->values[i].name, "c") == 0)
            assert_int_equal(graph->values[i].layout, LAYOUT_PLAIN);
    assert_int_equal(test_count(graph, "mitral", "Reorder"), 4);
    test_close(graph);
}

static void transposed_convolutions_and_pools_follow(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id a = convolution(graph, input(graph, "x", 4), "a", 4, 8);
    struct attributes pool = test_ints(graph, "kernel_shape", (int64_t[]){2, 2}, 2), up = test_ints(graph, "strides", (int64_t[]){2, 2}, 2);
    assert_ok(graph->context, attributes_set_ints(&pool, graph->arena, "strides", (int64_t[]){2, 2}, 2));
    value_id w = test_random_constant(graph, "w", 4, (int64_t[]){8 * WIDE, 4 * WIDE, 2, 2}, 0, 0.1f);
    value_id y = test_node(graph, "MaxPool", "p", &pool, &a, 1);
    y = test_node(graph, "ConvTranspose", "t", &up, (value_id[]){y, w}, 2);
    assert_ok(graph->context, graph_add_output(graph, y));
    expect(graph, 2, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_is_reordered_at_its_ends),
        cmocka_unit_test(one_channel_needs_no_reorder),
        cmocka_unit_test(a_value_is_reordered_once_for_all_readers),
        cmocka_unit_test(pools_alone_stay_plain),
        cmocka_unit_test(sums_and_concatenations_follow),
        cmocka_unit_test(splits_follow),
        cmocka_unit_test(splits_into_single_channels_follow),
        cmocka_unit_test(constants_that_broadcast),
        cmocka_unit_test(gates_broadcast),
        cmocka_unit_test(outputs_and_taps_are_plain),
        cmocka_unit_test(transposed_convolutions_and_pools_follow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
