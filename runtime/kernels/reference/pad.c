/* Pad (every mode, negative pads crop) and CenterCropPad: each output coordinate is mapped to a source coordinate, axis by axis. */
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/registry.h"

enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP };

struct pads {
    int64_t begin[MITRAL_MAX_RANK], end[MITRAL_MAX_RANK];
};

/* map[axis][o] is the source coordinate of output coordinate o, or -1: the constant. */
struct pad_state {
    int64_t *map[MITRAL_MAX_RANK];
    int32_t last;                  /* the last axis that is padded at all: what follows is one block */
    int64_t from, count, at;       /* along it, source blocks [from, from + count) go to output blocks from `at` on */
};

static mitral_status pad_mode_of(const struct kernel_call *call, enum pad_mode *out)
{
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    const char *mode = attribute_string(call->attributes, "mode", "constant");
    for (int i = 0; i < (call->opset >= 19 ? 4 : 3); i++)
        if (strcmp(mode, names[i]) == 0) {
            *out = (enum pad_mode)i;
            return MITRAL_OK;
        }
    return call_fail(call, MITRAL_INVALID, "mode constant, reflect, edge%s expected, found %s",
                     call->opset >= 19 ? " or wrap" : "", mode);
}

static mitral_status read_pads(const struct kernel_call *call, const mitral_tensor *data, struct pads *pads)
{
    int64_t list[2 * MITRAL_MAX_RANK], axes[MITRAL_MAX_RANK];
    size_t count = 0, axis_count = (size_t)data->rank;
    bool marked[MITRAL_MAX_RANK];
    memset(pads, 0, sizeof(*pads));
    if (call->opset < 11) {
        const int64_t *given = attribute_ints(call->attributes, "pads", &count);
        if (count > 2 * MITRAL_MAX_RANK)
            return call_fail(call, MITRAL_INVALID, "at most %d pads expected, found %zu", 2 * MITRAL_MAX_RANK, count);
        if (count)
            memcpy(list, given, count * sizeof(*list));
    } else {
        TRY(read_ints(call, 1, list, 2 * MITRAL_MAX_RANK, &count));
    }
    for (int32_t i = 0; i < data->rank; i++)
        axes[i] = i;
    if (call->opset >= 18 && call_input(call, 3)) {
        TRY(read_ints(call, 3, axes, MITRAL_MAX_RANK, &axis_count));
        TRY(normalise_axes(call, axes, axis_count, data->rank, axes, marked));
    }
    if (count != 2 * axis_count)
        return call_fail(call, MITRAL_INVALID, "%zu pads expected, found %zu", 2 * axis_count, count);
    for (size_t i = 0; i < axis_count; i++) {
        pads->begin[axes[i]] = list[i];
        pads->end[axes[i]] = list[i + axis_count];
    }
    return MITRAL_OK;
}

static mitral_status read_crop(const struct kernel_call *call, const mitral_tensor *data, struct pads *pads)
{
    int64_t axes[MITRAL_MAX_RANK], sizes[MITRAL_MAX_RANK];
    size_t count, axis_count = 0;
    const int64_t *list = attribute_ints(call->attributes, "axes", &axis_count);
    bool given = attribute_has(call->attributes, "axes"), marked[MITRAL_MAX_RANK];
    memset(pads, 0, sizeof(*pads));
    if (given && axis_count > (size_t)data->rank)
        return call_fail(call, MITRAL_INVALID, "at most %d axes expected, found %zu", (int)data->rank, axis_count);
    if (given)
        TRY(normalise_axes(call, list, axis_count, data->rank, axes, marked));
    else
        axis_count = (size_t)data->rank;
    TRY(read_ints(call, 1, sizes, MITRAL_MAX_RANK, &count));
    if (count != axis_count)
        return call_fail(call, MITRAL_INVALID, "a shape of %zu dimensions expected, found %zu", axis_count, count);
    for (size_t i = 0; i < count; i++) {
        int64_t axis = given ? axes[i] : (int64_t)i;
        if (sizes[i] < 0)
            return call_fail(call, MITRAL_INVALID, "dimensions of at least 0 expected, found %lld", (long long)sizes[i]);
        int64_t more = sizes[i] - data->dims[axis]; /* both are ≥ 0: no overflow */
        pads->begin[axis] = more / 2;
        pads->end[axis] = more - more / 2;
    }
    return MITRAL_OK;
}

static mitral_status padded_dims(const struct kernel_call *call, const mitral_tensor *data, const struct pads *pads,
                                 int64_t dims[MITRAL_MAX_RANK])
{
    const int64_t bound = (int64_t)1 << 62; /* keeps every later negation and difference in range */
    for (int32_t i = 0; i < data->rank; i++) {
        if (pads->begin[i] < -bound || pads->begin[i] > bound || pads->end[i] < -bound || pads->end[i] > bound)
            return call_fail(call, MITRAL_LIMIT, "pads of at most 2^62 along axis %d expected, found %lld and %lld", (int)i,
                             (long long)pads->begin[i], (long long)pads->end[i]);
        if (__builtin_add_overflow(data->dims[i], pads->begin[i], &dims[i]) ||
            __builtin_add_overflow(dims[i], pads->end[i], &dims[i]))
            return call_fail(call, MITRAL_LIMIT, "an output of at most 2^63 - 1 along axis %d expected, found %lld with pads of %lld and %lld",
                             (int)i, (long long)data->dims[i], (long long)pads->begin[i], (long long)pads->end[i]);
        if (dims[i] < 0)
            return call_fail(call, MITRAL_INVALID, "pads that leave dimension %d at 0 or more expected, found %lld", (int)i,
                             (long long)dims[i]);
    }
    return MITRAL_OK;
}

static int64_t source_of(int64_t at, int64_t size, enum pad_mode mode)
{
    if (at >= 0 && at < size)
        return at;
    switch (mode) {
    case PAD_EDGE: return at < 0 ? 0 : size - 1;
    case PAD_WRAP: return (at % size + size) % size;
    case PAD_REFLECT: {
        if (size == 1)
            return 0;
        int64_t period = 2 * (size - 1);
        at = (at % period + period) % period;
        return at < size ? at : period - at;
    }
    default: return -1;
    }
}

static mitral_status make_maps(struct kernel_call *call, const struct pads *pads, enum pad_mode mode, void **state)
{
    const mitral_tensor *data = call_input(call, 0);
    int64_t dims[MITRAL_MAX_RANK], entries = 0;
    TRY(padded_dims(call, data, pads, dims));
    bool empty = false;
    for (int32_t i = 0; i < data->rank; i++)
        empty |= dims[i] == 0;
    for (int32_t i = 0; i < data->rank && !empty; i++)
        entries += dims[i]; /* each at most the output's element count, which has been checked */
    struct pad_state *made = mitral_allocate(call->context, sizeof(*made) + (size_t)entries * sizeof(int64_t));
    if (!made)
        return MITRAL_NO_MEMORY;
    *state = made;
    made->last = -1;
    if (empty)
        return MITRAL_OK;
    int64_t *next = (int64_t *)(made + 1);
    for (int32_t i = 0; i < data->rank; i++) {
        /* Negative pads cut the input first; reflection and the like happen within what is left. */
        int64_t low = pads->begin[i] < 0 ? -pads->begin[i] : 0, high = data->dims[i] + (pads->end[i] < 0 ? pads->end[i] : 0);
        int64_t before = pads->begin[i] > 0 ? pads->begin[i] : 0, left = high - low;
        if (left <= 0 && mode != PAD_CONSTANT)
            return call_fail(call, MITRAL_INVALID, "dimension %d of at least 1 expected to pad from", (int)i);
        made->map[i] = next;
        for (int64_t o = 0; o < dims[i]; o++) {
            int64_t at = source_of(o - before, left > 0 ? left : 0, mode);
            *next++ = at < 0 ? -1 : at + low;
        }
        if (pads->begin[i] || pads->end[i] || data->dims[i] != dims[i]) {
            made->last = i;
            made->from = low;
            made->at = before;
            made->count = left > 0 ? left : 0;
            if (made->count > dims[i] - before)
                made->count = dims[i] - before;
            if (made->count < 0)
                made->count = 0;
        }
    }
    return MITRAL_OK;
}

static void release_pad(mitral_context *context, void *state)
{
    mitral_release(context, state);
}

static void pad_rows(const struct kernel_call *call, const struct pad_state *state, const void *constant)
{
    const mitral_tensor *data = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    size_t element = element_size(output);
    if (!tensor_count(output))
        return;
    if (state->last < 0) {
        copy_bytes(output->data, data->data, tensor_bytes(output), call->threads);
        return;
    }
    int32_t last = state->last;
    int64_t length = output->dims[last], block = dims_product(output->dims, last + 1, output->rank);
    int64_t rows = dims_product(output->dims, 0, last), strides[MITRAL_MAX_RANK];
    size_t block_bytes = (size_t)block * element;
    tensor_strides(data, strides);
    const int64_t *map = state->map[last];
    int team = copy_team(call->threads, (int64_t)tensor_bytes(output));
    (void)team; /* without OpenMP */
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        char *to = (char *)output->data + (size_t)row * (size_t)length * block_bytes;
        int64_t rest = row, offset = 0;
        bool outside = false;
        for (int32_t i = last - 1; i >= 0; i--) {
            int64_t source = state->map[i][rest % output->dims[i]];
            rest /= output->dims[i];
            outside |= source < 0;
            offset += source * strides[i];
        }
        if (outside) {
            copy_fill(to, constant, element, length * block, 1);
            continue;
        }
        const char *from = (const char *)data->data + offset * (int64_t)element;
        int64_t after = state->at + state->count;
        for (int64_t o = 0; o < length; o++) {
            if (o == state->at && state->count) {
                memcpy(to + (size_t)o * block_bytes, from + (size_t)state->from * block_bytes, (size_t)state->count * block_bytes);
                o = after - 1;
            } else if (map[o] < 0) {
                copy_fill(to + (size_t)o * block_bytes, constant, element, block, 1);
            } else {
                copy_element(to + (size_t)o * block_bytes, from + (size_t)map[o] * block_bytes, block_bytes);
            }
        }
    }
}

/* ---- Pad ----------------------------------------------------------------------------------------------------------- */

static mitral_status shape_pad(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    enum pad_mode mode;
    TRY(pad_mode_of(call, &mode));
    struct pads pads;
    mitral_status status = read_pads(call, data, &pads);
    if (status == MITRAL_DEFERRED)
        return defer_output(call, 0, data->dtype);
    TRY(status);
    const mitral_tensor *constant = call->opset >= 11 ? call_input(call, 2) : NULL;
    if (constant && (constant->dtype != data->dtype || mitral_tensor_count(constant) != 1)) {
        char text[256];
        return call_fail(call, MITRAL_INVALID, "a constant value of one %s expected, found %s",
                         mitral_dtype_name((mitral_dtype)data->dtype), tensor_describe(constant, text, sizeof(text)));
    }
    int64_t dims[MITRAL_MAX_RANK];
    TRY(padded_dims(call, data, &pads, dims));
    return set_output(call, 0, data->dtype, data->rank, dims);
}

static mitral_status prepare_pad(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)scratch_bytes;
    enum pad_mode mode = PAD_CONSTANT;
    struct pads pads;
    TRY(pad_mode_of(call, &mode));
    TRY(read_pads(call, call_input(call, 0), &pads));
    return make_maps(call, &pads, mode, state);
}

static mitral_status run_pad(struct kernel_call *call)
{
    char zero[16] = {0};
    const void *constant = zero;
    const mitral_tensor *given = call->opset >= 11 ? call_input(call, 2) : NULL;
    if (given) {
        constant = given->data;
    } else if (call->opset < 11) {
        mitral_tensor one = {.dtype = call_output(call, 0)->dtype, .data = zero};
        tensor_set_double(&one, 0, (double)attribute_float(call->attributes, "value", 0), false);
    }
    pad_rows(call, call->state, constant);
    return MITRAL_OK;
}

/* ---- CenterCropPad ------------------------------------------------------------------------------------------------- */

static mitral_status shape_center_crop_pad(struct kernel_call *call)
{
    const mitral_tensor *data;
    TRY(need_tensor(call, 0, &data));
    struct pads pads;
    mitral_status status = read_crop(call, data, &pads);
    if (status == MITRAL_DEFERRED)
        return defer_output(call, 0, data->dtype);
    TRY(status);
    int64_t dims[MITRAL_MAX_RANK];
    TRY(padded_dims(call, data, &pads, dims));
    return set_output(call, 0, data->dtype, data->rank, dims);
}

static mitral_status prepare_center_crop_pad(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)scratch_bytes;
    struct pads pads;
    TRY(read_crop(call, call_input(call, 0), &pads));
    return make_maps(call, &pads, PAD_CONSTANT, state);
}

static mitral_status run_center_crop_pad(struct kernel_call *call)
{
    static const char zero[16];
    pad_rows(call, call->state, zero);
    return MITRAL_OK;
}

const struct kernel reference_pad[] = {
    {.name = "Pad", .flags = KERNEL_EXACT, .shape = shape_pad, .prepare = prepare_pad, .run = run_pad, .release = release_pad},
    {.name = "CenterCropPad", .flags = KERNEL_EXACT, .shape = shape_center_crop_pad, .prepare = prepare_center_crop_pad,
     .run = run_center_crop_pad, .release = release_pad},
};
const size_t reference_pad_count = sizeof(reference_pad) / sizeof(reference_pad[0]);
