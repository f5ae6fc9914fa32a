/* What follows a convolution or matrix product in the same step: residual sum and activation. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/onednn/program.h"

bool onednn_activation(const char *name, float alpha, float beta, struct onednn_post *out)
{
    static const struct row {
        const char *name;
        dnnl_alg_kind_t algorithm;
    } rows[] = {
        {"Relu", dnnl_eltwise_relu}, {"LeakyRelu", dnnl_eltwise_relu}, {"Clip", dnnl_eltwise_clip},
        {"Sigmoid", dnnl_eltwise_logistic}, {"Tanh", dnnl_eltwise_tanh}, {"Elu", dnnl_eltwise_elu},
        {"HardSigmoid", dnnl_eltwise_hardsigmoid}, {"HardSwish", dnnl_eltwise_hardswish}, {"Swish", dnnl_eltwise_swish},
        {"Gelu", dnnl_eltwise_gelu_erf}, {"GeluTanh", dnnl_eltwise_gelu_tanh}, {"Mish", dnnl_eltwise_mish},
        {"Softplus", dnnl_eltwise_soft_relu}, {"Selu", dnnl_eltwise_elu}, {"Abs", dnnl_eltwise_abs},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, name) != 0)
            continue;
        out->has_activation = true;
        out->algorithm = rows[i].algorithm;
        out->alpha = alpha;
        out->beta = beta;
        out->scale = 1;
        if (strcmp(name, "Relu") == 0)
            out->alpha = 0;
        else if (strcmp(name, "HardSwish") == 0) /* ONNX fixes the parameters */
            out->alpha = 1.0f / 6.0f, out->beta = 0.5f;
        else if (strcmp(name, "Softplus") == 0)
            out->alpha = 1;
        else if (strcmp(name, "Selu") == 0)
            out->scale = beta;
        return true;
    }
    return false;
}

mitral_status onednn_read_post(const struct kernel_call *call, size_t residual_input, size_t slope_input, struct onednn_post *out)
{
    const char *name = attribute_string(call->attributes, "activation", "");
    *out = (struct onednn_post){.residual_input = call_input(call, residual_input) ? residual_input : SIZE_MAX,
                                .slope_input = call_input(call, slope_input) ? slope_input : SIZE_MAX, .scale = 1};
    out->residual_first = attribute_int(call->attributes, "residual_before_activation", 1) != 0;
    const bool slope = strcmp(name, "PRelu") == 0;
    if (slope != (out->slope_input != SIZE_MAX))
        return call_fail(call, MITRAL_INVALID, "expected a slope if and only if the activation is PRelu, found activation '%s'", name);
    const float alpha = attribute_float(call->attributes, "activation_alpha", 0);
    const float beta = attribute_float(call->attributes, "activation_beta", 0);
    if (*name && !slope && !onednn_activation(name, alpha, beta, out))
        return call_fail(call, MITRAL_UNSUPPORTED, "expected an activation that can follow a convolution, found '%s'", name);
    out->scale *= attribute_float(call->attributes, "activation_scale", 1);
    out->shift = attribute_float(call->attributes, "activation_shift", 0);
    return MITRAL_OK;
}

static int64_t output_channels(const struct kernel_call *call)
{
    const mitral_tensor *output = call_output(call, 0);
    return output->rank > 1 ? output->dims[1] : output->rank ? output->dims[0] : 1;
}

static mitral_status check_inputs(const struct kernel_call *call, const struct onednn_post *post)
{
    const mitral_tensor *output = call_output(call, 0);
    char text[160];
    if (post->residual_input != SIZE_MAX) {
        const mitral_tensor *residual = call_input(call, post->residual_input);
        if (!tensor_same_shape(residual, output) || residual->dtype != output->dtype)
            return call_fail(call, MITRAL_INVALID, "residual: expected the shape and type of the output, found %s",
                             tensor_describe(residual, text, sizeof text));
    }
    if (post->slope_input != SIZE_MAX) {
        const mitral_tensor *slope = call_input(call, post->slope_input);
        if (slope->dtype != MITRAL_FLOAT || tensor_count(slope) != output_channels(call))
            return call_fail(call, MITRAL_INVALID, "slope: expected one float32 a channel, found %s",
                             tensor_describe(slope, text, sizeof text));
    }
    return MITRAL_OK;
}

static mitral_status append_residual(struct onednn_program *program, const struct kernel_call *call, const struct onednn_post *post,
                                     int layout, const_dnnl_memory_desc_t destination, dnnl_post_ops_t list,
                                     struct onednn_operand *operands, size_t *count)
{
    struct onednn_operand operand = {DNNL_ARG_ATTR_MULTIPLE_POST_OP(dnnl.post_ops_len(list)) | DNNL_ARG_SRC_1, {PLACE_NONE, 0, 0}};
    TRY(onednn_input_in(program, call, post->residual_input, layout, &operand.where));
    DNNL_TRY(call, dnnl.post_ops_append_binary(list, dnnl_binary_add, destination), "residual");
    operands[(*count)++] = operand;
    return MITRAL_OK;
}

static mitral_status append_activation(const struct kernel_call *call, const struct onednn_post *post, dnnl_post_ops_t list,
                                       struct onednn_operand *operands, size_t *count)
{
    if (post->slope_input != SIZE_MAX) {
        operands[(*count)++] = (struct onednn_operand){
            DNNL_ARG_ATTR_MULTIPLE_POST_OP(dnnl.post_ops_len(list)) | DNNL_ARG_WEIGHTS, {PLACE_INPUT, post->slope_input, 0}};
        DNNL_TRY(call, dnnl.post_ops_append_prelu(list, 2), "PRelu");
    } else if (post->has_activation) {
        DNNL_TRY(call, dnnl.post_ops_append_eltwise(list, post->algorithm, post->alpha, post->beta), "activation");
        if (post->scale != 1 || post->shift != 0)
            DNNL_TRY(call, dnnl.post_ops_append_eltwise(list, dnnl_eltwise_linear, post->scale, post->shift), "activation");
    }
    return MITRAL_OK;
}

mitral_status onednn_append_post(struct onednn_program *program, const struct kernel_call *call, const struct onednn_post *post,
                                 int layout, const_dnnl_memory_desc_t destination, dnnl_post_ops_t list,
                                 struct onednn_operand *operands, size_t *count)
{
    const bool residual = post->residual_input != SIZE_MAX;
    TRY(check_inputs(call, post));
    if (residual && post->residual_first)
        TRY(append_residual(program, call, post, layout, destination, list, operands, count));
    TRY(append_activation(call, post, list, operands, count));
    if (residual && !post->residual_first)
        TRY(append_residual(program, call, post, layout, destination, list, operands, count));
    return MITRAL_OK;
}

/* ---- as a loop ------------------------------------------------------------------------------------------------------- */

static double activate(const struct onednn_post *post, double x)
{
    const double alpha = (double)post->alpha, beta = (double)post->beta;
    switch (post->algorithm) {
    case dnnl_eltwise_relu: return x > 0 ? x : alpha * x;
    case dnnl_eltwise_clip: return fmin(fmax(x, alpha), beta);
    case dnnl_eltwise_logistic: return 1 / (1 + exp(-x));
    case dnnl_eltwise_tanh: return tanh(x);
    case dnnl_eltwise_elu: return x > 0 ? x : alpha * expm1(x);
    case dnnl_eltwise_hardsigmoid: return fmin(fmax(alpha * x + beta, 0), 1);
    case dnnl_eltwise_hardswish: return x * fmin(fmax(alpha * x + beta, 0), 1);
    case dnnl_eltwise_swish: return x / (1 + exp(-alpha * x));
    case dnnl_eltwise_gelu_erf: return 0.5 * x * (1 + erf(x * 0.70710678118654752440));
    case dnnl_eltwise_gelu_tanh: return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case dnnl_eltwise_mish: return x * tanh(x > 30 ? x : log1p(exp(x)));
    case dnnl_eltwise_soft_relu: return x > 30 ? x : log1p(exp(x));
    case dnnl_eltwise_abs: return fabs(x);
    default: return x;
    }
}

struct post_loop {
    struct onednn_post post;
    mitral_tensor output, slope;
    int64_t channels, pixels; /* of one image */
};

/* addresses: output, residual, slope. */
static mitral_status run_post_loop(const struct kernel_call *call, void *const *addresses, const void *data)
{
    (void)call;
    const struct post_loop *loop = data;
    mitral_tensor output = loop->output, residual = loop->output, slope = loop->slope;
    output.data = addresses[0];
    residual.data = addresses[1];
    slope.data = addresses[2];
    const bool before = residual.data && loop->post.residual_first, after = residual.data && !loop->post.residual_first;
    for (int64_t i = 0, count = tensor_count(&output); i < count; i++) {
        double value = tensor_get_double(&output, i);
        if (before)
            value += tensor_get_double(&residual, i);
        if (slope.data)
            value = value < 0 ? value * tensor_get_double(&slope, i / loop->pixels % loop->channels) : value;
        else if (loop->post.has_activation)
            value = (double)loop->post.scale * activate(&loop->post, value) + (double)loop->post.shift;
        if (after)
            value += tensor_get_double(&residual, i);
        tensor_set_double(&output, i, value, false);
    }
    return MITRAL_OK;
}

mitral_status onednn_add_post_loop(struct onednn_program *program, const struct kernel_call *call, const struct onednn_post *post,
                                   struct onednn_where where)
{
    TRY(check_inputs(call, post));
    struct post_loop loop = {.post = *post, .output = *call_output(call, 0), .channels = output_channels(call), .pixels = 1};
    if (post->residual_input == SIZE_MAX && post->slope_input == SIZE_MAX && !post->has_activation)
        return MITRAL_OK;
    for (int32_t i = 2; i < loop.output.rank; i++)
        loop.pixels *= loop.output.dims[i];
    struct onednn_where wheres[3] = {where, {PLACE_NONE, 0, 0}, {PLACE_NONE, 0, 0}};
    if (post->residual_input != SIZE_MAX)
        TRY(onednn_input_in(program, call, post->residual_input, LAYOUT_PLAIN, &wheres[1]));
    if (post->slope_input != SIZE_MAX) {
        loop.slope = *call_input(call, post->slope_input);
        wheres[2] = (struct onednn_where){PLACE_INPUT, post->slope_input, 0};
    }
    return onednn_add_function(program, call, run_post_loop, wheres, 3, &loop, sizeof loop);
}
