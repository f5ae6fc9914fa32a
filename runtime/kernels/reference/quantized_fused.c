/* mitral.QuantizedMatMul: QLinearMatMul's inputs and a bias; the plain form of what passes make of quantized products. In float64 behind the sums,
 * as mitral.QuantizedConvolution: a result is rounded once. */
#include <string.h>

#include "runtime/kernels/reference/integer.h"
#include "runtime/kernels/reference/quantized.h"

enum { A, A_SCALE, A_ZERO, B, B_SCALE, B_ZERO, Y_SCALE, Y_ZERO, BIAS };

static const struct quantized_places places = {A, B, A_SCALE, B_SCALE, A_ZERO, B_ZERO};

/* Without a scale and zero point of the output it is float32; a float32 bias has one number a column; attribute activation may be Relu. */
static mitral_status shape_matmul_quantized(struct kernel_call *call)
{
    struct matmul_parameters p;
    TRY(quantized_check_matmul(call, &places, &p));
    const mitral_tensor *scale = call_input(call, Y_SCALE), *zero = call_input(call, Y_ZERO), *bias = call_input(call, BIAS);
    char text[160];
    if (!scale != !zero)
        return call_fail(call, MITRAL_INVALID, "a scale and an 8-bit zero point of the output, or neither, expected");
    if (zero)
        TRY(affine_check(call, Y_SCALE, Y_ZERO, zero->dtype));
    if (bias && (bias->dtype != MITRAL_FLOAT || tensor_count(bias) != p.n))
        return call_fail(call, MITRAL_INVALID, "a bias of %lld float32 expected, found %s", (long long)p.n,
                         tensor_describe(bias, text, sizeof(text)));
    const char *activation = attribute_string(call->attributes, "activation", "");
    if (*activation && strcmp(activation, "Relu") != 0)
        return call_fail(call, MITRAL_UNSUPPORTED, "no activation or Relu expected, found %.40s", activation);
    call_set_output(call, 0, zero ? zero->dtype : MITRAL_FLOAT, p.rank, p.dims);
    return MITRAL_OK;
}

static mitral_status place(const struct kernel_call *call, struct work *work, void **scratch, int32_t **sums)
{
    const mitral_tensor *y = call_output(call, 0);
    *scratch = work_take(work, quantized_matmul_scratch(call, &places), 1);
    *sums = work_take(work, y ? tensor_count(y) : 0, sizeof(int32_t));
    return MITRAL_OK;
}

static mitral_status prepare_matmul_quantized(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct work work = {0};
    void *scratch;
    int32_t *sums;
    (void)state;
    TRY(place(call, &work, &scratch, &sums));
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_matmul_quantized(struct kernel_call *call)
{
    struct matmul_parameters p;
    struct work work = work_of(call);
    void *scratch;
    int32_t *sums;
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    TRY(quantized_check_matmul(call, &places, &p));
    TRY(place(call, &work, &scratch, &sums));
    TRY(quantized_matmul_sums(call, &places, &p, scratch, sums));
    const mitral_tensor *bias = call_input(call, BIAS), *b_scale = call_input(call, B_SCALE);
    const bool rectified = *attribute_string(call->attributes, "activation", "") != '\0', quantized = y->dtype != MITRAL_FLOAT;
    const bool per_column = tensor_count(b_scale) > 1;
    const struct affine affine = quantized ? affine_of(call, Y_SCALE, Y_ZERO, y->dtype) : (struct affine){0};
    const double a_scale = tensor_get_double(call_input(call, A_SCALE), 0);
    for (int64_t i = 0; i < tensor_count(y); i++) {
        double value = (double)sums[i] * (a_scale * tensor_get_double(b_scale, per_column ? i % p.n : 0));
        value += bias ? (double)((const float *)bias->data)[i % p.n] : 0;
        value = rectified && value < 0 ? 0 : value;
        if (quantized)
            ((uint8_t *)y->data)[i] = (uint8_t)requantize(value / (double)affine.scale, affine.zero, affine.is_signed);
        else
            ((float *)y->data)[i] = (float)value;
    }
    return MITRAL_OK;
}

const struct kernel reference_quantized_fused[] = {
    {.name = "mitral.QuantizedMatMul", .shape = shape_matmul_quantized, .prepare = prepare_matmul_quantized, .run = run_matmul_quantized},
};
const size_t reference_quantized_fused_count = sizeof(reference_quantized_fused) / sizeof(*reference_quantized_fused);
