/* Winograd along the rows of planes: lanes are neighbouring pixels of a row, so no lane ever changes its place. */
#include "runtime/kernels/planar/blocks.h"
#include "runtime/kernels/planar/finish.h"
#include "runtime/kernels/planar/winograd.h"

void BLOCK(plane_spread)(const struct plane_spread *whole)
{
    const struct plane_spread s = *whole; /* a copy that no store can change */
    for (int c = 0; c < s.channels; c++) {
        const float *x0 = s.rows[0] + c * s.channel, *x1 = s.rows[1] + c * s.channel, *x2 = s.rows[2] + c * s.channel,
                    *x3 = s.rows[3] + c * s.channel, *x4 = s.rows[4] + c * s.channel, *x5 = s.rows[5] + c * s.channel;
        float *to0 = s.output + c * s.pitch, *to3 = to0 + 3 * s.position;
        for (int x = 0; x < s.columns; x += LANES) {
            vec t[6];
            winograd_spread(t, vec_load(x0 + x), vec_load(x1 + x), vec_load(x2 + x), vec_load(x3 + x), vec_load(x4 + x),
                            vec_load(x5 + x));
            vec_store(to0 + x, t[0]);
            vec_store(to0 + s.position + x, t[1]);
            vec_store(to0 + 2 * s.position + x, t[2]);
            vec_store(to3 + x, t[3]);
            vec_store(to3 + s.position + x, t[4]);
            vec_store(to3 + 2 * s.position + x, t[5]);
        }
    }
}

INLINE void gather(const struct plane_gather *whole, unsigned parts)
{
    /* Copies whose address nobody has: stores through float pointers cannot change them. */
    const struct plane_gather g = *whole;
    const struct planar_finish f = g.finish;
    for (int c = 0; c < g.channels; c++) {
        struct finish_constants constants = {vec_set(f.scale ? f.scale[c] : 1), vec_set(f.shift ? f.shift[c] : 0),
                                             vec_set(f.slope ? f.slope[c] : 0)};
        const float *from = g.input + c * g.pitch;
        for (int x = 0; x < g.columns; x += LANES) {
            ptrdiff_t sum_at = c * f.sum_step + x, at = c * f.step + x;
            vec y[4];
            winograd_gather(y, vec_load(from + x), vec_load(from + x + g.position), vec_load(from + x + 2 * g.position),
                            vec_load(from + x + 3 * g.position), vec_load(from + x + 4 * g.position),
                            vec_load(from + x + 5 * g.position));
            int left = g.columns - x;
            if (g.rows == 4 && left >= LANES) {
                for (int r = 0; r < 4; r++)
                    finish_vector(&f, parts, &constants, y[r], sum_at + r * f.sum_row, at + r * f.row, 0);
                continue;
            }
            for (int r = 0; r < 4; r++)
                if (r < g.rows)
                    finish_vector(&f, parts, &constants, y[r], sum_at + r * f.sum_row, at + r * f.row, left < LANES ? left : 0);
        }
    }
}

/* Every row begins where a vector may be written past the caches. */
static bool goes_through(const struct planar_finish *f)
{
    return f->through && f->output && !f->residual && (uintptr_t)f->output % sizeof(vec) == 0 && f->step % LANES == 0 && f->row % LANES == 0;
}

void BLOCK(plane_gather)(const struct plane_gather *g)
{
    const unsigned parts = finish_parts(&g->finish);
    if (goes_through(&g->finish)) {
        switch (parts | FINISH_THROUGH) {
            FINISH_SUMS(gather, g, FINISH_OUTPUT | FINISH_THROUGH)
        default:
            gather(g, parts | FINISH_THROUGH);
        }
        vec_through_done();
        return;
    }
    FINISH_VARIANTS(gather, g, parts)
}
