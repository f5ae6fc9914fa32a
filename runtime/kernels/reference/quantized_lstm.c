/* microsoft.DynamicQuantizeLSTM: X, W [directions, input, 4·hidden], R, B?, lengths?, h?, c?, P?, W scale, W zero, R scale, R zero. Weights
 * that are known in prepare are packed there for runtime/kernels/quantized, whose sums are the same. */
#include <string.h>

#include "runtime/kernels/quantized/step.h"
#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/integer.h"
#include "runtime/kernels/reference/quantized.h"
#include "runtime/kernels/reference/recurrent.h"
#include "runtime/kernels/reference/vector_math.h"

/* LSTM's own parameters, from weights turned to its order. */
static mitral_status decode_lstm(const struct kernel_call *call, struct recurrent_parameters *p)
{
    mitral_value turned[2];
    const mitral_value *inputs[8];
    struct kernel_call plain = *call;
    char text[160];
    for (size_t i = 0; i < 8; i++)
        inputs[i] = i < call->input_count ? call->inputs[i] : NULL;
    for (size_t i = 0; i < 2; i++) {
        const mitral_tensor *w = call_input(call, 1 + i);
        if (!w || w->rank != 3 || !dtype_is_byte(w->dtype))
            return call_fail(call, MITRAL_INVALID, "8-bit weights [directions, size, 4·hidden] expected, found %s",
                             w ? tensor_describe(w, text, sizeof(text)) : "none");
        const int64_t dims[3] = {w->dims[0], w->dims[2], w->dims[1]};
        turned[i] = (mitral_value){.kind = MITRAL_TENSOR};
        tensor_set(&turned[i].tensor, MITRAL_FLOAT, 3, dims);
        inputs[1 + i] = &turned[i];
    }
    const mitral_tensor *x = call_input(call, 0);
    if (!x || x->dtype != MITRAL_FLOAT)
        return call_fail(call, MITRAL_INVALID, "a float input expected, found %s",
                         x ? tensor_describe(x, text, sizeof(text)) : "none");
    plain.inputs = inputs;
    plain.input_count = 8;
    TRY(call_recurrent_parameters(&plain, RECURRENT_LSTM, p));
    if (p->batch_first)
        return call_fail(call, MITRAL_UNSUPPORTED, "layout 0 expected, found 1");
    for (size_t i = 8; i < 12; i++) {
        const mitral_tensor *tensor = call_input(call, i);
        const int64_t count = tensor ? tensor_count(tensor) : 0;
        if (!tensor || (count != p->directions && count != p->directions * 4 * p->hidden)
            || (i % 2 == 0 ? tensor->dtype != MITRAL_FLOAT : tensor->dtype != call_input(call, i < 10 ? 1 : 2)->dtype))
            return call_fail(call, MITRAL_INVALID,
                             "scales and zero points for directions or for each column expected, found %s",
                             tensor ? tensor_describe(tensor, text, sizeof(text)) : "none");
    }
    return MITRAL_OK;
}

static mitral_status shape_lstm_quantized(struct kernel_call *call)
{
    struct recurrent_parameters p;
    TRY(decode_lstm(call, &p));
    const int64_t y[4] = {p.time, p.directions, p.batch, p.hidden}, state[3] = {p.directions, p.batch, p.hidden};
    call_set_output(call, 0, MITRAL_FLOAT, 4, y);
    call_set_output(call, 1, MITRAL_FLOAT, 3, state);
    call_set_output(call, 2, MITRAL_FLOAT, 3, state);
    return MITRAL_OK;
}

struct lstm_buffers {
    int16_t *w, *r, *tokens;     /* weights turned, of one direction; a quantized input */
    int32_t *sums;               /* in place of those: of packed weights */
    void *scratch;
    float *products, *gates, *h, *c;
};

/* Of each direction its W, of all steps at once, and its R, of one step. */
enum { DIRECTIONS = 2, W_STEP = 0, R_STEP = 1 };
struct packed_lstm {
    struct quantized_step steps[DIRECTIONS][2];
    void *memory[DIRECTIONS][2];
};

static int64_t times(int64_t a, int64_t b, int64_t c)
{
    int64_t result;
    return multiply_sizes(a, b, &result) && multiply_sizes(result, c, &result) ? result : -1;
}

/* `packed` may be NULL. */
static void place_lstm(struct work *work, const struct recurrent_parameters *p, const struct packed_lstm *packed, int threads,
                       struct lstm_buffers *b)
{
    const int64_t rows = 4 * p->hidden;
    const int64_t elements = larger(times(p->time, p->batch, p->input), times(p->batch, p->hidden, 1));
    if (packed) {
        b->tokens = work_take(work, elements, sizeof(uint8_t));
        b->sums = work_take(work, times(larger(p->time, 1), p->batch, rows), sizeof(int32_t));
        const int64_t w_bytes = (int64_t)quantized_scratch_bytes(&packed->steps[0][W_STEP], threads);
        b->scratch = work_take(work, larger(w_bytes, (int64_t)quantized_scratch_bytes(&packed->steps[0][R_STEP], threads)), 1);
    } else {
        b->w = work_take(work, times(rows, p->input, 1), sizeof(int16_t));
        b->r = work_take(work, times(rows, p->hidden, 1), sizeof(int16_t));
        b->tokens = work_take(work, elements, sizeof(int16_t));
    }
    b->products = work_take(work, times(p->time, p->batch, rows), sizeof(float));
    b->gates = work_take(work, times(p->batch, rows, 1), sizeof(float));
    b->h = work_take(work, times(p->batch, p->hidden, 1), sizeof(float));
    b->c = work_take(work, times(p->batch, p->hidden, 1), sizeof(float));
}

static void release_lstm(mitral_context *context, void *state)
{
    struct packed_lstm *packed = state;
    for (int i = 0; packed && i < 2 * DIRECTIONS; i++)
        mitral_release(context, packed->memory[i / 2][i % 2]);
    mitral_release(context, packed);
}

/* One direction's W or R, [size, columns]. */
static mitral_status pack_weights(const struct kernel_call *call, const mitral_tensor *w, const mitral_tensor *zeros, int64_t direction,
                                  struct quantized_step *step, void **memory)
{
    const int64_t size = w->dims[1], columns = w->dims[2];
    const bool each = tensor_count(zeros) == w->dims[0] * columns && columns > 1;
    const int64_t count = each ? columns : 1;
    int32_t *list = mitral_allocate(call->context, (size_t)count * sizeof *list);
    *memory = mitral_allocate(call->context, quantized_memory_bytes(step) + 64);
    if (!list || !*memory) {
        mitral_release(call->context, list);
        return MITRAL_NO_MEMORY;
    }
    quantized_place(step, (void *)(((uintptr_t)*memory + 63) & ~(uintptr_t)63));
    for (int64_t i = 0; i < count; i++)
        list[i] = (int32_t)tensor_get_int(zeros, direction * count + i);
    const struct quantized_weights_source source = {(const char *)w->data + direction * size * columns, w->dtype == MITRAL_INT8, true, list, count};
    mitral_status status = quantized_pack(call->context, step, &source);
    mitral_release(call->context, list);
    return status;
}

/* *out stays NULL when weights are not known yet, or there is nothing to multiply. */
static mitral_status pack_lstm(const struct kernel_call *call, const struct recurrent_parameters *p, struct packed_lstm **out)
{
    static const size_t wanted[] = {1, 2, 9, 11};
    *out = NULL;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!call_input(call, wanted[i])->data || call_input(call, wanted[i])->layout != LAYOUT_PLAIN)
            return MITRAL_OK;
    if (!p->time || !p->batch || !p->input || !p->hidden)
        return MITRAL_OK;
    struct packed_lstm *packed = mitral_allocate(call->context, sizeof *packed);
    mitral_status status = packed ? MITRAL_OK : MITRAL_NO_MEMORY;
    for (int i = 0; status == MITRAL_OK && i < 2 * p->directions; i++) {
        const int64_t rows = i % 2 == W_STEP ? p->time * p->batch : p->batch, size = i % 2 == W_STEP ? p->input : p->hidden;
        const struct quantized_shape shape = {1, size, 4 * p->hidden, 1, {1, rows, 1}, {1, 1, 1}, {1, rows, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}};
        struct quantized_step *step = &packed->steps[i / 2][i % 2];
        if (!quantized_plan(&shape, cpu_isa(), call->threads > 1 ? call->threads : 1, step)) {
            release_lstm(call->context, packed);
            return MITRAL_OK;
        }
        step->columns.result = RESULT_SUM;
        status = pack_weights(call, call_input(call, i % 2 == W_STEP ? 1 : 2), call_input(call, i % 2 == W_STEP ? 9 : 11), i / 2, step,
                              &packed->memory[i / 2][i % 2]);
    }
    if (status != MITRAL_OK)
        release_lstm(call->context, packed);
    else
        *out = packed;
    return status;
}

static mitral_status prepare_lstm_quantized(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct recurrent_parameters p;
    struct lstm_buffers buffers;
    struct packed_lstm *packed;
    struct work work = {0};
    TRY(decode_lstm(call, &p));
    TRY(pack_lstm(call, &p, &packed));
    *state = packed;
    place_lstm(&work, &p, packed, call->threads, &buffers);
    mitral_status status = work_measure(call, &work, scratch_bytes);
    if (status != MITRAL_OK) {
        release_lstm(call->context, packed);
        *state = NULL;
    }
    return status;
}

/* element − zero of one direction's weights [size, columns], turned to [columns, size]. */
static void turn_weights(const mitral_tensor *w, const mitral_tensor *zeros, int64_t direction, int64_t size,
                         int64_t columns, int16_t *out)
{
    const bool each = tensor_count(zeros) == w->dims[0] * columns && columns > 1;
    for (int64_t c = 0; c < columns; c++)
        for (int64_t i = 0; i < size; i++)
            out[c * size + i] = (int16_t)(tensor_get_int(w, (direction * size + i) * columns + c)
                                          - tensor_get_int(zeros, each ? direction * columns + c : direction));
}

/* out[rows, columns] = values · weights, values quantized together. */
static void multiply_dynamic(const float *values, int64_t rows, int64_t size, const int16_t *weights, int64_t columns,
                             const mitral_tensor *scales, int64_t direction, int64_t directions, int16_t *tokens,
                             float *out, int threads)
{
    const bool each = tensor_count(scales) == directions * columns && columns > 1;
    const float *scale = (const float *)scales->data + (each ? direction * columns : direction);
    const struct affine affine = affine_of_range(values, rows * size);
    affine_differences(&affine, values, rows * size, tokens);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < rows * columns; i++) {
        const int64_t row = i / columns, column = i % columns;
        out[i] = (float)integer_dot(tokens + row * size, weights + column * size, size) * (affine.scale * scale[each ? column : 0]);
    }
}

/* As requantize() does, to uint8. */
VECTORISED static void quantize_tokens(int64_t count, const float *restrict values, float scale, float zero, uint8_t *restrict tokens)
{
    for (int64_t i = 0; i < count; i++) {
        const float token = vector_round(values[i] / scale) + zero;
        tokens[i] = (uint8_t)(int32_t)(token > 0 ? (token < 255 ? token : 255) : 0);
    }
}

VECTORISED static void scale_sums(int64_t columns, const int32_t *restrict sums, float x_scale, const float *restrict scale, bool each,
                                  float *restrict out)
{
    if (each)
        for (int64_t c = 0; c < columns; c++)
            out[c] = (float)sums[c] * (x_scale * scale[c]);
    else
        for (int64_t c = 0; c < columns; c++)
            out[c] = (float)sums[c] * (x_scale * scale[0]);
}

/* What the input brings, and both biases together. */
VECTORISED static void add_to_gates(int64_t columns, const float *restrict products, const float *restrict bias, float *restrict gates)
{
    if (bias)
        for (int64_t c = 0; c < columns; c++)
            gates[c] = (gates[c] + products[c]) + (bias[c] + bias[columns + c]);
    else
        for (int64_t c = 0; c < columns; c++)
            gates[c] += products[c];
}

/* The same by packed weights. */
static void multiply_packed(const struct quantized_step *step, const float *values, const mitral_tensor *scales, int64_t direction, int64_t directions,
                            const struct lstm_buffers *b, float *out, int threads)
{
    const int64_t rows = step->shape.output[1], size = step->shape.channels, columns = step->shape.features;
    const bool each = tensor_count(scales) == directions * columns && columns > 1;
    const float *scale = (const float *)scales->data + (each ? direction * columns : direction);
    const struct affine affine = affine_of_range(values, rows * size);
    uint8_t *tokens = (uint8_t *)b->tokens;
    quantize_tokens(rows * size, values, affine.scale, (float)affine.zero, tokens);
    quantized_run(step, tokens, affine.zero, b->sums, b->scratch, threads);
    for (int64_t row = 0; row < rows; row++)
        scale_sums(columns, b->sums + row * columns, affine.scale, scale, each, out + row * columns);
}

VECTORISED_FUSED static void usual_cell(int64_t hidden, const float *restrict gates, float *restrict h, float *restrict c)
{
    const float *restrict out = gates + hidden, *restrict forget = gates + 2 * hidden, *restrict cell = gates + 3 * hidden;
    for (int64_t j = 0; j < hidden; j++) {
        const float state = quotient_sigmoid(forget[j]) * c[j] + quotient_sigmoid(gates[j]) * quotient_tanh(cell[j]);
        c[j] = state;
        h[j] = quotient_sigmoid(out[j]) * quotient_tanh(state);
    }
}

static void run_direction(const struct kernel_call *call, const struct recurrent_parameters *p,
                          const struct lstm_buffers *b, int64_t direction)
{
    const int64_t hidden = p->hidden, columns = 4 * hidden, batch = p->batch;
    const mitral_tensor *bias = call_input(call, 3), *lengths = call_input(call, 4), *peepholes = call_input(call, 7);
    const mitral_tensor *first[2] = {call_input(call, 5), call_input(call, 6)};
    const bool backwards = p->directions == 2 ? direction == 1 : p->reverse;
    mitral_tensor *y = call_output(call, 0), *last[2] = {call_output(call, 1), call_output(call, 2)};
    const struct packed_lstm *packed = call->state;
    if (packed) {
        multiply_packed(&packed->steps[direction][W_STEP], call_input(call, 0)->data, call_input(call, 8), direction, p->directions, b, b->products,
                        call->threads);
    } else {
        turn_weights(call_input(call, 1), call_input(call, 9), direction, p->input, columns, b->w);
        turn_weights(call_input(call, 2), call_input(call, 11), direction, hidden, columns, b->r);
        multiply_dynamic(call_input(call, 0)->data, p->time * batch, p->input, b->w, columns, call_input(call, 8),
                         direction, p->directions, b->tokens, b->products, call->threads);
    }
    for (int i = 0; i < 2; i++)
        for (int64_t j = 0; j < batch * hidden; j++)
            (i ? b->c : b->h)[j] = first[i] ? ((const float *)first[i]->data)[direction * batch * hidden + j] : 0;
    for (int64_t step = 0; step < p->time; step++) {
        /* The hidden states of the whole batch are quantized together, ended sequences too. */
        if (packed)
            multiply_packed(&packed->steps[direction][R_STEP], b->h, call_input(call, 10), direction, p->directions, b, b->gates, call->threads);
        else
            multiply_dynamic(b->h, batch, hidden, b->r, columns, call_input(call, 10), direction, p->directions, b->tokens, b->gates,
                             call->threads);
        for (int64_t s = 0; s < batch; s++) {
            const int64_t length = lengths ? tensor_get_int(lengths, s) : p->time;
            const int64_t t = backwards && step < length ? length - 1 - step : step;
            float *gates = b->gates + s * columns,
                  *out =
                      y && y->data ? (float *)y->data + ((t * p->directions + direction) * batch + s) * hidden : NULL;
            if (step >= length) {
                if (out)
                    memset(out, 0, (size_t)hidden * sizeof(float));
                continue;
            }
            add_to_gates(columns, b->products + (t * batch + s) * columns, bias ? (const float *)bias->data + direction * 2 * columns : NULL, gates);
            const struct recurrent_activations *f = p->activations + direction * 3;
            const float *peephole = peepholes ? (const float *)peepholes->data + direction * 3 * hidden : NULL;
            if (recurrent_is_usual(p, f) && !peephole)
                usual_cell(hidden, gates, b->h + s * hidden, b->c + s * hidden);
            else
                lstm_cell_float(p, f, peephole, gates, b->h + s * hidden, b->c + s * hidden);
            if (out)
                memcpy(out, b->h + s * hidden, (size_t)hidden * sizeof(float));
        }
    }
    for (int i = 0; i < 2; i++)
        if (last[i] && last[i]->data)
            memcpy((float *)last[i]->data + direction * batch * hidden, i ? b->c : b->h,
                   (size_t)(batch * hidden) * sizeof(float));
}

static mitral_status run_lstm_quantized(struct kernel_call *call)
{
    struct recurrent_parameters p;
    struct lstm_buffers buffers;
    TRY(decode_lstm(call, &p));
    const mitral_tensor *lengths = call_input(call, 4);
    for (int64_t i = 0; lengths && i < p.batch; i++)
        if (tensor_get_int(lengths, i) < 0 || tensor_get_int(lengths, i) > p.time)
            return call_fail(call, MITRAL_INVALID, "sequence_lens from 0 to %lld expected, found %lld",
                             (long long)p.time, (long long)tensor_get_int(lengths, i));
    struct work work = work_of(call);
    place_lstm(&work, &p, call->state, call->threads, &buffers);
    for (int64_t direction = 0; direction < p.directions; direction++)
        run_direction(call, &p, &buffers, direction);
    return MITRAL_OK;
}

const struct kernel reference_quantized_lstm[] = {
    {.name = "microsoft.DynamicQuantizeLSTM", .shape = shape_lstm_quantized, .prepare = prepare_lstm_quantized, .run = run_lstm_quantized,
     .release = release_lstm},
};
const size_t reference_quantized_lstm_count = sizeof(reference_quantized_lstm) / sizeof(*reference_quantized_lstm);
