/* Resampling. */
#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"
#include "compiler/lower_onednn.h"

const struct op ops_resize[] = {
    {.name = "AffineGrid", .compose = compose_affine_grid},
    {.name = "GridSample", .gradient = differentiate_grid_sample},
    {.name = "Resize", .lower = lower_resize, .gradient = differentiate_resize},
    {.name = "Upsample", .lower = lower_resize, .gradient = differentiate_resize},
};
const size_t ops_resize_count = sizeof(ops_resize) / sizeof(*ops_resize);
