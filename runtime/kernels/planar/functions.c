/* Functions that follow a convolution and are more than a maximum: applied to rows that have just been computed and still lie in the
 * nearest cache. Exponentials by Cody and Waite's reduction and a polynomial of degree 6, relative error below 2e-7. */
#include "runtime/kernels/planar/blocks.h"
#include "runtime/kernels/planar/finish.h"

typedef int32_t lanes_of_int __attribute__((vector_size(LANES * 4)));

/* NaN where x is. */
INLINE vec vec_within(vec x, float low, float high)
{
    return vec_min(vec_set(high), vec_max(vec_set(low), x));
}

INLINE vec vec_exp(vec value)
{
    const vec x = vec_within(value, -87, 88), shift = vec_set(12582912); /* 1.5 · 2²³: its last bits count whole numbers */
    const vec shifted = vec_fma(x, vec_set(1.44269504f), shift), n = shifted - shift;
    const vec r = vec_fnma(n, vec_set(-2.12194440e-4f), vec_fnma(n, vec_set(0.693359375f), x));
    vec p = vec_set(1.0f / 720);
    p = vec_fma(p, r, vec_set(1.0f / 120));
    p = vec_fma(p, r, vec_set(1.0f / 24));
    p = vec_fma(p, r, vec_set(1.0f / 6));
    p = vec_fma(p, r, vec_set(0.5f));
    p = vec_fma(p, r, vec_set(1));
    p = vec_fma(p, r, vec_set(1));
    const lanes_of_int scaled = (lanes_of_int)p + ((lanes_of_int)shifted << 23);
    return (vec)scaled + (x - x); /* NaN stays */
}

INLINE vec vec_sigmoid(vec x)
{
    return vec_set(1) / (vec_set(1) + vec_exp(-x));
}

/* x · tanh(log(1 + exp x)) = x · (e² + 2e) / (e² + 2e + 2); beyond 20 the quotient is 1. */
INLINE vec vec_mish(vec x)
{
    const vec e = vec_exp(vec_min(vec_set(20), x)), top = e * (e + vec_set(2));
    return x * (top / (top + vec_set(2)));
}

INLINE vec evaluate(enum planar_function_kind kind, vec x, float alpha, float beta)
{
    switch (kind) {
    case FUNCTION_RELU:
        return vec_max(vec_set(0), x);
    case FUNCTION_LEAKY_RELU:
        return vec_slope(x, vec_set(alpha));
    case FUNCTION_CLIP:
        return vec_within(x, alpha, beta);
    case FUNCTION_HARD_SIGMOID:
        return vec_within(vec_fma(x, vec_set(alpha), vec_set(beta)), 0, 1);
    case FUNCTION_HARD_SWISH:
        return x * vec_within(vec_fma(x, vec_set(1.0f / 6), vec_set(0.5f)), 0, 1);
    case FUNCTION_SIGMOID:
        return vec_sigmoid(x);
    case FUNCTION_SWISH:
        return x * vec_sigmoid(x * vec_set(alpha));
    case FUNCTION_GELU_TANH: /* 1 + tanh(u) = 2 · sigmoid(2u) */
        return x * vec_sigmoid(vec_set(1.59576912f) * vec_fma(x * x * x, vec_set(0.044715f), x));
    case FUNCTION_MISH:
        return vec_mish(x);
    case FUNCTION_NONE:
        break;
    }
    return x;
}

#define ROWS(kind)                                                                                                     \
    case kind:                                                                                                         \
        for (int r = 0; r < f.rows; r++, f.values += f.stride)                                                         \
            for (int c = 0; c < f.columns; c += LANES) {                                                               \
                const int part = f.columns - c < LANES ? f.columns - c : 0;                                            \
                const vec y = evaluate(kind, vec_load_some(f.values + c, part), f.function.alpha, f.function.beta);      \
                vec_store_some(f.values + c, vec_fma(y, scale, shift), part);                                            \
            }                                                                                                          \
        break;

void BLOCK(row_function)(const struct row_function *whole)
{
    struct row_function f = *whole;
    const vec scale = vec_set(f.function.scale), shift = vec_set(f.function.shift);
    switch (f.function.kind) {
        ROWS(FUNCTION_RELU)
        ROWS(FUNCTION_LEAKY_RELU)
        ROWS(FUNCTION_CLIP)
        ROWS(FUNCTION_HARD_SIGMOID)
        ROWS(FUNCTION_HARD_SWISH)
        ROWS(FUNCTION_SIGMOID)
        ROWS(FUNCTION_SWISH)
        ROWS(FUNCTION_GELU_TANH)
        ROWS(FUNCTION_MISH)
    case FUNCTION_NONE:
        break;
    }
}
