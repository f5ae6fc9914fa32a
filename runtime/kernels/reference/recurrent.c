/* RNN, GRU, LSTM. */
#include "runtime/kernels/reference/recurrent.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/reference/shapes.h"
#include "runtime/kernels/reference/vector_math.h"

static const struct {
    const char *name;
    bool alpha, beta; /* which parameters it reads */
    float alpha_default, beta_default;
} functions[] = {
    [ACTIVATION_RELU] = {"Relu", false, false, 0, 0},
    [ACTIVATION_TANH] = {"Tanh", false, false, 0, 0},
    [ACTIVATION_SIGMOID] = {"Sigmoid", false, false, 0, 0},
    [ACTIVATION_AFFINE] = {"Affine", true, true, 1, 0},
    [ACTIVATION_LEAKY_RELU] = {"LeakyRelu", true, false, 0.01f, 0},
    [ACTIVATION_THRESHOLDED_RELU] = {"ThresholdedRelu", true, false, 1, 0},
    [ACTIVATION_SCALED_TANH] = {"ScaledTanh", true, true, NAN, NAN},
    [ACTIVATION_HARD_SIGMOID] = {"HardSigmoid", true, true, 0.2f, 0.5f},
    [ACTIVATION_ELU] = {"Elu", true, false, 1, 0},
    [ACTIVATION_SOFTSIGN] = {"Softsign", false, false, 0, 0},
    [ACTIVATION_SOFTPLUS] = {"Softplus", false, false, 0, 0},
};

/* A list as long as the activations has one value each; a shorter one has values for those that read one, in their
 * order. */
static float parameter(const float *values, size_t count, size_t activations, size_t index, bool reads, size_t *next,
                       float fallback)
{
    if (!reads)
        return 0;
    size_t at = count >= activations ? index : (*next)++;
    return at < count ? values[at] : fallback;
}

static mitral_status decode_activations(const struct kernel_call *call, struct recurrent_parameters *p)
{
    static const enum recurrent_activation usual[3][3] = {{ACTIVATION_TANH},
                                                          {ACTIVATION_SIGMOID, ACTIVATION_TANH},
                                                          {ACTIVATION_SIGMOID, ACTIVATION_TANH, ACTIVATION_TANH}};
    const size_t each = p->kind == RECURRENT_RNN ? 1
                      : p->kind == RECURRENT_GRU ? 2
                                                 : 3,
                 all = each * (size_t)p->directions;
    size_t count, alpha_count, beta_count, next_alpha = 0, next_beta = 0;
    const mitral_string *names = attribute_strings(call->attributes, "activations", &count);
    const float *alphas = attribute_floats(call->attributes, "activation_alpha", &alpha_count);
    const float *betas = attribute_floats(call->attributes, "activation_beta", &beta_count);
    /* A list for one direction holds for both; RNN's default in the schema names both even where there is one. */
    if (names && count != 0 && count != all && count != each && !(p->kind == RECURRENT_RNN && count == 2))
        return call_fail(call, MITRAL_INVALID, "%zu activations expected, found %zu", all, count);
    for (size_t i = 0; i < all; i++) {
        struct recurrent_activations *activation = &p->activations[i];
        activation->function = usual[p->kind][i % each];
        if (names && count) {
            const mitral_string *name = &names[i % count];
            size_t f = 0, known = sizeof(functions) / sizeof(*functions);
            while (f < known
                   && (strlen(functions[f].name) != name->size
                       || strncasecmp(functions[f].name, name->data, name->size) != 0))
                f++;
            if (f == known)
                return call_fail(call, MITRAL_UNSUPPORTED,
                                 "an activation such as Tanh, Sigmoid or Relu expected, found %.*s",
                                 (int)(name->size < 40 ? name->size : 40), name->data);
            activation->function = (enum recurrent_activation)f;
        }
        const enum recurrent_activation f = activation->function;
        activation->alpha =
            parameter(alphas, alpha_count, all, i, functions[f].alpha, &next_alpha, functions[f].alpha_default);
        activation->beta =
            parameter(betas, beta_count, all, i, functions[f].beta, &next_beta, functions[f].beta_default);
        if (isnan(activation->alpha) || isnan(activation->beta))
            return call_fail(call, MITRAL_INVALID, "activation_alpha and activation_beta for %s expected, found none",
                             functions[f].name);
    }
    return MITRAL_OK;
}

static mitral_status expect(const struct kernel_call *call, size_t index, const char *name, int32_t rank, int64_t a,
                            int64_t b, int64_t c)
{
    const mitral_tensor *tensor = call_input(call, index);
    if (!tensor)
        return MITRAL_OK;
    const int64_t dims[3] = {a, b, c};
    mitral_tensor expected;
    tensor_set(&expected, index == 4 ? MITRAL_INT32 : call_input(call, 0)->dtype, rank, dims);
    if (tensor->dtype == expected.dtype && tensor_same_shape(tensor, &expected))
        return MITRAL_OK;
    char wanted[160], found[160];
    return call_fail(call, MITRAL_INVALID, "%s %s expected, found %s", name,
                     tensor_describe(&expected, wanted, sizeof(wanted)), tensor_describe(tensor, found, sizeof(found)));
}

mitral_status call_recurrent_parameters(const struct kernel_call *call, enum recurrent_kind kind,
                                        struct recurrent_parameters *out)
{
    struct recurrent_parameters *p = out;
    *p = (struct recurrent_parameters){.kind = kind,
                                       .gates = kind == RECURRENT_RNN ? 1
                                              : kind == RECURRENT_GRU ? 3
                                                                      : 4};
    const mitral_tensor *x = call_input(call, 0), *w = call_input(call, 1), *r = call_input(call, 2);
    char first[160], second[160], third[160];
    if (!x || !w || !r || x->rank != 3 || w->rank != 3 || r->rank != 3)
        return call_fail(call, MITRAL_INVALID, "X, W and R of rank 3 expected, found %s, %s and %s",
                         x ? tensor_describe(x, first, sizeof(first)) : "none",
                         w ? tensor_describe(w, second, sizeof(second)) : "none",
                         r ? tensor_describe(r, third, sizeof(third)) : "none");
    const char *direction = attribute_string(call->attributes, "direction", "forward");
    if (strcmp(direction, "forward") != 0 && strcmp(direction, "reverse") != 0
        && strcmp(direction, "bidirectional") != 0)
        return call_fail(call, MITRAL_INVALID, "direction forward, reverse or bidirectional expected, found %.40s",
                         direction);
    p->directions = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    p->reverse = strcmp(direction, "reverse") == 0;
    p->batch_first = attribute_int(call->attributes, "layout", 0) != 0;
    p->input_forget = attribute_int(call->attributes, "input_forget", 0) != 0;
    p->linear_before_reset = attribute_int(call->attributes, "linear_before_reset", 0) != 0;
    p->clip = attribute_float(call->attributes, "clip", 0);
    p->time = x->dims[p->batch_first ? 1 : 0];
    p->batch = x->dims[p->batch_first ? 0 : 1];
    p->input = x->dims[2];
    p->hidden = r->dims[2];
    const int64_t stated = attribute_int(call->attributes, "hidden_size", p->hidden), rows = p->gates * p->hidden;
    if (stated != p->hidden)
        return call_fail(call, MITRAL_INVALID, "hidden_size %lld as in R expected, found %lld", (long long)p->hidden,
                         (long long)stated);
    const int64_t d = p->directions, b = p->batch, h = p->hidden;
    TRY(expect(call, 1, "W", 3, d, rows, p->input));
    TRY(expect(call, 2, "R", 3, d, rows, h));
    TRY(expect(call, 3, "B", 2, d, 2 * rows, 0));
    TRY(expect(call, 4, "sequence_lens", 1, b, 0, 0));
    TRY(expect(call, 5, "initial_h", 3, p->batch_first ? b : d, p->batch_first ? d : b, h));
    if (kind == RECURRENT_LSTM) {
        TRY(expect(call, 6, "initial_c", 3, p->batch_first ? b : d, p->batch_first ? d : b, h));
        TRY(expect(call, 7, "P", 2, d, 3 * h, 0));
    }
    return decode_activations(call, p);
}

static mitral_status shape(struct kernel_call *call, enum recurrent_kind kind)
{
    enum compute compute;
    struct recurrent_parameters p;
    TRY(check_float_operand(call, 0, &compute));
    TRY(call_recurrent_parameters(call, kind, &p));
    const int32_t dtype = call_input(call, 0)->dtype;
    const int64_t d = p.directions;
    const int64_t time_first[4] = {p.time, d, p.batch, p.hidden}, batch_first[4] = {p.batch, p.time, d, p.hidden};
    const int64_t state[3] = {p.batch_first ? p.batch : d, p.batch_first ? d : p.batch, p.hidden};
    call_set_output(call, 0, dtype, 4, p.batch_first ? batch_first : time_first);
    call_set_output(call, 1, dtype, 3, state);
    call_set_output(call, 2, dtype, 3, state);
    return MITRAL_OK;
}

mitral_status shape_rnn(struct kernel_call *call)
{
    return shape(call, RECURRENT_RNN);
}

mitral_status shape_gru(struct kernel_call *call)
{
    return shape(call, RECURRENT_GRU);
}

mitral_status shape_lstm(struct kernel_call *call)
{
    return shape(call, RECURRENT_LSTM);
}

bool recurrent_is_usual(const struct recurrent_parameters *p, const struct recurrent_activations *f)
{
    return f[0].function == ACTIVATION_SIGMOID && f[1].function == ACTIVATION_TANH && (p->kind != RECURRENT_LSTM || f[2].function == ACTIVATION_TANH)
           && p->kind != RECURRENT_RNN && !(p->clip > 0) && !p->input_forget;
}

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/recurrent_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/recurrent_body.h"
#undef REAL
#undef NAME

struct operands {
    const void *inputs[8];
    void *outputs[3], *memory;
};

static mitral_status place(const struct kernel_call *call, struct work *work, enum recurrent_kind kind,
                           struct recurrent_parameters *p, struct operands *out)
{
    TRY(call_recurrent_parameters(call, kind, p));
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    for (size_t i = 0; i < 8; i++)
        out->inputs[i] = i == 4 ? NULL : work_operand(work, compute, call_input(call, i));
    for (size_t i = 0; i < 3; i++)
        out->outputs[i] = work_result(work, compute, call_output(call, i));
    int64_t count = (p->gates + 3) * p->hidden;
    if (!multiply_sizes(count, p->directions * p->batch, &count))
        count = -1;
    out->memory = work_take(work, count, compute_size(compute));
    return MITRAL_OK;
}

static mitral_status prepare(struct kernel_call *call, enum recurrent_kind kind, size_t *scratch_bytes)
{
    struct work work = {0};
    struct recurrent_parameters p;
    struct operands operands;
    TRY(place(call, &work, kind, &p, &operands));
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run(struct kernel_call *call, enum recurrent_kind kind)
{
    struct work work = work_of(call);
    struct recurrent_parameters p;
    struct operands o;
    TRY(place(call, &work, kind, &p, &o));
    const mitral_tensor *lengths = call_input(call, 4);
    for (int64_t b = 0; lengths && b < p.batch; b++)
        if (tensor_get_int(lengths, b) < 0 || tensor_get_int(lengths, b) > p.time)
            return call_fail(call, MITRAL_INVALID, "sequence_lens from 0 to %lld expected, found %lld",
                             (long long)p.time, (long long)tensor_get_int(lengths, b));
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    const void *const *in = o.inputs;
    if (compute == COMPUTE_FLOAT) {
        const struct recurrent_operands_float operands = {in[0], in[1], in[2], in[3], in[5], in[6], in[7],
                                                          o.outputs[0], o.outputs[1], o.outputs[2], o.memory};
        recurrent_float(&p, call->threads, &operands, lengths);
    } else {
        const struct recurrent_operands_double operands = {in[0], in[1], in[2], in[3], in[5], in[6], in[7],
                                                           o.outputs[0], o.outputs[1], o.outputs[2], o.memory};
        recurrent_double(&p, call->threads, &operands, lengths);
    }
    for (size_t i = 0; i < 3; i++)
        work_store(compute, call_output(call, i), o.outputs[i]);
    return MITRAL_OK;
}

static mitral_status prepare_rnn(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    return prepare(call, RECURRENT_RNN, scratch_bytes);
}

static mitral_status prepare_gru(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    return prepare(call, RECURRENT_GRU, scratch_bytes);
}

static mitral_status prepare_lstm(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    return prepare(call, RECURRENT_LSTM, scratch_bytes);
}

static mitral_status run_rnn(struct kernel_call *call)
{
    return run(call, RECURRENT_RNN);
}

static mitral_status run_gru(struct kernel_call *call)
{
    return run(call, RECURRENT_GRU);
}

static mitral_status run_lstm(struct kernel_call *call)
{
    return run(call, RECURRENT_LSTM);
}

const struct kernel reference_recurrent[] = {
    {.name = "GRU", .shape = shape_gru, .prepare = prepare_gru, .run = run_gru},
    {.name = "LSTM", .shape = shape_lstm, .prepare = prepare_lstm, .run = run_lstm},
    {.name = "RNN", .shape = shape_rnn, .prepare = prepare_rnn, .run = run_rnn},
};
const size_t reference_recurrent_count = sizeof(reference_recurrent) / sizeof(*reference_recurrent);
