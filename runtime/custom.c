/* Calls the functions of operators that the caller registered, and believes nothing of what they return. */
#include "runtime/custom.h"

#include <stdio.h>
#include <string.h>

struct mitral_call {
    struct kernel_call *call;
    bool shaping;
    mitral_status error; /* of mitral_call_fail and of wrong use; the message says what */
};

static mitral_status plain_error(mitral_status status)
{
    return status > MITRAL_OK && status < MITRAL_DEFERRED ? status : MITRAL_INVALID;
}

/* ---- what the functions call --------------------------------------------------------------------------------------- */

size_t mitral_call_input_count(const mitral_call *call)
{
    return call->call->input_count;
}

size_t mitral_call_output_count(const mitral_call *call)
{
    return call->call->output_count;
}

const mitral_tensor *mitral_call_input(const mitral_call *call, size_t index)
{
    return call_input(call->call, index);
}

const mitral_tensor *mitral_call_output(const mitral_call *call, size_t index)
{
    return call_output(call->call, index);
}

int mitral_call_threads(const mitral_call *call)
{
    return call->call->threads > 1 ? call->call->threads : 1;
}

int64_t mitral_call_int(const mitral_call *call, const char *name, int64_t fallback)
{
    return attribute_int(call->call->attributes, name, fallback);
}

float mitral_call_float(const mitral_call *call, const char *name, float fallback)
{
    return attribute_float(call->call->attributes, name, fallback);
}

const char *mitral_call_string(const mitral_call *call, const char *name, const char *fallback)
{
    return attribute_string(call->call->attributes, name, fallback);
}

const int64_t *mitral_call_ints(const mitral_call *call, const char *name, size_t *count)
{
    return attribute_ints(call->call->attributes, name, count);
}

const float *mitral_call_floats(const mitral_call *call, const char *name, size_t *count)
{
    return attribute_floats(call->call->attributes, name, count);
}

mitral_status mitral_call_fail(mitral_call *call, mitral_status status, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return call->error = call_fail(call->call, plain_error(status), "%s", text);
}

mitral_status mitral_call_set_output(mitral_call *call, size_t index, mitral_dtype dtype, int32_t rank, const int64_t *dims)
{
    if (!call->shaping)
        return mitral_call_fail(call, MITRAL_INVALID, "expected its run function to leave types and shapes alone, found output %zu set", index);
    if (index >= call->call->output_count)
        return mitral_call_fail(call, MITRAL_INVALID, "expected an output below %zu to be set, found %zu", call->call->output_count, index);
    if (dtype == MITRAL_STRING)
        return mitral_call_fail(call, MITRAL_UNSUPPORTED, "expected outputs of numbers, found strings for output %zu", index);
    if (!mitral_dtype_size(dtype))
        return mitral_call_fail(call, MITRAL_INVALID, "expected an element type for output %zu, found the number %d", index, (int)dtype);
    if (rank < 0 || rank > MITRAL_MAX_RANK || (rank && !dims))
        return mitral_call_fail(call, MITRAL_INVALID, "expected a rank from 0 to %d and dimensions for output %zu, found rank %d%s",
                                MITRAL_MAX_RANK, index, (int)rank, dims ? "" : " and no dimensions");
    mitral_tensor tensor;
    tensor_set(&tensor, (int32_t)dtype, rank, dims);
    if (mitral_tensor_size(&tensor) < 0) {
        char text[256];
        return mitral_call_fail(call, MITRAL_INVALID, "expected dimensions from 0 that fit in memory for output %zu, found %s", index,
                                tensor_describe(&tensor, text, sizeof text));
    }
    call_set_output(call->call, index, (int32_t)dtype, rank, dims);
    return MITRAL_OK;
}

/* ---- the kernel ---------------------------------------------------------------------------------------------------- */

static bool count_fits(size_t count, int32_t least, int32_t most)
{
    return count >= (size_t)least && (most < 0 || count <= (size_t)most);
}

/* What the functions may rely on: a plan file need not come from the importer. */
static mitral_status check_call(const mitral_operator *description, const struct kernel_call *call)
{
    if (!count_fits(call->input_count, description->min_inputs, description->max_inputs))
        return call_fail(call, MITRAL_INVALID, "expected %d inputs or as many as registered, found %zu", (int)description->min_inputs,
                         call->input_count);
    if (!count_fits(call->output_count, description->min_outputs, description->max_outputs))
        return call_fail(call, MITRAL_INVALID, "expected %d outputs or as many as registered, found %zu", (int)description->min_outputs,
                         call->output_count);
    for (size_t i = 0; i < call->input_count; i++) {
        if (!call->inputs[i]) {
            if (i < (size_t)description->min_inputs)
                return call_fail(call, MITRAL_INVALID, "expected input %zu, found none", i);
            continue;
        }
        if (call->inputs[i]->kind != MITRAL_TENSOR)
            return call_fail(call, MITRAL_UNSUPPORTED, "expected input %zu to be a tensor, found kind %d", i, (int)call->inputs[i]->kind);
        if (call->inputs[i]->tensor.layout != LAYOUT_PLAIN)
            return call_fail(call, MITRAL_INVALID, "expected input %zu in plain layout, found layout %d", i,
                             (int)call->inputs[i]->tensor.layout);
    }
    return MITRAL_OK;
}

static mitral_status settle(const mitral_call *view, mitral_status status, const char *function)
{
    if (view->error != MITRAL_OK || status == MITRAL_OK)
        return view->error;
    return call_fail(view->call, plain_error(status), "its %s function failed with status %d (%s) and no message", function, (int)status,
                     mitral_status_name(status));
}

static bool lacks_values(const struct kernel_call *call)
{
    for (size_t i = 0; i < call->input_count; i++)
        if (call->inputs[i] && !call->inputs[i]->tensor.data)
            return true;
    return false;
}

static mitral_status custom_shape(struct kernel_call *call)
{
    const mitral_operator *description = &custom_of_kernel(call->kernel)->description;
    TRY(check_call(description, call));
    for (size_t i = 0; i < call->output_count; i++)
        if (call->outputs[i])
            call->outputs[i]->tensor.rank = -1; /* tells which the function sets */
    mitral_call view = {.call = call, .shaping = true};
    mitral_status status = description->shape(&view, description->user);
    if (status == MITRAL_DEFERRED && view.error == MITRAL_OK && lacks_values(call)) {
        for (size_t i = 0; i < call->output_count; i++)
            if (call->outputs[i] && call->outputs[i]->tensor.rank < 0)
                call->outputs[i]->tensor.rank = 0;
        return MITRAL_DEFERRED;
    }
    TRY(settle(&view, status, "shape"));
    for (size_t i = 0; i < call->output_count; i++)
        if (call->outputs[i] && call->outputs[i]->tensor.rank < 0)
            return call_fail(call, MITRAL_INVALID, "expected its shape function to set output %zu, found it unset", i);
    return MITRAL_OK;
}

static mitral_status custom_run(struct kernel_call *call)
{
    const mitral_operator *description = &custom_of_kernel(call->kernel)->description;
    mitral_call view = {.call = call};
    return settle(&view, description->run(&view, description->user), "run");
}

void custom_make_kernel(struct custom_operator *custom, const char *name)
{
    custom->kernel = (struct kernel){.name = name, .flags = custom->description.impure ? KERNEL_RANDOM : 0, .shape = custom_shape,
                                     .run = custom_run};
}

/* ---- finding them -------------------------------------------------------------------------------------------------- */

const struct custom_operator *custom_find(const mitral_context *context, const char *domain, const char *name)
{
    for (const struct custom_operator *at = context ? context->operators : NULL; at; at = at->next)
        if (strcmp(at->description.name, name) == 0 && strcmp(at->description.domain, domain) == 0)
            return at;
    return NULL;
}

void custom_clear(mitral_context *context)
{
    while (context->operators) {
        struct custom_operator *next = context->operators->next;
        mitral_release(context, context->operators);
        context->operators = next;
    }
}

mitral_status kernel_resolve(const struct kernel **out, mitral_context *context, const char *name, const char *step)
{
    *out = kernel_find(name);
    if (*out)
        return MITRAL_OK;
    for (const struct custom_operator *at = context ? context->operators : NULL; at; at = at->next)
        if (strcmp(at->kernel.name, name) == 0) {
            *out = &at->kernel;
            return MITRAL_OK;
        }
    const char *colon = strchr(name, ':');
    if (colon)
        return mitral_fail(context, MITRAL_UNSUPPORTED,
                           "step '%s': expected operator %s of domain %.*s to be registered with this context, found it is not", step,
                           colon + 1, (int)(colon - name), name);
    return mitral_fail(context, MITRAL_UNSUPPORTED, "step '%s': expected a kernel that this build has, found '%s'", step, name);
}
