/* Shapes as data, and operators that give the same elements another shape: in place where the planner allows it. */
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/registry.h"

/* ---- Shape, Size --------------------------------------------------------------------------------------------------- */

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static void shape_bounds(const struct kernel_call *call, const mitral_tensor *input, int64_t *from, int64_t *to)
{
    int64_t rank = input->rank, start = attribute_int(call->attributes, "start", 0);
    int64_t end = attribute_int(call->attributes, "end", rank);
    *from = clamp(start < 0 ? start + rank : start, 0, rank);
    *to = clamp(end < 0 ? end + rank : end, 0, rank);
    if (*to < *from)
        *to = *from;
}

static mitral_status shape_shape(struct kernel_call *call)
{
    const mitral_tensor *input;
    TRY(need_tensor(call, 0, &input));
    int64_t from, to;
    shape_bounds(call, input, &from, &to);
    call_set_output(call, 0, MITRAL_INT64, 1, (int64_t[]){to - from});
    return MITRAL_OK;
}

static mitral_status run_shape(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    int64_t from, to;
    shape_bounds(call, input, &from, &to);
    if (to > from)
        memcpy(call_output(call, 0)->data, input->dims + from, (size_t)(to - from) * sizeof(int64_t));
    return MITRAL_OK;
}

static mitral_status shape_size(struct kernel_call *call)
{
    const mitral_tensor *input;
    TRY(need_tensor(call, 0, &input));
    call_set_output(call, 0, MITRAL_INT64, 0, NULL);
    return MITRAL_OK;
}

static mitral_status run_size(struct kernel_call *call)
{
    *(int64_t *)call_output(call, 0)->data = tensor_count(call_input(call, 0));
    return MITRAL_OK;
}

/* ---- the same elements under another shape ------------------------------------------------------------------------- */

static mitral_status run_same_bytes(struct kernel_call *call)
{
    mitral_tensor *output = call_output(call, 0);
    copy_bytes(output->data, call_input(call, 0)->data, tensor_bytes(output), call->threads);
    return MITRAL_OK;
}

static mitral_status shape_reshape(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    int64_t dims[MITRAL_MAX_RANK];
    size_t rank;
    mitral_status status = read_ints(call, 1, dims, MITRAL_MAX_RANK, &rank);
    if (status == MITRAL_DEFERRED)
        return defer_output(call, 0, data->dtype);
    TRY(status);
    bool allow_zero = attribute_int(call->attributes, "allowzero", 0) != 0;
    int32_t unknown = -1;
    int64_t known = 1;
    bool zero = false;
    for (size_t i = 0; i < rank; i++) {
        if (dims[i] == 0 && !allow_zero) {
            if ((int32_t)i >= data->rank)
                return call_fail(call, MITRAL_INVALID, "dimension %zu is copied from the input, whose rank is %d", i,
                                 (int)data->rank);
            dims[i] = data->dims[i];
        }
        if (dims[i] == -1) {
            if (unknown >= 0)
                return call_fail(call, MITRAL_INVALID, "at most one dimension of -1 expected, found two");
            unknown = (int32_t)i;
        } else if (dims[i] < 0) {
            return call_fail(call, MITRAL_INVALID, "dimension %zu of at least -1 expected, found %lld", i, (long long)dims[i]);
        } else if (dims[i] == 0) {
            zero = true;
        } else if (__builtin_mul_overflow(known, dims[i], &known)) {
            return call_fail(call, MITRAL_LIMIT, "the new shape has too many elements");
        }
    }
    int64_t count = tensor_count(data);
    if (unknown >= 0) {
        if (zero && (allow_zero || count != 0))
            return call_fail(call, MITRAL_INVALID, "dimension %d of -1 cannot be found beside a dimension of 0", (int)unknown);
        if (!zero && count % known != 0)
            return call_fail(call, MITRAL_INVALID, "%lld elements expected to divide by %lld for the dimension of -1",
                             (long long)count, (long long)known);
        dims[unknown] = zero ? 0 : count / known;
    } else if ((zero ? 0 : known) != count) {
        return call_fail(call, MITRAL_INVALID, "a shape of %lld elements expected, found %lld", (long long)count,
                         (long long)(zero ? 0 : known));
    }
    return set_output(call, 0, data->dtype, (int32_t)rank, dims);
}

static mitral_status shape_flatten(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    int64_t axis = attribute_int(call->attributes, "axis", 1), low = call->opset >= 11 ? -data->rank : 0;
    if (axis < low || axis > data->rank)
        return call_fail(call, MITRAL_INVALID, "axis in [%lld, %d] expected, found %lld", (long long)low, (int)data->rank,
                         (long long)axis);
    if (axis < 0)
        axis += data->rank;
    mitral_tensor left = *data, right = *data;
    left.rank = (int32_t)axis;
    right.rank = data->rank - (int32_t)axis;
    memmove(right.dims, data->dims + axis, (size_t)right.rank * sizeof(int64_t));
    int64_t dims[2] = {mitral_tensor_count(&left), mitral_tensor_count(&right)};
    if (dims[0] < 0 || dims[1] < 0)
        return call_fail(call, MITRAL_LIMIT, "dimensions whose product fits in 64 bits expected");
    return set_output(call, 0, data->dtype, 2, dims);
}

/* The axes of Squeeze and Unsqueeze: an attribute before version 13, an input since. */
static mitral_status read_axes(const struct kernel_call *call, int64_t axes[MITRAL_MAX_RANK], size_t *count, bool *given)
{
    *count = 0;
    *given = false;
    if (call->opset < 13) {
        const int64_t *list = attribute_ints(call->attributes, "axes", count);
        *given = attribute_has(call->attributes, "axes");
        if (*count > MITRAL_MAX_RANK)
            return call_fail(call, MITRAL_INVALID, "at most %d axes expected, found %zu", MITRAL_MAX_RANK, *count);
        if (*count)
            memcpy(axes, list, *count * sizeof(*axes));
        return MITRAL_OK;
    }
    if (!call_input(call, 1))
        return MITRAL_OK;
    *given = true;
    return read_ints(call, 1, axes, MITRAL_MAX_RANK, count);
}

static mitral_status shape_squeeze(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    int64_t axes[MITRAL_MAX_RANK], dims[MITRAL_MAX_RANK];
    size_t count;
    bool given, marked[MITRAL_MAX_RANK];
    mitral_status status = read_axes(call, axes, &count, &given);
    if (status == MITRAL_DEFERRED)
        return defer_output(call, 0, data->dtype);
    TRY(status);
    TRY(normalise_axes(call, axes, count, data->rank, axes, marked));
    int32_t rank = 0;
    for (int32_t i = 0; i < data->rank; i++) {
        if (given && marked[i] && data->dims[i] != 1)
            return call_fail(call, MITRAL_INVALID, "dimension %d of 1 expected, found %lld", (int)i, (long long)data->dims[i]);
        if (given ? !marked[i] : data->dims[i] != 1)
            dims[rank++] = data->dims[i];
    }
    call_set_output(call, 0, data->dtype, rank, dims);
    return MITRAL_OK;
}

static mitral_status shape_unsqueeze(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    int64_t axes[MITRAL_MAX_RANK], dims[MITRAL_MAX_RANK];
    size_t count;
    bool given, marked[MITRAL_MAX_RANK];
    mitral_status status = read_axes(call, axes, &count, &given);
    if (status == MITRAL_DEFERRED)
        return defer_output(call, 0, data->dtype);
    TRY(status);
    if (!given)
        return call_fail(call, MITRAL_INVALID, "axes expected, found none");
    int32_t rank = data->rank + (int32_t)count;
    if (rank > MITRAL_MAX_RANK)
        return call_fail(call, MITRAL_LIMIT, "output of rank at most %d expected, found rank %d", MITRAL_MAX_RANK, (int)rank);
    TRY(normalise_axes(call, axes, count, rank, axes, marked));
    for (int32_t i = 0, from = 0; i < rank; i++)
        dims[i] = marked[i] ? 1 : data->dims[from++];
    call_set_output(call, 0, data->dtype, rank, dims);
    return MITRAL_OK;
}

const struct kernel reference_shape[] = {
    {.name = "Shape", .flags = KERNEL_READS_SHAPES_ONLY | KERNEL_EXACT, .shape = shape_shape, .run = run_shape},
    {.name = "Size", .flags = KERNEL_READS_SHAPES_ONLY | KERNEL_EXACT, .shape = shape_size, .run = run_size},
    {.name = "Reshape", .flags = KERNEL_IN_PLACE | KERNEL_EXACT, .shape = shape_reshape, .run = run_same_bytes},
    {.name = "Flatten", .flags = KERNEL_IN_PLACE | KERNEL_EXACT, .shape = shape_flatten, .run = run_same_bytes},
    {.name = "Squeeze", .flags = KERNEL_IN_PLACE | KERNEL_EXACT, .shape = shape_squeeze, .run = run_same_bytes},
    {.name = "Unsqueeze", .flags = KERNEL_IN_PLACE | KERNEL_EXACT, .shape = shape_unsqueeze, .run = run_same_bytes},
};
const size_t reference_shape_count = sizeof(reference_shape) / sizeof(reference_shape[0]);
