/* Products of a small weight matrix with rows of pixels: 1×1 convolutions, and any convolution whose taps are offsets into padded
 * rows. A tile of 4 or 8 output rows by a few vectors of pixels stays in registers while the depth is walked. */
#include "runtime/kernels/planar/blocks.h"

INLINE vec finish(const struct plane_product *p, vec value, int row, ptrdiff_t column, int count)
{
    if (p->residual) {
        const float *from = p->residual + row * p->residual_stride + column;
        value += count ? vec_load_part(from, count) : vec_load(from);
    }
    if (p->activation == PLANAR_RELU)
        value = vec_max(vec_set(0), value);
    else if (p->activation == PLANAR_SLOPE)
        value = vec_slope(value, vec_set(p->slope[row]));
    return value;
}

/* GROUPS × 4 rows from `row` on, VECTORS vectors from `column` on; of the last one PART lanes (0: all). */
#define TILE(GROUPS, VECTORS)                                                                                          \
    INLINE void tile_##GROUPS##_##VECTORS(const struct plane_product *p, int row, ptrdiff_t column, int part)          \
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
        const float *weights = p->weights + row * p->weight_step, *input = p->input + column;                         \
        ptrdiff_t next = 4 * p->weight_step;                                                                           \
        const ptrdiff_t *offsets = p->offsets;                                                                         \
        const ptrdiff_t prefetch = p->prefetch;                                                                        \
        for (int k = 0; k < p->depth; k++, weights += 4) {                                                             \
            const float *from = input + offsets[k];                                                                    \
            vec x[VECTORS];                                                                                            \
            if (prefetch)                                                                                              \
                _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                              \
                    __builtin_prefetch(from + prefetch + v * LANES);                                                   \
            _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                                  \
                x[v] = part && v == VECTORS - 1 ? vec_load_part(from + v * LANES, part) : vec_load(from + v * LANES);  \
            _Pragma("GCC unroll 8") for (int r = 0; r < 4 * GROUPS; r++) {                                             \
                vec w = vec_set(weights[r / 4 * next + r % 4]);                                                        \
                _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)                                              \
                    sum[r][v] = vec_fma(w, x[v], sum[r][v]);                                                           \
            }                                                                                                          \
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
                                                                     ptrdiff_t column)                                 \
    {                                                                                                                  \
        tile_##GROUPS##_##VECTORS(p, row, column, 0);                                                                  \
    }

TILE(1, 1)
TILE(1, 2)
TILE(1, 3)
#if VECTOR_REGISTERS == 32
TILE(1, 4)
TILE(2, 1)
TILE(2, 2)
TILE(2, 3)
#endif

/* One vector that is not full. */
__attribute__((noinline)) static void rest_1(const struct plane_product *p, int row, ptrdiff_t column, int part)
{
    tile_1_1(p, row, column, part);
}
#if VECTOR_REGISTERS == 32
__attribute__((noinline)) static void rest_2(const struct plane_product *p, int row, ptrdiff_t column, int part)
{
    tile_2_1(p, row, column, part);
}

static void rows_of_8(const struct plane_product *p, int row)
{
    int vectors = p->columns / LANES;
    ptrdiff_t column = 0;
    while (vectors) {
        int count = vectors > 4 || vectors == 3 ? 3 : vectors == 1 ? 1 : 2;
        if (count == 3)
            whole_2_3(p, row, column);
        else if (count == 2)
            whole_2_2(p, row, column);
        else
            whole_2_1(p, row, column);
        vectors -= count;
        column += count * LANES;
    }
    if (column < p->columns)
        rest_2(p, row, column, (int)(p->columns - column));
}
#endif

static void rows_of_4(const struct plane_product *p, int row)
{
    int vectors = p->columns / LANES;
    ptrdiff_t column = 0;
    while (vectors) {
        int count = vectors > 4 || vectors == 3 ? 3 : vectors == 1 ? 1 : 2;
#if VECTOR_REGISTERS == 32
        if (vectors > 5 || vectors == 4)
            count = 4;
        if (count == 4)
            whole_1_4(p, row, column);
        else
#endif
        if (count == 3)
            whole_1_3(p, row, column);
        else if (count == 2)
            whole_1_2(p, row, column);
        else
            whole_1_1(p, row, column);
        vectors -= count;
        column += count * LANES;
    }
    if (column < p->columns)
        rest_1(p, row, column, (int)(p->columns - column));
}

void BLOCK(plane_product)(const struct plane_product *p)
{
    int row = 0;
#if VECTOR_REGISTERS == 32
    for (; p->rows - row > 4; row += 8)
        rows_of_8(p, row);
#endif
    for (; row < p->rows; row += 4)
        rows_of_4(p, row);
}
