/* The kernel families: every table of `struct kernel` rows, one line each. A family F defines
 * `const struct kernel F[]` and `const size_t F_count`. */
#ifndef MITRAL_RUNTIME_KERNELS_REGISTRY_H
#define MITRAL_RUNTIME_KERNELS_REGISTRY_H

#include "runtime/kernel.h"

#define KERNEL_FAMILIES(FAMILY)                                                                                        \
    /* the lines below stay in alphabetical order: a file's table is named like the file */                           \
    FAMILY(channels_concat)                                                                                            \
    FAMILY(channels_resize)                                                                                            \
    FAMILY(channels_scale_shift)                                                                                       \
    FAMILY(channels_shuffle)                                                                                           \
    FAMILY(onednn_convolution)                                                                                         \
    FAMILY(onednn_deconvolution)                                                                                       \
    FAMILY(onednn_matmul)                                                                                              \
    FAMILY(onednn_normalization)                                                                                       \
    FAMILY(onednn_pooling)                                                                                             \
    FAMILY(onednn_quantized_convolution)                                                                               \
    FAMILY(onednn_quantized_matmul)                                                                                    \
    FAMILY(onednn_recurrent)                                                                                           \
    FAMILY(onednn_reorder)                                                                                             \
    FAMILY(planar_attention)                                                                                           \
    FAMILY(planar_convolution)                                                                                         \
    FAMILY(planar_dilated_block)                                                                                       \
    FAMILY(reference_accumulate)                                                                                       \
    FAMILY(reference_activation)                                                                                       \
    FAMILY(reference_attention)                                                                                        \
    FAMILY(reference_batch_normalization)                                                                              \
    FAMILY(reference_binary)                                                                                           \
    FAMILY(reference_block_gather)                                                         \
    FAMILY(reference_block_weights)                                                                                    \
    FAMILY(reference_cast)                                                                                             \
    FAMILY(reference_chain)                                                                                            \
    FAMILY(reference_control)                                                                                          \
    FAMILY(reference_convolution)                                                                                      \
    FAMILY(reference_convolution_special)                                                                              \
    FAMILY(reference_detection)                                                                                        \
    FAMILY(reference_dilated)                                                                                          \
    FAMILY(reference_einsum)                                                                                           \
    FAMILY(reference_fold)                                                                                             \
    FAMILY(reference_fused)                                                                                            \
    FAMILY(reference_gather)                                                                                           \
    FAMILY(reference_generate)                                                                                         \
    FAMILY(reference_gradient_activation)                                                                              \
    FAMILY(reference_gradient_convolution)                                                                             \
    FAMILY(reference_gradient_distillation)                                                                            \
    FAMILY(reference_gradient_loss)                                                                                    \
    FAMILY(reference_gradient_move)                                                                                    \
    FAMILY(reference_gradient_normalization)                                                                           \
    FAMILY(reference_gradient_pool)                                                                                    \
    FAMILY(reference_gradient_reduce)                                                                                  \
    FAMILY(reference_gradient_resize)                                                                                  \
    FAMILY(reference_gradient_sample)                                                                                  \
    FAMILY(reference_gradient_softmax)                                                                                 \
    FAMILY(reference_gradient_update)                                                                                  \
    FAMILY(reference_grid)                                                                                             \
    FAMILY(reference_grouped_attention)                                                                                \
    FAMILY(reference_image)                                                                                            \
    FAMILY(reference_linear_attention)                                                                                 \
    FAMILY(reference_loss)                                                                                             \
    FAMILY(reference_matmul)                                                                                           \
    FAMILY(reference_ml_features)                                                                                      \
    FAMILY(reference_ml_linear)                                                                                        \
    FAMILY(reference_ml_maps)                                                                                          \
    FAMILY(reference_ml_svm)                                                                                           \
    FAMILY(reference_ml_tree)                                                                                          \
    FAMILY(reference_move)                                                                                             \
    FAMILY(reference_normalization)                                                                                    \
    FAMILY(reference_optimizers)                                                                                       \
    FAMILY(reference_pad)                                                                                              \
    FAMILY(reference_pooling)                                                                                          \
    FAMILY(reference_projected_attention)                                                                              \
    FAMILY(reference_quantize)                                                                                         \
    FAMILY(reference_quantized_channels)                                                                               \
    FAMILY(reference_quantized_convolution)                                                                            \
    FAMILY(reference_quantized_elementwise)                                                                            \
    FAMILY(reference_quantized_fused)                                                                                  \
    FAMILY(reference_quantized_lstm)                                                                                   \
    FAMILY(reference_quantized_matmul)                                                                                 \
    FAMILY(reference_quantized_products)                                                                               \
    FAMILY(reference_random)                                                                                           \
    FAMILY(reference_recurrent)                                                                                        \
    FAMILY(reference_reduce)                                                                                           \
    FAMILY(reference_resize)                                                                                           \
    FAMILY(reference_rotary)                                                                                           \
    FAMILY(reference_scan)                                                                                             \
    FAMILY(reference_scatter)                                                                                          \
    FAMILY(reference_select)                                                                                           \
    FAMILY(reference_sequence)                                                                                         \
    FAMILY(reference_shape)                                                                                            \
    FAMILY(reference_signal)                                                                                           \
    FAMILY(reference_skip_normalization)                                                                               \
    FAMILY(reference_slice)                                                                                            \
    FAMILY(reference_softmax)                                                                                          \
    FAMILY(reference_text)                                                                                             \
    FAMILY(reference_tfidf)                                                                                            \
    FAMILY(reference_unary)                                                                                            \
    FAMILY(reference_unpool)                                                                                           \
    FAMILY(reference_variadic)                                                                                         \
    FAMILY(reference_window)                                                                                           \
    FAMILY(training_branches)                                                                                          \
    FAMILY(training_convolution)                                                                                       \
    FAMILY(training_convolution_weights)                                                                               \
    FAMILY(training_normalization)                                                                                     \
    FAMILY(training_normalization_pair)                                                                                \
    FAMILY(training_points)                                                                                            \
    FAMILY(training_points_weights)                                                                                    \
    FAMILY(training_resample)                                                                                          \
    FAMILY(training_tiles)                                                                                             \
    FAMILY(training_tiles_weights)                                                                                     \

#define DECLARE_KERNEL_FAMILY(table)                                                                                   \
    extern const struct kernel table[];                                                                                \
    extern const size_t table##_count;
KERNEL_FAMILIES(DECLARE_KERNEL_FAMILY)
#undef DECLARE_KERNEL_FAMILY

#endif
