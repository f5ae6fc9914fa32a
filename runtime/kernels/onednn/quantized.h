/* What the 8-bit convolutions and products share: where their inputs lie, and scales and zero points as oneDNN takes them.
 *
 * Sums of products are exact. On processors without AVX-512 VNNI own kernels (runtime/kernels/quantized) compute what the reference kernels do,
 * to the bit. oneDNN's result is computed in float32: sum · (x_scale · w_scale) + bias, the activation, times
 * 1 / y_scale, rounded to nearest even, plus the zero point, saturated. The standard leaves the precision in between open; against the
 * reference kernels, which round once, a quantized output differs by at most 1, where the value lies within float32's rounding of a tie. */
#ifndef MITRAL_KERNELS_ONEDNN_QUANTIZED_H
#define MITRAL_KERNELS_ONEDNN_QUANTIZED_H

#include "runtime/kernels/onednn/onednn.h"
#include "runtime/kernels/quantized/step.h"

/* Indices of inputs; SIZE_MAX: the operator has none such. */
struct quantized_places {
    const char *reference; /* the kernel that computes the same plainly */
    size_t x, w, x_zero, w_zero, x_scale, w_scale, y_scale, y_zero, bias;
    bool one_factor;       /* scales are one float32 factor of sums that have the bias in them (QLinearConv, QLinearMatMul) */
};

enum { QUANTIZED_OPERANDS = 10 };

/* Whether there is more than the reference kernel for it: 8-bit types, parameters known where they have to be. `columns`: numbers of w_scale,
 * w_zero and bias that are one each. */
bool quantized_fits(const struct kernel_call *call, const struct quantized_places *places, int64_t columns);
/* Of those that fit, whether oneDNN has it exactly: on AVX-512 VNNI with symmetric weights (zero points all 0, or 128 of uint8). */
bool quantized_suits_onednn(const struct kernel_call *call, const struct quantized_places *places);
/* The weights as int8 (uint8 less 128) in the layout of `descriptor`, in a buffer. */
mitral_status quantized_weights(struct onednn_program *program, const struct kernel_call *call, const struct quantized_places *places,
                                const_dnnl_memory_desc_t plain, const_dnnl_memory_desc_t descriptor, struct onednn_where *where);
/* Masks into the attributes; `weights_mask` of scales that are one a column. Activation Relu becomes a post-operation. */
mitral_status quantized_attributes(const struct kernel_call *call, const struct quantized_places *places, int weights_mask,
                                   dnnl_primitive_attr_t attributes);
/* Scales, zero points and bias as operands, appended. A zero point that is not known yet is read in each run. */
mitral_status quantized_operands(struct onednn_program *program, const struct kernel_call *call, const struct quantized_places *places,
                                 int64_t columns, struct onednn_operand *operands, size_t *count);

/* The whole step by own kernels, equal to the reference kernel to the bit: a convolution over channels-last data, or a product of matrices as
 * one of 1 tap (`turned`: the weights are [channels, features]). MITRAL_DEFERRED when it is too large for that. */
mitral_status quantized_exact(const struct kernel_call *call, const struct quantized_places *places, const struct quantized_shape *shape, bool turned,
                              void **state, size_t *scratch_bytes);
/* The whole step by the reference kernel. */
mitral_status quantized_delegate(const struct kernel_call *call, const struct quantized_places *places, void **state, size_t *scratch_bytes);

#define QUANTIZED_ROW(title, row_shape, row_prepare, row_flops)                                                        \
    {.name = title, .shape = row_shape, .prepare = row_prepare, .run = onednn_program_run, .release = onednn_program_destroy, \
     .describe = onednn_program_describe, .flops = row_flops}

#endif
