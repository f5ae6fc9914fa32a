/* Operators that a caller registers: wherever they have to be found, and when they run. */
#include "custom_support.h"

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

int main(void)
{
#define CUSTOM_TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        CUSTOM_TEST(found_in_models_and_plans), CUSTOM_TEST(found_in_functions_before_functions), CUSTOM_TEST(found_in_subgraphs),
        CUSTOM_TEST(runs_on_constants_ahead), CUSTOM_TEST(impure_ones_run_every_time), CUSTOM_TEST(shapes_may_depend_on_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
