/* AveragePool, LpPool and the global pools in one computing type: included with REAL and NAME(x) defined, after
 * pooling_body.h. */

VECTOR_CLONES static void NAME(take_sum)(REAL *restrict y, const REAL *restrict x, int64_t stride, int64_t count)
{
    if (stride == 1)
        for (int64_t i = 0; i < count; i++)
            y[i] += x[i];
    else
        for (int64_t i = 0; i < count; i++)
            y[i] += x[i * stride];
}

static void NAME(average_pool)(const struct pool_parameters *p, int threads, const REAL *x, REAL *y)
{
    const struct pool_sizes s = pool_sizes(p);
    const int32_t last = p->spatial - 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < s.planes * s.rows; index++) {
        const REAL *plane = x + index / s.rows * s.input;
        REAL *row = y + index * s.width;
        for (int64_t i = 0; i < s.width; i++)
            row[i] = 0;
        const struct window_rows rows = window_rows(p, index % s.rows);
        for (int64_t k = 0; k < rows.count; k++) {
            const int64_t offset = window_row(p, &rows, k);
            for (int64_t j = s.first_place; j < s.last_place; j++) {
                const struct window_range range = window_range(p, j);
                if (range.begin < range.end)
                    NAME(take_sum)(row + range.begin, plane + offset + range.first, p->strides[last],
                                   range.end - range.begin);
            }
        }
        /* What a window counts is a product over the dimensions. */
        int64_t count = 1, rest = index % s.rows;
        for (int32_t i = last - 1; i >= 0; i--) {
            count *= window_count(p, i, rest % p->output[i]);
            rest /= p->output[i];
        }
        for (int64_t i = 0; i < s.width; i++) {
            const int64_t all = count * window_count(p, last, i);
            row[i] = all ? row[i] / (REAL)all : 0;
        }
    }
}

static void NAME(lp_pool)(const struct pool_parameters *p, int threads, const REAL *x, REAL *y)
{
    const struct pool_sizes s = pool_sizes(p);
    const int32_t last = p->spatial - 1;
    const double power = (double)p->p;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < s.planes * s.rows; index++) {
        const REAL *plane = x + index / s.rows * s.input;
        const struct window_rows rows = window_rows(p, index % s.rows);
        for (int64_t i = 0; i < s.width; i++) {
            const struct window_span span = window_span(p, last, i);
            double sum = 0;
            for (int64_t k = 0; k < rows.count; k++) {
                const int64_t offset = window_row(p, &rows, k);
                for (int64_t j = 0, at = span.first; j < span.count; j++, at += p->dilations[last])
                    sum += absolute_power((double)plane[offset + at], p->p);
            }
            y[index * s.width + i] = (REAL)(p->p == 1 ? sum : p->p == 2 ? sqrt(sum) : pow(sum, 1 / power));
        }
    }
}

/* kind: 'A'verage, 'M'aximum, 'L'p. */
static void NAME(global_pool)(char kind, int64_t power, int64_t planes, int64_t size, int threads, const REAL *x,
                              REAL *y)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t plane = 0; plane < planes; plane++) {
        const REAL *from = x + plane * size;
        double sum = 0;
        REAL most = size ? from[0] : 0;
        for (int64_t i = 0; i < size; i++) {
            if (kind == 'M')
                most = from[i] > most || IS_NAN(from[i]) ? from[i] : most;
            else
                sum += kind == 'A' ? (double)from[i] : absolute_power((double)from[i], power);
        }
        y[plane] = kind == 'M'   ? most
                   : kind == 'A' ? (REAL)(sum / (double)size)
                                 : (REAL)(power == 1   ? sum
                                          : power == 2 ? sqrt(sum)
                                                       : pow(sum, 1 / (double)power));
    }
}
