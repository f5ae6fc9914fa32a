/* Elementwise functions of neighbouring floats, compiled once for each instruction set: what operators on float32 and chains of them
 * (reference/chain.h) do to a row. */
#ifndef MITRAL_ELEMENTWISE_STEPS_H
#define MITRAL_ELEMENTWISE_STEPS_H

#include <stddef.h>

#include "runtime/cpu.h"

/* Of one input, and of two. */
#define UNARY_STEPS(X)                                                                                                 \
    X(Abs) X(Celu) X(Clip) X(Cube) X(Elu) X(Erf) X(Exp) X(GeluExact) X(GeluTanh) X(HardSigmoid) X(HardSwish) X(Identity) X(LeakyRelu) X(Log)         \
    X(Mish) X(Neg) X(QuotientSigmoid) X(QuotientTanh) X(Reciprocal) X(Relu) X(Selu) X(Sigmoid) X(Softplus) X(Softsign) X(Sqrt) X(Square)     \
    X(Swish) X(Tanh) X(ThresholdedRelu)
#define BINARY_STEPS(X) X(Add) X(Div) X(Max) X(Min) X(Mul) X(PRelu) X(Sub) X(SwiGLU)

#define STEP_ID(name) STEP_##name,
enum elementwise_step { UNARY_STEPS(STEP_ID) BINARY_STEPS(STEP_ID) ELEMENTWISE_STEPS };
#undef STEP_ID

/* y[i] of a[i] and b[i], or of a[i] and b[0] where b_stride is 0 (else 1). y may be a or b; b is NULL for functions of one input. What first
 * and second are, the function says. */
typedef void (*step_function)(float *y, const float *a, const float *b, ptrdiff_t b_stride, size_t count, float first, float second);

extern const step_function elementwise_steps_avx512[ELEMENTWISE_STEPS], elementwise_steps_avx2[ELEMENTWISE_STEPS],
    elementwise_steps_portable[ELEMENTWISE_STEPS];
step_function elementwise_step(enum isa isa, enum elementwise_step step);

#endif
