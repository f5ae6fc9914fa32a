#include "runtime/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct dtype_row {
    const char *name;
    uint8_t size;    /* bytes of an element in memory */
    uint8_t bits;    /* as stored in files */
    bool is_float, is_integer, is_signed;
};

static const struct dtype_row dtypes[MITRAL_DTYPE_COUNT] = {
    [MITRAL_FLOAT] = {"float32", 4, 32, true, false, true},
    [MITRAL_UINT8] = {"uint8", 1, 8, false, true, false},
    [MITRAL_INT8] = {"int8", 1, 8, false, true, true},
    [MITRAL_UINT16] = {"uint16", 2, 16, false, true, false},
    [MITRAL_INT16] = {"int16", 2, 16, false, true, true},
    [MITRAL_INT32] = {"int32", 4, 32, false, true, true},
    [MITRAL_INT64] = {"int64", 8, 64, false, true, true},
    [MITRAL_STRING] = {"string", sizeof(mitral_string), 0, false, false, false},
    [MITRAL_BOOL] = {"bool", 1, 8, false, false, false},
    [MITRAL_FLOAT16] = {"float16", 2, 16, true, false, true},
    [MITRAL_DOUBLE] = {"float64", 8, 64, true, false, true},
    [MITRAL_UINT32] = {"uint32", 4, 32, false, true, false},
    [MITRAL_UINT64] = {"uint64", 8, 64, false, true, false},
    [MITRAL_COMPLEX64] = {"complex64", 8, 64, false, false, true},
    [MITRAL_COMPLEX128] = {"complex128", 16, 128, false, false, true},
    [MITRAL_BFLOAT16] = {"bfloat16", 2, 16, true, false, true},
    [MITRAL_FLOAT8E4M3FN] = {"float8e4m3fn", 1, 8, true, false, true},
    [MITRAL_FLOAT8E4M3FNUZ] = {"float8e4m3fnuz", 1, 8, true, false, true},
    [MITRAL_FLOAT8E5M2] = {"float8e5m2", 1, 8, true, false, true},
    [MITRAL_FLOAT8E5M2FNUZ] = {"float8e5m2fnuz", 1, 8, true, false, true},
    [MITRAL_UINT4] = {"uint4", 1, 4, false, true, false},
    [MITRAL_INT4] = {"int4", 1, 4, false, true, true},
    [MITRAL_FLOAT4E2M1] = {"float4e2m1", 1, 4, true, false, true},
    [MITRAL_FLOAT8E8M0] = {"float8e8m0", 1, 8, true, false, false},
    [MITRAL_UINT2] = {"uint2", 1, 2, false, true, false},
    [MITRAL_INT2] = {"int2", 1, 2, false, true, true},
    [MITRAL_FLOAT6E2M3] = {"float6e2m3", 1, 6, true, false, true},
    [MITRAL_FLOAT6E3M2] = {"float6e3m2", 1, 6, true, false, true},
};

static const struct dtype_row *row_of(int32_t dtype)
{
    return dtype > 0 && dtype < MITRAL_DTYPE_COUNT && dtypes[dtype].name ? &dtypes[dtype] : NULL;
}

const char *mitral_dtype_name(mitral_dtype dtype)
{
    const struct dtype_row *row = row_of((int32_t)dtype);
    return row ? row->name : NULL;
}

size_t mitral_dtype_size(mitral_dtype dtype)
{
    const struct dtype_row *row = row_of((int32_t)dtype);
    return row ? row->size : 0;
}

bool dtype_is_float(int32_t dtype) { return row_of(dtype) && dtypes[dtype].is_float; }
bool dtype_is_real(int32_t dtype)
{
    return dtype == MITRAL_FLOAT || dtype == MITRAL_DOUBLE || dtype == MITRAL_FLOAT16 || dtype == MITRAL_BFLOAT16;
}
bool dtype_is_byte(int32_t dtype) { return dtype == MITRAL_INT8 || dtype == MITRAL_UINT8; }
bool dtype_is_integer(int32_t dtype) { return row_of(dtype) && dtypes[dtype].is_integer; }
bool dtype_is_signed(int32_t dtype) { return row_of(dtype) && dtypes[dtype].is_signed; }
int dtype_bits(int32_t dtype) { return row_of(dtype) ? dtypes[dtype].bits : 0; }

int64_t mitral_tensor_count(const mitral_tensor *tensor)
{
    if (tensor->rank < 0 || tensor->rank > MITRAL_MAX_RANK)
        return -1;
    /* An empty tensor is empty whatever its other dimensions multiply to. */
    int64_t count = 1;
    bool empty = false;
    for (int32_t i = 0; i < tensor->rank; i++) {
        if (tensor->dims[i] < 0)
            return -1;
        empty |= tensor->dims[i] == 0;
    }
    if (empty)
        return 0;
    for (int32_t i = 0; i < tensor->rank; i++)
        if (__builtin_mul_overflow(count, tensor->dims[i], &count))
            return -1;
    return count;
}

int64_t mitral_tensor_size(const mitral_tensor *tensor)
{
    int64_t count = mitral_tensor_count(tensor), bytes;
    size_t size = mitral_dtype_size((mitral_dtype)tensor->dtype);
    if (count < 0 || !size || __builtin_mul_overflow(count, (int64_t)size, &bytes))
        return -1;
    return bytes;
}

int64_t tensor_count(const mitral_tensor *tensor)
{
    int64_t count = mitral_tensor_count(tensor);
    return count < 0 ? 0 : count;
}

size_t tensor_bytes(const mitral_tensor *tensor)
{
    int64_t bytes = mitral_tensor_size(tensor);
    return bytes < 0 ? 0 : (size_t)bytes;
}

bool tensor_same_shape(const mitral_tensor *a, const mitral_tensor *b)
{
    return a->rank == b->rank && (a->rank <= 0 || memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0);
}

void tensor_strides(const mitral_tensor *tensor, int64_t strides[MITRAL_MAX_RANK])
{
    int64_t stride = 1;
    for (int32_t i = tensor->rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= tensor->dims[i];
    }
}

void tensor_set(mitral_tensor *tensor, int32_t dtype, int32_t rank, const int64_t *dims)
{
    *tensor = (mitral_tensor){.dtype = dtype, .rank = rank};
    if (rank > 0)
        memcpy(tensor->dims, dims, (size_t)rank * sizeof *dims);
}

const char *tensor_describe(const mitral_tensor *tensor, char *text, size_t size)
{
    const char *name = mitral_dtype_name((mitral_dtype)tensor->dtype);
    if (tensor->rank < 0 || tensor->rank > MITRAL_MAX_RANK) { /* a caller's mistake; -1 also where a plan declares none */
        snprintf(text, size, tensor->rank == -1 ? "%s of any rank" : "%s of rank %d", name ? name : "?", tensor->rank);
        return text;
    }
    int length = snprintf(text, size, "%s[", name ? name : "?");
    for (int32_t i = 0; i < tensor->rank && length >= 0 && (size_t)length < size; i++)
        length += snprintf(text + length, size - (size_t)length, "%s%lld", i ? "," : "", (long long)tensor->dims[i]);
    if (length >= 0 && (size_t)length < size)
        snprintf(text + length, size - (size_t)length, "]");
    return text;
}

mitral_status tensor_check_size(mitral_context *context, const mitral_tensor *tensor)
{
    int64_t bytes = mitral_tensor_size(tensor);
    /* An empty tensor's other dimensions are bounded too, so that kernels may multiply them. */
    int64_t extent = 1;
    for (int32_t i = 0; i < tensor->rank && i < MITRAL_MAX_RANK; i++)
        if (tensor->dims[i] > 0 && __builtin_mul_overflow(extent, tensor->dims[i], &extent))
            extent = INT64_MAX;
    if (bytes >= 0 && bytes <= context->options.max_tensor_bytes && extent <= context->options.max_tensor_bytes)
        return MITRAL_OK;
    char text[256];
    return mitral_fail(context, MITRAL_LIMIT, "expected a tensor of at most %lld bytes " LIMIT_TENSOR_BYTES ", found %s",
                       (long long)context->options.max_tensor_bytes, tensor_describe(tensor, text, sizeof text));
}

double tensor_get_double(const mitral_tensor *tensor, int64_t i)
{
    switch (tensor->dtype) {
    case MITRAL_FLOAT: return ((const float *)tensor->data)[i];
    case MITRAL_DOUBLE: return ((const double *)tensor->data)[i];
    case MITRAL_FLOAT16: return float16_to_float(((const uint16_t *)tensor->data)[i]);
    case MITRAL_BFLOAT16: return bfloat16_to_float(((const uint16_t *)tensor->data)[i]);
    case MITRAL_FLOAT8E4M3FN: case MITRAL_FLOAT8E4M3FNUZ: case MITRAL_FLOAT8E5M2: case MITRAL_FLOAT8E5M2FNUZ:
    case MITRAL_FLOAT4E2M1: case MITRAL_FLOAT8E8M0: case MITRAL_FLOAT6E2M3: case MITRAL_FLOAT6E3M2:
        return small_float_to_float(tensor->dtype, ((const uint8_t *)tensor->data)[i]);
    case MITRAL_UINT64: return (double)((const uint64_t *)tensor->data)[i];
    case MITRAL_COMPLEX64: return ((const float *)tensor->data)[2 * i];
    case MITRAL_COMPLEX128: return ((const double *)tensor->data)[2 * i];
    default: return (double)tensor_get_int(tensor, i);
    }
}

int64_t tensor_get_int(const mitral_tensor *tensor, int64_t i)
{
    switch (tensor->dtype) {
    case MITRAL_INT64: return ((const int64_t *)tensor->data)[i];
    case MITRAL_UINT64: return (int64_t)((const uint64_t *)tensor->data)[i];
    case MITRAL_INT32: return ((const int32_t *)tensor->data)[i];
    case MITRAL_UINT32: return ((const uint32_t *)tensor->data)[i];
    case MITRAL_INT16: return ((const int16_t *)tensor->data)[i];
    case MITRAL_UINT16: return ((const uint16_t *)tensor->data)[i];
    case MITRAL_INT8: case MITRAL_INT4: case MITRAL_INT2: return ((const int8_t *)tensor->data)[i];
    case MITRAL_UINT8: case MITRAL_BOOL: case MITRAL_UINT4: case MITRAL_UINT2: return ((const uint8_t *)tensor->data)[i];
    case MITRAL_STRING: return 0;
    default: {
        double value = tensor_get_double(tensor, i);
        if (isnan(value))
            return 0;
        return value >= 9223372036854775808.0 ? INT64_MAX : value <= -9223372036854775808.0 ? INT64_MIN : (int64_t)value;
    }
    }
}

void tensor_set_double(mitral_tensor *tensor, int64_t i, double value, bool saturate)
{
    switch (tensor->dtype) {
    case MITRAL_FLOAT: ((float *)tensor->data)[i] = (float)value; return;
    case MITRAL_DOUBLE: ((double *)tensor->data)[i] = value; return;
    case MITRAL_FLOAT16: ((uint16_t *)tensor->data)[i] = float_to_float16((float)value); return;
    case MITRAL_BFLOAT16: ((uint16_t *)tensor->data)[i] = float_to_bfloat16((float)value); return;
    case MITRAL_FLOAT8E4M3FN: case MITRAL_FLOAT8E4M3FNUZ: case MITRAL_FLOAT8E5M2: case MITRAL_FLOAT8E5M2FNUZ:
    case MITRAL_FLOAT4E2M1: case MITRAL_FLOAT8E8M0: case MITRAL_FLOAT6E2M3: case MITRAL_FLOAT6E3M2:
        ((uint8_t *)tensor->data)[i] = float_to_small_float(tensor->dtype, (float)value, saturate);
        return;
    case MITRAL_BOOL: ((uint8_t *)tensor->data)[i] = value != 0; return;
    case MITRAL_UINT64:
        ((uint64_t *)tensor->data)[i] = value >= 9223372036854775808.0 && value < 18446744073709551616.0
                                            ? (uint64_t)value
                                            : (uint64_t)(int64_t)(value > -9223372036854775808.0 && value < 9223372036854775808.0 ? value : 0);
        return;
    case MITRAL_COMPLEX64:
        ((float *)tensor->data)[2 * i] = (float)value;
        ((float *)tensor->data)[2 * i + 1] = 0;
        return;
    case MITRAL_COMPLEX128:
        ((double *)tensor->data)[2 * i] = value;
        ((double *)tensor->data)[2 * i + 1] = 0;
        return;
    default:
        /* Out of range is undefined in C: pin it down instead. */
        tensor_set_int(tensor, i, isnan(value) ? 0
                                  : value >= 9223372036854775808.0 ? INT64_MAX
                                  : value < -9223372036854775808.0 ? INT64_MIN : (int64_t)value);
    }
}

void tensor_set_int(mitral_tensor *tensor, int64_t i, int64_t value)
{
    switch (tensor->dtype) {
    case MITRAL_INT64: case MITRAL_UINT64: ((int64_t *)tensor->data)[i] = value; return;
    case MITRAL_INT32: case MITRAL_UINT32: ((uint32_t *)tensor->data)[i] = (uint32_t)value; return;
    case MITRAL_INT16: case MITRAL_UINT16: ((uint16_t *)tensor->data)[i] = (uint16_t)value; return;
    case MITRAL_INT8: case MITRAL_UINT8: ((uint8_t *)tensor->data)[i] = (uint8_t)value; return;
    case MITRAL_BOOL: ((uint8_t *)tensor->data)[i] = value != 0; return;
    case MITRAL_UINT4: ((uint8_t *)tensor->data)[i] = (uint8_t)(value & 15); return;
    case MITRAL_UINT2: ((uint8_t *)tensor->data)[i] = (uint8_t)(value & 3); return;
    case MITRAL_INT4: ((int8_t *)tensor->data)[i] = (int8_t)(((value & 15) ^ 8) - 8); return;
    case MITRAL_INT2: ((int8_t *)tensor->data)[i] = (int8_t)(((value & 3) ^ 2) - 2); return;
    case MITRAL_STRING: return;
    default: tensor_set_double(tensor, i, (double)value, true);
    }
}

mitral_status tensor_copy(mitral_tensor *out, struct arena *arena, const mitral_tensor *tensor)
{
    *out = *tensor;
    out->data = NULL;
    if (!tensor->data)
        return MITRAL_OK;
    size_t bytes = tensor->packing ? tensor->packing->bytes : tensor_bytes(tensor);
    void *data = arena_allocate(arena, bytes ? bytes : 1);
    if (!data)
        return MITRAL_NO_MEMORY;
    if (bytes)
        memcpy(data, tensor->data, bytes);
    if (tensor->dtype == MITRAL_STRING) {
        mitral_string *strings = data;
        for (int64_t i = 0, n = tensor_count(tensor); i < n; i++) {
            strings[i].data = arena_string_sized(arena, strings[i].data, strings[i].size);
            if (!strings[i].data)
                return MITRAL_NO_MEMORY;
        }
    }
    if (tensor->packing) {
        struct mitral_packing *packing = arena_allocate(arena, sizeof *packing);
        if (!packing)
            return MITRAL_NO_MEMORY;
        packing->scheme = arena_string(arena, tensor->packing->scheme);
        packing->description = arena_string(arena, tensor->packing->description);
        packing->bytes = bytes;
        if (!packing->scheme || !packing->description)
            return MITRAL_NO_MEMORY;
        out->packing = packing;
    }
    out->data = data;
    return MITRAL_OK;
}

mitral_status value_copy(mitral_value *out, struct arena *arena, const mitral_value *value)
{
    mitral_value copy = *value;
    copy.items = NULL;
    if (value->kind == MITRAL_TENSOR) {
        TRY(tensor_copy(&copy.tensor, arena, &value->tensor));
    } else if (value->count > 0) {
        copy.items = arena_allocate(arena, (size_t)value->count * sizeof *copy.items);
        if (!copy.items)
            return MITRAL_NO_MEMORY;
        for (int32_t i = 0; i < value->count; i++)
            TRY(value_copy(&copy.items[i], arena, &value->items[i]));
    }
    *out = copy;
    return MITRAL_OK;
}
