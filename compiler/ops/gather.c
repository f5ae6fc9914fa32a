/* Gathering and scattering by index. */
#include "compiler/op.h"

const struct op ops_gather[] = {
    {.name = "Gather", .traits = OP_MOVES_DATA},
    {.name = "GatherElements", .traits = OP_MOVES_DATA},
    {.name = "GatherND", .traits = OP_MOVES_DATA},
    {.name = "Scatter"},
    {.name = "ScatterElements"},
    {.name = "ScatterND"},
    {.name = "TensorScatter"},
};
const size_t ops_gather_count = sizeof(ops_gather) / sizeof(*ops_gather);
