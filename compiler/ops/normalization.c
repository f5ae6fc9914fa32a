/* Normalizations, and the soft-max family, which normalizes too. */
#include "compiler/gradients/gradients.h"

const struct op ops_normalization[] = {
    {.name = "BatchNormalization", .gradient = differentiate_batch_normalization},
    {.name = "GroupNormalization", .gradient = differentiate_group_normalization},
    {.name = "Hardmax", .gradient = differentiate_zero},
    {.name = "InstanceNormalization", .gradient = differentiate_instance_normalization},
    {.name = "LRN", .gradient = differentiate_lrn},
    {.name = "LayerNormalization", .gradient = differentiate_layer_normalization},
    {.name = "LogSoftmax", .gradient = differentiate_log_softmax},
    {.name = "LpNormalization", .gradient = differentiate_lp_normalization},
    {.name = "MeanVarianceNormalization", .gradient = differentiate_mean_variance_normalization},
    {.name = "RMSNormalization", .gradient = differentiate_rms_normalization},
    {.name = "Softmax", .gradient = differentiate_softmax},
};
const size_t ops_normalization_count = sizeof(ops_normalization) / sizeof(*ops_normalization);
