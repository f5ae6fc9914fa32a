/* Products of few rows (a classifier's last layers at batch 1): all the time goes into reading the weights once, so they are read as they
 * lie, in order, in wide loads, and never packed. */
#include "runtime/kernels/onednn/program.h"
#include "runtime/kernels/onednn/few_rows.h"
#include "runtime/kernels/reference/operand.h"

typedef float wide __attribute__((vector_size(32), aligned(4), may_alias));

enum { WIDE = 8 };

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

/* `count` columns (four of them side by side) of a transposed B: y[j] = Σ x[k] · b[j][k], for up to FEW_ROWS rows of x. Four streams keep
 * more of the memory's latency hidden than one. */
#define DOT_COLUMNS(NAME, COLUMNS)                                                                                     \
    VECTOR_CLONES static void NAME(const float *restrict x, const float *restrict b, int64_t depth, float *restrict y)  \
    {                                                                                                                  \
        wide sums[COLUMNS] = {{0}};                                                                                    \
        float rest[COLUMNS] = {0};                                                                                     \
        int64_t k = 0;                                                                                                 \
        for (; k + WIDE <= depth; k += WIDE)                                                                           \
            for (int i = 0; i < COLUMNS; i++)                                                                          \
                sums[i] += *(const wide *)(x + k) * *(const wide *)(b + i * depth + k);                                \
        for (; k < depth; k++)                                                                                         \
            for (int i = 0; i < COLUMNS; i++)                                                                          \
                rest[i] += x[k] * b[i * depth + k];                                                                    \
        for (int i = 0; i < COLUMNS; i++)                                                                              \
            y[i] = sum_of(sums[i]) + rest[i];                                                                          \
    }
DOT_COLUMNS(dot_four, 4)
DOT_COLUMNS(dot_one, 1)

/* Columns of a row-major B, for up to FEW_ROWS rows of x: y[j] = Σ x[k] · b[k][j], four k at a time. */
VECTOR_CLONES static void add_columns(const float *restrict x, int64_t x_row, int64_t rows, int64_t depth, const float *restrict b,
                                      int64_t b_row, int64_t count, float *restrict y, int64_t y_row)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < count; j++)
            y[r * y_row + j] = 0;
    int64_t k = 0;
    for (; k + 4 <= depth; k += 4, b += 4 * b_row)
        for (int64_t r = 0; r < rows; r++) {
            const float *restrict from = x + r * x_row + k;
            const float x0 = from[0], x1 = from[1], x2 = from[2], x3 = from[3];
            float *restrict to = y + r * y_row;
            for (int64_t j = 0; j < count; j++)
                to[j] += x0 * b[j] + x1 * b[b_row + j] + (x2 * b[2 * b_row + j] + x3 * b[3 * b_row + j]);
        }
    for (; k < depth; k++, b += b_row)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < count; j++)
                y[r * y_row + j] += x[r * x_row + k] * b[j];
}

/* The longer the rows that are read at a time, the fewer places in memory are read from by turns; y's have to stay in the L1 cache. */
static int64_t column_block(int64_t columns)
{
    const int64_t quarter = columns / 64 * 16;
    return quarter < 512 ? 512 : quarter > 2048 ? 2048 : quarter;
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
    const int64_t block = p->transposed ? 32 : column_block(p->columns), blocks = (p->columns + block - 1) / block;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (p->depth * p->columns > 65536)
    for (int64_t i = 0; i < blocks; i++) {
        const int64_t first = i * block, count = p->columns - first < block ? p->columns - first : block;
        for (int64_t j = 0; p->transposed && j < count; j += j + 4 <= count ? 4 : 1)
            for (int64_t r = 0; r < p->rows; r++)
                (j + 4 <= count ? dot_four : dot_one)(a + r * a_row, b + (first + j) * p->depth, p->depth, y + r * p->columns + first + j);
        if (!p->transposed)
            add_columns(a, a_row, p->rows, p->depth, b + first, p->columns, count, y + first, p->columns);
        for (int64_t r = 0; r < p->rows; r++)
            finish(p, y + r * p->columns + first, bias ? bias + first : NULL, count);
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
