/* Resampling. */
#include "compiler/gradients/gradients.h"

const struct op ops_resize[] = {
    {.name = "AffineGrid"},
    {.name = "GridSample"},
    {.name = "Resize", .gradient = differentiate_resize},
    {.name = "Upsample", .gradient = differentiate_resize},
};
const size_t ops_resize_count = sizeof(ops_resize) / sizeof(*ops_resize);
