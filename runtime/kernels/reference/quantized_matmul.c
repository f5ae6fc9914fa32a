/* MatMulInteger and QLinearMatMul. */
#include <string.h>

#include "runtime/kernels/reference/convert.h"
#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/integer.h"
#include "runtime/kernels/reference/matmul.h"

enum { PARALLEL_COUNT = 32768 };

/* A scale or zero point of the rows of A and Y or of the columns of B, perhaps one for each matrix: its element for
 * matrix `batch` and row or column `index` is number batch * batch_step + index * step. */
struct steps {
    int64_t batch_step, step;
};

/* Shapes: scalar, [1], [rows] (of A and Y) or [columns] (of B), or the matrix's own with the other dimension 1. */
static mitral_status find_steps(const struct kernel_call *call, size_t input, const mitral_tensor *matrix, bool rows,
                                struct steps *out)
{
    const mitral_tensor *tensor = call_input(call, input);
    *out = (struct steps){0, 0};
    if (!tensor || tensor_count(tensor) == 1)
        return MITRAL_OK;
    int32_t rank = matrix->rank;
    int64_t vector = rank < 2 ? 1 : matrix->dims[rows ? rank - 2 : rank - 1];
    out->step = 1;
    if (tensor->rank == 1 && tensor->dims[0] == vector)
        return MITRAL_OK;
    bool fits = tensor->rank == rank && rank >= 2 && tensor->dims[rank - (rows ? 1 : 2)] == 1
                && tensor->dims[rank - (rows ? 2 : 1)] == vector;
    for (int32_t i = 0; fits && i < rank - 2; i++)
        fits = tensor->dims[i] == matrix->dims[i];
    if (!fits) {
        char left[160], right[160];
        return call_fail(call, MITRAL_INVALID, "input %zu: one value, or one for each %s of %s, expected, found %s",
                         input, rows ? "row" : "column", tensor_describe(matrix, left, sizeof(left)),
                         tensor_describe(tensor, right, sizeof(right)));
    }
    out->batch_step = vector;
    return MITRAL_OK;
}

/* The inputs' places: QLinearMatMul has eight, MatMulInteger four. */
struct places {
    size_t a, a_zero, b, b_zero;
};
static const struct places integer_places = {0, 2, 1, 3}, linear_places = {0, 2, 3, 5};

static bool is_float8(int32_t dtype)
{
    return dtype >= MITRAL_FLOAT8E4M3FN && dtype <= MITRAL_FLOAT8E5M2FNUZ;
}

static mitral_status product_shape(struct kernel_call *call, const struct places *places, bool float_allowed,
                                   struct matmul_parameters *parameters)
{
    const mitral_tensor *a = call_input(call, places->a), *b = call_input(call, places->b);
    struct steps steps;
    if (!a || !b)
        return call_fail(call, MITRAL_INVALID, "two matrices expected, one is missing");
    for (size_t i = 0; i < 2; i++) {
        const mitral_tensor *matrix = i ? b : a, *zero = call_input(call, i ? places->b_zero : places->a_zero);
        if (!dtype_is_byte(matrix->dtype) && !(float_allowed && is_float8(matrix->dtype)))
            return fail_type(call, i ? places->b : places->a, matrix);
        if (zero && zero->dtype != matrix->dtype)
            return fail_type(call, i ? places->b_zero : places->a_zero, zero);
    }
    TRY(matmul_decode(call, a, b, parameters));
    TRY(find_steps(call, places->a_zero, a, true, &steps));
    return find_steps(call, places->b_zero, b, false, &steps);
}

static mitral_status MatMulInteger_shape(struct kernel_call *call)
{
    struct matmul_parameters parameters;
    TRY(product_shape(call, &integer_places, false, &parameters));
    call_set_output(call, 0, MITRAL_INT32, parameters.rank, parameters.dims);
    return MITRAL_OK;
}

static mitral_status QLinearMatMul_shape(struct kernel_call *call)
{
    struct matmul_parameters parameters;
    struct steps steps;
    TRY(product_shape(call, &linear_places, true, &parameters));
    const mitral_tensor *zero = call_input(call, 7);
    if (!zero || (!dtype_is_byte(zero->dtype) && !is_float8(zero->dtype)))
        return zero ? fail_type(call, 7, zero)
                    : call_fail(call, MITRAL_INVALID, "8 inputs expected, input 7 is missing");
    if (dtype_is_byte(call_input(call, 0)->dtype) != dtype_is_byte(zero->dtype)
        || dtype_is_byte(call_input(call, 3)->dtype) != dtype_is_byte(zero->dtype))
        return call_fail(call, MITRAL_UNSUPPORTED,
                         "8-bit integers or 8-bit floats throughout expected, found a mixture");
    mitral_tensor y;
    tensor_set(&y, zero->dtype, parameters.rank, parameters.dims);
    for (size_t i = 1; i < 7; i += i == 1 ? 3 : 2) {
        const mitral_tensor *scale = call_input(call, i);
        if (!scale || !dtype_is_float(scale->dtype))
            return scale ? fail_type(call, i, scale)
                         : call_fail(call, MITRAL_INVALID, "8 inputs expected, input %zu is missing", i);
        TRY(find_steps(call, i, i == 6 ? &y : call_input(call, i - 1), i != 4, &steps));
    }
    TRY(find_steps(call, 7, &y, true, &steps));
    call_set_output(call, 0, zero->dtype, parameters.rank, parameters.dims);
    return MITRAL_OK;
}

/* Scratch: A by rows and B by columns, as differences from their zero points. */
static mitral_status product_prepare(struct kernel_call *call, const struct places *places, size_t *scratch_bytes)
{
    struct matmul_parameters p;
    TRY(matmul_decode(call, call_input(call, places->a), call_input(call, places->b), &p));
    if (!add_bytes(scratch_bytes, p.m, p.k, sizeof(int16_t)) || !add_bytes(scratch_bytes, p.n, p.k, sizeof(int16_t)))
        return call_fail(call, MITRAL_LIMIT, "matrices of %lld×%lld×%lld are too large", (long long)p.m, (long long)p.k,
                         (long long)p.n);
    return MITRAL_OK;
}

static mitral_status MatMulInteger_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    *state = NULL;
    return product_prepare(call, &integer_places, scratch_bytes);
}

static mitral_status QLinearMatMul_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    *state = NULL;
    return dtype_is_byte(call_input(call, 0)->dtype) ? product_prepare(call, &linear_places, scratch_bytes) : MITRAL_OK;
}

static int64_t value_at(const mitral_tensor *tensor, const struct steps *steps, int64_t batch, int64_t index)
{
    return tensor ? tensor_get_int(tensor, batch * steps->batch_step + index * steps->step) : 0;
}

/* `lines` lines of k elements; element (line, i) is at line * line_step + i * element_step. */
static void load_differences(const mitral_tensor *matrix, int64_t batch, int64_t lines, int64_t k, int64_t line_step,
                             int64_t element_step, const mitral_tensor *zero, const struct steps *steps, int16_t *to)
{
    for (int64_t line = 0; line < lines; line++) {
        int32_t zero_point = (int32_t)value_at(zero, steps, batch, line);
        int64_t at = batch * lines * k + line * line_step;
        if (matrix->dtype == MITRAL_UINT8)
            for (int64_t i = 0; i < k; i++, at += element_step)
                *to++ = (int16_t)(((const uint8_t *)matrix->data)[at] - zero_point);
        else
            for (int64_t i = 0; i < k; i++, at += element_step)
                *to++ = (int16_t)(((const int8_t *)matrix->data)[at] - zero_point);
    }
}

/* Each matrix of the output in turn; `finish` takes the sums of one row. */
typedef void (*finish_row)(const void *context, const struct matmul_parameters *p, int64_t a_batch, int64_t b_batch,
                           int64_t batch, int64_t row, int64_t column, int32_t sum);

static mitral_status integer_product(struct kernel_call *call, const struct places *places, finish_row finish,
                                     const void *context)
{
    const mitral_tensor *a = call_input(call, places->a), *b = call_input(call, places->b);
    const mitral_tensor *a_zero = call_input(call, places->a_zero), *b_zero = call_input(call, places->b_zero);
    struct matmul_parameters p;
    struct steps a_steps, b_steps;
    TRY(matmul_decode(call, a, b, &p));
    TRY(find_steps(call, places->a_zero, a, true, &a_steps));
    TRY(find_steps(call, places->b_zero, b, false, &b_steps));
    int16_t *left = call->scratch, *right = left + (p.m * p.k + 31) / 32 * 32;
    for (int64_t batch = 0; batch < p.batches; batch++) {
        int64_t a_batch = matmul_batch_offset(&p, p.a_strides, batch),
                b_batch = matmul_batch_offset(&p, p.b_strides, batch);
        load_differences(a, a_batch, p.m, p.k, p.k, 1, a_zero, &a_steps, left);
        load_differences(b, b_batch, p.n, p.k, 1, p.n, b_zero, &b_steps, right);
#pragma omp parallel for num_threads(call->threads) if (p.m * p.n > PARALLEL_COUNT / (p.k + 1)) schedule(static)
        for (int64_t i = 0; i < p.m * p.n; i++) {
            int64_t row = i / p.n, column = i % p.n;
            finish(context, &p, a_batch, b_batch, batch, row, column,
                   integer_dot(left + row * p.k, right + column * p.k, p.k));
        }
    }
    return MITRAL_OK;
}

static void store_sum(const void *context, const struct matmul_parameters *p, int64_t a_batch, int64_t b_batch,
                      int64_t batch, int64_t row, int64_t column, int32_t sum)
{
    (void)a_batch, (void)b_batch;
    const mitral_tensor *y = context;
    ((int32_t *)y->data)[(batch * p->m + row) * p->n + column] = sum;
}

static mitral_status MatMulInteger_run(struct kernel_call *call)
{
    return call_output(call, 0) ? integer_product(call, &integer_places, store_sum, call_output(call, 0)) : MITRAL_OK;
}

struct linear_product {
    const mitral_tensor *a_scale, *b_scale, *y_scale, *y_zero;
    struct steps a_steps, b_steps, y_steps, zero_steps;
    mitral_tensor *y;
};

static double scale_at(const mitral_tensor *tensor, const struct steps *steps, int64_t batch, int64_t index)
{
    return tensor_get_double(tensor, batch * steps->batch_step + index * steps->step);
}

/* The combined scale in float, as the product and quotient of the three are defined. */
static double combined_scale(const struct linear_product *q, int64_t a_batch, int64_t b_batch, int64_t batch,
                             int64_t row, int64_t column)
{
    float product = (float)scale_at(q->a_scale, &q->a_steps, a_batch, row)
                  * (float)scale_at(q->b_scale, &q->b_steps, b_batch, column);
    return (double)(product / (float)scale_at(q->y_scale, &q->y_steps, batch, row));
}

static void store_requantized(const void *context, const struct matmul_parameters *p, int64_t a_batch, int64_t b_batch,
                              int64_t batch, int64_t row, int64_t column, int32_t sum)
{
    const struct linear_product *q = context;
    bool is_signed = q->y->dtype == MITRAL_INT8;
    int32_t zero = (int32_t)value_at(q->y_zero, &q->zero_steps, batch, row);
    double scale = combined_scale(q, a_batch, b_batch, batch, row, column);
    ((uint8_t *)q->y->data)[(batch * p->m + row) * p->n + column] = (uint8_t)requantize(sum * scale, zero, is_signed);
}

/* 8-bit floats: their zero points are zero. */
static mitral_status float_product(struct kernel_call *call, const struct linear_product *q)
{
    const mitral_tensor *a = call_input(call, 0), *b = call_input(call, 3);
    struct matmul_parameters p;
    TRY(matmul_decode(call, a, b, &p));
    for (int64_t batch = 0; batch < p.batches; batch++) {
        int64_t a_batch = matmul_batch_offset(&p, p.a_strides, batch),
                b_batch = matmul_batch_offset(&p, p.b_strides, batch);
        for (int64_t i = 0; i < p.m * p.n; i++) {
            double sum = 0;
            for (int64_t j = 0; j < p.k; j++)
                sum += tensor_get_double(a, (a_batch * p.m + i / p.n) * p.k + j)
                       * tensor_get_double(b, (b_batch * p.k + j) * p.n + i % p.n);
            tensor_set_double(q->y, batch * p.m * p.n + i,
                              sum * combined_scale(q, a_batch, b_batch, batch, i / p.n, i % p.n), true);
        }
    }
    return MITRAL_OK;
}

static mitral_status QLinearMatMul_run(struct kernel_call *call)
{
    struct linear_product q = {.a_scale = call_input(call, 1),
                               .b_scale = call_input(call, 4),
                               .y_scale = call_input(call, 6),
                               .y_zero = call_input(call, 7),
                               .y = call_output(call, 0)};
    if (!q.y)
        return MITRAL_OK;
    TRY(find_steps(call, 1, call_input(call, 0), true, &q.a_steps));
    TRY(find_steps(call, 4, call_input(call, 3), false, &q.b_steps));
    TRY(find_steps(call, 6, q.y, true, &q.y_steps));
    TRY(find_steps(call, 7, q.y, true, &q.zero_steps));
    if (dtype_is_byte(q.y->dtype))
        return integer_product(call, &linear_places, store_requantized, &q);
    return float_product(call, &q);
}

const struct kernel reference_quantized_matmul[] = {
    {"MatMulInteger", 0, MatMulInteger_shape, MatMulInteger_prepare, MatMulInteger_run},
    {"QLinearMatMul", 0, QLinearMatMul_shape, QLinearMatMul_prepare, QLinearMatMul_run},
};
const size_t reference_quantized_matmul_count =
    sizeof(reference_quantized_matmul) / sizeof(reference_quantized_matmul[0]);
