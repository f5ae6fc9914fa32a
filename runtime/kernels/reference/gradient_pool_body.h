/* Included once for each REAL. Planes are independent; windows may overlap within one. */

/* The usual pooling, windows of 2×2 side by side: every element belongs to one window, and the first of equal ones wins. */
LEAF_LOOP static void NAME(halve_rows)(const REAL *restrict dy, const REAL *restrict top, const REAL *restrict low, REAL *restrict dtop,
                                       REAL *restrict dlow, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const REAL a = top[2 * i], b = top[2 * i + 1], c = low[2 * i], d = low[2 * i + 1], g = dy[i];
        const REAL upper = b > a ? b : a, lower = d > c ? d : c;
        const bool is_lower = lower > upper;
        dtop[2 * i] = !is_lower && !(b > a) ? g : 0;
        dtop[2 * i + 1] = !is_lower && b > a ? g : 0;
        dlow[2 * i] = is_lower && !(d > c) ? g : 0;
        dlow[2 * i + 1] = is_lower && d > c ? g : 0;
    }
}

static void NAME(halve)(const struct window *w, int threads, const REAL *dy, const REAL *x, REAL *dx)
{
    const int64_t width = w->input[2], rows = w->planes * w->output[1];
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t row = 0; row < rows; row++)
        NAME(halve_rows)(dy + row * w->output[2], x + 2 * row * width, x + (2 * row + 1) * width, dx + 2 * row * width,
                         dx + (2 * row + 1) * width, w->output[2]);
}

static void NAME(pool_backward)(const struct window *w, enum pool_kind kind, int threads, const REAL *dy, const REAL *x, const REAL *y, REAL *dx)
{
    const int64_t in_plane = w->input[0] * w->input[1] * w->input[2], out_plane = w->output[0] * w->output[1] * w->output[2];
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t plane = 0; plane < w->planes; plane++) {
        const REAL *from = x ? x + plane * in_plane : NULL, *result = y ? y + plane * out_plane : NULL;
        REAL *into = dx + plane * in_plane;
        memset(into, 0, (size_t)in_plane * sizeof(*into));
        for (int64_t at = 0; at < out_plane; at++) {
            const int64_t o[3] = {at / (w->output[1] * w->output[2]), at / w->output[2] % w->output[1], at % w->output[2]};
            const REAL g = dy[plane * out_plane + at];
            int64_t low[3], high[3], origin[3]; /* kernel offsets that lie inside the input */
            for (int i = 0; i < 3; i++) {
                origin[i] = o[i] * w->stride[i] - w->pad[i];
                low[i] = origin[i] >= 0 ? 0 : divide_up(-origin[i], w->dilation[i]);
                high[i] = smaller(w->kernel[i], divide_down(w->input[i] - 1 - origin[i], w->dilation[i]) + 1);
            }
            int64_t best = -1;
            const REAL share = kind == POOL_AVERAGE ? (REAL)((double)g / pool_divisor(w, origin, low, high)) : 0;
            for (int64_t d = low[0]; d < high[0]; d++)
                for (int64_t h = low[1]; h < high[1]; h++) {
                    const int64_t row = ((origin[0] + d * w->dilation[0]) * w->input[1] + origin[1] + h * w->dilation[1]) * w->input[2] + origin[2];
                    for (int64_t k = low[2]; k < high[2]; k++) {
                        const int64_t i = row + k * w->dilation[2];
                        if (kind == POOL_AVERAGE)
                            into[i] += share;
                        else if (kind == POOL_MAXIMUM)
                            best = best < 0 || from[i] > from[best] || isnan(from[i]) ? i : best;
                        else if (result[at] != 0)
                            into[i] += g * (REAL)copysign(pow(fabs((double)from[i]) / (double)result[at], w->p - 1), (double)from[i]);
                    }
                }
            if (best >= 0)
                into[best] += g;
        }
    }
}
