/* Included once for each REAL. Every element is computed by itself, so any division among threads gives the same bits. */

LEAF_LOOP static void NAME(relu_block)(int64_t count, const REAL *dy, const REAL *y, REAL *dx)
{
    for (int64_t i = 0; i < count; i++)
        dx[i] = y[i] > 0 ? dy[i] : 0;
}

static void NAME(relu)(int64_t count, int threads, const REAL *dy, const REAL *y, REAL *dx)
{
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && count > BLOCK)
    for (int64_t start = 0; start < count; start += BLOCK)
        NAME(relu_block)(smaller(count - start, BLOCK), dy + start, y + start, dx + start);
}

static void NAME(apply)(int64_t count, int threads, derivative *function, const struct shape_parameters *parameters, const REAL *dy,
                        const REAL *x, REAL *dx)
{
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && count > BLOCK / 8)
    for (int64_t i = 0; i < count; i++)
        dx[i] = (REAL)((double)dy[i] * function((double)x[i], parameters));
}

static void NAME(clip)(int64_t count, int threads, REAL low, REAL high, const REAL *dy, const REAL *x, REAL *dx)
{
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && count > BLOCK)
    for (int64_t i = 0; i < count; i++)
        dx[i] = x[i] >= low && x[i] <= high ? dy[i] : 0;
}

static void NAME(prelu)(const mitral_tensor *shape, const int64_t *strides, int threads, const REAL *dy, const REAL *x,
                        const REAL *slope, REAL *dx, REAL *dslope)
{
    const int32_t last = shape->rank - 1;
    const int64_t inner = shape->rank ? shape->dims[last] : 1, step = shape->rank ? strides[last] : 0;
    const int64_t rows = inner ? tensor_count(shape) / inner : 0;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && rows > 1)
    for (int64_t row = 0; row < rows; row++) {
        int64_t offset = 0, rest = row;
        for (int32_t i = last; i-- > 0; rest /= shape->dims[i])
            offset += rest % shape->dims[i] * strides[i];
        for (int64_t i = 0; i < inner; i++) {
            const int64_t at = row * inner + i;
            const REAL v = x[at], g = dy[at];
            if (dx)
                dx[at] = v >= 0 ? g : g * slope[offset + i * step];
            if (dslope)
                dslope[at] = v >= 0 ? 0 : g * v;
        }
    }
}
