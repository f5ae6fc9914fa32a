/* Shared by the files of the dilated-parallel block on channels-last data: sizes, and what one thread works with. */
#ifndef MITRAL_PLANAR_DILATED_CHANNELS_H
#define MITRAL_PLANAR_DILATED_CHANNELS_H

#include "runtime/kernels/planar/dilated.h"

struct geometry {
    int piece_height, piece_width, pieces_down, pieces_across;
    int chunk_rows, chunks;
    int group;                          /* tiles that are transformed and multiplied together */
    int low_height, low_width;
    bool upsampled, split;
    bool copied;                        /* there is no reducing stage, and x is not channels-last */
    bool turned;                        /* x is one source that is not channels-last */
    bool waiting;                       /* the shortcut is in y's map before the branches are added to it */
    ptrdiff_t merged_row;               /* floats from row to row of a piece's merged map */
    ptrdiff_t spread_pitch, spread_position, product_pitch, product_position;
    /* Floats of the parts of one thread's scratch, and of the team's. */
    size_t spread, products, rows, pairs, merged, row, result_row, thread, reduced, low, branches, whole;
};

/* A part of the map; more than one row only of whole rows, so that its pixels follow each other. */
struct window {
    int y, rows, left, columns;
};

/* Which part of which source a buffer holds. */
struct held {
    int source, image;                   /* source −1: nothing */
    struct window window;
};

/* What one thread works with on one image. */
struct worker {
    const struct dilated_plan *plan;
    const struct geometry *g;
    const float *const *sources;
    int image;
    float *output, *result;              /* of the image: y, channels last, and what the step is asked for */
    float *spread, *products, *rows, *pairs; /* its own */
    float *merged, *row, *result_row;    /* its own: of a piece of y; of one row of it; the head's row that becomes planes */
    float *reduced, *low, *branches;     /* the team's */
    const float *input;                  /* of the branches */
    struct held row_held, pair_held;     /* what `rows` and `pairs` hold */
};

/* ---- the 1×1 stages of x (dilated_channels_stages.c) ------------------------------------------------------------------- */

/* One row of the upsampled sources' products at their own size, for both stages. */
void dilated_low_row(struct worker *w, int y);
/* Where the shortcut's part of `low` begins. */
float *dilated_shortcut_low(const struct worker *w);
/* A stage's result, [pixel][channels]; `low`: its part of the upsampled sources' products. */
void dilated_stage_pixels(struct worker *w, int stage, int channels, enum planar_activation activation, const float *low,
                          const struct window *window, float *output);
/* x itself, [pixel][channels], where it is one source. */
void dilated_turn_pixels(struct worker *w, const struct window *window, float *output);

#endif
