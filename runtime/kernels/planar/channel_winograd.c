/* Winograd in both directions on channels-last data: lanes are channels, so that every dilation, width and height is the same
 * contiguous work. Thirty-six products stand for sixteen outputs of nine taps each. */
#include "runtime/kernels/planar/blocks.h"
#include "runtime/kernels/planar/finish.h"
#include "runtime/kernels/planar/winograd.h"

/* From the six columns that have been transformed along the rows, y[i][j] of position (i, j). */
INLINE void spread_rows(float *to, ptrdiff_t position, vec y[6][6])
{
    _Pragma("GCC unroll 6") for (int i = 0; i < 6; i++) {
        vec t[6];
        winograd_spread(t, y[i][0], y[i][1], y[i][2], y[i][3], y[i][4], y[i][5]);
        _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++, to += position)
            vec_store(to, t[j]);
    }
}

/* One vector of channels of one tile, all of whose inputs exist. Not inlined: alone, its addresses fit in registers. */
__attribute__((noinline)) static void spread_inside(const float *from, ptrdiff_t row, ptrdiff_t column, float *to,
                                                    ptrdiff_t position)
{
    vec y[6][6];
    _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++, from += column) {
        const float *far = from + 3 * row;
        vec t[6];
        winograd_spread(t, vec_load(from), vec_load(from + row), vec_load(from + 2 * row), vec_load(far), vec_load(far + row),
                        vec_load(far + 2 * row));
        _Pragma("GCC unroll 6") for (int i = 0; i < 6; i++)
            y[i][j] = t[i];
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
            winograd_spread(t, finish_load(rows[0] + j * columns[0], part), finish_load(rows[1] + j * columns[1], part),
                            finish_load(rows[2] + j * columns[2], part), finish_load(rows[3] + j * columns[3], part),
                            finish_load(rows[4] + j * columns[4], part), finish_load(rows[5] + j * columns[5], part));
        _Pragma("GCC unroll 6") for (int i = 0; i < 6; i++)
            y[i][j] = t[i];
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

INLINE void gather_columns(vec y[4][6], const float *from, ptrdiff_t position)
{
    ptrdiff_t next = 6 * position;
    _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++, from += position) {
        const float *far = from + 3 * next;
        vec t[4];
        winograd_gather(t, vec_load(from), vec_load(from + next), vec_load(from + 2 * next), vec_load(far), vec_load(far + next),
                        vec_load(far + 2 * next));
        _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
            y[i][j] = t[i];
    }
}

/* One vector of channels of one tile. */
INLINE void gather_tile(const struct channel_gather *g, int index, int c, unsigned parts)
{
    const struct channel_tile tile = g->tiles[index]; /* copies that no store can change */
    const struct planar_finish f = g->finish;
    int part = g->channels - c < LANES ? g->channels - c : 0;
    vec y[4][6];
    gather_columns(y, g->input + index * g->pitch + c, g->position);
    struct finish_constants constants = {f.scale ? finish_load(f.scale + c, part) : vec_set(1),
                                         f.shift ? finish_load(f.shift + c, part) : vec_set(0),
                                         f.slope ? finish_load(f.slope + c, part) : vec_set(0)};
    ptrdiff_t sum_at = tile.sum + c, at = tile.output + c;
    if (tile.rows == 4 && tile.columns == 4 && part == 0) {
        _Pragma("GCC unroll 4") for (int r = 0; r < 4; r++, sum_at += f.sum_row, at += f.row) {
            vec t[4];
            winograd_gather(t, y[r][0], y[r][1], y[r][2], y[r][3], y[r][4], y[r][5]);
            _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++)
                finish_vector(&f, parts, &constants, t[j], sum_at + j * f.sum_step, at + j * f.step, 0);
        }
        return;
    }
    for (int r = 0; r < tile.rows; r++, sum_at += f.sum_row, at += f.row) {
        vec t[4];
        winograd_gather(t, y[r][0], y[r][1], y[r][2], y[r][3], y[r][4], y[r][5]);
        for (int j = 0; j < 4; j++)
            if (j < tile.columns)
                finish_vector(&f, parts, &constants, t[j], sum_at + j * f.sum_step, at + j * f.step, part);
    }
}

#define GATHER(parts)                                                                                                      __attribute__((noinline)) static void gather_##parts(const struct channel_gather *g, int index, int c)                 {                                                                                                                          gather_tile(g, index, c, parts);                                                                                   }
GATHER(0) GATHER(1) GATHER(2) GATHER(3) GATHER(8) GATHER(9) GATHER(10) GATHER(11) GATHER(12) GATHER(13) GATHER(14) GATHER(15)

void BLOCK(channel_gather)(const struct channel_gather *g)
{
    static void (*const functions[16])(const struct channel_gather *, int, int) = {
        gather_0, gather_1, gather_2,  gather_3,  gather_0,  gather_1,  gather_2,  gather_3,
        gather_8, gather_9, gather_10, gather_11, gather_12, gather_13, gather_14, gather_15};
    void (*function)(const struct channel_gather *, int, int) = functions[finish_parts(&g->finish)];
    for (int i = 0; i < g->count; i++)
        for (int c = 0; c < g->channels; c += LANES)
            function(g, i, c);
}
