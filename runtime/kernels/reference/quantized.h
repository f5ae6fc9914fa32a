/* 8-bit affine tensors, for com.microsoft's quantized operators: value = scale · (element − zero). */
#ifndef MITRAL_REFERENCE_QUANTIZED_H
#define MITRAL_REFERENCE_QUANTIZED_H

#include "runtime/kernels/reference/matmul.h"

struct affine {
    float scale;
    int32_t zero;
    bool is_signed;
};

/* Element `index` of unsigned ones of 2, 4 or 8 bits, the first in the lowest bits of a byte. */
static inline int32_t packed_bits(const uint8_t *data, int64_t index, int64_t bits)
{
    const int64_t each = 8 / bits;
    return data[index / each] >> index % each * bits & ((1 << bits) - 1);
}

/* Scalar scale and zero point (0 when it is left out) from two inputs; during shape their values need not be known.
 * `dtype` is the type that the zero point has to have. */
mitral_status affine_check(const struct kernel_call *call, size_t scale, size_t zero, int32_t dtype);
struct affine affine_of(const struct kernel_call *call, size_t scale, size_t zero, int32_t dtype);
static inline float affine_value(const struct affine *affine, const mitral_tensor *tensor, int64_t index)
{
    const int32_t element =
        tensor->dtype == MITRAL_UINT8 ? ((const uint8_t *)tensor->data)[index] : ((const int8_t *)tensor->data)[index];
    return (float)(element - affine->zero) * affine->scale;
}
/* Rounds to nearest even, then saturates. */
void affine_store(const struct affine *affine, mitral_tensor *tensor, int64_t index, float value);

/* The parameters that DynamicQuantizeLinear takes for these values: uint8, with 0 exact. */
struct affine affine_of_range(const float *values, int64_t count);
/* element − zero for each value, as that quantization gives it. */
void affine_differences(const struct affine *affine, const float *values, int64_t count, int16_t *out);

/* Inputs of a product of quantized matrices: their indices; a_scale SIZE_MAX: A is float and quantized on the way. */
struct quantized_places {
    size_t a, b, a_scale, b_scale, a_zero, b_zero;
};

/* Types, sizes and scales: B's may be one a column. */
mitral_status quantized_check_matmul(const struct kernel_call *call, const struct quantized_places *places,
                                     struct matmul_parameters *out);
/* Bytes of scratch that the product takes; -1 when they overflow. */
int64_t quantized_matmul_scratch(const struct kernel_call *call, const struct quantized_places *places);
/* out[batch, m, n] = A · B as float; exact but for the last multiplication with the scales. */
mitral_status quantized_matmul(const struct kernel_call *call, const struct quantized_places *places,
                               const struct matmul_parameters *p, void *scratch, float *out);
/* The sums alone, modulo 2^32. */
mitral_status quantized_matmul_sums(const struct kernel_call *call, const struct quantized_places *places,
                                    const struct matmul_parameters *p, void *scratch, int32_t *out);

#endif
