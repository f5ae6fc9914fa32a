/* The sizes of matrix products, checked once. */
#ifndef MITRAL_REFERENCE_MATMUL_H
#define MITRAL_REFERENCE_MATMUL_H

#include "runtime/kernels/reference/operand.h"

/* Y[batch…, m, n] = A[…, m, k] · B[…, k, n] with numpy's rules: a vector A has m = 1, a vector B has n = 1, and the
 * dimension is dropped from Y; the leading dimensions broadcast. */
struct matmul_parameters {
    int64_t m, k, n;
    int32_t batch_rank;
    int64_t batch[MITRAL_MAX_RANK];                                         /* leading dimensions of Y */
    int64_t a_strides[MITRAL_MAX_RANK], b_strides[MITRAL_MAX_RANK]; /* of A and B in matrices; 0 where it broadcasts */
    int64_t batches;                                                        /* their product */
    int32_t rank;                                                           /* of Y */
    int64_t dims[MITRAL_MAX_RANK];
};

mitral_status matmul_decode(const struct kernel_call *call, const mitral_tensor *a, const mitral_tensor *b,
                            struct matmul_parameters *out);
/* Index of the matrix of A (or B, by its strides) that batch number `index` of Y uses. */
int64_t matmul_batch_offset(const struct matmul_parameters *parameters, const int64_t *strides, int64_t index);

/* The products themselves, in float, double or wrapping integers. */
void matmul_compute(enum compute compute, const struct matmul_parameters *p, int threads, const void *a, const void *b,
                    void *y);

/* Y[m, n] = alpha · op(A) · op(B) + beta · C, C broadcast to [m, n]. */
struct gemm_parameters {
    int64_t m, k, n;
    bool transpose_a, transpose_b;
    float alpha, beta;
    bool has_c;
    int64_t c_row_stride, c_column_stride; /* in elements; 0 where C broadcasts */
};

mitral_status call_gemm_parameters(const struct kernel_call *call, struct gemm_parameters *out);

/* Of an n × n matrix, which is overwritten. */
double determinant(double *a, int64_t n);
/* The row from the diagonal on whose element of that column is largest. */
int64_t largest_pivot(const double *a, int64_t n, int64_t column);

#endif
