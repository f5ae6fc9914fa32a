/* Concatenations that only a convolution by Winograd reads are not made. */
#include <stdio.h>

#include "results.h"

#include "runtime/cpu.h"

static const char *const passes[] = {"precision", "layout", "read-parts"};
enum { PASSES = 3 };

/* A convolution of `taps` × `taps`. */
static value_id convolution(struct graph *graph, const char *name, value_id x, int64_t channels, int64_t features, int64_t taps)
{
    char text[32];
    snprintf(text, sizeof text, "%s_w", name);
    const int64_t pads[] = {taps / 2, taps / 2, taps / 2, taps / 2};
    struct attributes attributes = test_ints(graph, "pads", pads, 4);
    const float spread = 1 / sqrtf((float)(taps * taps * channels));
    value_id inputs[2] = {x, test_random_constant(graph, text, 4, (int64_t[]){features, channels, taps, taps}, 0, spread)};
    return test_node(graph, "Conv", name, &attributes, inputs, 2);
}

static value_id part(struct graph *graph, const char *name, int64_t channels)
{
    char text[32];
    snprintf(text, sizeof text, "%s_x", name);
    return convolution(graph, name, test_input(graph, text, 4, (int64_t[]){2, 16, 24, 20}), 16, channels, 3);
}

static value_id concat(struct graph *graph, const value_id *parts, size_t count)
{
    struct attributes axis = {0};
    assert_ok(graph->context, attributes_set_int(&axis, graph->arena, "axis", 1));
    return test_node(graph, "Concat", "c", &axis, parts, count);
}

static value_id relu(struct graph *graph, const char *name, value_id x)
{
    return test_node(graph, "Relu", name, NULL, &x, 1);
}

static void finish(struct graph *graph, size_t concats, size_t joined)
{
    test_passes_keep_results(graph, passes, PASSES, 1e-5);
    assert_int_equal(test_count(graph, NULL, "Concat"), concats);
    assert_int_equal(test_count(graph, "mitral", "JoinedConvolution"), joined);
    test_close(graph);
}

static void two_and_three_parts(void **state)
{
    (void)state;
    for (size_t count = 2; count <= 3; count++) {
        struct graph *graph = test_open();
        value_id parts[] = {part(graph, "a", 32), part(graph, "b", 16), part(graph, "d", 19)};
        value_id y = convolution(graph, "y", concat(graph, parts, count), count == 2 ? 48 : 67, 24, 3);
        assert_ok(graph->context, graph_add_output(graph, relu(graph, "r", y)));
        finish(graph, 0, 1);
    }
}

/* Another reader, an output, a vector of two parts' channels, and a convolution that is not Winograd's. */
static void others_are_made(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        struct graph *graph = test_open();
        value_id parts[] = {part(graph, "a", form == 2 ? 24 : 32), part(graph, "b", form == 2 ? 24 : 16)}, c = concat(graph, parts, 2);
        value_id y = convolution(graph, "y", c, 48, 24, form == 3 ? 1 : 3);
        assert_ok(graph->context, graph_add_output(graph, relu(graph, "r", y)));
        if (form < 2)
            assert_ok(graph->context, graph_add_output(graph, form == 0 ? relu(graph, "s", c) : c));
        finish(graph, 1, 0);
    }
}

/* A part that is made in bfloat16 is read so. */
static void parts_of_bfloat16(void **state)
{
    (void)state;
    if (!cpu_has_avx512_bf16() || cpu_isa() >= ISA_AMX) /* tiles do all of it in bfloat16 */
        skip();
    struct graph *graph = test_open();
    const int64_t two[] = {2, 2};
    struct attributes strides = test_ints(graph, "strides", two, 2);
    value_id up[] = {convolution(graph, "e", test_input(graph, "x", 4, (int64_t[]){1, 128, 28, 28}), 128, 128, 3),
                     test_random_constant(graph, "up_w", 4, (int64_t[]){128, 64, 2, 2}, 0, 0.08f)};
    value_id parts[] = {test_node(graph, "ConvTranspose", "up", &strides, up, 2),
                        convolution(graph, "f", test_input(graph, "z", 4, (int64_t[]){1, 64, 56, 56}), 64, 64, 3)};
    value_id y = convolution(graph, "y", concat(graph, parts, 2), 128, 64, 3);
    assert_ok(graph->context, graph_add_output(graph, relu(graph, "r", y)));
    test_passes_keep_results_in(graph, passes, PASSES, 0.05, MITRAL_PRECISION_BF16);
    assert_int_equal(test_count(graph, NULL, "Concat"), 0);
    assert_int_equal(test_count(graph, NULL, "Cast"), 0); /* the first convolution writes bfloat16 for the transposed one */
    assert_int_equal(graph->values[parts[0]].type.dtype, MITRAL_BFLOAT16);
    assert_int_equal(graph->values[parts[1]].type.dtype, MITRAL_FLOAT);
    test_close(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_and_three_parts),
        cmocka_unit_test(others_are_made),
        cmocka_unit_test(parts_of_bfloat16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
