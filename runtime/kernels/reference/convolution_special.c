/* DeformConv, CausalConvWithState. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/convolution.h"
#include "runtime/kernels/reference/operand.h"

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/convolution_special_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/convolution_special_body.h"
#undef REAL
#undef NAME

static mitral_status expect_shape(const struct kernel_call *call, const char *what, const mitral_tensor *tensor,
                                  int32_t dtype, int32_t rank, const int64_t *dims)
{
    mitral_tensor expected;
    tensor_set(&expected, dtype, rank, dims);
    if (tensor->dtype == dtype && tensor_same_shape(tensor, &expected))
        return MITRAL_OK;
    char wanted[160], found[160];
    return call_fail(call, MITRAL_INVALID, "%s %s expected, found %s", what,
                     tensor_describe(&expected, wanted, sizeof(wanted)), tensor_describe(tensor, found, sizeof(found)));
}

/* ---- DeformConv: X, W, offset, B?, mask? ----------------------------------------------------------------------------
 */

static mitral_status shape_deform(struct kernel_call *call)
{
    struct convolution_parameters p;
    TRY(call_convolution_parameters(call, &p));
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    const mitral_tensor *x = call_input(call, 0), *offset = call_input(call, 2);
    if (!offset || call_input(call, 1)->dtype != x->dtype)
        return call_fail(call, MITRAL_INVALID, "offsets, and weights of the input's type, expected");
    int64_t groups = attribute_int(call->attributes, "offset_group", 1), kernel = 1, dims[MITRAL_MAX_RANK];
    if (groups < 1 || p.channels % groups)
        return call_fail(call, MITRAL_INVALID, "an offset_group that divides the %lld channels expected, found %lld",
                         (long long)p.channels, (long long)groups);
    convolution_output_dims(&p, dims);
    call_set_output(call, 0, x->dtype, x->rank, dims);
    for (int32_t i = 0; i < p.spatial; i++)
        kernel *= p.kernel[i]; /* cannot overflow: the weights hold at least as many elements */
    if (!multiply_sizes(groups * p.spatial, kernel, &dims[1]))
        return call_fail(call, MITRAL_LIMIT, "offsets that can be addressed expected, their size overflows");
    TRY(expect_shape(call, "offsets", offset, x->dtype, x->rank, dims));
    if (call_input(call, 3))
        TRY(expect_shape(call, "a bias", call_input(call, 3), x->dtype, 1, &p.features));
    dims[1] = groups * kernel;
    if (call_input(call, 4))
        TRY(expect_shape(call, "a mask", call_input(call, 4), x->dtype, x->rank, dims));
    return MITRAL_OK;
}

struct deform_operands {
    const void *x, *w, *offset, *bias, *mask;
    void *columns, *y;
};

static void place_deform(const struct kernel_call *call, struct work *work, const struct convolution_parameters *p,
                         enum compute compute, struct deform_operands *out)
{
    out->x = work_operand(work, compute, call_input(call, 0));
    out->w = work_operand(work, compute, call_input(call, 1));
    out->offset = work_operand(work, compute, call_input(call, 2));
    out->bias = work_operand(work, compute, call_input(call, 3));
    out->mask = work_operand(work, compute, call_input(call, 4));
    out->y = work_result(work, compute, call_output(call, 0));
    int64_t count = p->batch * p->channels;
    bool fits = true;
    for (int32_t i = 0; i < p->spatial; i++)
        fits = fits && multiply_sizes(count, p->kernel[i], &count) && multiply_sizes(count, p->output[i], &count);
    out->columns = work_take(work, fits ? count : -1, compute_size(compute));
}

static mitral_status prepare_deform(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct convolution_parameters p;
    TRY(call_convolution_parameters(call, &p));
    struct work work = {0};
    struct deform_operands operands;
    place_deform(call, &work, &p, compute_of(call_input(call, 0)->dtype), &operands);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_deform(struct kernel_call *call)
{
    struct convolution_parameters p;
    TRY(call_convolution_parameters(call, &p));
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    struct deform_operands o;
    place_deform(call, &work, &p, compute, &o);
    if (!o.y)
        return MITRAL_OK;
    int64_t groups = attribute_int(call->attributes, "offset_group", 1);
    if (compute == COMPUTE_FLOAT)
        deform_float(&p, groups, call->threads, o.x, o.w, o.offset, o.bias, o.mask, o.columns, o.y);
    else
        deform_double(&p, groups, call->threads, o.x, o.w, o.offset, o.bias, o.mask, o.columns, o.y);
    work_store(compute, call_output(call, 0), o.y);
    return MITRAL_OK;
}

/* ---- CausalConvWithState: input [N, C, L], weight [C, 1, k], bias?, past state [N, C, k - 1]?
 * ------------------------- */

static mitral_status shape_causal(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0), *w = call_input(call, 1);
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    char first[160], second[160];
    if (!w || x->rank != 3 || w->rank != 3 || w->dims[0] != x->dims[1] || w->dims[1] != 1 || w->dims[2] < 1
        || w->dtype != x->dtype)
        return call_fail(
            call, MITRAL_INVALID, "an input [N, C, L] and weights [C, 1, k] of its type expected, found %s and %s",
            tensor_describe(x, first, sizeof(first)), w ? tensor_describe(w, second, sizeof(second)) : "none");
    const char *activation = attribute_string(call->attributes, "activation", "none");
    if (strcmp(activation, "none") != 0 && strcmp(activation, "silu") != 0 && strcmp(activation, "swish") != 0)
        return call_fail(call, MITRAL_INVALID, "activation none, silu or swish expected, found %.40s", activation);
    if (call_input(call, 2))
        TRY(expect_shape(call, "a bias", call_input(call, 2), x->dtype, 1, &x->dims[1]));
    const int64_t state[3] = {x->dims[0], x->dims[1], w->dims[2] - 1};
    if (call_input(call, 3))
        TRY(expect_shape(call, "a past state", call_input(call, 3), x->dtype, 3, state));
    call_set_output(call, 0, x->dtype, 3, x->dims);
    call_set_output(call, 1, x->dtype, 3, state);
    return MITRAL_OK;
}

struct causal_operands {
    const void *w, *bias;
    void *padded, *y;
};

static void place_causal(const struct kernel_call *call, struct work *work, enum compute compute,
                         struct causal_operands *out)
{
    const mitral_tensor *x = call_input(call, 0);
    out->w = work_operand(work, compute, call_input(call, 1));
    out->bias = work_operand(work, compute, call_input(call, 2));
    int64_t count;
    if (!multiply_sizes(x->dims[0], x->dims[1], &count)
        || !multiply_sizes(count, x->dims[2] + call_input(call, 1)->dims[2] - 1, &count))
        count = -1;
    out->padded = work_take(work, count, compute_size(compute));
    out->y = work_result(work, compute, call_output(call, 0));
    if (!call_output(call, 0))
        out->y = work_take(work, tensor_count(x), compute_size(compute));
}

static mitral_status prepare_causal(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    struct causal_operands operands;
    place_causal(call, &work, compute_of(call_input(call, 0)->dtype), &operands);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_causal(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0), *past = call_input(call, 3);
    mitral_tensor *y = call_output(call, 0), *present = call_output(call, 1);
    enum compute compute = compute_of(x->dtype);
    struct work work = work_of(call);
    struct causal_operands o;
    place_causal(call, &work, compute, &o);
    const int64_t planes = x->dims[0] * x->dims[1], length = x->dims[2], kernel = call_input(call, 1)->dims[2],
                  keep = kernel - 1;
    const int64_t width = keep + length;
    const bool silu = strcmp(attribute_string(call->attributes, "activation", "none"), "none") != 0;
    for (int64_t plane = 0; plane < planes; plane++) {
        for (int64_t i = 0; i < width; i++) {
            double value = i >= keep ? tensor_get_double(x, plane * length + i - keep)
                           : past    ? tensor_get_double(past, plane * keep + i)
                                     : 0;
            if (compute == COMPUTE_FLOAT)
                ((float *)o.padded)[plane * width + i] = (float)value;
            else
                ((double *)o.padded)[plane * width + i] = value;
            if (present && i >= length)
                tensor_set_double(present, plane * keep + i - length, value, true);
        }
    }
    if (!y)
        return MITRAL_OK;
    if (compute == COMPUTE_FLOAT) {
        float *values = o.y;
        causal_float(planes, x->dims[1], kernel, length, call->threads, o.padded, o.w, o.bias, values);
        if (silu) {
            operand_round(x->dtype, values,
                          planes * length); /* the activation follows the convolution's stored result */
            for (int64_t i = 0; i < planes * length; i++)
                values[i] = (float)(values[i] / (1 + exp(-(double)values[i])));
        }
    } else {
        double *values = o.y;
        causal_double(planes, x->dims[1], kernel, length, call->threads, o.padded, o.w, o.bias, values);
        for (int64_t i = 0; silu && i < planes * length; i++)
            values[i] = values[i] / (1 + exp(-values[i]));
    }
    work_store(compute, y, o.y);
    return MITRAL_OK;
}

const struct kernel reference_convolution_special[] = {
    {.name = "CausalConvWithState", .shape = shape_causal, .prepare = prepare_causal, .run = run_causal},
    {.name = "DeformConv", .shape = shape_deform, .prepare = prepare_deform, .run = run_deform},
};
const size_t reference_convolution_special_count =
    sizeof(reference_convolution_special) / sizeof(*reference_convolution_special);
