/* Where RoiAlign and MaxRoiPool read: shared by the operators and their gradients. */
#ifndef MITRAL_REFERENCE_DETECTION_H
#define MITRAL_REFERENCE_DETECTION_H

#include "runtime/kernel.h"

struct align_request {
    int64_t height, width, sampling; /* of the output; samples per bin and direction, 0: adaptive */
    double scale;
    bool half_pixel, maximum;
};

/* One direction of one sample: two neighbours and their weights; a sample outside has none. */
struct neighbours {
    int64_t low, high;
    double low_weight, high_weight;
};

/* The attributes, with the defaults of the version in call->opset. */
mitral_status align_read(const struct kernel_call *call, struct align_request *request);
/* Start and bin size in both directions, and how many samples a bin takes; the regions are input 1. */
mitral_status align_place_region(const struct kernel_call *call, const struct align_request *request, int64_t region, double start[2],
                                 double bin[2], int64_t grid[2]);
struct neighbours align_place_sample(double at, int64_t size);
/* Every `step`-th of the indices is one of `batches`. */
mitral_status check_batches(const struct kernel_call *call, const mitral_tensor *indices, int64_t step, int64_t batches);
/* The rows and columns [from, to) of bin `at` of a region of MaxRoiPool. */
void max_roi_bin(const mitral_tensor *regions, int64_t region, double scale, const int64_t at[2], const int64_t out[2], const int64_t size[2],
                 int64_t from[2], int64_t to[2]);

#endif
