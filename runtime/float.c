/* Bit-level conversions of the floats that C has no type for. Encodings: IEEE 754-2008 binary16; bfloat16; the 8-, 4-bit
 * and exponent-only formats as the ONNX documents "Float stored in 8 bits" and "Float stored in 4 bits" and the OCP
 * Microscaling specification define them. */
#include <math.h>
#include <string.h>

#include "runtime/tensor.h"

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float float16_to_float(uint16_t half)
{
    int exponent = half >> 10 & 31, mantissa = half & 1023;
    float magnitude = exponent == 31 ? (mantissa ? NAN : INFINITY)
                      : exponent     ? ldexpf((float)(mantissa + 1024), exponent - 25)
                                     : ldexpf((float)mantissa, -24);
    return half & 0x8000 ? -magnitude : magnitude;
}

uint16_t float_to_float16(float value)
{
    uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffff;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x47800000) /* 65536: everything from 65520 up rounds to infinity below */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* subnormal: the unit is 2^-24 */
        float scaled = fabsf(value) * 16777216.0f;
        return (uint16_t)(sign | (uint16_t)nearbyintf(scaled));
    }
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (uint16_t)((rounded >> 13) - (112 << 10)));
}

uint16_t float_to_bfloat16(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

struct small_format {
    int exponent_bits, mantissa_bits, bias;
    bool infinities;     /* exponent all ones: infinity and NaN, as in IEEE */
    bool unsigned_zero;  /* the FNUZ formats: 0x80 is the one NaN */
    bool no_nan;         /* float4e2m1 and the float6 formats */
};

static const struct small_format *format_of(int32_t dtype)
{
    static const struct small_format e4m3fn = {4, 3, 7, false, false, false}, e4m3fnuz = {4, 3, 8, false, true, false},
                                     e5m2 = {5, 2, 15, true, false, false}, e5m2fnuz = {5, 2, 16, false, true, false},
                                     e2m1 = {2, 1, 1, false, false, true}, e2m3 = {2, 3, 1, false, false, true},
                                     e3m2 = {3, 2, 3, false, false, true};
    switch (dtype) {
    case MITRAL_FLOAT8E4M3FN: return &e4m3fn;
    case MITRAL_FLOAT8E4M3FNUZ: return &e4m3fnuz;
    case MITRAL_FLOAT8E5M2: return &e5m2;
    case MITRAL_FLOAT8E5M2FNUZ: return &e5m2fnuz;
    case MITRAL_FLOAT6E2M3: return &e2m3;
    case MITRAL_FLOAT6E3M2: return &e3m2;
    default: return &e2m1;
    }
}

float small_float_to_float(int32_t dtype, uint8_t bits)
{
    if (dtype == MITRAL_FLOAT8E8M0)
        return bits == 255 ? NAN : ldexpf(1.0f, bits - 127);
    const struct small_format *format = format_of(dtype);
    int width = format->exponent_bits + format->mantissa_bits;
    int sign = bits >> width & 1, exponent = bits >> format->mantissa_bits & ((1 << format->exponent_bits) - 1),
        mantissa = bits & ((1 << format->mantissa_bits) - 1);
    if (format->unsigned_zero && bits == 0x80)
        return NAN;
    if (format->infinities && exponent == (1 << format->exponent_bits) - 1)
        return mantissa ? NAN : sign ? -INFINITY : INFINITY;
    if (!format->unsigned_zero && !format->infinities && !format->no_nan && (bits & 0x7f) == 0x7f)
        return NAN;
    float value = exponent ? ldexpf((float)(mantissa + (1 << format->mantissa_bits)), exponent - format->bias - format->mantissa_bits)
                           : ldexpf((float)mantissa, 1 - format->bias - format->mantissa_bits);
    return sign ? -value : value;
}

/* Power-of-two scale: rounds the magnitude up to the next exponent at the halfway point, as the Cast operator's default. */
static uint8_t float_to_e8m0(float value, bool saturate)
{
    uint32_t bits = bits_of(value);
    int exponent = (int)(bits >> 23 & 255);
    if (isnan(value) || (exponent == 255 && !saturate))
        return 255;
    if (exponent == 255)
        return 254;
    uint32_t mantissa = bits & 0x7fffff;
    if (exponent == 0) /* subnormal: 2^-127 is the smallest */
        return mantissa > 0x400000 ? 1 : 0;
    if (mantissa >= 0x400000)
        exponent++;
    return (uint8_t)(exponent >= 255 ? (saturate ? 254 : 255) : exponent);
}

uint8_t float_to_small_float(int32_t dtype, float value, bool saturate)
{
    if (dtype == MITRAL_FLOAT8E8M0)
        return float_to_e8m0(value, saturate);
    const struct small_format *format = format_of(dtype);
    int width = format->exponent_bits + format->mantissa_bits;
    uint8_t sign = (uint8_t)(signbit(value) ? 1 << width : 0);
    int top = (1 << format->exponent_bits) - 1;
    /* Largest finite code (magnitude) and what stands for NaN and overflow. */
    int largest = format->infinities ? (top << format->mantissa_bits) - 1
                  : format->unsigned_zero || format->no_nan ? (1 << width) - 1 : (1 << width) - 2;
    uint8_t nan = format->unsigned_zero ? 0x80 : format->infinities ? (uint8_t)(sign | 0x7f) : (uint8_t)(sign | 0x7f);
    if (isnan(value))
        return format->no_nan ? (uint8_t)(1 << width) : nan; /* float4 and float6 have none: minus zero, as NumPy's extension types give */
    int code;
    if (isinf(value)) {
        code = largest + 1;
    } else {
        int exponent;
        frexpf(value, &exponent); /* |value| in [2^(e-1), 2^e) */
        exponent = value == 0 ? 1 - format->bias : exponent - 1;
        if (exponent < 1 - format->bias)
            exponent = 1 - format->bias;
        float units = nearbyintf(ldexpf(fabsf(value), format->mantissa_bits - exponent)); /* half to even */
        int biased = exponent + format->bias;
        /* Normal numbers: units in [2^m, 2^(m+1)]; a carry moves into the exponent by itself. */
        int64_t wide = ((int64_t)(biased - 1) << format->mantissa_bits) + (int64_t)units;
        code = wide > largest ? largest + 1 : (int)wide;
    }
    if (code > largest) {
        if (saturate || format->no_nan)
            code = largest;
        else if (format->infinities)
            code = top << format->mantissa_bits;
        else
            return nan;
    }
    if (format->unsigned_zero && code == 0)
        return 0;
    return (uint8_t)(sign | code);
}
