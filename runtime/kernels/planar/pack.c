#include "runtime/kernels/planar/pack.h"

#include <string.h>

#include "runtime/tensor.h"

/* Row i turns a filter into its value for position i of F(4, 3) on the points 0, ±√½, ±√2, ∞, scaled to go with winograd.h. */
#define ROOT_HALF 0.70710678118654752440
#define ROOT_TWO 1.41421356237309504880
#define SCALE_A (ROOT_HALF / -1.5)
#define SCALE_B (ROOT_TWO / 6)
static const double filter_rows[WINOGRAD_INPUTS][3] = {
    {1, 0, 0},
    {SCALE_A, SCALE_A *ROOT_HALF, SCALE_A * 0.5},
    {SCALE_A, -SCALE_A *ROOT_HALF, SCALE_A * 0.5},
    {SCALE_B, SCALE_B *ROOT_TWO, SCALE_B * 2},
    {SCALE_B, -SCALE_B *ROOT_TWO, SCALE_B * 2},
    {0, 0, 1},
};

static float pair_of(double even, double odd)
{
    const uint32_t bits = float_to_bfloat16((float)even) | (uint32_t)float_to_bfloat16((float)odd) << 16;
    float pair;
    memcpy(&pair, &bits, sizeof pair);
    return pair;
}

/* Entry k of the depth of row r. */
static float entry(const struct pack_matrix *m, int r, int k)
{
    const float *row = m->values + r * m->row;
    if (!m->pairs)
        return row[k * m->step];
    return pair_of((double)row[2 * k * m->step], 2 * k + 1 < m->depth ? (double)row[(2 * k + 1) * m->step] : 0);
}

size_t pack_plane_weights(const struct pack_matrix *m, float *out)
{
    size_t at = 0;
    for (int group = 0; group < m->rows; group += 4)
        for (int k = 0; k < pack_depth(m->depth, m->pairs); k++)
            for (int r = group; r < group + 4; r++)
                out[at++] = r < m->rows ? entry(m, r, k) : 0;
    return at;
}

size_t pack_channel_weights(const struct pack_matrix *m, float *out)
{
    size_t width = pack_width((size_t)m->rows), depth = (size_t)pack_depth(m->depth, m->pairs);
    for (size_t k = 0; k < depth; k++)
        for (size_t r = 0; r < width; r++)
            out[k * width + r] = r < (size_t)m->rows ? entry(m, (int)r, (int)k) : 0;
    return width * depth;
}

/* A filter's column `x` at position i. */
static double transform_column(const float *filter, size_t i, size_t x)
{
    return filter_rows[i][0] * (double)filter[x] + filter_rows[i][1] * (double)filter[3 + x] + filter_rows[i][2] * (double)filter[6 + x];
}

static size_t pack_rows(int outputs, int channels, const float *weights, bool pairs, float *out)
{
    size_t padded = ((size_t)outputs + 3) / 4 * 4, depth = 3 * (size_t)pack_depth(channels, pairs);
    memset(out, 0, WINOGRAD_INPUTS * padded * depth * sizeof *out);
    for (size_t i = 0; i < WINOGRAD_INPUTS; i++)
        for (size_t r = 0; r < (size_t)outputs; r++)
            for (size_t k = 0; k < depth; k++) {
                const size_t channel = k / 3 * (pairs ? 2 : 1);
                const float *filter = weights + (r * (size_t)channels + channel) * 9;
                const double value = transform_column(filter, i, k % 3);
                const double next = pairs && channel + 1 < (size_t)channels ? transform_column(filter + 9, i, k % 3) : 0;
                out[i * padded * depth + (r / 4 * depth + k) * 4 + r % 4] = pairs ? pair_of(value, next) : (float)value;
            }
    return WINOGRAD_INPUTS * padded * depth;
}

size_t pack_plane_winograd(int outputs, int channels, const float *weights, float *out)
{
    return pack_rows(outputs, channels, weights, false, out);
}

size_t pack_plane_winograd_pairs(int outputs, int channels, const float *weights, float *out)
{
    return pack_rows(outputs, channels, weights, true, out);
}

void pack_winograd_gradient(const double values[WINOGRAD_INPUTS], double filter[3])
{
    for (size_t y = 0; y < 3; y++) {
        filter[y] = 0;
        for (size_t i = 0; i < WINOGRAD_INPUTS; i++)
            filter[y] += filter_rows[i][y] * values[i];
    }
}

/* to[y] = Σ_i filter_rows[i][y] · from[i], rows of `count` numbers `step` apart. */
static void transform_back(int count, int step, const double *from, int step_to, double *to)
{
    for (size_t y = 0; y < 3; y++) {
        for (int k = 0; k < count; k++)
            to[(int)y * step_to + k] = 0;
        for (size_t i = 0; i < WINOGRAD_INPUTS; i++)
            for (int k = 0; k < count; k++)
                to[(int)y * step_to + k] += filter_rows[i][y] * from[(int)i * step + k];
    }
}

void pack_square_gradient(int count, int pitch, double *values, double *filters)
{
    double *rows = values; /* [6][3]: each row of six gives way to its three */
    for (int i = 0; i < WINOGRAD_INPUTS; i++) {
        transform_back(count, pitch, values + i * WINOGRAD_INPUTS * pitch, pitch, filters);
        for (int x = 0; x < 3; x++)
            for (int k = 0; k < count; k++)
                rows[(3 * i + x) * pitch + k] = filters[x * pitch + k];
    }
    for (int x = 0; x < 3; x++)
        transform_back(count, 3 * pitch, rows + x * pitch, 3 * pitch, filters + x * pitch);
}

static void transform_filter(const float *filter, double out[WINOGRAD_INPUTS][WINOGRAD_INPUTS])
{
    double rows[WINOGRAD_INPUTS][3];
    for (size_t i = 0; i < WINOGRAD_INPUTS; i++)
        for (size_t x = 0; x < 3; x++)
            rows[i][x] = transform_column(filter, i, x);
    for (size_t i = 0; i < WINOGRAD_INPUTS; i++)
        for (size_t j = 0; j < WINOGRAD_INPUTS; j++)
            out[i][j] = rows[i][0] * filter_rows[j][0] + rows[i][1] * filter_rows[j][1] + rows[i][2] * filter_rows[j][2];
}

size_t pack_plane_square(int outputs, int channels, const float *weights, float *out)
{
    const size_t depth = (size_t)channels, each = ((size_t)outputs + 3) / 4 * 4 * depth;
    memset(out, 0, WINOGRAD_INPUTS * WINOGRAD_INPUTS * each * sizeof *out);
    for (size_t r = 0; r < (size_t)outputs; r++)
        for (size_t k = 0; k < depth; k++) {
            double values[WINOGRAD_INPUTS][WINOGRAD_INPUTS];
            transform_filter(weights + (r * depth + k) * 9, values);
            for (size_t i = 0; i < WINOGRAD_INPUTS * WINOGRAD_INPUTS; i++)
                out[i * each + (r / 4 * depth + k) * 4 + r % 4] = (float)values[i / WINOGRAD_INPUTS][i % WINOGRAD_INPUTS];
        }
    return WINOGRAD_INPUTS * WINOGRAD_INPUTS * each;
}

size_t pack_channel_winograd(int outputs, int channels, size_t width, const float *weights, float *out)
{
    const size_t each = (size_t)channels * width;
    memset(out, 0, WINOGRAD_INPUTS * WINOGRAD_INPUTS * each * sizeof *out);
    for (size_t r = 0; r < (size_t)outputs; r++)
        for (size_t k = 0; k < (size_t)channels; k++) {
            double values[WINOGRAD_INPUTS][WINOGRAD_INPUTS];
            transform_filter(weights + (r * (size_t)channels + k) * 9, values);
            for (size_t i = 0; i < WINOGRAD_INPUTS * WINOGRAD_INPUTS; i++)
                out[i * each + k * width + r] = (float)values[i / WINOGRAD_INPUTS][i % WINOGRAD_INPUTS];
        }
    return WINOGRAD_INPUTS * WINOGRAD_INPUTS * each;
}
