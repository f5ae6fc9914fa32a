/* Operators that a caller registers with a gradient function, and operators of strings. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "compiler/gradient.h"
#include "compiler/model.h"

enum { COUNT = 6 };

/* p = a · b, q = a² + b; without b it is 1. */
static mitral_status pair_shape(mitral_call *call, void *user)
{
    const mitral_tensor *a = mitral_call_input(call, 0);
    (void)user;
    for (size_t i = 0; i < mitral_call_output_count(call); i++) {
        mitral_status status = mitral_call_set_output(call, i, MITRAL_DOUBLE, a->rank, a->dims);
        if (status != MITRAL_OK)
            return status;
    }
    return mitral_call_forward_output(call, 0) || mitral_call_output_gradient(call, 0) ? MITRAL_INVALID : MITRAL_OK;
}

static double value_at(const mitral_tensor *tensor, int64_t index, double fallback)
{
    return tensor ? ((const double *)tensor->data)[index] : fallback;
}

static void set_at(const mitral_tensor *tensor, int64_t index, double value)
{
    if (tensor)
        ((double *)tensor->data)[index] = value;
}

static mitral_status pair_run(mitral_call *call, void *user)
{
    const mitral_tensor *a = mitral_call_input(call, 0), *b = mitral_call_input(call, 1);
    (void)user;
    for (int64_t i = 0; i < mitral_tensor_count(a); i++) {
        const double x = value_at(a, i, 0), y = value_at(b, i, 1);
        set_at(mitral_call_output(call, 0), i, x * y);
        set_at(mitral_call_output(call, 1), i, x * x + y);
    }
    return MITRAL_OK;
}

struct seen {
    size_t inputs, outputs;
    bool gradient[2], wanted[2], forward[2];
    bool fails;
};

static mitral_status pair_gradient(mitral_call *call, void *user)
{
    struct seen *seen = user;
    const mitral_tensor *a = mitral_call_input(call, 0), *b = mitral_call_input(call, 1);
    const mitral_tensor *dp = mitral_call_output_gradient(call, 0), *dq = mitral_call_output_gradient(call, 1);
    seen->inputs = mitral_call_input_count(call);
    seen->outputs = mitral_call_output_count(call);
    for (size_t i = 0; i < 2; i++) {
        seen->gradient[i] = mitral_call_output_gradient(call, i) != NULL;
        seen->wanted[i] = mitral_call_output(call, i) != NULL;
        seen->forward[i] = mitral_call_forward_output(call, i) != NULL;
    }
    if (seen->fails)
        return mitral_call_fail(call, MITRAL_UNSUPPORTED, "expected patience, found none");
    for (int64_t i = 0; i < mitral_tensor_count(a); i++) {
        const double x = value_at(a, i, 0), y = value_at(b, i, 1), p = value_at(dp, i, 0), q = value_at(dq, i, 0);
        set_at(mitral_call_output(call, 0), i, p * y + 2 * x * q);
        set_at(mitral_call_output(call, 1), i, p * x + q);
    }
    return MITRAL_OK;
}

static const struct op *registered(mitral_context *context, const char *name, struct seen *seen, bool trainable)
{
    const mitral_operator description = {.domain = "com.example", .name = name, .min_inputs = 1, .max_inputs = 2, .min_outputs = 1, .max_outputs = 2,
                                         .shape = pair_shape, .run = pair_run, .gradient = trainable ? pair_gradient : NULL, .user = seen};
    assert_ok(context, mitral_context_register(context, &description));
    return op_find_registered(context, "com.example", name);
}

static value_id double_input(struct graph *graph, const char *name)
{
    struct value_type type = {.dtype = MITRAL_DOUBLE, .rank = 1, .dims = {COUNT}};
    value_id out;
    assert_ok(graph->context, graph_add_value(graph, name, &type, &out));
    assert_ok(graph->context, graph_add_input(graph, out));
    return out;
}

static value_id new_value(struct graph *graph, const char *name)
{
    const struct value_type type = {.rank = -1};
    value_id out;
    assert_ok(graph->context, graph_add_value(graph, name, &type, &out));
    return out;
}

struct setting {
    bool has_b, wants_b, uses[2];
};

/* Loss: the sum over the used outputs of output³ / 3, so that the gradient of an output is its square. */
static void check(const struct setting *s, bool trainable, bool fails)
{
    mitral_context *context = test_context();
    struct seen seen = {.fails = fails};
    struct graph *graph = NULL;
    const struct op *op = registered(context, "Pair", &seen, trainable);
    assert_ok(context, graph_create(&graph, context));
    graph->opset = 17;
    value_id inputs[2] = {double_input(graph, "a"), s->has_b ? double_input(graph, "b") : NO_VALUE};
    value_id outputs[2] = {new_value(graph, "p"), s->uses[1] ? new_value(graph, "q") : NO_VALUE}, loss = NO_VALUE, gradients[2];
    assert_ok(context, graph_add_node(graph, op, 1, "node", NULL, inputs, s->has_b ? 2 : 1, outputs, 2, NULL));
    for (size_t i = 0; i < 2; i++) {
        if (!s->uses[i])
            continue;
        value_id square = test_node(graph, "Mul", NULL, NULL, (value_id[]){outputs[i], outputs[i]}, 2);
        value_id cube = test_node(graph, "Mul", NULL, NULL, (value_id[]){square, outputs[i]}, 2);
        struct attributes all = {0};
        assert_ok(context, attributes_set_int(&all, graph->arena, "keepdims", 0));
        value_id sum = test_node(graph, "ReduceSum", NULL, &all, &cube, 1);
        loss = loss == NO_VALUE ? sum : test_node(graph, "Add", NULL, NULL, (value_id[]){loss, sum}, 2);
    }
    assert_ok(context, graph_infer(graph));
    const size_t wanted = s->wants_b ? 2 : 1;
    mitral_status status = gradient_build(graph, loss, inputs, wanted, gradients);
    if (!trainable) {
        assert_int_equal(status, MITRAL_UNSUPPORTED);
        assert_non_null(strstr(mitral_context_message(context), "gradient of Pair 'node'"));
        assert_non_null(strstr(mitral_context_message(context), "it was registered without a gradient function"));
        graph_destroy(&graph);
        mitral_context_destroy(&context);
        return;
    }
    assert_ok(context, status);
    for (size_t i = 0; i < wanted; i++)
        assert_ok(context, graph_add_output(graph, gradients[i]));
    double a[COUNT] = {-2, -1, 0, 1, 2, 3}, b[COUNT] = {0.5, -1, 2, 0.25, -0.5, 1};
    const mitral_value values[2] = {{.tensor = {.dtype = MITRAL_DOUBLE, .rank = 1, .dims = {COUNT}, .data = a}},
                                    {.tensor = {.dtype = MITRAL_DOUBLE, .rank = 1, .dims = {COUNT}, .data = b}}};
    for (int interpret = 0; interpret < 2; interpret++) {
        const mitral_value *given[2] = {&values[0], &values[1]}, *results[2];
        mitral_plan *plan;
        mitral_session *session;
        struct graph *copy;
        assert_ok(context, graph_copy(&copy, graph));
        assert_ok(context, compile_graph(&plan, context, copy, &(mitral_compile_options){.interpret = interpret, .threads = 1}, true));
        assert_ok(context, mitral_session_create(&session, context, plan, NULL));
        status = mitral_session_run(session, given, graph->input_count, results, wanted);
        if (fails) {
            assert_int_equal(status, MITRAL_UNSUPPORTED);
            assert_non_null(strstr(mitral_context_message(context), "com.example:Pair:gradient 'gradient/node/Pair:gradient"));
            assert_non_null(strstr(mitral_context_message(context), "expected patience, found none"));
        } else {
            assert_ok(context, status);
            assert_int_equal(seen.inputs, graph->input_count);
            assert_int_equal(seen.outputs, 2);
            for (size_t i = 0; i < 2; i++) {
                assert_int_equal(seen.gradient[i], s->uses[i]);
                assert_int_equal(seen.forward[i], i == 0 || s->uses[1]);
                assert_int_equal(seen.wanted[i], i == 0 || s->wants_b);
            }
            for (int i = 0; i < COUNT; i++) {
                const double y = s->has_b ? b[i] : 1, p = a[i] * y, q = a[i] * a[i] + y;
                const double dp = s->uses[0] ? 3 * p * p : 0, dq = s->uses[1] ? 3 * q * q : 0;
                assert_true(fabs(((const double *)results[0]->tensor.data)[i] - (dp * y + 2 * a[i] * dq)) <= 1e-12);
                if (s->wants_b)
                    assert_true(fabs(((const double *)results[1]->tensor.data)[i] - (dp * a[i] + dq)) <= 1e-12);
            }
        }
        mitral_session_destroy(&session);
        mitral_plan_destroy(&plan);
        graph_destroy(&copy);
    }
    graph_destroy(&graph);
    mitral_context_destroy(&context);
}

static void gradients_are_those_of_the_function(void **state)
{
    (void)state;
    static const struct setting settings[] = {
        {true, true, {true, true}}, {true, false, {true, true}}, {true, true, {false, true}}, {true, true, {true, false}}, {false, false, {true, true}},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        check(&settings[i], true, false);
}

static void functions_may_fail_or_be_missing(void **state)
{
    (void)state;
    check(&(struct setting){true, true, {true, true}}, true, true);
    check(&(struct setting){true, true, {true, true}}, false, false);
}

/* ---- strings --------------------------------------------------------------------------------------------------------- */

static mitral_status double_shape(mitral_call *call, void *user)
{
    const mitral_tensor *x = mitral_call_input(call, 0);
    (void)user;
    return mitral_call_set_output(call, 0, MITRAL_STRING, x->rank, x->dims);
}

/* Each string twice; one that is empty stays unset. */
static mitral_status double_run(mitral_call *call, void *user)
{
    const mitral_tensor *x = mitral_call_input(call, 0);
    char text[64];
    (void)user;
    for (int64_t i = 0; i < mitral_tensor_count(x); i++) {
        const mitral_string *from = (const mitral_string *)x->data + i;
        if (!from->size)
            continue;
        memcpy(text, from->data, from->size);
        memcpy(text + from->size, from->data, from->size);
        mitral_status status = mitral_call_set_string(call, 0, i, text, 2 * from->size);
        if (status != MITRAL_OK)
            return status;
    }
    return mitral_call_string(call, "past_the_end", NULL) ? mitral_call_set_string(call, 0, mitral_tensor_count(x), text, 1) : MITRAL_OK;
}

static void strings_come_and_go(void **state)
{
    (void)state;
    const mitral_operator description = {.domain = "com.example", .name = "Double", .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
                                         .max_outputs = 1, .shape = double_shape, .run = double_run};
    mitral_string strings[3] = {{"ab", 2}, {"", 0}, {"c\0d", 3}};
    const mitral_value given = {.tensor = {.dtype = MITRAL_STRING, .rank = 1, .dims = {3}, .data = strings}};
    for (int variant = 0; variant < 4; variant++) {
        mitral_context *context = test_context();
        struct graph *graph;
        mitral_plan *plan = NULL;
        mitral_session *session = NULL;
        struct value_type type = {.dtype = MITRAL_STRING, .rank = 1, .dims = {3}};
        struct attributes attributes = {0};
        assert_ok(context, mitral_context_register(context, &description));
        assert_ok(context, graph_create(&graph, context));
        graph->opset = 17;
        value_id x, y = new_value(graph, "y"), z = new_value(graph, "z");
        if (variant & 1) { /* folded when it is compiled */
            assert_ok(context, graph_add_constant(graph, "x", &given.tensor, false, &x));
        } else {
            assert_ok(context, graph_add_value(graph, "x", &type, &x));
            assert_ok(context, graph_add_input(graph, x));
        }
        if (variant & 2)
            assert_ok(context, attributes_set_string(&attributes, graph->arena, "past_the_end", "yes"));
        const struct op *op = op_find_registered(context, "com.example", "Double");
        assert_ok(context, graph_add_node(graph, op, 1, "node", NULL, &x, 1, &y, 1, NULL));
        assert_ok(context, graph_add_node(graph, op, 1, "again", &attributes, &y, 1, &z, 1, NULL));
        assert_ok(context, graph_add_output(graph, z));
        const mitral_value *inputs[] = {&given}, *outputs[1];
        mitral_status status = graph_infer(graph); /* runs it over constants already */
        if (status == MITRAL_OK)
            status = compile_graph(&plan, context, graph, &(mitral_compile_options){.threads = 1}, false);
        if (status == MITRAL_OK)
            assert_ok(context, mitral_session_create(&session, context, plan, NULL));
        for (int round = 0; round < 2 && session; round++)
            status = mitral_session_run(session, inputs, graph->input_count, outputs, 1);
        if (variant & 2) {
            assert_int_equal(status, MITRAL_INVALID);
            assert_non_null(strstr(mitral_context_message(context), "com.example:Double 'again': expected an element below 3 of output 0"));
        } else {
            assert_ok(context, status);
            const mitral_string *result = outputs[0]->tensor.data;
            assert_int_equal(result[0].size, 8);
            assert_memory_equal(result[0].data, "abababab", 8);
            assert_int_equal(result[1].size, 0);
            assert_int_equal(result[2].size, 12);
            assert_memory_equal(result[2].data, "c\0dc\0dc\0dc\0d", 12);
        }
        mitral_session_destroy(&session);
        mitral_plan_destroy(&plan);
        graph_destroy(&graph);
        mitral_context_destroy(&context);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_are_those_of_the_function), cmocka_unit_test(functions_may_fail_or_be_missing),
                                       cmocka_unit_test(strings_come_and_go)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
