/* RNN, GRU and LSTM in one computing type: included with REAL and NAME(x) defined. Sequences of a batch are
 * independent, so each belongs to one thread. */

/* Of 32 bytes, in pairs: wider ones compilers take apart through memory where registers are no wider. */
typedef REAL NAME(lanes) __attribute__((vector_size(32)));
typedef REAL NAME(loose) __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));

/* out[r] (+)= a · row r of b + bias[r]: four rows at once, so that their sums do not wait for each other. */
VECTOR_CLONES static void NAME(dot_products)(const REAL *restrict a, const REAL *restrict b, int64_t count, int64_t rows, const REAL *bias,
                                             bool accumulate, REAL *restrict out)
{
    enum { WIDTH = 32 / sizeof(REAL), TOGETHER = 4 };
    for (int64_t first = 0; first < rows; first += TOGETHER) {
        const int64_t there = rows - first < TOGETHER ? rows - first : TOGETHER;
        const REAL *row[TOGETHER];
        NAME(lanes) sums[TOGETHER][2] = {{{0}}};
        for (int64_t r = 0; r < TOGETHER; r++)
            row[r] = b + (first + (r < there ? r : there - 1)) * count;
        int64_t i = 0;
        for (; i + 2 * WIDTH <= count; i += 2 * WIDTH) {
            const NAME(lanes) x = *(const NAME(loose) *)(a + i), next = *(const NAME(loose) *)(a + i + WIDTH);
            for (int r = 0; r < TOGETHER; r++) {
                sums[r][0] += x * *(const NAME(loose) *)(row[r] + i);
                sums[r][1] += next * *(const NAME(loose) *)(row[r] + i + WIDTH);
            }
        }
        for (int64_t r = 0; r < there; r++) {
            REAL sum = bias ? bias[first + r] : 0, halves[WIDTH];
            *(NAME(loose) *)halves = sums[r][0] + sums[r][1];
            for (int64_t k = i; k < count; k++)
                sum += a[k] * row[r][k];
            for (int width = WIDTH / 2; width > 0; width /= 2)
                for (int k = 0; k < width; k++)
                    halves[k] += halves[k + width];
            out[first + r] = (accumulate ? out[first + r] : 0) + (halves[0] + sum);
        }
    }
}

static REAL NAME(activate)(const struct recurrent_activations *activation, double clip, double x)
{
    const double alpha = (double)activation->alpha, beta = (double)activation->beta;
    if (clip > 0)
        x = x < -clip ? -clip : x > clip ? clip : x;
    switch (activation->function) {
    case ACTIVATION_RELU: return (REAL)(x < 0 ? 0 : x);
    case ACTIVATION_TANH: return (REAL)tanh(x);
    case ACTIVATION_SIGMOID: return (REAL)(1 / (1 + exp(-x)));
    case ACTIVATION_AFFINE: return (REAL)(alpha * x + beta);
    case ACTIVATION_LEAKY_RELU: return (REAL)(x < 0 ? alpha * x : x);
    case ACTIVATION_THRESHOLDED_RELU: return (REAL)(x >= alpha ? x : 0);
    case ACTIVATION_SCALED_TANH: return (REAL)(alpha * tanh(beta * x));
    case ACTIVATION_HARD_SIGMOID: x = alpha * x + beta; return (REAL)(x < 0 ? 0 : x > 1 ? 1 : x);
    case ACTIVATION_ELU: return (REAL)(x < 0 ? alpha * expm1(x) : x);
    case ACTIVATION_SOFTSIGN: return (REAL)(x / (1 + fabs(x)));
    case ACTIVATION_SOFTPLUS: return (REAL)(x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)));
    }
    return (REAL)x;
}

struct NAME(recurrent_operands) {
    const REAL *x, *w, *r, *bias, *initial_h, *initial_c, *peepholes;
    REAL *y, *last_h, *last_c; /* each may be NULL */
    REAL *memory;              /* (gates + 3) · hidden elements a sequence and direction */
};

/* gates[g · hidden + j] = W x + bias of both; R h is added by the caller where the gate wants it. */
static void NAME(input_products)(const struct recurrent_parameters *p, const REAL *x, const REAL *w, const REAL *bias,
                                 REAL *gates)
{
    NAME(dot_products)(x, w, p->input, p->gates * p->hidden, bias, false, gates);
}

static void NAME(add_hidden_products)(const struct recurrent_parameters *p, const REAL *h, const REAL *r,
                                      const REAL *bias, int64_t first, int64_t last, REAL *gates)
{
    const int64_t at = first * p->hidden;
    NAME(dot_products)(h, r + at * p->hidden, p->hidden, (last - first) * p->hidden, bias ? bias + at : NULL, true, gates + at);
}

/* The cells that people use: sigmoid and tanh, nothing clipped or coupled, no peepholes. */
VECTORISED static void NAME(usual_lstm)(int64_t hidden, const REAL *restrict gates, REAL *restrict h, REAL *restrict c)
{
    const REAL *restrict out = gates + hidden, *restrict forget = gates + 2 * hidden, *restrict cell = gates + 3 * hidden;
    for (int64_t j = 0; j < hidden; j++) {
        const REAL state = SIGMOID(forget[j]) * c[j] + SIGMOID(gates[j]) * TANH(cell[j]);
        c[j] = state;
        h[j] = SIGMOID(out[j]) * TANH(state);
    }
}

VECTORISED static void NAME(usual_gates)(int64_t count, REAL *restrict gates)
{
    for (int64_t j = 0; j < count; j++)
        gates[j] = SIGMOID(gates[j]);
}

VECTORISED static void NAME(usual_gru)(int64_t hidden, const REAL *restrict update, const REAL *restrict candidate, REAL *restrict h)
{
    for (int64_t j = 0; j < hidden; j++)
        h[j] = (1 - update[j]) * TANH(candidate[j]) + update[j] * h[j];
}

static void NAME(step_rnn)(const struct recurrent_parameters *p, const struct recurrent_activations *f, const REAL *r,
                           const REAL *r_bias, REAL *gates, REAL *h)
{
    NAME(add_hidden_products)(p, h, r, r_bias, 0, 1, gates);
    for (int64_t j = 0; j < p->hidden; j++)
        h[j] = NAME(activate)(&f[0], (double)p->clip, (double)gates[j]);
}

static void NAME(step_gru)(const struct recurrent_parameters *p, const struct recurrent_activations *f, const REAL *r,
                           const REAL *r_bias, REAL *gates, REAL *h, REAL *spare)
{
    const int64_t hidden = p->hidden;
    REAL *update = gates, *reset = gates + hidden, *candidate = gates + 2 * hidden;
    NAME(add_hidden_products)(p, h, r, r_bias, 0, 2, gates);
    const bool usual = recurrent_is_usual(p, f);
    if (usual)
        NAME(usual_gates)(2 * hidden, gates);
    else
        for (int64_t j = 0; j < 2 * hidden; j++)
            gates[j] = NAME(activate)(&f[0], (double)p->clip, (double)gates[j]);
    const REAL *r_candidate = r + 2 * hidden * hidden, *bias = r_bias ? r_bias + 2 * hidden : NULL;
    if (p->linear_before_reset) {
        NAME(dot_products)(h, r_candidate, hidden, hidden, bias, false, spare);
        for (int64_t j = 0; j < hidden; j++)
            candidate[j] += reset[j] * spare[j];
    } else {
        for (int64_t j = 0; j < hidden; j++)
            spare[j] = reset[j] * h[j];
        NAME(dot_products)(spare, r_candidate, hidden, hidden, bias, true, candidate);
    }
    if (usual) {
        NAME(usual_gru)(hidden, update, candidate, h);
        return;
    }
    for (int64_t j = 0; j < hidden; j++) {
        const REAL value = NAME(activate)(&f[1], (double)p->clip, (double)candidate[j]);
        h[j] = (1 - update[j]) * value + update[j] * h[j];
    }
}

/* Gates in the order input, output, forget, cell; peepholes input, output, forget. */
void NAME(lstm_cell)(const struct recurrent_parameters *p, const struct recurrent_activations *f, const REAL *peepholes,
                     const REAL *gates, REAL *h, REAL *c)
{
    const int64_t hidden = p->hidden;
    const double clip = (double)p->clip;
    for (int64_t j = 0; j < hidden; j++) {
        const REAL look_in = peepholes ? peepholes[j] * c[j] : 0,
                   look_forget = peepholes ? peepholes[2 * hidden + j] * c[j] : 0;
        const REAL in = NAME(activate)(&f[0], clip, (double)(gates[j] + look_in));
        const REAL forget =
            p->input_forget ? 1 - in : NAME(activate)(&f[0], clip, (double)(gates[2 * hidden + j] + look_forget));
        const REAL cell = NAME(activate)(&f[1], clip, (double)gates[3 * hidden + j]);
        c[j] = forget * c[j] + in * cell;
        const REAL look_out = peepholes ? peepholes[hidden + j] * c[j] : 0;
        const REAL out = NAME(activate)(&f[0], clip, (double)(gates[hidden + j] + look_out));
        h[j] = out * NAME(activate)(&f[2], clip, (double)c[j]);
    }
}

static void NAME(run_sequence)(const struct recurrent_parameters *p, const struct NAME(recurrent_operands) * o,
                               int64_t length, int64_t direction, int64_t b)
{
    const int64_t hidden = p->hidden, gates = p->gates, directions = p->directions;
    const bool backwards = directions == 2 ? direction == 1 : p->reverse;
    const int64_t functions = p->kind == RECURRENT_RNN ? 1 : p->kind == RECURRENT_GRU ? 2 : 3;
    const struct recurrent_activations *f = p->activations + direction * functions;
    const REAL *w = o->w + direction * gates * hidden * p->input, *r = o->r + direction * gates * hidden * hidden;
    const REAL *bias = o->bias ? o->bias + direction * 2 * gates * hidden : NULL;
    const REAL *peepholes = o->peepholes ? o->peepholes + direction * 3 * hidden : NULL;
    const int64_t state = (p->batch_first ? b * directions + direction : direction * p->batch + b) * hidden;
    REAL *products = o->memory + (direction * p->batch + b) * (gates + 3) * hidden;
    REAL *h = products + gates * hidden, *c = h + hidden, *spare = c + hidden;
    for (int64_t j = 0; j < hidden; j++) {
        h[j] = o->initial_h ? o->initial_h[state + j] : 0;
        c[j] = o->initial_c ? o->initial_c[state + j] : 0;
    }
    for (int64_t i = 0; i < p->time; i++) {
        /* The part beyond the sequence is zero and leaves the state alone. */
        const int64_t t = backwards && i < length ? length - 1 - i : i;
        const int64_t x_at = p->batch_first ? b * p->time + t : t * p->batch + b;
        const int64_t y_at =
            p->batch_first ? (b * p->time + t) * directions + direction : (t * directions + direction) * p->batch + b;
        if (i < length) {
            NAME(input_products)(p, o->x + x_at * p->input, w, bias, products);
            const REAL *r_bias = bias ? bias + gates * hidden : NULL;
            if (p->kind == RECURRENT_RNN) {
                NAME(step_rnn)(p, f, r, r_bias, products, h);
            } else if (p->kind == RECURRENT_GRU) {
                NAME(step_gru)(p, f, r, r_bias, products, h, spare);
            } else {
                NAME(add_hidden_products)(p, h, r, r_bias, 0, 4, products);
                if (recurrent_is_usual(p, f) && !peepholes)
                    NAME(usual_lstm)(hidden, products, h, c);
                else
                    NAME(lstm_cell)(p, f, peepholes, products, h, c);
            }
        }
        for (int64_t j = 0; o->y && j < hidden; j++)
            o->y[y_at * hidden + j] = i < length ? h[j] : 0;
    }
    for (int64_t j = 0; j < hidden; j++) {
        if (o->last_h)
            o->last_h[state + j] = h[j];
        if (o->last_c)
            o->last_c[state + j] = c[j];
    }
}

static void NAME(recurrent)(const struct recurrent_parameters *p, int threads, const struct NAME(recurrent_operands) *o,
                            const mitral_tensor *lengths)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < p->directions * p->batch; index++) {
        const int64_t b = index % p->batch;
        NAME(run_sequence)(p, o, lengths ? tensor_get_int(lengths, b) : p->time, index / p->batch, b);
    }
}
