#include "runtime/kernels/reference/chain.h"

#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/affine.h"
#include "runtime/kernels/reference/vector_math.h"

enum { BLOCK = 256 }; /* floats: all results of a block stay in the first-level cache */

static const struct chain_operation operations[] = {
    {"Abs", 1, {NULL}, {0}, STEP_Abs},
    {"Add", 2, {NULL}, {0}, STEP_Add},
    {"Clip", 1, {"min", "max"}, {-INFINITY, INFINITY}, STEP_Clip},
    {"Cube", 1, {NULL}, {0}, STEP_Cube},
    {"Div", 2, {NULL}, {0}, STEP_Div},
    {"Elu", 1, {"alpha"}, {1}, STEP_Elu},
    {"Erf", 1, {NULL}, {0}, STEP_Erf},
    {"Exp", 1, {NULL}, {0}, STEP_Exp},
    {"Gelu", 1, {NULL}, {0}, STEP_GeluExact},
    {"HardSigmoid", 1, {"alpha", "beta"}, {0.2f, 0.5f}, STEP_HardSigmoid},
    {"HardSwish", 1, {NULL}, {0}, STEP_HardSwish},
    {"Identity", 1, {NULL}, {0}, STEP_Identity},
    {"LeakyRelu", 1, {"alpha"}, {0.01f}, STEP_LeakyRelu},
    {"Log", 1, {NULL}, {0}, STEP_Log},
    {"Mish", 1, {NULL}, {0}, STEP_Mish},
    {"Mul", 2, {NULL}, {0}, STEP_Mul},
    {"Neg", 1, {NULL}, {0}, STEP_Neg},
    {"PRelu", 2, {NULL}, {0}, STEP_PRelu},
    {"QuotientSigmoid", 1, {NULL}, {0}, STEP_QuotientSigmoid},
    {"QuotientTanh", 1, {NULL}, {0}, STEP_QuotientTanh},
    {"Reciprocal", 1, {NULL}, {0}, STEP_Reciprocal},
    {"Relu", 1, {NULL}, {0}, STEP_Relu},
    {"Sigmoid", 1, {NULL}, {0}, STEP_Sigmoid},
    {"Softplus", 1, {NULL}, {0}, STEP_Softplus},
    {"Sqrt", 1, {NULL}, {0}, STEP_Sqrt},
    {"Square", 1, {NULL}, {0}, STEP_Square},
    {"Sub", 2, {NULL}, {0}, STEP_Sub},
    {"Swish", 1, {"alpha"}, {1}, STEP_Swish},
    {"Tanh", 1, {NULL}, {0}, STEP_Tanh},
};

const struct chain_operation *chain_find(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (strlen(operations[i].name) == length && memcmp(operations[i].name, name, length) == 0)
            return &operations[i];
    return NULL;
}

/* ---- the program ------------------------------------------------------------------------------------------------------ */

struct affine {
    int32_t dtype; /* MITRAL_FLOAT: nothing to convert */
    float scale, zero;
};

struct chain {
    int inputs, count;
    struct affine affine[CHAIN_INPUTS + 1]; /* of the inputs; the output's is the last */
    struct {
        step_function function;
        int operands[2];
        float parameters[2];
    } steps[CHAIN_OPERATIONS];
};

static mitral_status decode_step(const struct kernel_call *call, struct chain *chain, const char *name, size_t length,
                                 const int64_t operands[2], const float parameters[2])
{
    const int place = chain->count++;
    const struct chain_operation *operation = chain_find(name, length);
    if (!operation)
        return call_fail(call, MITRAL_INVALID, "attribute operations: an elementwise operator expected, found '%.*s'", (int)(length < 40 ? length : 40),
                         name);
    chain->steps[place].function = elementwise_step(cpu_isa(), operation->step);
    for (int k = 0; k < 2; k++) {
        const int64_t least = k < operation->arity ? 0 : -1, most = k < operation->arity ? chain->inputs + place - 1 : -1;
        if (operands[k] < least || operands[k] > most)
            return call_fail(call, MITRAL_INVALID, "operand %d of %s: %lld to %lld expected, found %lld", k, operation->name, (long long)least,
                             (long long)most, (long long)operands[k]);
        chain->steps[place].operands[k] = (int)operands[k];
        chain->steps[place].parameters[k] = parameters[k];
    }
    return MITRAL_OK;
}

/* How 8-bit inputs and an 8-bit output count. */
static mitral_status decode_types(const struct kernel_call *call, struct chain *chain)
{
    size_t scale_count, zero_count;
    const float *scales = attribute_floats(call->attributes, "scales", &scale_count);
    const int64_t *zeros = attribute_ints(call->attributes, "zeros", &zero_count);
    const int64_t output = attribute_int(call->attributes, "output_dtype", MITRAL_FLOAT);
    const bool quantized = scale_count == call->input_count + 1 && zero_count == scale_count;
    if (output != MITRAL_FLOAT && !(quantized && dtype_is_byte(output)))
        return call_fail(call, MITRAL_INVALID, "an output of float32, or of 8 bits with a scale and a zero point, expected, found type %lld",
                         (long long)output);
    for (size_t i = 0; quantized && i < zero_count; i++)
        if (zeros[i] < INT8_MIN || zeros[i] > UINT8_MAX)
            return call_fail(call, MITRAL_INVALID, "zero points of 8 bits expected, found %lld", (long long)zeros[i]);
    for (size_t i = 0; i <= call->input_count; i++) {
        const mitral_tensor *input = i < call->input_count ? call_input(call, i) : NULL;
        if (i < call->input_count && (!input || (input->dtype != MITRAL_FLOAT && !(quantized && dtype_is_byte(input->dtype)))))
            return input ? fail_type(call, i, input) : call_fail(call, MITRAL_INVALID, "input %zu expected, found none", i);
        chain->affine[i < call->input_count ? i : CHAIN_INPUTS] = (struct affine){.dtype = input ? input->dtype : (int32_t)output,
                                                                               .scale = quantized ? scales[i] : 1,
                                                                               .zero = quantized ? (float)zeros[i] : 0};
    }
    return MITRAL_OK;
}

static mitral_status decode(const struct kernel_call *call, struct chain *chain)
{
    size_t operand_count, parameter_count;
    const int64_t *operands = attribute_ints(call->attributes, "operands", &operand_count);
    const float *parameters = attribute_floats(call->attributes, "parameters", &parameter_count);
    const char *names = attribute_string(call->attributes, "operations", "");
    *chain = (struct chain){.inputs = (int)call->input_count};
    if (call->input_count < 1 || call->input_count > CHAIN_INPUTS)
        return call_fail(call, MITRAL_INVALID, "1 to %d inputs expected, found %zu", (int)CHAIN_INPUTS, call->input_count);
    TRY(decode_types(call, chain));
    while (*names) {
        const size_t length = strcspn(names, " ");
        if (chain->count == CHAIN_OPERATIONS || operand_count < 2 * (size_t)(chain->count + 1) || parameter_count != operand_count)
            return call_fail(call, MITRAL_INVALID, "two operands and parameters of each of up to %d operations expected, found %zu and %zu",
                             (int)CHAIN_OPERATIONS, operand_count, parameter_count);
        TRY(decode_step(call, chain, names, length, operands + 2 * chain->count, parameters + 2 * chain->count));
        names += length + (names[length] == ' ');
    }
    return chain->count && operand_count == 2 * (size_t)chain->count
               ? MITRAL_OK
               : call_fail(call, MITRAL_INVALID, "operands of %d operations expected, found %zu", chain->count, operand_count);
}

/* A block of an input as neighbours: where it lies, or copied. */
VECTORISED static const float *block_of(const struct affine *affine, const char *pointer, ptrdiff_t stride, size_t start, int count,
                                        float *own)
{
    if (affine->dtype != MITRAL_FLOAT) {
        bytes_to_floats(affine->dtype, pointer + (ptrdiff_t)start * stride, stride, affine->scale, affine->zero, own, (size_t)count);
        return own;
    }
    const float *from = (const float *)(const void *)pointer + (ptrdiff_t)start * stride;
    if (stride == 1)
        return from;
    const float first = *from;
    if (stride == 0)
        for (int i = 0; i < count; i++)
            own[i] = first;
    else
        for (int i = 0; i < count; i++)
            own[i] = from[i * stride];
    return own;
}

static void run_blocks(char *const *pointers, const ptrdiff_t *strides, size_t count, const void *context)
{
    const struct chain *chain = context;
    float own[CHAIN_INPUTS + CHAIN_OPERATIONS][BLOCK];
    const float *values[CHAIN_INPUTS + CHAIN_OPERATIONS];
    const struct affine *output = &chain->affine[CHAIN_INPUTS];
    for (size_t start = 0; start < count; start += BLOCK) {
        const int length = count - start < BLOCK ? (int)(count - start) : BLOCK;
        for (int k = 0; k < chain->inputs; k++)
            if (start == 0 || strides[1 + k] != 0)
                values[k] = block_of(&chain->affine[k], pointers[1 + k], strides[1 + k], start, length, own[k]);
        for (int i = 0; i < chain->count; i++) {
            const int a = chain->steps[i].operands[0], b = chain->steps[i].operands[1], place = chain->inputs + i;
            float *to = i < chain->count - 1 || output->dtype != MITRAL_FLOAT ? own[place] : (float *)(void *)pointers[0] + start;
            chain->steps[i].function(to, values[a], b < 0 ? NULL : values[b], 1, (size_t)length, chain->steps[i].parameters[0],
                                     chain->steps[i].parameters[1]);
            values[place] = to;
        }
        if (output->dtype != MITRAL_FLOAT)
            floats_to_bytes(output->dtype, values[chain->inputs + chain->count - 1], output->scale, output->zero, pointers[0] + start, (size_t)length);
    }
}

static mitral_status shape(struct kernel_call *call)
{
    struct chain chain;
    TRY(decode(call, &chain));
    TRY(call->input_count > 1 ? shape_broadcast(call) : shape_same_as_first(call));
    if (call_output(call, 0))
        call_output(call, 0)->dtype = chain.affine[CHAIN_INPUTS].dtype;
    return MITRAL_OK;
}

static mitral_status run(struct kernel_call *call)
{
    struct chain chain;
    struct walk walk;
    const mitral_tensor *inputs[CHAIN_INPUTS];
    mitral_tensor *output = call_output(call, 0);
    TRY(decode(call, &chain));
    if (!output || tensor_count(output) == 0)
        return MITRAL_OK;
    for (int i = 0; i < chain.inputs; i++)
        inputs[i] = call_input(call, (size_t)i);
    walk_initialise(&walk, output, inputs, chain.inputs);
    walk_run(&walk, call->threads, run_blocks, &chain);
    return MITRAL_OK;
}

const struct kernel reference_chain[] = {
    {.name = "mitral.Elementwise", .flags = KERNEL_IN_PLACE | KERNEL_ANY_LAYOUT, .shape = shape, .run = run},
};
const size_t reference_chain_count = sizeof reference_chain / sizeof *reference_chain;
