/* Elementwise operators that follow each other become one pass over memory, mitral.Elementwise: those whose results nobody outside
 * reads and that have the last one's shape. Between 8-bit tensors the pass takes DequantizeLinear and QuantizeLinear along. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"
#include "compiler/passes/quantizer.h"
#include "runtime/kernels/reference/chain.h"

struct group {
    const struct graph *graph;
    const struct graph_uses *uses;
    node_id nodes[CHAIN_OPERATIONS]; /* the last one first */
    size_t count;
    value_id inputs[CHAIN_INPUTS];
    size_t input_count;
};

struct step {
    const struct chain_operation *operation;
    float parameters[2];
};

static bool is_float(const struct graph *graph, value_id value)
{
    return value != NO_VALUE && graph->values[value].type.kind == MITRAL_TENSOR && graph->values[value].type.dtype == MITRAL_FLOAT
           && graph->values[value].type.rank >= 0;
}

/* A constant of one element. */
static bool read_scalar(const struct graph *graph, value_id value, float *out)
{
    const mitral_tensor *constant = value == NO_VALUE ? NULL : graph_constant(graph, value);
    if (!constant || constant->dtype != MITRAL_FLOAT || tensor_count(constant) != 1)
        return false;
    *out = (float)tensor_get_double(constant, 0);
    return true;
}

static bool read_power(const struct graph *graph, const struct node *node, struct step *out)
{
    float exponent;
    if (!read_scalar(graph, node_input(node, 1), &exponent) || (exponent != 2 && exponent != 3))
        return false;
    const char *name = exponent == 2 ? "Square" : "Cube";
    out->operation = chain_find(name, strlen(name));
    return true;
}

static bool read_limits(const struct graph *graph, const struct node *node, struct step *out)
{
    for (size_t i = 0; i < 2 && node->version >= 11; i++)
        if (node_input(node, 1 + i) != NO_VALUE && !read_scalar(graph, node->inputs[1 + i], &out->parameters[i]))
            return false;
    return out->parameters[0] <= out->parameters[1];
}

/* Whether a chain can have the node, and as what. */
static bool read_step(const struct graph *graph, node_id id, struct step *out)
{
    const struct node *node = &graph->nodes[id];
    if (!node->op || *op_domain(node->op) || node->output_count != 1 || !is_float(graph, node->outputs[0]) || node->subgraph_count
        || !is_float(graph, node_input(node, 0)))
        return false;
    *out = (struct step){.operation = chain_find(node->op->name, strlen(node->op->name))};
    if (attribute_has(&node->attributes, "runtime_bits")) {
        const char *name = node_is(node, "Tanh") ? "QuotientTanh" : "QuotientSigmoid";
        out->operation = chain_find(name, strlen(name));
    }
    if (node_is(node, "Pow") && !read_power(graph, node, out))
        return false;
    if (!out->operation)
        return false;
    for (size_t i = 0; i < 2; i++)
        if (out->operation->parameters[i])
            out->parameters[i] = attribute_float(&node->attributes, out->operation->parameters[i], out->operation->defaults[i]);
    if (out->operation->arity == 2 && (!is_float(graph, node_input(node, 1)) || (node->version < 7 && attribute_int(&node->attributes, "broadcast", 0))))
        return false;
    if (node_is(node, "Gelu") && strcmp(attribute_string(&node->attributes, "approximate", "none"), "none") != 0)
        return false;
    return !node_is(node, "Clip") || read_limits(graph, node, out);
}

static bool is_member(const struct group *group, node_id node)
{
    for (size_t i = 0; i < group->count; i++)
        if (group->nodes[i] == node)
            return true;
    return false;
}

static int arity_of(const struct group *group, node_id node)
{
    struct step step;
    return read_step(group->graph, node, &step) ? step.operation->arity : 0;
}

/* What members read that no member computes; false when there is too much of it. */
static bool find_inputs(struct group *group)
{
    group->input_count = 0;
    for (size_t i = 0; i < group->count; i++) {
        const struct node *node = &group->graph->nodes[group->nodes[i]];
        for (int k = 0, arity = arity_of(group, group->nodes[i]); k < arity; k++) {
            const value_id input = node->inputs[k];
            const node_id producer = group->graph->values[input].producer;
            bool known = producer != NO_NODE && is_member(group, producer);
            for (size_t j = 0; j < group->input_count && !known; j++)
                known = group->inputs[j] == input;
            if (known)
                continue;
            if (group->input_count == CHAIN_INPUTS)
                return false;
            group->inputs[group->input_count++] = input;
        }
    }
    return true;
}

static bool only_members_read(const struct group *group, value_id value)
{
    if (group->uses->is_output[value])
        return false;
    for (uint32_t i = group->uses->offsets[value]; i < group->uses->offsets[value + 1]; i++)
        if (!is_member(group, group->uses->nodes[i]))
            return false;
    return true;
}

static bool add_one(struct group *group)
{
    const struct value_type *type = &group->graph->values[group->graph->nodes[group->nodes[0]].outputs[0]].type;
    for (size_t i = 0; i < group->input_count && group->count < CHAIN_OPERATIONS; i++) {
        const value_id input = group->inputs[i];
        const node_id producer = group->graph->values[input].producer;
        struct step step;
        if (producer == NO_NODE || graph_constant(group->graph, input) || !type_same_dims(&group->graph->values[input].type, type)
            || !read_step(group->graph, producer, &step) || !only_members_read(group, input))
            continue;
        group->nodes[group->count++] = producer;
        if (find_inputs(group))
            return true;
        group->count--;
        find_inputs(group);
    }
    return false;
}

static int ascending(const void *a, const void *b)
{
    const node_id x = *(const node_id *)a, y = *(const node_id *)b;
    return (x > y) - (x < y);
}

/* The kernel's output follows the first input, which is to have its shape. */
static bool order_inputs(struct group *group, const struct value_type *type)
{
    for (size_t i = 0; i < group->input_count; i++)
        if (!graph_constant(group->graph, group->inputs[i]) && type_same_dims(&group->graph->values[group->inputs[i]].type, type)) {
            const value_id first = group->inputs[i];
            group->inputs[i] = group->inputs[0];
            group->inputs[0] = first;
            return true;
        }
    return false;
}

static int64_t operand_of(const struct group *group, value_id value)
{
    for (size_t i = 0; i < group->input_count; i++)
        if (group->inputs[i] == value)
            return (int64_t)i;
    for (size_t i = 0; i < group->count; i++)
        if (group->graph->nodes[group->nodes[i]].outputs[0] == value)
            return (int64_t)(group->input_count + i);
    return -1;
}

/* What the chain reads in place of its float inputs, and writes: 8-bit tensors where quantization by one scale stands between. */
struct ends {
    value_id inputs[CHAIN_INPUTS];
    float scales[CHAIN_INPUTS + 1];
    int64_t zeros[CHAIN_INPUTS + 1];
    size_t quantized;
    int64_t output_dtype;
};

static void find_ends(const struct group *group, const struct quantizer *quantize, struct ends *out)
{
    *out = (struct ends){.output_dtype = MITRAL_FLOAT};
    for (size_t i = 0; i < group->input_count; i++) {
        struct quantizer quantizer;
        const bool quantized = quantizer_read(group->graph, graph_producer(group->graph, group->inputs[i]), "DequantizeLinear", &quantizer);
        out->inputs[i] = quantized ? quantizer.input : group->inputs[i];
        out->scales[i] = quantized ? quantizer.scale : 1;
        out->zeros[i] = quantized ? quantizer.zero : 0;
        out->quantized += quantized;
    }
    out->scales[group->input_count] = 1;
    if (!quantize)
        return;
    out->scales[group->input_count] = quantize->scale;
    out->zeros[group->input_count] = quantize->zero;
    out->output_dtype = quantize->dtype;
    out->quantized++;
}

static mitral_status set_ends(struct graph *graph, const struct group *group, const struct ends *ends, struct attributes *attributes)
{
    if (!ends->quantized)
        return MITRAL_OK;
    TRY(attributes_set_floats(attributes, graph->arena, "scales", ends->scales, group->input_count + 1));
    TRY(attributes_set_ints(attributes, graph->arena, "zeros", ends->zeros, group->input_count + 1));
    return attributes_set_int(attributes, graph->arena, "output_dtype", ends->output_dtype);
}

static mitral_status replace(struct graph *graph, struct group *group, const struct ends *ends, value_id result, const char *name)
{
    char names[CHAIN_OPERATIONS * 16] = "";
    int64_t operands[2 * CHAIN_OPERATIONS];
    float parameters[2 * CHAIN_OPERATIONS];
    struct attributes attributes = {0};
    /* Nodes are in topological order, and those that this pass adds are no members. */
    qsort(group->nodes, group->count, sizeof *group->nodes, ascending);
    for (size_t i = 0; i < group->count; i++) {
        struct step step;
        if (!read_step(graph, group->nodes[i], &step))
            return MITRAL_OK;
        if (i)
            strncat(names, " ", sizeof names - strlen(names) - 1);
        strncat(names, step.operation->name, sizeof names - strlen(names) - 1);
        for (int k = 0; k < 2; k++) {
            operands[2 * i + (size_t)k] = k < step.operation->arity ? operand_of(group, graph->nodes[group->nodes[i]].inputs[k]) : -1;
            parameters[2 * i + (size_t)k] = step.parameters[k];
        }
    }
    TRY(attributes_set_string(&attributes, graph->arena, "operations", names));
    TRY(attributes_set_ints(&attributes, graph->arena, "operands", operands, 2 * group->count));
    TRY(attributes_set_floats(&attributes, graph->arena, "parameters", parameters, 2 * group->count));
    TRY(set_ends(graph, group, ends, &attributes));
    for (size_t i = 0; i < group->count; i++)
        graph_remove_node(graph, group->nodes[i]);
    return graph_add_node(graph, op_find("mitral", "Elementwise"), 1, name, &attributes, ends->inputs, group->input_count, &result, 1, NULL);
}

/* DequantizeLinear and QuantizeLinear alone: another scale. */
static mitral_status replace_quantizers(struct graph *graph, const struct quantizer *from, const struct quantizer *to, node_id id)
{
    const value_id result = graph->nodes[id].outputs[0];
    const char *name = graph->nodes[id].name;
    const int64_t operands[2] = {0, -1}, zeros[2] = {from->zero, to->zero};
    const float parameters[2] = {0, 0}, scales[2] = {from->scale, to->scale};
    struct attributes attributes = {0};
    TRY(attributes_set_string(&attributes, graph->arena, "operations", "Identity"));
    TRY(attributes_set_ints(&attributes, graph->arena, "operands", operands, 2));
    TRY(attributes_set_floats(&attributes, graph->arena, "parameters", parameters, 2));
    TRY(attributes_set_floats(&attributes, graph->arena, "scales", scales, 2));
    TRY(attributes_set_ints(&attributes, graph->arena, "zeros", zeros, 2));
    TRY(attributes_set_int(&attributes, graph->arena, "output_dtype", to->dtype));
    graph_remove_node(graph, id);
    return graph_add_node(graph, op_find("mitral", "Elementwise"), 1, name, &attributes, &from->input, 1, &result, 1, NULL);
}

static mitral_status fuse_from(struct graph *graph, const struct graph_uses *uses, node_id root, bool *changed)
{
    struct quantizer quantize, dequantize;
    struct step step;
    struct ends ends;
    const bool quantized = quantizer_read(graph, &graph->nodes[root], "QuantizeLinear", &quantize);
    node_id last = root;
    if (quantized && quantizer_read(graph, graph_producer(graph, quantize.input), "DequantizeLinear", &dequantize)) {
        *changed = true;
        return replace_quantizers(graph, &dequantize, &quantize, root);
    }
    if (quantized) {
        last = graph->values[quantize.input].producer;
        if (last == NO_NODE || only_reader(graph, uses, quantize.input) != root)
            return MITRAL_OK;
    }
    struct group group = {.graph = graph, .uses = uses, .nodes = {last}, .count = 1};
    if (!read_step(graph, last, &step) || !find_inputs(&group))
        return MITRAL_OK;
    while (add_one(&group))
        ;
    if (!order_inputs(&group, &graph->values[graph->nodes[last].outputs[0]].type))
        return MITRAL_OK;
    find_ends(&group, quantized ? &quantize : NULL, &ends);
    if (group.count < 2 && !ends.quantized)
        return MITRAL_OK;
    *changed = true;
    const value_id result = graph->nodes[root].outputs[0];
    const char *name = graph->nodes[root].name;
    if (quantized)
        graph_remove_node(graph, root);
    return replace(graph, &group, &ends, result, name);
}

mitral_status pass_fuse_elementwise(struct graph *graph, const struct pass_options *options, bool *changed)
{
    if (options->training)
        return MITRAL_OK;
    struct graph_uses uses;
    mitral_status status = graph_find_uses(graph, &uses);
    /* Nodes that go were read by nodes that go too: what is known of the others' uses stays true. */
    for (size_t i = graph->node_count; i-- > 0 && status == MITRAL_OK;)
        if (graph->nodes[i].op)
            status = fuse_from(graph, &uses, (node_id)i, changed);
    graph_free_uses(graph, &uses);
    return status == MITRAL_OK && *changed ? graph_sort(graph) : status;
}
