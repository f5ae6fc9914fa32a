/* Gradients of moves: mitral.SliceGradient, mitral.PadGradient, mitral.GatherGradient. */
#include <string.h>

#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/registry.h"

/* Where each index of dY goes in dX, axis by axis. */
struct move {
    int32_t rank; /* from 1 */
    int64_t from[MITRAL_MAX_RANK], to[MITRAL_MAX_RANK];
    int64_t *tables[MITRAL_MAX_RANK]; /* -1: nowhere */
};

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/gradient_move_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/gradient_move_body.h"
#undef REAL
#undef NAME

static mitral_status shape_of_like(struct kernel_call *call, size_t index)
{
    mitral_tensor x;
    enum compute compute;
    TRY(check_same_float(call, 1, &compute));
    TRY(call_gradient_shape(call, index, &x));
    TRY(tensor_check_size(call->context, &x));
    call_set_output(call, 0, x.dtype, x.rank, x.dims);
    return MITRAL_OK;
}

/* Ranks agree; memory for the tables from the call's arena. A scalar counts as one axis. */
static mitral_status move_begin(struct kernel_call *call, const mitral_tensor *x, struct move *out)
{
    const mitral_tensor *dy = call_input(call, 0);
    if (dy->rank != x->rank)
        return call_fail(call, MITRAL_INVALID, "a gradient of rank %d expected, found %d", (int)x->rank, (int)dy->rank);
    *out = (struct move){.rank = x->rank ? x->rank : 1, .from = {1}, .to = {1}};
    for (int32_t i = 0; i < x->rank; i++) {
        out->from[i] = dy->dims[i];
        out->to[i] = x->dims[i];
    }
    for (int32_t i = 0; i < out->rank; i++) {
        out->tables[i] = arena_allocate(call->arena, (size_t)(out->from[i] + 1) * sizeof(int64_t));
        if (!out->tables[i])
            return MITRAL_NO_MEMORY;
        for (int64_t k = 0; k < out->from[i]; k++)
            out->tables[i][k] = k < out->to[i] ? k : -1;
    }
    return MITRAL_OK;
}

static mitral_status move_run(struct kernel_call *call, const struct move *move)
{
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    place_floats(call, &work, compute, &p);
    if (!p.outputs[0])
        return MITRAL_OK;
    memset(p.outputs[0], 0, (size_t)tensor_count(call_output(call, 0)) * compute_size(compute));
    if (compute == COMPUTE_FLOAT)
        move_back_float(move, p.inputs[0], p.outputs[0]);
    else
        move_back_double(move, p.inputs[0], p.outputs[0]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- SliceGradient: dY, starts, ends, axes?, steps?, like? -------------------------------------------------------------- */

static mitral_status slice_shape(struct kernel_call *call)
{
    return shape_of_like(call, 5);
}

static mitral_status slice_run(struct kernel_call *call)
{
    mitral_tensor x;
    struct move move;
    const int64_t *lists[4];
    size_t counts[4];
    TRY(call_gradient_shape(call, 5, &x));
    TRY(move_begin(call, &x, &move));
    for (size_t i = 0; i < 4; i++)
        TRY(call_int_values(call, 1 + i, &lists[i], &counts[i]));
    for (size_t i = 0; i < counts[0]; i++) {
        int64_t axis = (int64_t)i, step = lists[3] && i < counts[3] ? lists[3][i] : 1, start = lists[0][i];
        if (lists[2]) {
            if (i >= counts[2])
                return call_fail(call, MITRAL_INVALID, "%zu axes expected, found %zu", counts[0], counts[2]);
            axis = lists[2][i];
        }
        TRY(call_axis(call, axis, x.rank, &axis));
        const int64_t size = x.dims[axis], lowest = step < 0 ? -1 : 0, highest = step < 0 ? size - 1 : size;
        start = start < 0 ? (start < -size ? lowest : start + size) : start;
        start = start < 0 ? 0 : start > highest ? highest : start;
        for (int64_t k = 0; k < move.from[axis]; k++) {
            const int64_t at = start + k * step;
            if (at < 0 || at >= size)
                return call_fail(call, MITRAL_INVALID, "a gradient of the slice's size expected, found %lld along axis %lld",
                                 (long long)move.from[axis], (long long)axis);
            move.tables[axis][k] = at;
        }
    }
    return move_run(call, &move);
}

/* ---- PadGradient: dY, like?; attributes pads (of every axis), mode ------------------------------------------------------ */

static mitral_status pad_shape(struct kernel_call *call)
{
    return shape_of_like(call, 1);
}

/* The element that position `at` (of the unpadded axis, may lie outside) shows. */
static int64_t pad_source(int64_t at, int64_t size, const char *mode)
{
    if (at >= 0 && at < size)
        return at;
    if (strcmp(mode, "edge") == 0)
        return size ? (at < 0 ? 0 : size - 1) : -1;
    if (strcmp(mode, "wrap") == 0)
        return size ? (at % size + size) % size : -1;
    if (strcmp(mode, "reflect") == 0) {
        if (size == 1)
            return 0;
        const int64_t period = 2 * (size - 1), phase = size ? (at % period + period) % period : 0;
        return size ? (phase < size ? phase : period - phase) : -1;
    }
    return -1;
}

static mitral_status pad_run(struct kernel_call *call)
{
    mitral_tensor x;
    struct move move;
    size_t count;
    const int64_t *pads = attribute_ints(call->attributes, "pads", &count);
    const char *mode = attribute_string(call->attributes, "mode", "constant");
    TRY(call_gradient_shape(call, 1, &x));
    TRY(move_begin(call, &x, &move));
    if (count != 2 * (size_t)x.rank)
        return call_fail(call, MITRAL_INVALID, "%d pads expected, found %zu", 2 * (int)x.rank, count);
    for (int32_t i = 0; i < x.rank; i++) {
        if (move.from[i] != x.dims[i] + pads[i] + pads[x.rank + i])
            return call_fail(call, MITRAL_INVALID, "a gradient of size %lld along axis %d expected, found %lld",
                             (long long)(x.dims[i] + pads[i] + pads[x.rank + i]), (int)i, (long long)move.from[i]);
        for (int64_t k = 0; k < move.from[i]; k++)
            move.tables[i][k] = pad_source(k - pads[i], x.dims[i], mode);
    }
    return move_run(call, &move);
}

/* ---- GatherGradient: dY, indices, like? ---------------------------------------------------------------------------------- */

static mitral_status gather_shape(struct kernel_call *call)
{
    return shape_of_like(call, 2);
}

static mitral_status gather_run(struct kernel_call *call)
{
    mitral_tensor x;
    struct placed p;
    const mitral_tensor *indices = call_input(call, 1), *dy = call_input(call, 0);
    const enum compute compute = compute_of(dy->dtype);
    struct work work = work_of(call);
    int64_t axis, outer = 1, inner = 1;
    TRY(call_gradient_shape(call, 2, &x));
    if (!indices || !dtype_is_integer(indices->dtype))
        return call_fail(call, MITRAL_INVALID, "integer indices expected");
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), x.rank, &axis));
    for (int32_t i = 0; i < x.rank; i++)
        if (i != axis)
            *(i < axis ? &outer : &inner) *= x.dims[i];
    const int64_t count = tensor_count(indices), size = x.dims[axis];
    if (tensor_count(dy) != outer * count * inner)
        return call_fail(call, MITRAL_INVALID, "a gradient of %lld elements expected, found %lld", (long long)(outer * count * inner),
                         (long long)tensor_count(dy));
    int64_t *index = arena_allocate(call->arena, (size_t)(count + 1) * sizeof *index);
    if (!index)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        index[i] = tensor_get_int(indices, i);
        if (index[i] < -size || index[i] >= size)
            return call_fail(call, MITRAL_INVALID, "indices in [%lld, %lld) expected, found %lld", (long long)-size, (long long)size,
                             (long long)index[i]);
        index[i] += index[i] < 0 ? size : 0;
    }
    place_floats(call, &work, compute, &p);
    if (compute == COMPUTE_FLOAT && p.outputs[0])
        gather_back_float(outer, size, count, inner, index, call->threads, p.inputs[0], p.outputs[0]);
    else if (p.outputs[0])
        gather_back_double(outer, size, count, inner, index, call->threads, p.inputs[0], p.outputs[0]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

const struct kernel reference_gradient_move[] = {
    {.name = "mitral.GatherGradient", .shape = gather_shape, .prepare = prepare_floats, .run = gather_run},
    {.name = "mitral.PadGradient", .shape = pad_shape, .prepare = prepare_floats, .run = pad_run},
    {.name = "mitral.SliceGradient", .shape = slice_shape, .prepare = prepare_floats, .run = slice_run},
};
const size_t reference_gradient_move_count = sizeof reference_gradient_move / sizeof *reference_gradient_move;
