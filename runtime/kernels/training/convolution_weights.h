/* Shared by the files of training.convolution_weights: how its sums are cut, and what a thread works with. */
#ifndef MITRAL_TRAINING_CONVOLUTION_WEIGHTS_H
#define MITRAL_TRAINING_CONVOLUTION_WEIGHTS_H

#include "runtime/kernels/training/convolution.h"

enum way { BY_POINTS, BY_TAPS, BY_ROWS, BY_SQUARES };

struct state {
    struct slide slide;
    const struct training_blocks *blocks;
    enum way way;
    int threads;
    bool wants_weights, wants_bias;
    int positions;              /* 6 by rows, 36 by squares, else 1 */
    int64_t depth;              /* sums for one feature and position */
    int64_t items, units;       /* of the batch */
    int items_each;             /* of an image; not by rows or squares */
    struct segments segments;
    struct square square;
    int together;               /* pixels, or output rows, of an item */
    ptrdiff_t plane;            /* by taps: of a phase's rows */
    ptrdiff_t slid_position, gradient_pitch, gradient_position;
    size_t slid, gradient, rows; /* floats of a thread's scratch; rows: twice, of X and of dY */
    int64_t ahead_rows;         /* that an item reads, at most */
    char text[64];
};

struct operands {
    const float *x, *dy;
    const ptrdiff_t *offsets;
    float *own;          /* of the thread */
    const float **ahead;
};

/* Scratch floats of a thread. */
size_t weights_thread_floats(const struct state *state);
/* What the next item reads is fetched during the steps of this one's products. */
void weights_look_ahead(const struct state *state, const struct operands *o, int64_t item, int64_t steps, struct training_ahead *ahead);

/* ---- by rows or squares (convolution_weights_rows.c) ----------------------------------------------------------------------- */

/* The rows of an item: its gradients, and of the input what the items before have not read. */
void weights_rows_ahead(const struct state *state, const struct operands *o, int64_t item, struct training_ahead *ahead);
/* A single unit is shared out: slices of the channels first, then the positions. Each element is computed one way. */
void weights_run_rows(const struct state *state, const struct operands *o, int64_t item, float *sums);

#endif
