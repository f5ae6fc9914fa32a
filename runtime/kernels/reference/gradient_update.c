/* What changes variables: mitral.SgdUpdate, mitral.AdamUpdate, mitral.EmaUpdate, mitral.GradientAccumulate, and mitral.GradientScale,
 * which clips by the norm of all gradients. An output that is the next state of a variable shares its memory. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/registry.h"

struct sgd {
    double rate, scale, decay, momentum;
    bool nesterov;
};

struct adam {
    double rate, scale, coupled_decay, keep, beta1, beta2, epsilon, correction;
};

static inline float root_float(float x) { return sqrtf(x); }
static inline double root_double(double x) { return sqrt(x); }

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/gradient_update_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/gradient_update_body.h"
#undef REAL
#undef NAME

/* A float attribute as the decimal number of 7 digits that was meant: 0.999, not 0.99900001287. */
static double decimal(const struct kernel_call *call, const char *name, float fallback)
{
    const double value = (double)attribute_float(call->attributes, name, fallback);
    if (value == 0 || !isfinite(value))
        return value;
    const int digits = 6 - (int)floor(log10(fabs(value)));
    return digits >= 0 && digits < 30 ? round(value * pow(10, digits)) / pow(10, digits) : value;
}

/* Inputs 0 … count-1 are of one shape and float type; outputs are like the inputs of `states`. */
static mitral_status states_shape(struct kernel_call *call, size_t count, const size_t *states, size_t state_count)
{
    enum compute compute;
    TRY(check_same_float(call, count, &compute));
    for (size_t i = 1; i < count; i++)
        if (call_input(call, i))
            TRY(check_same_shape(call, 0, i));
    for (size_t i = 0; i < state_count; i++)
        if (call_input(call, states[i]))
            call_set_output_like(call, i, call_input(call, states[i]));
    return MITRAL_OK;
}

static mitral_status check_one_element(const struct kernel_call *call, size_t index, bool required)
{
    const mitral_tensor *tensor = call_input(call, index);
    char text[160];
    if (tensor ? tensor_count(tensor) != 1 : required)
        return call_fail(call, MITRAL_INVALID, "input %zu: one number expected, found %s", index,
                         tensor ? tensor_describe(tensor, text, sizeof(text)) : "none");
    return MITRAL_OK;
}

/* Leaves the states as they are. */
static void keep_states(struct kernel_call *call, const size_t *states, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const mitral_tensor *from = call_input(call, states[i]);
        mitral_tensor *to = call_output(call, i);
        if (from && to && from->data != to->data)
            memcpy(to->data, from->data, tensor_bytes(to));
    }
}

/* ---- SgdUpdate: W, G, momentum?, rate, gradient scale?, apply? → W, momentum --------------------------------------------- */

static const size_t sgd_states[] = {0, 2};

static mitral_status sgd_shape(struct kernel_call *call)
{
    if (!call_input(call, 1))
        return call_fail(call, MITRAL_INVALID, "weights and a gradient expected, found no gradient");
    TRY(states_shape(call, 3, sgd_states, 2));
    for (size_t i = 3; i < 6; i++)
        TRY(check_one_element(call, i, i == 3));
    if (attribute_float(call->attributes, "momentum", 0) != 0 && (!call_input(call, 2) || !call_output(call, 1)))
        return call_fail(call, MITRAL_INVALID, "a momentum state expected, found none");
    return MITRAL_OK;
}

static mitral_status sgd_run(struct kernel_call *call)
{
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    const struct sgd s = {.rate = call_scalar(call, 3, 0), .scale = call_scalar(call, 4, 1), .decay = decimal(call, "weight_decay", 0),
                          .momentum = decimal(call, "momentum", 0), .nesterov = attribute_int(call->attributes, "nesterov", 0) != 0};
    const int64_t count = tensor_count(call_input(call, 0));
    if (call_scalar(call, 5, 1) == 0) {
        keep_states(call, sgd_states, 2);
        return MITRAL_OK;
    }
    place_floats(call, &work, compute, &p);
    if (!p.outputs[0])
        return MITRAL_OK;
    const void *momentum = p.outputs[1] ? p.inputs[2] : NULL;
    if (compute == COMPUTE_FLOAT)
        sgd_float(count, call->threads, &s, p.inputs[0], p.inputs[1], momentum, p.outputs[0], p.outputs[1]);
    else
        sgd_double(count, call->threads, &s, p.inputs[0], p.inputs[1], momentum, p.outputs[0], p.outputs[1]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- AdamUpdate: W, G, M, V, rate, step (from 1), gradient scale?, apply? → W, M, V --------------------------------------- */

static const size_t adam_states[] = {0, 2, 3};

static mitral_status adam_shape(struct kernel_call *call)
{
    for (size_t i = 1; i < 4; i++)
        if (!call_input(call, i))
            return call_fail(call, MITRAL_INVALID, "weights, gradient and two states expected, found input %zu absent", i);
    TRY(states_shape(call, 4, adam_states, 3));
    for (size_t i = 4; i < 8; i++)
        TRY(check_one_element(call, i, i < 6));
    return MITRAL_OK;
}

static mitral_status adam_run(struct kernel_call *call)
{
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    const double rate = call_scalar(call, 4, 0), step = call_scalar(call, 5, 1), decay = decimal(call, "weight_decay", 0);
    const bool decoupled = attribute_int(call->attributes, "decoupled", 0) != 0;
    struct adam s = {.scale = call_scalar(call, 6, 1), .coupled_decay = decoupled ? 0 : decay, .keep = decoupled ? 1 - rate * decay : 1,
                     .beta1 = decimal(call, "beta1", 0.9f), .beta2 = decimal(call, "beta2", 0.999f), .epsilon = decimal(call, "epsilon", 1e-8f)};
    const int64_t count = tensor_count(call_input(call, 0));
    if (call_scalar(call, 7, 1) == 0) {
        keep_states(call, adam_states, 3);
        return MITRAL_OK;
    }
    s.rate = rate / (1 - pow(s.beta1, step));
    s.correction = 1 / sqrt(1 - pow(s.beta2, step));
    place_floats(call, &work, compute, &p);
    if (!p.outputs[0] || !p.outputs[1] || !p.outputs[2])
        return MITRAL_OK;
    if (compute == COMPUTE_FLOAT)
        adam_float(count, call->threads, &s, p.inputs[0], p.inputs[1], p.inputs[2], p.inputs[3], p.outputs[0], p.outputs[1], p.outputs[2]);
    else
        adam_double(count, call->threads, &s, p.inputs[0], p.inputs[1], p.inputs[2], p.inputs[3], p.outputs[0], p.outputs[1], p.outputs[2]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- EmaUpdate: mean, value, apply? → mean; GradientAccumulate: sum, gradient, first → sum ------------------------------- */

static mitral_status blend_shape(struct kernel_call *call)
{
    static const size_t states[] = {0};
    TRY(check_same_shape(call, 0, 1));
    TRY(states_shape(call, 2, states, 1));
    return check_one_element(call, 2, false);
}

static mitral_status blend_run(struct kernel_call *call, double a, double b)
{
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    const int64_t count = tensor_count(call_input(call, 0));
    place_floats(call, &work, compute, &p);
    if (compute == COMPUTE_FLOAT && p.outputs[0])
        blend_float(count, (float)a, p.inputs[0], (float)b, p.inputs[1], p.outputs[0]);
    else if (p.outputs[0])
        blend_double(count, a, p.inputs[0], b, p.inputs[1], p.outputs[0]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

static mitral_status ema_run(struct kernel_call *call)
{
    static const size_t states[] = {0};
    const double decay = decimal(call, "decay", 0.999f);
    if (call_scalar(call, 2, 1) == 0) {
        keep_states(call, states, 1);
        return MITRAL_OK;
    }
    return blend_run(call, decay, 1 - decay);
}

/* The first gradient of a round replaces what was there, a NaN too. */
static mitral_status accumulate_run(struct kernel_call *call)
{
    const double scale = 1.0 / (double)attribute_int(call->attributes, "count", 1);
    if (call_scalar(call, 2, 0) == 0)
        return blend_run(call, 1, scale);
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    place_floats(call, &work, compute, &p);
    const int64_t count = tensor_count(call_input(call, 0));
    for (int64_t i = 0; p.outputs[0] && i < count; i++)
        if (compute == COMPUTE_FLOAT)
            ((float *)p.outputs[0])[i] = ((const float *)p.inputs[1])[i] * (float)scale;
        else
            ((double *)p.outputs[0])[i] = ((const double *)p.inputs[1])[i] * scale;
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- GradientScale: gradients… → min(1, maximum / norm), norm of all ------------------------------------------------------ */

static mitral_status scale_shape(struct kernel_call *call)
{
    enum compute compute;
    for (size_t i = 0; i < call->input_count; i++)
        TRY(check_float_operand(call, i, &compute));
    if (call->input_count == 0)
        return call_fail(call, MITRAL_INVALID, "at least one gradient expected, found none");
    call_set_output(call, 0, call_input(call, 0)->dtype, 0, NULL);
    call_set_output(call, 1, call_input(call, 0)->dtype, 0, NULL);
    return MITRAL_OK;
}

static int64_t largest_partials(const struct kernel_call *call)
{
    int64_t most = 1;
    for (size_t i = 0; i < call->input_count; i++)
        most = larger(most, (tensor_count(call_input(call, i)) + REDUCTION_CHUNK - 1) / REDUCTION_CHUNK);
    return most;
}

static mitral_status scale_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct work work = {0};
    (void)state;
    work_take(&work, largest_partials(call), sizeof(double));
    return work_measure(call, &work, scratch_bytes);
}

static double square_chunk(const mitral_tensor *x, int64_t start, int64_t count)
{
    if (x->dtype == MITRAL_FLOAT)
        return square_sum_float((const float *)x->data + start, count);
    if (x->dtype == MITRAL_DOUBLE)
        return square_sum_double((const double *)x->data + start, count);
    double sum = 0;
    for (int64_t i = start; i < start + count; i++)
        sum += tensor_get_double(x, i) * tensor_get_double(x, i);
    return sum;
}

static mitral_status scale_run(struct kernel_call *call)
{
    struct work work = work_of(call);
    double *partial = work_take(&work, largest_partials(call), sizeof *partial), sum = 0;
    const double maximum = (double)attribute_float(call->attributes, "maximum", 0);
    for (size_t i = 0; i < call->input_count; i++) {
        const mitral_tensor *x = call_input(call, i);
        const int64_t count = tensor_count(x), chunks = (count + REDUCTION_CHUNK - 1) / REDUCTION_CHUNK;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (call->threads > 1 && chunks > 8)
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            partial[chunk] = square_chunk(x, chunk * REDUCTION_CHUNK, smaller(count - chunk * REDUCTION_CHUNK, REDUCTION_CHUNK));
        sum += ordered_sum(partial, chunks);
    }
    const double norm = sqrt(sum), scale = maximum / (norm + 1e-6);
    if (call_output(call, 0))
        tensor_set_double(call_output(call, 0), 0, maximum > 0 && scale < 1 ? scale : 1, false);
    if (call_output(call, 1))
        tensor_set_double(call_output(call, 1), 0, norm, false);
    return MITRAL_OK;
}

const struct kernel reference_gradient_update[] = {
    {.name = "mitral.AdamUpdate", .flags = KERNEL_IN_PLACE, .shape = adam_shape, .prepare = prepare_floats, .run = adam_run},
    {.name = "mitral.EmaUpdate", .flags = KERNEL_IN_PLACE, .shape = blend_shape, .prepare = prepare_floats, .run = ema_run},
    {.name = "mitral.GradientAccumulate", .flags = KERNEL_IN_PLACE, .shape = blend_shape, .prepare = prepare_floats, .run = accumulate_run},
    {.name = "mitral.GradientScale", .shape = scale_shape, .prepare = scale_prepare, .run = scale_run},
    {.name = "mitral.SgdUpdate", .flags = KERNEL_IN_PLACE, .shape = sgd_shape, .prepare = prepare_floats, .run = sgd_run},
};
const size_t reference_gradient_update_count = sizeof reference_gradient_update / sizeof *reference_gradient_update;
