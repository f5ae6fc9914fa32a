/* Included once for each REAL. Sums go in lanes over chunks of a row, the chunks' sums in double, in order. */

#define LANES 16

LEAF_LOOP static double NAME(sum_row)(const REAL *x, int64_t count)
{
    REAL lanes[LANES] = {0};
    double total = 0;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++)
            lanes[l] += x[i + l];
    for (; i < count; i++)
        total += (double)x[i];
    for (int l = 0; l < LANES; l++)
        total += (double)lanes[l];
    return total;
}

/* Σ (x - mean) (y - shift) */
LEAF_LOOP static double NAME(sum_product)(const REAL *x, REAL mean, const REAL *y, REAL shift, int64_t count)
{
    REAL lanes[LANES] = {0};
    double total = 0;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++)
            lanes[l] += (x[i + l] - mean) * (y[i + l] - shift);
    for (; i < count; i++)
        total += (double)((x[i] - mean) * (y[i] - shift));
    for (int l = 0; l < LANES; l++)
        total += (double)lanes[l];
    return total;
}

/* y = a x + b */
LEAF_LOOP static void NAME(affine_row)(REAL *y, const REAL *x, REAL a, REAL b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = a * x[i] + b;
}

/* dx = a dy + b x + c */
LEAF_LOOP static void NAME(combine_row)(REAL *dx, const REAL *dy, const REAL *x, REAL a, REAL b, REAL c, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        dx[i] = a * dy[i] + (b * x[i] + c);
}

static double NAME(sum_chunks)(const REAL *x, int64_t count)
{
    double total = 0;
    for (int64_t i = 0; i < count; i += REDUCTION_CHUNK)
        total += NAME(sum_row)(x + i, smaller(count - i, REDUCTION_CHUNK));
    return total;
}

static double NAME(product_chunks)(const REAL *x, REAL mean, const REAL *y, REAL shift, int64_t count)
{
    double total = 0;
    for (int64_t i = 0; i < count; i += REDUCTION_CHUNK)
        total += NAME(sum_product)(x + i, mean, y + i, shift, smaller(count - i, REDUCTION_CHUNK));
    return total;
}

/* Mean and population variance of channel c of x [batch, channels, plane]. */
static void NAME(channel_statistics)(int64_t batch, int64_t channels, int64_t plane, int64_t c, const REAL *x, double *mean, double *variance)
{
    const double count = (double)batch * (double)plane;
    double sum = 0, square = 0;
    for (int64_t n = 0; n < batch; n++)
        sum += NAME(sum_chunks)(x + (n * channels + c) * plane, plane);
    *mean = sum / count;
    const REAL centre = (REAL)*mean;
    for (int64_t n = 0; n < batch; n++) {
        const REAL *from = x + (n * channels + c) * plane;
        square += NAME(product_chunks)(from, centre, from, centre, plane);
    }
    /* The centre was rounded: what that shifted is taken out again. */
    const double shift = *mean - (double)centre;
    *variance = square / count - shift * shift;
    if (*variance < 0)
        *variance = 0;
}

static void NAME(batch_forward)(const struct batch_shape *s, int threads, const struct placed *p)
{
    const REAL *x = p->inputs[0], *scale = p->inputs[1], *bias = p->inputs[2], *running_mean = p->inputs[3],
               *running_variance = p->inputs[4];
    REAL *y = p->outputs[0], *new_mean = p->outputs[1], *new_variance = p->outputs[2], *saved_mean = p->outputs[3],
         *saved_deviation = p->outputs[4];
    const double count = (double)s->batch * (double)s->plane, keep = s->momentum;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t c = 0; c < s->channels; c++) {
        double mean, variance;
        NAME(channel_statistics)(s->batch, s->channels, s->plane, c, x, &mean, &variance);
        const double inverse = 1 / sqrt(variance + s->epsilon);
        if (y) {
            const double a = (double)scale[c] * inverse, b = (double)bias[c] - mean * a;
            for (int64_t n = 0; n < s->batch; n++)
                NAME(affine_row)(y + (n * s->channels + c) * s->plane, x + (n * s->channels + c) * s->plane, (REAL)a, (REAL)b, s->plane);
        }
        if (new_mean)
            new_mean[c] = (REAL)(keep * (double)running_mean[c] + (1 - keep) * mean);
        if (new_variance)
            new_variance[c] = (REAL)(keep * (double)running_variance[c] + (1 - keep) * variance * (count > 1 ? count / (count - 1) : 1));
        if (saved_mean)
            saved_mean[c] = (REAL)mean;
        if (saved_deviation)
            saved_deviation[c] = (REAL)inverse;
    }
}

/* Mean and inverse deviation alone. */
static void NAME(batch_statistics)(const struct batch_shape *s, int threads, const struct placed *p)
{
    REAL *saved_mean = p->outputs[0], *saved_deviation = p->outputs[1];
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t c = 0; c < s->channels; c++) {
        double mean, variance;
        NAME(channel_statistics)(s->batch, s->channels, s->plane, c, (const REAL *)p->inputs[0], &mean, &variance);
        if (saved_mean)
            saved_mean[c] = (REAL)mean;
        if (saved_deviation)
            saved_deviation[c] = (REAL)(1 / sqrt(variance + s->epsilon));
    }
}

/* dx = scale r (dy - mean(dy) - x̂ mean(dy x̂)) with r the inverse deviation; with fixed statistics dx = scale r dy. */
static void NAME(batch_backward)(const struct batch_shape *s, int threads, const struct placed *p)
{
    const REAL *dy = p->inputs[0], *x = p->inputs[1], *scale = p->inputs[2], *mean = p->inputs[3], *deviation = p->inputs[4];
    REAL *dx = p->outputs[0], *dscale = p->outputs[1], *dbias = p->outputs[2];
    const double count = (double)s->batch * (double)s->plane;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t c = 0; c < s->channels; c++) {
        const double inverse = s->training ? (double)deviation[c] : 1 / sqrt((double)deviation[c] + s->epsilon);
        const double centre = (double)mean[c];
        double sum = 0, product = 0;
        for (int64_t n = 0; n < s->batch; n++) {
            const int64_t at = (n * s->channels + c) * s->plane;
            sum += NAME(sum_chunks)(dy + at, s->plane);
            product += NAME(product_chunks)(x + at, mean[c], dy + at, 0, s->plane);
        }
        product *= inverse;
        if (dscale)
            dscale[c] = (REAL)product;
        if (dbias)
            dbias[c] = (REAL)sum;
        if (!dx)
            continue;
        const double a = (double)scale[c] * inverse;
        const double b = s->training ? -a * inverse * product / count : 0;
        const double d = s->training ? -a * sum / count - b * centre : 0;
        for (int64_t n = 0; n < s->batch; n++) {
            const int64_t at = (n * s->channels + c) * s->plane;
            NAME(combine_row)(dx + at, dy + at, x + at, (REAL)a, (REAL)b, (REAL)d, s->plane);
        }
    }
}

/* Groups of `group` channels of one image, each normalised by itself; the scale of channel c is scale[c / scale_every]. dscale and dbias of
 * a channel are sums over images in order: `partial` holds [batch][channels][2]. */
static void NAME(group_backward)(const struct group_shape *s, int threads, const struct placed *p, double *partial)
{
    const REAL *dy = p->inputs[0], *x = p->inputs[1], *scale = p->inputs[2];
    REAL *dx = p->outputs[0], *dscale = p->outputs[1], *dbias = p->outputs[2];
    const int64_t groups = s->channels / s->group, size = s->group * s->plane;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t unit = 0; unit < s->batch * groups; unit++) {
        const int64_t first = unit % groups * s->group;
        const REAL *rows = x + unit * size, *arriving = dy + unit * size;
        const double mean = NAME(sum_chunks)(rows, size) / (double)size;
        const REAL centre = (REAL)mean;
        const double shift = mean - (double)centre;
        double variance = NAME(product_chunks)(rows, centre, rows, centre, size) / (double)size - shift * shift;
        const double inverse = 1 / sqrt((variance > 0 ? variance : 0) + s->epsilon);
        double weighted_sum = 0, weighted_product = 0;
        for (int64_t k = 0; k < s->group; k++) {
            const double sum = NAME(sum_chunks)(arriving + k * s->plane, s->plane);
            const double product = (NAME(product_chunks)(rows + k * s->plane, centre, arriving + k * s->plane, 0, s->plane) - shift * sum) * inverse;
            const double weight = (double)scale[(first + k) / s->scale_every];
            double *into = partial + (unit / groups * s->channels + first + k) * 2;
            into[0] = product;
            into[1] = sum;
            weighted_sum += weight * sum;
            weighted_product += weight * product;
        }
        for (int64_t k = 0; dx && k < s->group; k++) {
            const double a = (double)scale[(first + k) / s->scale_every] * inverse;
            const double b = -inverse * inverse * weighted_product / (double)size;
            const double d = -inverse * weighted_sum / (double)size - b * mean;
            const int64_t at = unit * size + k * s->plane;
            NAME(combine_row)(dx + at, dy + at, x + at, (REAL)a, (REAL)b, (REAL)d, s->plane);
        }
    }
    for (int64_t i = 0; i < s->channels / s->scale_every; i++) {
        double product = 0, sum = 0;
        for (int64_t n = 0; n < s->batch; n++)
            for (int64_t c = i * s->scale_every; c < (i + 1) * s->scale_every; c++) {
                product += partial[(n * s->channels + c) * 2];
                sum += partial[(n * s->channels + c) * 2 + 1];
            }
        if (dscale)
            dscale[i] = (REAL)product;
        if (dbias)
            dbias[i] = (REAL)sum;
    }
}

/* Rows of `size` elements; the scale's element of row r, position i is scale[row_offset(r) + offset(i)]. */
static void NAME(layer_backward)(const struct layer_shape *s, int threads, const struct placed *p)
{
    const REAL *dy = p->inputs[0], *x = p->inputs[1], *scale = p->inputs[2];
    REAL *dx = p->outputs[0], *dscaled = p->outputs[1];
    const double size = (double)s->size;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && s->rows > 1)
    for (int64_t r = 0; r < s->rows; r++) {
        const REAL *row = x + r * s->size, *arriving = dy + r * s->size;
        double mean = 0, square = 0, sum = 0, product = 0;
        for (int64_t i = 0; s->centred && i < s->size; i++)
            mean += (double)row[i];
        mean /= size;
        for (int64_t i = 0; i < s->size; i++)
            square += ((double)row[i] - mean) * ((double)row[i] - mean);
        const double inverse = 1 / sqrt(square / size + s->epsilon);
        for (int64_t i = 0; i < s->size; i++) {
            const double g = (double)arriving[i] * (scale ? (double)scale[layer_offset(s, r * s->size + i)] : 1);
            sum += g;
            product += g * ((double)row[i] - mean) * inverse;
        }
        if (!s->centred)
            sum = 0;
        for (int64_t i = 0; i < s->size; i++) {
            const double unit = ((double)row[i] - mean) * inverse;
            const double g = (double)arriving[i] * (scale ? (double)scale[layer_offset(s, r * s->size + i)] : 1);
            if (dx)
                dx[r * s->size + i] = (REAL)(inverse * (g - sum / size - unit * product / size));
            if (dscaled)
                dscaled[r * s->size + i] = (REAL)((double)arriving[i] * unit);
        }
    }
}

/* y_c = x_c b_c^-β, b_c = k + α/n Σ_{near c} x²: dx_c = dy_c b_c^-β - 2αβ/n x_c Σ_{c near j} dy_j x_j b_j^(-β-1) */
static void NAME(lrn_backward)(const struct lrn_shape *s, int threads, const struct placed *p)
{
    const REAL *dy = p->inputs[0], *x = p->inputs[1];
    REAL *dx = p->outputs[0];
    const int64_t below = (s->size - 1) / 2, above = s->size - 1 - below;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t at = 0; at < s->batch * s->plane; at++) {
        const int64_t base = at / s->plane * s->channels * s->plane + at % s->plane;
        for (int64_t c = 0; c < s->channels; c++) {
            double total = 0, own = 0;
            for (int64_t j = larger(c - above, 0); j <= smaller(c + below, s->channels - 1); j++) {
                double b = 0;
                for (int64_t i = larger(j - below, 0); i <= smaller(j + above, s->channels - 1); i++)
                    b += (double)x[base + i * s->plane] * (double)x[base + i * s->plane];
                b = s->bias + s->alpha / (double)s->size * b;
                total += (double)dy[base + j * s->plane] * (double)x[base + j * s->plane] * pow(b, -s->beta - 1);
                if (j == c)
                    own = pow(b, -s->beta);
            }
            dx[base + c * s->plane] = (REAL)((double)dy[base + c * s->plane] * own
                - 2 * s->alpha * s->beta / (double)s->size * (double)x[base + c * s->plane] * total);
        }
    }
}

/* y = x / ‖x‖_p along an axis. */
static void NAME(lp_backward)(int64_t outer, int64_t count, int64_t inner, int64_t order, int threads, const struct placed *p)
{
    const REAL *dy = p->inputs[0], *x = p->inputs[1];
    REAL *dx = p->outputs[0];
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t row = 0; row < outer * inner; row++) {
        const int64_t base = row / inner * count * inner + row % inner;
        double norm = 0, product = 0;
        for (int64_t i = 0; i < count; i++) {
            const double v = (double)x[base + i * inner];
            norm += order == 1 ? fabs(v) : v * v;
            product += v * (double)dy[base + i * inner];
        }
        if (order == 2)
            norm = sqrt(norm);
        for (int64_t i = 0; i < count; i++) {
            const double v = (double)x[base + i * inner], slope = order == 1 ? (v > 0) - (v < 0) : v / norm;
            dx[base + i * inner] = norm > 0 ? (REAL)((double)dy[base + i * inner] / norm - product * slope / (norm * norm)) : 0;
        }
    }
}

#undef LANES
