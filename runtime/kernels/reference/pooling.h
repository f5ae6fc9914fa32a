/* The attributes of pooling operators, decoded and checked once. */
#ifndef MITRAL_REFERENCE_POOLING_H
#define MITRAL_REFERENCE_POOLING_H

#include "runtime/kernels/reference/convolution.h"

/* Of one pooling of an input of this shape. auto_pad is resolved. With ceil_mode the last window may reach beyond
 * input + pads_end; what lies there belongs to no window. */
struct pool_parameters {
    int32_t spatial;
    int64_t batch, channels;
    int64_t input[MAX_SPATIAL], kernel[MAX_SPATIAL], output[MAX_SPATIAL];
    int64_t strides[MAX_SPATIAL], dilations[MAX_SPATIAL]; /* dilation 1: dense */
    int64_t pads_begin[MAX_SPATIAL], pads_end[MAX_SPATIAL];
    bool ceil_mode;
    bool count_include_pad; /* AveragePool */
    bool column_major;      /* MaxPool: storage_order of the indices */
    int64_t p;              /* LpPool */
};

/* Of X [N, C, spatial…] and MaxPool's, AveragePool's or LpPool's attributes. */
mitral_status pool_decode(const struct kernel_call *call, const mitral_tensor *x, struct pool_parameters *out);
mitral_status call_pool_parameters(const struct kernel_call *call, struct pool_parameters *out); /* of input 0 */
/* dims of the output [N, C, spatial…]. */
void pool_output_dims(const struct pool_parameters *parameters, int64_t dims[MITRAL_MAX_RANK]);

#endif
