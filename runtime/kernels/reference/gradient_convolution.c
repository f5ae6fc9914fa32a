/* Gradients of convolutions: mitral.ConvGradientData, mitral.ConvGradientWeights, mitral.BiasGradient. */
#include <omp.h>
#include <string.h>

#include "runtime/kernels/reference/convolution.h"
#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/registry.h"

/* A convolution with three spatial dimensions; missing ones lead and have size 1. */
struct slide {
    int64_t batch, channels, features, group;
    int64_t input[3], output[3], kernel[3], stride[3], dilation[3], pad[3];
};

/* Channels of dX that share the rows of dY; positions of a row, and features, that a block of channels goes through together. */
#define DATA_BLOCK 8
#define ROW_BLOCK 512
#define FEATURE_BLOCK 32

/* Channels that share the rows of dY while dW is summed: as many as keep the lanes of all their windows in the first cache level. */
static int64_t weight_channels(int64_t window)
{
    return window >= 16 ? 1 : 16 / window;
}

/* The position whose window holds element `i` at kernel offset `k`; -1: none. */
static inline int64_t slide_position(const struct slide *s, int axis, int64_t i, int64_t k)
{
    const int64_t offset = i + s->pad[axis] - k * s->dilation[axis];
    if (offset < 0 || offset % s->stride[axis])
        return -1;
    return offset / s->stride[axis] < s->output[axis] ? offset / s->stride[axis] : -1;
}

/* The positions along a row whose element at kernel offset `k` lies inside the input: [low, high). */
static inline void slide_range(const struct slide *s, int64_t k, int64_t *low, int64_t *high)
{
    const int64_t offset = k * s->dilation[2] - s->pad[2];
    *low = offset >= 0 ? 0 : divide_up(-offset, s->stride[2]);
    *high = smaller(s->output[2], divide_down(s->input[2] - 1 - offset, s->stride[2]) + 1);
}

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/gradient_convolution_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/gradient_convolution_body.h"
#undef REAL
#undef NAME

static mitral_status make_slide(const struct kernel_call *call, const struct convolution_parameters *p, struct slide *out)
{
    if (p->spatial > 3)
        return call_fail(call, MITRAL_UNSUPPORTED, "at most 3 spatial dimensions expected, found %d", (int)p->spatial);
    *out = (struct slide){.batch = p->batch, .channels = p->channels, .features = p->features, .group = p->group};
    for (int i = 0; i < 3; i++) {
        const int32_t from = i - (3 - p->spatial);
        out->input[i] = from >= 0 ? p->input[from] : 1;
        out->output[i] = from >= 0 ? p->output[from] : 1;
        out->kernel[i] = from >= 0 ? p->kernel[from] : 1;
        out->stride[i] = from >= 0 ? p->strides[from] : 1;
        out->dilation[i] = from >= 0 ? p->dilations[from] : 1;
        out->pad[i] = from >= 0 ? p->pads_begin[from] : 0;
    }
    return MITRAL_OK;
}

/* A window of one element that moves by one has no rows of its own: short ones are joined. */
static void join_rows(struct slide *s, int64_t limit)
{
    bool pointwise = true;
    int64_t plane = 1;
    for (int i = 0; i < 3; i++) {
        pointwise &= s->kernel[i] == 1 && s->stride[i] == 1 && s->pad[i] == 0 && s->input[i] == s->output[i];
        plane *= s->input[i];
    }
    if (!pointwise || plane > limit)
        return;
    for (int i = 0; i < 3; i++)
        s->input[i] = s->output[i] = i == 2 ? plane : 1;
}

static mitral_status check_positions(const struct kernel_call *call, const struct convolution_parameters *p, size_t index)
{
    const mitral_tensor *dy = call_input(call, index);
    int64_t dims[MITRAL_MAX_RANK];
    mitral_tensor expected;
    char first[160], second[160];
    convolution_output_dims(p, dims);
    tensor_set(&expected, dy->dtype, p->spatial + 2, dims);
    if (!tensor_same_shape(dy, &expected))
        return call_fail(call, MITRAL_INVALID, "a gradient %s expected, found %s", tensor_describe(&expected, first, sizeof(first)),
                         tensor_describe(dy, second, sizeof(second)));
    return MITRAL_OK;
}

/* ---- data: dY, W, like?, addend? (float32) → dX ----------------------------------------------------------------------------------------- */

static mitral_status decode_data(const struct kernel_call *call, mitral_tensor *x, struct slide *slide)
{
    struct convolution_parameters p;
    TRY(call_gradient_shape(call, 2, x));
    TRY(convolution_decode(call, x, call_input(call, 1), &p));
    TRY(check_positions(call, &p, 0));
    return make_slide(call, &p, slide);
}

static mitral_status data_shape(struct kernel_call *call)
{
    mitral_tensor x;
    struct slide slide;
    enum compute compute;
    TRY(check_same_float(call, 2, &compute));
    TRY(decode_data(call, &x, &slide));
    TRY(check_addend(call, 3, &x));
    call_set_output(call, 0, x.dtype, x.rank, x.dims);
    return MITRAL_OK;
}

struct operands {
    const void *a, *b;
    void *first, *second;
    void *partial;
    size_t partial_each;
};

static void place_data(const struct kernel_call *call, struct work *work, enum compute compute, struct operands *out)
{
    out->a = work_operand(work, compute, call_input(call, 0));
    out->b = work_operand(work, compute, call_input(call, 1));
    out->first = work_result(work, compute, call_output(call, 0));
}

static mitral_status data_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    struct operands operands;
    place_data(call, &work, compute_of(call_input(call, 0)->dtype), &operands);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status data_run(struct kernel_call *call)
{
    mitral_tensor x;
    struct slide slide;
    struct operands o;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    TRY(decode_data(call, &x, &slide));
    join_rows(&slide, REDUCTION_CHUNK);
    place_data(call, &work, compute, &o);
    if (!o.first)
        return MITRAL_OK;
    if (compute == COMPUTE_FLOAT)
        gradient_data_float(&slide, call->threads, o.a, o.b, o.first);
    else
        gradient_data_double(&slide, call->threads, o.a, o.b, o.first);
    work_store(compute, call_output(call, 0), o.first);
    add_addend(call, 3);
    return MITRAL_OK;
}

static double data_flops(const struct kernel_call *call)
{
    struct convolution_parameters p;
    mitral_tensor x;
    if (call_gradient_shape(call, 2, &x) != MITRAL_OK || convolution_decode(call, &x, call_input(call, 1), &p) != MITRAL_OK)
        return 0;
    return convolution_flops(&p, false);
}

/* ---- weights: X, dY, like? → dW, dB? --------------------------------------------------------------------------------- */

static mitral_status decode_weights(const struct kernel_call *call, mitral_tensor *w, struct convolution_parameters *p,
                                    struct slide *slide)
{
    if (!call_input(call, 1))
        return call_fail(call, MITRAL_INVALID, "an input and a gradient expected, found no gradient");
    TRY(call_gradient_shape(call, 2, w));
    TRY(convolution_decode(call, call_input(call, 0), w, p));
    /* A transposed convolution with an output padding of a whole stride has fewer positions than would fit. */
    const mitral_tensor *dy = call_input(call, 1);
    for (int32_t i = 0; i < p->spatial && dy->rank == p->spatial + 2; i++)
        p->output[i] = smaller(p->output[i], dy->dims[2 + i]);
    TRY(check_positions(call, p, 1));
    return make_slide(call, p, slide);
}

static mitral_status weights_shape(struct kernel_call *call)
{
    mitral_tensor w;
    struct convolution_parameters p;
    struct slide slide;
    enum compute compute;
    TRY(check_same_float(call, 2, &compute));
    TRY(decode_weights(call, &w, &p, &slide));
    call_set_output(call, 0, w.dtype, w.rank, w.dims);
    call_set_output(call, 1, w.dtype, 1, w.dims);
    return MITRAL_OK;
}

static void place_weights(const struct kernel_call *call, struct work *work, enum compute compute, int64_t window, struct operands *out)
{
    out->a = work_operand(work, compute, call_input(call, 0));
    out->b = work_operand(work, compute, call_input(call, 1));
    out->first = work_result(work, compute, call_output(call, 0));
    out->second = work_result(work, compute, call_output(call, 1));
    /* A thread's totals (double) and lanes (16 of the compute type), for each feature, channel and window position of a unit. */
    out->partial_each = aligned_bytes((size_t)(weight_channels(window) * window) * FEATURE_BLOCK * (sizeof(double) + 16 * compute_size(compute)));
    out->partial = work_take(work, call->threads > 0 ? call->threads : 1, out->partial_each);
}

static mitral_status weights_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    struct operands operands;
    mitral_tensor w;
    struct convolution_parameters p;
    struct slide s;
    TRY(decode_weights(call, &w, &p, &s));
    place_weights(call, &work, compute_of(call_input(call, 0)->dtype), s.kernel[0] * s.kernel[1] * s.kernel[2], &operands);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status weights_run(struct kernel_call *call)
{
    mitral_tensor w;
    struct convolution_parameters p;
    struct slide s;
    struct operands o;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    TRY(decode_weights(call, &w, &p, &s));
    place_weights(call, &work, compute, s.kernel[0] * s.kernel[1] * s.kernel[2], &o);
    const int64_t plane = s.output[0] * s.output[1] * s.output[2];
    join_rows(&s, INT64_MAX);
    if (o.first) {
        if (compute == COMPUTE_FLOAT)
            gradient_weights_float(&s, call->threads, o.a, o.b, o.first, o.partial, o.partial_each);
        else
            gradient_weights_double(&s, call->threads, o.a, o.b, o.first, o.partial, o.partial_each);
        work_store(compute, call_output(call, 0), o.first);
    }
    if (o.second) {
        if (compute == COMPUTE_FLOAT)
            gradient_bias_float(s.batch, s.features, plane, call->threads, o.b, o.second);
        else
            gradient_bias_double(s.batch, s.features, plane, call->threads, o.b, o.second);
        work_store(compute, call_output(call, 1), o.second);
    }
    return MITRAL_OK;
}

static double weights_flops(const struct kernel_call *call)
{
    struct convolution_parameters p;
    mitral_tensor w;
    if (call_gradient_shape(call, 2, &w) != MITRAL_OK || convolution_decode(call, call_input(call, 0), &w, &p) != MITRAL_OK)
        return 0;
    return convolution_flops(&p, false);
}

/* ---- bias: dY [N, C, …] → dB [C] ------------------------------------------------------------------------------------- */

static mitral_status bias_shape(struct kernel_call *call)
{
    enum compute compute;
    TRY(check_same_float(call, 1, &compute));
    const mitral_tensor *dy = call_input(call, 0);
    if (dy->rank < 2)
        return call_fail(call, MITRAL_INVALID, "a gradient of rank from 2 expected, found rank %d", (int)dy->rank);
    call_set_output(call, 0, dy->dtype, 1, &dy->dims[1]);
    return MITRAL_OK;
}

static mitral_status bias_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    work_operand(&work, compute, call_input(call, 0));
    work_result(&work, compute, call_output(call, 0));
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status bias_run(struct kernel_call *call)
{
    const mitral_tensor *dy = call_input(call, 0);
    const enum compute compute = compute_of(dy->dtype);
    struct work work = work_of(call);
    const void *from = work_operand(&work, compute, dy);
    void *to = work_result(&work, compute, call_output(call, 0));
    int64_t plane = 1;
    if (!to)
        return MITRAL_OK;
    for (int32_t i = 2; i < dy->rank; i++)
        plane *= dy->dims[i];
    if (compute == COMPUTE_FLOAT)
        gradient_bias_float(dy->dims[0], dy->dims[1], plane, call->threads, from, to);
    else
        gradient_bias_double(dy->dims[0], dy->dims[1], plane, call->threads, from, to);
    work_store(compute, call_output(call, 0), to);
    return MITRAL_OK;
}

const struct kernel reference_gradient_convolution[] = {
    {.name = "mitral.ConvGradientData", .shape = data_shape, .prepare = data_prepare, .run = data_run, .flops = data_flops},
    {.name = "mitral.ConvGradientWeights", .shape = weights_shape, .prepare = weights_prepare, .run = weights_run,
     .flops = weights_flops},
    {.name = "mitral.BiasGradient", .shape = bias_shape, .prepare = bias_prepare, .run = bias_run},
};
const size_t reference_gradient_convolution_count = sizeof reference_gradient_convolution / sizeof *reference_gradient_convolution;
