/* Normalizations, and the soft-max family, which normalizes too. */
#include "compiler/gradients/gradients.h"
#include "compiler/lower_onednn.h"

const struct op ops_normalization[] = {
    {.name = "BatchNormalization", .gradient = differentiate_batch_normalization},
    {.name = "GroupNormalization", .gradient = differentiate_group_normalization},
    {.name = "Hardmax", .gradient = differentiate_zero},
    {.name = "InstanceNormalization", .gradient = differentiate_instance_normalization},
    {.name = "LRN", .lower = lower_lrn, .gradient = differentiate_lrn},
    {.name = "LayerNormalization", .lower = lower_layer_normalization, .gradient = differentiate_layer_normalization},
    {.name = "LogSoftmax", .lower = lower_softmax, .gradient = differentiate_log_softmax},
    {.name = "LpNormalization", .gradient = differentiate_lp_normalization},
    {.name = "MeanVarianceNormalization", .gradient = differentiate_mean_variance_normalization},
    {.name = "RMSNormalization", .gradient = differentiate_rms_normalization},
    {.name = "Softmax", .lower = lower_softmax, .gradient = differentiate_softmax},
};
const size_t ops_normalization_count = sizeof(ops_normalization) / sizeof(*ops_normalization);
