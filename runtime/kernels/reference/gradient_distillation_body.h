/* Included once for each REAL (with EXP its exponential). */

#define LANES 16

/* KL(softmax(t/τ) ‖ softmax(s/τ)) over channels; partial[chunk] = Σ over the chunk's positions. */
LEAF_LOOP static double NAME(divergence_block)(int64_t channels, int64_t plane, int64_t count, const REAL *s, const REAL *t, REAL inverse)
{
    REAL top_s[SOFT_BLOCK], top_t[SOFT_BLOCK], sum_s[SOFT_BLOCK], sum_t[SOFT_BLOCK], cross[SOFT_BLOCK];
    double total = 0;
    for (int64_t i = 0; i < count; i++) {
        top_s[i] = s[i];
        top_t[i] = t[i];
        sum_s[i] = sum_t[i] = cross[i] = 0;
    }
    for (int64_t c = 1; c < channels; c++)
        for (int64_t i = 0; i < count; i++) {
            top_s[i] = s[c * plane + i] > top_s[i] ? s[c * plane + i] : top_s[i];
            top_t[i] = t[c * plane + i] > top_t[i] ? t[c * plane + i] : top_t[i];
        }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < count; i++) {
            const REAL a = (s[c * plane + i] - top_s[i]) * inverse, b = (t[c * plane + i] - top_t[i]) * inverse;
            const REAL e = EXP(b);
            sum_s[i] += EXP(a);
            sum_t[i] += e;
            cross[i] += e * (b - a);
        }
    for (int64_t i = 0; i < count; i++)
        total += (double)(cross[i] / sum_t[i]) + log((double)sum_s[i] / (double)sum_t[i]);
    return total;
}

/* ds = factor (softmax(s/τ) - softmax(t/τ)) */
LEAF_LOOP static void NAME(divergence_block_backward)(int64_t channels, int64_t plane, int64_t count, const REAL *s, const REAL *t,
                                                      REAL inverse, REAL factor, REAL *ds)
{
    REAL top_s[SOFT_BLOCK], top_t[SOFT_BLOCK], sum_s[SOFT_BLOCK], sum_t[SOFT_BLOCK];
    for (int64_t i = 0; i < count; i++) {
        top_s[i] = s[i];
        top_t[i] = t[i];
        sum_s[i] = sum_t[i] = 0;
    }
    for (int64_t c = 1; c < channels; c++)
        for (int64_t i = 0; i < count; i++) {
            top_s[i] = s[c * plane + i] > top_s[i] ? s[c * plane + i] : top_s[i];
            top_t[i] = t[c * plane + i] > top_t[i] ? t[c * plane + i] : top_t[i];
        }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < count; i++) {
            sum_s[i] += EXP((s[c * plane + i] - top_s[i]) * inverse);
            sum_t[i] += EXP((t[c * plane + i] - top_t[i]) * inverse);
        }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < count; i++)
            ds[c * plane + i] = factor * (EXP((s[c * plane + i] - top_s[i]) * inverse) / sum_s[i]
                                          - EXP((t[c * plane + i] - top_t[i]) * inverse) / sum_t[i]);
}

static void NAME(divergence_channels)(const struct divergence *d, int threads, const REAL *s, const REAL *t, double *partial, REAL *ds)
{
    const int64_t blocks = (d->plane + SOFT_BLOCK - 1) / SOFT_BLOCK;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t unit = 0; unit < d->batch * blocks; unit++) {
        const int64_t start = unit % blocks * SOFT_BLOCK, at = unit / blocks * d->channels * d->plane + start;
        const int64_t count = smaller(d->plane - start, SOFT_BLOCK);
        if (ds)
            NAME(divergence_block_backward)(d->channels, d->plane, count, s + at, t + at, (REAL)(1 / d->temperature), (REAL)d->factor, ds + at);
        else
            partial[unit] = NAME(divergence_block)(d->channels, d->plane, count, s + at, t + at, (REAL)(1 / d->temperature));
    }
}

LEAF_LOOP static REAL NAME(row_top)(const REAL *x, int64_t count)
{
    REAL lanes[LANES], top = x[0];
    int64_t i = 0;
    for (int l = 0; l < LANES; l++)
        lanes[l] = top;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++)
            lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
    for (; i < count; i++)
        top = x[i] > top ? x[i] : top;
    for (int l = 0; l < LANES; l++)
        top = lanes[l] > top ? lanes[l] : top;
    return top;
}

/* sums = {Σ exp a, Σ exp b, Σ exp b · (b - a)} with a = (s - top s)/τ and b = (t - top t)/τ, over at most REDUCTION_CHUNK elements. */
LEAF_LOOP static void NAME(row_sums)(const REAL *s, const REAL *t, REAL top_s, REAL top_t, REAL inverse, int64_t count, double sums[3])
{
    REAL lanes[3][LANES] = {{0}};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++) {
            const REAL a = (s[i + l] - top_s) * inverse, b = (t[i + l] - top_t) * inverse, e = EXP(b);
            lanes[0][l] += EXP(a);
            lanes[1][l] += e;
            lanes[2][l] += e * (b - a);
        }
    for (; i < count; i++) {
        const REAL a = (s[i] - top_s) * inverse, b = (t[i] - top_t) * inverse, e = EXP(b);
        sums[0] += (double)EXP(a);
        sums[1] += (double)e;
        sums[2] += (double)(e * (b - a));
    }
    for (int l = 0; l < LANES; l++)
        for (int k = 0; k < 3; k++)
            sums[k] += (double)lanes[k][l];
}

/* The same sums, and the exponentials themselves. */
LEAF_LOOP static void NAME(row_exponentials)(const REAL *s, const REAL *t, REAL top_s, REAL top_t, REAL inverse, int64_t count, REAL *restrict to_s,
                                             REAL *restrict to_t, double sums[3])
{
    REAL lanes[3][LANES] = {{0}};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++) {
            const REAL a = (s[i + l] - top_s) * inverse, b = (t[i + l] - top_t) * inverse, d = EXP(a), e = EXP(b);
            to_s[i + l] = d;
            to_t[i + l] = e;
            lanes[0][l] += d;
            lanes[1][l] += e;
            lanes[2][l] += e * (b - a);
        }
    for (; i < count; i++) {
        const REAL a = (s[i] - top_s) * inverse, b = (t[i] - top_t) * inverse;
        to_s[i] = EXP(a);
        to_t[i] = EXP(b);
        sums[0] += (double)to_s[i];
        sums[1] += (double)to_t[i];
        sums[2] += (double)(to_t[i] * (b - a));
    }
    for (int l = 0; l < LANES; l++)
        for (int k = 0; k < 3; k++)
            sums[k] += (double)lanes[k][l];
}

LEAF_LOOP static void NAME(row_difference)(REAL *restrict ds, const REAL *restrict other, REAL factor, REAL other_factor, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        ds[i] = factor * ds[i] - other_factor * other[i];
}

/* The same over the positions of each channel: the loss, its gradient or both. partial[row] is weighted; `room` is a row for each thread, of the
 * gradient. */
static void NAME(divergence_positions)(const struct divergence *d, int threads, const REAL *s, const REAL *t, const REAL *weights,
                                       double *partial, REAL *ds, REAL *room)
{
    const REAL inverse = (REAL)(1 / d->temperature);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t row = 0; row < d->batch * d->channels; row++) {
        const REAL *a = s + row * d->plane, *b = t + row * d->plane;
        const double weight = weights ? (double)weights[row] : 1;
        double sums[3] = {0};
        const REAL top_a = NAME(row_top)(a, d->plane), top_b = NAME(row_top)(b, d->plane);
        REAL *made = ds ? ds + row * d->plane : NULL, *other = ds ? room + omp_get_thread_num() * d->plane : NULL;
        for (int64_t i = 0; i < d->plane; i += REDUCTION_CHUNK) {
            const int64_t count = smaller(d->plane - i, REDUCTION_CHUNK);
            if (ds)
                NAME(row_exponentials)(a + i, b + i, top_a, top_b, inverse, count, made + i, other + i, sums);
            else
                NAME(row_sums)(a + i, b + i, top_a, top_b, inverse, count, sums);
        }
        if (ds)
            NAME(row_difference)(made, other, (REAL)(d->factor * weight / sums[0]), (REAL)(d->factor * weight / sums[1]), d->plane);
        if (partial)
            partial[row] = weight * (sums[2] / sums[1] + log(sums[0] / sums[1]));
    }
}

/* ‖s/‖s‖ - t/‖t‖‖² of each row, or its gradient -2/‖s‖ (t̂ - cos ŝ) · factor. */
static void NAME(unit_distance)(int64_t rows, int64_t count, double factor, int threads, const REAL *s, const REAL *t, double *partial,
                                REAL *ds)
{
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && rows * count > REDUCTION_CHUNK)
    for (int64_t row = 0; row < rows; row++) {
        const REAL *a = s + row * count, *b = t + row * count;
        double length_a = 0, length_b = 0, cosine = 0, distance = 0;
        for (int64_t i = 0; i < count; i++) {
            length_a += (double)a[i] * (double)a[i];
            length_b += (double)b[i] * (double)b[i];
            cosine += (double)a[i] * (double)b[i];
        }
        length_a = fmax(sqrt(length_a), UNIT_EPSILON);
        length_b = fmax(sqrt(length_b), UNIT_EPSILON);
        cosine /= length_a * length_b;
        if (ds) {
            for (int64_t i = 0; i < count; i++)
                ds[row * count + i] = (REAL)(-2 * factor / length_a * ((double)b[i] / length_b - cosine * (double)a[i] / length_a));
            continue;
        }
        for (int64_t i = 0; i < count; i++) {
            const double d = (double)a[i] / length_a - (double)b[i] / length_b;
            distance += d * d;
        }
        partial[row] = distance;
    }
}

LEAF_LOOP static double NAME(square_chunk)(const REAL *s, const REAL *t, int64_t count)
{
    double lanes[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int l = 0; l < 8; l++) {
            const double d = (double)s[i + l] - (double)t[i + l];
            lanes[l] += d * d;
        }
    for (; i < count; i++) {
        const double d = (double)s[i] - (double)t[i];
        lanes[0] += d * d;
    }
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

static void NAME(squares)(int64_t count, double factor, int threads, const REAL *s, const REAL *t, double *partial, REAL *ds)
{
    const int64_t chunks = (count + REDUCTION_CHUNK - 1) / REDUCTION_CHUNK;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && chunks > 1)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const int64_t at = chunk * REDUCTION_CHUNK, length = smaller(count - at, REDUCTION_CHUNK);
        if (ds)
            for (int64_t i = at; i < at + length; i++)
                ds[i] = (REAL)factor * (s[i] - t[i]);
        else
            partial[chunk] = NAME(square_chunk)(s + at, t + at, length);
    }
}

#undef LANES
