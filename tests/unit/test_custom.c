/* Operators that a caller registers: wherever they have to be found, and every way in which their functions can be wrong. */
#include "onnx_builder.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct builder builder;
static mitral_context *context; /* the builder's */

static int start(void **state)
{
    (void)state;
    builder_start(&builder);
    builder_opset(&builder, "com.example", 3);
    context = builder.context;
    return 0;
}

static int stop(void **state)
{
    (void)state;
    builder_stop(&builder);
    return 0;
}

/* ---- operators ----------------------------------------------------------------------------------------------------- */

enum mistake {
    NO_MISTAKE, UNSET, INDEX, NEGATIVE, HUGE_SIZE, RANK, NO_DIMENSIONS, TYPE, SHAPE_FAILS, SHAPE_FAILS_SILENTLY, SHAPE_DEFERS,
    SHAPE_FORGIVES, RUN_FAILS, RUN_FAILS_SILENTLY, RUN_UNKNOWN_STATUS, RUN_DEFERS, RUN_SETS,
    RUN_SETS_STRINGS
};

struct behaviour {
    enum mistake mistake;
    int runs;
};

/* y = factor * x + sum of `offsets`; the kind "negative" turns the sign. */
static mitral_status scale_shape(mitral_call *call, void *user)
{
    const struct behaviour *behaviour = user;
    const mitral_tensor *x = mitral_call_input(call, 0);
    const int64_t negative[] = {2, -3}, huge[] = {INT64_MAX, INT64_MAX};
    switch (behaviour->mistake) {
    case UNSET:
        return MITRAL_OK;
    case INDEX:
        return mitral_call_set_output(call, 1, MITRAL_FLOAT, x->rank, x->dims);
    case NEGATIVE:
        return mitral_call_set_output(call, 0, MITRAL_FLOAT, 2, negative);
    case HUGE_SIZE:
        return mitral_call_set_output(call, 0, MITRAL_FLOAT, 2, huge);
    case RANK:
        return mitral_call_set_output(call, 0, MITRAL_FLOAT, MITRAL_MAX_RANK + 1, x->dims);
    case NO_DIMENSIONS:
        return mitral_call_set_output(call, 0, MITRAL_FLOAT, 1, NULL);
    case TYPE:
        return mitral_call_set_output(call, 0, MITRAL_DTYPE_COUNT, x->rank, x->dims);
    case SHAPE_FAILS:
        return mitral_call_fail(call, MITRAL_UNSUPPORTED, "expected rank %d, found %d", 7, (int)x->rank);
    case SHAPE_FAILS_SILENTLY:
        return MITRAL_LIMIT;
    case SHAPE_DEFERS: /* though it could have asked for all values */
        return x->data ? MITRAL_DEFERRED : mitral_call_fail(call, MITRAL_INVALID, "expected a constant");
    case SHAPE_FORGIVES:
        (void)mitral_call_set_output(call, 0, MITRAL_FLOAT, -1, x->dims);
        return mitral_call_set_output(call, 0, MITRAL_FLOAT, x->rank, x->dims);
    default:
        return mitral_call_set_output(call, 0, (mitral_dtype)x->dtype, x->rank, x->dims);
    }
}

static mitral_status scale_run(mitral_call *call, void *user)
{
    struct behaviour *behaviour = user;
    const mitral_tensor *x = mitral_call_input(call, 0), *y = mitral_call_output(call, 0);
    behaviour->runs++;
    switch (behaviour->mistake) {
    case RUN_FAILS:
        return mitral_call_fail(call, MITRAL_CANCELLED, "expected patience, found none");
    case RUN_FAILS_SILENTLY:
        return MITRAL_IO;
    case RUN_UNKNOWN_STATUS:
        return (mitral_status)77;
    case RUN_DEFERS:
        return MITRAL_DEFERRED;
    case RUN_SETS_STRINGS:
        return mitral_call_set_string(call, 0, 0, "a", 1);
    case RUN_SETS:
        return mitral_call_set_output(call, 0, MITRAL_FLOAT, x->rank, x->dims);
    default:
        break;
    }
    float factor = mitral_call_float(call, "factor", 2), offset = (float)mitral_call_int(call, "offset", 0);
    size_t count, none;
    const int64_t *offsets = mitral_call_ints(call, "offsets", &count);
    if (mitral_call_floats(call, "offsets", &none) || none || mitral_call_input(call, 1) || mitral_call_output(call, 1)
        || mitral_call_input_count(call) != 1 || mitral_call_output_count(call) != 1 || mitral_call_threads(call) < 1)
        return mitral_call_fail(call, MITRAL_INVALID, "expected one input, one output and no floats, found more");
    for (size_t i = 0; i < count; i++)
        offset += (float)offsets[i];
    if (strcmp(mitral_call_string(call, "kind", "positive"), "negative") == 0)
        factor = -factor;
    for (int64_t i = 0; i < mitral_tensor_count(x); i++)
        ((float *)y->data)[i] = factor * ((const float *)x->data)[i] + offset;
    return MITRAL_OK;
}

static mitral_operator scale(struct behaviour *behaviour)
{
    return (mitral_operator){.domain = "com.example", .name = "Scale", .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
                             .max_outputs = 1, .shape = scale_shape, .run = scale_run, .user = behaviour};
}

static void register_scale(mitral_context *into, struct behaviour *behaviour)
{
    const mitral_operator description = scale(behaviour);
    assert_ok(into, mitral_context_register(into, &description));
}

static Onnx__NodeProto *custom_node(Onnx__GraphProto *graph, const char *op, const char *inputs, const char *outputs)
{
    Onnx__NodeProto *node = builder_node(&builder, graph, op, inputs, outputs);
    node->domain = (char *)(uintptr_t)"com.example";
    node->name = (char *)(uintptr_t)"custom";
    return node;
}

/* x → Scale → Relu → y */
static Onnx__NodeProto *build_chain(void)
{
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    Onnx__NodeProto *node = custom_node(builder.graph, "Scale", "x", "s");
    builder_node(&builder, builder.graph, "Relu", "s", "y");
    return node;
}

static mitral_status load(mitral_context *into, mitral_model **model)
{
    size_t size;
    const void *bytes = builder_pack(&builder, &size);
    return mitral_model_parse(model, into, bytes, size, NULL);
}

static float pixels[6] = {-2, -1, 0, 1, 2, 3};
static const mitral_value image = {.tensor = {.dtype = MITRAL_FLOAT, .rank = 2, .dims = {2, 3}, .data = pixels}};

static void assert_runs(mitral_context *with, mitral_plan *plan, const float *want)
{
    const mitral_value *inputs[] = {&image}, *outputs[1];
    mitral_session *session;
    assert_ok(with, mitral_session_create(&session, with, plan, &(mitral_session_options){.threads = 1}));
    for (int round = 0; round < 2; round++) {
        assert_ok(with, mitral_session_run(session, inputs, mitral_plan_input_count(plan), outputs, 1));
        assert_int_equal(mitral_tensor_count(&outputs[0]->tensor), 6);
        assert_memory_equal(outputs[0]->tensor.data, want, 6 * sizeof *want);
    }
    mitral_session_destroy(&session);
}

/* In the interpreter and compiled, of the model as it is and optimised. */
static void assert_model_runs(const float *want)
{
    mitral_model *model;
    assert_ok(context, load(context, &model));
    for (int way = 0; way < 4; way++) {
        mitral_plan *plan;
        if (way == 2)
            assert_ok(context, mitral_model_optimize(context, model, 1));
        assert_ok(context, mitral_compile(&plan, context, model, &(mitral_compile_options){.interpret = way % 2}));
        assert_runs(context, plan, want);
        mitral_plan_destroy(&plan);
    }
    mitral_model_destroy(&model);
}

static void assert_message(const char *want)
{
    if (!strstr(mitral_context_message(context), want))
        fail_msg("expected '%s' in the message, found: %s", want, mitral_context_message(context));
}

/* ---- registration -------------------------------------------------------------------------------------------------- */

static void wrong_registrations_are_refused(void **state)
{
    (void)state;
    struct behaviour behaviour = {0};
    char endless[200];
    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    const mitral_operator good = scale(&behaviour);
    mitral_operator bad[14];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        bad[i] = good;
    bad[0].name = NULL;
    bad[1].name = "";
    bad[2].name = "Sc:ale";
    bad[3].name = endless;
    bad[4].domain = NULL;
    bad[5].domain = "com example";
    bad[6].domain = "ai.onnx";
    bad[7].domain = "ai.onnx.ml";
    bad[8].domain = "mitral";
    bad[9].shape = NULL;
    bad[10].run = NULL;
    bad[11].min_inputs = -1;
    bad[12].max_inputs = 0;
    bad[13].min_outputs = bad[13].max_outputs = 0;
    static const char *const words[] = {
        "a name of 1 to 100 letters", "a name of 1 to 100 letters", "found 'Sc:ale'", "a name of 1 to 100 letters",
        "a domain of 1 to 100", "found 'com example'", "found 'ai.onnx'", "found 'ai.onnx.ml'", "found 'mitral'",
        "found no shape", "found no run", "found -1 to 1", "found 1 to 0", "found 0 to 0",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(mitral_context_register(context, &bad[i]), MITRAL_INVALID);
        assert_message(words[i]);
    }
    assert_int_equal(mitral_context_register(context, NULL), MITRAL_INVALID);
    assert_int_equal(mitral_context_register(NULL, &good), MITRAL_INVALID);

    assert_ok(context, mitral_context_register(context, &good));
    assert_int_equal(mitral_context_register(context, &good), MITRAL_INVALID);
    assert_message("registration of Scale: expected a name that is free in domain 'com.example', found it taken");
    mitral_operator other = good; /* of a table */
    other.domain = "com.microsoft";
    other.name = "Gelu";
    assert_int_equal(mitral_context_register(context, &other), MITRAL_INVALID);
    assert_message("found it taken");
    other.name = "Scale"; /* the same name elsewhere */
    assert_ok(context, mitral_context_register(context, &other));
    mitral_context *second = test_context(); /* contexts know nothing of one another */
    assert_ok(second, mitral_context_register(second, &good));
    mitral_context_destroy(&second);
}

/* ---- where they are found ------------------------------------------------------------------------------------------ */

static void found_in_models_and_plans(void **state)
{
    (void)state;
    struct behaviour behaviour = {0};
    Onnx__NodeProto *node = build_chain();
    builder_float(&builder, node, "factor", 3);
    builder_int(&builder, node, "offset", 10);
    Onnx__AttributeProto *offsets = builder_attribute(&builder, node, "offsets", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    offsets->n_ints = 2;
    offsets->ints = (int64_t[]){-4, -3};
    Onnx__AttributeProto *kind = builder_attribute(&builder, node, "kind", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    kind->has_s = 1;
    kind->s = (ProtobufCBinaryData){8, (uint8_t *)(uintptr_t)"negative"};
    mitral_model *model;
    assert_int_equal(load(context, &model), MITRAL_UNSUPPORTED);
    assert_message("Scale (domain com.example, opset 3, float32, node 'custom'");
    register_scale(context, &behaviour);
    const float want[6] = {9, 6, 3, 0, 0, 0};
    assert_model_runs(want);

    /* As a file: for a context that has it, with functions of its own. */
    mitral_plan *plan, *opened;
    char path[] = "/tmp/mitral_custom_XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    assert_ok(context, load(context, &model));
    assert_ok(context, mitral_compile(&plan, context, model, NULL));
    assert_ok(context, mitral_plan_save(context, plan, path));
    mitral_context *second = test_context();
    assert_int_equal(mitral_plan_open(&opened, second, path), MITRAL_UNSUPPORTED);
    assert_null(opened);
    assert_non_null(strstr(mitral_context_message(second),
                           "step 'custom': expected operator Scale of domain com.example to be registered with this context"));
    /* Compiled for a context that lacks it: refused too. */
    assert_int_equal(mitral_compile(&opened, second, model, NULL), MITRAL_UNSUPPORTED);
    assert_non_null(strstr(mitral_context_message(second), "to be registered with this context"));
    struct behaviour own = {0};
    register_scale(second, &own);
    assert_ok(second, mitral_plan_open(&opened, second, path));
    assert_runs(second, opened, want);
    assert_int_equal(own.runs, 2);
    mitral_plan_destroy(&opened);

    /* The other context's operator may take two inputs: then this plan does not fit. */
    mitral_context *third = test_context();
    mitral_operator wider = scale(&own);
    wider.min_inputs = wider.max_inputs = 2;
    assert_ok(third, mitral_context_register(third, &wider));
    assert_ok(third, mitral_plan_open(&opened, third, path));
    mitral_session *session;
    const mitral_value *inputs[] = {&image}, *outputs[1];
    assert_ok(third, mitral_session_create(&session, third, opened, NULL));
    assert_int_equal(mitral_session_run(session, inputs, 1, outputs, 1), MITRAL_INVALID);
    assert_non_null(strstr(mitral_context_message(third), "com.example:Scale 'custom': expected 2 inputs"));
    mitral_session_destroy(&session);
    mitral_plan_destroy(&opened);
    unlink(path);
    mitral_plan_destroy(&plan);
    mitral_model_destroy(&model);
    mitral_context_destroy(&second);
    mitral_context_destroy(&third);
}

/* A model may bring a function of that name: what the caller registered comes first. And bodies of functions may hold it. */
static void found_in_functions_before_functions(void **state)
{
    (void)state;
    struct behaviour behaviour = {0};
    register_scale(context, &behaviour);
    Onnx__NodeProto *outer = builder_node(&builder, builder.graph, "Outer", "x", "s");
    outer->domain = (char *)(uintptr_t)"com.example";
    builder_node(&builder, builder.graph, "Relu", "s", "y");
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    Onnx__FunctionProto *same = builder_function(&builder, "com.example", "Scale", "a", "b");
    builder_function_opset(&builder, same, "", 17);
    builder_function_node(&builder, same, "Neg", "a", "b");
    Onnx__FunctionProto *function = builder_function(&builder, "com.example", "Outer", "a", "b");
    builder_function_opset(&builder, function, "com.example", 3);
    builder_function_node(&builder, function, "Scale", "a", "b")->domain = (char *)(uintptr_t)"com.example";
    assert_model_runs((const float[]){0, 0, 0, 2, 4, 6});
    assert_int_equal(behaviour.runs, 8);
}

static void found_in_subgraphs(void **state)
{
    (void)state;
    struct behaviour behaviour = {0};
    register_scale(context, &behaviour);
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    const bool yes = true;
    builder_raw(&builder, builder_initializer(&builder, builder.graph, "c", MITRAL_BOOL, 0, NULL), &yes, 1);
    Onnx__NodeProto *branch = builder_node(&builder, builder.graph, "If", "c", "y");
    static const char *const names[] = {"then_branch", "else_branch"}, *const ops[] = {"Scale", "Neg"};
    for (int i = 0; i < 2; i++) {
        Onnx__GraphProto *graph = builder_graph(&builder, names[i]);
        if (i == 0)
            custom_node(graph, ops[i], "x", "t");
        else
            builder_node(&builder, graph, ops[i], "x", "t");
        builder_output(&builder, graph, builder_info(&builder, "t", MITRAL_FLOAT, 2, (const int64_t[]){2, 3}, NULL));
        builder_subgraph(&builder, branch, names[i], graph);
    }
    assert_model_runs((const float[]){-4, -2, 0, 2, 4, 6});
}

/* ---- constants and shapes that depend on values -------------------------------------------------------------------- */

static int runs_on_a_constant(bool impure)
{
    struct behaviour behaviour = {0};
    mitral_operator description = scale(&behaviour);
    description.impure = impure;
    assert_ok(context, mitral_context_register(context, &description));
    builder_output_2x3(&builder, "y");
    builder_floats(&builder, builder_initializer(&builder, builder.graph, "x", MITRAL_FLOAT, 2, (const int64_t[]){2, 3}), pixels, 6);
    custom_node(builder.graph, "Scale", "x", "s");
    builder_node(&builder, builder.graph, "Relu", "s", "y");
    mitral_model *model;
    mitral_plan *plan;
    assert_ok(context, load(context, &model));
    assert_ok(context, mitral_compile(&plan, context, model, NULL));
    mitral_model_destroy(&model);
    int compiled = behaviour.runs;
    behaviour.runs = 0;
    assert_runs(context, plan, (const float[]){0, 0, 0, 2, 4, 6});
    mitral_plan_destroy(&plan);
    assert_int_equal(compiled > 0, !impure);
    return behaviour.runs;
}

static void runs_on_constants_ahead(void **state)
{
    (void)state;
    assert_int_equal(runs_on_a_constant(false), 0);
}

static void impure_ones_run_every_time(void **state)
{
    (void)state;
    assert_int_equal(runs_on_a_constant(true), 2);
}

/* The first n elements, n being an input. */
static mitral_status first_shape(mitral_call *call, void *user)
{
    (void)user;
    const mitral_tensor *n = mitral_call_input(call, 1);
    if (n->dtype != MITRAL_INT64 || n->rank != 0)
        return mitral_call_fail(call, MITRAL_INVALID, "expected an int64 scalar, found another");
    return n->data ? mitral_call_set_output(call, 0, MITRAL_FLOAT, 1, n->data) : MITRAL_DEFERRED;
}

static mitral_status first_run(mitral_call *call, void *user)
{
    (void)user;
    const mitral_tensor *out = mitral_call_output(call, 0);
    memcpy(out->data, mitral_call_input(call, 0)->data, (size_t)mitral_tensor_size(out));
    return MITRAL_OK;
}

static void shapes_may_depend_on_values(void **state)
{
    (void)state;
    const mitral_operator first = {.domain = "com.example", .name = "First", .min_inputs = 2, .max_inputs = -1, .min_outputs = 1,
                                   .max_outputs = 1, .shape = first_shape, .run = first_run};
    assert_ok(context, mitral_context_register(context, &first));
    builder_input_2x3(&builder, "x");
    builder_input(&builder, builder.graph, builder_info(&builder, "n", MITRAL_INT64, 0, NULL, NULL));
    builder_output(&builder, builder.graph, builder_info(&builder, "y", MITRAL_FLOAT, 1, NULL, (const char *const[]){"k"}));
    custom_node(builder.graph, "First", "x,n", "f");
    builder_node(&builder, builder.graph, "Neg", "f", "y");
    mitral_model *model;
    mitral_plan *plan;
    mitral_session *session;
    assert_ok(context, load(context, &model));
    for (int interpret = 0; interpret < 2; interpret++) {
        assert_ok(context, mitral_compile(&plan, context, model, &(mitral_compile_options){.interpret = interpret}));
        assert_ok(context, mitral_session_create(&session, context, plan, NULL));
        for (int64_t n = -1; n < 5; n++) {
            const mitral_value count = {.tensor = {.dtype = MITRAL_INT64, .data = &n}};
            const mitral_value *inputs[] = {&image, &count}, *outputs[1];
            mitral_status status = mitral_session_run(session, inputs, 2, outputs, 1);
            if (n < 0) {
                assert_int_equal(status, MITRAL_INVALID);
                assert_message("com.example:First 'custom': expected dimensions from 0");
                continue;
            }
            assert_ok(context, status);
            assert_int_equal(outputs[0]->tensor.dims[0], n);
            for (int64_t i = 0; i < n; i++)
                assert_true(((const float *)outputs[0]->tensor.data)[i] == -pixels[i]);
        }
        mitral_session_destroy(&session);
        mitral_plan_destroy(&plan);
    }
    mitral_model_destroy(&model);
}

/* ---- mistakes ------------------------------------------------------------------------------------------------------ */

static void refused_nodes(void **state)
{
    (void)state;
    struct behaviour behaviour = {0};
    register_scale(context, &behaviour);
    mitral_model *model;
    Onnx__NodeProto *node = build_chain();
    node->n_input = 0;
    assert_int_equal(load(context, &model), MITRAL_INVALID);
    assert_message("Scale 'custom' (opset 3): expected 1 inputs, found 0");
    node->n_input = 1;
    Onnx__GraphProto *inner = builder_graph(&builder, "inner");
    builder_node(&builder, inner, "Neg", "x", "t");
    builder_output(&builder, inner, builder_info(&builder, "t", MITRAL_FLOAT, 2, (const int64_t[]){2, 3}, NULL));
    builder_subgraph(&builder, node, "body", inner);
    assert_int_equal(load(context, &model), MITRAL_UNSUPPORTED);
    assert_message("Scale 'custom': expected no subgraphs of a registered operator, found 1");
    node->n_attribute = 0;
    node->input[0] = (char *)(uintptr_t)"";
    mitral_plan *plan = NULL;
    mitral_status status = load(context, &model);
    if (status == MITRAL_OK)
        status = mitral_compile(&plan, context, model, NULL);
    assert_int_equal(status, MITRAL_INVALID);
    assert_message("com.example:Scale 'custom': expected input 0, found none");
    mitral_model_destroy(&model);
}

static const struct
{
    enum mistake mistake;
    mitral_status status;
    const char *message;
} mistakes[] = {
    {UNSET, MITRAL_INVALID, "expected its shape function to set output 0, found it unset"},
    {INDEX, MITRAL_INVALID, "expected an output below 1 to be set, found 1"},
    {NEGATIVE, MITRAL_INVALID, "for output 0, found float32[2,-3]"},
    {HUGE_SIZE, MITRAL_INVALID, "expected dimensions from 0 that fit in memory for output 0"},
    {RANK, MITRAL_INVALID, "expected a rank from 0 to 12 and dimensions for output 0, found rank 13"},
    {NO_DIMENSIONS, MITRAL_INVALID, "found rank 1 and no dimensions"},
    {TYPE, MITRAL_INVALID, "expected an element type for output 0, found the number 29"},
    {SHAPE_FAILS, MITRAL_UNSUPPORTED, "expected rank 7, found 2"},
    {SHAPE_FAILS_SILENTLY, MITRAL_LIMIT, "its shape function failed with status 6 (limit passed) and no message"},
    {SHAPE_FORGIVES, MITRAL_INVALID, "found rank -1"},
    {RUN_FAILS, MITRAL_CANCELLED, "expected patience, found none"},
    {RUN_FAILS_SILENTLY, MITRAL_IO, "its run function failed with status 4 (input/output error) and no message"},
    {RUN_UNKNOWN_STATUS, MITRAL_INVALID, "its run function failed with status 77 (unknown status) and no message"},
    {RUN_DEFERS, MITRAL_INVALID, "its run function failed with status 8 (deferred) and no message"},
    {RUN_SETS, MITRAL_INVALID, "expected its run function to leave types and shapes alone, found output 0 set"},
    {RUN_SETS_STRINGS, MITRAL_INVALID, "in an output of strings, found output 0 set"},
};

static void mistakes_are_statuses(void **state)
{
    (void)state;
    struct behaviour behaviour = {0};
    register_scale(context, &behaviour);
    build_chain();
    mitral_model *model;
    assert_ok(context, load(context, &model));
    for (size_t i = 0; i < 2 * sizeof mistakes / sizeof *mistakes; i++) {
        mitral_plan *plan;
        mitral_session *session = NULL;
        const mitral_value *inputs[] = {&image}, *outputs[1];
        behaviour.mistake = mistakes[i / 2].mistake;
        mitral_status status = mitral_compile(&plan, context, model, &(mitral_compile_options){.interpret = i % 2});
        if (status == MITRAL_OK && (status = mitral_session_create(&session, context, plan, NULL)) == MITRAL_OK)
            status = mitral_session_run(session, inputs, 1, outputs, 1);
        assert_int_equal(status, mistakes[i / 2].status);
        assert_message("com.example:Scale 'custom': ");
        assert_message(mistakes[i / 2].message);
        if (session) { /* the session goes on when the operator does */
            behaviour.mistake = NO_MISTAKE;
            assert_ok(context, mitral_session_run(session, inputs, 1, outputs, 1));
        }
        mitral_session_destroy(&session);
        mitral_plan_destroy(&plan);
    }
    mitral_model_destroy(&model);
}

static void deferring_without_reason_is_an_error(void **state)
{
    (void)state;
    struct behaviour behaviour = {.mistake = SHAPE_DEFERS};
    register_scale(context, &behaviour);
    builder_output_2x3(&builder, "y");
    builder_floats(&builder, builder_initializer(&builder, builder.graph, "x", MITRAL_FLOAT, 2, (const int64_t[]){2, 3}), pixels, 6);
    custom_node(builder.graph, "Scale", "x", "y");
    mitral_model *model;
    mitral_plan *plan;
    assert_ok(context, load(context, &model));
    assert_int_equal(mitral_compile(&plan, context, model, NULL), MITRAL_INVALID);
    assert_message("its shape function failed with status 8 (deferred) and no message");
    mitral_model_destroy(&model);
}

int main(void)
{
#define CUSTOM_TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        CUSTOM_TEST(wrong_registrations_are_refused),
        CUSTOM_TEST(found_in_models_and_plans),
        CUSTOM_TEST(found_in_functions_before_functions),
        CUSTOM_TEST(found_in_subgraphs),
        CUSTOM_TEST(runs_on_constants_ahead),
        CUSTOM_TEST(impure_ones_run_every_time),
        CUSTOM_TEST(shapes_may_depend_on_values),
        CUSTOM_TEST(refused_nodes),
        CUSTOM_TEST(mistakes_are_statuses),
        CUSTOM_TEST(deferring_without_reason_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
