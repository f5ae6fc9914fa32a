/* Elementwise kernels: an inner loop for each element type, and one walker that broadcasts, follows layouts and divides
 * the work among threads. */
#ifndef MITRAL_RUNTIME_KERNELS_REFERENCE_ELEMENTWISE_H
#define MITRAL_RUNTIME_KERNELS_REFERENCE_ELEMENTWISE_H

#include <stddef.h>

#include "runtime/kernel.h"
#include "runtime/kernels/elementwise/steps.h"

/* The output and the inputs: of an operator up to three, of a chain of them more. */
enum { ELEMENTWISE_OPERANDS = 9 };

/* Element i of operand k is at pointers[k] + i * strides[k] elements; operand 0 is the output. */
typedef void (*inner_loop)(char *const *pointers, const ptrdiff_t *strides, size_t count, const void *context);

struct walk {
    int operands, rank;
    int64_t dims[MITRAL_MAX_RANK];
    ptrdiff_t strides[ELEMENTWISE_OPERANDS][MITRAL_MAX_RANK];
    size_t sizes[ELEMENTWISE_OPERANDS];
    char *data[ELEMENTWISE_OPERANDS];
};

/* Strides in elements, in ONNX order of the dimensions, of a tensor as its layout places it. */
void layout_strides(const mitral_tensor *tensor, ptrdiff_t strides[MITRAL_MAX_RANK]);
/* inputs broadcast to the output's shape; dimensions are merged where all operands allow it, in the output's own
 * order. */
void walk_initialise(struct walk *walk, const mitral_tensor *output, const mitral_tensor *const *inputs,
                     int input_count);
/* The partition does not depend on the number of threads. */
void walk_run(const struct walk *walk, int threads, inner_loop loop, const void *context);
/* The same for a loop over float: operands of float16 or bfloat16 (dtypes[k]) go through blocks of float, others as
 * they are. */
void walk_run_half(const struct walk *walk, int threads, const int32_t *dtypes, inner_loop loop, const void *context);

/* A step as an inner loop; the context is `const double[2]` or more, what the step calls first and second, or NULL. */
void unary_step_loop(enum elementwise_step step, char *const *pointers, const ptrdiff_t *strides, size_t count, const void *context);
void binary_step_loop(enum elementwise_step step, char *const *pointers, const ptrdiff_t *strides, size_t count, const void *context);

/* One elementwise operator. */
struct elementwise {
    /* By the first input's type; float16 and bfloat16 use that of float unless set. */
    inner_loop loops[MITRAL_DTYPE_COUNT];
    int arity;                            /* inputs: 1, 2 or 3, all of one type */
    int32_t output_dtype;                 /* 0: the inputs' */
    bool no_half;                         /* float16 and bfloat16 are not served by the loop of float */
    const char *parameters[3];            /* float attributes, handed to the loops as `const double[3]` */
    float defaults[3];
};

inner_loop elementwise_loop(const struct elementwise *elementwise, int32_t dtype, bool *half);
mitral_status elementwise_shape(struct kernel_call *call, const struct elementwise *elementwise);
/* context NULL: the parameters. */
mitral_status elementwise_run(struct kernel_call *call, const struct elementwise *elementwise, const void *context);
/* "float32, int8 or … expected, found …" */
mitral_status fail_type(const struct kernel_call *call, size_t index, const mitral_tensor *found);

/* Block conversions of float16 and bfloat16. */
void half_to_floats(int32_t dtype, const uint16_t *from, ptrdiff_t stride, float *to, size_t count);
void floats_to_half(int32_t dtype, const float *from, uint16_t *to, ptrdiff_t stride, size_t count);

/* All integer types. */
#define FOR_SIGNED(X, ...)                                                                                             \
    X(MITRAL_INT8, int8_t, __VA_ARGS__)                                                                                \
    X(MITRAL_INT16, int16_t, __VA_ARGS__)                                                                              \
    X(MITRAL_INT32, int32_t, __VA_ARGS__)                                                                              \
    X(MITRAL_INT64, int64_t, __VA_ARGS__)
#define FOR_UNSIGNED(X, ...)                                                                                           \
    X(MITRAL_UINT8, uint8_t, __VA_ARGS__)                                                                              \
    X(MITRAL_UINT16, uint16_t, __VA_ARGS__)                                                                            \
    X(MITRAL_UINT32, uint32_t, __VA_ARGS__)                                                                            \
    X(MITRAL_UINT64, uint64_t, __VA_ARGS__)
#define FOR_INTEGERS(X, ...)                                                                                           \
    FOR_SIGNED(X, __VA_ARGS__)                                                                                         \
    FOR_UNSIGNED(X, __VA_ARGS__)

#define LOOP_ARGUMENTS char *const *pointers, const ptrdiff_t *strides, size_t count, const void *context

/* y = EXPRESSION of v (T) and parameters p. */
#define UNARY_LOOP(name, TX, TY, expression)                                                                           \
    static void name(LOOP_ARGUMENTS)                                                                                   \
    {                                                                                                                  \
        const double *p = context;                                                                                     \
        (void)p;                                                                                                       \
        TY *y = (TY *)(void *)pointers[0];                                                                             \
        const TX *x = (const TX *)(const void *)pointers[1];                                                           \
        ptrdiff_t sy = strides[0], sx = strides[1];                                                                    \
        if (sy == 1 && sx == 1) {                                                                                      \
            for (size_t i = 0; i < count; i++) {                                                                       \
                TX v = x[i];                                                                                           \
                y[i] = (TY)(expression);                                                                               \
            }                                                                                                          \
        } else {                                                                                                       \
            for (size_t i = 0; i < count; i++, x += sx, y += sy) {                                                     \
                TX v = *x;                                                                                             \
                *y = (TY)(expression);                                                                                 \
            }                                                                                                          \
        }                                                                                                              \
    }

/* y = EXPRESSION of a (TA) and b (TB); the contiguous cases apart for the vectoriser. */
#define BINARY_LOOP(name, TA, TB, TY, expression)                                                                      \
    static void name(LOOP_ARGUMENTS)                                                                                   \
    {                                                                                                                  \
        (void)context;                                                                                                 \
        TY *y = (TY *)(void *)pointers[0];                                                                             \
        const TA *pa = (const TA *)(const void *)pointers[1];                                                          \
        const TB *pb = (const TB *)(const void *)pointers[2];                                                          \
        ptrdiff_t sy = strides[0], sa = strides[1], sb = strides[2];                                                   \
        if (sy == 1 && sa == 1 && sb == 1) {                                                                           \
            for (size_t i = 0; i < count; i++) {                                                                       \
                TA a = pa[i];                                                                                          \
                TB b = pb[i];                                                                                          \
                y[i] = (TY)(expression);                                                                               \
            }                                                                                                          \
        } else if (sy == 1 && sa == 1 && sb == 0) {                                                                    \
            TB b = *pb;                                                                                                \
            for (size_t i = 0; i < count; i++) {                                                                       \
                TA a = pa[i];                                                                                          \
                y[i] = (TY)(expression);                                                                               \
            }                                                                                                          \
        } else {                                                                                                       \
            for (size_t i = 0; i < count; i++, pa += sa, pb += sb, y += sy) {                                          \
                TA a = *pa;                                                                                            \
                TB b = *pb;                                                                                            \
                *y = (TY)(expression);                                                                                 \
            }                                                                                                          \
        }                                                                                                              \
    }

#endif
