/* Pooling operators. */
#include "compiler/op.h"

const struct op ops_pooling[] = {
    {.name = "AveragePool"},
    {.name = "GlobalAveragePool"},
    {.name = "GlobalLpPool"},
    {.name = "GlobalMaxPool"},
    {.name = "LpPool"},
    {.name = "MaxPool"},
    {.name = "MaxUnpool"},
};
const size_t ops_pooling_count = sizeof(ops_pooling) / sizeof(*ops_pooling);
