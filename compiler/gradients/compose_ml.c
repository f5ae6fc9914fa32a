/* ai.onnx.ml: preparation of features and linear models. They give float32 whatever they get. */
#include <math.h>
#include <string.h>

#include "compiler/gradients/compose.h"

static struct arena *arena_of(const struct composer *c)
{
    return gradient_graph(c->gradient)->arena;
}

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

mitral_status compose_linear_regressor(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    size_t coefficients, intercepts;
    const float *coefficient = attribute_floats(&node->attributes, "coefficients", &coefficients);
    const float *intercept = attribute_floats(&node->attributes, "intercepts", &intercepts);
    const char *transform = attribute_string(&node->attributes, "post_transform", "NONE");
    const int64_t targets = attribute_int(&node->attributes, "targets", 1);
    *done = false;
    if (strcmp(transform, "NONE") != 0 && strcmp(transform, "LOGISTIC") != 0 && strcmp(transform, "SOFTMAX") != 0)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected post_transform NONE, LOGISTIC or SOFTMAX, found %.20s", transform);
    const int64_t dims[2] = {targets, (int64_t)coefficients / (targets > 0 ? targets : 1)}, row[2] = {1, dims[1]}, swap[2] = {1, 0};
    value_id x = features_of(&c, 0);
    if (input_type(&c, 0).rank == 1)
        x = reshaped(&c, x, 2, row);
    value_id y = matrix_product(&c, x, permuted(&c, attribute_numbers(&c, coefficient, 2, dims, coefficients), 2, swap));
    if (intercepts)
        y = add(&c, y, attribute_numbers(&c, intercept, 1, (const int64_t[]){(int64_t)intercepts}, intercepts));
    if (strcmp(transform, "LOGISTIC") == 0)
        y = unary(&c, "Sigmoid", y);
    else if (strcmp(transform, "SOFTMAX") == 0 && targets > 1)
        y = softmax(&c, y, 1);
    finish(&c, y);
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
