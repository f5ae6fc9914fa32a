/* Elementwise operators of one input: arithmetic, trigonometry, rounding, tests. Activations are in activation.c. */
#include <string.h>
#include <tgmath.h>

#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/unary.h"

FLOAT_UNARY(Acos, acos(v), .arity = 1)
FLOAT_UNARY(Acosh, acosh(v), .arity = 1)
FLOAT_UNARY(Asin, asin(v), .arity = 1)
FLOAT_UNARY(Asinh, asinh(v), .arity = 1)
FLOAT_UNARY(Atan, atan(v), .arity = 1)
FLOAT_UNARY(Atanh, atanh(v), .arity = 1)
FLOAT_UNARY(Ceil, ceil(v), .arity = 1)
FLOAT_UNARY(Cos, cos(v), .arity = 1)
FLOAT_UNARY(Cosh, cosh(v), .arity = 1)
STEP_UNARY(Erf, erf(v), .arity = 1)
STEP_UNARY(Exp, exp(v), .arity = 1)
FLOAT_UNARY(Floor, floor(v), .arity = 1)
STEP_UNARY(Log, log(v), .arity = 1)
STEP_UNARY(Reciprocal, 1 / v, .arity = 1)
FLOAT_UNARY(Round, ROUND_EVEN(v), .arity = 1)
FLOAT_UNARY(Sin, sin(v), .arity = 1)
FLOAT_UNARY(Sinh, sinh(v), .arity = 1)
STEP_UNARY(Sqrt, sqrt(v), .arity = 1)
FLOAT_UNARY(Tan, tan(v), .arity = 1)
STEP_UNARY_OR_QUOTIENT(Tanh, tanh(v))

/* ---- operators that have integers too ---------------------------------------------------------------------------- */

#define INTEGER_LOOP(dtype, T, name, expression) UNARY_LOOP(name##_##T, T, T, expression)

/* Negation through an unsigned type: the smallest integer has no negative and stays itself. */
FOR_INTEGERS(INTEGER_LOOP, Abs, v > 0 ? (uint64_t)v : 0 - (uint64_t)v)
STEP_UNARY(Abs, fabs(v), .arity = 1, FOR_INTEGERS_ENTRIES(Abs))

FOR_SIGNED(INTEGER_LOOP, Neg, 0 - (uint64_t)v)
STEP_UNARY(Neg, -v, .arity = 1, .loops[MITRAL_INT8] = Neg_int8_t, .loops[MITRAL_INT16] = Neg_int16_t,
            .loops[MITRAL_INT32] = Neg_int32_t, .loops[MITRAL_INT64] = Neg_int64_t)

FOR_INTEGERS(INTEGER_LOOP, Sign, (v > 0) - !(v > 0 || v == 0))
FLOAT_UNARY(Sign, v != v ? v : (real)((v > 0) - (v < 0)), .arity = 1, FOR_INTEGERS_ENTRIES(Sign))

FOR_INTEGERS(INTEGER_LOOP, BitwiseNot, ~v)
PLAIN_ELEMENTWISE(BitwiseNot, .arity = 1, FOR_INTEGERS_ENTRIES(BitwiseNot))

UNARY_LOOP(Not_bool, uint8_t, uint8_t, !v)
PLAIN_ELEMENTWISE(Not, .arity = 1, .loops[MITRAL_BOOL] = Not_bool)

/* ---- tests ------------------------------------------------------------------------------------------------------- */

UNARY_LOOP(IsNaN_float, float, uint8_t, v != v)
UNARY_LOOP(IsNaN_double, double, uint8_t, v != v)
/* p[0] and p[1]: whether negative and positive infinity count. */
UNARY_LOOP(IsInf_float, float, uint8_t, (v == INFINITY && p[1] != 0) || (v == -INFINITY && p[0] != 0))
UNARY_LOOP(IsInf_double, double, uint8_t, (v == INFINITY && p[1] != 0) || (v == -INFINITY && p[0] != 0))

static const struct elementwise IsNaN_loops = {
    .arity = 1, .output_dtype = MITRAL_BOOL, .loops = {[MITRAL_FLOAT] = IsNaN_float, [MITRAL_DOUBLE] = IsNaN_double}};
static const struct elementwise IsInf_loops = {
    .arity = 1, .output_dtype = MITRAL_BOOL, .loops = {[MITRAL_FLOAT] = IsInf_float, [MITRAL_DOUBLE] = IsInf_double}};

static bool is_float8(int32_t dtype)
{
    return (dtype >= MITRAL_FLOAT8E4M3FN && dtype <= MITRAL_FLOAT8E5M2FNUZ) || dtype == MITRAL_FLOAT8E8M0;
}

static mitral_status test_shape(struct kernel_call *call, const struct elementwise *loops)
{
    const mitral_tensor *input = call_input(call, 0);
    if (!input || !is_float8(input->dtype))
        return elementwise_shape(call, loops);
    TRY(shape_same_as_first(call));
    if (call_output(call, 0))
        call_output(call, 0)->dtype = MITRAL_BOOL;
    return MITRAL_OK;
}

static mitral_status test_run(struct kernel_call *call, const struct elementwise *loops, const double *parameters)
{
    const mitral_tensor *input = call_input(call, 0);
    if (!is_float8(input->dtype))
        return elementwise_run(call, loops, parameters);
    /* 256 codes: tested once, then looked up. */
    float values[256];
    uint8_t results[256];
    for (int i = 0; i < 256; i++)
        values[i] = small_float_to_float(input->dtype, (uint8_t)i);
    loops->loops[MITRAL_FLOAT]((char *const[]){(char *)results, (char *)values}, (const ptrdiff_t[]){1, 1}, 256,
                               parameters);
    const uint8_t *x = input->data;
    uint8_t *y = call_output(call, 0)->data;
    for (int64_t i = 0, count = tensor_count(input); i < count; i++)
        y[i] = results[x[i]];
    return MITRAL_OK;
}

static mitral_status IsNaN_shape(struct kernel_call *call)
{
    return test_shape(call, &IsNaN_loops);
}

static mitral_status IsNaN_run(struct kernel_call *call)
{
    return test_run(call, &IsNaN_loops, (const double[3]){0});
}

static mitral_status IsInf_shape(struct kernel_call *call)
{
    return test_shape(call, &IsInf_loops);
}

static mitral_status IsInf_run(struct kernel_call *call)
{
    const double parameters[3] = {(double)attribute_int(call->attributes, "detect_negative", 1),
                                  (double)attribute_int(call->attributes, "detect_positive", 1)};
    return test_run(call, &IsInf_loops, parameters);
}

/* ---- Clip -------------------------------------------------------------------------------------------------------- */

/* The context is {lowest, highest} of the loop's type. NaN stays; where the limits cross, the highest wins. */
#define CLIP_LOOP(dtype, T, name)                                                                                      \
    UNARY_LOOP(Clip_##T, T, T, clip_##T(v, context))
#define CLIP_VALUE(dtype, T, name)                                                                                     \
    static inline T clip_##T(T v, const void *limits)                                                                  \
    {                                                                                                                  \
        T low = ((const T *)limits)[0], high = ((const T *)limits)[1];                                                 \
        v = v < low ? low : v;                                                                                         \
        return v > high ? high : v;                                                                                    \
    }
FOR_INTEGERS(CLIP_VALUE, Clip)
FOR_INTEGERS(CLIP_LOOP, Clip)
CLIP_VALUE(0, double, Clip)
CLIP_LOOP(0, double, Clip)
static void Clip_float(LOOP_ARGUMENTS)
{
    const float *limits = context;
    const double parameters[2] = {(double)limits[0], (double)limits[1]};
    unary_step_loop(STEP_Clip, pointers, strides, count, parameters);
}

static const struct elementwise Clip_loops = {.arity = 1, FOR_INTEGERS_ENTRIES(Clip), .loops[MITRAL_FLOAT] = Clip_float,
                                              .loops[MITRAL_DOUBLE] = Clip_double};

static mitral_status Clip_shape(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    for (size_t i = 1; input && i < 3; i++) {
        const mitral_tensor *limit = call_input(call, i);
        if (limit && (tensor_count(limit) != 1 || limit->dtype != input->dtype)) {
            char found[160];
            return call_fail(call, MITRAL_INVALID, "input %zu: one %s expected, found %s", i,
                             mitral_dtype_name((mitral_dtype)input->dtype),
                             tensor_describe(limit, found, sizeof(found)));
        }
    }
    return elementwise_shape(call, &Clip_loops);
}

#define CLIP_LIMITS(dtype_, T, lowest, highest)                                                                        \
    case dtype_: {                                                                                                     \
        T limits[2] = {lowest, highest};                                                                               \
        for (size_t i = 0; i < 2; i++)                                                                                 \
            if (call_input(call, i + 1))                                                                               \
                limits[i] = *(const T *)call_input(call, i + 1)->data;                                                 \
        return elementwise_run(call, &Clip_loops, limits);                                                             \
    }

static mitral_status Clip_run(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    switch (input->dtype) {
        CLIP_LIMITS(MITRAL_INT8, int8_t, INT8_MIN, INT8_MAX)
        CLIP_LIMITS(MITRAL_INT16, int16_t, INT16_MIN, INT16_MAX)
        CLIP_LIMITS(MITRAL_INT32, int32_t, INT32_MIN, INT32_MAX)
        CLIP_LIMITS(MITRAL_INT64, int64_t, INT64_MIN, INT64_MAX)
        CLIP_LIMITS(MITRAL_UINT8, uint8_t, 0, UINT8_MAX)
        CLIP_LIMITS(MITRAL_UINT16, uint16_t, 0, UINT16_MAX)
        CLIP_LIMITS(MITRAL_UINT32, uint32_t, 0, UINT32_MAX)
        CLIP_LIMITS(MITRAL_UINT64, uint64_t, 0, UINT64_MAX)
    default: {
        /* Until version 11 the limits were attributes. */
        double limits[2] = {-INFINITY, INFINITY};
        static const char *const names[2] = {"min", "max"};
        for (size_t i = 0; i < 2; i++)
            if (call->opset < 11)
                limits[i] = (double)attribute_float(call->attributes, names[i], (float)limits[i]);
            else if (call_input(call, i + 1))
                limits[i] = tensor_get_double(call_input(call, i + 1), 0);
        const float narrow[2] = {(float)limits[0], (float)limits[1]};
        return elementwise_run(call, &Clip_loops,
                               input->dtype == MITRAL_DOUBLE ? (const void *)limits : (const void *)narrow);
    }
    }
}

/* ---- Identity ---------------------------------------------------------------------------------------------------- */

static mitral_status Identity_shape(struct kernel_call *call)
{
    const mitral_value *input = call->input_count ? call->inputs[0] : NULL;
    if (!input || input->kind == MITRAL_TENSOR)
        return shape_same_as_first(call);
    /* Sequences, optionals and maps have no size of their own; `run` replaces the value as a whole. */
    call_set_output(call, 0, MITRAL_UINT8, 1, (const int64_t[]){0});
    if (call->output_count && call->outputs[0])
        call->outputs[0]->kind = input->kind;
    return MITRAL_OK;
}

static mitral_status Identity_run(struct kernel_call *call)
{
    mitral_tensor *output = call_output(call, 0);
    if (!output)
        return MITRAL_OK;
    if (call->inputs[0]->kind != MITRAL_TENSOR)
        return value_copy(call->outputs[0], call->arena, call->inputs[0]);
    const mitral_tensor *input = call_input(call, 0);
    if (input->data != output->data && tensor_bytes(input))
        memcpy(output->data, input->data, tensor_bytes(input));
    return MITRAL_OK;
}

enum { INPLACE = KERNEL_IN_PLACE | KERNEL_ANY_LAYOUT };

const struct kernel reference_unary[] = {
    {"Abs", INPLACE, Abs_shape, NULL, Abs_run},
    {"Acos", INPLACE, Acos_shape, NULL, Acos_run},
    {"Acosh", INPLACE, Acosh_shape, NULL, Acosh_run},
    {"Asin", INPLACE, Asin_shape, NULL, Asin_run},
    {"Asinh", INPLACE, Asinh_shape, NULL, Asinh_run},
    {"Atan", INPLACE, Atan_shape, NULL, Atan_run},
    {"Atanh", INPLACE, Atanh_shape, NULL, Atanh_run},
    {"BitwiseNot", INPLACE, BitwiseNot_shape, NULL, BitwiseNot_run},
    {"Ceil", INPLACE, Ceil_shape, NULL, Ceil_run},
    {"Clip", INPLACE, Clip_shape, NULL, Clip_run},
    {"Cos", INPLACE, Cos_shape, NULL, Cos_run},
    {"Cosh", INPLACE, Cosh_shape, NULL, Cosh_run},
    {"Erf", INPLACE, Erf_shape, NULL, Erf_run},
    {"Exp", INPLACE, Exp_shape, NULL, Exp_run},
    {"Floor", INPLACE, Floor_shape, NULL, Floor_run},
    {"Identity", INPLACE | KERNEL_EXACT, Identity_shape, NULL, Identity_run},
    {"IsInf", INPLACE | KERNEL_EXACT, IsInf_shape, NULL, IsInf_run},
    {"IsNaN", INPLACE | KERNEL_EXACT, IsNaN_shape, NULL, IsNaN_run},
    {"Log", INPLACE, Log_shape, NULL, Log_run},
    {"Neg", INPLACE, Neg_shape, NULL, Neg_run},
    {"Not", INPLACE | KERNEL_EXACT, Not_shape, NULL, Not_run},
    {"Reciprocal", INPLACE, Reciprocal_shape, NULL, Reciprocal_run},
    {"Round", INPLACE, Round_shape, NULL, Round_run},
    {"Sign", INPLACE, Sign_shape, NULL, Sign_run},
    {"Sin", INPLACE, Sin_shape, NULL, Sin_run},
    {"Sinh", INPLACE, Sinh_shape, NULL, Sinh_run},
    {"Sqrt", INPLACE, Sqrt_shape, NULL, Sqrt_run},
    {"Tan", INPLACE, Tan_shape, NULL, Tan_run},
    {"Tanh", INPLACE, Tanh_shape, NULL, Tanh_run},
};
const size_t reference_unary_count = sizeof(reference_unary) / sizeof(reference_unary[0]);
