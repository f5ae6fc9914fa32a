/* Discrete Fourier transforms of any length in double precision. */
#ifndef MITRAL_REFERENCE_FOURIER_H
#define MITRAL_REFERENCE_FOURIER_H

#include "runtime/kernels/reference/operand.h"

/* Tables and sizes for one length. Powers of two are transformed by radix 2, short lengths by the definition, others by Bluestein's
 * convolution of a power of two. Complex numbers are pairs of doubles. */
struct fourier {
    int64_t length, padded;     /* padded: the power of two that is transformed; 0: by the definition */
    double *roots;              /* e^(-2πi k / padded) (k < padded / 2), or / length (k < length) by the definition */
    double *chirp, *filter;     /* Bluestein: e^(-πi k² / length); the transform of its conjugate, wrapped */
    double *buffers;            /* a work area for each thread */
    int64_t buffer_size;        /* in doubles */
};

/* Takes the memory from `work`; fills the tables when there is some. */
void fourier_plan(struct fourier *out, struct work *work, int64_t length, int threads);
/* A thread's signal: `length` complex numbers that fourier_transform replaces by their transform. */
double *fourier_signal(const struct fourier *fourier, int thread);
void fourier_transform(const struct fourier *fourier, int thread);

#endif
