/* Elements chosen by value: OneHot, TopK, NonZero, Compress, Unique. */
#include <stdlib.h>
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/reference/order.h"
#include "runtime/kernels/registry.h"

/* A number of any type as an index; floats towards zero. */
static int64_t get_index(const mitral_tensor *tensor, int64_t i)
{
    if (!dtype_is_float(tensor->dtype))
        return tensor_get_int(tensor, i);
    double value = tensor_get_double(tensor, i);
    return value > -9e18 && value < 9e18 ? (int64_t)value : INT64_MIN;
}

/* ---- OneHot -------------------------------------------------------------------------------------------------------- */

static mitral_status shape_one_hot(struct kernel_call *call)
{
    const mitral_tensor *indices, *depth, *values;
    TRY(need_tensor(call, 0, &indices));
    TRY(need_tensor(call, 1, &depth));
    TRY(need_tensor(call, 2, &values));
    if (mitral_tensor_count(values) != 2 || mitral_tensor_count(depth) != 1)
        return call_fail(call, MITRAL_INVALID, "one depth and two values expected, found %lld and %lld",
                         (long long)mitral_tensor_count(depth), (long long)mitral_tensor_count(values));
    int64_t axis, dims[MITRAL_MAX_RANK], rank = indices->rank + 1;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", -1), rank, &axis));
    if (!depth->data)
        return defer_output(call, 0, values->dtype);
    if (rank > MITRAL_MAX_RANK)
        return call_fail(call, MITRAL_LIMIT, "rank below %d expected, found %d", MITRAL_MAX_RANK, (int)indices->rank);
    int64_t size = get_index(depth, 0);
    if (size < 1)
        return call_fail(call, MITRAL_INVALID, "a depth of at least 1 expected, found %lld", (long long)size);
    for (int32_t i = 0, from = 0; i < rank; i++)
        dims[i] = i == axis ? size : indices->dims[from++];
    return set_output(call, 0, values->dtype, (int32_t)rank, dims);
}

static mitral_status run_one_hot(struct kernel_call *call)
{
    const mitral_tensor *indices = call_input(call, 0), *values = call_input(call, 2);
    mitral_tensor *output = call_output(call, 0);
    int64_t axis;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", -1), output->rank, &axis));
    size_t element = element_size(output);
    const char *on = (const char *)values->data + element;
    copy_fill(output->data, values->data, element, tensor_count(output), call->threads);
    int64_t depth = output->dims[axis], inner = dims_product(output->dims, (int32_t)axis + 1, output->rank);
    int64_t count = tensor_count(indices);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = get_index(indices, i);
        if (at < 0 && at >= -depth && call->opset >= 11)
            at += depth;
        if (at >= 0 && at < depth)
            copy_element((char *)output->data + (size_t)((i / inner * depth + at) * inner + i % inner) * element, on, element);
    }
    return MITRAL_OK;
}

/* ---- TopK ---------------------------------------------------------------------------------------------------------- */

struct ranked {
    uint64_t key; /* larger first */
    int64_t index; /* smaller first */
};

static mitral_status top_k(const struct kernel_call *call, int64_t *k)
{
    if (call->opset < 10) {
        *k = attribute_int(call->attributes, "k", -1);
        return MITRAL_OK;
    }
    return read_int(call, 1, k);
}

static mitral_status shape_top_k(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    if (data->dtype == MITRAL_STRING || data->dtype == MITRAL_COMPLEX64 || data->dtype == MITRAL_COMPLEX128)
        return call_fail(call, MITRAL_UNSUPPORTED, "numbers expected, found %s", mitral_dtype_name((mitral_dtype)data->dtype));
    int64_t axis, k, dims[MITRAL_MAX_RANK];
    TRY(call_axis(call, attribute_int(call->attributes, "axis", -1), data->rank, &axis));
    mitral_status status = top_k(call, &k);
    if (status == MITRAL_DEFERRED) {
        defer_output(call, 0, data->dtype);
        return defer_output(call, 1, MITRAL_INT64);
    }
    TRY(status);
    if (k < 0 || k > data->dims[axis])
        return call_fail(call, MITRAL_INVALID, "K in [0, %lld] expected, found %lld", (long long)data->dims[axis], (long long)k);
    memcpy(dims, data->dims, sizeof(dims));
    dims[axis] = k;
    TRY(set_output(call, 0, data->dtype, data->rank, dims));
    return set_output(call, 1, MITRAL_INT64, data->rank, dims);
}

static mitral_status prepare_top_k(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    int64_t k;
    size_t team = call->threads > 1 ? (size_t)call->threads : 1;
    TRY(top_k(call, &k));
    if (__builtin_mul_overflow((size_t)k * team, sizeof(struct ranked), scratch_bytes))
        return call_fail(call, MITRAL_LIMIT, "K of at most %zu expected, found %lld", SIZE_MAX / sizeof(struct ranked) / team, (long long)k);
    return MITRAL_OK;
}

static bool ranks_before(const struct ranked *a, const struct ranked *b)
{
    return a->key != b->key ? a->key > b->key : a->index < b->index;
}

/* Heap with the last-ranked element at its root. */
static void sift(struct ranked *heap, int64_t size, int64_t at)
{
    struct ranked moved = heap[at];
    for (int64_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && ranks_before(&heap[child], &heap[child + 1]))
            child++;
        if (!ranks_before(&moved, &heap[child]))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static void select_lane(const mitral_tensor *data, int64_t offset, int64_t size, int64_t inner, int64_t k, bool largest,
                        struct ranked *heap)
{
    int64_t filled = 0;
    for (int64_t i = 0; i < size; i++) {
        uint64_t key = order_key(data, offset + i * inner);
        struct ranked next = {largest ? key : ~key, i};
        if (filled < k) {
            heap[filled++] = next;
            if (filled == k)
                for (int64_t root = k / 2 - 1; root >= 0; root--)
                    sift(heap, k, root);
        } else if (ranks_before(&next, &heap[0])) {
            heap[0] = next;
            sift(heap, k, 0);
        }
    }
    for (int64_t last = k - 1; last > 0; last--) {
        struct ranked moved = heap[last];
        heap[last] = heap[0];
        heap[0] = moved;
        sift(heap, last, 0);
    }
}

static mitral_status run_top_k(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0);
    mitral_tensor *values = call_output(call, 0), *indices = call_output(call, 1);
    int64_t axis, k;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", -1), data->rank, &axis));
    TRY(top_k(call, &k));
    bool largest = attribute_int(call->attributes, "largest", 1) != 0;
    int64_t size = data->dims[axis], inner = dims_product(data->dims, (int32_t)axis + 1, data->rank);
    int64_t lanes = dims_product(data->dims, 0, (int32_t)axis) * inner;
    size_t element = element_size(data);
    if (k == 0)
        return MITRAL_OK;
    int team = copy_team(call->threads, lanes * size * 4);
    if (team > lanes)
        team = (int)lanes;
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (int part = 0; part < team; part++) {
        struct ranked *heap = (struct ranked *)call->scratch + part * k;
        for (int64_t lane = lanes * part / team; lane < lanes * (part + 1) / team; lane++) {
            int64_t from = lane / inner * size * inner + lane % inner, to = lane / inner * k * inner + lane % inner;
            select_lane(data, from, size, inner, k, largest, heap);
            for (int64_t i = 0; i < k; i++) {
                if (values)
                    copy_element((char *)values->data + (size_t)(to + i * inner) * element,
                                 (const char *)data->data + (size_t)(from + heap[i].index * inner) * element, element);
                if (indices)
                    ((int64_t *)indices->data)[to + i * inner] = heap[i].index;
            }
        }
    }
    return MITRAL_OK;
}

/* ---- NonZero ------------------------------------------------------------------------------------------------------- */

static mitral_status shape_non_zero(struct kernel_call *call)
{
    return defer_output(call, 0, MITRAL_INT64);
}

static bool is_zero(const mitral_tensor *tensor, int64_t i, size_t element)
{
    if (tensor->dtype == MITRAL_STRING)
        return ((const mitral_string *)tensor->data)[i].size == 0;
    if (tensor->dtype == MITRAL_FLOAT)
        return ((const float *)tensor->data)[i] == 0;
    if (tensor->dtype == MITRAL_COMPLEX64)
        return ((const float *)tensor->data)[2 * i] == 0 && ((const float *)tensor->data)[2 * i + 1] == 0;
    if (tensor->dtype == MITRAL_COMPLEX128)
        return ((const double *)tensor->data)[2 * i] == 0 && ((const double *)tensor->data)[2 * i + 1] == 0;
    if (dtype_is_float(tensor->dtype))
        return tensor_get_double(tensor, i) == 0;
    static const char zero[16];
    return memcmp((const char *)tensor->data + (size_t)i * element, zero, element) == 0;
}

static mitral_status run_non_zero(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    size_t element = element_size(data);
    int64_t count = tensor_count(data), found = 0, strides[MITRAL_MAX_RANK];
    for (int64_t i = 0; i < count; i++)
        found += !is_zero(data, i, element);
    TRY(call_allocate(call, 0, MITRAL_INT64, 2, (int64_t[]){data->rank, found}));
    mitral_tensor *output = call_output(call, 0);
    if (!output)
        return MITRAL_OK;
    tensor_strides(data, strides);
    int64_t *target = output->data, column = 0;
    for (int64_t i = 0; i < count; i++) {
        if (is_zero(data, i, element))
            continue;
        for (int32_t d = 0; d < data->rank; d++)
            target[d * found + column] = i / strides[d] % data->dims[d];
        column++;
    }
    return MITRAL_OK;
}

/* ---- Compress ------------------------------------------------------------------------------------------------------ */

static mitral_status shape_compress(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    return defer_output(call, 0, data->dtype);
}

static mitral_status run_compress(struct kernel_call *call)
{
    const mitral_tensor *data, *condition;
    TRY(need_tensor(call, 0, &data));
    TRY(need_rank(call, 1, 1, &condition));
    if (condition->dtype != MITRAL_BOOL)
        return call_fail(call, MITRAL_INVALID, "a condition of bool expected, found %s",
                         mitral_dtype_name((mitral_dtype)condition->dtype));
    bool flat = !attribute_has(call->attributes, "axis");
    int64_t axis = 0, dims[MITRAL_MAX_RANK] = {tensor_count(data)};
    int32_t rank = 1;
    if (!flat) {
        TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), data->rank, &axis));
        rank = data->rank;
        memcpy(dims, data->dims, sizeof(dims));
    }
    const uint8_t *keep = condition->data;
    int64_t size = dims[axis], length = condition->dims[0] < size ? condition->dims[0] : size, found = 0;
    for (int64_t i = 0; i < length; i++)
        found += keep[i] != 0;
    int64_t outer = dims_product(dims, 0, (int32_t)axis);
    size_t run = (size_t)dims_product(dims, (int32_t)axis + 1, rank) * element_size(data);
    dims[axis] = found;
    TRY(call_allocate(call, 0, data->dtype, rank, dims));
    mitral_tensor *output = call_output(call, 0);
    if (!output || !run)
        return MITRAL_OK;
    char *target = output->data;
    for (int64_t row = 0; row < outer; row++)
        for (int64_t i = 0; i < length; i++)
            if (keep[i]) {
                copy_element(target, (const char *)data->data + (size_t)(row * size + i) * run, run);
                target += run;
            }
    return MITRAL_OK;
}

/* ---- Unique -------------------------------------------------------------------------------------------------------- */

/* Slices along an axis, compared element by element. */
struct slices {
    const mitral_tensor *data;
    int64_t outer, size, inner;
};

static int compare_elements(const mitral_tensor *data, int64_t a, int64_t b)
{
    if (data->dtype == MITRAL_STRING) {
        const mitral_string *left = (const mitral_string *)data->data + a, *right = (const mitral_string *)data->data + b;
        size_t shorter = left->size < right->size ? left->size : right->size;
        int order = shorter ? memcmp(left->data, right->data, shorter) : 0;
        return order ? order : (left->size > right->size) - (left->size < right->size);
    }
    if (data->dtype == MITRAL_COMPLEX64 || data->dtype == MITRAL_COMPLEX128) {
        mitral_tensor parts = *data;
        parts.dtype = data->dtype == MITRAL_COMPLEX64 ? MITRAL_FLOAT : MITRAL_DOUBLE;
        int order = compare_elements(&parts, 2 * a, 2 * b);
        return order ? order : compare_elements(&parts, 2 * a + 1, 2 * b + 1);
    }
    uint64_t left = order_key(data, a), right = order_key(data, b);
    return (left > right) - (left < right);
}

static int compare_slices(const void *left, const void *right, void *user)
{
    const struct slices *slices = user;
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    for (int64_t o = 0; o < slices->outer; o++)
        for (int64_t i = 0; i < slices->inner; i++) {
            int64_t base = o * slices->size * slices->inner + i;
            int order = compare_elements(slices->data, base + a * slices->inner, base + b * slices->inner);
            if (order)
                return order;
        }
    return 0;
}

static int compare_stable(const void *left, const void *right, void *user)
{
    int order = compare_slices(left, right, user);
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return order ? order : (a > b) - (a < b);
}

/* sorted: slice numbers in order. Writes of each distinct slice, in output order, its first occurrence (`first`) and how often it
 * occurs (`counts`), and of each slice its place in the output (`inverse`). Returns how many are distinct. */
static int64_t group_slices(struct slices *slices, int64_t *sorted, int64_t *first, int64_t *counts, int64_t *inverse, bool in_order)
{
    int64_t groups = 0;
    for (int64_t i = 0; i < slices->size; i++)
        sorted[i] = i;
    qsort_r(sorted, (size_t)slices->size, sizeof(*sorted), compare_stable, slices);
    for (int64_t i = 0; i < slices->size; i++) {
        if (i == 0 || compare_slices(&sorted[i - 1], &sorted[i], slices) != 0) {
            first[groups] = sorted[i];
            counts[groups++] = 0;
        }
        counts[groups - 1]++;
        inverse[sorted[i]] = groups - 1;
    }
    if (in_order)
        return groups;
    /* By first occurrence: walk the slices and renumber the groups as they appear. */
    int64_t *number = sorted, next = 0; /* the sorted list is done with */
    for (int64_t g = 0; g < groups; g++)
        number[g] = -1;
    for (int64_t i = 0; i < slices->size; i++) {
        if (number[inverse[i]] < 0)
            number[inverse[i]] = next++;
        inverse[i] = number[inverse[i]];
    }
    for (int64_t g = 0; g < groups; g++)
        counts[g] = 0;
    for (int64_t i = slices->size - 1; i >= 0; i--) {
        first[inverse[i]] = i;
        counts[inverse[i]]++;
    }
    return groups;
}

static mitral_status shape_unique(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    for (size_t i = 1; i < 4; i++)
        defer_output(call, i, MITRAL_INT64);
    return defer_output(call, 0, data->dtype);
}

static mitral_status allocate_list(struct kernel_call *call, size_t index, const int64_t *values, int64_t count)
{
    TRY(call_allocate(call, index, MITRAL_INT64, 1, &count));
    mitral_tensor *output = call_output(call, index);
    if (output && count)
        memcpy(output->data, values, (size_t)count * sizeof(*values));
    return MITRAL_OK;
}

static mitral_status run_unique(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    bool flat = !attribute_has(call->attributes, "axis");
    int64_t axis = 0, dims[MITRAL_MAX_RANK] = {tensor_count(data)};
    int32_t rank = 1;
    if (!flat) {
        TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), data->rank, &axis));
        rank = data->rank;
        memcpy(dims, data->dims, sizeof(dims));
    }
    struct slices slices = {data, dims_product(dims, 0, (int32_t)axis), dims[axis], dims_product(dims, (int32_t)axis + 1, rank)};
    size_t bytes;
    if (__builtin_mul_overflow((size_t)slices.size, 4 * sizeof(int64_t), &bytes))
        return call_fail(call, MITRAL_LIMIT, "fewer slices expected, found %lld", (long long)slices.size);
    int64_t *work = mitral_allocate_raw(call->context, bytes);
    if (!work)
        return MITRAL_NO_MEMORY;
    int64_t *sorted = work, *first = work + slices.size, *counts = first + slices.size, *inverse = counts + slices.size;
    int64_t groups = group_slices(&slices, sorted, first, counts, inverse, attribute_int(call->attributes, "sorted", 1) != 0);
    dims[axis] = groups;
    mitral_status status = call_allocate(call, 0, data->dtype, rank, dims);
    mitral_tensor *output = call_output(call, 0);
    size_t run = (size_t)slices.inner * element_size(data);
    if (status == MITRAL_OK && output && run)
        for (int64_t o = 0; o < slices.outer; o++)
            for (int64_t g = 0; g < groups; g++)
                copy_element((char *)output->data + (size_t)(o * groups + g) * run,
                             (const char *)data->data + (size_t)(o * slices.size + first[g]) * run, run);
    if (status == MITRAL_OK)
        status = allocate_list(call, 1, first, groups);
    if (status == MITRAL_OK)
        status = allocate_list(call, 2, inverse, slices.size);
    if (status == MITRAL_OK)
        status = allocate_list(call, 3, counts, groups);
    mitral_release(call->context, work);
    return status;
}

const struct kernel reference_select[] = {
    {.name = "OneHot", .flags = KERNEL_EXACT, .shape = shape_one_hot, .run = run_one_hot},
    {.name = "TopK", .flags = KERNEL_EXACT, .shape = shape_top_k, .prepare = prepare_top_k, .run = run_top_k},
    {.name = "NonZero", .flags = KERNEL_ALLOCATES | KERNEL_EXACT, .shape = shape_non_zero, .run = run_non_zero},
    {.name = "Compress", .flags = KERNEL_ALLOCATES | KERNEL_EXACT, .shape = shape_compress, .run = run_compress},
    {.name = "Unique", .flags = KERNEL_ALLOCATES | KERNEL_EXACT, .shape = shape_unique, .run = run_unique},
};
const size_t reference_select_count = sizeof(reference_select) / sizeof(reference_select[0]);
