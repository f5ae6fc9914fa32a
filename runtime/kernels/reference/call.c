/* What kernels share: outputs, axes, broadcasting, messages. */
#include <stdio.h>
#include <string.h>

#include "runtime/kernel.h"

void call_set_output(struct kernel_call *call, size_t index, int32_t dtype, int32_t rank, const int64_t *dims)
{
    if (index >= call->output_count || !call->outputs[index])
        return;
    mitral_value *value = call->outputs[index];
    value->kind = MITRAL_TENSOR;
    tensor_set(&value->tensor, dtype, rank, dims);
}

void call_set_output_like(struct kernel_call *call, size_t index, const mitral_tensor *like)
{
    /* Copied first: the caller may pass the output's own tensor. */
    int32_t layout = like->layout, dtype = like->dtype, rank = like->rank;
    int64_t dims[MITRAL_MAX_RANK];
    memcpy(dims, like->dims, sizeof(dims));
    call_set_output(call, index, dtype, rank, dims);
    mitral_tensor *output = call_output(call, index);
    if (output && layout != LAYOUT_PACKED)
        output->layout = layout;
}

mitral_status call_allocate(struct kernel_call *call, size_t index, int32_t dtype, int32_t rank, const int64_t *dims)
{
    if (index >= call->output_count || !call->outputs[index])
        return MITRAL_OK;
    if (rank > MITRAL_MAX_RANK)
        return call_fail(call, MITRAL_LIMIT, "output of rank %d, at most %d expected", (int)rank, MITRAL_MAX_RANK);
    call_set_output(call, index, dtype, rank, dims);
    mitral_tensor *output = call_output(call, index);
    TRY(tensor_check_size(call->context, output));
    size_t bytes = tensor_bytes(output);
    output->data = arena_allocate(call->arena, bytes ? bytes : 1);
    return output->data ? MITRAL_OK : MITRAL_NO_MEMORY;
}

mitral_status call_fail(const struct kernel_call *call, mitral_status status, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return mitral_fail(call->context, status, "%s '%s': %s", call->kernel ? call->kernel->name : "kernel",
                       call->name ? call->name : "", text);
}

mitral_status call_fail_input(const struct kernel_call *call, const char *expected, const mitral_tensor *found)
{
    char text[160];
    return call_fail(call, MITRAL_INVALID, "%s expected, found %s", expected,
                     found ? tensor_describe(found, text, sizeof(text)) : "none");
}

mitral_status call_axis(const struct kernel_call *call, int64_t axis, int64_t rank, int64_t *out)
{
    if (axis < -rank || axis >= rank)
        return call_fail(call, MITRAL_INVALID, "axis in [%lld, %lld) expected, found %lld", (long long)-rank,
                         (long long)rank, (long long)axis);
    *out = axis < 0 ? axis + rank : axis;
    return MITRAL_OK;
}

mitral_status call_broadcast(const struct kernel_call *call, const mitral_tensor *a, const mitral_tensor *b,
                             int32_t *rank, int64_t dims[MITRAL_MAX_RANK])
{
    int32_t larger = a->rank > b->rank ? a->rank : b->rank;
    /* Written from a copy: dims may be the dims of a or b. */
    int64_t result[MITRAL_MAX_RANK] = {0};
    for (int32_t i = 0; i < larger; i++) {
        int32_t at_a = i - (larger - a->rank), at_b = i - (larger - b->rank);
        int64_t x = at_a >= 0 ? a->dims[at_a] : 1, y = at_b >= 0 ? b->dims[at_b] : 1;
        if (x != y && x != 1 && y != 1) {
            char left[160], right[160];
            return call_fail(call, MITRAL_INVALID, "shapes that broadcast expected, found %s and %s",
                             tensor_describe(a, left, sizeof(left)), tensor_describe(b, right, sizeof(right)));
        }
        result[i] = x == 1 ? y : x;
    }
    *rank = larger;
    memcpy(dims, result, sizeof(result));
    return MITRAL_OK;
}

mitral_status call_int_values(struct kernel_call *call, size_t index, const int64_t **values, size_t *count)
{
    static const int64_t none;
    *values = NULL;
    *count = 0;
    const mitral_tensor *tensor = call_input(call, index);
    if (!tensor)
        return MITRAL_OK;
    if (tensor->rank > 1 || !dtype_is_integer(tensor->dtype)) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "input %zu: integers of rank 0 or 1 expected, found %s", index,
                         tensor_describe(tensor, text, sizeof(text)));
    }
    size_t length = (size_t)tensor_count(tensor);
    if (length == 0) {
        *values = &none;
        return MITRAL_OK;
    }
    if (!tensor->data)
        return MITRAL_DEFERRED;
    if (tensor->dtype == MITRAL_INT64) {
        *values = tensor->data;
        *count = length;
        return MITRAL_OK;
    }
    int64_t *copy = arena_allocate(call->arena, length * sizeof(*copy));
    if (!copy)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < length; i++)
        copy[i] = tensor_get_int(tensor, (int64_t)i);
    *values = copy;
    *count = length;
    return MITRAL_OK;
}

mitral_status shape_same_as_first(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    if (!input)
        return call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    call_set_output_like(call, 0, input);
    return MITRAL_OK;
}

/* The layout of the output is that of the first input that has its shape: elementwise kernels walk the elements in that
 * order, whatever the others' layouts. */
mitral_status shape_broadcast(struct kernel_call *call)
{
    mitral_tensor result = {0};
    size_t present = 0;
    for (size_t i = 0; i < call->input_count; i++) {
        const mitral_tensor *input = call_input(call, i);
        if (!input)
            continue;
        if (present++ == 0) {
            tensor_set(&result, input->dtype, input->rank, input->dims);
            continue;
        }
        TRY(call_broadcast(call, &result, input, &result.rank, result.dims));
    }
    if (!present)
        return call_fail(call, MITRAL_INVALID, "at least one input expected, found none");
    for (size_t i = 0; i < call->input_count; i++) {
        const mitral_tensor *input = call_input(call, i);
        if (input && tensor_same_shape(input, &result)) {
            result.layout = input->layout;
            break;
        }
    }
    call_set_output_like(call, 0, &result);
    return MITRAL_OK;
}
