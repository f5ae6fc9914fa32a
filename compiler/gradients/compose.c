#include "compiler/gradients/compose.h"

#include <string.h>
#include <strings.h>

struct composer composer_start(struct gradient *gradient, const struct node *node)
{
    struct composer c = {.gradient = gradient, .node = node, .dtype = MITRAL_FLOAT};
    for (size_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NO_VALUE && dtype_is_float(gradient_type(gradient, node->inputs[i])->dtype)) {
            c.dtype = gradient_type(gradient, node->inputs[i])->dtype;
            break;
        }
    return c;
}

mitral_status composer_end(const struct composer *c, bool *done)
{
    *done = c->status == MITRAL_OK;
    return c->status;
}

struct value_type input_type(const struct composer *c, size_t index)
{
    value_id value = input_of(c, index);
    return value == NO_VALUE ? (struct value_type){.rank = -1} : *gradient_type(c->gradient, value);
}

void become(struct composer *c, size_t output, value_id value)
{
    if (c->status == MITRAL_OK)
        c->status = gradient_become(c->gradient, c->node, output, value);
}

void apply_many(struct composer *c, const char *op, const struct attributes *attributes, const value_id *inputs, size_t count,
                value_id *outputs, size_t output_count)
{
    for (size_t i = 0; i < output_count; i++)
        outputs[i] = NO_VALUE;
    if (c->status == MITRAL_OK)
        c->status = gradient_emit(c->gradient, op, attributes, inputs, count, outputs, output_count);
}

value_id apply(struct composer *c, const char *op, const struct attributes *attributes, const value_id *inputs, size_t count)
{
    value_id out;
    apply_many(c, op, attributes, inputs, count, &out, 1);
    return out;
}

value_id unary(struct composer *c, const char *op, value_id a)
{
    return apply(c, op, NULL, &a, 1);
}

value_id binary(struct composer *c, const char *op, value_id a, value_id b)
{
    return apply(c, op, NULL, (value_id[]){a, b}, 2);
}

value_id where(struct composer *c, value_id condition, value_id a, value_id b)
{
    return apply(c, "Where", NULL, (value_id[]){condition, a, b}, 3);
}

value_id number(struct composer *c, double value)
{
    value_id out = NO_VALUE;
    if (c->status == MITRAL_OK)
        c->status = gradient_scalar(c->gradient, &out, c->dtype, value);
    return out;
}

value_id scaled(struct composer *c, value_id a, double factor)
{
    return factor == 1 ? a : multiply(c, a, number(c, factor));
}

value_id integers(struct composer *c, const int64_t *values, size_t count)
{
    value_id out = NO_VALUE;
    if (c->status == MITRAL_OK)
        c->status = gradient_ints(c->gradient, &out, values, count);
    return out;
}

static value_id constant(struct composer *c, const mitral_tensor *tensor)
{
    value_id out = NO_VALUE;
    if (c->status == MITRAL_OK)
        c->status = graph_add_constant(gradient_graph(c->gradient), NULL, tensor, true, &out);
    return out;
}

static bool new_tensor(struct composer *c, mitral_tensor *out, int32_t dtype, int32_t rank, const int64_t *dims)
{
    if (c->status != MITRAL_OK)
        return false;
    tensor_set(out, dtype, rank, dims);
    out->data = arena_allocate(arena_of(c), tensor_bytes(out) + 1);
    if (!out->data)
        c->status = MITRAL_NO_MEMORY;
    return out->data != NULL;
}

value_id numbers(struct composer *c, const double *values, int32_t rank, const int64_t *dims)
{
    mitral_tensor tensor;
    if (!new_tensor(c, &tensor, c->dtype, rank, dims))
        return NO_VALUE;
    for (int64_t i = 0, count = tensor_count(&tensor); i < count; i++)
        tensor_set_double(&tensor, i, values[i], true);
    return constant(c, &tensor);
}

value_id reshaped(struct composer *c, value_id a, int32_t rank, const int64_t *dims)
{
    struct attributes attributes = {0};
    bool left_over = false;
    for (int32_t i = 0; i < rank; i++)
        left_over |= dims[i] < 0;
    if (!left_over)
        set_int(c, &attributes, "allowzero", 1);
    return apply(c, "Reshape", &attributes, (value_id[]){a, integers(c, dims, (size_t)rank)}, 2);
}

value_id with_axis(struct composer *c, value_id a, int64_t axis)
{
    return binary(c, "Unsqueeze", a, integers(c, &axis, 1));
}

value_id without_axis(struct composer *c, value_id a, int64_t axis)
{
    return binary(c, "Squeeze", a, integers(c, &axis, 1));
}

value_id permuted(struct composer *c, value_id a, int32_t rank, const int64_t *permutation)
{
    struct attributes attributes = {0};
    if (c->status == MITRAL_OK)
        c->status = attributes_set_ints(&attributes, arena_of(c), "perm", permutation, (size_t)rank);
    return apply(c, "Transpose", &attributes, &a, 1);
}

value_id part(struct composer *c, value_id a, int64_t axis, int64_t start, int64_t end)
{
    return apply(c, "Slice", NULL, (value_id[]){a, integers(c, &start, 1), integers(c, &end, 1), integers(c, &axis, 1)}, 4);
}

value_id reversed(struct composer *c, value_id a, int64_t axis)
{
    const int64_t start = -1, end = INT64_MIN + 1, step = -1;
    return apply(c, "Slice", NULL, (value_id[]){a, integers(c, &start, 1), integers(c, &end, 1), integers(c, &axis, 1),
                                                integers(c, &step, 1)}, 5);
}

value_id joined(struct composer *c, const value_id *parts, size_t count, int64_t axis)
{
    struct attributes attributes = {0};
    set_int(c, &attributes, "axis", axis);
    return count == 1 ? parts[0] : apply(c, "Concat", &attributes, parts, count);
}

value_id summed(struct composer *c, value_id a, int64_t axis, bool keep)
{
    struct attributes attributes = {0};
    set_int(c, &attributes, "keepdims", keep);
    return apply(c, "ReduceSum", &attributes, (value_id[]){a, integers(c, &axis, 1)}, 2);
}

value_id softmax(struct composer *c, value_id a, int64_t axis)
{
    struct attributes attributes = {0};
    set_int(c, &attributes, "axis", axis);
    return apply(c, "Softmax", &attributes, &a, 1);
}

value_id cast(struct composer *c, value_id a, int32_t dtype)
{
    struct attributes attributes = {0};
    set_int(c, &attributes, "to", dtype);
    return apply(c, "Cast", &attributes, &a, 1);
}

value_id activated(struct composer *c, const char *function, double alpha, double beta, value_id a)
{
    static const char *const plain[] = {"Relu", "Tanh", "Sigmoid", "Softsign", "Softplus", "Elu", "LeakyRelu", "ThresholdedRelu",
                                        "Celu", "HardSigmoid", "Selu"};
    struct arena *arena = arena_of(c);
    struct attributes attributes = {0};
    if (c->status != MITRAL_OK)
        return NO_VALUE;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (strcasecmp(function, plain[i]) != 0)
            continue;
        if (i >= 5)
            c->status = attributes_set_float(&attributes, arena, "alpha", (float)alpha);
        if (i >= 9 && c->status == MITRAL_OK)
            c->status = attributes_set_float(&attributes, arena, i == 10 ? "gamma" : "beta", (float)beta);
        return apply(c, plain[i], &attributes, &a, 1);
    }
    if (strcasecmp(function, "Clip") == 0)
        return apply(c, "Clip", NULL, (value_id[]){a, number(c, alpha), number(c, beta)}, 3);
    if (strcasecmp(function, "Affine") == 0)
        return add(c, scaled(c, a, alpha), number(c, beta));
    if (strcasecmp(function, "ScaledTanh") == 0)
        return scaled(c, unary(c, "Tanh", scaled(c, a, beta)), alpha);
    c->status = gradient_fail(c->gradient, c->node, MITRAL_UNSUPPORTED, "expected an activation such as Tanh, Sigmoid or Relu, found %.40s",
                              function);
    return NO_VALUE;
}
