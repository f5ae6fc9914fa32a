/* What the data-movement kernels are made of: strided copies of elements of any size, and checked outputs. */
#ifndef MITRAL_REFERENCE_COPY_H
#define MITRAL_REFERENCE_COPY_H

#include "runtime/kernel.h"

/* Splitting every dimension in two (Tile, DepthToSpace) must still fit. */
#define COPY_MAX_RANK (2 * MITRAL_MAX_RANK)
/* From this many bytes on the team is used. */
#define COPY_PARALLEL_BYTES (256 * 1024)

/* Element (i…) of the box `dims` goes from source + Σ i·source_strides to target + Σ i·target_strides (strides in elements;
 * source strides may be 0 or negative). The regions must not overlap. Dimensions are collapsed, contiguous runs are copied
 * whole, and transpositions go by cache-sized blocks. */
void copy_strided(void *target, const void *source, size_t element, int32_t rank, const int64_t *dims,
                  const int64_t *target_strides, const int64_t *source_strides, int threads);
/* memcpy by the team; nothing when both are the same (KERNEL_IN_PLACE). */
void copy_bytes(void *target, const void *source, size_t bytes, int threads);
/* `count` copies of the element at `value`. */
void copy_fill(void *target, const void *value, size_t element, int64_t count, int threads);
/* Element of the same size from one place to another. */
void copy_element(void *target, const void *source, size_t element);

/* The team for work on so many bytes. */
static inline int copy_team(int threads, int64_t bytes)
{
    return threads > 1 && bytes >= COPY_PARALLEL_BYTES ? threads : 1;
}
static inline size_t element_size(const mitral_tensor *tensor)
{
    return mitral_dtype_size((mitral_dtype)tensor->dtype);
}
/* Product of dims[from … to). */
static inline int64_t dims_product(const int64_t *dims, int32_t from, int32_t to)
{
    int64_t product = 1;
    for (int32_t i = from; i < to; i++)
        product *= dims[i];
    return product;
}

/* call_set_output with checks: rank, negative dimensions, and the context's size limit. */
mitral_status set_output(struct kernel_call *call, size_t index, int32_t dtype, int32_t rank, const int64_t *dims);
/* Deferred: only the type is known. Returns MITRAL_DEFERRED. */
mitral_status defer_output(struct kernel_call *call, size_t index, int32_t dtype);
/* Input `index`, which the operator requires to be a tensor. */
mitral_status need_tensor(const struct kernel_call *call, size_t index, const mitral_tensor **out);
/* The same of a stated rank. */
mitral_status need_rank(const struct kernel_call *call, size_t index, int32_t rank, const mitral_tensor **out);
/* The integers of a rank-0 or rank-1 input, at most `capacity` of them, without allocating. MITRAL_DEFERRED when not known yet. */
mitral_status read_ints(const struct kernel_call *call, size_t index, int64_t *values, size_t capacity, size_t *count);
/* The only integer of an input with one element. */
mitral_status read_int(const struct kernel_call *call, size_t index, int64_t *value);
/* Distinct axes in [0, rank) from a list that may count from the back; marks them in `marked` (rank entries). */
mitral_status normalise_axes(const struct kernel_call *call, const int64_t *axes, size_t count, int64_t rank, int64_t *out,
                             bool *marked);
/* An index that may count from the back; MITRAL_INVALID outside [-size, size). */
mitral_status check_index(const struct kernel_call *call, int64_t index, int64_t size, int64_t *out);

#endif
