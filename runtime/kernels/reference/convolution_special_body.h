/* DeformConv and CausalConvWithState in one computing type: included with REAL and NAME(x) defined. */

/* The value at real coordinates, linear between the 2^n neighbours; neighbours outside count as zero. */
static REAL NAME(sample)(const REAL *plane, int32_t spatial, const int64_t *size, const double *at)
{
    int64_t low[MAX_SPATIAL];
    double part[MAX_SPATIAL], total = 0;
    for (int32_t i = 0; i < spatial; i++) {
        if (!(at[i] > -1.0 && at[i] < (double)size[i])) /* a NaN too */
            return 0;
        double whole = floor(at[i]);
        low[i] = (int64_t)whole;
        part[i] = at[i] - whole;
    }
    for (int32_t corner = 0; corner < 1 << spatial; corner++) {
        double weight = 1;
        int64_t index = 0;
        bool inside = true;
        for (int32_t i = 0; i < spatial; i++) {
            int64_t position = low[i] + (corner >> i & 1);
            weight *= corner >> i & 1 ? part[i] : 1 - part[i];
            inside = inside && position >= 0 && position < size[i];
            index = index * size[i] + position;
        }
        if (inside && weight != 0)
            total += weight * (double)plane[index];
    }
    return (REAL)total;
}

/* offset [N, G, kernel…, spatial, output…], mask [N, G, kernel…, output…]. For each output position the sampled values
 * of all channels and kernel places are taken once into `columns`, then every feature is a dot product with them. */
static void NAME(deform)(const struct convolution_parameters *p, int64_t offset_groups, int threads, const REAL *x,
                         const REAL *w, const REAL *offset, const REAL *bias, const REAL *mask, REAL *columns, REAL *y)
{
    int64_t x_plane = 1, y_plane = 1, kernel_size = 1;
    for (int32_t i = 0; i < p->spatial; i++) {
        x_plane *= p->input[i];
        y_plane *= p->output[i];
        kernel_size *= p->kernel[i];
    }
    const int64_t channels = p->channels / p->group, features = p->features / p->group;
    const int64_t per_offset_group = p->channels / offset_groups, column = p->channels * kernel_size;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < p->batch * y_plane; index++) {
        const int64_t image = index / y_plane, position = index % y_plane;
        REAL *values = columns + index * column;
        for (int64_t c = 0; c < p->channels; c++) {
            const int64_t offset_group = image * offset_groups + c / per_offset_group;
            for (int64_t k = 0; k < kernel_size; k++) {
                double at[MAX_SPATIAL];
                int64_t kernel_rest = k, output_rest = position;
                for (int32_t i = p->spatial - 1; i >= 0; i--) {
                    const REAL shift = offset[((offset_group * kernel_size + k) * p->spatial + i) * y_plane + position];
                    at[i] = (double)(output_rest % p->output[i] * p->strides[i] - p->pads_begin[i]
                                     + kernel_rest % p->kernel[i] * p->dilations[i])
                            + (double)shift;
                    kernel_rest /= p->kernel[i];
                    output_rest /= p->output[i];
                }
                REAL value = NAME(sample)(x + (image * p->channels + c) * x_plane, p->spatial, p->input, at);
                if (mask)
                    value *= mask[(offset_group * kernel_size + k) * y_plane + position];
                values[c * kernel_size + k] = value;
            }
        }
        for (int64_t f = 0; f < p->features; f++) {
            const REAL *from = values + f / features * channels * kernel_size,
                       *weights = w + f * channels * kernel_size;
            REAL sum = bias ? bias[f] : 0;
            for (int64_t i = 0; i < channels * kernel_size; i++)
                sum += from[i] * weights[i];
            y[(image * p->features + f) * y_plane + position] = sum;
        }
    }
}

/* padded [N, C, k - 1 + length] is the state and the input one after another; w [C, k]. */
static void NAME(causal)(int64_t planes, int64_t channels, int64_t kernel, int64_t length, int threads,
                         const REAL *padded, const REAL *w, const REAL *bias, REAL *y)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t plane = 0; plane < planes; plane++) {
        const REAL *from = padded + plane * (kernel - 1 + length), *weights = w + plane % channels * kernel;
        REAL *to = y + plane * length;
        for (int64_t i = 0; i < length; i++)
            to[i] = bias ? bias[plane % channels] : 0;
        for (int64_t k = 0; k < kernel; k++)
            for (int64_t i = 0; i < length; i++)
                to[i] += weights[k] * from[i + k];
    }
}
