/* What the backward kernels share. They compute in float or double (narrower floats are converted on the way in and out), and
 * every reduction is divided by shape alone, so that results are bitwise the same for any number of threads. */
#ifndef MITRAL_REFERENCE_GRADIENT_H
#define MITRAL_REFERENCE_GRADIENT_H

#include "runtime/kernels/reference/operand.h"

/* Leaf loops are compiled for several instruction sets; the arithmetic is the same in each (no contraction in ISO C mode).
 * Sanitizers cannot run the resolvers that choose among them. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LEAF_LOOP __attribute__((target_clones("avx512f", "avx2", "default"), noinline))
#else
#define LEAF_LOOP
#endif

/* Elements that one partial sum covers: the partition of long reductions. */
#define REDUCTION_CHUNK 4096

/* Type and shape of a gradient: of attribute `shape`, or of input `index` where the shape is not fixed; dtype of input 0. */
mitral_status call_gradient_shape(const struct kernel_call *call, size_t index, mitral_tensor *out);
/* The float types of the first `count` inputs have to agree, and compute in float or double. */
mitral_status check_same_float(const struct kernel_call *call, size_t count, enum compute *out);
/* Inputs `a` and `b` must have one shape. */
mitral_status check_same_shape(const struct kernel_call *call, size_t a, size_t b);
/* An optional float32 input that is added to a float32 result of shape `x`: checked, and added to output 0. */
mitral_status check_addend(const struct kernel_call *call, size_t index, const mitral_tensor *x);
void add_addend(const struct kernel_call *call, size_t index);
/* A scalar input (one element) as double; `fallback` when it is absent. */
double call_scalar(const struct kernel_call *call, size_t index, double fallback);

/* Floating-point inputs and outputs in the computing type; NULL where absent (and inputs of other types). */
struct placed {
    const void *inputs[10];
    void *outputs[5];
};
void place_floats(const struct kernel_call *call, struct work *work, enum compute compute, struct placed *out);
void store_floats(const struct kernel_call *call, enum compute compute, const struct placed *placed);
/* A `prepare` for kernels that need room for these alone; the type is that of the first input. */
mitral_status prepare_floats(struct kernel_call *call, void **state, size_t *scratch_bytes);
/* The same and `count` doubles behind them, for partial sums. */
mitral_status prepare_partials(struct kernel_call *call, int64_t count, size_t *scratch_bytes);

/* Σ over `parts` in order. */
double ordered_sum(const double *parts, int64_t count);

#endif
