/* Included once for each REAL. Element i of every list is read before it is written: outputs may be the inputs. */

LEAF_LOOP static void NAME(sgd_block)(int64_t count, const struct sgd *s, const REAL *w, const REAL *g, const REAL *v, REAL *new_w, REAL *new_v)
{
    const REAL rate = (REAL)s->rate, scale = (REAL)s->scale, decay = (REAL)s->decay, momentum = (REAL)s->momentum;
    if (!v) {
        for (int64_t i = 0; i < count; i++)
            new_w[i] = w[i] - rate * (g[i] * scale + decay * w[i]);
    } else if (s->nesterov) {
        for (int64_t i = 0; i < count; i++) {
            const REAL d = g[i] * scale + decay * w[i], m = momentum * v[i] + d;
            new_v[i] = m;
            new_w[i] = w[i] - rate * (d + momentum * m);
        }
    } else {
        for (int64_t i = 0; i < count; i++) {
            const REAL m = momentum * v[i] + (g[i] * scale + decay * w[i]);
            new_v[i] = m;
            new_w[i] = w[i] - rate * m;
        }
    }
}

LEAF_LOOP static void NAME(adam_block)(int64_t count, const struct adam *s, const REAL *w, const REAL *g, const REAL *m, const REAL *v,
                                       REAL *new_w, REAL *new_m, REAL *new_v)
{
    const REAL scale = (REAL)s->scale, coupled = (REAL)s->coupled_decay, keep = (REAL)s->keep, beta1 = (REAL)s->beta1;
    const REAL beta2 = (REAL)s->beta2, rest1 = (REAL)(1 - s->beta1), rest2 = (REAL)(1 - s->beta2), epsilon = (REAL)s->epsilon;
    const REAL rate = (REAL)s->rate, correction = (REAL)s->correction;
    for (int64_t i = 0; i < count; i++) {
        const REAL d = g[i] * scale + coupled * w[i];
        const REAL first = beta1 * m[i] + rest1 * d, second = beta2 * v[i] + rest2 * (d * d);
        new_m[i] = first;
        new_v[i] = second;
        new_w[i] = keep * w[i] - rate * first / (NAME(root)(second) * correction + epsilon);
    }
}

static void NAME(sgd)(int64_t count, int threads, const struct sgd *s, const REAL *w, const REAL *g, const REAL *v, REAL *new_w, REAL *new_v)
{
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && count > 8 * REDUCTION_CHUNK)
    for (int64_t i = 0; i < count; i += REDUCTION_CHUNK)
        NAME(sgd_block)(smaller(count - i, REDUCTION_CHUNK), s, w + i, g + i, v ? v + i : NULL, new_w + i, new_v ? new_v + i : NULL);
}

static void NAME(adam)(int64_t count, int threads, const struct adam *s, const REAL *w, const REAL *g, const REAL *m, const REAL *v, REAL *new_w,
                       REAL *new_m, REAL *new_v)
{
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && count > 8 * REDUCTION_CHUNK)
    for (int64_t i = 0; i < count; i += REDUCTION_CHUNK)
        NAME(adam_block)(smaller(count - i, REDUCTION_CHUNK), s, w + i, g + i, m + i, v + i, new_w + i, new_m + i, new_v + i);
}

/* y = a x + b z */
LEAF_LOOP static void NAME(blend)(int64_t count, REAL a, const REAL *x, REAL b, const REAL *z, REAL *y)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = a * x[i] + b * z[i];
}

LEAF_LOOP static double NAME(square_sum)(const REAL *x, int64_t count)
{
    double lanes[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int l = 0; l < 8; l++)
            lanes[l] += (double)x[i + l] * (double)x[i + l];
    for (; i < count; i++)
        lanes[0] += (double)x[i] * (double)x[i];
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}
