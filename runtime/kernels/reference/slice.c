/* Parts of a tensor, forwards or backwards along each axis: Slice. */
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/registry.h"

struct slice {
    int64_t start[MITRAL_MAX_RANK], step[MITRAL_MAX_RANK], size[MITRAL_MAX_RANK];
};

static mitral_status slice_list(const struct kernel_call *call, size_t input, const char *name, int64_t *values, size_t *count)
{
    if (call->opset < 10) {
        const int64_t *list = attribute_ints(call->attributes, name, count);
        if (*count > MITRAL_MAX_RANK)
            return call_fail(call, MITRAL_INVALID, "at most %d %s expected, found %zu", MITRAL_MAX_RANK, name, *count);
        if (*count)
            memcpy(values, list, *count * sizeof(*values));
        return MITRAL_OK;
    }
    *count = 0;
    return call_input(call, input) ? read_ints(call, input, values, MITRAL_MAX_RANK, count) : MITRAL_OK;
}

static mitral_status slice_bounds(const struct kernel_call *call, const mitral_tensor *data, struct slice *slice)
{
    int64_t starts[MITRAL_MAX_RANK], ends[MITRAL_MAX_RANK], axes[MITRAL_MAX_RANK], steps[MITRAL_MAX_RANK];
    size_t start_count, end_count, axis_count, step_count = 0;
    TRY(slice_list(call, 1, "starts", starts, &start_count));
    TRY(slice_list(call, 2, "ends", ends, &end_count));
    TRY(slice_list(call, 3, "axes", axes, &axis_count));
    if (call->opset >= 10)
        TRY(slice_list(call, 4, "steps", steps, &step_count));
    if (start_count != end_count || (axis_count && axis_count != start_count) || (step_count && step_count != start_count) ||
        (!axis_count && (int64_t)start_count > data->rank))
        return call_fail(call, MITRAL_INVALID, "starts, ends, axes and steps of equal length expected, found %zu, %zu, %zu, %zu",
                         start_count, end_count, axis_count, step_count);
    bool marked[MITRAL_MAX_RANK];
    if (axis_count)
        TRY(normalise_axes(call, axes, axis_count, data->rank, axes, marked));
    for (int32_t d = 0; d < data->rank; d++) {
        slice->start[d] = 0;
        slice->step[d] = 1;
        slice->size[d] = data->dims[d];
    }
    for (size_t i = 0; i < start_count; i++) {
        int64_t axis = axis_count ? axes[i] : (int64_t)i, step = step_count ? steps[i] : 1;
        int64_t size = data->dims[axis], start = starts[i], end = ends[i];
        if (step == 0)
            return call_fail(call, MITRAL_INVALID, "steps other than 0 expected");
        start += start < 0 ? size : 0;
        end += end < 0 ? size : 0;
        int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
        start = start < 0 ? 0 : start > high ? high : start;
        end = end < low ? low : end > high ? high : end;
        int64_t length = end - start, count = 0;
        if (step > 0 ? length > 0 : length < 0)
            count = 1 + (length + (step > 0 ? -1 : 1)) / step;
        slice->start[axis] = count ? start : 0;
        slice->step[axis] = count > 1 ? step : 1;
        slice->size[axis] = count;
    }
    return MITRAL_OK;
}

static mitral_status shape_slice(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    struct slice slice;
    mitral_status status = slice_bounds(call, data, &slice);
    if (status == MITRAL_DEFERRED)
        return defer_output(call, 0, data->dtype);
    TRY(status);
    call_set_output(call, 0, data->dtype, data->rank, slice.size);
    return MITRAL_OK;
}

static mitral_status run_slice(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    struct slice slice;
    TRY(slice_bounds(call, data, &slice));
    int64_t from[MITRAL_MAX_RANK], to[MITRAL_MAX_RANK], offset = 0;
    tensor_strides(data, from);
    tensor_strides(output, to);
    for (int32_t i = 0; i < data->rank; i++) {
        offset += slice.start[i] * from[i];
        from[i] *= slice.step[i];
    }
    if (tensor_count(output))
        copy_strided(output->data, (const char *)data->data + offset * (int64_t)element_size(data), element_size(data),
                     data->rank, output->dims, to, from, call->threads);
    return MITRAL_OK;
}

const struct kernel reference_slice[] = {
    {.name = "Slice", .flags = KERNEL_EXACT, .shape = shape_slice, .run = run_slice},
};
const size_t reference_slice_count = sizeof(reference_slice) / sizeof(reference_slice[0]);
