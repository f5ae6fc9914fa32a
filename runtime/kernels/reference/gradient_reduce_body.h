/* Included once for each REAL. */

LEAF_LOOP static void NAME(add_lanes)(double *restrict sums, const REAL *x, int64_t count)
{
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        for (int l = 0; l < 16; l++)
            sums[l] += (double)x[i + l];
    for (int l = 0; i + l < count; l++)
        sums[l] += (double)x[i + l];
}

LEAF_LOOP static void NAME(add_row)(double *restrict sums, const REAL *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        sums[i] += (double)x[i];
}

/* y = Σ of x over the reduced dimensions of `r`. */
static void NAME(reduce)(const struct reduction *r, int threads, const REAL *x, REAL *y)
{
    const bool inner_kept = r->kept[r->rank - 1];
    const int64_t inner = r->dims[r->rank - 1], blocks = inner_kept ? (inner + REDUCE_BLOCK - 1) / REDUCE_BLOCK : 1;
    int64_t units = blocks, combinations = 1;
    for (int i = 0; i < r->rank - 1; i++)
        *(r->kept[i] ? &units : &combinations) *= r->dims[i];
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && units > 1)
    for (int64_t unit = 0; unit < units; unit++) {
        const int64_t start = unit % blocks * REDUCE_BLOCK, place = unit / blocks;
        const int64_t count = inner_kept ? smaller(inner - start, REDUCE_BLOCK) : inner;
        const REAL *from = x + reduction_offset(r, true, place) + start;
        double sums[REDUCE_BLOCK] = {0};
        for (int64_t c = 0; c < combinations; c++) {
            const REAL *row = from + reduction_offset(r, false, c);
            if (inner_kept)
                NAME(add_row)(sums, row, count);
            else
                NAME(add_lanes)(sums, row, count);
        }
        if (inner_kept) {
            for (int64_t i = 0; i < count; i++)
                y[place * inner + start + i] = (REAL)sums[i];
        } else {
            double total = 0;
            for (int i = 0; i < 16; i++)
                total += sums[i];
            y[place] = (REAL)total;
        }
    }
}

/* x of the reduced shape, repeated to the full one and multiplied. */
static void NAME(spread)(const struct spread *s, int threads, const REAL *x, REAL *y)
{
    const int64_t inner = s->dims[s->rank - 1], step = s->strides[s->rank - 1];
    const REAL factor = (REAL)s->factor;
    int64_t rows = 1;
    for (int i = 0; i < s->rank - 1; i++)
        rows *= s->dims[i];
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && rows > 1)
    for (int64_t row = 0; row < rows; row++) {
        const REAL *from = x;
        REAL *to = y + row * inner;
        for (int64_t i = s->rank - 1, rest = row; i-- > 0; rest /= s->dims[i])
            from += rest % s->dims[i] * s->strides[i];
        if (step == 0) {
            const REAL value = (REAL)((double)*from * s->factor);
            for (int64_t i = 0; i < inner; i++)
                to[i] = value;
        } else {
            for (int64_t i = 0; i < inner; i++)
                to[i] = from[i] * factor;
        }
    }
}

/* dx_i = dy Π_{k≠i} x_k from prefix and suffix products: exact with zeros. */
static void NAME(product)(const struct reduction *r, int threads, const REAL *dy, const REAL *x, REAL *dx)
{
    int64_t units = 1, combinations = 1;
    for (int i = 0; i < r->rank; i++)
        *(r->kept[i] ? &units : &combinations) *= r->dims[i];
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && units > 1)
    for (int64_t unit = 0; unit < units; unit++) {
        const int64_t base = full_offset(r, true, unit);
        double prefix = (double)dy[unit];
        for (int64_t c = 0; c < combinations; c++) {
            const int64_t at = base + full_offset(r, false, c);
            dx[at] = (REAL)prefix;
            prefix *= (double)x[at];
        }
        double suffix = 1;
        for (int64_t c = combinations; c-- > 0;) {
            const int64_t at = base + full_offset(r, false, c);
            dx[at] = (REAL)((double)dx[at] * suffix);
            suffix *= (double)x[at];
        }
    }
}
