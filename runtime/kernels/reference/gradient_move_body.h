/* Included once for each REAL. */

/* y = 0, then y[map(i)] += x[i], where the map is one table an axis (-1: dropped). Tables of one-to-one moves and of moves that add
 * (padding by reflection) alike; an element of y belongs to one row of the outermost axis, and a row to one thread. */
static void NAME(move_back)(const struct move *m, const REAL *x, REAL *y)
{
    const int32_t last = m->rank - 1;
    int64_t rows = 1;
    for (int32_t i = 0; i < last; i++)
        rows *= m->from[i];
    for (int64_t row = 0; row < rows; row++) {
        int64_t offset = 0, stride = m->to[last], rest = row;
        bool dropped = false;
        for (int32_t i = last; i-- > 0; stride *= m->to[i]) {
            const int64_t at = m->tables[i][rest % m->from[i]];
            rest /= m->from[i];
            dropped |= at < 0;
            offset += at * stride;
        }
        for (int64_t i = 0; !dropped && i < m->from[last]; i++)
            if (m->tables[last][i] >= 0)
                y[offset + m->tables[last][i]] += x[row * m->from[last] + i];
    }
}

/* y [outer, size, inner] = 0, then y[o, index[k], :] += x[o, k, :]. */
static void NAME(gather_back)(int64_t outer, int64_t size, int64_t count, int64_t inner, const int64_t *index, int threads, const REAL *x, REAL *y)
{
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && outer > 1)
    for (int64_t o = 0; o < outer; o++) {
        memset(y + o * size * inner, 0, (size_t)(size * inner) * sizeof(*y));
        for (int64_t k = 0; k < count; k++)
            for (int64_t i = 0; i < inner; i++)
                y[(o * size + index[k]) * inner + i] += x[(o * count + k) * inner + i];
    }
}
