/* Half-precision networks: products and what stands between them compute in float32. */
#include "results.h"

static const char *const passes[] = {"widen"};

static value_id cast(struct graph *graph, const char *name, value_id x, int32_t to)
{
    struct attributes attributes = {0};
    assert_ok(graph->context, attributes_set_int(&attributes, graph->arena, "to", to));
    return test_node(graph, "Cast", name, &attributes, &x, 1);
}

static value_id half_constant(struct graph *graph, const char *name, int32_t rank, const int64_t *dims)
{
    uint32_t state = 7;
    mitral_tensor tensor = {.data = NULL};
    value_id id;
    tensor_set(&tensor, MITRAL_FLOAT16, rank, dims);
    const int64_t count = tensor_count(&tensor);
    tensor.data = malloc((size_t)count * 2);
    assert_non_null(tensor.data);
    for (int64_t i = 0; i < count; i++)
        tensor_set_double(&tensor, i, 0.1 * (double)test_random(&state), false);
    assert_ok(graph->context, graph_add_constant(graph, name, &tensor, false, &id));
    free(tensor.data);
    return id;
}

static value_id convolution(struct graph *graph, const char *name, const char *weights, value_id x, int64_t channels)
{
    value_id inputs[2] = {x, half_constant(graph, weights, 4, (int64_t[]){channels, channels, 3, 3})};
    return test_node(graph, "Conv", name, NULL, inputs, 2);
}

/* x → half → Conv → Relu → Resize → Conv → float */
static struct graph *network(int64_t channels, int64_t size)
{
    struct graph *graph = test_open();
    value_id x = cast(graph, "h", test_input(graph, "x", 4, (int64_t[]){1, channels, size, size}), MITRAL_FLOAT16);
    value_id a = convolution(graph, "a", "a_w", x, channels), r = test_node(graph, "Relu", "r", NULL, &a, 1);
    value_id scales = test_constant(graph, "scales", 1, (int64_t[]){4}, (float[]){1, 1, 2, 2});
    value_id resized = test_node(graph, "Resize", "up", NULL, (value_id[]){r, NO_VALUE, scales}, 3);
    assert_ok(graph->context, graph_add_output(graph, cast(graph, "y", convolution(graph, "b", "b_w", resized, channels), MITRAL_FLOAT)));
    return graph;
}

static void check(struct graph *graph, int32_t dtype)
{
    /* The input and the weights are halves on both sides; what differs is two roundings to 11 bits of values around 1. */
    test_passes_keep_results(graph, passes, 1, 4e-3);
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op && (node_is(&graph->nodes[i], "Conv") || node_is(&graph->nodes[i], "Relu") || node_is(&graph->nodes[i], "Resize")))
            assert_int_equal(graph->values[graph->nodes[i].outputs[0]].type.dtype, dtype);
    assert_int_equal(graph->values[graph->outputs[0]].type.dtype, MITRAL_FLOAT);
    if (dtype == MITRAL_FLOAT) /* nothing on the way from the input to the output is rounded */
        for (value_id v = graph->outputs[0]; graph->values[v].producer != NO_NODE; v = graph->nodes[graph->values[v].producer].inputs[0])
            assert_int_equal(graph->values[v].type.dtype, MITRAL_FLOAT);
    test_close(graph);
}

static void a_network(void **state)
{
    (void)state;
    check(network(16, 64), MITRAL_FLOAT);
}

static void too_small_to_matter(void **state)
{
    (void)state;
    check(network(4, 8), MITRAL_FLOAT16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_network), cmocka_unit_test(too_small_to_matter)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
