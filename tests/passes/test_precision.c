/* --precision bf16: products that gain compute in bfloat16, conversions stand only at the ends of their chains, outputs stay float32. */
#include <stdio.h>

#include "results.h"

#include "runtime/cpu.h"

static const char *const passes[] = {"precision"};

/* Inputs, weights and intermediates are rounded to 8 bits each; sums of some hundred terms around 1 stay within a few of those. */
static const double tolerance = 0.05;

static bool has_bfloat16(void)
{
    return cpu_has_avx512_bf16();
}

static value_id pointwise(struct graph *graph, const char *name, value_id x, int64_t channels, int64_t features)
{
    char text[32];
    snprintf(text, sizeof text, "%s_w", name);
    const float spread = 1 / sqrtf((float)channels);
    value_id inputs[2] = {x, test_random_constant(graph, text, 4, (int64_t[]){features, channels, 1, 1}, 0, spread)};
    return test_node(graph, "Conv", name, NULL, inputs, 2);
}

static value_id relu(struct graph *graph, const char *name, value_id x)
{
    return test_node(graph, "Relu", name, NULL, &x, 1);
}

static value_id map(struct graph *graph, const char *name, int64_t channels)
{
    return test_input(graph, name, 4, (int64_t[]){1, channels, 16, 16});
}

static void finish(struct graph *graph, value_id output, size_t casts)
{
    assert_ok(graph->context, graph_add_output(graph, output));
    test_passes_keep_results_in(graph, passes, 1, tolerance, MITRAL_PRECISION_BF16);
    assert_int_equal(test_count(graph, NULL, "Cast"), casts);
    assert_int_equal(graph->values[graph->outputs[0]].type.dtype, MITRAL_FLOAT);
    test_close(graph);
}

/* In and out once, however long the chain. */
static void chain(void **state)
{
    (void)state;
    if (!has_bfloat16())
        skip();
    struct graph *graph = test_open();
    value_id a = pointwise(graph, "a", map(graph, "x", 128), 128, 256);
    value_id b = pointwise(graph, "b", a, 256, 256), c = pointwise(graph, "c", b, 256, 128);
    finish(graph, relu(graph, "y", c), 2);
}

/* A concatenation between two products goes along. */
static void carriers(void **state)
{
    (void)state;
    if (!has_bfloat16())
        skip();
    struct graph *graph = test_open();
    struct attributes axis = {0};
    assert_ok(graph->context, attributes_set_int(&axis, graph->arena, "axis", 1));
    value_id x = map(graph, "x", 256), a = pointwise(graph, "a", x, 256, 256), b = pointwise(graph, "b", x, 256, 256);
    value_id c = test_node(graph, "Concat", "c", &axis, (value_id[]){a, b}, 2);
    finish(graph, relu(graph, "y", pointwise(graph, "d", c, 512, 256)), 2); /* x once for both readers */
}

/* A product too small to pay for its conversions, and one that makes an output. */
static void small_ones_and_outputs_stay(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    finish(graph, relu(graph, "y", pointwise(graph, "a", map(graph, "x", 8), 8, 8)), 0);
    graph = test_open();
    finish(graph, pointwise(graph, "a", map(graph, "x", 512), 512, 512), 0);
}

static int64_t rounded_inside(const struct graph *graph)
{
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op && attribute_int(&graph->nodes[i].attributes, "bfloat16", 0))
            return 1;
    return 0;
}

/* A 1×1 convolution that would lose to conversions what it gains: it takes and gives float32, and rounds its operands itself. */
static void rounds_inside(void **state)
{
    (void)state;
    if (!cpu_has_avx512_bf16())
        skip();
    struct graph *graph = test_open();
    value_id a = pointwise(graph, "a", map(graph, "x", 32), 32, 8);
    assert_ok(graph->context, graph_add_output(graph, relu(graph, "y", a)));
    test_passes_keep_results_in(graph, passes, 1, tolerance, MITRAL_PRECISION_BF16);
    assert_int_equal(test_count(graph, NULL, "Cast"), 0);
    assert_int_equal(rounded_inside(graph), 1);
    test_close(graph);
}

static void float32_is_left_alone(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id a = pointwise(graph, "a", map(graph, "x", 256), 256, 256);
    assert_ok(graph->context, graph_add_output(graph, relu(graph, "y", a)));
    test_passes_keep_results(graph, passes, 1, 0);
    assert_int_equal(test_count(graph, NULL, "Cast"), 0);
    assert_int_equal(rounded_inside(graph), 0);
    test_close(graph);
}

static value_id square(struct graph *graph, const char *name, value_id x, int64_t channels, int64_t features)
{
    char text[32];
    struct attributes attributes = {0};
    snprintf(text, sizeof text, "%s_w", name);
    assert_ok(graph->context, attributes_set_ints(&attributes, graph->arena, "pads", (int64_t[]){1, 1, 1, 1}, 4));
    const float spread = 1 / sqrtf((float)(9 * channels));
    value_id inputs[2] = {x, test_random_constant(graph, text, 4, (int64_t[]){features, channels, 3, 3}, 0, spread)};
    return test_node(graph, "Conv", name, &attributes, inputs, 2);
}

/* The planar convolutions at both ends of a network compute in float32, and round and widen their maps themselves, channels last. */
static void ends_convert_themselves(void **state)
{
    static const char *const with_layout[] = {"precision", "layout"};
    (void)state;
    if (cpu_isa() < ISA_AMX)
        skip();
    struct graph *graph = test_open();
    value_id x = test_input(graph, "x", 4, (int64_t[]){1, 1, 64, 64}), stem = square(graph, "stem", x, 1, 64);
    value_id inner = square(graph, "b", square(graph, "a", stem, 64, 128), 128, 64);
    assert_ok(graph->context, graph_add_output(graph, relu(graph, "y", pointwise(graph, "head", inner, 64, 4))));
    test_passes_keep_results_in(graph, with_layout, 2, tolerance, MITRAL_PRECISION_BF16);
    assert_int_equal(test_count(graph, NULL, "Cast"), 0);
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        assert_int_equal(attribute_int(&node->attributes, "output_bfloat16", 0), strcmp(node->name, "stem") == 0);
        assert_int_equal(attribute_int(&node->attributes, "input_bfloat16", 0), strcmp(node->name, "head") == 0);
    }
    test_close(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chain),
        cmocka_unit_test(carriers),
        cmocka_unit_test(small_ones_and_outputs_stay),
        cmocka_unit_test(rounds_inside),
        cmocka_unit_test(ends_convert_themselves),
        cmocka_unit_test(float32_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
