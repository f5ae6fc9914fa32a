/* onednn.quantized_convolution, onednn.qlinear_convolution, onednn.integer_convolution: mitral.QuantizedConvolution, QLinearConv and
 * ConvInteger over channels-last data, by oneDNN or own kernels, or the reference kernel. */
#include <string.h>

#include "runtime/kernels/onednn/program.h"
#include "runtime/kernels/onednn/quantized.h"
#include "runtime/kernels/reference/convolution.h"

static const struct quantized_places fused = {"mitral.QuantizedConvolution", 0, 3, 2, 5, 1, 4, 6, 7, 8};
static const struct quantized_places linear = {"QLinearConv", 0, 3, 2, 5, 1, 4, 6, 7, 8, true};
static const struct quantized_places integer = {"ConvInteger", 0, 1, 2, 3, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};

static mitral_status fused_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, kernel_find(fused.reference)->shape); }
static mitral_status linear_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, kernel_find(linear.reference)->shape); }
static mitral_status integer_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, kernel_find(integer.reference)->shape); }

static mitral_status describe(const struct kernel_call *call, const struct quantized_places *places, const struct convolution_parameters *p,
                              struct onednn_descriptors *d)
{
    const mitral_tensor *x = call_input(call, places->x), *w = call_input(call, places->w), *y = call_output(call, 0);
    int64_t dims[MITRAL_MAX_RANK];
    int32_t rank = 0;
    if (p->group > 1)
        dims[rank++] = p->group;
    dims[rank++] = w->dims[0] / p->group;
    for (int32_t i = 1; i < w->rank; i++)
        dims[rank++] = w->dims[i];
    TRY(onednn_descriptor(call, &d->x, x->dtype, x->rank, x->dims, LAYOUT_CHANNELS_LAST));
    TRY(onednn_descriptor(call, &d->y, y->dtype, y->rank, y->dims, LAYOUT_CHANNELS_LAST));
    TRY(onednn_descriptor_any(call, &d->w, MITRAL_INT8, rank, dims));
    TRY(onednn_descriptor(call, &d->plain_w, MITRAL_INT8, rank, dims, LAYOUT_PLAIN));
    if (call_input(call, places->bias))
        TRY(onednn_descriptor(call, &d->bias, MITRAL_FLOAT, 1, &p->features, LAYOUT_PLAIN));
    TRY(onednn_attributes(call, &d->attributes));
    return quantized_attributes(call, places, p->group > 1 ? 3 : 1, d->attributes);
}

/* oneDNN 3.2's "jit:avx512_core_amx" and "jit_1x1:avx512_core_amx" give wrong bytes and write past their memory in many shapes (1×1 over 27 to
 * 48 pixels, windows of one column, of dilation 8): the next implementation instead. False when there is none. */
static bool skip_faulty(dnnl_primitive_desc_t descriptor)
{
    for (;;) {
        const char *text = "";
        dnnl.primitive_desc_query(descriptor, dnnl_query_impl_info_str, 0, &text);
        if (strncmp(text, "jit", 3) != 0 || !strstr(text, "avx512_core_amx"))
            return true;
        if (dnnl.primitive_desc_next_impl(descriptor) != dnnl_success)
            return false;
    }
}

static mitral_status create_descriptor(const struct convolution_parameters *p, const struct onednn_descriptors *d,
                                       dnnl_primitive_desc_t *out)
{
    dnnl_dims_t strides = {0}, dilations = {0}, begin = {0}, end = {0};
    for (int32_t i = 0; i < p->spatial; i++) {
        strides[i] = p->strides[i];
        dilations[i] = p->dilations[i] - 1;
        begin[i] = p->pads_begin[i];
        end[i] = p->pads_end[i];
    }
    if (dnnl.convolution_forward_primitive_desc_create(out, dnnl.engine, dnnl_forward_inference, dnnl_convolution_direct, d->x, d->w, d->bias,
                                                       d->y, strides, dilations, begin, end, d->attributes) != dnnl_success)
        return MITRAL_DEFERRED;
    if (skip_faulty(*out) && !onednn_is_reference(*out))
        return MITRAL_OK;
    dnnl.primitive_desc_destroy(*out);
    return MITRAL_DEFERRED;
}

static mitral_status add_convolution(struct onednn_program *program, const struct kernel_call *call, const struct quantized_places *places,
                                     const struct convolution_parameters *p, struct onednn_descriptors *d)
{
    struct onednn_operand operands[QUANTIZED_OPERANDS] = {{DNNL_ARG_SRC, {PLACE_NONE, 0, 0}}, {DNNL_ARG_WEIGHTS, {PLACE_NONE, 0, 0}},
                                                          {DNNL_ARG_DST, {PLACE_NONE, 0, 0}}};
    size_t count = 3;
    dnnl_primitive_desc_t descriptor;
    TRY(describe(call, places, p, d));
    TRY(create_descriptor(p, d, &descriptor));
    mitral_status status = quantized_weights(program, call, places, d->plain_w,
                                             dnnl.primitive_desc_query_md(descriptor, dnnl_query_weights_md, 0), &operands[1].where);
    if (status == MITRAL_OK)
        status = onednn_input_in(program, call, places->x, LAYOUT_CHANNELS_LAST, &operands[0].where);
    if (status == MITRAL_OK)
        status = quantized_operands(program, call, places, p->features, operands, &count);
    if (status != MITRAL_OK) {
        dnnl.primitive_desc_destroy(descriptor);
        return status;
    }
    operands[2].where = onednn_output_in(program, call, 0, LAYOUT_CHANNELS_LAST);
    TRY(onednn_add_primitive(program, call, descriptor, operands, count));
    return onednn_finish_output(program, call, 0, LAYOUT_CHANNELS_LAST, operands[2].where);
}

static mitral_status attempt(const struct kernel_call *call, const struct quantized_places *places, const struct convolution_parameters *p,
                             void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    struct onednn_descriptors d = {0};
    TRY(onednn_program_create(&program, call));
    mitral_status status = onednn_program_finish(program, call, add_convolution(program, call, places, p, &d), state, scratch_bytes);
    onednn_descriptors_free(&d);
    return status;
}

/* Dimensions that there are not are 1. */
static struct quantized_shape shape_of(const struct convolution_parameters *p)
{
    struct quantized_shape shape = {p->batch, p->channels, p->features, p->group, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}};
    for (int32_t i = 0, to = QUANTIZED_SPATIAL - p->spatial; i < p->spatial; i++, to++) {
        shape.input[to] = p->input[i];
        shape.kernel[to] = p->kernel[i];
        shape.output[to] = p->output[i];
        shape.stride[to] = p->strides[i];
        shape.dilation[to] = p->dilations[i];
        shape.pad[to] = p->pads_begin[i];
    }
    return shape;
}

static mitral_status prepare(struct kernel_call *call, const struct quantized_places *places, void **state, size_t *scratch_bytes)
{
    struct convolution_parameters p;
    const mitral_tensor *x = call_input(call, places->x), *w = call_input(call, places->w), *y = call_output(call, 0);
    TRY(convolution_decode(call, x, w, &p));
    if (y && tensor_count(y) && tensor_count(x) && tensor_count(w) && p.spatial <= 3 && quantized_fits(call, places, p.features)) {
        const struct quantized_shape shape = shape_of(&p);
        mitral_status status = quantized_suits_onednn(call, places) ? attempt(call, places, &p, state, scratch_bytes) : MITRAL_DEFERRED;
        if (status == MITRAL_DEFERRED)
            status = quantized_exact(call, places, &shape, false, state, scratch_bytes);
        if (status != MITRAL_DEFERRED)
            return status;
    }
    return quantized_delegate(call, places, state, scratch_bytes);
}

static mitral_status fused_prepare(struct kernel_call *call, void **state, size_t *bytes) { return prepare(call, &fused, state, bytes); }
static mitral_status linear_prepare(struct kernel_call *call, void **state, size_t *bytes) { return prepare(call, &linear, state, bytes); }
static mitral_status integer_prepare(struct kernel_call *call, void **state, size_t *bytes) { return prepare(call, &integer, state, bytes); }

static double count(const struct kernel_call *call, const struct quantized_places *places)
{
    struct convolution_parameters p;
    return convolution_decode(call, call_input(call, places->x), call_input(call, places->w), &p) == MITRAL_OK ? convolution_flops(&p, false) : 0;
}

static double fused_flops(const struct kernel_call *call) { return count(call, &fused); }
static double integer_flops(const struct kernel_call *call) { return count(call, &integer); }

const struct kernel onednn_quantized_convolution[] = {
    QUANTIZED_ROW("onednn.integer_convolution", integer_shape, integer_prepare, integer_flops),
    QUANTIZED_ROW("onednn.qlinear_convolution", linear_shape, linear_prepare, fused_flops),
    QUANTIZED_ROW("onednn.quantized_convolution", fused_shape, fused_prepare, fused_flops),
};
const size_t onednn_quantized_convolution_count = sizeof onednn_quantized_convolution / sizeof *onednn_quantized_convolution;
