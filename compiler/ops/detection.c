/* Boxes and regions of interest. */
#include "compiler/op.h"

const struct op ops_detection[] = {
    {.name = "MaxRoiPool"},
    {.name = "NonMaxSuppression"},
    {.name = "RoiAlign"},
};
const size_t ops_detection_count = sizeof(ops_detection) / sizeof(*ops_detection);
