#include "compiler/gradient.h"

#include <stdio.h>
#include <string.h>

struct gradient {
    struct graph *graph;
    size_t value_count;  /* of the forward graph: later values are part of the backward one */
    bool *wanted;        /* [value]: it depends on a wrt, or is one */
    value_id *sums;      /* [value]: its gradient so far; NO_VALUE: none yet */
    size_t emitted;
    const struct node *node; /* whose hook runs: for names */
};

struct graph *gradient_graph(struct gradient *gradient)
{
    return gradient->graph;
}

const struct value_type *gradient_type(struct gradient *gradient, value_id value)
{
    return &gradient->graph->values[value].type;
}

bool gradient_wants(const struct gradient *gradient, const struct node *node, size_t input)
{
    value_id value = node_input(node, input);
    return value != NO_VALUE && gradient->wanted[value];
}

value_id gradient_of(const struct gradient *gradient, const struct node *node, size_t output)
{
    value_id value = node_output(node, output);
    return value == NO_VALUE ? NO_VALUE : gradient->sums[value];
}

mitral_status gradient_fail(struct gradient *gradient, const struct node *node, mitral_status status, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return mitral_fail(gradient->graph->context, status, "gradient of %s '%s': %s", node->op->name, node->name, text);
}

/* ---- emitting -------------------------------------------------------------------------------------------------------- */

static mitral_status new_value(struct gradient *gradient, value_id *out)
{
    struct value_type type = {.kind = MITRAL_TENSOR, .dtype = MITRAL_UNDEFINED, .rank = -1};
    char *name = arena_format(gradient->graph->arena, "gradient/%s/%zu", gradient->node ? gradient->node->name : "loss",
                              gradient->emitted++);
    if (!name)
        return MITRAL_NO_MEMORY;
    return graph_add_value(gradient->graph, name, &type, out);
}

mitral_status gradient_emit(struct gradient *gradient, const char *op, const struct attributes *attributes,
                            const value_id *inputs, size_t input_count, value_id *outputs, size_t output_count)
{
    struct graph *graph = gradient->graph;
    static const struct attributes none;
    const char *domain = NULL, *name = op;
    if (strncmp(op, "mitral.", 7) == 0) {
        domain = "mitral";
        name = op + 7;
    }
    const struct op *row = op_find(domain, name);
    if (!row)
        return mitral_fail(graph->context, MITRAL_UNSUPPORTED, "gradient of %s '%s': operator %s is not available",
                           gradient->node ? gradient->node->op->name : "loss", gradient->node ? gradient->node->name : "", op);
    for (size_t i = 0; i < output_count; i++)
        TRY(new_value(gradient, &outputs[i]));
    char *node_name = arena_format(graph->arena, "gradient/%s/%s%zu", gradient->node ? gradient->node->name : "loss", name,
                                   gradient->emitted++);
    if (!node_name)
        return MITRAL_NO_MEMORY;
    /* The newest version whatever the model's own opset: hooks are written for it. */
    const struct schema *schema = schema_find(op_domain(row), row->name, schema_newest_opset);
    node_id node;
    return graph_add_node(graph, row, schema ? schema->since_version : 1, node_name, attributes ? attributes : &none, inputs, input_count, outputs,
                          output_count, &node);
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

mitral_status gradient_zeros(struct gradient *gradient, value_id *out, value_id like)
{
    const struct value_type type = *gradient_type(gradient, like);
    struct attributes attributes = {0};
    value_id shape;
    if (type_is_static(&type))
        TRY(gradient_ints(gradient, &shape, type.dims, (size_t)type.rank));
    else
        TRY(gradient_unary(gradient, &shape, "Shape", like));
    union { double d; int64_t i; } room = {0};
    mitral_tensor zero = {.dtype = type.dtype, .rank = 1, .dims = {1}, .data = &room};
    struct attribute attribute = {.name = "value", .kind = ATTRIBUTE_TENSOR, .count = 1, .tensors = &zero};
    TRY(attributes_set(&attributes, gradient->graph->arena, &attribute));
    return gradient_emit(gradient, "ConstantOfShape", &attributes, &shape, 1, out, 1);
}

mitral_status gradient_reshape_like(struct gradient *gradient, value_id *out, value_id value, value_id like)
{
    const struct value_type type = *gradient_type(gradient, like);
    struct attributes attributes = {0};
    value_id shape;
    if (type_is_static(&type))
        TRY(gradient_ints(gradient, &shape, type.dims, (size_t)type.rank));
    else
        TRY(gradient_unary(gradient, &shape, "Shape", like));
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

/* ---- accumulating ---------------------------------------------------------------------------------------------------- */

/* Contributions are added as they come, so that at most one sum and one addend of a value are alive at a time; the order is that
 * of the sweep, the same for every run. */
static mitral_status accumulate(struct gradient *gradient, value_id target, value_id value)
{
    value_id *sum = &gradient->sums[target];
    if (*sum == NO_VALUE) {
        *sum = value;
        return MITRAL_OK;
    }
    return gradient_binary(gradient, sum, "Add", *sum, value);
}

mitral_status gradient_contribute(struct gradient *gradient, const struct node *node, size_t input, value_id value)
{
    if (!gradient_wants(gradient, node, input) || value == NO_VALUE)
        return MITRAL_OK;
    return accumulate(gradient, node->inputs[input], value);
}

static bool same_static_shape(const struct value_type *a, const struct value_type *b)
{
    if (a->rank < 0 || a->rank != b->rank)
        return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i] || (a->dims[i] < 0 && (!a->symbols[i] || !b->symbols[i] ||
                                                             strcmp(a->symbols[i], b->symbols[i]) != 0)))
            return false;
    return true;
}

mitral_status gradient_contribute_reduced(struct gradient *gradient, const struct node *node, size_t input, value_id value)
{
    if (!gradient_wants(gradient, node, input) || value == NO_VALUE)
        return MITRAL_OK;
    value_id target = node->inputs[input];
    if (!same_static_shape(gradient_type(gradient, target), gradient_type(gradient, node->outputs[0]))) {
        struct attributes attributes = {0};
        value_id inputs[2] = {value};
        size_t count = 1;
        TRY(gradient_set_shape(gradient, &attributes, target, inputs, &count));
        TRY(gradient_emit(gradient, "mitral.ReduceTo", &attributes, inputs, count, &value, 1));
    }
    return accumulate(gradient, target, value);
}

/* ---- the sweep ------------------------------------------------------------------------------------------------------- */

static bool may_carry_gradient(const struct graph *graph, value_id value)
{
    int32_t dtype = graph->values[value].type.dtype;
    return dtype == MITRAL_UNDEFINED || dtype_is_float(dtype);
}

static void mark_wanted(struct gradient *gradient)
{
    const struct graph *graph = gradient->graph;
    for (size_t n = 0; n < graph->node_count; n++) {
        const struct node *node = &graph->nodes[n];
        bool any = false;
        for (size_t i = 0; node->op && i < node->input_count && !any; i++)
            any = node->inputs[i] != NO_VALUE && gradient->wanted[node->inputs[i]];
        for (size_t i = 0; any && i < node->output_count; i++)
            if (node->outputs[i] != NO_VALUE && may_carry_gradient(graph, node->outputs[i]))
                gradient->wanted[node->outputs[i]] = true;
    }
}

static mitral_status sweep(struct gradient *gradient, size_t node_count)
{
    for (size_t n = node_count; n-- > 0;) {
        struct node node = gradient->graph->nodes[n]; /* a copy: the array moves when nodes are added */
        bool arrived = false, wanted = false;
        for (size_t i = 0; node.op && i < node.output_count; i++)
            arrived |= gradient_of(gradient, &node, i) != NO_VALUE;
        for (size_t i = 0; node.op && i < node.input_count; i++)
            wanted |= gradient_wants(gradient, &node, i);
        if (!arrived || !wanted)
            continue;
        if (!node.op->gradient)
            return gradient_fail(gradient, &node, MITRAL_UNSUPPORTED, "expected a differentiable operator, found one without "
                                 "a gradient between the loss and a trained value");
        gradient->node = &node;
        mitral_status status = node.op->gradient(gradient, &node);
        gradient->node = NULL;
        TRY(status);
        if (mitral_cancelled(gradient->graph->context))
            return mitral_fail(gradient->graph->context, MITRAL_CANCELLED, "cancelled");
    }
    return MITRAL_OK;
}

static mitral_status build(struct gradient *gradient, value_id loss, const value_id *wrt, size_t count, value_id *gradients)
{
    struct graph *graph = gradient->graph;
    const struct value_type type = graph->values[loss].type;
    for (size_t i = 0; i < count; i++) {
        if (!may_carry_gradient(graph, wrt[i]))
            return mitral_fail(graph->context, MITRAL_INVALID, "gradient with respect to '%s': expected a floating-point value, found %s",
                               graph->values[wrt[i]].name, mitral_dtype_name((mitral_dtype)graph->values[wrt[i]].type.dtype));
        gradient->wanted[wrt[i]] = true;
    }
    mark_wanted(gradient);
    if (gradient->wanted[loss]) {
        value_id one;
        TRY(gradient_scalar(gradient, &one, type.dtype, 1));
        if (type.rank > 0)
            TRY(gradient_reshape_like(gradient, &one, one, loss));
        gradient->sums[loss] = one;
        TRY(sweep(gradient, graph->node_count));
    }
    for (size_t i = 0; i < count; i++)
        gradients[i] = gradient->sums[wrt[i]];
    return MITRAL_OK;
}

mitral_status gradient_build(struct graph *graph, value_id loss, const value_id *wrt, size_t count, value_id *gradients)
{
    const struct value_type *type = &graph->values[loss].type;
    if (!dtype_is_float(type->dtype))
        return mitral_fail(graph->context, MITRAL_INVALID, "gradient of '%s': expected a floating-point loss, found %s",
                           graph->values[loss].name, type->dtype ? mitral_dtype_name((mitral_dtype)type->dtype) : "no type");
    for (int32_t i = 0; i < type->rank || type->rank < 0; i++)
        if (type->rank < 0 || type->dims[i] != 1)
            return mitral_fail(graph->context, MITRAL_INVALID, "gradient of '%s': expected a loss of one element, found rank %d",
                               graph->values[loss].name, (int)type->rank);
    struct gradient gradient = {.graph = graph, .value_count = graph->value_count};
    gradient.wanted = mitral_allocate(graph->context, graph->value_count * sizeof *gradient.wanted);
    gradient.sums = mitral_allocate(graph->context, graph->value_count * sizeof *gradient.sums);
    mitral_status status = MITRAL_NO_MEMORY;
    if (gradient.wanted && gradient.sums) {
        for (size_t i = 0; i < graph->value_count; i++)
            gradient.sums[i] = NO_VALUE;
        status = build(&gradient, loss, wrt, count, gradients);
    }
    mitral_release(graph->context, gradient.wanted);
    mitral_release(graph->context, gradient.sums);
    return status;
}
