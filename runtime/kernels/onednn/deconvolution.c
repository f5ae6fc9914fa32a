/* onednn.deconvolution: X, W, bias? with ConvTranspose's attributes and the activation of onednn_read_post.
 *
 * Formulations, best first: where windows do not overlap (stride = kernel, no padding), products of each input row with the weights of
 * one kernel row, written straight to their output rows; oneDNN's deconvolution over channels-last data; the reference kernel. */
#include <string.h>

#include "runtime/kernels/onednn/program.h"
#include "runtime/kernels/reference/convolution.h"
#include "runtime/kernels/reference/shapes.h"

enum { X, W, BIAS };

static mitral_status deconvolution_shape(struct kernel_call *call)
{
    return onednn_shape_keeping_layouts(call, shape_convolution_transpose);
}

struct descriptors {
    dnnl_memory_desc_t x, w, plain_w, bias, y;
};

static void free_descriptors(struct descriptors *d)
{
    onednn_descriptor_free(&d->x);
    onednn_descriptor_free(&d->w);
    onednn_descriptor_free(&d->plain_w);
    onednn_descriptor_free(&d->bias);
    onednn_descriptor_free(&d->y);
}

/* ---- products of rows -------------------------------------------------------------------------------------------------- */

static bool windows_are_disjoint(const struct convolution_parameters *p)
{
    for (int32_t i = 0; i < p->spatial; i++)
        if (p->strides[i] != p->kernel[i] || p->dilations[i] != 1 || p->pads_begin[i] || p->pads_end[i] || p->output_padding[i])
            return false;
    return p->group == 1 && p->spatial <= 3;
}

struct spread {
    int64_t count, times;
};

/* The bias once for each column of the kernel. */
static mitral_status spread_bias(const struct kernel_call *call, void *const *addresses, const void *data)
{
    const struct spread *spread = data;
    const mitral_tensor *bias = call_input(call, BIAS);
    float *to = addresses[0];
    for (int64_t i = 0; i < spread->count * spread->times; i++)
        to[i] = (float)tensor_get_double(bias, i % spread->count);
    return MITRAL_OK;
}

/* W [channels, features, kernel…] as [outer kernel…][channels][last kernel dimension][features]. */
static mitral_status describe_rows(const struct kernel_call *call, const struct convolution_parameters *p, struct descriptors *d)
{
    const int32_t outer = p->spatial - 1;
    int64_t dims[MITRAL_MAX_RANK], strides[MITRAL_MAX_RANK], size = 1;
    for (int32_t i = p->spatial - 1; i >= 0; i--) {
        const int32_t at = i == outer ? outer + 1 : i;
        dims[at] = p->kernel[i];
        strides[at] = size;
        size *= p->kernel[i];
    }
    dims[outer] = p->channels;
    strides[outer] = p->features * size;
    dims[outer + 2] = p->features;
    strides[outer + 2] = size;
    TRY(onednn_descriptor_strided(call, &d->plain_w, call_input(call, W)->dtype, outer + 3, dims, strides));
    return onednn_descriptor(call, &d->w, call_input(call, X)->dtype, outer + 3, dims, LAYOUT_PLAIN);
}

/* The descriptors of one product: [outer…, width, channels] · [1…, channels, columns] → strided rows. */
static mitral_status describe_product(const struct kernel_call *call, const struct convolution_parameters *p, struct descriptors *d,
                                      dnnl_memory_desc_t *weights)
{
    const int32_t outer = p->spatial - 1, leading = outer ? outer : 0;
    const int64_t width = p->input[outer], columns = p->kernel[outer] * p->features, row = width * columns;
    const int32_t dtype = call_input(call, X)->dtype;
    int64_t x[4] = {1, 1, 1, 1}, w[4] = {1, 1, 1, 1}, y[4] = {1, 1, 1, 1}, bias[4] = {1, 1, 1, 1}, strides[4] = {0};
    /* One dimension: the images are rows too. Two: image and row. Three: image and plane, then row. */
    if (outer == 0) {
        x[0] = y[0] = p->batch * width;
    } else {
        x[0] = p->batch * p->input[0];
        x[outer - 1] = outer == 2 ? p->input[1] : x[0];
        y[0] = x[0];
        y[outer - 1] = x[outer - 1];
        x[leading] = y[leading] = width;
    }
    x[leading + 1] = w[leading] = p->channels;
    w[leading + 1] = y[leading + 1] = bias[leading + 1] = columns;
    strides[leading + 1] = 1;
    strides[leading] = columns;
    if (outer)
        strides[outer - 1] = p->kernel[outer - 1] * row;
    if (outer == 2)
        strides[0] = p->kernel[0] * p->input[1] * p->kernel[1] * row;
    TRY(onednn_descriptor(call, &d->x, dtype, leading + 2, x, LAYOUT_PLAIN));
    TRY(onednn_descriptor(call, weights, dtype, leading + 2, w, LAYOUT_PLAIN));
    TRY(onednn_descriptor_strided(call, &d->y, dtype, leading + 2, y, strides));
    return call_input(call, BIAS) ? onednn_descriptor(call, &d->bias, MITRAL_FLOAT, leading + 2, bias, LAYOUT_PLAIN) : MITRAL_OK;
}

static mitral_status add_row_products(struct onednn_program *program, const struct kernel_call *call,
                                      const struct convolution_parameters *p, const struct onednn_post *post, struct descriptors *d,
                                      dnnl_memory_desc_t *weights, dnnl_primitive_attr_t attributes)
{
    const int32_t outer = p->spatial - 1;
    const size_t element = mitral_dtype_size((mitral_dtype)call_input(call, X)->dtype);
    const size_t columns = (size_t)(p->kernel[outer] * p->features), row = (size_t)p->input[outer] * columns;
    struct onednn_where x, w, y = onednn_output_in(program, call, 0, LAYOUT_CHANNELS_LAST), bias = {PLACE_NONE, 0, 0};
    TRY(onednn_input_in(program, call, X, LAYOUT_CHANNELS_LAST, &x));
    TRY(describe_rows(call, p, d));
    TRY(describe_product(call, p, d, weights));
    TRY(onednn_add_weights(program, call, W, d->plain_w, d->w, &w));
    if (call_input(call, BIAS)) {
        const struct spread spread = {p->features, p->kernel[outer]};
        bias = onednn_scratch(program, columns * sizeof(float));
        TRY(onednn_add_function(program, call, spread_bias, &bias, 1, &spread, sizeof spread));
    }
    int64_t taps = 1;
    for (int32_t i = 0; i < outer; i++)
        taps *= p->kernel[i];
    for (int64_t tap = 0; tap < taps; tap++) {
        struct onednn_operand operands[4 + ONEDNN_POST_OPERANDS] = {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y}};
        size_t count = 3, rows = (size_t)(outer == 2 ? tap / p->kernel[1] * p->input[1] * p->kernel[1] + tap % p->kernel[1] : tap);
        operands[1].where.offset = (size_t)tap * (size_t)p->channels * columns * element;
        operands[2].where.offset = rows * row * element;
        if (bias.place != PLACE_NONE)
            operands[count++] = (struct onednn_operand){DNNL_ARG_BIAS, bias};
        dnnl_post_ops_t list;
        DNNL_TRY(call, dnnl_post_ops_create(&list), "post-operations");
        mitral_status status = onednn_append_post(program, call, post, LAYOUT_CHANNELS_LAST, d->y, list, operands, &count);
        if (status == MITRAL_OK && dnnl_primitive_attr_set_post_ops(attributes, list) != dnnl_success)
            status = MITRAL_NO_MEMORY;
        dnnl_post_ops_destroy(list);
        TRY(status);
        dnnl_primitive_desc_t descriptor;
        if (dnnl_matmul_primitive_desc_create(&descriptor, program->engine, d->x, *weights, d->bias, d->y, attributes) != dnnl_success)
            return MITRAL_DEFERRED;
        if (onednn_is_reference(descriptor)) {
            dnnl_primitive_desc_destroy(descriptor);
            return MITRAL_DEFERRED;
        }
        TRY(onednn_add_primitive(program, call, descriptor, operands, count));
    }
    return onednn_finish_output(program, call, 0, LAYOUT_CHANNELS_LAST, y);
}

/* ---- oneDNN's deconvolution ------------------------------------------------------------------------------------------------ */

/* W is [channels, features / group, kernel…]; oneDNN has [group?, features / group, channels / group, kernel…]. */
static mitral_status describe_weights(const struct kernel_call *call, const struct convolution_parameters *p, struct descriptors *d)
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

static mitral_status create_descriptor(struct onednn_program *program, const struct convolution_parameters *p,
                                       const struct descriptors *d, dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *out)
{
    dnnl_dims_t strides = {0}, dilations = {0}, begin = {0}, end = {0};
    for (int32_t i = 0; i < p->spatial; i++) {
        strides[i] = p->strides[i];
        dilations[i] = p->dilations[i] - 1;
        begin[i] = p->pads_begin[i];
        end[i] = p->pads_end[i] - p->output_padding[i];
    }
    if (dnnl_deconvolution_forward_primitive_desc_create(out, program->engine, dnnl_forward_inference, dnnl_deconvolution_direct, d->x, d->w,
                                                         d->bias, d->y, strides, dilations, begin, end, attributes) != dnnl_success)
        return MITRAL_DEFERRED;
    if (!onednn_is_reference(*out))
        return MITRAL_OK;
    dnnl_primitive_desc_destroy(*out);
    return MITRAL_DEFERRED;
}

static mitral_status add_deconvolution(struct onednn_program *program, const struct kernel_call *call,
                                       const struct convolution_parameters *p, const struct onednn_post *post, struct descriptors *d,
                                       dnnl_primitive_attr_t attributes)
{
    const int layout = LAYOUT_CHANNELS_LAST;
    struct onednn_operand operands[4 + ONEDNN_POST_OPERANDS] = {{DNNL_ARG_SRC, {PLACE_NONE, 0, 0}}, {DNNL_ARG_WEIGHTS, {PLACE_NONE, 0, 0}},
                                                                {DNNL_ARG_DST, {PLACE_NONE, 0, 0}}};
    size_t count = 3;
    TRY(describe_weights(call, p, d));
    TRY(onednn_input_as(program, call, X, layout, &d->x, &operands[0].where));
    TRY(onednn_output_as(program, call, 0, layout, &d->y, &operands[2].where));
    if (call_input(call, BIAS))
        operands[count++] = (struct onednn_operand){DNNL_ARG_BIAS, {PLACE_INPUT, BIAS, 0}};
    dnnl_post_ops_t list;
    DNNL_TRY(call, dnnl_post_ops_create(&list), "post-operations");
    mitral_status status = onednn_append_post(program, call, post, layout, d->y, list, operands, &count);
    if (status == MITRAL_OK && dnnl_primitive_attr_set_post_ops(attributes, list) != dnnl_success)
        status = MITRAL_NO_MEMORY;
    dnnl_post_ops_destroy(list);
    TRY(status);
    dnnl_primitive_desc_t descriptor;
    TRY(create_descriptor(program, p, d, attributes, &descriptor));
    status = onednn_add_weights(program, call, W, d->plain_w, dnnl_primitive_desc_query_md(descriptor, dnnl_query_weights_md, 0),
                                &operands[1].where);
    if (status != MITRAL_OK) {
        dnnl_primitive_desc_destroy(descriptor);
        return status;
    }
    TRY(onednn_add_primitive(program, call, descriptor, operands, count));
    return onednn_finish_output(program, call, 0, layout, operands[2].where);
}

/* ---- all ------------------------------------------------------------------------------------------------------------------- */

static mitral_status attempt(const struct kernel_call *call, const struct convolution_parameters *p, const struct onednn_post *post,
                             bool rows, void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    struct descriptors d = {0};
    dnnl_memory_desc_t weights = NULL;
    dnnl_primitive_attr_t attributes;
    TRY(onednn_attributes(call, &attributes));
    mitral_status status = onednn_program_create(&program, call);
    if (status == MITRAL_OK) {
        status = rows ? add_row_products(program, call, p, post, &d, &weights, attributes)
                      : add_deconvolution(program, call, p, post, &d, attributes);
        status = onednn_program_finish(program, call, status, state, scratch_bytes);
    }
    free_descriptors(&d);
    onednn_descriptor_free(&weights);
    dnnl_primitive_attr_destroy(attributes);
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
        if (windows_are_disjoint(&p) && x->dtype == MITRAL_FLOAT)
            status = attempt(call, &p, &post, true, state, scratch_bytes);
        if (status == MITRAL_DEFERRED)
            status = attempt(call, &p, &post, false, state, scratch_bytes);
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
