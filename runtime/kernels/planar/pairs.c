/* Products of bfloat16 in pairs of neighbouring channels, summed in float32: a pair is one 32-bit lane, so that the loops of
 * plane_product.c and channel_product.c are the same with half the depth. Here is what makes pairs. */
#include "runtime/kernels/planar/blocks.h"
#include "runtime/kernels/planar/finish.h"
#include "runtime/kernels/planar/winograd.h"

enum { CHANNELS_AHEAD = 4 }; /* how many are fetched ahead */

/* Channels last: neighbouring channels are neighbours in memory, and so are the halves of a pair. */
INLINE void pairs_of_run(const float *from, float *to, ptrdiff_t count)
{
    ptrdiff_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES)
        vec_store(to + i / 2, vec_round(vec_load(from + i), vec_load(from + i + LANES)));
    if (i < count) {
        const int left = (int)(count - i), low = left < LANES ? left : LANES;
        const vec value = vec_round(vec_load_part(from + i, low), vec_load_part(from + i + LANES, left - low));
        vec_store_part(to + i / 2, value, (left + 1) / 2);
    }
}

static void pairs_of_channels(const struct row_pairs *p)
{
    const bool dense = p->pixel == p->channels && 2 * p->pixel_out == p->channels;
    if (dense)
        pairs_of_run(p->input, p->output, (ptrdiff_t)p->pixels * p->channels);
    for (int x = 0; x < p->pixels && !dense; x++)
        pairs_of_run(p->input + x * p->pixel, p->output + x * p->pixel_out, p->channels);
}

static void pairs_of_planes(const struct row_pairs *p)
{
    for (int c = 0; c < p->channels; c += 2) {
        const float *even = p->input + c * p->step, *odd = even + p->step;
        float *to = p->output + c / 2 * p->step_out;
        const bool alone = c + 1 == p->channels;
        int x = 0;
        for (; x + LANES <= p->pixels && !alone; x += LANES) {
            /* Rows of planes lie too far apart for the hardware to foresee the next ones. */
            __builtin_prefetch(even + x + CHANNELS_AHEAD * p->step);
            __builtin_prefetch(odd + x + CHANNELS_AHEAD * p->step);
            vec_store(to + x, vec_pair(vec_load(even + x), vec_load(odd + x)));
        }
        for (; x < p->pixels; x += LANES) {
            const int part = p->pixels - x < LANES ? p->pixels - x : LANES;
            const vec second = alone ? vec_set(0) : vec_load_part(odd + x, part);
            vec_store_part(to + x, vec_pair(vec_load_part(even + x, part), second), part);
        }
    }
}

static void row_pairs(const struct row_pairs *p)
{
    if (p->planes)
        pairs_of_planes(p);
    else
        pairs_of_channels(p);
}

INLINE void spread_rows(vec t[6], const struct plane_spread *s, ptrdiff_t at)
{
    winograd_spread(t, vec_load(s->rows[0] + at), vec_load(s->rows[1] + at), vec_load(s->rows[2] + at), vec_load(s->rows[3] + at),
                    vec_load(s->rows[4] + at), vec_load(s->rows[5] + at));
}

static void plane_spread(const struct plane_spread *whole)
{
    const struct plane_spread s = *whole;
    for (int c = 0; c < s.channels; c += 2) {
        const bool alone = c + 1 == s.channels;
        float *to = s.output + c / 2 * s.pitch;
        for (int x = 0; x < s.columns; x += LANES) {
            vec even[6], odd[6];
            spread_rows(even, &s, c * s.channel + x);
            if (alone)
                for (int i = 0; i < 6; i++)
                    odd[i] = vec_set(0);
            else
                spread_rows(odd, &s, (c + 1) * s.channel + x);
            _Pragma("GCC unroll 6") for (int i = 0; i < 6; i++)
                vec_store(to + i * s.position + x, vec_pair(even[i], odd[i]));
        }
    }
}

const struct planar_blocks BLOCK(planar_blocks) = {
    .name = "avx512_bf16",
    .lanes = LANES,
    .plane_product = BLOCK(plane_product),
    .plane_batch = BLOCK(plane_batch),
    .plane_spread = plane_spread,
    .channel_product = BLOCK(channel_product),
    .channel_batch = BLOCK(channel_batch),
    .row_pairs = row_pairs,
};
