/* Pooling in one computing type: included with REAL, LOWEST, IS_NAN(x) and NAME(x) defined. A plane [spatial…] of one channel
 * belongs to one thread. A NaN is the largest of its window, wherever it is there. */

VECTOR_CLONES static void NAME(take_larger)(REAL *restrict y, const REAL *restrict x, int64_t stride, int64_t count)
{
    if (stride == 1)
        for (int64_t i = 0; i < count; i++)
            y[i] = x[i] > y[i] || IS_NAN(x[i]) ? x[i] : y[i];
    else
        for (int64_t i = 0; i < count; i++)
            y[i] = x[i * stride] > y[i] || IS_NAN(x[i * stride]) ? x[i * stride] : y[i];
}

static void NAME(max_pool)(const struct pool_parameters *p, int threads, const REAL *x, REAL *y)
{
    const struct pool_sizes s = pool_sizes(p);
    const int32_t last = p->spatial - 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < s.planes * s.rows; index++) {
        const REAL *plane = x + index / s.rows * s.input;
        REAL *row = y + index * s.width;
        for (int64_t i = 0; i < s.width; i++)
            row[i] = LOWEST;
        const struct window_rows rows = window_rows(p, index % s.rows);
        for (int64_t k = 0; k < rows.count; k++) {
            const int64_t offset = window_row(p, &rows, k);
            for (int64_t j = s.first_place; j < s.last_place; j++) {
                const struct window_range range = window_range(p, j);
                if (range.begin < range.end)
                    NAME(take_larger)(row + range.begin, plane + offset + range.first, p->strides[last],
                                      range.end - range.begin);
            }
        }
    }
}

/* The first largest element of each window and its index in the whole input; -1 where a window holds nothing but
 * padding. */
static void NAME(max_pool_indices)(const struct pool_parameters *p, int threads, const REAL *x, REAL *y,
                                   int64_t *indices)
{
    const struct pool_sizes s = pool_sizes(p);
    const int32_t last = p->spatial - 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < s.planes * s.rows; index++) {
        const int64_t base = index / s.rows * s.input;
        const struct window_rows rows = window_rows(p, index % s.rows);
        for (int64_t i = 0; i < s.width; i++) {
            REAL best = LOWEST;
            int64_t best_at = -1;
            const struct window_span span = window_span(p, last, i);
            for (int64_t k = 0; k < rows.count; k++) {
                const int64_t offset = window_row(p, &rows, k);
                for (int64_t j = 0, at = span.first; j < span.count; j++, at += p->dilations[last]) {
                    const REAL value = x[base + offset + at];
                    if (best_at < 0 || value > best || (IS_NAN(value) && !IS_NAN(best))) {
                        best = value;
                        best_at = offset + at;
                    }
                }
            }
            if (y)
                y[index * s.width + i] = best;
            if (best_at >= 0 && p->column_major) {
                int64_t rest = best_at, swapped = 0, scale[MAX_SPATIAL], product = 1;
                for (int32_t d = 0; d < p->spatial; d++) {
                    scale[d] = product;
                    product *= p->input[d];
                }
                for (int32_t d = last; d >= 0; d--) {
                    swapped += rest % p->input[d] * scale[d];
                    rest /= p->input[d];
                }
                best_at = swapped;
            }
            indices[index * s.width + i] = best_at < 0 ? -1 : base + best_at;
        }
    }
}
