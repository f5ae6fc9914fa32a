/* Gathering and scattering by index. */
#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"

const struct op ops_gather[] = {
    {.name = "Gather", .traits = OP_MOVES_DATA, .gradient = differentiate_gather},
    {.name = "GatherElements", .traits = OP_MOVES_DATA, .gradient = differentiate_gather_elements},
    {.name = "GatherND", .traits = OP_MOVES_DATA, .gradient = differentiate_gather_nd, .compose = compose_gather_nd},
    {.name = "Scatter", .gradient = differentiate_scatter_elements},
    {.name = "ScatterElements", .gradient = differentiate_scatter_elements},
    {.name = "ScatterND", .gradient = differentiate_scatter_nd},
    {.name = "TensorScatter", .compose = compose_tensor_scatter},
};
const size_t ops_gather_count = sizeof(ops_gather) / sizeof(*ops_gather);
