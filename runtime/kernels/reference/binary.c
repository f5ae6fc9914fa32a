/* Elementwise operators of two inputs with broadcasting: arithmetic, bits, comparison, logic. */
#include <string.h>
#include <tgmath.h>

#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/unary.h"

#define INTEGER_LOOP(dtype, T, name, expression) BINARY_LOOP(name##_##T, T, T, T, expression)
#define FLOAT_LOOPS(name, expression)                                                                                  \
    BINARY_LOOP(name##_float, float, float, float, expression)                                                         \
    BINARY_LOOP(name##_double, double, double, double, expression)
#define FLOAT_ENTRIES(name) .loops[MITRAL_FLOAT] = name##_float, .loops[MITRAL_DOUBLE] = name##_double

/* ---- arithmetic: integers wrap, computed in an unsigned type wide enough for all --------------------------------- */

#define WRAPPED(operator) (uint64_t)a operator(uint64_t) b
STEP_LOOPS(Add, a + b)
FOR_INTEGERS(INTEGER_LOOP, Add, WRAPPED(+))
PLAIN_ELEMENTWISE(Add, .arity = 2, FLOAT_ENTRIES(Add), FOR_INTEGERS_ENTRIES(Add))
STEP_LOOPS(Sub, a - b)
FOR_INTEGERS(INTEGER_LOOP, Sub, WRAPPED(-))
PLAIN_ELEMENTWISE(Sub, .arity = 2, FLOAT_ENTRIES(Sub), FOR_INTEGERS_ENTRIES(Sub))
STEP_LOOPS(Mul, a * b)
FOR_INTEGERS(INTEGER_LOOP, Mul, WRAPPED(*))
PLAIN_ELEMENTWISE(Mul, .arity = 2, FLOAT_ENTRIES(Mul), FOR_INTEGERS_ENTRIES(Mul))

/* Truncates. A zero divisor gives 0; the one quotient that does not fit wraps. */
#define DIVIDE_SIGNED(dtype, T, name)                                                                                  \
    BINARY_LOOP(Div_##T, T, T, T, b == 0 ? 0 : b == -1 ? (T)(0 - (uint64_t)a) : (T)(a / b))
#define DIVIDE_UNSIGNED(dtype, T, name) BINARY_LOOP(Div_##T, T, T, T, b == 0 ? 0 : a / b)
FOR_SIGNED(DIVIDE_SIGNED, Div)
FOR_UNSIGNED(DIVIDE_UNSIGNED, Div)
STEP_LOOPS(Div, a / b)
PLAIN_ELEMENTWISE(Div, .arity = 2, FLOAT_ENTRIES(Div), FOR_INTEGERS_ENTRIES(Div))

/* ---- Mod --------------------------------------------------------------------------------------------------------- */

/* fmod 1: the sign of the dividend; fmod 0: that of the divisor. A zero divisor of integers gives 0. */
#define REMAINDER_SIGNED(dtype, T, name)                                                                               \
    static inline T truncated_##T(T a, T b) { return b == 0 || b == -1 ? 0 : (T)(a % b); }                             \
    static inline T floored_##T(T a, T b)                                                                              \
    {                                                                                                                  \
        T remainder = truncated_##T(a, b);                                                                             \
        return remainder != 0 && (remainder < 0) != (b < 0) ? (T)(remainder + b) : remainder;                          \
    }
#define REMAINDER_UNSIGNED(dtype, T, name)                                                                             \
    static inline T truncated_##T(T a, T b) { return b == 0 ? 0 : (T)(a % b); }                                        \
    static inline T floored_##T(T a, T b) { return truncated_##T(a, b); }
FOR_SIGNED(REMAINDER_SIGNED, Mod)
FOR_UNSIGNED(REMAINDER_UNSIGNED, Mod)
#define MOD_LOOPS(dtype, T, name)                                                                                      \
    BINARY_LOOP(ModTruncated_##T, T, T, T, truncated_##T(a, b))                                                        \
    BINARY_LOOP(ModFloored_##T, T, T, T, floored_##T(a, b))
FOR_INTEGERS(MOD_LOOPS, Mod)

#define FLOORED_VALUE(T)                                                                                               \
    static inline T floored_##T(T a, T b)                                                                              \
    {                                                                                                                  \
        T remainder = fmod(a, b);                                                                                      \
        if (remainder == 0)                                                                                            \
            return copysign((T)0, b);                                                                                  \
        return (remainder < 0) != (b < 0) ? remainder + b : remainder;                                                 \
    }
FLOORED_VALUE(float)
FLOORED_VALUE(double)
BINARY_LOOP(ModFloored_float, float, float, float, floored_float(a, b))
BINARY_LOOP(ModFloored_double, double, double, double, floored_double(a, b))
FLOAT_LOOPS(ModTruncated, fmod(a, b))
PLAIN_ELEMENTWISE(ModTruncated, .arity = 2, FLOAT_ENTRIES(ModTruncated), FOR_INTEGERS_ENTRIES(ModTruncated))
PLAIN_ELEMENTWISE(ModFloored, .arity = 2, FLOAT_ENTRIES(ModFloored), FOR_INTEGERS_ENTRIES(ModFloored))

static mitral_status Mod_choose(const struct kernel_call *call, bool *truncated)
{
    int64_t fmod_attribute = attribute_int(call->attributes, "fmod", 0);
    if (fmod_attribute != 0 && fmod_attribute != 1)
        return call_fail(call, MITRAL_INVALID, "attribute fmod: 0 or 1 expected, found %lld",
                         (long long)fmod_attribute);
    *truncated = fmod_attribute == 1;
    return MITRAL_OK;
}

static mitral_status Mod_shape(struct kernel_call *call)
{
    bool truncated = false;
    TRY(Mod_choose(call, &truncated));
    return truncated ? ModTruncated_shape(call) : ModFloored_shape(call);
}

static mitral_status Mod_run(struct kernel_call *call)
{
    bool truncated = false;
    TRY(Mod_choose(call, &truncated));
    return truncated ? ModTruncated_run(call) : ModFloored_run(call);
}

/* ---- bits -------------------------------------------------------------------------------------------------------- */

FOR_INTEGERS(INTEGER_LOOP, BitwiseAnd, a & b)
PLAIN_ELEMENTWISE(BitwiseAnd, .arity = 2, FOR_INTEGERS_ENTRIES(BitwiseAnd))
FOR_INTEGERS(INTEGER_LOOP, BitwiseOr, a | b)
PLAIN_ELEMENTWISE(BitwiseOr, .arity = 2, FOR_INTEGERS_ENTRIES(BitwiseOr))
FOR_INTEGERS(INTEGER_LOOP, BitwiseXor, a ^ b)
PLAIN_ELEMENTWISE(BitwiseXor, .arity = 2, FOR_INTEGERS_ENTRIES(BitwiseXor))

/* Amounts outside [0, bits) shift everything out; negative values shift right by their sign (>> of gcc and clang is
 * arithmetic). */
#define IN_RANGE(T) ((uint64_t)b < 8 * sizeof(T))
#define LEFT_LOOP(dtype, T, name) BINARY_LOOP(ShiftLeft_##T, T, T, T, IN_RANGE(T) ? (uint64_t)a << b : 0)
#define RIGHT_SIGNED(dtype, T, name) BINARY_LOOP(ShiftRight_##T, T, T, T, IN_RANGE(T) ? a >> b : a < 0 ? -1 : 0)
#define RIGHT_UNSIGNED(dtype, T, name) BINARY_LOOP(ShiftRight_##T, T, T, T, IN_RANGE(T) ? a >> b : 0)
FOR_INTEGERS(LEFT_LOOP, BitShift)
FOR_SIGNED(RIGHT_SIGNED, BitShift)
FOR_UNSIGNED(RIGHT_UNSIGNED, BitShift)
PLAIN_ELEMENTWISE(ShiftLeft, .arity = 2, FOR_INTEGERS_ENTRIES(ShiftLeft))
PLAIN_ELEMENTWISE(ShiftRight, .arity = 2, FOR_INTEGERS_ENTRIES(ShiftRight))

static mitral_status BitShift_choose(const struct kernel_call *call, bool *left)
{
    const char *direction = attribute_string(call->attributes, "direction", "");
    *left = strcmp(direction, "LEFT") == 0;
    if (!*left && strcmp(direction, "RIGHT") != 0)
        return call_fail(call, MITRAL_INVALID, "attribute direction: 'LEFT' or 'RIGHT' expected, found '%s'",
                         direction);
    return MITRAL_OK;
}

static mitral_status BitShift_shape(struct kernel_call *call)
{
    bool left = false;
    TRY(BitShift_choose(call, &left));
    return left ? ShiftLeft_shape(call) : ShiftRight_shape(call);
}

static mitral_status BitShift_run(struct kernel_call *call)
{
    bool left = false;
    TRY(BitShift_choose(call, &left));
    return left ? ShiftLeft_run(call) : ShiftRight_run(call);
}

/* ---- comparison -------------------------------------------------------------------------------------------------- */

#define COMPARE_LOOP(dtype, T, name, operator) BINARY_LOOP(name##_##T, T, T, uint8_t, a operator b)
#define COMPARISON(name, operator, ...)                                                                                \
    FOR_INTEGERS(COMPARE_LOOP, name, operator)                                                                         \
    COMPARE_LOOP(0, float, name, operator)                                                                             \
    COMPARE_LOOP(0, double, name, operator)                                                                            \
    PLAIN_ELEMENTWISE(name, .arity = 2, .output_dtype = MITRAL_BOOL, FLOAT_ENTRIES(name), FOR_INTEGERS_ENTRIES(name),  \
                      __VA_ARGS__)

static inline bool same_string(mitral_string a, mitral_string b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
BINARY_LOOP(Equal_string, mitral_string, mitral_string, uint8_t, same_string(a, b))

COMPARISON(Equal, ==, .loops[MITRAL_BOOL] = Equal_uint8_t, .loops[MITRAL_STRING] = Equal_string)
COMPARISON(Greater, >, .no_half = false)
COMPARISON(GreaterOrEqual, >=, .no_half = false)
COMPARISON(Less, <, .no_half = false)
COMPARISON(LessOrEqual, <=, .no_half = false)

/* ---- logic ------------------------------------------------------------------------------------------------------- */

BINARY_LOOP(And_bool, uint8_t, uint8_t, uint8_t, (a != 0) & (b != 0))
PLAIN_ELEMENTWISE(And, .arity = 2, .loops[MITRAL_BOOL] = And_bool)
BINARY_LOOP(Or_bool, uint8_t, uint8_t, uint8_t, (a | b) != 0)
PLAIN_ELEMENTWISE(Or, .arity = 2, .loops[MITRAL_BOOL] = Or_bool)
BINARY_LOOP(Xor_bool, uint8_t, uint8_t, uint8_t, (a != 0) != (b != 0))
PLAIN_ELEMENTWISE(Xor, .arity = 2, .loops[MITRAL_BOOL] = Xor_bool)

/* ---- gated and parametric activations ---------------------------------------------------------------------------- */

STEP_LOOPS(PRelu, a < 0 ? a * b : a)
#define PRELU_SIGNED(dtype, T, name) BINARY_LOOP(PRelu_##T, T, T, T, a < 0 ? (uint64_t)a * (uint64_t)b : (uint64_t)a)
#define PRELU_UNSIGNED(dtype, T, name) BINARY_LOOP(PRelu_##T, T, T, T, ((void)b, a))
FOR_SIGNED(PRELU_SIGNED, PRelu)
FOR_UNSIGNED(PRELU_UNSIGNED, PRelu)
PLAIN_ELEMENTWISE(PReluLoops, .arity = 2, FLOAT_ENTRIES(PRelu), FOR_INTEGERS_ENTRIES(PRelu))

/* The slope broadcasts to the data, never the other way. */
static mitral_status PRelu_shape(struct kernel_call *call)
{
    TRY(PReluLoops_shape(call));
    const mitral_tensor *data = call_input(call, 0), *slope = call_input(call, 1);
    int32_t rank;
    int64_t dims[MITRAL_MAX_RANK];
    TRY(call_broadcast(call, data, slope, &rank, dims));
    if (rank != data->rank || memcmp(dims, data->dims, (size_t)rank * sizeof(*dims)) != 0) {
        char left[160], right[160];
        return call_fail(call, MITRAL_INVALID, "a slope that broadcasts to %s expected, found %s",
                         tensor_describe(data, left, sizeof(left)), tensor_describe(slope, right, sizeof(right)));
    }
    return MITRAL_OK;
}

STEP_LOOPS(SwiGLU, a / (1 + exp(-((const double *)context)[0] * a)) * b)
PLAIN_ELEMENTWISE(SwiGLULoops, .arity = 2, FLOAT_ENTRIES(SwiGLU), .parameters = {"alpha"}, .defaults = {1})

static mitral_status SwiGLU_shape(struct kernel_call *call)
{
    TRY(SwiGLULoops_shape(call));
    if (!tensor_same_shape(call_input(call, 0), call_input(call, 1))) {
        char left[160], right[160];
        return call_fail(call, MITRAL_INVALID, "inputs of one shape expected, found %s and %s",
                         tensor_describe(call_input(call, 0), left, sizeof(left)),
                         tensor_describe(call_input(call, 1), right, sizeof(right)));
    }
    return MITRAL_OK;
}

enum { INPLACE = KERNEL_IN_PLACE | KERNEL_ANY_LAYOUT };

const struct kernel reference_binary[] = {
    {"Add", INPLACE, Add_shape, NULL, Add_run},
    {"And", INPLACE, And_shape, NULL, And_run},
    {"BitShift", INPLACE, BitShift_shape, NULL, BitShift_run},
    {"BitwiseAnd", INPLACE, BitwiseAnd_shape, NULL, BitwiseAnd_run},
    {"BitwiseOr", INPLACE, BitwiseOr_shape, NULL, BitwiseOr_run},
    {"BitwiseXor", INPLACE, BitwiseXor_shape, NULL, BitwiseXor_run},
    {"Div", INPLACE, Div_shape, NULL, Div_run},
    {"Equal", INPLACE, Equal_shape, NULL, Equal_run},
    {"Greater", INPLACE, Greater_shape, NULL, Greater_run},
    {"GreaterOrEqual", INPLACE, GreaterOrEqual_shape, NULL, GreaterOrEqual_run},
    {"Less", INPLACE, Less_shape, NULL, Less_run},
    {"LessOrEqual", INPLACE, LessOrEqual_shape, NULL, LessOrEqual_run},
    {"Mod", INPLACE, Mod_shape, NULL, Mod_run},
    {"Mul", INPLACE, Mul_shape, NULL, Mul_run},
    {"Or", INPLACE, Or_shape, NULL, Or_run},
    {"PRelu", INPLACE, PRelu_shape, NULL, PReluLoops_run},
    {"Sub", INPLACE, Sub_shape, NULL, Sub_run},
    {"SwiGLU", INPLACE, SwiGLU_shape, NULL, SwiGLULoops_run},
    {"Xor", INPLACE, Xor_shape, NULL, Xor_run},
};
const size_t reference_binary_count = sizeof(reference_binary) / sizeof(reference_binary[0]);
