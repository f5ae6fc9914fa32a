/* Gradient of Resize and Upsample: mitral.ResizeGradient of dY and the forward operator's other inputs. */
#include <string.h>

#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/reference/resize.h"
#include "runtime/kernels/registry.h"

#define RESIZE_BLOCK 1024

#define REAL float
#define WEIGHT weight
#define NAME(x) x##_float
#include "runtime/kernels/reference/gradient_resize_body.h"
#undef REAL
#undef WEIGHT
#undef NAME
#define REAL double
#define WEIGHT weight_double
#define NAME(x) x##_double
#include "runtime/kernels/reference/gradient_resize_body.h"
#undef REAL
#undef WEIGHT
#undef NAME

struct resize_backward {
    int32_t rank, passes;
    int32_t order[MITRAL_MAX_RANK]; /* axes that change, in the order in which they are taken back */
    struct resize_table tables[MITRAL_MAX_RANK];
    int64_t stage[2];               /* elements of the two intermediate results */
};

/* What the forward operator's call would read. */
static mitral_status read_request(struct kernel_call *call, mitral_tensor *x, struct resize_request *request)
{
    TRY(call_gradient_shape(call, 4, x));
    mitral_value value = {.kind = MITRAL_TENSOR, .tensor = *x};
    const mitral_value *inputs[4] = {&value};
    struct kernel_call forward = *call;
    const bool upsample = strcmp(attribute_string(call->attributes, "forward", "Resize"), "Upsample") == 0;
    for (size_t i = 1; i < 4; i++)
        inputs[i] = i < call->input_count ? call->inputs[i] : NULL;
    forward.inputs = inputs;
    forward.input_count = inputs[3] ? 4 : inputs[2] ? 3 : inputs[1] ? 2 : 1;
    forward.output_count = 0;
    forward.opset = (int)attribute_int(call->attributes, "forward_version", 13);
    return upsample ? upsample_read(&forward, request) : resize_read(&forward, request);
}

static mitral_status shape(struct kernel_call *call)
{
    struct resize_request request;
    mitral_tensor x, y;
    enum compute compute;
    int64_t dims[MITRAL_MAX_RANK];
    char first[160], second[160];
    TRY(check_same_float(call, 1, &compute));
    TRY(call_gradient_shape(call, 4, &x));
    call_set_output(call, 0, x.dtype, x.rank, x.dims);
    mitral_status status = read_request(call, &x, &request);
    if (status == MITRAL_DEFERRED)
        return MITRAL_OK; /* the shape is known all the same; run checks the rest */
    TRY(status);
    for (int32_t i = 0; i < request.rank; i++)
        dims[i] = request.axes[i].out;
    tensor_set(&y, x.dtype, request.rank, dims);
    if (!tensor_same_shape(&y, call_input(call, 0)))
        return call_fail(call, MITRAL_INVALID, "a gradient %s expected, found %s", tensor_describe(&y, first, sizeof(first)),
                         tensor_describe(call_input(call, 0), second, sizeof(second)));
    return MITRAL_OK;
}

/* Outer axes first: the elements that are added are then long rows, and the innermost axis has fewest rows left. Axes that become
 * smaller (they were enlarged) before those that become larger. */
static void order_axes(struct resize_backward *state)
{
    for (int pass = 0; pass < 2; pass++)
        for (int32_t i = 0; i < state->rank; i++)
            if (!state->tables[i].identity && (state->tables[i].in <= state->tables[i].out) == (pass == 0))
                state->order[state->passes++] = i;
}

static mitral_status make_tables(struct kernel_call *call, const struct resize_request *request, struct resize_backward **out)
{
    size_t bytes = aligned_bytes(sizeof(struct resize_backward)), entries[MITRAL_MAX_RANK] = {0}, list;
    const size_t entry = sizeof(int32_t) + sizeof(float) + sizeof(double);
    for (int32_t i = 0; i < request->rank; i++) {
        if (resize_is_identity(request, &request->axes[i]))
            continue;
        if (__builtin_mul_overflow((size_t)resize_taps(request, &request->axes[i]), (size_t)request->axes[i].out, &entries[i])
            || __builtin_mul_overflow(entries[i] + 1, entry, &list) || __builtin_add_overflow(bytes, list + 64, &bytes))
            return call_fail(call, MITRAL_LIMIT, "sampling tables that can be addressed expected, they overflow");
    }
    struct resize_backward *state = mitral_allocate(call->context, bytes);
    if (!state)
        return MITRAL_NO_MEMORY;
    *out = state;
    char *memory = (char *)state + aligned_bytes(sizeof(*state));
    state->rank = request->rank;
    for (int32_t i = 0; i < request->rank; i++) {
        struct resize_table *table = &state->tables[i];
        *table = (struct resize_table){.in = request->axes[i].in, .out = request->axes[i].out,
                                       .taps = resize_taps(request, &request->axes[i]),
                                       .identity = resize_is_identity(request, &request->axes[i])};
        if (table->identity)
            continue;
        if (request->mode != RESIZE_NEAREST) {
            table->weight_double = (double *)(void *)memory;
            table->weight = (float *)(void *)(memory + entries[i] * sizeof(double));
        }
        table->index = (int32_t *)(void *)(memory + entries[i] * (sizeof(double) + sizeof(float)));
        memory += aligned_bytes(entries[i] * entry);
        resize_fill(request, &request->axes[i], table);
    }
    order_axes(state);
    return MITRAL_OK;
}

static mitral_status size_stages(struct kernel_call *call, struct resize_backward *state)
{
    int64_t dims[MITRAL_MAX_RANK];
    const mitral_tensor *dy = call_input(call, 0);
    memcpy(dims, dy->dims, sizeof(dims));
    for (int32_t pass = 0; pass + 1 < state->passes; pass++) {
        int64_t count = 1;
        dims[state->order[pass]] = state->tables[state->order[pass]].in;
        for (int32_t i = 0; i < state->rank; i++)
            if (!multiply_sizes(count, dims[i], &count))
                return call_fail(call, MITRAL_LIMIT, "intermediate results that can be addressed expected, they overflow");
        state->stage[pass % 2] = larger(state->stage[pass % 2], count);
    }
    return MITRAL_OK;
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct resize_request request;
    mitral_tensor x;
    struct resize_backward *made = NULL;
    struct work work = {0};
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    TRY(read_request(call, &x, &request));
    TRY(make_tables(call, &request, &made));
    *state = made;
    TRY(size_stages(call, made));
    place_floats(call, &work, compute, &p);
    for (int i = 0; i < 2; i++)
        work_take(&work, made->stage[i], compute_size(compute));
    return work_measure(call, &work, scratch_bytes);
}

static void release(mitral_context *context, void *state)
{
    mitral_release(context, state);
}

static mitral_status run(struct kernel_call *call)
{
    const struct resize_backward *state = call->state;
    const mitral_tensor *dy = call_input(call, 0);
    const enum compute compute = compute_of(dy->dtype);
    struct work work = work_of(call);
    struct placed p;
    int64_t dims[MITRAL_MAX_RANK];
    void *stages[2];
    memcpy(dims, dy->dims, sizeof(dims));
    place_floats(call, &work, compute, &p);
    for (int i = 0; i < 2; i++)
        stages[i] = work_take(&work, state->stage[i], compute_size(compute));
    if (!p.outputs[0])
        return MITRAL_OK;
    const void *from = p.inputs[0];
    if (state->passes == 0)
        memcpy(p.outputs[0], from, (size_t)tensor_count(dy) * compute_size(compute));
    for (int32_t pass = 0; pass < state->passes; pass++) {
        const int32_t axis = state->order[pass];
        void *to = pass + 1 == state->passes ? p.outputs[0] : stages[pass % 2];
        int64_t outer = 1, inner = 1;
        for (int32_t i = 0; i < state->rank; i++)
            if (i != axis)
                *(i < axis ? &outer : &inner) *= dims[i];
        if (compute == COMPUTE_FLOAT)
            resample_back_float(&state->tables[axis], outer, inner, call->threads, from, to);
        else
            resample_back_double(&state->tables[axis], outer, inner, call->threads, from, to);
        dims[axis] = state->tables[axis].in;
        from = to;
    }
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

const struct kernel reference_gradient_resize[] = {
    {.name = "mitral.ResizeGradient", .shape = shape, .prepare = prepare, .run = run, .release = release},
};
const size_t reference_gradient_resize_count = sizeof reference_gradient_resize / sizeof *reference_gradient_resize;
