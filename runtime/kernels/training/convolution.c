/* training.convolution: X, W, B?, addend? → Y, and training.convolution_data: dY, W, like?, addend? → dX. The data gradient of a
 * convolution of stride 1 is a convolution of dY with the filters turned over and their channels and features exchanged. */
#include "runtime/kernels/training/convolution.h"

#include <stdio.h>
#include <string.h>

#include "runtime/kernels/planar/convolution.h"
#include "runtime/kernels/reference/convolution.h"
#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/training/points.h"
#include "runtime/round.h"

enum { X, W, BIAS, ADDEND };

enum way { BY_POINTS, BY_TAPS, BY_ROWS };

struct state {
    struct slide slide;
    struct convolution convolution; /* of BY_TAPS */
    struct points points;           /* of BY_POINTS */
    struct planes_call planes;      /* of BY_ROWS */
    enum way way;
    bool data;
    size_t turned, packed;          /* floats of the weights before and after packing */
    char text[64];
};

static void release(mitral_context *context, void *state)
{
    mitral_release(context, state);
}

static mitral_status slide_of(const struct kernel_call *call, const struct convolution_parameters *p, struct slide *out)
{
    if (p->spatial != 2 || p->group != 1 || call_input(call, X)->dtype != MITRAL_FLOAT)
        return call_fail(call, MITRAL_UNSUPPORTED, "float32, two spatial dimensions and one group expected, found %s, %d and %lld",
                         mitral_dtype_name((mitral_dtype)call_input(call, X)->dtype), (int)p->spatial, (long long)p->group);
    *out = (struct slide){.batch = p->batch, .channels = p->channels, .features = p->features};
    for (int i = 0; i < 2; i++) {
        out->input[i] = p->input[i];
        out->output[i] = p->output[i];
        out->kernel[i] = p->kernel[i];
        out->stride[i] = p->output[i] > 1 ? p->strides[i] : 1; /* one position takes no steps */
        out->dilation[i] = p->dilations[i];
        out->pad[i] = p->pads_begin[i];
        if (p->input[i] > INT32_MAX / 16 || p->output[i] > INT32_MAX / 16 || p->dilations[i] > INT32_MAX / 16 || p->pads_begin[i] > INT32_MAX / 16)
            return call_fail(call, MITRAL_LIMIT, "a smaller image expected");
    }
    if (p->channels * p->kernel[0] * p->kernel[1] > INT32_MAX / 64 || p->features > INT32_MAX / 64)
        return call_fail(call, MITRAL_LIMIT, "fewer channels expected");
    return MITRAL_OK;
}

mitral_status slide_of_forward(const struct kernel_call *call, struct slide *out)
{
    struct convolution_parameters p;
    TRY(call_convolution_parameters(call, &p));
    return slide_of(call, &p, out);
}

mitral_status slide_of_data(const struct kernel_call *call, mitral_tensor *x, struct slide *out)
{
    struct convolution_parameters p;
    struct slide forward;
    const mitral_tensor *dy = call_input(call, 0);
    TRY(call_gradient_shape(call, 2, x));
    TRY(convolution_decode(call, x, call_input(call, 1), &p));
    TRY(slide_of(call, &p, &forward));
    *out = forward;
    out->channels = forward.features;
    out->features = forward.channels;
    if (dy->rank != 4 || dy->dims[0] != p.batch || dy->dims[1] != p.features)
        return call_fail(call, MITRAL_INVALID, "a gradient of %lld images with %lld channels expected", (long long)p.batch, (long long)p.features);
    for (int i = 0; i < 2; i++) {
        out->input[i] = forward.output[i];
        out->output[i] = forward.input[i];
        out->pad[i] = (forward.kernel[i] - 1) * forward.dilation[i] - forward.pad[i];
        if (p.strides[i] != 1 || out->pad[i] < 0)
            return call_fail(call, MITRAL_UNSUPPORTED, "stride 1 and pads within the window expected");
        if (dy->dims[2 + i] != forward.output[i])
            return call_fail(call, MITRAL_INVALID, "a gradient of size %lld in dimension %d expected, found %lld", (long long)forward.output[i],
                             2 + i, (long long)dy->dims[2 + i]);
    }
    return MITRAL_OK;
}

mitral_status slide_of_weights(const struct kernel_call *call, mitral_tensor *w, struct slide *out)
{
    struct convolution_parameters p;
    const mitral_tensor *dy = call_input(call, 1);
    TRY(call_gradient_shape(call, 2, w));
    TRY(convolution_decode(call, call_input(call, 0), w, &p));
    if (p.spatial != 2 || p.group != 1 || call_input(call, 0)->dtype != MITRAL_FLOAT || !dy || dy->dtype != MITRAL_FLOAT)
        return call_fail(call, MITRAL_UNSUPPORTED, "float32, two spatial dimensions and one group expected");
    if (dy->rank != 4 || dy->dims[0] != p.batch || dy->dims[1] != p.features || p.channels > INT32_MAX / 4096 || p.features > INT32_MAX / 4096)
        return call_fail(call, MITRAL_INVALID, "a gradient of %lld images with %lld channels expected", (long long)p.batch, (long long)p.features);
    *out = (struct slide){.batch = p.batch, .channels = p.channels, .features = p.features};
    for (int i = 0; i < 2; i++) {
        out->input[i] = p.input[i];
        /* A transposed convolution with an output padding of a whole stride has fewer positions than would fit. */
        out->output[i] = p.output[i] < dy->dims[2 + i] ? p.output[i] : dy->dims[2 + i];
        out->kernel[i] = p.kernel[i];
        out->stride[i] = out->output[i] > 1 ? p.strides[i] : 1; /* one position takes no steps */
        out->dilation[i] = p.dilations[i];
        out->pad[i] = p.pads_begin[i];
        if (out->output[i] != dy->dims[2 + i])
            return call_fail(call, MITRAL_INVALID, "a gradient of size %lld in dimension %d expected, found %lld", (long long)out->output[i], 2 + i,
                             (long long)dy->dims[2 + i]);
        if (p.input[i] > INT32_MAX / 16 || p.output[i] > INT32_MAX / 16 || p.dilations[i] > INT32_MAX / 16 || p.pads_begin[i] > INT32_MAX / 16
            || p.kernel[i] > 4096 || p.strides[i] > INT32_MAX / 16)
            return call_fail(call, MITRAL_LIMIT, "a smaller image expected");
    }
    return MITRAL_OK;
}

mitral_status shape_forward(struct kernel_call *call)
{
    struct slide slide;
    TRY(slide_of_forward(call, &slide));
    const int64_t dims[4] = {slide.batch, slide.features, slide.output[0], slide.output[1]};
    mitral_tensor y;
    tensor_set(&y, MITRAL_FLOAT, 4, dims);
    TRY(check_addend(call, ADDEND, &y));
    call_set_output(call, 0, MITRAL_FLOAT, 4, dims);
    return MITRAL_OK;
}

mitral_status shape_data(struct kernel_call *call)
{
    struct slide slide;
    mitral_tensor x;
    TRY(slide_of_data(call, &x, &slide));
    TRY(check_addend(call, ADDEND, &x));
    call_set_output(call, 0, MITRAL_FLOAT, x.rank, x.dims);
    return MITRAL_OK;
}

static bool is_pointwise(const struct slide *s)
{
    bool yes = true;
    for (int i = 0; i < 2; i++)
        yes = yes && s->kernel[i] == 1 && s->stride[i] == 1 && s->pad[i] == 0 && s->input[i] == s->output[i];
    return yes;
}

static enum way choose(const struct slide *s)
{
    if (is_pointwise(s))
        return BY_POINTS;
    bool small = s->channels <= 2; /* transforming would cost as much as it saves */
    for (int i = 0; i < 2; i++)
        small = small || s->kernel[i] != 3 || s->stride[i] != 1;
    return small ? BY_TAPS : BY_ROWS;
}

/* Weights in the order of the slide, then packed for the way, lie in front of the way's own scratch memory. */
static size_t weights_floats(const struct state *state)
{
    return state->turned + state->packed;
}

static mitral_status prepare(struct kernel_call *call, const struct slide *slide, bool data, void **out, size_t *scratch_bytes)
{
    static const char *const names[] = {"pointwise:planes", "direct:planes", "winograd4:planes"};
    struct state *state = mitral_allocate(call->context, sizeof *state);
    if (!state)
        return MITRAL_NO_MEMORY;
    const int threads = call->threads > 0 ? call->threads : 1;
    state->slide = *slide;
    state->way = choose(slide);
    state->data = data;
    state->turned = data && state->way != BY_POINTS
                        ? aligned_floats((size_t)(slide->channels * slide->features * slide->kernel[0] * slide->kernel[1])) : 0;
    state->planes = (struct planes_call){.slide = *slide, .planar = planar_blocks_of(cpu_isa()), .blocks = training_blocks_of(cpu_isa()),
                                         .threads = threads};
    struct convolution *c = &state->convolution;
    *c = (struct convolution){.way = WAY_DIRECT_PLANES, .blocks = planar_blocks_of(cpu_isa()),
                              .threads = threads, .x_pitch = (ptrdiff_t)slide->channels, .y_pitch = (ptrdiff_t)slide->features};
    state->planes.through = state->planes.blocks->lanes < 16
                            && training_is_large(slide->batch * slide->features * slide->output[0] * slide->output[1]);
    c->shape = (struct convolution_shape){.batch = slide->batch, .channels = slide->channels, .features = slide->features, .groups = 1,
                                          .input_layout = LAYOUT_PLAIN, .output_layout = LAYOUT_PLAIN, .residual_layout = LAYOUT_PLAIN};
    for (int i = 0; i < 2; i++) {
        c->shape.input[i] = slide->input[i];
        c->shape.output[i] = slide->output[i];
        c->shape.kernel[i] = slide->kernel[i];
        c->shape.stride[i] = slide->stride[i];
        c->shape.dilation[i] = slide->dilation[i];
        c->shape.pad_begin[i] = slide->pad[i];
    }
    if (!convolution_fits(&c->shape)) {
        mitral_release(call->context, state);
        return call_fail(call, MITRAL_LIMIT, "smaller windows, steps or paddings expected");
    }
    state->points = (struct points){.inputs = 1, .outputs = 1, .threads = threads, .batch = slide->batch, .height = slide->output[0],
                                    .width = slide->output[1], .pixels = slide->output[0] * slide->output[1], .channels = {slide->channels},
                                    .features = {slide->features}, .depth = slide->channels, .transposed = data, .blocks = c->blocks,
                                    .training = state->planes.blocks};
    state->packed = state->way == BY_POINTS ? 0
                    : aligned_floats(PLANAR_SLACK + (state->way == BY_ROWS ? planes_packed_floats(&state->planes) : convolution_packed_floats(c)));
    *scratch_bytes = weights_floats(state) * sizeof(float)
                     + (state->way == BY_POINTS ? points_scratch(&state->points)
                        : state->way == BY_ROWS ? planes_scratch(&state->planes) : convolution_planes_scratch(c));
    snprintf(state->text, sizeof state->text, "%s:%s", names[state->way], c->blocks->name);
    *out = state;
    return MITRAL_OK;
}

static mitral_status forward_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct slide slide;
    TRY(slide_of_forward(call, &slide));
    return prepare(call, &slide, false, state, scratch_bytes);
}

static mitral_status data_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct slide slide;
    mitral_tensor x;
    TRY(slide_of_data(call, &x, &slide));
    return prepare(call, &slide, true, state, scratch_bytes);
}

/* W [M, C, kh, kw] to [C, M, kh, kw], each filter from its end to its beginning. */
static void turn_over(const struct slide *s, const float *w, float *out)
{
    const int64_t taps = s->kernel[0] * s->kernel[1];
    for (int64_t f = 0; f < s->features; f++)
        for (int64_t c = 0; c < s->channels; c++)
            for (int64_t t = 0; t < taps; t++)
                out[(f * s->channels + c) * taps + t] = w[(c * s->features + f) * taps + taps - 1 - t];
}

/* Whether products write past the caches what is in none of them; found to be quicker where the CPU splits vectors of 512 bits. */
static bool goes_through(const struct convolution *c)
{
    enum { LINE = 64 };
    const struct convolution_shape *s = &c->shape;
    return cpu_splits_vectors(c->blocks->lanes) && !c->residual && (uintptr_t)c->y % LINE == 0
           && s->output[1] * (int64_t)sizeof(float) % LINE == 0 && training_is_large(s->batch * s->features * s->output[0] * s->output[1]);
}

static mitral_status run(struct kernel_call *call)
{
    const struct state *state = call->state;
    const struct slide *s = &state->slide;
    mitral_tensor *y = call_output(call, 0);
    if (!y || tensor_count(y) == 0)
        return MITRAL_OK;
    const mitral_tensor *bias = state->data ? NULL : call_input(call, BIAS), *addend = call_input(call, ADDEND);
    const float *weights = call_input(call, W)->data;
    float *turned = call->scratch, *packed = turned + state->turned;
    void *scratch = packed + state->packed;
    if (state->way == BY_POINTS) {
        struct points p = state->points;
        p.x[0] = call_input(call, X)->data;
        p.weights[0][0] = weights;
        p.bias[0] = bias ? bias->data : NULL;
        p.addend[0] = addend ? addend->data : NULL;
        p.y[0] = y->data;
        p.scratch = scratch;
        points_run(&p);
        return MITRAL_OK;
    }
    if (state->data) {
        turn_over(s, weights, turned);
        weights = turned;
    }
    if (state->way == BY_ROWS) {
        struct planes_call c = state->planes;
        planes_pack(&c, weights, packed);
        c.x = call_input(call, X)->data;
        c.weights = packed;
        c.bias = bias ? bias->data : NULL;
        c.addend = addend ? addend->data : NULL;
        c.y = y->data;
        c.scratch = scratch;
        planes_run(&c);
        return MITRAL_OK;
    }
    struct convolution c = state->convolution;
    convolution_pack(&c, weights, packed);
    c.x = call_input(call, X)->data;
    c.weights = packed;
    c.bias = bias ? bias->data : NULL;
    c.residual = addend ? addend->data : NULL;
    c.shape.residual = c.residual != NULL;
    c.y = y->data;
    c.through = goes_through(&c);
    c.scratch = scratch;
    convolution_planes_run(&c);
    return MITRAL_OK;
}

static const char *describe(const void *state)
{
    return ((const struct state *)state)->text;
}

static double flops_of(const struct slide *s, const int64_t positions[2])
{
    return 2.0 * (double)(s->batch * s->channels * s->features) * (double)(positions[0] * positions[1] * s->kernel[0] * s->kernel[1]);
}

double flops_forward(const struct kernel_call *call)
{
    struct slide slide;
    return slide_of_forward(call, &slide) == MITRAL_OK ? flops_of(&slide, slide.output) : 0;
}

double flops_data(const struct kernel_call *call)
{
    struct slide slide;
    mitral_tensor x;
    return slide_of_data(call, &x, &slide) == MITRAL_OK ? flops_of(&slide, slide.input) : 0;
}

double flops_weights(const struct kernel_call *call)
{
    struct slide slide;
    mitral_tensor w;
    return slide_of_weights(call, &w, &slide) == MITRAL_OK ? flops_of(&slide, slide.output) : 0;
}

const struct kernel training_convolution[] = {
    {.name = "training.convolution", .shape = shape_forward, .prepare = forward_prepare, .run = run, .release = release,
     .describe = describe, .flops = flops_forward},
    {.name = "training.convolution_data", .shape = shape_data, .prepare = data_prepare, .run = run, .release = release,
     .describe = describe, .flops = flops_data},
};
const size_t training_convolution_count = sizeof training_convolution / sizeof *training_convolution;
