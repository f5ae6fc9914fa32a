/* What hooks and compositions add to the graph. */
#include "compiler/gradient_internal.h"

#include <string.h>

static mitral_status new_value(struct gradient *gradient, value_id *out)
{
    struct value_type type = {.kind = MITRAL_TENSOR, .dtype = MITRAL_UNDEFINED, .rank = -1};
    char *name = arena_format(gradient->graph->arena, "gradient/%s/%zu", gradient->node ? gradient->node->name : "loss",
                              gradient->emitted++);
    if (!name)
        return MITRAL_NO_MEMORY;
    return graph_add_value(gradient->graph, name, &type, out);
}

mitral_status gradient_emit_row(struct gradient *gradient, const struct op *row, int version, const struct attributes *attributes,
                                const value_id *inputs, size_t input_count, value_id *outputs, size_t output_count)
{
    struct graph *graph = gradient->graph;
    static const struct attributes none;
    for (size_t i = 0; i < output_count; i++)
        TRY(new_value(gradient, &outputs[i]));
    char *node_name = arena_format(graph->arena, "gradient/%s/%s%zu", gradient->node ? gradient->node->name : "loss", row->name,
                                   gradient->emitted++);
    if (!node_name)
        return MITRAL_NO_MEMORY;
    return graph_add_node(graph, row, version, node_name, attributes ? attributes : &none, inputs, input_count, outputs, output_count, NULL);
}

mitral_status gradient_emit(struct gradient *gradient, const char *op, const struct attributes *attributes,
                            const value_id *inputs, size_t input_count, value_id *outputs, size_t output_count)
{
    const char *domain = NULL, *name = op;
    if (strncmp(op, "mitral.", 7) == 0) {
        domain = "mitral";
        name = op + 7;
    }
    const struct op *row = op_find(domain, name);
    const struct node *of = gradient->node;
    if (!row && of)
        return mitral_fail(gradient->graph->context, MITRAL_UNSUPPORTED, "gradient of %s '%s': expected operator %s, found none of that name",
                           of->op->name, of->name, op);
    if (!row)
        return mitral_fail(gradient->graph->context, MITRAL_UNSUPPORTED, "gradient of the loss: expected operator %s, found none of that name", op);
    /* The newest version whatever the model's own opset: hooks are written for it. */
    const struct schema *schema = schema_find(op_domain(row), row->name, schema_newest_opset);
    return gradient_emit_row(gradient, row, schema ? schema->since_version : 1, attributes, inputs, input_count, outputs, output_count);
}

mitral_status gradient_unary(struct gradient *gradient, value_id *out, const char *op, value_id a)
{
    return gradient_emit(gradient, op, NULL, &a, 1, out, 1);
}

mitral_status gradient_binary(struct gradient *gradient, value_id *out, const char *op, value_id a, value_id b)
{
    return gradient_emit(gradient, op, NULL, (value_id[]){a, b}, 2, out, 1);
}

static mitral_status add_constant(struct gradient *gradient, value_id *out, const mitral_tensor *tensor)
{
    char *name = arena_format(gradient->graph->arena, "gradient/%s/constant%zu",
                              gradient->node ? gradient->node->name : "loss", gradient->emitted++);
    if (!name)
        return MITRAL_NO_MEMORY;
    return graph_add_constant(gradient->graph, name, tensor, false, out);
}

mitral_status gradient_scalar(struct gradient *gradient, value_id *out, int32_t dtype, double number)
{
    union { double d; int64_t i; } room = {0};
    mitral_tensor tensor = {.dtype = dtype, .rank = 0, .data = &room};
    if (dtype_is_float(dtype))
        tensor_set_double(&tensor, 0, number, false);
    else
        tensor_set_int(&tensor, 0, (int64_t)number);
    return add_constant(gradient, out, &tensor);
}

mitral_status gradient_scale(struct gradient *gradient, value_id *out, value_id a, value_id like, double number)
{
    if (number == 1) {
        *out = a;
        return MITRAL_OK;
    }
    value_id factor;
    TRY(gradient_scalar(gradient, &factor, gradient_type(gradient, like)->dtype, number));
    return gradient_binary(gradient, out, "Mul", a, factor);
}

mitral_status gradient_ints(struct gradient *gradient, value_id *out, const int64_t *numbers, size_t count)
{
    mitral_tensor tensor = {.dtype = MITRAL_INT64, .rank = 1, .dims = {(int64_t)count}, .data = (void *)numbers};
    return add_constant(gradient, out, &tensor);
}

static mitral_status shape_of(struct gradient *gradient, value_id *out, value_id value)
{
    const struct value_type type = *gradient_type(gradient, value);
    return type_is_static(&type) ? gradient_ints(gradient, out, type.dims, (size_t)type.rank) : gradient_unary(gradient, out, "Shape", value);
}

mitral_status gradient_zeros(struct gradient *gradient, value_id *out, value_id like)
{
    const struct value_type type = *gradient_type(gradient, like);
    struct attributes attributes = {0};
    value_id shape;
    TRY(shape_of(gradient, &shape, like));
    union { double d; int64_t i; } room = {0};
    mitral_tensor zero = {.dtype = type.dtype, .rank = 1, .dims = {1}, .data = &room};
    struct attribute attribute = {.name = "value", .kind = ATTRIBUTE_TENSOR, .count = 1, .tensors = &zero};
    TRY(attributes_set(&attributes, gradient->graph->arena, &attribute));
    return gradient_emit(gradient, "ConstantOfShape", &attributes, &shape, 1, out, 1);
}

mitral_status gradient_reshape_like(struct gradient *gradient, value_id *out, value_id value, value_id like)
{
    struct attributes attributes = {0};
    value_id shape;
    TRY(shape_of(gradient, &shape, like));
    TRY(attributes_set_int(&attributes, gradient->graph->arena, "allowzero", 1));
    return gradient_emit(gradient, "Reshape", &attributes, (value_id[]){value, shape}, 2, out, 1);
}

mitral_status gradient_set_shape(struct gradient *gradient, struct attributes *attributes, value_id like, value_id *inputs,
                                 size_t *input_count)
{
    const struct value_type *type = gradient_type(gradient, like);
    if (type_is_static(type))
        return attributes_set_ints(attributes, gradient->graph->arena, "shape", type->dims, (size_t)type->rank);
    inputs[(*input_count)++] = like;
    return MITRAL_OK;
}

const int64_t *gradient_constant_ints(struct gradient *gradient, const struct node *node, size_t input, size_t *count)
{
    *count = 0;
    value_id value = node_input(node, input);
    const mitral_tensor *tensor = value == NO_VALUE ? NULL : graph_constant(gradient->graph, value);
    if (!tensor || !dtype_is_integer(tensor->dtype))
        return NULL;
    int64_t elements = tensor_count(tensor);
    int64_t *numbers = arena_allocate(gradient->graph->arena, (size_t)(elements > 0 ? elements : 1) * sizeof *numbers);
    if (!numbers)
        return NULL;
    for (int64_t i = 0; i < elements; i++)
        numbers[i] = tensor_get_int(tensor, i);
    *count = (size_t)elements;
    return numbers;
}

/* ---- composition ----------------------------------------------------------------------------------------------------- */

mitral_status gradient_become(struct gradient *gradient, const struct node *node, size_t output, value_id value)
{
    value_id target = node_output(node, output);
    if (target == NO_VALUE)
        return MITRAL_OK;
    return graph_add_node(gradient->graph, op_find(NULL, "Identity"), 0, NULL, NULL, &value, 1, &target, 1, NULL);
}

mitral_status gradient_inline(struct gradient *gradient, const struct graph *inner, const value_id *inputs, value_id *outputs)
{
    const char *prefix = arena_format(gradient->graph->arena, "gradient/%s", gradient->node->name);
    return prefix ? graph_inline(gradient->graph, inner, prefix, &gradient->emitted, inputs, outputs) : MITRAL_NO_MEMORY;
}
