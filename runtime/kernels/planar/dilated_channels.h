/* Shared by the files of the dilated-parallel block on channels-last data: sizes, and what one thread works with. */
#ifndef MITRAL_PLANAR_DILATED_CHANNELS_H
#define MITRAL_PLANAR_DILATED_CHANNELS_H

#include "runtime/kernels/planar/amx.h"
#include "runtime/kernels/planar/dilated_walk.h"
#include "runtime/kernels/planar/pack.h"

struct geometry {
    int piece_height, piece_width, pieces_down, pieces_across; /* on AMX tiles a row of pieces is a band of rows of y, each a piece */
    int chunk_rows, chunks;
    int group;                          /* tiles that are transformed and multiplied together */
    int low_height, low_width;
    bool upsampled, split;
    bool copied;                        /* there is no reducing stage, and x is not channels-last */
    bool turned;                        /* x is one source that is not channels-last */
    bool waiting;                       /* the shortcut is in y's map before the branches are added to it */
    bool in_place;                      /* products take the place of what is multiplied */
    int merged_columns;                 /* of a piece's merged map, in which a branch's channels lie by themselves: the next one's … */
    ptrdiff_t merged_part;              /* … so many floats for each channel behind */
    ptrdiff_t spread_pitch, spread_position, product_pitch, product_position;
    /* Floats of the parts of one thread's scratch, and of the team's. */
    size_t spread, products, rows, pairs, merged, row, result_row, stage, head, thread, counts, reduced, low, branches, whole;
    int ring;                           /* on AMX tiles the branches read pairs in a ring of so many rows … */
    ptrdiff_t ring_row;                 /* … each of so many floats */
};

/* How deep a product of so many channels of the block is. */
static inline int dilated_depth(const struct dilated_block *block, int channels)
{
    return block->amx ? amx_depth(channels) : pack_depth(channels, block->pairs);
}

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
    float *stage, *head;                 /* its own: a chunk of the branches' input before it is rounded; pixels of y as pairs */
    float *counts, *reduced, *low, *branches; /* the team's */
    const float *input;                  /* of the branches */
    struct held row_held, pair_held;     /* what `rows` and `pairs` hold */
    struct amx_shape *shape;
};

/* The rows of a chunk. */
static inline struct window dilated_chunk_window(const struct worker *w, int chunk)
{
    const struct dilated_block *b = &w->plan->block;
    const int y = chunk * w->g->chunk_rows, left = b->height - y;
    return (struct window){.y = y, .rows = left < w->g->chunk_rows ? left : w->g->chunk_rows, .columns = b->width};
}

/* ---- the 1×1 stages of x (dilated_channels_stages.c) ------------------------------------------------------------------- */

/* One row of the upsampled sources' products at their own size, for both stages. */
void dilated_low_row(struct worker *w, int y);
/* Where the shortcut's part of `low` begins. */
float *dilated_shortcut_low(const struct worker *w);
/* A stage's result, [pixel][channels]; `low`: its part of the upsampled sources' products. */
void dilated_stage_pixels(struct worker *w, int stage, int channels, enum planar_activation activation, const float *low,
                          const struct window *window, float *output);
/* x as pairs for AMX tiles, where it is one source. Borrowed until the next call of these functions. */
const float *dilated_source_pairs(struct worker *w, const struct window *window);
/* x itself, [pixel][channels], where it is one source of float32. */
void dilated_turn_pixels(struct worker *w, const struct window *window, float *output);

/* ---- the end (dilated_channels_end.c) ----------------------------------------------------------------------------------- */

/* The shortcut's pixels where it is not a whole map, [pixel][outputs]. */
void dilated_make_shortcut(struct worker *w, const struct window *window, float *output);
/* Where a branch's part of the piece's merged map begins. */
static inline float *dilated_merged_part(const struct worker *w, const struct dilated_branch *branch)
{
    return w->merged + branch->first * w->g->merged_part;
}
/* Asks for what dilated_end_row will need of whole maps; near: in the first-level cache, else in the second. */
void dilated_fetch_row(const struct worker *w, const struct window *window, bool near);
/* Finishes a row of a piece, `row` of its merged map. */
void dilated_end_row(struct worker *w, const struct window *window, int row);
/* The third step of a split map: sums and finish of a chunk. */
void dilated_finish_chunk(const struct worker *w, int chunk);
/* Its last step where y is not the result: the head of a chunk, or its rows as planes. */
void dilated_end_chunk(const struct worker *w, int chunk);

/* ---- on AMX tiles (dilated_amx.c) ---------------------------------------------------------------------------------------- */

/* Scratch of a thread and of the team that only this way needs. */
void dilated_amx_measure(const struct dilated_plan *plan, int widest_source, struct geometry *g);
/* The branches' input of a chunk. */
void dilated_amx_chunk(struct worker *w, const struct window *window);
/* A row of y, of which its pieces are in place of squares. */
void dilated_amx_row(struct worker *w, int y);

#endif
