/* Rows of what training does element by element: sums and normalisations. */
#include "runtime/kernels/training/isa_rows.h"

/* Partial sums of so many elements are float, their sum is double. */
enum { SUMMED_TOGETHER = 2048 };

double BLOCK(training_sum)(const float *x, ptrdiff_t count)
{
    double total = 0;
    for (ptrdiff_t first = 0; first < count; first += SUMMED_TOGETHER) {
        const ptrdiff_t last = count - first < SUMMED_TOGETHER ? count : first + SUMMED_TOGETHER;
        vec part[4];
        _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++)
            part[k] = vec_set(0);
        ptrdiff_t i = first;
        for (; i + 4 * LANES <= last; i += 4 * LANES)
            _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++)
                part[k] += vec_load(x + i + k * LANES);
        for (; i < last; i += LANES)
            part[0] += last - i < LANES ? vec_load_part(x + i, (int)(last - i)) : vec_load(x + i);
        vec sum = (part[0] + part[1]) + (part[2] + part[3]);
        for (int k = 0; k < LANES; k++)
            total += (double)sum[k];
    }
    return total;
}

INLINE double sum_of_lanes(vec sum)
{
    double total = 0;
    for (int k = 0; k < LANES; k++)
        total += (double)sum[k];
    return total;
}

/* Past the caches where the row begins at a line. */
INLINE void store_through(float *to, vec value, int part)
{
    if (part)
        vec_store_part(to, value, part);
    else
        vec_store_through(to, value);
}

INLINE void finish_through(bool through)
{
    if (through)
        vec_through_done();
}

static bool on_line(const float *row)
{
    return (uintptr_t)row % 64 == 0;
}

void BLOCK(training_collect)(const struct training_collect *rows)
{
    const struct training_collect c = *rows; /* a copy that no store can change */
    for (int r = 0; r < c.rows; r++) {
        const float *from = c.from + c.offsets[r];
        float *to = c.to + r * c.pitch;
#define COLLECT(i, part) vec_store_some(to + (i), vec_load_some(from + (i), part), part)
        ROW_LOOP(0, c.columns, COLLECT);
    }
}

void BLOCK(training_moments)(const float *x, ptrdiff_t count, float pivot, double sums[2])
{
    const vec centre = vec_set(pivot);
    for (ptrdiff_t first = 0; first < count; first += SUMMED_TOGETHER) {
        const ptrdiff_t last = count - first < SUMMED_TOGETHER ? count : first + SUMMED_TOGETHER;
        vec sum[4], square[4];
        _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++)
            sum[k] = square[k] = vec_set(0);
        ptrdiff_t i = first;
        for (; i + 4 * LANES <= last; i += 4 * LANES)
            _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) {
                vec d = vec_load(x + i + k * LANES) - centre;
                sum[k] += d;
                square[k] = vec_fma(d, d, square[k]);
            }
        for (; i + LANES <= last; i += LANES) {
            vec d = vec_load(x + i) - centre;
            sum[0] += d;
            square[0] = vec_fma(d, d, square[0]);
        }
        for (; i < last; i++) {
            const double d = (double)(x[i] - pivot);
            sums[0] += d;
            sums[1] += d * d;
        }
        sums[0] += sum_of_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
        sums[1] += sum_of_lanes((square[0] + square[1]) + (square[2] + square[3]));
    }
}

INLINE void normalise_row(const struct training_normalise *row, bool residual, bool relu, bool through, bool open)
{
    const struct training_normalise r = *row; /* a copy that no store can change */
    const vec a = vec_set(r.a), b = vec_set(r.b), c = vec_set(r.c), zero = vec_set(0);
#define NORMALISE(i, part)                                                                                             \
    do {                                                                                                               \
        vec y = vec_fma(a, vec_load_some(r.x + (i), part), b);                                                                  \
        if (residual)                                                                                                  \
            y = vec_fma(c, vec_load_some(r.residual + (i), part), y);                                                           \
        if (open)                                                                                                      \
            bits_store(r.open, i, bits_of(y > zero));                                                                  \
        if (through)                                                                                                   \
            store_through(r.y + (i), relu ? vec_max(zero, y) : y, part);                                               \
        else                                                                                                           \
            vec_store_some(r.y + (i), relu ? vec_max(zero, y) : y, part);                                                       \
    } while (0)
    ROW_LOOP(0, r.count, NORMALISE);
}

void BLOCK(training_normalise)(const struct training_normalise *row)
{
    const bool through = row->through && on_line(row->y);
    if (row->open && row->residual && row->relu && through)
        normalise_row(row, true, true, true, true);
    else if (row->open && row->residual && row->relu)
        normalise_row(row, true, true, false, true);
    else if (row->open)
        normalise_row(row, row->residual != NULL, row->relu, through, true);
    else if (row->residual && row->relu && through)
        normalise_row(row, true, true, true, false);
    else if (row->residual && row->relu)
        normalise_row(row, true, true, false, false);
    else if (row->relu && through)
        normalise_row(row, false, true, true, false);
    else if (row->relu)
        normalise_row(row, false, true, false, false);
    else
        normalise_row(row, row->residual != NULL, false, through, false);
    finish_through(through);
}

INLINE vec masked(vec dy, vec y)
{
    return (vec)((mask)dy & (y > vec_set(0)));
}

INLINE vec let_through(const struct training_denormalise *r, enum training_sign sign, vec x, ptrdiff_t i, int part)
{
    const vec dy = vec_load_some(r->dy + i, part);
    if (sign == SIGN_BY_Y)
        return masked(dy, vec_load_some(r->y + i, part));
    if (sign == SIGN_BY_BITS)
        return vec_where(bits_load(r->open, i), dy);
    return sign == SIGN_BY_LINE ? masked(dy, vec_fma(vec_set(r->line[0]), x, vec_set(r->line[1]))) : dy;
}

INLINE void sums_of_row(const struct training_denormalise *row, enum training_sign sign, double sums[2])
{
    const struct training_denormalise r = *row;
    const vec mean = vec_set(r.mean);
    for (ptrdiff_t first = 0; first < r.count; first += SUMMED_TOGETHER) {
        const ptrdiff_t last = r.count - first < SUMMED_TOGETHER ? r.count : first + SUMMED_TOGETHER;
        vec sum[2] = {vec_set(0), vec_set(0)}, product[2] = {vec_set(0), vec_set(0)};
#define SUMS(i, part, k)                                                                                               \
    do {                                                                                                               \
        const vec x = vec_load_some(r.x + (i), part), dz = let_through(&r, sign, x, i, part);                                   \
        sum[k] += dz;                                                                                                  \
        product[k] = vec_fma(dz, x - mean, product[k]);                                                                \
    } while (0)
        ptrdiff_t i = first;
        for (; i + 2 * LANES <= last; i += 2 * LANES) {
            SUMS(i, 0, 0);
            SUMS(i + LANES, 0, 1);
        }
        for (; i + LANES <= last; i += LANES)
            SUMS(i, 0, 0);
        if (i < last)
            SUMS(i, (int)(last - i), 1); /* lanes beyond have dz = 0 */
        sums[0] += sum_of_lanes(sum[0] + sum[1]);
        sums[1] += sum_of_lanes(product[0] + product[1]);
    }
}

void BLOCK(training_denormalise_sums)(const struct training_denormalise *row, double sums[2])
{
    if (row->sign == SIGN_BY_LINE)
        sums_of_row(row, SIGN_BY_LINE, sums);
    else if (row->sign == SIGN_BY_Y)
        sums_of_row(row, SIGN_BY_Y, sums);
    else if (row->sign == SIGN_BY_BITS)
        sums_of_row(row, SIGN_BY_BITS, sums);
    else
        sums_of_row(row, SIGN_ALL, sums);
}

INLINE void denormalise_row(const struct training_denormalise *row, enum training_sign sign, bool keep, bool through)
{
    const struct training_denormalise r = *row;
    const vec a = vec_set(r.a), b = vec_set(r.b), c = vec_set(r.c);
#define DENORMALISE(i, part)                                                                                           \
    do {                                                                                                               \
        const vec x = vec_load_some(r.x + (i), part), dz = let_through(&r, sign, x, i, part);                                   \
        vec dx = vec_fma(a, dz, vec_fma(b, x, c));                                                                     \
        if (r.addend)                                                                                                  \
            dx += vec_load_some(r.addend + (i), part);                                                                          \
        if (r.dx && through)                                                                                           \
            store_through(r.dx + (i), dx, part);                                                                       \
        else if (r.dx)                                                                                                 \
            vec_store_some(r.dx + (i), dx, part);                                                                               \
        if (keep && through)                                                                                           \
            store_through(r.dz + (i), dz, part);                                                                       \
        else if (keep)                                                                                                 \
            vec_store_some(r.dz + (i), dz, part);                                                                               \
    } while (0)
    ROW_LOOP(0, r.count, DENORMALISE);
}

void BLOCK(training_denormalise)(const struct training_denormalise *row)
{
    const bool through = row->through && on_line(row->dx) && (!row->dz || on_line(row->dz));
    if (row->sign == SIGN_BY_LINE && !row->dz && through)
        denormalise_row(row, SIGN_BY_LINE, false, true);
    else if (row->sign == SIGN_BY_LINE && !row->dz)
        denormalise_row(row, SIGN_BY_LINE, false, false);
    else if (row->sign == SIGN_BY_BITS && row->dz && !through)
        denormalise_row(row, SIGN_BY_BITS, true, false);
    else if (row->sign == SIGN_BY_BITS)
        denormalise_row(row, SIGN_BY_BITS, row->dz != NULL, through);
    else if (row->sign == SIGN_BY_Y && row->dz && through)
        denormalise_row(row, SIGN_BY_Y, true, true);
    else if (row->sign == SIGN_BY_Y)
        denormalise_row(row, SIGN_BY_Y, row->dz != NULL, through);
    else
        denormalise_row(row, row->sign, row->dz != NULL, through);
    finish_through(through);
}

INLINE vec pair_through(const struct training_denormalise_pair *r, bool relu, const vec x[2], ptrdiff_t i, int part)
{
    const vec dy = vec_load_some(r->dy + i, part);
    return relu ? masked(dy, vec_fma(vec_set(r->line[2]), x[1], vec_fma(vec_set(r->line[0]), x[0], vec_set(r->line[1])))) : dy;
}

INLINE void pair_sums(const struct training_denormalise_pair *row, bool relu, double sums[3])
{
    const struct training_denormalise_pair r = *row;
    const vec mean[2] = {vec_set(r.mean[0]), vec_set(r.mean[1])};
    for (ptrdiff_t first = 0; first < r.count; first += SUMMED_TOGETHER) {
        const ptrdiff_t last = r.count - first < SUMMED_TOGETHER ? r.count : first + SUMMED_TOGETHER;
        vec sum[2], product[2][2];
        _Pragma("GCC unroll 2") for (int k = 0; k < 2; k++)
            sum[k] = product[k][0] = product[k][1] = vec_set(0);
#define PAIR_SUMS(i, part, k)                                                                                          \
    do {                                                                                                               \
        const vec x[2] = {vec_load_some(r.x[0] + (i), part), vec_load_some(r.x[1] + (i), part)};                                         \
        const vec dz = pair_through(&r, relu, x, i, part);                                                             \
        sum[k] += dz;                                                                                                  \
        product[k][0] = vec_fma(dz, x[0] - mean[0], product[k][0]);                                                    \
        product[k][1] = vec_fma(dz, x[1] - mean[1], product[k][1]);                                                    \
    } while (0)
        ptrdiff_t i = first;
        for (; i + 2 * LANES <= last; i += 2 * LANES) {
            PAIR_SUMS(i, 0, 0);
            PAIR_SUMS(i + LANES, 0, 1);
        }
        for (; i + LANES <= last; i += LANES)
            PAIR_SUMS(i, 0, 0);
        if (i < last)
            PAIR_SUMS(i, (int)(last - i), 1);
        sums[0] += sum_of_lanes(sum[0] + sum[1]);
        sums[1] += sum_of_lanes(product[0][0] + product[1][0]);
        sums[2] += sum_of_lanes(product[0][1] + product[1][1]);
    }
}

void BLOCK(training_denormalise_pair_sums)(const struct training_denormalise_pair *row, double sums[3])
{
    if (row->relu)
        pair_sums(row, true, sums);
    else
        pair_sums(row, false, sums);
}

INLINE void denormalise_pair(const struct training_denormalise_pair *row, bool relu, bool through)
{
    const struct training_denormalise_pair r = *row;
    const vec a[2] = {vec_set(r.a[0]), vec_set(r.a[1])}, b[2] = {vec_set(r.b[0]), vec_set(r.b[1])},
              c[2] = {vec_set(r.c[0]), vec_set(r.c[1])};
#define DENORMALISE_PAIR(i, part)                                                                                      \
    do {                                                                                                               \
        const vec x[2] = {vec_load_some(r.x[0] + (i), part), vec_load_some(r.x[1] + (i), part)};                                         \
        const vec dz = pair_through(&r, relu, x, i, part);                                                             \
        vec dx[2];                                                                                                     \
        _Pragma("GCC unroll 2") for (int k = 0; k < 2; k++)                                                            \
            dx[k] = vec_fma(a[k], dz, vec_fma(b[k], x[k], c[k]));                                                      \
        if (r.addend)                                                                                                  \
            dx[0] += vec_load_some(r.addend + (i), part);                                                                       \
        _Pragma("GCC unroll 2") for (int k = 0; k < 2; k++)                                                            \
            if (r.dx[k] && through)                                                                                    \
                store_through(r.dx[k] + (i), dx[k], part);                                                             \
            else if (r.dx[k])                                                                                          \
                vec_store_some(r.dx[k] + (i), dx[k], part);                                                                     \
    } while (0)
    ROW_LOOP(0, r.count, DENORMALISE_PAIR);
}

void BLOCK(training_denormalise_pair)(const struct training_denormalise_pair *row)
{
    const bool through = row->through && on_line(row->dx[0]) && on_line(row->dx[1]);
    if (row->relu && through)
        denormalise_pair(row, true, true);
    else if (row->relu)
        denormalise_pair(row, true, false);
    else
        denormalise_pair(row, false, through);
    finish_through(through);
}
