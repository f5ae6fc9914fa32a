/* Depthwise convolutions on channels-last data, one output row: lanes are channels. */
#include "runtime/kernels/planar/blocks.h"
#include "runtime/kernels/planar/finish.h"

/* Vectors of a cache line, all of which are taken at once: the channels of pixels may lie so far apart that caches have few places for them.
 * Sums that are made together, and of how many neighbouring pixels. */
enum { VECTORS = 16 / LANES, SUMS = 8, PIXELS = SUMS / VECTORS };

/* Columns of the window [first, last) that lie inside the row; empty where first >= last. */
struct taps {
    int first, last;
};

static struct taps taps_at(const struct channel_depthwise *d, int x)
{
    const int before = d->pad - x * d->stride, after = d->columns - 1 + before;
    const int first = before > 0 ? (before + d->dilation - 1) / d->dilation : 0, last = after < 0 ? 0 : after / d->dilation + 1;
    return (struct taps){first, last < d->kernel[1] ? last : d->kernel[1]};
}

/* Pixels from `x` on, as many as share a column of windows with it. */
static int alike(const struct channel_depthwise *d, int x, struct taps taps)
{
    const int whole = (d->columns - 1 - (d->kernel[1] - 1) * d->dilation + d->pad) / d->stride + 1;
    int end = x + 1;
    if (taps.first == 0 && taps.last == d->kernel[1])
        return whole < d->pixels ? whole : d->pixels;
    for (struct taps next; end < d->pixels; end++) {
        next = taps_at(d, end);
        if (next.first != taps.first || next.last != taps.last)
            break;
    }
    return end;
}

/* `count` pixels from `x` on, whose columns `taps` all exist, of `vectors` vectors of channels. */
INLINE void sum_taps(const struct channel_depthwise *d, int c, int part, int x, struct taps taps, const int count, const int vectors, vec *sum)
{
    const ptrdiff_t pixel = d->stride * d->pitch, column = d->dilation * d->pitch;
    const ptrdiff_t start = x * pixel + taps.first * column - d->pad * d->pitch + c;
    for (int i = 0; i < d->kernel[0]; i++) {
        if (!d->rows[i])
            continue;
        const float *from = d->rows[i] + start, *weights = d->weights + (i * d->kernel[1] + taps.first) * d->width + c;
        _Pragma("GCC unroll 3") for (int j = taps.first; j < taps.last; j++, from += column, weights += d->width)
            _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) {
                const vec w = vec_load(weights + v * LANES);
                _Pragma("GCC unroll 8") for (int u = 0; u < count; u++)
                    sum[v * count + u] = vec_fma(w, vec_load_some(from + u * pixel + v * LANES, part), sum[v * count + u]);
            }
    }
}

INLINE void channels_at(const struct channel_depthwise *d, const struct planar_finish *f, unsigned parts, int c, int part, int x, struct taps taps,
                        const int count, const int vectors)
{
    vec sum[SUMS];
    _Pragma("GCC unroll 8") for (int i = 0; i < count * vectors; i++)
        sum[i] = vec_set(0);
    if (!part && taps.first == 0 && taps.last == 3)
        sum_taps(d, c, 0, x, (struct taps){0, 3}, count, vectors, sum);
    else
        sum_taps(d, c, part, x, taps, count, vectors, sum);
    _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) {
        const int at = c + v * LANES;
        const struct finish_constants constants = finish_constants_from(f, at, part);
        _Pragma("GCC unroll 8") for (int u = 0; u < count; u++)
            finish_vector(f, parts, &constants, sum[v * count + u], (x + u) * f->sum_step + at, (x + u) * f->step + at, part);
    }
}

/* All channels of some pixels: the next pixels then find most of their columns in the first cache level. */
INLINE void pixels(const struct channel_depthwise *d, const struct planar_finish *f, unsigned parts, int x, const int count, struct taps taps)
{
    int c = 0;
    for (; VECTORS > 1 && c + VECTORS * LANES <= d->channels; c += VECTORS * LANES)
        channels_at(d, f, parts, c, 0, x, taps, count, VECTORS);
    for (; c + LANES <= d->channels; c += LANES)
        channels_at(d, f, parts, c, 0, x, taps, count, 1);
    if (c < d->channels)
        channels_at(d, f, parts, c, d->channels - c, x, taps, count, 1);
}

INLINE void depthwise(const struct channel_depthwise *whole, unsigned parts)
{
    const struct channel_depthwise d = *whole; /* copies that no store can change */
    const struct planar_finish f = d.finish;
    for (int x = 0; x < d.pixels;) {
        const struct taps taps = taps_at(&d, x);
        const int end = alike(&d, x, taps);
        for (; x + PIXELS <= end; x += PIXELS)
            pixels(&d, &f, parts, x, PIXELS, taps);
        for (; x < end; x++)
            pixels(&d, &f, parts, x, 1, taps);
    }
}

void BLOCK(channel_depthwise)(const struct channel_depthwise *d)
{
    const unsigned parts = finish_parts(&d->finish);
    FINISH_FEW(depthwise, d, parts)
}
