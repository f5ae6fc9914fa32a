/* onednn.softmax, onednn.log_softmax, onednn.layer_normalization, onednn.lrn: with the operators' inputs and attributes; the reference
 * kernel where oneDNN has nothing fast. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/onednn/program.h"
#include "runtime/kernels/reference/normalization.h"
#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/reference/shapes.h"
#include "runtime/kernels/reference/softmax.h"

/* One primitive between input 0 and output 0; takes the descriptor over. MITRAL_DEFERRED when it is a reference implementation. */
static mitral_status add_unary(struct onednn_program *program, const struct kernel_call *call, dnnl_primitive_desc_t descriptor,
                               const struct onednn_operand *operands, size_t count)
{
    if (onednn_is_reference(descriptor)) {
        dnnl.primitive_desc_destroy(descriptor);
        return MITRAL_DEFERRED;
    }
    return onednn_add_primitive(program, call, descriptor, operands, count);
}

typedef mitral_status attempt_function(struct onednn_program *program, const struct kernel_call *call, dnnl_primitive_attr_t attributes);

/* The fast form in a program of its own, else the reference kernel. */
static mitral_status prepare(struct kernel_call *call, attempt_function *attempt, const char *reference, void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    const mitral_tensor *x = call_input(call, 0), *y = call_output(call, 0);
    const bool empty = !y || tensor_count(y) == 0;
    if (!empty && onednn_computes(x->dtype)) {
        dnnl_primitive_attr_t attributes;
        TRY(onednn_attributes(call, &attributes));
        mitral_status status = onednn_program_create(&program, call);
        if (status == MITRAL_OK)
            status = onednn_program_finish(program, call, attempt(program, call, attributes), state, scratch_bytes);
        dnnl.primitive_attr_destroy(attributes);
        if (status != MITRAL_DEFERRED)
            return status;
    }
    TRY(onednn_program_create(&program, call));
    mitral_status status = empty && call->output_count == 1 ? MITRAL_OK : onednn_add_delegate(program, call, reference, call->input_count, NULL);
    return onednn_program_finish(program, call, status, state, scratch_bytes);
}

/* ---- softmax ---------------------------------------------------------------------------------------------------------- */

static mitral_status softmax_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, shape_softmax); }

static mitral_status attempt_softmax(struct onednn_program *program, const struct kernel_call *call, dnnl_primitive_attr_t attributes,
                                     dnnl_alg_kind_t algorithm)
{
    const mitral_tensor *x = call_input(call, 0), *y = call_output(call, 0);
    int64_t outer, axis, inner;
    TRY(call_softmax_sizes(call, &outer, &axis, &inner));
    if (!onednn_layouts_agree(x->rank, x->dims) && (x->layout != LAYOUT_PLAIN || y->layout != LAYOUT_PLAIN))
        return MITRAL_DEFERRED;
    const int64_t dims[3] = {outer, axis, inner};
    dnnl_memory_desc_t map;
    TRY(onednn_descriptor(call, &map, x->dtype, inner == 1 ? 2 : 3, dims, LAYOUT_PLAIN));
    dnnl_primitive_desc_t descriptor;
    dnnl_status_t status = dnnl.softmax_forward_primitive_desc_create(&descriptor, dnnl.engine, dnnl_forward_inference, algorithm, map,
                                                                      map, 1, attributes);
    onednn_descriptor_free(&map);
    if (status != dnnl_success)
        return MITRAL_DEFERRED;
    const struct onednn_operand operands[] = {{DNNL_ARG_SRC, {PLACE_INPUT, 0, 0}}, {DNNL_ARG_DST, {PLACE_OUTPUT, 0, 0}}};
    return add_unary(program, call, descriptor, operands, 2);
}

static mitral_status attempt_plain_softmax(struct onednn_program *program, const struct kernel_call *call, dnnl_primitive_attr_t attributes)
{
    return attempt_softmax(program, call, attributes, dnnl_softmax_accurate);
}

static mitral_status attempt_log_softmax(struct onednn_program *program, const struct kernel_call *call, dnnl_primitive_attr_t attributes)
{
    return attempt_softmax(program, call, attributes, dnnl_softmax_log);
}

static mitral_status softmax_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return prepare(call, attempt_plain_softmax, "Softmax", state, scratch_bytes);
}

static mitral_status log_softmax_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return prepare(call, attempt_log_softmax, "LogSoftmax", state, scratch_bytes);
}

/* ---- layer normalization ------------------------------------------------------------------------------------------------ */

static mitral_status layer_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, shape_layer_normalization); }

static mitral_status attempt_layer(struct onednn_program *program, const struct kernel_call *call, dnnl_primitive_attr_t attributes)
{
    const mitral_tensor *x = call_input(call, 0), *scale = call_input(call, 1), *bias = call_input(call, 2);
    struct row_normalization rows;
    int64_t axis;
    TRY(layer_rows(call, x, attribute_int(call->attributes, "axis", -1), &axis, &rows));
    if (call_output(call, 1) || call_output(call, 2) || scale->dtype != MITRAL_FLOAT || tensor_count(scale) != rows.size
        || (bias && (bias->dtype != MITRAL_FLOAT || tensor_count(bias) != rows.size)) || x->layout != LAYOUT_PLAIN)
        return MITRAL_DEFERRED;
    const int64_t dims[2] = {rows.rows, rows.size};
    dnnl_memory_desc_t map = NULL, statistics = NULL;
    mitral_status result = onednn_descriptor(call, &map, x->dtype, 2, dims, LAYOUT_PLAIN);
    if (result == MITRAL_OK)
        result = onednn_descriptor(call, &statistics, MITRAL_FLOAT, 1, dims, LAYOUT_PLAIN);
    dnnl_primitive_desc_t descriptor = NULL;
    const unsigned flags = dnnl_use_scale | (bias ? dnnl_use_shift : 0u);
    if (result == MITRAL_OK
        && dnnl.layer_normalization_forward_primitive_desc_create(&descriptor, dnnl.engine, dnnl_forward_inference, map, map, statistics,
                                                                  attribute_float(call->attributes, "epsilon", 1e-5f), flags, attributes)
               != dnnl_success)
        result = MITRAL_DEFERRED;
    onednn_descriptor_free(&map);
    onednn_descriptor_free(&statistics);
    TRY(result);
    const struct onednn_operand operands[] = {{DNNL_ARG_SRC, {PLACE_INPUT, 0, 0}}, {DNNL_ARG_DST, {PLACE_OUTPUT, 0, 0}},
                                              {DNNL_ARG_SCALE, {PLACE_INPUT, 1, 0}}, {DNNL_ARG_SHIFT, {PLACE_INPUT, 2, 0}}};
    return add_unary(program, call, descriptor, operands, bias ? 4 : 3);
}

static mitral_status layer_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return prepare(call, attempt_layer, "LayerNormalization", state, scratch_bytes);
}

/* ---- local response normalization --------------------------------------------------------------------------------------- */

static mitral_status lrn_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, shape_lrn); }

struct lrn {
    int64_t pixels, channels, before, after; /* channels of the window before and after its own */
    float factor, bias, beta;
};

/* y = x / (bias + factor · Σ x²)^beta of one pixel; `squares` has before + channels + after elements, zeros at both ends. */
VECTOR_CLONES static void lrn_pixel(const struct lrn *lrn, const float *restrict x, float *restrict y, float *restrict squares,
                                    float *restrict sums)
{
    const int64_t channels = lrn->channels, width = lrn->before + lrn->after + 1;
    for (int64_t c = 0; c < channels; c++)
        squares[lrn->before + c] = x[c] * x[c];
    for (int64_t c = 0; c < channels; c++)
        sums[c] = squares[c];
    for (int64_t k = 1; k < width; k++)
        for (int64_t c = 0; c < channels; c++)
            sums[c] += squares[c + k];
    if (lrn->beta == 0.75f) {
        for (int64_t c = 0; c < channels; c++) {
            const float root = sqrtf(lrn->bias + lrn->factor * sums[c]);
            y[c] = x[c] / (root * sqrtf(root));
        }
    } else if (lrn->beta == 0.5f) {
        for (int64_t c = 0; c < channels; c++)
            y[c] = x[c] / sqrtf(lrn->bias + lrn->factor * sums[c]);
    } else {
        for (int64_t c = 0; c < channels; c++)
            y[c] = x[c] / powf(lrn->bias + lrn->factor * sums[c], lrn->beta);
    }
}

enum { PIXELS_PER_TASK = 64 };

static size_t lrn_floats(const struct lrn *lrn)
{
    return ((size_t)(lrn->before + lrn->channels + lrn->after + 15) & ~(size_t)15) + ((size_t)(lrn->channels + 15) & ~(size_t)15);
}

/* addresses: x, y (channels last), scratch. */
static mitral_status run_lrn(const struct kernel_call *call, void *const *addresses, const void *data)
{
    const struct lrn lrn = *(const struct lrn *)data;
    const size_t floats = lrn_floats(&lrn);
    const int64_t tasks = (lrn.pixels + PIXELS_PER_TASK - 1) / PIXELS_PER_TASK;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (tasks > 1)
    for (int64_t task = 0; task < tasks; task++) {
        float squares_and_sums[1024], *memory = squares_and_sums;
        if (floats > sizeof squares_and_sums / sizeof(float))
            memory = (float *)addresses[2] + (size_t)task * floats;
        memset(memory, 0, (size_t)lrn.before * sizeof(float));
        memset(memory + lrn.before + lrn.channels, 0, (size_t)lrn.after * sizeof(float));
        float *sums = memory + floats - ((size_t)(lrn.channels + 15) & ~(size_t)15);
        const int64_t first = task * PIXELS_PER_TASK;
        for (int64_t p = first; p < first + PIXELS_PER_TASK && p < lrn.pixels; p++)
            lrn_pixel(&lrn, (const float *)addresses[0] + p * lrn.channels, (float *)addresses[1] + p * lrn.channels, memory, sums);
    }
    return MITRAL_OK;
}

static mitral_status attempt_lrn(struct onednn_program *program, const struct kernel_call *call, dnnl_primitive_attr_t attributes)
{
    (void)attributes;
    const mitral_tensor *x = call_input(call, 0);
    const int64_t size = attribute_int(call->attributes, "size", 1);
    if (x->rank < 3 || x->dtype != MITRAL_FLOAT || size < 1 || size > 2 * x->dims[1] + 1)
        return MITRAL_DEFERRED;
    struct lrn lrn = {.channels = x->dims[1], .pixels = tensor_count(x) / x->dims[1], .before = (size - 1) / 2, .after = size - 1 - (size - 1) / 2,
                      .factor = attribute_float(call->attributes, "alpha", 1e-4f) / (float)size,
                      .bias = attribute_float(call->attributes, "bias", 1), .beta = attribute_float(call->attributes, "beta", 0.75f)};
    struct onednn_where wheres[3] = {{PLACE_NONE, 0, 0}, onednn_output_in(program, call, 0, LAYOUT_CHANNELS_LAST), {PLACE_NONE, 0, 0}};
    TRY(onednn_input_in(program, call, 0, LAYOUT_CHANNELS_LAST, &wheres[0]));
    const size_t floats = lrn_floats(&lrn), tasks = (size_t)((lrn.pixels + PIXELS_PER_TASK - 1) / PIXELS_PER_TASK);
    wheres[2] = onednn_scratch(program, floats > 1024 ? tasks * floats * sizeof(float) : 0);
    TRY(onednn_add_function(program, call, run_lrn, wheres, 3, &lrn, sizeof lrn));
    return onednn_finish_output(program, call, 0, LAYOUT_CHANNELS_LAST, wheres[1]);
}

static mitral_status lrn_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return prepare(call, attempt_lrn, "LRN", state, scratch_bytes);
}

#define NORMALIZATION_ROW(title, row_shape, row_prepare)                                                               \
    {.name = title, .shape = row_shape, .prepare = row_prepare, .run = onednn_program_run,                             \
     .release = onednn_program_destroy, .describe = onednn_program_describe}

const struct kernel onednn_normalization[] = {
    NORMALIZATION_ROW("channels.lrn", lrn_shape, lrn_prepare),
    NORMALIZATION_ROW("onednn.layer_normalization", layer_shape, layer_prepare),
    NORMALIZATION_ROW("onednn.log_softmax", softmax_shape, log_softmax_prepare),
    NORMALIZATION_ROW("onednn.softmax", softmax_shape, softmax_prepare),
};
const size_t onednn_normalization_count = sizeof onednn_normalization / sizeof *onednn_normalization;
