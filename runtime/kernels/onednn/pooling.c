/* onednn.max_pool, onednn.average_pool, onednn.global_average_pool, onednn.global_max_pool: X, with the operators' attributes. Maxima of
 * floats are channels/max_pool.c's. */
#include <string.h>

#include "runtime/kernels/channels/max_pool.h"
#include "runtime/kernels/onednn/program.h"
#include "runtime/kernels/reference/pooling.h"
#include "runtime/kernels/reference/shapes.h"

enum { FEW_CHANNELS = 16 }; /* fewer are not worth another layout */

struct request {
    const char *reference; /* the kernel to take where oneDNN has none */
    dnnl_alg_kind_t algorithm;
    bool global;
};

static mitral_status max_pool_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, shape_max_pool); }
static mitral_status average_pool_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, shape_pool); }
static mitral_status global_pool_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, shape_global_pool); }

/* False where oneDNN would count differently: means that take in padding which ceil_mode put beyond the stated pads. */
static bool window_of(const struct kernel_call *call, const struct request *request, struct pool_parameters *p)
{
    const mitral_tensor *x = call_input(call, 0);
    if (request->global) {
        *p = (struct pool_parameters){.spatial = x->rank - 2, .batch = x->dims[0], .channels = x->dims[1]};
        for (int32_t i = 0; i < p->spatial; i++) {
            p->input[i] = p->kernel[i] = x->dims[2 + i];
            p->strides[i] = p->dilations[i] = p->output[i] = 1;
        }
        return p->spatial > 0 && p->spatial <= 3;
    }
    if (call_pool_parameters(call, p) != MITRAL_OK)
        return false;
    for (int32_t i = 0; i < p->spatial; i++) {
        const int64_t reach = (p->output[i] - 1) * p->strides[i] + (p->kernel[i] - 1) * p->dilations[i] + 1;
        const int64_t needed = reach - p->input[i] - p->pads_begin[i];
        if (needed > p->pads_end[i] && request->algorithm == dnnl_pooling_avg_include_padding)
            return false;
        p->pads_end[i] = needed > p->pads_end[i] ? needed : p->pads_end[i];
    }
    return p->spatial <= 3;
}

/* oneDNN's plain loops over planes, four times slower than the reference kernel's. */
static bool is_simple(const_dnnl_primitive_desc_t descriptor)
{
    const char *name = NULL;
    return dnnl.primitive_desc_query(descriptor, dnnl_query_impl_info_str, 0, &name) == dnnl_success && name && strncmp(name, "simple", 6) == 0;
}

static mitral_status create_descriptor(struct onednn_program *program, const struct kernel_call *call, const struct request *request,
                                       const struct pool_parameters *p, int layout, struct onednn_operand operands[2],
                                       dnnl_primitive_desc_t *out)
{
    dnnl_memory_desc_t x = NULL, y = NULL;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_dims_t strides = {0}, kernel = {0}, dilations = {0}, begin = {0}, end = {0};
    for (int32_t i = 0; i < p->spatial; i++) {
        strides[i] = p->strides[i];
        kernel[i] = p->kernel[i];
        dilations[i] = p->dilations[i] - 1;
        begin[i] = p->pads_begin[i];
        end[i] = p->pads_end[i];
    }
    mitral_status status = onednn_input_as(program, call, 0, layout, &x, &operands[0].where);
    if (status == MITRAL_OK)
        status = onednn_output_as(program, call, 0, layout, &y, &operands[1].where);
    if (status == MITRAL_OK)
        status = onednn_attributes(call, &attributes);
    if (status == MITRAL_OK) {
        if (dnnl.pooling_forward_primitive_desc_create(out, dnnl.engine, dnnl_forward_inference, request->algorithm, x, y, strides,
                                                       kernel, dilations, begin, end, attributes) != dnnl_success) {
            status = MITRAL_DEFERRED;
        } else if (onednn_is_reference(*out) || is_simple(*out)) {
            dnnl.primitive_desc_destroy(*out);
            status = MITRAL_DEFERRED;
        }
    }
    onednn_descriptor_free(&x);
    onednn_descriptor_free(&y);
    if (attributes)
        dnnl.primitive_attr_destroy(attributes);
    return status;
}

static mitral_status add_pooling(struct onednn_program *program, const struct kernel_call *call, const struct request *request,
                                 const struct pool_parameters *p, int layout)
{
    struct onednn_operand operands[] = {{DNNL_ARG_SRC, {PLACE_NONE, 0, 0}}, {DNNL_ARG_DST, {PLACE_NONE, 0, 0}}};
    dnnl_primitive_desc_t descriptor;
    TRY(create_descriptor(program, call, request, p, layout, operands, &descriptor));
    TRY(onednn_add_primitive(program, call, descriptor, operands, 2));
    return onednn_finish_output(program, call, 0, layout, operands[1].where);
}

static mitral_status attempt(struct kernel_call *call, const struct request *request, const struct pool_parameters *p, int layout,
                             void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    TRY(onednn_program_create(&program, call));
    return onednn_program_finish(program, call, add_pooling(program, call, request, p, layout), state, scratch_bytes);
}

/* Of floats, by own loops where the maps are channels-last: oneDNN passes over NaN, the reference kernel and these do not. */
static mitral_status prepare_maximum(struct kernel_call *call, const struct pool_parameters *p, void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    TRY(onednn_program_create(&program, call));
    return onednn_program_finish(program, call, channels_add_max_pool(program, call, p), state, scratch_bytes);
}

static mitral_status prepare(struct kernel_call *call, const struct request *request, void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    struct pool_parameters p;
    const mitral_tensor *x = call_input(call, 0), *y = call_output(call, 0);
    const bool only_values = y && !call_output(call, 1), bytes = dtype_is_byte(x->dtype);
    const bool own = request->algorithm == dnnl_pooling_max && (x->dtype == MITRAL_FLOAT || x->dtype == MITRAL_BFLOAT16 || x->dtype == MITRAL_FLOAT16);
    const bool fits = only_values && tensor_count(y) && tensor_count(x) && (own || bytes || onednn_computes(x->dtype)) && window_of(call, request, &p);
    if (fits && own && (p.channels > FEW_CHANNELS || x->layout != LAYOUT_PLAIN || y->layout != LAYOUT_PLAIN))
        return prepare_maximum(call, &p, state, scratch_bytes);
    if (fits && !own) {
        const int first = x->layout == y->layout ? x->layout : LAYOUT_CHANNELS_LAST;
        mitral_status status = attempt(call, request, &p, first, state, scratch_bytes);
        if (status == MITRAL_DEFERRED && p.channels >= FEW_CHANNELS)
            status = attempt(call, request, &p, LAYOUT_PLAIN + LAYOUT_CHANNELS_LAST - first, state, scratch_bytes);
        if (status != MITRAL_DEFERRED)
            return status;
    }
    TRY(onednn_program_create(&program, call));
    return onednn_program_finish(program, call, onednn_add_delegate(program, call, request->reference, 1, NULL), state, scratch_bytes);
}

static mitral_status max_pool_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    static const struct request request = {"MaxPool", dnnl_pooling_max, false};
    return prepare(call, &request, state, scratch_bytes);
}

static mitral_status average_pool_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    const bool with_padding = attribute_int(call->attributes, "count_include_pad", 0) != 0;
    const struct request request = {"AveragePool", with_padding ? dnnl_pooling_avg_include_padding : dnnl_pooling_avg_exclude_padding, false};
    return prepare(call, &request, state, scratch_bytes);
}

static mitral_status global_average_pool_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    static const struct request request = {"GlobalAveragePool", dnnl_pooling_avg_exclude_padding, true};
    return prepare(call, &request, state, scratch_bytes);
}

static mitral_status global_max_pool_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    static const struct request request = {"GlobalMaxPool", dnnl_pooling_max, true};
    return prepare(call, &request, state, scratch_bytes);
}

#define POOL_ROW(title, row_shape, row_prepare)                                                                        \
    {.name = title, .shape = row_shape, .prepare = row_prepare, .run = onednn_program_run,                             \
     .release = onednn_program_destroy, .describe = onednn_program_describe}

const struct kernel onednn_pooling[] = {
    POOL_ROW("onednn.average_pool", average_pool_shape, average_pool_prepare),
    POOL_ROW("onednn.global_average_pool", global_pool_shape, global_average_pool_prepare),
    POOL_ROW("onednn.global_max_pool", global_pool_shape, global_max_pool_prepare),
    POOL_ROW("onednn.max_pool", max_pool_shape, max_pool_prepare),
};
const size_t onednn_pooling_count = sizeof onednn_pooling / sizeof *onednn_pooling;
