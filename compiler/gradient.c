#include "compiler/gradient_internal.h"

#include <stdio.h>
#include <string.h>

#include "compiler/passes/passes.h"

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

static mitral_status fail_untyped(const struct graph *graph, value_id loss)
{
    TRY(graph_check_shaped(graph, "gradient"));
    return mitral_fail(graph->context, MITRAL_INVALID, "gradient of '%s': expected a floating-point loss, found no type", graph->values[loss].name);
}

mitral_status gradient_build(struct graph *graph, value_id loss, const value_id *wrt, size_t count, value_id *gradients)
{
    const struct value_type *type = &graph->values[loss].type;
    if (!type->dtype)
        return fail_untyped(graph, loss);
    if (!dtype_is_float(type->dtype))
        return mitral_fail(graph->context, MITRAL_INVALID, "gradient of '%s': expected a floating-point loss, found %s",
                           graph->values[loss].name, mitral_dtype_name((mitral_dtype)type->dtype));
    /* Where the rank is not known (sizes that depend on data came before) the run checks it. */
    for (int32_t i = 0; i < type->rank; i++)
        if (type->dims[i] != 1)
            return mitral_fail(graph->context, MITRAL_INVALID, "gradient of '%s': expected a loss of one element, found rank %d",
                               graph->values[loss].name, (int)type->rank);
    return build_and_clear(graph, &loss, NULL, 1, wrt, count, gradients);
}
