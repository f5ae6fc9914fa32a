/* Products with no more than one vector of output channels, where broadcasting each input for one multiplication alone would keep the
 * loads busier than the multipliers. Lanes are pairs of neighbouring input channels instead, of half as many outputs: one load brings
 * two inputs, for two multiplications of eight outputs or one of four. Even and odd channels are added up at the end. */
#include "runtime/kernels/planar/blocks.h"
#include "runtime/kernels/planar/finish.h"

#if LANES == 8

/* Both of two neighbouring floats in all pairs of lanes. */
INLINE vec load_pair(const float *from)
{
    double pair;
    memcpy(&pair, from, sizeof pair);
    return (vec)_mm256_set1_pd(pair);
}

/* Weights [depth][width] to pairs: of outputs 0, 1, 4, 5 and of outputs 2, 3, 6, 7, or of the first four alone. */
static void pair_weights(const struct channel_product *p, bool four, float *to)
{
    const float *from = p->weights;
    for (int k = 0; k < p->depth; k += 2, from += 2 * p->width) {
        vec even = vec_load(from), odd = vec_load(from + p->width);
        if (four) {
            vec_store(to, __builtin_shufflevector(even, odd, 0, 8, 1, 9, 2, 10, 3, 11));
            to += LANES;
        } else {
            vec_store(to, __builtin_shufflevector(even, odd, 0, 8, 1, 9, 4, 12, 5, 13));
            vec_store(to + LANES, __builtin_shufflevector(even, odd, 2, 10, 3, 11, 6, 14, 7, 15));
            to += 2 * LANES;
        }
    }
}

/* The sums of pairs of lanes, in the outputs' order. */
INLINE vec added_1(const vec sum[1])
{
    return __builtin_shufflevector(sum[0], sum[0], 0, 2, 4, 6, 0, 2, 4, 6) + __builtin_shufflevector(sum[0], sum[0], 1, 3, 5, 7, 1, 3, 5, 7);
}
INLINE vec added_2(const vec sum[2])
{
    return __builtin_shufflevector(sum[0], sum[1], 0, 2, 8, 10, 4, 6, 12, 14) + __builtin_shufflevector(sum[0], sum[1], 1, 3, 9, 11, 5, 7, 13, 15);
}

#define EACH(ROWS) _Pragma("GCC unroll 12") for (int r = 0; r < ROWS; r++)

/* `count` tiles of ROWS pixels from `row` on, VECTORS of pairs each. */
#define TILE(ROWS, VECTORS)                                                                                            \
    __attribute__((noinline)) static void tile_##ROWS##_##VECTORS(const struct channel_product *p, const float *pairs, \
                                                                  int row, int count, int part)                        \
    {                                                                                                                  \
        const struct channel_product whole = *p; /* a copy that no store can change */                                 \
        const ptrdiff_t pixel = whole.pixel, stride = whole.stride;                                                    \
        const int depth = whole.depth;                                                                                 \
        const vec shift = whole.shift ? vec_load_some(whole.shift, part) : vec_set(0);                                   \
        const float *input = whole.input + row * pixel;                                                                \
        float *to = whole.output + row * stride;                                                                       \
        for (; count > 0; count--, input += ROWS * pixel, to += ROWS * stride) {                                       \
            const float *from[(ROWS + 3) / 4], *weights = pairs;                                                       \
            vec sum[ROWS][VECTORS], value[ROWS];                                                                       \
            _Pragma("GCC unroll 3") for (int q = 0; q < (ROWS + 3) / 4; q++)                                           \
                from[q] = input + 4 * q * pixel;                                                                       \
            EACH(ROWS) _Pragma("GCC unroll 2") for (int v = 0; v < VECTORS; v++)                                       \
                sum[r][v] = vec_set(0);                                                                                \
            if (whole.ahead)                                                                                           \
                EACH(ROWS) __builtin_prefetch(to + (r + ROWS_AHEAD) * stride, 1);                                           \
            _Pragma("GCC unroll 2") for (int k = 0; k < depth; k += 2, weights += VECTORS * LANES) {                   \
                vec w[VECTORS];                                                                                        \
                _Pragma("GCC unroll 2") for (int v = 0; v < VECTORS; v++)                                              \
                    w[v] = vec_load(weights + v * LANES);                                                              \
                EACH(ROWS) {                                                                                           \
                    vec x = load_pair(from[r / 4] + r % 4 * pixel);                                                    \
                    _Pragma("GCC unroll 2") for (int v = 0; v < VECTORS; v++)                                          \
                        sum[r][v] = vec_fma(x, w[v], sum[r][v]);                                                       \
                }                                                                                                      \
                _Pragma("GCC unroll 3") for (int q = 0; q < (ROWS + 3) / 4; q++)                                       \
                    from[q] += 2;                                                                                      \
            }                                                                                                          \
            EACH(ROWS) value[r] = added_##VECTORS(sum[r]);                                                             \
            if (whole.accumulate)                                                                                      \
                EACH(ROWS) value[r] += vec_load_some(to + r * stride, part);                                             \
            else                                                                                                       \
                EACH(ROWS) value[r] += shift;                                                                          \
            if (whole.activation == PLANAR_RELU)                                                                       \
                EACH(ROWS) value[r] = vec_max(vec_set(0), value[r]);                                                   \
            else if (whole.activation == PLANAR_SLOPE)                                                                 \
                EACH(ROWS) value[r] = vec_slope(value[r], vec_load_some(whole.slope, part));                             \
            if (part == 0)                                                                                             \
                EACH(ROWS) vec_store(to + r * stride, value[r]);                                                       \
            else if (part == 4)                                                                                        \
                EACH(ROWS) vec_store_part(to + r * stride, value[r], 4);                                               \
            else                                                                                                       \
                EACH(ROWS) vec_store_part(to + r * stride, value[r], part);                                            \
        }                                                                                                              \
    }
TILE(1, 2)
TILE(2, 2)
TILE(3, 2)
TILE(4, 2)
TILE(5, 2)
TILE(6, 2)
TILE(6, 1)
TILE(7, 1)
TILE(8, 1)
TILE(9, 1)
TILE(10, 1)
TILE(11, 1)
TILE(12, 1)

typedef void tile_function(const struct channel_product *, const float *, int, int, int);

/* As few tiles as possible, of about the same height. */
static void run_tiles(tile_function *const tiles[], int tallest, const struct channel_product *p, const float *pairs, int part)
{
    const int count = (p->rows + tallest - 1) / tallest, height = (p->rows + count - 1) / count, taller = p->rows - count * (height - 1);
    tiles[height - 1](p, pairs, 0, taller, part);
    if (taller < count)
        tiles[height - 2](p, pairs, taller * height, count - taller, part);
}

void BLOCK(channel_narrow)(const struct channel_product *p, int part)
{
    static tile_function *const eight[] = {tile_1_2, tile_2_2, tile_3_2, tile_4_2, tile_5_2, tile_6_2};
    static tile_function *const four[] = {NULL, NULL, NULL, NULL, NULL, tile_6_1, tile_7_1, tile_8_1, tile_9_1, tile_10_1, tile_11_1, tile_12_1};
    const bool few = part > 0 && part <= 4 && p->rows >= 6;
    float pairs[NARROW_DEPTH * LANES] __attribute__((aligned(64)));
    pair_weights(p, few, pairs);
    if (few)
        run_tiles(four, 12, p, pairs, part);
    else
        run_tiles(eight, 6, p, pairs, part);
}

#endif
