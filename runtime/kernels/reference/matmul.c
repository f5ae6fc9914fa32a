/* MatMul, Gemm, Det. */
#include "runtime/kernels/reference/matmul.h"

#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/reference/shapes.h"

mitral_status matmul_decode(const struct kernel_call *call, const mitral_tensor *a, const mitral_tensor *b,
                            struct matmul_parameters *out)
{
    struct matmul_parameters *p = out;
    *p = (struct matmul_parameters){0};
    char first[160], second[160];
    if (!a || !b || a->rank < 1 || b->rank < 1)
        return call_fail(call, MITRAL_INVALID, "two operands of rank 1 or more expected, found %s and %s",
                         a ? tensor_describe(a, first, sizeof(first)) : "none",
                         b ? tensor_describe(b, second, sizeof(second)) : "none");
    p->m = a->rank == 1 ? 1 : a->dims[a->rank - 2];
    p->k = a->dims[a->rank - 1];
    p->n = b->rank == 1 ? 1 : b->dims[b->rank - 1];
    if (b->dims[b->rank == 1 ? 0 : b->rank - 2] != p->k)
        return call_fail(call, MITRAL_INVALID, "matrices that share their inner size expected, found %s and %s",
                         tensor_describe(a, first, sizeof(first)), tensor_describe(b, second, sizeof(second)));
    /* The leading dimensions broadcast like tensors of their own. */
    mitral_tensor a_batch = *a, b_batch = *b;
    a_batch.rank = a->rank > 2 ? a->rank - 2 : 0;
    b_batch.rank = b->rank > 2 ? b->rank - 2 : 0;
    if (call_broadcast(call, &a_batch, &b_batch, &p->batch_rank, p->batch) != MITRAL_OK)
        return call_fail(call, MITRAL_INVALID, "leading dimensions that broadcast expected, found %s and %s",
                         tensor_describe(a, first, sizeof(first)), tensor_describe(b, second, sizeof(second)));
    int64_t a_scale = 1, b_scale = 1;
    p->batches = 1;
    for (int32_t i = p->batch_rank - 1; i >= 0; i--) {
        const int32_t at_a = i - (p->batch_rank - a_batch.rank), at_b = i - (p->batch_rank - b_batch.rank);
        const int64_t a_size = at_a >= 0 ? a->dims[at_a] : 1, b_size = at_b >= 0 ? b->dims[at_b] : 1;
        p->a_strides[i] = a_size == 1 ? 0 : a_scale;
        p->b_strides[i] = b_size == 1 ? 0 : b_scale;
        if (!multiply_sizes(a_scale, a_size, &a_scale) || !multiply_sizes(b_scale, b_size, &b_scale)
            || !multiply_sizes(p->batches, p->batch[i], &p->batches))
            return call_fail(call, MITRAL_LIMIT, "a batch that can be addressed expected, its size overflows");
    }
    p->rank = p->batch_rank;
    memcpy(p->dims, p->batch, sizeof(p->dims));
    if (a->rank > 1)
        p->dims[p->rank++] = p->m;
    if (b->rank > 1)
        p->dims[p->rank++] = p->n;
    return MITRAL_OK;
}

int64_t matmul_batch_offset(const struct matmul_parameters *parameters, const int64_t *strides, int64_t index)
{
    int64_t offset = 0;
    for (int32_t i = parameters->batch_rank - 1; i >= 0; i--) {
        offset += index % parameters->batch[i] * strides[i];
        index /= parameters->batch[i];
    }
    return offset;
}

mitral_status call_gemm_parameters(const struct kernel_call *call, struct gemm_parameters *out)
{
    struct gemm_parameters *p = out;
    const mitral_tensor *a = call_input(call, 0), *b = call_input(call, 1), *c = call_input(call, 2);
    char first[160], second[160];
    *p = (struct gemm_parameters){.transpose_a = attribute_int(call->attributes, "transA", 0) != 0,
                                  .transpose_b = attribute_int(call->attributes, "transB", 0) != 0,
                                  .alpha = attribute_float(call->attributes, "alpha", 1),
                                  .beta = attribute_float(call->attributes, "beta", 1),
                                  .has_c = c != NULL};
    if (!a || !b || a->rank != 2 || b->rank != 2)
        return call_fail(call, MITRAL_INVALID, "two matrices expected, found %s and %s",
                         a ? tensor_describe(a, first, sizeof(first)) : "none",
                         b ? tensor_describe(b, second, sizeof(second)) : "none");
    p->m = a->dims[p->transpose_a ? 1 : 0];
    p->k = a->dims[p->transpose_a ? 0 : 1];
    p->n = b->dims[p->transpose_b ? 0 : 1];
    if (b->dims[p->transpose_b ? 1 : 0] != p->k)
        return call_fail(call, MITRAL_INVALID, "matrices that share their inner size expected, found %s%s and %s%s",
                         tensor_describe(a, first, sizeof(first)), p->transpose_a ? " transposed" : "",
                         tensor_describe(b, second, sizeof(second)), p->transpose_b ? " transposed" : "");
    if (!c)
        return MITRAL_OK;
    const int64_t rows = c->rank > 1 ? c->dims[c->rank - 2] : 1, columns = c->rank > 0 ? c->dims[c->rank - 1] : 1;
    if (c->rank > 2 || (rows != 1 && rows != p->m) || (columns != 1 && columns != p->n))
        return call_fail(call, MITRAL_INVALID, "C that broadcasts to [%lld,%lld] expected, found %s", (long long)p->m,
                         (long long)p->n, tensor_describe(c, first, sizeof(first)));
    p->c_row_stride = rows == 1 ? 0 : columns;
    p->c_column_stride = columns == 1 ? 0 : 1;
    return MITRAL_OK;
}

/* Whole factors, the usual case, stay exact. */
static uint64_t scale_integer(float factor, uint64_t value)
{
    const double bound = 9007199254740992.0;
    if (factor == floorf(factor) && fabs((double)factor) <= bound)
        return (uint64_t)(int64_t)factor * value;
    double product = (double)factor * (double)(int64_t)value;
    return product >= 9.2e18 ? INT64_MAX : product <= -9.2e18 ? (uint64_t)INT64_MIN : (uint64_t)(int64_t)product;
}

#define REAL float
#define NAME(x) x##_float
#define SCALE(factor, value) ((factor) * (value))
#include "runtime/kernels/reference/matmul_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/matmul_body.h"
#undef REAL
#undef NAME
#undef SCALE
#define REAL uint64_t
#define NAME(x) x##_integer
#define SCALE(factor, value) scale_integer(factor, value)
#include "runtime/kernels/reference/matmul_body.h"
#undef REAL
#undef NAME
#undef SCALE

void matmul_compute(enum compute compute, const struct matmul_parameters *p, int threads, const void *a, const void *b,
                    void *y)
{
    if (compute == COMPUTE_FLOAT)
        matmul_float(p, threads, a, b, y);
    else if (compute == COMPUTE_DOUBLE)
        matmul_double(p, threads, a, b, y);
    else
        matmul_integer(p, threads, a, b, y);
}

/* ---- MatMul --------------------------------------------------------------------------------------------------------
 */

static mitral_status check_types(const struct kernel_call *call)
{
    const mitral_tensor *a = call_input(call, 0);
    for (size_t i = 0; i < call->input_count; i++) {
        const mitral_tensor *tensor = call_input(call, i);
        if (tensor && tensor->dtype != a->dtype)
            return call_fail(call, MITRAL_INVALID, "operands of one type expected, found %s and %s",
                             mitral_dtype_name((mitral_dtype)a->dtype), mitral_dtype_name((mitral_dtype)tensor->dtype));
    }
    if (compute_of(a->dtype) == COMPUTE_NONE)
        return call_fail(call, MITRAL_UNSUPPORTED, "numeric operands expected, found %s",
                         mitral_dtype_name((mitral_dtype)a->dtype));
    return MITRAL_OK;
}

mitral_status shape_matmul(struct kernel_call *call)
{
    struct matmul_parameters p;
    TRY(matmul_decode(call, call_input(call, 0), call_input(call, 1), &p));
    TRY(check_types(call));
    if (p.rank > MITRAL_MAX_RANK)
        return call_fail(call, MITRAL_LIMIT, "a product of rank at most %d expected, found %d", MITRAL_MAX_RANK,
                         (int)p.rank);
    call_set_output(call, 0, call_input(call, 0)->dtype, p.rank, p.dims);
    return MITRAL_OK;
}

struct operands {
    const void *a, *b, *c;
    void *transposed, *y; /* transposed: A as [m, k] where the attribute says that it comes as [k, m] */
};

static void place(const struct kernel_call *call, struct work *work, enum compute compute, bool transpose_a,
                  struct operands *out)
{
    out->a = work_operand(work, compute, call_input(call, 0));
    out->b = work_operand(work, compute, call_input(call, 1));
    out->c = work_operand(work, compute, call_input(call, 2));
    out->transposed = transpose_a ? work_take(work, tensor_count(call_input(call, 0)), compute_size(compute)) : NULL;
    out->y = work_result(work, compute, call_output(call, 0));
}

static mitral_status prepare_matmul(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    struct operands operands;
    place(call, &work, compute_of(call_input(call, 0)->dtype), false, &operands);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_matmul(struct kernel_call *call)
{
    struct matmul_parameters p;
    TRY(matmul_decode(call, call_input(call, 0), call_input(call, 1), &p));
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    struct operands o;
    place(call, &work, compute, false, &o);
    if (!o.y)
        return MITRAL_OK;
    matmul_compute(compute, &p, call->threads, o.a, o.b, o.y);
    work_store(compute, call_output(call, 0), o.y);
    return MITRAL_OK;
}

static double flops_matmul(const struct kernel_call *call)
{
    struct matmul_parameters p;
    if (matmul_decode(call, call_input(call, 0), call_input(call, 1), &p) != MITRAL_OK)
        return 0;
    return 2.0 * (double)p.batches * (double)p.m * (double)p.n * (double)p.k;
}

/* ---- Gemm ----------------------------------------------------------------------------------------------------------
 */

mitral_status shape_gemm(struct kernel_call *call)
{
    struct gemm_parameters p;
    TRY(call_gemm_parameters(call, &p));
    TRY(check_types(call));
    const int64_t dims[2] = {p.m, p.n};
    call_set_output(call, 0, call_input(call, 0)->dtype, 2, dims);
    return MITRAL_OK;
}

static mitral_status prepare_gemm(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    struct operands operands;
    place(call, &work, compute_of(call_input(call, 0)->dtype), attribute_int(call->attributes, "transA", 0) != 0,
          &operands);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_gemm(struct kernel_call *call)
{
    struct gemm_parameters p;
    TRY(call_gemm_parameters(call, &p));
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    struct operands o;
    place(call, &work, compute, p.transpose_a, &o);
    if (!o.y)
        return MITRAL_OK;
    if (o.transposed) {
        if (compute == COMPUTE_FLOAT)
            transpose_float(p.k, p.m, o.a, o.transposed);
        else if (compute == COMPUTE_DOUBLE)
            transpose_double(p.k, p.m, o.a, o.transposed);
        else
            transpose_integer(p.k, p.m, o.a, o.transposed);
        o.a = o.transposed;
    }
    if (compute == COMPUTE_FLOAT)
        gemm_float(&p, call->threads, o.a, o.b, o.c, o.y);
    else if (compute == COMPUTE_DOUBLE)
        gemm_double(&p, call->threads, o.a, o.b, o.c, o.y);
    else
        gemm_integer(&p, call->threads, o.a, o.b, o.c, o.y);
    work_store(compute, call_output(call, 0), o.y);
    return MITRAL_OK;
}

static double flops_gemm(const struct kernel_call *call)
{
    struct gemm_parameters p;
    return call_gemm_parameters(call, &p) == MITRAL_OK ? 2.0 * (double)p.m * (double)p.n * (double)p.k : 0;
}

/* ---- Det: [*, n, n] -> [*] -----------------------------------------------------------------------------------------
 */

static mitral_status shape_determinant(struct kernel_call *call)
{
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    const mitral_tensor *x = call_input(call, 0);
    if (x->rank < 2 || x->dims[x->rank - 1] != x->dims[x->rank - 2]) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "square matrices [*, n, n] expected, found %s",
                         tensor_describe(x, text, sizeof(text)));
    }
    call_set_output(call, 0, x->dtype, x->rank - 2, x->dims);
    return MITRAL_OK;
}

static mitral_status prepare_determinant(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    const mitral_tensor *x = call_input(call, 0);
    const int64_t n = x->dims[x->rank - 1];
    struct work work = {0};
    int64_t count;
    work_take(&work, multiply_sizes(n, n, &count) ? count : -1, sizeof(double));
    return work_measure(call, &work, scratch_bytes);
}

int64_t largest_pivot(const double *a, int64_t n, int64_t column)
{
    int64_t pivot = column;
    for (int64_t i = column + 1; i < n; i++)
        if (fabs(a[i * n + column]) > fabs(a[pivot * n + column]))
            pivot = i;
    return pivot;
}

/* Gaussian elimination with the largest pivot of each column. */
double determinant(double *a, int64_t n)
{
    double product = 1;
    for (int64_t column = 0; column < n; column++) {
        const int64_t pivot = largest_pivot(a, n, column);
        const double value = a[pivot * n + column];
        product *= pivot == column ? value : -value;
        if (value == 0)
            return 0;
        for (int64_t j = column; pivot != column && j < n; j++) {
            const double swap = a[pivot * n + j];
            a[pivot * n + j] = a[column * n + j];
            a[column * n + j] = swap;
        }
        for (int64_t i = column + 1; i < n; i++) {
            const double factor = a[i * n + column] / value;
            for (int64_t j = column + 1; factor != 0 && j < n; j++)
                a[i * n + j] -= factor * a[column * n + j];
        }
    }
    return product;
}

static mitral_status run_determinant(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    const int64_t n = x->dims[x->rank - 1], count = tensor_count(y);
    struct work work = work_of(call);
    double *matrix = work_take(&work, n * n, sizeof(double));
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j < n * n; j++)
            matrix[j] = tensor_get_double(x, i * n * n + j);
        tensor_set_double(y, i, determinant(matrix, n), true);
    }
    return MITRAL_OK;
}

const struct kernel reference_matmul[] = {
    {.name = "Det", .shape = shape_determinant, .prepare = prepare_determinant, .run = run_determinant},
    {.name = "Gemm", .shape = shape_gemm, .prepare = prepare_gemm, .run = run_gemm, .flops = flops_gemm},
    {.name = "MatMul", .shape = shape_matmul, .prepare = prepare_matmul, .run = run_matmul, .flops = flops_matmul},
};
const size_t reference_matmul_count = sizeof(reference_matmul) / sizeof(*reference_matmul);
