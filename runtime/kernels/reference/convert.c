#include "runtime/kernels/reference/convert.h"

#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/elementwise.h"

enum { BLOCK = 512 };

/* ---- types that C has: a loop for each pair ---------------------------------------------------------------------- */

/* Reals out of an integer's range are undefined in ONNX and in C; here they become what x86 makes of them: the lowest
 * integer of the type that the conversion goes through. */
static inline int32_t real_to_int32(double v)
{
    return v > -2147483649.0 && v < 2147483648.0 ? (int32_t)v : INT32_MIN;
}
static inline int64_t real_to_int64(double v)
{
    return v >= -0x1p63 && v < 0x1p63 ? (int64_t)v : INT64_MIN;
}
static inline uint64_t real_to_uint64(double v)
{
    return v >= 0x1p63 && v < 0x1p64 ? (uint64_t)v : (uint64_t)real_to_int64(v);
}

#define FROM_REAL_int8_t(v) (int8_t)real_to_int32((double)v)
#define FROM_REAL_int16_t(v) (int16_t)real_to_int32((double)v)
#define FROM_REAL_int32_t(v) real_to_int32((double)v)
#define FROM_REAL_int64_t(v) real_to_int64((double)v)
#define FROM_REAL_uint8_t(v) (uint8_t)real_to_int32((double)v)
#define FROM_REAL_uint16_t(v) (uint16_t)real_to_int32((double)v)
#define FROM_REAL_uint32_t(v) (uint32_t)real_to_int64((double)v)
#define FROM_REAL_uint64_t(v) real_to_uint64((double)v)

typedef void (*convert_loop)(const void *from, void *to, size_t count);

#define CONVERT_LOOP(TX, TY, expression)                                                                               \
    static void TX##_to_##TY(const void *from, void *to, size_t count)                                                 \
    {                                                                                                                  \
        const TX *x = from;                                                                                            \
        TY *y = to;                                                                                                    \
        for (size_t i = 0; i < count; i++) {                                                                           \
            TX v = x[i];                                                                                               \
            y[i] = (expression);                                                                                       \
        }                                                                                                              \
    }
/* bool is held as uint8_t: any value but 0 is true. */
typedef uint8_t truth;
#define TO_PLAIN(dtype, TY, TX) CONVERT_LOOP(TX, TY, (TY)v)
#define TO_INTEGER(dtype, TY, TX) CONVERT_LOOP(TX, TY, FROM_REAL_##TY(v))
#define FROM_TRUTH(dtype, TY, TX) CONVERT_LOOP(truth, TY, v != 0)
#define FROM_REAL(TX)                                                                                                  \
    FOR_INTEGERS(TO_INTEGER, TX)                                                                                       \
    TO_PLAIN(0, float, TX)                                                                                             \
    TO_PLAIN(0, double, TX)                                                                                            \
    CONVERT_LOOP(TX, truth, v != 0)
#define FROM_INTEGER_LOOPS(TX)                                                                                         \
    TO_PLAIN(0, int8_t, TX)                                                                                            \
    TO_PLAIN(0, int16_t, TX)                                                                                           \
    TO_PLAIN(0, int32_t, TX)                                                                                           \
    TO_PLAIN(0, int64_t, TX)                                                                                           \
    TO_PLAIN(0, uint8_t, TX)                                                                                           \
    TO_PLAIN(0, uint16_t, TX)                                                                                          \
    TO_PLAIN(0, uint32_t, TX)                                                                                          \
    TO_PLAIN(0, uint64_t, TX)                                                                                          \
    TO_PLAIN(0, float, TX)                                                                                             \
    TO_PLAIN(0, double, TX)                                                                                            \
    CONVERT_LOOP(TX, truth, v != 0)
FROM_INTEGER_LOOPS(int8_t)
FROM_INTEGER_LOOPS(int16_t)
FROM_INTEGER_LOOPS(int32_t)
FROM_INTEGER_LOOPS(int64_t)
FROM_INTEGER_LOOPS(uint8_t)
FROM_INTEGER_LOOPS(uint16_t)
FROM_INTEGER_LOOPS(uint32_t)
FROM_INTEGER_LOOPS(uint64_t)
FROM_REAL(float)
FROM_REAL(double)
FOR_INTEGERS(FROM_TRUTH, 0)
FROM_TRUTH(0, float, 0)
FROM_TRUTH(0, double, 0)
FROM_TRUTH(0, truth, 0)

#define ROW(TX)                                                                                                        \
    {                                                                                                                  \
        [MITRAL_INT8] = TX##_to_int8_t, [MITRAL_INT16] = TX##_to_int16_t, [MITRAL_INT32] = TX##_to_int32_t,            \
        [MITRAL_INT64] = TX##_to_int64_t, [MITRAL_UINT8] = TX##_to_uint8_t, [MITRAL_UINT16] = TX##_to_uint16_t,        \
        [MITRAL_UINT32] = TX##_to_uint32_t, [MITRAL_UINT64] = TX##_to_uint64_t, [MITRAL_FLOAT] = TX##_to_float,        \
        [MITRAL_DOUBLE] = TX##_to_double, [MITRAL_BOOL] = TX##_to_truth                                                \
    }
static const convert_loop loops[MITRAL_DTYPE_COUNT][MITRAL_DTYPE_COUNT] = {
    [MITRAL_INT8] = ROW(int8_t),     [MITRAL_INT16] = ROW(int16_t),   [MITRAL_INT32] = ROW(int32_t),
    [MITRAL_INT64] = ROW(int64_t),   [MITRAL_UINT8] = ROW(uint8_t),   [MITRAL_UINT16] = ROW(uint16_t),
    [MITRAL_UINT32] = ROW(uint32_t), [MITRAL_UINT64] = ROW(uint64_t), [MITRAL_FLOAT] = ROW(float),
    [MITRAL_DOUBLE] = ROW(double),   [MITRAL_BOOL] = ROW(truth)};

/* ---- the others go through the nearest of those ------------------------------------------------------------------ */

static bool is_half(int32_t dtype)
{
    return dtype == MITRAL_FLOAT16 || dtype == MITRAL_BFLOAT16;
}

/* Floats of a byte or less. */
static bool is_small(int32_t dtype)
{
    return dtype_is_float(dtype) && mitral_dtype_size((mitral_dtype)dtype) == 1;
}

/* Integers of two or four bits, held as bytes. */
static bool is_nibble(int32_t dtype)
{
    return dtype_is_integer(dtype) && dtype_bits(dtype) < 8;
}

/* The C type that holds the values of `dtype`. */
static int32_t carrier(int32_t dtype)
{
    if (is_half(dtype) || is_small(dtype))
        return MITRAL_FLOAT;
    if (is_nibble(dtype))
        return dtype_is_signed(dtype) ? MITRAL_INT8 : MITRAL_UINT8;
    return dtype;
}

static bool is_complex(int32_t dtype)
{
    return dtype == MITRAL_COMPLEX64 || dtype == MITRAL_COMPLEX128;
}

bool conversion_exists(int32_t from, int32_t to)
{
    if (!mitral_dtype_size((mitral_dtype)from) || !mitral_dtype_size((mitral_dtype)to))
        return false;
    return from == to || (!is_complex(from) && !is_complex(to));
}

static float double_to_float_odd(double value)
{
    union { float f; uint32_t u; } rounded = {.f = (float)value};
    if ((double)rounded.f == value || isnan(value) || rounded.u & 1)
        return rounded.f;
    /* Even and inexact: one step back towards zero where rounding went away from it (that is odd), otherwise the odd
     * one above. */
    rounded.u += fabs((double)rounded.f) > fabs(value) ? UINT32_MAX : 1;
    return rounded.f;
}

void convert_to_floats_odd(int32_t dtype, const void *from, float *to, size_t count)
{
    const size_t size = mitral_dtype_size((mitral_dtype)dtype);
    switch (dtype) {
    case MITRAL_FLOAT: memcpy(to, from, count * sizeof(float)); return;
    case MITRAL_FLOAT16: case MITRAL_BFLOAT16: half_to_floats(dtype, from, 1, to, count); return;
    case MITRAL_DOUBLE:
        for (size_t i = 0; i < count; i++)
            to[i] = double_to_float_odd(((const double *)from)[i]);
        return;
    case MITRAL_INT64: case MITRAL_UINT64:
        for (size_t i = 0; i < count; i++) {
            uint64_t bits = ((const uint64_t *)from)[i];
            bool negative = dtype == MITRAL_INT64 && bits >> 63;
            uint64_t magnitude = negative ? 0 - bits : bits;
            /* More than 53 bits: the low ones become one sticky bit, so that the double is exact. */
            if (magnitude >> 53)
                magnitude = (magnitude & ~(uint64_t)0xffff) | (uint64_t)((magnitude & 0xffff) != 0) << 15;
            to[i] = double_to_float_odd(negative ? -(double)magnitude : (double)magnitude);
        }
        return;
    default: {
        mitral_tensor one = {.dtype = dtype, .data = (void *)(uintptr_t)from};
        if (is_small(dtype)) {
            for (size_t i = 0; i < count; i++)
                to[i] = small_float_to_float(dtype, ((const uint8_t *)from)[i]);
        } else if (size) {
            for (size_t i = 0; i < count; i++)
                to[i] = double_to_float_odd((double)tensor_get_int(&one, (int64_t)i));
        }
    }
    }
}

/* Powers of two from 2^-127 to 2^127. */
static uint8_t float_to_scale(float value, bool saturate, enum round_mode mode)
{
    enum { NOT_A_NUMBER = 255, LARGEST = 254 };
    union { float f; uint32_t u; } x = {.f = value};
    uint32_t exponent = x.u >> 23 & 255, mantissa = x.u & 0x7fffff;
    if (isnan(value))
        return NOT_A_NUMBER;
    if (exponent == 255)
        return saturate ? LARGEST : NOT_A_NUMBER;
    if (exponent == 0) {
        /* Below 2^-126; 2^-127 has the code 0 and mantissa 2^22. */
        const uint32_t half = 0x400000;
        bool up = mode == ROUND_UP ? mantissa > half : mode == ROUND_NEAREST && mantissa >= half + half / 2;
        if (up)
            return 1;
        bool representable = mantissa >= half || (mantissa && mode == ROUND_UP)
                             || (mode == ROUND_NEAREST && mantissa >= half / 2 + half / 4);
        return saturate || representable ? 0 : NOT_A_NUMBER;
    }
    bool up = mode == ROUND_UP ? mantissa != 0 : mode == ROUND_NEAREST && mantissa >= 0x400000;
    if (up && exponent == LARGEST)
        return saturate ? LARGEST : NOT_A_NUMBER;
    return (uint8_t)(exponent + up);
}

static void floats_to(const struct conversion *conversion, const float *from, void *to, size_t count)
{
    uint8_t *bytes = to;
    if (is_half(conversion->to)) {
        floats_to_half(conversion->to, from, to, 1, count);
    } else if (conversion->to == MITRAL_FLOAT8E8M0) {
        for (size_t i = 0; i < count; i++)
            bytes[i] = float_to_scale(from[i], conversion->saturate, conversion->mode);
    } else {
        for (size_t i = 0; i < count; i++)
            bytes[i] = float_to_small_float(conversion->to, from[i], conversion->saturate);
    }
}

/* Keeps the low bits of whole numbers, in two's complement. */
static void wrap_nibbles(int32_t dtype, const int8_t *from, void *to, size_t count)
{
    int bits = dtype_bits(dtype), sign = dtype_is_signed(dtype) ? 1 << (bits - 1) : 0, mask = (1 << bits) - 1;
    int8_t *bytes = to;
    for (size_t i = 0; i < count; i++)
        bytes[i] = (int8_t)(((from[i] & mask) ^ sign) - sign);
}

void convert(const struct conversion *conversion, const void *from, void *to, size_t count)
{
    int32_t source = conversion->from, target = conversion->to;
    size_t source_size = mitral_dtype_size((mitral_dtype)source), target_size = mitral_dtype_size((mitral_dtype)target);
    if (source == target) {
        if (from != to && count)
            memcpy(to, from, count * source_size);
        return;
    }
    convert_loop loop = loops[source][target];
    if (loop) {
        loop(from, to, count);
        return;
    }
    for (size_t start = 0; start < count; start += BLOCK) {
        size_t length = count - start < BLOCK ? count - start : BLOCK;
        const char *x = (const char *)from + start * source_size;
        char *y = (char *)to + start * target_size;
        float floats[BLOCK];
        int8_t bytes[BLOCK];
        if (is_half(target) || is_small(target)) {
            convert_to_floats_odd(source, x, floats, length);
            floats_to(conversion, floats, y, length);
            continue;
        }
        if (carrier(source) == MITRAL_FLOAT && source != MITRAL_FLOAT) {
            convert_to_floats_odd(source, x, floats, length);
            x = (const char *)floats;
        }
        if (is_nibble(target)) {
            convert_loop narrow = loops[carrier(source)][MITRAL_INT8];
            narrow(x, bytes, length);
            wrap_nibbles(target, bytes, y, length);
        } else if (carrier(source) == target) {
            memcpy(y, x, length * target_size);
        } else {
            loops[carrier(source)][target](x, y, length);
        }
    }
}
