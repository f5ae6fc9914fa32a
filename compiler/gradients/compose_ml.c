/* ai.onnx.ml: preparation of features and linear models. They give float32 whatever they get. */
#include <math.h>
#include <string.h>

#include "compiler/gradients/compose.h"

/* The input as floating-point numbers: of its own type, or of float32 where it holds integers. */
static value_id features_of(struct composer *c, size_t index)
{
    const int32_t dtype = input_type(c, index).dtype;
    return dtype == c->dtype ? input_of(c, index) : cast(c, input_of(c, index), c->dtype);
}

static void finish(struct composer *c, value_id y)
{
    become(c, 0, c->dtype == MITRAL_FLOAT ? y : cast(c, y, MITRAL_FLOAT));
}

static value_id attribute_numbers(struct composer *c, const float *values, int32_t rank, const int64_t *dims, size_t count)
{
    double *wide = arena_allocate(arena_of(c), (count + 1) * sizeof *wide);
    if (!wide) {
        c->status = MITRAL_NO_MEMORY;
        return NO_VALUE;
    }
    for (size_t i = 0; i < count; i++)
        wide[i] = (double)values[i];
    return numbers(c, wide, rank, dims);
}

/* (x - offset) · scale */
mitral_status compose_scaler(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    size_t scales, offsets;
    const float *scale = attribute_floats(&node->attributes, "scale", &scales);
    const float *offset = attribute_floats(&node->attributes, "offset", &offsets);
    value_id y = features_of(&c, 0);
    if (offsets)
        y = subtract(&c, y, attribute_numbers(&c, offset, 1, (const int64_t[]){(int64_t)offsets}, offsets));
    if (scales)
        y = multiply(&c, y, attribute_numbers(&c, scale, 1, (const int64_t[]){(int64_t)scales}, scales));
    finish(&c, y);
    return composer_end(&c, done);
}

/* Divided by a norm of the row; rows whose norm is 0 stay as they are. */
mitral_status compose_normalizer(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const char *norm = attribute_string(&node->attributes, "norm", "MAX");
    const char *reduction = strcmp(norm, "L1") == 0 ? "ReduceL1" : strcmp(norm, "L2") == 0 ? "ReduceL2" : "ReduceMax";
    const int64_t last = -1;
    value_id x = features_of(&c, 0);
    value_id divisor = apply(&c, reduction, NULL, (value_id[]){x, integers(&c, &last, 1)}, 2);
    value_id nothing = binary(&c, "Equal", divisor, number(&c, 0));
    finish(&c, divide(&c, x, where(&c, nothing, number(&c, 1), divisor)));
    return composer_end(&c, done);
}

/* Missing values become constants, the others stay. */
mitral_status compose_imputer(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    size_t count;
    const float *values = attribute_floats(&node->attributes, "imputed_value_floats", &count);
    const double replaced = (double)attribute_float(&node->attributes, "replaced_value_float", 0);
    value_id x = input_of(&c, 0);
    value_id missing = isnan(replaced) ? unary(&c, "IsNaN", x) : binary(&c, "Equal", x, number(&c, replaced));
    become(&c, 0, where(&c, missing, attribute_numbers(&c, values, 1, (const int64_t[]){(int64_t)count}, count), x));
    return composer_end(&c, done);
}

static bool is_one_of(const char *text, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, list[i]) == 0)
            return true;
    return false;
}

/* The features as rows, times the transposed coefficients [targets, features], plus the intercepts. */
static value_id linear_scores(struct composer *c, int64_t targets)
{
    size_t coefficients, intercepts;
    const float *coefficient = attribute_floats(&c->node->attributes, "coefficients", &coefficients);
    const float *intercept = attribute_floats(&c->node->attributes, "intercepts", &intercepts);
    const int64_t dims[2] = {targets, (int64_t)coefficients / (targets > 0 ? targets : 1)}, row[2] = {1, dims[1]}, swap[2] = {1, 0};
    value_id x = features_of(c, 0);
    if (input_type(c, 0).rank == 1)
        x = reshaped(c, x, 2, row);
    value_id y = matrix_product(c, x, permuted(c, attribute_numbers(c, coefficient, 2, dims, coefficients), 2, swap));
    return intercepts ? add(c, y, attribute_numbers(c, intercept, 1, (const int64_t[]){(int64_t)intercepts}, intercepts)) : y;
}

static const char *const smooth[] = {"NONE", "LOGISTIC", "SOFTMAX"};

static mitral_status post_transform(struct gradient *gradient, const struct node *node, const char **out)
{
    *out = attribute_string(&node->attributes, "post_transform", "NONE");
    if (is_one_of(*out, smooth, sizeof smooth / sizeof *smooth))
        return MITRAL_OK;
    return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected post_transform NONE, LOGISTIC or SOFTMAX, found %.20s", *out);
}

mitral_status compose_linear_regressor(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const char *transform;
    const int64_t targets = attribute_int(&node->attributes, "targets", 1);
    *done = false;
    TRY(post_transform(gradient, node, &transform));
    value_id y = linear_scores(&c, targets);
    if (strcmp(transform, "LOGISTIC") == 0)
        y = unary(&c, "Sigmoid", y);
    else if (strcmp(transform, "SOFTMAX") == 0 && targets > 1)
        y = softmax(&c, y, 1);
    finish(&c, y);
    return composer_end(&c, done);
}

/* The scores; the labels stay what the operator itself says. One row of coefficients of two classes is of the second, whose score the
 * first's makes up to 1. */
mitral_status compose_linear_classifier(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    size_t coefficients, names, numbers_of_labels;
    const char *transform;
    const struct value_type x = input_type(&c, 0);
    const int64_t features = x.rank > 0 ? x.dims[x.rank - 1] : 0;
    attribute_floats(&node->attributes, "coefficients", &coefficients);
    attribute_strings(&node->attributes, "classlabels_strings", &names);
    attribute_ints(&node->attributes, "classlabels_ints", &numbers_of_labels);
    *done = false;
    TRY(post_transform(gradient, node, &transform));
    if (features < 1)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected a known number of features, found none");
    const int64_t targets = (int64_t)coefficients / features;
    const bool second = targets == 1 && names + numbers_of_labels == 2;
    value_id y = linear_scores(&c, targets), own[2];
    if (strcmp(transform, "LOGISTIC") == 0)
        y = unary(&c, "Sigmoid", y);
    else if (strcmp(transform, "SOFTMAX") == 0 && !second)
        y = softmax(&c, y, 1);
    if (second)
        y = joined(&c, (const value_id[]){subtract(&c, number(&c, 1), y), y}, 2, 1);
    if (node->outputs[0] != NO_VALUE && c.status == MITRAL_OK) {
        TRY(gradient_emit_row(gradient, node->op, node->version, &node->attributes, node->inputs, 1, own, 2));
        become(&c, 0, own[0]);
    }
    become(&c, 1, c.dtype == MITRAL_FLOAT ? y : cast(&c, y, MITRAL_FLOAT));
    return composer_end(&c, done);
}

/* Σ coefficient · kernel(x, support vector) + rho; without support vectors a linear model. */
mitral_status compose_vector_regressor(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    size_t vectors, coefficients, rhos, parameters;
    const float *vector = attribute_floats(&node->attributes, "support_vectors", &vectors);
    const float *coefficient = attribute_floats(&node->attributes, "coefficients", &coefficients);
    const float *rho = attribute_floats(&node->attributes, "rho", &rhos), *parameter = attribute_floats(&node->attributes, "kernel_params", &parameters);
    const int64_t count = attribute_int(&node->attributes, "n_supports", 0);
    const char *kernel = count > 0 ? attribute_string(&node->attributes, "kernel_type", "LINEAR") : "LINEAR";
    const double gamma = parameters >= 3 ? (double)parameter[0] : 0, shift = parameters >= 3 ? (double)parameter[1] : 0;
    const double degree = parameters >= 3 ? (double)parameter[2] : 0;
    *done = false;
    if (attribute_int(&node->attributes, "one_class", 0))
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected values, found one_class, whose outputs are -1 and 1");
    const int64_t rows = count > 0 ? count : 1, features = (int64_t)(count > 0 ? vectors : coefficients) / rows;
    const int64_t dims[3] = {1, rows, features}, turned[2] = {rows, features}, row[2] = {1, features}, swap[2] = {1, 0}, column[2] = {rows, 1};
    value_id x = features_of(&c, 0), k;
    if (input_type(&c, 0).rank == 1)
        x = reshaped(&c, x, 2, row);
    if (strcmp(kernel, "RBF") == 0) {
        value_id d = subtract(&c, with_axis(&c, x, 1), attribute_numbers(&c, vector, 3, dims, vectors));
        k = unary(&c, "Exp", scaled(&c, summed(&c, multiply(&c, d, d), 2, false), -gamma));
    } else {
        const float *matrix = count > 0 ? vector : coefficient;
        k = matrix_product(&c, x, permuted(&c, attribute_numbers(&c, matrix, 2, turned, count > 0 ? vectors : coefficients), 2, swap));
        if (strcmp(kernel, "POLY") == 0)
            k = binary(&c, "Pow", add(&c, scaled(&c, k, gamma), number(&c, shift)), number(&c, degree));
        else if (strcmp(kernel, "SIGMOID") == 0)
            k = unary(&c, "Tanh", add(&c, scaled(&c, k, gamma), number(&c, shift)));
    }
    if (count > 0)
        k = matrix_product(&c, k, attribute_numbers(&c, coefficient, 2, column, coefficients));
    finish(&c, rhos ? add(&c, k, number(&c, (double)rho[0])) : k);
    return composer_end(&c, done);
}

/* The inputs side by side, each cut or filled to its size. */
mitral_status compose_feature_vectorizer(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    size_t count;
    const int64_t *sizes = attribute_ints(&node->attributes, "inputdimensions", &count), axis = 1;
    value_id *parts = arena_allocate(arena_of(&c), (node->input_count + 1) * sizeof *parts);
    if (!parts)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < node->input_count; i++) {
        const struct value_type type = input_type(&c, i);
        if (!type_is_static(&type) || type.rank < 1 || i >= count)
            return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected inputs of fixed shape");
        const int64_t columns = type.dims[type.rank - 1], row[2] = {1, columns}, pads[2] = {0, sizes[i] - columns};
        value_id x = features_of(&c, i);
        if (type.rank == 1)
            x = reshaped(&c, x, 2, row);
        if (sizes[i] < columns)
            x = part(&c, x, 1, 0, sizes[i]);
        else if (sizes[i] > columns)
            x = apply(&c, "Pad", NULL, (value_id[]){x, integers(&c, pads, 2), number(&c, 0), integers(&c, &axis, 1)}, 4);
        parts[i] = x;
    }
    finish(&c, joined(&c, parts, node->input_count, 1));
    return composer_end(&c, done);
}

mitral_status compose_array_feature_extractor(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type x = input_type(&c, 0);
    struct attributes along = {0};
    const int64_t flat[1] = {-1}, row[2] = {1, -1};
    TRY(attributes_set_int(&along, arena_of(&c), "axis", -1));
    value_id y = apply(&c, "Gather", &along, (value_id[]){input_of(&c, 0), reshaped(&c, input_of(&c, 1), 1, flat)}, 2);
    become(&c, 0, x.rank == 1 ? reshaped(&c, y, 2, row) : y);
    return composer_end(&c, done);
}
