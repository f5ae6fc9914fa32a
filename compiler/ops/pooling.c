/* Pooling operators. */
#include "compiler/gradients/gradients.h"

const struct op ops_pooling[] = {
    {.name = "AveragePool", .gradient = differentiate_average_pool},
    {.name = "GlobalAveragePool", .gradient = differentiate_global_average_pool},
    {.name = "GlobalLpPool", .gradient = differentiate_global_lp_pool},
    {.name = "GlobalMaxPool", .gradient = differentiate_global_max_pool},
    {.name = "LpPool", .gradient = differentiate_lp_pool},
    {.name = "MaxPool", .gradient = differentiate_max_pool},
    {.name = "MaxUnpool"},
};
const size_t ops_pooling_count = sizeof(ops_pooling) / sizeof(*ops_pooling);
