/* The losses between a student's and a teacher's values, and their gradients with respect to the student's: mitral.Divergence,
 * mitral.UnitDistance, mitral.MeanSquaredError. The gradient of a divergence over positions has its value as a second output (the pass
 * fuse-divergence asks for it). */
#include <omp.h>

#include "runtime/kernels/reference/gradient_soft.h"
#include "runtime/kernels/registry.h"

/* Vectors shorter than this count as that long, as in PyTorch's normalize. */
#define UNIT_EPSILON 1e-12

struct divergence {
    int64_t batch, channels, plane;
    bool positions;     /* soft-max over the positions of each channel; otherwise over the channels of each position */
    double temperature;
    double factor;      /* of the gradient */
    int64_t rows;       /* distributions: the loss is τ² · their mean */
};

#define REAL float
#define EXP exp_float
#define NAME(x) x##_float
#include "runtime/kernels/reference/gradient_distillation_body.h"
#undef REAL
#undef EXP
#undef NAME
#define REAL double
#define EXP exp_double
#define NAME(x) x##_double
#include "runtime/kernels/reference/gradient_distillation_body.h"
#undef REAL
#undef EXP
#undef NAME

enum term { TERM_DIVERGENCE, TERM_UNIT, TERM_SQUARES };

/* The student's values are input `first`, the teacher's the next one, weights [N, C] (with over = "positions") the one after. */
static mitral_status divergence_decode(const struct kernel_call *call, size_t first, struct divergence *out)
{
    const mitral_tensor *s = call_input(call, first), *weights = call_input(call, first + 2);
    const char *over = attribute_string(call->attributes, "over", "channels");
    char text[160];
    if (s->rank < 2)
        return call_fail(call, MITRAL_INVALID, "values of rank from 2 expected, found rank %d", (int)s->rank);
    *out = (struct divergence){.batch = s->dims[0], .channels = s->dims[1], .plane = 1};
    for (int32_t i = 2; i < s->rank; i++)
        out->plane *= s->dims[i];
    out->positions = strcmp(over, "positions") == 0;
    out->temperature = (double)attribute_float(call->attributes, "temperature", 1);
    out->rows = out->batch * (out->positions ? out->channels : out->plane);
    if (!out->positions && strcmp(over, "channels") != 0)
        return call_fail(call, MITRAL_INVALID, "attribute over: channels or positions expected, found %.40s", over);
    if (!(out->temperature > 0))
        return call_fail(call, MITRAL_INVALID, "a temperature above 0 expected, found %g", out->temperature);
    if (out->channels < 1 || out->plane < 1)
        return call_fail(call, MITRAL_INVALID, "at least one channel and position expected, found %s",
                         tensor_describe(s, text, sizeof(text)));
    if (weights && (!out->positions || weights->rank != 2 || weights->dims[0] != out->batch || weights->dims[1] != out->channels))
        return call_fail(call, MITRAL_INVALID, "weights [%lld,%lld] of distributions over positions expected, found %s",
                         (long long)out->batch, (long long)out->channels, tensor_describe(weights, text, sizeof(text)));
    return MITRAL_OK;
}

static int64_t partial_count(const struct kernel_call *call, size_t first, enum term term)
{
    const mitral_tensor *s = call_input(call, first);
    struct divergence d;
    switch (term) {
    case TERM_DIVERGENCE:
        if (divergence_decode(call, first, &d) != MITRAL_OK)
            return 0;
        return d.positions ? d.rows : d.batch * ((d.plane + SOFT_BLOCK - 1) / SOFT_BLOCK);
    case TERM_UNIT:
        return s->dims[0];
    default:
        return (tensor_count(s) + REDUCTION_CHUNK - 1) / REDUCTION_CHUNK;
    }
}

/* What the gradient needs between its sums and itself: a row for each thread. */
static int64_t room_count(const struct kernel_call *call, enum term term)
{
    struct divergence d;
    if (term != TERM_DIVERGENCE || divergence_decode(call, 1, &d) != MITRAL_OK || !d.positions)
        return 0;
    return d.plane * (call->threads > 0 ? call->threads : 1);
}

static int64_t value_count(const struct kernel_call *call, enum term term)
{
    return call->output_count > 1 ? partial_count(call, 1, term) : 0;
}

static mitral_status term_check(const struct kernel_call *call, size_t first, enum term term)
{
    enum compute compute;
    struct divergence d;
    TRY(check_same_float(call, first + 2, &compute));
    TRY(check_same_shape(call, first, first + 1));
    if (term == TERM_DIVERGENCE)
        TRY(divergence_decode(call, first, &d));
    if (term == TERM_UNIT && call_input(call, first)->rank < 2)
        return call_fail(call, MITRAL_INVALID, "vectors in rows expected, found rank %d", (int)call_input(call, first)->rank);
    return MITRAL_OK;
}

static mitral_status forward_shape(struct kernel_call *call, enum term term)
{
    TRY(term_check(call, 0, term));
    call_set_output(call, 0, call_input(call, 0)->dtype, 0, NULL);
    return MITRAL_OK;
}

static mitral_status backward_shape(struct kernel_call *call, enum term term)
{
    TRY(term_check(call, 1, term));
    call_set_output(call, 0, call_input(call, 1)->dtype, call_input(call, 1)->rank, call_input(call, 1)->dims);
    if (call->output_count > 1) {
        if (!room_count(call, term))
            return call_fail(call, MITRAL_INVALID, "the value together with the gradient expected of a divergence over positions alone");
        call_set_output(call, 1, call_input(call, 1)->dtype, 0, NULL);
    }
    return MITRAL_OK;
}

/* The loss (partial sums; with its gradient only where they are asked for) or its gradient (ds). */
static mitral_status compute_term(const struct kernel_call *call, size_t first, enum term term, enum compute compute,
                                  const struct placed *p, double arriving, double *partial, void *ds, void *room, double *scale)
{
    const mitral_tensor *s = call_input(call, first);
    const void *a = p->inputs[first], *b = p->inputs[first + 1], *weights = p->inputs[first + 2];
    const bool single = compute == COMPUTE_FLOAT;
    struct divergence d;
    if (term == TERM_DIVERGENCE) {
        TRY(divergence_decode(call, first, &d));
        *scale = d.temperature * d.temperature / (double)d.rows;
        d.factor = arriving * d.temperature / (double)d.rows;
        if (single && d.positions)
            divergence_positions_float(&d, call->threads, a, b, weights, partial, ds, room);
        else if (single)
            divergence_channels_float(&d, call->threads, a, b, partial, ds);
        else if (d.positions)
            divergence_positions_double(&d, call->threads, a, b, weights, partial, ds, room);
        else
            divergence_channels_double(&d, call->threads, a, b, partial, ds);
        return MITRAL_OK;
    }
    const int64_t count = tensor_count(s);
    if (term == TERM_UNIT) {
        const int64_t rows = s->dims[0], length = rows ? count / rows : 0;
        *scale = 1.0 / (double)rows;
        if (single)
            unit_distance_float(rows, length, arriving * *scale, call->threads, a, b, partial, ds);
        else
            unit_distance_double(rows, length, arriving * *scale, call->threads, a, b, partial, ds);
        return MITRAL_OK;
    }
    *scale = 1.0 / (double)count;
    if (single)
        squares_float(count, 2 * arriving * *scale, call->threads, a, b, partial, ds);
    else
        squares_double(count, 2 * arriving * *scale, call->threads, a, b, partial, ds);
    return MITRAL_OK;
}

static mitral_status forward_prepare(struct kernel_call *call, size_t *scratch_bytes, enum term term)
{
    return prepare_partials(call, partial_count(call, 0, term), scratch_bytes);
}

static mitral_status forward_run(struct kernel_call *call, enum term term)
{
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    double scale;
    place_floats(call, &work, compute, &p);
    const int64_t count = partial_count(call, 0, term);
    double *partial = work_take(&work, count, sizeof *partial);
    TRY(compute_term(call, 0, term, compute, &p, 0, partial, NULL, NULL, &scale));
    if (call_output(call, 0))
        tensor_set_double(call_output(call, 0), 0, count ? scale * ordered_sum(partial, count) : 0, false);
    return MITRAL_OK;
}

static mitral_status backward_run(struct kernel_call *call, enum term term)
{
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 1)->dtype);
    struct work work = work_of(call);
    double scale;
    place_floats(call, &work, compute, &p);
    if (!p.outputs[0])
        return MITRAL_OK;
    const bool valued = call->output_count > 1 && call_output(call, 1);
    double *room = work_take(&work, room_count(call, term) + value_count(call, term), sizeof *room), *partial = room + room_count(call, term);
    TRY(compute_term(call, 1, term, compute, &p, call_scalar(call, 0, 0), valued ? partial : NULL, p.outputs[0], room, &scale));
    if (valued)
        tensor_set_double(call_output(call, 1), 0, scale * ordered_sum(partial, value_count(call, term)), false);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

#define TERM(name, term)                                                                                               \
    static mitral_status name##_shape(struct kernel_call *call) { return forward_shape(call, term); }                  \
    static mitral_status name##_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)                 \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        return forward_prepare(call, scratch_bytes, term);                                                             \
    }                                                                                                                  \
    static mitral_status name##_run(struct kernel_call *call) { return forward_run(call, term); }                      \
    static mitral_status name##_backward_shape(struct kernel_call *call) { return backward_shape(call, term); }        \
    static mitral_status name##_backward_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)        \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        return prepare_partials(call, room_count(call, term) + value_count(call, term), scratch_bytes);                \
    }                                                                                                                  \
    static mitral_status name##_backward_run(struct kernel_call *call) { return backward_run(call, term); }

TERM(divergence, TERM_DIVERGENCE)
TERM(unit, TERM_UNIT)
TERM(squares, TERM_SQUARES)

const struct kernel reference_gradient_distillation[] = {
    {.name = "mitral.Divergence", .shape = divergence_shape, .prepare = divergence_prepare, .run = divergence_run},
    {.name = "mitral.DivergenceGradient", .shape = divergence_backward_shape, .prepare = divergence_backward_prepare, .run = divergence_backward_run},
    {.name = "mitral.MeanSquaredError", .shape = squares_shape, .prepare = squares_prepare, .run = squares_run},
    {.name = "mitral.MeanSquaredErrorGradient", .shape = squares_backward_shape, .prepare = squares_backward_prepare, .run = squares_backward_run},
    {.name = "mitral.UnitDistance", .shape = unit_shape, .prepare = unit_prepare, .run = unit_run},
    {.name = "mitral.UnitDistanceGradient", .shape = unit_backward_shape, .prepare = unit_backward_prepare, .run = unit_backward_run},
};
const size_t reference_gradient_distillation_count =
    sizeof reference_gradient_distillation / sizeof *reference_gradient_distillation;
