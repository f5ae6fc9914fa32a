/* Col2Im in one computing type: included with REAL and NAME(x) defined. */

/* columns [N, C · kernel, blocks] are added into y [N, C, image…]; `parts` is 2 for complex elements, else 1. */
static void NAME(fold)(const struct convolution_parameters *p, int64_t parts, int threads, const REAL *columns, REAL *y)
{
    int64_t plane = 1, kernel_size = 1, blocks = 1;
    for (int32_t i = 0; i < p->spatial; i++) {
        plane *= p->input[i];
        kernel_size *= p->kernel[i];
        blocks *= p->output[i];
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t image = 0; image < p->batch * p->channels; image++) {
        REAL *to = y + image * plane * parts;
        memset(to, 0, (size_t)(plane * parts) * sizeof(*to));
        for (int64_t k = 0; k < kernel_size; k++) {
            const REAL *from = columns + (image * kernel_size + k) * blocks * parts;
            for (int64_t block = 0; block < blocks; block++) {
                int64_t kernel_rest = k, rest = block, index = 0, scale = 1;
                bool inside = true;
                for (int32_t i = p->spatial - 1; i >= 0; i--) {
                    int64_t at = rest % p->output[i] * p->strides[i] - p->pads_begin[i]
                                 + kernel_rest % p->kernel[i] * p->dilations[i];
                    rest /= p->output[i];
                    kernel_rest /= p->kernel[i];
                    inside = inside && at >= 0 && at < p->input[i];
                    index += at * scale;
                    scale *= p->input[i];
                }
                for (int64_t part = 0; inside && part < parts; part++)
                    to[index * parts + part] += from[block * parts + part];
            }
        }
    }
}
