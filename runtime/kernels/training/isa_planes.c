/* Winograd's transforms along the rows of planes, and sums of products of rows. */
#include "runtime/kernels/planar/winograd.h"
#include "runtime/kernels/training/isa.h"

INLINE vec load_row(const float *row, bool there, int x, int part)
{
    return !there && !row ? vec_set(0) : vec_load_some(row + x, part);
}

INLINE void store_positions(float *to, ptrdiff_t position, const vec t[6])
{
    float *far = to + 3 * position;
    vec_store(to, t[0]);
    vec_store(to + position, t[1]);
    vec_store(to + 2 * position, t[2]);
    vec_store(far, t[3]);
    vec_store(far + position, t[4]);
    vec_store(far + 2 * position, t[5]);
}

/* How far to go on from a first vector so that all others are stored to whole lines of the cache, or halves of them: where lines have left the
 * first level, a store to two of them takes several times as long as one to each. */
INLINE int first_step(const float *to)
{
    return LANES - (int)((uintptr_t)to / sizeof *to % LANES);
}

/* `whole` where no row is missing: then no load depends on a branch. */
INLINE void spread_vector(const struct training_spread *s, const float *const rows[6], bool whole, int x, int part, float *to)
{
    vec from[6], t[6];
    _Pragma("GCC unroll 6") for (int i = 0; i < 6; i++)
        from[i] = load_row(rows[i], whole, x, part);
    winograd_spread(t, from[0], from[1], from[2], from[3], from[4], from[5]);
    store_positions(to + x, s->position, t);
}

INLINE void spread_channel(const struct training_spread *s, int c, bool whole)
{
    const float *rows[6];
    float *to = s->output + c * s->pitch;
    _Pragma("GCC unroll 6") for (int i = 0; i < 6; i++)
        rows[i] = whole || s->rows[i] ? s->rows[i] + c * s->channel : NULL;
    int x = 0;
    for (int step = first_step(to); x + LANES <= s->columns; x += step, step = LANES)
        spread_vector(s, rows, whole, x, 0, to);
    if (x < s->columns)
        spread_vector(s, rows, whole, x, s->columns - x, to);
}

static bool all_there(const struct training_spread *s, int count)
{
    for (int i = 0; i < count; i++)
        if (!s->rows[i])
            return false;
    return true;
}

void BLOCK(training_spread_input)(const struct training_spread *whole)
{
    const struct training_spread s = *whole; /* a copy that no store can change */
    if (all_there(&s, 6))
        for (int c = 0; c < s.channels; c++)
            spread_channel(&s, c, true);
    else
        for (int c = 0; c < s.channels; c++)
            spread_channel(&s, c, false);
}

INLINE void scatter_vector(const struct training_spread *s, const float *const rows[4], bool whole, int x, int part, float *to)
{
    vec from[4], m[6];
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
        from[i] = load_row(rows[i], whole, x, part);
    winograd_scatter(m, from[0], from[1], from[2], from[3]);
    store_positions(to + x, s->position, m);
}

INLINE void scatter_channel(const struct training_spread *s, int c, bool whole)
{
    const float *rows[4];
    float *to = s->output + c * s->pitch;
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
        rows[i] = whole || s->rows[i] ? s->rows[i] + c * s->channel : NULL;
    int x = 0;
    for (int step = first_step(to); x + LANES <= s->columns; x += step, step = LANES)
        scatter_vector(s, rows, whole, x, 0, to);
    if (x < s->columns)
        scatter_vector(s, rows, whole, x, s->columns - x, to);
}

void BLOCK(training_spread_gradient)(const struct training_spread *whole)
{
    const struct training_spread s = *whole;
    if (all_there(&s, 4))
        for (int c = 0; c < s.channels; c++)
            scatter_channel(&s, c, true);
    else
        for (int c = 0; c < s.channels; c++)
            scatter_channel(&s, c, false);
}

/* ---- sums of products of rows ------------------------------------------------------------------------------------------ */

#if VECTOR_REGISTERS == 32
enum { MOST_ROWS = OUTER_ROWS, MOST_DEPTH = 8 };
#else
enum { MOST_ROWS = OUTER_ROWS, MOST_DEPTH = OUTER_DEPTH, PANEL_FLOATS = 5 << 10, PAGE_FLOATS = 1024, PAGES_DEPTH = 16 };
#endif

/* The sums over the lanes of `count` vectors, up to LANES of them, halving their number by one addition in each step. */
#if LANES == 16
/* Pairs of lanes that are `distance` apart: those of `a` where a pair begins, those of `b` where it ends. Where lanes do not move, a CPU has
 * two ports for it, else one. */
#define FOLD(a, b, stay, move) (__builtin_shufflevector(a, b, stay) + __builtin_shufflevector(a, b, move))
#define STAY_1 0, 17, 2, 19, 4, 21, 6, 23, 8, 25, 10, 27, 12, 29, 14, 31
#define MOVE_1 1, 16, 3, 18, 5, 20, 7, 22, 9, 24, 11, 26, 13, 28, 15, 30
#define STAY_2 0, 1, 18, 19, 4, 5, 22, 23, 8, 9, 26, 27, 12, 13, 30, 31
#define MOVE_2 2, 3, 16, 17, 6, 7, 20, 21, 10, 11, 24, 25, 14, 15, 28, 29
#define STAY_4 0, 1, 2, 3, 20, 21, 22, 23, 8, 9, 10, 11, 28, 29, 30, 31
#define MOVE_4 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 24, 25, 26, 27
#define STAY_8 0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31
#define MOVE_8 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23

INLINE vec sum_eight(const vec part[8])
{
    const vec a = FOLD(part[0], part[1], STAY_1, MOVE_1), b = FOLD(part[2], part[3], STAY_1, MOVE_1);
    const vec c = FOLD(part[4], part[5], STAY_1, MOVE_1), d = FOLD(part[6], part[7], STAY_1, MOVE_1);
    const vec low = FOLD(a, b, STAY_2, MOVE_2), high = FOLD(c, d, STAY_2, MOVE_2);
    return FOLD(low, high, STAY_4, MOVE_4);
}

INLINE vec sum_lanes(const vec square[LANES], int count)
{
    const vec low = sum_eight(square), high = count > 8 ? sum_eight(square + 8) : low;
    return FOLD(low, high, STAY_8, MOVE_8);
}
#elif LANES == 8
/* Quarters of a vector change places only within its halves, which is quick: so the vectors come in pairs that end up in order. */
INLINE vec fold(vec a, vec b)
{
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13) + __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
}

INLINE vec sum_lanes(const vec square[LANES], int count)
{
    vec low = fold(fold(square[0], square[2]), fold(square[1], square[3]));
    vec high = count > 4 ? fold(fold(square[4], square[6]), fold(square[5], square[7])) : low;
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 8, 9, 10, 11) + __builtin_shufflevector(low, high, 4, 5, 6, 7, 12, 13, 14, 15);
}
#else
INLINE vec sum_lanes(const vec square[LANES], int count)
{
    vec sum;
    (void)count;
    for (int i = 0; i < LANES; i++)
        sum[i] = (square[i][0] + square[i][2]) + (square[i][1] + square[i][3]);
    return sum;
}
#endif

/* Every vector is loaded once: with 16 registers a load for each product would take longer than the product, most of all where taps of a
 * filter lie across lines of the cache. */
#if defined(__AVX2__)
#define IN_REGISTER(value) __asm__("" : "+v"(value))
#else
#define IN_REGISTER(value) (void)(value)
#endif

#if VECTOR_REGISTERS == 32
#define OUTER_STEP(load_a, load_b)                                                                                     \
    do {                                                                                                               \
        vec y[MOST_ROWS];                                                                                              \
        _Pragma("GCC unroll 4") for (int r = 0; r < height; r++)                                                       \
            y[r] = load_a;                                                                                             \
        _Pragma("GCC unroll 8") for (int j = 0; j < width; j++) {                                                      \
            vec v = load_b;                                                                                            \
            IN_REGISTER(v);                                                                                            \
            _Pragma("GCC unroll 4") for (int r = 0; r < height; r++)                                                   \
                sum[r][j] = vec_fma(v, y[r], sum[r][j]);                                                               \
        }                                                                                                              \
    } while (0)
#else
#define OUTER_STEP(load_a, load_b)                                                                                     \
    do {                                                                                                               \
        vec v[MOST_DEPTH];                                                                                             \
        _Pragma("GCC unroll 3") for (int j = 0; j < width; j++) {                                                      \
            v[j] = load_b;                                                                                             \
            IN_REGISTER(v[j]);                                                                                         \
        }                                                                                                              \
        _Pragma("GCC unroll 4") for (int r = 0; r < OUTER_ROWS; r++) {                                                 \
            vec y = load_a;                                                                                            \
            IN_REGISTER(y);                                                                                            \
            _Pragma("GCC unroll 3") for (int j = 0; j < width; j++)                                                    \
                sum[r][j] = vec_fma(v[j], y, sum[r][j]);                                                               \
        }                                                                                                              \
    } while (0)
#endif

/* The lines that a tile goes on with: in registers, where `training_ahead` would be in memory. */
struct lines {
    const float *line, *end;
    ptrdiff_t each, every;
};

INLINE struct lines lines_of(const struct training_ahead *ahead)
{
    const float *row = ahead->rows[ahead->row];
    return (struct lines){row + 16 * ahead->line, row + 16 * ahead->lines, ahead->each, ahead->every * LANES};
}

/* Fetches some, and says before which column the next ones come. */
INLINE ptrdiff_t fetch_lines(struct training_ahead *ahead, struct lines *l, ptrdiff_t x, ptrdiff_t columns)
{
    for (ptrdiff_t i = 0; i < l->each; i++)
        __builtin_prefetch(l->line + 16 * i, 0, 2);
    l->line += 16 * l->each;
    ptrdiff_t until = x + l->every;
    if (l->line >= l->end) {
        ahead->line = 0;
        if (++ahead->row < ahead->count)
            *l = lines_of(ahead);
        else
            until = columns;
    }
    return until < columns ? until : columns;
}

/* height by width sums; of those beyond rows and depth nothing is kept. */
INLINE void outer_tile(const struct training_outer *o, int row, int rows, int k, int depth, const int height, const int width,
                       const bool fetching)
{
    vec sum[MOST_ROWS][MOST_DEPTH];
    const float *a[MOST_ROWS], *b[MOST_DEPTH];
    _Pragma("GCC unroll 4") for (int r = 0; r < height; r++)
        a[r] = o->a + (row + (r < rows ? r : 0)) * o->pitch;
    _Pragma("GCC unroll 8") for (int j = 0; j < width; j++)
        b[j] = o->b + o->offsets[k + (j < depth ? j : 0)];
    _Pragma("GCC unroll 4") for (int r = 0; r < height; r++)
        _Pragma("GCC unroll 8") for (int j = 0; j < width; j++)
            sum[r][j] = vec_set(0);
    const ptrdiff_t columns = o->columns, whole = columns / LANES * LANES;
    ptrdiff_t x = 0;
    struct lines lines = {NULL, NULL, 0, 0};
    if (fetching)
        lines = lines_of(o->ahead);
    while (x < whole) {
        const ptrdiff_t until = fetching ? fetch_lines(o->ahead, &lines, x, whole) : whole;
        for (; x < until; x += LANES)
            OUTER_STEP(vec_load(a[r] + x), vec_load(b[j] + x));
    }
    if (fetching && o->ahead->row < o->ahead->count)
        o->ahead->line = (int)((lines.line - o->ahead->rows[o->ahead->row]) / 16);
    if (x < columns) {
        const int part = (int)(columns - x);
        OUTER_STEP(vec_load_part(a[r] + x, part), vec_load_part(b[j] + x, part));
    }
    float totals[MOST_ROWS * MOST_DEPTH + LANES];
    _Pragma("GCC unroll 4") for (int first = 0; first < height * width; first += LANES) {
        vec square[LANES];
        _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++)
            square[i] = first + i < height * width ? sum[(first + i) / width][(first + i) % width] : vec_set(0);
        vec_store(totals + first, sum_lanes(square, height * width - first));
    }
    float *sums = o->sums + row * o->sum_pitch + k;
    if (rows == height && depth == width) {
        _Pragma("GCC unroll 4") for (int r = 0; r < height; r++, sums += o->sum_pitch)
            _Pragma("GCC unroll 8") for (int j = 0; j < width; j++)
                sums[j] += totals[r * width + j];
        return;
    }
    for (int r = 0; r < rows; r++, sums += o->sum_pitch)
        for (int j = 0; j < depth; j++)
            sums[j] += totals[r * width + j];
}

/* Each a function of its own, so that what it needs fits in registers. */
#define OUTER_TILE(height, width)                                                                                      \
    __attribute__((noinline)) static void tile_##height##_##width(const struct training_outer *o, int row, int rows, int k, int depth) \
    {                                                                                                                  \
        outer_tile(o, row, rows, k, depth, height, width, false);                                                      \
    }                                                                                                                  \
    __attribute__((noinline)) static void fetching_##height##_##width(const struct training_outer *o, int row, int rows, int k, int depth) \
    {                                                                                                                  \
        outer_tile(o, row, rows, k, depth, height, width, true);                                                       \
    }
#if VECTOR_REGISTERS == 32
OUTER_TILE(4, 6)
OUTER_TILE(3, 8)
#else
OUTER_TILE(4, 3)
#endif

typedef void tile_function(const struct training_outer *o, int row, int rows, int k, int depth);

/* `panel` rows stay in a cache while the depth is walked. */
INLINE void outer_tiles(const struct training_outer *o, int panel, const int height, const int width, tile_function *tile,
                        tile_function *fetching)
{
    for (int first = 0; first < o->rows; first += panel) {
        const int last = o->rows - first < panel ? o->rows : first + panel;
        for (int k = 0; k < o->depth; k += width) {
            const int depth = o->depth - k < width ? o->depth - k : width;
            for (int row = first; row < last; row += height)
                (o->ahead && o->ahead->row < o->ahead->count ? fetching : tile)(o, row, last - row < height ? last - row : height, k, depth);
        }
    }
}

#if VECTOR_REGISTERS == 32
static int tiles(const struct training_outer *o, int height, int width)
{
    return (o->rows + height - 1) / height * ((o->depth + width - 1) / width);
}

/* The panel's rows stay in the second level, which wide vectors seldom wait for. */
void BLOCK(training_outer)(const struct training_outer *o)
{
    if (tiles(o, 3, 8) < tiles(o, OUTER_ROWS, OUTER_DEPTH))
        outer_tiles(o, 63, 3, 8, tile_3_8, fetching_3_8);
    else
        outer_tiles(o, 64, OUTER_ROWS, OUTER_DEPTH, tile_4_6, fetching_4_6);
}
#else
/* Rows that are pages apart would share a few places in the first cache level: a panel of them, which all tiles read, has a copy. */
static void outer_pages(const struct training_outer *o, int panel, ptrdiff_t pitch)
{
    float rows[PANEL_FLOATS] __attribute__((aligned(64)));
    struct training_outer part = *o;
    part.a = rows;
    part.pitch = pitch;
    for (int first = 0; first < o->rows; first += panel, part.sums += panel * o->sum_pitch) {
        part.rows = o->rows - first < panel ? o->rows - first : panel;
        for (int r = 0; r < part.rows; r++)
            memcpy(rows + r * pitch, o->a + (first + r) * o->pitch, (size_t)o->columns * sizeof *rows);
        outer_tiles(&part, panel, OUTER_ROWS, OUTER_DEPTH, tile_4_3, fetching_4_3);
    }
}

void BLOCK(training_outer)(const struct training_outer *o)
{
    const ptrdiff_t pitch = ((o->columns + 15) / 16 | 1) * 16; /* an odd number of lines */
    const int fits = (int)(PANEL_FLOATS / pitch) / OUTER_ROWS * OUTER_ROWS;
    if (o->pitch % PAGE_FLOATS == 0 && o->depth >= PAGES_DEPTH && fits >= OUTER_ROWS)
        outer_pages(o, fits, pitch);
    else
        outer_tiles(o, fits > OUTER_ROWS ? fits : OUTER_ROWS, OUTER_ROWS, OUTER_DEPTH, tile_4_3, fetching_4_3);
}
#endif
