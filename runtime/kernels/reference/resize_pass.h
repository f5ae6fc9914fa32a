/* One axis of Resize in one element type; included with REAL, WEIGHT (the table's member) and PASS (the function's name) set.
 *
 * source is [before, in, after], target [before, out, after]. */

VECTOR_CLONES static void JOIN(PASS, _row)(REAL *restrict target, const REAL *restrict source, const struct resize_table *table)
{
    int64_t out = table->out;
    const int32_t *index = table->index;
    const REAL *weight = table->WEIGHT;
    if (table->taps == 2) {
        for (int64_t o = 0; o < out; o++)
            target[o] = weight[o] * source[index[o]] + weight[out + o] * source[index[out + o]];
        return;
    }
    for (int64_t o = 0; o < out; o++)
        target[o] = 0;
    for (int64_t t = 0; t < table->taps; t++)
        for (int64_t o = 0; o < out; o++)
            target[o] += weight[t * out + o] * source[index[t * out + o]];
}

VECTOR_CLONES static void JOIN(PASS, _column)(REAL *restrict target, const REAL *source, const struct resize_table *table,
                                              int64_t at, int64_t after)
{
    int64_t out = table->out;
    const REAL *weight = table->WEIGHT + at;
    if (table->taps == 2) {
        const REAL *a = source + table->index[at] * after, *b = source + table->index[out + at] * after;
        REAL u = weight[0], v = weight[out];
        for (int64_t i = 0; i < after; i++)
            target[i] = u * a[i] + v * b[i];
        return;
    }
    for (int64_t i = 0; i < after; i++)
        target[i] = 0;
    for (int64_t t = 0; t < table->taps; t++) {
        const REAL *a = source + table->index[t * out + at] * after;
        REAL u = weight[t * out];
        for (int64_t i = 0; u != 0 && i < after; i++)
            target[i] += u * a[i];
    }
}

static void PASS(REAL *target, const REAL *source, const struct resize_table *table, int64_t before, int64_t after,
                 REAL extrapolation, int team)
{
    (void)team; /* without OpenMP */
    int64_t rows = after == 1 ? before : before * table->out;
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        if (after == 1 && !table->outside) {
            JOIN(PASS, _row)(target + row * table->out, source + row * table->in, table);
        } else if (after == 1) {
            for (int64_t o = 0; o < table->out; o++) {
                REAL sum = table->index[o] < 0 ? extrapolation : 0;
                for (int64_t t = 0; t < table->taps && table->index[o] >= 0; t++)
                    sum += table->WEIGHT[t * table->out + o] * source[row * table->in + table->index[t * table->out + o]];
                target[row * table->out + o] = sum;
            }
        } else {
            int64_t at = row % table->out;
            REAL *to = target + row * after;
            if (table->index[at] < 0)
                for (int64_t i = 0; i < after; i++)
                    to[i] = extrapolation;
            else
                JOIN(PASS, _column)(to, source + row / table->out * table->in * after, table, at, after);
        }
    }
}
