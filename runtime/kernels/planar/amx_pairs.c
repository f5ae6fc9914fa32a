/* Pixels as the pairs of bfloat16 that amx_product reads: channels last, each pixel padded with zeros to the depth of whole tiles. */
#include "runtime/kernels/planar/amx.h"
#include "runtime/kernels/planar/blocks.h"
#include "runtime/kernels/planar/finish.h"

static void pairs_of_channels(const struct row_pairs *p)
{
    planar_blocks_avx512_bf16.row_pairs(p);
    const int pairs = (p->channels + 1) / 2;
    for (int x = 0; x < p->pixels && pairs < p->pixel_out; x++)
        for (ptrdiff_t i = pairs; i < p->pixel_out; i++)
            p->output[x * p->pixel_out + i] = 0;
}

static void pairs_of_planes(const struct row_pairs *p)
{
    const __m512i pixel = _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                                             _mm512_set1_epi32((int)p->pixel_out));
    for (int pair = 0; pair < p->pixel_out; pair++) {
        const float *even = p->input + 2 * pair * p->step, *odd = even + p->step;
        for (int x = 0; x < p->pixels; x += LANES) {
            const int part = p->pixels - x < LANES ? p->pixels - x : LANES;
            const vec low = 2 * pair < p->channels ? vec_load_part(even + x, part) : vec_set(0);
            const vec high = 2 * pair + 1 < p->channels ? vec_load_part(odd + x, part) : vec_set(0);
            _mm512_mask_i32scatter_ps(p->output + x * p->pixel_out + pair, (__mmask16)((1u << part) - 1), pixel, (__m512)vec_pair(low, high), 4);
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

/* ---- the finish ------------------------------------------------------------------------------------------------------- */

static vec half_load(const float *from, ptrdiff_t at, int part)
{
    const __mmask16 mask = (__mmask16)((1u << part) - 1);
    return (vec)_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, (const uint16_t *)from + at)), 16));
}

static void half_store(float *to, ptrdiff_t at, vec value, int part)
{
    const __mmask16 mask = (__mmask16)((1u << part) - 1);
    _mm256_mask_storeu_epi16((uint16_t *)to + at, mask, (__m256i)_mm512_cvtneps_pbh((__m512)value));
}

INLINE void finish_channels(const struct rounded_finish *r, int c, int part, bool residual, bool output)
{
    const struct channel_finish *g = &r->finish;
    const struct planar_finish f = g->finish; /* a copy that no store can change */
    const struct finish_constants constants = finish_constants_from(&f, c, part);
    for (int x = 0; x < g->pixels; x++) {
        const ptrdiff_t at = x * f.step + c;
        const vec value = vec_load_part(g->input + x * g->pitch + c, part);
        const vec other = !f.residual ? vec_set(0) : residual ? half_load(f.residual, at, part) : vec_load_part(f.residual + at, part);
        const vec y = finish_value(&f, f.residual ? FINISH_RESIDUAL : 0u, &constants, value, other);
        if (output)
            half_store(f.output, at, y, part);
        else
            vec_store_part(f.output + at, y, part);
    }
}

static void rounded_finish(const struct rounded_finish *r)
{
    for (int c = 0; c < r->finish.channels; c += LANES) {
        const int part = r->finish.channels - c < LANES ? r->finish.channels - c : LANES;
        if (r->residual && r->output)
            finish_channels(r, c, part, true, true);
        else if (r->output)
            finish_channels(r, c, part, false, true);
        else
            finish_channels(r, c, part, r->residual, false);
    }
}

const struct planar_blocks planar_blocks_amx = {.name = "amx", .lanes = LANES, .channel_product = amx_product, .row_pairs = row_pairs,
                                                .rounded_finish = rounded_finish, .release = amx_release};
