/* What gathering and scattering share. */
#ifndef MITRAL_REFERENCE_GATHER_H
#define MITRAL_REFERENCE_GATHER_H

#include "runtime/kernel.h"

static inline int64_t index_at(const mitral_tensor *indices, int64_t i)
{
    return indices->dtype == MITRAL_INT32 ? ((const int32_t *)indices->data)[i] : ((const int64_t *)indices->data)[i];
}

mitral_status check_index_type(const struct kernel_call *call, size_t input);
/* All of them in [-size, size). */
mitral_status check_indices(const struct kernel_call *call, const mitral_tensor *indices, int64_t size);
/* GatherElements, ScatterElements: the box of indices lies within data on every axis but one. */
mitral_status check_elements(const struct kernel_call *call, const mitral_tensor *data, const mitral_tensor *indices, int64_t axis);
/* Offset by `strides` of row `row` (all dimensions of `box` but the last), leaving out axis `skip`. */
int64_t row_offset(const mitral_tensor *box, const int64_t *strides, int64_t row, int64_t skip);
/* Offset in data of index tuple number `tuple`, whose entries count from dimension `batch` on. */
mitral_status tuple_offset(const struct kernel_call *call, const mitral_tensor *data, const mitral_tensor *indices, int64_t tuple,
                           int64_t batch, const int64_t *strides, int64_t *offset);

#endif
