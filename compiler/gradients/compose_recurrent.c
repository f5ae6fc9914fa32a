/* RNN, GRU, LSTM and LinearAttention, unrolled: one set of nodes a step. The products of the first three with the inputs are one for the
 * whole sequence. */
#include <math.h>
#include <string.h>

#include "compiler/evaluate.h"
#include "compiler/gradients/compose.h"
#include "runtime/kernels/reference/recurrent.h"

enum { MAX_STEPS = 4096 };

struct unrolled {
    struct composer *c;
    struct recurrent_parameters p;
    const struct recurrent_activations *functions; /* of the direction */
    value_id w_products;                           /* [time, batch, gates · hidden], in the order of the steps */
    value_id r, r_bias;                            /* [hidden, gates · hidden], [gates · hidden] or NO_VALUE */
    value_id peepholes[3];                         /* input, output, forget */
    value_id h, state;                             /* [batch, hidden]; state: of LSTM */
};

static const char *const names[] = {"Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu",
                                    "Softsign", "Softplus"};

static value_id gate(struct unrolled *u, int function, value_id a)
{
    const struct recurrent_activations *f = &u->functions[function];
    if (u->p.clip > 0)
        a = apply(u->c, "Clip", NULL, (value_id[]){a, number(u->c, -(double)u->p.clip), number(u->c, (double)u->p.clip)}, 3);
    return activated(u->c, names[f->function], (double)f->alpha, (double)f->beta, a);
}

static void split(struct composer *c, value_id a, size_t count, value_id *parts)
{
    struct attributes attributes = {0};
    set_int(c, &attributes, "axis", 1);
    set_int(c, &attributes, "num_outputs", (int64_t)count);
    apply_many(c, "Split", &attributes, &a, 1, parts, count);
}

/* x + b, where b may be absent. */
static value_id plus(struct composer *c, value_id a, value_id b)
{
    return b == NO_VALUE ? a : add(c, a, b);
}

static value_id look(struct unrolled *u, int gate_index, value_id a, value_id state)
{
    return u->peepholes[gate_index] == NO_VALUE ? a : add(u->c, a, multiply(u->c, u->peepholes[gate_index], state));
}

static void step_lstm(struct unrolled *u, value_id products)
{
    struct composer *c = u->c;
    value_id parts[4], one = number(c, 1);
    split(c, plus(c, add(c, products, matrix_product(c, u->h, u->r)), u->r_bias), 4, parts);
    value_id in = gate(u, 0, look(u, 0, parts[0], u->state));
    value_id forget = u->p.input_forget ? subtract(c, one, in) : gate(u, 0, look(u, 2, parts[2], u->state));
    u->state = add(c, multiply(c, forget, u->state), multiply(c, in, gate(u, 1, parts[3])));
    u->h = multiply(c, gate(u, 0, look(u, 1, parts[1], u->state)), gate(u, 2, u->state));
}

static void step_gru(struct unrolled *u, value_id products)
{
    struct composer *c = u->c;
    const int64_t hidden = u->p.hidden;
    value_id w[3], gates[2], candidate;
    split(c, products, 3, w);
    /* The candidate's product is made of h as it is, or of what the reset gate left of it. */
    value_id r = part(c, u->r, 1, 0, 2 * hidden), r_candidate = part(c, u->r, 1, 2 * hidden, 3 * hidden);
    value_id bias = NO_VALUE, bias_candidate = NO_VALUE;
    if (u->r_bias != NO_VALUE) {
        bias = part(c, u->r_bias, 0, 0, 2 * hidden);
        bias_candidate = part(c, u->r_bias, 0, 2 * hidden, 3 * hidden);
    }
    value_id sums = plus(c, add(c, joined(c, w, 2, 1), matrix_product(c, u->h, r)), bias);
    split(c, sums, 2, gates);
    value_id update = gate(u, 0, gates[0]), reset = gate(u, 0, gates[1]);
    if (u->p.linear_before_reset)
        candidate = multiply(c, reset, plus(c, matrix_product(c, u->h, r_candidate), bias_candidate));
    else
        candidate = plus(c, matrix_product(c, multiply(c, reset, u->h), r_candidate), bias_candidate);
    candidate = gate(u, 1, add(c, w[2], candidate));
    u->h = add(c, multiply(c, subtract(c, number(c, 1), update), candidate), multiply(c, update, u->h));
}

static void step(struct unrolled *u, value_id products)
{
    struct composer *c = u->c;
    if (u->p.kind == RECURRENT_LSTM)
        step_lstm(u, products);
    else if (u->p.kind == RECURRENT_GRU)
        step_gru(u, products);
    else
        u->h = gate(u, 0, plus(c, add(c, products, matrix_product(c, u->h, u->r)), u->r_bias));
}

/* From the last to the first, each sequence within its own length. */
static value_id backwards(struct unrolled *u, value_id a)
{
    value_id lengths = input_of(u->c, 4);
    struct attributes attributes = {0};
    if (lengths == NO_VALUE)
        return reversed(u->c, a, 0);
    set_int(u->c, &attributes, "time_axis", 0);
    set_int(u->c, &attributes, "batch_axis", 1);
    return apply(u->c, "ReverseSequence", &attributes, (value_id[]){a, cast(u->c, lengths, MITRAL_INT64)}, 2);
}

/* Row `direction` of an input whose first axis counts directions. */
static value_id row(struct composer *c, size_t input, int64_t direction)
{
    return without_axis(c, part(c, input_of(c, input), 0, direction, direction + 1), 0);
}

static value_id start_state(struct unrolled *u, size_t input, int64_t direction)
{
    struct composer *c = u->c;
    const int64_t dims[2] = {u->p.batch, u->p.hidden}, axis = u->p.batch_first ? 1 : 0;
    if (input_of(c, input) != NO_VALUE)
        return without_axis(c, part(c, input_of(c, input), axis, direction, direction + 1), axis);
    double *zeros = arena_allocate(arena_of(c), (size_t)(u->p.batch * u->p.hidden + 1) * sizeof *zeros);
    if (!zeros) {
        c->status = MITRAL_NO_MEMORY;
        return NO_VALUE;
    }
    return numbers(c, zeros, 2, dims);
}

static void start_direction(struct unrolled *u, value_id x, int64_t direction, bool reverse)
{
    struct composer *c = u->c;
    const int64_t rows = u->p.gates * u->p.hidden, swap[2] = {1, 0};
    const bool lstm = u->p.kind == RECURRENT_LSTM;
    u->functions = u->p.activations + direction * (lstm ? 3 : u->p.kind == RECURRENT_GRU ? 2 : 1);
    u->r = permuted(c, row(c, 2, direction), 2, swap);
    u->r_bias = u->peepholes[0] = u->peepholes[1] = u->peepholes[2] = NO_VALUE;
    u->w_products = matrix_product(c, reverse ? backwards(u, x) : x, permuted(c, row(c, 1, direction), 2, swap));
    if (input_of(c, 3) != NO_VALUE) {
        value_id bias = row(c, 3, direction);
        u->w_products = add(c, u->w_products, part(c, bias, 0, 0, rows));
        u->r_bias = part(c, bias, 0, rows, 2 * rows);
    }
    for (int64_t i = 0; lstm && input_of(c, 7) != NO_VALUE && i < 3; i++)
        u->peepholes[i] = part(c, row(c, 7, direction), 0, i * u->p.hidden, (i + 1) * u->p.hidden);
    u->h = start_state(u, 5, direction);
    u->state = lstm ? start_state(u, 6, direction) : NO_VALUE;
}

/* y: the h of all steps, [time, batch, hidden]. */
static void run_direction(struct unrolled *u, value_id x, int64_t direction, value_id *steps, value_id *y)
{
    struct composer *c = u->c;
    const bool reverse = u->p.directions == 2 ? direction == 1 : u->p.reverse;
    value_id lengths = input_of(c, 4), zero = number(c, 0);
    start_direction(u, x, direction, reverse);
    for (int64_t i = 0; i < u->p.time && c->status == MITRAL_OK; i++) {
        const value_id h = u->h, state = u->state;
        step(u, without_axis(c, part(c, u->w_products, 0, i, i + 1), 0));
        steps[i] = u->h;
        if (lengths != NO_VALUE) {
            value_id active = with_axis(c, binary(c, "Greater", cast(c, lengths, MITRAL_INT64), integers(c, &i, 1)), 1);
            steps[i] = where(c, active, u->h, zero);
            u->h = where(c, active, u->h, h);
            u->state = state == NO_VALUE ? NO_VALUE : where(c, active, u->state, state);
        }
        steps[i] = with_axis(c, steps[i], 0);
    }
    *y = joined(c, steps, (size_t)u->p.time, 0);
    if (reverse)
        *y = backwards(u, *y);
}

/* The node's attributes and sizes, by the function that its kernel decodes them with. */
static mitral_status decode(struct gradient *gradient, const struct node *node, enum recurrent_kind kind, struct recurrent_parameters *out)
{
    struct graph *graph = gradient_graph(gradient);
    mitral_value *values = arena_allocate(graph->arena, (node->input_count + 1) * sizeof *values);
    const mitral_value **inputs = arena_allocate(graph->arena, (node->input_count + 1) * sizeof *inputs);
    if (!values || !inputs)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i] == NO_VALUE)
            continue;
        const struct value_type *type = gradient_type(gradient, node->inputs[i]);
        if (!type_is_static(type))
            return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected inputs of fixed shape, to be unrolled; '%s' has none",
                                 graph->values[node->inputs[i]].name);
        values[i].kind = MITRAL_TENSOR;
        type_to_tensor(type, &values[i].tensor);
        inputs[i] = &values[i];
    }
    struct node plain = *node;
    plain.output_count = 0;
    struct kernel_call call = evaluate_call(graph->context, &plain, inputs, NULL, graph->arena);
    TRY(call_recurrent_parameters(&call, kind, out));
    if (out->time < 1 || out->time > MAX_STEPS)
        return gradient_fail(gradient, node, MITRAL_LIMIT, "expected 1 to %d steps, to be unrolled, found %lld", MAX_STEPS,
                             (long long)out->time);
    return MITRAL_OK;
}

static mitral_status compose(struct gradient *gradient, const struct node *node, bool *done, enum recurrent_kind kind)
{
    struct composer c = composer_start(gradient, node);
    struct unrolled u = {.c = &c};
    TRY(decode(gradient, node, kind, &u.p));
    value_id *steps = arena_allocate(gradient_graph(gradient)->arena, (size_t)u.p.time * sizeof *steps);
    value_id y[2], h[2], state[2], x = input_of(&c, 0);
    if (!steps)
        return MITRAL_NO_MEMORY;
    if (u.p.batch_first)
        x = permuted(&c, x, 3, (const int64_t[]){1, 0, 2});
    const int64_t axis = u.p.batch_first ? 1 : 0;
    for (int64_t d = 0; d < u.p.directions; d++) {
        run_direction(&u, x, d, steps, &y[d]);
        y[d] = with_axis(&c, y[d], 1);
        h[d] = with_axis(&c, u.h, axis);
        state[d] = u.state == NO_VALUE ? NO_VALUE : with_axis(&c, u.state, axis);
    }
    value_id all = joined(&c, y, (size_t)u.p.directions, 1);
    if (u.p.batch_first)
        all = permuted(&c, all, 4, (const int64_t[]){2, 0, 1, 3});
    become(&c, 0, all);
    become(&c, 1, joined(&c, h, (size_t)u.p.directions, axis));
    if (kind == RECURRENT_LSTM)
        become(&c, 2, joined(&c, state, (size_t)u.p.directions, axis));
    return composer_end(&c, done);
}

mitral_status compose_rnn(struct gradient *gradient, const struct node *node, bool *done)
{
    return compose(gradient, node, done, RECURRENT_RNN);
}

mitral_status compose_gru(struct gradient *gradient, const struct node *node, bool *done)
{
    return compose(gradient, node, done, RECURRENT_GRU);
}

mitral_status compose_lstm(struct gradient *gradient, const struct node *node, bool *done)
{
    return compose(gradient, node, done, RECURRENT_LSTM);
}

/* ---- LinearAttention: query, key, value, past state?, decay?, beta? ---------------------------------------------------- */

/* Position t of [batch, length, heads · size] as [batch, heads, rows, columns]. */
static value_id position(struct composer *c, size_t input, int64_t t, const int64_t dims[4])
{
    return reshaped(c, part(c, input_of(c, input), 1, t, t + 1), 4, dims);
}

mitral_status compose_linear_attention(struct gradient *gradient, const struct node *node, bool *done)
{
    enum { QUERY, KEY, VALUE, PAST, DECAY, BETA };
    struct composer c = composer_start(gradient, node);
    const struct value_type q = input_type(&c, QUERY), k = input_type(&c, KEY), v = input_type(&c, VALUE), past = input_type(&c, PAST);
    const int64_t heads = attribute_int(&node->attributes, "q_num_heads", 1), kv_heads = attribute_int(&node->attributes, "kv_num_heads", 1);
    if (!type_is_static(&q) || !type_is_static(&k) || !type_is_static(&v))
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected inputs of fixed shape");
    const int64_t batch = q.dims[0], length = q.dims[1], key_size = k.dims[2] / kv_heads, value_size = v.dims[2] / kv_heads;
    if (length < 1 || length > MAX_STEPS)
        return gradient_fail(gradient, node, MITRAL_LIMIT, "expected 1 to %d positions, to be unrolled, found %lld", MAX_STEPS, (long long)length);
    const int64_t queries[4] = {batch, kv_heads, heads / kv_heads, key_size}, keys[4] = {batch, kv_heads, key_size, 1};
    const int64_t values[4] = {batch, kv_heads, 1, value_size}, whole[4] = {batch, kv_heads, key_size, value_size}, swap[4] = {0, 1, 3, 2};
    const int64_t factors[4] = {batch, kv_heads, input_type(&c, DECAY).rank == 3 ? input_type(&c, DECAY).dims[2] / kv_heads : 0, 1};
    const int64_t rates[4] = {batch, input_type(&c, BETA).rank == 3 ? input_type(&c, BETA).dims[2] : 0, 1, 1};
    const int64_t row[3] = {batch, 1, heads * value_size};
    const float given = attribute_float(&node->attributes, "scale", 0);
    const double scale = given != 0 ? (double)given : 1 / sqrt((double)key_size);
    value_id *rows = arena_allocate(gradient_graph(gradient)->arena, (size_t)length * sizeof *rows), state = input_of(&c, PAST);
    if (!rows)
        return MITRAL_NO_MEMORY;
    if (state == NO_VALUE)
        state = binary(&c, "Expand", number(&c, 0), integers(&c, whole, 4));
    else if (past.dtype != c.dtype)
        state = cast(&c, state, c.dtype);
    for (int64_t t = 0; t < length; t++) {
        value_id key = position(&c, KEY, t, keys), target = position(&c, VALUE, t, values);
        if (input_of(&c, DECAY) != NO_VALUE)
            state = multiply(&c, state, unary(&c, "Exp", position(&c, DECAY, t, factors)));
        if (input_of(&c, BETA) != NO_VALUE) {
            target = subtract(&c, target, matrix_product(&c, permuted(&c, key, 4, swap), state));
            target = multiply(&c, target, position(&c, BETA, t, rates));
        }
        state = add(&c, state, matrix_product(&c, key, target));
        rows[t] = reshaped(&c, scaled(&c, matrix_product(&c, position(&c, QUERY, t, queries), state), scale), 3, row);
    }
    become(&c, 0, joined(&c, rows, (size_t)length, 1));
    become(&c, 1, past.rank == 4 && past.dtype != c.dtype ? cast(&c, state, past.dtype) : state);
    return composer_end(&c, done);
}
