/* Operands in the type that a kernel computes in. A kernel is written for float, double and (where integers are
 * allowed) uint64_t, whose arithmetic wraps like every narrower integer's; tensors of other types are converted into
 * scratch memory on the way in and back on the way out. The same placing code runs in `prepare`, where it only counts
 * bytes. */
#ifndef MITRAL_REFERENCE_OPERAND_H
#define MITRAL_REFERENCE_OPERAND_H

#include "runtime/kernel.h"
#include "runtime/round.h"

enum compute {
    COMPUTE_NONE = 0,
    COMPUTE_FLOAT,  /* float32 and every narrower float */
    COMPUTE_DOUBLE,
    COMPUTE_INTEGER /* integers and bool, as uint64_t; signed ones are sign-extended */
};

enum compute compute_of(int32_t dtype);
size_t compute_size(enum compute compute);

/* A bump allocator over call->scratch; with base NULL it measures. */
struct work {
    unsigned char *base;
    size_t used;
    bool overflow;
};

static inline struct work work_of(const struct kernel_call *call)
{
    return (struct work){call->scratch, 0, false};
}

/* Memory for `count` elements, 64-byte aligned, not zeroed; NULL while measuring. */
void *work_take(struct work *work, int64_t count, size_t element_size);
/* The elements of `tensor` (NULL: absent, gives NULL) as float, double or uint64_t: in place where the type is that
 * already. */
const void *work_operand(struct work *work, enum compute compute, const mitral_tensor *tensor);
/* Where to compute `tensor`'s elements; work_store brings them home. */
void *work_result(struct work *work, enum compute compute, mitral_tensor *tensor);
void work_store(enum compute compute, mitral_tensor *tensor, const void *elements);
/* For prepare: the bytes that placing took. */
mitral_status work_measure(const struct kernel_call *call, const struct work *work, size_t *scratch_bytes);

/* Element-wise conversions. */
void operand_load(enum compute compute, void *out, const mitral_tensor *tensor);
/* Rounds float values to those of a narrower float type and back: what an operator sees that stores its intermediate
 * results. */
void operand_round(int32_t dtype, float *values, int64_t count);
/* The sum of values that are stored in `dtype`, rounded to it. bfloat16 adds blocks of eight in its own type, as the
 * standard's reference adds whole rows, and the blocks in double, so that long rows do not stall. */
double operand_sum(int32_t dtype, const float *values, int64_t count, int64_t stride);

/* MITRAL_UNSUPPORTED unless the tensor's type computes in float or double. */
mitral_status check_float_operand(const struct kernel_call *call, size_t index, enum compute *out);
/* a·b, false when it overflows. For sizes that no tensor size check has covered. */
static inline bool multiply_sizes(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* Compiles an inner loop for several widths of vector and picks one at load time. Contraction is off in C11 mode, so
 * every clone computes the same bits. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)                  \
    && !defined(__SANITIZE_THREAD__)
#define VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define VECTOR_CLONES
#endif

#endif
