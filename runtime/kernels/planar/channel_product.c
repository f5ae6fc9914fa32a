/* Products of pixels with a weight matrix, lanes along the output channels: 1×1 convolutions and Winograd's products on channels-last
 * data, and any convolution whose taps are offsets. A tile of some pixels by one to three vectors of channels stays in registers
 * while taps and depth are walked. */
#include "runtime/kernels/planar/blocks.h"
#include "runtime/kernels/planar/finish.h"

/* How many products Winograd's sums take in one chain: rounding grows with a chain's length, and a sum of some short chains
 * halves what is lost at the depths of deep layers. */
enum { CHAIN = 16 };

/* Tiles of Winograd's products one after another: neighbouring rows of one product, or the same rows of neighbouring ones. */
struct run {
    int count, depth;
    const float *next;                               /* what to fetch meanwhile, so much for each tile; NULL: nothing */
    ptrdiff_t next_tile;
    ptrdiff_t pixel, width, stride;                  /* between rows of input, weights and output */
    ptrdiff_t input_step, weight_step, output_step;  /* between tiles */
};

/* Few registers make small tiles, in which counting and jumping is a good part of all instructions: it shows where another thread shares
 * the core. Channels that are not neighbours need their addresses too much for that. */
#define WRITTEN_OUT(step) (VECTOR_REGISTERS == 16 && (step) == 1)

/* One step of the depth. */
#define CORE_STEP(ROWS, VECTORS, pixel, step, weights, width)                                                          \
    do {                                                                                                               \
        vec w[VECTORS];                                                                                                \
        _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                                      \
            w[v] = vec_load(weights + v * LANES);                                                                      \
        _Pragma("GCC unroll 32") for (int r = 0; r < ROWS; r++) {                                                      \
            vec x = vec_set(from[r / 4][r % 4 * (pixel)]);                                                             \
            _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                                  \
                sum[r][v] = vec_product(x, w[v], sum[r][v]);                                                           \
        }                                                                                                              \
        _Pragma("GCC unroll 8") for (int q = 0; q < (ROWS + 3) / 4; q++)                                               \
            from[q] += (step);                                                                                         \
        weights += (width);                                                                                            \
    } while (0)

/* sum[r][v] += Σ_k input[r * pixel + k * step] · weights[k * width + v], the loop that all the time goes into. */
#define CORE(ROWS, VECTORS, input, pixel, step, weights, width, depth)                                                 \
    do {                                                                                                               \
        const float *from[(ROWS + 3) / 4];                                                                             \
        _Pragma("GCC unroll 8") for (int q = 0; q < (ROWS + 3) / 4; q++)                                               \
            from[q] = (input) + 4 * q * (pixel);                                                                       \
        if (WRITTEN_OUT(step)) {                                                                                       \
            _Pragma("GCC unroll 4") for (int k = 0; k < (depth); k++)                                                  \
                CORE_STEP(ROWS, VECTORS, pixel, 1, weights, width);                                                    \
        } else {                                                                                                       \
            for (int k = 0; k < (depth); k++)                                                                          \
                CORE_STEP(ROWS, VECTORS, pixel, step, weights, width);                                                 \
        }                                                                                                              \
    } while (0)

/* The same of a small square, a number of the compiler's: without a loop, whose end would cost a fifth of it. */
#define CORE_SQUARE(ROWS, VECTORS, input, weights, square)                                                             \
    do {                                                                                                               \
        const float *from[(ROWS + 3) / 4], *panel = (weights);                                                         \
        _Pragma("GCC unroll 8") for (int q = 0; q < (ROWS + 3) / 4; q++)                                               \
            from[q] = (input) + 4 * q * (square);                                                                      \
        _Pragma("GCC unroll 32") for (int k = 0; k < (square); k++)                                                    \
            CORE_STEP(ROWS, VECTORS, square, 1, panel, square);                                                        \
    } while (0)

/* The same of dense rows, while `share` floats from `next` on are asked for, to the second-level cache, in even portions. */
#define CORE_FETCHING(ROWS, VECTORS, input, pixel, weights, width, depth, next, share)                                 \
    do {                                                                                                               \
        enum { STRETCH = 8, LINE = 16 };                                                                               \
        const ptrdiff_t portion = (share) * STRETCH / (depth) + 1;                                                     \
        const float *line = (next);                                                                                    \
        for (int begun = 0; begun < (depth); begun += STRETCH) {                                                       \
            const int stretch = (depth) - begun < STRETCH ? (depth) - begun : STRETCH;                                 \
            for (const float *end = (next) + (begun / STRETCH + 1) * portion; line < end; line += LINE)                \
                __builtin_prefetch(line, 0, 2);                                                                        \
            CORE(ROWS, VECTORS, (input) + begun, pixel, 1, weights, width, stretch);                                   \
        }                                                                                                              \
    } while (0)

/* For each vector of a tile of sums; how many lanes of vector v are output (0: all), `part` of the last one. */
#define EACH(ROWS, VECTORS)                                                                                            \
    _Pragma("GCC unroll 32") for (int r = 0; r < ROWS; r++)                                                            \
        _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)
#define PART(VECTORS) (v == VECTORS - 1 ? part : 0)

/* Compilers would rather load the distance to each row from memory than add them up. */
#define ROW_KEEP(row) __asm__("" : "+r"(row))

/* Whether a tile's sums fit in the registers twice: the parts of long chains are added up there. */
#define IS_DEEP(ROWS, VECTORS) (2 * (ROWS) * (VECTORS) + (VECTORS) < VECTOR_REGISTERS)

static const float no_shift[3 * LANES];

/* What most products are: one tap, nothing to add after it, whole vectors. */
INLINE bool product_is_simple(const struct channel_product *p, int part)
{
    return part == 0 && p->taps == 1 && !p->offsets && p->step == 1 && !p->residual && p->activation != PLANAR_SLOPE && !p->ahead;
}

/* `count` tiles of ROWS pixels from `row` on by VECTORS vectors of channels from `column` on; of the last vector PART lanes (0: all)
 * are output. Simple products have a loop of their own: of depths like 32, what is asked and set up for each tile is a fifth of it.
 * `plain` tiles are those of Winograd's products: dense, nothing to add, whole vectors. */
#define TILE(ROWS, VECTORS)                                                                                            \
    INLINE void any_##ROWS##_##VECTORS(const struct channel_product *p, ptrdiff_t row, ptrdiff_t column, int part)     \
    {                                                                                                                  \
        vec sum[ROWS][VECTORS];                                                                                        \
        float *to = p->output + row * p->stride + column;                                                              \
        if (p->accumulate)                                                                                             \
            EACH(ROWS, VECTORS) sum[r][v] = vec_load_some(to + r * p->stride + v * LANES, PART(VECTORS));                \
        else if (p->shift)                                                                                             \
            EACH(ROWS, VECTORS) sum[r][v] = vec_load_some(p->shift + column + v * LANES, PART(VECTORS));                 \
        else                                                                                                           \
            EACH(ROWS, VECTORS) sum[r][v] = vec_set(0);                                                                \
        const float *weights = p->weights + column;                                                                    \
        if (p->ahead)                                                                                                  \
            _Pragma("GCC unroll 32") for (int r = 0; r < ROWS; r++)                                                    \
                __builtin_prefetch(to + (r + ROWS_AHEAD) * p->stride, 1);                                                   \
        for (int tap = 0; tap < p->taps; tap++)                                                                        \
            CORE(ROWS, VECTORS, p->input + (p->offsets ? p->offsets[tap] : 0) + row * p->pixel, p->pixel, p->step,     \
                 weights, p->width, p->depth);                                                                         \
        const struct channel_product end = *p; /* a copy that no store can change */                                   \
        if (end.residual)                                                                                              \
            EACH(ROWS, VECTORS) sum[r][v] += vec_load_some(end.residual + (row + r) * end.residual_stride + column       \
                                                         + v * LANES, PART(VECTORS));                                  \
        if (end.activation == PLANAR_RELU)                                                                             \
            EACH(ROWS, VECTORS) sum[r][v] = vec_max(vec_set(0), sum[r][v]);                                            \
        else if (end.activation == PLANAR_SLOPE)                                                                       \
            EACH(ROWS, VECTORS) sum[r][v] = vec_slope(sum[r][v], vec_load_some(end.slope + column + v * LANES,           \
                                                                             PART(VECTORS)));                          \
        if (part == 0)                                                                                                 \
            EACH(ROWS, VECTORS) vec_store(to + r * end.stride + v * LANES, sum[r][v]);                                 \
        else                                                                                                           \
            EACH(ROWS, VECTORS) vec_store_some(to + r * end.stride + v * LANES, sum[r][v], PART(VECTORS));               \
    }                                                                                                                  \
    __attribute__((noinline)) static void tile_##ROWS##_##VECTORS(const struct channel_product *p, ptrdiff_t row,      \
                                                                  int count, ptrdiff_t column, int part)               \
    {                                                                                                                  \
        if (!product_is_simple(p, part)) {                                                                             \
            for (; count > 0; count--, row += ROWS)                                                                    \
                any_##ROWS##_##VECTORS(p, row, column, part);                                                          \
            return;                                                                                                    \
        }                                                                                                              \
        const int depth = p->depth;                                                                                    \
        const bool accumulate = p->accumulate, positive = p->activation == PLANAR_RELU;                                \
        const ptrdiff_t pixel = p->pixel, width = p->width, stride = p->stride;                                        \
        const float *input = p->input + row * pixel, *whole = p->weights + column;                                     \
        const float *shift = p->shift ? p->shift + column : no_shift;                                                  \
        float *to = p->output + row * stride + column;                                                                 \
        for (; count > 0; count--, input += ROWS * pixel, to += ROWS * stride) {                                       \
            vec sum[ROWS][VECTORS];                                                                                    \
            const float *weights = whole;                                                                              \
            if (accumulate)                                                                                            \
                EACH(ROWS, VECTORS) sum[r][v] = vec_load(to + r * stride + v * LANES);                                 \
            else                                                                                                       \
                EACH(ROWS, VECTORS) sum[r][v] = vec_load(shift + v * LANES);                                           \
            CORE(ROWS, VECTORS, input, pixel, 1, weights, width, depth);                                               \
            if (positive)                                                                                              \
                EACH(ROWS, VECTORS) sum[r][v] = vec_max(vec_set(0), sum[r][v]);                                        \
            float *row_to = to;                                                                                        \
            _Pragma("GCC unroll 32") for (int r = 0; r < ROWS; r++, row_to += stride) {                                \
                ROW_KEEP(row_to);                                                                                      \
                _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                              \
                    vec_store(row_to + v * LANES, sum[r][v]);                                                          \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    INLINE void chains_##ROWS##_##VECTORS(int depth, ptrdiff_t pixel, ptrdiff_t width, ptrdiff_t stride,               \
                                          const float *input, const float *weights, float *output, const float *next,  \
                                          ptrdiff_t next_tile)                                                         \
    {                                                                                                                  \
        const int parts = depth <= BATCH_CHAIN ? 1 : (depth + CHAIN - 1) / CHAIN, most = (depth + parts - 1) / parts; \
        vec total[ROWS][VECTORS];                                                                                      \
        for (int done = 0; done < depth; done += most, input += most) {                                                \
            const int count = depth - done < most ? depth - done : most;                                               \
            vec sum[ROWS][VECTORS];                                                                                    \
            EACH(ROWS, VECTORS) sum[r][v] = vec_set(0);                                                                \
            if (next)                                                                                                  \
                CORE_FETCHING(ROWS, VECTORS, input, pixel, weights, width, count, next + done * next_tile / depth,     \
                              count * next_tile / depth);                                                              \
            else                                                                                                       \
                CORE(ROWS, VECTORS, input, pixel, 1, weights, width, count);                                           \
            if (IS_DEEP(ROWS, VECTORS) && parts > 1)                                                                   \
                EACH(ROWS, VECTORS) total[r][v] = done > 0 ? total[r][v] + sum[r][v] : sum[r][v];                      \
            else if (done > 0)                                                                                         \
                EACH(ROWS, VECTORS) vec_store(output + r * stride + v * LANES,                                         \
                                              vec_load(output + r * stride + v * LANES) + sum[r][v]);                  \
            else                                                                                                       \
                EACH(ROWS, VECTORS) vec_store(output + r * stride + v * LANES, sum[r][v]);                             \
        }                                                                                                              \
        if (IS_DEEP(ROWS, VECTORS) && parts > 1)                                                                       \
            EACH(ROWS, VECTORS) vec_store(output + r * stride + v * LANES, total[r][v]);                               \
    }                                                                                                                  \
    __attribute__((noinline)) static void plain_##ROWS##_##VECTORS(const struct run *run, const float *input,          \
                                                                   const float *weights, float *output)                \
    {                                                                                                                  \
        enum { SQUARE = VECTORS * LANES };                                                                             \
        if (VECTORS < 3 && run->depth == SQUARE && run->pixel == SQUARE && run->width == SQUARE && run->stride == SQUARE) {           \
            for (int i = 0; i < run->count; i++, input += run->input_step, weights += run->weight_step, output += run->output_step) { \
                vec sum[ROWS][VECTORS];                                                                                \
                EACH(ROWS, VECTORS) sum[r][v] = vec_set(0);                                                            \
                CORE_SQUARE(ROWS, VECTORS, input, weights, SQUARE);                                                    \
                EACH(ROWS, VECTORS) vec_store(output + r * SQUARE + v * LANES, sum[r][v]);                             \
            }                                                                                                          \
            return;                                                                                                    \
        }                                                                                                              \
        if (run->next) {                                                                                               \
            const float *next = run->next;                                                                             \
            for (int i = 0; i < run->count; i++, input += run->input_step, output += run->output_step, next += run->next_tile) \
                chains_##ROWS##_##VECTORS(run->depth, run->pixel, run->width, run->stride, input, weights, output, next, run->next_tile); \
            return;                                                                                                    \
        }                                                                                                              \
        for (int i = 0; i < run->count; i++, input += run->input_step, weights += run->weight_step, output += run->output_step) \
            chains_##ROWS##_##VECTORS(run->depth, run->pixel, run->width, run->stride, input, weights, output, NULL, 0); \
    }

#if VECTOR_REGISTERS == 32
TILE(24, 1)
TILE(20, 1)
TILE(16, 1)
TILE(14, 2)
TILE(13, 2)
TILE(12, 2)
TILE(11, 2)
TILE(10, 2)
TILE(9, 2)
TILE(8, 2)
TILE(7, 2)
TILE(9, 3)
TILE(8, 3)
TILE(7, 3)
TILE(6, 3)
#endif
TILE(12, 1)
TILE(10, 1)
TILE(8, 1)
TILE(6, 1)
TILE(4, 1)
TILE(2, 1)
TILE(1, 1)
TILE(6, 2)
TILE(5, 2)
TILE(4, 2)
TILE(2, 2)
TILE(1, 2)
TILE(4, 3)
TILE(3, 3)
TILE(2, 3)
TILE(1, 3)

struct tile {
    int rows;
    void (*function)(const struct channel_product *p, ptrdiff_t row, int count, ptrdiff_t column, int part);
    void (*plain)(const struct run *run, const float *input, const float *weights, float *output);
};

#undef TILE
#define TILE(ROWS, VECTORS) {ROWS, tile_##ROWS##_##VECTORS, plain_##ROWS##_##VECTORS}

/* By number of vectors, tallest first. */
static const struct tile tiles[3][14] = {
#if VECTOR_REGISTERS == 32
    {TILE(24, 1), TILE(20, 1), TILE(16, 1), TILE(12, 1), TILE(10, 1), TILE(8, 1), TILE(6, 1), TILE(4, 1), TILE(2, 1), TILE(1, 1), {0, NULL, NULL}},
    {TILE(14, 2), TILE(13, 2), TILE(12, 2), TILE(11, 2), TILE(10, 2), TILE(9, 2), TILE(8, 2), TILE(7, 2),
     TILE(6, 2), TILE(5, 2), TILE(4, 2), TILE(2, 2), TILE(1, 2), {0, NULL, NULL}},
    {TILE(9, 3), TILE(8, 3), TILE(7, 3), TILE(6, 3), TILE(4, 3), TILE(3, 3), TILE(2, 3), TILE(1, 3), {0, NULL, NULL}},
#else
    {TILE(12, 1), TILE(10, 1), TILE(8, 1), TILE(6, 1), TILE(4, 1), TILE(2, 1), TILE(1, 1), {0, NULL, NULL}},
    {TILE(6, 2), TILE(5, 2), TILE(4, 2), TILE(2, 2), TILE(1, 2), {0, NULL, NULL}},
    {TILE(4, 3), TILE(3, 3), TILE(2, 3), TILE(1, 3), {0, NULL, NULL}},
#endif
};

/* The tile that the next of `rows` rows begin with: as few tiles as possible, of about the same height. */
static const struct tile *next_tile(const struct tile *tile, int rows)
{
    if (rows > tile->rows * (tile->rows - 1)) /* the same, without divisions */
        return tile;
    int count = (rows + tile->rows - 1) / tile->rows, height = (rows + count - 1) / count;
    while (tile[1].rows >= height || tile->rows > rows)
        tile++;
    return tile;
}

/* How many tiles in a row are that one. */
static int tiles_alike(const struct tile *tile, const struct tile *tallest, int rows)
{
    int count = 1;
    while (count * tile->rows < rows && next_tile(tallest, rows - count * tile->rows) == tile)
        count++;
    return count;
}

/* How many of the vectors that are left the next panel takes. */
static int panel_vectors(int left)
{
    return left == 3 || left == 5 ? 3 : left == 1 ? 1 : 2;
}

#if LANES == 8
/* Never decided by the number of rows, nor for the last columns of many: sums are in another order. */
static bool is_narrow(const struct channel_product *p)
{
    return p->whole && p->rows > 0 && p->taps == 1 && !p->offsets && p->step == 1 && !p->residual && p->depth > 0 && p->depth % 2 == 0
           && p->depth <= NARROW_DEPTH;
}
#endif

void BLOCK(channel_product)(const struct channel_product *p)
{
    int vectors = (p->columns + LANES - 1) / LANES;
    ptrdiff_t column = 0;
    while (vectors > 0) {
        int count = panel_vectors(vectors);
        vectors -= count;
        int part = vectors == 0 ? p->columns % LANES : 0;
#if LANES == 8
        if (count == 1 && is_narrow(p)) {
            BLOCK(channel_narrow)(p, part);
            return;
        }
#endif
        for (int row = 0; row < p->rows;) {
            const struct tile *tile = next_tile(tiles[count - 1], p->rows - row);
            const int alike = tiles_alike(tile, tiles[count - 1], p->rows - row);
            tile->function(p, row, alike, column, part);
            row += alike * tile->rows;
        }
        column += count * LANES;
    }
}

/* Weights that stay in the first-level cache are read again for each tile of rows, larger ones once for all rows. */
enum { CACHED_WEIGHTS = 5120 };

#if VECTOR_REGISTERS == 16
/* Dense rows of one vector's width by a square: all of it stays in half of the registers while rows pass in sixes, so that nothing
 * but the rows themselves is loaded. */
INLINE void square_rows(int rows, const float *input, const vec weights[LANES], float *output)
{
    vec sum[6];
    _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++)
        sum[r] = vec_set(0);
    _Pragma("GCC unroll 8") for (int k = 0; k < LANES; k++)
        _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++)
            sum[r] = vec_product(vec_set(input[r * LANES + k]), weights[k], sum[r]);
    _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++)
        vec_store(output + r * LANES, sum[r]);
}

static void square_batch(const struct channel_batch *b)
{
    for (int i = 0; i < b->count; i++) {
        const float *input = b->input + i * b->position, *from = b->weights + (ptrdiff_t)i * LANES * LANES;
        float *output = b->output + i * b->position_out;
        vec weights[LANES];
        _Pragma("GCC unroll 8") for (int k = 0; k < LANES; k++)
            weights[k] = vec_load(from + k * LANES);
        int row = 0;
        for (; row + 6 <= b->rows; row += 6, input += 6 * LANES, output += 6 * LANES)
            square_rows(6, input, weights, output);
        for (; row + 2 <= b->rows; row += 2, input += 2 * LANES, output += 2 * LANES)
            square_rows(2, input, weights, output);
        if (row < b->rows)
            square_rows(1, input, weights, output);
    }
}
#endif

static void batch_panel(const struct channel_batch *b, const struct tile *tallest, int vectors, ptrdiff_t column)
{
    while (VECTOR_REGISTERS == 32 && b->depth > BATCH_CHAIN && !IS_DEEP(tallest->rows, vectors))
        tallest++;
    const ptrdiff_t weight_step = b->depth * b->width;
    const bool positions_inside = b->count * weight_step <= CACHED_WEIGHTS;
    struct {
        const struct tile *tile;
        int count;
    } rows[sizeof tiles[0] / sizeof tiles[0][0]]; /* the tiles of one position */
    int kinds = 0;
    for (int row = 0; row < b->rows; row += rows[kinds].count * rows[kinds].tile->rows, kinds++) {
        rows[kinds].tile = next_tile(tallest, b->rows - row);
        rows[kinds].count = tiles_alike(rows[kinds].tile, tallest, b->rows - row);
    }
    for (int i = 0; i < (positions_inside ? 1 : b->count); i++)
        for (int kind = 0, row = 0; kind < kinds; row += rows[kind].count * rows[kind].tile->rows, kind++)
            for (int r = row, times = positions_inside ? rows[kind].count : 1; times > 0; times--, r += rows[kind].tile->rows) {
                const struct tile *tile = rows[kind].tile;
                struct run run = {.count = rows[kind].count, .depth = b->depth, .pixel = b->pitch, .width = b->width, .stride = b->pitch_out,
                                  .input_step = tile->rows * b->pitch, .output_step = tile->rows * b->pitch_out};
                if (positions_inside) {
                    run.count = b->count;
                    run.input_step = b->position;
                    run.weight_step = weight_step;
                    run.output_step = b->position_out;
                }
                if (column == 0 && b->next) {
                    run.next = b->next + r * b->next_row;
                    run.next_tile = tile->rows * b->next_row;
                }
                tile->plain(&run, b->input + i * b->position + r * b->pitch, b->weights + i * weight_step + column,
                            b->output + i * b->position_out + r * b->pitch_out + column);
            }
}

void BLOCK(channel_batch)(const struct channel_batch *b)
{
    int vectors = (b->columns + LANES - 1) / LANES;
    ptrdiff_t column = 0;
#if VECTOR_REGISTERS == 16
    if (b->depth == LANES && b->pitch == LANES && b->width == LANES && b->pitch_out == LANES) {
        square_batch(b);
        return;
    }
#endif
    while (vectors > 0) {
        int count = panel_vectors(vectors);
        batch_panel(b, tiles[count - 1], count, column);
        vectors -= count;
        column += count * LANES;
    }
}
