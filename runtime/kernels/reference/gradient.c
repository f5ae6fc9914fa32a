/* What the backward kernels share. */
#include "runtime/kernels/reference/gradient.h"

#include <string.h>

mitral_status call_gradient_shape(const struct kernel_call *call, size_t index, mitral_tensor *out)
{
    const mitral_tensor *first = call_input(call, 0), *like = call_input(call, index);
    size_t count;
    if (!first)
        return call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    if (attribute_has(call->attributes, "shape")) {
        const int64_t *dims = attribute_ints(call->attributes, "shape", &count);
        if (count > MITRAL_MAX_RANK)
            return call_fail(call, MITRAL_LIMIT, "a rank of at most %d expected, found %zu", MITRAL_MAX_RANK, count);
        for (size_t i = 0; i < count; i++)
            if (dims[i] < 0)
                return call_fail(call, MITRAL_INVALID, "sizes from 0 expected, found %lld", (long long)dims[i]);
        tensor_set(out, first->dtype, (int32_t)count, dims);
        return MITRAL_OK;
    }
    if (!like)
        return call_fail(call, MITRAL_INVALID, "attribute shape or input %zu expected, found neither", index);
    tensor_set(out, first->dtype, like->rank, like->dims);
    return MITRAL_OK;
}

mitral_status check_same_float(const struct kernel_call *call, size_t count, enum compute *out)
{
    const mitral_tensor *first = call_input(call, 0);
    if (!first)
        return call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    TRY(check_float_operand(call, 0, out));
    for (size_t i = 1; i < count; i++) {
        const mitral_tensor *other = call_input(call, i);
        if (other && other->dtype != first->dtype)
            return call_fail(call, MITRAL_INVALID, "input %zu: %s expected, found %s", i,
                             mitral_dtype_name((mitral_dtype)first->dtype), mitral_dtype_name((mitral_dtype)other->dtype));
    }
    return MITRAL_OK;
}

mitral_status check_same_shape(const struct kernel_call *call, size_t a, size_t b)
{
    const mitral_tensor *x = call_input(call, a), *y = call_input(call, b);
    char first[160], second[160];
    if (!x || !y)
        return call_fail(call, MITRAL_INVALID, "inputs %zu and %zu expected, found one absent", a, b);
    if (!tensor_same_shape(x, y))
        return call_fail(call, MITRAL_INVALID, "inputs %zu and %zu of one shape expected, found %s and %s", a, b,
                         tensor_describe(x, first, sizeof(first)), tensor_describe(y, second, sizeof(second)));
    return MITRAL_OK;
}

mitral_status check_addend(const struct kernel_call *call, size_t index, const mitral_tensor *x)
{
    const mitral_tensor *addend = call_input(call, index);
    char first[160], second[160];
    if (addend && (x->dtype != MITRAL_FLOAT || addend->dtype != MITRAL_FLOAT || !tensor_same_shape(addend, x)))
        return call_fail(call, MITRAL_INVALID, "an addend like the float32 result %s expected, found %s", tensor_describe(x, first, sizeof(first)),
                         tensor_describe(addend, second, sizeof(second)));
    return MITRAL_OK;
}

void add_addend(const struct kernel_call *call, size_t index)
{
    const mitral_tensor *addend = call_input(call, index);
    mitral_tensor *to = call_output(call, 0);
    if (!addend || !to)
        return;
    const float *from = addend->data;
    float *into = to->data;
    for (int64_t i = 0, count = tensor_count(to); i < count; i++)
        into[i] += from[i];
}

double call_scalar(const struct kernel_call *call, size_t index, double fallback)
{
    const mitral_tensor *tensor = call_input(call, index);
    return tensor && tensor->data ? tensor_get_double(tensor, 0) : fallback;
}

double ordered_sum(const double *parts, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += parts[i];
    return sum;
}

void place_floats(const struct kernel_call *call, struct work *work, enum compute compute, struct placed *out)
{
    *out = (struct placed){0};
    for (size_t i = 0; i < call->input_count && i < sizeof out->inputs / sizeof *out->inputs; i++) {
        const mitral_tensor *tensor = call_input(call, i);
        if (tensor && dtype_is_float(tensor->dtype))
            out->inputs[i] = work_operand(work, compute, tensor);
    }
    for (size_t i = 0; i < call->output_count && i < sizeof out->outputs / sizeof *out->outputs; i++)
        out->outputs[i] = work_result(work, compute, call_output(call, i));
}

void store_floats(const struct kernel_call *call, enum compute compute, const struct placed *placed)
{
    for (size_t i = 0; i < call->output_count && i < sizeof placed->outputs / sizeof *placed->outputs; i++)
        if (placed->outputs[i])
            work_store(compute, call_output(call, i), placed->outputs[i]);
}

mitral_status prepare_floats(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    return prepare_partials(call, 0, scratch_bytes);
}

mitral_status prepare_partials(struct kernel_call *call, int64_t count, size_t *scratch_bytes)
{
    struct work work = {0};
    struct placed placed;
    place_floats(call, &work, compute_of(call_input(call, 0)->dtype), &placed);
    work_take(&work, count, sizeof(double));
    return work_measure(call, &work, scratch_bytes);
}
