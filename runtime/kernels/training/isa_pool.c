/* Rows of pooling and resizing backwards. */
#include "runtime/kernels/training/isa_rows.h"

/* Neighbours in the other's place, and those with even numbers in both places. */
#if LANES == 16
#define LANES_SWAPPED 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14
#define LANES_EVEN_TWICE 0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14
#elif LANES == 8
#define LANES_SWAPPED 1, 0, 3, 2, 5, 4, 7, 6
#define LANES_EVEN_TWICE 0, 0, 2, 2, 4, 4, 6, 6
#else
#define LANES_SWAPPED 1, 0, 3, 2
#define LANES_EVEN_TWICE 0, 0, 2, 2
#endif

INLINE mask swapped(mask x)
{
    return (mask)__builtin_shufflevector((vec)x, (vec)x, LANES_SWAPPED);
}

/* Of two neighbours of which both are set the first. */
INLINE mask first_of_two(mask set)
{
    mask odd;
    _Pragma("GCC unroll 16") for (int k = 0; k < LANES; k++)
        odd[k] = k % 2 ? -1 : 0;
    return set & ~((mask)__builtin_shufflevector((vec)set, (vec)set, LANES_EVEN_TWICE) & odd);
}

/* Whose maximum each element of windows that lie side by side is: upper[i] and lower[i], one of four at most in a window. */
INLINE void find_largest(vec u, vec l, mask *upper, mask *lower)
{
    const vec larger = vec_max(u, l), largest = vec_max(larger, (vec)swapped((mask)larger));
    *upper = first_of_two(u == largest);
    *lower = first_of_two((l == largest) & ~(*upper | swapped(*upper)));
}

/* What is marked of LANES windows: bits of elements > 0 and of the largest, of the upper row and the lower one, of either half. */
enum { OPEN_UPPER, OPEN_LOWER, LARGEST_UPPER, LARGEST_LOWER, MARKS };

INLINE ptrdiff_t mark_at(int half, int which)
{
    return (half * MARKS + which) * LANES;
}

/* find_largest on bits. */
INLINE unsigned first_bits(unsigned set)
{
    return set & ~((set & 0x5555) << 1);
}

INLINE void mark_windows(const struct training_mark *r, ptrdiff_t i, int part)
{
    _Pragma("GCC unroll 2") for (int k = 0; k < 2; k++) {
        const ptrdiff_t at = 2 * i + k * LANES;
        const int left = part ? 2 * part - k * LANES : LANES, some = left < LANES ? left : 0;
        if (left <= 0)
            break;
        const vec u = vec_load_some(r->upper + at, some), l = vec_load_some(r->lower + at, some), larger = vec_max(u, l);
        const vec largest = vec_max(larger, (vec)swapped((mask)larger));
        const unsigned upper = first_bits(bits_of(u == largest)), either = upper | (upper & 0x5555) << 1 | (upper >> 1 & 0x5555);
        const unsigned lower = first_bits(bits_of(l == largest) & ~either);
        bits_store(r->marks + i, mark_at(k, OPEN_UPPER), bits_of(u > vec_set(0)));
        bits_store(r->marks + i, mark_at(k, OPEN_LOWER), bits_of(l > vec_set(0)));
        bits_store(r->marks + i, mark_at(k, LARGEST_UPPER), upper);
        bits_store(r->marks + i, mark_at(k, LARGEST_LOWER), lower);
    }
}

void BLOCK(training_mark)(const struct training_mark *rows)
{
    const struct training_mark r = *rows; /* a copy that no store can change */
#define MARK(i, part) mark_windows(&r, i, part)
    ROW_LOOP(0, r.count, MARK);
}

/* The same by marks, and let through where the elements are > 0. */
INLINE void unpool_marked(const struct training_unpool *r, ptrdiff_t i, int part, bool add)
{
    const vec g = vec_load_some(r->dy + i, part), twice[2] = {vec_low(g, g), vec_high(g, g)};
    const unsigned char *marks = r->marks + i;
    _Pragma("GCC unroll 2") for (int k = 0; k < 2; k++) {
        const ptrdiff_t at = 2 * i + k * LANES;
        const int left = part ? 2 * part - k * LANES : LANES, some = left < LANES ? left : 0;
        if (left <= 0)
            break;
        const vec u = vec_where(bits_load(marks, mark_at(k, LARGEST_UPPER)), twice[k]);
        const vec l = vec_where(bits_load(marks, mark_at(k, LARGEST_LOWER)), twice[k]);
        vec_store_some(r->to_upper + at,
                       vec_where(bits_load(marks, mark_at(k, OPEN_UPPER)), add ? u + vec_load_some(r->add_upper + at, some) : u), some);
        vec_store_some(r->to_lower + at,
                       vec_where(bits_load(marks, mark_at(k, OPEN_LOWER)), add ? l + vec_load_some(r->add_lower + at, some) : l), some);
    }
}

/* LANES windows from `i` on, or `part` of them (0: all). */
INLINE void unpool_windows(const struct training_unpool *r, ptrdiff_t i, int part, bool add)
{
    const vec g = vec_load_some(r->dy + i, part), twice[2] = {vec_low(g, g), vec_high(g, g)};
    _Pragma("GCC unroll 2") for (int k = 0; k < 2; k++) {
        const ptrdiff_t at = 2 * i + k * LANES;
        const int left = part ? 2 * part - k * LANES : LANES, some = left < LANES ? left : 0;
        mask upper, lower;
        if (left <= 0)
            break;
        find_largest(vec_load_some(r->upper + at, some), vec_load_some(r->lower + at, some), &upper, &lower);
        const vec u = (vec)(upper & (mask)twice[k]), l = (vec)(lower & (mask)twice[k]);
        vec_store_some(r->to_upper + at, add ? u + vec_load_some(r->add_upper + at, some) : u, some);
        vec_store_some(r->to_lower + at, add ? l + vec_load_some(r->add_lower + at, some) : l, some);
    }
}

INLINE void unpool_rows(const struct training_unpool *rows, bool add, bool marked)
{
    const struct training_unpool r = *rows; /* a copy that no store can change */
#define UNPOOL(i, part) (marked ? unpool_marked(&r, i, part, add) : unpool_windows(&r, i, part, add))
    ROW_LOOP(0, r.count, UNPOOL);
}

void BLOCK(training_unpool)(const struct training_unpool *rows)
{
    if (rows->marks && rows->add_upper)
        unpool_rows(rows, true, true);
    else if (rows->add_upper)
        unpool_rows(rows, true, false);
    else
        unpool_rows(rows, false, rows->marks != NULL);
}

/* The rows' sum, and what the next rows of the result read for the first time: two rows on; where the CPU splits vectors of 512 bits four, into
 * the second level, which waits for more lines at a time than the first. */
INLINE void weigh_rows(const float *const rows[4], const float weights[4], float *to, ptrdiff_t count, bool split)
{
    const vec w0 = vec_set(weights[0]), w1 = vec_set(weights[1]), w2 = vec_set(weights[2]), w3 = vec_set(weights[3]);
    const ptrdiff_t next = (split ? 4 : 2) * count;
#define WEIGH(i, part)                                                                                                 \
    do {                                                                                                               \
        for (int k = 2; k < 4; k++)                                                                                    \
            if (split)                                                                                                 \
                __builtin_prefetch(rows[k] + (i) + next, 0, 2);                                                        \
            else                                                                                                       \
                __builtin_prefetch(rows[k] + (i) + next);                                                              \
        vec_store(to + (i), vec_fma(w0, vec_load_some(rows[0] + (i), part), w1 * vec_load_some(rows[1] + (i), part))   \
                                + vec_fma(w2, vec_load_some(rows[2] + (i), part), w3 * vec_load_some(rows[3] + (i), part))); \
    } while (0)
    ROW_LOOP(0, count, WEIGH);
}

/* Element i of a doubled row samples element (i − ½) / 2 with its neighbour: so element i takes ¼ and ¾ of its own two, and of the
 * next ones out, ¾ and ¼; at the ends what would have gone to a neighbour outside comes back. */
void BLOCK(training_unresize)(const float *const rows[4], const float weights[4], float *temporary, float *to, ptrdiff_t count)
{
    float *middle = temporary + LANES; /* a zero lies before and behind */
    vec_store(temporary, vec_set(0));
    if (cpu_splits_vectors(LANES))
        weigh_rows(rows, weights, middle, 2 * count, true);
    else
        weigh_rows(rows, weights, middle, 2 * count, false);
    vec_store(middle + 2 * count, vec_set(0));
    const vec near = vec_set(0.75f), far = vec_set(0.25f);
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        const float *from = middle + 2 * i - 1;
        const vec a = vec_load(from), b = vec_load(from + LANES), c = vec_load(from + 2), d = vec_load(from + 2 + LANES);
        /* elements 2i − 1, 2i, 2i + 1, 2i + 2 */
        vec sum = vec_fma(far, vec_even(a, b) + vec_odd(c, d), near * (vec_odd(a, b) + vec_even(c, d)));
        vec_store_some(to + i, sum, count - i < LANES ? (int)(count - i) : 0);
    }
    to[0] += 0.25f * middle[0];
    to[count - 1] += 0.25f * middle[2 * count - 1];
}
