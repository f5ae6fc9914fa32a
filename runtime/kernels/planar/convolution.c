#include "runtime/kernels/planar/convolution.h"

#include <stdio.h>
#include <string.h>

#include "runtime/kernels/planar/pack.h"
#include "runtime/kernels/planar/tiles.h"
#include "runtime/kernels/reference/convolution.h"
#include "runtime/kernels/reference/shapes.h"

enum { X, W, BIAS, RESIDUAL, SLOPE };

static const char scheme[] = "planar.convolution";

/* ---- ways -------------------------------------------------------------------------------------------------------------- */

/* Below AVX-512 oneDNN's blocks are as wide as ours, and its choice of them richer. */
static bool is_narrow(void)
{
    return cpu_isa() < ISA_AVX512;
}

static bool has_one_tap(const struct convolution_shape *s)
{
    return s->kernel[0] == 1 && s->kernel[1] == 1 && s->pad_begin[0] == 0 && s->pad_begin[1] == 0;
}

bool convolution_skips_pixels(const struct convolution_shape *s)
{
    return s->input[0] != s->output[0] || s->input[1] != s->output[1];
}

static bool is_pointwise(const struct convolution_shape *s)
{
    return has_one_tap(s) && s->stride[0] == 1 && s->stride[1] == 1 && !convolution_skips_pixels(s);
}

/* Of some of the pixels: their channels are brought together first, which is worth it where the products are our best ones. */
static bool is_strided_pointwise(const struct convolution_shape *s)
{
    return has_one_tap(s) && is_narrow() && s->channels > 16 && s->input_layout == LAYOUT_CHANNELS_LAST
           && s->output_layout == LAYOUT_CHANNELS_LAST && (s->output[0] - 1) * s->stride[0] < s->input[0]
           && (s->output[1] - 1) * s->stride[1] < s->input[1];
}

static bool is_3x3(const struct convolution_shape *s)
{
    return s->kernel[0] == 3 && s->kernel[1] == 3 && s->stride[0] == 1 && s->stride[1] == 1 && s->dilation[0] == s->dilation[1];
}

/* Wide vectors at full speed, as on Intel's: memory is slow beside them, and oneDNN's own 1×1 products are as good as ours. */
static bool is_fast(void)
{
    return !is_narrow() && !cpu_splits_avx512();
}

bool convolution_fetches_weights(void)
{
    return !is_fast();
}

/* Of a layer in both channels: so many that their transforms still are in a cache when the next run comes. */
static int64_t cached_weights(void)
{
    return cpu_isa() >= ISA_AVX512 && cpu_splits_avx512() ? 64 * 1024 : 16 * 1024;
}

/* Multiplications saved against weights that are four times as large: in units of one multiplication, fetching a weight from
 * memory costs about sixteen, more where vectors are fast, and transforms a quarter, or half, of the products. */
static bool winograd_pays(const struct convolution_shape *s)
{
    if (!is_3x3(s) || s->channels < 12 || s->features < 12)
        return false;
    if (s->output[0] < 0 || s->output[1] < 0)
        return true;
    double bytes = 144.0 * (double)(s->channels * s->features);
    if (!convolution_fetches_weights() && bytes > 16e6 && s->batch * s->output[0] * s->output[1] < 400)
        return false; /* all the time would go into waiting for weights */
    double tiles = (double)(tiles_along(s->output[0], s->dilation[0]) * tiles_along(s->output[1], s->dilation[1]) * s->batch);
    double pixels = (double)(s->output[0] * s->output[1] * s->batch), far = is_fast() ? 40 : 16;
    const double fetch = s->channels * s->features > cached_weights() ? far : 2, transforms = is_fast() ? 1.5 : 1.25;
    return 36 * tiles * transforms + 36 * fetch < 9 * pixels + 9 * fetch;
}

enum convolution_way planar_convolution_way(const struct convolution_shape *s)
{
    if (s->residual && s->residual_layout != s->output_layout)
        return WAY_NONE;
    bool planes = s->output_layout == LAYOUT_PLAIN;
    if (is_strided_pointwise(s) || (s->groups != 1 && is_pointwise(s) && !planes))
        return WAY_POINTWISE_CHANNELS;
    if (s->groups != 1)
        return WAY_NONE;
    if (is_pointwise(s))
        return planes ? WAY_POINTWISE_PLANES : WAY_POINTWISE_CHANNELS;
    if (planes)
        return WAY_DIRECT_PLANES;
    return winograd_pays(s) && s->input_layout == LAYOUT_CHANNELS_LAST ? WAY_WINOGRAD : WAY_DIRECT_CHANNELS;
}

bool planar_convolution_likes_planes(const struct convolution_shape *s)
{
    return s->groups == 1 && (s->channels <= 4 || s->features <= 8 || (is_pointwise(s) && s->channels <= 64));
}

/* Whether oneDNN has code for first layers of this kind (kernels of up to seven columns) that beats ours on narrow vectors. 3×3 of one
 * channel wait for memory either way. */
static bool onednn_has_first(const struct convolution_shape *s)
{
    return s->kernel[1] <= 7 && (s->channels == 1 ? s->kernel[1] > 3 : s->features > 16);
}

/* Whether tiles of registers have too few rows. */
static bool has_few_pixels(const struct convolution_shape *s)
{
    return s->output[0] >= 0 && s->output[1] >= 0 && s->output[0] * s->output[1] < 16;
}

/* Whether its vectors would mostly be empty: depthwise convolutions, and nearly so. */
static bool has_thin_groups(const struct convolution_shape *s)
{
    return s->groups > 1 && (s->channels / s->groups < 4 || s->features / s->groups < 8);
}

/* What oneDNN could only run in one thread for an image. */
static bool has_usual_window(const struct convolution_shape *s)
{
    const int64_t begin = s->pad_begin[1], reach = (s->kernel[1] - 1) * s->dilation[1] + 1;
    const bool known = s->input[1] >= 0 && s->output[1] >= 0;
    const int64_t end = known ? (s->output[1] - 1) * s->stride[1] + reach - s->input[1] - begin : begin;
    return convolution_window_is_usual(s->kernel[1], s->dilation[1], begin, end);
}

bool planar_convolution_preferred(const struct convolution_shape *s)
{
    switch (planar_convolution_way(s)) {
    case WAY_POINTWISE_CHANNELS:
        if (is_narrow() && !has_few_pixels(s))
            return !has_thin_groups(s);
        if (s->groups != 1 || (is_fast() && s->channels >= 16 && s->features >= 16))
            return false;
        /* fall through */
    case WAY_POINTWISE_PLANES:
        return s->channels <= 512 && !(is_narrow() && s->channels > 32 && s->channels * s->features > 16 * 1024);
    case WAY_DIRECT_PLANES:
        return s->channels * s->kernel[0] * s->kernel[1] <= 256 || s->features <= 8;
    case WAY_DIRECT_CHANNELS:
        return (s->channels <= 4 && !(is_narrow() && onednn_has_first(s))) || convolution_taps_pay(s) || !has_usual_window(s);
    case WAY_WINOGRAD:
        return true;
    case WAY_NONE:
        break;
    }
    return false;
}

/* ---- weights ------------------------------------------------------------------------------------------------------------ */

static int group_channels(const struct convolution *c)
{
    return (int)(c->shape.channels / c->shape.groups);
}

static int group_features(const struct convolution *c)
{
    return (int)(c->shape.features / c->shape.groups);
}

/* Products on channels-last data walk taps, and the channels of a tap: of a row of taps all at once where they are neighbours. */
static size_t depth_of(const struct convolution *c)
{
    return (size_t)(pack_depth(group_channels(c), c->pairs) * c->shape.kernel[0] * c->shape.kernel[1]);
}

static bool by_planes(const struct convolution *c)
{
    return c->way == WAY_POINTWISE_PLANES || c->way == WAY_DIRECT_PLANES;
}

/* Floats of a panel of `columns` output channels. */
static size_t panel_floats(const struct convolution *c, int columns)
{
    size_t depth = c->way == WAY_WINOGRAD ? WINOGRAD_INPUTS * WINOGRAD_INPUTS * (size_t)c->shape.channels : depth_of(c);
    return depth * pack_width((size_t)columns);
}

/* A panel as wide as a tile of registers is one stream; wider ones, of which a tile reads a part of each row, are no worse where they
 * fit in the first-level cache. */
int convolution_panel(const struct convolution *c)
{
    enum { TILE = 16, DEEP = 64 };
    const bool fits = group_features(c) % TILE == 0 || group_features(c) > PACK_PANEL;
    return c->blocks->lanes == TILE / 2 && group_channels(c) > DEEP && fits ? TILE : PACK_PANEL;
}

static int group_panels(const struct convolution *c)
{
    const int panel = convolution_panel(c);
    return (group_features(c) + panel - 1) / panel;
}

int convolution_panels(const struct convolution *c)
{
    return (int)c->shape.groups * group_panels(c);
}

int convolution_panel_first(const struct convolution *c, int index)
{
    return index / group_panels(c) * group_features(c) + index % group_panels(c) * convolution_panel(c);
}

int convolution_panel_columns(const struct convolution *c, int first)
{
    const int left = group_features(c) - first % group_features(c), panel = convolution_panel(c);
    return left < panel ? left : panel;
}

size_t convolution_panel_offset(const struct convolution *c, int first)
{
    const int panel = convolution_panel(c), features = group_features(c), whole = group_panels(c) - 1;
    const size_t group = panel_floats(c, panel) * (size_t)whole + panel_floats(c, features - whole * panel);
    return group * (size_t)(first / features) + panel_floats(c, panel) * (size_t)(first % features / panel);
}

const char *convolution_panel_name(const struct convolution *c)
{
    return !by_planes(c) && convolution_panel(c) != PACK_PANEL ? ":narrow" : "";
}

size_t convolution_packed_floats(const struct convolution *c)
{
    const int features = (int)c->shape.features, last = convolution_panel_first(c, convolution_panels(c) - 1);
    if (by_planes(c))
        return depth_of(c) * (((size_t)features + 3) / 4 * 4);
    return convolution_panel_offset(c, last) + panel_floats(c, features - last);
}

static void pack_panel(const struct convolution *c, const float *weights, int columns, float *out)
{
    const struct convolution_shape *s = &c->shape;
    const int channels = group_channels(c);
    if (c->way == WAY_WINOGRAD) {
        pack_channel_winograd(columns, channels, pack_width((size_t)columns), weights, out);
        return;
    }
    int64_t taps = s->kernel[0] * s->kernel[1];
    struct pack_matrix matrix = {.values = weights, .rows = columns, .depth = channels,
                                 .row = (ptrdiff_t)(channels * taps), .step = (ptrdiff_t)taps, .pairs = c->pairs};
    for (int64_t tap = 0; tap < taps; tap++, matrix.values++)
        out += pack_channel_weights(&matrix, out);
}

void convolution_pack(const struct convolution *c, const float *weights, float *out)
{
    const int features = (int)c->shape.features, depth = (int)(group_channels(c) * c->shape.kernel[0] * c->shape.kernel[1]);
    if (by_planes(c)) {
        struct pack_matrix matrix = {.values = weights, .rows = features, .depth = depth, .row = depth, .step = 1};
        pack_plane_weights(&matrix, out);
        return;
    }
    for (int i = 0; i < convolution_panels(c); i++) {
        const int first = convolution_panel_first(c, i);
        pack_panel(c, weights + (ptrdiff_t)first * depth, convolution_panel_columns(c, first), out + convolution_panel_offset(c, first));
    }
}

void convolution_follow(const struct convolution *c, float *values, int rows, int columns, ptrdiff_t stride)
{
    struct row_function call = {.function = c->function, .rows = rows, .columns = columns, .values = values, .stride = stride};
    if (c->function.kind != FUNCTION_NONE)
        c->blocks->row_function(&call);
}

/* ---- the kernel ---------------------------------------------------------------------------------------------------------- */

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

bool convolution_reads_rounded(const struct convolution_shape *s)
{
    const enum convolution_way way = planar_convolution_way(s);
    return way == WAY_WINOGRAD || way == WAY_POINTWISE_CHANNELS || way == WAY_DIRECT_CHANNELS;
}

/* Winograd's results are rounded as they are made, and functions come after that. */
bool convolution_writes_rounded(const struct convolution_shape *s)
{
    return convolution_reads_rounded(s) && !(s->function && planar_convolution_way(s) == WAY_WINOGRAD);
}

bool convolution_fits(const struct convolution_shape *s)
{
    enum { MOST_ROWS = 8, MORE_COLUMNS = 64 };
    const double outputs[2] = {MOST_ROWS, (double)s->output[1] + MORE_COLUMNS};
    double floats = (double)s->channels;
    for (int i = 0; i < 2; i++) {
        const double reach = outputs[i] * (double)s->stride[i] + (double)(s->kernel[i] - 1) * (double)s->dilation[i] + 1;
        if (reach > INT32_MAX / 2)
            return false;
        floats *= reach;
    }
    return floats < 0x1p44;
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
        return call_fail(call, MITRAL_UNSUPPORTED, "one group or a channels-last 1x1 kernel, and a residual in the output's layout, expected");
    return MITRAL_OK;
}

static mitral_status pack(struct kernel_call *call, struct state *state)
{
    static const char *const names[] = {"", "pointwise:planes", "pointwise:channels", "direct:planes", "direct:channels",
                                        "winograd4x4"};
    struct convolution *c = &state->convolution;
    const mitral_tensor *w = call_input(call, W);
    snprintf(state->description, sizeof state->description, "%s%s%s", names[c->way], c->pairs ? ":bf16" : "",
             convolution_panel_name(c));
    snprintf(state->text, sizeof state->text, "%s:%s", names[c->way], c->pairs ? planar_pair_blocks()->name : c->blocks->name);
    if (c->part_count > 0)
        snprintf(state->text + strlen(state->text), sizeof state->text - strlen(state->text), ", %d maps%s", c->part_count,
                 c->joins ? " brought together" : "");
    state->raw_floats = ((size_t)tensor_count(w) + 15) / 16 * 16;
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
    else
        *scratch_bytes = c->shape.output_layout == LAYOUT_PLAIN ? convolution_planes_scratch(c) : convolution_channels_scratch(c);
    *scratch_bytes += convolution_parts_scratch(c);
    *out = state;
    return MITRAL_OK;
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
