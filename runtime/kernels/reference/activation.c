/* Activations: elementwise operators of one data input that can follow a convolution or matrix product; Dropout. */
#include <string.h>
#include <tgmath.h>

#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/twister.h"
#include "runtime/kernels/reference/unary.h"

STEP_UNARY(Celu, v > 0 ? v : A * expm1(v / A), .arity = 1, .parameters = {"alpha"}, .defaults = {1})
STEP_UNARY(Elu, v < 0 ? A * expm1(v) : v, .arity = 1, .parameters = {"alpha"}, .defaults = {1})
STEP_UNARY(HardSigmoid, A * v + B < 0 ? 0 : A * v + B > 1 ? 1 : A * v + B, .arity = 1, .parameters = {"alpha", "beta"},
           .defaults = {0.2f, 0.5f})
STEP_UNARY(HardSwish, v < -3 ? 0 : v > 3 ? v : v * (v / 6 + 0.5), .arity = 1)
STEP_UNARY(LeakyRelu, v < 0 ? A * v : v, .arity = 1, .parameters = {"alpha"}, .defaults = {0.01f})
/* ln(1 + e^v) without overflow. */
STEP_UNARY(Mish, v * tanh((v > 0 ? v : 0) + log1p(exp(-fabs(v)))), .arity = 1)
STEP_UNARY(Selu, v > 0 ? B * v : B * A * expm1(v), .arity = 1, .parameters = {"alpha", "gamma"},
           .defaults = {1.67326319217681884765625f, 1.05070102214813232421875f})
STEP_UNARY_OR_QUOTIENT(Sigmoid, 1 / (1 + exp(-v)))
STEP_UNARY(Softplus, (v > 0 ? v : 0) + log1p(exp(-fabs(v))), .arity = 1)
STEP_UNARY(Softsign, v / (1 + fabs(v)), .arity = 1)
STEP_UNARY(Swish, v / (1 + exp(-A * v)), .arity = 1, .parameters = {"alpha"}, .defaults = {1})
PLAIN_ELEMENTWISE(QuickGelu, .loops[MITRAL_FLOAT] = Swish_float, .loops[MITRAL_DOUBLE] = Swish_double, .arity = 1,
                  .parameters = {"alpha"}, .defaults = {1.702f})
STEP_UNARY(ThresholdedRelu, v > A ? v : 0, .arity = 1, .parameters = {"alpha"}, .defaults = {1})

#define RELU_LOOP(dtype, T, name) UNARY_LOOP(Relu_##T, T, T, v > 0 ? v : 0)
FOR_INTEGERS(RELU_LOOP, Relu)
/* Written so that NaN stays. */
STEP_UNARY(Relu, v < 0 ? 0 : v, .arity = 1, FOR_INTEGERS_ENTRIES(Relu))

/* p: bias, lambda. Integers are computed in double and truncated. */
#define SHRINK_LOOP(dtype, T, name)                                                                                    \
    UNARY_LOOP(Shrink_##T, T, T,                                                                                       \
               (double)v<-p[1] ? shrunk((double)v + p[0]) : (double)v> p[1] ? shrunk((double)v - p[0]) : 0)
static inline int64_t shrunk(double value)
{
    return value >= 0x1p63 ? INT64_MAX : value > -0x1p63 ? (int64_t)value : INT64_MIN;
}
FOR_INTEGERS(SHRINK_LOOP, Shrink)
FLOAT_UNARY(Shrink, v < -B ? v + A : v > B ? v - A : 0, .arity = 1, FOR_INTEGERS_ENTRIES(Shrink),
            .parameters = {"bias", "lambd"}, .defaults = {0, 0.5f})

/* ---- Gelu -------------------------------------------------------------------------------------------------------- */

STEP_UNARY(GeluExact, 0.5 * v * erfc(v * -0.70710678118654752440), .arity = 1)
STEP_UNARY(GeluTanh, 0.5 * v * (1 + tanh(0.79788456080286535588 * (v + 0.044715 * v * v * v))), .arity = 1)

static mitral_status Gelu_choose(const struct kernel_call *call, bool *by_tanh)
{
    const char *approximate = attribute_string(call->attributes, "approximate", "none");
    *by_tanh = strcmp(approximate, "tanh") == 0;
    if (!*by_tanh && strcmp(approximate, "none") != 0)
        return call_fail(call, MITRAL_INVALID, "attribute approximate: 'none' or 'tanh' expected, found '%s'",
                         approximate);
    return MITRAL_OK;
}

static mitral_status Gelu_shape(struct kernel_call *call)
{
    bool by_tanh;
    TRY(Gelu_choose(call, &by_tanh));
    return by_tanh ? GeluTanh_shape(call) : GeluExact_shape(call);
}

static mitral_status Gelu_run(struct kernel_call *call)
{
    bool by_tanh;
    TRY(Gelu_choose(call, &by_tanh));
    return by_tanh ? GeluTanh_run(call) : GeluExact_run(call);
}

/* ---- Dropout ----------------------------------------------------------------------------------------------------- */

static mitral_status Dropout_shape(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    if (!input || !dtype_is_float(input->dtype))
        return input ? fail_type(call, 0, input)
                     : call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    for (size_t i = 1; i < 3; i++) {
        const mitral_tensor *scalar = call_input(call, i);
        if (scalar
            && (tensor_count(scalar) != 1 || (i == 1 ? !dtype_is_real(scalar->dtype) : scalar->dtype != MITRAL_BOOL))) {
            char text[160];
            return call_fail(call, MITRAL_INVALID, "input %zu: one %s expected, found %s", i, i == 1 ? "float" : "bool",
                             tensor_describe(scalar, text, sizeof(text)));
        }
    }
    call_set_output_like(call, 0, input);
    call_set_output_like(call, 1, input);
    if (call_output(call, 1) && call->opset >= 10)
        call_output(call, 1)->dtype = MITRAL_BOOL;
    return MITRAL_OK;
}

/* The mask is all ones, in whatever type it has. */
static void fill_ones(mitral_tensor *mask)
{
    for (int64_t i = 0, count = mask ? tensor_count(mask) : 0; i < count; i++)
        tensor_set_double(mask, i, 1, true);
}

static mitral_status Dropout_run(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0), *ratio_input = call_input(call, 1),
                        *training = call_input(call, 2);
    mitral_tensor *output = call_output(call, 0), *mask = call_output(call, 1);
    double ratio = ratio_input ? tensor_get_double(ratio_input, 0) : 0.5;
    bool training_mode = call->opset >= 12 && training && *(const uint8_t *)training->data;
    if (!(ratio >= 0 && ratio <= 1))
        return call_fail(call, MITRAL_INVALID, "ratio in [0, 1] expected, found %g", ratio);
    if (!training_mode || ratio == 0) {
        if (output && output->data != input->data && tensor_bytes(input))
            memcpy(output->data, input->data, tensor_bytes(input));
        fill_ones(mask);
        return MITRAL_OK;
    }
    struct twister twister;
    twister_seed_call(&twister, call);
    double scale = ratio < 1 ? 1 / (1 - ratio) : 0;
    /* The draws follow ONNX order whatever the layout. */
    ptrdiff_t strides[MITRAL_MAX_RANK] = {0};
    layout_strides(input, strides);
    int64_t index[MITRAL_MAX_RANK] = {0};
    for (int64_t i = 0, count = tensor_count(input); i < count; i++) {
        int64_t at = 0;
        for (int32_t d = 0; d < input->rank; d++)
            at += index[d] * strides[d];
        bool kept = twister_uniform(&twister) >= ratio;
        if (output)
            tensor_set_double(output, at, kept ? tensor_get_double(input, at) * scale : 0, true);
        if (mask)
            tensor_set_double(mask, at, kept, true);
        for (int32_t d = input->rank - 1; d >= 0 && ++index[d] == input->dims[d]; d--)
            index[d] = 0;
    }
    return MITRAL_OK;
}

enum { INPLACE = KERNEL_IN_PLACE | KERNEL_ANY_LAYOUT };

const struct kernel reference_activation[] = {
    {"Celu", INPLACE, Celu_shape, NULL, Celu_run},
    {"Dropout", INPLACE | KERNEL_RANDOM, Dropout_shape, NULL, Dropout_run},
    {"Elu", INPLACE, Elu_shape, NULL, Elu_run},
    {"Gelu", INPLACE, Gelu_shape, NULL, Gelu_run},
    {"HardSigmoid", INPLACE, HardSigmoid_shape, NULL, HardSigmoid_run},
    {"HardSwish", INPLACE, HardSwish_shape, NULL, HardSwish_run},
    {"LeakyRelu", INPLACE, LeakyRelu_shape, NULL, LeakyRelu_run},
    {"Mish", INPLACE, Mish_shape, NULL, Mish_run},
    {"Relu", INPLACE, Relu_shape, NULL, Relu_run},
    {"Selu", INPLACE, Selu_shape, NULL, Selu_run},
    {"Shrink", INPLACE, Shrink_shape, NULL, Shrink_run},
    {"Sigmoid", INPLACE, Sigmoid_shape, NULL, Sigmoid_run},
    {"Softplus", INPLACE, Softplus_shape, NULL, Softplus_run},
    {"Softsign", INPLACE, Softsign_shape, NULL, Softsign_run},
    {"Swish", INPLACE, Swish_shape, NULL, Swish_run},
    {"ThresholdedRelu", INPLACE, ThresholdedRelu_shape, NULL, ThresholdedRelu_run},
    {"microsoft.Gelu", INPLACE, GeluExact_shape, NULL, GeluExact_run},
    {"microsoft.QuickGelu", INPLACE, QuickGelu_shape, NULL, QuickGelu_run},
};
const size_t reference_activation_count = sizeof(reference_activation) / sizeof(reference_activation[0]);
