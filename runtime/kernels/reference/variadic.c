/* Elementwise operators of any number of inputs (Max, Mean, Min, Sum), Where, and Pow, whose inputs may differ in
 * type. */
#include <string.h>
#include <tgmath.h>

#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/unary.h"

#define INTEGER_LOOP(dtype, T, name, expression) BINARY_LOOP(name##_##T, T, T, T, expression)
#define FLOAT_ENTRIES(name) .loops[MITRAL_FLOAT] = name##_float, .loops[MITRAL_DOUBLE] = name##_double

/* NaN on either side stays. */
STEP_LOOPS(Max, a > b || a != a ? a : b)
FOR_INTEGERS(INTEGER_LOOP, Max, a > b ? a : b)
static const struct elementwise Max_loops = {.arity = 2, FLOAT_ENTRIES(Max), FOR_INTEGERS_ENTRIES(Max)};
STEP_LOOPS(Min, a < b || a != a ? a : b)
FOR_INTEGERS(INTEGER_LOOP, Min, a < b ? a : b)
static const struct elementwise Min_loops = {.arity = 2, FLOAT_ENTRIES(Min), FOR_INTEGERS_ENTRIES(Min)};
BINARY_STEP_LOOP(Sum_float, STEP_Add)
BINARY_LOOP(Sum_double, double, double, double, a + b)
static const struct elementwise Sum_loops = {.arity = 2, FLOAT_ENTRIES(Sum)};
FLOAT_LOOP(Divided_float, float, v / A)
FLOAT_LOOP(Divided_double, double, v / A)
static const struct elementwise Divided_loops = {.arity = 1, FLOAT_ENTRIES(Divided)};

static mitral_status variadic_shape(struct kernel_call *call, const struct elementwise *loops)
{
    const mitral_tensor *first = call_input(call, 0);
    bool half;
    for (size_t i = 0; i < call->input_count; i++) {
        const mitral_tensor *input = call_input(call, i);
        if (!first || !input)
            return call_fail(call, MITRAL_INVALID, "every input expected, input %zu is missing", i);
        if (!elementwise_loop(loops, input->dtype, &half) || input->dtype != first->dtype)
            return fail_type(call, i, input);
    }
    return shape_broadcast(call);
}

static mitral_status Max_shape(struct kernel_call *call)
{
    return variadic_shape(call, &Max_loops);
}

static mitral_status Min_shape(struct kernel_call *call)
{
    return variadic_shape(call, &Min_loops);
}

static mitral_status Sum_shape(struct kernel_call *call)
{
    return variadic_shape(call, &Sum_loops);
}

/* Folds the inputs into the output two by two. */
static mitral_status variadic_run(struct kernel_call *call, const struct elementwise *loops)
{
    mitral_value *output = call->outputs[0];
    if (call->input_count == 1) {
        if (tensor_bytes(&output->tensor))
            memcpy(output->tensor.data, call_input(call, 0)->data, tensor_bytes(&output->tensor));
        return MITRAL_OK;
    }
    for (size_t i = 1; i < call->input_count; i++) {
        const mitral_value *pair[2] = {i == 1 ? call->inputs[0] : output, call->inputs[i]};
        struct kernel_call step = *call;
        step.inputs = pair;
        step.input_count = 2;
        TRY(elementwise_run(&step, loops, NULL));
    }
    return MITRAL_OK;
}

static mitral_status Max_run(struct kernel_call *call)
{
    return call_output(call, 0) ? variadic_run(call, &Max_loops) : MITRAL_OK;
}

static mitral_status Min_run(struct kernel_call *call)
{
    return call_output(call, 0) ? variadic_run(call, &Min_loops) : MITRAL_OK;
}

static mitral_status Sum_run(struct kernel_call *call)
{
    return call_output(call, 0) ? variadic_run(call, &Sum_loops) : MITRAL_OK;
}

static mitral_status Mean_run(struct kernel_call *call)
{
    if (!call_output(call, 0))
        return MITRAL_OK;
    TRY(variadic_run(call, &Sum_loops));
    const double divisor[3] = {(double)call->input_count, 0, 0};
    const mitral_value *sum[1] = {call->outputs[0]};
    struct kernel_call step = *call;
    step.inputs = sum;
    step.input_count = 1;
    return elementwise_run(&step, &Divided_loops, divisor);
}

/* ---- Where ------------------------------------------------------------------------------------------------------- */

struct pair_of_words {
    uint64_t words[2];
};

#define WHERE_LOOP(T)                                                                                                  \
    static void Where_##T(LOOP_ARGUMENTS)                                                                              \
    {                                                                                                                  \
        (void)context;                                                                                                 \
        T *y = (T *)(void *)pointers[0];                                                                               \
        const uint8_t *condition = (const uint8_t *)pointers[1];                                                       \
        const T *a = (const T *)(const void *)pointers[2], *b = (const T *)(const void *)pointers[3];                  \
        if (strides[0] == 1 && strides[1] == 1 && strides[2] == 1 && strides[3] == 1) {                                \
            for (size_t i = 0; i < count; i++)                                                                         \
                y[i] = condition[i] ? a[i] : b[i];                                                                     \
        } else {                                                                                                       \
            for (size_t i = 0; i < count; i++) {                                                                       \
                *y = *condition ? *a : *b;                                                                             \
                y += strides[0];                                                                                       \
                condition += strides[1];                                                                               \
                a += strides[2];                                                                                       \
                b += strides[3];                                                                                       \
            }                                                                                                          \
        }                                                                                                              \
    }
WHERE_LOOP(uint8_t)
WHERE_LOOP(uint16_t)
WHERE_LOOP(uint32_t)
WHERE_LOOP(uint64_t)
typedef struct pair_of_words words_t;
WHERE_LOOP(words_t)

static mitral_status Where_shape(struct kernel_call *call)
{
    const mitral_tensor *condition = call_input(call, 0), *a = call_input(call, 1), *b = call_input(call, 2);
    if (!condition || !a || !b)
        return call_fail(call, MITRAL_INVALID, "3 inputs expected, one is missing");
    if (condition->dtype != MITRAL_BOOL)
        return fail_type(call, 0, condition);
    if (a->dtype != b->dtype || !mitral_dtype_size((mitral_dtype)a->dtype))
        return fail_type(call, 2, b);
    TRY(shape_broadcast(call));
    if (call_output(call, 0))
        call_output(call, 0)->dtype = a->dtype;
    return MITRAL_OK;
}

static mitral_status Where_run(struct kernel_call *call)
{
    if (!call_output(call, 0))
        return MITRAL_OK;
    const mitral_tensor *inputs[3] = {call_input(call, 0), call_input(call, 1), call_input(call, 2)};
    struct walk walk;
    walk_initialise(&walk, call_output(call, 0), inputs, 3);
    inner_loop loop = NULL;
    switch (walk.sizes[0]) {
    case 1: loop = Where_uint8_t; break;
    case 2: loop = Where_uint16_t; break;
    case 4: loop = Where_uint32_t; break;
    case 8: loop = Where_uint64_t; break;
    case sizeof(words_t): loop = Where_words_t; break;
    default: return fail_type(call, 1, inputs[1]);
    }
    walk_run(&walk, call->threads, loop, NULL);
    return MITRAL_OK;
}

/* ---- Pow --------------------------------------------------------------------------------------------------------- */

/* The exponents that networks have most are products. */
#define POW_LOOP(name, T)                                                                                              \
    BINARY_LOOP(name##_any, T, T, T, pow(a, b))                                                                        \
    UNARY_LOOP(name##_square, T, T, v *v)                                                                              \
    UNARY_LOOP(name##_cube, T, T, v * v * v)                                                                           \
    UNARY_LOOP(name##_root, T, T, v == -INFINITY ? INFINITY : sqrt(v) + 0)                                             \
    static void name(LOOP_ARGUMENTS)                                                                                   \
    {                                                                                                                  \
        const T exponent = *(const T *)(const void *)pointers[2];                                                      \
        if (strides[2] == 0 && exponent == 2)                                                                          \
            name##_square(pointers, strides, count, context);                                                          \
        else if (strides[2] == 0 && exponent == 3)                                                                     \
            name##_cube(pointers, strides, count, context);                                                            \
        else if (strides[2] == 0 && exponent == (T)0.5)                                                                \
            name##_root(pointers, strides, count, context);                                                            \
        else                                                                                                           \
            name##_any(pointers, strides, count, context);                                                             \
    }
POW_LOOP(Pow_float, float)
POW_LOOP(Pow_double, double)

/* Wraps like the product; a negative exponent gives the truncated quotient, 0 for a base of 0. */
static inline int64_t integer_power(int64_t base, int64_t exponent)
{
    if (exponent < 0)
        return base == 1 ? 1 : base == -1 ? (exponent & 1 ? -1 : 1) : 0;
    uint64_t result = 1, square = (uint64_t)base;
    for (; exponent; exponent >>= 1, square *= square)
        if (exponent & 1)
            result *= square;
    return (int64_t)result;
}

static inline int64_t real_power(int64_t base, double exponent)
{
    double power = pow((double)base, exponent);
    return power >= 0x1p63 ? INT64_MAX : power >= -0x1p63 ? (int64_t)power : INT64_MIN;
}

#define POW_INTEGER(T)                                                                                                 \
    BINARY_LOOP(Pow_##T##_int64, T, int64_t, T, integer_power(a, b))                                                   \
    BINARY_LOOP(Pow_##T##_double, T, double, T, real_power(a, b))
POW_INTEGER(int32_t)
POW_INTEGER(int64_t)

static mitral_status Pow_shape(struct kernel_call *call)
{
    const mitral_tensor *base = call_input(call, 0), *exponent = call_input(call, 1);
    if (!base || !exponent)
        return call_fail(call, MITRAL_INVALID, "2 inputs expected, one is missing");
    if (!dtype_is_real(base->dtype) && base->dtype != MITRAL_INT32 && base->dtype != MITRAL_INT64)
        return fail_type(call, 0, base);
    if (!dtype_is_real(exponent->dtype) && !dtype_is_integer(exponent->dtype))
        return fail_type(call, 1, exponent);
    return shape_broadcast(call);
}

/* The exponent in the type that it is computed in: float for float16, bfloat16 and float; double for double and for
 * real exponents of integers; int64 for integers of integers. */
static mitral_status Pow_exponent(struct kernel_call *call, mitral_tensor *converted)
{
    const mitral_tensor *base = call_input(call, 0), *exponent = call_input(call, 1);
    int32_t wanted = base->dtype == MITRAL_DOUBLE    ? MITRAL_DOUBLE
                     : dtype_is_real(base->dtype)          ? MITRAL_FLOAT
                     : dtype_is_real(exponent->dtype)      ? MITRAL_DOUBLE
                                                     : MITRAL_INT64;
    *converted = *exponent;
    if (exponent->dtype == wanted)
        return MITRAL_OK;
    converted->dtype = wanted;
    TRY(tensor_check_size(call->context, converted));
    converted->data = arena_allocate(call->arena, tensor_bytes(converted) + 1);
    if (!converted->data)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0, count = tensor_count(exponent); i < count; i++)
        if (wanted == MITRAL_INT64)
            ((int64_t *)converted->data)[i] = tensor_get_int(exponent, i);
        else
            tensor_set_double(converted, i, tensor_get_double(exponent, i), false);
    return MITRAL_OK;
}

static mitral_status Pow_run(struct kernel_call *call)
{
    if (!call_output(call, 0))
        return MITRAL_OK;
    mitral_tensor exponent;
    TRY(Pow_exponent(call, &exponent));
    const mitral_tensor *base = call_input(call, 0), *inputs[2] = {base, &exponent};
    struct walk walk;
    walk_initialise(&walk, call_output(call, 0), inputs, 2);
    inner_loop loop = Pow_float;
    if (base->dtype == MITRAL_DOUBLE)
        loop = Pow_double;
    else if (base->dtype == MITRAL_INT32)
        loop = exponent.dtype == MITRAL_DOUBLE ? Pow_int32_t_double : Pow_int32_t_int64;
    else if (base->dtype == MITRAL_INT64)
        loop = exponent.dtype == MITRAL_DOUBLE ? Pow_int64_t_double : Pow_int64_t_int64;
    const int32_t dtypes[] = {base->dtype, base->dtype, exponent.dtype};
    if (base->dtype == MITRAL_FLOAT16 || base->dtype == MITRAL_BFLOAT16)
        walk_run_half(&walk, call->threads, dtypes, loop, NULL);
    else
        walk_run(&walk, call->threads, loop, NULL);
    return MITRAL_OK;
}

const struct kernel reference_variadic[] = {
    {"Max", KERNEL_ANY_LAYOUT, Max_shape, NULL, Max_run},
    {"Mean", KERNEL_ANY_LAYOUT, Sum_shape, NULL, Mean_run},
    {"Min", KERNEL_ANY_LAYOUT, Min_shape, NULL, Min_run},
    {"Pow", KERNEL_IN_PLACE | KERNEL_ANY_LAYOUT, Pow_shape, NULL, Pow_run},
    {"Sum", KERNEL_ANY_LAYOUT, Sum_shape, NULL, Sum_run},
    {"Where", 0, Where_shape, NULL, Where_run},
};
const size_t reference_variadic_count = sizeof(reference_variadic) / sizeof(reference_variadic[0]);
