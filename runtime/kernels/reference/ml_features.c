/* ai.onnx.ml: preparation of features. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/convert.h"
#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/ml.h"

static mitral_status check_number(const struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    if (!x || !ml_is_number(x->dtype))
        return x ? fail_type(call, 0, x) : call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    return MITRAL_OK;
}

static int64_t last_dimension(const mitral_tensor *tensor)
{
    return tensor->rank ? tensor->dims[tensor->rank - 1] : 1;
}

/* ---- ArrayFeatureExtractor --------------------------------------------------------------------------------------- */

static mitral_status ArrayFeatureExtractor_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0), *y = call_input(call, 1);
    if (!x || !y)
        return call_fail(call, MITRAL_INVALID, "2 inputs expected, one is missing");
    if (!ml_is_number(x->dtype) && x->dtype != MITRAL_STRING)
        return fail_type(call, 0, x);
    if (y->dtype != MITRAL_INT64)
        return fail_type(call, 1, y);
    if (x->rank < 1)
        return call_fail(call, MITRAL_INVALID, "a tensor of at least one dimension expected, found a scalar");
    int64_t dims[MITRAL_MAX_RANK];
    int32_t rank = x->rank > 1 ? x->rank : 2;
    memcpy(dims, x->dims, sizeof(dims));
    if (x->rank == 1)
        dims[0] = 1; /* a vector gives a matrix of one row */
    dims[rank - 1] = tensor_count(y);
    call_set_output(call, 0, x->dtype, rank, dims);
    return MITRAL_OK;
}

static mitral_status ArrayFeatureExtractor_run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0), *y = call_input(call, 1);
    mitral_tensor *z = call_output(call, 0);
    int64_t features = last_dimension(x), count = tensor_count(y), rows = features ? tensor_count(x) / features : 0;
    const int64_t *indices = y->data;
    size_t size = mitral_dtype_size((mitral_dtype)x->dtype);
    for (int64_t j = 0; j < count; j++) {
        int64_t index = indices[j] < 0 ? indices[j] + features : indices[j];
        if (index < 0 || index >= features)
            return call_fail(call, MITRAL_INVALID, "indices in [%lld, %lld) expected, found %lld", (long long)-features,
                             (long long)features, (long long)indices[j]);
        for (int64_t i = 0; z && i < rows; i++)
            memcpy((char *)z->data + (size_t)(i * count + j) * size,
                   (const char *)x->data + (size_t)(i * features + index) * size, size);
    }
    return MITRAL_OK;
}

/* ---- Binarizer --------------------------------------------------------------------------------------------------- */

static mitral_status Binarizer_shape(struct kernel_call *call)
{
    TRY(check_number(call));
    return shape_same_as_first(call);
}

static mitral_status Binarizer_run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    mitral_tensor *y = call_output(call, 0);
    double threshold = (double)attribute_float(call->attributes, "threshold", 0);
    for (int64_t i = 0, count = y ? tensor_count(x) : 0; i < count; i++)
        tensor_set_double(y, i, tensor_get_double(x, i) > threshold, false);
    return MITRAL_OK;
}

/* ---- Scaler ------------------------------------------------------------------------------------------------------ */

static mitral_status Scaler_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    size_t scales, offsets;
    TRY(check_number(call));
    attribute_floats(call->attributes, "scale", &scales);
    attribute_floats(call->attributes, "offset", &offsets);
    int64_t features = last_dimension(x);
    for (int i = 0; i < 2; i++) {
        size_t found = i ? offsets : scales;
        if (found > 1 && (int64_t)found != features)
            return call_fail(call, MITRAL_INVALID, "attribute %s: 1 or %lld values expected, found %zu",
                             i ? "offset" : "scale", (long long)features, found);
    }
    call_set_output(call, 0, MITRAL_FLOAT, x->rank, x->dims);
    return MITRAL_OK;
}

static mitral_status Scaler_run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    size_t scales, offsets;
    const float *scale = attribute_floats(call->attributes, "scale", &scales);
    const float *offset = attribute_floats(call->attributes, "offset", &offsets);
    int64_t features = last_dimension(x);
    float *y = call_output(call, 0) ? call_output(call, 0)->data : NULL;
    for (int64_t i = 0, count = y ? tensor_count(x) : 0; i < count; i++) {
        int64_t feature = i % features;
        double from = offsets ? (double)offset[offsets > 1 ? feature : 0] : 0,
               by = scales ? (double)scale[scales > 1 ? feature : 0] : 1;
        y[i] = (float)((tensor_get_double(x, i) - from) * by);
    }
    return MITRAL_OK;
}

/* ---- Normalizer -------------------------------------------------------------------------------------------------- */

static mitral_status Normalizer_shape(struct kernel_call *call)
{
    struct ml_rows rows;
    TRY(ml_rows(call, &rows));
    const char *norm = attribute_string(call->attributes, "norm", "MAX");
    if (strcmp(norm, "MAX") != 0 && strcmp(norm, "L1") != 0 && strcmp(norm, "L2") != 0)
        return call_fail(call, MITRAL_INVALID, "attribute norm: MAX, L1 or L2 expected, found '%s'", norm);
    call_set_output(call, 0, MITRAL_FLOAT, call_input(call, 0)->rank, call_input(call, 0)->dims);
    return MITRAL_OK;
}

static mitral_status Normalizer_run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    struct ml_rows rows = {0};
    TRY(ml_rows(call, &rows));
    const char *norm = attribute_string(call->attributes, "norm", "MAX");
    bool by_max = strcmp(norm, "MAX") == 0, squares = strcmp(norm, "L2") == 0;
    float *y = call_output(call, 0) ? call_output(call, 0)->data : NULL;
    for (int64_t row = 0; y && row < rows.count; row++) {
        double divisor = by_max ? -INFINITY : 0;
        for (int64_t i = row * rows.features; i < (row + 1) * rows.features; i++) {
            double v = tensor_get_double(x, i);
            divisor = by_max ? fmax(divisor, v) : divisor + (squares ? v * v : fabs(v));
        }
        divisor = squares ? sqrt(divisor) : divisor;
        for (int64_t i = row * rows.features; i < (row + 1) * rows.features; i++)
            y[i] = (float)(divisor != 0 ? tensor_get_double(x, i) / divisor : tensor_get_double(x, i));
    }
    return MITRAL_OK;
}

/* ---- Imputer ----------------------------------------------------------------------------------------------------- */

static mitral_status Imputer_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    size_t count;
    TRY(check_number(call));
    if (dtype_is_float(x->dtype))
        attribute_floats(call->attributes, "imputed_value_floats", &count);
    else
        attribute_ints(call->attributes, "imputed_value_int64s", &count);
    if (count != 1 && (int64_t)count != last_dimension(x))
        return call_fail(call, MITRAL_INVALID, "1 or %lld imputed values of the input's kind expected, found %zu",
                         (long long)last_dimension(x), count);
    return shape_same_as_first(call);
}

static mitral_status Imputer_run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    mitral_tensor *y = call_output(call, 0);
    size_t float_count, int_count;
    const float *floats = attribute_floats(call->attributes, "imputed_value_floats", &float_count);
    const int64_t *ints = attribute_ints(call->attributes, "imputed_value_int64s", &int_count);
    double replaced = (double)attribute_float(call->attributes, "replaced_value_float", 0);
    int64_t replaced_int = attribute_int(call->attributes, "replaced_value_int64", 0), features = last_dimension(x);
    bool real = dtype_is_float(x->dtype);
    size_t count = real ? float_count : int_count;
    for (int64_t i = 0, total = y ? tensor_count(x) : 0; i < total; i++) {
        int64_t feature = count > 1 ? i % features : 0;
        if (real) {
            double v = tensor_get_double(x, i);
            bool missing = isnan(replaced) ? isnan(v) : v == replaced;
            tensor_set_double(y, i, missing ? (double)floats[feature] : v, false);
        } else {
            int64_t v = tensor_get_int(x, i);
            tensor_set_int(y, i, v == replaced_int ? ints[feature] : v);
        }
    }
    return MITRAL_OK;
}

/* ---- FeatureVectorizer ------------------------------------------------------------------------------------------- */

/* Rows and columns of input `index`. */
static void matrix_of(const mitral_tensor *tensor, int64_t *rows, int64_t *columns)
{
    *rows = tensor->rank > 1 ? tensor->dims[0] : 1;
    *columns = last_dimension(tensor);
}

static mitral_status FeatureVectorizer_shape(struct kernel_call *call)
{
    size_t count;
    const int64_t *sizes = attribute_ints(call->attributes, "inputdimensions", &count);
    int64_t rows = 0, total = 0;
    if (call->input_count == 0 || count != call->input_count)
        return call_fail(call, MITRAL_INVALID,
                         "attribute inputdimensions: a size for each of %zu inputs expected, found %zu",
                         call->input_count, count);
    for (size_t i = 0; i < count; i++) {
        const mitral_tensor *input = call_input(call, i);
        int64_t own_rows, columns;
        if (!input || !ml_is_number(input->dtype) || input->rank < 1 || input->rank > 2)
            return call_fail(call, MITRAL_INVALID, "input %zu: numbers [N, C] or [C] expected", i);
        matrix_of(input, &own_rows, &columns);
        rows = i ? rows : own_rows;
        if (own_rows != rows || sizes[i] < 0 || __builtin_add_overflow(total, sizes[i], &total))
            return call_fail(call, MITRAL_INVALID,
                             "input %zu: %lld rows and a size of at least 0 expected, found %lld and %lld", i,
                             (long long)rows, (long long)own_rows, (long long)sizes[i]);
    }
    call_set_output(call, 0, MITRAL_FLOAT, 2, (const int64_t[]){rows, total});
    return MITRAL_OK;
}

/* Inputs wider than their size are cut, narrower ones filled with zeros. */
static mitral_status FeatureVectorizer_run(struct kernel_call *call)
{
    size_t count;
    const int64_t *sizes = attribute_ints(call->attributes, "inputdimensions", &count);
    mitral_tensor *output = call_output(call, 0);
    if (!output || tensor_count(output) == 0)
        return MITRAL_OK;
    float *y = output->data;
    for (int64_t row = 0; row < output->dims[0]; row++)
        for (size_t i = 0; i < count; i++) {
            const mitral_tensor *input = call_input(call, i);
            int64_t rows, columns;
            matrix_of(input, &rows, &columns);
            for (int64_t j = 0; j < sizes[i]; j++)
                *y++ = j < columns ? (float)tensor_get_double(input, row * columns + j) : 0;
        }
    return MITRAL_OK;
}

/* ---- OneHotEncoder ----------------------------------------------------------------------------------------------- */

static mitral_status OneHotEncoder_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    struct ml_labels categories = {0};
    if (!x || (!ml_is_number(x->dtype) && x->dtype != MITRAL_STRING))
        return x ? fail_type(call, 0, x) : call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    TRY(ml_labels(call, "cats_int64s", "cats_strings", &categories));
    if (categories.count == 0 || (x->dtype == MITRAL_STRING) != (categories.strings != NULL))
        return call_fail(call, MITRAL_INVALID, "%s expected, found none",
                         x->dtype == MITRAL_STRING ? "cats_strings" : "cats_int64s");
    if (x->rank == MITRAL_MAX_RANK)
        return call_fail(call, MITRAL_LIMIT, "fewer than %d dimensions expected", MITRAL_MAX_RANK);
    int64_t dims[MITRAL_MAX_RANK];
    memcpy(dims, x->dims, sizeof(dims));
    dims[x->rank] = (int64_t)categories.count;
    call_set_output(call, 0, MITRAL_FLOAT, x->rank + 1, dims);
    return MITRAL_OK;
}

static mitral_status OneHotEncoder_run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    struct ml_labels categories = {0};
    TRY(ml_labels(call, "cats_int64s", "cats_strings", &categories));
    bool zeros = attribute_int(call->attributes, "zeros", 1) != 0;
    if (!output || tensor_count(output) == 0)
        return MITRAL_OK;
    memset(output->data, 0, tensor_bytes(output));
    for (int64_t i = 0, count = tensor_count(x); i < count; i++) {
        size_t at = 0;
        if (categories.strings)
            while (at < categories.count
                   && !ml_same_string(categories.strings[at], ((const mitral_string *)x->data)[i]))
                at++;
        else
            while (at < categories.count && categories.ints[at] != tensor_get_int(x, i))
                at++;
        if (at < categories.count)
            ((float *)output->data)[i * (int64_t)categories.count + (int64_t)at] = 1;
        else if (!zeros)
            return call_fail(call, MITRAL_INVALID,
                             "known categories only expected (zeros is 0), element %lld is of none", (long long)i);
    }
    return MITRAL_OK;
}

const struct kernel reference_ml_features[] = {
    {"ml.ArrayFeatureExtractor", 0, ArrayFeatureExtractor_shape, NULL, ArrayFeatureExtractor_run},
    {"ml.Binarizer", KERNEL_IN_PLACE | KERNEL_ANY_LAYOUT, Binarizer_shape, NULL, Binarizer_run},
    {"ml.FeatureVectorizer", 0, FeatureVectorizer_shape, NULL, FeatureVectorizer_run},
    {"ml.Imputer", KERNEL_IN_PLACE, Imputer_shape, NULL, Imputer_run},
    {"ml.Normalizer", 0, Normalizer_shape, NULL, Normalizer_run},
    {"ml.OneHotEncoder", 0, OneHotEncoder_shape, NULL, OneHotEncoder_run},
    {"ml.Scaler", 0, Scaler_shape, NULL, Scaler_run},
};
const size_t reference_ml_features_count = sizeof(reference_ml_features) / sizeof(reference_ml_features[0]);
