#include "compiler/gradient.h"

#include <stdio.h>
#include <string.h>

#include "compiler/passes/passes.h"

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
    if (!row)
        return mitral_fail(gradient->graph->context, MITRAL_UNSUPPORTED, "gradient of %s '%s': operator %s is not available",
                           gradient->node ? gradient->node->op->name : "loss", gradient->node ? gradient->node->name : "", op);
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

static mitral_status fail_without_gradient(struct gradient *gradient, const struct node *node)
{
    const char *reason = node->op->custom ? "it was registered without a gradient function" : gradient_reason(node->op);
    if (!reason && node->op->compose)
        reason = "found a form of it that is not composed of others";
    return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected a differentiable operator between the loss and a trained value; %s",
                         reason ? reason : "found one without a gradient");
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
            return fail_without_gradient(gradient, &node);
        gradient->node = &node;
        mitral_status status = node.op->gradient(gradient, &node);
        gradient->node = NULL;
        TRY(status);
        if (mitral_cancelled(gradient->graph->context))
            return mitral_fail(gradient->graph->context, MITRAL_CANCELLED, "cancelled");
    }
    return MITRAL_OK;
}

/* ---- composition ----------------------------------------------------------------------------------------------------- */

mitral_status gradient_become(struct gradient *gradient, const struct node *node, size_t output, value_id value)
{
    value_id target = node_output(node, output);
    if (target == NO_VALUE)
        return MITRAL_OK;
    return graph_add_node(gradient->graph, op_find(NULL, "Identity"), 0, NULL, NULL, &value, 1, &target, 1, NULL);
}

static mitral_status inline_node(struct gradient *gradient, const struct graph *inner, const struct node *from, value_id *map)
{
    struct graph *graph = gradient->graph;
    value_id *ids = arena_allocate(graph->arena, (from->input_count + from->output_count + 1) * sizeof *ids);
    if (!ids)
        return MITRAL_NO_MEMORY;
    value_id *outputs = ids + from->input_count;
    for (size_t i = 0; i < from->input_count; i++)
        ids[i] = from->inputs[i] == NO_VALUE ? NO_VALUE : map[from->inputs[i]];
    for (size_t i = 0; i < from->output_count; i++) {
        outputs[i] = NO_VALUE;
        if (from->outputs[i] == NO_VALUE)
            continue;
        TRY(new_value(gradient, &outputs[i]));
        if (inner->values[from->outputs[i]].type.kind != MITRAL_TENSOR)
            graph->values[outputs[i]].type = inner->values[from->outputs[i]].type;
        map[from->outputs[i]] = outputs[i];
    }
    char *name = arena_format(graph->arena, "gradient/%s/%s%zu", gradient->node->name, from->name, gradient->emitted++);
    node_id added;
    if (!name)
        return MITRAL_NO_MEMORY;
    TRY(graph_add_node(graph, from->op, from->version, name, &from->attributes, ids, from->input_count, outputs, from->output_count, &added));
    struct node *to = &graph->nodes[added];
    to->subgraph_count = from->subgraph_count;
    to->capture_count = from->capture_count;
    to->subgraphs = arena_allocate(graph->arena, (from->subgraph_count + 1) * sizeof *to->subgraphs);
    if (!to->subgraphs)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < from->subgraph_count; i++)
        TRY(graph_copy_subgraph(&graph->nodes[added].subgraphs[i], graph, from->subgraphs[i]));
    return MITRAL_OK;
}

mitral_status gradient_inline(struct gradient *gradient, const struct graph *inner, const value_id *inputs, value_id *outputs)
{
    struct graph *graph = gradient->graph;
    value_id *map = arena_allocate(graph->arena, (inner->value_count + 1) * sizeof *map);
    if (!map)
        return MITRAL_NO_MEMORY;
    for (size_t v = 0; v < inner->value_count; v++) {
        map[v] = NO_VALUE;
        if (inner->values[v].constant)
            TRY(add_constant(gradient, &map[v], inner->values[v].constant));
    }
    for (size_t i = 0; i < inner->input_count; i++)
        map[inner->inputs[i]] = inputs[i];
    for (size_t n = 0; n < inner->node_count; n++)
        if (inner->nodes[n].op)
            TRY(inline_node(gradient, inner, &inner->nodes[n], map));
    for (size_t i = 0; i < inner->output_count; i++)
        outputs[i] = map[inner->outputs[i]];
    return MITRAL_OK;
}

/* Of values that carry a gradient from one of `values`: not those that only shapes or indices are taken from. */
static void mark_needed(const struct gradient *gradient, const value_id *values, size_t count, bool *needed)
{
    const struct graph *graph = gradient->graph;
    for (size_t i = 0; i < count; i++)
        needed[values[i]] = gradient->wanted[values[i]];
    for (size_t n = graph->node_count; n-- > 0;) {
        const struct node *node = &graph->nodes[n];
        bool any = false;
        for (size_t i = 0; node->op && i < node->output_count && !any; i++)
            any = node->outputs[i] != NO_VALUE && needed[node->outputs[i]];
        for (size_t i = 0; any && i < node->input_count; i++)
            if (gradient_wants(gradient, node, i))
                needed[node->inputs[i]] = true;
    }
}

/* One round: parts may be composed of parts themselves. */
static mitral_status compose_nodes(struct gradient *gradient, const bool *needed, bool *changed)
{
    struct graph *graph = gradient->graph;
    *changed = false;
    for (size_t n = 0, count = graph->node_count; n < count; n++) {
        struct node node = graph->nodes[n];
        bool wanted = false, reached = false, done = true;
        if (!node.op || !node.op->compose)
            continue;
        for (size_t i = 0; i < node.input_count; i++)
            wanted |= gradient_wants(gradient, &node, i);
        for (size_t i = 0; i < node.output_count; i++)
            reached |= node.outputs[i] != NO_VALUE && needed[node.outputs[i]];
        if (!wanted || !reached)
            continue;
        gradient->node = &node;
        mitral_status status = node.op->compose(gradient, &node, &done);
        gradient->node = NULL;
        TRY(status);
        if (!done)
            continue;
        /* Its outputs have other producers by now. */
        graph->nodes[n].op = NULL;
        for (size_t i = 0; i < node.output_count; i++)
            if (node.outputs[i] != NO_VALUE && graph->values[node.outputs[i]].producer == n)
                graph->values[node.outputs[i]].producer = NO_NODE;
        *changed = true;
    }
    return MITRAL_OK;
}

static mitral_status allocate_marks(struct gradient *gradient, const value_id *wrt, size_t count)
{
    mitral_context *context = gradient->graph->context;
    mitral_release(context, gradient->wanted);
    gradient->wanted = mitral_allocate(context, gradient->graph->value_count * sizeof *gradient->wanted);
    if (!gradient->wanted)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        gradient->wanted[wrt[i]] = true;
    mark_wanted(gradient);
    return MITRAL_OK;
}

/* Hooks want constants where exporters leave chains of Shape, Gather and Concat. What is differentiated stays, constant or not. */
static mitral_status fold_constants(struct graph *graph, const value_id *wrt, size_t count)
{
    const struct pass_options options = {.threads = 1, .training = true};
    bool *was_variable = mitral_allocate(graph->context, count + 1), changed = false;
    if (!was_variable)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        was_variable[i] = graph->values[wrt[i]].variable;
        graph->values[wrt[i]].variable = true;
    }
    mitral_status status = pass_fold_constants(graph, &options, &changed);
    for (size_t i = count; i-- > 0;) /* one that is listed twice gets its first state back */
        graph->values[wrt[i]].variable = was_variable[i];
    mitral_release(graph->context, was_variable);
    return status;
}

enum { MAX_COMPOSITIONS = 16 };

static mitral_status compose(struct gradient *gradient, const value_id *values, size_t value_count, const value_id *wrt, size_t count)
{
    struct graph *graph = gradient->graph;
    for (int round = 0; round < MAX_COMPOSITIONS; round++) {
        bool changed = false;
        TRY(fold_constants(graph, wrt, count));
        TRY(allocate_marks(gradient, wrt, count));
        bool *needed = mitral_allocate(graph->context, graph->value_count + 1);
        if (!needed)
            return MITRAL_NO_MEMORY;
        mark_needed(gradient, values, value_count, needed);
        mitral_status status = compose_nodes(gradient, needed, &changed);
        mitral_release(graph->context, needed);
        TRY(status);
        if (!changed)
            return MITRAL_OK;
        TRY(graph_sort(graph));
        TRY(graph_infer(graph));
    }
    return MITRAL_OK; /* what is left has to have gradients of its own */
}

static mitral_status build(struct gradient *gradient, const value_id *values, const value_id *seeds, size_t value_count,
                           const value_id *wrt, size_t count, value_id *gradients)
{
    struct graph *graph = gradient->graph;
    for (size_t i = 0; i < count; i++)
        if (!may_carry_gradient(graph, wrt[i]))
            return mitral_fail(graph->context, MITRAL_INVALID, "gradient with respect to '%s': expected a floating-point value, found %s",
                               graph->values[wrt[i]].name, mitral_dtype_name((mitral_dtype)graph->values[wrt[i]].type.dtype));
    TRY(compose(gradient, values, value_count, wrt, count));
    const size_t node_count = graph->node_count; /* what is emitted from here on is not differentiated */
    gradient->value_count = graph->value_count;
    gradient->sums = mitral_allocate(graph->context, graph->value_count * sizeof *gradient->sums);
    if (!gradient->sums)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < graph->value_count; i++)
        gradient->sums[i] = NO_VALUE;
    bool any = false;
    for (size_t k = 0; k < value_count; k++) {
        if (!gradient->wanted[values[k]])
            continue;
        value_id seed = seeds ? seeds[k] : NO_VALUE;
        if (!seeds) {
            const struct value_type type = graph->values[values[k]].type;
            TRY(gradient_scalar(gradient, &seed, type.dtype, 1));
            if (type.rank != 0)
                TRY(gradient_reshape_like(gradient, &seed, seed, values[k]));
        }
        if (seed == NO_VALUE)
            continue;
        TRY(accumulate(gradient, values[k], seed));
        any = true;
    }
    if (any)
        TRY(sweep(gradient, node_count));
    for (size_t i = 0; i < count; i++)
        gradients[i] = gradient->sums[wrt[i]];
    return MITRAL_OK;
}

static mitral_status build_and_clear(struct graph *graph, const value_id *values, const value_id *seeds, size_t value_count,
                                     const value_id *wrt, size_t count, value_id *gradients)
{
    struct gradient gradient = {.graph = graph};
    mitral_status status = build(&gradient, values, seeds, value_count, wrt, count, gradients);
    mitral_release(graph->context, gradient.wanted);
    mitral_release(graph->context, gradient.sums);
    return status;
}

mitral_status gradient_build_from(struct graph *graph, const value_id *values, const value_id *seeds, size_t value_count,
                                  const value_id *wrt, size_t count, value_id *gradients)
{
    return build_and_clear(graph, values, seeds, value_count, wrt, count, gradients);
}

mitral_status gradient_build(struct graph *graph, value_id loss, const value_id *wrt, size_t count, value_id *gradients)
{
    const struct value_type *type = &graph->values[loss].type;
    if (!dtype_is_float(type->dtype))
        return mitral_fail(graph->context, MITRAL_INVALID, "gradient of '%s': expected a floating-point loss, found %s",
                           graph->values[loss].name, type->dtype ? mitral_dtype_name((mitral_dtype)type->dtype) : "no type");
    /* Where the rank is not known (sizes that depend on data came before) the run checks it. */
    for (int32_t i = 0; i < type->rank; i++)
        if (type->dims[i] != 1)
            return mitral_fail(graph->context, MITRAL_INVALID, "gradient of '%s': expected a loss of one element, found rank %d",
                               graph->values[loss].name, (int)type->rank);
    return build_and_clear(graph, &loss, NULL, 1, wrt, count, gradients);
}
