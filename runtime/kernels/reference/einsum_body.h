/* One contraction of Einsum in one computing type: included with REAL and NAME(x) defined. */

/* y[i] += a[i · a_step] · b[i · b_step] */
VECTOR_CLONES static void NAME(add_products)(REAL *restrict y, const REAL *a, int64_t a_step, const REAL *b,
                                             int64_t b_step, int64_t count)
{
    if (a_step == 0 && b_step == 1) {
        const REAL factor = *a;
        for (int64_t i = 0; i < count; i++)
            y[i] += factor * b[i];
    } else if (a_step == 1 && b_step == 0) {
        const REAL factor = *b;
        for (int64_t i = 0; i < count; i++)
            y[i] += a[i] * factor;
    } else {
        for (int64_t i = 0; i < count; i++)
            y[i] += a[i * a_step] * b[i * b_step];
    }
}

/* Loops over the outer output labels (split among threads), then the summed labels, then the last output label. */
static void NAME(contract)(const struct contraction *c, int threads, const REAL *a, const REAL *b, REAL *y)
{
    const int32_t last = c->output_count - 1;
    const int64_t width = c->output_count ? c->sizes[c->output_labels[last]] : 1;
    const int64_t a_step = c->output_count ? c->a_strides[c->output_labels[last]] : 0;
    const int64_t b_step = c->output_count ? c->b_strides[c->output_labels[last]] : 0;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < c->outer; index++) {
        int64_t rest = index, a_at = 0, b_at = 0, counters[EINSUM_LABELS] = {0};
        for (int32_t i = last - 1; i >= 0; i--) {
            const int32_t label = c->output_labels[i];
            a_at += rest % c->sizes[label] * c->a_strides[label];
            b_at += rest % c->sizes[label] * c->b_strides[label];
            rest /= c->sizes[label];
        }
        REAL *to = y + index * width;
        for (int64_t i = 0; i < width; i++)
            to[i] = 0;
        for (int64_t step = 0; step < c->summed; step++) {
            NAME(add_products)(to, a + a_at, a_step, b + b_at, b_step, width);
            for (int32_t i = c->sum_count - 1; i >= 0; i--) {
                const int32_t label = c->sum_labels[i];
                a_at += c->a_strides[label];
                b_at += c->b_strides[label];
                if (++counters[i] < c->sizes[label])
                    break;
                a_at -= counters[i] * c->a_strides[label];
                b_at -= counters[i] * c->b_strides[label];
                counters[i] = 0;
            }
        }
    }
}
