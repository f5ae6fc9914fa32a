/* com.microsoft's products of quantized matrices with float results: DynamicQuantizeMatMul, MatMulIntegerToFloat, QGemm
 * (whose result may be 8-bit again), DynamicQuantizeLSTM. */
#include <string.h>

#include "runtime/kernels/reference/integer.h"
#include "runtime/kernels/reference/quantized.h"
#include "runtime/kernels/reference/recurrent.h"

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
        if (!from || from->rank != 2 || !is_byte(from->dtype))
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
            || !is_byte(zero->dtype)))
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

/* ---- DynamicQuantizeLSTM: X, W [directions, input, 4·hidden], R, B?, lengths?, h?, c?, P?, W scale, W zero, R scale,
 * R zero
 * -------- */

/* LSTM's own parameters, from weights turned to its order. */
static mitral_status decode_lstm(const struct kernel_call *call, struct recurrent_parameters *p)
{
    mitral_value turned[2];
    const mitral_value *inputs[8];
    struct kernel_call plain = *call;
    char text[160];
    for (size_t i = 0; i < 8; i++)
        inputs[i] = i < call->input_count ? call->inputs[i] : NULL;
    for (size_t i = 0; i < 2; i++) {
        const mitral_tensor *w = call_input(call, 1 + i);
        if (!w || w->rank != 3 || !is_byte(w->dtype))
            return call_fail(call, MITRAL_INVALID, "8-bit weights [directions, size, 4·hidden] expected, found %s",
                             w ? tensor_describe(w, text, sizeof(text)) : "none");
        const int64_t dims[3] = {w->dims[0], w->dims[2], w->dims[1]};
        turned[i] = (mitral_value){.kind = MITRAL_TENSOR};
        tensor_set(&turned[i].tensor, MITRAL_FLOAT, 3, dims);
        inputs[1 + i] = &turned[i];
    }
    const mitral_tensor *x = call_input(call, 0);
    if (!x || x->dtype != MITRAL_FLOAT)
        return call_fail(call, MITRAL_INVALID, "a float input expected, found %s",
                         x ? tensor_describe(x, text, sizeof(text)) : "none");
    plain.inputs = inputs;
    plain.input_count = 8;
    TRY(call_recurrent_parameters(&plain, RECURRENT_LSTM, p));
    if (p->batch_first)
        return call_fail(call, MITRAL_UNSUPPORTED, "layout 0 expected, found 1");
    for (size_t i = 8; i < 12; i++) {
        const mitral_tensor *tensor = call_input(call, i);
        const int64_t count = tensor ? tensor_count(tensor) : 0;
        if (!tensor || (count != p->directions && count != p->directions * 4 * p->hidden)
            || (i % 2 == 0 ? tensor->dtype != MITRAL_FLOAT : tensor->dtype != call_input(call, i < 10 ? 1 : 2)->dtype))
            return call_fail(call, MITRAL_INVALID,
                             "scales and zero points for directions or for each column expected, found %s",
                             tensor ? tensor_describe(tensor, text, sizeof(text)) : "none");
    }
    return MITRAL_OK;
}

static mitral_status shape_lstm_quantized(struct kernel_call *call)
{
    struct recurrent_parameters p;
    TRY(decode_lstm(call, &p));
    const int64_t y[4] = {p.time, p.directions, p.batch, p.hidden}, state[3] = {p.directions, p.batch, p.hidden};
    call_set_output(call, 0, MITRAL_FLOAT, 4, y);
    call_set_output(call, 1, MITRAL_FLOAT, 3, state);
    call_set_output(call, 2, MITRAL_FLOAT, 3, state);
    return MITRAL_OK;
}

struct lstm_buffers {
    int16_t *w, *r, *tokens;     /* weights turned, of one direction; a quantized input */
    float *products, *gates, *h, *c;
};

static int64_t times(int64_t a, int64_t b, int64_t c)
{
    int64_t result;
    return multiply_sizes(a, b, &result) && multiply_sizes(result, c, &result) ? result : -1;
}

static void place_lstm(struct work *work, const struct recurrent_parameters *p, struct lstm_buffers *b)
{
    const int64_t rows = 4 * p->hidden;
    b->w = work_take(work, times(rows, p->input, 1), sizeof(int16_t));
    b->r = work_take(work, times(rows, p->hidden, 1), sizeof(int16_t));
    b->tokens =
        work_take(work, larger(times(p->time, p->batch, p->input), times(p->batch, p->hidden, 1)), sizeof(int16_t));
    b->products = work_take(work, times(p->time, p->batch, rows), sizeof(float));
    b->gates = work_take(work, times(p->batch, rows, 1), sizeof(float));
    b->h = work_take(work, times(p->batch, p->hidden, 1), sizeof(float));
    b->c = work_take(work, times(p->batch, p->hidden, 1), sizeof(float));
}

static mitral_status prepare_lstm_quantized(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct recurrent_parameters p;
    struct lstm_buffers buffers;
    struct work work = {0};
    TRY(decode_lstm(call, &p));
    place_lstm(&work, &p, &buffers);
    return work_measure(call, &work, scratch_bytes);
}

/* element − zero of one direction's weights [size, columns], turned to [columns, size]. */
static void turn_weights(const mitral_tensor *w, const mitral_tensor *zeros, int64_t direction, int64_t size,
                         int64_t columns, int16_t *out)
{
    const bool each = tensor_count(zeros) == w->dims[0] * columns && columns > 1;
    for (int64_t c = 0; c < columns; c++)
        for (int64_t i = 0; i < size; i++)
            out[c * size + i] = (int16_t)(tensor_get_int(w, (direction * size + i) * columns + c)
                                          - tensor_get_int(zeros, each ? direction * columns + c : direction));
}

/* out[rows, columns] (+)= values · weights, values quantized together. */
static void multiply_dynamic(const float *values, int64_t rows, int64_t size, const int16_t *weights, int64_t columns,
                             const mitral_tensor *scales, int64_t direction, int64_t directions, int16_t *tokens,
                             bool add, float *out, int threads)
{
    const bool each = tensor_count(scales) == directions * columns && columns > 1;
    const float *scale = (const float *)scales->data + (each ? direction * columns : direction);
    const struct affine affine = affine_of_range(values, rows * size);
    affine_differences(&affine, values, rows * size, tokens);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < rows * columns; i++) {
        const int64_t row = i / columns, column = i % columns;
        const float product = (float)integer_dot(tokens + row * size, weights + column * size, size)
                            * (affine.scale * scale[each ? column : 0]);
        out[i] = add ? out[i] + product : product;
    }
}

static void run_direction(const struct kernel_call *call, const struct recurrent_parameters *p,
                          const struct lstm_buffers *b, int64_t direction)
{
    const int64_t hidden = p->hidden, columns = 4 * hidden, batch = p->batch;
    const mitral_tensor *bias = call_input(call, 3), *lengths = call_input(call, 4), *peepholes = call_input(call, 7);
    const mitral_tensor *first[2] = {call_input(call, 5), call_input(call, 6)};
    const bool backwards = p->directions == 2 ? direction == 1 : p->reverse;
    mitral_tensor *y = call_output(call, 0), *last[2] = {call_output(call, 1), call_output(call, 2)};
    turn_weights(call_input(call, 1), call_input(call, 9), direction, p->input, columns, b->w);
    turn_weights(call_input(call, 2), call_input(call, 11), direction, hidden, columns, b->r);
    multiply_dynamic(call_input(call, 0)->data, p->time * batch, p->input, b->w, columns, call_input(call, 8),
                     direction, p->directions, b->tokens, false, b->products, call->threads);
    for (int i = 0; i < 2; i++)
        for (int64_t j = 0; j < batch * hidden; j++)
            (i ? b->c : b->h)[j] = first[i] ? ((const float *)first[i]->data)[direction * batch * hidden + j] : 0;
    for (int64_t step = 0; step < p->time; step++) {
        /* The hidden states of the whole batch are quantized together, ended sequences too. */
        memset(b->gates, 0, (size_t)(batch * columns) * sizeof(float));
        multiply_dynamic(b->h, batch, hidden, b->r, columns, call_input(call, 10), direction, p->directions, b->tokens,
                         false, b->gates, call->threads);
        for (int64_t s = 0; s < batch; s++) {
            const int64_t length = lengths ? tensor_get_int(lengths, s) : p->time;
            const int64_t t = backwards && step < length ? length - 1 - step : step;
            float *gates = b->gates + s * columns,
                  *out =
                      y && y->data ? (float *)y->data + ((t * p->directions + direction) * batch + s) * hidden : NULL;
            if (step >= length) {
                if (out)
                    memset(out, 0, (size_t)hidden * sizeof(float));
                continue;
            }
            for (int64_t c = 0; c < columns; c++) {
                gates[c] += b->products[(t * batch + s) * columns + c];
                if (bias)
                    gates[c] += ((const float *)bias->data)[direction * 2 * columns + c]
                              + ((const float *)bias->data)[direction * 2 * columns + columns + c];
            }
            lstm_cell_float(p, p->activations + direction * 3,
                            peepholes ? (const float *)peepholes->data + direction * 3 * hidden : NULL, gates,
                            b->h + s * hidden, b->c + s * hidden);
            if (out)
                memcpy(out, b->h + s * hidden, (size_t)hidden * sizeof(float));
        }
    }
    for (int i = 0; i < 2; i++)
        if (last[i] && last[i]->data)
            memcpy((float *)last[i]->data + direction * batch * hidden, i ? b->c : b->h,
                   (size_t)(batch * hidden) * sizeof(float));
}

static mitral_status run_lstm_quantized(struct kernel_call *call)
{
    struct recurrent_parameters p;
    struct lstm_buffers buffers;
    TRY(decode_lstm(call, &p));
    const mitral_tensor *lengths = call_input(call, 4);
    for (int64_t i = 0; lengths && i < p.batch; i++)
        if (tensor_get_int(lengths, i) < 0 || tensor_get_int(lengths, i) > p.time)
            return call_fail(call, MITRAL_INVALID, "sequence_lens from 0 to %lld expected, found %lld",
                             (long long)p.time, (long long)tensor_get_int(lengths, i));
    struct work work = work_of(call);
    place_lstm(&work, &p, &buffers);
    for (int64_t direction = 0; direction < p.directions; direction++)
        run_direction(call, &p, &buffers, direction);
    return MITRAL_OK;
}

const struct kernel reference_quantized_products[] = {
    {.name = "microsoft.DynamicQuantizeLSTM",
     .shape = shape_lstm_quantized,
     .prepare = prepare_lstm_quantized,
     .run = run_lstm_quantized},
    {.name = "microsoft.DynamicQuantizeMatMul", .shape = shape_dynamic, .prepare = prepare_dynamic, .run = run_dynamic},
    {.name = "microsoft.MatMulIntegerToFloat", .shape = shape_integer, .prepare = prepare_integer, .run = run_integer},
    {.name = "microsoft.QGemm",
     .shape = shape_gemm_quantized,
     .prepare = prepare_gemm_quantized,
     .run = run_gemm_quantized},
};
const size_t reference_quantized_products_count =
    sizeof(reference_quantized_products) / sizeof(*reference_quantized_products);
