/* com.microsoft's products of quantized matrices with float results: DynamicQuantizeMatMul, MatMulIntegerToFloat, QGemm
 * (whose result may be 8-bit again). */
#include <string.h>

#include "runtime/kernels/reference/integer.h"
#include "runtime/kernels/reference/quantized.h"

/* DynamicQuantizeMatMul: A (float), B, B scale, B zero?, bias?. MatMulIntegerToFloat: A, B, scales, zeros?, bias?. */
static const struct quantized_places dynamic_places = {
    .a = 0, .b = 1, .a_scale = SIZE_MAX, .b_scale = 2, .a_zero = SIZE_MAX, .b_zero = 3};
static const struct quantized_places integer_places = {
    .a = 0, .b = 1, .a_scale = 2, .b_scale = 3, .a_zero = 4, .b_zero = 5};

static mitral_status shape_any(struct kernel_call *call, const struct quantized_places *places, size_t bias_index)
{
    struct matmul_parameters p;
    TRY(quantized_check_matmul(call, places, &p));
    const mitral_tensor *bias = call_input(call, bias_index);
    if (bias && (bias->rank != 1 || bias->dims[0] != p.n || !dtype_is_float(bias->dtype))) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "a bias [%lld] expected, found %s", (long long)p.n,
                         tensor_describe(bias, text, sizeof(text)));
    }
    call_set_output(call, 0, call_input(call, places->b_scale)->dtype, p.rank, p.dims);
    return MITRAL_OK;
}

static mitral_status prepare_any(struct kernel_call *call, const struct quantized_places *places, size_t *scratch_bytes)
{
    struct work work = {0};
    work_take(&work, quantized_matmul_scratch(call, places), 1);
    work_result(&work, COMPUTE_FLOAT, call_output(call, 0));
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_any(struct kernel_call *call, const struct quantized_places *places, size_t bias_index)
{
    struct matmul_parameters p;
    TRY(quantized_check_matmul(call, places, &p));
    struct work work = work_of(call);
    void *scratch = work_take(&work, quantized_matmul_scratch(call, places), 1);
    float *y = work_result(&work, COMPUTE_FLOAT, call_output(call, 0));
    const mitral_tensor *bias = call_input(call, bias_index);
    if (!y)
        return MITRAL_OK;
    TRY(quantized_matmul(call, places, &p, scratch, y));
    for (int64_t i = 0; bias && i < tensor_count(call_output(call, 0)); i++)
        y[i] += (float)tensor_get_double(bias, i % p.n);
    work_store(COMPUTE_FLOAT, call_output(call, 0), y);
    return MITRAL_OK;
}

static mitral_status shape_dynamic(struct kernel_call *call)
{
    return shape_any(call, &dynamic_places, 4);
}

static mitral_status prepare_dynamic(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    return prepare_any(call, &dynamic_places, scratch_bytes);
}

static mitral_status run_dynamic(struct kernel_call *call)
{
    return run_any(call, &dynamic_places, 4);
}

static mitral_status shape_integer(struct kernel_call *call)
{
    return shape_any(call, &integer_places, 6);
}

static mitral_status prepare_integer(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    return prepare_any(call, &integer_places, scratch_bytes);
}

static mitral_status run_integer(struct kernel_call *call)
{
    return run_any(call, &integer_places, 6);
}

/* ---- QGemm: A, scale, zero, B, scale, zero, C?, Y scale?, Y zero?
 * -------------------------------------------------------------
 */

static const struct quantized_places gemm_places = {
    .a = 0, .b = 3, .a_scale = 1, .b_scale = 4, .a_zero = 2, .b_zero = 5};

/* The call with A and B as [m, k] and [k, n]: turned where the attributes say that they come turned. */
struct turned_call {
    struct kernel_call call;
    mitral_value operands[2];
    const mitral_value *inputs[9];
    bool turned[2];
};

static mitral_status open_gemm(const struct kernel_call *call, struct work *work, struct turned_call *out,
                               struct matmul_parameters *p)
{
    *out = (struct turned_call){.call = *call, .turned = {attribute_int(call->attributes, "transA", 0) != 0,
                                                          attribute_int(call->attributes, "transB", 0) != 0}};
    for (size_t i = 0; i < 9; i++)
        out->inputs[i] = i < call->input_count ? call->inputs[i] : NULL;
    for (size_t i = 0; i < 2; i++) {
        const mitral_tensor *from = call_input(call, 3 * i);
        if (!from || from->rank != 2 || !dtype_is_byte(from->dtype))
            return call_fail(call, MITRAL_INVALID, "8-bit matrices expected, found rank %d",
                             from ? (int)from->rank : -1);
        if (!out->turned[i])
            continue;
        const int64_t dims[2] = {from->dims[1], from->dims[0]};
        out->operands[i].kind = MITRAL_TENSOR;
        tensor_set(&out->operands[i].tensor, from->dtype, 2, dims);
        uint8_t *to = work ? work_take(work, tensor_count(from), 1) : NULL;
        out->operands[i].tensor.data = to;
        for (int64_t j = 0; to && j < tensor_count(from); j++)
            to[j % dims[0] * dims[1] + j / dims[0]] = ((const uint8_t *)from->data)[j];
        out->inputs[3 * i] = &out->operands[i];
    }
    out->call.inputs = out->inputs;
    out->call.input_count = 9;
    return quantized_check_matmul(&out->call, &gemm_places, p);
}

static mitral_status shape_gemm_quantized(struct kernel_call *call)
{
    struct turned_call turned;
    struct matmul_parameters p;
    TRY(open_gemm(call, NULL, &turned, &p));
    const mitral_tensor *c = call_input(call, 6), *scale = call_input(call, 7), *zero = call_input(call, 8);
    int32_t rank = 2;
    int64_t dims[MITRAL_MAX_RANK];
    mitral_tensor y;
    tensor_set(&y, MITRAL_FLOAT, 2, p.dims);
    if (c) {
        TRY(call_broadcast(call, &y, c, &rank, dims));
        if (c->dtype != MITRAL_INT32 || rank != 2 || dims[0] != p.m || dims[1] != p.n)
            return call_fail(call, MITRAL_INVALID, "an int32 C that broadcasts to the product expected");
    }
    if (scale
        && (!zero || scale->dtype != MITRAL_FLOAT || tensor_count(scale) != 1 || tensor_count(zero) != 1
            || !dtype_is_byte(zero->dtype)))
        return call_fail(call, MITRAL_INVALID, "one scale and one 8-bit zero point for Y expected");
    call_set_output(call, 0, scale ? zero->dtype : MITRAL_FLOAT, 2, p.dims);
    return MITRAL_OK;
}

static mitral_status prepare_gemm_quantized(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct turned_call turned;
    struct matmul_parameters p;
    struct work work = {0};
    TRY(open_gemm(call, &work, &turned, &p));
    work_take(&work, quantized_matmul_scratch(&turned.call, &gemm_places), 1);
    int64_t count;
    work_take(&work, multiply_sizes(p.m, p.n, &count) ? count : -1, sizeof(float));
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_gemm_quantized(struct kernel_call *call)
{
    struct turned_call turned;
    struct matmul_parameters p;
    struct work work = work_of(call);
    TRY(open_gemm(call, &work, &turned, &p));
    void *scratch = work_take(&work, quantized_matmul_scratch(&turned.call, &gemm_places), 1);
    float *sums = work_take(&work, p.m * p.n, sizeof(float));
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    TRY(quantized_matmul(&turned.call, &gemm_places, &p, scratch, sums));
    const mitral_tensor *c = call_input(call, 6), *b_scale = call_input(call, 4);
    const float alpha = attribute_float(call->attributes, "alpha", 1),
                a_scale = (float)tensor_get_double(call_input(call, 1), 0);
    const int64_t c_rows = c && c->rank > 1 ? c->dims[0] : 1, c_columns = c && c->rank > 0 ? c->dims[c->rank - 1] : 1;
    const bool each = tensor_count(b_scale) > 1, quantized = call_input(call, 7) != NULL;
    const struct affine affine = quantized ? affine_of(call, 7, 8, y->dtype) : (struct affine){0};
    for (int64_t i = 0; i < p.m * p.n; i++) {
        const int64_t row = c_rows == 1 ? 0 : i / p.n, column = c_columns == 1 ? 0 : i % p.n;
        float value = alpha * sums[i];
        if (c)
            value += (float)((const int32_t *)c->data)[row * c_columns + column]
                     * (alpha * a_scale * (float)tensor_get_double(b_scale, each ? i % p.n : 0));
        if (quantized)
            affine_store(&affine, y, i, value);
        else
            ((float *)y->data)[i] = value;
    }
    return MITRAL_OK;
}

const struct kernel reference_quantized_products[] = {
    {.name = "microsoft.DynamicQuantizeMatMul", .shape = shape_dynamic, .prepare = prepare_dynamic, .run = run_dynamic},
    {.name = "microsoft.MatMulIntegerToFloat", .shape = shape_integer, .prepare = prepare_integer, .run = run_integer},
    {.name = "microsoft.QGemm",
     .shape = shape_gemm_quantized,
     .prepare = prepare_gemm_quantized,
     .run = run_gemm_quantized},
};
const size_t reference_quantized_products_count =
    sizeof(reference_quantized_products) / sizeof(*reference_quantized_products);
