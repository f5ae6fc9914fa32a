/* The `lower` hooks of the operators that oneDNN steps or own channels-last steps compute. Each declines (leaves *done false) where
 * the types are not theirs; within a type the kernels themselves fall back to the reference kernel. */
#ifndef MITRAL_COMPILER_LOWER_ONEDNN_H
#define MITRAL_COMPILER_LOWER_ONEDNN_H

#include "compiler/lower.h"

typedef mitral_status lower_hook(struct lowering *lowering, const struct node *node, bool *done);

lower_hook lower_concat, lower_convolution, lower_convolution_integer, lower_convolution_qlinear, lower_convolution_transpose, lower_matmul_integer,
    lower_matmul_qlinear, lower_gemm, lower_matmul, lower_max_pool, lower_average_pool, lower_global_average_pool,
    lower_global_max_pool, lower_layer_normalization, lower_lrn, lower_recurrent, lower_resize, lower_softmax, lower_split;

#endif
