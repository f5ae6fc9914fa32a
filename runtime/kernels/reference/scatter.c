/* Elements put at indices: Scatter, ScatterElements, ScatterND, TensorScatter. */
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/reference/gather.h"
#include "runtime/kernels/registry.h"

enum reduction { REDUCE_NONE, REDUCE_ADD, REDUCE_MUL, REDUCE_MAX, REDUCE_MIN };

static mitral_status read_reduction(const struct kernel_call *call, int32_t dtype, enum reduction *out)
{
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    const char *name = attribute_string(call->attributes, "reduction", "none");
    for (int i = 0; i < 5; i++) { /* max and min come with version 18; PyTorch writes them in files of 16 too */
        if (strcmp(name, names[i]) != 0)
            continue;
        bool number = dtype_is_float(dtype) || dtype_is_integer(dtype) || dtype == MITRAL_BOOL;
        if (i != REDUCE_NONE && !number)
            return call_fail(call, MITRAL_UNSUPPORTED, "reduction none for %s expected, found %s",
                             mitral_dtype_name((mitral_dtype)dtype), name);
        *out = (enum reduction)i;
        return MITRAL_OK;
    }
    return call_fail(call, MITRAL_INVALID, "a reduction none, add, mul, max or min expected, found %s", name);
}

static double combine_double(enum reduction reduction, double a, double b)
{
    switch (reduction) {
    case REDUCE_ADD: return a + b;
    case REDUCE_MUL: return a * b;
    case REDUCE_MAX: return a != a ? a : a >= b ? a : b; /* NaN wins */
    case REDUCE_MIN: return a != a ? a : a <= b ? a : b;
    default: return b;
    }
}

static int64_t combine_int(enum reduction reduction, int32_t dtype, int64_t a, int64_t b)
{
    bool less = dtype == MITRAL_UINT64 ? (uint64_t)a < (uint64_t)b : a < b;
    switch (reduction) {
    case REDUCE_ADD: return dtype == MITRAL_BOOL ? a | b : (int64_t)((uint64_t)a + (uint64_t)b);
    case REDUCE_MUL: return (int64_t)((uint64_t)a * (uint64_t)b);
    case REDUCE_MAX: return less ? b : a;
    case REDUCE_MIN: return less ? a : b;
    default: return b;
    }
}

/* `count` elements of updates from `from` on are combined into output from `to` on. */
static void combine(enum reduction reduction, mitral_tensor *output, int64_t to, const mitral_tensor *updates, int64_t from,
                    int64_t count, size_t element)
{
    if (reduction == REDUCE_NONE) {
        copy_element((char *)output->data + (size_t)to * element, (const char *)updates->data + (size_t)from * element,
                     (size_t)count * element);
    } else if (output->dtype == MITRAL_FLOAT) { /* one sum or product in double rounds to the same float */
        float *a = (float *)output->data + to;
        const float *b = (const float *)updates->data + from;
        for (int64_t i = 0; i < count; i++)
            a[i] = (float)combine_double(reduction, (double)a[i], (double)b[i]);
    } else if (dtype_is_float(output->dtype)) {
        for (int64_t i = 0; i < count; i++)
            tensor_set_double(output, to + i, combine_double(reduction, tensor_get_double(output, to + i),
                                                             tensor_get_double(updates, from + i)), false);
    } else {
        for (int64_t i = 0; i < count; i++)
            tensor_set_int(output, to + i, combine_int(reduction, output->dtype, tensor_get_int(output, to + i),
                                                       tensor_get_int(updates, from + i)));
    }
}

static mitral_status check_updates(const struct kernel_call *call, int32_t dtype, int32_t rank, const int64_t *dims)
{
    const mitral_tensor *updates;
    TRY(need_tensor(call, 2, &updates));
    mitral_tensor wanted;
    tensor_set(&wanted, dtype, rank, dims);
    if (updates->dtype != dtype || !tensor_same_shape(updates, &wanted)) {
        char left[256], right[256];
        return call_fail(call, MITRAL_INVALID, "updates %s expected, found %s", tensor_describe(&wanted, left, sizeof(left)),
                         tensor_describe(updates, right, sizeof(right)));
    }
    return MITRAL_OK;
}

/* ---- ScatterElements ------------------------------------------------------------------------------------------------- */

static mitral_status shape_scatter_elements(struct kernel_call *call)
{
    const mitral_tensor *data, *indices;
    TRY(need_tensor(call, 0, &data));
    TRY(need_tensor(call, 1, &indices));
    TRY(check_index_type(call, 1));
    int64_t axis;
    enum reduction reduction;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), data->rank, &axis));
    TRY(check_elements(call, data, indices, axis));
    TRY(check_updates(call, data->dtype, indices->rank, indices->dims));
    TRY(read_reduction(call, data->dtype, &reduction));
    call_set_output(call, 0, data->dtype, data->rank, data->dims);
    return MITRAL_OK;
}

static mitral_status run_scatter_elements(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0), *indices = call_input(call, 1), *updates = call_input(call, 2);
    mitral_tensor *output = call_output(call, 0);
    int64_t axis, strides[MITRAL_MAX_RANK];
    enum reduction reduction;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), data->rank, &axis));
    TRY(read_reduction(call, data->dtype, &reduction));
    TRY(check_indices(call, indices, data->dims[axis]));
    copy_bytes(output->data, data->data, tensor_bytes(data), call->threads);
    tensor_strides(data, strides);
    size_t element = element_size(data);
    int64_t columns = indices->dims[indices->rank - 1], rows = columns ? tensor_count(indices) / columns : 0;
    int64_t step = axis == data->rank - 1 ? 0 : 1;
    for (int64_t row = 0; row < rows; row++) {
        int64_t base = row_offset(indices, strides, row, axis);
        for (int64_t c = 0; c < columns; c++) {
            int64_t index = index_at(indices, row * columns + c);
            index += index < 0 ? data->dims[axis] : 0;
            combine(reduction, output, base + index * strides[axis] + c * step, updates, row * columns + c, 1, element);
        }
    }
    return MITRAL_OK;
}

/* ---- ScatterND --------------------------------------------------------------------------------------------------------- */

static mitral_status shape_scatter_nd(struct kernel_call *call)
{
    const mitral_tensor *data, *indices;
    TRY(need_tensor(call, 0, &data));
    TRY(need_tensor(call, 1, &indices));
    TRY(check_index_type(call, 1));
    int64_t length = indices->rank ? indices->dims[indices->rank - 1] : 0, dims[2 * MITRAL_MAX_RANK];
    if (data->rank < 1 || indices->rank < 1 || length > data->rank) {
        char left[256], right[256];
        return call_fail(call, MITRAL_INVALID, "index tuples into %s expected, found %s", tensor_describe(data, left, sizeof(left)),
                         tensor_describe(indices, right, sizeof(right)));
    }
    int32_t rank = indices->rank - 1;
    memcpy(dims, indices->dims, (size_t)rank * sizeof(*dims));
    for (int64_t i = length; i < data->rank; i++)
        dims[rank++] = data->dims[i];
    if (rank > MITRAL_MAX_RANK)
        return call_fail(call, MITRAL_LIMIT, "updates of rank at most %d expected, found %d", MITRAL_MAX_RANK, (int)rank);
    TRY(check_updates(call, data->dtype, rank, dims));
    enum reduction reduction;
    TRY(read_reduction(call, data->dtype, &reduction));
    call_set_output(call, 0, data->dtype, data->rank, data->dims);
    return MITRAL_OK;
}

static mitral_status run_scatter_nd(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0), *indices = call_input(call, 1), *updates = call_input(call, 2);
    mitral_tensor *output = call_output(call, 0);
    enum reduction reduction;
    TRY(read_reduction(call, data->dtype, &reduction));
    int64_t strides[MITRAL_MAX_RANK], length = indices->dims[indices->rank - 1];
    int64_t tuples = dims_product(indices->dims, 0, indices->rank - 1);
    int64_t block = dims_product(data->dims, (int32_t)length, data->rank);
    tensor_strides(data, strides);
    copy_bytes(output->data, data->data, tensor_bytes(data), call->threads);
    for (int64_t i = 0; i < tuples; i++) {
        int64_t offset;
        TRY(tuple_offset(call, data, indices, i, 0, strides, &offset));
        if (block)
            combine(reduction, output, offset, updates, i * block, block, element_size(data));
    }
    return MITRAL_OK;
}

/* ---- TensorScatter ------------------------------------------------------------------------------------------------------ */

static mitral_status cache_axis(const struct kernel_call *call, const mitral_tensor *cache, int64_t *axis)
{
    TRY(call_axis(call, attribute_int(call->attributes, "axis", -2), cache->rank, axis));
    if (*axis == 0)
        return call_fail(call, MITRAL_INVALID, "an axis other than the batch expected, found 0");
    return MITRAL_OK;
}

static mitral_status shape_tensor_scatter(struct kernel_call *call)
{
    const mitral_tensor *cache, *update, *starts = call_input(call, 2);
    TRY(need_tensor(call, 0, &cache));
    TRY(need_rank(call, 1, cache->rank, &update));
    int64_t axis;
    TRY(cache_axis(call, cache, &axis));
    const char *mode = attribute_string(call->attributes, "mode", "linear");
    if (strcmp(mode, "linear") != 0 && strcmp(mode, "circular") != 0)
        return call_fail(call, MITRAL_INVALID, "mode linear or circular expected, found %s", mode);
    bool fits = update->dtype == cache->dtype;
    for (int32_t i = 0; i < cache->rank; i++)
        fits &= i == axis ? update->dims[i] <= cache->dims[i] : update->dims[i] == cache->dims[i];
    fits &= !starts || (starts->rank == 1 && starts->dims[0] == cache->dims[0] && starts->dtype == MITRAL_INT64);
    if (!fits) {
        char left[256], right[256];
        return call_fail(call, MITRAL_INVALID, "an update of %s along axis %lld and one int64 start a sample expected, found %s",
                         tensor_describe(cache, left, sizeof(left)), (long long)axis,
                         tensor_describe(update, right, sizeof(right)));
    }
    call_set_output(call, 0, cache->dtype, cache->rank, cache->dims);
    return MITRAL_OK;
}

static mitral_status run_tensor_scatter(struct kernel_call *call)
{
    const mitral_tensor *cache = call_input(call, 0), *update = call_input(call, 1), *starts = call_input(call, 2);
    mitral_tensor *output = call_output(call, 0);
    int64_t axis;
    TRY(cache_axis(call, cache, &axis));
    bool circular = strcmp(attribute_string(call->attributes, "mode", "linear"), "circular") == 0;
    int64_t longest = cache->dims[axis], length = update->dims[axis], batch = cache->dims[0];
    int64_t outer = dims_product(cache->dims, 0, (int32_t)axis), rows = batch ? outer / batch : 0;
    size_t block = (size_t)dims_product(cache->dims, (int32_t)axis + 1, cache->rank) * element_size(cache);
    copy_bytes(output->data, cache->data, tensor_bytes(cache), call->threads);
    for (int64_t o = 0; o < outer && block; o++) {
        int64_t start = starts ? ((const int64_t *)starts->data)[o / rows] : 0;
        if (start < 0 || (!circular && start > longest - length))
            return call_fail(call, MITRAL_INVALID, "a start in [0, %lld] expected, found %lld", (long long)(longest - length),
                             (long long)start);
        for (int64_t s = 0; s < length; s++) {
            int64_t at = circular ? (int64_t)(((uint64_t)start + (uint64_t)s) % (uint64_t)longest) : start + s;
            memcpy((char *)output->data + (size_t)(o * longest + at) * block,
                   (const char *)update->data + (size_t)(o * length + s) * block, block);
        }
    }
    return MITRAL_OK;
}

const struct kernel reference_scatter[] = {
    {.name = "Scatter", .flags = KERNEL_IN_PLACE, .shape = shape_scatter_elements, .run = run_scatter_elements},
    {.name = "ScatterElements", .flags = KERNEL_IN_PLACE, .shape = shape_scatter_elements, .run = run_scatter_elements},
    {.name = "ScatterND", .flags = KERNEL_IN_PLACE, .shape = shape_scatter_nd, .run = run_scatter_nd},
    {.name = "TensorScatter", .flags = KERNEL_IN_PLACE | KERNEL_EXACT, .shape = shape_tensor_scatter, .run = run_tensor_scatter},
};
const size_t reference_scatter_count = sizeof(reference_scatter) / sizeof(reference_scatter[0]);
