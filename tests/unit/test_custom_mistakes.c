/* Every way in which a registration, a node or the functions of a registered operator can be wrong. */
#include "custom_support.h"

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
        CUSTOM_TEST(wrong_registrations_are_refused), CUSTOM_TEST(refused_nodes), CUSTOM_TEST(mistakes_are_statuses),
        CUSTOM_TEST(deferring_without_reason_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
