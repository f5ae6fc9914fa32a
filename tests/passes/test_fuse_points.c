/* 1×1 convolutions after a decoder's concatenation see the coarse map as it is; those of one map are one, and their gradients are. */
#include <stdio.h>

#include "results.h"

#include "compiler/gradient.h"
#include "training/coarse.h"

static const char *const passes[] = {"fuse-addend", "fuse-points"};

static value_id point(struct graph *graph, const char *name, value_id x, value_id w, value_id bias)
{
    value_id inputs[] = {x, w, bias};
    return test_node(graph, "Conv", name, NULL, inputs, bias == NO_VALUE ? 2 : 3);
}

static value_id mean_square(struct graph *graph, const char *name, value_id x)
{
    char text[2][32];
    struct attributes keep = {0};
    snprintf(text[0], sizeof text[0], "%s_square", name);
    snprintf(text[1], sizeof text[1], "%s_mean", name);
    assert_ok(graph->context, attributes_set_int(&keep, graph->arena, "keepdims", 0));
    value_id square = test_node(graph, "Mul", text[0], NULL, (value_id[]){x, x}, 2);
    return test_node(graph, "ReduceMean", text[1], &keep, &square, 1);
}

/* Two convolutions of [skip, the doubled u, v doubled]; the second one's result is added to what a third makes of the skip. `read` reads the
 * concatenation too. The loss and six gradients are the outputs. */
static struct graph *decoder(bool coarse, bool read, const char *coordinates)
{
    struct graph *graph = test_open();
    struct attributes axis = {0}, resize = {0};
    value_id u = test_input(graph, "u", 4, (int64_t[]){2, 9, 5, 9}), skip = test_input(graph, "skip", 4, (int64_t[]){2, 6, 10, 18});
    value_id v = test_input(graph, "v", 4, (int64_t[]){2, 8, 5, 9}), wrt[6] = {u, skip, v}, gradients[6];
    value_id scales = test_constant(graph, "scales", 1, (int64_t[]){4}, (float[]){1, 1, 2, 2});
    assert_ok(graph->context, attributes_set_string(&resize, graph->arena, "mode", "linear"));
    assert_ok(graph->context, attributes_set_string(&resize, graph->arena, "coordinate_transformation_mode", coordinates));
    assert_ok(graph->context, attributes_set_int(&axis, graph->arena, "axis", 1));
    value_id large = test_node(graph, "Resize", "large", &resize, (value_id[]){u, NO_VALUE, scales}, 3);
    value_id second = test_node(graph, "Resize", "second", &resize, (value_id[]){v, NO_VALUE, scales}, 3);
    value_id both = test_node(graph, "Concat", "both", &axis, (value_id[]){skip, large, second}, 3);
    wrt[3] = test_random_constant(graph, "wa", 4, (int64_t[]){5, 23, 1, 1}, 0, 0.3f);
    wrt[4] = test_random_constant(graph, "wb", 4, (int64_t[]){12, 23, 1, 1}, 0, 0.3f);
    wrt[5] = test_random_constant(graph, "wc", 4, (int64_t[]){12, 6, 1, 1}, 0, 0.3f);
    for (int i = 3; i < 6; i++)
        graph->values[wrt[i]].variable = true;
    value_id a = point(graph, "a", both, wrt[3], test_random_constant(graph, "bias", 1, (int64_t[]){5}, 0, 1));
    value_id b = point(graph, "b", both, wrt[4], NO_VALUE), c = point(graph, "c", skip, wrt[5], NO_VALUE);
    value_id sum = test_node(graph, "Add", "sum", NULL, (value_id[]){b, c}, 2);
    value_id loss = test_node(graph, "Add", "loss", NULL, (value_id[]){mean_square(graph, "l", a), mean_square(graph, "m", sum)}, 2);
    if (read)
        assert_ok(graph->context, graph_add_output(graph, both));
    assert_ok(graph->context, graph_infer(graph));
    if (coarse)
        assert_ok(graph->context, coarse_convolutions(graph));
    assert_ok(graph->context, gradient_build(graph, loss, wrt, 6, gradients));
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, graph_add_output(graph, loss));
    for (int i = 0; i < 6; i++)
        assert_ok(graph->context, graph_add_output(graph, gradients[i]));
    graph_remove_dead(graph);
    assert_ok(graph->context, graph_verify(graph));
    return graph;
}

/* Sums in another order. */
static const double tolerance = 2e-5;

static void same_results(struct graph *a, struct graph *b)
{
    struct test_results first = {0}, second = {0};
    test_run(a, &first);
    test_run(b, &second);
    assert_int_equal(a->output_count, b->output_count);
    for (size_t i = 0; i < a->output_count; i++) {
        assert_int_equal(first.counts[i], second.counts[i]);
        for (size_t k = 0; k < first.counts[i]; k++)
            assert_true(fabs((double)first.data[i][k] - (double)second.data[i][k]) <= tolerance * (1 + fabs((double)first.data[i][k])));
        free(first.data[i]);
        free(second.data[i]);
    }
}

static void run_passes(struct graph *graph)
{
    const struct pass_options options = {.threads = 1, .training = true};
    for (size_t i = 0; i < sizeof passes / sizeof *passes; i++)
        assert_ok(graph->context, pipeline_run_one(graph, passes[i], &options));
}

static void decoder_is_coarse(void **state)
{
    (void)state;
    struct graph *plain = decoder(false, false, "half_pixel"), *graph = decoder(true, false, "half_pixel");
    assert_int_equal(test_count(graph, NULL, "Resize"), 4);
    same_results(plain, graph);
    run_passes(graph);
    same_results(plain, graph);
    /* Of u, of v, and of the skip, which takes a doubled addend along; the others' are made. */
    assert_int_equal(test_count(graph, NULL, "Conv"), 0);
    assert_true(test_count(graph, "mitral", "PointConvolutions") >= 6);
    assert_int_equal(test_count(graph, "mitral", "ConvGradientData"), 0);
    assert_int_equal(test_count(graph, "mitral", "ConvGradientWeights"), 0);
    assert_int_equal(test_count(graph, "mitral", "PointGradients"), 3);
    assert_true(test_count(graph, NULL, "Resize") < 4);
    test_close(plain);
    test_close(graph);
}

/* What others read is made as before; convolutions of one map are one all the same. */
static void concatenation_is_read(void **state)
{
    (void)state;
    struct graph *plain = decoder(false, true, "half_pixel"), *graph = decoder(true, true, "half_pixel");
    assert_int_equal(test_count(graph, NULL, "Resize"), 2);
    run_passes(graph);
    same_results(plain, graph);
    assert_int_equal(test_count(graph, NULL, "Concat"), 1);
    test_close(plain);
    test_close(graph);
}

/* Another way of enlarging is linear too, but not what the kernel doubles by itself. */
static void other_coordinates(void **state)
{
    (void)state;
    struct graph *plain = decoder(false, false, "align_corners"), *graph = decoder(true, false, "align_corners");
    run_passes(graph);
    same_results(plain, graph);
    assert_int_equal(test_count(graph, NULL, "Resize"), 4);
    test_close(plain);
    test_close(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(decoder_is_coarse), cmocka_unit_test(concatenation_is_read),
                                       cmocka_unit_test(other_coordinates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
