/* The inner loops of training on planar data, compiled once for each instruction set and chosen at run time. Pure functions over
 * pointers: no allocation, no threads, no checks. Sums run in an order that only their arguments decide. */
#ifndef MITRAL_TRAINING_BLOCKS_H
#define MITRAL_TRAINING_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/cpu.h"

/* How far beyond the last element that a caller asks for a block may read or write scratch memory, in floats. */
enum { TRAINING_SLACK = 64 };

/* Rows of planes to the six positions of Winograd's F(4, 3) along the rows: output[i * position + c * pitch + x]. Six input rows are
 * spread as a convolution's input is, four as its output's gradient is (the transpose of how outputs are gathered). Rows that are NULL
 * are zero; nothing beyond `columns` is read. Whole vectors are written. */
struct training_spread {
    int channels, columns;
    const float *rows[6]; /* of channel 0 */
    ptrdiff_t channel;
    float *output;
    ptrdiff_t position, pitch;
};

/* The second half of F(4×4, 3×3): six rows of each channel, at rows[i * row + c * row_pitch + x], and tiles[(6i + j) * position + c * pitch + t] of
 * the 36 positions. Of every TRAINING_COLUMNS columns, a group, there are eight tiles; they read two dilations beyond it. */
enum { TRAINING_COLUMNS = 32 };
struct training_columns {
    int channels, groups, dilation; /* 1, 2, 4 or 8 */
    float *rows;
    ptrdiff_t row, row_pitch;
    float *tiles;
    ptrdiff_t position, pitch;
};

/* to[r * pitch + x] = from[offsets[r] + x]: rows brought together, where they are read several times and lie so far apart that caches have
 * few places for all of them. */
struct training_collect {
    int rows, columns;
    const float *from;
    const ptrdiff_t *offsets;
    float *to;
    ptrdiff_t pitch;
};

/* Rows that are needed next, fetched into the second cache level while sums are made: `each` lines of 16 floats in one of `every` steps. */
struct training_ahead {
    const float *const *rows;
    int count, lines, each, every; /* lines of a row */
    int row, line;                 /* how far it has come */
};

/* sums[r * sum_pitch + k] += Σ_x a[r * pitch + x] · b[offsets[k] + x] for x below `columns`; nothing beyond is read. */
struct training_outer {
    int rows, depth, columns;
    const float *a;
    ptrdiff_t pitch;
    const float *b;
    const ptrdiff_t *offsets;
    float *sums;
    ptrdiff_t sum_pitch;
    struct training_ahead *ahead; /* NULL: none */
};

/* One row of a normalisation. Forward: y = act(a x + b + c residual). */
struct training_normalise {
    ptrdiff_t count;
    const float *x, *residual; /* NULL: none */
    float *y;
    float a, b, c;
    bool relu;
    bool through;        /* y is too large to be found in a cache later */
    unsigned char *open; /* a bit of each element: whether y > 0; NULL: not wanted */
};

/* Where a ReLU let a gradient through. */
enum training_sign {
    SIGN_ALL,    /* there was none */
    SIGN_BY_Y,   /* where y > 0 */
    SIGN_BY_LINE, /* where the same line of x as forward is > 0: then y need not be read */
    SIGN_BY_BITS  /* where y's bits say so */
};

/* Backward: dz is dy where the ReLU let it through. First Σ dz and Σ dz (x − mean); then dx = a dz + (b x + c) + addend, and dz itself where it
 * is wanted. Both may lie where an input does. */
struct training_denormalise {
    ptrdiff_t count;
    enum training_sign sign;
    const float *dy, *y, *x;
    const unsigned char *open;
    float line[2]; /* y = line[0] x + line[1] */
    const float *addend; /* NULL: none */
    float *dz, *dx;
    float mean, a, b, c;
    bool through; /* what is written is too large */
};

/* The same of the sum of two normalisations: Σ dz and both Σ dz (x − mean), then both dx. dy may be one of dx. */
struct training_denormalise_pair {
    ptrdiff_t count;
    bool relu;
    const float *dy, *x[2];
    float line[3]; /* y = line[0] x[0] + line[1] + line[2] x[1] */
    const float *addend; /* of dx[0]; NULL: none */
    float *dx[2];
    float mean[2], a[2], b[2], c[2];
    bool through; /* dx are too large */
};

/* What the gradient of a maximum and of the ReLU before it needs to know of a pair of rows: a byte of each window. */
struct training_mark {
    ptrdiff_t count; /* of windows */
    const float *upper, *lower;
    unsigned char *marks; /* as many as windows, up to a multiple of 16 */
};

struct training_unpool {
    ptrdiff_t count;
    const float *dy, *upper, *lower;
    const unsigned char *marks; /* NULL: found from upper and lower; else the ReLU's gradient is taken, too */
    const float *add_upper, *add_lower; /* NULL: nothing is added */
    float *to_upper, *to_lower;
};

struct training_blocks {
    const char *name;
    int lanes;
    int outer_rows, outer_depth; /* of a tile, whose sums `outer` makes at once */
    void (*spread_input)(const struct training_spread *spread);
    void (*spread_gradient)(const struct training_spread *spread);
    void (*spread_columns)(const struct training_columns *columns); /* rows to tiles; NULL where it would be no quicker, or is not known to be */
    void (*scatter_columns)(const struct training_columns *columns); /* of gradients: four columns of a tile to six */
    void (*gather_columns)(const struct training_columns *columns); /* tiles to rows */
    void (*outer)(const struct training_outer *outer);
    void (*collect)(const struct training_collect *rows);
    double (*sum)(const float *x, ptrdiff_t count);
    /* Adds Σ (x − pivot) and Σ (x − pivot)² to sums. */
    void (*moments)(const float *x, ptrdiff_t count, float pivot, double sums[2]);
    void (*normalise)(const struct training_normalise *row);
    void (*denormalise_sums)(const struct training_denormalise *row, double sums[2]);
    void (*denormalise)(const struct training_denormalise *row);
    void (*denormalise_pair_sums)(const struct training_denormalise_pair *row, double sums[3]);
    void (*denormalise_pair)(const struct training_denormalise_pair *row);
    void (*mark)(const struct training_mark *rows);
    /* One pair of rows of the gradient of a 2×2 maximum of stride 2: the first of equal elements takes it. `count` windows. */
    void (*unpool)(const struct training_unpool *rows);
    /* One row of the gradient of a bilinear doubling (half_pixel): `rows` holds the four rows of dY that sample this one, with their
     * weights; `count` elements of it. `temporary` holds 2 count + TRAINING_SLACK floats. */
    void (*unresize)(const float *const rows[4], const float weights[4], float *temporary, float *to, ptrdiff_t count);
};

/* Steps of the sums of `outer`: groups of rows and of depth, vectors of columns. */
int64_t training_outer_steps(const struct training_blocks *blocks, int64_t rows, int64_t depth, int64_t columns);

/* Fetches evenly over so many steps, or over the first of them where there are many: steps that fetch nothing are quicker. */
void training_ahead_pace(struct training_ahead *ahead, int64_t steps);

/* Σ over `units` of `count` sums that lie `unit` floats apart, in order. */
void training_total(const float *sums, size_t unit, int64_t units, int count, double *out);

/* Whether so many floats are too many to be found in a cache later. */
bool training_is_large(int64_t floats);

/* The best table for `isa` (which the machine must be able to run). */
const struct training_blocks *training_blocks_of(enum isa isa);

/* Whose transforms across columns go with `blocks`: they are written for 256 bits, and as quick there where 512 are computed in halves. */
const struct training_blocks *training_column_blocks(const struct training_blocks *blocks);

extern const struct training_blocks training_blocks_avx512, training_blocks_avx2, training_blocks_portable;

#endif
