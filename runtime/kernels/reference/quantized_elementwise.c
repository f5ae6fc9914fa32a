/* com.microsoft's quantized operators that are not products: QLinearAdd, QLinearMul, QLinearSigmoid, QLinearLeakyRelu,
 * QLinearSoftmax, QLinearConcat, QLinearWhere, QLinearAveragePool, QLinearGlobalAveragePool. Each takes float values of
 * its 8-bit elements, computes like the standard's operator and rounds the result. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/quantized.h"
#include "runtime/kernels/reference/softmax.h"

/* ---- QLinearAdd, QLinearMul: A, scale, zero?, B, scale, zero?, C scale, C zero?
 * -------------------------------------------- */

static mitral_status shape_binary(struct kernel_call *call)
{
    const mitral_tensor *a = call_input(call, 0), *b = call_input(call, 3);
    if (!a || !b || a->dtype != b->dtype)
        return call_fail(call, MITRAL_INVALID, "two operands of one type expected");
    TRY(affine_check(call, 1, 2, a->dtype));
    TRY(affine_check(call, 4, 5, a->dtype));
    TRY(affine_check(call, 6, 7, a->dtype));
    int32_t rank;
    int64_t dims[MITRAL_MAX_RANK];
    TRY(call_broadcast(call, a, b, &rank, dims));
    call_set_output(call, 0, a->dtype, rank, dims);
    return MITRAL_OK;
}

/* Element strides of an operand under the output's dimensions; 0 where it broadcasts. */
static void broadcast_strides(const mitral_tensor *tensor, const mitral_tensor *y, int64_t strides[MITRAL_MAX_RANK])
{
    int64_t scale = 1;
    for (int32_t i = y->rank - 1; i >= 0; i--) {
        const int32_t at = i - (y->rank - tensor->rank);
        strides[i] = at < 0 || tensor->dims[at] == 1 ? 0 : scale;
        scale *= at < 0 ? 1 : tensor->dims[at];
    }
}

static int64_t offset_at(const mitral_tensor *y, const int64_t *strides, int64_t index)
{
    int64_t offset = 0;
    for (int32_t i = y->rank - 1; i >= 0; i--) {
        offset += index % y->dims[i] * strides[i];
        index /= y->dims[i];
    }
    return offset;
}

static mitral_status run_binary(struct kernel_call *call, bool product)
{
    const mitral_tensor *a = call_input(call, 0), *b = call_input(call, 3);
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    const struct affine of_a = affine_of(call, 1, 2, a->dtype), of_b = affine_of(call, 4, 5, a->dtype),
                        of_y = affine_of(call, 6, 7, a->dtype);
    int64_t a_strides[MITRAL_MAX_RANK], b_strides[MITRAL_MAX_RANK];
    broadcast_strides(a, y, a_strides);
    broadcast_strides(b, y, b_strides);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < tensor_count(y); i++) {
        const float left = affine_value(&of_a, a, offset_at(y, a_strides, i)),
                    right = affine_value(&of_b, b, offset_at(y, b_strides, i));
        affine_store(&of_y, y, i, product ? left * right : left + right);
    }
    return MITRAL_OK;
}

static mitral_status run_add(struct kernel_call *call)
{
    return run_binary(call, false);
}

static mitral_status run_multiply(struct kernel_call *call)
{
    return run_binary(call, true);
}

/* ---- QLinearWhere: condition, X, scale, zero, Y, scale, zero, Z scale, Z zero
 * ---------------------------------------------- */

static mitral_status shape_where(struct kernel_call *call)
{
    const mitral_tensor *condition = call_input(call, 0), *x = call_input(call, 1), *other = call_input(call, 4);
    if (!condition || !x || !other || condition->dtype != MITRAL_BOOL || x->dtype != other->dtype)
        return call_fail(call, MITRAL_INVALID, "a boolean condition and two operands of one type expected");
    TRY(affine_check(call, 2, 3, x->dtype));
    TRY(affine_check(call, 5, 6, x->dtype));
    TRY(affine_check(call, 7, 8, x->dtype));
    mitral_tensor result = *x;
    TRY(call_broadcast(call, x, other, &result.rank, result.dims));
    TRY(call_broadcast(call, &result, condition, &result.rank, result.dims));
    call_set_output(call, 0, x->dtype, result.rank, result.dims);
    return MITRAL_OK;
}

static mitral_status run_where(struct kernel_call *call)
{
    const mitral_tensor *condition = call_input(call, 0), *x = call_input(call, 1), *other = call_input(call, 4);
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    const struct affine of_x = affine_of(call, 2, 3, x->dtype), of_other = affine_of(call, 5, 6, x->dtype);
    const struct affine of_y = affine_of(call, 7, 8, x->dtype);
    int64_t strides[3][MITRAL_MAX_RANK];
    broadcast_strides(condition, y, strides[0]);
    broadcast_strides(x, y, strides[1]);
    broadcast_strides(other, y, strides[2]);
    for (int64_t i = 0; i < tensor_count(y); i++) {
        const bool first = ((const uint8_t *)condition->data)[offset_at(y, strides[0], i)] != 0;
        affine_store(&of_y, y, i, first ? affine_value(&of_x, x, offset_at(y, strides[1], i))
                                        : affine_value(&of_other, other, offset_at(y, strides[2], i)));
    }
    return MITRAL_OK;
}

/* ---- QLinearSigmoid, QLinearLeakyRelu, QLinearSoftmax: X, scale, zero?, Y scale, Y zero?
 * ------------------------------------- */

static mitral_status shape_unary(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    if (!x)
        return call_fail(call, MITRAL_INVALID, "an input expected, found none");
    TRY(affine_check(call, 1, 2, x->dtype));
    TRY(affine_check(call, 3, 4, x->dtype));
    call_set_output(call, 0, x->dtype, x->rank, x->dims);
    return MITRAL_OK;
}

static mitral_status run_unary(struct kernel_call *call, bool sigmoid)
{
    const mitral_tensor *x = call_input(call, 0);
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    const struct affine of_x = affine_of(call, 1, 2, x->dtype), of_y = affine_of(call, 3, 4, x->dtype);
    const float alpha = attribute_float(call->attributes, "alpha", 0.01f);
    /* There are but 256 elements: each is computed once. */
    uint8_t elements[256], results[256];
    for (int i = 0; i < 256; i++)
        elements[i] = (uint8_t)i;
    const int64_t all = 256;
    mitral_tensor from, to;
    tensor_set(&from, x->dtype, 1, &all);
    tensor_set(&to, x->dtype, 1, &all);
    from.data = elements;
    to.data = results;
    for (int i = 0; i < 256; i++) {
        const float value = affine_value(&of_x, &from, i);
        affine_store(&of_y, &to, i, sigmoid ? 1 / (1 + expf(-value)) : value < 0 ? alpha * value : value);
    }
    for (int64_t i = 0; i < tensor_count(x); i++)
        ((uint8_t *)y->data)[i] = results[((const uint8_t *)x->data)[i]];
    return MITRAL_OK;
}

static mitral_status run_sigmoid(struct kernel_call *call)
{
    return run_unary(call, true);
}

static mitral_status run_leaky_relu(struct kernel_call *call)
{
    return run_unary(call, false);
}

/* The attribute names the version of Softmax whose axis is meant. */
static mitral_status softmax_sizes(struct kernel_call *call, int64_t *outer, int64_t *axis, int64_t *inner)
{
    struct kernel_call plain = *call;
    plain.opset = attribute_int(call->attributes, "opset", 13) < 13 ? 11 : 13;
    return call_softmax_sizes(&plain, outer, axis, inner);
}

static mitral_status shape_softmax_quantized(struct kernel_call *call)
{
    int64_t outer, axis, inner;
    TRY(shape_unary(call));
    return softmax_sizes(call, &outer, &axis, &inner);
}

static mitral_status prepare_values(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    work_take(&work, tensor_count(call_input(call, 0)), sizeof(float));
    work_take(&work, call_output(call, 0) ? tensor_count(call_output(call, 0)) : 0, sizeof(float));
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_softmax(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    const struct affine of_x = affine_of(call, 1, 2, x->dtype), of_y = affine_of(call, 3, 4, x->dtype);
    struct work work = work_of(call);
    const int64_t count = tensor_count(x);
    float *values = work_take(&work, count, sizeof(float));
    int64_t outer, axis, inner;
    TRY(softmax_sizes(call, &outer, &axis, &inner));
    for (int64_t i = 0; i < count; i++)
        values[i] = affine_value(&of_x, x, i);
    softmax_float(SOFTMAX_PLAIN, outer, axis, inner, call->threads, values, values);
    for (int64_t i = 0; i < count; i++)
        affine_store(&of_y, y, i, values[i]);
    return MITRAL_OK;
}

/* ---- QLinearConcat: Y scale, Y zero, then X, scale, zero of each
 * ------------------------------------------------------------- */

static mitral_status shape_concat(struct kernel_call *call)
{
    const mitral_tensor *first = call_input(call, 2);
    if (!first || call->input_count < 5 || (call->input_count - 2) % 3 != 0)
        return call_fail(call, MITRAL_INVALID,
                         "a scale, a zero point, and three inputs for each part expected, found %zu inputs",
                         call->input_count);
    int64_t axis, dims[MITRAL_MAX_RANK], total = 0;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), first->rank, &axis));
    TRY(affine_check(call, 0, 1, first->dtype));
    memcpy(dims, first->dims, sizeof(dims));
    for (size_t i = 2; i < call->input_count; i += 3) {
        const mitral_tensor *part = call_input(call, i);
        TRY(affine_check(call, i + 1, i + 2, first->dtype));
        bool fits = part && part->dtype == first->dtype && part->rank == first->rank;
        for (int32_t d = 0; fits && d < first->rank; d++)
            fits = d == axis || part->dims[d] == first->dims[d];
        if (!fits || __builtin_add_overflow(total, part->dims[axis], &total)) {
            char text[160];
            return call_fail(call, MITRAL_INVALID, "parts that agree but for the axis expected, found %s",
                             part ? tensor_describe(part, text, sizeof(text)) : "none");
        }
    }
    dims[axis] = total;
    call_set_output(call, 0, first->dtype, first->rank, dims);
    return MITRAL_OK;
}

static mitral_status run_concat(struct kernel_call *call)
{
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    int64_t axis, outer = 1, inner = 1, done = 0;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), y->rank, &axis));
    for (int32_t i = 0; i < y->rank; i++)
        *(i < axis ? &outer : &inner) *= i == axis ? 1 : y->dims[i];
    const struct affine of_y = affine_of(call, 0, 1, y->dtype);
    for (size_t i = 2; i < call->input_count; i += 3) {
        const mitral_tensor *part = call_input(call, i);
        const struct affine of_part = affine_of(call, i + 1, i + 2, part->dtype);
        const int64_t length = part->dims[axis] * inner, whole = y->dims[axis] * inner;
        for (int64_t j = 0; j < outer * length; j++)
            affine_store(&of_y, y, j / length * whole + done + j % length, affine_value(&of_part, part, j));
        done += length;
    }
    return MITRAL_OK;
}

/* ---- pools: X, scale, zero?, Y scale, Y zero?
 * ---------------------------------------------------------------------------------
 */

/* A call of the standard's pool on float tensors of these shapes, channels in second place. */
struct pool_call {
    struct kernel_call call;
    mitral_value x, y;
    const mitral_value *inputs[1];
    mitral_value *outputs[1];
};

/* dims with the last dimension moved to second place, or back. */
static void move_channels(int64_t *dims, int32_t rank, bool to_second)
{
    const int64_t channels = dims[to_second ? rank - 1 : 1];
    if (to_second)
        memmove(dims + 2, dims + 1, (size_t)(rank - 2) * sizeof(*dims));
    else
        memmove(dims + 1, dims + 2, (size_t)(rank - 2) * sizeof(*dims));
    dims[to_second ? 1 : rank - 1] = channels;
}

static mitral_status open_pool(struct kernel_call *call, const char *name, struct pool_call *out)
{
    const mitral_tensor *x = call_input(call, 0);
    *out = (struct pool_call){.call = *call};
    tensor_set(&out->x.tensor, MITRAL_FLOAT, x->rank, x->dims);
    if (attribute_int(call->attributes, "channels_last", 0) && x->rank > 2)
        move_channels(out->x.tensor.dims, x->rank, true);
    out->inputs[0] = &out->x;
    out->outputs[0] = &out->y;
    out->call.kernel = kernel_find(name);
    out->call.opset = 22;
    out->call.input_count = out->call.output_count = 1;
    out->call.inputs = out->inputs;
    out->call.outputs = out->outputs;
    out->call.state = NULL;
    out->call.scratch = NULL;
    return out->call.kernel->shape(&out->call);
}

static mitral_status shape_pool_any(struct kernel_call *call, const char *name)
{
    struct pool_call pool;
    TRY(shape_unary(call));
    TRY(open_pool(call, name, &pool));
    mitral_tensor *y = &pool.y.tensor;
    if (attribute_int(call->attributes, "channels_last", 0) && y->rank > 2)
        move_channels(y->dims, y->rank, false);
    call_set_output(call, 0, call_input(call, 0)->dtype, y->rank, y->dims);
    return MITRAL_OK;
}

/* Position of element `index` of [N, C, pixels] in a tensor with channels last. */
static int64_t place_of(int64_t index, int64_t channels, int64_t pixels, bool channels_last)
{
    if (!channels_last)
        return index;
    const int64_t pixel = index % pixels, channel = index / pixels % channels, image = index / pixels / channels;
    return (image * pixels + pixel) * channels + channel;
}

static mitral_status run_pool_any(struct kernel_call *call, const char *name)
{
    const mitral_tensor *x = call_input(call, 0);
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data || !tensor_count(x))
        return MITRAL_OK;
    struct pool_call pool;
    TRY(open_pool(call, name, &pool));
    struct work work = work_of(call);
    const int64_t count = tensor_count(x), results = tensor_count(y), channels = pool.x.tensor.dims[1],
                  images = x->dims[0];
    const bool last = attribute_int(call->attributes, "channels_last", 0) != 0;
    const struct affine of_x = affine_of(call, 1, 2, x->dtype), of_y = affine_of(call, 3, 4, x->dtype);
    float *from = work_take(&work, count, sizeof(float)), *to = work_take(&work, results, sizeof(float));
    for (int64_t i = 0; i < count; i++)
        from[i] = affine_value(&of_x, x, place_of(i, channels, count / images / channels, last));
    pool.x.tensor.data = from;
    pool.y.tensor.data = to;
    TRY(pool.call.kernel->run(&pool.call));
    for (int64_t i = 0; i < results; i++)
        affine_store(&of_y, y, place_of(i, channels, results / images / channels, last), to[i]);
    return MITRAL_OK;
}

static mitral_status shape_average_pool(struct kernel_call *call)
{
    return shape_pool_any(call, "AveragePool");
}

static mitral_status run_average_pool(struct kernel_call *call)
{
    return run_pool_any(call, "AveragePool");
}

static mitral_status shape_global_average_pool(struct kernel_call *call)
{
    return shape_pool_any(call, "GlobalAveragePool");
}

static mitral_status run_global_average_pool(struct kernel_call *call)
{
    return run_pool_any(call, "GlobalAveragePool");
}

const struct kernel reference_quantized_elementwise[] = {
    {.name = "microsoft.QLinearAdd", .shape = shape_binary, .run = run_add},
    {.name = "microsoft.QLinearAveragePool",
     .shape = shape_average_pool,
     .prepare = prepare_values,
     .run = run_average_pool},
    {.name = "microsoft.QLinearConcat", .shape = shape_concat, .run = run_concat},
    {.name = "microsoft.QLinearGlobalAveragePool",
     .shape = shape_global_average_pool,
     .prepare = prepare_values,
     .run = run_global_average_pool},
    {.name = "microsoft.QLinearLeakyRelu", .shape = shape_unary, .run = run_leaky_relu},
    {.name = "microsoft.QLinearMul", .shape = shape_binary, .run = run_multiply},
    {.name = "microsoft.QLinearSigmoid", .shape = shape_unary, .run = run_sigmoid},
    {.name = "microsoft.QLinearSoftmax",
     .shape = shape_softmax_quantized,
     .prepare = prepare_values,
     .run = run_softmax},
    {.name = "microsoft.QLinearWhere", .shape = shape_where, .run = run_where},
};
const size_t reference_quantized_elementwise_count =
    sizeof(reference_quantized_elementwise) / sizeof(*reference_quantized_elementwise);
