/* QuantizeLinear and DequantizeLinear (per tensor, per axis, in blocks) and DynamicQuantizeLinear. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/affine.h"
#include "runtime/kernels/reference/convert.h"
#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/vector_math.h"

enum { BLOCK = 256, CHUNK = 8192, PARALLEL_COUNT = 32768 };

/* The data as rows of neighbouring elements, each with one scale or with one scale an element. */
struct rows {
    int64_t outer, length, inner;  /* around the axis */
    int64_t block;                 /* elements along the axis that share a scale */
    int64_t scales;                /* along the axis */
    bool per_tensor, blocked;
};

static bool is_working_float(int32_t dtype)
{
    return dtype == MITRAL_FLOAT || dtype == MITRAL_FLOAT16 || dtype == MITRAL_BFLOAT16;
}

static bool is_quantized(int32_t dtype)
{
    return dtype == MITRAL_INT8 || dtype == MITRAL_UINT8 || dtype == MITRAL_INT16 || dtype == MITRAL_UINT16
           || (dtype_bits(dtype) > 0 && dtype_bits(dtype) < 8)
           || (dtype >= MITRAL_FLOAT8E4M3FN && dtype <= MITRAL_FLOAT8E5M2FNUZ);
}

static mitral_status granularity(const struct kernel_call *call, struct rows *rows)
{
    const mitral_tensor *x = call_input(call, 0), *scale = call_input(call, 1), *zero = call_input(call, 2);
    *rows = (struct rows){.outer = 1, .length = tensor_count(x), .inner = 1, .block = 1, .scales = 1};
    char left[160], right[160];
    if (zero && !tensor_same_shape(zero, scale) && !(tensor_count(zero) == 1 && tensor_count(scale) == 1))
        return call_fail(call, MITRAL_INVALID, "a zero point of the scale's shape expected, found %s and %s",
                         tensor_describe(zero, left, sizeof(left)), tensor_describe(scale, right, sizeof(right)));
    int64_t block = call->opset >= 21 ? attribute_int(call->attributes, "block_size", 0) : 0;
    if (block < 0)
        return call_fail(call, MITRAL_INVALID, "block_size of at least 0 expected, found %lld", (long long)block);
    if (tensor_count(scale) == 1 && (block == 0 || scale->rank != x->rank)) {
        rows->per_tensor = true;
        return MITRAL_OK;
    }
    int64_t axis = attribute_int(call->attributes, "axis", 1);
    if (x->rank == 1 && axis == 1)
        axis = 0; /* the only one there is; the default names none */
    TRY(call_axis(call, axis, x->rank, &axis));
    rows->length = 1;
    for (int32_t i = 0; i < x->rank; i++)
        *(i < axis ? &rows->outer : i > axis ? &rows->inner : &rows->length) *= x->dims[i];
    bool fits;
    if (block == 0) {
        fits = scale->rank == 1 && scale->dims[0] == x->dims[axis];
        rows->scales = rows->length;
    } else {
        rows->blocked = true;
        rows->block = block;
        fits = scale->rank == x->rank;
        for (int32_t i = 0; fits && i < x->rank; i++)
            fits = scale->dims[i] == (i == axis ? x->dims[i] / block + (x->dims[i] % block != 0) : x->dims[i]);
        rows->scales = fits ? scale->dims[axis] : 1;
    }
    if (!fits)
        return call_fail(call, MITRAL_INVALID, "a scale for axis %lld (block size %lld) of %s expected, found %s",
                         (long long)axis, (long long)block, tensor_describe(x, left, sizeof(left)),
                         tensor_describe(scale, right, sizeof(right)));
    return MITRAL_OK;
}

/* With one scale elements may lie in any order. */
static void set_output_of(struct kernel_call *call, const struct rows *rows, int32_t dtype)
{
    const mitral_tensor *x = call_input(call, 0);
    call_set_output(call, 0, dtype, x->rank, x->dims);
    if (rows->per_tensor && call_output(call, 0))
        call_output(call, 0)->layout = x->layout;
}

/* What a row does: `count` elements from `at`; the scale of element i is number scale + i * step. */
typedef void (*row_function)(const void *context, int64_t at, size_t count, int64_t scale, int64_t step);

/* Rows of at most CHUNK elements, in a partition that the shapes alone decide. */
static void for_rows(const struct kernel_call *call, const struct rows *rows, row_function function,
                     const void *context)
{
    int64_t total = rows->outer * rows->length * rows->inner, threads = call->threads;
    if (rows->per_tensor) {
        int64_t chunks = (total + CHUNK - 1) / CHUNK;
#pragma omp parallel for num_threads(threads) if (total > PARALLEL_COUNT) schedule(static)
        for (int64_t i = 0; i < chunks; i++) {
            int64_t at = i * CHUNK;
            function(context, at, (size_t)(total - at < CHUNK ? total - at : CHUNK), 0, 0);
        }
        return;
    }
    /* With inner == 1 a row runs along the axis: over the whole axis, or over a block of it. */
    int64_t row = rows->inner > 1 ? rows->inner : rows->blocked ? rows->block : rows->length;
    int64_t per_outer = rows->inner > 1 ? rows->length
                      : rows->blocked   ? rows->scales
                                        : 1,
            count = rows->outer * per_outer;
    if (total == 0)
        return;
#pragma omp parallel for num_threads(threads) if (total > PARALLEL_COUNT) schedule(static)
    for (int64_t i = 0; i < count; i++) {
        int64_t outer = i / per_outer, k = i % per_outer;
        int64_t at = outer * rows->length * rows->inner + k * row;
        if (rows->inner > 1 && rows->blocked)
            function(context, at, (size_t)row, (outer * rows->scales + k / rows->block) * rows->inner, 1);
        else if (rows->inner > 1)
            function(context, at, (size_t)row, k, 0);
        else if (rows->blocked)
            function(context, at, (size_t)(rows->length - k * row < row ? rows->length - k * row : row),
                     outer * rows->scales + k, 0);
        else
            function(context, at, (size_t)row, 0, 1);
    }
}

struct linear {
    const mitral_tensor *x, *scale, *zero;
    mitral_tensor *y;
    int32_t precision;    /* that the quotient is rounded to */
    bool saturate;
    float low, high;      /* of an integer output */
};

static void load_floats(const mitral_tensor *tensor, int64_t at, float *to, size_t count)
{
    const struct conversion conversion = {.from = tensor->dtype, .to = MITRAL_FLOAT};
    size_t size = mitral_dtype_size((mitral_dtype)tensor->dtype);
    convert(&conversion, (const char *)tensor->data + (size_t)at * size, to, count);
}

/* Scales (or zero points) of `count` elements; one value is spread. */
static void load_parameters(const mitral_tensor *tensor, int64_t at, int64_t step, float *to, size_t count)
{
    if (!tensor) {
        memset(to, 0, count * sizeof(*to));
        return;
    }
    load_floats(tensor, at, to, step ? count : 1);
    for (size_t i = 1; !step && i < count; i++)
        to[i] = to[0];
}

static void round_to(int32_t precision, float *values, size_t count)
{
    if (precision != MITRAL_FLOAT16 && precision != MITRAL_BFLOAT16)
        return;
    uint16_t halves[BLOCK];
    floats_to_half(precision, values, halves, 1, count);
    half_to_floats(precision, halves, 1, values, count);
}

VECTORISED static void divide(float *x, const float *scales, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] /= scales[i];
}

/* Rounded, then moved, then clamped; NaN goes to the lowest value. */
VECTORISED static void round_and_clamp(const float *x, const float *zeros, float low, float high, int32_t *to,
                                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float v = vector_round(x[i]) + zeros[i];
        v = v > low ? v : low;
        to[i] = (int32_t)(v < high ? v : high);
    }
}

/* Bytes and float32 by one scale. */
static bool is_plain(const struct linear *q, int64_t step, const mitral_tensor *floats, const mitral_tensor *bytes)
{
    return step == 0 && floats->dtype == MITRAL_FLOAT && q->scale->dtype == MITRAL_FLOAT && dtype_is_byte(bytes->dtype);
}

static void quantize_row(const void *context, int64_t at, size_t count, int64_t scale, int64_t step)
{
    const struct linear *q = context;
    if (is_plain(q, step, q->x, q->y) && (q->precision == MITRAL_FLOAT || q->precision == MITRAL_UNDEFINED)) {
        const float zero = q->zero ? (float)tensor_get_int(q->zero, scale) : 0;
        floats_to_bytes(q->y->dtype, (const float *)q->x->data + at, ((const float *)q->scale->data)[scale], zero, (char *)q->y->data + at, count);
        return;
    }
    size_t size = mitral_dtype_size((mitral_dtype)q->y->dtype);
    bool integer = dtype_is_integer(q->y->dtype);
    for (size_t start = 0; start < count; start += BLOCK) {
        float x[BLOCK], scales[BLOCK], zeros[BLOCK];
        int32_t whole[BLOCK];
        size_t length = count - start < BLOCK ? count - start : BLOCK;
        int64_t place = at + (int64_t)start, scale_at = scale + (step ? (int64_t)start : 0);
        void *y = (char *)q->y->data + (size_t)place * size;
        load_floats(q->x, place, x, length);
        load_parameters(q->scale, scale_at, step, scales, length);
        load_parameters(q->zero, scale_at, step, zeros, length);
        divide(x, scales, length);
        round_to(q->precision, x, length);
        if (!integer) {
            for (size_t i = 0; i < length; i++)
                x[i] += zeros[i];
            convert(&(struct conversion){MITRAL_FLOAT, q->y->dtype, q->saturate, ROUND_UP}, x, y, length);
            continue;
        }
        round_and_clamp(x, zeros, q->low, q->high, whole, length);
        convert(&(struct conversion){MITRAL_INT32, q->y->dtype, true, ROUND_UP}, whole, y, length);
    }
}

static mitral_status QuantizeLinear_type(const struct kernel_call *call, int32_t *out)
{
    const mitral_tensor *x = call_input(call, 0), *scale = call_input(call, 1), *zero = call_input(call, 2);
    if (!x || !scale)
        return call_fail(call, MITRAL_INVALID, "2 inputs expected, one is missing");
    if (!is_working_float(x->dtype) && x->dtype != MITRAL_INT32)
        return fail_type(call, 0, x);
    if (!is_working_float(scale->dtype) && scale->dtype != MITRAL_INT32 && scale->dtype != MITRAL_FLOAT8E8M0)
        return fail_type(call, 1, scale);
    int64_t type = call->opset >= 21 ? attribute_int(call->attributes, "output_dtype", 0) : 0;
    if (zero && type && type != zero->dtype)
        return call_fail(call, MITRAL_INVALID, "output_dtype like the zero point expected, found %lld and %d",
                         (long long)type, (int)zero->dtype);
    *out = zero ? zero->dtype : type > 0 && type < MITRAL_DTYPE_COUNT ? (int32_t)type : type ? -1 : MITRAL_UINT8;
    if (!is_quantized(*out))
        return call_fail(call, MITRAL_INVALID, "a quantized output type expected, found type %lld",
                         zero ? (long long)zero->dtype : (long long)type);
    return MITRAL_OK;
}

static mitral_status QuantizeLinear_shape(struct kernel_call *call)
{
    int32_t dtype = MITRAL_UNDEFINED;
    struct rows rows;
    TRY(QuantizeLinear_type(call, &dtype));
    TRY(granularity(call, &rows));
    set_output_of(call, &rows, dtype);
    return MITRAL_OK;
}

static mitral_status QuantizeLinear_run(struct kernel_call *call)
{
    struct rows rows;
    struct linear q = {
        call_input(call, 0), call_input(call, 1), call_input(call, 2), call_output(call, 0), 0, true, 0, 0};
    if (!q.y)
        return MITRAL_OK;
    TRY(granularity(call, &rows));
    int64_t precision = call->opset >= 23 ? attribute_int(call->attributes, "precision", 0) : 0;
    q.precision = precision ? (int32_t)precision : q.scale->dtype;
    q.saturate = attribute_int(call->attributes, "saturate", 1) != 0;
    int bits = dtype_bits(q.y->dtype);
    bool is_signed = dtype_is_signed(q.y->dtype);
    q.low = is_signed ? -(float)(1 << (bits - 1)) : 0;
    q.high = (float)((1 << (is_signed ? bits - 1 : bits)) - 1);
    for_rows(call, &rows, quantize_row, &q);
    return MITRAL_OK;
}

static void dequantize_row(const void *context, int64_t at, size_t count, int64_t scale, int64_t step)
{
    const struct linear *q = context;
    if (is_plain(q, step, q->y, q->x)) {
        const float zero = q->zero ? (float)tensor_get_int(q->zero, scale) : 0;
        bytes_to_floats(q->x->dtype, (const char *)q->x->data + at, 1, ((const float *)q->scale->data)[scale], zero, (float *)q->y->data + at, count);
        return;
    }
    size_t size = mitral_dtype_size((mitral_dtype)q->y->dtype);
    bool wide = q->x->dtype == MITRAL_INT32 && q->zero;
    for (size_t start = 0; start < count; start += BLOCK) {
        float x[BLOCK], scales[BLOCK], zeros[BLOCK];
        size_t length = count - start < BLOCK ? count - start : BLOCK;
        int64_t place = at + (int64_t)start, scale_at = scale + (step ? (int64_t)start : 0);
        load_parameters(q->scale, scale_at, step, scales, length);
        load_floats(q->x, place, x, length);
        if (wide) {
            /* The difference of 32-bit integers is exact before it becomes a float. */
            const int32_t *from = (const int32_t *)q->x->data + place, *zero = q->zero->data;
            for (size_t i = 0; i < length; i++)
                x[i] = (float)((int64_t)from[i] - zero[scale_at + (step ? (int64_t)i : 0)]);
        } else if (q->zero) {
            load_parameters(q->zero, scale_at, step, zeros, length);
            for (size_t i = 0; i < length; i++)
                x[i] -= zeros[i];
        }
        for (size_t i = 0; i < length; i++)
            x[i] *= scales[i];
        convert(&(struct conversion){MITRAL_FLOAT, q->y->dtype, true, ROUND_UP}, x,
                (char *)q->y->data + (size_t)place * size, length);
    }
}

static mitral_status DequantizeLinear_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0), *scale = call_input(call, 1), *zero = call_input(call, 2);
    struct rows rows;
    if (!x || !scale)
        return call_fail(call, MITRAL_INVALID, "2 inputs expected, one is missing");
    if (!is_quantized(x->dtype) && x->dtype != MITRAL_INT32)
        return fail_type(call, 0, x);
    if (!is_working_float(scale->dtype) && scale->dtype != MITRAL_FLOAT8E8M0)
        return fail_type(call, 1, scale);
    if (zero && zero->dtype != x->dtype)
        return fail_type(call, 2, zero);
    TRY(granularity(call, &rows));
    int64_t type = call->opset >= 23 ? attribute_int(call->attributes, "output_dtype", 0) : 0;
    int32_t dtype = type > 0 && type < MITRAL_DTYPE_COUNT ? (int32_t)type : type ? -1 : scale->dtype;
    if (!is_working_float(dtype))
        return call_fail(call, MITRAL_INVALID, "an output of float32, float16 or bfloat16 expected, found type %lld",
                         type ? (long long)type : (long long)scale->dtype);
    set_output_of(call, &rows, dtype);
    return MITRAL_OK;
}

static mitral_status DequantizeLinear_run(struct kernel_call *call)
{
    struct rows rows;
    struct linear q = {
        call_input(call, 0), call_input(call, 1), call_input(call, 2), call_output(call, 0), 0, true, 0, 0};
    if (!q.y)
        return MITRAL_OK;
    TRY(granularity(call, &rows));
    for_rows(call, &rows, dequantize_row, &q);
    return MITRAL_OK;
}

/* ---- DynamicQuantizeLinear --------------------------------------------------------------------------------------- */

static mitral_status DynamicQuantizeLinear_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    if (!x || x->dtype != MITRAL_FLOAT)
        return x ? fail_type(call, 0, x) : call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    call_set_output(call, 0, MITRAL_UINT8, x->rank, x->dims);
    call_set_output(call, 1, MITRAL_FLOAT, 0, NULL);
    call_set_output(call, 2, MITRAL_UINT8, 0, NULL);
    return MITRAL_OK;
}

static mitral_status DynamicQuantizeLinear_run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    const float *values = x->data;
    int64_t count = tensor_count(x);
    float low = 0, high = 0; /* zero is always in the range */
    for (int64_t i = 0; i < count; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    /* All zeros: any scale does but 0. */
    float scale = high > low ? (high - low) / 255.0f : 1.0f;
    uint8_t zero_point = (uint8_t)rintf(fminf(fmaxf(0.0f - low / scale, 0.0f), 255.0f));
    const mitral_tensor scale_tensor = {.dtype = MITRAL_FLOAT, .data = &scale};
    const mitral_tensor zero_tensor = {.dtype = MITRAL_UINT8, .data = &zero_point};
    if (call_output(call, 0)) {
        struct linear q = {x, &scale_tensor, &zero_tensor, call_output(call, 0), MITRAL_FLOAT, true, 0, 255};
        struct rows rows = {.outer = 1, .length = count, .inner = 1, .per_tensor = true};
        for_rows(call, &rows, quantize_row, &q);
    }
    if (call_output(call, 1))
        *(float *)call_output(call, 1)->data = scale;
    if (call_output(call, 2))
        *(uint8_t *)call_output(call, 2)->data = zero_point;
    return MITRAL_OK;
}

const struct kernel reference_quantize[] = {
    {"DequantizeLinear", 0, DequantizeLinear_shape, NULL, DequantizeLinear_run},
    {"DynamicQuantizeLinear", 0, DynamicQuantizeLinear_shape, NULL, DynamicQuantizeLinear_run},
    {"QuantizeLinear", 0, QuantizeLinear_shape, NULL, QuantizeLinear_run},
};
const size_t reference_quantize_count = sizeof(reference_quantize) / sizeof(reference_quantize[0]);
