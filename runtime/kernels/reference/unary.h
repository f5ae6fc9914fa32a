/* Definition of elementwise operators by one expression, or by a step and one. */
#ifndef MITRAL_RUNTIME_KERNELS_REFERENCE_UNARY_H
#define MITRAL_RUNTIME_KERNELS_REFERENCE_UNARY_H

#include "runtime/kernels/reference/vector_math.h"

/* Needs <tgmath.h> and elementwise.h. */

/* <name>_shape and <name>_run over <name>_loops, whose fields are given. */
#define PLAIN_ELEMENTWISE(name, ...)                                                                                   \
    static const struct elementwise name##_loops = {__VA_ARGS__};                                                      \
    static mitral_status name##_shape(struct kernel_call *call)                                                        \
    {                                                                                                                  \
        return elementwise_shape(call, &name##_loops);                                                                 \
    }                                                                                                                  \
    static mitral_status name##_run(struct kernel_call *call)                                                          \
    {                                                                                                                  \
        return elementwise_run(call, &name##_loops, NULL);                                                             \
    }

#define FLOAT_LOOP(name, T, expression)                                                                                \
    VECTORISED static void name(LOOP_ARGUMENTS)                                                                        \
    {                                                                                                                  \
        typedef T real;                                                                                                \
        const double *parameters = context;                                                                            \
        const real A = (real)parameters[0], B = (real)parameters[1], C = (real)parameters[2];                          \
        (void)A, (void)B, (void)C;                                                                                     \
        real *y = (real *)(void *)pointers[0];                                                                         \
        const real *x = (const real *)(const void *)pointers[1];                                                       \
        ptrdiff_t sy = strides[0], sx = strides[1];                                                                    \
        if (sy == 1 && sx == 1) {                                                                                      \
            for (size_t i = 0; i < count; i++) {                                                                       \
                const real v = x[i];                                                                                   \
                y[i] = (expression);                                                                                   \
            }                                                                                                          \
        } else {                                                                                                       \
            for (size_t i = 0; i < count; i++, x += sx, y += sy) {                                                     \
                const real v = *x;                                                                                     \
                *y = (expression);                                                                                     \
            }                                                                                                          \
        }                                                                                                              \
    }

/* An operator of float types: the expression in v, of type `real` (float or double); A, B and C are the parameters that
 * the fields after it name. */
#define FLOAT_UNARY(name, expression, ...)                                                                             \
    FLOAT_LOOP(name##_float, float, expression)                                                                        \
    FLOAT_LOOP(name##_double, double, expression)                                                                      \
    PLAIN_ELEMENTWISE(name, .loops[MITRAL_FLOAT] = name##_float, .loops[MITRAL_DOUBLE] = name##_double, __VA_ARGS__)

/* One whose loop of float is the step of that name, which takes the first two parameters; the expression is that of double. */
#define STEP_LOOP(name, step)                                                                                          \
    static void name(LOOP_ARGUMENTS)                                                                                   \
    {                                                                                                                  \
        unary_step_loop(step, pointers, strides, count, context);                                                      \
    }
#define STEP_UNARY(name, expression, ...)                                                                              \
    STEP_LOOP(name##_float, STEP_##name)                                                                               \
    FLOAT_LOOP(name##_double, double, expression)                                                                      \
    PLAIN_ELEMENTWISE(name, .loops[MITRAL_FLOAT] = name##_float, .loops[MITRAL_DOUBLE] = name##_double, __VA_ARGS__)

#define BINARY_STEP_LOOP(name, step)                                                                                   \
    static void name(LOOP_ARGUMENTS)                                                                                   \
    {                                                                                                                  \
        binary_step_loop(step, pointers, strides, count, context);                                                     \
    }
/* Loops of float and of double for two inputs: the step of that name, and the expression in a and b. */
#define STEP_LOOPS(name, expression)                                                                                   \
    BINARY_STEP_LOOP(name##_float, STEP_##name)                                                                        \
    BINARY_LOOP(name##_double, double, double, double, expression)

/* One that has a quotient of polynomials for float, too, which attribute "runtime_bits" chooses. */
#define STEP_UNARY_OR_QUOTIENT(name, expression)                                                                       \
    STEP_LOOP(name##_float, STEP_##name)                                                                               \
    STEP_LOOP(name##_quotient_float, STEP_Quotient##name)                                                              \
    FLOAT_LOOP(name##_double, double, expression)                                                                      \
    static const struct elementwise name##_loops[2] = {                                                                \
        {.arity = 1, .loops = {[MITRAL_FLOAT] = name##_float, [MITRAL_DOUBLE] = name##_double}},                       \
        {.arity = 1, .loops = {[MITRAL_FLOAT] = name##_quotient_float, [MITRAL_DOUBLE] = name##_double}}};             \
    static mitral_status name##_shape(struct kernel_call *call)                                                        \
    {                                                                                                                  \
        return elementwise_shape(call, name##_loops);                                                                  \
    }                                                                                                                  \
    static mitral_status name##_run(struct kernel_call *call)                                                          \
    {                                                                                                                  \
        const bool quotient = attribute_int(call->attributes, "runtime_bits", 0) != 0;                                 \
        return elementwise_run(call, &name##_loops[quotient], NULL);                                                   \
    }

/* Fields for loops named <name>_int8_t and so on. */
#define FOR_INTEGERS_ENTRIES(name)                                                                                     \
    .loops[MITRAL_INT8] = name##_int8_t, .loops[MITRAL_INT16] = name##_int16_t, .loops[MITRAL_INT32] = name##_int32_t, \
    .loops[MITRAL_INT64] = name##_int64_t, .loops[MITRAL_UINT8] = name##_uint8_t,                                      \
    .loops[MITRAL_UINT16] = name##_uint16_t, .loops[MITRAL_UINT32] = name##_uint32_t,                                  \
    .loops[MITRAL_UINT64] = name##_uint64_t

#endif
