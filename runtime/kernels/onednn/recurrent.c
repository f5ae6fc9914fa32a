/* onednn.lstm, onednn.gru and onednn.rnn: layers of known weights and the usual activations, in float32, one primitive a direction; the
 * reference kernel where oneDNN has nothing fast or nothing equal. Each runs in one thread: the order of its sums must not depend on their number. */
#include <string.h>

#include "runtime/kernels/onednn/program.h"
#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/reference/recurrent.h"
#include "runtime/kernels/reference/shapes.h"

/* oneDNN's gates are input, forget, cell, output; ONNX's input, output, forget, cell. Those of a GRU are in the same order. */
static int64_t gate_of(const struct recurrent_parameters *p, int64_t gate)
{
    static const int64_t of_lstm[] = {0, 2, 3, 1};
    return p->kind == RECURRENT_LSTM ? of_lstm[gate] : gate;
}

/* A GRU that is linear before its reset keeps the candidate's two biases apart. */
static int64_t bias_rows(const struct recurrent_parameters *p)
{
    return p->gates + (p->kind == RECURRENT_GRU && p->linear_before_reset);
}

static mitral_status lstm_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, shape_lstm); }
static mitral_status gru_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, shape_gru); }
static mitral_status rnn_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, shape_rnn); }

static bool is_plain_float(const mitral_tensor *tensor)
{
    return !tensor || (tensor->dtype == MITRAL_FLOAT && tensor->layout == LAYOUT_PLAIN);
}

static bool has_primitive(const struct recurrent_parameters *p)
{
    const size_t each = p->kind == RECURRENT_LSTM ? 3 : p->kind == RECURRENT_GRU ? 2 : 1;
    for (size_t d = 0; d < (size_t)p->directions; d++) {
        const struct recurrent_activations *f = p->activations + each * d;
        if (p->kind == RECURRENT_RNN ? p->clip > 0 || (f->function != ACTIVATION_TANH && f->function != ACTIVATION_RELU) : !recurrent_is_usual(p, f))
            return false;
    }
    return true;
}

/* One step of one sequence only reads its weights, once; the reference kernel does that faster. */
static bool is_fitting(const struct kernel_call *call, const struct recurrent_parameters *p)
{
    if ((p->time == 1 && p->batch == 1) || p->batch_first || call_input(call, 4) || call_input(call, 7) || !p->time || !p->batch || !p->input || !p->hidden)
        return false;
    if (!has_primitive(p))
        return false;
    for (size_t i = 0; i < 7; i++)
        if (!is_plain_float(call_input(call, i)) || (i >= 1 && i <= 3 && call_input(call, i) && !call_input(call, i)->data))
            return false;
    return true;
}

struct descriptors {
    dnnl_memory_desc_t x, state, w, r, bias, y;
};

static void free_descriptors(struct descriptors *d)
{
    dnnl_memory_desc_t *all[] = {&d->x, &d->state, &d->w, &d->r, &d->bias, &d->y};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        onednn_descriptor_free(all[i]);
}

static mitral_status make_descriptors(const struct kernel_call *call, const struct recurrent_parameters *p, struct descriptors *d)
{
    const int64_t x[3] = {p->time, p->batch, p->input}, state[4] = {1, 1, p->batch, p->hidden}, y[3] = {p->time, p->batch, p->hidden};
    const int64_t w[5] = {1, 1, p->input, p->gates, p->hidden}, r[5] = {1, 1, p->hidden, p->gates, p->hidden}, bias[4] = {1, 1, bias_rows(p), p->hidden};
    TRY(onednn_descriptor(call, &d->x, MITRAL_FLOAT, 3, x, LAYOUT_PLAIN));
    TRY(onednn_descriptor(call, &d->state, MITRAL_FLOAT, 4, state, LAYOUT_PLAIN));
    TRY(onednn_descriptor_any(call, &d->w, MITRAL_FLOAT, 5, w));
    TRY(onednn_descriptor_any(call, &d->r, MITRAL_FLOAT, 5, r));
    TRY(onednn_descriptor(call, &d->bias, MITRAL_FLOAT, 4, bias, LAYOUT_PLAIN));
    return onednn_descriptor(call, &d->y, MITRAL_FLOAT, 3, y, LAYOUT_PLAIN);
}

static dnnl_status_t create_primitive(const struct recurrent_parameters *p, const struct descriptors *d, int64_t direction,
                                      dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *out)
{
    const bool backwards = p->directions == 2 ? direction == 1 : p->reverse;
    const dnnl_rnn_direction_t way = backwards ? dnnl_unidirectional_right2left : dnnl_unidirectional_left2right;
    if (p->kind == RECURRENT_LSTM)
        return dnnl.lstm_forward_primitive_desc_create(out, dnnl.engine, dnnl_forward_inference, way, d->x, d->state, d->state, d->w, d->r, NULL, NULL,
                                                       d->bias, d->y, d->state, d->state, 0, attributes);
    if (p->kind == RECURRENT_RNN)
        return dnnl.vanilla_rnn_forward_primitive_desc_create(
            out, dnnl.engine, dnnl_forward_inference, p->activations[direction].function == ACTIVATION_TANH ? dnnl_eltwise_tanh : dnnl_eltwise_relu, way,
            d->x, d->state, d->w, d->r, d->bias, d->y, d->state, 0, 0, 0, attributes);
    if (p->linear_before_reset)
        return dnnl.lbr_gru_forward_primitive_desc_create(out, dnnl.engine, dnnl_forward_inference, way, d->x, d->state, d->w, d->r, d->bias, d->y,
                                                          d->state, 0, attributes);
    return dnnl.gru_forward_primitive_desc_create(out, dnnl.engine, dnnl_forward_inference, way, d->x, d->state, d->w, d->r, d->bias, d->y, d->state, 0,
                                                  attributes);
}

static mitral_status make_primitive(const struct kernel_call *call, const struct recurrent_parameters *p, const struct descriptors *d, int64_t direction,
                                    dnnl_primitive_desc_t *out)
{
    dnnl_primitive_attr_t attributes;
    TRY(onednn_attributes(call, &attributes));
    const dnnl_status_t status = create_primitive(p, d, direction, attributes, out);
    dnnl.primitive_attr_destroy(attributes);
    if (status != dnnl_success)
        return MITRAL_DEFERRED;
    if (p->kind == RECURRENT_GRU || !onednn_is_reference(*out)) /* its GRU is loops around its gemm, named a reference */
        return MITRAL_OK;
    dnnl.primitive_desc_destroy(*out);
    return MITRAL_DEFERRED;
}

/* W or R of a direction, [gates · hidden, size], as the primitive wants it. */
static mitral_status add_weights(struct onednn_program *program, const struct kernel_call *call, const struct recurrent_parameters *p, const float *from,
                                 int64_t size, const_dnnl_memory_desc_t wanted, struct onednn_where *out)
{
    const int64_t gates = p->gates, block = p->hidden * size;
    void *to;
    TRY(onednn_add_buffer(program, call, dnnl.memory_desc_get_size(wanted), &to, out));
    float *ordered = mitral_allocate(call->context, (size_t)(gates * block) * sizeof *ordered);
    if (!ordered)
        return MITRAL_NO_MEMORY;
    for (int64_t g = 0; g < gates; g++)
        memcpy(ordered + g * block, from + gate_of(p, g) * block, (size_t)block * sizeof *ordered);
    const int64_t dims[5] = {1, 1, size, gates, p->hidden}, strides[5] = {gates * block, gates * block, 1, block, size};
    dnnl_memory_desc_t plain;
    mitral_status status = onednn_descriptor_strided(call, &plain, MITRAL_FLOAT, 5, dims, strides);
    if (status == MITRAL_OK)
        status = onednn_reorder_now(call, plain, ordered, wanted, to);
    onednn_descriptor_free(&plain);
    mitral_release(call->context, ordered);
    return status;
}

/* The sum of ONNX's two biases; where the candidate's stay apart, that of R is the last row. */
static mitral_status add_bias(struct onednn_program *program, const struct kernel_call *call, const struct recurrent_parameters *p, int64_t direction,
                              struct onednn_where *out)
{
    const int64_t count = p->gates * p->hidden, apart = bias_rows(p) > p->gates ? p->hidden : 0;
    const mitral_tensor *tensor = call_input(call, 3);
    void *data;
    TRY(onednn_add_buffer(program, call, (size_t)(count + apart) * sizeof(float), &data, out));
    if (!tensor)
        return MITRAL_OK;
    const float *of_w = (const float *)tensor->data + direction * 2 * count, *of_r = of_w + count;
    float *bias = data;
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = gate_of(p, i / p->hidden) * p->hidden + i % p->hidden;
        bias[i] = i < count - apart ? of_w[at] + of_r[at] : of_w[at];
    }
    memcpy(bias + count, of_r + count - apart, (size_t)apart * sizeof *bias);
    return MITRAL_OK;
}

/* The first state of a direction; zeros where none is given. */
static mitral_status state_input(struct onednn_program *program, const struct kernel_call *call, size_t index, size_t offset, size_t bytes,
                                 struct onednn_where *out)
{
    void *zeros;
    if (!call_input(call, index))
        return onednn_add_buffer(program, call, bytes, &zeros, out);
    *out = (struct onednn_where){PLACE_INPUT, index, offset};
    return MITRAL_OK;
}

static struct onednn_where state_output(struct onednn_program *program, const struct kernel_call *call, size_t index, size_t offset, size_t bytes)
{
    return call_output(call, index) ? (struct onednn_where){PLACE_OUTPUT, index, offset} : onednn_scratch(program, bytes);
}

struct interleave {
    size_t time, block; /* bytes of a step in one direction */
    size_t directions, direction;
};

/* A direction's results between those of the other: Y is [time, directions, batch, hidden]. */
static mitral_status interleave(const struct kernel_call *call, void *const *addresses, const void *data)
{
    (void)call;
    const struct interleave *i = data;
    for (size_t t = 0; t < i->time; t++)
        memcpy((char *)addresses[1] + (t * i->directions + i->direction) * i->block, (const char *)addresses[0] + t * i->block, i->block);
    return MITRAL_OK;
}

static mitral_status add_direction(struct onednn_program *program, const struct kernel_call *call, const struct recurrent_parameters *p,
                                   const struct descriptors *d, int64_t direction)
{
    const size_t state = (size_t)(p->batch * p->hidden) * sizeof(float), offset = (size_t)direction * state;
    const bool whole = p->directions == 1 && call_output(call, 0);
    dnnl_primitive_desc_t descriptor;
    const int threads = onednn_serial_begin();
    mitral_status status = make_primitive(call, p, d, direction, &descriptor);
    onednn_serial_end(threads);
    TRY(status);
    struct onednn_operand operands[] = {
        {DNNL_ARG_SRC_LAYER, {PLACE_INPUT, 0, 0}},
        {DNNL_ARG_DST_LAYER, whole ? (struct onednn_where){PLACE_OUTPUT, 0, 0} : onednn_scratch(program, (size_t)p->time * state)},
        {DNNL_ARG_DST_ITER, state_output(program, call, 1, offset, state)},
        {DNNL_ARG_SRC_ITER, {PLACE_NONE, 0, 0}},
        {DNNL_ARG_WEIGHTS_LAYER, {PLACE_NONE, 0, 0}},
        {DNNL_ARG_WEIGHTS_ITER, {PLACE_NONE, 0, 0}},
        {DNNL_ARG_BIAS, {PLACE_NONE, 0, 0}},
        {DNNL_ARG_SRC_ITER_C, {PLACE_NONE, 0, 0}}, /* the last two of an LSTM alone */
        {DNNL_ARG_DST_ITER_C, {PLACE_NONE, 0, 0}},
    };
    enum { OPERANDS = sizeof operands / sizeof *operands };
    const bool cell = p->kind == RECURRENT_LSTM;
    status = state_input(program, call, 5, offset, state, &operands[3].where);
    if (status == MITRAL_OK && cell)
        status = state_input(program, call, 6, offset, state, &operands[7].where);
    if (cell)
        operands[8].where = state_output(program, call, 2, offset, state);
    for (int i = 0; i < 2 && status == MITRAL_OK; i++) {
        const int64_t size = i ? p->hidden : p->input;
        const float *weights = (const float *)call_input(call, 1 + (size_t)i)->data + direction * p->gates * p->hidden * size;
        status = add_weights(program, call, p, weights, size,
                             dnnl.primitive_desc_query_md(descriptor, dnnl_query_exec_arg_md, i ? DNNL_ARG_WEIGHTS_ITER : DNNL_ARG_WEIGHTS_LAYER),
                             &operands[4 + i].where);
    }
    if (status == MITRAL_OK)
        status = add_bias(program, call, p, direction, &operands[6].where);
    if (status != MITRAL_OK) {
        dnnl.primitive_desc_destroy(descriptor);
        return status;
    }
    const size_t steps[OPERANDS] = {0};
    TRY(onednn_add_parts(program, call, descriptor, operands, steps, cell ? OPERANDS : OPERANDS - 2, 1));
    if (whole || !call_output(call, 0))
        return MITRAL_OK;
    const struct interleave between = {(size_t)p->time, state, (size_t)p->directions, (size_t)direction};
    const struct onednn_where wheres[2] = {operands[1].where, {PLACE_OUTPUT, 0, 0}};
    return onednn_add_function(program, call, interleave, wheres, 2, &between, sizeof between);
}

static mitral_status add_layer(struct onednn_program *program, const struct kernel_call *call, const struct recurrent_parameters *p)
{
    struct descriptors d = {0};
    mitral_status status = make_descriptors(call, p, &d);
    for (int64_t direction = 0; direction < p->directions && status == MITRAL_OK; direction++)
        status = add_direction(program, call, p, &d, direction);
    free_descriptors(&d);
    return status;
}

static mitral_status prepare(struct kernel_call *call, enum recurrent_kind kind, void **state, size_t *scratch_bytes)
{
    static const char *const reference[] = {[RECURRENT_RNN] = "RNN", [RECURRENT_GRU] = "GRU", [RECURRENT_LSTM] = "LSTM"};
    struct onednn_program *program;
    struct recurrent_parameters p;
    TRY(call_recurrent_parameters(call, kind, &p));
    if (is_fitting(call, &p)) {
        TRY(onednn_program_create(&program, call));
        const mitral_status status = onednn_program_finish(program, call, add_layer(program, call, &p), state, scratch_bytes);
        if (status != MITRAL_DEFERRED)
            return status;
    }
    TRY(onednn_program_create(&program, call));
    return onednn_program_finish(program, call, onednn_add_delegate(program, call, reference[kind], call->input_count, NULL), state, scratch_bytes);
}

static mitral_status lstm_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return prepare(call, RECURRENT_LSTM, state, scratch_bytes);
}

static mitral_status gru_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return prepare(call, RECURRENT_GRU, state, scratch_bytes);
}

static mitral_status rnn_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return prepare(call, RECURRENT_RNN, state, scratch_bytes);
}

const struct kernel onednn_recurrent[] = {
    {.name = "onednn.gru", .shape = gru_shape, .prepare = gru_prepare, .run = onednn_program_run, .release = onednn_program_destroy,
     .describe = onednn_program_describe},
    {.name = "onednn.lstm", .shape = lstm_shape, .prepare = lstm_prepare, .run = onednn_program_run, .release = onednn_program_destroy,
     .describe = onednn_program_describe},
    {.name = "onednn.rnn", .shape = rnn_shape, .prepare = rnn_prepare, .run = onednn_program_run, .release = onednn_program_destroy,
     .describe = onednn_program_describe},
};
const size_t onednn_recurrent_count = sizeof onednn_recurrent / sizeof *onednn_recurrent;
