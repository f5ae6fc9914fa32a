/* Elementary functions of float without branches, so that a compiler can make vectors of a loop of them; within a few
 * units in the last place of the exact value (tests/unit/test_vector_math.c measures). Polynomials fitted for least
 * largest error. The macros at the end take float through these and double through the C library. */
#ifndef MITRAL_RUNTIME_KERNELS_REFERENCE_VECTOR_MATH_H
#define MITRAL_RUNTIME_KERNELS_REFERENCE_VECTOR_MATH_H

#include <math.h>
#include <stdint.h>

/* Loops worth compiling for wider vectors, chosen when the program starts. Contraction is off: every version gives the
 * same bits. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define VECTORISED __attribute__((target_clones("default", "avx2", "avx512f")))
/* For loops of fmaf(), which "avx2" alone has no instruction for. */
#define VECTORISED_FUSED __attribute__((target_clones("default", "fma", "avx512f")))
#else
#define VECTORISED
#define VECTORISED_FUSED
#endif

static inline float float_of_bits(uint32_t bits)
{
    union { uint32_t u; float f; } x = {.u = bits};
    return x.f;
}

static inline uint32_t bits_of_float(float value)
{
    union { float f; uint32_t u; } x = {.f = value};
    return x.u;
}

/* To a whole number, halves to even: adding 2^23 leaves no bits for a fraction. Larger values are whole already. */
static inline float vector_round(float v)
{
    float rounded = (fabsf(v) + 8388608.0f) - 8388608.0f;
    rounded = float_of_bits(bits_of_float(rounded) | (bits_of_float(v) & 0x80000000u));
    return fabsf(v) < 8388608.0f ? rounded : v;
}

/* Fused where that costs nothing: in what is compiled for an instruction set that has it. */
#if defined(FP_FAST_FMAF) || defined(__FMA__)
#define MULTIPLY_ADD(a, b, c) fmaf(a, b, c)
#else
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#endif

/* v = n ln 2 + r, |r| ≤ ln 2 / 2; e^r = 1 + r + r² tail. Polynomials here and below are summed in pairs: of a long chain of sums each
 * would wait for the one before. `shifted` has n in its last bits. */
struct power {
    float shifted, r, square, tail;
};

static inline struct power vector_power(float v)
{
    struct power e = {.shifted = MULTIPLY_ADD(v, 0x1.715476p+0f, 12582912.0f)};
    const float n = e.shifted - 12582912.0f;
    e.r = MULTIPLY_ADD(n, -0x1.0bfbe8p-15f, MULTIPLY_ADD(n, -0x1.62ep-1f, v));
    e.square = e.r * e.r;
    e.tail = MULTIPLY_ADD(0x1.6dc4ccp-10f, e.square, MULTIPLY_ADD(0x1.124758p-7f, e.r, 0x1.55544ap-5f));
    e.tail = MULTIPLY_ADD(e.tail, e.square, MULTIPLY_ADD(0x1.55547ep-3f, e.r, 0.5f));
    return e;
}

/* Written with whole numbers, which compilers make one instruction of: of two floats that are not below 0 the smaller one has the smaller
 * bits. NaN becomes the limit … */
static inline float at_most(float magnitude, float limit)
{
    const int32_t a = (int32_t)bits_of_float(magnitude), b = (int32_t)bits_of_float(limit);
    return float_of_bits((uint32_t)(a < b ? a : b));
}

/* … and comes back here. */
static inline float nan_where_nan(float result, float v)
{
    return float_of_bits(bits_of_float(result) | (v != v ? 0xffffffffu : 0));
}

static inline float with_sign_of(float magnitude, float v)
{
    return float_of_bits(bits_of_float(magnitude) | (bits_of_float(v) & 0x80000000u));
}

/* e^v; 2^n in two factors so that results beyond the normal range come out right. */
static inline float vector_exp(float v)
{
    const struct power e = vector_power(with_sign_of(at_most(fabsf(v), 104.0f), v));
    const uint32_t all = bits_of_float(e.shifted) << 23, half = bits_of_float(e.shifted) >> 1 << 23;
    const float result = float_of_bits(bits_of_float(MULTIPLY_ADD(e.tail, e.square, e.r) + 1.0f) + half);
    return nan_where_nan(result * float_of_bits(all - half + 0x3f800000u), v);
}

/* e^v for v ≤ 0; 0 where that is below the least normal number. */
static inline float vector_exp_negative(float v)
{
    const struct power e = vector_power(v);
    const float result = MULTIPLY_ADD(e.tail, e.square, e.r) + 1.0f;
    return v < -87.3365f ? 0 : result * float_of_bits((bits_of_float(e.shifted) << 23) + 0x3f800000u);
}

/* (e^v - 1) / 2 for v from -30 to 89. */
static inline float vector_half_expm1(float v)
{
    const struct power e = vector_power(v);
    const float scale = float_of_bits((bits_of_float(e.shifted) << 23) + 0x3f000000u);
    return MULTIPLY_ADD(scale, MULTIPLY_ADD(e.tail, e.square, e.r), scale - 0.5f);
}

static inline float vector_expm1(float v)
{
    const float within = with_sign_of(at_most(fabsf(v), v < 0.0f ? 30.0f : 89.0f), v);
    return nan_where_nan(2.0f * vector_half_expm1(within), v);
}

/* ln(1 + u) for u from 0 to 1: 2 artanh(u / (2 + u)). */
static inline float vector_log1p_unit(float u)
{
    float s = u / (2.0f + u), z = s * s;
    float p = 1.0f / 13;
    p = MULTIPLY_ADD(p, z, 1.0f / 11);
    p = MULTIPLY_ADD(p, z, 1.0f / 9);
    p = MULTIPLY_ADD(p, z, 1.0f / 7);
    p = MULTIPLY_ADD(p, z, 1.0f / 5);
    p = MULTIPLY_ADD(p, z, 1.0f / 3);
    return 2.0f * (s + s * z * p);
}

/* v = 2^e m with m from sqrt(1/2) to sqrt(2). */
static inline float vector_log(float v)
{
    float scaled = v < 0x1p-126f ? v * 0x1p25f : v, e = v < 0x1p-126f ? -25.0f : 0.0f;
    uint32_t bits = bits_of_float(scaled) - 0x3f3504f3u; /* of sqrt(1/2) */
    e += (float)((int32_t)bits >> 23);
    float m = float_of_bits((bits & 0x7fffffu) + 0x3f3504f3u);
    float f = m - 1.0f, s = f / (2.0f + f), z = s * s;
    float p = 1.0f / 9;
    p = MULTIPLY_ADD(p, z, 1.0f / 7);
    p = MULTIPLY_ADD(p, z, 1.0f / 5);
    p = MULTIPLY_ADD(p, z, 1.0f / 3);
    /* 2 artanh(s) = f - s (f - 2 s^2 p), which keeps f exact. */
    float result = e * 0x1.62ep-1f + (f - (s * (f - 2.0f * z * p) - e * 0x1.0bfbe8p-15f));
    result = v == INFINITY ? INFINITY : result;
    result = v == 0.0f ? -INFINITY : result;
    return v < 0.0f || v != v ? NAN : result;
}

static inline float vector_sigmoid(float v)
{
    const float e = vector_exp_negative(-fabsf(v));
    return (v < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* (1 - t) / (1 + t), t = e^(-2 |v|); 1 - t and t by themselves: twice what one of them is off would be in a quotient of it alone. */
static inline float vector_tanh(float v)
{
    const struct power e = vector_power(-2.0f * at_most(fabsf(v), 15.0f));
    const float scale = float_of_bits((bits_of_float(e.shifted) << 23) + 0x3f800000u), rest = MULTIPLY_ADD(e.tail, e.square, e.r);
    const float minus = MULTIPLY_ADD(scale, rest, scale - 1.0f), plus = MULTIPLY_ADD(scale, rest, scale) + 1.0f;
    return nan_where_nan(with_sign_of(-minus / plus, v), v);
}

/* The quotients of polynomials that Eigen and ONNX Runtime take for both, fused: equal to ONNX Runtime's to the bit where it has FMA. For
 * networks that round to 8 bits what comes of them: there the last bit may decide all that follows. */
static inline float quotient_sigmoid(float v)
{
    const float x = v < -18.0f ? -18.0f : v > 18.0f ? 18.0f : v, z = x * x;
    float above = 4.37031012579801e-11f, below = 6.10247389755681e-13f;
    above = fmaf(above, z, 1.15627324459942e-07f);
    above = fmaf(above, z, 6.08574864600143e-05f);
    above = fmaf(above, z, 8.51377133304701e-03f);
    above = fmaf(above, z, 2.48287947061529e-01f);
    below = fmaf(below, z, 5.76102136993427e-09f);
    below = fmaf(below, z, 6.29106785017040e-06f);
    below = fmaf(below, z, 1.70198817374094e-03f);
    below = fmaf(below, z, 1.16817656904453e-01f);
    below = fmaf(below, z, 9.93151921023180e-01f);
    const float result = above * x / below + 0.5f;
    return result < 0.0f ? 0.0f : result;
}

static inline float quotient_tanh(float v)
{
    const float x = v < -9.0f ? -9.0f : v > 9.0f ? 9.0f : v, z = x * x;
    float above = -2.76076847742355e-16f, below = 1.19825839466702e-06f;
    above = fmaf(above, z, 2.00018790482477e-13f);
    above = fmaf(above, z, -8.60467152213735e-11f);
    above = fmaf(above, z, 5.12229709037114e-08f);
    above = fmaf(above, z, 1.48572235717979e-05f);
    above = fmaf(above, z, 6.37261928875436e-04f);
    above = fmaf(above, z, 4.89352455891786e-03f);
    below = fmaf(below, z, 1.18534705686654e-04f);
    below = fmaf(below, z, 2.26843463243900e-03f);
    below = fmaf(below, z, 4.89352518554385e-03f);
    return above * x / below;
}

/* e^v for v ≤ 0, as in ONNX Runtime's soft-max, fused too. */
static inline float runtime_exp(float v)
{
    const float x = v < -88.3762626647949f ? -88.3762626647949f : v, shifted = fmaf(x, 1.44269504088896341f, 12582912.0f);
    const float n = shifted - 12582912.0f, r = fmaf(n, -1.42860677e-6f, fmaf(n, -0.693145752f, x));
    float p = 0x1.694p-10f;
    p = fmaf(p, r, 0x1.125edcp-7f);
    p = fmaf(p, r, 0x1.555b5ap-5f);
    p = fmaf(p, r, 0x1.55545p-3f);
    p = fmaf(p, r, 0x1.fffff6p-2f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return p * float_of_bits((bits_of_float(shifted) << 23) + 0x3f800000u);
}

/* 1 - e^q(a), q a polynomial without a constant: small results stay exact. From 4 on it is 1 in float. */
static inline float vector_erf(float v)
{
    const float a = at_most(fabsf(v), 4.0f), a2 = a * a;
    float p = MULTIPLY_ADD(MULTIPLY_ADD(-0x1.54fe8ap-15f, a, 0x1.8f0c4p-12f), a2, MULTIPLY_ADD(-0x1.47cd64p-10f, a, -0x1.b343cp-13f));
    p = MULTIPLY_ADD(p, a2, MULTIPLY_ADD(0x1.3c96d6p-6f, a, -0x1.a5213ep-4f));
    p = MULTIPLY_ADD(p, a2, MULTIPLY_ADD(-0x1.45f296p-1f, a, -0x1.20dd76p+0f));
    const float half = vector_half_expm1(p * a);
    return nan_where_nan(with_sign_of(-2.0f * half, v), v);
}

/* v / 2 · erfc(-v / √2). With erfc(|v| / √2) = 2^q(|v|), q a polynomial, nothing cancels where v is negative. */
static inline float vector_gelu(float v)
{
    const float a = at_most(fabsf(v), 16.0f), a2 = a * a;
    float p = MULTIPLY_ADD(MULTIPLY_ADD(-0x1.7c7ee0p-19f, a, 0x1.4a52fp-15f), a2, MULTIPLY_ADD(-0x1.8672bap-13f, a, -0x1.1f2d44p-13f));
    p = MULTIPLY_ADD(p, a2, MULTIPLY_ADD(0x1.cee888p-8f, a, -0x1.ae0c78p-5f));
    p = MULTIPLY_ADD(p, a2, MULTIPLY_ADD(-0x1.d63aacp-2f, a, -0x1.26aed4p+0f));
    const float q = p * a;
    /* 2^q = 2^n 2^r. */
    const float shifted = q + 12582912.0f, r = q - (shifted - 12582912.0f), r2 = r * r;
    p = MULTIPLY_ADD(0x1.5f7692p-10f, r, 0x1.3ced92p-7f);
    p = MULTIPLY_ADD(p, r2, MULTIPLY_ADD(0x1.c6ae68p-5f, r, 0x1.ebf9b2p-3f));
    p = MULTIPLY_ADD(p, r2, MULTIPLY_ADD(0x1.62e432p-1f, r, 1.0f));
    const float tail = q < -125.0f ? 0 : float_of_bits(bits_of_float(p) + (bits_of_float(shifted) << 23));
    return 0.5f * v * (v < 0.0f ? tail : 2.0f - tail);
}

static inline double library_sigmoid(double v)
{
    return 1 / (1 + exp(-v));
}

/* NaN stays in all of them. */
#define EXP(v) _Generic((v), float: vector_exp, default: exp)(v)
#define SIGMOID(v) _Generic((v), float: vector_sigmoid, default: library_sigmoid)(v)
#define TANH(v) _Generic((v), float: vector_tanh, default: tanh)(v)
#define ROUND_EVEN(v) _Generic((v), float: vector_round, default: rint)(v)

#endif
