#include "runtime/kernels/reference/operand.h"

#include <string.h>

enum compute compute_of(int32_t dtype)
{
    if (dtype == MITRAL_DOUBLE)
        return COMPUTE_DOUBLE;
    if (dtype_is_float(dtype))
        return COMPUTE_FLOAT;
    if (dtype_is_integer(dtype) || dtype == MITRAL_BOOL)
        return COMPUTE_INTEGER;
    return COMPUTE_NONE;
}

size_t compute_size(enum compute compute)
{
    return compute == COMPUTE_FLOAT ? sizeof(float) : compute == COMPUTE_NONE ? 0 : 8;
}

void *work_take(struct work *work, int64_t count, size_t element_size)
{
    size_t bytes, end;
    if (count < 0 || __builtin_mul_overflow((size_t)count, element_size, &bytes)
        || __builtin_add_overflow(bytes, (size_t)63, &bytes)
        || __builtin_add_overflow(work->used, bytes &= ~(size_t)63, &end)) {
        work->overflow = true;
        return NULL;
    }
    void *memory = work->base ? work->base + work->used : NULL;
    work->used = end;
    return memory;
}

/* Whether the tensor's elements are of the computing type as they are. */
static bool is_direct(enum compute compute, int32_t dtype)
{
    return (compute == COMPUTE_FLOAT && dtype == MITRAL_FLOAT) || (compute == COMPUTE_DOUBLE && dtype == MITRAL_DOUBLE)
           || (compute == COMPUTE_INTEGER && (dtype == MITRAL_UINT64 || dtype == MITRAL_INT64));
}

void operand_load(enum compute compute, void *out, const mitral_tensor *tensor)
{
    int64_t count = tensor_count(tensor);
    if (count == 0) /* without elements there need be no memory */
        return;
    if (is_direct(compute, tensor->dtype)) {
        memcpy(out, tensor->data, (size_t)count * compute_size(compute));
    } else if (compute == COMPUTE_FLOAT && tensor->dtype == MITRAL_FLOAT16) {
        const uint16_t *from = tensor->data;
        for (int64_t i = 0; i < count; i++)
            ((float *)out)[i] = float16_to_float(from[i]);
    } else if (compute == COMPUTE_FLOAT && tensor->dtype == MITRAL_BFLOAT16) {
        const uint16_t *from = tensor->data;
        for (int64_t i = 0; i < count; i++)
            ((float *)out)[i] = bfloat16_to_float(from[i]);
    } else if (compute == COMPUTE_FLOAT) {
        for (int64_t i = 0; i < count; i++)
            ((float *)out)[i] = (float)tensor_get_double(tensor, i);
    } else if (compute == COMPUTE_DOUBLE) {
        for (int64_t i = 0; i < count; i++)
            ((double *)out)[i] = tensor_get_double(tensor, i);
    } else {
        for (int64_t i = 0; i < count; i++)
            ((uint64_t *)out)[i] = (uint64_t)tensor_get_int(tensor, i);
    }
}

const void *work_operand(struct work *work, enum compute compute, const mitral_tensor *tensor)
{
    if (!tensor)
        return NULL;
    if (is_direct(compute, tensor->dtype))
        return tensor->data;
    void *memory = work_take(work, tensor_count(tensor), compute_size(compute));
    if (memory)
        operand_load(compute, memory, tensor);
    return memory;
}

void *work_result(struct work *work, enum compute compute, mitral_tensor *tensor)
{
    if (!tensor)
        return NULL;
    if (is_direct(compute, tensor->dtype))
        return tensor->data;
    return work_take(work, tensor_count(tensor), compute_size(compute));
}

void work_store(enum compute compute, mitral_tensor *tensor, const void *elements)
{
    if (!tensor || elements == tensor->data)
        return;
    int64_t count = tensor_count(tensor);
    if (compute == COMPUTE_FLOAT && tensor->dtype == MITRAL_FLOAT16) {
        for (int64_t i = 0; i < count; i++)
            ((uint16_t *)tensor->data)[i] = float_to_float16(((const float *)elements)[i]);
    } else if (compute == COMPUTE_FLOAT && tensor->dtype == MITRAL_BFLOAT16) {
        for (int64_t i = 0; i < count; i++)
            ((uint16_t *)tensor->data)[i] = float_to_bfloat16(((const float *)elements)[i]);
    } else if (compute == COMPUTE_FLOAT) {
        for (int64_t i = 0; i < count; i++)
            tensor_set_double(tensor, i, ((const float *)elements)[i], true);
    } else if (compute == COMPUTE_DOUBLE) {
        for (int64_t i = 0; i < count; i++)
            tensor_set_double(tensor, i, ((const double *)elements)[i], true);
    } else {
        for (int64_t i = 0; i < count; i++)
            tensor_set_int(tensor, i, (int64_t)((const uint64_t *)elements)[i]);
    }
}

mitral_status work_measure(const struct kernel_call *call, const struct work *work, size_t *scratch_bytes)
{
    if (work->overflow)
        return call_fail(call, MITRAL_LIMIT, "scratch memory that can be addressed expected, its size overflows");
    *scratch_bytes = work->used;
    return MITRAL_OK;
}

void operand_round(int32_t dtype, float *values, int64_t count)
{
    if (dtype == MITRAL_FLOAT16) {
        for (int64_t i = 0; i < count; i++)
            values[i] = float16_to_float(float_to_float16(values[i]));
    } else if (dtype == MITRAL_BFLOAT16) {
        for (int64_t i = 0; i < count; i++)
            values[i] = bfloat16_to_float(float_to_bfloat16(values[i]));
    }
}

double operand_sum(int32_t dtype, const float *values, int64_t count, int64_t stride)
{
    double total = 0;
    if (dtype == MITRAL_BFLOAT16) {
        for (int64_t i = 0; i < count; i += 8) {
            float block = 0;
            for (int64_t j = i; j < smaller(i + 8, count); j++) {
                block += values[j * stride];
                operand_round(dtype, &block, 1);
            }
            total += (double)block;
        }
    } else {
        for (int64_t i = 0; i < count; i++)
            total += (double)values[i * stride];
    }
    float rounded = (float)total;
    operand_round(dtype, &rounded, 1);
    return dtype == MITRAL_FLOAT16 || dtype == MITRAL_BFLOAT16 ? (double)rounded : total;
}

mitral_status check_float_operand(const struct kernel_call *call, size_t index, enum compute *out)
{
    const mitral_tensor *tensor = call_input(call, index);
    if (!tensor)
        return call_fail(call, MITRAL_INVALID, "input %zu expected, found none", index);
    *out = compute_of(tensor->dtype);
    if (*out != COMPUTE_FLOAT && *out != COMPUTE_DOUBLE) {
        const char *name = mitral_dtype_name((mitral_dtype)tensor->dtype);
        return call_fail(call, MITRAL_UNSUPPORTED, "input %zu: a floating-point type expected, found %s", index,
                         name ? name : "an unknown one");
    }
    return MITRAL_OK;
}
