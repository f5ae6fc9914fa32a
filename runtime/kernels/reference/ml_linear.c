/* ai.onnx.ml: linear models. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/ml.h"

struct linear {
    struct ml_rows rows;
    struct ml_labels labels;
    const float *coefficients, *intercepts; /* intercepts may be NULL */
    size_t targets;
    enum post_transform transform;
};

static mitral_status read_linear(const struct kernel_call *call, bool classifier, struct linear *out)
{
    size_t coefficients, intercepts;
    *out = (struct linear){.targets = 0};
    TRY(ml_rows(call, &out->rows));
    TRY(ml_post_transform(call, &out->transform));
    out->coefficients = attribute_floats(call->attributes, "coefficients", &coefficients);
    out->intercepts = attribute_floats(call->attributes, "intercepts", &intercepts);
    if (classifier) {
        TRY(ml_labels(call, "classlabels_ints", "classlabels_strings", &out->labels));
        out->targets = out->rows.features > 0 ? coefficients / (size_t)out->rows.features : 0;
    } else {
        int64_t targets = attribute_int(call->attributes, "targets", 1);
        out->targets = targets > 0 ? (size_t)targets : 0;
    }
    if (out->targets == 0 || coefficients % out->targets != 0
        || (int64_t)(coefficients / out->targets) != out->rows.features)
        return call_fail(call, MITRAL_INVALID,
                         "coefficients for %lld features a target expected, found %zu for %zu targets",
                         (long long)out->rows.features, coefficients, out->targets);
    if (intercepts && intercepts != out->targets)
        return call_fail(call, MITRAL_INVALID, "%zu intercepts expected, found %zu", out->targets, intercepts);
    out->intercepts = intercepts ? out->intercepts : NULL;
    return MITRAL_OK;
}

static void linear_scores(const struct linear *linear, const double *x, double *scores)
{
    int64_t features = linear->rows.features;
    for (size_t t = 0; t < linear->targets; t++) {
        double sum = linear->intercepts ? (double)linear->intercepts[t] : 0;
        for (int64_t i = 0; i < features; i++)
            sum += x[i] * (double)linear->coefficients[(int64_t)t * features + i];
        scores[t] = sum;
    }
}

/* Room for one row of features and its scores, and one score more. */
static mitral_status row_memory(const struct kernel_call *call, const struct linear *linear, double **x,
                                double **scores)
{
    *x = arena_allocate(call->arena, ((size_t)linear->rows.features + linear->targets + 1) * sizeof(double));
    if (!*x)
        return MITRAL_NO_MEMORY;
    *scores = *x + linear->rows.features;
    return MITRAL_OK;
}

static mitral_status LinearRegressor_shape(struct kernel_call *call)
{
    struct linear linear;
    TRY(read_linear(call, false, &linear));
    call_set_output(call, 0, MITRAL_FLOAT, 2, (const int64_t[]){linear.rows.count, (int64_t)linear.targets});
    return MITRAL_OK;
}

static mitral_status LinearRegressor_run(struct kernel_call *call)
{
    struct linear linear;
    TRY(read_linear(call, false, &linear));
    double *x, *scores;
    TRY(row_memory(call, &linear, &x, &scores));
    float *y = call_output(call, 0) ? call_output(call, 0)->data : NULL;
    for (int64_t row = 0; y && row < linear.rows.count; row++) {
        ml_load_row(call_input(call, 0), row, linear.rows.features, x);
        linear_scores(&linear, x, scores);
        bool softmax = linear.transform == TRANSFORM_SOFTMAX || linear.transform == TRANSFORM_SOFTMAX_ZERO;
        if (linear.targets > 1 || !softmax) /* of one value it would be 1 whatever the value */
            ml_transform(linear.transform, scores, linear.targets);
        for (size_t t = 0; t < linear.targets; t++)
            *y++ = (float)scores[t];
    }
    return MITRAL_OK;
}

/* One row of coefficients and two labels: the score is that of the second label. */
static bool has_second_class(const struct linear *linear)
{
    return linear->targets == 1 && linear->labels.count == 2;
}

static mitral_status LinearClassifier_shape(struct kernel_call *call)
{
    struct linear linear;
    TRY(read_linear(call, true, &linear));
    if (linear.labels.count && linear.labels.count < linear.targets)
        return call_fail(call, MITRAL_INVALID, "a label for each of %zu classes expected, found %zu", linear.targets,
                         linear.labels.count);
    ml_set_classifier_outputs(call, &linear.labels, linear.rows.count,
                              (int64_t)linear.targets + has_second_class(&linear));
    return MITRAL_OK;
}

static void put_linear_label(mitral_tensor *labels, int64_t row, const struct linear *linear, const double *scores)
{
    if (linear->targets == 1 && !has_second_class(linear)) {
        /* One class: its label, or the empty one. */
        bool positive = scores[0] > 0;
        if (labels->dtype == MITRAL_STRING)
            ((mitral_string *)labels->data)[row] = positive ? linear->labels.strings[0] : (mitral_string){"", 0};
        else
            ((int64_t *)labels->data)[row] = !positive ? 0 : linear->labels.count ? linear->labels.ints[0] : 1;
        return;
    }
    int64_t best = linear->targets == 1 ? scores[0] > 0 : 0;
    for (size_t t = 1; t < linear->targets; t++)
        best = scores[t] > scores[best] ? (int64_t)t : best;
    ml_put_label(labels, row, &linear->labels, best);
}

static mitral_status LinearClassifier_run(struct kernel_call *call)
{
    struct linear linear;
    TRY(read_linear(call, true, &linear));
    double *x, *scores;
    TRY(row_memory(call, &linear, &x, &scores));
    mitral_tensor *labels = call_output(call, 0);
    float *z = call_output(call, 1) ? call_output(call, 1)->data : NULL;
    bool second = has_second_class(&linear);
    for (int64_t row = 0; row < linear.rows.count; row++) {
        ml_load_row(call_input(call, 0), row, linear.rows.features, x);
        linear_scores(&linear, x, scores);
        if (labels)
            put_linear_label(labels, row, &linear, scores);
        size_t columns = linear.targets;
        if (second) {
            /* Soft-max of one score says nothing and is left out. */
            if (linear.transform == TRANSFORM_LOGISTIC || linear.transform == TRANSFORM_PROBIT)
                ml_transform(linear.transform, scores, 1);
            scores[1] = scores[0];
            scores[0] = 1 - scores[1];
            columns = 2;
        } else {
            ml_transform(linear.transform, scores, columns);
        }
        for (size_t i = 0; z && i < columns; i++)
            *z++ = (float)scores[i];
    }
    return MITRAL_OK;
}

const struct kernel reference_ml_linear[] = {
    {"ml.LinearClassifier", 0, LinearClassifier_shape, NULL, LinearClassifier_run},
    {"ml.LinearRegressor", 0, LinearRegressor_shape, NULL, LinearRegressor_run},
};
const size_t reference_ml_linear_count = sizeof(reference_ml_linear) / sizeof(reference_ml_linear[0]);
