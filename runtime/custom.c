/* Calls the functions of operators that the caller registered, and believes nothing of what they return. */
#include "runtime/custom.h"

#include <stdio.h>
#include <string.h>

struct mitral_call {
    struct kernel_call *call;
    bool shaping, backward;
    size_t inputs, outputs; /* of the operator; backward its inputs, outputs and gradients of outputs are the call's inputs */
    mitral_status error; /* of mitral_call_fail and of wrong use; the message says what */
};

static mitral_status plain_error(mitral_status status)
{
    return status > MITRAL_OK && status < MITRAL_DEFERRED ? status : MITRAL_INVALID;
}

/* ---- what the functions call --------------------------------------------------------------------------------------- */

size_t mitral_call_input_count(const mitral_call *call)
{
    return call->inputs;
}

size_t mitral_call_output_count(const mitral_call *call)
{
    return call->outputs;
}

const mitral_tensor *mitral_call_input(const mitral_call *call, size_t index)
{
    return index < call->inputs ? call_input(call->call, index) : NULL;
}

const mitral_tensor *mitral_call_forward_output(const mitral_call *call, size_t index)
{
    return call->backward && index < call->outputs ? call_input(call->call, call->inputs + index) : NULL;
}

const mitral_tensor *mitral_call_output_gradient(const mitral_call *call, size_t index)
{
    return call->backward && index < call->outputs ? call_input(call->call, call->inputs + call->outputs + index) : NULL;
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

mitral_status mitral_call_set_string(mitral_call *call, size_t index, int64_t element, const char *data, size_t size)
{
    const mitral_tensor *output = call_output(call->call, index);
    if (call->shaping || call->backward || !output || output->dtype != MITRAL_STRING)
        return mitral_call_fail(call, MITRAL_INVALID, "expected strings to be set by its run function, in an output of strings, found output %zu set",
                                index);
    if (element < 0 || element >= tensor_count(output) || (size && !data))
        return mitral_call_fail(call, MITRAL_INVALID, "expected an element below %lld of output %zu and its bytes, found element %lld",
                                (long long)tensor_count(output), index, (long long)element);
    char *copy = arena_allocate(call->call->arena, size + 1);
    if (!copy)
        return call->error = MITRAL_NO_MEMORY;
    if (size)
        memcpy(copy, data, size);
    copy[size] = '\0';
    ((mitral_string *)output->data)[element] = (mitral_string){copy, size};
    return MITRAL_OK;
}

/* ---- the kernel ---------------------------------------------------------------------------------------------------- */

static bool count_fits(size_t count, int32_t least, int32_t most)
{
    return count >= (size_t)least && (most < 0 || count <= (size_t)most);
}

/* What the functions may rely on: a plan file need not come from the importer. The first `needed` inputs are there, all are tensors. */
static mitral_status check_inputs(const struct kernel_call *call, size_t needed)
{
    for (size_t i = 0; i < call->input_count; i++) {
        if (!call->inputs[i]) {
            if (i < needed)
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

static mitral_status check_call(const mitral_operator *description, const mitral_call *view)
{
    const struct kernel_call *call = view->call;
    if (!count_fits(view->inputs, description->min_inputs, description->max_inputs))
        return call_fail(call, MITRAL_INVALID, "expected %d inputs or as many as registered, found %zu", (int)description->min_inputs,
                         view->inputs);
    if (!count_fits(view->outputs, description->min_outputs, description->max_outputs))
        return call_fail(call, MITRAL_INVALID, "expected %d outputs or as many as registered, found %zu", (int)description->min_outputs,
                         view->outputs);
    return check_inputs(call, (size_t)description->min_inputs);
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

static mitral_call forward_view(struct kernel_call *call)
{
    return (mitral_call){.call = call, .inputs = call->input_count, .outputs = call->output_count};
}

static mitral_status custom_shape(struct kernel_call *call)
{
    const mitral_operator *description = &custom_of_kernel(call->kernel)->description;
    mitral_call view = forward_view(call);
    view.shaping = true;
    TRY(check_call(description, &view));
    for (size_t i = 0; i < call->output_count; i++)
        if (call->outputs[i])
            call->outputs[i]->tensor.rank = -1; /* tells which the function sets */
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
    mitral_call view = forward_view(call);
    for (size_t i = 0; i < call->output_count; i++) {
        const mitral_tensor *output = call_output(call, i);
        for (int64_t k = 0; output && output->dtype == MITRAL_STRING && k < tensor_count(output); k++)
            ((mitral_string *)output->data)[k] = (mitral_string){"", 0};
    }
    return settle(&view, description->run(&view, description->user), "run");
}

/* ---- the kernel of its gradient ------------------------------------------------------------------------------------ */

static mitral_status backward_view(struct kernel_call *call, mitral_call *out)
{
    const int64_t inputs = attribute_int(call->attributes, CUSTOM_INPUTS, -1);
    if (inputs < 0 || (uint64_t)inputs > call->input_count || (call->input_count - (size_t)inputs) % 2 || call->output_count > (size_t)inputs)
        return call_fail(call, MITRAL_INVALID, "expected the inputs of an operator, its outputs and their gradients, found %zu inputs and %zu outputs",
                         call->input_count, call->output_count);
    *out = (mitral_call){.call = call, .backward = true, .inputs = (size_t)inputs, .outputs = (call->input_count - (size_t)inputs) / 2};
    return check_call(&custom_of_kernel(call->kernel)->description, out);
}

static mitral_status gradient_shape(struct kernel_call *call)
{
    mitral_call view;
    TRY(backward_view(call, &view));
    for (size_t i = 0; i < call->output_count; i++) {
        const mitral_tensor *input = call_input(call, i);
        if (call->outputs[i] && !input)
            return call_fail(call, MITRAL_INVALID, "expected input %zu, whose gradient is asked for, found none", i);
        if (input)
            call_set_output(call, i, input->dtype, input->rank, input->dims);
    }
    return MITRAL_OK;
}

static mitral_status gradient_run(struct kernel_call *call)
{
    const mitral_operator *description = &custom_of_kernel(call->kernel)->description;
    mitral_call view;
    TRY(backward_view(call, &view));
    return settle(&view, description->gradient(&view, description->user), "gradient");
}

void custom_make_kernel(struct custom_operator *custom, const char *name, bool gradient)
{
    custom->kernel = (struct kernel){.name = name, .flags = custom->description.impure ? KERNEL_RANDOM : 0,
                                     .shape = gradient ? gradient_shape : custom_shape, .run = gradient ? gradient_run : custom_run};
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
    custom_release_libraries(context);
}

mitral_status kernel_resolve(const struct kernel **out, mitral_context *context, const char *name, const char *step)
{
    *out = kernel_find(name);
    if (*out)
        return MITRAL_OK;
    for (const struct custom_operator *at = context ? context->operators : NULL; at; at = at->next)
        for (const struct custom_operator *one = at; one; one = one->gradient)
            if (strcmp(one->kernel.name, name) == 0) {
                *out = &one->kernel;
                return MITRAL_OK;
            }
    const char *colon = strchr(name, ':');
    if (colon)
        return mitral_fail(context, MITRAL_UNSUPPORTED,
                           "step '%s': expected operator %s of domain %.*s to be registered with this context, found it is not", step,
                           colon + 1, (int)(colon - name), name);
    return mitral_fail(context, MITRAL_UNSUPPORTED, "step '%s': expected a kernel that this build has, found '%s'", step, name);
}
