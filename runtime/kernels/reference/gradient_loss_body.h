/* Included once for each REAL (with EXP its exponential). Units of work are chunks of one image's positions: their sums are added in
 * order. */

/* p = soft-max over channels of x · scale for `count` ≤ SOFT_BLOCK positions; top and sum of each position are kept. */
LEAF_LOOP static void NAME(soft_block)(int64_t channels, int64_t plane, int64_t count, const REAL *x, REAL scale, REAL *p, REAL *top,
                                       REAL *sum)
{
    for (int64_t i = 0; i < count; i++) {
        top[i] = x[i];
        sum[i] = 0;
    }
    for (int64_t c = 1; c < channels; c++)
        for (int64_t i = 0; i < count; i++)
            top[i] = x[c * plane + i] > top[i] ? x[c * plane + i] : top[i];
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < count; i++) {
            const REAL e = EXP((x[c * plane + i] - top[i]) * scale);
            p[c * plane + i] = e;
            sum[i] += e;
        }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < count; i++)
            p[c * plane + i] /= sum[i];
}

/* partial[chunk] = {Σ weight · -log p_label, Σ weight}; p always receives the probabilities. Where all weigh the same one logarithm serves for the
 * product of many sums. */
static void NAME(cross_entropy)(const struct class_map *map, int threads, const REAL *x, const REAL *weights, REAL *p, double *partial)
{
    const int64_t chunks = class_map_chunks(map), chunks_each = chunks / (map->batch ? map->batch : 1);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && chunks > 1)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const int64_t n = chunk / chunks_each, first = chunk % chunks_each * REDUCTION_CHUNK;
        const int64_t end = smaller(map->plane, first + REDUCTION_CHUNK);
        double loss = 0, total = 0, product = 1;
        for (int64_t start = first; start < end; start += SOFT_BLOCK) {
            const int64_t count = smaller(end - start, SOFT_BLOCK), base = n * map->channels * map->plane + start;
            REAL top[SOFT_BLOCK], sum[SOFT_BLOCK];
            NAME(soft_block)(map->channels, map->plane, count, x + base, 1, p + base, top, sum);
            for (int64_t i = 0; i < count; i++) {
                const int64_t label = label_at(map->labels, n * map->plane + start + i);
                if (label == map->ignored)
                    continue;
                const double weight = weights ? (double)weights[label] : 1;
                loss -= weight * (double)(x[base + label * map->plane + i] - top[i]);
                total += weight;
                if (weights) {
                    loss += weight * log((double)sum[i]);
                    continue;
                }
                product *= (double)sum[i]; /* from 1 to the number of classes */
                if (product > 1e200) {
                    loss += log(product);
                    product = 1;
                }
            }
        }
        loss += log(product);
        partial[2 * chunk] = loss;
        partial[2 * chunk + 1] = total;
    }
}

static void NAME(cross_entropy_backward)(const struct class_map *map, int threads, double factor, const REAL *p, const REAL *weights,
                                         REAL *dx)
{
    const int64_t chunks = class_map_chunks(map), chunks_each = chunks / (map->batch ? map->batch : 1);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && chunks > 1)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const int64_t n = chunk / chunks_each, first = chunk % chunks_each * REDUCTION_CHUNK;
        const int64_t end = smaller(map->plane, first + REDUCTION_CHUNK);
        for (int64_t start = first; start < end; start += SOFT_BLOCK) {
            const int64_t count = smaller(end - start, SOFT_BLOCK), base = n * map->channels * map->plane + start;
            REAL scale[SOFT_BLOCK];
            for (int64_t i = 0; i < count; i++) {
                const int64_t label = label_at(map->labels, n * map->plane + start + i);
                scale[i] = label == map->ignored ? 0 : (REAL)(factor * (weights ? (double)weights[label] : 1));
            }
            for (int64_t c = 0; c < map->channels; c++)
                for (int64_t i = 0; i < count; i++)
                    dx[base + c * map->plane + i] = scale[i] * p[base + c * map->plane + i];
            for (int64_t i = 0; i < count; i++) {
                const int64_t label = label_at(map->labels, n * map->plane + start + i);
                if (label != map->ignored)
                    dx[base + label * map->plane + i] -= scale[i];
            }
        }
    }
}

/* partial[chunk][class] = {Σ p where the label is the class, Σ p + number of such positions}. */
static void NAME(dice)(const struct class_map *map, int threads, const REAL *p, double *partial)
{
    const int64_t chunks = class_map_chunks(map), chunks_each = chunks / (map->batch ? map->batch : 1);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && chunks > 1)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const int64_t n = chunk / chunks_each, first = chunk % chunks_each * REDUCTION_CHUNK;
        const int64_t count = smaller(map->plane - first, REDUCTION_CHUNK), base = n * map->channels * map->plane + first;
        double *sums = partial + chunk * map->channels * 2;
        bool any_ignored = false;
        for (int64_t c = 0; c < map->channels; c++)
            sums[2 * c] = sums[2 * c + 1] = 0;
        for (int64_t i = 0; i < count; i++) {
            const int64_t label = label_at(map->labels, n * map->plane + first + i);
            if (label == map->ignored) {
                any_ignored = true;
                continue;
            }
            sums[2 * label] += (double)p[base + label * map->plane + i];
            sums[2 * label + 1] += 1;
        }
        for (int64_t c = 0; c < map->channels; c++) {
            const REAL *row = p + base + c * map->plane;
            double lanes[8] = {0};
            int64_t i = 0;
            if (!any_ignored)
                for (; i + 8 <= count; i += 8)
                    for (int l = 0; l < 8; l++)
                        lanes[l] += (double)row[i + l];
            for (; i < count; i++)
                if (label_at(map->labels, n * map->plane + first + i) != map->ignored)
                    lanes[i % 8] += (double)row[i];
            for (int l = 0; l < 8; l++)
                sums[2 * c + 1] += lanes[l];
        }
    }
}

/* One block of a class: its labels are read once for all classes. */
LEAF_LOOP static void NAME(dice_block)(int64_t count, const int32_t *labels, int32_t class, REAL in, REAL out, REAL *dp)
{
    for (int64_t i = 0; i < count; i++) {
        const REAL value = labels[i] == class ? in : out;
        dp[i] = labels[i] < 0 ? 0 : value;
    }
}

/* dp of a class: `inside` where the label is the class, `outside` elsewhere. */
static void NAME(dice_backward)(const struct class_map *map, int threads, const double *inside, const double *outside, REAL *dp)
{
    const int64_t blocks = (map->plane + SOFT_BLOCK - 1) / SOFT_BLOCK;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t block = 0; block < map->batch * blocks; block++) {
        const int64_t n = block / blocks, first = block % blocks * SOFT_BLOCK, count = smaller(map->plane - first, SOFT_BLOCK);
        int32_t labels[SOFT_BLOCK];
        for (int64_t i = 0; i < count; i++) {
            const int64_t label = label_at(map->labels, n * map->plane + first + i);
            labels[i] = label == map->ignored ? -1 : (int32_t)label;
        }
        for (int64_t c = 0; c < map->channels; c++)
            NAME(dice_block)(count, labels, (int32_t)c, (REAL)inside[c], (REAL)outside[c], dp + (n * map->channels + c) * map->plane + first);
    }
}
