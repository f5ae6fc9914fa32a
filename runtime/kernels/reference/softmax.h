/* Softmax along the middle axis of [outer, axis, inner], for the kernels that contain one. y may be x. */
#ifndef MITRAL_REFERENCE_SOFTMAX_H
#define MITRAL_REFERENCE_SOFTMAX_H

#include "runtime/kernel.h"

enum softmax_kind { SOFTMAX_PLAIN, SOFTMAX_LOG, SOFTMAX_HARD };

void softmax_float(enum softmax_kind kind, int64_t outer, int64_t axis, int64_t inner, int threads, const float *x,
                   float *y);
void softmax_double(enum softmax_kind kind, int64_t outer, int64_t axis, int64_t inner, int threads, const double *x,
                    double *y);

/* Of a Softmax, LogSoftmax or Hardmax node: before version 13 everything from the axis on is one. */
mitral_status call_softmax_sizes(const struct kernel_call *call, int64_t *outer, int64_t *axis, int64_t *inner);

#endif
