#ifndef MITRAL_DATA_DISTANCE_H
#define MITRAL_DATA_DISTANCE_H

#include "mitral/data.h"

/* out[z][y][x]: squared distance, in the units of `spacing`, from each voxel's centre to that of the nearest non-zero voxel of
 * `mask`, of which there must be one. Exact. */
mitral_status distance_squared(double *out, mitral_context *context, const uint8_t *mask, const int64_t size[3],
                               const double spacing[3]);

#endif
