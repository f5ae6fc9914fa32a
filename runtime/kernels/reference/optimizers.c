/* ai.onnx.preview.training: one step of Adagrad, Adam, Momentum over any number of tensors. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/elementwise.h"

enum { MAX_STATES = 2, PARALLEL_COUNT = 32768 };

/* Inputs: R (learning rate), T (number of updates so far), then n tensors each of X, G and the states; outputs: n each
 * of the new X and the new states. */
struct groups {
    size_t count, states;
};

static mitral_status read_groups(const struct kernel_call *call, size_t states, struct groups *out)
{
    size_t each = 2 + states;
    out->states = states;
    out->count = call->input_count > 2 ? (call->input_count - 2) / each : 0;
    if (out->count == 0 || call->input_count != 2 + out->count * each)
        return call_fail(call, MITRAL_INVALID, "R, T and groups of %zu tensors expected, found %zu inputs", each,
                         call->input_count);
    return MITRAL_OK;
}

static mitral_status optimizer_shape(struct kernel_call *call, size_t states)
{
    struct groups groups = {0};
    TRY(read_groups(call, states, &groups));
    for (size_t i = 0; i < 2; i++) {
        const mitral_tensor *scalar = call_input(call, i);
        if (!scalar || tensor_count(scalar) != 1
            || (i ? scalar->dtype != MITRAL_INT64 : !dtype_is_float(scalar->dtype)))
            return call_fail(call, MITRAL_INVALID, "input %zu: one %s expected", i, i ? "int64" : "float");
    }
    for (size_t i = 0; i < groups.count; i++) {
        const mitral_tensor *x = call_input(call, 2 + i);
        for (size_t part = 0; part < 2 + states; part++) {
            const mitral_tensor *tensor = call_input(call, 2 + part * groups.count + i);
            if (!x || !tensor || (x->dtype != MITRAL_FLOAT && x->dtype != MITRAL_DOUBLE) || tensor->dtype != x->dtype
                || !tensor_same_shape(tensor, x))
                return call_fail(call, MITRAL_INVALID, "input %zu: a tensor of floats of the shape of X%zu expected",
                                 2 + part * groups.count + i, i + 1);
        }
        call_set_output(call, i, x->dtype, x->rank, x->dims);
        for (size_t part = 0; part < states; part++)
            call_set_output(call, (part + 1) * groups.count + i, x->dtype, x->rank, x->dims);
    }
    return MITRAL_OK;
}

enum optimizer { ADAGRAD, ADAM, MOMENTUM, NESTEROV };

struct update {
    enum optimizer kind;
    double rate;             /* adjusted for the number of updates */
    double alpha, beta, epsilon, norm, norm_post;
};

/* One element: g regularised, then new states and value. */
#define UPDATE(T)                                                                                                      \
    static void update_##T(const struct update *u, const T *x, const T *g, const T *const *states, T *x_new,           \
                           T *const *states_new, int64_t count, int threads)                                           \
    {                                                                                                                  \
        const T rate = (T)u->rate, alpha = (T)u->alpha, beta = (T)u->beta, epsilon = (T)u->epsilon, norm = (T)u->norm; \
        const T shrink = (T)(1 - u->norm_post);                                                                        \
        (void)threads;                                                                                                 \
        _Pragma(                                                                                                       \
            "omp parallel for num_threads(threads) if (count > PARALLEL_COUNT) schedule(static)") for (int64_t i = 0;  \
                                                                                                       i < count; i++) \
        {                                                                                                              \
            T gradient = norm * x[i] + g[i], first = states[0][i], second = 0, next = x[i];                            \
            switch (u->kind) {                                                                                         \
            case ADAGRAD:                                                                                              \
                first += gradient * gradient;                                                                          \
                next -= rate * gradient / ((T)sqrt((double)first) + epsilon);                                          \
                break;                                                                                                 \
            case ADAM:                                                                                                 \
                first = alpha * first + (1 - alpha) * gradient;                                                        \
                second = beta * states[1][i] + (1 - beta) * gradient * gradient;                                       \
                next = shrink * (next - rate * first / ((T)sqrt((double)second) + epsilon));                           \
                break;                                                                                                 \
            case MOMENTUM:                                                                                             \
            case NESTEROV:                                                                                             \
                first = alpha * first + beta * gradient;                                                               \
                next -= rate * (u->kind == NESTEROV ? gradient + alpha * first : first);                               \
                break;                                                                                                 \
            }                                                                                                          \
            if (x_new)                                                                                                 \
                x_new[i] = next;                                                                                       \
            if (states_new[0])                                                                                         \
                states_new[0][i] = first;                                                                              \
            if (states_new[1])                                                                                         \
                states_new[1][i] = second;                                                                             \
        }                                                                                                              \
    }
UPDATE(float)
UPDATE(double)

static mitral_status optimizer_run(struct kernel_call *call, const struct update *update, size_t states)
{
    struct groups groups = {0};
    TRY(read_groups(call, states, &groups));
    for (size_t i = 0; i < groups.count; i++) {
        const mitral_tensor *x = call_input(call, 2 + i), *g = call_input(call, 2 + groups.count + i);
        const void *old_states[MAX_STATES] = {NULL};
        void *new_states[MAX_STATES] = {NULL};
        for (size_t part = 0; part < states; part++) {
            mitral_tensor *output = call_output(call, (part + 1) * groups.count + i);
            old_states[part] = call_input(call, 2 + (2 + part) * groups.count + i)->data;
            new_states[part] = output ? output->data : NULL;
        }
        void *x_new = call_output(call, i) ? call_output(call, i)->data : NULL;
        if (x->dtype == MITRAL_FLOAT)
            update_float(update, x->data, g->data, (const float *const[]){old_states[0], old_states[1]}, x_new,
                         (float *const[]){new_states[0], new_states[1]}, tensor_count(x), call->threads);
        else
            update_double(update, x->data, g->data, (const double *const[]){old_states[0], old_states[1]}, x_new,
                          (double *const[]){new_states[0], new_states[1]}, tensor_count(x), call->threads);
    }
    return MITRAL_OK;
}

static double number(const struct kernel_call *call, const char *name, float fallback)
{
    return (double)attribute_float(call->attributes, name, fallback);
}

static mitral_status Adagrad_shape(struct kernel_call *call)
{
    return optimizer_shape(call, 1);
}

static mitral_status Adagrad_run(struct kernel_call *call)
{
    double steps = (double)tensor_get_int(call_input(call, 1), 0);
    const struct update update = {.kind = ADAGRAD,
                                  .epsilon = number(call, "epsilon", 0),
                                  .norm = number(call, "norm_coefficient", 0),
                                  .rate = tensor_get_double(call_input(call, 0), 0)
                                        / (1 + steps * number(call, "decay_factor", 0))};
    return optimizer_run(call, &update, 1);
}

static mitral_status Adam_shape(struct kernel_call *call)
{
    return optimizer_shape(call, 2);
}

static mitral_status Adam_run(struct kernel_call *call)
{
    double steps = (double)tensor_get_int(call_input(call, 1), 0), alpha = number(call, "alpha", 0.9f),
           beta = number(call, "beta", 0.999f);
    double rate = tensor_get_double(call_input(call, 0), 0);
    if (steps > 0)
        rate *= sqrt(1 - pow(beta, steps)) / (1 - pow(alpha, steps));
    const struct update update = {.kind = ADAM,
                                  .rate = rate,
                                  .alpha = alpha,
                                  .beta = beta,
                                  .epsilon = number(call, "epsilon", 1e-6f),
                                  .norm = number(call, "norm_coefficient", 0),
                                  .norm_post = number(call, "norm_coefficient_post", 0)};
    return optimizer_run(call, &update, 2);
}

static mitral_status Momentum_mode(const struct kernel_call *call, enum optimizer *out)
{
    const char *mode = attribute_string(call->attributes, "mode", "");
    *out = strcmp(mode, "nesterov") == 0 ? NESTEROV : MOMENTUM;
    if (*out == MOMENTUM && strcmp(mode, "standard") != 0)
        return call_fail(call, MITRAL_INVALID, "attribute mode: 'standard' or 'nesterov' expected, found '%s'", mode);
    return MITRAL_OK;
}

static mitral_status Momentum_shape(struct kernel_call *call)
{
    enum optimizer kind;
    TRY(Momentum_mode(call, &kind));
    return optimizer_shape(call, 1);
}

static mitral_status Momentum_run(struct kernel_call *call)
{
    enum optimizer kind = MOMENTUM;
    TRY(Momentum_mode(call, &kind));
    bool first = tensor_get_int(call_input(call, 1), 0) == 0;
    const struct update update = {.kind = kind,
                                  .rate = tensor_get_double(call_input(call, 0), 0),
                                  .alpha = number(call, "alpha", 0),
                                  .beta = first ? 1 : number(call, "beta", 0),
                                  .norm = number(call, "norm_coefficient", 0)};
    return optimizer_run(call, &update, 1);
}

const struct kernel reference_optimizers[] = {
    {"training.Adagrad", 0, Adagrad_shape, NULL, Adagrad_run},
    {"training.Adam", 0, Adam_shape, NULL, Adam_run},
    {"training.Momentum", 0, Momentum_shape, NULL, Momentum_run},
};
const size_t reference_optimizers_count = sizeof(reference_optimizers) / sizeof(reference_optimizers[0]);
