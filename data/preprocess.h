#ifndef MITRAL_DATA_PREPROCESS_H
#define MITRAL_DATA_PREPROCESS_H

#include "mitral/data.h"

/* Where a pixel of one grid lies between two of another along one axis. */
struct tap {
    int64_t low, high; /* neighbours; -1: outside */
    float fraction;    /* of high */
};

/* out = (value - offset) * scale */
struct intensity_map {
    double scale, offset;
};

/* One 3D frame, ready to be read slice by slice on the network's grid. Borrows the preprocessing and the volume. */
struct frame_view {
    const mitral_preprocessing *preprocessing;
    const float *voxels;
    int64_t width, slice;
    struct tap *columns, *rows;
    struct intensity_map whole;
    bool holes; /* some voxels are not finite */
};

mitral_status frame_view_create(struct frame_view *out, mitral_context *context, const mitral_preprocessing *preprocessing,
                                const mitral_volume *volume, int64_t frame);
void frame_view_destroy(struct frame_view *view, mitral_context *context);
/* out[height][width] */
void frame_view_slice(float *out, const struct frame_view *view, int64_t z);

/* Refuses a scan whose header states no spacing when the network asks for one. */
mitral_status preprocessing_check_geometry(mitral_context *context, const mitral_preprocessing *preprocessing,
                                           const mitral_geometry *geometry);

#endif
