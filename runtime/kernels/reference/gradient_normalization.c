/* Batch normalisation as training does it, and the gradients of normalisations. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/registry.h"

struct batch_shape {
    int64_t batch, channels, plane;
    double epsilon, momentum;
    bool training;
};

struct group_shape {
    int64_t batch, channels, plane, group, scale_every;
    double epsilon;
};

struct layer_shape {
    int64_t rows, size;
    double epsilon;
    bool centred;
    int32_t rank;
    int64_t dims[MITRAL_MAX_RANK], strides[MITRAL_MAX_RANK]; /* of X; of the scale in it, 0 where it repeats */
};

struct lrn_shape {
    int64_t batch, channels, plane, size;
    double alpha, beta, bias;
};

static int64_t layer_offset(const struct layer_shape *s, int64_t index)
{
    int64_t offset = 0;
    for (int32_t i = s->rank; i-- > 0; index /= s->dims[i])
        offset += index % s->dims[i] * s->strides[i];
    return offset;
}

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/gradient_normalization_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/gradient_normalization_body.h"
#undef REAL
#undef NAME

static int64_t plane_of(const mitral_tensor *x)
{
    int64_t plane = 1;
    for (int32_t i = 2; i < x->rank; i++)
        plane *= x->dims[i];
    return plane;
}

/* Input `index` has to be a vector of `count` elements. */
static mitral_status check_vector(const struct kernel_call *call, size_t index, int64_t count)
{
    const mitral_tensor *tensor = call_input(call, index);
    char text[160];
    if (!tensor || tensor->rank != 1 || tensor->dims[0] != count)
        return call_fail(call, MITRAL_INVALID, "input %zu: a vector of %lld expected, found %s", index, (long long)count,
                         tensor ? tensor_describe(tensor, text, sizeof(text)) : "none");
    return MITRAL_OK;
}

/* X is input `index`; channels are its dimension 1. */
static mitral_status batch_decode(const struct kernel_call *call, size_t index, struct batch_shape *out)
{
    const mitral_tensor *x = call_input(call, index);
    if (!x || x->rank < 2)
        return call_fail(call, MITRAL_INVALID, "input %zu: a rank from 2 expected, found %d", index, x ? (int)x->rank : -1);
    *out = (struct batch_shape){.batch = x->dims[0], .channels = x->dims[1], .plane = plane_of(x), .training = true};
    out->epsilon = (double)attribute_float(call->attributes, "epsilon", 1e-5f);
    out->momentum = (double)attribute_float(call->attributes, "momentum", 0.9f);
    out->training = attribute_int(call->attributes, "training", 1) != 0;
    return MITRAL_OK;
}

/* X, scale, B, mean, variance → Y, next mean, next variance (unbiased), the batch's mean, its inverse deviation. */
static mitral_status batch_forward_shape(struct kernel_call *call)
{
    struct batch_shape s;
    enum compute compute;
    TRY(check_same_float(call, 5, &compute));
    TRY(batch_decode(call, 0, &s));
    for (size_t i = 1; i < 5; i++)
        TRY(check_vector(call, i, s.channels));
    call_set_output_like(call, 0, call_input(call, 0));
    for (size_t i = 1; i < 5; i++)
        call_set_output(call, i, call_input(call, 0)->dtype, 1, &s.channels);
    return MITRAL_OK;
}

static mitral_status batch_forward_run(struct kernel_call *call)
{
    struct batch_shape s;
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    TRY(batch_decode(call, 0, &s));
    place_floats(call, &work, compute, &p);
    if (compute == COMPUTE_FLOAT)
        batch_forward_float(&s, call->threads, &p);
    else
        batch_forward_double(&s, call->threads, &p);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* X → mean, inverse deviation. */
static mitral_status batch_statistics_shape(struct kernel_call *call)
{
    struct batch_shape s;
    enum compute compute;
    TRY(check_same_float(call, 1, &compute));
    TRY(batch_decode(call, 0, &s));
    for (size_t i = 0; i < 2; i++)
        call_set_output(call, i, call_input(call, 0)->dtype, 1, &s.channels);
    return MITRAL_OK;
}

static mitral_status batch_statistics_run(struct kernel_call *call)
{
    struct batch_shape s;
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    TRY(batch_decode(call, 0, &s));
    place_floats(call, &work, compute, &p);
    if (compute == COMPUTE_FLOAT)
        batch_statistics_float(&s, call->threads, &p);
    else
        batch_statistics_double(&s, call->threads, &p);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* dY, X, scale, mean, inverse deviation (attribute training 0: variance) → dX, dscale, dB. */
static mitral_status batch_backward_shape(struct kernel_call *call)
{
    struct batch_shape s;
    enum compute compute;
    TRY(check_same_float(call, 5, &compute));
    TRY(check_same_shape(call, 0, 1));
    TRY(batch_decode(call, 1, &s));
    for (size_t i = 2; i < 5; i++)
        TRY(check_vector(call, i, s.channels));
    call_set_output_like(call, 0, call_input(call, 1));
    call_set_output(call, 1, call_input(call, 0)->dtype, 1, &s.channels);
    call_set_output(call, 2, call_input(call, 0)->dtype, 1, &s.channels);
    return MITRAL_OK;
}

static mitral_status batch_backward_run(struct kernel_call *call)
{
    struct batch_shape s;
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    TRY(batch_decode(call, 1, &s));
    place_floats(call, &work, compute, &p);
    if (compute == COMPUTE_FLOAT)
        batch_backward_float(&s, call->threads, &p);
    else
        batch_backward_double(&s, call->threads, &p);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- instance and group normalisation: dY, X, scale → dX, dscale, dB --------------------------------------------------- */

static mitral_status group_decode(const struct kernel_call *call, bool instance, struct group_shape *out)
{
    TRY(check_same_shape(call, 0, 1));
    const mitral_tensor *x = call_input(call, 1), *scale = call_input(call, 2);
    if (x->rank < 2 || !scale || scale->rank != 1)
        return call_fail(call, MITRAL_INVALID, "an input of rank from 2 and a scale of rank 1 expected");
    *out = (struct group_shape){.batch = x->dims[0], .channels = x->dims[1], .plane = plane_of(x), .group = 1, .scale_every = 1};
    out->epsilon = (double)attribute_float(call->attributes, "epsilon", 1e-5f);
    if (!instance) {
        const int64_t groups = attribute_int(call->attributes, "num_groups", 1);
        if (groups < 1 || out->channels % groups)
            return call_fail(call, MITRAL_INVALID, "a number of groups that divides %lld channels expected, found %lld",
                             (long long)out->channels, (long long)groups);
        out->group = out->channels / groups;
    }
    /* Before version 21 the scale of GroupNormalization is one a group. */
    if (scale->dims[0] != out->channels && scale->dims[0] * out->group == out->channels)
        out->scale_every = out->group;
    if (scale->dims[0] * out->scale_every != out->channels)
        return call_fail(call, MITRAL_INVALID, "a scale of %lld elements expected, found %lld", (long long)out->channels,
                         (long long)scale->dims[0]);
    return MITRAL_OK;
}

static mitral_status group_shape_any(struct kernel_call *call, bool instance)
{
    struct group_shape s;
    enum compute compute;
    TRY(check_same_float(call, 3, &compute));
    TRY(group_decode(call, instance, &s));
    call_set_output_like(call, 0, call_input(call, 1));
    for (size_t i = 1; i < 3; i++)
        call_set_output_like(call, i, call_input(call, 2));
    return MITRAL_OK;
}

static mitral_status group_run_any(struct kernel_call *call, bool instance)
{
    struct group_shape s;
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    TRY(group_decode(call, instance, &s));
    if (s.channels == 0)
        return MITRAL_OK; /* no groups either */
    place_floats(call, &work, compute, &p);
    double *partial = work_take(&work, s.batch * s.channels * 2, sizeof *partial);
    if (compute == COMPUTE_FLOAT)
        group_backward_float(&s, call->threads, &p, partial);
    else
        group_backward_double(&s, call->threads, &p, partial);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

static mitral_status group_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    const mitral_tensor *x = call_input(call, 1);
    return prepare_partials(call, x->dims[0] * x->dims[1] * 2, scratch_bytes);
}

static mitral_status instance_shape(struct kernel_call *call) { return group_shape_any(call, true); }
static mitral_status instance_run(struct kernel_call *call) { return group_run_any(call, true); }
static mitral_status group_shape_of(struct kernel_call *call) { return group_shape_any(call, false); }
static mitral_status group_run(struct kernel_call *call) { return group_run_any(call, false); }

/* ---- layer and RMS normalisation: dY, X, scale → dX, dY x̂ --------------------------------------------------------------- */

static mitral_status layer_decode(const struct kernel_call *call, struct layer_shape *out)
{
    TRY(check_same_shape(call, 0, 1));
    const mitral_tensor *x = call_input(call, 1), *scale = call_input(call, 2);
    int64_t axis, stride = 1;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", -1), x->rank, &axis));
    *out = (struct layer_shape){.rows = 1, .size = 1, .rank = x->rank};
    out->epsilon = (double)attribute_float(call->attributes, "epsilon", 1e-5f);
    out->centred = attribute_int(call->attributes, "centred", 1) != 0;
    for (int32_t i = 0; i < x->rank; i++) {
        *(i < axis ? &out->rows : &out->size) *= x->dims[i];
        out->dims[i] = x->dims[i];
    }
    if (scale && scale->rank > x->rank)
        return call_fail(call, MITRAL_INVALID, "a scale of rank up to %d expected, found %d", (int)x->rank, (int)scale->rank);
    for (int32_t i = scale ? scale->rank : 0; i-- > 0; stride *= scale->dims[i]) {
        const int32_t at = i + x->rank - scale->rank;
        if (scale->dims[i] != 1 && scale->dims[i] != x->dims[at])
            return call_fail(call, MITRAL_INVALID, "a scale that broadcasts to the input expected, found %lld for %lld",
                             (long long)scale->dims[i], (long long)x->dims[at]);
        out->strides[at] = scale->dims[i] == 1 ? 0 : stride;
    }
    return MITRAL_OK;
}

static mitral_status layer_shape_of(struct kernel_call *call)
{
    struct layer_shape s;
    enum compute compute;
    TRY(check_same_float(call, 3, &compute));
    TRY(layer_decode(call, &s));
    call_set_output_like(call, 0, call_input(call, 1));
    call_set_output_like(call, 1, call_input(call, 1));
    return MITRAL_OK;
}

static mitral_status layer_run(struct kernel_call *call)
{
    struct layer_shape s;
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    TRY(layer_decode(call, &s));
    place_floats(call, &work, compute, &p);
    if (compute == COMPUTE_FLOAT)
        layer_backward_float(&s, call->threads, &p);
    else
        layer_backward_double(&s, call->threads, &p);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- LRN, LpNormalization: dY, X → dX ------------------------------------------------------------------------------------ */

static mitral_status pair_shape(struct kernel_call *call)
{
    enum compute compute;
    TRY(check_same_float(call, 2, &compute));
    TRY(check_same_shape(call, 0, 1));
    call_set_output_like(call, 0, call_input(call, 1));
    return MITRAL_OK;
}

static mitral_status lrn_shape_of(struct kernel_call *call)
{
    TRY(pair_shape(call));
    if (call_input(call, 1)->rank < 2 || attribute_int(call->attributes, "size", 1) < 1)
        return call_fail(call, MITRAL_INVALID, "an input of rank from 2 and a size from 1 expected");
    return MITRAL_OK;
}

static mitral_status lrn_run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 1);
    struct placed p;
    const enum compute compute = compute_of(x->dtype);
    struct work work = work_of(call);
    struct lrn_shape s = {.batch = x->dims[0], .channels = x->dims[1], .plane = plane_of(x)};
    s.size = attribute_int(call->attributes, "size", 1);
    s.alpha = (double)attribute_float(call->attributes, "alpha", 0.0001f);
    s.beta = (double)attribute_float(call->attributes, "beta", 0.75f);
    s.bias = (double)attribute_float(call->attributes, "bias", 1);
    place_floats(call, &work, compute, &p);
    if (compute == COMPUTE_FLOAT && p.outputs[0])
        lrn_backward_float(&s, call->threads, &p);
    else if (p.outputs[0])
        lrn_backward_double(&s, call->threads, &p);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

static mitral_status lp_shape(struct kernel_call *call)
{
    int64_t axis;
    const int64_t order = attribute_int(call->attributes, "p", 2);
    TRY(pair_shape(call));
    if (order != 1 && order != 2)
        return call_fail(call, MITRAL_INVALID, "p 1 or 2 expected, found %lld", (long long)order);
    return call_axis(call, attribute_int(call->attributes, "axis", -1), call_input(call, 1)->rank, &axis);
}

static mitral_status lp_run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 1);
    struct placed p;
    const enum compute compute = compute_of(x->dtype);
    struct work work = work_of(call);
    int64_t axis, outer = 1, inner = 1;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", -1), x->rank, &axis));
    for (int32_t i = 0; i < x->rank; i++)
        if (i != axis)
            *(i < axis ? &outer : &inner) *= x->dims[i];
    place_floats(call, &work, compute, &p);
    const int64_t order = attribute_int(call->attributes, "p", 2);
    if (compute == COMPUTE_FLOAT && p.outputs[0])
        lp_backward_float(outer, x->dims[axis], inner, order, call->threads, &p);
    else if (p.outputs[0])
        lp_backward_double(outer, x->dims[axis], inner, order, call->threads, &p);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

const struct kernel reference_gradient_normalization[] = {
    {.name = "mitral.BatchNormalizationGradient", .shape = batch_backward_shape, .prepare = prepare_floats, .run = batch_backward_run},
    {.name = "mitral.BatchNormalizationStatistics", .shape = batch_statistics_shape, .prepare = prepare_floats,
     .run = batch_statistics_run},
    {.name = "mitral.BatchNormalizationTraining", .shape = batch_forward_shape, .prepare = prepare_floats, .run = batch_forward_run},
    {.name = "mitral.GroupNormalizationGradient", .shape = group_shape_of, .prepare = group_prepare, .run = group_run},
    {.name = "mitral.InstanceNormalizationGradient", .shape = instance_shape, .prepare = group_prepare, .run = instance_run},
    {.name = "mitral.LayerNormalizationGradient", .shape = layer_shape_of, .prepare = prepare_floats, .run = layer_run},
    {.name = "mitral.LpNormalizationGradient", .shape = lp_shape, .prepare = prepare_floats, .run = lp_run},
    {.name = "mitral.LrnGradient", .shape = lrn_shape_of, .prepare = prepare_floats, .run = lrn_run},
};
const size_t reference_gradient_normalization_count =
    sizeof reference_gradient_normalization / sizeof *reference_gradient_normalization;
