/* Rows on their way into a product: upsampled, pooled, turned into planes. Memory, not arithmetic, sets their pace. */
#include <string.h>

#include "runtime/kernels/planar/blocks.h"
#include "runtime/kernels/planar/finish.h"

/* weight · above + (1 − weight) · below of `count` floats. */
INLINE void blend_rows(float *to, const float *above, const float *below, float weight, ptrdiff_t count)
{
    vec w = vec_set(weight), rest = vec_set(1 - weight);
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES)
        vec_store(to + i, vec_fma(w, vec_load(above + i), rest * vec_load(below + i)));
    if (i < count) {
        int part = (int)(count - i);
        vec_store_part(to + i, vec_fma(w, vec_load_part(above + i, part), rest * vec_load_part(below + i, part)), part);
    }
}

/* The input row of a plane, with a column before and behind it, blended from two. */
static void blend_plane(const struct row_upsample *u, int plane, float *blend)
{
    int columns = u->columns, left = u->goes_left, right = u->goes_right;
    ptrdiff_t from = plane * u->step - left;
    blend_rows(blend - left, u->above + from, u->below + from, u->weight, columns + left + right);
    if (!left)
        blend[-1] = blend[0];
    if (!right)
        blend[columns] = blend[columns - 1];
}

static void double_plane(const struct row_upsample *u, int plane, const float *blend)
{
    float *to = u->output + plane * u->output_step;
    vec near = vec_set(0.75f), far = vec_set(0.25f), start = vec_set(u->shift ? u->shift[plane] : 0);
    for (int x = 0; x < u->columns; x += LANES) {
        int part = u->columns - x < LANES ? u->columns - x : 0;
        const float *from = blend + x;
        vec middle = vec_fma(near, vec_load_some(from, part), start);
        vec even = vec_fma(far, vec_load_some(from - 1, part), middle), odd = vec_fma(far, vec_load_some(from + 1, part), middle);
        vec low = vec_low(even, odd), high = vec_high(even, odd);
        if (part == 0) {
            vec_store(to + 2 * x, low);
            vec_store(to + 2 * x + LANES, high);
        } else if (2 * part < LANES) {
            vec_store_part(to + 2 * x, low, 2 * part);
        } else {
            vec_store(to + 2 * x, low);
            vec_store_part(to + 2 * x + LANES, high, 2 * part - LANES);
        }
    }
}

/* Some planes are blended before the first of them is read again, shifted by a column: what has just been stored cannot be. */
static void upsample_planes(const struct row_upsample *u)
{
    ptrdiff_t pitch = (u->columns + PLANAR_SLACK) / 16 * 16;
    for (int first = 0; first < u->planes; first += UPSAMPLED_TOGETHER) {
        int last = first + UPSAMPLED_TOGETHER < u->planes ? first + UPSAMPLED_TOGETHER : u->planes;
        for (int plane = first; plane < last; plane++)
            blend_plane(u, plane, u->temporary + 16 + (plane - first) * pitch);
        for (int plane = first; plane < last; plane++)
            double_plane(u, plane, u->temporary + 16 + (plane - first) * pitch);
    }
}

INLINE vec blend_pixel(const struct row_upsample *u, ptrdiff_t at, int part)
{
    return vec_fma(vec_set(u->weight), vec_load_some(u->above + at, part), vec_set(1 - u->weight) * vec_load_some(u->below + at, part));
}

/* One vector of channels of the whole row: what has been blended goes on in registers. */
INLINE void upsample_vector(const struct row_upsample *whole, int c, int part)
{
    const struct row_upsample u = *whole; /* a copy that no store can change */
    const vec near = vec_set(0.75f), far = vec_set(0.25f), shift = u.shift ? vec_load_some(u.shift + c, part) : vec_set(0);
    float *to = u.output + c;
    ptrdiff_t at = c;
    vec here = blend_pixel(&u, at, part), before = u.goes_left ? blend_pixel(&u, at - u.channels, part) : here;
    for (int x = 0; x < u.columns; x++, to += 2 * u.output_step) {
        at += u.channels;
        const vec after = x + 1 < u.columns || u.goes_right ? blend_pixel(&u, at, part) : here;
        const vec middle = vec_fma(near, here, shift);
        vec_store_some(to, vec_fma(far, before, middle), part);
        vec_store_some(to + u.output_step, vec_fma(far, after, middle), part);
        before = here;
        here = after;
    }
}

static void upsample_channels(const struct row_upsample *u)
{
    int c = 0;
    for (; c + LANES <= u->channels; c += LANES)
        upsample_vector(u, c, 0);
    if (c < u->channels)
        upsample_vector(u, c, u->channels - c);
}

void BLOCK(row_upsample)(const struct row_upsample *u)
{
    if (u->channels > 0) {
        upsample_channels(u);
        return;
    }
    upsample_planes(u);
}

/* Not a number where one of them is. */
INLINE vec larger(vec a, vec b)
{
    typedef int32_t mask __attribute__((vector_size(LANES * 4)));
    mask first = (a > b) | (a != a);
    return (vec)((first & (mask)a) | (~first & (mask)b));
}

static void pool_channels(const struct row_pool *p)
{
    ptrdiff_t channels = p->channels;
    for (int x = 0; x < p->columns; x++) {
        const float *above = p->above + 2 * x * channels, *below = p->below + 2 * x * channels;
        float *to = p->output + x * p->output_step;
        for (int c = 0; c < channels; c += LANES) {
            int part = channels - c < LANES ? (int)channels - c : 0;
            vec top = larger(vec_load_some(above + c, part), vec_load_some(above + channels + c, part));
            vec bottom = larger(vec_load_some(below + c, part), vec_load_some(below + channels + c, part));
            vec_store_some(to + c, larger(top, bottom), part);
        }
    }
}

/* Of `count` floats of both rows, the rest of the vector zero. */
INLINE vec larger_row(const float *above, const float *below, int count)
{
    if (count >= LANES)
        return larger(vec_load(above), vec_load(below));
    return count > 0 ? larger(vec_load_part(above, count), vec_load_part(below, count)) : vec_set(0);
}

void BLOCK(row_pool)(const struct row_pool *p)
{
    if (p->channels > 0) {
        pool_channels(p);
        return;
    }
    for (int plane = 0; plane < p->planes; plane++) {
        const float *above = p->above + plane * p->step, *below = p->below + plane * p->step;
        float *to = p->output + plane * p->output_step;
        const ptrdiff_t next = 2 * (below - above);
        for (int x = 0; x < p->columns; x += LANES) {
            /* Rows of planes lie too far apart for the hardware to foresee the next ones. */
            __builtin_prefetch(above + 2 * x + next, 0, 2);
            __builtin_prefetch(below + 2 * x + next, 0, 2);
            __builtin_prefetch(above + 2 * x + 16 + next, 0, 2);
            __builtin_prefetch(below + 2 * x + 16 + next, 0, 2);
            int left = 2 * (p->columns - x), part = left < 2 * LANES ? left / 2 : 0;
            vec low = larger_row(above + 2 * x, below + 2 * x, left);
            vec high = larger_row(above + 2 * x + LANES, below + 2 * x + LANES, left - LANES);
            vec_store_some(to + x, larger(vec_even(low, high), vec_odd(low, high)), part);
        }
    }
}

/* `vectors` vectors of one pixel; `part` lanes of the last (0: all). What is not a number is marked by all bits. */
INLINE void pixel_vectors(const struct pixel_maximum *m, ptrdiff_t at, int vectors, int part)
{
    typedef int32_t mask __attribute__((vector_size(LANES * 4)));
    vec best[4];
    mask missing[4];
    for (int v = 0; v < vectors; v++) {
        best[v] = vec_load_some((m->onto ? m->output : m->input + m->offsets[0]) + at + v * LANES, part);
        missing[v] = best[v] != best[v];
    }
    for (int k = m->onto ? 0 : 1; k < m->count; k++) {
        const float *from = m->input + m->offsets[k] + at;
        for (int v = 0; v < vectors; v++) {
            const vec value = vec_load_some(from + v * LANES, part);
            best[v] = vec_max(best[v], value);
            missing[v] |= value != value;
        }
    }
    for (int v = 0; v < vectors; v++)
        vec_store_some(m->output + at + v * LANES, (vec)((mask)best[v] | missing[v]), part);
}

void BLOCK(pixel_maximum)(const struct pixel_maximum *m)
{
    ptrdiff_t c = 0;
    for (; c + 4 * LANES <= m->channels; c += 4 * LANES)
        pixel_vectors(m, c, 4, 0);
    for (; c + LANES <= m->channels; c += LANES)
        pixel_vectors(m, c, 1, 0);
    if (c < m->channels)
        pixel_vectors(m, c, 1, (int)(m->channels - c));
}

void BLOCK(row_round)(const struct row_round *r)
{
    const float *restrict input = r->input;
    uint16_t *restrict output = r->output;
    const ptrdiff_t count = r->count;
    for (ptrdiff_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, input + i, sizeof bits);
        const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, quiet = bits >> 16 | 0x40;
        output[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
    }
}

void BLOCK(row_widen)(const struct row_widen *w)
{
    const uint16_t *restrict input = w->input;
    float *restrict output = w->output;
    const ptrdiff_t count = w->count;
    for (ptrdiff_t i = 0; i < count; i++) {
        const uint32_t bits = (uint32_t)input[i] << 16;
        memcpy(output + i, &bits, sizeof bits);
    }
}

/* The order of halves as whole numbers: all NaN above infinity. */
typedef int16_t halves __attribute__((vector_size(LANES * 4)));
typedef int16_t halves_unaligned __attribute__((vector_size(LANES * 4), aligned(2), may_alias));
#define HALF_RANK(bits, infinity, rank)                                                                                \
    do {                                                                                                               \
        const __typeof__(rank) magnitude = (bits) & 0x7fff, negative = (bits) >> 15, missing = ((infinity) - magnitude) >> 15; \
        rank = ((((magnitude ^ negative) - negative) & ~missing) | (missing & 0x7fff));                                \
    } while (0)

INLINE void half_vector(const struct half_maximum *m, ptrdiff_t at)
{
    const int16_t *input = (const int16_t *)m->input;
    halves best = *(const halves_unaligned *)(m->onto ? (const int16_t *)m->output + at : input + m->offsets[0] + at), best_rank;
    HALF_RANK(best, m->infinity, best_rank);
    for (int k = m->onto ? 0 : 1; k < m->count; k++) {
        const halves value = *(const halves_unaligned *)(input + m->offsets[k] + at);
        halves rank;
        HALF_RANK(value, m->infinity, rank);
        const halves greater = rank > best_rank;
        best = (greater & value) | (~greater & best);
        best_rank = (greater & rank) | (~greater & best_rank);
    }
    *(halves_unaligned *)((int16_t *)m->output + at) = best;
}

void BLOCK(half_maximum)(const struct half_maximum *m)
{
    ptrdiff_t c = 0;
    for (; c + 2 * LANES <= m->channels; c += 2 * LANES)
        half_vector(m, c);
    for (; c < m->channels; c++) {
        int best = (int16_t)(m->onto ? m->output[c] : m->input[m->offsets[0] + c]), best_rank;
        HALF_RANK(best, m->infinity, best_rank);
        for (int k = 0; k < m->count; k++) {
            int value = (int16_t)m->input[m->offsets[k] + c], rank;
            HALF_RANK(value, m->infinity, rank);
            best = rank > best_rank ? value : best;
            best_rank = rank > best_rank ? rank : best_rank;
        }
        m->output[c] = (uint16_t)best;
    }
}

/* A square of LANES × LANES: as many perfect shuffles as a lane's number has bits turn it over. */
INLINE void turn_square(vec square[LANES])
{
    _Pragma("GCC unroll 4") for (int step = 1; step < LANES; step *= 2) {
        vec next[LANES];
        _Pragma("GCC unroll 16") for (int i = 0; i < LANES / 2; i++) {
            next[2 * i] = vec_low(square[i], square[i + LANES / 2]);
            next[2 * i + 1] = vec_high(square[i], square[i + LANES / 2]);
        }
        _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++)
            square[i] = next[i];
    }
}

/* Pixels [first, last) of the channels from `channel` on, one by one. */
static void turn_rest(const struct row_planes *p, int first, int last, int channel)
{
    for (int x = first; x < last; x += 8) {
        int count = last - x < 8 ? last - x : 8;
        for (int c = channel; c < p->channels; c++) {
            const float *from = p->input + x * p->pixel + c;
            float *to = p->output + c * p->plane + x;
            for (int i = 0; i < count; i++)
                to[i] = from[i * p->pixel];
        }
    }
}

void BLOCK(row_planes)(const struct row_planes *whole)
{
    const struct row_planes p = *whole;
    int pixels = p.pixels / LANES * LANES, channels = p.channels / LANES * LANES;
    for (int x = 0; x < pixels; x += LANES)
        for (int c = 0; c < channels; c += LANES) {
            const float *from = p.input + x * p.pixel + c;
            float *to = p.output + c * p.plane + x;
            vec square[LANES];
            _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++)
                square[i] = vec_load(from + i * p.pixel);
            turn_square(square);
            _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++)
                vec_store(to + i * p.plane, square[i]);
        }
    turn_rest(&p, 0, pixels, channels);
    turn_rest(&p, pixels, p.pixels, 0);
}

INLINE void finish_pixels(const struct channel_finish *whole, unsigned parts)
{
    const struct channel_finish g = *whole; /* copies that no store can change */
    const struct planar_finish f = g.finish;
    for (int c = 0; c < g.channels; c += LANES) {
        int part = g.channels - c < LANES ? g.channels - c : 0;
        struct finish_constants constants = finish_constants_from(&f, c, part);
        for (int p = 0; p < g.pixels; p++)
            finish_vector(&f, parts, &constants, vec_load_some(g.input + p * g.pitch + c, part), p * f.sum_step + c, p * f.step + c,
                          part);
    }
}

void BLOCK(channel_finish)(const struct channel_finish *f)
{
    FINISH_VARIANTS(finish_pixels, f, finish_parts(&f->finish))
}
