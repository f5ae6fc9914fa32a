/* One line of a DFT in one computing type: included with REAL and NAME(x) defined. */

/* The spectrum of a real signal from its first half: the rest is the mirrored conjugate. */
static void NAME(complete_spectrum)(REAL *signal, int64_t length)
{
    signal[1] = 0;
    if (length % 2 == 0)
        signal[length + 1] = 0;
    for (int64_t k = length / 2 + 1; k < length; k++) {
        signal[2 * k] = signal[2 * (length - k)];
        signal[2 * k + 1] = -signal[2 * (length - k) + 1];
    }
}

static void NAME(transform_line)(const struct dft *d, const struct fourier *fourier, int thread, int64_t index,
                                 const mitral_tensor *x, mitral_tensor *y)
{
    REAL *signal = fourier_signal(fourier, thread);
    const int64_t taken = smaller(d->size, d->length);
    const REAL factor = d->inverse ? (REAL)(1 / (double)d->length) : 1;
    memset(signal, 0, (size_t)(2 * d->length) * sizeof(*signal));
    for (int64_t i = 0; i < taken; i++) {
        const int64_t at = ((index / d->inner * d->size + i) * d->inner + index % d->inner) * d->parts;
        signal[2 * i] = (REAL)tensor_get_double(x, at);
        signal[2 * i + 1] = d->parts == 2 ? (REAL)tensor_get_double(x, at + 1) : 0;
    }
    if (d->inverse && d->onesided)
        NAME(complete_spectrum)(signal, d->length);
    /* The inverse is the conjugate of the transform of the conjugate. */
    for (int64_t i = 0; d->inverse && i < d->length; i++)
        signal[2 * i + 1] = -signal[2 * i + 1];
    fourier_transform(fourier, thread);
    for (int64_t i = 0; i < d->output_size; i++) {
        const int64_t at = ((index / d->inner * d->output_size + i) * d->inner + index % d->inner) * d->output_parts;
        tensor_set_double(y, at, (double)(signal[2 * i] * factor), true);
        if (d->output_parts == 2)
            tensor_set_double(y, at + 1, (double)(signal[2 * i + 1] * (d->inverse ? -factor : 1)), true);
    }
}
