/* Products of few rows (a classifier's last layers at batch 1): all the time goes into reading the weights once, so they are read as they
 * lie, in order, in wide loads, and never packed. */
#include "runtime/kernels/onednn/program.h"
#include "runtime/kernels/onednn/few_rows.h"
#include "runtime/kernels/reference/operand.h"

typedef float wide __attribute__((vector_size(64), aligned(4), may_alias));

enum { WIDE = 16, COLUMN_BLOCK = 512 };

struct few_rows {
    int64_t rows, depth, columns;
    int64_t a_row, a_step;   /* strides of A */
    bool transposed;         /* B is [columns][depth] */
    float alpha;
    bool relu;
};

static float sum_of(wide value)
{
    float sum = 0;
    for (int i = 0; i < WIDE; i++)
        sum += value[i];
    return sum;
}

/* Four columns of a transposed B at a time: y[j] = Σ x[k] · b[j][k], for up to FEW_ROWS rows of x. */
VECTOR_CLONES static void dot_columns(const float *restrict x, int64_t x_row, int64_t rows, const float *restrict b, int64_t depth, int64_t count,
                                      float *restrict y, int64_t y_row)
{
    for (int64_t j = 0; j < count; j++, b += depth) {
        for (int64_t r = 0; r < rows; r++) {
            const float *restrict row = x + r * x_row;
            wide sums[4] = {{0}, {0}, {0}, {0}};
            int64_t k = 0;
            for (; k + 4 * WIDE <= depth; k += 4 * WIDE)
                for (int i = 0; i < 4; i++)
                    sums[i] += *(const wide *)(row + k + i * WIDE) * *(const wide *)(b + k + i * WIDE);
            float rest = 0;
            for (; k < depth; k++)
                rest += row[k] * b[k];
            y[r * y_row + j] = sum_of(sums[0] + sums[1] + (sums[2] + sums[3])) + rest;
        }
    }
}

/* Columns of a row-major B: y[j] += x[k] · b[k][j], four k at a time. */
VECTOR_CLONES static void add_columns(const float *restrict x, int64_t depth, const float *restrict b, int64_t b_row, int64_t count,
                                      float *restrict y)
{
    for (int64_t j = 0; j < count; j++)
        y[j] = 0;
    int64_t k = 0;
    for (; k + 4 <= depth; k += 4, b += 4 * b_row) {
        const float x0 = x[k], x1 = x[k + 1], x2 = x[k + 2], x3 = x[k + 3];
        for (int64_t j = 0; j < count; j++)
            y[j] += x0 * b[j] + x1 * b[b_row + j] + (x2 * b[2 * b_row + j] + x3 * b[3 * b_row + j]);
    }
    for (; k < depth; k++, b += b_row)
        for (int64_t j = 0; j < count; j++)
            y[j] += x[k] * b[j];
}

static void finish(const struct few_rows *p, float *y, const float *bias, int64_t count)
{
    for (int64_t j = 0; j < count; j++) {
        const float value = p->alpha * y[j] + (bias ? bias[j] : 0);
        y[j] = p->relu && !(value > 0) ? (value != value ? value : 0) : value;
    }
}

/* addresses: A, B, bias, y, A's rows made dense. Each output is computed by one thread in one order. */
static mitral_status run_few_rows(const struct kernel_call *call, void *const *addresses, const void *data)
{
    const struct few_rows *p = data;
    const float *a = addresses[0], *b = addresses[1], *bias = addresses[2];
    float *y = addresses[3], *dense = addresses[4];
    int64_t a_row = p->a_row;
    if (dense) {
        for (int64_t r = 0; r < p->rows; r++)
            for (int64_t k = 0; k < p->depth; k++)
                dense[r * p->depth + k] = a[r * p->a_row + k * p->a_step];
        a = dense;
        a_row = p->depth;
    }
    const int64_t block = p->transposed ? 32 : COLUMN_BLOCK, blocks = (p->columns + block - 1) / block;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (p->depth * p->columns > 65536)
    for (int64_t i = 0; i < blocks; i++) {
        const int64_t first = i * block, count = p->columns - first < block ? p->columns - first : block;
        if (p->transposed)
            dot_columns(a, a_row, p->rows, b + first * p->depth, p->depth, count, y + first, p->columns);
        for (int64_t r = 0; r < p->rows; r++) {
            if (!p->transposed)
                add_columns(a + r * a_row, p->depth, b + first, p->columns, count, y + r * p->columns + first);
            finish(p, y + r * p->columns + first, bias ? bias + first : NULL, count);
        }
    }
    return MITRAL_OK;
}

mitral_status onednn_add_few_rows(struct onednn_program *program, const struct kernel_call *call, const struct onednn_few_rows *request)
{
    struct few_rows p = {request->rows, request->depth, request->columns, request->a_row, request->a_step, request->transposed,
                         request->alpha, request->relu};
    struct onednn_where wheres[5] = {{PLACE_INPUT, 0, 0}, {PLACE_INPUT, 1, 0}, request->bias, {PLACE_OUTPUT, 0, 0}, {PLACE_NONE, 0, 0}};
    if (p.a_step != 1)
        wheres[4] = onednn_scratch(program, (size_t)(p.rows * p.depth) * sizeof(float));
    onednn_program_say(program, "few rows");
    return onednn_add_function(program, call, run_few_rows, wheres, 5, &p, sizeof p);
}
