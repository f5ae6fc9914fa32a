/* Boxes and regions of interest. */
#include "compiler/gradients/gradients.h"

const struct op ops_detection[] = {
    {.name = "MaxRoiPool", .gradient = differentiate_max_roi_pool},
    {.name = "NonMaxSuppression"},
    {.name = "RoiAlign", .gradient = differentiate_roi_align},
};
const size_t ops_detection_count = sizeof(ops_detection) / sizeof(*ops_detection);
