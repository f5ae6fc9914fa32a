/* Elementary functions of float without branches, so that a compiler can make vectors of a loop of them; within a few
 * units in the last place of the exact value (tests/unit/test_vector_math.c measures). Polynomials fitted for least
 * largest error. The macros take float through these and double through the C library. */
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

/* r^2 P(r) with e^r = 1 + r + r^2 P(r) for |r| ≤ ln 2 / 2. */
static inline float exp_tail(float r)
{
    float p = 0x1.6dc4ccp-10f;
    p = p * r + 0x1.124758p-7f;
    p = p * r + 0x1.55544ap-5f;
    p = p * r + 0x1.55547ep-3f;
    p = p * r + 0.5f;
    return p * r * r;
}

/* v = n ln 2 + r; e^v = 2^n e^r, 2^n in two factors so that results beyond the normal range come out right. NaN
 * passes. */
static inline float vector_exp(float v)
{
    v = v > 104.0f ? 104.0f : v;
    v = v < -104.0f ? -104.0f : v;
    float shifted = v * 0x1.715476p+0f + 12582912.0f;
    float n = shifted - 12582912.0f;
    float r = (v - n * 0x1.62ep-1f) - n * 0x1.0bfbe8p-15f;
    int32_t whole = (int32_t)(bits_of_float(shifted) - bits_of_float(12582912.0f));
    int32_t half = whole >> 1;
    float result = 1.0f + (r + exp_tail(r));
    result *= float_of_bits((uint32_t)(half + 127) << 23);
    return result * float_of_bits((uint32_t)(whole - half + 127) << 23);
}

static inline float vector_expm1(float v)
{
    float near = v + exp_tail(v), far = vector_exp(v) - 1.0f;
    return fabsf(v) < 0.34f ? near : far;
}

/* ln(1 + u) for u from 0 to 1: 2 artanh(u / (2 + u)). */
static inline float vector_log1p_unit(float u)
{
    float s = u / (2.0f + u), z = s * s;
    float p = 1.0f / 13;
    p = p * z + 1.0f / 11;
    p = p * z + 1.0f / 9;
    p = p * z + 1.0f / 7;
    p = p * z + 1.0f / 5;
    p = p * z + 1.0f / 3;
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
    p = p * z + 1.0f / 7;
    p = p * z + 1.0f / 5;
    p = p * z + 1.0f / 3;
    /* 2 artanh(s) = f - s (f - 2 s^2 p), which keeps f exact. */
    float result = e * 0x1.62ep-1f + (f - (s * (f - 2.0f * z * p) - e * 0x1.0bfbe8p-15f));
    result = v == INFINITY ? INFINITY : result;
    result = v == 0.0f ? -INFINITY : result;
    return v < 0.0f || v != v ? NAN : result;
}

static inline float vector_sigmoid(float v)
{
    return 1.0f / (1.0f + vector_exp(-v));
}

static inline float vector_tanh(float v)
{
    float z = v * v, t = vector_exp(-2.0f * fabsf(v));
    float p = 0x1.25d7b4p-6f;
    p = p * z + -0x1.b4a8c0p-5f;
    p = p * z + 0x1.10f87cp-3f;
    p = p * z + -0x1.555508p-2f;
    float near = v + v * z * p, far = (1.0f - t) / (1.0f + t);
    float result = fabsf(v) < 0.45f ? near : far;
    return float_of_bits(bits_of_float(result) | (bits_of_float(v) & 0x80000000u));
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

static inline float vector_erf(float v)
{
    float a = fabsf(v), z = v * v;
    float p = 0x1.4ae4c6p-14f;
    p = p * z + -0x1.a485e8p-11f;
    p = p * z + 0x1.5419f4p-8f;
    p = p * z + -0x1.b7fbb4p-6f;
    p = p * z + 0x1.ce2d20p-4f;
    p = p * z + -0x1.81273ep-2f;
    p = p * z + 0x1.20dd74p+0f;
    float near = v * p;
    /* 1 - e^-q(a); at 4 it is 1 in float. */
    float b = a > 4.0f ? 4.0f : a;
    float q = -0x1.aebe8ap-20f;
    q = q * b + 0x1.7db31cp-15f;
    q = q * b + -0x1.36c59cp-11f;
    q = q * b + 0x1.36d750p-8f;
    q = q * b + -0x1.b0348cp-6f;
    q = q * b + 0x1.c29ea2p-4f;
    q = q * b + 0x1.43871cp-1f;
    q = q * b + 0x1.2154a6p+0f;
    q = q * b + -0x1.46bff4p-12f;
    float far = 1.0f - vector_exp(-q);
    far = float_of_bits(bits_of_float(far) | (bits_of_float(v) & 0x80000000u));
    return a < 1.0f ? near : far;
}

static inline double library_log1p_unit(double u)
{
    return log1p(u);
}

static inline double library_sigmoid(double v)
{
    return 1 / (1 + exp(-v));
}

/* NaN stays in all of them. */
#define EXP(v) _Generic((v), float: vector_exp, default: exp)(v)
#define EXPM1(v) _Generic((v), float: vector_expm1, default: expm1)(v)
#define LOG(v) _Generic((v), float: vector_log, default: log)(v)
#define LOG1P_UNIT(u) _Generic((u), float: vector_log1p_unit, default: library_log1p_unit)(u)
#define SIGMOID(v) _Generic((v), float: vector_sigmoid, default: library_sigmoid)(v)
#define TANH(v) _Generic((v), float: vector_tanh, default: tanh)(v)
#define ERF(v) _Generic((v), float: vector_erf, default: erf)(v)
#define ROUND_EVEN(v) _Generic((v), float: vector_round, default: rint)(v)

#endif
