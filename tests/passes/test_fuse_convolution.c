/* Convolutions take up residual sums and activations. */
#include <stdio.h>

#include "results.h"

static const char *const passes[] = {"fuse-convolution"};
/* oneDNN's polynomials for exponentials are good to a few 1e-6. */
static const double tolerance = 2e-5;

static value_id convolution(struct graph *graph, value_id x, const char *name, int64_t channels)
{
    char text[64];
    snprintf(text, sizeof text, "%s_w", name);
    value_id w = test_random_constant(graph, text, 4, (int64_t[]){channels, channels, 1, 1}, 0, 0.5f);
    return test_node(graph, "Conv", name, NULL, (value_id[]){x, w}, 2);
}

static value_id input(struct graph *graph) { return test_input(graph, "x", 4, (int64_t[]){1, 4, 6, 6}); }

static void finish(struct graph *graph, value_id y, size_t nodes, size_t fused)
{
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, passes, 1, tolerance);
    if (graph->node_count != nodes || test_count(graph, "mitral", "Convolution") != fused) {
        char *text;
        assert_ok(graph->context, graph_dump(graph, &text));
        print_error("%s", text);
        mitral_release(graph->context, text);
    }
    assert_int_equal(graph->node_count, nodes);
    assert_int_equal(test_count(graph, "mitral", "Convolution"), fused);
    test_close(graph);
}

static void operators_that_follow(void **state)
{
    (void)state;
    static const char *const names[] = {"Relu", "LeakyRelu", "Sigmoid", "Tanh", "Elu", "Selu", "HardSigmoid", "HardSwish", "Softplus",
                                        "Mish", "Gelu"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct graph *graph = test_open();
        value_id y = convolution(graph, input(graph), "c", 4);
        finish(graph, test_node(graph, names[i], "y", NULL, &y, 1), 1, 1);
    }
    static const char *const others[] = {"Softsign", "Celu", "Sin", "Softmax"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct graph *graph = test_open();
        value_id y = convolution(graph, input(graph), "c", 4);
        finish(graph, test_node(graph, others[i], "y", NULL, &y, 1), 2, 0);
    }
}

static void clip_with_constant_bounds(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        struct graph *graph = test_open();
        value_id inputs[3] = {convolution(graph, input(graph), "c", 4), NO_VALUE, NO_VALUE};
        if (form & 1)
            inputs[1] = test_constant(graph, "low", 0, NULL, (float[]){-0.1f});
        if (form & 2)
            inputs[2] = test_constant(graph, "high", 0, NULL, (float[]){0.2f});
        finish(graph, test_node(graph, "Clip", "y", NULL, inputs, 3), 1, 1);
    }
}

static void prelu_by_channel_and_by_number(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        struct graph *graph = test_open();
        value_id c = convolution(graph, input(graph), "c", 4), slope;
        if (form == 0)
            slope = test_random_constant(graph, "slope", 3, (int64_t[]){4, 1, 1}, 0.2f, 0.1f);
        else if (form == 1)
            slope = test_random_constant(graph, "slope", 1, (int64_t[]){1}, 0.2f, 0.1f);
        else /* by column: not a channel's */
            slope = test_random_constant(graph, "slope", 1, (int64_t[]){6}, 0.2f, 0.1f);
        finish(graph, test_node(graph, "PRelu", "y", NULL, (value_id[]){c, slope}, 2), form == 2 ? 2 : 1, form == 2 ? 0 : 1);
    }
}

/* x · sigmoid(x), x · hardsigmoid(x), ½ · x · (1 + erf(x / √2)) as files spell them. */
static void activations_of_several_nodes(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        struct graph *graph = test_open();
        value_id c = convolution(graph, input(graph), "c", 4), y;
        if (form < 2) {
            struct attributes attributes = {0};
            if (form)
                assert_ok(graph->context, attributes_set_float(&attributes, graph->arena, "alpha", 1.0f / 6.0f));
            y = test_node(graph, form ? "HardSigmoid" : "Sigmoid", "s", &attributes, &c, 1);
            y = test_node(graph, "Mul", "y", NULL, form ? (value_id[]){y, c} : (value_id[]){c, y}, 2);
        } else {
            value_id root = test_constant(graph, "root", 0, NULL, (float[]){1.41421356f});
            value_id one = test_constant(graph, "one", 0, NULL, (float[]){1}), half = test_constant(graph, "half", 0, NULL, (float[]){0.5f});
            y = test_node(graph, "Div", "d", NULL, (value_id[]){c, root}, 2);
            y = test_node(graph, "Erf", "e", NULL, &y, 1);
            y = test_node(graph, "Add", "a", NULL, (value_id[]){y, one}, 2);
            if (form == 2) {
                y = test_node(graph, "Mul", "m", NULL, (value_id[]){c, y}, 2);
                y = test_node(graph, "Mul", "y", NULL, (value_id[]){y, half}, 2);
            } else {
                value_id h = test_node(graph, "Mul", "h", NULL, (value_id[]){c, half}, 2);
                y = test_node(graph, "Mul", "y", NULL, (value_id[]){h, y}, 2);
            }
        }
        finish(graph, y, 1, 1);
    }
}

/* x · clip(x + 3, 0, 6) / 6, in the orders that files have, and what other numbers must not become. */
static void hard_swish_in_several_nodes(void **state)
{
    (void)state;
    for (int form = 0; form < 5; form++) {
        struct graph *graph = test_open();
        value_id c = convolution(graph, input(graph), "c", 4);
        value_id three = test_constant(graph, "three", 0, NULL, (float[]){form == 4 ? 2.5f : 3}), low = test_constant(graph, "low", 0, NULL, (float[]){0});
        value_id high = test_constant(graph, "high", 0, NULL, (float[]){6}), sixth = test_constant(graph, "sixth", 0, NULL, (float[]){1.0f / 6});
        value_id y = test_node(graph, "Add", "a", NULL, form & 1 ? (value_id[]){three, c} : (value_id[]){c, three}, 2);
        y = test_node(graph, "Clip", "p", NULL, (value_id[]){y, low, high}, 3);
        if (form & 2) {
            y = test_node(graph, "Mul", "s", NULL, (value_id[]){sixth, y}, 2);
            y = test_node(graph, "Mul", "y", NULL, (value_id[]){c, y}, 2);
        } else {
            y = test_node(graph, "Mul", "m", NULL, (value_id[]){y, c}, 2);
            y = test_node(graph, "Div", "y", NULL, (value_id[]){y, high}, 2);
        }
        finish(graph, y, form == 4 ? 5 : 1, form == 4 ? 0 : 1);
    }
}

/* A number of more dimensions than the map gives them to the result: its node stays, in whichever place it is. */
static void numbers_of_higher_rank(void **state)
{
    (void)state;
    for (int place = 0; place < 8; place++) {
        struct graph *graph = test_open();
        value_id c = convolution(graph, input(graph), "c", 4), y, numbers[3];
        const bool gelu = place < 4;
        for (int i = 0; i < 3; i++)
            numbers[i] = test_constant(graph, (const char *[]){"first", "second", "third"}[i], place % 4 == i ? 5 : 4, (int64_t[]){1, 1, 1, 1, 1},
                                       gelu ? (float[][1]){{1.41421356f}, {1}, {0.5f}}[i] : (float[][1]){{3}, {6}, {6}}[i]);
        if (gelu) {
            y = test_node(graph, "Div", "d", NULL, (value_id[]){c, numbers[0]}, 2);
            y = test_node(graph, "Erf", "e", NULL, &y, 1);
            y = test_node(graph, "Add", "a", NULL, (value_id[]){y, numbers[1]}, 2);
            y = test_node(graph, "Mul", "m", NULL, (value_id[]){c, y}, 2);
            y = test_node(graph, "Mul", "y", NULL, (value_id[]){y, numbers[2]}, 2);
        } else {
            value_id low = test_constant(graph, "low", 0, NULL, (float[]){0}), high = test_constant(graph, "high", 0, NULL, (float[]){6});
            y = test_node(graph, "Add", "a", NULL, (value_id[]){c, numbers[0]}, 2);
            y = test_node(graph, "Clip", "p", NULL, (value_id[]){y, low, high}, 3);
            y = place & 1 ? test_node(graph, "Div", "s", NULL, (value_id[]){y, numbers[1]}, 2) : y;
            y = test_node(graph, "Mul", "m", NULL, (value_id[]){c, y}, 2);
            y = place & 1 ? y : test_node(graph, "Div", "s", NULL, (value_id[]){y, numbers[2]}, 2);
        }
        const bool whole = place % 4 == 3;
        finish(graph, y, whole ? 1 : gelu ? 6 : 5, whole);
    }
}

/* Numbers that multiply and shift an activation's result go along; a tensor does not. */
static void numbers_after_an_activation(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        struct graph *graph = test_open();
        value_id y = convolution(graph, input(graph), "c", 4);
        value_id scale = form == 2 ? test_random_constant(graph, "scale", 3, (int64_t[]){4, 1, 1}, 1, 0.5f)
                                   : test_constant(graph, "scale", 0, NULL, (float[]){-1.5f});
        value_id shift = test_constant(graph, "shift", 0, NULL, (float[]){0.25f});
        y = test_node(graph, form ? "Relu" : "HardSwish", "r", NULL, &y, 1);
        y = test_node(graph, form ? "Mul" : "Div", "m", NULL, (value_id[]){y, scale}, 2);
        y = test_node(graph, form ? "Sub" : "Add", "y", NULL, (value_id[]){y, shift}, 2);
        finish(graph, y, form == 2 ? 3 : 1, 1);
    }
}

/* Two factors whose product is infinite: zeros stay zeros only one after the other. */
static void infinite_products_of_numbers_stay(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id y = convolution(graph, input(graph), "c", 4);
    value_id huge = test_constant(graph, "huge", 0, NULL, (float[]){1e30f}), tiny = test_constant(graph, "tiny", 0, NULL, (float[]){1e-30f});
    y = test_node(graph, "Relu", "r", NULL, &y, 1);
    y = test_node(graph, "Mul", "m", NULL, (value_id[]){y, tiny}, 2);
    y = test_node(graph, "Mul", "n", NULL, (value_id[]){y, huge}, 2);
    y = test_node(graph, "Mul", "o", NULL, (value_id[]){y, huge}, 2);
    y = test_node(graph, "Div", "p", NULL, (value_id[]){y, tiny}, 2);
    y = test_node(graph, "Mul", "y", NULL, (value_id[]){y, tiny}, 2);
    assert_ok(graph->context, graph_add_output(graph, y));
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, pipeline_run_one(graph, passes[0], &(struct pass_options){0}));
    assert_int_equal(test_count(graph, NULL, "Div"), 1);
    assert_int_equal(test_count(graph, NULL, "Mul"), 1); /* the last one */
    test_close(graph);
}

static void residuals_before_and_after(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        struct graph *graph = test_open();
        value_id x = input(graph), y = convolution(graph, x, "c", 4);
        if (form & 1)
            y = test_node(graph, "Relu", "r1", NULL, &y, 1);
        y = test_node(graph, form & 2 ? "Sum" : "Add", "a", NULL, form & 1 ? (value_id[]){x, y} : (value_id[]){y, x}, 2);
        y = test_node(graph, "Relu", "r2", NULL, &y, 1);
        finish(graph, y, form & 1 ? 2 : 1, 1); /* one activation a step */
    }
}

/* A ResNet block with a projection: the later convolution takes the sum. */
static void the_later_of_two_convolutions_takes_the_sum(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = input(graph), a = convolution(graph, x, "a", 4), b = convolution(graph, x, "b", 4);
    value_id y = test_node(graph, "Add", "s", NULL, (value_id[]){a, b}, 2);
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, passes, 1, tolerance);
    assert_dump(graph, "input x: float32[1,4,6,6]\nconstant a_w: float32[4,4,1,1]\nconstant b_w: float32[4,4,1,1]\n"
                       "a: float32[1,4,6,6] = Conv.22(x, a_w)\n"
                       "s: float32[1,4,6,6] = mitral.Convolution.22(x, b_w, _, a, _) {residual_before_activation=1}\noutput s\n");
    test_close(graph);
}

/* A residual that is computed after the convolution, by one node or by a chain, as in MONAI's UNet: the convolution now reads what
 * stands behind it in the list of nodes. */
static void residuals_that_are_computed_later(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        struct graph *graph = test_open();
        value_id x = input(graph), c = convolution(graph, x, "c", 4);
        value_id r = test_node(graph, "Neg", "n", NULL, &x, 1);
        if (form & 1)
            r = test_node(graph, "Sin", "p", NULL, &r, 1);
        if (form & 2) {
            value_id slope = test_random_constant(graph, "slope", 3, (int64_t[]){4, 1, 1}, 0.2f, 0.1f);
            r = test_node(graph, "PRelu", "q", NULL, (value_id[]){r, slope}, 2);
        }
        finish(graph, test_node(graph, "Add", "s", NULL, (value_id[]){c, r}, 2), 2 + (form & 1) + (form >> 1), 1);
    }
}

static void sums_that_broadcast_stay(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = input(graph), y = convolution(graph, x, "c", 4), z = test_input(graph, "z", 4, (int64_t[]){1, 4, 1, 1});
    finish(graph, test_node(graph, "Add", "s", NULL, (value_id[]){y, z}, 2), 2, 0);
}

static void a_sum_with_itself_stays(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id y = convolution(graph, input(graph), "c", 4);
    finish(graph, test_node(graph, "Add", "s", NULL, (value_id[]){y, y}, 2), 2, 0);
}

static void values_that_are_read_elsewhere_stay(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        struct graph *graph = test_open();
        value_id c = convolution(graph, input(graph), "c", 4), y = test_node(graph, "Relu", "y", NULL, &c, 1);
        if (form == 0)
            assert_ok(graph->context, graph_add_output(graph, c));
        else if (form == 1)
            assert_ok(graph->context, graph_add_output(graph, test_node(graph, "Neg", "n", NULL, &c, 1)));
        else
            graph->values[c].tap = true;
        finish(graph, y, form == 1 ? 3 : 2, 0);
    }
}

static void transposed_convolutions_take_activations(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = input(graph), w = test_random_constant(graph, "w", 4, (int64_t[]){4, 4, 2, 2}, 0, 0.5f);
    struct attributes attributes = test_ints(graph, "strides", (int64_t[]){2, 2}, 2);
    value_id y = test_node(graph, "ConvTranspose", "t", &attributes, (value_id[]){x, w}, 2);
    y = test_node(graph, "Relu", "y", NULL, &y, 1);
    assert_ok(graph->context, graph_add_output(graph, y));
    test_passes_keep_results(graph, passes, 1, tolerance);
    assert_int_equal(graph->node_count, 1);
    assert_int_equal(test_count(graph, "mitral", "ConvolutionTranspose"), 1);
    test_close(graph);
}

static void scale_and_shift_takes_simple_activations(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        struct graph *graph = test_open();
        value_id x = input(graph), y;
        value_id scale = test_random_constant(graph, "scale", 1, (int64_t[]){4}, 1, 0.5f);
        value_id shift = test_random_constant(graph, "shift", 1, (int64_t[]){4}, 0, 0.5f);
        value_id slope = test_random_constant(graph, "slope", 3, (int64_t[]){4, 1, 1}, 0.2f, 0.1f);
        assert_ok(graph->context, graph_add_value(graph, "s", NULL, &y));
        assert_ok(graph->context, graph_add_node(graph, op_find("mitral", "ScaleShift"), 1, "s", NULL, (value_id[]){x, scale, shift}, 3, &y, 1,
                                                 NULL));
        if (form == 0)
            y = test_node(graph, "Relu", "y", NULL, &y, 1);
        else if (form == 1)
            y = test_node(graph, "PRelu", "y", NULL, (value_id[]){y, slope}, 2);
        else
            y = test_node(graph, "Sigmoid", "y", NULL, &y, 1);
        finish(graph, y, form == 2 ? 2 : 1, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_that_follow),
        cmocka_unit_test(clip_with_constant_bounds),
        cmocka_unit_test(prelu_by_channel_and_by_number),
        cmocka_unit_test(activations_of_several_nodes),
        cmocka_unit_test(hard_swish_in_several_nodes),
        cmocka_unit_test(numbers_of_higher_rank),
        cmocka_unit_test(numbers_after_an_activation),
        cmocka_unit_test(infinite_products_of_numbers_stay),
        cmocka_unit_test(residuals_before_and_after),
        cmocka_unit_test(the_later_of_two_convolutions_takes_the_sum),
        cmocka_unit_test(residuals_that_are_computed_later),
        cmocka_unit_test(sums_that_broadcast_stay),
        cmocka_unit_test(a_sum_with_itself_stays),
        cmocka_unit_test(values_that_are_read_elsewhere_stay),
        cmocka_unit_test(transposed_convolutions_take_activations),
        cmocka_unit_test(scale_and_shift_takes_simple_activations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
