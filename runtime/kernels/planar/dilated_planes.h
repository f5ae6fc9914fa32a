/* Shared by the files of the dilated-parallel block on planes: sizes, and what one thread works with. */
#ifndef MITRAL_PLANAR_DILATED_PLANES_H
#define MITRAL_PLANAR_DILATED_PLANES_H

#include "runtime/kernels/planar/dilated_walk.h"
#include "runtime/kernels/planar/pack.h"

struct geometry {
    int band, pad, ring_rows;          /* rows of a band; columns left and right of a stripe in the ring */
    int bands, stripes, stripe;        /* numbers; columns of a stripe */
    int whole_bands, piece, last_piece; /* the first bands, of one piece each; columns of the widest piece, and of those after them */
    int ahead, fill_rows;              /* bands that are filled before they are read; rows that are filled together */
    int low_height, low_width;         /* of upsampled sources */
    bool upsampled, separate_sum;
    bool waiting;                      /* the shortcut waits in y: a stage, or x in another layout */
    ptrdiff_t ring_pitch, ring_plane, row_pitch, spread_pitch, spread_position, product_pitch, product_position;
    ptrdiff_t y_plane;                 /* of y where it is the thread's own, for a head */
    /* Floats of the parts of one thread's scratch, and of the team's. */
    size_t sums, y, spread, products, rows, pairs, upsampled_rows, temporary, thread, ring, counts, low, whole;
};

/* What one thread works with on one stripe of one image. */
struct worker {
    const struct dilated_plan *plan;
    const struct geometry *g;
    const float *const *sources;
    int image, stripe_first, stripe_columns;
    int first, columns;                 /* of the piece, or of what is filled */
    float *result;                      /* of the image, planes */
    float *y;                           /* its first pixel of row y_start; rows end at y_end */
    int y_start, y_end;
    ptrdiff_t y_plane, y_row;
    float *sums, *own_y, *spread, *products, *rows, *pairs, *upsampled, *temporary; /* its own */
    float *ring;                        /* the team's */
    const float *low;
    int row_source, row, row_from, row_columns; /* what `rows` holds; −1: nothing */
    int pair_source, pair_row, pair_from, pair_columns; /* what `pairs` holds */
};

static inline ptrdiff_t plane_of(const struct dilated_block *b)
{
    return (ptrdiff_t)b->height * b->width;
}

static inline float *row_of_y(const struct worker *w, int y)
{
    return w->y + (y - w->y_start) * w->y_row;
}

/* Makes a row of the branches' input in the ring, */
void dilated_fill_row(struct worker *w, int y);
/* of the shortcut in y, where it waits there, */
void dilated_shortcut_row(struct worker *w, int y);
/* of the result from y by the head, */
void dilated_head_row(const struct worker *w, int y);
/* and of what the upsampled sources contribute at their own size. */
void dilated_low_plane_row(struct worker *w, int y, float *low);

#endif
