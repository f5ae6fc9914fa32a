/* The inner loops of training's products in bfloat16, on AMX tiles: operands are rounded to bfloat16, and their products summed in float32.
 * Pure functions over pointers: no allocation, no threads, no checks. Sums run in an order that only their arguments decide. */
#ifndef MITRAL_TRAINING_TILES_H
#define MITRAL_TRAINING_TILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/round.h"

/* A tile holds 16 rows of 16 sums; a step adds 32 products to each. */
enum { TILE = 16, TILE_DEPTH = 32, TILE_SUMS = TILE * TILE, TILE_TAPS = 49 };

/* An item's buffers stay in the second cache level. */
enum { TILE_BUFFER_BYTES = 512 << 10 };

/* How many bands so many rows are cut into where `fits` rows fit the buffers, and the rows of one: about as many each, as all cost the same. */
static inline int64_t tile_bands(int64_t rows, int64_t fits, int64_t *band)
{
    enum { FEWEST = 4 };
    const int64_t wanted = larger(fits, FEWEST), bands = divide_up(rows, smaller(wanted, rows));
    *band = divide_up(rows, bands);
    return bands;
}

/* out[r][x] = start[r][x] + Σ weights · pairs, for one or two tiles of rows by one or two of columns. Two neighbouring channels of a pixel lie
 * in one lane of 32 bits, the first one in its lower half: pair k of step s begins at pairs[offsets[s] + k * pitch]. */
struct tiles_product {
    int steps, rows, columns;  /* rows and columns in tiles */
    const uint16_t *weights;   /* [steps][rows][16][32] */
    const uint32_t *pairs;
    const ptrdiff_t *offsets;
    ptrdiff_t pitch;
    const float *start;        /* as far from row to row as `out`; NULL: zero */
    float *out;
    ptrdiff_t out_pitch;
};

/* sums[i][j][r][x] += Σ a[16 i + r] · b[16 j + x] over 32 · steps pixels: rows of `a` hold a pixel an element, lane 16 j + x of `b` two
 * neighbouring pixels, and the next two lie b_pitch lanes on. */
struct tiles_outer {
    int steps, rows, columns;
    const uint16_t *a;
    ptrdiff_t a_pitch;
    const uint32_t *b;
    ptrdiff_t b_pitch;
    float *sums;               /* tiles of 256 */
    ptrdiff_t row_step, column_step;
    bool first;                /* there are no sums yet */
};

/* Sums of a product to where they belong: to[r * plane + x] = from[r * pitch + x] + shift[r] + addend[r * plane + x]. */
struct tiles_finish {
    int rows, columns;
    const float *from;
    ptrdiff_t pitch;
    const float *shift, *addend; /* NULL: none */
    float *to;
    ptrdiff_t plane;
};

/* to[t * tap][r][k] = weights[r * row + k * depth_step + t] for 16 rows and a depth of 32, zero beyond what there is. The taps of one row and one
 * step lie together; what follows them is the next step's (depth_step = taps) or the next row's (row = taps). */
struct tiles_pack {
    const float *weights;
    int rows, depth, taps;     /* up to TILE_TAPS */
    ptrdiff_t row, depth_step;
    uint16_t *to;
    ptrdiff_t tap;
};

struct tile_blocks {
    void (*begin)(void); /* sets this thread's tiles up */
    void (*end)(void);
    void (*product)(const struct tiles_product *product);
    void (*outer)(const struct tiles_outer *outer);
    void (*finish)(const struct tiles_finish *finish);
    /* Rows of two channels as pairs; `odd` NULL: zero. */
    void (*pair)(const float *even, const float *odd, ptrdiff_t count, uint32_t *to);
    void (*round)(const float *from, ptrdiff_t count, uint16_t *to);
    /* A row of up to 16 channels as pairs of pixels, to[pixel / 2 * pitch + channel]: of whole groups of 32 pixels, zero beyond `columns`. */
    void (*turn)(const float *from, ptrdiff_t plane, int channels, ptrdiff_t columns, uint32_t *to, ptrdiff_t pitch);
    void (*pack)(const struct tiles_pack *pack);
};

/* NULL where the CPU has no tiles. */
const struct tile_blocks *training_tile_blocks(void);
extern const struct tile_blocks training_tile_blocks_amx;

#endif
