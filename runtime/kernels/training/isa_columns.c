/* Winograd's transforms across the columns of rows that have been transformed down theirs: F(4×4, 3×3) in two steps. Lanes are tiles, in an
 * order that only these functions know. */
#include "runtime/kernels/planar/winograd.h"
#include "runtime/kernels/training/isa.h"

#if LANES == 8
/* Two halves of four columns each, from places that are apart. */
INLINE vec load_halves(const float *low, const float *high)
{
    typedef float half __attribute__((vector_size(16), aligned(4), may_alias));
    return (vec)__builtin_shufflevector(*(const half *)low, *(const half *)high, 0, 1, 2, 3, 4, 5, 6, 7);
}

#define HALVES_LOW 0, 1, 2, 3, 8, 9, 10, 11
#define HALVES_HIGH 4, 5, 6, 7, 12, 13, 14, 15
#define PAIRS_LOW 0, 1, 8, 9, 4, 5, 12, 13
#define PAIRS_HIGH 2, 3, 10, 11, 6, 7, 14, 15
#define SINGLES_LOW 0, 8, 1, 9, 4, 12, 5, 13
#define SINGLES_HIGH 2, 10, 3, 11, 6, 14, 7, 15
#define MIXED(a, b, order) __builtin_shufflevector(a, b, order)

/* The six columns of each of eight tiles: `dilation` apart, and the tiles' first ones are all of 32 columns that no other tile writes. */
INLINE void load_tiles(vec x[6], const float *from, int dilation)
{
    if (dilation == 8) {
        _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++)
            x[j] = vec_load(from + 8 * j);
    } else if (dilation == 4) {
        _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++)
            x[j] = load_halves(from + 4 * j, from + 16 + 4 * j);
    } else if (dilation == 2) {
        _Pragma("GCC unroll 3") for (int j = 0; j < 6; j += 2) {
            const vec a = load_halves(from + 2 * j, from + 16 + 2 * j), b = load_halves(from + 8 + 2 * j, from + 24 + 2 * j);
            x[j] = MIXED(a, b, PAIRS_LOW);
            x[j + 1] = MIXED(a, b, PAIRS_HIGH);
        }
    } else {
        const vec a = vec_load(from), b = vec_load(from + 8), c = vec_load(from + 16), d = vec_load(from + 24);
        const vec ab = MIXED(a, b, SINGLES_LOW), cd = MIXED(c, d, SINGLES_LOW);
        const vec ab_high = MIXED(a, b, SINGLES_HIGH), cd_high = MIXED(c, d, SINGLES_HIGH);
        const vec next = MIXED(vec_load(from + 4), vec_load(from + 12), SINGLES_LOW);
        const vec last = MIXED(vec_load(from + 20), vec_load(from + 28), SINGLES_LOW);
        x[0] = MIXED(ab, cd, PAIRS_LOW);
        x[1] = MIXED(ab, cd, PAIRS_HIGH);
        x[2] = MIXED(ab_high, cd_high, PAIRS_LOW);
        x[3] = MIXED(ab_high, cd_high, PAIRS_HIGH);
        x[4] = MIXED(next, last, PAIRS_LOW);
        x[5] = MIXED(next, last, PAIRS_HIGH);
    }
}

/* Four columns of each tile to 32 columns. */
INLINE void store_tiles(float *to, const vec y[4], int dilation)
{
    vec row[4] = {y[0], y[1], y[2], y[3]};
    if (dilation == 4) {
        row[0] = MIXED(y[0], y[1], HALVES_LOW);
        row[1] = MIXED(y[2], y[3], HALVES_LOW);
        row[2] = MIXED(y[0], y[1], HALVES_HIGH);
        row[3] = MIXED(y[2], y[3], HALVES_HIGH);
    } else if (dilation == 2) {
        const vec a = MIXED(y[0], y[1], PAIRS_LOW), b = MIXED(y[0], y[1], PAIRS_HIGH);
        const vec c = MIXED(y[2], y[3], PAIRS_LOW), d = MIXED(y[2], y[3], PAIRS_HIGH);
        row[0] = MIXED(a, c, HALVES_LOW);
        row[1] = MIXED(b, d, HALVES_LOW);
        row[2] = MIXED(a, c, HALVES_HIGH);
        row[3] = MIXED(b, d, HALVES_HIGH);
    } else if (dilation == 1) {
        const vec a = MIXED(y[0], y[1], SINGLES_LOW), b = MIXED(y[0], y[1], SINGLES_HIGH);
        const vec c = MIXED(y[2], y[3], SINGLES_LOW), d = MIXED(y[2], y[3], SINGLES_HIGH);
        row[0] = MIXED(a, c, PAIRS_LOW);
        row[1] = MIXED(a, c, PAIRS_HIGH);
        row[2] = MIXED(b, d, PAIRS_LOW);
        row[3] = MIXED(b, d, PAIRS_HIGH);
    }
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
        vec_store(to + 8 * i, row[i]);
}

/* Six columns of each tile to six, or of outputs' gradients four. */
INLINE void transform(const struct training_columns *whole, int dilation, bool gradients)
{
    const struct training_columns s = *whole; /* a copy that no store can change */
    for (int c = 0; c < s.channels; c++)
        for (int i = 0; i < 6; i++) {
            const float *from = s.rows + i * s.row + c * s.row_pitch;
            float *to = s.tiles + 6 * i * s.position + c * s.pitch;
            for (int g = 0; g < s.groups; g++, from += TRAINING_COLUMNS, to += LANES) {
                vec x[6], t[6];
                load_tiles(x, from, dilation);
                if (gradients)
                    winograd_scatter(t, x[0], x[1], x[2], x[3]);
                else
                    winograd_spread(t, x[0], x[1], x[2], x[3], x[4], x[5]);
                _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++)
                    vec_store(to + j * s.position, t[j]);
            }
        }
}

INLINE void spread(const struct training_columns *columns, int dilation)
{
    transform(columns, dilation, false);
}

INLINE void scatter(const struct training_columns *columns, int dilation)
{
    transform(columns, dilation, true);
}

INLINE void gather(const struct training_columns *whole, int dilation)
{
    const struct training_columns s = *whole;
    for (int c = 0; c < s.channels; c++)
        for (int i = 0; i < 6; i++) {
            const float *from = s.tiles + 6 * i * s.position + c * s.pitch;
            float *to = s.rows + i * s.row + c * s.row_pitch;
            for (int g = 0; g < s.groups; g++, from += LANES, to += TRAINING_COLUMNS) {
                vec y[4];
                winograd_gather(y, vec_load(from), vec_load(from + s.position), vec_load(from + 2 * s.position), vec_load(from + 3 * s.position),
                                vec_load(from + 4 * s.position), vec_load(from + 5 * s.position));
                store_tiles(to, y, dilation);
            }
        }
}

#define FOR_DILATIONS(function, columns)                                                                               \
    switch ((columns)->dilation) {                                                                                     \
    case 1: function(columns, 1); break;                                                                               \
    case 2: function(columns, 2); break;                                                                               \
    case 4: function(columns, 4); break;                                                                               \
    default: function(columns, 8); break;                                                                              \
    }

void BLOCK(training_spread_columns)(const struct training_columns *columns)
{
    FOR_DILATIONS(spread, columns)
}

void BLOCK(training_scatter_columns)(const struct training_columns *columns)
{
    FOR_DILATIONS(scatter, columns)
}

void BLOCK(training_gather_columns)(const struct training_columns *columns)
{
    FOR_DILATIONS(gather, columns)
}
#endif
