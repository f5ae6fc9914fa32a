#include "runtime/kernels/reference/elementwise.h"

#include <string.h>

#include "runtime/kernels/reference/vector_math.h"

/* Below this many elements a parallel region costs more than it saves. */
enum { PARALLEL_COUNT = 32768, BLOCK = 8192, HALF_BLOCK = 512, STEP_BLOCK = 256 };

void layout_strides(const mitral_tensor *tensor, ptrdiff_t strides[MITRAL_MAX_RANK])
{
    int32_t rank = tensor->rank;
    bool channels_last = tensor->layout == LAYOUT_CHANNELS_LAST && rank > 2;
    ptrdiff_t stride = 1;
    if (channels_last) {
        strides[1] = 1;
        stride = (ptrdiff_t)tensor->dims[1];
    }
    for (int32_t i = rank - 1; i >= 0; i--) {
        if (channels_last && i == 1)
            continue;
        strides[i] = stride;
        stride *= (ptrdiff_t)tensor->dims[i];
    }
}

void walk_initialise(struct walk *walk, const mitral_tensor *output, const mitral_tensor *const *inputs,
                     int input_count)
{
    memset(walk, 0, sizeof(*walk));
    walk->operands = input_count + 1;
    int32_t rank = output->rank;
    ptrdiff_t strides[ELEMENTWISE_OPERANDS][MITRAL_MAX_RANK] = {{0}};
    for (int k = 0; k < walk->operands; k++) {
        const mitral_tensor *tensor = k ? inputs[k - 1] : output;
        ptrdiff_t own[MITRAL_MAX_RANK];
        layout_strides(tensor, own);
        int32_t shift = rank - tensor->rank;
        for (int32_t i = shift < 0 ? 0 : shift; i < rank; i++)
            strides[k][i] = tensor->dims[i - shift] == 1 ? 0 : own[i - shift];
        walk->sizes[k] = mitral_dtype_size((mitral_dtype)tensor->dtype);
        walk->data[k] = tensor->data;
    }
    bool channels_last = output->layout == LAYOUT_CHANNELS_LAST && rank > 2;
    for (int32_t place = 0; place < rank; place++) {
        int32_t i = !channels_last || place == 0 ? place : place == rank - 1 ? 1 : place + 1;
        if (output->dims[i] == 1)
            continue;
        int last = walk->rank - 1;
        bool merge = last >= 0;
        for (int k = 0; merge && k < walk->operands; k++)
            merge = walk->strides[k][last] == strides[k][i] * (ptrdiff_t)output->dims[i];
        if (!merge)
            last = walk->rank++;
        walk->dims[last] = merge ? walk->dims[last] * output->dims[i] : output->dims[i];
        for (int k = 0; k < walk->operands; k++)
            walk->strides[k][last] = strides[k][i];
    }
    if (walk->rank == 0) {
        walk->rank = 1;
        walk->dims[0] = 1;
    }
}

/* An operand that is not there stays so. */
static inline char *moved(char *from, ptrdiff_t bytes)
{
    return from ? from + bytes : NULL;
}

/* Tasks [low, high) of the walk: a task is one row of the last dimension, or a block of it where rows are long. */
static void walk_tasks(const struct walk *walk, int64_t low, int64_t high, int64_t pieces, inner_loop loop,
                       const void *context)
{
    int last = walk->rank - 1;
    int64_t inner = walk->dims[last], index[MITRAL_MAX_RANK] = {0};
    ptrdiff_t inner_strides[ELEMENTWISE_OPERANDS] = {0};
    char *row[ELEMENTWISE_OPERANDS] = {NULL};
    int64_t outer = low / pieces, piece = low % pieces, rest = outer;
    for (int i = last - 1; i >= 0; i--) {
        index[i] = rest % walk->dims[i];
        rest /= walk->dims[i];
    }
    for (int k = 0; k < walk->operands; k++) {
        inner_strides[k] = walk->strides[k][last];
        row[k] = walk->data[k];
        for (int i = 0; i < last; i++)
            row[k] = moved(row[k], index[i] * walk->strides[k][i] * (ptrdiff_t)walk->sizes[k]);
    }
    for (int64_t task = low; task < high; task++) {
        int64_t start = piece * BLOCK, count = pieces == 1 ? inner : inner - start < BLOCK ? inner - start : BLOCK;
        char *pointers[ELEMENTWISE_OPERANDS];
        for (int k = 0; k < walk->operands; k++)
            pointers[k] = moved(row[k], start * inner_strides[k] * (ptrdiff_t)walk->sizes[k]);
        loop(pointers, inner_strides, (size_t)count, context);
        if (++piece < pieces)
            continue;
        piece = 0;
        for (int i = last - 1; i >= 0; i--) {
            index[i]++;
            for (int k = 0; k < walk->operands; k++)
                row[k] = moved(row[k], walk->strides[k][i] * (ptrdiff_t)walk->sizes[k]);
            if (index[i] < walk->dims[i])
                break;
            for (int k = 0; k < walk->operands; k++)
                row[k] = moved(row[k], -index[i] * walk->strides[k][i] * (ptrdiff_t)walk->sizes[k]);
            index[i] = 0;
        }
    }
}

void walk_run(const struct walk *walk, int threads, inner_loop loop, const void *context)
{
    int64_t inner = walk->dims[walk->rank - 1], outer = 1;
    for (int i = 0; i < walk->rank - 1; i++)
        outer *= walk->dims[i];
    if (inner == 0 || outer == 0)
        return;
    int64_t pieces = inner > 2 * BLOCK ? (inner + BLOCK - 1) / BLOCK : 1, tasks = outer * pieces;
    int64_t length = pieces > 1 ? BLOCK : inner, per_part = length >= BLOCK ? 1 : (BLOCK + length - 1) / length;
    int64_t parts = (tasks + per_part - 1) / per_part;
    if (threads < 2 || parts < 2 || outer * inner <= PARALLEL_COUNT) {
        walk_tasks(walk, 0, tasks, pieces, loop, context);
        return;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t part = 0; part < parts; part++) {
        int64_t low = part * per_part, high = tasks - low < per_part ? tasks : low + per_part;
        walk_tasks(walk, low, high, pieces, loop, context);
    }
}

/* ---- float16 and bfloat16 ---------------------------------------------------------------------------------------- */

VECTORISED static void bfloat16_to_floats(const uint16_t *from, ptrdiff_t stride, float *to, size_t count)
{
    if (stride == 1)
        for (size_t i = 0; i < count; i++)
            to[i] = float_of_bits((uint32_t)from[i] << 16);
    else
        for (size_t i = 0; i < count; i++, from += stride)
            to[i] = float_of_bits((uint32_t)*from << 16);
}

static inline float float_of_float16(uint32_t half)
{
    uint32_t magnitude = half & 0x7fff;
    uint32_t small = bits_of_float((float)(int32_t)magnitude * 0x1p-24f); /* subnormal */
    uint32_t normal = (magnitude << 13) + (magnitude >= 0x7c00 ? 0x70000000u : 0x38000000u);
    return float_of_bits((magnitude < 0x400 ? small : normal) | (half & 0x8000) << 16);
}

VECTORISED static void float16_to_floats(const uint16_t *from, ptrdiff_t stride, float *to, size_t count)
{
    if (stride == 1)
        for (size_t i = 0; i < count; i++)
            to[i] = float_of_float16(from[i]);
    else
        for (size_t i = 0; i < count; i++, from += stride)
            to[i] = float_of_float16(*from);
}

/* Round to nearest even; NaN stays NaN. */
static inline uint16_t bfloat16_of_float(float value)
{
    uint32_t bits = bits_of_float(value), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
}

static inline uint16_t float16_of_float(float value)
{
    uint32_t bits = bits_of_float(value), magnitude = bits & 0x7fffffff;
    uint32_t normal = ((magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13) - (112 << 10);
    /* Below 2^-14 the unit is 2^-24, as it is beside 0.5: the sum's last bits are the result. */
    uint32_t small = bits_of_float(float_of_bits(magnitude) + 0.5f) - bits_of_float(0.5f);
    uint32_t result = magnitude < 0x38800000 ? small : normal;
    result = magnitude >= 0x47800000 ? 0x7c00 : result;
    result = magnitude > 0x7f800000 ? 0x7e00 : result;
    return (uint16_t)(result | (bits >> 16 & 0x8000));
}

VECTORISED static void floats_to_bfloat16(const float *from, uint16_t *to, ptrdiff_t stride, size_t count)
{
    if (stride == 1)
        for (size_t i = 0; i < count; i++)
            to[i] = bfloat16_of_float(from[i]);
    else
        for (size_t i = 0; i < count; i++, to += stride)
            *to = bfloat16_of_float(from[i]);
}

VECTORISED static void floats_to_float16(const float *from, uint16_t *to, ptrdiff_t stride, size_t count)
{
    if (stride == 1)
        for (size_t i = 0; i < count; i++)
            to[i] = float16_of_float(from[i]);
    else
        for (size_t i = 0; i < count; i++, to += stride)
            *to = float16_of_float(from[i]);
}

void half_to_floats(int32_t dtype, const uint16_t *from, ptrdiff_t stride, float *to, size_t count)
{
    (dtype == MITRAL_BFLOAT16 ? bfloat16_to_floats : float16_to_floats)(from, stride, to, count);
}

void floats_to_half(int32_t dtype, const float *from, uint16_t *to, ptrdiff_t stride, size_t count)
{
    (dtype == MITRAL_BFLOAT16 ? floats_to_bfloat16 : floats_to_float16)(from, to, stride, count);
}

struct half_context {
    const struct walk *walk;
    const int32_t *dtypes;
    inner_loop loop;
    const void *context;
};

static bool is_half(int32_t dtype)
{
    return dtype == MITRAL_FLOAT16 || dtype == MITRAL_BFLOAT16;
}

static void half_loop(LOOP_ARGUMENTS)
{
    const struct half_context *half = context;
    int operands = half->walk->operands;
    float blocks[ELEMENTWISE_OPERANDS][HALF_BLOCK];
    for (size_t start = 0; start < count; start += HALF_BLOCK) {
        size_t length = count - start < HALF_BLOCK ? count - start : HALF_BLOCK;
        char *inner[ELEMENTWISE_OPERANDS];
        ptrdiff_t inner_strides[ELEMENTWISE_OPERANDS];
        for (int k = 0; k < operands; k++) {
            char *pointer = pointers[k] + (ptrdiff_t)start * strides[k] * (ptrdiff_t)half->walk->sizes[k];
            inner[k] = is_half(half->dtypes[k]) ? (char *)blocks[k] : pointer;
            inner_strides[k] = !is_half(half->dtypes[k]) ? strides[k] : strides[k] ? 1 : 0;
            if (k && is_half(half->dtypes[k]))
                half_to_floats(half->dtypes[k], (const uint16_t *)(const void *)pointer, strides[k], blocks[k],
                               strides[k] ? length : 1);
        }
        if (is_half(half->dtypes[0]))
            inner_strides[0] = 1;
        half->loop(inner, inner_strides, length, half->context);
        if (is_half(half->dtypes[0]))
            floats_to_half(
                half->dtypes[0], blocks[0],
                (uint16_t *)(void *)(pointers[0] + (ptrdiff_t)start * strides[0] * (ptrdiff_t)sizeof(uint16_t)),
                strides[0], length);
    }
}

void walk_run_half(const struct walk *walk, int threads, const int32_t *dtypes, inner_loop loop, const void *context)
{
    struct half_context half = {walk, dtypes, loop, context};
    walk_run(walk, threads, half_loop, &half);
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static void gather_floats(const float *from, ptrdiff_t stride, float *to, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = from[(ptrdiff_t)i * stride];
}

/* Elements that are no neighbours go through blocks, so that they are computed as all others are. */
static void step_loop(enum elementwise_step which, bool binary, LOOP_ARGUMENTS)
{
    const step_function step = elementwise_step(cpu_isa(), which);
    const double *parameters = context;
    const float first = parameters ? (float)parameters[0] : 0, second = parameters ? (float)parameters[1] : 0;
    float *y = (float *)(void *)pointers[0];
    const float *a = (const float *)(const void *)pointers[1], *b = binary ? (const float *)(const void *)pointers[2] : NULL;
    const ptrdiff_t y_stride = strides[0], a_stride = strides[1], b_stride = binary ? strides[2] : 0;
    const bool direct = y_stride == 1 && a_stride == 1 && (b_stride == 0 || b_stride == 1);
    if (direct) {
        step(y, a, b, b_stride, count, first, second);
        return;
    }
    float results[STEP_BLOCK], left[STEP_BLOCK], right[STEP_BLOCK];
    for (size_t start = 0; start < count; start += STEP_BLOCK) {
        const size_t length = count - start < STEP_BLOCK ? count - start : STEP_BLOCK;
        gather_floats(a + (ptrdiff_t)start * a_stride, a_stride, left, length);
        if (binary)
            gather_floats(b + (ptrdiff_t)start * b_stride, b_stride, right, length);
        step(results, left, binary ? right : NULL, 1, length, first, second);
        for (size_t i = 0; i < length; i++)
            y[(ptrdiff_t)(start + i) * y_stride] = results[i];
    }
}

void unary_step_loop(enum elementwise_step step, LOOP_ARGUMENTS)
{
    step_loop(step, false, pointers, strides, count, context);
}

void binary_step_loop(enum elementwise_step step, LOOP_ARGUMENTS)
{
    step_loop(step, true, pointers, strides, count, context);
}

/* ---- operators --------------------------------------------------------------------------------------------------- */

inner_loop elementwise_loop(const struct elementwise *elementwise, int32_t dtype, bool *half)
{
    *half = false;
    if (dtype < 0 || dtype >= MITRAL_DTYPE_COUNT)
        return NULL;
    inner_loop loop = elementwise->loops[dtype];
    if (!loop && is_half(dtype) && !elementwise->no_half) {
        *half = true;
        loop = elementwise->loops[MITRAL_FLOAT];
    }
    return loop;
}

mitral_status fail_type(const struct kernel_call *call, size_t index, const mitral_tensor *found)
{
    char text[160];
    return call_fail(call, MITRAL_INVALID, "input %zu: an element type that the operator has expected, found %s", index,
                     tensor_describe(found, text, sizeof(text)));
}

mitral_status elementwise_shape(struct kernel_call *call, const struct elementwise *elementwise)
{
    const mitral_tensor *first = call_input(call, 0);
    bool half;
    for (size_t i = 0; i < (size_t)elementwise->arity; i++) {
        const mitral_tensor *input = call_input(call, i);
        if (!input)
            return call_fail(call, MITRAL_INVALID, "%d inputs expected, input %zu is missing", elementwise->arity, i);
        if (!elementwise_loop(elementwise, input->dtype, &half))
            return fail_type(call, i, input);
        if (input->dtype != first->dtype) {
            const char *expected = mitral_dtype_name((mitral_dtype)first->dtype);
            const char *found = mitral_dtype_name((mitral_dtype)input->dtype);
            return call_fail(call, MITRAL_INVALID, "input %zu: %s like the first input expected, found %s", i,
                             expected ? expected : "?", found ? found : "?");
        }
    }
    if (elementwise->arity > 1)
        TRY(shape_broadcast(call));
    else
        TRY(shape_same_as_first(call));
    mitral_tensor *output = call_output(call, 0);
    if (output && elementwise->output_dtype)
        output->dtype = elementwise->output_dtype;
    return MITRAL_OK;
}

mitral_status elementwise_run(struct kernel_call *call, const struct elementwise *elementwise, const void *context)
{
    const mitral_tensor *inputs[ELEMENTWISE_OPERANDS - 1];
    mitral_tensor *output = call_output(call, 0);
    if (!output)
        return MITRAL_OK;
    int32_t dtypes[ELEMENTWISE_OPERANDS] = {output->dtype};
    for (int i = 0; i < elementwise->arity; i++) {
        inputs[i] = call_input(call, (size_t)i);
        dtypes[i + 1] = inputs[i]->dtype;
    }
    double parameters[3] = {0};
    for (int i = 0; i < 3 && elementwise->parameters[i]; i++)
        parameters[i] = (double)attribute_float(call->attributes, elementwise->parameters[i], elementwise->defaults[i]);
    if (!context)
        context = parameters;
    bool half;
    inner_loop loop = elementwise_loop(elementwise, inputs[0]->dtype, &half);
    if (!loop)
        return fail_type(call, 0, inputs[0]);
    struct walk walk;
    walk_initialise(&walk, output, inputs, elementwise->arity);
    if (half)
        walk_run_half(&walk, call->threads, dtypes, loop, context);
    else
        walk_run(&walk, call->threads, loop, context);
    return MITRAL_OK;
}
