/* Resampling. */
#include "compiler/op.h"

const struct op ops_resize[] = {
    {.name = "AffineGrid"},
    {.name = "GridSample"},
    {.name = "Resize"},
    {.name = "Upsample"},
};
const size_t ops_resize_count = sizeof(ops_resize) / sizeof(*ops_resize);
