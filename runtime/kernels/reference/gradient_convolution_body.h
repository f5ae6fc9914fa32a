/* Included once for each REAL. Rows are the last spatial dimension: all inner loops run along it. */

#define LANES 16

/* y[i] += Σ_j w[j] x_j[i]: four rows at once, so that y is read and written once for them. */
LEAF_LOOP static void NAME(add_four)(REAL *restrict y, const REAL *x0, const REAL *x1, const REAL *x2, const REAL *x3,
                                     const REAL *w, int64_t count)
{
    const REAL w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
    for (int64_t i = 0; i < count; i++)
        y[i] += (w0 * x0[i] + w1 * x1[i]) + (w2 * x2[i] + w3 * x3[i]);
}

LEAF_LOOP static void NAME(add_one)(REAL *restrict y, const REAL *x, REAL w, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        y[i] += w * x[i];
}

/* sums[j][lane] += x[i] y_j[i], lane = i mod LANES: a sum in a fixed order that vectorises. */
LEAF_LOOP static void NAME(dot_four)(REAL *restrict sums, const REAL *x, const REAL *y0, const REAL *y1, const REAL *y2,
                                     const REAL *y3, int64_t count)
{
    int64_t i = 0;
    REAL s0[LANES], s1[LANES], s2[LANES], s3[LANES];
    for (int l = 0; l < LANES; l++) {
        s0[l] = sums[l];
        s1[l] = sums[LANES + l];
        s2[l] = sums[2 * LANES + l];
        s3[l] = sums[3 * LANES + l];
    }
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++) {
            const REAL v = x[i + l];
            s0[l] += v * y0[i + l];
            s1[l] += v * y1[i + l];
            s2[l] += v * y2[i + l];
            s3[l] += v * y3[i + l];
        }
    for (int l = 0; l < LANES; l++) {
        sums[l] = s0[l];
        sums[LANES + l] = s1[l];
        sums[2 * LANES + l] = s2[l];
        sums[3 * LANES + l] = s3[l];
    }
    for (int l = 0; i + l < count; l++) {
        const REAL v = x[i + l];
        sums[l] += v * y0[i + l];
        sums[LANES + l] += v * y1[i + l];
        sums[2 * LANES + l] += v * y2[i + l];
        sums[3 * LANES + l] += v * y3[i + l];
    }
}

LEAF_LOOP static void NAME(dot_one)(REAL *restrict sums, const REAL *x, const REAL *y, int64_t count)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++)
            sums[l] += x[i + l] * y[i + l];
    for (int l = 0; i + l < count; l++)
        sums[l] += x[i + l] * y[i + l];
}

/* One row of one channel of dX: the positions whose window holds an element give it their part. */
static void NAME(data_row)(const struct slide *s, const REAL *dy, const REAL *w, int64_t features, int64_t weight_stride, int64_t id,
                           int64_t ih, REAL *row)
{
    const int64_t out_plane = s->output[0] * s->output[1] * s->output[2];
    for (int64_t i = 0; i < s->input[2]; i++)
        row[i] = 0;
    for (int64_t k = 0; k < s->kernel[0] * s->kernel[1]; k++) {
        const int64_t od = slide_position(s, 0, id, k / s->kernel[1]), oh = slide_position(s, 1, ih, k % s->kernel[1]);
        if (od < 0 || oh < 0)
            continue;
        const REAL *from = dy + (od * s->output[1] + oh) * s->output[2];
        for (int64_t kw = 0; kw < s->kernel[2]; kw++) {
            const REAL *at = w + k * s->kernel[2] + kw;
            int64_t low, high, m = 0;
            slide_range(s, kw, &low, &high);
            const int64_t shift = low * s->stride[2] + kw * s->dilation[2] - s->pad[2], count = high - low;
            if (count <= 0)
                continue;
            for (; s->stride[2] == 1 && m + 4 <= features; m += 4) {
                const REAL *x = from + m * out_plane + low;
                const REAL weights[4] = {at[m * weight_stride], at[(m + 1) * weight_stride], at[(m + 2) * weight_stride],
                                         at[(m + 3) * weight_stride]};
                NAME(add_four)(row + shift, x, x + out_plane, x + 2 * out_plane, x + 3 * out_plane, weights, count);
            }
            for (; m < features; m++) {
                const REAL weight = at[m * weight_stride], *x = from + m * out_plane + low;
                if (s->stride[2] == 1)
                    NAME(add_one)(row + shift, x, weight, count);
                else
                    for (int64_t i = 0; i < count; i++)
                        row[shift + i * s->stride[2]] += weight * x[i];
            }
        }
    }
}

/* A few channels at a time, row by row, so that the rows of dY are read from the first cache level. */
static void NAME(gradient_data)(const struct slide *s, int threads, const REAL *dy, const REAL *w, REAL *dx)
{
    const int64_t in_plane = s->input[0] * s->input[1] * s->input[2], out_plane = s->output[0] * s->output[1] * s->output[2];
    const int64_t window = s->kernel[0] * s->kernel[1] * s->kernel[2];
    const int64_t channels = s->channels / s->group, features = s->features / s->group, blocks = (channels + DATA_BLOCK - 1) / DATA_BLOCK;
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t unit = 0; unit < s->batch * s->group * blocks; unit++) {
        const int64_t first = unit % blocks * DATA_BLOCK, g = unit / blocks % s->group, n = unit / blocks / s->group;
        const int64_t count = smaller(channels - first, DATA_BLOCK);
        for (int64_t row = 0; row < s->input[0] * s->input[1]; row++)
            for (int64_t c = first; c < first + count; c++)
                NAME(data_row)(s, dy + (n * s->features + g * features) * out_plane, w + (g * features * channels + c) * window, features,
                               channels * window, row / s->input[1], row % s->input[1],
                               dx + (n * s->channels + g * channels + c) * in_plane + row * s->input[2]);
    }
}

/* Part [start, end) of one row of positions, one channel: adds to the lanes of its window, sums [window][4][LANES]. */
static void NAME(weight_row)(const struct slide *s, const REAL *x, const REAL *y, int64_t features, int64_t row, int64_t start, int64_t end,
                             REAL *sums)
{
    const int64_t out_plane = s->output[0] * s->output[1] * s->output[2], od = row / s->output[1], oh = row % s->output[1];
    for (int64_t k = 0; k < s->kernel[0] * s->kernel[1]; k++) {
        const int64_t id = od * s->stride[0] + k / s->kernel[1] * s->dilation[0] - s->pad[0];
        const int64_t ih = oh * s->stride[1] + k % s->kernel[1] * s->dilation[1] - s->pad[1];
        if (id < 0 || id >= s->input[0] || ih < 0 || ih >= s->input[1])
            continue;
        for (int64_t kw = 0; kw < s->kernel[2]; kw++) {
            int64_t low, high;
            slide_range(s, kw, &low, &high);
            low = larger(low, start);
            const int64_t count = smaller(high, end) - low;
            const REAL *from = x + (id * s->input[1] + ih) * s->input[2] + low * s->stride[2] + kw * s->dilation[2] - s->pad[2];
            REAL *into = sums + (k * s->kernel[2] + kw) * 4 * LANES;
            if (count <= 0)
                continue;
            if (s->stride[2] != 1)
                for (int64_t m = 0; m < features; m++)
                    for (int64_t i = 0; i < count; i++)
                        into[m * LANES + i % LANES] += from[i * s->stride[2]] * y[m * out_plane + low + i];
            else if (features == 4)
                NAME(dot_four)(into, from, y + low, y + out_plane + low, y + 2 * out_plane + low, y + 3 * out_plane + low, count);
            else
                for (int64_t m = 0; m < features; m++)
                    NAME(dot_one)(into + m * LANES, from, y + m * out_plane + low, count);
        }
    }
}

/* dW of `features` features and `channels` channels; `sums` holds [features / 4][channels][window][4][LANES], `totals` the same without
 * LANES. A piece of the rows of these channels is used for all features before the next one is read. Lanes are emptied into the totals
 * after each image. */
static void NAME(weight_block)(const struct slide *s, const REAL *x, const REAL *dy, int64_t features, int64_t channels, REAL *sums,
                               double *totals)
{
    const int64_t in_plane = s->input[0] * s->input[1] * s->input[2], out_plane = s->output[0] * s->output[1] * s->output[2];
    const int64_t window = s->kernel[0] * s->kernel[1] * s->kernel[2], size = (features + 3) / 4 * channels * window * 4;
    memset(totals, 0, (size_t)size * sizeof(*totals));
    for (int64_t n = 0; n < s->batch; n++, x += s->channels * in_plane, dy += s->features * out_plane) {
        memset(sums, 0, (size_t)size * LANES * sizeof(*sums));
        for (int64_t row = 0; row < s->output[0] * s->output[1]; row++)
            for (int64_t start = 0; start < s->output[2]; start += ROW_BLOCK)
                for (int64_t m = 0; m < features; m += 4)
                    for (int64_t c = 0; c < channels; c++)
                        NAME(weight_row)(s, x + c * in_plane, dy + m * out_plane + row * s->output[2], smaller(features - m, 4), row, start,
                                         smaller(s->output[2], start + ROW_BLOCK), sums + (m / 4 * channels + c) * window * 4 * LANES);
        for (int64_t i = 0; i < size; i++)
            for (int l = 0; l < LANES; l++)
                totals[i] += (double)sums[i * LANES + l];
    }
}

static void NAME(gradient_weights)(const struct slide *s, int threads, const REAL *x, const REAL *dy, REAL *dw, void *scratch,
                                   size_t scratch_each)
{
    const int64_t in_plane = s->input[0] * s->input[1] * s->input[2], out_plane = s->output[0] * s->output[1] * s->output[2];
    const int64_t window = s->kernel[0] * s->kernel[1] * s->kernel[2], block = weight_channels(window);
    const int64_t channels = s->channels / s->group, features = s->features / s->group;
    const int64_t feature_blocks = (features + FEATURE_BLOCK - 1) / FEATURE_BLOCK, channel_blocks = (channels + block - 1) / block;
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t unit = 0; unit < s->group * feature_blocks * channel_blocks; unit++) {
        const int64_t c = unit % channel_blocks * block, first = unit / channel_blocks % feature_blocks * FEATURE_BLOCK;
        const int64_t g = unit / channel_blocks / feature_blocks, feature = g * features + first;
        const int64_t count = smaller(features - first, FEATURE_BLOCK), wide = smaller(channels - c, block);
        double *totals = (double *)(void *)((char *)scratch + (size_t)omp_get_thread_num() * scratch_each);
        NAME(weight_block)(s, x + (g * channels + c) * in_plane, dy + feature * out_plane, count, wide,
                           (REAL *)(void *)(totals + block * window * FEATURE_BLOCK), totals);
        for (int64_t m = 0; m < count; m++)
            for (int64_t i = 0; i < wide * window; i++)
                dw[((feature + m) * channels + c) * window + i] = (REAL)totals[(m / 4 * wide * window + i) * 4 + m % 4];
    }
}

/* db[m] = Σ over batch and positions. */
static void NAME(gradient_bias)(int64_t batch, int64_t features, int64_t plane, int threads, const REAL *dy, REAL *db)
{
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t m = 0; m < features; m++) {
        double total = 0;
        for (int64_t n = 0; n < batch; n++) {
            const REAL *from = dy + (n * features + m) * plane;
            for (int64_t start = 0; start < plane; start += REDUCTION_CHUNK) {
                REAL lanes[LANES] = {0};
                const int64_t count = smaller(plane - start, REDUCTION_CHUNK);
                int64_t i = 0;
                for (; i + LANES <= count; i += LANES)
                    for (int l = 0; l < LANES; l++)
                        lanes[l] += from[start + i + l];
                for (int l = 0; i + l < count; l++)
                    lanes[l] += from[start + i + l];
                for (int l = 0; l < LANES; l++)
                    total += (double)lanes[l];
            }
        }
        db[m] = (REAL)total;
    }
}

#undef LANES
