/* Explicit fused multiply-adds only (vector_math.h): a function gives the same bits wherever in a row an element stands. */
#include "runtime/kernels/elementwise/steps.h"
#include "runtime/kernels/planar/vector.h"
#include "runtime/kernels/reference/vector_math.h"

/* y may be a or b: elements are independent of each other. */
#ifdef __clang__
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif
#define LOOP(expression)                                                                                               \
    INDEPENDENT for (size_t i = 0; i < count; i++)                                                                     \
    {                                                                                                                  \
        const float v = a[i];                                                                                          \
        y[i] = (expression);                                                                                           \
    }
#define LOOP_OF_TWO(expression)                                                                                        \
    INDEPENDENT for (size_t i = 0; i < count; i++)                                                                     \
    {                                                                                                                  \
        const float v = a[i], w = b[i];                                                                                \
        y[i] = (expression);                                                                                           \
    }
#define PARAMETERS float *y, const float *a, const float *b, ptrdiff_t b_stride, size_t count, float A, float B
/* The expression in v and the parameters A and B. */
#define STEP(name, expression)                                                                                         \
    static void step_##name(PARAMETERS)                                                                                \
    {                                                                                                                  \
        (void)b, (void)b_stride, (void)A, (void)B;                                                                     \
        LOOP(expression)                                                                                               \
    }
/* And in w, an element of b or all of it. */
#define BINARY_STEP(name, expression)                                                                                  \
    static void step_##name(PARAMETERS)                                                                                \
    {                                                                                                                  \
        (void)A, (void)B;                                                                                              \
        if (b_stride == 0 && count) {                                                                                  \
            const float w = *b;                                                                                        \
            LOOP(expression)                                                                                           \
        } else {                                                                                                       \
            LOOP_OF_TWO(expression)                                                                                    \
        }                                                                                                              \
    }

/* Where the limits cross, the highest wins. */
static inline float clipped(float v, float low, float high)
{
    v = v < low ? low : v;
    return v > high ? high : v;
}

/* NaN stays in all of them. */
STEP(Abs, fabsf(v))
STEP(Celu, v > 0 ? v : A * vector_expm1(v / A))
STEP(Clip, clipped(v, A, B))
STEP(Cube, v * v * v)
STEP(Elu, v < 0 ? A * vector_expm1(v) : v)
STEP(Erf, vector_erf(v))
STEP(Exp, vector_exp(v))
STEP(GeluExact, vector_gelu(v))
STEP(GeluTanh, 0.5f * v * (1 + vector_tanh(0.79788456080286535588f * (v + 0.044715f * v * v * v))))
STEP(HardSigmoid, A * v + B < 0 ? 0 : A * v + B > 1 ? 1 : A * v + B)
STEP(HardSwish, v < -3 ? 0 : v > 3 ? v : v * (v / 6 + 0.5f))
STEP(Identity, v)
STEP(LeakyRelu, v < 0 ? A * v : v)
STEP(Log, vector_log(v))
/* ln(1 + e^v) without overflow. */
STEP(Mish, v * vector_tanh((v > 0 ? v : 0) + vector_log1p_unit(vector_exp_negative(-fabsf(v)))))
STEP(Neg, -v)
STEP(QuotientSigmoid, quotient_sigmoid(v))
STEP(QuotientTanh, quotient_tanh(v))
STEP(Reciprocal, 1 / v)
STEP(Relu, v < 0 ? 0 : v)
STEP(Selu, v > 0 ? B * v : B * A * vector_expm1(v))
STEP(Sigmoid, vector_sigmoid(v))
STEP(Softplus, (v > 0 ? v : 0) + vector_log1p_unit(vector_exp_negative(-fabsf(v))))
STEP(Softsign, v / (1 + fabsf(v)))
STEP(Sqrt, sqrtf(v))
STEP(Square, v * v)
STEP(Swish, v / (1 + vector_exp(-A * v)))
STEP(Tanh, vector_tanh(v))
STEP(ThresholdedRelu, v > A ? v : 0)

BINARY_STEP(Add, v + w)
BINARY_STEP(Div, v / w)
BINARY_STEP(Max, v > w || v != v ? v : w)
BINARY_STEP(Min, v < w || v != v ? v : w)
BINARY_STEP(Mul, v * w)
BINARY_STEP(PRelu, v < 0 ? v * w : v)
BINARY_STEP(Sub, v - w)
BINARY_STEP(SwiGLU, v / (1 + vector_exp(-A * v)) * w)

#define ENTRY(name) [STEP_##name] = step_##name,
const step_function BLOCK(elementwise_steps)[ELEMENTWISE_STEPS] = {UNARY_STEPS(ENTRY) BINARY_STEPS(ENTRY)};
