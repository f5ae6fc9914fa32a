/* Operators of com.microsoft that are one of the standard's with something around it: FusedGemm, FusedMatMul,
 * TransposeMatMul, BiasGelu, FastGelu. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/matmul.h"

/* ---- the activation of FusedGemm
 * ----------------------------------------------------------------------------------------- */

enum function {
    FUSED_NONE,
    FUSED_RELU,
    FUSED_TANH,
    FUSED_SIGMOID,
    FUSED_LEAKY_RELU,
    FUSED_CLIP,
    FUSED_HARD_SIGMOID,
    FUSED_ELU,
    FUSED_SELU,
    FUSED_CELU,
    FUSED_SOFTPLUS,
    FUSED_SOFTSIGN,
    FUSED_THRESHOLDED_RELU,
    FUSED_FUNCTIONS
};

struct fused_activation {
    enum function function;
    double alpha, beta;
};

static const struct {
    const char *name;
    double alpha, beta; /* defaults; NaN: there is none */
} functions[FUSED_FUNCTIONS] = {
    [FUSED_NONE] = {"", 0, 0},
    [FUSED_RELU] = {"Relu", 0, 0},
    [FUSED_TANH] = {"Tanh", 0, 0},
    [FUSED_SIGMOID] = {"Sigmoid", 0, 0},
    [FUSED_LEAKY_RELU] = {"LeakyRelu", 0.01, 0},
    [FUSED_CLIP] = {"Clip", NAN, NAN},
    [FUSED_HARD_SIGMOID] = {"HardSigmoid", 0.2, 0.5},
    [FUSED_ELU] = {"Elu", 1, 0},
    [FUSED_SELU] = {"Selu", 1.67326319217681884765625, 1.05070102214813232421875},
    [FUSED_CELU] = {"Celu", 1, 0},
    [FUSED_SOFTPLUS] = {"Softplus", 0, 0},
    [FUSED_SOFTSIGN] = {"Softsign", 0, 0},
    [FUSED_THRESHOLDED_RELU] = {"ThresholdedRelu", 1, 0},
};

static mitral_status decode_activation(const struct kernel_call *call, const char *name, const float *parameters,
                                       size_t count, struct fused_activation *out)
{
    for (int f = 0; f < FUSED_FUNCTIONS; f++) {
        if (strcmp(name ? name : "", functions[f].name) != 0)
            continue;
        *out = (struct fused_activation){(enum function)f, count > 0 ? (double)parameters[0] : functions[f].alpha,
                                         count > 1 ? (double)parameters[1] : functions[f].beta};
        if (isnan(out->alpha) || isnan(out->beta))
            return call_fail(call, MITRAL_INVALID, "two parameters of activation %s expected, found %zu", name, count);
        return MITRAL_OK;
    }
    return call_fail(call, MITRAL_UNSUPPORTED,
                     "an activation such as Relu, Tanh, Sigmoid, LeakyRelu, Clip or HardSigmoid expected, found %.40s",
                     name);
}

static double apply_activation(const struct fused_activation *activation, double x)
{
    const double alpha = activation->alpha, beta = activation->beta;
    switch (activation->function) {
    case FUSED_NONE: case FUSED_FUNCTIONS: return x;
    case FUSED_RELU: return x < 0 ? 0 : x;
    case FUSED_TANH: return tanh(x);
    case FUSED_SIGMOID: return 1 / (1 + exp(-x));
    case FUSED_LEAKY_RELU: return x < 0 ? alpha * x : x;
    case FUSED_CLIP: return x < alpha ? alpha : x > beta ? beta : x;
    case FUSED_HARD_SIGMOID: return fmax(0, fmin(1, alpha * x + beta));
    case FUSED_ELU: return x < 0 ? alpha * expm1(x) : x;
    case FUSED_SELU: return beta * (x < 0 ? alpha * expm1(x) : x);
    case FUSED_CELU: return x < 0 ? alpha * expm1(x / alpha) : x;
    case FUSED_SOFTPLUS: return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    case FUSED_SOFTSIGN: return x / (1 + fabs(x));
    case FUSED_THRESHOLDED_RELU: return x > alpha ? x : 0;
    }
    return x;
}

static void activate(const struct fused_activation *activation, mitral_tensor *tensor, int threads)
{
    if (!tensor || !tensor->data || activation->function == FUSED_NONE)
        return;
    const int64_t count = tensor_count(tensor);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i++)
        tensor_set_double(tensor, i, apply_activation(activation, tensor_get_double(tensor, i)), true);
}

/* ---- FusedGemm: A, B, C?
 * ------------------------------------------------------------------------------------------------ */

static mitral_status decode_gemm(const struct kernel_call *call, struct fused_activation *out)
{
    /* The parameters have names here, and 0 stands for one that was not set. */
    const float parameters[2] = {attribute_float(call->attributes, "activation_alpha", 0),
                                 attribute_float(call->attributes, "activation_beta", 0)};
    const size_t count = attribute_has(call->attributes, "activation_beta")    ? 2
                         : attribute_has(call->attributes, "activation_alpha") ? 1
                                                                               : 0;
    return decode_activation(call, attribute_string(call->attributes, "activation", ""), parameters, count, out);
}

static mitral_status shape_gemm_fused(struct kernel_call *call)
{
    struct fused_activation activation;
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    TRY(decode_gemm(call, &activation));
    return kernel_find("Gemm")->shape(call);
}

static mitral_status prepare_gemm_fused(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return kernel_find("Gemm")->prepare(call, state, scratch_bytes);
}

static mitral_status run_gemm_fused(struct kernel_call *call)
{
    struct fused_activation activation;
    TRY(decode_gemm(call, &activation));
    TRY(kernel_find("Gemm")->run(call));
    activate(&activation, call_output(call, 0), call->threads);
    return MITRAL_OK;
}

static double flops_gemm_fused(const struct kernel_call *call)
{
    return kernel_find("Gemm")->flops(call);
}

/* ---- FusedMatMul: alpha · op(A) · op(B); op moves dimension 0 behind the batch, then swaps the last two
 * ------------------- */

static void operand_order(const struct kernel_call *call, size_t index, int32_t order[MITRAL_MAX_RANK],
                          mitral_tensor *moved)
{
    const mitral_tensor *tensor = call_input(call, index);
    const int32_t rank = tensor->rank;
    *moved = *tensor;
    for (int32_t i = 0; i < rank; i++)
        order[i] = i;
    if (rank > 2 && attribute_int(call->attributes, index ? "transBatchB" : "transBatchA", 0)) {
        for (int32_t i = 0; i < rank - 2; i++)
            order[i] = i + 1;
        order[rank - 2] = 0;
    }
    if (rank > 1 && attribute_int(call->attributes, index ? "transB" : "transA", 0)) {
        const int32_t swap = order[rank - 1];
        order[rank - 1] = order[rank - 2];
        order[rank - 2] = swap;
    }
    for (int32_t i = 0; i < rank; i++)
        moved->dims[i] = tensor->dims[order[i]];
}

static mitral_status decode_product(const struct kernel_call *call, struct matmul_parameters *p)
{
    mitral_tensor moved[2];
    int32_t order[MITRAL_MAX_RANK];
    for (size_t i = 0; i < 2; i++) {
        if (!call_input(call, i))
            return call_fail(call, MITRAL_INVALID, "two operands expected, found one");
        operand_order(call, i, order, &moved[i]);
    }
    return matmul_decode(call, &moved[0], &moved[1], p);
}

static mitral_status shape_product(struct kernel_call *call)
{
    struct matmul_parameters p;
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    TRY(decode_product(call, &p));
    if (call_input(call, 1)->dtype != call_input(call, 0)->dtype || p.rank > MITRAL_MAX_RANK)
        return call_fail(call, MITRAL_INVALID, "operands of one type and a product of rank at most %d expected",
                         MITRAL_MAX_RANK);
    call_set_output(call, 0, call_input(call, 0)->dtype, p.rank, p.dims);
    return MITRAL_OK;
}

/* The operand in the order that the product wants: as it is, or copied. */
static const void *place_operand(const struct kernel_call *call, struct work *work, enum compute compute, size_t index)
{
    int32_t order[MITRAL_MAX_RANK];
    mitral_tensor moved;
    operand_order(call, index, order, &moved);
    const void *elements = work_operand(work, compute, call_input(call, index));
    bool same = true;
    for (int32_t i = 0; i < moved.rank; i++)
        same = same && order[i] == i;
    if (same)
        return elements;
    const size_t size = compute_size(compute);
    char *to = work_take(work, tensor_count(&moved), size);
    if (!to)
        return NULL;
    int64_t strides[MITRAL_MAX_RANK], at[MITRAL_MAX_RANK] = {0}, from = 0;
    tensor_strides(call_input(call, index), strides);
    for (int64_t i = 0; i < tensor_count(&moved); i++) {
        memcpy(to + (size_t)i * size, (const char *)elements + (size_t)from * size, size);
        for (int32_t d = moved.rank - 1; d >= 0; d--) {
            from += strides[order[d]];
            if (++at[d] < moved.dims[d])
                break;
            from -= at[d] * strides[order[d]];
            at[d] = 0;
        }
    }
    return to;
}

static mitral_status prepare_product(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    place_operand(call, &work, compute, 0);
    place_operand(call, &work, compute, 1);
    work_result(&work, compute, call_output(call, 0));
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_product(struct kernel_call *call)
{
    struct matmul_parameters p;
    TRY(decode_product(call, &p));
    struct work work = work_of(call);
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    const void *a = place_operand(call, &work, compute, 0), *b = place_operand(call, &work, compute, 1);
    void *y = work_result(&work, compute, call_output(call, 0));
    if (!y)
        return MITRAL_OK;
    matmul_compute(compute, &p, call->threads, a, b, y);
    const float alpha = attribute_float(call->attributes, "alpha", 1);
    for (int64_t i = 0; alpha != 1 && i < tensor_count(call_output(call, 0)); i++) {
        if (compute == COMPUTE_FLOAT)
            ((float *)y)[i] *= alpha;
        else
            ((double *)y)[i] *= (double)alpha;
    }
    work_store(compute, call_output(call, 0), y);
    return MITRAL_OK;
}

static double flops_product(const struct kernel_call *call)
{
    struct matmul_parameters p;
    return decode_product(call, &p) == MITRAL_OK ? 2.0 * (double)p.batches * (double)p.m * (double)p.n * (double)p.k
                                                 : 0;
}

/* ---- BiasGelu: X, bias; FastGelu: X, bias? (by tanh)
 * ---------------------------------------------------------------------- */

static mitral_status shape_gelu(struct kernel_call *call)
{
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    const mitral_tensor *x = call_input(call, 0), *bias = call_input(call, 1);
    if (bias && (x->rank < 1 || bias->rank != 1 || bias->dims[0] != x->dims[x->rank - 1])) {
        char text[160], input[160];
        return call_fail(call, MITRAL_INVALID, "a bias for the last dimension of %s expected, found %s",
                         tensor_describe(x, input, sizeof(input)), tensor_describe(bias, text, sizeof(text)));
    }
    call_set_output(call, 0, x->dtype, x->rank, x->dims);
    return MITRAL_OK;
}

static mitral_status run_gelu(struct kernel_call *call, bool fast)
{
    const mitral_tensor *x = call_input(call, 0), *bias = call_input(call, 1);
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    const int64_t count = tensor_count(x), width = bias ? bias->dims[0] : 1;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < count; i++) {
        const double value = tensor_get_double(x, i) + (bias ? tensor_get_double(bias, i % width) : 0);
        const double inner =
            fast ? tanh(0.79788456080286535588 * (value + 0.044715 * value * value * value)) : erf(value * M_SQRT1_2);
        tensor_set_double(y, i, 0.5 * value * (1 + inner), true);
    }
    return MITRAL_OK;
}

static mitral_status run_bias_gelu(struct kernel_call *call)
{
    return run_gelu(call, false);
}

static mitral_status run_fast_gelu(struct kernel_call *call)
{
    return run_gelu(call, true);
}

const struct kernel reference_fused[] = {
    {.name = "microsoft.BiasGelu", .flags = KERNEL_IN_PLACE, .shape = shape_gelu, .run = run_bias_gelu},
    {.name = "microsoft.FastGelu", .flags = KERNEL_IN_PLACE, .shape = shape_gelu, .run = run_fast_gelu},
    {.name = "microsoft.FusedGemm",
     .shape = shape_gemm_fused,
     .prepare = prepare_gemm_fused,
     .run = run_gemm_fused,
     .flops = flops_gemm_fused},
    {.name = "microsoft.FusedMatMul",
     .shape = shape_product,
     .prepare = prepare_product,
     .run = run_product,
     .flops = flops_product},
    {.name = "microsoft.TransposeMatMul",
     .shape = shape_product,
     .prepare = prepare_product,
     .run = run_product,
     .flops = flops_product},
};
const size_t reference_fused_count = sizeof(reference_fused) / sizeof(*reference_fused);
