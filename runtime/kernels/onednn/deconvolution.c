/* onednn.deconvolution: X, W, bias? with ConvTranspose's attributes and the activation of onednn_read_post.
 *
 * Formulations, best first: where windows do not overlap (stride = kernel, no padding), products of each input row with the weights of
 * one kernel row, written straight to their output rows (the blocks of planar/micro.h take strides, and nothing has to be created);
 * oneDNN's deconvolution over channels-last data, part by part (an image, or some of its rows where windows do not overlap) where its sums
 * would depend on the number of threads; the reference kernel. */
#include <string.h>

#include "runtime/kernels/onednn/program.h"
#include "runtime/kernels/planar/micro.h"
#include "runtime/kernels/reference/convolution.h"
#include "runtime/kernels/reference/shapes.h"

enum { X, W, BIAS };

static mitral_status deconvolution_shape(struct kernel_call *call)
{
    return onednn_shape_keeping_layouts(call, shape_convolution_transpose);
}

/* ---- products of rows -------------------------------------------------------------------------------------------------- */

static bool windows_are_disjoint(const struct convolution_parameters *p)
{
    for (int32_t i = 0; i < p->spatial; i++)
        if (p->strides[i] != p->kernel[i] || p->dilations[i] != 1 || p->pads_begin[i] || p->pads_end[i] || p->output_padding[i])
            return false;
    return p->group == 1 && p->spatial <= 3;
}

enum { PANEL = 64, ROW_GROUP = 8 };

struct rows {
    struct convolution_parameters p;
    const struct planar_blocks *blocks;
    ptrdiff_t columns;
    ptrdiff_t panel; /* columns of a product */
    ptrdiff_t width; /* of a row of weights: the panel's, or that of all columns */
    bool pieces;     /* each panel's weights lie in one piece */
    bool relu;
};

/* Panels as wide as a tile of registers are one stream; rows of all columns, a power of two apart, would fall on each other in a cache. */
static void choose_panel(struct rows *r)
{
    const struct convolution_parameters *p = &r->p;
    const ptrdiff_t tile = 2 * r->blocks->lanes;
    r->columns = (ptrdiff_t)(p->kernel[p->spatial - 1] * p->features);
    r->pieces = p->features % tile == 0;
    r->panel = r->pieces ? tile : PANEL;
    r->width = r->pieces ? tile : (r->columns + PLANAR_WIDTH - 1) / PLANAR_WIDTH * PLANAR_WIDTH;
}

/* Where the weights of a tap's panel that begins at `column` lie. */
static ptrdiff_t panel_at(const struct rows *r, int64_t tap, int64_t column)
{
    const int64_t channels = r->p.channels;
    return (ptrdiff_t)(r->pieces ? (tap * r->columns + column) * channels : tap * channels * r->width + column);
}

/* W [channels, features, kernel…] as [outer kernel…][channels][width], the columns of a row being [last kernel dimension][features], or
 * [outer kernel…][panel][channels][width] of panels that lie in one piece. */
static mitral_status describe_rows(const struct kernel_call *call, const struct rows *r, struct onednn_descriptors *d)
{
    const struct convolution_parameters *p = &r->p;
    const int32_t outer = p->spatial - 1;
    const int64_t inside = r->pieces ? r->panel : p->features; /* features that are neighbours */
    int64_t dims[MITRAL_MAX_RANK], strides[MITRAL_MAX_RANK], packed[MITRAL_MAX_RANK], size = 1;
    for (int32_t i = p->spatial - 1; i >= 0; i--) {
        const int32_t at = i == outer ? outer + 1 : i;
        dims[at] = p->kernel[i];
        strides[at] = size;
        size *= p->kernel[i];
    }
    dims[outer] = p->channels;
    strides[outer] = p->features * size;
    dims[outer + 2] = p->features / inside;
    strides[outer + 2] = size * inside;
    packed[outer + 2] = p->channels * inside;
    dims[outer + 3] = inside;
    strides[outer + 3] = size;
    packed[outer + 3] = 1;
    packed[outer + 1] = p->features * (r->pieces ? p->channels : 1);
    packed[outer] = r->width;
    for (int32_t i = outer - 1; i >= 0; i--)
        packed[i] = i == outer - 1 ? p->channels * (r->pieces ? r->columns : r->width) : packed[i + 1] * p->kernel[i + 1];
    TRY(onednn_descriptor_strided(call, &d->plain_w, call_input(call, W)->dtype, outer + 4, dims, strides));
    return onednn_descriptor_strided(call, &d->w, MITRAL_FLOAT, outer + 4, dims, packed);
}

/* The bias once for each column of the kernel. */
static void spread_bias(const mitral_tensor *bias, int64_t columns, float *out)
{
    const int64_t features = tensor_count(bias);
    for (int64_t i = 0; i < columns; i++)
        out[i] = (float)tensor_get_double(bias, i % features);
}

/* Input row `row` (image and outer dimensions) times the weights of one outer tap: where it lies in the output. */
static ptrdiff_t output_row(const struct rows *r, int64_t row, int64_t tap)
{
    const struct convolution_parameters *p = &r->p;
    const int32_t outer = p->spatial - 1;
    int64_t at = 0, scale = 1;
    for (int32_t i = outer - 1; i >= 0; i--) {
        at += (row % p->input[i] * p->kernel[i] + tap % p->kernel[i]) * scale;
        row /= p->input[i];
        tap /= p->kernel[i];
        scale *= p->input[i] * p->kernel[i];
    }
    return (ptrdiff_t)((row * scale + at) * p->input[outer]) * r->columns;
}

/* addresses: x, packed weights, the spread bias, y. The weights of a tap and a panel of columns stay in the cache for a group of rows. */
static mitral_status run_rows(const struct kernel_call *call, void *const *addresses, const void *data)
{
    const struct rows *r = data;
    const struct convolution_parameters *p = &r->p;
    const int32_t outer = p->spatial - 1;
    int64_t rows = p->batch, taps = 1;
    for (int32_t i = 0; i < outer; i++) {
        rows *= p->input[i];
        taps *= p->kernel[i];
    }
    if (addresses[2])
        spread_bias(call_input(call, BIAS), r->columns, addresses[2]);
    const int64_t panels = (r->columns + r->panel - 1) / r->panel, groups = (rows + ROW_GROUP - 1) / ROW_GROUP;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (groups > 1)
    for (int64_t task = 0; task < groups * taps * panels; task++) {
        const int64_t first = task / (taps * panels) * ROW_GROUP, tap = task / panels % taps, column = task % panels * r->panel;
        for (int64_t row = first; row < first + ROW_GROUP && row < rows; row++) {
            const struct channel_product product = {
                .rows = (int)p->input[outer], .columns = (int)(r->columns - column < r->panel ? r->columns - column : r->panel),
                .depth = (int)p->channels, .taps = 1, .input = (const float *)addresses[0] + row * p->input[outer] * p->channels,
                .pixel = (ptrdiff_t)p->channels, .step = 1,
                .weights = (const float *)addresses[1] + panel_at(r, tap, column), .width = r->width,
                .output = (float *)addresses[3] + output_row(r, row, tap) + column, .stride = r->columns,
                .shift = addresses[2] ? (const float *)addresses[2] + column : NULL,
                .activation = r->relu ? PLANAR_RELU : PLANAR_LINEAR};
            r->blocks->channel_product(&product);
        }
    }
    return MITRAL_OK;
}

static mitral_status add_rows(struct onednn_program *program, const struct kernel_call *call, const struct convolution_parameters *p,
                              const struct onednn_post *post, struct onednn_descriptors *d)
{
    struct rows rows = {.p = *p, .blocks = planar_blocks_of(cpu_isa()), .relu = post->has_activation};
    choose_panel(&rows);
    struct onednn_where wheres[4] = {{PLACE_NONE, 0, 0}, {PLACE_NONE, 0, 0}, {PLACE_NONE, 0, 0},
                                     onednn_output_in(program, call, 0, LAYOUT_CHANNELS_LAST)};
    TRY(onednn_input_in(program, call, X, LAYOUT_CHANNELS_LAST, &wheres[0]));
    TRY(describe_rows(call, &rows, d));
    TRY(onednn_add_weights(program, call, W, d->plain_w, d->w, &wheres[1]));
    if (call_input(call, BIAS))
        wheres[2] = onednn_scratch(program, ((size_t)rows.columns + PLANAR_WIDTH) * sizeof(float));
    onednn_program_say(program, "rows");
    TRY(onednn_add_function(program, call, run_rows, wheres, 4, &rows, sizeof rows));
    return onednn_finish_output(program, call, 0, LAYOUT_CHANNELS_LAST, wheres[3]);
}

/* ---- oneDNN's deconvolution ------------------------------------------------------------------------------------------------ */

/* W is [channels, features / group, kernel…]; oneDNN has [group?, features / group, channels / group, kernel…]. */
static mitral_status describe_weights(const struct kernel_call *call, const struct convolution_parameters *p, struct onednn_descriptors *d)
{
    const mitral_tensor *w = call_input(call, W), *bias = call_input(call, BIAS);
    const int64_t features = p->features / p->group, channels = p->channels / p->group;
    int64_t dims[MITRAL_MAX_RANK], strides[MITRAL_MAX_RANK], size = 1;
    const int32_t grouped = p->group > 1, rank = p->spatial + 2 + grouped;
    for (int32_t i = p->spatial - 1; i >= 0; i--) {
        dims[i + 2 + grouped] = p->kernel[i];
        strides[i + 2 + grouped] = size;
        size *= p->kernel[i];
    }
    if (grouped) {
        dims[0] = p->group;
        strides[0] = channels * features * size;
    }
    dims[grouped] = features;
    strides[grouped] = size;
    dims[grouped + 1] = channels;
    strides[grouped + 1] = features * size;
    TRY(onednn_descriptor_strided(call, &d->plain_w, w->dtype, rank, dims, strides));
    TRY(onednn_descriptor_any(call, &d->w, call_input(call, X)->dtype, rank, dims));
    return bias ? onednn_descriptor(call, &d->bias, bias->dtype, bias->rank, bias->dims, LAYOUT_PLAIN) : MITRAL_OK;
}

/* How many parts of an image can be computed by themselves: bands of rows, or all of it. */
static int64_t bands_of(const struct convolution_parameters *p)
{
    int64_t bands = p->spatial > 1 && windows_are_disjoint(p) ? 8 : 1;
    while (p->input[0] % bands != 0)
        bands--;
    return bands;
}

/* MITRAL_DEFERRED: this formulation is not there, or depends on the number of threads. */
static mitral_status create_descriptor(const struct convolution_parameters *p, const struct onednn_descriptors *d, bool in_parts,
                                       dnnl_primitive_desc_t *out)
{
    dnnl_dims_t strides = {0}, dilations = {0}, begin = {0}, end = {0};
    for (int32_t i = 0; i < p->spatial; i++) {
        strides[i] = p->strides[i];
        dilations[i] = p->dilations[i] - 1;
        begin[i] = p->pads_begin[i];
        end[i] = p->pads_end[i] - p->output_padding[i];
    }
    if (dnnl.deconvolution_forward_primitive_desc_create(out, dnnl.engine, dnnl_forward_inference, dnnl_deconvolution_direct, d->x, d->w,
                                                         d->bias, d->y, strides, dilations, begin, end, d->attributes) != dnnl_success)
        return MITRAL_DEFERRED;
    const int32_t row = p->spatial - 1;
    const int64_t reach = (p->kernel[row] - 1) * p->dilations[row]; /* padding of the convolution that it is on a map spread by the strides */
    const bool usual = convolution_window_is_usual(p->kernel[row], p->dilations[row], reach - p->pads_begin[row], reach - p->pads_end[row]);
    if (!onednn_is_reference(*out) && (in_parts || !onednn_depends_on_threads(*out, usual)))
        return MITRAL_OK;
    dnnl.primitive_desc_destroy(*out);
    return MITRAL_DEFERRED;
}

/* Of one of `bands` parts of an image; 0: the whole tensor. */
static mitral_status describe_map(const struct kernel_call *call, const mitral_tensor *tensor, int64_t bands, dnnl_memory_desc_t *out)
{
    int64_t dims[MITRAL_MAX_RANK];
    memcpy(dims, tensor->dims, sizeof dims);
    if (bands) {
        dims[0] = 1;
        dims[2] /= bands;
    }
    return onednn_descriptor(call, out, tensor->dtype, tensor->rank, dims, LAYOUT_CHANNELS_LAST);
}

static mitral_status add_deconvolution(struct onednn_program *program, const struct kernel_call *call,
                                       const struct convolution_parameters *p, const struct onednn_post *post, bool in_parts,
                                       struct onednn_descriptors *d)
{
    const int layout = LAYOUT_CHANNELS_LAST;
    const int64_t bands = in_parts ? bands_of(p) : 0;
    const mitral_tensor *x = call_input(call, X), *y = call_output(call, 0);
    struct onednn_operand operands[4 + ONEDNN_POST_OPERANDS] = {{DNNL_ARG_SRC, {PLACE_NONE, 0, 0}}, {DNNL_ARG_WEIGHTS, {PLACE_NONE, 0, 0}},
                                                                {DNNL_ARG_DST, {PLACE_NONE, 0, 0}}};
    size_t count = 3;
    TRY(describe_weights(call, p, d));
    TRY(describe_map(call, x, bands, &d->x));
    TRY(describe_map(call, y, bands, &d->y));
    TRY(onednn_input_in(program, call, X, layout, &operands[0].where));
    operands[2].where = onednn_output_in(program, call, 0, layout);
    if (call_input(call, BIAS))
        operands[count++] = (struct onednn_operand){DNNL_ARG_BIAS, {PLACE_INPUT, BIAS, 0}};
    dnnl_post_ops_t list;
    DNNL_TRY(call, dnnl.post_ops_create(&list), "post-operations");
    mitral_status status = onednn_append_post(program, call, post, layout, d->y, list, operands, &count);
    if (status == MITRAL_OK && dnnl.primitive_attr_set_post_ops(d->attributes, list) != dnnl_success)
        status = MITRAL_NO_MEMORY;
    dnnl.post_ops_destroy(list);
    TRY(status);
    dnnl_primitive_desc_t descriptor;
    TRY(create_descriptor(p, d, in_parts, &descriptor));
    status = onednn_add_weights(program, call, W, d->plain_w, dnnl.primitive_desc_query_md(descriptor, dnnl_query_weights_md, 0),
                                &operands[1].where);
    if (status != MITRAL_OK) {
        dnnl.primitive_desc_destroy(descriptor);
        return status;
    }
    if (in_parts) {
        const size_t parts = (size_t)(p->batch * bands);
        const size_t steps[4 + ONEDNN_POST_OPERANDS] = {tensor_bytes(x) / parts, 0, tensor_bytes(y) / parts};
        TRY(onednn_add_parts(program, call, descriptor, operands, steps, count, parts));
    } else {
        TRY(onednn_add_primitive(program, call, descriptor, operands, count));
    }
    return onednn_finish_output(program, call, 0, layout, operands[2].where);
}

/* ---- all ------------------------------------------------------------------------------------------------------------------- */

/* In the order in which they are tried. */
enum formulation { ROWS, WHOLE, PARTS, FORMULATIONS };

static mitral_status attempt(const struct kernel_call *call, const struct convolution_parameters *p, const struct onednn_post *post,
                             enum formulation formulation, void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    struct onednn_descriptors d = {0};
    TRY(onednn_attributes(call, &d.attributes));
    mitral_status status = onednn_program_create(&program, call);
    if (status == MITRAL_OK) {
        const int before = formulation == PARTS ? onednn_serial_begin() : 0;
        status = formulation == ROWS ? add_rows(program, call, p, post, &d)
                                     : add_deconvolution(program, call, p, post, formulation == PARTS, &d);
        if (formulation == PARTS)
            onednn_serial_end(before);
        status = onednn_program_finish(program, call, status, state, scratch_bytes);
    }
    onednn_descriptors_free(&d);
    return status;
}

static mitral_status add_reference(struct onednn_program *program, const struct kernel_call *call, const struct onednn_post *post)
{
    struct onednn_where where;
    TRY(onednn_add_delegate(program, call, "ConvTranspose", BIAS + 1, &where));
    TRY(onednn_add_post_loop(program, call, post, where));
    return onednn_finish_output(program, call, 0, LAYOUT_PLAIN, where);
}

static mitral_status deconvolution_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct convolution_parameters p;
    struct onednn_post post;
    struct onednn_program *program;
    TRY(call_convolution_transpose_parameters(call, &p));
    TRY(onednn_read_post(call, SIZE_MAX, SIZE_MAX, &post));
    const mitral_tensor *x = call_input(call, X), *w = call_input(call, W), *bias = call_input(call, BIAS), *y = call_output(call, 0);
    if (tensor_count(y) == 0) {
        TRY(onednn_program_create(&program, call));
        return onednn_program_finish(program, call, MITRAL_OK, state, scratch_bytes);
    }
    if (onednn_computes(x->dtype) && p.spatial <= 3 && tensor_count(x) > 0 && tensor_count(w) > 0
        && onednn_type(w->dtype) != dnnl_data_type_undef && (!bias || bias->dtype == x->dtype || bias->dtype == MITRAL_FLOAT)) {
        mitral_status status = MITRAL_DEFERRED;
        const bool simple = !post.has_activation || (post.algorithm == dnnl_eltwise_relu && post.alpha == 0);
        const bool by_rows = windows_are_disjoint(&p) && simple && x->dtype == MITRAL_FLOAT && w->dtype == MITRAL_FLOAT && p.channels < INT32_MAX
                          && p.kernel[p.spatial - 1] * p.features < INT32_MAX;
        for (int f = by_rows ? ROWS : WHOLE; f < FORMULATIONS && status == MITRAL_DEFERRED; f++)
            status = attempt(call, &p, &post, (enum formulation)f, state, scratch_bytes);
        if (status != MITRAL_DEFERRED)
            return status;
    }
    TRY(onednn_program_create(&program, call));
    return onednn_program_finish(program, call, add_reference(program, call, &post), state, scratch_bytes);
}

static double deconvolution_flops(const struct kernel_call *call)
{
    struct convolution_parameters p;
    return call_convolution_transpose_parameters(call, &p) == MITRAL_OK ? convolution_flops(&p, true) : 0;
}

const struct kernel onednn_deconvolution[] = {
    {.name = "onednn.deconvolution", .shape = deconvolution_shape, .prepare = deconvolution_prepare, .run = onednn_program_run,
     .release = onednn_program_destroy, .packed = onednn_program_packed, .describe = onednn_program_describe,
     .flops = deconvolution_flops},
};
const size_t onednn_deconvolution_count = sizeof onednn_deconvolution / sizeof *onednn_deconvolution;
