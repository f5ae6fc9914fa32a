/* What --precision bf16 makes of a training graph computes what its interpreter computes of the same graph with the operands rounded before
 * each marked product. */
#include <stdio.h>

#include "compiler/gradient.h"
#include "results.h"
#include "runtime/cpu.h"

static value_id convolution(struct graph *graph, const char *name, value_id x, int64_t channels, int64_t features, int64_t size, value_id *w)
{
    char text[32];
    struct attributes attributes = {0};
    const int64_t dims[] = {features, channels, size, size}, pad = size / 2, pads[] = {pad, pad, pad, pad};
    snprintf(text, sizeof text, "%s_w", name);
    *w = test_random_constant(graph, text, 4, dims, 0, 0.3f);
    assert_ok(graph->context, attributes_set_ints(&attributes, graph->arena, "pads", pads, 4));
    return test_node(graph, "Conv", name, &attributes, (value_id[]){x, *w}, 2);
}

/* Three convolutions, the first one of few channels, with the mean square of what they give and the gradients of all weights. */
static struct graph *network(void)
{
    struct graph *graph = test_open();
    struct attributes keep = {0};
    value_id w[3], gradients[3], x = test_input(graph, "x", 4, (int64_t[]){2, 3, 9, 14});
    x = test_node(graph, "Relu", "r", NULL, (value_id[]){convolution(graph, "a", x, 3, 24, 3, &w[0])}, 1);
    x = test_node(graph, "Relu", "s", NULL, (value_id[]){convolution(graph, "b", x, 24, 40, 3, &w[1])}, 1);
    x = convolution(graph, "c", x, 40, 16, 1, &w[2]);
    assert_ok(graph->context, attributes_set_int(&keep, graph->arena, "keepdims", 0));
    value_id loss = test_node(graph, "ReduceMean", "loss", &keep, (value_id[]){test_node(graph, "Mul", "q", NULL, (value_id[]){x, x}, 2)}, 1);
    assert_ok(graph->context, graph_infer(graph));
    for (int i = 0; i < 3; i++)
        graph->values[w[i]].variable = true; /* trained */
    assert_ok(graph->context, gradient_build(graph, loss, w, 3, gradients));
    assert_ok(graph->context, graph_infer(graph));
    assert_ok(graph->context, graph_add_output(graph, loss));
    for (int i = 0; i < 3; i++)
        assert_ok(graph->context, graph_add_output(graph, gradients[i]));
    return graph;
}

static value_id cast(struct graph *graph, value_id value, int64_t type)
{
    struct attributes attributes = {0};
    char text[32];
    snprintf(text, sizeof text, "cast%zu", graph->value_count);
    assert_ok(graph->context, attributes_set_int(&attributes, graph->arena, "to", type));
    return test_node(graph, "Cast", arena_string(graph->arena, text), &attributes, &value, 1);
}

/* Says in operators of the standard what the marks say. */
static size_t write_out(struct graph *graph)
{
    size_t marked = 0;
    for (size_t n = 0, count = graph->node_count; n < count; n++) {
        if (!graph->nodes[n].op || !attribute_has(&graph->nodes[n].attributes, "bfloat16"))
            continue;
        marked++;
        attributes_remove(&graph->nodes[n].attributes, "bfloat16");
        for (size_t i = 0; i < 2; i++) {
            value_id rounded = cast(graph, cast(graph, graph->nodes[n].inputs[i], MITRAL_BFLOAT16), MITRAL_FLOAT);
            graph->nodes[n].inputs[i] = rounded;
        }
    }
    assert_ok(graph->context, graph_sort(graph));
    assert_ok(graph->context, graph_infer(graph));
    return marked;
}

static void run(struct graph *graph, int level, struct test_results *out)
{
    struct mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    const mitral_value *results[4];
    static float data[2 * 3 * 9 * 14];
    uint32_t random = 5;
    mitral_value x = {.kind = MITRAL_TENSOR};
    for (size_t i = 0; i < sizeof data / sizeof *data; i++)
        data[i] = test_random(&random);
    tensor_set(&x.tensor, MITRAL_FLOAT, 4, (int64_t[]){2, 3, 9, 14});
    x.tensor.data = data;
    assert_ok(graph->context, lower_graph(&plan, graph->context, graph, level, 2, MITRAL_PRECISION_BF16, true));
    assert_ok(graph->context, plan_pack(graph->context, plan));
    assert_ok(graph->context, mitral_session_create(&session, graph->context, plan, &(mitral_session_options){.threads = 2}));
    assert_ok(graph->context, mitral_session_run(session, (const mitral_value *[]){&x}, 1, results, 4));
    for (size_t i = 0; i < 4; i++) {
        out->counts[i] = (size_t)tensor_count(&results[i]->tensor);
        out->data[i] = malloc((out->counts[i] + 1) * sizeof(float));
        assert_non_null(out->data[i]);
        memcpy(out->data[i], results[i]->tensor.data, out->counts[i] * sizeof(float));
    }
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
}

/* Largest difference of an output over its largest element. */
static double distance(const struct test_results *a, const struct test_results *b, size_t i)
{
    double most = 0, range = 0;
    assert_int_equal(a->counts[i], b->counts[i]);
    for (size_t k = 0; k < a->counts[i]; k++) {
        most = fmax(most, fabs((double)a->data[i][k] - (double)b->data[i][k]));
        range = fmax(range, fabs((double)b->data[i][k]));
    }
    return most / range;
}

static void rounded_products_are_the_interpreters(void **state)
{
    (void)state;
    const struct pass_options options = {.threads = 2, .precision = MITRAL_PRECISION_BF16, .training = true};
    struct test_results plain = {0}, fast = {0}, expected = {0};
    if (cpu_isa() != ISA_AMX)
        skip();
    struct graph *graph = network();
    run(graph, 0, &plain);
    assert_ok(graph->context, pipeline_run_one(graph, "round-operands", &options));
    run(graph, 1, &fast);
    /* Of b and c forward, weights and data; the first one has too few channels, and nobody wants its data gradient. */
    assert_int_equal(write_out(graph), 6);
    run(graph, 0, &expected);
    for (size_t i = 0; i < 4; i++) {
        /* What is a tie for one order of summing may be rounded the other way after another: a few of many products. */
        assert_true(distance(&fast, &expected, i) <= 1e-4);
        assert_true(i == 0 || distance(&plain, &expected, i) > 5e-4); /* float32 would not pass */
        free(plain.data[i]);
        free(fast.data[i]);
        free(expected.data[i]);
    }
    test_close(graph);
}

static void float32_marks_nothing(void **state)
{
    (void)state;
    const struct pass_options options = {.threads = 2, .training = true};
    struct graph *graph = network();
    assert_ok(graph->context, pipeline_run_one(graph, "round-operands", &options));
    assert_int_equal(write_out(graph), 0);
    test_close(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rounded_products_are_the_interpreters), cmocka_unit_test(float32_marks_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
