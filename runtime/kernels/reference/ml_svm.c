/* ai.onnx.ml: support vector machines. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/ml.h"

enum svm_kernel { KERNEL_LINEAR, KERNEL_POLY, KERNEL_RBF, KERNEL_SIGMOID };

struct svm {
    struct ml_rows rows;
    struct ml_labels labels;
    enum post_transform transform;
    enum svm_kernel kernel;
    double gamma, coefficient0, degree;
    const float *vectors, *coefficients, *rho, *probability_a, *probability_b;
    const int64_t *per_class;
    int64_t vector_count, class_count, pair_count; /* vector_count 0: a linear model */
    size_t coefficient_count, probability_count;
    bool all_positive;
};

static mitral_status read_kernel(const struct kernel_call *call, struct svm *svm)
{
    static const char *const names[] = {"LINEAR", "POLY", "RBF", "SIGMOID"};
    const char *name = attribute_string(call->attributes, "kernel_type", "LINEAR");
    size_t count;
    const float *parameters = attribute_floats(call->attributes, "kernel_params", &count);
    int kind = 0;
    while (kind < 4 && strcmp(name, names[kind]) != 0)
        kind++;
    if (kind == 4)
        return call_fail(call, MITRAL_INVALID, "kernel_type LINEAR, POLY, RBF or SIGMOID expected, found '%s'", name);
    svm->kernel = svm->vector_count ? (enum svm_kernel)kind : KERNEL_LINEAR;
    if (count >= 3) {
        svm->gamma = (double)parameters[0];
        svm->coefficient0 = (double)parameters[1];
        svm->degree = (double)parameters[2];
    }
    return MITRAL_OK;
}

/* What classifier and regressor share; vector_count is set. */
static mitral_status read_common(const struct kernel_call *call, struct svm *svm)
{
    size_t vectors, rho;
    svm->vectors = attribute_floats(call->attributes, "support_vectors", &vectors);
    svm->coefficients = attribute_floats(call->attributes, "coefficients", &svm->coefficient_count);
    svm->rho = attribute_floats(call->attributes, "rho", &rho);
    TRY(read_kernel(call, svm));
    TRY(ml_post_transform(call, &svm->transform));
    int64_t wanted;
    if (__builtin_mul_overflow(svm->vector_count, svm->rows.features, &wanted)
        || (svm->vector_count && (int64_t)vectors != wanted))
        return call_fail(call, MITRAL_INVALID, "%lld support vectors of %lld features expected, found %zu numbers",
                         (long long)svm->vector_count, (long long)svm->rows.features, vectors);
    if ((int64_t)rho < (svm->vector_count && svm->pair_count > 1 ? svm->pair_count : 1))
        return call_fail(call, MITRAL_INVALID, "%lld values of rho expected, found %zu", (long long)svm->pair_count,
                         rho);
    svm->all_positive = true;
    for (size_t i = 0; i < svm->coefficient_count; i++)
        svm->all_positive = svm->all_positive && svm->coefficients[i] >= 0;
    return MITRAL_OK;
}

static double kernel_value(const struct svm *svm, const double *x, const float *y)
{
    double sum = 0;
    if (svm->kernel == KERNEL_RBF) {
        for (int64_t i = 0; i < svm->rows.features; i++)
            sum += (x[i] - (double)y[i]) * (x[i] - (double)y[i]);
        return exp(-svm->gamma * sum);
    }
    for (int64_t i = 0; i < svm->rows.features; i++)
        sum += x[i] * (double)y[i];
    switch (svm->kernel) {
    case KERNEL_POLY: return pow(svm->gamma * sum + svm->coefficient0, svm->degree);
    case KERNEL_SIGMOID: return tanh(svm->gamma * sum + svm->coefficient0);
    default: return sum;
    }
}

/* ---- regression -------------------------------------------------------------------------------------------------- */

static mitral_status read_regressor(const struct kernel_call *call, struct svm *svm)
{
    *svm = (struct svm){.pair_count = 1};
    TRY(ml_rows(call, &svm->rows));
    svm->vector_count = attribute_int(call->attributes, "n_supports", 0);
    if (svm->vector_count < 0)
        return call_fail(call, MITRAL_INVALID, "n_supports of at least 0 expected, found %lld",
                         (long long)svm->vector_count);
    TRY(read_common(call, svm));
    int64_t wanted = svm->vector_count ? svm->vector_count : svm->rows.features;
    if ((int64_t)svm->coefficient_count != wanted)
        return call_fail(call, MITRAL_INVALID, "%lld coefficients expected, found %zu", (long long)wanted,
                         svm->coefficient_count);
    return MITRAL_OK;
}

static mitral_status SVMRegressor_shape(struct kernel_call *call)
{
    struct svm svm;
    TRY(read_regressor(call, &svm));
    call_set_output(call, 0, MITRAL_FLOAT, 2, (const int64_t[]){svm.rows.count, 1});
    return MITRAL_OK;
}

static mitral_status SVMRegressor_run(struct kernel_call *call)
{
    struct svm svm;
    TRY(read_regressor(call, &svm));
    bool one_class = attribute_int(call->attributes, "one_class", 0) != 0;
    double *x = arena_allocate(call->arena, ((size_t)svm.rows.features + 1) * sizeof(*x));
    if (!x)
        return MITRAL_NO_MEMORY;
    float *y = call_output(call, 0) ? call_output(call, 0)->data : NULL;
    for (int64_t row = 0; y && row < svm.rows.count; row++) {
        ml_load_row(call_input(call, 0), row, svm.rows.features, x);
        double sum = (double)svm.rho[0];
        for (int64_t j = 0; j < svm.vector_count; j++)
            sum += (double)svm.coefficients[j] * kernel_value(&svm, x, svm.vectors + j * svm.rows.features);
        if (svm.vector_count == 0)
            sum += kernel_value(&svm, x, svm.coefficients);
        y[row] = one_class ? (sum > 0 ? 1 : -1) : (float)sum;
    }
    return MITRAL_OK;
}

/* ---- classification ---------------------------------------------------------------------------------------------- */

static mitral_status read_classifier(const struct kernel_call *call, struct svm *svm)
{
    size_t classes, b_count;
    *svm = (struct svm){.pair_count = 0};
    TRY(ml_rows(call, &svm->rows));
    TRY(ml_labels(call, "classlabels_ints", "classlabels_strings", &svm->labels));
    svm->per_class = attribute_ints(call->attributes, "vectors_per_class", &classes);
    for (size_t i = 0; i < classes; i++)
        if (svm->per_class[i] < 0 || __builtin_add_overflow(svm->vector_count, svm->per_class[i], &svm->vector_count))
            return call_fail(call, MITRAL_INVALID, "vectors_per_class of at least 0 expected, found %lld",
                             (long long)svm->per_class[i]);
    svm->class_count = svm->labels.count ? (int64_t)svm->labels.count : 1;
    if (svm->class_count > 1 << 15)
        return call_fail(call, MITRAL_LIMIT, "at most %d classes expected, found %lld", 1 << 15,
                         (long long)svm->class_count);
    svm->pair_count = svm->class_count * (svm->class_count - 1) / 2;
    if (svm->vector_count && ((int64_t)classes != svm->class_count || svm->class_count < 2))
        return call_fail(call, MITRAL_INVALID, "vectors_per_class for %lld classes, at least 2, expected, found %zu",
                         (long long)svm->class_count, classes);
    TRY(read_common(call, svm));
    int64_t rows = svm->vector_count ? svm->class_count - 1 : svm->class_count;
    int64_t columns = svm->vector_count ? svm->vector_count : svm->rows.features, wanted;
    if (__builtin_mul_overflow(rows, columns, &wanted) || (int64_t)svm->coefficient_count != wanted)
        return call_fail(call, MITRAL_INVALID, "%lld rows of %lld coefficients expected, found %zu numbers",
                         (long long)rows, (long long)columns, svm->coefficient_count);
    svm->probability_a = attribute_floats(call->attributes, "prob_a", &svm->probability_count);
    svm->probability_b = attribute_floats(call->attributes, "prob_b", &b_count);
    if (svm->vector_count == 0)
        svm->probability_count = 0;
    if (svm->probability_count
        && ((int64_t)svm->probability_count < svm->pair_count || b_count != svm->probability_count))
        return call_fail(call, MITRAL_INVALID, "prob_a and prob_b of %lld values expected, found %zu and %zu",
                         (long long)svm->pair_count, svm->probability_count, b_count);
    return MITRAL_OK;
}

/* The number of scores before a second column is made of a single one. */
static int64_t score_count(const struct svm *svm)
{
    return svm->vector_count && !svm->probability_count ? svm->pair_count : svm->class_count;
}

static mitral_status SVMClassifier_shape(struct kernel_call *call)
{
    struct svm svm;
    TRY(read_classifier(call, &svm));
    int64_t columns = score_count(&svm);
    if (columns == 1 && svm.class_count == 2 && svm.transform != TRANSFORM_PROBIT)
        columns = 2;
    ml_set_classifier_outputs(call, &svm.labels, svm.rows.count, columns);
    return MITRAL_OK;
}

/* One-against-one: each pair of classes has a decision value, and votes for one of the two. */
static void decide(const struct svm *svm, const double *kernels, double *scores, int64_t *votes)
{
    int64_t pair = 0, start_i = 0;
    memset(votes, 0, (size_t)svm->class_count * sizeof(*votes));
    for (int64_t i = 0; i < svm->class_count; start_i += svm->per_class[i++]) {
        int64_t start_j = start_i + svm->per_class[i];
        for (int64_t j = i + 1; j < svm->class_count; start_j += svm->per_class[j++]) {
            const float *of_j = svm->coefficients + (j - 1) * svm->vector_count,
                        *of_i = svm->coefficients + i * svm->vector_count;
            double sum = (double)svm->rho[pair];
            for (int64_t k = start_i; k < start_i + svm->per_class[i]; k++)
                sum += (double)of_j[k] * kernels[k];
            for (int64_t k = start_j; k < start_j + svm->per_class[j]; k++)
                sum += (double)of_i[k] * kernels[k];
            scores[pair++] = sum;
            votes[sum > 0 ? i : j]++;
        }
    }
}

/* Class probabilities from those of the pairs: the second method of Wu, Lin and Weng (2004), minimising
 * sum (r_ji p_i - r_ij p_j)^2 by their fixed-point iteration. r and q have room for k × k, qp for k. */
static void couple_probabilities(int64_t k, const double *r, double *q, double *qp, double *p)
{
    for (int64_t t = 0; t < k; t++) {
        p[t] = 1.0 / (double)k;
        double diagonal = 0;
        for (int64_t j = 0; j < k; j++)
            if (j != t) {
                diagonal += r[j * k + t] * r[j * k + t];
                q[t * k + j] = -r[j * k + t] * r[t * k + j];
            }
        q[t * k + t] = diagonal;
    }
    int64_t iterations = k > 100 ? k : 100;
    for (int64_t iteration = 0; iteration < iterations; iteration++) {
        double pqp = 0, error = 0;
        for (int64_t t = 0; t < k; t++) {
            qp[t] = 0;
            for (int64_t j = 0; j < k; j++)
                qp[t] += q[t * k + j] * p[j];
            pqp += p[t] * qp[t];
        }
        for (int64_t t = 0; t < k; t++)
            error = fmax(error, fabs(qp[t] - pqp));
        if (error < 0.005 / (double)k)
            break;
        for (int64_t t = 0; t < k; t++) {
            double step = (pqp - qp[t]) / q[t * k + t], scale = 1 + step;
            pqp = (pqp + step * (step * q[t * k + t] + 2 * qp[t])) / (scale * scale);
            p[t] += step;
            for (int64_t j = 0; j < k; j++) {
                p[j] /= scale;
                qp[j] = (qp[j] + step * q[t * k + j]) / scale;
            }
        }
    }
}

static void probabilities(const struct svm *svm, const double *decisions, double *r, double *q, double *qp,
                          double *scores)
{
    int64_t k = svm->class_count, pair = 0;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = i + 1; j < k; j++, pair++) {
            double value = decisions[pair] * (double)svm->probability_a[pair] + (double)svm->probability_b[pair];
            double probability = 1 / (1 + exp(value)), smallest = 1.0e-7;
            probability = fmin(fmax(probability, smallest), 1 - smallest);
            r[i * k + j] = probability;
            r[j * k + i] = 1 - probability;
        }
    couple_probabilities(k, r, q, qp, scores);
}

static mitral_status SVMClassifier_run(struct kernel_call *call)
{
    struct svm svm;
    TRY(read_classifier(call, &svm));
    int64_t k = svm.class_count, scores_size = score_count(&svm) + 2;
    size_t square = svm.probability_count ? (size_t)(k * k) : 0;
    size_t numbers = (size_t)(svm.rows.features + svm.vector_count + svm.pair_count + scores_size + k) + 2 * square;
    double *x = arena_allocate(call->arena, numbers * sizeof(*x));
    int64_t *votes = arena_allocate(call->arena, (size_t)k * sizeof(*votes));
    if (!x || !votes)
        return MITRAL_NO_MEMORY;
    double *kernels = x + svm.rows.features, *decisions = kernels + svm.vector_count,
           *scores = decisions + svm.pair_count;
    double *qp = scores + scores_size, *r = qp + k, *q = r + square;
    mitral_tensor *labels = call_output(call, 0);
    float *z = call_output(call, 1) ? call_output(call, 1)->data : NULL;
    for (int64_t row = 0; row < svm.rows.count; row++) {
        ml_load_row(call_input(call, 0), row, svm.rows.features, x);
        int64_t count = score_count(&svm), best = 0;
        for (int64_t j = 0; j < svm.vector_count; j++)
            kernels[j] = kernel_value(&svm, x, svm.vectors + j * svm.rows.features);
        if (svm.vector_count) {
            decide(&svm, kernels, decisions, votes);
            if (svm.probability_count)
                probabilities(&svm, decisions, r, q, qp, scores);
            else
                memcpy(scores, decisions, (size_t)count * sizeof(*scores));
            for (int64_t i = 1; i < k; i++)
                best = votes[i] > votes[best] ? i : best;
        } else {
            for (int64_t i = 0; i < k; i++)
                scores[i] = (double)svm.rho[0] + kernel_value(&svm, x, svm.coefficients + i * svm.rows.features);
            for (int64_t i = 1; i < k; i++)
                best = scores[i] > scores[best] ? i : best;
        }
        if (labels)
            ml_put_label(labels, row, &svm.labels, best);
        int second = k == 2 ? (svm.transform == TRANSFORM_NONE ? 2 : 0) : -1;
        size_t columns = ml_write_scores(svm.transform, scores, (size_t)count, second);
        for (size_t i = 0; z && i < columns; i++)
            *z++ = (float)scores[i];
    }
    return MITRAL_OK;
}

const struct kernel reference_ml_svm[] = {
    {"ml.SVMClassifier", 0, SVMClassifier_shape, NULL, SVMClassifier_run},
    {"ml.SVMRegressor", 0, SVMRegressor_shape, NULL, SVMRegressor_run},
};
const size_t reference_ml_svm_count = sizeof(reference_ml_svm) / sizeof(reference_ml_svm[0]);
