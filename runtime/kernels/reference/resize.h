/* Resize and Upsample: what one node asks for, and the sampling tables of each axis. */
#ifndef MITRAL_REFERENCE_RESIZE_H
#define MITRAL_REFERENCE_RESIZE_H

#include "runtime/kernel.h"

enum resize_mode { RESIZE_NEAREST, RESIZE_LINEAR, RESIZE_CUBIC };

enum resize_coordinates {
    COORDINATES_HALF_PIXEL, COORDINATES_HALF_PIXEL_SYMMETRIC, COORDINATES_PYTORCH_HALF_PIXEL, COORDINATES_ALIGN_CORNERS,
    COORDINATES_ASYMMETRIC, COORDINATES_TF_CROP_AND_RESIZE, COORDINATES_TF_HALF_PIXEL_FOR_NN
};

/* NEAREST_SIMPLE: versions before 11, down when the axis grows, up when it shrinks. */
enum resize_nearest { NEAREST_PREFER_FLOOR, NEAREST_PREFER_CEIL, NEAREST_FLOOR, NEAREST_CEIL, NEAREST_SIMPLE };

struct resize_axis {
    int64_t in, out;
    double scale;
    double roi_start, roi_end;
};

struct resize_request {
    enum resize_mode mode;
    enum resize_coordinates coordinates;
    enum resize_nearest nearest;
    bool antialias, exclude_outside;
    double cubic_a;
    float extrapolation;
    int32_t rank;
    struct resize_axis axes[MITRAL_MAX_RANK];
};

/* The samples of one axis, tap-major: out[o] = Σ_t weight[t·out + o] · in[index[t·out + o]]. */
struct resize_table {
    int64_t in, out;
    int64_t taps;
    bool identity;    /* nothing happens along this axis; no tables */
    bool doubles;     /* nearest: every element twice */
    bool outside;     /* some coordinates take the extrapolation value: index[o] is -1 there */
    int32_t *index;
    float *weight;    /* NULL for nearest */
    double *weight_double;
};

/* From the call's attributes and inputs; MITRAL_DEFERRED when they are not known. */
mitral_status resize_read(struct kernel_call *call, struct resize_request *request);
mitral_status upsample_read(struct kernel_call *call, struct resize_request *request);
/* `entries` elements of each list are needed: the tables' memory is the caller's. */
int64_t resize_taps(const struct resize_request *request, const struct resize_axis *axis);
bool resize_is_identity(const struct resize_request *request, const struct resize_axis *axis);
/* Fills table->index and, where they are not NULL, the weights. */
void resize_fill(const struct resize_request *request, const struct resize_axis *axis, struct resize_table *table);

#endif
