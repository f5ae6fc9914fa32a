/* Depthwise convolutions on channels-last data, one output row: lanes are channels. */
#include "runtime/kernels/planar/blocks.h"
#include "runtime/kernels/planar/finish.h"

enum { PIXELS = 4 };

/* PIXELS (or one) neighbouring pixels whose input columns all exist. */
#define INSIDE(NAME, COUNT)                                                                                            \
    INLINE void NAME(const struct channel_depthwise *d, int c, int part, int x, vec sum[COUNT])                        \
    {                                                                                                                  \
        const ptrdiff_t pixel = d->stride * d->pitch, column = d->dilation * d->pitch;                                 \
        const float *weights = d->weights + c;                                                                         \
        for (int i = 0; i < d->kernel[0]; i++) {                                                                       \
            if (!d->rows[i]) {                                                                                         \
                weights += d->kernel[1] * d->width;                                                                    \
                continue;                                                                                              \
            }                                                                                                          \
            const float *from = d->rows[i] + x * pixel - d->pad * d->pitch + c;                                        \
            for (int j = 0; j < d->kernel[1]; j++, from += column, weights += d->width) {                              \
                vec w = vec_load(weights);                                                                             \
                _Pragma("GCC unroll 4") for (int u = 0; u < COUNT; u++)                                                \
                    sum[u] = vec_fma(w, vec_load_some(from + u * pixel, part), sum[u]);                                  \
            }                                                                                                          \
        }                                                                                                              \
    }
INSIDE(inside_some, PIXELS)
INSIDE(inside_one, 1)

INLINE vec at_edge(const struct channel_depthwise *d, int c, int part, int x)
{
    vec sum = vec_set(0);
    const float *weights = d->weights + c;
    for (int i = 0; i < d->kernel[0]; i++)
        for (int j = 0; j < d->kernel[1]; j++, weights += d->width) {
            int column = x * d->stride - d->pad + j * d->dilation;
            if (d->rows[i] && column >= 0 && column < d->columns)
                sum = vec_fma(vec_load(weights), vec_load_some(d->rows[i] + column * d->pitch + c, part), sum);
        }
    return sum;
}

INLINE void depthwise(const struct channel_depthwise *whole, unsigned parts)
{
    const struct channel_depthwise d = *whole; /* copies that no store can change */
    const struct planar_finish f = d.finish;
    int reach = (d.kernel[1] - 1) * d.dilation, first = (d.pad + d.stride - 1) / d.stride;
    int last = d.columns - 1 - reach + d.pad < 0 ? 0 : (d.columns - 1 - reach + d.pad) / d.stride + 1;
    first = first < d.pixels ? first : d.pixels;
    last = last < first ? first : last < d.pixels ? last : d.pixels;
    for (int c = 0; c < d.channels; c += LANES) {
        int part = d.channels - c < LANES ? d.channels - c : 0, x = 0;
        struct finish_constants constants = finish_constants_from(&f, c, part);
        for (; x < first; x++)
            finish_vector(&f, parts, &constants, at_edge(&d, c, part, x), x * f.sum_step + c, x * f.step + c, part);
        for (; x + PIXELS <= last; x += PIXELS) {
            vec sum[PIXELS] = {vec_set(0), vec_set(0), vec_set(0), vec_set(0)};
            inside_some(&d, c, part, x, sum);
            for (int u = 0; u < PIXELS; u++)
                finish_vector(&f, parts, &constants, sum[u], (x + u) * f.sum_step + c, (x + u) * f.step + c, part);
        }
        for (; x < last; x++) {
            vec sum[1] = {vec_set(0)};
            inside_one(&d, c, part, x, sum);
            finish_vector(&f, parts, &constants, sum[0], x * f.sum_step + c, x * f.step + c, part);
        }
        for (; x < d.pixels; x++)
            finish_vector(&f, parts, &constants, at_edge(&d, c, part, x), x * f.sum_step + c, x * f.step + c, part);
    }
}

void BLOCK(channel_depthwise)(const struct channel_depthwise *d)
{
    const unsigned parts = finish_parts(&d->finish);
    FINISH_FEW(depthwise, d, parts)
}
