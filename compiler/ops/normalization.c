/* Normalizations, and the soft-max family, which normalizes too. */
#include "compiler/op.h"

const struct op ops_normalization[] = {
    {.name = "BatchNormalization"},
    {.name = "GroupNormalization"},
    {.name = "Hardmax"},
    {.name = "InstanceNormalization"},
    {.name = "LRN"},
    {.name = "LayerNormalization"},
    {.name = "LogSoftmax"},
    {.name = "LpNormalization"},
    {.name = "MeanVarianceNormalization"},
    {.name = "RMSNormalization"},
    {.name = "Softmax"},
};
const size_t ops_normalization_count = sizeof(ops_normalization) / sizeof(*ops_normalization);
