/* Winograd's F(4×4, 3×3) in whole numbers: 36 products in place of 144 for 16 outputs.
 *
 * The transform of the data, B, has whole coefficients whose sizes add up to 10 in a row at most: 8-bit differences (255) become at most 25500
 * and fit 16 bits. The transform of the weights, G, is taken in multiples of 1/24 with the common factors of a row moved to the last
 * transform, A: its rows then are whole, at most 7 in sum (6 · 1 or 1 + 2 + 4), so that weights reach 49 · 255 at most. Everything is exact
 * modulo 2^32, and the last transform gives the sum times 24, 12, 6 or 6 in each direction: 9 · 2^shift times. 9 has an inverse modulo 2^32;
 * the shift, at most 6, leaves 26 bits, which is why sums are taken over so few channels at a time that they fit those. */
#include "runtime/kernels/quantized/lanes.h"

typedef uint16_t counts __attribute__((vector_size(LANES * 4)));
typedef counts counts_unaligned __attribute__((aligned(2), may_alias));

enum { INVERSE_OF_9 = 0x38e38e39 };

#define TRANSFORM(d, v, step)                                                                                          \
    do {                                                                                                               \
        const counts a = (d)[4 * (step)] - 4 * (d)[2 * (step)], b = (d)[3 * (step)] - 4 * (d)[step];                   \
        const counts c = (d)[4 * (step)] - (d)[2 * (step)], e = 2 * ((d)[3 * (step)] - (d)[step]);                     \
        (v)[0] = 4 * ((d)[0] - (d)[2 * (step)]) + c;                                                                   \
        (v)[1] = a + b;                                                                                                \
        (v)[2] = a - b;                                                                                                \
        (v)[3] = c + e;                                                                                                \
        (v)[4] = c - e;                                                                                                \
        (v)[5] = 4 * ((d)[step] - (d)[3 * (step)]) + (d)[5 * (step)] - (d)[3 * (step)];                                \
    } while (0)

void BLOCK(quantized_spread)(const struct quantized_spread *spread)
{
    for (int64_t channel = 0; channel < spread->channels; channel += COLUMNS) {
        counts d[36], rows[36], v[6];
        for (int row = 0; row < 6; row++)
            for (int column = 0; column < 6; column++)
                d[row * 6 + column] = *(const counts_unaligned *)(spread->from + row * spread->row_step + column * spread->column_step + channel);
        for (int column = 0; column < 6; column++)
            TRANSFORM(d + column, rows + 6 * column, 6); /* turned */
        for (int row = 0; row < 6; row++) {
            TRANSFORM(rows + row, v, 6);
            for (int column = 0; column < 6; column++)
                *(counts_unaligned *)(spread->to + (row * 6 + column) * spread->plane + channel) = v[column];
        }
    }
}

/* 24 · y[0], 12 · y[1], 6 · y[2], 6 · y[3]. */
#define COLLECT(m, y, step)                                                                                            \
    do {                                                                                                               \
        const words p = (m)[step] + (m)[2 * (step)], q = (m)[2 * (step)] - (m)[step];                                  \
        const words r = (m)[3 * (step)] + (m)[4 * (step)], t = (m)[3 * (step)] - (m)[4 * (step)];                      \
        (y)[0] = (m)[0] - 4 * p + r;                                                                                   \
        (y)[1] = 2 * q + t;                                                                                            \
        (y)[2] = r - p;                                                                                                \
        (y)[3] = q + 2 * t + (m)[5 * (step)];                                                                          \
    } while (0)

void BLOCK(quantized_gather)(const struct quantized_gather *gather)
{
    static const int shifts[4] = {3, 2, 1, 1};
    for (int half = 0; half < 2; half++) {
        words m[36], columns[24], y[4];
        for (int i = 0; i < 36; i++)
            m[i] = *(const words_unaligned *)(gather->from + i * gather->plane + half * LANES);
        for (int column = 0; column < 6; column++)
            COLLECT(m + column, columns + 4 * column, 6); /* turned */
        for (int row = 0; row < 4; row++) {
            COLLECT(columns + row, y, 4);
            for (int column = 0; column < 4; column++) {
                int32_t *to = gather->sums + (row * 4 + column) * COLUMNS + half * LANES;
                words sum = (words)((signed_words)(y[column] * INVERSE_OF_9) >> (shifts[row] + shifts[column]));
                if (gather->add)
                    sum += *(const words_unaligned *)to;
                words_store(to, sum);
            }
        }
    }
}
