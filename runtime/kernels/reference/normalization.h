/* Normalization of rows, shared by the kernels that contain one. */
#ifndef MITRAL_REFERENCE_NORMALIZATION_H
#define MITRAL_REFERENCE_NORMALIZATION_H

#include "runtime/kernel.h"

/* rows × size elements; the scale (and bias) of element i of row r is at (r mod scale_period) · scale_row_stride + i /
 * scale_span.
 */
struct row_normalization {
    int64_t rows, size;
    int64_t scale_period, scale_row_stride, scale_span;
    double epsilon;
    bool root_mean_square; /* divides by the root of the mean square and subtracts nothing */
};

/* The axis from which LayerNormalization and its kin reduce, and the rows and their size. */
mitral_status layer_rows(const struct kernel_call *call, const mitral_tensor *x, int64_t axis, int64_t *first_axis,
                         struct row_normalization *out);
void normalize_rows_float(const struct row_normalization *n, int threads, const float *x, const float *scale,
                          const float *bias, float *y, float *means, float *inverses);
void normalize_rows_double(const struct row_normalization *n, int threads, const double *x, const double *scale,
                           const double *bias, double *y, double *means, double *inverses);

#endif
