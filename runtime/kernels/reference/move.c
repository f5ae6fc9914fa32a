/* Elements at other places: Transpose, Expand, Concat, Split, Tile, DepthToSpace, SpaceToDepth, ReverseSequence, Trilu. */
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/reference/vector_math.h"
#include "runtime/kernels/registry.h"

/* ---- Transpose ----------------------------------------------------------------------------------------------------- */

static mitral_status permutation(const struct kernel_call *call, const mitral_tensor *data, int64_t perm[MITRAL_MAX_RANK])
{
    size_t count;
    const int64_t *list = attribute_ints(call->attributes, "perm", &count);
    if (!attribute_has(call->attributes, "perm")) {
        for (int32_t i = 0; i < data->rank; i++)
            perm[i] = data->rank - 1 - i;
        return MITRAL_OK;
    }
    bool marked[MITRAL_MAX_RANK];
    if ((int64_t)count != data->rank)
        return call_fail(call, MITRAL_INVALID, "perm of %d entries expected, found %zu", (int)data->rank, count);
    return normalise_axes(call, list, count, data->rank, perm, marked);
}

static mitral_status shape_transpose(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    int64_t perm[MITRAL_MAX_RANK], dims[MITRAL_MAX_RANK];
    TRY(permutation(call, data, perm));
    for (int32_t i = 0; i < data->rank; i++)
        dims[i] = data->dims[perm[i]];
    call_set_output(call, 0, data->dtype, data->rank, dims);
    return MITRAL_OK;
}

static mitral_status run_transpose(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    int64_t perm[MITRAL_MAX_RANK], from[MITRAL_MAX_RANK], to[MITRAL_MAX_RANK], source[MITRAL_MAX_RANK];
    TRY(permutation(call, data, perm));
    tensor_strides(data, from);
    tensor_strides(output, to);
    for (int32_t i = 0; i < data->rank; i++)
        source[i] = from[perm[i]];
    copy_strided(output->data, data->data, element_size(data), data->rank, output->dims, to, source, call->threads);
    return MITRAL_OK;
}

/* ---- Expand -------------------------------------------------------------------------------------------------------- */

static mitral_status shape_expand(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    mitral_tensor wanted = {.dtype = MITRAL_INT64};
    size_t count;
    mitral_status status = read_ints(call, 1, wanted.dims, MITRAL_MAX_RANK, &count);
    if (status == MITRAL_DEFERRED)
        return defer_output(call, 0, data->dtype);
    TRY(status);
    wanted.rank = (int32_t)count;
    for (int32_t i = 0; i < wanted.rank; i++)
        if (wanted.dims[i] < 0)
            return call_fail(call, MITRAL_INVALID, "shape of at least 0 expected, found %lld", (long long)wanted.dims[i]);
    int32_t rank;
    int64_t dims[MITRAL_MAX_RANK];
    TRY(call_broadcast(call, data, &wanted, &rank, dims));
    return set_output(call, 0, data->dtype, rank, dims);
}

static mitral_status run_expand(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    int64_t from[MITRAL_MAX_RANK], to[MITRAL_MAX_RANK], source[MITRAL_MAX_RANK];
    tensor_strides(data, from);
    tensor_strides(output, to);
    int32_t shift = output->rank - data->rank;
    for (int32_t i = 0; i < output->rank; i++)
        source[i] = i < shift || data->dims[i - shift] == 1 ? 0 : from[i - shift];
    copy_strided(output->data, data->data, element_size(data), output->rank, output->dims, to, source, call->threads);
    return MITRAL_OK;
}

/* ---- Concat, Split ------------------------------------------------------------------------------------------------- */

static mitral_status shape_concat(struct kernel_call *call)
{
    const mitral_tensor *first;
    TRY(need_tensor(call, 0, &first));
    int64_t axis, dims[MITRAL_MAX_RANK];
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 1), first->rank, &axis));
    memcpy(dims, first->dims, sizeof(dims));
    for (size_t i = 1; i < call->input_count; i++) {
        const mitral_tensor *next;
        TRY(need_rank(call, i, first->rank, &next));
        bool fits = next->dtype == first->dtype;
        for (int32_t d = 0; d < first->rank; d++)
            fits &= d == axis || next->dims[d] == first->dims[d];
        if (!fits) {
            char left[256], right[256];
            return call_fail(call, MITRAL_INVALID, "inputs that differ along axis %lld only expected, found %s and %s",
                             (long long)axis, tensor_describe(first, left, sizeof(left)),
                             tensor_describe(next, right, sizeof(right)));
        }
        const int64_t before = dims[axis];
        if (__builtin_add_overflow(before, next->dims[axis], &dims[axis]))
            return call_fail(call, MITRAL_LIMIT, "an output of at most 2^63 - 1 along axis %lld expected, found %lld and %lld more", (long long)axis,
                             (long long)before, (long long)next->dims[axis]);
    }
    return set_output(call, 0, first->dtype, first->rank, dims);
}

static mitral_status run_concat(struct kernel_call *call)
{
    mitral_tensor *output = call_output(call, 0);
    int64_t axis, row = 0;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 1), output->rank, &axis));
    size_t element = element_size(output);
    int64_t outer = dims_product(output->dims, 0, (int32_t)axis);
    int64_t inner = dims_product(output->dims, (int32_t)axis + 1, output->rank);
    int64_t stride = output->dims[axis] * inner;
    for (size_t i = 0; i < call->input_count; i++) {
        const mitral_tensor *input = call_input(call, i);
        int64_t run = input->dims[axis] * inner;
        char *target = (char *)output->data + (size_t)row * element;
        if (outer != 1 || target != input->data) /* the planner may have placed it there already */
            copy_strided(target, input->data, element, 2, (int64_t[]){outer, run}, (int64_t[]){stride, 1},
                         (int64_t[]){run, 1}, call->threads);
        row += run;
    }
    return MITRAL_OK;
}

/* The length of part `index`; the sizes come from an attribute, an input, or are equal. */
static mitral_status split_length(const struct kernel_call *call, int64_t size, size_t parts, size_t index, int64_t *out)
{
    size_t count = 0;
    const int64_t *list = attribute_ints(call->attributes, "split", &count);
    const mitral_tensor *given = call->opset >= 13 ? call_input(call, 1) : NULL;
    if (given) {
        if (given->rank != 1 || !dtype_is_integer(given->dtype) || given->dims[0] != (int64_t)parts) {
            char text[256];
            return call_fail(call, MITRAL_INVALID, "split of %zu integers expected, found %s", parts,
                             tensor_describe(given, text, sizeof(text)));
        }
        if (!given->data)
            return MITRAL_DEFERRED;
        *out = tensor_get_int(given, (int64_t)index);
    } else if (list && call->opset < 13) {
        if (count != parts)
            return call_fail(call, MITRAL_INVALID, "split of %zu lengths expected, found %zu", parts, count);
        *out = list[index];
    } else {
        if (call->opset < 18 && size % (int64_t)parts != 0)
            return call_fail(call, MITRAL_INVALID, "a dimension that divides by %zu expected, found %lld", parts, (long long)size);
        int64_t length = (size + (int64_t)parts - 1) / (int64_t)parts, left = size - length * (int64_t)index;
        *out = left <= 0 ? 0 : left < length ? left : length;
    }
    return MITRAL_OK;
}

static mitral_status shape_split(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    int64_t axis, total = 0, dims[MITRAL_MAX_RANK];
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), data->rank, &axis));
    if (attribute_has(call->attributes, "num_outputs") &&
        attribute_int(call->attributes, "num_outputs", 0) != (int64_t)call->output_count)
        return call_fail(call, MITRAL_INVALID, "num_outputs of %zu expected, found %lld", call->output_count,
                         (long long)attribute_int(call->attributes, "num_outputs", 0));
    memcpy(dims, data->dims, sizeof(dims));
    for (size_t i = 0; i < call->output_count; i++) {
        mitral_status status = split_length(call, data->dims[axis], call->output_count, i, &dims[axis]);
        if (status == MITRAL_DEFERRED) {
            for (size_t j = 0; j < call->output_count; j++)
                defer_output(call, j, data->dtype);
            return MITRAL_DEFERRED;
        }
        TRY(status);
        if (dims[axis] < 0 || __builtin_add_overflow(total, dims[axis], &total))
            return call_fail(call, MITRAL_INVALID, "split lengths of at least 0 expected, found %lld", (long long)dims[axis]);
        TRY(set_output(call, i, data->dtype, data->rank, dims));
    }
    if (total != data->dims[axis])
        return call_fail(call, MITRAL_INVALID, "split lengths that sum to %lld expected, found %lld",
                         (long long)data->dims[axis], (long long)total);
    return MITRAL_OK;
}

static mitral_status run_split(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0);
    int64_t axis, row = 0;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), data->rank, &axis));
    size_t element = element_size(data);
    int64_t outer = dims_product(data->dims, 0, (int32_t)axis);
    int64_t inner = dims_product(data->dims, (int32_t)axis + 1, data->rank);
    int64_t stride = data->dims[axis] * inner;
    for (size_t i = 0; i < call->output_count; i++) {
        int64_t length = 0;
        TRY(split_length(call, data->dims[axis], call->output_count, i, &length));
        mitral_tensor *output = call_output(call, i);
        int64_t run = length * inner;
        if (output)
            copy_strided(output->data, (const char *)data->data + (size_t)row * element, element, 2, (int64_t[]){outer, run},
                         (int64_t[]){run, 1}, (int64_t[]){stride, 1}, call->threads);
        row += run;
    }
    return MITRAL_OK;
}

/* ---- Tile ---------------------------------------------------------------------------------------------------------- */

static mitral_status shape_tile(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    int64_t dims[MITRAL_MAX_RANK];
    size_t count;
    mitral_status status = read_ints(call, 1, dims, MITRAL_MAX_RANK, &count);
    if (status == MITRAL_DEFERRED)
        return defer_output(call, 0, data->dtype);
    TRY(status);
    if ((int64_t)count != data->rank)
        return call_fail(call, MITRAL_INVALID, "%d repeats expected, found %zu", (int)data->rank, count);
    for (int32_t i = 0; i < data->rank; i++) {
        if (dims[i] < 0)
            return call_fail(call, MITRAL_INVALID, "repeats of at least 0 expected, found %lld", (long long)dims[i]);
        const int64_t repeats = dims[i];
        if (__builtin_mul_overflow(repeats, data->dims[i], &dims[i]))
            return call_fail(call, MITRAL_LIMIT, "an output of at most 2^63 - 1 along axis %d expected, found %lld times %lld", (int)i,
                             (long long)repeats, (long long)data->dims[i]);
    }
    return set_output(call, 0, data->dtype, data->rank, dims);
}

static mitral_status run_tile(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    int64_t from[MITRAL_MAX_RANK], to[MITRAL_MAX_RANK];
    int64_t dims[COPY_MAX_RANK], source[COPY_MAX_RANK], target[COPY_MAX_RANK];
    if (!tensor_count(output))
        return MITRAL_OK;
    tensor_strides(data, from);
    tensor_strides(output, to);
    for (int32_t i = 0; i < data->rank; i++) {
        dims[2 * i] = output->dims[i] / data->dims[i];
        dims[2 * i + 1] = data->dims[i];
        source[2 * i] = 0;
        source[2 * i + 1] = from[i];
        target[2 * i] = to[i] * data->dims[i];
        target[2 * i + 1] = to[i];
    }
    copy_strided(output->data, data->data, element_size(data), 2 * data->rank, dims, target, source, call->threads);
    return MITRAL_OK;
}

/* ---- DepthToSpace, SpaceToDepth ------------------------------------------------------------------------------------ */

/* Sizes and output order of the six-dimensional view; both are transpositions of it. */
static mitral_status block_view(const struct kernel_call *call, bool to_space, int64_t view[6], int order[6], int64_t dims[4])
{
    const mitral_tensor *data;
    TRY(need_rank(call, 0, 4, &data));
    int64_t block = attribute_int(call->attributes, "blocksize", 0), area;
    const char *mode = attribute_string(call->attributes, "mode", "DCR");
    bool crd = strcmp(mode, "CRD") == 0;
    if (!crd && strcmp(mode, "DCR") != 0)
        return call_fail(call, MITRAL_INVALID, "mode DCR or CRD expected, found %s", mode);
    if (block < 1 || __builtin_mul_overflow(block, block, &area))
        return call_fail(call, MITRAL_INVALID, "a positive blocksize expected, found %lld", (long long)block);
    int64_t n = data->dims[0], c = data->dims[1], h = data->dims[2], w = data->dims[3];
    if (to_space) {
        if (c % area)
            return call_fail(call, MITRAL_INVALID, "channels that divide by %lld expected, found %lld", (long long)area,
                             (long long)c);
        int64_t depth = c / area;
        memcpy(view, crd ? (int64_t[]){n, depth, block, block, h, w} : (int64_t[]){n, block, block, depth, h, w},
               6 * sizeof(*view));
        memcpy(order, crd ? (int[]){0, 1, 4, 2, 5, 3} : (int[]){0, 3, 4, 1, 5, 2}, 6 * sizeof(*order));
        dims[1] = depth;
        if (__builtin_mul_overflow(h, block, &dims[2]) || __builtin_mul_overflow(w, block, &dims[3]))
            return call_fail(call, MITRAL_LIMIT, "an output of at most 2^63 - 1 along axes 2 and 3 expected, found %lld and %lld, each times %lld",
                             (long long)h, (long long)w, (long long)block);
    } else {
        if (h % block || w % block)
            return call_fail(call, MITRAL_INVALID, "height and width that divide by %lld expected, found %lld and %lld",
                             (long long)block, (long long)h, (long long)w);
        memcpy(view, (int64_t[]){n, c, h / block, block, w / block, block}, 6 * sizeof(*view));
        memcpy(order, crd ? (int[]){0, 1, 3, 5, 2, 4} : (int[]){0, 3, 5, 1, 2, 4}, 6 * sizeof(*order));
        if (__builtin_mul_overflow(c, area, &dims[1]))
            return call_fail(call, MITRAL_LIMIT, "an output of at most 2^63 - 1 along axis 1 expected, found %lld times %lld", (long long)c,
                             (long long)area);
        dims[2] = h / block;
        dims[3] = w / block;
    }
    dims[0] = n;
    return MITRAL_OK;
}

static mitral_status shape_blocks(struct kernel_call *call, bool to_space)
{
    int64_t view[6], dims[4];
    int order[6];
    TRY(block_view(call, to_space, view, order, dims));
    return set_output(call, 0, call_input(call, 0)->dtype, 4, dims);
}

/* wide[2 x + j] beside narrow[j * step + x]. */
VECTORISED static void interleave(const float *narrow, int64_t step, float *wide, int64_t count)
{
    for (int64_t x = 0; x < count; x++) {
        wide[2 * x] = narrow[x];
        wide[2 * x + 1] = narrow[step + x];
    }
}

VECTORISED static void separate(const float *wide, float *narrow, int64_t step, int64_t count)
{
    for (int64_t x = 0; x < count; x++) {
        narrow[x] = wide[2 * x];
        narrow[step + x] = wide[2 * x + 1];
    }
}

/* Blocks of 2×2 of four bytes each, as training and super-resolution have them: by pairs of rows. */
static void run_pairs(float *target, const float *source, const mitral_tensor *deep, bool crd, bool to_space, int threads)
{
    const int64_t channels = deep->dims[1] / 4, height = deep->dims[2], width = deep->dims[3], plane = height * width;
    const int64_t step = crd ? plane : channels * plane;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t item = 0; item < deep->dims[0] * channels; item++)
        for (int64_t row = 0; row < 2 * height; row++) {
            const int64_t c = item % channels, first = crd ? 4 * c + row % 2 * 2 : row % 2 * 2 * channels + c;
            const int64_t narrow = (item / channels * deep->dims[1] + first) * plane + row / 2 * width, wide = (item * 2 * height + row) * 2 * width;
            if (to_space)
                interleave(source + narrow, step, target + wide, width);
            else
                separate(source + wide, target + narrow, step, width);
        }
}

static mitral_status run_blocks(struct kernel_call *call, bool to_space)
{
    int64_t view[6], dims[4], strides[6], sizes[6], source[6], target[6];
    int order[6];
    TRY(block_view(call, to_space, view, order, dims));
    int64_t stride = 1, output_stride = 1;
    for (int i = 5; i >= 0; i--) {
        strides[i] = stride;
        stride *= view[i];
    }
    for (int i = 5; i >= 0; i--) {
        sizes[i] = view[order[i]];
        source[i] = strides[order[i]];
        target[i] = output_stride;
        output_stride *= sizes[i];
    }
    const mitral_tensor *data = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    if (attribute_int(call->attributes, "blocksize", 0) == 2 && data->dtype == MITRAL_FLOAT)
        run_pairs(output->data, data->data, to_space ? data : output, strcmp(attribute_string(call->attributes, "mode", "DCR"), "CRD") == 0, to_space,
                  copy_team(call->threads, (int64_t)tensor_bytes(data)));
    else
        copy_strided(output->data, data->data, element_size(data), 6, sizes, target, source, call->threads);
    return MITRAL_OK;
}

static mitral_status shape_depth_to_space(struct kernel_call *call) { return shape_blocks(call, true); }
static mitral_status shape_space_to_depth(struct kernel_call *call) { return shape_blocks(call, false); }
static mitral_status run_depth_to_space(struct kernel_call *call) { return run_blocks(call, true); }
static mitral_status run_space_to_depth(struct kernel_call *call) { return run_blocks(call, false); }

/* ---- ReverseSequence ----------------------------------------------------------------------------------------------- */

static mitral_status shape_reverse_sequence(struct kernel_call *call)
{
    const mitral_tensor *data, *lengths;
    TRY(need_tensor(call, 0, &data));
    TRY(need_rank(call, 1, 1, &lengths));
    int64_t batch = attribute_int(call->attributes, "batch_axis", 1), time = attribute_int(call->attributes, "time_axis", 0);
    if (data->rank < 2)
        return call_fail(call, MITRAL_INVALID, "rank of at least 2 expected, found %d", (int)data->rank);
    if (batch < 0 || batch > 1 || time < 0 || time > 1 || batch == time)
        return call_fail(call, MITRAL_INVALID, "batch_axis and time_axis of 0 and 1 expected, found %lld and %lld",
                         (long long)batch, (long long)time);
    if (lengths->dims[0] != data->dims[batch])
        return call_fail(call, MITRAL_INVALID, "%lld sequence lengths expected, found %lld", (long long)data->dims[batch],
                         (long long)lengths->dims[0]);
    call_set_output(call, 0, data->dtype, data->rank, data->dims);
    return MITRAL_OK;
}

static mitral_status run_reverse_sequence(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0), *lengths = call_input(call, 1);
    int64_t batch = attribute_int(call->attributes, "batch_axis", 1), time = 1 - batch;
    int64_t inner = dims_product(data->dims, 2, data->rank), times = data->dims[time];
    size_t bytes = (size_t)inner * element_size(data);
    int64_t stride[2] = {data->dims[1], 1};
    char *target = call_output(call, 0)->data;
    for (int64_t b = 0; b < data->dims[batch]; b++) {
        int64_t length = tensor_get_int(lengths, b);
        if (length < 0 || length > times)
            return call_fail(call, MITRAL_INVALID, "sequence lengths in [0, %lld] expected, found %lld", (long long)times,
                             (long long)length);
        for (int64_t t = 0; t < times && bytes; t++) {
            int64_t from = t < length ? length - 1 - t : t;
            memcpy(target + (size_t)(b * stride[batch] + t * stride[time]) * bytes,
                   (const char *)data->data + (size_t)(b * stride[batch] + from * stride[time]) * bytes, bytes);
        }
    }
    return MITRAL_OK;
}

/* ---- Trilu --------------------------------------------------------------------------------------------------------- */

static mitral_status shape_trilu(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    if (data->rank < 2)
        return call_fail(call, MITRAL_INVALID, "rank of at least 2 expected, found %d", (int)data->rank);
    call_set_output(call, 0, data->dtype, data->rank, data->dims);
    return MITRAL_OK;
}

static mitral_status run_trilu(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    int64_t k = 0, rows = data->dims[data->rank - 2], columns = data->dims[data->rank - 1];
    if (call_input(call, 1))
        TRY(read_int(call, 1, &k));
    bool upper = attribute_int(call->attributes, "upper", 1) != 0;
    k = k < -rows ? -rows : k > columns ? columns : k;
    size_t element = element_size(data);
    copy_bytes(output->data, data->data, tensor_bytes(data), call->threads);
    int64_t matrices = dims_product(data->dims, 0, data->rank - 2);
    for (int64_t row = 0; row < matrices * rows; row++) {
        int64_t edge = row % rows + k + (upper ? 0 : 1);
        edge = edge < 0 ? 0 : edge > columns ? columns : edge;
        char *at = (char *)output->data + (size_t)(row * columns) * element;
        if (upper)
            memset(at, 0, (size_t)edge * element);
        else
            memset(at + (size_t)edge * element, 0, (size_t)(columns - edge) * element);
    }
    return MITRAL_OK;
}

const struct kernel reference_move[] = {
    {.name = "Transpose", .flags = KERNEL_EXACT, .shape = shape_transpose, .run = run_transpose},
    {.name = "Expand", .flags = KERNEL_EXACT, .shape = shape_expand, .run = run_expand},
    {.name = "Concat", .flags = KERNEL_CONCATENATES | KERNEL_EXACT, .shape = shape_concat, .run = run_concat},
    {.name = "Split", .flags = KERNEL_EXACT, .shape = shape_split, .run = run_split},
    {.name = "Tile", .flags = KERNEL_EXACT, .shape = shape_tile, .run = run_tile},
    {.name = "DepthToSpace", .flags = KERNEL_EXACT, .shape = shape_depth_to_space, .run = run_depth_to_space},
    {.name = "SpaceToDepth", .flags = KERNEL_EXACT, .shape = shape_space_to_depth, .run = run_space_to_depth},
    {.name = "ReverseSequence", .flags = KERNEL_EXACT, .shape = shape_reverse_sequence, .run = run_reverse_sequence},
    {.name = "Trilu", .flags = KERNEL_IN_PLACE | KERNEL_EXACT, .shape = shape_trilu, .run = run_trilu},
};
const size_t reference_move_count = sizeof(reference_move) / sizeof(reference_move[0]);
