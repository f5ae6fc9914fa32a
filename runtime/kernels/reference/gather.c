/* Elements picked by index: Gather, GatherElements, GatherND. */
#include "runtime/kernels/reference/gather.h"

#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/registry.h"

mitral_status check_index_type(const struct kernel_call *call, size_t input)
{
    const mitral_tensor *indices = call_input(call, input);
    if (indices->dtype != MITRAL_INT32 && indices->dtype != MITRAL_INT64)
        return call_fail(call, MITRAL_INVALID, "input %zu: indices of int32 or int64 expected, found %s", input,
                         mitral_dtype_name((mitral_dtype)indices->dtype));
    return MITRAL_OK;
}

mitral_status check_indices(const struct kernel_call *call, const mitral_tensor *indices, int64_t size)
{
    int64_t count = tensor_count(indices), wrong = -1;
    for (int64_t i = 0; i < count; i++) {
        int64_t index = index_at(indices, i);
        if (index < -size || index >= size)
            wrong = wrong < 0 ? i : wrong;
    }
    if (wrong >= 0)
        return call_fail(call, MITRAL_INVALID, "indices in [%lld, %lld) expected, found %lld", (long long)-size, (long long)size,
                         (long long)index_at(indices, wrong));
    return MITRAL_OK;
}

/* ---- Gather -------------------------------------------------------------------------------------------------------- */

static mitral_status shape_gather(struct kernel_call *call)
{
    const mitral_tensor *data, *indices;
    TRY(need_tensor(call, 0, &data));
    TRY(need_tensor(call, 1, &indices));
    TRY(check_index_type(call, 1));
    int64_t axis, dims[2 * MITRAL_MAX_RANK];
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), data->rank, &axis));
    int32_t rank = 0;
    for (int32_t i = 0; i < axis; i++)
        dims[rank++] = data->dims[i];
    for (int32_t i = 0; i < indices->rank; i++)
        dims[rank++] = indices->dims[i];
    for (int32_t i = (int32_t)axis + 1; i < data->rank; i++)
        dims[rank++] = data->dims[i];
    return set_output(call, 0, data->dtype, rank, dims);
}

static mitral_status run_gather(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0), *indices = call_input(call, 1);
    mitral_tensor *output = call_output(call, 0);
    int64_t axis;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), data->rank, &axis));
    int64_t size = data->dims[axis], count = tensor_count(indices), outer = dims_product(data->dims, 0, (int32_t)axis);
    size_t block = (size_t)dims_product(data->dims, (int32_t)axis + 1, data->rank) * element_size(data);
    TRY(check_indices(call, indices, size));
    int64_t total = outer * count;
    int team = copy_team(call->threads, (int64_t)tensor_bytes(output));
    (void)team; /* without OpenMP */
    if (!tensor_count(output))
        return MITRAL_OK;
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (int64_t i = 0; i < total; i++) {
        int64_t index = index_at(indices, i % count);
        index += index < 0 ? size : 0;
        copy_element((char *)output->data + (size_t)i * block,
                     (const char *)data->data + (size_t)(i / count * size + index) * block, block);
    }
    return MITRAL_OK;
}

/* ---- GatherElements -------------------------------------------------------------------------------------------------- */

mitral_status check_elements(const struct kernel_call *call, const mitral_tensor *data, const mitral_tensor *indices, int64_t axis)
{
    bool fits = indices->rank == data->rank;
    for (int32_t i = 0; fits && i < data->rank; i++)
        fits = i == axis || indices->dims[i] <= data->dims[i];
    if (!fits) {
        char left[256], right[256];
        return call_fail(call, MITRAL_INVALID, "indices within %s beside axis %lld expected, found %s",
                         tensor_describe(data, left, sizeof(left)), (long long)axis,
                         tensor_describe(indices, right, sizeof(right)));
    }
    return MITRAL_OK;
}

static mitral_status shape_gather_elements(struct kernel_call *call)
{
    const mitral_tensor *data, *indices;
    TRY(need_tensor(call, 0, &data));
    TRY(need_tensor(call, 1, &indices));
    TRY(check_index_type(call, 1));
    int64_t axis;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), data->rank, &axis));
    TRY(check_elements(call, data, indices, axis));
    return set_output(call, 0, data->dtype, indices->rank, indices->dims);
}

int64_t row_offset(const mitral_tensor *box, const int64_t *strides, int64_t row, int64_t skip)
{
    int64_t offset = 0;
    for (int32_t i = box->rank - 2; i >= 0; i--) {
        if (i != skip)
            offset += row % box->dims[i] * strides[i];
        row /= box->dims[i];
    }
    return offset;
}

/* `columns` elements: column c comes from source + (index·stride + c·step) elements, the index wrapped once. */
static void gather_row(char *target, const char *source, size_t element, const mitral_tensor *indices, int64_t first, int64_t columns,
                       int64_t size, int64_t stride, int64_t step)
{
#define GATHER(bytes)                                                                                                  \
    for (int64_t c = 0; c < columns; c++) {                                                                            \
        int64_t index = index_at(indices, first + c);                                                                  \
        index += index < 0 ? size : 0;                                                                                 \
        memcpy(target + c * (int64_t)(bytes), source + (index * stride + c * step) * (int64_t)(bytes), bytes);         \
    }
    switch (element) {
    case 1: GATHER(1) break;
    case 2: GATHER(2) break;
    case 4: GATHER(4) break;
    case 8: GATHER(8) break;
    default: GATHER(element) break;
    }
#undef GATHER
}

static mitral_status run_gather_elements(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0), *indices = call_input(call, 1);
    mitral_tensor *output = call_output(call, 0);
    int64_t axis, strides[MITRAL_MAX_RANK];
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), data->rank, &axis));
    TRY(check_indices(call, indices, data->dims[axis]));
    if (!tensor_count(output))
        return MITRAL_OK;
    tensor_strides(data, strides);
    size_t element = element_size(data);
    int64_t columns = indices->dims[indices->rank - 1], rows = tensor_count(indices) / columns;
    int64_t step = axis == data->rank - 1 ? 0 : 1;
    int team = copy_team(call->threads, (int64_t)tensor_bytes(output));
    (void)team; /* without OpenMP */
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        gather_row((char *)output->data + (size_t)(row * columns) * element,
                   (const char *)data->data + (size_t)row_offset(indices, strides, row, axis) * element, element, indices,
                   row * columns, columns, data->dims[axis], strides[axis], step);
    return MITRAL_OK;
}

/* ---- GatherND -------------------------------------------------------------------------------------------------------- */

mitral_status tuple_offset(const struct kernel_call *call, const mitral_tensor *data, const mitral_tensor *indices, int64_t tuple,
                           int64_t batch, const int64_t *strides, int64_t *offset)
{
    int64_t length = indices->dims[indices->rank - 1];
    *offset = 0;
    for (int64_t k = 0; k < length; k++) {
        int64_t index;
        TRY(check_index(call, index_at(indices, tuple * length + k), data->dims[batch + k], &index));
        *offset += index * strides[batch + k];
    }
    return MITRAL_OK;
}

static mitral_status shape_gather_nd(struct kernel_call *call)
{
    const mitral_tensor *data, *indices;
    TRY(need_tensor(call, 0, &data));
    TRY(need_tensor(call, 1, &indices));
    TRY(check_index_type(call, 1));
    int64_t batch = attribute_int(call->attributes, "batch_dims", 0), dims[2 * MITRAL_MAX_RANK];
    bool fits = data->rank >= 1 && indices->rank >= 1 && batch >= 0 && batch < data->rank && batch < indices->rank;
    for (int64_t i = 0; fits && i < batch; i++)
        fits = data->dims[i] == indices->dims[i];
    int64_t length = fits ? indices->dims[indices->rank - 1] : 0;
    if (!fits || length > data->rank - batch) {
        char left[256], right[256];
        return call_fail(call, MITRAL_INVALID, "index tuples into %s with %lld batch dimensions expected, found %s",
                         tensor_describe(data, left, sizeof(left)), (long long)batch,
                         tensor_describe(indices, right, sizeof(right)));
    }
    int32_t rank = 0;
    for (int32_t i = 0; i < indices->rank - 1; i++)
        dims[rank++] = indices->dims[i];
    for (int64_t i = batch + length; i < data->rank; i++)
        dims[rank++] = data->dims[i];
    return set_output(call, 0, data->dtype, rank, dims);
}

static mitral_status run_gather_nd(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0), *indices = call_input(call, 1);
    int64_t batch = attribute_int(call->attributes, "batch_dims", 0), strides[MITRAL_MAX_RANK];
    int64_t length = indices->dims[indices->rank - 1];
    int64_t batches = dims_product(indices->dims, 0, (int32_t)batch);
    int64_t tuples = dims_product(indices->dims, (int32_t)batch, indices->rank - 1);
    int64_t batch_stride = dims_product(data->dims, (int32_t)batch, data->rank);
    size_t element = element_size(data);
    size_t block = (size_t)dims_product(data->dims, (int32_t)(batch + length), data->rank) * element;
    tensor_strides(data, strides);
    char *target = call_output(call, 0)->data;
    for (int64_t i = 0; i < batches * tuples; i++) {
        int64_t offset;
        TRY(tuple_offset(call, data, indices, i, batch, strides, &offset));
        offset += i / tuples * batch_stride;
        if (block)
            copy_element(target + (size_t)i * block, (const char *)data->data + (size_t)offset * element, block);
    }
    return MITRAL_OK;
}

const struct kernel reference_gather[] = {
    {.name = "Gather", .flags = KERNEL_EXACT, .shape = shape_gather, .run = run_gather},
    {.name = "GatherElements", .flags = KERNEL_EXACT, .shape = shape_gather_elements, .run = run_gather_elements},
    {.name = "GatherND", .flags = KERNEL_EXACT, .shape = shape_gather_nd, .run = run_gather_nd},
};
const size_t reference_gather_count = sizeof(reference_gather) / sizeof(reference_gather[0]);
