/* Resize and Upsample: nearest copies elements of any type; linear and cubic go axis by axis with tables made once. */
#include "runtime/kernels/reference/resize.h"

#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/registry.h"

#define JOIN_TOKENS(a, b) a##b
#define JOIN(a, b) JOIN_TOKENS(a, b)

#define REAL float
#define WEIGHT weight
#define PASS pass_float
#include "runtime/kernels/reference/resize_pass.h"
#undef REAL
#undef WEIGHT
#undef PASS
#define REAL double
#define WEIGHT weight_double
#define PASS pass_double
#include "runtime/kernels/reference/resize_pass.h"
#undef REAL
#undef WEIGHT
#undef PASS

struct resize_state {
    struct resize_request request;
    struct resize_table tables[MITRAL_MAX_RANK];
    int32_t first, last;           /* the axes that change lie in [first, last]; first > last: none */
    int32_t order[MITRAL_MAX_RANK]; /* of the passes: first what shrinks */
    int32_t passes;
    enum compute compute;
    int64_t plane;                 /* elements of the largest stage of one plane (the dimensions from `first` on) */
    size_t plane_bytes;            /* of the two stages that one thread needs */
};

/* ---- shape and preparation ------------------------------------------------------------------------------------------ */

static mitral_status check_type(const struct kernel_call *call, const struct resize_request *request, int32_t dtype)
{
    if (request->mode != RESIZE_NEAREST && compute_of(dtype) == COMPUTE_NONE)
        return call_fail(call, MITRAL_UNSUPPORTED, "numbers expected for interpolation, found %s",
                         mitral_dtype_name((mitral_dtype)dtype));
    return MITRAL_OK;
}

static mitral_status shape_request(struct kernel_call *call, mitral_status status, const struct resize_request *request)
{
    const mitral_tensor *data = call_input(call, 0);
    if (status == MITRAL_DEFERRED)
        return defer_output(call, 0, data->dtype);
    TRY(status);
    TRY(check_type(call, request, data->dtype));
    int64_t dims[MITRAL_MAX_RANK];
    for (int32_t i = 0; i < request->rank; i++) {
        dims[i] = request->axes[i].out;
        if (dims[i] && !data->dims[i])
            return call_fail(call, MITRAL_INVALID, "dimension %d of at least 1 expected, found 0", (int)i);
        if (data->dims[i] > INT32_MAX)
            return call_fail(call, MITRAL_LIMIT, "dimensions below 2^31 expected, found %lld", (long long)data->dims[i]);
    }
    return set_output(call, 0, data->dtype, request->rank, dims);
}

static mitral_status shape_resize(struct kernel_call *call)
{
    struct resize_request request;
    mitral_status status = resize_read(call, &request);
    return shape_request(call, status, &request);
}

static mitral_status shape_upsample(struct kernel_call *call)
{
    struct resize_request request;
    mitral_status status = upsample_read(call, &request);
    return shape_request(call, status, &request);
}

/* Shrinking axes come first, and of equals the inner one: it then has the fewest rows, and the outer one long rows. */
static void order_passes(struct resize_state *state)
{
    state->passes = 0;
    for (int32_t i = state->last; i >= state->first; i--)
        if (!state->tables[i].identity)
            state->order[state->passes++] = i;
    for (int32_t i = 1; i < state->passes; i++)
        for (int32_t j = i; j > 0; j--) {
            const struct resize_table *a = &state->tables[state->order[j - 1]], *b = &state->tables[state->order[j]];
            if ((double)a->out / (double)a->in <= (double)b->out / (double)b->in)
                break;
            int32_t swapped = state->order[j];
            state->order[j] = state->order[j - 1];
            state->order[j - 1] = swapped;
        }
}

static mitral_status size_stages(struct kernel_call *call, struct resize_state *state, size_t *scratch_bytes)
{
    int64_t dims[MITRAL_MAX_RANK], count;
    const mitral_tensor *data = call_input(call, 0);
    memcpy(dims, data->dims, sizeof(dims));
    state->plane = 0;
    for (int32_t pass = -1; pass < state->passes; pass++) {
        if (pass >= 0)
            dims[state->order[pass]] = state->tables[state->order[pass]].out;
        count = 1;
        for (int32_t i = state->first; i < data->rank; i++)
            if (!multiply_sizes(count, dims[i], &count))
                return call_fail(call, MITRAL_LIMIT, "intermediate results of at most 2^63 - 1 elements expected, found %lld times %lld of axis %d",
                                 (long long)count, (long long)dims[i], (int)i);
        state->plane = larger(state->plane, count);
    }
    size_t team = call->threads > 1 ? (size_t)call->threads : 1, element = compute_size(state->compute);
    const size_t most = 4 * (size_t)call->context->options.max_tensor_bytes;
    if (__builtin_mul_overflow((size_t)state->plane, 2 * element, &state->plane_bytes) ||
        __builtin_add_overflow(state->plane_bytes, (size_t)127, &state->plane_bytes) ||
        __builtin_mul_overflow(state->plane_bytes & ~(size_t)127, team, scratch_bytes) ||
        *scratch_bytes / team > most)
        return call_fail(call, MITRAL_LIMIT, "intermediate results of at most %zu bytes a thread (four times max_tensor_bytes, --max-tensor-bytes) "
                         "expected, found twice %lld elements of %zu bytes", most, (long long)state->plane, element);
    state->plane_bytes &= ~(size_t)127;
    return MITRAL_OK;
}

static mitral_status prepare_request(struct kernel_call *call, const struct resize_request *request, void **out,
                                     size_t *scratch_bytes)
{
    const mitral_tensor *data = call_input(call, 0);
    size_t bytes = sizeof(struct resize_state), entries[MITRAL_MAX_RANK];
    bool nearest = request->mode == RESIZE_NEAREST;
    size_t entry = sizeof(int32_t) + (nearest ? 0 : sizeof(float) + sizeof(double));
    bytes = (bytes + 63) & ~(size_t)63;
    for (int32_t i = 0; i < request->rank; i++) {
        const struct resize_axis *axis = &request->axes[i];
        size_t taps = (size_t)resize_taps(request, axis), list;
        entries[i] = 0;
        if (resize_is_identity(request, axis))
            continue;
        if (__builtin_mul_overflow(taps, (size_t)axis->out, &entries[i]) || (entries[i] += 16) < 16 ||
            __builtin_mul_overflow(entries[i], entry, &list) || __builtin_add_overflow(bytes, list, &bytes))
            return call_fail(call, MITRAL_LIMIT, "axis %d: samples that can be addressed expected, found %zu for each of %lld outputs", (int)i, taps,
                             (long long)axis->out);
    }
    struct resize_state *state = mitral_allocate(call->context, bytes);
    if (!state)
        return MITRAL_NO_MEMORY;
    *out = state;
    state->request = *request;
    state->first = request->rank;
    state->last = -1;
    state->compute = compute_of(data->dtype) == COMPUTE_FLOAT ? COMPUTE_FLOAT : COMPUTE_DOUBLE;
    char *memory = (char *)state + ((sizeof(*state) + 63) & ~(size_t)63);
    for (int32_t i = 0; i < request->rank; i++) {
        struct resize_table *table = &state->tables[i];
        const struct resize_axis *axis = &request->axes[i];
        *table = (struct resize_table){.in = axis->in, .out = axis->out, .taps = resize_taps(request, axis)};
        table->identity = resize_is_identity(request, axis);
        if (table->identity)
            continue;
        size_t count = entries[i] & ~(size_t)15; /* a multiple of 16, at least taps·out: every list is aligned */
        if (!nearest) {
            table->weight_double = (double *)memory;
            memory += count * sizeof(double);
            table->weight = (float *)memory;
            memory += count * sizeof(float);
        }
        table->index = (int32_t *)memory;
        memory += count * sizeof(int32_t);
        resize_fill(request, axis, table);
        state->first = state->first < i ? state->first : i;
        state->last = i;
    }
    if (nearest || state->last < 0)
        return MITRAL_OK;
    order_passes(state);
    return size_stages(call, state, scratch_bytes);
}

static mitral_status prepare_resize(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct resize_request request;
    TRY(resize_read(call, &request));
    return prepare_request(call, &request, state, scratch_bytes);
}

static mitral_status prepare_upsample(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct resize_request request;
    TRY(upsample_read(call, &request));
    return prepare_request(call, &request, state, scratch_bytes);
}

static void release_resize(mitral_context *context, void *state)
{
    mitral_release(context, state);
}

/* ---- nearest --------------------------------------------------------------------------------------------------------- */

typedef uint8_t bits8 __attribute__((may_alias));
typedef uint16_t bits16 __attribute__((may_alias));
typedef uint32_t bits32 __attribute__((may_alias));
typedef uint64_t bits64 __attribute__((may_alias));

/* Each element twice: what doubling comes to. */
static void double_row(char *target, const char *source, size_t element, int64_t count)
{
#define TWICE(type)                                                                                                    \
    {                                                                                                                  \
        type *to = (type *)(void *)target;                                                                             \
        const type *from = (const type *)(const void *)source;                                                         \
        for (int64_t i = 0; i < count; i++)                                                                            \
            to[2 * i] = to[2 * i + 1] = from[i];                                                                       \
    }
    switch (element) {
    case 1: TWICE(bits8) break;
    case 2: TWICE(bits16) break;
    case 4: TWICE(bits32) break;
    default: TWICE(bits64) break;
    }
#undef TWICE
}

static void gather_row(char *target, const char *source, size_t element, const struct resize_table *table, const void *outside)
{
#define GATHER(size)                                                                                                   \
    for (int64_t o = 0; o < table->out; o++)                                                                           \
        memcpy(target + (size_t)o * (size),                                                                            \
               table->index[o] < 0 ? (const char *)outside : source + (size_t)table->index[o] * (size), size)
    bool whole = element == 1 || element == 2 || element == 4 || element == 8; /* then rows are aligned to their elements */
    if (table->doubles && whole) {
        double_row(target, source, element, table->in);
        return;
    }
    switch (element) {
    case 1: GATHER(1); break;
    case 2: GATHER(2); break;
    case 4: GATHER(4); break;
    case 8: GATHER(8); break;
    default: GATHER(element); break;
    }
#undef GATHER
}

static mitral_status run_nearest(struct kernel_call *call, const struct resize_state *state)
{
    const mitral_tensor *data = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    int32_t last = state->last;
    const struct resize_table *row_table = &state->tables[last];
    int64_t rows = dims_product(output->dims, 0, last), strides[MITRAL_MAX_RANK];
    size_t block = (size_t)dims_product(output->dims, last + 1, output->rank) * element_size(output);
    size_t row_bytes = (size_t)row_table->out * block;
    tensor_strides(data, strides);
    char *fill = NULL;
    bool outside = false;
    for (int32_t i = 0; i <= last; i++)
        outside |= state->tables[i].outside;
    if (outside) { /* a row of the extrapolation value */
        fill = mitral_allocate(call->context, row_bytes);
        if (!fill)
            return MITRAL_NO_MEMORY;
        char value[16] = {0};
        mitral_tensor one = {.dtype = output->dtype, .data = value};
        if (output->dtype != MITRAL_STRING)
            tensor_set_double(&one, 0, (double)state->request.extrapolation, true);
        copy_fill(fill, value, element_size(output), (int64_t)(row_bytes / element_size(output)), 1);
    }
    int team = copy_team(call->threads, (int64_t)tensor_bytes(output));
    if (team > rows)
        team = (int)rows;
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (int part = 0; part < team; part++) {
        int64_t before = -2; /* source offset of the row just written */
        for (int64_t row = rows * part / team; row < rows * (part + 1) / team; row++) {
            char *to = (char *)output->data + (size_t)row * row_bytes;
            int64_t rest = row, offset = 0;
            bool filled = false;
            for (int32_t i = last - 1; i >= 0; i--) {
                int64_t at = rest % output->dims[i];
                rest /= output->dims[i];
                if (!state->tables[i].identity)
                    at = state->tables[i].index[at];
                filled |= at < 0;
                offset += at * strides[i];
            }
            if (filled) {
                memcpy(to, fill, row_bytes);
                before = -2;
            } else if (offset == before) {
                memcpy(to, to - row_bytes, row_bytes);
            } else {
                gather_row(to, (const char *)data->data + (size_t)offset * element_size(data), block, row_table, fill);
                before = offset;
            }
        }
    }
    mitral_release(call->context, fill);
    return MITRAL_OK;
}

/* ---- linear and cubic ------------------------------------------------------------------------------------------------ */

static void store_rounded(mitral_tensor *output, int64_t at, const double *values, int64_t count)
{
    int bits = dtype_bits(output->dtype);
    if (output->dtype == MITRAL_BOOL) {
        for (int64_t i = 0; i < count; i++)
            ((uint8_t *)output->data)[at + i] = rint(values[i]) != 0;
        return;
    }
    bool is_signed = dtype_is_signed(output->dtype);
    double high = ldexp(1, is_signed ? bits - 1 : bits), low = is_signed ? -high : 0;
    for (int64_t i = 0; i < count; i++) {
        double value = rint(values[i]);
        if (value >= high)
            tensor_set_int(output, at + i, is_signed ? (int64_t)(((uint64_t)1 << (bits - 1)) - 1) : (int64_t)(UINT64_MAX >> (64 - bits)));
        else if (output->dtype == MITRAL_UINT64)
            ((uint64_t *)output->data)[at + i] = value > 0 ? (uint64_t)value : 0;
        else
            tensor_set_int(output, at + i, value > low ? (int64_t)value : (int64_t)low);
    }
}

/* One plane: the dimensions from state->first on. */
static void resize_plane(const struct kernel_call *call, const struct resize_state *state, int64_t plane, char *scratch, int team)
{
    mitral_tensor input = *call_input(call, 0), *output = call_output(call, 0);
    int64_t dims[MITRAL_MAX_RANK];
    memcpy(dims, input.dims, sizeof(dims));
    size_t element = compute_size(state->compute);
    char *stages[2] = {scratch, scratch + state->plane_bytes / 2};
    int next = 0;
    int64_t in_count = dims_product(input.dims, state->first, input.rank);
    int64_t out_count = dims_product(output->dims, state->first, output->rank);
    int32_t direct = state->compute == COMPUTE_FLOAT ? MITRAL_FLOAT : MITRAL_DOUBLE;

    input.data = (char *)input.data + (size_t)(plane * in_count) * element_size(&input);
    const void *source = input.data;
    if (input.dtype != direct) {
        input.rank -= state->first;
        memmove(input.dims, dims + state->first, (size_t)input.rank * sizeof(*dims));
        operand_load(state->compute, stages[next], &input);
        source = stages[next];
        next ^= 1;
    }
    void *home = (char *)output->data + (size_t)(plane * out_count) * element_size(output);
    for (int32_t pass = 0; pass < state->passes; pass++) {
        int32_t axis = state->order[pass];
        const struct resize_table *table = &state->tables[axis];
        void *target = pass + 1 == state->passes && output->dtype == direct ? home : stages[next];
        int64_t before = dims_product(dims, state->first, axis), after = dims_product(dims, axis + 1, output->rank);
        int helpers = copy_team(team, before * table->out * after * (int64_t)element);
        if (state->compute == COMPUTE_FLOAT)
            pass_float(target, source, table, before, after, state->request.extrapolation, helpers);
        else
            pass_double(target, source, table, before, after, (double)state->request.extrapolation, helpers);
        dims[axis] = table->out;
        source = target;
        next ^= 1;
    }
    if (output->dtype == direct)
        return;
    mitral_tensor part = *output;
    part.rank = 1;
    part.dims[0] = out_count;
    part.data = home;
    if (state->compute == COMPUTE_FLOAT)
        work_store(COMPUTE_FLOAT, &part, source);
    else
        store_rounded(output, plane * out_count, source, out_count);
}

static mitral_status run_resize(struct kernel_call *call)
{
    const struct resize_state *state = call->state;
    mitral_tensor *output = call_output(call, 0);
    const mitral_tensor *data = call_input(call, 0);
    if (!tensor_count(output))
        return MITRAL_OK;
    if (state->last < 0) {
        copy_bytes(output->data, data->data, tensor_bytes(output), call->threads);
        return MITRAL_OK;
    }
    if (state->request.mode == RESIZE_NEAREST)
        return run_nearest(call, state);
    int64_t planes = dims_product(data->dims, 0, state->first);
    int team = copy_team(call->threads, (int64_t)tensor_bytes(output));
    if (planes < 2 * team) { /* few planes: the team works within each */
        for (int64_t plane = 0; plane < planes; plane++)
            resize_plane(call, state, plane, call->scratch, team);
        return MITRAL_OK;
    }
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (int part = 0; part < team; part++)
        for (int64_t plane = planes * part / team; plane < planes * (part + 1) / team; plane++)
            resize_plane(call, state, plane, (char *)call->scratch + (size_t)part * state->plane_bytes, 1);
    return MITRAL_OK;
}

const struct kernel reference_resize[] = {
    {.name = "Resize", .shape = shape_resize, .prepare = prepare_resize, .run = run_resize, .release = release_resize},
    {.name = "Upsample", .shape = shape_upsample, .prepare = prepare_upsample, .run = run_resize, .release = release_resize},
};
const size_t reference_resize_count = sizeof(reference_resize) / sizeof(reference_resize[0]);
