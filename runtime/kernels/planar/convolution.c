/* planar.convolution: reading the call, packed weights, and running the way that has been chosen (convolution_ways.c). */
#include "runtime/kernels/planar/convolution.h"

#include <stdio.h>
#include <string.h>

#include "runtime/kernels/planar/pack.h"
#include "runtime/kernels/reference/convolution.h"
#include "runtime/kernels/reference/shapes.h"
#include "runtime/round.h"

enum { X, W, BIAS, RESIDUAL, SLOPE };

static const char scheme[] = "planar.convolution";

struct state {
    struct convolution convolution;
    float *packed;                   /* own: plain weights, then packed; NULL: the constant came packed so */
    float *slope;                    /* own, of a LeakyRelu */
    size_t raw_floats;               /* rounded up */
    char description[64], text[96];
    struct mitral_packing packing;
};

static void release(mitral_context *context, void *opaque)
{
    struct state *state = opaque;
    if (!state)
        return;
    mitral_release(context, state->packed);
    mitral_release(context, state->slope);
    mitral_release(context, state);
}

static mitral_status shape(struct kernel_call *call)
{
    const mitral_tensor *y = call_output(call, 0);
    int32_t layout = y ? y->layout : LAYOUT_PLAIN;
    struct convolution_call one;
    TRY(convolution_as_one(call, &one));
    TRY(shape_convolution(&one.call));
    if (y)
        call_output(call, 0)->layout = layout;
    return MITRAL_OK;
}

static mitral_status read_activation(struct kernel_call *call, struct state *state)
{
    struct convolution_shape *s = &state->convolution.shape;
    const char *name = attribute_string(call->attributes, "activation", "");
    const mitral_tensor *slope = call_input(call, SLOPE);
    if (s->residual && *name && !attribute_int(call->attributes, "residual_before_activation", 1))
        return call_fail(call, MITRAL_UNSUPPORTED, "a residual before the activation expected, found one after it");
    const float alpha = attribute_float(call->attributes, "activation_alpha", 0);
    const float scale = attribute_float(call->attributes, "activation_scale", 1);
    const float shift = attribute_float(call->attributes, "activation_shift", 0);
    const bool simple = strcmp(name, "Relu") == 0 || strcmp(name, "LeakyRelu") == 0;
    if ((!simple || scale != 1 || shift != 0)
        && planar_function_of(name, alpha, attribute_float(call->attributes, "activation_beta", 0), scale, shift, &state->convolution.function)) {
        s->function = true;
        return MITRAL_OK;
    }
    if (strcmp(name, "PRelu") == 0) {
        if (!slope || slope->dtype != MITRAL_FLOAT || tensor_count(slope) != s->features)
            return call_fail(call, MITRAL_INVALID, "slope: one float32 a channel expected");
        s->activation = PLANAR_SLOPE;
    } else if (strcmp(name, "LeakyRelu") == 0) {
        s->activation = PLANAR_SLOPE;
        state->slope = mitral_allocate(call->context, (size_t)s->features * sizeof *state->slope + 64);
        if (!state->slope)
            return MITRAL_NO_MEMORY;
        for (int64_t i = 0; i < s->features; i++)
            state->slope[i] = alpha;
    } else if (strcmp(name, "Relu") == 0) {
        s->activation = PLANAR_RELU;
    } else if (*name) {
        return call_fail(call, MITRAL_UNSUPPORTED, "an activation that planar_function_of knows expected, found %s", name);
    }
    return MITRAL_OK;
}

static mitral_status read_shape(struct kernel_call *call, struct state *state)
{
    struct convolution_parameters p;
    struct convolution_shape *s = &state->convolution.shape;
    const mitral_tensor *x = call_input(call, X), *residual = call_input(call, RESIDUAL), *y = call_output(call, 0);
    TRY(call_convolution_parameters(call, &p));
    struct convolution *c = &state->convolution;
    c->x_rounded = x->dtype == MITRAL_BFLOAT16;
    c->y_rounded = attribute_int(call->attributes, "output_bfloat16", 0) != 0;
    if (p.spatial != 2 || (x->dtype != MITRAL_FLOAT && !c->x_rounded))
        return call_fail(call, MITRAL_UNSUPPORTED, "float32 or bfloat16 of two spatial dimensions expected, found %s of %d",
                         mitral_dtype_name((mitral_dtype)x->dtype), (int)p.spatial);
    *s = (struct convolution_shape){.batch = p.batch, .channels = p.channels, .features = p.features, .groups = p.group,
                                    .input_layout = x->layout, .output_layout = y ? y->layout : LAYOUT_PLAIN,
                                    .residual = residual != NULL, .residual_layout = residual ? residual->layout : LAYOUT_PLAIN};
    for (int i = 0; i < 2; i++) {
        s->input[i] = p.input[i];
        s->output[i] = p.output[i];
        s->kernel[i] = p.kernel[i];
        s->stride[i] = p.output[i] > 1 ? p.strides[i] : 1; /* one position takes no steps */
        s->dilation[i] = p.dilations[i];
        s->pad_begin[i] = p.pads_begin[i];
        if (p.input[i] > INT32_MAX / 4 || p.output[i] > INT32_MAX / 4 || p.pads_begin[i] > INT32_MAX / 4 || p.pads_end[i] > INT32_MAX / 4)
            return call_fail(call, MITRAL_LIMIT, "a smaller image expected");
    }
    if (p.channels * p.kernel[0] * p.kernel[1] > INT32_MAX / 64 || p.features > INT32_MAX / 64)
        return call_fail(call, MITRAL_LIMIT, "fewer channels expected");
    if (!convolution_fits(s))
        return call_fail(call, MITRAL_LIMIT, "smaller windows, steps or paddings expected");
    TRY(read_activation(call, state));
    state->convolution.way = planar_convolution_way(s);
    const bool unreadable = c->x_rounded && (s->input_layout != LAYOUT_CHANNELS_LAST || s->channels % 2 != 0);
    if (unreadable || (c->x_rounded && !convolution_reads_rounded(s)) || (c->y_rounded && !convolution_writes_rounded(s)))
        return call_fail(call, MITRAL_UNSUPPORTED, "bfloat16: channels-last maps, of an even number of channels, and a way that rounds expected");
    if (state->convolution.way == WAY_NONE)
        return call_fail(call, MITRAL_UNSUPPORTED, "one group, a channels-last 1x1 kernel or depthwise window of up to %d rows, and a residual in the output's "
                         "layout, expected", (int)DEPTHWISE_ROWS);
    return MITRAL_OK;
}

static mitral_status pack(struct kernel_call *call, struct state *state)
{
    static const char *const names[] = {"", "pointwise:planes", "pointwise:channels", "direct:planes", "direct:channels",
                                        "winograd4x4", "depthwise"};
    struct convolution *c = &state->convolution;
    const mitral_tensor *w = call_input(call, W);
    snprintf(state->description, sizeof state->description, "%s%s%s", names[c->way], c->pairs ? ":bf16" : "",
             convolution_panel_name(c));
    snprintf(state->text, sizeof state->text, "%s:%s", names[c->way], c->pairs ? planar_pair_blocks()->name : c->blocks->name);
    if (c->part_count > 0)
        snprintf(state->text + strlen(state->text), sizeof state->text - strlen(state->text), ", %d maps%s", c->part_count,
                 c->joins ? " brought together" : "");
    state->raw_floats = aligned_floats((size_t)tensor_count(w));
    state->packing = (struct mitral_packing){scheme, state->description,
                                             (state->raw_floats + convolution_packed_floats(c) + PLANAR_SLACK) * sizeof(float)};
    if (!w->data)
        return call_fail(call, MITRAL_UNSUPPORTED, "constant weights expected, found computed ones");
    if (w->layout == LAYOUT_PACKED && (!w->packing || strcmp(w->packing->scheme, scheme) != 0
                                       || w->packing->bytes < (size_t)tensor_count(w) * sizeof(float)))
        return call_fail(call, MITRAL_UNSUPPORTED, "plain weights or ones packed by %s expected, found packing '%s'", scheme,
                         w->packing ? w->packing->scheme : "");
    if (w->layout == LAYOUT_PACKED && strcmp(w->packing->description, state->description) == 0
        && w->packing->bytes >= state->packing.bytes)
        return MITRAL_OK;
    state->packed = mitral_allocate(call->context, state->packing.bytes);
    if (!state->packed)
        return MITRAL_NO_MEMORY;
    memcpy(state->packed, w->data, (size_t)tensor_count(w) * sizeof(float));
    convolution_pack(c, state->packed, state->packed + state->raw_floats);
    return MITRAL_OK;
}

static mitral_status prepare(struct kernel_call *call, void **out, size_t *scratch_bytes)
{
    struct state *state = mitral_allocate(call->context, sizeof *state);
    if (!state)
        return MITRAL_NO_MEMORY;
    struct convolution *c = &state->convolution;
    struct convolution_call one;
    mitral_status status = convolution_as_one(call, &one);
    if (status == MITRAL_OK)
        status = read_shape(&one.call, state);
    if (status == MITRAL_OK)
        status = convolution_read_parts(call, c);
    c->x_pitch = (ptrdiff_t)c->shape.channels;
    c->y_pitch = (ptrdiff_t)c->shape.features;
    c->threads = call->threads > 0 ? call->threads : 1;
    c->blocks = planar_blocks_of(cpu_isa());
    c->pairs = c->way == WAY_POINTWISE_CHANNELS && c->shape.groups == 1 && !convolution_skips_pixels(&c->shape)
               && attribute_int(call->attributes, "bfloat16", 0) && planar_pair_blocks();
    if (status == MITRAL_OK)
        status = pack(call, state);
    if (status != MITRAL_OK) {
        release(call->context, state);
        return status;
    }
    if (c->way == WAY_WINOGRAD)
        *scratch_bytes = convolution_winograd_scratch(c);
    else if (c->way != WAY_DEPTHWISE)
        *scratch_bytes = c->shape.output_layout == LAYOUT_PLAIN ? convolution_planes_scratch(c) : convolution_channels_scratch(c);
    *scratch_bytes += convolution_parts_scratch(c);
    *out = state;
    return MITRAL_OK;
}

void convolution_follow(const struct convolution *c, float *values, int rows, int columns, ptrdiff_t stride)
{
    struct row_function call = {.function = c->function, .rows = rows, .columns = columns, .values = values, .stride = stride};
    if (c->function.kind != FUNCTION_NONE)
        c->blocks->row_function(&call);
}

static const float *data_of(const struct kernel_call *call, size_t index)
{
    const mitral_tensor *tensor = call_input(call, index);
    return tensor ? tensor->data : NULL;
}

static mitral_status run(struct kernel_call *call)
{
    const struct state *state = call->state;
    struct convolution c = state->convolution;
    mitral_tensor *y = call_output(call, 0);
    if (!y || tensor_count(y) == 0)
        return MITRAL_OK;
    c.x = data_of(call, X);
    c.weights = (state->packed ? state->packed : data_of(call, W)) + state->raw_floats;
    c.bias = data_of(call, BIAS);
    c.residual = data_of(call, RESIDUAL);
    c.slope = state->slope ? state->slope : data_of(call, SLOPE);
    c.y = y->data;
    c.rounded_x = call_input(call, X)->data;
    c.rounded_y = y->data;
    c.scratch = call->scratch;
    convolution_place_parts(call, &c);
    if (c.way == WAY_WINOGRAD)
        convolution_winograd_run(&c);
    else if (c.way == WAY_DEPTHWISE)
        convolution_depthwise_run(&c);
    else if (c.shape.output_layout == LAYOUT_PLAIN)
        convolution_planes_run(&c);
    else
        convolution_channels_run(&c);
    return MITRAL_OK;
}

static mitral_tensor packed(const void *opaque, size_t index)
{
    const struct state *state = opaque;
    const struct convolution_shape *s = &state->convolution.shape;
    mitral_tensor tensor = {.data = NULL};
    if (index != W || !state->packed)
        return tensor;
    const int64_t dims[] = {s->features, s->channels / s->groups, s->kernel[0], s->kernel[1]};
    tensor_set(&tensor, MITRAL_FLOAT, 4, dims);
    tensor.data = state->packed;
    tensor.layout = LAYOUT_PACKED;
    tensor.packing = &state->packing;
    return tensor;
}

static const char *describe(const void *opaque)
{
    return ((const struct state *)opaque)->text;
}

static double flops(const struct kernel_call *call)
{
    struct convolution_parameters p;
    struct convolution_call one;
    const bool known = convolution_as_one(call, &one) == MITRAL_OK && call_convolution_parameters(&one.call, &p) == MITRAL_OK;
    return known ? convolution_flops(&p, false) : 0;
}

const struct kernel planar_convolution[] = {
    {.name = "planar.convolution", .shape = shape, .prepare = prepare, .run = run, .release = release, .packed = packed,
     .describe = describe, .flops = flops},
};
const size_t planar_convolution_count = sizeof planar_convolution / sizeof *planar_convolution;
