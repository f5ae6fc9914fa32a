/* Promises of sessions: steady runs allocate nothing, threads share a plan, wrong inputs are refused. */
#include "build.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/lower.h"
#include "compiler/model.h"
#include "mitral/networks.h"
#include "mitral/tools.h"

static size_t allocations;

static void *counting_allocate(void *user, size_t size, size_t alignment)
{
    (void)user;
    void *pointer = NULL;
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return posix_memalign(&pointer, alignment, size) == 0 ? pointer : NULL;
}

static void counting_release(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}

static mitral_context *counting_context(void)
{
    mitral_context *context = NULL;
    const mitral_context_options options = {.allocate = counting_allocate, .release = counting_release};
    assert_int_equal(mitral_context_create(&context, &options), MITRAL_OK);
    return context;
}

/* A DPU-Net small enough for a sanitizer. */
static mitral_plan *make_plan(mitral_context *context, bool interpret)
{
    mitral_model *model = NULL;
    mitral_plan *plan = NULL;
    const mitral_network_options options = {.widths = {16, 16, 16, 16, 16}, .size = 32};
    const mitral_compile_options compile = {.interpret = interpret};
    assert_ok(context, mitral_create_dpu_net(&model, context, &options));
    assert_ok(context, mitral_compile(&plan, context, model, &compile));
    mitral_model_destroy(&model);
    return plan;
}

static mitral_value *make_input(mitral_context *context, int64_t batch)
{
    mitral_value *value = NULL;
    const mitral_value_info info = {.name = "image", .dtype = MITRAL_FLOAT, .rank = 4, .dims = {batch, 1, 32, 32}};
    assert_ok(context, mitral_value_random(&value, context, &info, 5));
    return value;
}

static void steady_runs_allocate_nothing(void **state)
{
    (void)state;
    mitral_context *context = counting_context();
    mitral_plan *plan = make_plan(context, false);
    mitral_value *input = make_input(context, 1);
    mitral_session *session = NULL;
    const mitral_value *inputs[] = {input}, *outputs[1];
    assert_ok(context, mitral_session_create(&session, context, plan, NULL));
    assert_ok(context, mitral_session_run(session, inputs, 1, outputs, 1));
    size_t before = allocations;
    for (int i = 0; i < 5; i++)
        assert_ok(context, mitral_session_run(session, inputs, 1, outputs, 1));
    assert_int_equal(allocations, before);
    mitral_session_destroy(&session);
    mitral_value_destroy(&input);
    mitral_plan_destroy(&plan);
    mitral_context_destroy(&context);
}

/* Batches of different sizes through one plan that was compiled for none of them. */
static void symbolic_batch_runs(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    mitral_plan *plan = make_plan(context, false);
    mitral_session *session = NULL;
    assert_ok(context, mitral_session_create(&session, context, plan, NULL));
    for (int64_t batch = 1; batch <= 40; batch++) { /* more than the plan caches */
        mitral_value *input = make_input(context, batch % 20 + 1);
        const mitral_value *inputs[] = {input}, *outputs[1];
        assert_ok(context, mitral_session_run(session, inputs, 1, outputs, 1));
        assert_int_equal(outputs[0]->tensor.dims[0], batch % 20 + 1);
        mitral_value_destroy(&input);
    }
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    mitral_context_destroy(&context);
}

struct worker {
    mitral_plan *plan;
    const mitral_value *input;
    float *result;
    size_t bytes;
    mitral_status status;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    mitral_context *context = NULL;
    mitral_session *session = NULL;
    const mitral_value *outputs[1];
    worker->status = mitral_context_create(&context, NULL);
    if (worker->status == MITRAL_OK)
        worker->status = mitral_session_create(&session, context, worker->plan, &(mitral_session_options){.threads = 2});
    for (int i = 0; i < 5 && worker->status == MITRAL_OK; i++)
        worker->status = mitral_session_run(session, &worker->input, 1, outputs, 1);
    if (worker->status == MITRAL_OK) {
        worker->bytes = (size_t)mitral_tensor_size(&outputs[0]->tensor);
        worker->result = malloc(worker->bytes);
        memcpy(worker->result, outputs[0]->tensor.data, worker->bytes);
    }
    mitral_session_destroy(&session);
    mitral_context_destroy(&context);
    return NULL;
}

static void threads_share_a_plan(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    mitral_plan *plan = make_plan(context, false);
    mitral_value *input = make_input(context, 1);
    enum { WORKERS = 4 };
    pthread_t threads[WORKERS];
    struct worker workers[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.plan = plan, .input = input};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(workers[i].status, MITRAL_OK);
        assert_memory_equal(workers[i].result, workers[0].result, workers[0].bytes);
    }
    for (int i = 0; i < WORKERS; i++)
        free(workers[i].result);
    mitral_value_destroy(&input);
    mitral_plan_destroy(&plan);
    mitral_context_destroy(&context);
}

static void every_value_of_the_interpreter_can_be_read(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    mitral_plan *plan = make_plan(context, true);
    mitral_value *input = make_input(context, 1);
    mitral_session *session = NULL;
    const mitral_value *inputs[] = {input};
    assert_ok(context, mitral_session_create(&session, context, plan, NULL));
    assert_null(mitral_session_value(session, "enc4"));
    assert_ok(context, mitral_session_run(session, inputs, 1, NULL, 0));
    const mitral_value *tap = mitral_session_value(session, "enc4");
    assert_non_null(tap);
    assert_int_equal(tap->tensor.dims[2], 2);
    assert_non_null(mitral_session_value(session, "enc0.0.reduce"));
    assert_null(mitral_session_value(session, "no such value"));
    mitral_session_destroy(&session);
    mitral_value_destroy(&input);
    mitral_plan_destroy(&plan);
    mitral_context_destroy(&context);
}

static void wrong_inputs_are_refused(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    mitral_plan *plan = make_plan(context, false);
    mitral_value *input = make_input(context, 1);
    mitral_session *session = NULL;
    const mitral_value *inputs[] = {input};
    assert_ok(context, mitral_session_create(&session, context, plan, NULL));
    assert_int_equal(mitral_session_run(session, inputs, 0, NULL, 0), MITRAL_INVALID);
    const mitral_value *absent[] = {NULL};
    assert_int_equal(mitral_session_run(session, absent, 1, NULL, 0), MITRAL_INVALID);
    mitral_value wrong = *input;
    wrong.tensor.dims[1] = 3;
    inputs[0] = &wrong;
    assert_int_equal(mitral_session_run(session, inputs, 1, NULL, 0), MITRAL_INVALID);
    assert_non_null(strstr(mitral_context_message(context), "image"));
    wrong = *input;
    wrong.tensor.dtype = MITRAL_INT32;
    assert_int_equal(mitral_session_run(session, inputs, 1, NULL, 0), MITRAL_INVALID);
    wrong = *input;
    wrong.tensor.data = NULL;
    assert_int_equal(mitral_session_run(session, inputs, 1, NULL, 0), MITRAL_INVALID);
    inputs[0] = input;
    assert_ok(context, mitral_session_run(session, inputs, 1, NULL, 0)); /* still usable */
    mitral_session_destroy(&session);
    mitral_value_destroy(&input);
    mitral_plan_destroy(&plan);
    mitral_context_destroy(&context);
}

/* Whatever rank a caller says, no more dimensions are read than there are. */
static void ranks_out_of_bounds_are_refused(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct graph *graph = NULL;
    mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    assert_ok(context, graph_create(&graph, context));
    assert_ok(context, graph_add_output(graph, test_node(graph, "Neg", "y", NULL, (value_id[]){test_input(graph, "x", 1, (int64_t[]){3})}, 1)));
    assert_ok(context, graph_infer(graph));
    assert_ok(context, lower_graph(&plan, context, graph, 0, 1, MITRAL_PRECISION_F32, false));
    assert_ok(context, mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = 1}));
    static const int32_t ranks[] = {13, INT32_MAX, -1, INT32_MIN};
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
        char expected[100], text[100];
        mitral_value element = {.tensor = {.dtype = MITRAL_FLOAT, .rank = ranks[i], .data = (float[]){1, 2, 3}}};
        const mitral_value sequence = {.kind = MITRAL_SEQUENCE, .count = 1, .items = &element}, *inputs[] = {&element, &sequence};
        snprintf(expected, sizeof expected, "input 'x': expected 0 to 12 dimensions, found %d", ranks[i]);
        for (size_t j = 0; j < 2; j++) {
            assert_int_equal(mitral_session_run(session, inputs + j, 1, NULL, 0), MITRAL_INVALID);
            assert_string_equal(mitral_context_message(context), expected);
        }
        snprintf(expected, sizeof expected, ranks[i] == -1 ? "float32 of any rank" : "float32 of rank %d", ranks[i]);
        assert_string_equal(tensor_describe(&element.tensor, text, sizeof text), expected);
    }
    const mitral_value *none[] = {&(mitral_value){.kind = MITRAL_SEQUENCE, .count = 1}};
    assert_int_equal(mitral_session_run(session, none, 1, NULL, 0), MITRAL_INVALID);
    assert_string_equal(mitral_context_message(context), "input 'x': expected 1 items, found a null pointer");
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    graph_destroy(&graph);
    mitral_context_destroy(&context);
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    const mitral_network_options network = {.widths = {8, 8, 8, 8, 8}, .size = 16, .batch = 1};
    mitral_model *model = NULL;
    mitral_plan *plan = NULL, *none;
    mitral_session *session;
    char expected[100];
    assert_ok(context, mitral_create_dpu_net(&model, context, &network));
    assert_ok(context, mitral_compile(&plan, context, model, NULL));
    static const int threads[] = {-1, INT32_MIN, 4097, INT32_MAX};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        snprintf(expected, sizeof expected, "threads: expected 0 to 4096, found %d", threads[i]);
        assert_int_equal(mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = threads[i]}), MITRAL_INVALID);
        assert_null(session);
        assert_string_equal(mitral_context_message(context), expected);
        assert_int_equal(mitral_compile(&none, context, model, &(mitral_compile_options){.threads = threads[i]}), MITRAL_INVALID);
        assert_null(none);
        assert_string_equal(mitral_context_message(context), expected);
        assert_int_equal(mitral_model_optimize(context, model, threads[i]), MITRAL_INVALID);
        assert_string_equal(mitral_context_message(context), expected);
    }
    assert_int_equal(mitral_compile(&none, context, model, &(mitral_compile_options){.precision = (mitral_precision)9}), MITRAL_INVALID);
    assert_null(none);
    assert_string_equal(mitral_context_message(context), "precision: expected 0 (float32) or 1 (bfloat16), found 9");
    mitral_plan_destroy(&plan);
    mitral_model_destroy(&model);
    mitral_context_destroy(&context);
}

/* Memory may run out anywhere: each failure is a status, and nothing leaks (the sanitizer looks). */
struct budget {
    size_t left;
};

static void *limited_allocate(void *user, size_t size, size_t alignment)
{
    struct budget *budget = user;
    void *pointer = NULL;
    if (budget->left == 0 || posix_memalign(&pointer, alignment, size) != 0)
        return NULL;
    budget->left--;
    return pointer;
}

static void out_of_memory_is_a_status(void **state)
{
    (void)state;
    mitral_status status = MITRAL_NO_MEMORY;
    for (size_t budget_size = 1; status != MITRAL_OK; budget_size += 1 + budget_size / 8) {
        struct budget budget = {budget_size};
        const mitral_context_options options = {.allocate = limited_allocate, .release = counting_release, .user = &budget};
        mitral_context *context = NULL;
        mitral_model *model = NULL;
        mitral_plan *plan = NULL;
        mitral_session *session = NULL;
        const mitral_network_options network = {.widths = {8, 8, 8, 8, 8}, .size = 16, .batch = 1};
        static float pixels[256];
        const mitral_value image = {.tensor = {.dtype = MITRAL_FLOAT, .rank = 4, .dims = {1, 1, 16, 16}, .data = pixels}};
        const mitral_value *inputs[] = {&image};
        status = mitral_context_create(&context, &options);
        if (status == MITRAL_OK)
            status = mitral_create_dpu_net(&model, context, &network);
        if (status == MITRAL_OK)
            status = mitral_compile(&plan, context, model, NULL);
        if (status == MITRAL_OK)
            status = mitral_session_create(&session, context, plan, NULL);
        if (status == MITRAL_OK)
            status = mitral_session_run(session, inputs, 1, NULL, 0);
        assert_true(status == MITRAL_OK || status == MITRAL_NO_MEMORY);
        mitral_session_destroy(&session);
        mitral_plan_destroy(&plan);
        mitral_model_destroy(&model);
        mitral_context_destroy(&context);
        assert_true(budget_size < 1000000);
    }
}

/* As an altered plan file may say it: kernels of tensors are handed nothing else, and results are what the plan calls them. */
static void values_of_other_kinds_are_refused(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        mitral_context *context = test_context();
        struct graph *graph = NULL;
        mitral_plan *plan = NULL;
        mitral_session *session = NULL;
        assert_ok(context, graph_create(&graph, context));
        value_id x = test_input(graph, "x", 1, (int64_t[]){3}), y = test_node(graph, "Neg", "y", NULL, &x, 1);
        value_id z = form == 2 ? test_node(graph, "NonZero", "z", NULL, &y, 1) : test_node(graph, "Exp", "z", NULL, &y, 1);
        assert_ok(context, graph_add_output(graph, z));
        assert_ok(context, graph_infer(graph));
        assert_ok(context, lower_graph(&plan, context, graph, 0, 1, MITRAL_PRECISION_F32, false));
        uint32_t altered = form == 0 ? plan->inputs[0] : form == 1 ? plan->steps[1].inputs[0] : plan->outputs[0];
        plan->values[altered].kind = MITRAL_SEQUENCE;
        assert_ok(context, mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = 1}));
        mitral_value input = {.kind = form == 0 ? MITRAL_SEQUENCE : MITRAL_TENSOR};
        tensor_set(&input.tensor, MITRAL_FLOAT, 1, (int64_t[]){3});
        input.tensor.data = (float[]){1, 2, 3};
        const mitral_value *in[] = {&input}, *out[1];
        assert_int_equal(mitral_session_run(session, in, 1, out, 1), MITRAL_INVALID);
        assert_non_null(strstr(mitral_context_message(context), "expected a tensor as "));
        assert_non_null(strstr(mitral_context_message(context), "found a sequence"));
        mitral_session_destroy(&session);
        mitral_plan_destroy(&plan);
        graph_destroy(&graph);
        mitral_context_destroy(&context);
    }
}

/* What a step of shapes known only then prepared serves the next run of the same shapes, with that run's values. */
static void deferred_steps_follow_shapes_and_values(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct graph *graph = NULL;
    mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    struct attributes to_float = {0};
    assert_ok(context, graph_create(&graph, context));
    assert_ok(context, attributes_set_int(&to_float, graph->arena, "to", MITRAL_FLOAT));
    value_id x = test_input(graph, "x", 1, (int64_t[]){6}), where = test_node(graph, "NonZero", "where", NULL, &x, 1);
    value_id row = test_node(graph, "Cast", "row", &to_float, &where, 1), column = test_node(graph, "Transpose", "column", NULL, &row, 1);
    value_id w = test_constant(graph, "w", 2, (int64_t[]){1, 2}, (float[]){1, 3});
    assert_ok(context, graph_add_output(graph, test_node(graph, "MatMul", "squares", NULL, (value_id[]){row, column}, 2)));
    assert_ok(context, graph_add_output(graph, test_node(graph, "MatMul", "multiples", NULL, (value_id[]){column, w}, 2)));
    assert_ok(context, graph_infer(graph));
    assert_ok(context, lower_graph(&plan, context, graph, 0, 1, MITRAL_PRECISION_F32, false));
    assert_ok(context, mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = 1}));
    static const struct {
        float x[6], squares;
        int64_t count;
        float last;
    } cases[] = {{{1, 1, 1, 1, 0, 0}, 14, 4, 9},
                 {{0, 0, 1, 1, 1, 1}, 54, 4, 15},
                 {{0, 1, 0, 0, 0, 0}, 1, 1, 3},
                 {{1, 0, 1, 1, 0, 1}, 38, 4, 15}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mitral_value input = {.kind = MITRAL_TENSOR};
        tensor_set(&input.tensor, MITRAL_FLOAT, 1, (int64_t[]){6});
        input.tensor.data = (void *)cases[i].x;
        const mitral_value *in[] = {&input}, *out[2];
        assert_ok(context, mitral_session_run(session, in, 1, out, 2));
        assert_float_equal(*(const float *)out[0]->tensor.data, cases[i].squares, 0);
        assert_int_equal(out[1]->tensor.dims[0], cases[i].count);
        assert_float_equal(((const float *)out[1]->tensor.data)[2 * cases[i].count - 1], cases[i].last, 0);
    }
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    graph_destroy(&graph);
    mitral_context_destroy(&context);
}

static void packed_weights_are_for_kernels_that_pack(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct graph *graph = NULL;
    mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    assert_ok(context, graph_create(&graph, context));
    value_id x = test_input(graph, "x", 1, (int64_t[]){3}), w = test_constant(graph, "w", 1, (int64_t[]){3}, (float[]){1, 2, 3});
    assert_ok(context, graph_add_output(graph, test_node(graph, "Add", "y", NULL, (value_id[]){x, w}, 2)));
    assert_ok(context, graph_infer(graph));
    assert_ok(context, lower_graph(&plan, context, graph, 0, 1, MITRAL_PRECISION_F32, false));
    struct mitral_packing packing = {"onednn", "", 4};
    mitral_tensor *constant = &plan->values[plan->steps[0].inputs[1]].constant;
    constant->layout = LAYOUT_PACKED;
    constant->packing = &packing;
    assert_ok(context, mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = 1}));
    mitral_value input = {.kind = MITRAL_TENSOR};
    tensor_set(&input.tensor, MITRAL_FLOAT, 1, (int64_t[]){3});
    input.tensor.data = (float[]){1, 2, 3};
    const mitral_value *in[] = {&input}, *out[1];
    assert_int_equal(mitral_session_run(session, in, 1, out, 1), MITRAL_INVALID);
    assert_non_null(strstr(mitral_context_message(context), "packed weights"));
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    graph_destroy(&graph);
    mitral_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steady_runs_allocate_nothing),
        cmocka_unit_test(symbolic_batch_runs),
        cmocka_unit_test(values_of_other_kinds_are_refused),
        cmocka_unit_test(deferred_steps_follow_shapes_and_values),
        cmocka_unit_test(packed_weights_are_for_kernels_that_pack),
        cmocka_unit_test(threads_share_a_plan),
        cmocka_unit_test(every_value_of_the_interpreter_can_be_read),
        cmocka_unit_test(wrong_inputs_are_refused),
        cmocka_unit_test(ranks_out_of_bounds_are_refused),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(out_of_memory_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
