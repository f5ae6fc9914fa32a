/* SoftmaxCrossEntropyLoss: scores, labels, weights? -> loss, log-probabilities?. NegativeLogLikelihoodLoss:
 * log-probabilities, labels, weights? -> loss. Scores are [N, C, D…], labels [N, D…]. Sums are taken in double, in one
 * order. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/reference/softmax.h"

enum reduction { REDUCTION_NONE, REDUCTION_SUM, REDUCTION_MEAN };

struct loss {
    int64_t batch, classes, inner;
    enum reduction reduction;
    bool ignores;
    int64_t ignored;
};

static mitral_status decode(const struct kernel_call *call, struct loss *l)
{
    const mitral_tensor *scores = call_input(call, 0), *labels = call_input(call, 1), *weights = call_input(call, 2);
    char first[160], second[160];
    bool fits = scores && labels && scores->rank >= 2 && labels->rank == scores->rank - 1
             && (labels->dtype == MITRAL_INT32 || labels->dtype == MITRAL_INT64) && labels->dims[0] == scores->dims[0];
    *l = (struct loss){.inner = 1};
    for (int32_t i = 2; fits && i < scores->rank; i++) {
        fits = labels->dims[i - 1] == scores->dims[i];
        l->inner *= scores->dims[i];
    }
    if (!fits)
        return call_fail(call, MITRAL_INVALID, "scores [N, C, …] and integer labels [N, …] expected, found %s and %s",
                         scores ? tensor_describe(scores, first, sizeof(first)) : "none",
                         labels ? tensor_describe(labels, second, sizeof(second)) : "none");
    l->batch = scores->dims[0];
    l->classes = scores->dims[1];
    if (weights && (weights->rank != 1 || weights->dims[0] != l->classes || weights->dtype != scores->dtype))
        return call_fail(call, MITRAL_INVALID, "weights [%lld] of the scores' type expected, found %s",
                         (long long)l->classes, tensor_describe(weights, first, sizeof(first)));
    const char *reduction = attribute_string(call->attributes, "reduction", "mean");
    if (strcmp(reduction, "none") == 0)
        l->reduction = REDUCTION_NONE;
    else if (strcmp(reduction, "sum") == 0)
        l->reduction = REDUCTION_SUM;
    else if (strcmp(reduction, "mean") == 0)
        l->reduction = REDUCTION_MEAN;
    else
        return call_fail(call, MITRAL_INVALID, "reduction none, sum or mean expected, found %.40s", reduction);
    l->ignores = attribute_has(call->attributes, "ignore_index");
    l->ignored = attribute_int(call->attributes, "ignore_index", 0);
    return MITRAL_OK;
}

static mitral_status shape(struct kernel_call *call)
{
    enum compute compute;
    struct loss l;
    TRY(check_float_operand(call, 0, &compute));
    TRY(decode(call, &l));
    const mitral_tensor *scores = call_input(call, 0), *labels = call_input(call, 1);
    call_set_output(call, 0, scores->dtype, l.reduction == REDUCTION_NONE ? labels->rank : 0, labels->dims);
    call_set_output(call, 1, scores->dtype, scores->rank, scores->dims);
    return MITRAL_OK;
}

/* Without a soft-max the scores are log-probabilities as they come. */
static void place(const struct kernel_call *call, struct work *work, bool softmax, const void **scores,
                  void **logarithms)
{
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    *scores = work_operand(work, compute, call_input(call, 0));
    *logarithms = NULL;
    if (softmax)
        *logarithms = call_output(call, 1) ? work_result(work, compute, call_output(call, 1))
                                           : work_take(work, tensor_count(call_input(call, 0)), compute_size(compute));
}

static mitral_status prepare(struct kernel_call *call, bool softmax, size_t *scratch_bytes)
{
    struct work work = {0};
    const void *scores;
    void *logarithms;
    place(call, &work, softmax, &scores, &logarithms);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status sum_up(const struct kernel_call *call, const struct loss *l, const void *logarithms)
{
    mitral_tensor *y = call_output(call, 0);
    const mitral_tensor *labels = call_input(call, 1), *weights = call_input(call, 2);
    const bool single = compute_of(call_input(call, 0)->dtype) == COMPUTE_FLOAT;
    double sum = 0, weight_sum = 0;
    for (int64_t i = 0; i < l->batch * l->inner; i++) {
        const int64_t label = tensor_get_int(labels, i);
        const bool ignored = l->ignores && label == l->ignored;
        if (!ignored && (label < 0 || label >= l->classes))
            return call_fail(call, MITRAL_INVALID, "labels from 0 to %lld expected, found %lld",
                             (long long)l->classes - 1, (long long)label);
        double value = 0, weight = 0;
        if (!ignored) {
            const int64_t at = (i / l->inner * l->classes + label) * l->inner + i % l->inner;
            weight = weights ? tensor_get_double(weights, label) : 1;
            value = -weight * (single ? (double)((const float *)logarithms)[at] : ((const double *)logarithms)[at]);
        }
        sum += value;
        weight_sum += weight;
        if (y && l->reduction == REDUCTION_NONE)
            tensor_set_double(y, i, value, true);
    }
    if (y && l->reduction != REDUCTION_NONE)
        tensor_set_double(y, 0, l->reduction == REDUCTION_MEAN ? sum / weight_sum : sum, true);
    return MITRAL_OK;
}

static mitral_status run(struct kernel_call *call, bool softmax)
{
    struct loss l;
    TRY(decode(call, &l));
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    const void *scores;
    void *logarithms;
    place(call, &work, softmax, &scores, &logarithms);
    if (softmax && logarithms && compute == COMPUTE_FLOAT)
        softmax_float(SOFTMAX_LOG, l.batch, l.classes, l.inner, call->threads, scores, logarithms);
    else if (softmax && logarithms)
        softmax_double(SOFTMAX_LOG, l.batch, l.classes, l.inner, call->threads, scores, logarithms);
    TRY(sum_up(call, &l, softmax ? logarithms : scores));
    if (softmax && logarithms)
        work_store(compute, call_output(call, 1), logarithms);
    return MITRAL_OK;
}

static mitral_status prepare_cross_entropy(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    return prepare(call, true, scratch_bytes);
}

static mitral_status prepare_likelihood(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    return prepare(call, false, scratch_bytes);
}

static mitral_status run_cross_entropy(struct kernel_call *call)
{
    return run(call, true);
}

static mitral_status run_likelihood(struct kernel_call *call)
{
    return run(call, false);
}

const struct kernel reference_loss[] = {
    {.name = "NegativeLogLikelihoodLoss", .shape = shape, .prepare = prepare_likelihood, .run = run_likelihood},
    {.name = "SoftmaxCrossEntropyLoss", .shape = shape, .prepare = prepare_cross_entropy, .run = run_cross_entropy},
};
const size_t reference_loss_count = sizeof(reference_loss) / sizeof(*reference_loss);
