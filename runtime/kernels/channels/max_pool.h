/* Maxima of windows on channels-last maps, as an operation of a oneDNN step's program. */
#ifndef MITRAL_CHANNELS_MAX_POOL_H
#define MITRAL_CHANNELS_MAX_POOL_H

#include "runtime/kernels/onednn/onednn.h"
#include "runtime/kernels/reference/pooling.h"

/* Of the call's first input, float32, bfloat16 or float16, into its first output; both are reordered where they are not channels-last. */
mitral_status channels_add_max_pool(struct onednn_program *program, const struct kernel_call *call, const struct pool_parameters *pool);

#endif
