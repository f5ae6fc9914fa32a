/* Normalizations in one computing type: included with REAL and NAME(x) defined. Sums are taken in double, each in one
 * thread. */

static void NAME(moments)(const REAL *x, int64_t count, double *mean, double *variance)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i];
    *mean = count ? sum / (double)count : 0;
    for (int64_t i = 0; i < count; i++)
        squares += ((double)x[i] - *mean) * ((double)x[i] - *mean);
    *variance = count ? squares / (double)count : 0;
}

/* Rows of `size` elements, each brought to mean 0 (unless `root_mean_square`) and variance 1, then scaled and shifted:
 * element i of row r takes the scale and bias that `n` says. y, means and inverses may be NULL; the latter receive what
 * was taken. */
void NAME(normalize_rows)(const struct row_normalization *n, int threads, const REAL *x, const REAL *scale,
                          const REAL *bias, REAL *y, REAL *means, REAL *inverses)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < n->rows; row++) {
        const REAL *from = x + row * n->size;
        double mean = 0, variance = 0;
        if (n->root_mean_square) {
            for (int64_t i = 0; i < n->size; i++)
                variance += (double)from[i] * (double)from[i];
            variance /= (double)larger(n->size, 1);
        } else {
            NAME(moments)(from, n->size, &mean, &variance);
        }
        const double inverse = 1 / sqrt(variance + n->epsilon);
        if (means)
            means[row] = (REAL)mean;
        if (inverses)
            inverses[row] = (REAL)inverse;
        if (!y)
            continue;
        const int64_t base = row % n->scale_period * n->scale_row_stride;
        REAL *to = y + row * n->size;
        if (n->scale_span == 1 && scale) {
            for (int64_t i = 0; i < n->size; i++)
                to[i] = (REAL)(((double)from[i] - mean) * inverse * (double)scale[base + i]
                               + (bias ? (double)bias[base + i] : 0));
            continue;
        }
        for (int64_t i = 0; i < n->size; i += n->scale_span) {
            const int64_t at = base + i / n->scale_span;
            const int64_t end = smaller(i + n->scale_span, n->size);
            const double a = inverse * (scale ? (double)scale[at] : 1), b = bias ? (double)bias[at] : 0;
            for (int64_t j = i; j < end; j++)
                to[j] = (REAL)(((double)from[j] - mean) * a + b);
        }
    }
}

/* x / ‖x‖ along the axis, 0 where the norm is 0. */
static void NAME(normalize_lp)(int64_t outer, int64_t axis, int64_t inner, int64_t p, int threads, const REAL *x,
                               REAL *y)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < outer * inner; index++) {
        const int64_t base = index / inner * axis * inner + index % inner;
        double sum = 0;
        for (int64_t i = 0; i < axis; i++) {
            const double value = (double)x[base + i * inner];
            sum += p == 1 ? fabs(value) : value * value;
        }
        const double norm = p == 1 ? sum : sqrt(sum);
        for (int64_t i = 0; i < axis; i++)
            y[base + i * inner] = norm == 0 ? 0 : (REAL)((double)x[base + i * inner] / norm);
    }
}

static void NAME(lrn)(const struct lrn_parameters *p, int threads, const REAL *x, REAL *y)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t plane = 0; plane < p->batch * p->channels; plane++) {
        const int64_t c = plane % p->channels;
        const int64_t first = larger(c - (p->size - 1) / 2, 0), last = smaller(c + p->size / 2, p->channels - 1);
        for (int64_t i = 0; i < p->inner; i++) {
            double squares = 0;
            for (int64_t other = first; other <= last; other++) {
                const double value = (double)x[(plane - c + other) * p->inner + i];
                squares += value * value;
            }
            const double base = p->bias + p->alpha / (double)p->size * squares;
            y[plane * p->inner + i] = (REAL)((double)x[plane * p->inner + i] / pow(base, p->beta));
        }
    }
}
