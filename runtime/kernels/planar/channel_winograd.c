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

/* Of a map of floats, or of bfloat16. */
INLINE vec load(const char *from, bool rounded, int part)
{
    return rounded ? vec_widen_some((const uint16_t *)(const void *)from, part) : vec_load_some((const float *)(const void *)from, part);
}

/* One vector of channels of one tile, all of whose inputs exist; distances in bytes. */
INLINE void spread_whole(const char *from, ptrdiff_t row, ptrdiff_t column, float *to, ptrdiff_t position, bool rounded)
{
    vec y[6][6];
    _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++, from += column) {
        const char *far = from + 3 * row;
        winograd_spread(y[j], load(from, rounded, 0), load(from + row, rounded, 0), load(from + 2 * row, rounded, 0), load(far, rounded, 0),
                        load(far + row, rounded, 0), load(far + 2 * row, rounded, 0));
        VEC_ROUND_DONE;
    }
    spread_rows(to, position, y);
}

/* Not inlined: alone, their addresses fit in registers. */
__attribute__((noinline)) static void spread_inside(const char *from, ptrdiff_t row, ptrdiff_t column, float *to, ptrdiff_t position)
{
    spread_whole(from, row, column, to, position, false);
}

__attribute__((noinline)) static void spread_inside_rounded(const char *from, ptrdiff_t row, ptrdiff_t column, float *to,
                                                            ptrdiff_t position)
{
    spread_whole(from, row, column, to, position, true);
}

static const float zeros[LANES];

/* The same where rows or columns outside the map are zero, or where the vector is not full. Rows outside are read from zeros, so that
 * loads need no questions. */
INLINE void spread_some(const struct channel_spread *s, const struct channel_tile *tile, const char *from, float *to, int part, bool rounded)
{
    const ptrdiff_t element = rounded ? sizeof(uint16_t) : sizeof(float);
    const char *rows[6];
    ptrdiff_t columns[6];
    vec y[6][6];
    _Pragma("GCC unroll 6") for (int i = 0; i < 6; i++) {
        const bool there = tile->rows_there >> i & 1;
        rows[i] = there ? from + i * s->row * element : (const char *)zeros;
        columns[i] = there ? s->column * element : 0;
    }
    _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++) {
        vec t[6] = {vec_set(0), vec_set(0), vec_set(0), vec_set(0), vec_set(0), vec_set(0)};
        if (tile->columns_there >> j & 1)
            winograd_spread(t, load(rows[0] + j * columns[0], rounded, part), load(rows[1] + j * columns[1], rounded, part),
                            load(rows[2] + j * columns[2], rounded, part), load(rows[3] + j * columns[3], rounded, part),
                            load(rows[4] + j * columns[4], rounded, part), load(rows[5] + j * columns[5], rounded, part));
        _Pragma("GCC unroll 6") for (int i = 0; i < 6; i++)
            y[j][i] = t[i];
    }
    spread_rows(to, s->position, y);
}

__attribute__((noinline)) static void spread_edge(const struct channel_spread *s, const struct channel_tile *tile, const char *from,
                                                  float *to)
{
    spread_some(s, tile, from, to, 0, false);
}

__attribute__((noinline)) static void spread_part(const struct channel_spread *s, const struct channel_tile *tile, const char *from,
                                                  float *to, int part)
{
    spread_some(s, tile, from, to, part, false);
}

__attribute__((noinline)) static void spread_edge_rounded(const struct channel_spread *s, const struct channel_tile *tile, const char *from,
                                                          float *to)
{
    spread_some(s, tile, from, to, 0, true);
}

__attribute__((noinline)) static void spread_part_rounded(const struct channel_spread *s, const struct channel_tile *tile, const char *from,
                                                          float *to, int part)
{
    spread_some(s, tile, from, to, part, true);
}

void BLOCK(channel_spread)(const struct channel_spread *s)
{
    const bool rounded = s->rounded != NULL;
    const ptrdiff_t element = rounded ? sizeof(uint16_t) : sizeof(float), row = s->row * element, column = s->column * element;
    const char *map = rounded ? (const char *)s->rounded : (const char *)s->input;
    for (int i = 0; i < s->count; i++) {
        const struct channel_tile *tile = &s->tiles[i];
        const char *from = map + tile->input * s->pixel * element;
        float *to = s->output + i * s->pitch;
        bool inside = tile->rows_there == 63 && tile->columns_there == 63;
        for (int c = 0; c < s->channels; c += LANES, from += LANES * element) {
            int left = s->channels - c;
            if (inside && left >= LANES)
                (rounded ? spread_inside_rounded : spread_inside)(from, row, column, to + c, s->position);
            else if (left >= LANES)
                (rounded ? spread_edge_rounded : spread_edge)(s, tile, from, to + c);
            else
                (rounded ? spread_part_rounded : spread_part)(s, tile, from, to + c, left);
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

/* One vector of channels of a tile; of its outputs those that exist, all of them where it is `whole`. Not inlined, as spread_inside. */
INLINE void gather_vector(const struct channel_gather *g, const struct channel_tile *tile, const float *from, int c, unsigned parts, bool whole)
{
    const struct planar_finish f = g->finish; /* a copy that no store can change */
    const struct finish_constants constants = finish_constants_from(&f, c, 0);
    ptrdiff_t at = tile->output + c;
    vec y[6][4];
    gather_columns(y, from, g->position);
    _Pragma("GCC unroll 4") for (int r = 0; r < 4; r++, at += f.row) {
        if (!whole && r >= tile->rows)
            return;
        vec t[4];
        winograd_gather(t, y[0][r], y[1][r], y[2][r], y[3][r], y[4][r], y[5][r]);
        _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++)
            if (whole || j < tile->columns)
                finish_vector(&f, parts, &constants, t[j], 0, at + j * f.step, 0);
        VEC_ROUND_DONE;
    }
}

/* The same where the vector is not full. Its array of rows would have to be in memory for the others too. */
__attribute__((noinline)) static void gather_part(const struct channel_gather *g, int index, int c)
{
    const struct planar_finish *f = &g->finish;
    const struct channel_tile *tile = &g->tiles[index];
    const int part = g->channels - c;
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
        gather_vector(g, tile, from, c, parts, true);                                                                  \
    }                                                                                                                  \
    __attribute__((noinline)) static void name##_edge(const struct channel_gather *g, const struct channel_tile *tile, \
                                                      const float *from, int c)                                        \
    {                                                                                                                  \
        gather_vector(g, tile, from, c, parts, false);                                                                 \
    }
GATHER(finished, FINISH_OUTPUT)
GATHER(finished_added, FINISH_OUTPUT | FINISH_RESIDUAL)
GATHER(relu, FINISH_OUTPUT | FINISH_RELU)
GATHER(relu_added, FINISH_OUTPUT | FINISH_RELU | FINISH_RESIDUAL)
GATHER(plain, FINISH_OUTPUT | FINISH_PLAIN)
GATHER(plain_added, FINISH_OUTPUT | FINISH_PLAIN | FINISH_RESIDUAL)
GATHER(rounded, FINISH_OUTPUT | FINISH_ROUNDED)
GATHER(rounded_added, FINISH_OUTPUT | FINISH_ROUNDED | FINISH_RESIDUAL)
GATHER(rounded_relu, FINISH_OUTPUT | FINISH_ROUNDED | FINISH_RELU)
GATHER(rounded_relu_added, FINISH_OUTPUT | FINISH_ROUNDED | FINISH_RELU | FINISH_RESIDUAL)

struct gather_functions {
    void (*inside)(const struct channel_gather *g, const struct channel_tile *tile, const float *from, int c);
    void (*edge)(const struct channel_gather *g, const struct channel_tile *tile, const float *from, int c);
};
#define BOTH(name) {name, name##_edge}

static struct gather_functions gather_functions_of(const struct planar_finish *f)
{
    static const struct gather_functions plains[2] = {BOTH(plain), BOTH(plain_added)};
    static const struct gather_functions relus[2][2] = {{BOTH(relu), BOTH(relu_added)}, {BOTH(rounded_relu), BOTH(rounded_relu_added)}};
    static const struct gather_functions others[2][2] = {{BOTH(finished), BOTH(finished_added)}, {BOTH(rounded), BOTH(rounded_added)}};
    const unsigned parts = finish_parts(f);
    const bool is_rounded = parts & FINISH_ROUNDED, added = parts & FINISH_RESIDUAL;
    if (parts & FINISH_PLAIN && !is_rounded)
        return plains[added];
    return parts & FINISH_RELU ? relus[is_rounded][added] : others[is_rounded][added];
}

void BLOCK(channel_gather)(const struct channel_gather *g)
{
    const struct gather_functions functions = gather_functions_of(&g->finish);
    for (int i = 0; i < g->count; i++) {
        const struct channel_tile *tile = &g->tiles[i];
        const bool whole = tile->rows == 4 && tile->columns == 4;
        for (int c = 0; c < g->channels; c += LANES)
            if (g->channels - c >= LANES)
                (whole ? functions.inside : functions.edge)(g, tile, g->input + i * g->pitch + c, c);
            else
                gather_part(g, i, c);
    }
}
