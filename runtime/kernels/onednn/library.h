/* oneDNN's functions, by their names without "dnnl_". The library is large: it is opened with the first step that needs it, and a
 * plan that has none never pays for it (a third of a small network's memory, and of the time until its first output). */
#ifndef MITRAL_KERNELS_ONEDNN_LIBRARY_H
#define MITRAL_KERNELS_ONEDNN_LIBRARY_H

#include <oneapi/dnnl/dnnl.h>

#define ONEDNN_FUNCTIONS(FUNCTION)                                                                                     \
    FUNCTION(convolution_forward_primitive_desc_create)                                                                \
    FUNCTION(deconvolution_forward_primitive_desc_create)                                                              \
    FUNCTION(engine_create)                                                                                            \
    FUNCTION(get_effective_cpu_isa)                                                                                    \
    FUNCTION(gru_forward_primitive_desc_create)                                                                        \
    FUNCTION(layer_normalization_forward_primitive_desc_create)                                                        \
    FUNCTION(lbr_gru_forward_primitive_desc_create)                                                                    \
    FUNCTION(lstm_forward_primitive_desc_create)                                                                       \
    FUNCTION(matmul_primitive_desc_create)                                                                             \
    FUNCTION(memory_create)                                                                                            \
    FUNCTION(memory_desc_create_with_strides)                                                                          \
    FUNCTION(memory_desc_create_with_tag)                                                                              \
    FUNCTION(memory_desc_destroy)                                                                                      \
    FUNCTION(memory_desc_equal)                                                                                        \
    FUNCTION(memory_desc_get_size)                                                                                     \
    FUNCTION(memory_desc_query)                                                                                        \
    FUNCTION(memory_destroy)                                                                                           \
    FUNCTION(memory_set_data_handle)                                                                                   \
    FUNCTION(pooling_forward_primitive_desc_create)                                                                    \
    FUNCTION(post_ops_append_binary)                                                                                   \
    FUNCTION(post_ops_append_eltwise)                                                                                  \
    FUNCTION(post_ops_append_prelu)                                                                                    \
    FUNCTION(post_ops_create)                                                                                          \
    FUNCTION(post_ops_destroy)                                                                                         \
    FUNCTION(post_ops_len)                                                                                             \
    FUNCTION(primitive_attr_create)                                                                                    \
    FUNCTION(primitive_attr_destroy)                                                                                   \
    FUNCTION(primitive_attr_set_post_ops)                                                                              \
    FUNCTION(primitive_attr_set_scales_mask)                                                                           \
    FUNCTION(primitive_attr_set_scratchpad_mode)                                                                       \
    FUNCTION(primitive_attr_set_zero_points_mask)                                                                      \
    FUNCTION(primitive_create)                                                                                         \
    FUNCTION(primitive_desc_destroy)                                                                                   \
    FUNCTION(primitive_desc_next_impl)                                                                                 \
    FUNCTION(primitive_desc_query)                                                                                     \
    FUNCTION(primitive_desc_query_md)                                                                                  \
    FUNCTION(primitive_destroy)                                                                                        \
    FUNCTION(primitive_execute)                                                                                        \
    FUNCTION(primitive_get_primitive_desc)                                                                             \
    FUNCTION(reorder_primitive_desc_create)                                                                            \
    FUNCTION(set_max_cpu_isa)                                                                                          \
    FUNCTION(softmax_forward_primitive_desc_create)                                                                    \
    FUNCTION(stream_create)                                                                                            \
    FUNCTION(stream_destroy)                                                                                           \
    FUNCTION(stream_wait)                                                                                              \
    FUNCTION(vanilla_rnn_forward_primitive_desc_create)

struct onednn_library {
    dnnl_engine_t engine; /* the one CPU engine of the process; never destroyed: primitives may outlive everything else */
#define ONEDNN_FIELD(name) __typeof__(dnnl_##name) *name;
    ONEDNN_FUNCTIONS(ONEDNN_FIELD)
#undef ONEDNN_FIELD
};

/* Filled by onednn_open, the same ever after. */
extern struct onednn_library dnnl;

#endif
