#include "runtime/kernels/reference/fourier.h"

#include <math.h>
#include <string.h>

enum { SHORT_LENGTH = 48 }; /* up to here the definition is no slower than Bluestein's way */

static void set_root(double *out, int64_t numerator, int64_t denominator)
{
    const double angle = -2 * M_PI * (double)numerator / (double)denominator;
    out[0] = cos(angle);
    out[1] = sin(angle);
}

/* In place; n is a power of two, roots those of n. */
static void transform_power_of_two(double *x, int64_t n, const double *roots)
{
    for (int64_t i = 1, j = 0; i < n; i++) {
        int64_t bit = n >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            const double real = x[2 * i], imaginary = x[2 * i + 1];
            x[2 * i] = x[2 * j];
            x[2 * i + 1] = x[2 * j + 1];
            x[2 * j] = real;
            x[2 * j + 1] = imaginary;
        }
    }
    for (int64_t half = 1; half < n; half *= 2) {
        const int64_t step = n / (2 * half);
        for (int64_t block = 0; block < n; block += 2 * half) {
            double *low = x + 2 * block, *high = low + 2 * half;
            for (int64_t k = 0; k < half; k++) {
                const double c = roots[2 * k * step], s = roots[2 * k * step + 1];
                const double real = high[2 * k] * c - high[2 * k + 1] * s, imaginary = high[2 * k] * s + high[2 * k + 1] * c;
                high[2 * k] = low[2 * k] - real;
                high[2 * k + 1] = low[2 * k + 1] - imaginary;
                low[2 * k] += real;
                low[2 * k + 1] += imaginary;
            }
        }
    }
}

void fourier_plan(struct fourier *out, struct work *work, int64_t length, int threads)
{
    struct fourier *f = out;
    *f = (struct fourier){.length = length};
    bool exact = false;
    if (length > SHORT_LENGTH || (length & (length - 1)) == 0) {
        exact = (length & (length - 1)) == 0;
        for (f->padded = 1; f->padded < (exact ? length : 2 * length - 1);)
            f->padded *= 2;
    }
    const int64_t root_count = f->padded ? larger(f->padded / 2, 1) : length;
    f->buffer_size = 2 * length + (exact ? 0 : 2 * (f->padded ? f->padded : length));
    f->roots = work_take(work, 2 * root_count, sizeof(double));
    f->chirp = work_take(work, f->padded && !exact ? 2 * length : 0, sizeof(double));
    f->filter = work_take(work, f->padded && !exact ? 2 * f->padded : 0, sizeof(double));
    f->buffers = work_take(work, f->buffer_size * threads, sizeof(double));
    if (exact || !f->padded)
        f->chirp = f->filter = NULL;
    if (!work->base)
        return;
    for (int64_t k = 0; k < root_count; k++)
        set_root(f->roots + 2 * k, k, f->padded ? f->padded : length);
    if (!f->chirp)
        return;
    memset(f->filter, 0, (size_t)(2 * f->padded) * sizeof(double));
    for (int64_t k = 0; k < length; k++) {
        /* k² modulo 2·length keeps the angle exact. */
        set_root(f->chirp + 2 * k, k * k % (2 * length), 2 * length);
        const int64_t mirror = k ? f->padded - k : 0;
        f->filter[2 * k] = f->filter[2 * mirror] = f->chirp[2 * k];
        f->filter[2 * k + 1] = f->filter[2 * mirror + 1] = -f->chirp[2 * k + 1];
    }
    transform_power_of_two(f->filter, f->padded, f->roots);
}

double *fourier_signal(const struct fourier *fourier, int thread)
{
    return fourier->buffers + (size_t)thread * (size_t)fourier->buffer_size;
}

static void transform_by_definition(const struct fourier *f, double *x, double *spare)
{
    const int64_t n = f->length;
    for (int64_t k = 0; k < n; k++) {
        double real = 0, imaginary = 0;
        for (int64_t i = 0, at = 0; i < n; i++) {
            const double c = f->roots[2 * at], s = f->roots[2 * at + 1];
            real += x[2 * i] * c - x[2 * i + 1] * s;
            imaginary += x[2 * i] * s + x[2 * i + 1] * c;
            at += k;
            at -= at >= n ? n : 0;
        }
        spare[2 * k] = real;
        spare[2 * k + 1] = imaginary;
    }
    memcpy(x, spare, (size_t)(2 * n) * sizeof(double));
}

static void multiply(double *out, const double *a, const double *b)
{
    const double real = a[0] * b[0] - a[1] * b[1];
    out[1] = a[0] * b[1] + a[1] * b[0];
    out[0] = real;
}

void fourier_transform(const struct fourier *fourier, int thread)
{
    const struct fourier *f = fourier;
    double *x = fourier_signal(f, thread), *spare = x + 2 * f->length;
    if (!f->padded) {
        transform_by_definition(f, x, spare);
        return;
    }
    if (!f->chirp) {
        transform_power_of_two(x, f->padded, f->roots);
        return;
    }
    memset(spare, 0, (size_t)(2 * f->padded) * sizeof(double));
    for (int64_t k = 0; k < f->length; k++)
        multiply(spare + 2 * k, x + 2 * k, f->chirp + 2 * k);
    transform_power_of_two(spare, f->padded, f->roots);
    /* The inverse transform by the forward one: conjugate before and after. */
    for (int64_t k = 0; k < f->padded; k++) {
        multiply(spare + 2 * k, spare + 2 * k, f->filter + 2 * k);
        spare[2 * k + 1] = -spare[2 * k + 1];
    }
    transform_power_of_two(spare, f->padded, f->roots);
    for (int64_t k = 0; k < f->length; k++) {
        const double value[2] = {spare[2 * k] / (double)f->padded, -spare[2 * k + 1] / (double)f->padded};
        multiply(x + 2 * k, value, f->chirp + 2 * k);
    }
}
