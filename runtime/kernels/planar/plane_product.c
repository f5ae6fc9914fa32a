/* Products of a small weight matrix with rows of pixels: 1×1 convolutions, and any convolution whose taps are offsets into padded
 * rows. A tile of 4 or 8 output rows by a few vectors of pixels stays in registers while the depth is walked. */
#include "runtime/kernels/planar/blocks.h"

INLINE vec finish(const struct plane_product *p, vec value, int row, ptrdiff_t column, int count)
{
    if (p->residual) {
        const float *from = p->residual + row * p->residual_stride + column;
        value += vec_load_some(from, count);
    }
    if (p->activation == PLANAR_RELU)
        value = vec_max(vec_set(0), value);
    else if (p->activation == PLANAR_SLOPE)
        value = vec_slope(value, vec_set(p->slope[row]));
    return value;
}

/* One step of the depth. Loops over it are written out four steps deep: what counts and compares in each takes its share of what a core
 * can begin in a cycle, which is scarce where another thread runs on it. */
#define STEP(GROUPS, VECTORS, part)                                                                                    \
    do {                                                                                                               \
        const float *from = input + offsets[k];                                                                        \
        vec x[VECTORS];                                                                                                \
        _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                                      \
            x[v] = (part) && v == VECTORS - 1 ? vec_load_part(from + v * LANES, part) : vec_load(from + v * LANES);    \
        _Pragma("GCC unroll 8") for (int r = 0; r < 4 * GROUPS; r++) {                                                 \
            const vec w = vec_set(weights[r / 4 * next + r % 4]);                                                      \
            _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                                  \
                sum[r][v] = vec_product(w, x[v], sum[r][v]);                                                           \
        }                                                                                                              \
        weights += 4;                                                                                                  \
    } while (0)

/* Pieces that a tile fetches: one in every fourth step of the depth, or in each where they are many. */
struct fetches {
    int first, count;
};

INLINE void fetch_piece(const struct plane_product *p, int piece)
{
    const ptrdiff_t of_row = piece & ((1 << p->piece_shift) - 1);
    const float *from = p->ahead + p->ahead_offsets[piece >> p->piece_shift] + of_row * AHEAD_PIECE;
    _Pragma("GCC unroll 4") for (int i = 0; i < AHEAD_PIECE; i += 16)
        __builtin_prefetch(from + i, 0, 2);
}

/* GROUPS × 4 rows from `row` on, VECTORS vectors from `column` on; of the last one PART lanes (0: all). */
#define TILE(GROUPS, VECTORS)                                                                                          \
    INLINE void tile_##GROUPS##_##VECTORS(const struct plane_product *p, int row, ptrdiff_t column, int part,          \
                                          struct fetches fetches)                                                      \
    {                                                                                                                  \
        vec sum[4 * GROUPS][VECTORS];                                                                                  \
        float *to = p->output + row * p->stride + column;                                                              \
        int rows = p->rows - row;                                                                                      \
        _Pragma("GCC unroll 8") for (int r = 0; r < 4 * GROUPS; r++)                                                   \
            _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                                  \
                sum[r][v] = vec_set(p->shift && r < rows ? p->shift[row + r] : 0);                                     \
        if (p->accumulate)                                                                                             \
            _Pragma("GCC unroll 8") for (int r = 0; r < 4 * GROUPS; r++)                                               \
                _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                              \
                    if (r < rows) {                                                                                    \
                        const float *from = to + r * p->stride + v * LANES;                                            \
                        sum[r][v] = part && v == VECTORS - 1 ? vec_load_part(from, part) : vec_load(from);             \
                    }                                                                                                  \
        const float *weights = p->weights + row * p->weight_step, *input = p->input + column;                          \
        ptrdiff_t next = 4 * p->weight_step;                                                                           \
        const ptrdiff_t *offsets = p->offsets;                                                                         \
        const ptrdiff_t prefetch = p->prefetch;                                                                        \
        int k = 0, piece = fetches.first;                                                                              \
        const int last = piece + fetches.count;                                                                        \
        if (VECTOR_REGISTERS == 32 && 4 * fetches.count <= p->depth)                                                   \
            for (; piece < last; piece++) {                                                                            \
                fetch_piece(p, piece);                                                                                 \
                _Pragma("GCC unroll 4") for (int step = 0; step < 4; step++, k++)                                      \
                    STEP(GROUPS, VECTORS, part);                                                                       \
            }                                                                                                          \
        else if (VECTOR_REGISTERS == 32)                                                                               \
            for (; piece < last && k < p->depth; piece++, k++) {                                                       \
                fetch_piece(p, piece);                                                                                 \
                STEP(GROUPS, VECTORS, part);                                                                           \
            }                                                                                                          \
        if (prefetch)                                                                                                  \
            for (; k < p->depth; k++) {                                                                                \
                _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                              \
                    __builtin_prefetch(input + offsets[k] + prefetch + v * LANES);                                     \
                STEP(GROUPS, VECTORS, part);                                                                           \
            }                                                                                                          \
        else                                                                                                           \
            _Pragma("GCC unroll 4") for (; k < p->depth; k++)                                                          \
                STEP(GROUPS, VECTORS, part);                                                                           \
        if (rows >= 4 * GROUPS && !part && p->activation == PLANAR_LINEAR) { /* nothing is asked for each vector */    \
            if (p->residual)                                                                                           \
                _Pragma("GCC unroll 8") for (int r = 0; r < 4 * GROUPS; r++)                                           \
                    _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                          \
                        sum[r][v] += vec_load(p->residual + (row + r) * p->residual_stride + column + v * LANES);      \
            if (p->through) {                                                                                          \
                _Pragma("GCC unroll 8") for (int r = 0; r < 4 * GROUPS; r++)                                           \
                    _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                          \
                        vec_store_through(to + r * p->stride + v * LANES, sum[r][v]);                                  \
                return;                                                                                                \
            }                                                                                                          \
            _Pragma("GCC unroll 8") for (int r = 0; r < 4 * GROUPS; r++)                                               \
                _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                              \
                    vec_store(to + r * p->stride + v * LANES, sum[r][v]);                                              \
            return;                                                                                                    \
        }                                                                                                              \
        _Pragma("GCC unroll 8") for (int r = 0; r < 4 * GROUPS; r++)                                                   \
            if (r < rows)                                                                                              \
                _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++) {                                            \
                    int count = v == VECTORS - 1 ? part : 0;                                                           \
                    vec value = finish(p, sum[r][v], row + r, column + v * LANES, count);                              \
                    if (count)                                                                                         \
                        vec_store_part(to + r * p->stride + v * LANES, value, count);                                  \
                    else                                                                                               \
                        vec_store(to + r * p->stride + v * LANES, value);                                              \
                }                                                                                                      \
    }                                                                                                                  \
    __attribute__((noinline)) static void whole_##GROUPS##_##VECTORS(const struct plane_product *p, int row,           \
                                                                     ptrdiff_t column, struct fetches fetches)         \
    {                                                                                                                  \
        tile_##GROUPS##_##VECTORS(p, row, column, 0, fetches);                                                         \
    }

/* The same with nothing before or after: Winograd's products. Whole vectors are read and written. */
#define PLAIN(GROUPS, VECTORS)                                                                                         \
    __attribute__((noinline)) static void plain_##GROUPS##_##VECTORS(const float *input, const ptrdiff_t *offsets,     \
                                                                     int depth, const float *weights, float *to,       \
                                                                     ptrdiff_t pitch, const char *written,             \
                                                                     const char *read, int lines)                      \
    {                                                                                                                  \
        vec sum[4 * GROUPS][VECTORS];                                                                                  \
        _Pragma("GCC unroll 8") for (int r = 0; r < 4 * GROUPS; r++)                                                   \
            _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                                  \
                sum[r][v] = vec_set(0);                                                                                \
        ptrdiff_t next = 4 * (ptrdiff_t)depth;                                                                         \
        int k = 0;                                                                                                     \
        for (; k < lines && k < depth; k++) {                                                                          \
            __builtin_prefetch(written + 64 * k, 1);                                                                   \
            __builtin_prefetch(read + 64 * k, 0);                                                                      \
            STEP(GROUPS, VECTORS, 0);                                                                                  \
        }                                                                                                              \
        _Pragma("GCC unroll 4") for (; k < depth; k++)                                                                 \
            STEP(GROUPS, VECTORS, 0);                                                                                  \
        _Pragma("GCC unroll 8") for (int r = 0; r < 4 * GROUPS; r++, to += pitch)                                      \
            _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                                  \
                vec_store(to + v * LANES, sum[r][v]);                                                                  \
    }

TILE(1, 1)
TILE(1, 2)
TILE(1, 3)
PLAIN(1, 1)
PLAIN(1, 2)
PLAIN(1, 3)
#if VECTOR_REGISTERS == 32
TILE(1, 4)
TILE(2, 1)
TILE(2, 2)
TILE(2, 3)
PLAIN(2, 1)
PLAIN(2, 2)
PLAIN(2, 3)
#endif

/* What the next tile fetches: none, beyond the last. */
static struct fetches next_fetches(const struct plane_product *p, int *piece)
{
    const int left = (p->depth << p->piece_shift) - *piece;
    const struct fetches fetches = {*piece, p->pieces < left ? p->pieces : left > 0 ? left : 0};
    *piece += fetches.count;
    return fetches;
}

/* One vector that is not full. */
__attribute__((noinline)) static void rest_1(const struct plane_product *p, int row, ptrdiff_t column, int part)
{
    tile_1_1(p, row, column, part, (struct fetches){0});
}
#if VECTOR_REGISTERS == 32
__attribute__((noinline)) static void rest_2(const struct plane_product *p, int row, ptrdiff_t column, int part)
{
    tile_2_1(p, row, column, part, (struct fetches){0});
}

static void rows_of_8(const struct plane_product *p, int row, int *piece)
{
    int vectors = p->columns / LANES;
    ptrdiff_t column = 0;
    while (vectors) {
        int count = vectors > 4 || vectors == 3 ? 3 : vectors == 1 ? 1 : 2;
        const struct fetches fetches = next_fetches(p, piece);
        if (count == 3)
            whole_2_3(p, row, column, fetches);
        else if (count == 2)
            whole_2_2(p, row, column, fetches);
        else
            whole_2_1(p, row, column, fetches);
        vectors -= count;
        column += count * LANES;
    }
    if (column < p->columns)
        rest_2(p, row, column, (int)(p->columns - column));
}
#endif

/* While a tile is computed: its share of the rows ahead, from number `first` on, and the output (and what is added to it) of the
 * tile behind it. */
INLINE void fetch_ahead(const struct plane_product *p, int first, int row, ptrdiff_t column, int columns)
{
    enum { LINE = 16 };
    for (int k = first; k < p->depth; k += p->ahead_step) {
        const float *from = p->ahead + p->ahead_offsets[k] + column;
        __builtin_prefetch(from, 0, 2);
        __builtin_prefetch(from + LINE, 0, 2);
    }
    for (int r = row; p->depth >= LINE && r < p->rows && r < row + 4; r++) {
        const float *to = p->output + r * p->stride + column + columns;
        __builtin_prefetch(to, 1);
        __builtin_prefetch(to + LINE, 1);
    }
}

static void rows_of_4(const struct plane_product *p, int row, int *piece)
{
    const int first_ahead = p->ahead_step ? (p->ahead_first + row / 4) % p->ahead_step : 0;
    int vectors = p->columns / LANES;
    ptrdiff_t column = 0;
    while (vectors) {
        int count = vectors > 4 || vectors == 3 ? 3 : vectors == 1 ? 1 : 2;
#if VECTOR_REGISTERS == 32
        if (vectors > 5 || vectors == 4)
            count = 4;
#endif
        if (p->ahead_step)
            fetch_ahead(p, first_ahead, row, column, count * LANES);
        const struct fetches fetches = next_fetches(p, piece);
#if VECTOR_REGISTERS == 32
        if (count == 4)
            whole_1_4(p, row, column, fetches);
        else
#endif
        if (count == 3)
            whole_1_3(p, row, column, fetches);
        else if (count == 2)
            whole_1_2(p, row, column, fetches);
        else
            whole_1_1(p, row, column, fetches);
        vectors -= count;
        column += count * LANES;
    }
    if (column < p->columns)
        rest_1(p, row, column, (int)(p->columns - column));
}

void BLOCK(plane_product)(const struct plane_product *p)
{
    int row = 0, piece = p->first_piece;
#if VECTOR_REGISTERS == 32
    for (; p->rows - row > 4; row += 8)
        rows_of_8(p, row, &piece);
#endif
    for (; row < p->rows; row += 4)
        rows_of_4(p, row, &piece);
    if (p->through)
        vec_through_done();
}

void BLOCK(plane_batch)(const struct plane_batch *b)
{
    typedef void plain_function(const float *, const ptrdiff_t *, int, const float *, float *, ptrdiff_t, const char *, const char *,
                                int);
    static plain_function *const functions[2][3] = {
        {plain_1_1, plain_1_2, plain_1_3},
#if VECTOR_REGISTERS == 32
        {plain_2_1, plain_2_2, plain_2_3},
#endif
    };
    const int groups = (b->rows + 3) / 4, vectors_across = (b->columns + LANES - 1) / LANES;
    /* Rows that have yet to be fetched, one in every so many tiles; those are as wide as most. */
    const int tiles = b->count * groups * vectors_across / 3;
    const int every = VECTOR_REGISTERS == 32 || b->ahead_count < 1 || tiles < b->ahead_count ? 1 : tiles / b->ahead_count;
    int left_ahead = b->ahead_count, of_step = 0, wait = 0;
    ptrdiff_t row = 0;
    for (int i = 0; i < b->count; i++)
        for (int group = 0; group < groups;) {
            int together = VECTOR_REGISTERS == 32 && groups - group > 1 ? 2 : 1;
            const float *weights = b->weights + ((ptrdiff_t)i * groups + group) * 4 * b->depth;
            const float *input = b->input + i * b->position;
            float *output = b->output + i * b->position_out + group * 4 * b->pitch_out;
            for (int left = vectors_across; left > 0;) {
                int vectors = left > 4 || left == 3 ? 3 : left == 1 ? 1 : 2;
                const bool fetches = left_ahead > 0 && wait == 0;
                functions[together - 1][vectors - 1](input, b->offsets, b->depth, weights, output, b->pitch_out,
                                                     (const char *)(b->written + row), (const char *)(b->read + row),
                                                     fetches ? b->ahead_lines : 0);
                wait = fetches ? every - 1 : wait - 1;
                if (fetches) {
                    left_ahead--;
                    row += b->ahead_row;
                    if (++of_step == b->ahead_rows) {
                        row += b->ahead_step - b->ahead_rows * b->ahead_row;
                        of_step = 0;
                    }
                }
                left -= vectors;
                input += vectors * LANES;
                output += vectors * LANES;
            }
            group += together;
        }
}
