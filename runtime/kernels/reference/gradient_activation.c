/* Gradients of elementwise functions: mitral.ReluGradient, mitral.ElementwiseGradient, mitral.ClipGradient,
 * mitral.PReluGradient. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/registry.h"

#define PI 3.14159265358979323846

/* ---- derivatives, from the input or (y) from the output --------------------------------------------------------------- */

struct shape_parameters {
    double alpha, beta, gamma;
    bool tangent; /* Gelu: the approximation by tanh */
};

static double sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

static double of_abs(double x, const struct shape_parameters *p) { (void)p; return (x > 0) - (x < 0); }
static double of_acos(double x, const struct shape_parameters *p) { (void)p; return -1 / sqrt(1 - x * x); }
static double of_acosh(double x, const struct shape_parameters *p) { (void)p; return 1 / sqrt(x * x - 1); }
static double of_asin(double x, const struct shape_parameters *p) { (void)p; return 1 / sqrt(1 - x * x); }
static double of_asinh(double x, const struct shape_parameters *p) { (void)p; return 1 / sqrt(x * x + 1); }
static double of_atan(double x, const struct shape_parameters *p) { (void)p; return 1 / (1 + x * x); }
static double of_atanh(double x, const struct shape_parameters *p) { (void)p; return 1 / (1 - x * x); }
static double of_cos(double x, const struct shape_parameters *p) { (void)p; return -sin(x); }
static double of_cosh(double x, const struct shape_parameters *p) { (void)p; return sinh(x); }
static double of_sin(double x, const struct shape_parameters *p) { (void)p; return cos(x); }
static double of_sinh(double x, const struct shape_parameters *p) { (void)p; return cosh(x); }
static double of_log(double x, const struct shape_parameters *p) { (void)p; return 1 / x; }
static double of_erf(double x, const struct shape_parameters *p) { (void)p; return 2 / sqrt(PI) * exp(-x * x); }
static double of_softplus(double x, const struct shape_parameters *p) { (void)p; return sigmoid(x); }
static double of_softsign(double x, const struct shape_parameters *p) { (void)p; double d = 1 + fabs(x); return 1 / (d * d); }
static double of_exp_y(double y, const struct shape_parameters *p) { (void)p; return y; }
static double of_sigmoid_y(double y, const struct shape_parameters *p) { (void)p; return y * (1 - y); }
static double of_tanh_y(double y, const struct shape_parameters *p) { (void)p; return 1 - y * y; }
static double of_tan_y(double y, const struct shape_parameters *p) { (void)p; return 1 + y * y; }
static double of_sqrt_y(double y, const struct shape_parameters *p) { (void)p; return 0.5 / y; }
static double of_reciprocal_y(double y, const struct shape_parameters *p) { (void)p; return -y * y; }
static double of_leaky_relu(double x, const struct shape_parameters *p) { return x > 0 ? 1 : p->alpha; }
static double of_thresholded_relu(double x, const struct shape_parameters *p) { return x > p->alpha; }
static double of_elu(double x, const struct shape_parameters *p) { return x > 0 ? 1 : p->alpha * exp(x); }
static double of_celu(double x, const struct shape_parameters *p) { return x > 0 ? 1 : exp(x / p->alpha); }
static double of_selu(double x, const struct shape_parameters *p) { return p->gamma * (x > 0 ? 1 : p->alpha * exp(x)); }
static double of_shrink(double x, const struct shape_parameters *p) { return x < -p->beta || x > p->beta; }

static double of_hard_sigmoid(double x, const struct shape_parameters *p)
{
    const double y = p->alpha * x + p->beta;
    return y > 0 && y < 1 ? p->alpha : 0;
}

static double of_hard_swish(double x, const struct shape_parameters *p)
{
    (void)p;
    return x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6;
}

static double of_gelu(double x, const struct shape_parameters *p)
{
    if (!p->tangent)
        return 0.5 * (1 + erf(x / sqrt(2.0))) + x * exp(-0.5 * x * x) / sqrt(2 * PI);
    const double c = sqrt(2 / PI), t = tanh(c * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}

static double of_swish(double x, const struct shape_parameters *p)
{
    const double s = sigmoid(p->alpha * x);
    return s + p->alpha * x * s * (1 - s);
}

static double of_mish(double x, const struct shape_parameters *p)
{
    (void)p;
    const double t = tanh(x > 30 ? x : log1p(exp(x)));
    return t + x * (1 - t * t) * sigmoid(x);
}

typedef double derivative(double, const struct shape_parameters *);

/* `alpha`, `beta`, `gamma`: the attributes' names and what the standard takes when they are absent. */
static const struct {
    const char *function;
    derivative *derivative;
    const char *alpha, *beta, *gamma;
    float defaults[3];
} functions[] = {
    {"Abs", of_abs, NULL, NULL, NULL, {0}},
    {"Acos", of_acos, NULL, NULL, NULL, {0}},
    {"Acosh", of_acosh, NULL, NULL, NULL, {0}},
    {"Asin", of_asin, NULL, NULL, NULL, {0}},
    {"Asinh", of_asinh, NULL, NULL, NULL, {0}},
    {"Atan", of_atan, NULL, NULL, NULL, {0}},
    {"Atanh", of_atanh, NULL, NULL, NULL, {0}},
    {"Celu", of_celu, "alpha", NULL, NULL, {1}},
    {"Cos", of_cos, NULL, NULL, NULL, {0}},
    {"Cosh", of_cosh, NULL, NULL, NULL, {0}},
    {"Elu", of_elu, "alpha", NULL, NULL, {1}},
    {"Erf", of_erf, NULL, NULL, NULL, {0}},
    {"Exp", of_exp_y, NULL, NULL, NULL, {0}},
    {"Gelu", of_gelu, NULL, NULL, NULL, {0}},
    {"HardSigmoid", of_hard_sigmoid, "alpha", "beta", NULL, {0.2f, 0.5f}},
    {"HardSwish", of_hard_swish, NULL, NULL, NULL, {0}},
    {"LeakyRelu", of_leaky_relu, "alpha", NULL, NULL, {0.01f}},
    {"Log", of_log, NULL, NULL, NULL, {0}},
    {"Mish", of_mish, NULL, NULL, NULL, {0}},
    {"QuickGelu", of_swish, "alpha", NULL, NULL, {1.702f}},
    {"Reciprocal", of_reciprocal_y, NULL, NULL, NULL, {0}},
    {"Selu", of_selu, "alpha", NULL, "gamma", {1.67326319217681884765625f, 0, 1.05070102214813232421875f}},
    {"Shrink", of_shrink, NULL, "lambd", NULL, {0, 0.5f}},
    {"Sigmoid", of_sigmoid_y, NULL, NULL, NULL, {0}},
    {"Sin", of_sin, NULL, NULL, NULL, {0}},
    {"Sinh", of_sinh, NULL, NULL, NULL, {0}},
    {"Softplus", of_softplus, NULL, NULL, NULL, {0}},
    {"Softsign", of_softsign, NULL, NULL, NULL, {0}},
    {"Sqrt", of_sqrt_y, NULL, NULL, NULL, {0}},
    {"Swish", of_swish, "alpha", NULL, NULL, {1}},
    {"Tan", of_tan_y, NULL, NULL, NULL, {0}},
    {"Tanh", of_tanh_y, NULL, NULL, NULL, {0}},
    {"ThresholdedRelu", of_thresholded_relu, "alpha", NULL, NULL, {1}},
};

static mitral_status find_function(const struct kernel_call *call, derivative **out, struct shape_parameters *p)
{
    const char *name = attribute_string(call->attributes, "function", "");
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].function, name) == 0) {
            double *const values[3] = {&p->alpha, &p->beta, &p->gamma};
            const char *const names[3] = {functions[i].alpha, functions[i].beta, functions[i].gamma};
            for (int k = 0; k < 3; k++)
                *values[k] = (double)(names[k] ? attribute_float(call->attributes, names[k], functions[i].defaults[k])
                                               : functions[i].defaults[k]);
            p->tangent = strcmp(attribute_string(call->attributes, "approximate", "none"), "tanh") == 0;
            *out = functions[i].derivative;
            return MITRAL_OK;
        }
    return call_fail(call, MITRAL_UNSUPPORTED, "attribute function: a function with a derivative expected, found %.40s", name);
}

/* ---- loops ------------------------------------------------------------------------------------------------------------ */

#define BLOCK 8192

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/gradient_activation_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/gradient_activation_body.h"
#undef REAL
#undef NAME

/* dY and X (or Y) of one shape. */
static mitral_status pair_shape(struct kernel_call *call)
{
    enum compute compute;
    TRY(check_same_float(call, 2, &compute));
    TRY(check_same_shape(call, 0, 1));
    call_set_output_like(call, 0, call_input(call, 0));
    return MITRAL_OK;
}

static mitral_status relu_shape(struct kernel_call *call)
{
    TRY(pair_shape(call));
    const mitral_tensor *a = call_input(call, 0), *b = call_input(call, 1);
    return a->layout == b->layout ? MITRAL_OK : call_fail(call, MITRAL_INVALID, "inputs of one layout expected");
}

static mitral_status function_shape(struct kernel_call *call)
{
    derivative *function;
    struct shape_parameters parameters;
    TRY(pair_shape(call));
    return find_function(call, &function, &parameters);
}

static mitral_status relu_run(struct kernel_call *call)
{
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    place_floats(call, &work, compute, &p);
    if (!p.outputs[0])
        return MITRAL_OK;
    const int64_t count = tensor_count(call_input(call, 0));
    if (compute == COMPUTE_FLOAT)
        relu_float(count, call->threads, p.inputs[0], p.inputs[1], p.outputs[0]);
    else
        relu_double(count, call->threads, p.inputs[0], p.inputs[1], p.outputs[0]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

static mitral_status function_run(struct kernel_call *call)
{
    struct placed p;
    derivative *function;
    struct shape_parameters parameters;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    TRY(find_function(call, &function, &parameters));
    place_floats(call, &work, compute, &p);
    if (!p.outputs[0])
        return MITRAL_OK;
    const int64_t count = tensor_count(call_input(call, 0));
    if (compute == COMPUTE_FLOAT)
        apply_float(count, call->threads, function, &parameters, p.inputs[0], p.inputs[1], p.outputs[0]);
    else
        apply_double(count, call->threads, function, &parameters, p.inputs[0], p.inputs[1], p.outputs[0]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- ClipGradient: dY, X, min?, max? ----------------------------------------------------------------------------------- */

static mitral_status clip_run(struct kernel_call *call)
{
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    place_floats(call, &work, compute, &p);
    if (!p.outputs[0])
        return MITRAL_OK;
    const double low = call_scalar(call, 2, (double)attribute_float(call->attributes, "min", -INFINITY));
    const double high = call_scalar(call, 3, (double)attribute_float(call->attributes, "max", INFINITY));
    const int64_t count = tensor_count(call_input(call, 0));
    if (compute == COMPUTE_FLOAT)
        clip_float(count, call->threads, (float)low, (float)high, p.inputs[0], p.inputs[1], p.outputs[0]);
    else
        clip_double(count, call->threads, low, high, p.inputs[0], p.inputs[1], p.outputs[0]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- PReluGradient: dY, X, slope → dX, dslope before it is summed to the slope's shape ---------------------------------- */

static mitral_status prelu_shape(struct kernel_call *call)
{
    enum compute compute;
    int32_t rank;
    int64_t dims[MITRAL_MAX_RANK];
    mitral_tensor whole;
    TRY(check_same_float(call, 3, &compute));
    TRY(check_same_shape(call, 0, 1));
    const mitral_tensor *x = call_input(call, 0), *slope = call_input(call, 2);
    if (!slope)
        return call_fail(call, MITRAL_INVALID, "a slope expected, found none");
    TRY(call_broadcast(call, x, slope, &rank, dims));
    tensor_set(&whole, x->dtype, rank, dims);
    if (!tensor_same_shape(x, &whole)) {
        char first[160], second[160];
        return call_fail(call, MITRAL_INVALID, "a slope that broadcasts to %s expected, found %s",
                         tensor_describe(x, first, sizeof(first)), tensor_describe(slope, second, sizeof(second)));
    }
    call_set_output_like(call, 0, x);
    call_set_output_like(call, 1, x);
    return MITRAL_OK;
}

static mitral_status prelu_run(struct kernel_call *call)
{
    struct placed p;
    const mitral_tensor *x = call_input(call, 1), *slope = call_input(call, 2);
    const enum compute compute = compute_of(x->dtype);
    struct work work = work_of(call);
    int64_t strides[MITRAL_MAX_RANK] = {0}, stride = 1;
    place_floats(call, &work, compute, &p);
    for (int32_t i = slope->rank; i-- > 0; stride *= slope->dims[i])
        strides[i + x->rank - slope->rank] = slope->dims[i] == 1 ? 0 : stride;
    if (compute == COMPUTE_FLOAT)
        prelu_float(x, strides, call->threads, p.inputs[0], p.inputs[1], p.inputs[2], p.outputs[0], p.outputs[1]);
    else
        prelu_double(x, strides, call->threads, p.inputs[0], p.inputs[1], p.inputs[2], p.outputs[0], p.outputs[1]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

const struct kernel reference_gradient_activation[] = {
    {.name = "mitral.ClipGradient", .flags = KERNEL_IN_PLACE, .shape = pair_shape, .prepare = prepare_floats, .run = clip_run},
    {.name = "mitral.ElementwiseGradient", .flags = KERNEL_IN_PLACE, .shape = function_shape, .prepare = prepare_floats,
     .run = function_run},
    {.name = "mitral.PReluGradient", .shape = prelu_shape, .prepare = prepare_floats, .run = prelu_run},
    {.name = "mitral.ReluGradient", .flags = KERNEL_IN_PLACE, .shape = relu_shape, .prepare = prepare_floats, .run = relu_run},
};
const size_t reference_gradient_activation_count = sizeof reference_gradient_activation / sizeof *reference_gradient_activation;
