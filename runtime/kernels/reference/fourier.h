/* Discrete Fourier transforms of any length, in float or double. */
#ifndef MITRAL_REFERENCE_FOURIER_H
#define MITRAL_REFERENCE_FOURIER_H

#include "runtime/kernels/reference/operand.h"

enum { FOURIER_FACTORS = 64 };

/* Tables and sizes for one length. `size` is what passes of small radices transform: the length itself, or, when that
 * has a large prime factor, a power of two for Bluestein's convolution. Complex numbers are pairs of the computing
 * type. */
struct fourier {
    enum compute compute;       /* COMPUTE_FLOAT or COMPUTE_DOUBLE */
    int64_t length, size;
    int64_t factors[FOURIER_FACTORS];
    int32_t factor_count;
    void *roots;                /* e^(-2πi k / size), k < size */
    void *chirp, *filter;       /* Bluestein: e^(-πi k² / length); the transform of its conjugate, wrapped; else NULL */
    void *buffers;              /* a work area for each thread */
    int64_t buffer_size;        /* in numbers of the computing type */
};

/* Takes the memory from `work`; fills the tables when there is some. */
void fourier_plan(struct fourier *out, struct work *work, enum compute compute, int64_t length, int threads);
/* A thread's signal: `length` complex numbers that fourier_transform replaces by their transform. */
void *fourier_signal(const struct fourier *fourier, int thread);
void fourier_transform(const struct fourier *fourier, int thread);

#endif
