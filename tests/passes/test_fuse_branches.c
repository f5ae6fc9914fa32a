/* Dilated convolutions of one map, with running sums, are one step; so are their data gradients. */
#include <stdio.h>

#include "results.h"

#include "compiler/gradient.h"

static const char *const passes[] = {"fuse-addend", "fuse-branches"};

static value_id convolution(struct graph *graph, const char *name, value_id x, int64_t channels, int64_t dilation, value_id *w)
{
    char text[32];
    struct attributes attributes = {0};
    const int64_t dims[] = {channels, channels, 3, 3}, pads[] = {dilation, dilation, dilation, dilation}, dilations[] = {dilation, dilation};
    snprintf(text, sizeof text, "%s_w", name);
    *w = test_random_constant(graph, text, 4, dims, 0, 0.3f);
    graph->values[*w].variable = true;
    assert_ok(graph->context, attributes_set_ints(&attributes, graph->arena, "pads", pads, 4));
    assert_ok(graph->context, attributes_set_ints(&attributes, graph->arena, "dilations", dilations, 2));
    return test_node(graph, "Conv", name, &attributes, (value_id[]){x, *w}, 2);
}

/* y1, y2, y2 + y3, y2 + y3 + y4, each read by a mean square of the concatenation; `read`: y3 alone is an output too. */
static struct graph *block(const int64_t dilations[4], int64_t channels, const int64_t size[2], bool read)
{
    struct graph *graph = test_open();
    struct attributes axis = {0}, keep = {0};
    value_id x = test_input(graph, "x", 4, (int64_t[]){2, channels, size[0], size[1]}), y[4], wrt[5] = {x}, gradients[5];
    for (int k = 0; k < 4; k++) {
        static const char *const names[] = {"a", "b", "c", "d"}, *const sums[] = {NULL, NULL, "bc", "bcd"};
        y[k] = convolution(graph, names[k], x, channels, dilations[k], &wrt[1 + k]);
        if (read && k == 2)
            assert_ok(graph->context, graph_add_output(graph, y[k]));
        if (k > 1)
            y[k] = test_node(graph, "Add", sums[k], NULL, (value_id[]){y[k], y[k - 1]}, 2);
    }
    assert_ok(graph->context, attributes_set_int(&axis, graph->arena, "axis", 1));
    assert_ok(graph->context, attributes_set_int(&keep, graph->arena, "keepdims", 0));
    value_id all = test_node(graph, "Concat", "all", &axis, y, 4), square = test_node(graph, "Mul", "square", NULL, (value_id[]){all, all}, 2);
    value_id loss = test_node(graph, "ReduceMean", "loss", &keep, &square, 1);
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, gradient_build(graph, loss, wrt, 5, gradients));
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, graph_add_output(graph, all));
    for (int i = 0; i < 5; i++)
        assert_ok(graph->context, graph_add_output(graph, gradients[i]));
    return graph;
}

/* Winograd's F(4, 3) and sums in another order. */
static const double tolerance = 2e-5;

static void branches_are_one(void **state)
{
    (void)state;
    static const struct {
        int64_t dilations[4], channels, size[2];
    } cases[] = {{{1, 2, 4, 8}, 4, {70, 40}}, {{1, 2, 4, 8}, 8, {96, 224}}, {{1, 2, 3, 4}, 5, {14, 14}},
                 {{1, 2, 4, 8}, 8, {280, 240}}, /* large enough to be written past the caches */
                 {{1, 2, 4, 8}, 24, {70, 40}}, {{1, 2, 3, 4}, 20, {30, 50}}, {{1, 2, 4, 8}, 24, {160, 144}}, /* across the columns, too */
                 {{1, 1, 1, 1}, 3, {3, 7}},   {{6, 12, 18, 1}, 4, {50, 300}}, {{5, 7, 11, 13}, 3, {40, 500}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = block(cases[i].dilations, cases[i].channels, cases[i].size, false);
        test_passes_keep_results(graph, passes, 2, tolerance);
        assert_int_equal(test_count(graph, "mitral", "Branches"), 2);
        assert_int_equal(test_count(graph, NULL, "Conv"), 0);
        assert_int_equal(test_count(graph, "mitral", "Convolution"), 0);
        assert_int_equal(test_count(graph, "mitral", "ConvGradientData"), 0);
        test_close(graph);
    }
}

/* A branch that is read before it is added to keeps its value. */
static void branch_is_read(void **state)
{
    (void)state;
    struct graph *graph = block((const int64_t[]){1, 2, 4, 8}, 4, (const int64_t[]){33, 40}, true);
    test_passes_keep_results(graph, passes, 2, tolerance);
    assert_int_equal(test_count(graph, "mitral", "Branches"), 2);
    test_close(graph);
}

enum { BATCH = 2, CHANNELS = 5, WIDTH = 224, HIGHEST = 470, MAP = BATCH * CHANNELS * HIGHEST * WIDTH, WEIGHTS = 9 * CHANNELS * CHANNELS };

static void check_threads(int height)
{
    mitral_context *context = test_context();
    const struct kernel *kernel = kernel_find("training.branches");
    assert_non_null(kernel);
    struct arena arena;
    struct attributes attributes = {0};
    mitral_value values[6] = {{0}}, *outputs[4];
    const mitral_value *inputs[6] = {NULL};
    static float found[4][4][MAP];
    uint32_t random = 5;
    arena_initialise(&arena, context);
    assert_ok(context, attributes_set_ints(&attributes, &arena, "dilations", (const int64_t[]){1, 2, 4, 8}, 4));
    assert_ok(context, attributes_set_ints(&attributes, &arena, "sums", (const int64_t[]){0, 0, 1, 1}, 4));
    assert_ok(context, attributes_set_int(&attributes, &arena, "outputs", 4));
    for (int i = 1; i < 6; i++) {
        const int64_t map[] = {BATCH, CHANNELS, height, WIDTH}, weights[] = {CHANNELS, CHANNELS, 3, 3};
        values[i].kind = MITRAL_TENSOR;
        tensor_set(&values[i].tensor, MITRAL_FLOAT, 4, i == 1 ? map : weights);
        values[i].tensor.data = arena_allocate(&arena, (MAP + 64) * sizeof(float));
        for (int k = 0; k < (i == 1 ? MAP : WEIGHTS); k++)
            ((float *)values[i].tensor.data)[k] = test_random(&random);
        inputs[i] = &values[i];
    }
    for (int threads = 1; threads <= 4; threads++) {
        mitral_value results[4] = {{0}};
        size_t scratch = 0;
        for (int k = 0; k < 4; k++)
            outputs[k] = &results[k];
        struct kernel_call call = {.context = context, .kernel = kernel, .name = "test", .attributes = &attributes, .opset = 1, .threads = threads,
                                   .input_count = 6, .inputs = inputs, .output_count = 4, .outputs = outputs, .arena = &arena};
        assert_ok(context, kernel->shape(&call));
        assert_ok(context, kernel->prepare(&call, &call.state, &scratch));
        call.scratch = arena_allocate(&arena, scratch + 64);
        for (int k = 0; k < 4; k++)
            results[k].tensor.data = found[threads - 1][k];
        assert_ok(context, kernel->run(&call));
        assert_memory_equal(found[threads - 1], found[0], sizeof found[0]);
    }
    arena_clear(&arena);
    mitral_context_destroy(&context);
}

/* The kernel gives the same bits for any number of threads, also where its outputs are written past the caches. */
static void threads_agree(void **state)
{
    (void)state;
    check_threads(100);
    check_threads(HIGHEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(branches_are_one), cmocka_unit_test(branch_is_read), cmocka_unit_test(threads_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
