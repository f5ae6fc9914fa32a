/* Winograd in both directions on channels-last data: lanes are channels, so that every dilation, width and height is the same
 * contiguous work. Thirty-six products stand for sixteen outputs of nine taps each. */
#include "runtime/kernels/planar/blocks.h"
#include "runtime/kernels/planar/finish.h"
#include "runtime/kernels/planar/winograd.h"

/* From the six columns that have been transformed along the rows, y[j][i] of position (i, j). */
INLINE void spread_rows(float *to, ptrdiff_t position, vec y[6][6])
{
    _Pragma("GCC unroll 6") for (int i = 0; i < 6; i++) {
        vec t[6];
        winograd_spread(t, y[0][i], y[1][i], y[2][i], y[3][i], y[4][i], y[5][i]);
        _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++, to += position)
            vec_store(to, t[j]);
        VEC_ROUND_DONE;
    }
}

/* One vector of channels of one tile, all of whose inputs exist. Not inlined: alone, its addresses fit in registers. */
__attribute__((noinline)) static void spread_inside(const float *from, ptrdiff_t row, ptrdiff_t column, float *to,
                                                    ptrdiff_t position)
{
    vec y[6][6];
    _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++, from += column) {
        const float *far = from + 3 * row;
        winograd_spread(y[j], vec_load(from), vec_load(from + row), vec_load(from + 2 * row), vec_load(far), vec_load(far + row),
                        vec_load(far + 2 * row));
        VEC_ROUND_DONE;
    }
    spread_rows(to, position, y);
}

static const float zeros[LANES];

/* The same where rows or columns outside the map are zero, or where the vector is not full. Rows outside are read from zeros, so that
 * loads need no questions. */
INLINE void spread_some(const struct channel_spread *s, const struct channel_tile *tile, const float *from, float *to, int part)
{
    const float *rows[6];
    ptrdiff_t columns[6];
    vec y[6][6];
    _Pragma("GCC unroll 6") for (int i = 0; i < 6; i++) {
        const bool there = tile->rows_there >> i & 1;
        rows[i] = there ? from + i * s->row : zeros;
        columns[i] = there ? s->column : 0;
    }
    _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++) {
        vec t[6] = {vec_set(0), vec_set(0), vec_set(0), vec_set(0), vec_set(0), vec_set(0)};
        if (tile->columns_there >> j & 1)
            winograd_spread(t, vec_load_some(rows[0] + j * columns[0], part), vec_load_some(rows[1] + j * columns[1], part),
                            vec_load_some(rows[2] + j * columns[2], part), vec_load_some(rows[3] + j * columns[3], part),
                            vec_load_some(rows[4] + j * columns[4], part), vec_load_some(rows[5] + j * columns[5], part));
        _Pragma("GCC unroll 6") for (int i = 0; i < 6; i++)
            y[j][i] = t[i];
    }
    spread_rows(to, s->position, y);
}

__attribute__((noinline)) static void spread_edge(const struct channel_spread *s, const struct channel_tile *tile, const float *from,
                                                  float *to)
{
    spread_some(s, tile, from, to, 0);
}

__attribute__((noinline)) static void spread_part(const struct channel_spread *s, const struct channel_tile *tile, const float *from,
                                                  float *to, int part)
{
    spread_some(s, tile, from, to, part);
}

void BLOCK(channel_spread)(const struct channel_spread *s)
{
    for (int i = 0; i < s->count; i++) {
        const struct channel_tile *tile = &s->tiles[i];
        const float *from = s->input + tile->input;
        float *to = s->output + i * s->pitch;
        bool inside = tile->rows_there == 63 && tile->columns_there == 63;
        for (int c = 0; c < s->channels; c += LANES) {
            int left = s->channels - c;
            if (inside && left >= LANES)
                spread_inside(from + c, s->row, s->column, to + c, s->position);
            else if (left >= LANES)
                spread_edge(s, tile, from + c, to + c);
            else
                spread_part(s, tile, from + c, to + c, left);
        }
    }
}

/* The six columns' four rows each. */
INLINE void gather_columns(vec y[6][4], const float *from, ptrdiff_t position)
{
    const ptrdiff_t next = 6 * position;
    _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++, from += position) {
        const float *far = from + 3 * next;
        winograd_gather(y[j], vec_load(from), vec_load(from + next), vec_load(from + 2 * next), vec_load(far), vec_load(far + next),
                        vec_load(far + 2 * next));
        VEC_ROUND_DONE;
    }
}

/* One vector of channels of a tile, all of whose outputs exist. Not inlined, as spread_inside. */
INLINE void gather_inside(const struct channel_gather *g, const struct channel_tile *tile, const float *from, int c, unsigned parts)
{
    const struct planar_finish f = g->finish; /* a copy that no store can change */
    const struct finish_constants constants = finish_constants_from(&f, c, 0);
    ptrdiff_t at = tile->output + c;
    vec y[6][4];
    gather_columns(y, from, g->position);
    _Pragma("GCC unroll 4") for (int r = 0; r < 4; r++, at += f.row) {
        vec t[4];
        winograd_gather(t, y[0][r], y[1][r], y[2][r], y[3][r], y[4][r], y[5][r]);
        _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++)
            finish_vector(&f, parts, &constants, t[j], 0, at + j * f.step, 0);
        VEC_ROUND_DONE;
    }
}

/* The same where rows or columns are outside the map, or the vector is not full. Not inlined: its array of rows would have to be in
 * memory for the others too. */
__attribute__((noinline)) static void gather_edge(const struct channel_gather *g, int index, int c)
{
    const struct planar_finish *f = &g->finish;
    const struct channel_tile *tile = &g->tiles[index];
    const int part = g->channels - c < LANES ? g->channels - c : 0;
    const struct finish_constants constants = finish_constants_from(f, c, part);
    ptrdiff_t at = tile->output + c;
    vec y[6][4];
    gather_columns(y, g->input + index * g->pitch + c, g->position);
    for (int r = 0; r < tile->rows; r++, at += f->row) {
        vec t[4];
        winograd_gather(t, y[0][r], y[1][r], y[2][r], y[3][r], y[4][r], y[5][r]);
        for (int j = 0; j < tile->columns; j++)
            finish_vector(f, finish_parts(f), &constants, t[j], 0, at + j * f->step, part);
    }
}

#define GATHER(name, parts)                                                                                            \
    __attribute__((noinline)) static void name(const struct channel_gather *g, const struct channel_tile *tile,        \
                                               const float *from, int c)                                               \
    {                                                                                                                  \
        gather_inside(g, tile, from, c, parts);                                                                        \
    }
GATHER(finished, FINISH_OUTPUT)
GATHER(finished_added, FINISH_OUTPUT | FINISH_RESIDUAL)
GATHER(plain, FINISH_OUTPUT | FINISH_PLAIN)
GATHER(plain_added, FINISH_OUTPUT | FINISH_PLAIN | FINISH_RESIDUAL)

void BLOCK(channel_gather)(const struct channel_gather *g)
{
    const struct planar_finish *f = &g->finish;
    const bool is_plain = !f->scale && !f->shift && f->activation == PLANAR_LINEAR;
    void (*const inside)(const struct channel_gather *, const struct channel_tile *, const float *, int) =
        is_plain ? f->residual ? plain_added : plain : f->residual ? finished_added : finished;
    for (int i = 0; i < g->count; i++)
        for (int c = 0; c < g->channels; c += LANES)
            if (g->tiles[i].rows == 4 && g->tiles[i].columns == 4 && g->channels - c >= LANES)
                inside(g, &g->tiles[i], g->input + i * g->pitch + c, c);
            else
                gather_edge(g, i, c);
}
