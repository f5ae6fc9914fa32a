/* Included once for each REAL (WEIGHT: the table's list of that type). */

LEAF_LOOP static void NAME(add_scaled)(REAL *restrict y, const REAL *x, REAL w, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        y[i] += w * x[i];
}

/* The transposed sampling of one axis: x [outer, out, inner] → y [outer, in, inner]. Every element sums its samples in order. */
static void NAME(resample_back)(const struct resize_table *t, int64_t outer, int64_t inner, int threads, const REAL *x, REAL *y)
{
    const int64_t blocks = (inner + RESIZE_BLOCK - 1) / RESIZE_BLOCK;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t unit = 0; unit < outer * blocks; unit++) {
        const int64_t start = unit % blocks * RESIZE_BLOCK, count = smaller(inner - start, RESIZE_BLOCK);
        const REAL *from = x + unit / blocks * t->out * inner + start;
        REAL *into = y + unit / blocks * t->in * inner + start;
        for (int64_t i = 0; i < t->in; i++)
            memset(into + i * inner, 0, (size_t)count * sizeof(*into));
        for (int64_t o = 0; o < t->out; o++)
            for (int64_t tap = 0; tap < t->taps; tap++) {
                const int32_t index = t->index[tap * t->out + o];
                const REAL weight = t->WEIGHT ? (REAL)t->WEIGHT[tap * t->out + o] : 1;
                if (index < 0)
                    continue;
                if (inner == 1)
                    into[index] += weight * from[o];
                else
                    NAME(add_scaled)(into + index * inner, from + o * inner, weight, count);
            }
    }
}
