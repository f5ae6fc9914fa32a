#include "runtime/kernels/reference/ml.h"

#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/convert.h"
#include "runtime/kernels/reference/elementwise.h"

bool ml_is_number(int32_t dtype)
{
    return dtype == MITRAL_FLOAT || dtype == MITRAL_DOUBLE || dtype == MITRAL_INT32 || dtype == MITRAL_INT64;
}

mitral_status ml_rows(const struct kernel_call *call, struct ml_rows *out)
{
    const mitral_tensor *x = call_input(call, 0);
    if (!x || !ml_is_number(x->dtype))
        return x ? fail_type(call, 0, x) : call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    if (x->rank < 1 || x->rank > 2) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "features [N, C] or [C] expected, found %s",
                         tensor_describe(x, text, sizeof(text)));
    }
    out->count = x->rank == 2 ? x->dims[0] : 1;
    out->features = x->dims[x->rank - 1];
    return MITRAL_OK;
}

void ml_load_row(const mitral_tensor *x, int64_t row, int64_t features, double *to)
{
    size_t size = mitral_dtype_size((mitral_dtype)x->dtype);
    convert(&(struct conversion){.from = x->dtype, .to = MITRAL_DOUBLE},
            (const char *)x->data + (size_t)(row * features) * size, to, (size_t)features);
}

mitral_status ml_post_transform(const struct kernel_call *call, enum post_transform *out)
{
    static const char *const names[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
    const char *name = attribute_string(call->attributes, "post_transform", "NONE");
    for (int i = 0; i < 5; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum post_transform)i;
            return MITRAL_OK;
        }
    return call_fail(call, MITRAL_INVALID,
                     "post_transform NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT expected, found '%s'", name);
}

static double logistic(double value)
{
    double positive = 1 / (1 + exp(-fabs(value)));
    return value < 0 ? 1 - positive : positive;
}

/* sqrt(2) * erf^-1(2 p - 1), with the inverse of erf as Winitzki (2008) approximates it: the value that others give. */
static double probit(double probability)
{
    double x = 2 * probability - 1, logarithm = log((1 - x) * (1 + x));
    double half = 2 / (3.14159 * 0.147) + 0.5 * logarithm;
    double root = sqrt(-half + sqrt(half * half - logarithm / 0.147));
    return 1.41421356 * (x < 0 ? -root : root);
}

void ml_transform(enum post_transform transform, double *scores, size_t count)
{
    double largest = -INFINITY, total = 0;
    switch (transform) {
    case TRANSFORM_NONE: return;
    case TRANSFORM_LOGISTIC:
        for (size_t i = 0; i < count; i++)
            scores[i] = logistic(scores[i]);
        return;
    case TRANSFORM_PROBIT:
        for (size_t i = 0; i < count; i++)
            scores[i] = probit(scores[i]);
        return;
    case TRANSFORM_SOFTMAX: case TRANSFORM_SOFTMAX_ZERO:
        for (size_t i = 0; i < count; i++)
            largest = fmax(largest, scores[i]);
        for (size_t i = 0; i < count; i++) {
            /* SOFTMAX_ZERO keeps zeros at zero. */
            if (transform == TRANSFORM_SOFTMAX_ZERO && fabs(scores[i]) <= 0.0000001)
                scores[i] *= exp(-largest);
            else
                scores[i] = exp(scores[i] - largest);
            total += scores[i];
        }
        for (size_t i = 0; i < count; i++)
            scores[i] = total == 0 ? 0.5 : scores[i] / total;
        return;
    }
}

size_t ml_write_scores(enum post_transform transform, double *scores, size_t count, int second)
{
    if (count != 1 || transform == TRANSFORM_PROBIT || second < 0) {
        if (count > 1 || transform == TRANSFORM_PROBIT)
            ml_transform(transform, scores, count);
        return count;
    }
    scores[1] = scores[0];
    scores[0] = second < 2 && transform != TRANSFORM_LOGISTIC ? 1 - scores[1] : -scores[1];
    if (transform == TRANSFORM_LOGISTIC)
        ml_transform(transform, scores, 2);
    return 2;
}

mitral_status ml_labels(const struct kernel_call *call, const char *ints, const char *strings, struct ml_labels *out)
{
    size_t int_count, string_count;
    out->ints = attribute_ints(call->attributes, ints, &int_count);
    out->strings = attribute_strings(call->attributes, strings, &string_count);
    if (int_count && string_count)
        return call_fail(call, MITRAL_INVALID, "one of %s and %s expected, found both", ints, strings);
    if (!string_count)
        out->strings = NULL;
    if (!int_count)
        out->ints = NULL;
    out->count = string_count ? string_count : int_count;
    return MITRAL_OK;
}

void ml_set_classifier_outputs(struct kernel_call *call, const struct ml_labels *labels, int64_t rows, int64_t columns)
{
    call_set_output(call, 0, labels->strings ? MITRAL_STRING : MITRAL_INT64, 1, &rows);
    call_set_output(call, 1, MITRAL_FLOAT, 2, (const int64_t[]){rows, columns});
}

void ml_put_label(mitral_tensor *output, int64_t at, const struct ml_labels *labels, int64_t index)
{
    bool inside = index >= 0 && (size_t)index < labels->count;
    if (output->dtype == MITRAL_STRING)
        ((mitral_string *)output->data)[at] =
            inside && labels->strings ? labels->strings[index] : (mitral_string){"", 0};
    else
        ((int64_t *)output->data)[at] = inside && labels->ints ? labels->ints[index] : index;
}

mitral_status ml_floats(const struct kernel_call *call, struct arena *arena, const char *list, const char *tensor,
                        const double **values, size_t *count)
{
    const mitral_tensor *from = tensor ? attribute_tensor(call->attributes, tensor) : NULL;
    const float *floats = from ? NULL : attribute_floats(call->attributes, list, count);
    if (from && !dtype_is_float(from->dtype))
        return call_fail(call, MITRAL_INVALID, "attribute %s: a tensor of floats expected", tensor);
    if (from)
        *count = (size_t)tensor_count(from);
    *values = NULL;
    if (*count == 0)
        return MITRAL_OK;
    double *copy = arena_allocate(arena, *count * sizeof(*copy));
    if (!copy)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < *count; i++)
        copy[i] = from ? tensor_get_double(from, (int64_t)i) : (double)floats[i];
    *values = copy;
    return MITRAL_OK;
}

bool ml_same_string(mitral_string a, mitral_string b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
