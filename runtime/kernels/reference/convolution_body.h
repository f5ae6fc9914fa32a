/* Convolution in one computing type: included with REAL and NAME(x) defined. */

enum { NAME(FEATURE_BLOCK) = 4 };

/* rows[f][i] += weights[f] · x[i · stride] for a block of output rows. */
VECTOR_CLONES static void NAME(add_scaled)(REAL *restrict r0, REAL *restrict r1, REAL *restrict r2, REAL *restrict r3,
                                           const REAL *restrict x, int64_t stride, int64_t count, const REAL *w)
{
    const REAL w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
    if (stride == 1) {
        for (int64_t i = 0; i < count; i++) {
            const REAL value = x[i];
            r0[i] += w0 * value;
            r1[i] += w1 * value;
            r2[i] += w2 * value;
            r3[i] += w3 * value;
        }
    } else {
        for (int64_t i = 0; i < count; i++) {
            const REAL value = x[i * stride];
            r0[i] += w0 * value;
            r1[i] += w1 * value;
            r2[i] += w2 * value;
            r3[i] += w3 * value;
        }
    }
}

VECTOR_CLONES static void NAME(add_scaled_one)(REAL *restrict row, const REAL *restrict x, int64_t stride,
                                               int64_t count, REAL weight)
{
    if (stride == 1)
        for (int64_t i = 0; i < count; i++)
            row[i] += weight * x[i];
    else
        for (int64_t i = 0; i < count; i++)
            row[i] += weight * x[i * stride];
}

/* One row (the last spatial dimension) of `features` ≤ FEATURE_BLOCK output channels of one group. `outer` are the
 * output's coordinates in the other spatial dimensions; x is the group's first input channel, w the first channel's
 * weights. */
static void NAME(convolution_rows)(const struct convolution_parameters *p, const REAL *x, const REAL *w,
                                   const REAL *bias, REAL *y, int64_t y_plane, int64_t features, const int64_t *outer)
{
    const int32_t last = p->spatial - 1;
    const int64_t width = p->output[last], stride = p->strides[last];
    int64_t x_plane = 1, kernel_size = 1, kernel_outer = 1;
    for (int32_t i = 0; i < p->spatial; i++) {
        x_plane *= p->input[i];
        kernel_size *= p->kernel[i];
        kernel_outer *= i < last ? p->kernel[i] : 1;
    }
    const int64_t channels = p->channels / p->group, w_feature = channels * kernel_size;
    for (int64_t f = 0; f < features; f++)
        for (int64_t i = 0; i < width; i++)
            y[f * y_plane + i] = bias ? bias[f] : 0;
    for (int64_t position = 0; position < kernel_outer; position++) {
        int64_t rest = position, row = 0, scale = p->input[last];
        bool inside = true;
        for (int32_t i = last - 1; i >= 0; i--) {
            int64_t at = outer[i] * p->strides[i] - p->pads_begin[i] + rest % p->kernel[i] * p->dilations[i];
            rest /= p->kernel[i];
            inside = inside && at >= 0 && at < p->input[i];
            row += at * scale;
            scale *= p->input[i];
        }
        if (!inside)
            continue;
        for (int64_t k = 0; k < p->kernel[last]; k++) {
            int64_t offset = k * p->dilations[last] - p->pads_begin[last];
            int64_t begin = offset < 0 ? divide_up(-offset, stride) : 0;
            int64_t end = smaller(divide_down(p->input[last] - 1 - offset, stride) + 1, width);
            if (begin >= end)
                continue;
            const REAL *from = x + row + begin * stride + offset;
            const REAL *weight = w + position * p->kernel[last] + k;
            for (int64_t c = 0; c < channels; c++, from += x_plane, weight += kernel_size) {
                if (features == NAME(FEATURE_BLOCK)) {
                    const REAL four[4] = {weight[0], weight[w_feature], weight[2 * w_feature], weight[3 * w_feature]};
                    NAME(add_scaled)(y + begin, y + y_plane + begin, y + 2 * y_plane + begin, y + 3 * y_plane + begin,
                                     from, stride, end - begin, four);
                } else {
                    for (int64_t f = 0; f < features; f++)
                        NAME(add_scaled_one)(y + f * y_plane + begin, from, stride, end - begin, weight[f * w_feature]);
                }
            }
        }
    }
}

/* Rows of the output are independent, so any split among threads gives the same bits. */
static void NAME(convolution)(const struct convolution_parameters *p, int threads, const REAL *x, const REAL *w,
                              const REAL *bias, REAL *y)
{
    const int32_t last = p->spatial - 1;
    int64_t rows = 1, x_plane = 1, kernel_size = 1;
    for (int32_t i = 0; i < p->spatial; i++) {
        rows *= i < last ? p->output[i] : 1;
        x_plane *= p->input[i];
        kernel_size *= p->kernel[i];
    }
    const int64_t width = p->output[last], y_plane = rows * width;
    const int64_t channels = p->channels / p->group, features = p->features / p->group;
    const int64_t blocks = divide_up(features, NAME(FEATURE_BLOCK));
    const int64_t total = p->batch * p->group * blocks * rows;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < total; index++) {
        int64_t row = index % rows, block = index / rows % blocks, group = index / rows / blocks % p->group;
        int64_t image = index / rows / blocks / p->group;
        int64_t feature = block * NAME(FEATURE_BLOCK), outer[MAX_SPATIAL] = {0}, rest = row;
        for (int32_t i = last - 1; i >= 0; i--) {
            outer[i] = rest % p->output[i];
            rest /= p->output[i];
        }
        int64_t count = smaller(features - feature, NAME(FEATURE_BLOCK));
        feature += group * features;
        NAME(convolution_rows)(p, x + (image * p->channels + group * channels) * x_plane,
                               w + feature * channels * kernel_size, bias ? bias + feature : NULL,
                               y + (image * p->features + feature) * y_plane + row * width, y_plane, count, outer);
    }
}

/* Every input element is added, weighted, to the outputs that it reaches; an output plane belongs to one thread. */
static void NAME(convolution_transpose)(const struct convolution_parameters *p, int threads, const REAL *x,
                                        const REAL *w, const REAL *bias, REAL *y)
{
    const int32_t last = p->spatial - 1;
    int64_t x_rows = 1, y_plane = 1, kernel_outer = 1;
    for (int32_t i = 0; i < p->spatial; i++) {
        x_rows *= i < last ? p->input[i] : 1;
        y_plane *= p->output[i];
        kernel_outer *= i < last ? p->kernel[i] : 1;
    }
    const int64_t x_width = p->input[last], x_plane = x_rows * x_width, kernel_width = p->kernel[last];
    const int64_t kernel_size = kernel_outer * kernel_width, stride = p->strides[last];
    const int64_t channels = p->channels / p->group, features = p->features / p->group;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t plane = 0; plane < p->batch * p->features; plane++) {
        const int64_t image = plane / p->features, feature = plane % p->features, group = feature / features;
        REAL *to = y + plane * y_plane;
        for (int64_t i = 0; i < y_plane; i++)
            to[i] = bias ? bias[feature] : 0;
        for (int64_t c = 0; c < channels; c++) {
            const REAL *from = x + (image * p->channels + group * channels + c) * x_plane;
            const REAL *weights = w + ((group * channels + c) * features + feature % features) * kernel_size;
            for (int64_t row = 0; row < x_rows; row++) {
                for (int64_t position = 0; position < kernel_outer; position++) {
                    int64_t rest = row, kernel_rest = position, y_row = 0, scale = p->output[last];
                    bool inside = true;
                    for (int32_t i = last - 1; i >= 0; i--) {
                        int64_t at = rest % p->input[i] * p->strides[i] - p->pads_begin[i]
                                     + kernel_rest % p->kernel[i] * p->dilations[i];
                        rest /= p->input[i];
                        kernel_rest /= p->kernel[i];
                        inside = inside && at >= 0 && at < p->output[i];
                        y_row += at * scale;
                        scale *= p->output[i];
                    }
                    if (!inside)
                        continue;
                    for (int64_t k = 0; k < kernel_width; k++) {
                        const REAL weight = weights[position * kernel_width + k];
                        int64_t offset = k * p->dilations[last] - p->pads_begin[last];
                        int64_t begin = offset < 0 ? divide_up(-offset, stride) : 0;
                        int64_t end = smaller(divide_down(p->output[last] - 1 - offset, stride) + 1, x_width);
                        const REAL *in = from + row * x_width;
                        REAL *out = to + y_row + offset;
                        for (int64_t i = begin; i < end; i++)
                            out[i * stride] += weight * in[i];
                    }
                }
            }
        }
    }
}
