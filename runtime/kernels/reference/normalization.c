/* InstanceNormalization, GroupNormalization, LayerNormalization, RMSNormalization, LpNormalization, LRN,
 * MeanVarianceNormalization. */
#include "runtime/kernels/reference/normalization.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/reference/shapes.h"

struct lrn_parameters {
    int64_t batch, channels, inner, size;
    double alpha, beta, bias;
};

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/normalization_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/normalization_body.h"
#undef REAL
#undef NAME

/* ---- what they share ------------------------------------------------------------------------------------------------
 */

/* A vector of `count` elements as input `index`. */
static mitral_status expect_vector(const struct kernel_call *call, size_t index, const char *name, int64_t count)
{
    const mitral_tensor *tensor = call_input(call, index);
    if (tensor && tensor->rank == 1 && tensor->dims[0] == count && dtype_is_float(tensor->dtype))
        return MITRAL_OK;
    char expected[80];
    snprintf(expected, sizeof(expected), "%s [%lld] of a floating-point type", name, (long long)count);
    return call_fail_input(call, expected, tensor);
}

struct operands {
    const void *x, *scale, *bias;
    void *y, *means, *inverses;
};

static void place(const struct kernel_call *call, struct work *work, enum compute compute, struct operands *out)
{
    out->x = work_operand(work, compute, call_input(call, 0));
    out->scale = work_operand(work, compute, call_input(call, 1));
    out->bias = work_operand(work, compute, call_input(call, 2));
    out->y = work_result(work, compute, call_output(call, 0));
    out->means = work_result(work, compute, call_output(call, 1));
    out->inverses = work_result(work, compute, call_output(call, 2));
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    struct operands operands;
    place(call, &work, compute_of(call_input(call, 0)->dtype), &operands);
    return work_measure(call, &work, scratch_bytes);
}

static void normalize(const struct kernel_call *call, enum compute compute, const struct row_normalization *n,
                      const struct operands *o)
{
    if (compute == COMPUTE_FLOAT)
        normalize_rows_float(n, call->threads, o->x, o->scale, o->bias, o->y, o->means, o->inverses);
    else
        normalize_rows_double(n, call->threads, o->x, o->scale, o->bias, o->y, o->means, o->inverses);
    work_store(compute, call_output(call, 0), o->y);
    work_store(compute, call_output(call, 1), o->means);
    work_store(compute, call_output(call, 2), o->inverses);
}

static int64_t product(const mitral_tensor *x, int32_t first, int32_t end)
{
    int64_t result = 1;
    for (int32_t i = first; i < end; i++)
        result *= x->dims[i];
    return result;
}

/* ---- InstanceNormalization and GroupNormalization: X, scale, bias
 * ------------------------------------------------------ */

mitral_status shape_instance_normalization(struct kernel_call *call)
{
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    const mitral_tensor *x = call_input(call, 0);
    if (x->rank < 2)
        return call_fail_input(call, "an input [N, C, …]", x);
    TRY(expect_vector(call, 1, "a scale", x->dims[1]));
    TRY(expect_vector(call, 2, "a bias", x->dims[1]));
    call_set_output(call, 0, x->dtype, x->rank, x->dims);
    return MITRAL_OK;
}

static mitral_status run_instance(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    enum compute compute = compute_of(x->dtype);
    struct work work = work_of(call);
    struct operands o;
    place(call, &work, compute, &o);
    const int64_t inner = product(x, 2, x->rank);
    struct row_normalization n = {.rows = x->dims[0] * x->dims[1],
                                  .size = inner,
                                  .scale_period = x->dims[1],
                                  .scale_row_stride = 1,
                                  .scale_span = inner,
                                  .epsilon = (double)attribute_float(call->attributes, "epsilon", 1e-5f)};
    normalize(call, compute, &n, &o);
    return MITRAL_OK;
}

mitral_status shape_group_normalization(struct kernel_call *call)
{
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    const mitral_tensor *x = call_input(call, 0);
    if (x->rank < 2)
        return call_fail_input(call, "an input [N, C, …]", x);
    const int64_t groups = attribute_int(call->attributes, "num_groups", 0);
    if (groups < 1 || x->dims[1] % groups)
        return call_fail(call, MITRAL_INVALID, "num_groups that divides the %lld channels expected, found %lld",
                         (long long)x->dims[1], (long long)groups);
    const int64_t count = call->opset < 21 ? groups : x->dims[1];
    TRY(expect_vector(call, 1, "a scale", count));
    TRY(expect_vector(call, 2, "a bias", count));
    call_set_output(call, 0, x->dtype, x->rank, x->dims);
    return MITRAL_OK;
}

static mitral_status run_group(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    enum compute compute = compute_of(x->dtype);
    struct work work = work_of(call);
    struct operands o;
    place(call, &work, compute, &o);
    const int64_t inner = product(x, 2, x->rank), groups = attribute_int(call->attributes, "num_groups", 0);
    const int64_t channels = x->dims[1] / groups;
    const bool by_group = call->opset < 21; /* version 18 scales whole groups */
    struct row_normalization n = {.rows = x->dims[0] * groups,
                                  .size = channels * inner,
                                  .scale_period = groups,
                                  .scale_row_stride = by_group ? 1 : channels,
                                  .scale_span = by_group ? channels * inner : inner,
                                  .epsilon = (double)attribute_float(call->attributes, "epsilon", 1e-5f)};
    normalize(call, compute, &n, &o);
    return MITRAL_OK;
}

/* ---- LayerNormalization: X, scale, bias? -> Y, mean?, inverse deviation?; RMSNormalization: X, scale -> Y
 * -------------- */

mitral_status layer_rows(const struct kernel_call *call, const mitral_tensor *x, int64_t axis, int64_t *first_axis,
                         struct row_normalization *out)
{
    TRY(call_axis(call, axis, x->rank, first_axis));
    *out = (struct row_normalization){.rows = product(x, 0, (int32_t)*first_axis),
                                      .size = product(x, (int32_t)*first_axis, x->rank),
                                      .scale_period = 1,
                                      .scale_span = 1,
                                      .epsilon = (double)attribute_float(call->attributes, "epsilon", 1e-5f)};
    return MITRAL_OK;
}

/* Whether the tensor broadcasts to x; *whole: it has an element for each of the normalized dimensions and no other. */
static bool broadcasts_to(const mitral_tensor *tensor, const mitral_tensor *x, int64_t axis, bool *whole)
{
    if (tensor->rank > x->rank)
        return false;
    *whole = tensor->rank >= x->rank - axis;
    for (int32_t i = 0; i < tensor->rank; i++) {
        const int64_t at = x->rank - tensor->rank + i;
        if (tensor->dims[i] != 1 && tensor->dims[i] != x->dims[at])
            return false;
        if (tensor->dims[i] != (at < axis ? 1 : x->dims[at]))
            *whole = false;
    }
    return true;
}

/* The elements of `tensor` broadcast to x. */
static void *expand(struct work *work, enum compute compute, const mitral_tensor *tensor, const void *elements,
                    const mitral_tensor *x)
{
    const size_t size = compute_size(compute);
    char *to = work_take(work, tensor_count(x), size);
    for (int64_t i = 0; to && i < tensor_count(x); i++) {
        int64_t rest = i, at = 0, scale = 1;
        for (int32_t d = x->rank - 1; d >= 0; d--) {
            const int32_t other = d - (x->rank - tensor->rank);
            if (other >= 0) {
                at += tensor->dims[other] == 1 ? 0 : rest % x->dims[d] * scale;
                scale *= tensor->dims[other];
            }
            rest /= x->dims[d];
        }
        memcpy(to + (size_t)i * size, (const char *)elements + (size_t)at * size, size);
    }
    return to;
}

mitral_status shape_layer_normalization(struct kernel_call *call)
{
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    const mitral_tensor *x = call_input(call, 0);
    struct row_normalization n;
    int64_t axis, dims[MITRAL_MAX_RANK];
    TRY(layer_rows(call, x, attribute_int(call->attributes, "axis", -1), &axis, &n));
    for (size_t i = 1; i < 3; i++) {
        const mitral_tensor *tensor = call_input(call, i);
        bool whole;
        if (i == 1 ? !tensor || !broadcasts_to(tensor, x, axis, &whole)
                   : tensor && !broadcasts_to(tensor, x, axis, &whole))
            return call_fail_input(
                call, i == 1 ? "a scale that broadcasts to the input" : "a bias that broadcasts to the input", tensor);
    }
    memcpy(dims, x->dims, sizeof(dims));
    for (int32_t i = (int32_t)axis; i < x->rank; i++)
        dims[i] = 1;
    const int64_t stash = attribute_int(call->attributes, "stash_type", MITRAL_FLOAT);
    if (stash != MITRAL_FLOAT && stash != MITRAL_BFLOAT16 && stash != MITRAL_DOUBLE && stash != MITRAL_FLOAT16)
        return call_fail(call, MITRAL_INVALID, "stash_type 1 (float32), 10, 11 or 16 expected, found %lld",
                         (long long)stash);
    call_set_output(call, 0, x->dtype, x->rank, x->dims);
    call_set_output(call, 1, (int32_t)stash, x->rank, dims);
    call_set_output(call, 2, (int32_t)stash, x->rank, dims);
    return MITRAL_OK;
}

static mitral_status place_layer(const struct kernel_call *call, struct work *work, enum compute compute,
                                 struct row_normalization *n, struct operands *o)
{
    const mitral_tensor *x = call_input(call, 0), *scale = call_input(call, 1), *bias = call_input(call, 2);
    int64_t axis;
    bool scale_whole = true, bias_whole = true;
    TRY(layer_rows(call, x, attribute_int(call->attributes, "axis", -1), &axis, n));
    place(call, work, compute, o);
    broadcasts_to(scale, x, axis, &scale_whole);
    if (bias)
        broadcasts_to(bias, x, axis, &bias_whole);
    if (scale_whole && bias_whole)
        return MITRAL_OK;
    n->scale_period = n->rows;
    n->scale_row_stride = n->size;
    o->scale = expand(work, compute, scale, o->scale, x);
    if (bias)
        o->bias = expand(work, compute, bias, o->bias, x);
    return MITRAL_OK;
}

static mitral_status prepare_layer(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    struct operands operands;
    struct row_normalization n;
    TRY(place_layer(call, &work, compute_of(call_input(call, 0)->dtype), &n, &operands));
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_rows(struct kernel_call *call, bool root_mean_square)
{
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    struct operands o;
    struct row_normalization n;
    TRY(place_layer(call, &work, compute, &n, &o));
    n.root_mean_square = root_mean_square;
    normalize(call, compute, &n, &o);
    return MITRAL_OK;
}

static mitral_status run_layer(struct kernel_call *call)
{
    return run_rows(call, false);
}

static mitral_status run_root_mean_square(struct kernel_call *call)
{
    return run_rows(call, true);
}

/* ---- LpNormalization and LRN ----------------------------------------------------------------------------------------
 */

static mitral_status shape_lp(struct kernel_call *call)
{
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    const mitral_tensor *x = call_input(call, 0);
    int64_t axis, p = attribute_int(call->attributes, "p", 2);
    TRY(call_axis(call, attribute_int(call->attributes, "axis", -1), x->rank, &axis));
    if (p != 1 && p != 2)
        return call_fail(call, MITRAL_INVALID, "attribute p 1 or 2 expected, found %lld", (long long)p);
    call_set_output(call, 0, x->dtype, x->rank, x->dims);
    return MITRAL_OK;
}

static mitral_status run_lp(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    enum compute compute = compute_of(x->dtype);
    struct work work = work_of(call);
    struct operands o;
    int64_t axis, p = attribute_int(call->attributes, "p", 2);
    TRY(call_axis(call, attribute_int(call->attributes, "axis", -1), x->rank, &axis));
    place(call, &work, compute, &o);
    if (!o.y)
        return MITRAL_OK;
    const int64_t outer = product(x, 0, (int32_t)axis), inner = product(x, (int32_t)axis + 1, x->rank);
    if (compute == COMPUTE_FLOAT)
        normalize_lp_float(outer, x->dims[axis], inner, p, call->threads, o.x, o.y);
    else
        normalize_lp_double(outer, x->dims[axis], inner, p, call->threads, o.x, o.y);
    work_store(compute, call_output(call, 0), o.y);
    return MITRAL_OK;
}

mitral_status shape_lrn(struct kernel_call *call)
{
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    const mitral_tensor *x = call_input(call, 0);
    if (x->rank < 2)
        return call_fail_input(call, "an input [N, C, …]", x);
    const int64_t size = attribute_int(call->attributes, "size", 0);
    if (size < 1)
        return call_fail(call, MITRAL_INVALID, "attribute size from 1 expected, found %lld", (long long)size);
    call_set_output(call, 0, x->dtype, x->rank, x->dims);
    return MITRAL_OK;
}

static mitral_status run_lrn(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    enum compute compute = compute_of(x->dtype);
    struct work work = work_of(call);
    struct operands o;
    place(call, &work, compute, &o);
    if (!o.y)
        return MITRAL_OK;
    const struct lrn_parameters p = {x->dims[0],
                                     x->dims[1],
                                     product(x, 2, x->rank),
                                     attribute_int(call->attributes, "size", 1),
                                     (double)attribute_float(call->attributes, "alpha", 1e-4f),
                                     (double)attribute_float(call->attributes, "beta", 0.75f),
                                     (double)attribute_float(call->attributes, "bias", 1)};
    if (compute == COMPUTE_FLOAT)
        lrn_float(&p, call->threads, o.x, o.y);
    else
        lrn_double(&p, call->threads, o.x, o.y);
    work_store(compute, call_output(call, 0), o.y);
    return MITRAL_OK;
}

/* ---- MeanVarianceNormalization: over any set of axes
 * ------------------------------------------------------------------ */

static mitral_status decode_axes(const struct kernel_call *call, const mitral_tensor *x, bool reduced[MITRAL_MAX_RANK],
                                 int64_t *groups)
{
    static const int64_t usual[] = {0, 2, 3};
    size_t count;
    const int64_t *axes = attribute_ints(call->attributes, "axes", &count);
    if (!axes) {
        axes = usual;
        count = 3;
    }
    memset(reduced, 0, MITRAL_MAX_RANK * sizeof(*reduced));
    for (size_t i = 0; i < count; i++) {
        int64_t axis;
        TRY(call_axis(call, axes[i], x->rank, &axis));
        reduced[axis] = true;
    }
    *groups = 1;
    for (int32_t i = 0; i < x->rank; i++)
        *groups *= reduced[i] ? 1 : x->dims[i];
    return MITRAL_OK;
}

static mitral_status shape_mean_variance(struct kernel_call *call)
{
    enum compute compute;
    bool reduced[MITRAL_MAX_RANK];
    int64_t groups;
    TRY(check_float_operand(call, 0, &compute));
    const mitral_tensor *x = call_input(call, 0);
    TRY(decode_axes(call, x, reduced, &groups));
    call_set_output(call, 0, x->dtype, x->rank, x->dims);
    return MITRAL_OK;
}

static mitral_status prepare_mean_variance(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    bool reduced[MITRAL_MAX_RANK];
    int64_t groups;
    TRY(decode_axes(call, call_input(call, 0), reduced, &groups));
    struct work work = {0};
    work_take(&work, groups, sizeof(double));
    work_take(&work, groups, sizeof(double));
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_mean_variance(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data || tensor_count(x) == 0)
        return MITRAL_OK;
    bool reduced[MITRAL_MAX_RANK];
    int64_t groups;
    TRY(decode_axes(call, x, reduced, &groups));
    struct work work = work_of(call);
    double *means = work_take(&work, groups, sizeof(double)), *squares = work_take(&work, groups, sizeof(double));
    const int64_t count = tensor_count(x);
    const double size = (double)(groups ? count / groups : 1);
    memset(means, 0, (size_t)groups * sizeof(*means));
    memset(squares, 0, (size_t)groups * sizeof(*squares));
    /* Three sweeps: sums, squared distances, results. The group of an element is counted along by an odometer. */
    for (int sweep = 0; sweep < 3; sweep++) {
        int64_t at[MITRAL_MAX_RANK] = {0}, strides[MITRAL_MAX_RANK], group = 0, scale = 1;
        for (int32_t d = x->rank - 1; d >= 0; d--) {
            strides[d] = reduced[d] ? 0 : scale;
            scale *= reduced[d] ? 1 : x->dims[d];
        }
        for (int64_t i = 0; i < count; i++) {
            const double value = tensor_get_double(x, i);
            if (sweep == 0)
                means[group] += value / size;
            else if (sweep == 1)
                squares[group] += (value - means[group]) * (value - means[group]) / size;
            else
                tensor_set_double(y, i, (value - means[group]) / (sqrt(squares[group]) + 1e-9), true);
            for (int32_t d = x->rank - 1; d >= 0; d--) {
                group += strides[d];
                if (++at[d] < x->dims[d])
                    break;
                group -= at[d] * strides[d];
                at[d] = 0;
            }
        }
    }
    return MITRAL_OK;
}

const struct kernel reference_normalization[] = {
    {.name = "GroupNormalization",
     .flags = KERNEL_IN_PLACE,
     .shape = shape_group_normalization,
     .prepare = prepare,
     .run = run_group},
    {.name = "InstanceNormalization",
     .flags = KERNEL_IN_PLACE,
     .shape = shape_instance_normalization,
     .prepare = prepare,
     .run = run_instance},
    {.name = "LRN", .shape = shape_lrn, .prepare = prepare, .run = run_lrn},
    {.name = "LayerNormalization",
     .flags = KERNEL_IN_PLACE,
     .shape = shape_layer_normalization,
     .prepare = prepare_layer,
     .run = run_layer},
    {.name = "LpNormalization", .flags = KERNEL_IN_PLACE, .shape = shape_lp, .prepare = prepare, .run = run_lp},
    {.name = "MeanVarianceNormalization",
     .flags = KERNEL_IN_PLACE,
     .shape = shape_mean_variance,
     .prepare = prepare_mean_variance,
     .run = run_mean_variance},
    {.name = "RMSNormalization",
     .flags = KERNEL_IN_PLACE,
     .shape = shape_layer_normalization,
     .prepare = prepare_layer,
     .run = run_root_mean_square},
};
const size_t reference_normalization_count = sizeof(reference_normalization) / sizeof(*reference_normalization);
