/* The gradient hooks, for the `gradient` column of the operators' rows. One file a family. */
#ifndef MITRAL_COMPILER_GRADIENTS_H
#define MITRAL_COMPILER_GRADIENTS_H

#include "compiler/gradient.h"

typedef mitral_status gradient_hook(struct gradient *gradient, const struct node *node);

/* Zero almost everywhere, or not meant to be differentiated (Floor, Sign, RandomNormalLike, …): nothing flows back. */
gradient_hook differentiate_zero;

/* custom.c: of operators that the caller registered */
gradient_hook differentiate_custom;

/* elementwise.c */
gradient_hook differentiate_add, differentiate_subtract, differentiate_multiply, differentiate_divide, differentiate_power, differentiate_negate,
    differentiate_sum, differentiate_mean, differentiate_extremum /* Max, Min */, differentiate_where, differentiate_modulo;
/* activation.c: one data input, derivative by the operator's name (Sigmoid, Tanh, Exp, Gelu, …) */
gradient_hook differentiate_elementwise, differentiate_relu, differentiate_clip, differentiate_prelu,
    differentiate_biased_gelu /* BiasGelu, FastGelu */;
/* reduction.c */
gradient_hook differentiate_reduce_sum, differentiate_reduce_mean, differentiate_reduce_l1, differentiate_reduce_l2, differentiate_reduce_sum_square,
    differentiate_reduce_log_sum, differentiate_reduce_log_sum_exp, differentiate_reduce_product, differentiate_reduce_extremum,
    differentiate_cumulative_sum, differentiate_top_k;
/* convolution.c */
gradient_hook differentiate_convolution, differentiate_convolution_transpose;
/* pool.c */
gradient_hook differentiate_max_pool, differentiate_average_pool, differentiate_lp_pool, differentiate_global_average_pool,
    differentiate_global_max_pool, differentiate_global_lp_pool, differentiate_max_unpool;
/* resize.c: Resize, Upsample */
gradient_hook differentiate_resize;
/* normalization.c */
gradient_hook differentiate_batch_normalization, differentiate_batch_normalization_training, differentiate_instance_normalization,
    differentiate_group_normalization, differentiate_layer_normalization, differentiate_rms_normalization, differentiate_lrn,
    differentiate_lp_normalization, differentiate_mean_variance_normalization;
/* softmax.c */
gradient_hook differentiate_softmax, differentiate_log_softmax, differentiate_softmax_cross_entropy_loss,
    differentiate_negative_log_likelihood_loss;
/* matmul.c */
gradient_hook differentiate_matmul, differentiate_gemm, differentiate_einsum;
/* shape.c */
gradient_hook differentiate_reshape /* Reshape, Flatten, Squeeze, Unsqueeze, Identity */, differentiate_transpose, differentiate_concat,
    differentiate_split, differentiate_slice, differentiate_pad, differentiate_expand, differentiate_tile, differentiate_cast, differentiate_dropout,
    differentiate_depth_to_space, differentiate_space_to_depth, differentiate_triangle, differentiate_centre_crop_pad,
    differentiate_reverse_sequence;
/* indexing.c */
gradient_hook differentiate_gather, differentiate_gather_elements, differentiate_gather_nd, differentiate_scatter_elements, differentiate_scatter_nd;
/* sampling.c */
gradient_hook differentiate_grid_sample, differentiate_roi_align, differentiate_max_roi_pool, differentiate_determinant, differentiate_col2im;
/* scatter.c: reductions mul, max and min */
mitral_status differentiate_scatter_reduction(struct gradient *gradient, const struct node *node, const char *reduction, bool elements);
/* compose_signal.c, compose_control.c: whose operators have no composition in general */
gradient_hook differentiate_dft, differentiate_if;
/* loss.c: the losses of training, domain mitral */
gradient_hook differentiate_pixel_cross_entropy, differentiate_soft_dice, differentiate_divergence, differentiate_unit_distance,
    differentiate_mean_squared_error;

#endif
