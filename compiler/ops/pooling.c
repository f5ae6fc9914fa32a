/* Pooling operators. */
#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"
#include "compiler/lower_onednn.h"

const struct op ops_pooling[] = {
    {.name = "AveragePool", .lower = lower_average_pool, .gradient = differentiate_average_pool, .compose = compose_pooling},
    {.name = "GlobalAveragePool", .lower = lower_global_average_pool, .gradient = differentiate_global_average_pool},
    {.name = "GlobalLpPool", .gradient = differentiate_global_lp_pool, .compose = compose_global_pooling},
    {.name = "GlobalMaxPool", .lower = lower_global_max_pool, .gradient = differentiate_global_max_pool,
     .compose = compose_global_pooling},
    {.name = "LpPool", .gradient = differentiate_lp_pool, .compose = compose_pooling},
    {.name = "MaxPool", .lower = lower_max_pool, .gradient = differentiate_max_pool, .compose = compose_pooling},
    {.name = "MaxUnpool", .gradient = differentiate_max_unpool},
};
const size_t ops_pooling_count = sizeof(ops_pooling) / sizeof(*ops_pooling);
