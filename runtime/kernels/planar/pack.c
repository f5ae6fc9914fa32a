#include "runtime/kernels/planar/pack.h"

#include <string.h>

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

size_t pack_plane_weights(const struct pack_matrix *m, float *out)
{
    size_t at = 0;
    for (int group = 0; group < m->rows; group += 4)
        for (int k = 0; k < m->depth; k++)
            for (int r = group; r < group + 4; r++)
                out[at++] = r < m->rows ? m->values[r * m->row + k * m->step] : 0;
    return at;
}

size_t pack_channel_weights(const struct pack_matrix *m, float *out)
{
    size_t width = pack_width((size_t)m->rows);
    for (int k = 0; k < m->depth; k++)
        for (size_t r = 0; r < width; r++)
            out[(size_t)k * width + r] = r < (size_t)m->rows ? m->values[(ptrdiff_t)r * m->row + k * m->step] : 0;
    return width * (size_t)m->depth;
}

size_t pack_plane_winograd(int outputs, int channels, const float *weights, float *out)
{
    size_t padded = ((size_t)outputs + 3) / 4 * 4, depth = 3 * (size_t)channels;
    memset(out, 0, WINOGRAD_INPUTS * padded * depth * sizeof *out);
    for (size_t i = 0; i < WINOGRAD_INPUTS; i++)
        for (size_t r = 0; r < (size_t)outputs; r++)
            for (size_t k = 0; k < depth; k++) {
                const float *filter = weights + (r * (size_t)channels + k / 3) * 9 + k % 3;
                double value = 0;
                for (size_t y = 0; y < 3; y++)
                    value += filter_rows[i][y] * (double)filter[3 * y];
                out[i * padded * depth + (r / 4 * depth + k) * 4 + r % 4] = (float)value;
            }
    return WINOGRAD_INPUTS * padded * depth;
}

void pack_winograd_gradient(const double values[WINOGRAD_INPUTS], double filter[3])
{
    for (size_t y = 0; y < 3; y++) {
        filter[y] = 0;
        for (size_t i = 0; i < WINOGRAD_INPUTS; i++)
            filter[y] += filter_rows[i][y] * values[i];
    }
}

static void transform_filter(const float *filter, double out[WINOGRAD_INPUTS][WINOGRAD_INPUTS])
{
    double rows[WINOGRAD_INPUTS][3];
    for (size_t i = 0; i < WINOGRAD_INPUTS; i++)
        for (size_t x = 0; x < 3; x++)
            rows[i][x] = filter_rows[i][0] * (double)filter[x] + filter_rows[i][1] * (double)filter[3 + x]
                         + filter_rows[i][2] * (double)filter[6 + x];
    for (size_t i = 0; i < WINOGRAD_INPUTS; i++)
        for (size_t j = 0; j < WINOGRAD_INPUTS; j++)
            out[i][j] = rows[i][0] * filter_rows[j][0] + rows[i][1] * filter_rows[j][1] + rows[i][2] * filter_rows[j][2];
}

size_t pack_channel_winograd(int outputs, int channels, const float *weights, float *out)
{
    size_t width = pack_width((size_t)outputs), each = (size_t)channels * width;
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
