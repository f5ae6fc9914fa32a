/* What tests of registered operators share: the operator Scale of com.example, and models with it. */
#ifndef MITRAL_TESTS_CUSTOM_SUPPORT_H
#define MITRAL_TESTS_CUSTOM_SUPPORT_H

#include "onnx_builder.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct builder builder;
static mitral_context *context; /* the builder's */

static inline int start(void **state)
{
    (void)state;
    builder_start(&builder);
    builder_opset(&builder, "com.example", 3);
    context = builder.context;
    return 0;
}

static inline int stop(void **state)
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
static inline mitral_status scale_shape(mitral_call *call, void *user)
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

static inline mitral_status scale_run(mitral_call *call, void *user)
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

static inline mitral_operator scale(struct behaviour *behaviour)
{
    return (mitral_operator){.domain = "com.example", .name = "Scale", .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
                             .max_outputs = 1, .shape = scale_shape, .run = scale_run, .user = behaviour};
}

static inline void register_scale(mitral_context *into, struct behaviour *behaviour)
{
    const mitral_operator description = scale(behaviour);
    assert_ok(into, mitral_context_register(into, &description));
}

static inline Onnx__NodeProto *custom_node(Onnx__GraphProto *graph, const char *op, const char *inputs, const char *outputs)
{
    Onnx__NodeProto *node = builder_node(&builder, graph, op, inputs, outputs);
    node->domain = (char *)(uintptr_t)"com.example";
    node->name = (char *)(uintptr_t)"custom";
    return node;
}

/* x → Scale → Relu → y */
static inline Onnx__NodeProto *build_chain(void)
{
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    Onnx__NodeProto *node = custom_node(builder.graph, "Scale", "x", "s");
    builder_node(&builder, builder.graph, "Relu", "s", "y");
    return node;
}

static inline mitral_status load(mitral_context *into, mitral_model **model)
{
    size_t size;
    const void *bytes = builder_pack(&builder, &size);
    return mitral_model_parse(model, into, bytes, size, NULL);
}

static float pixels[6] = {-2, -1, 0, 1, 2, 3};
static const mitral_value image = {.tensor = {.dtype = MITRAL_FLOAT, .rank = 2, .dims = {2, 3}, .data = pixels}};

static inline void assert_runs(mitral_context *with, mitral_plan *plan, const float *want)
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
static inline void assert_model_runs(const float *want)
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

static inline void assert_message(const char *want)
{
    if (!strstr(mitral_context_message(context), want))
        fail_msg("expected '%s' in the message, found: %s", want, mitral_context_message(context));
}

#endif
