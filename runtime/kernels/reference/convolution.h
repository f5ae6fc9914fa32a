/* The attributes of convolutions, decoded and checked once, for every kernel that convolves. */
#ifndef MITRAL_REFERENCE_CONVOLUTION_H
#define MITRAL_REFERENCE_CONVOLUTION_H

#include "runtime/kernel.h"

#define MAX_SPATIAL (MITRAL_MAX_RANK - 2)

/* Of one convolution with these input and weight shapes. auto_pad is resolved: pads are the actual ones. */
struct convolution_parameters {
    int32_t spatial;                  /* number of spatial dimensions, from 1 */
    int64_t batch, channels, features; /* of the input, of the output */
    int64_t group;
    int64_t input[MAX_SPATIAL], kernel[MAX_SPATIAL], output[MAX_SPATIAL];
    int64_t strides[MAX_SPATIAL], dilations[MAX_SPATIAL]; /* dilation 1: dense (oneDNN counts from 0) */
    int64_t pads_begin[MAX_SPATIAL], pads_end[MAX_SPATIAL];
    int64_t output_padding[MAX_SPATIAL]; /* of a transposed convolution; 0 otherwise */
};

/* X [N, C, spatial…] and W [M, C / group, kernel…]; attributes auto_pad, dilations, group, kernel_shape, pads, strides.
 */
mitral_status convolution_decode(const struct kernel_call *call, const mitral_tensor *x, const mitral_tensor *w,
                                 struct convolution_parameters *out);
/* X [N, C, spatial…] and W [C, M / group, kernel…]; output_padding and output_shape too. */
mitral_status convolution_transpose_decode(const struct kernel_call *call, const mitral_tensor *x,
                                           const mitral_tensor *w, struct convolution_parameters *out);
/* The same of inputs 0 and 1. */
mitral_status call_convolution_parameters(const struct kernel_call *call, struct convolution_parameters *out);
mitral_status call_convolution_transpose_parameters(const struct kernel_call *call, struct convolution_parameters *out);
/* dims[0 … rank) of the output [N, M, spatial…]. */
void convolution_output_dims(const struct convolution_parameters *parameters, int64_t dims[MITRAL_MAX_RANK]);
/* Multiply-adds of one run, times two. */
double convolution_flops(const struct convolution_parameters *parameters, bool transposed);

/* Of rows of pixels: dense windows that keep more of their taps inside than outside wherever they are. oneDNN's "brgconv" chooses for other
 * windows, by the number of threads, in which order their taps are added up: measured on random shapes. */
static inline bool convolution_window_is_usual(int64_t kernel, int64_t dilation, int64_t pad_begin, int64_t pad_end)
{
    return (dilation == 1 || kernel == 1) && 2 * pad_begin < kernel && 2 * pad_end < kernel;
}

/* One spatial dimension of a window that slides: the pads that auto_pad asks for and the number of positions.
 * `auto_pad` is "NOTSET", "VALID", "SAME_UPPER" or "SAME_LOWER"; with NOTSET the pads are read. */
mitral_status window_resolve(const struct kernel_call *call, const char *auto_pad, bool ceil_mode, int64_t input,
                             int64_t kernel, int64_t stride, int64_t dilation, int64_t *pad_begin, int64_t *pad_end,
                             int64_t *output);
/* The list attribute `name` of `count` values, each at least `minimum`; absent: all `fallback`. */
mitral_status window_attribute(const struct kernel_call *call, const char *name, int32_t count, int64_t minimum,
                               int64_t fallback, int64_t *out);

#endif
