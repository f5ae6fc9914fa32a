/* BatchNormalization in one computing type: included with REAL and NAME(x) defined. Sums are taken in double, each
 * channel's in one thread. */

/* Mean and variance of every channel over images and positions. */
static void NAME(channel_moments)(int64_t batch, int64_t channels, int64_t inner, int threads, const REAL *x,
                                  double *means, double *variances)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t c = 0; c < channels; c++) {
        const double count = (double)larger(batch * inner, 1);
        double sum = 0, squares = 0;
        for (int64_t n = 0; n < batch; n++)
            for (int64_t i = 0; i < inner; i++)
                sum += (double)x[(n * channels + c) * inner + i];
        const double mean = sum / count;
        for (int64_t n = 0; n < batch; n++)
            for (int64_t i = 0; i < inner; i++) {
                const double distance = (double)x[(n * channels + c) * inner + i] - mean;
                squares += distance * distance;
            }
        means[c] = mean;
        variances[c] = squares / count;
    }
}

static void NAME(normalize_channels)(int64_t batch, int64_t channels, int64_t inner, int threads, const REAL *x,
                                     const double *means, const double *variances, double epsilon, const REAL *scale,
                                     const REAL *bias, REAL *y)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t plane = 0; plane < batch * channels; plane++) {
        const int64_t c = plane % channels;
        const REAL a = (REAL)((double)scale[c] / sqrt(variances[c] + epsilon));
        const REAL b = (REAL)((double)bias[c] - means[c] * ((double)scale[c] / sqrt(variances[c] + epsilon)));
        const REAL *from = x + plane * inner;
        REAL *to = y + plane * inner;
        for (int64_t i = 0; i < inner; i++)
            to[i] = from[i] * a + b;
    }
}
