#include "runtime/kernels/reference/fourier.h"

#include <math.h>
#include <string.h>

enum { FOURIER_RADIX = 32 }; /* the largest prime factor that a pass takes; by the definition, so not too large */

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/fourier_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/fourier_body.h"
#undef REAL
#undef NAME

/* Fours first, one two at most in front of them, then odd primes. False when one is too large. */
static bool factorise(struct fourier *f, int64_t size)
{
    f->size = size;
    f->factor_count = 0;
    for (; size % 4 == 0; size /= 4)
        f->factors[f->factor_count++] = 4;
    if (size % 2 == 0) {
        size /= 2;
        f->factors[f->factor_count++] = 2;
        const int64_t first = f->factors[0];
        f->factors[0] = 2;
        f->factors[f->factor_count - 1] = first;
    }
    for (int64_t prime = 3; prime < FOURIER_RADIX; prime += 2)
        for (; size % prime == 0; size /= prime)
            f->factors[f->factor_count++] = prime;
    return size == 1;
}

void fourier_plan(struct fourier *out, struct work *work, enum compute compute, int64_t length, int threads)
{
    struct fourier *f = out;
    *f = (struct fourier){.compute = compute, .length = length};
    const size_t bytes = compute_size(compute);
    const bool direct = factorise(f, length);
    if (!direct) {
        int64_t padded = 1;
        while (padded < 2 * length - 1)
            padded *= 2;
        factorise(f, padded);
    }
    f->buffer_size = 2 * length + (direct ? 2 : 4) * f->size;
    f->roots = work_take(work, 2 * f->size, bytes);
    f->chirp = work_take(work, direct ? 0 : 2 * length, bytes);
    f->filter = work_take(work, direct ? 0 : 2 * f->size, bytes);
    f->buffers = work_take(work, f->buffer_size * threads, bytes);
    if (direct)
        f->chirp = f->filter = NULL;
    if (!work->base)
        return;
    if (compute == COMPUTE_FLOAT)
        fill_tables_float(f);
    else
        fill_tables_double(f);
}

void *fourier_signal(const struct fourier *fourier, int thread)
{
    return (char *)fourier->buffers + (size_t)thread * (size_t)fourier->buffer_size * compute_size(fourier->compute);
}

void fourier_transform(const struct fourier *fourier, int thread)
{
    if (fourier->compute == COMPUTE_FLOAT)
        transform_float(fourier, fourier_signal(fourier, thread));
    else
        transform_double(fourier, fourier_signal(fourier, thread));
}
