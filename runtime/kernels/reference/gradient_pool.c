/* Gradients of pooling: mitral.MaxPoolGradient, mitral.AveragePoolGradient, mitral.LpPoolGradient. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/reference/pooling.h"
#include "runtime/kernels/registry.h"

enum pool_kind { POOL_MAXIMUM, POOL_AVERAGE, POOL_LP };

/* Three spatial dimensions; missing ones lead and have size 1. */
struct window {
    int64_t planes, input[3], output[3], kernel[3], stride[3], dilation[3], pad[3], pad_end[3];
    bool count_padding;
    double p;
};

/* Windows of 2×2 that tile the input. */
static bool is_halving(const struct window *w)
{
    bool halving = w->input[0] == 1 && w->output[0] == 1 && w->kernel[0] == 1;
    for (int i = 1; i < 3; i++)
        halving &= w->kernel[i] == 2 && w->stride[i] == 2 && w->dilation[i] == 1 && w->pad[i] == 0 && w->input[i] == 2 * w->output[i];
    return halving;
}

/* By how many elements an average is divided: those inside the input, or inside the padded input. */
static double pool_divisor(const struct window *w, const int64_t *origin, const int64_t *low, const int64_t *high)
{
    double count = 1;
    for (int i = 0; i < 3; i++) {
        int64_t inside = high[i] - low[i];
        if (w->count_padding)
            inside = smaller(w->kernel[i], divide_down(w->input[i] + w->pad_end[i] - 1 - origin[i], w->dilation[i]) + 1);
        count *= (double)inside;
    }
    return count > 0 ? count : 1;
}

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/gradient_pool_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/gradient_pool_body.h"
#undef REAL
#undef NAME

/* dY is input 0. X is input 1 (and an addend of a maximum's gradient input 2), but an average needs its shape alone: attribute `shape`. */
static mitral_status decode(const struct kernel_call *call, enum pool_kind kind, mitral_tensor *x, struct window *out)
{
    struct pool_parameters p;
    const mitral_tensor *dy = call_input(call, 0);
    mitral_tensor expected;
    int64_t dims[MITRAL_MAX_RANK];
    char first[160], second[160];
    if (kind == POOL_AVERAGE)
        TRY(call_gradient_shape(call, 1, x));
    else if (call_input(call, 1))
        *x = *call_input(call, 1);
    else
        return call_fail(call, MITRAL_INVALID, "the pooled input expected, found none");
    TRY(pool_decode(call, x, &p));
    if (p.spatial > 3)
        return call_fail(call, MITRAL_UNSUPPORTED, "at most 3 spatial dimensions expected, found %d", (int)p.spatial);
    pool_output_dims(&p, dims);
    tensor_set(&expected, dy->dtype, p.spatial + 2, dims);
    if (!tensor_same_shape(&expected, dy))
        return call_fail(call, MITRAL_INVALID, "a gradient %s expected, found %s", tensor_describe(&expected, first, sizeof(first)),
                         tensor_describe(dy, second, sizeof(second)));
    *out = (struct window){.planes = p.batch * p.channels, .count_padding = p.count_include_pad, .p = (double)p.p};
    for (int i = 0; i < 3; i++) {
        const int32_t from = i - (3 - p.spatial);
        out->input[i] = from >= 0 ? p.input[from] : 1;
        out->output[i] = from >= 0 ? p.output[from] : 1;
        out->kernel[i] = from >= 0 ? p.kernel[from] : 1;
        out->stride[i] = from >= 0 ? p.strides[from] : 1;
        out->dilation[i] = from >= 0 ? p.dilations[from] : 1;
        out->pad[i] = from >= 0 ? p.pads_begin[from] : 0;
        out->pad_end[i] = from >= 0 ? p.pads_end[from] : 0;
    }
    return MITRAL_OK;
}

static mitral_status shape(struct kernel_call *call, enum pool_kind kind, size_t floats)
{
    mitral_tensor x;
    struct window window;
    enum compute compute;
    TRY(check_same_float(call, floats, &compute));
    if (kind == POOL_LP)
        TRY(check_same_shape(call, 0, 2));
    TRY(decode(call, kind, &x, &window));
    if (kind == POOL_MAXIMUM)
        TRY(check_addend(call, 2, &x));
    call_set_output(call, 0, x.dtype, x.rank, x.dims);
    return MITRAL_OK;
}

static mitral_status run(struct kernel_call *call, enum pool_kind kind)
{
    mitral_tensor x;
    struct window window;
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    TRY(decode(call, kind, &x, &window));
    place_floats(call, &work, compute, &p);
    if (!p.outputs[0])
        return MITRAL_OK;
    const void *values = kind == POOL_AVERAGE ? NULL : p.inputs[1], *results = kind == POOL_LP ? p.inputs[2] : NULL;
    if (kind == POOL_MAXIMUM && is_halving(&window) && compute == COMPUTE_FLOAT)
        halve_float(&window, call->threads, p.inputs[0], values, p.outputs[0]);
    else if (kind == POOL_MAXIMUM && is_halving(&window))
        halve_double(&window, call->threads, p.inputs[0], values, p.outputs[0]);
    else if (compute == COMPUTE_FLOAT)
        pool_backward_float(&window, kind, call->threads, p.inputs[0], values, results, p.outputs[0]);
    else
        pool_backward_double(&window, kind, call->threads, p.inputs[0], values, results, p.outputs[0]);
    store_floats(call, compute, &p);
    if (kind == POOL_MAXIMUM)
        add_addend(call, 2);
    return MITRAL_OK;
}

static mitral_status max_shape(struct kernel_call *call) { return shape(call, POOL_MAXIMUM, 2); }
static mitral_status max_run(struct kernel_call *call) { return run(call, POOL_MAXIMUM); }
static mitral_status average_shape(struct kernel_call *call) { return shape(call, POOL_AVERAGE, 1); }
static mitral_status average_run(struct kernel_call *call) { return run(call, POOL_AVERAGE); }
static mitral_status lp_shape(struct kernel_call *call) { return shape(call, POOL_LP, 3); }
static mitral_status lp_run(struct kernel_call *call) { return run(call, POOL_LP); }

const struct kernel reference_gradient_pool[] = {
    {.name = "mitral.AveragePoolGradient", .shape = average_shape, .prepare = prepare_floats, .run = average_run},
    {.name = "mitral.LpPoolGradient", .shape = lp_shape, .prepare = prepare_floats, .run = lp_run},
    {.name = "mitral.MaxPoolGradient", .shape = max_shape, .prepare = prepare_floats, .run = max_run},
};
const size_t reference_gradient_pool_count = sizeof reference_gradient_pool / sizeof *reference_gradient_pool;
