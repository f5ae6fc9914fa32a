/* onednn.quantized_matmul, onednn.qlinear_matmul, onednn.integer_matmul: mitral.QuantizedMatMul, QLinearMatMul and MatMulInteger by one known
 * matrix B, by oneDNN or own kernels, or the reference kernel. */
#include <string.h>

#include "runtime/kernels/onednn/program.h"
#include "runtime/kernels/onednn/quantized.h"
#include "runtime/kernels/reference/matmul.h"

static const struct quantized_places fused = {"mitral.QuantizedMatMul", 0, 3, 2, 5, 1, 4, 6, 7, 8};
static const struct quantized_places linear = {"QLinearMatMul", 0, 3, 2, 5, 1, 4, 6, 7, SIZE_MAX, true};
static const struct quantized_places integer = {"MatMulInteger", 0, 1, 2, 3, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};

static mitral_status fused_shape(struct kernel_call *call) { return kernel_find(fused.reference)->shape(call); }
static mitral_status linear_shape(struct kernel_call *call) { return kernel_find(linear.reference)->shape(call); }
static mitral_status integer_shape(struct kernel_call *call) { return kernel_find(integer.reference)->shape(call); }

/* All rows of all matrices A as one. */
static mitral_status describe(const struct kernel_call *call, const struct quantized_places *places, const struct matmul_parameters *p,
                              struct onednn_descriptors *d)
{
    const int64_t rows = tensor_count(call_output(call, 0)) / p->n;
    const int64_t x[2] = {rows, p->k}, w[2] = {p->k, p->n}, y[2] = {rows, p->n}, bias[2] = {1, p->n};
    TRY(onednn_descriptor(call, &d->x, call_input(call, places->x)->dtype, 2, x, LAYOUT_PLAIN));
    TRY(onednn_descriptor(call, &d->y, call_output(call, 0)->dtype, 2, y, LAYOUT_PLAIN));
    TRY(onednn_descriptor_any(call, &d->w, MITRAL_INT8, 2, w));
    TRY(onednn_descriptor(call, &d->plain_w, MITRAL_INT8, 2, w, LAYOUT_PLAIN));
    if (call_input(call, places->bias))
        TRY(onednn_descriptor(call, &d->bias, MITRAL_FLOAT, 2, bias, LAYOUT_PLAIN));
    TRY(onednn_attributes(call, &d->attributes));
    return quantized_attributes(call, places, 1 << 1, d->attributes);
}

static mitral_status add_product(struct onednn_program *program, const struct kernel_call *call, const struct quantized_places *places,
                                 const struct matmul_parameters *p, struct onednn_descriptors *d)
{
    struct onednn_operand operands[QUANTIZED_OPERANDS] = {{DNNL_ARG_SRC, {PLACE_INPUT, places->x, 0}}, {DNNL_ARG_WEIGHTS, {PLACE_NONE, 0, 0}},
                                                          {DNNL_ARG_DST, {PLACE_OUTPUT, 0, 0}}};
    size_t count = 3;
    dnnl_primitive_desc_t descriptor;
    TRY(describe(call, places, p, d));
    if (dnnl.matmul_primitive_desc_create(&descriptor, dnnl.engine, d->x, d->w, d->bias, d->y, d->attributes) != dnnl_success)
        return MITRAL_DEFERRED;
    mitral_status status = onednn_is_reference(descriptor) ? MITRAL_DEFERRED : MITRAL_OK;
    if (status == MITRAL_OK)
        status = quantized_weights(program, call, places, d->plain_w, dnnl.primitive_desc_query_md(descriptor, dnnl_query_weights_md, 0),
                                   &operands[1].where);
    if (status == MITRAL_OK)
        status = quantized_operands(program, call, places, p->n, operands, &count);
    if (status != MITRAL_OK) {
        dnnl.primitive_desc_destroy(descriptor);
        return status;
    }
    return onednn_add_primitive(program, call, descriptor, operands, count);
}

static mitral_status attempt(const struct kernel_call *call, const struct quantized_places *places, const struct matmul_parameters *p, void **state,
                             size_t *scratch_bytes)
{
    struct onednn_program *program;
    struct onednn_descriptors d = {0};
    TRY(onednn_program_create(&program, call));
    mitral_status status = onednn_program_finish(program, call, add_product(program, call, places, p, &d), state, scratch_bytes);
    onednn_descriptors_free(&d);
    return status;
}

static mitral_status prepare(struct kernel_call *call, const struct quantized_places *places, void **state, size_t *scratch_bytes)
{
    struct matmul_parameters p;
    const mitral_tensor *a = call_input(call, places->x), *b = call_input(call, places->w), *y = call_output(call, 0);
    TRY(matmul_decode(call, a, b, &p));
    if (y && tensor_count(y) && p.k && b->rank == 2 && quantized_fits(call, places, p.n)) {
        const int64_t rows = tensor_count(y) / p.n;
        const struct quantized_shape shape = {1, p.k, p.n, 1, {1, rows, 1}, {1, 1, 1}, {1, rows, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}};
        mitral_status status = quantized_suits_onednn(call, places) ? attempt(call, places, &p, state, scratch_bytes) : MITRAL_DEFERRED;
        if (status == MITRAL_DEFERRED)
            status = quantized_exact(call, places, &shape, true, state, scratch_bytes);
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
    struct matmul_parameters p;
    if (matmul_decode(call, call_input(call, places->x), call_input(call, places->w), &p) != MITRAL_OK)
        return 0;
    return 2.0 * (double)p.batches * (double)p.m * (double)p.n * (double)p.k;
}

static double fused_flops(const struct kernel_call *call) { return count(call, &fused); }
static double integer_flops(const struct kernel_call *call) { return count(call, &integer); }

const struct kernel onednn_quantized_matmul[] = {
    QUANTIZED_ROW("onednn.integer_matmul", integer_shape, integer_prepare, integer_flops),
    QUANTIZED_ROW("onednn.qlinear_matmul", linear_shape, linear_prepare, fused_flops),
    QUANTIZED_ROW("onednn.quantized_matmul", fused_shape, fused_prepare, fused_flops),
};
const size_t onednn_quantized_matmul_count = sizeof onednn_quantized_matmul / sizeof *onednn_quantized_matmul;
