/* onednn.convolution: X, W, bias?, residual?, slope? with Conv's attributes and those of onednn_read_post.
 *
 * Formulations, best first: over channels-last data (reordered here when the values are planned plain), over plain data, the
 * reference kernel. One that oneDNN would run by its reference loops is passed over; one whose sums would depend on the number of threads
 * runs image by image, each in one thread. */
#include <string.h>

#include "runtime/kernels/onednn/program.h"
#include "runtime/kernels/reference/convolution.h"
#include "runtime/kernels/reference/shapes.h"

enum { X, W, BIAS, RESIDUAL, SLOPE };

static mitral_status convolution_shape(struct kernel_call *call)
{
    return onednn_shape_keeping_layouts(call, shape_convolution);
}

/* A map of one column is described as one of one row, which is the same memory and what oneDNN is fast at. */
static bool is_column(const struct convolution_parameters *p)
{
    return p->spatial == 2 && p->input[0] > 1 && p->input[1] == 1 && p->output[1] == 1 && p->kernel[1] == 1 && p->pads_begin[1] == 0
           && p->pads_end[1] == 0;
}

static void swap(int64_t pair[2])
{
    const int64_t first = pair[0];
    pair[0] = pair[1];
    pair[1] = first;
}

static struct convolution_parameters laid_down(struct convolution_parameters p)
{
    int64_t *const pairs[] = {p.input, p.kernel, p.output, p.strides, p.dilations, p.pads_begin, p.pads_end};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        swap(pairs[i]);
    return p;
}

/* Whether these are the parameters that laid_down made of the call's. */
static bool is_laid_down(const struct kernel_call *call, const struct convolution_parameters *p)
{
    return p->spatial == 2 && p->input[1] != call_input(call, X)->dims[3];
}

static mitral_status describe_weights(const struct kernel_call *call, const struct convolution_parameters *p, struct onednn_descriptors *d)
{
    const mitral_tensor *x = call_input(call, X), *w = call_input(call, W), *bias = call_input(call, BIAS);
    int64_t dims[MITRAL_MAX_RANK];
    int32_t rank = 0;
    if (p->group > 1) {
        dims[rank++] = p->group;
        dims[rank++] = w->dims[0] / p->group;
        memcpy(dims + rank, w->dims + 1, (size_t)(w->rank - 1) * sizeof *dims);
        rank += w->rank - 1;
    } else {
        memcpy(dims, w->dims, (size_t)w->rank * sizeof *dims);
        rank = w->rank;
    }
    if (is_laid_down(call, p))
        swap(dims + rank - 2);
    TRY(onednn_descriptor_any(call, &d->w, x->dtype, rank, dims));
    TRY(onednn_descriptor(call, &d->plain_w, w->dtype, rank, dims, LAYOUT_PLAIN));
    if (bias)
        TRY(onednn_descriptor(call, &d->bias, bias->dtype, bias->rank, bias->dims, LAYOUT_PLAIN));
    return MITRAL_OK;
}

/* MITRAL_DEFERRED: this formulation is not there; *depends: it is, but depends on the number of threads. */
static mitral_status create_descriptor(const struct convolution_parameters *p,
                                       const struct onednn_descriptors *d, bool images, bool *depends, dnnl_primitive_desc_t *out)
{
    dnnl_dims_t strides = {0}, dilations = {0}, begin = {0}, end = {0};
    for (int32_t i = 0; i < p->spatial; i++) {
        strides[i] = p->strides[i];
        dilations[i] = p->dilations[i] - 1;
        begin[i] = p->pads_begin[i];
        end[i] = p->pads_end[i];
    }
    dnnl_status_t status = dnnl.convolution_forward_primitive_desc_create(out, dnnl.engine, dnnl_forward_inference,
                                                                          dnnl_convolution_direct, d->x, d->w, d->bias, d->y, strides,
                                                                          dilations, begin, end, d->attributes);
    if (status != dnnl_success)
        return MITRAL_DEFERRED;
    const int32_t row = p->spatial - 1;
    *depends = !images && onednn_depends_on_threads(*out, convolution_window_is_usual(p->kernel[row], p->dilations[row],
                                                                                      p->pads_begin[row], p->pads_end[row]));
    if (!onednn_is_reference(*out) && !*depends)
        return MITRAL_OK;
    dnnl.primitive_desc_destroy(*out);
    return MITRAL_DEFERRED;
}

static mitral_status describe_map(const struct kernel_call *call, const mitral_tensor *tensor, int layout, bool image, bool laid_down,
                                  dnnl_memory_desc_t *out)
{
    int64_t dims[MITRAL_MAX_RANK];
    memcpy(dims, tensor->dims, sizeof dims);
    if (image)
        dims[0] = 1;
    if (laid_down)
        swap(dims + 2);
    return onednn_descriptor(call, out, tensor->dtype, tensor->rank, dims, layout);
}

static mitral_status add_convolution(struct onednn_program *program, const struct kernel_call *call,
                                     const struct convolution_parameters *p, const struct onednn_post *post, int layout, bool images,
                                     bool *depends, struct onednn_descriptors *d)
{
    const mitral_tensor *x = call_input(call, X), *y = call_output(call, 0);
    struct onednn_operand operands[4 + ONEDNN_POST_OPERANDS] = {{DNNL_ARG_SRC, {PLACE_NONE, 0, 0}}, {DNNL_ARG_WEIGHTS, {PLACE_NONE, 0, 0}},
                                                                {DNNL_ARG_DST, {PLACE_NONE, 0, 0}}};
    size_t count = 3, steps[4 + ONEDNN_POST_OPERANDS] = {0};
    TRY(describe_weights(call, p, d));
    TRY(describe_map(call, x, layout, images, is_laid_down(call, p), &d->x));
    TRY(describe_map(call, y, layout, images, is_laid_down(call, p), &d->y));
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
    TRY(create_descriptor(p, d, images, depends, &descriptor));
    status = onednn_add_weights(program, call, W, d->plain_w, dnnl.primitive_desc_query_md(descriptor, dnnl_query_weights_md, 0),
                                &operands[1].where);
    if (status != MITRAL_OK) {
        dnnl.primitive_desc_destroy(descriptor);
        return status;
    }
    if (images) {
        for (size_t i = 0; i < count; i++)
            if (operands[i].argument == DNNL_ARG_SRC)
                steps[i] = tensor_bytes(x) / (size_t)p->batch;
            else if (operands[i].argument == DNNL_ARG_DST || operands[i].argument & DNNL_ARG_SRC_1) /* the residual */
                steps[i] = tensor_bytes(y) / (size_t)p->batch;
        TRY(onednn_add_parts(program, call, descriptor, operands, steps, count, (size_t)p->batch));
    } else {
        TRY(onednn_add_primitive(program, call, descriptor, operands, count));
    }
    return onednn_finish_output(program, call, 0, layout, operands[2].where);
}

static mitral_status add_reference(struct onednn_program *program, const struct kernel_call *call, const struct onednn_post *post)
{
    struct onednn_where where;
    TRY(onednn_add_delegate(program, call, "Conv", BIAS + 1, &where));
    TRY(onednn_add_post_loop(program, call, post, where));
    return onednn_finish_output(program, call, 0, LAYOUT_PLAIN, where);
}

static mitral_status attempt_once(const struct kernel_call *call, const struct convolution_parameters *p, const struct onednn_post *post,
                                  int layout, bool images, bool *depends, void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    struct onednn_descriptors d = {0};
    const struct convolution_parameters described = is_column(p) ? laid_down(*p) : *p;
    TRY(onednn_attributes(call, &d.attributes));
    mitral_status status = onednn_program_create(&program, call);
    if (status == MITRAL_OK) {
        const int before = images ? onednn_serial_begin() : 0;
        status = add_convolution(program, call, &described, post, layout, images, depends, &d);
        if (images)
            onednn_serial_end(before);
        status = onednn_program_finish(program, call, status, state, scratch_bytes);
    }
    onednn_descriptors_free(&d);
    return status;
}

/* One formulation in a program of its own: a failed attempt leaves nothing behind. MITRAL_DEFERRED: not available. */
static mitral_status attempt(const struct kernel_call *call, const struct convolution_parameters *p, const struct onednn_post *post,
                             int layout, void **state, size_t *scratch_bytes)
{
    bool depends = false;
    mitral_status status = attempt_once(call, p, post, layout, false, &depends, state, scratch_bytes);
    return depends ? attempt_once(call, p, post, layout, true, &depends, state, scratch_bytes) : status;
}

static mitral_status convolution_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct convolution_parameters p;
    struct onednn_post post;
    struct onednn_program *program;
    TRY(call_convolution_parameters(call, &p));
    TRY(onednn_read_post(call, RESIDUAL, SLOPE, &post));
    const mitral_tensor *y = call_output(call, 0);
    if (tensor_count(y) == 0) {
        TRY(onednn_program_create(&program, call));
        return onednn_program_finish(program, call, MITRAL_OK, state, scratch_bytes);
    }
    const mitral_tensor *x = call_input(call, X), *w = call_input(call, W), *bias = call_input(call, BIAS);
    if (onednn_computes(x->dtype) && p.spatial <= 3 && tensor_count(x) > 0 && tensor_count(w) > 0
        && onednn_type(w->dtype) != dnnl_data_type_undef && (!bias || bias->dtype == x->dtype || bias->dtype == MITRAL_FLOAT)) {
        mitral_status status = attempt(call, &p, &post, LAYOUT_CHANNELS_LAST, state, scratch_bytes);
        if (status == MITRAL_DEFERRED)
            status = attempt(call, &p, &post, LAYOUT_PLAIN, state, scratch_bytes);
        if (status != MITRAL_DEFERRED)
            return status;
    }
    TRY(onednn_program_create(&program, call));
    return onednn_program_finish(program, call, add_reference(program, call, &post), state, scratch_bytes);
}

static double convolution_count(const struct kernel_call *call)
{
    struct convolution_parameters p;
    return call_convolution_parameters(call, &p) == MITRAL_OK ? convolution_flops(&p, false) : 0;
}

const struct kernel onednn_convolution[] = {
    {.name = "onednn.convolution", .flags = KERNEL_PREPARES_BY_SHAPE, .shape = convolution_shape, .prepare = convolution_prepare,
     .run = onednn_program_run, .release = onednn_program_destroy, .packed = onednn_program_packed, .describe = onednn_program_describe,
     .flops = convolution_count},
};
const size_t onednn_convolution_count = sizeof onednn_convolution / sizeof *onednn_convolution;
