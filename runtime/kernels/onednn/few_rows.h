/* Products of few rows, which read the weights as they lie. */
#ifndef MITRAL_KERNELS_ONEDNN_FEW_ROWS_H
#define MITRAL_KERNELS_ONEDNN_FEW_ROWS_H

#include "runtime/kernels/onednn/onednn.h"

enum { FEW_ROWS = 4 }; /* with more a packed product is faster */

/* Output 0 [rows, columns] = act(alpha · A · B + bias) of inputs 0 and 1, float32. */
struct onednn_few_rows {
    int64_t rows, depth, columns;
    int64_t a_row, a_step;     /* strides of A */
    bool transposed;           /* B is [columns][depth] row by row, else [depth][columns] */
    float alpha;
    struct onednn_where bias;  /* one number a column; PLACE_NONE: none */
    bool relu;
};

mitral_status onednn_add_few_rows(struct onednn_program *program, const struct kernel_call *call, const struct onednn_few_rows *request);

#endif
