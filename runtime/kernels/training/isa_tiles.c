#include <immintrin.h>
#include <string.h>

#include "runtime/kernels/training/tiles.h"

enum { LANES = 16 };

/* Eight tiles of 16 rows of 64 bytes. Constant: the compiler does not see that all of it is read. */
static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} configuration = {.palette = 1, .bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {TILE, TILE, TILE, TILE, TILE, TILE, TILE, TILE}};

static void begin(void)
{
    _tile_loadconfig(&configuration);
}

static void end(void)
{
    _tile_release();
}

/* Tiles 0 to 3 are sums, 4 and 5 of a, 6 and 7 of b. */
static inline __attribute__((always_inline)) void product_of(const struct tiles_product *p, const bool two_rows, const bool two_columns)
{
    const size_t row = (size_t)p->out_pitch * sizeof(float), pitch = (size_t)p->pitch * sizeof *p->pairs;
    if (p->start) {
        _tile_loadd(0, p->start, row);
        if (two_columns)
            _tile_loadd(1, p->start + LANES, row);
        if (two_rows)
            _tile_loadd(2, p->start + TILE * p->out_pitch, row);
        if (two_rows && two_columns)
            _tile_loadd(3, p->start + TILE * p->out_pitch + LANES, row);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    const uint16_t *weights = p->weights;
    for (int s = 0; s < p->steps; s++, weights += (two_rows ? 2 : 1) * TILE * TILE_DEPTH) {
        const uint32_t *pairs = p->pairs + p->offsets[s];
        _tile_loadd(4, weights, 64);
        _tile_loadd(6, pairs, pitch);
        _tile_dpbf16ps(0, 4, 6);
        if (two_columns) {
            _tile_loadd(7, pairs + LANES, pitch);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (two_rows) {
            _tile_loadd(5, weights + TILE * TILE_DEPTH, 64);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (two_rows && two_columns)
            _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, p->out, row);
    if (two_columns)
        _tile_stored(1, p->out + LANES, row);
    if (two_rows)
        _tile_stored(2, p->out + TILE * p->out_pitch, row);
    if (two_rows && two_columns)
        _tile_stored(3, p->out + TILE * p->out_pitch + LANES, row);
}

/* GCC 12's intrinsics do not say that instructions read memory: stores before them must not wait or fall away. */
#define MEMORY_IS_READ() __asm__ volatile("" : : : "memory")

static void product(const struct tiles_product *p)
{
    MEMORY_IS_READ();
    if (p->rows == 2 && p->columns == 2)
        product_of(p, true, true);
    else if (p->rows == 2)
        product_of(p, true, false);
    else if (p->columns == 2)
        product_of(p, false, true);
    else
        product_of(p, false, false);
}

static inline __attribute__((always_inline)) void outer_of(const struct tiles_outer *o, const bool two_rows, const bool two_columns)
{
    const size_t a_row = (size_t)o->a_pitch * sizeof *o->a, b_row = (size_t)o->b_pitch * sizeof *o->b;
    float *const sums[4] = {o->sums, o->sums + o->column_step, o->sums + o->row_step, o->sums + o->row_step + o->column_step};
    if (o->first) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, sums[0], 64);
        if (two_columns)
            _tile_loadd(1, sums[1], 64);
        if (two_rows)
            _tile_loadd(2, sums[2], 64);
        if (two_rows && two_columns)
            _tile_loadd(3, sums[3], 64);
    }
    const uint16_t *a = o->a;
    const uint32_t *b = o->b;
    for (int s = 0; s < o->steps; s++, a += TILE_DEPTH, b += TILE * o->b_pitch) {
        _tile_loadd(4, a, a_row);
        _tile_loadd(6, b, b_row);
        _tile_dpbf16ps(0, 4, 6);
        if (two_columns) {
            _tile_loadd(7, b + LANES, b_row);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (two_rows) {
            _tile_loadd(5, a + TILE * o->a_pitch, a_row);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (two_rows && two_columns)
            _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums[0], 64);
    if (two_columns)
        _tile_stored(1, sums[1], 64);
    if (two_rows)
        _tile_stored(2, sums[2], 64);
    if (two_rows && two_columns)
        _tile_stored(3, sums[3], 64);
}

static void outer(const struct tiles_outer *o)
{
    MEMORY_IS_READ();
    if (o->rows == 2 && o->columns == 2)
        outer_of(o, true, true);
    else if (o->rows == 2)
        outer_of(o, true, false);
    else if (o->columns == 2)
        outer_of(o, false, true);
    else
        outer_of(o, false, false);
}

static __mmask16 first_lanes(ptrdiff_t count)
{
    return count >= LANES ? 0xffff : count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
}

static void finish(const struct tiles_finish *f)
{
    for (int r = 0; r < f->rows; r++) {
        const __m512 shift = _mm512_set1_ps(f->shift ? f->shift[r] : 0);
        for (ptrdiff_t x = 0; x < f->columns; x += LANES) {
            const __mmask16 mask = first_lanes(f->columns - x);
            __m512 value = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, f->from + r * f->pitch + x), shift);
            if (f->addend)
                value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, f->addend + r * f->plane + x));
            _mm512_mask_storeu_ps(f->to + r * f->plane + x, mask, value);
        }
    }
}

static void pair(const float *even, const float *odd, ptrdiff_t count, uint32_t *to)
{
    /* Element i of the first vector beside element i of the second. */
    const __m512i order = _mm512_add_epi16(_mm512_set1_epi32(16 << 16), _mm512_mullo_epi32(_mm512_set1_epi32(0x10001),
                              _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
    for (ptrdiff_t x = 0; x < count; x += LANES) {
        const __mmask16 mask = first_lanes(count - x);
        const __m512 low = _mm512_maskz_loadu_ps(mask, even + x), high = odd ? _mm512_maskz_loadu_ps(mask, odd + x) : _mm512_setzero_ps();
        const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
        _mm512_mask_storeu_epi32(to + x, mask, _mm512_permutexvar_epi16(order, both));
    }
}

static __m512i rounded(const float *from, ptrdiff_t count)
{
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(first_lanes(count - LANES), from + LANES),
                                        _mm512_maskz_loadu_ps(first_lanes(count), from));
}

static void round_row(const float *from, ptrdiff_t count, uint16_t *to)
{
    ptrdiff_t x = 0;
    for (; x + 2 * LANES <= count; x += 2 * LANES)
        _mm512_storeu_si512(to + x, rounded(from + x, 2 * LANES));
    if (x < count)
        _mm512_mask_storeu_epi16(to + x, (__mmask32)((1u << (count - x)) - 1), rounded(from + x, count - x));
}

/* Lane j of vector i to lane i of vector j. */
static inline __attribute__((always_inline)) void transpose(__m512i r[LANES])
{
    __m512i t[LANES];
    for (int i = 0; i < LANES; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4)
        for (int k = 0; k < 2; k++) {
            r[i + 2 * k] = _mm512_unpacklo_epi64(t[i + k], t[i + k + 2]);
            r[i + 2 * k + 1] = _mm512_unpackhi_epi64(t[i + k], t[i + k + 2]);
        }
    for (int j = 0; j < 4; j++) {
        t[j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        t[8 + j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        t[12 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
    }
    for (int j = 0; j < 4; j++) {
        r[j] = _mm512_shuffle_i32x4(t[j], t[4 + j], 0x88);
        r[4 + j] = _mm512_shuffle_i32x4(t[8 + j], t[12 + j], 0x88);
        r[8 + j] = _mm512_shuffle_i32x4(t[j], t[4 + j], 0xdd);
        r[12 + j] = _mm512_shuffle_i32x4(t[8 + j], t[12 + j], 0xdd);
    }
}

static void turn(const float *from, ptrdiff_t plane, int channels, ptrdiff_t columns, uint32_t *to, ptrdiff_t pitch)
{
    for (ptrdiff_t x = 0; x < columns; x += 2 * LANES) {
        __m512i rows[LANES];
        for (int c = 0; c < LANES; c++)
            rows[c] = c < channels ? rounded(from + c * plane + x, columns - x) : _mm512_setzero_si512();
        transpose(rows);
        for (int i = 0; i < LANES; i++)
            _mm512_storeu_si512(to + (x / 2 + i) * pitch, rows[i]);
    }
}

/* from[places[i]], of `count` elements. */
static inline __m512i picked(const uint16_t *from, ptrdiff_t count, __m512i places)
{
    const __m512i vectors = _mm512_srli_epi16(places, 5);
    __m512i found = _mm512_setzero_si512();
    for (ptrdiff_t v = 0; v * 2 * LANES < count; v++)
        found = _mm512_mask_permutexvar_epi16(found, _mm512_cmpeq_epi16_mask(vectors, _mm512_set1_epi16((short)v)), places,
                                              _mm512_loadu_si512(from + v * 2 * LANES));
    return found;
}

static __m512i counted(void)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_or_si512(even, _mm512_slli_epi32(_mm512_add_epi32(even, _mm512_set1_epi32(1)), 16));
}

/* Row by row, each of which holds all its taps. */
static void pack_rows(const struct tiles_pack *p)
{
    uint16_t row[TILE_DEPTH * TILE_TAPS];
    const __m512i places = _mm512_mullo_epi16(counted(), _mm512_set1_epi16((short)p->taps));
    memset(row, 0, sizeof row);
    for (int r = 0; r < TILE; r++) {
        if (r < p->rows)
            round_row(p->weights + r * p->row, (ptrdiff_t)p->depth * p->taps, row);
        else
            memset(row, 0, sizeof row);
        for (int t = 0; t < p->taps; t++)
            _mm512_storeu_si512(p->to + t * p->tap + r * TILE_DEPTH,
                                picked(row, (ptrdiff_t)TILE_DEPTH * p->taps, _mm512_add_epi16(places, _mm512_set1_epi16((short)t))));
    }
}

/* Two steps of the depth at a time, of which each holds all rows and taps: pairs that are turned into rows. */
static void pack_columns(const struct tiles_pack *p)
{
    uint16_t pairs[LANES][2 * TILE * TILE_TAPS];
    const int each = TILE * p->taps;
    const __m512i lane = _mm512_srli_epi16(counted(), 1), odd = _mm512_and_si512(counted(), _mm512_set1_epi16(1));
    const __m512i places = _mm512_add_epi16(_mm512_mullo_epi16(lane, _mm512_set1_epi16((short)p->taps)),
                                            _mm512_mullo_epi16(odd, _mm512_set1_epi16((short)each)));
    memset(pairs, 0, sizeof pairs);
    for (int k = 0; k < p->depth; k++)
        round_row(p->weights + k * p->depth_step, (ptrdiff_t)p->rows * p->taps, pairs[k / 2] + k % 2 * each);
    for (int t = 0; t < p->taps; t++) {
        __m512i rows[LANES];
        for (int k = 0; k < LANES; k++)
            rows[k] = picked(pairs[k], 2 * each, _mm512_add_epi16(places, _mm512_set1_epi16((short)t)));
        transpose(rows);
        for (int r = 0; r < LANES; r++)
            _mm512_storeu_si512(p->to + t * p->tap + r * TILE_DEPTH, rows[r]);
    }
}

static void pack(const struct tiles_pack *p)
{
    (p->depth_step == p->taps ? pack_rows : pack_columns)(p);
}

const struct tile_blocks training_tile_blocks_amx = {
    .begin = begin, .end = end, .product = product, .outer = outer, .finish = finish, .pair = pair, .round = round_row, .turn = turn, .pack = pack,
};
