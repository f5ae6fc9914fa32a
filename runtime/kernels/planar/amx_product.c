/* Products of bfloat16 on AMX tiles: sixteen pixels by sixteen channels to a tile of float32 sums, up to thirty-two products to each of
 * them at a time. The weights are those of pairs.c (a pair is one 32-bit lane), their depth padded to whole tiles (amx_depth). */
#include "runtime/kernels/planar/amx.h"
#include "runtime/kernels/planar/blocks.h"
#include "runtime/kernels/planar/finish.h"

enum { ROWS = AMX_ROWS, COLUMNS = 16, SUMS = 4 };

/* GCC 12's intrinsics do not say that instructions read memory: stores before them must not wait or fall away. */
#define MEMORY_IS_READ(address) __asm__ volatile("" : : "r"(address) : "memory")

/* As the instruction reads it (Intel's manual, LDTILECFG). */
struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* Tiles 0 to 3 are sums, 4 and 5 pixels, 6 and 7 weights. */
static void shape_tiles(struct amx_shape *shape, int pairs, int columns)
{
    if (shape->pairs == pairs && shape->columns == columns)
        return;
    *shape = (struct amx_shape){pairs, columns};
    struct tile_shapes shapes = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shapes.rows[i] = (uint8_t)(i < 6 ? ROWS : pairs);
        shapes.row_bytes[i] = (uint16_t)(4 * (i == 4 || i == 5 ? pairs : columns));
    }
    MEMORY_IS_READ(&shapes);
    _tile_loadconfig(&shapes);
}

/* A panel: the columns that one or two tiles make, for all rows. */
struct panel {
    const struct channel_product *product;
    int columns, pairs, column;          /* of each tile; pairs of a step of the depth; the first column */
    const float *start;                  /* of row 0; NULL: zeros */
    ptrdiff_t start_stride, from, to;    /* bytes between rows of `start`, input and output */
    bool apart;                          /* sums go through `finish_tile`, … */
    int done;                            /* … of which the first so many are there already */
};

static void finish_tile(const struct panel *n, const float sums[ROWS * COLUMNS], int row, int column)
{
    const struct channel_product *p = n->product;
    const int rows = p->rows - row < ROWS ? p->rows - row : ROWS, part = n->columns % COLUMNS;
    const vec shift = p->shift && !p->accumulate ? vec_load_some(p->shift + column, part) : vec_set(0);
    const vec slope = p->activation == PLANAR_SLOPE ? vec_load_some(p->slope + column, part) : vec_set(0);
    for (int r = n->done; r < rows; r++) {
        vec value = vec_load_some(sums + r * COLUMNS, part) + shift;
        if (p->activation == PLANAR_RELU)
            value = vec_max(vec_set(0), value);
        else if (p->activation == PLANAR_SLOPE)
            value = vec_slope(value, slope);
        vec_store_some(p->output + (row + r) * p->stride + column, value, part);
    }
}

#define START(tile, first, across)                                                                                     \
    do {                                                                                                               \
        if (n->start)                                                                                                  \
            _tile_loadd(tile, (const char *)n->start + (first) * n->start_stride + 4 * (across), n->start_stride);     \
        else                                                                                                           \
            _tile_zero(tile);                                                                                          \
    } while (0)
#define END(tile, first, across)                                                                                       \
    do {                                                                                                               \
        if (n->apart) {                                                                                                \
            _tile_stored(tile, sums, COLUMNS * 4);                                                                     \
            finish_tile(n, sums, first, n->column + (across));                                                         \
        } else {                                                                                                       \
            _tile_stored(tile, p->output + (first) * p->stride + n->column + (across), n->to);                         \
        }                                                                                                              \
    } while (0)

/* `count` (1 to 4) tiles of pixels by one of channels. */
INLINE void make_tall(const struct panel *n, int row, int count)
{
    const struct channel_product *p = n->product;
    const ptrdiff_t tile = ROWS * p->pixel, width = 4 * p->width;
    const float *weights = p->weights + n->column;
    float sums[ROWS * COLUMNS] __attribute__((aligned(64)));
    START(0, row, 0);
    if (count > 1)
        START(1, row + ROWS, 0);
    if (count > 2)
        START(2, row + 2 * ROWS, 0);
    if (count > 3)
        START(3, row + 3 * ROWS, 0);
    for (int tap = 0; tap < p->taps; tap++) {
        const float *input = p->input + (p->offsets ? p->offsets[tap] : 0) + row * p->pixel;
        for (int k = 0; k < p->depth; k += n->pairs, input += n->pairs, weights += n->pairs * p->width) {
            _tile_loadd(6, weights, width);
            _tile_loadd(4, input, n->from);
            _tile_dpbf16ps(0, 4, 6);
            if (count > 1) {
                _tile_loadd(5, input + tile, n->from);
                _tile_dpbf16ps(1, 5, 6);
            }
            if (count > 2) {
                _tile_loadd(4, input + 2 * tile, n->from);
                _tile_dpbf16ps(2, 4, 6);
            }
            if (count > 3) {
                _tile_loadd(5, input + 3 * tile, n->from);
                _tile_dpbf16ps(3, 5, 6);
            }
        }
    }
    END(0, row, 0);
    if (count > 1)
        END(1, row + ROWS, 0);
    if (count > 2)
        END(2, row + 2 * ROWS, 0);
    if (count > 3)
        END(3, row + 3 * ROWS, 0);
}

/* `count` (1 or 2) tiles of pixels by two of channels. */
INLINE void make_square(const struct panel *n, int row, int count)
{
    const struct channel_product *p = n->product;
    const ptrdiff_t tile = ROWS * p->pixel, width = 4 * p->width;
    const float *weights = p->weights + n->column;
    float sums[ROWS * COLUMNS] __attribute__((aligned(64)));
    START(0, row, 0);
    START(1, row, COLUMNS);
    if (count > 1) {
        START(2, row + ROWS, 0);
        START(3, row + ROWS, COLUMNS);
    }
    for (int tap = 0; tap < p->taps; tap++) {
        const float *input = p->input + (p->offsets ? p->offsets[tap] : 0) + row * p->pixel;
        for (int k = 0; k < p->depth; k += n->pairs, input += n->pairs, weights += n->pairs * p->width) {
            _tile_loadd(6, weights, width);
            _tile_loadd(7, weights + COLUMNS, width);
            _tile_loadd(4, input, n->from);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (count > 1) {
                _tile_loadd(5, input + tile, n->from);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
    }
    END(0, row, 0);
    END(1, row, COLUMNS);
    if (count > 1) {
        END(2, row + ROWS, 0);
        END(3, row + ROWS, COLUMNS);
    }
}

/* Whole tiles go straight from and to the maps; the last rows, where they do not fill one, through `edge`. */
static void run_panel(const struct panel *n, int tiles, int rows)
{
    int row = 0;
    MEMORY_IS_READ(n->start);
    for (; tiles == 2 && row + ROWS < rows; row += 2 * ROWS)
        make_square(n, row, 2);
    for (; tiles == 2 && row < rows; row += ROWS)
        make_square(n, row, 1);
    for (; row + 3 * ROWS < rows; row += SUMS * ROWS)
        make_tall(n, row, SUMS);
    if (row < rows) {
        if (rows - row > 2 * ROWS)
            make_tall(n, row, 3);
        else if (rows - row > ROWS)
            make_tall(n, row, 2);
        else
            make_tall(n, row, 1);
    }
}

void amx_product(const struct channel_product *p)
{
    const int pairs = amx_pairs(p->depth);
    const float *start = p->accumulate ? p->output : p->residual;
    const ptrdiff_t stride = p->accumulate ? p->stride : p->residual_stride;
    const bool plain = (!p->shift || p->accumulate) && p->activation == PLANAR_LINEAR;
    const int whole = p->rows / ROWS * ROWS;
    for (int column = 0; column < p->columns;) {
        const int left = p->columns - column, tiles = left >= 2 * COLUMNS ? 2 : 1, columns = left < COLUMNS ? left : COLUMNS;
        struct panel n = {.product = p, .columns = columns, .pairs = pairs, .column = column, .start = start ? start + column : NULL,
                          .start_stride = 4 * stride, .from = 4 * p->pixel, .to = 4 * p->stride, .apart = !plain};
        shape_tiles(p->shape, pairs, columns);
        run_panel(&n, tiles, whole);
        if (whole < p->rows) { /* what lies behind the last row is not ours: the last tile begins as far before it */
            float edge[ROWS * 2 * COLUMNS] __attribute__((aligned(64))) = {0};
            const int first = p->rows < ROWS ? 0 : p->rows - ROWS;
            struct channel_product rest = *p;
            rest.rows = p->rows - first;
            rest.input = p->input + first * p->pixel;
            rest.output = p->output + first * p->stride;
            n.done = whole - first;
            for (int r = n.done; start && r < rest.rows; r++)
                memcpy(edge + r * 2 * COLUMNS, n.start + (first + r) * stride, (size_t)(tiles * columns) * sizeof *edge);
            n.product = &rest;
            n.start = start ? edge : NULL;
            n.start_stride = sizeof edge / ROWS;
            n.apart = true;
            run_panel(&n, tiles, rest.rows);
        }
        column += tiles * columns;
    }
}

void amx_release(struct amx_shape *shape)
{
    _tile_release();
    *shape = (struct amx_shape){0, 0};
}
