/* Tiles of sums, and the widening before them. */
#include "runtime/kernels/quantized/lanes.h"

void BLOCK(quantized_widen)(const struct quantized_widen *widen)
{
    const ptrdiff_t count = widen->count;
    int16_t *restrict to = widen->to;
    const int16_t zero = (int16_t)widen->zero;
    if (widen->is_signed) {
        const int8_t *restrict from = widen->from;
        for (ptrdiff_t i = 0; i < count; i++)
            to[i] = (int16_t)(from[i] - zero);
    } else {
        const uint8_t *restrict from = widen->from;
        for (ptrdiff_t i = 0; i < count; i++)
            to[i] = (int16_t)(from[i] - zero);
    }
}

/* Loops over a tile's rows have to go, so that its sums are in registers. */
#define UNROLLED _Pragma("GCC unroll 16")

/* `vectors`: 1 when the block's upper columns are none. */
INLINE void product(const struct quantized_tile *tile, const int rows, const int vectors)
{
    words sums[ROWS][2];
    const int16_t *weights = tile->weights;
    const ptrdiff_t length = 2 * (ptrdiff_t)tile->pairs;
    UNROLLED for (int i = 0; i < 2 * rows; i++)
        sums[i / 2][i % 2] = (words){0};
    for (int run = 0; run < tile->run_count; run++) {
        const int16_t *from[ROWS];
        UNROLLED for (int row = 0; row < rows; row++)
            from[row] = tile->rows[row] + tile->runs[run];
        for (ptrdiff_t i = 0; i < length; i += 2, weights += 2 * COLUMNS) {
            const halves low = halves_load(weights), high = vectors > 1 ? halves_load(weights + COLUMNS) : low;
            UNROLLED for (int row = 0; row < rows; row++) {
                const halves x = halves_spread(from[row] + i);
                sums[row][0] = words_product(x, low, sums[row][0]);
                if (vectors > 1)
                    sums[row][1] = words_product(x, high, sums[row][1]);
            }
        }
    }
    UNROLLED for (int i = 0; i < 2 * rows; i++)
        words_store(tile->sums + i / 2 * COLUMNS + i % 2 * LANES, sums[i / 2][i % 2]);
}

#define PRODUCT(rows)                                                                                                  \
    case rows:                                                                                                         \
        if (tile->column_count > LANES)                                                                                \
            product(tile, rows, 2);                                                                                    \
        else                                                                                                           \
            product(tile, rows, 1);                                                                                    \
        break;

void BLOCK(quantized_product)(const struct quantized_tile *tile)
{
    switch (tile->row_count) {
        PRODUCT(1)
        PRODUCT(2)
        PRODUCT(3)
        PRODUCT(4)
        PRODUCT(5)
        PRODUCT(6)
#if VECTOR_REGISTERS == 32
        PRODUCT(7)
        PRODUCT(8)
#endif
    default: break;
    }
}

/* Interleaved within 128 bits, which is one instruction; the sums come out in that order. */
#if LANES == 16
#define INTERLEAVE_LOW 0, 32, 1, 33, 2, 34, 3, 35, 8, 40, 9, 41, 10, 42, 11, 43, 16, 48, 17, 49, 18, 50, 19, 51, 24, 56, 25, 57, 26, 58, 27, 59
#define INTERLEAVE_HIGH 4, 36, 5, 37, 6, 38, 7, 39, 12, 44, 13, 45, 14, 46, 15, 47, 20, 52, 21, 53, 22, 54, 23, 55, 28, 60, 29, 61, 30, 62, 31, 63
#define ORDER_LOW 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23
#define ORDER_HIGH 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31
#elif LANES == 8
#define INTERLEAVE_LOW 0, 16, 1, 17, 2, 18, 3, 19, 8, 24, 9, 25, 10, 26, 11, 27
#define INTERLEAVE_HIGH 4, 20, 5, 21, 6, 22, 7, 23, 12, 28, 13, 29, 14, 30, 15, 31
#define ORDER_LOW 0, 1, 2, 3, 8, 9, 10, 11
#define ORDER_HIGH 4, 5, 6, 7, 12, 13, 14, 15
#else
#define INTERLEAVE_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define INTERLEAVE_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#define ORDER_LOW 0, 1, 2, 3
#define ORDER_HIGH 4, 5, 6, 7
#endif

void BLOCK(quantized_depthwise)(const struct quantized_tile *tile)
{
    for (int row = 0; row < tile->row_count; row++) {
        const int16_t *from = tile->rows[row], *weights = tile->weights;
        words low = {0}, high = {0};
        for (int pair = 0; pair < tile->pairs; pair++, weights += 2 * COLUMNS) {
            const halves first = halves_load(from + tile->runs[2 * pair]), second = halves_load(from + tile->runs[2 * pair + 1]);
            low = words_product(__builtin_shufflevector(first, second, INTERLEAVE_LOW), halves_load(weights), low);
            high = words_product(__builtin_shufflevector(first, second, INTERLEAVE_HIGH), halves_load(weights + COLUMNS), high);
        }
        words_store(tile->sums + row * COLUMNS, __builtin_shufflevector(low, high, ORDER_LOW));
        words_store(tile->sums + row * COLUMNS + LANES, __builtin_shufflevector(low, high, ORDER_HIGH));
    }
}
