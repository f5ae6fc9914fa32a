/* Included once for each REAL. */

/* dx = y (dy - Σ dy y), of log-soft-max dx = dy - exp(y) Σ dy, along an axis of `count` elements at stride `inner`. */
static void NAME(softmax_backward)(int64_t outer, int64_t count, int64_t inner, bool logarithm, int threads, const REAL *dy,
                                   const REAL *y, REAL *dx)
{
    const int64_t blocks = (inner + SOFT_BLOCK - 1) / SOFT_BLOCK;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && outer * blocks > 1)
    for (int64_t unit = 0; unit < outer * blocks; unit++) {
        const int64_t start = unit % blocks * SOFT_BLOCK, length = smaller(inner - start, SOFT_BLOCK);
        const int64_t base = unit / blocks * count * inner + start;
        double sums[SOFT_BLOCK] = {0};
        for (int64_t k = 0; k < count; k++)
            for (int64_t i = 0; i < length; i++) {
                const int64_t at = base + k * inner + i;
                sums[i] += logarithm ? (double)dy[at] : (double)dy[at] * (double)y[at];
            }
        for (int64_t k = 0; k < count; k++)
            for (int64_t i = 0; i < length; i++) {
                const int64_t at = base + k * inner + i;
                dx[at] = logarithm ? (REAL)((double)dy[at] - exp((double)y[at]) * sums[i])
                                   : (REAL)((double)y[at] * ((double)dy[at] - sums[i]));
            }
    }
}

/* Gradient of the standard's losses: weight · (soft-max - one-hot), or of the scores that are log-probabilities -weight · one-hot. `arriving`
 * has one element (a reduced loss) or one a position. */
static void NAME(class_backward)(const struct class_map *map, bool logits, bool reduced, double factor, int threads,
                                 const REAL *arriving, const REAL *scores, const REAL *weights, REAL *dx)
{
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t at = 0; at < map->batch * map->plane; at++) {
        const int64_t base = at / map->plane * map->channels * map->plane + at % map->plane, label = label_at(map->labels, at);
        const bool ignored = label == map->ignored;
        const double weight = ignored ? 0 : (weights ? (double)weights[label] : 1) * factor * (double)arriving[reduced ? 0 : at];
        double top = -INFINITY, sum = 0;
        for (int64_t c = 0; logits && c < map->channels; c++)
            top = fmax(top, (double)scores[base + c * map->plane]);
        for (int64_t c = 0; logits && c < map->channels; c++)
            sum += exp((double)scores[base + c * map->plane] - top);
        for (int64_t c = 0; c < map->channels; c++) {
            const double probability = logits ? exp((double)scores[base + c * map->plane] - top) / sum : 0;
            dx[base + c * map->plane] = (REAL)(weight * (probability - (c == label && !ignored)));
        }
    }
}
