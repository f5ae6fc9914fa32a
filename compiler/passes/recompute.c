/* With low_memory: what is cheap to compute is not kept from the forward half of a training graph for the backward half, but computed again
 * there, from values that are kept anyway: normalisations without a shortcut, ReLUs, doublings and concatenations. (A pooled map is not: it is a
 * quarter of what would have to be read.) A copy of a node stands before its first reader, and gives the same bits. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"
#include "runtime/kernels/training/normalization_operands.h"

struct again {
    struct graph *graph;
    bool *forward;      /* [node] the loss depends on it */
    value_id *copies;   /* [value] computed again; NO_VALUE: not (yet) */
    size_t value_count; /* before copies were made */
};

/* The loss is the first output; what it depends on is the forward half. Nodes are in order. */
static void mark_forward(struct again *again, bool *needed)
{
    const struct graph *graph = again->graph;
    if (graph->output_count)
        needed[graph->outputs[0]] = true;
    for (size_t n = graph->node_count; n-- > 0;) {
        const struct node *node = &graph->nodes[n];
        for (size_t i = 0; node->op && i < node->output_count; i++)
            again->forward[n] |= node->outputs[i] != NO_VALUE && needed[node->outputs[i]];
        for (size_t i = 0; again->forward[n] && i < node->input_count; i++)
            if (node->inputs[i] != NO_VALUE)
                needed[node->inputs[i]] = true;
    }
}

static bool is_cheap(const struct again *again, value_id value)
{
    const struct graph *graph = again->graph;
    const node_id id = graph->values[value].producer;
    if (id == NO_NODE || !again->forward[id] || graph->values[value].tap)
        return false;
    const struct node *node = &graph->nodes[id];
    if (node->outputs[0] != value || graph->values[value].type.rank != 4)
        return false;
    if (node_is_own(node, "FusedNormalization"))
        return node_input(node, NORMALIZATION_INPUT_RESIDUAL) == NO_VALUE;
    for (size_t i = 1; i < node->output_count; i++)
        if (node->outputs[i] != NO_VALUE)
            return false;
    return node_is(node, "Relu") || node_is(node, "Resize") || node_is(node, "Concat");
}

/* Running statistics change once a step: a copy does not touch them. */
static mitral_status copy_node(struct again *again, value_id value)
{
    struct graph *graph = again->graph;
    const struct node node = graph->nodes[graph->values[value].producer];
    const struct value_type type = graph->values[value].type;
    value_id *inputs = arena_allocate(graph->arena, (node.input_count + 1) * sizeof *inputs);
    char *name = arena_format(graph->arena, "%s/again", graph->values[value].name), *node_name = arena_format(graph->arena, "%s/again", node.name);
    if (!inputs || !name || !node_name)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < node.input_count; i++) {
        const value_id input = node.inputs[i];
        inputs[i] = input != NO_VALUE && again->copies[input] != NO_VALUE ? again->copies[input] : input;
    }
    struct attributes attributes = {0};
    TRY(attributes_copy(&attributes, graph->arena, &node.attributes));
    if (node_is_own(&node, "FusedNormalization") && node_output(&node, NORMALIZATION_OUTPUT_MEAN) != NO_VALUE
        && node_output(&node, NORMALIZATION_OUTPUT_INVERSE) != NO_VALUE) {
        inputs[NORMALIZATION_INPUT_MEAN] = node.outputs[NORMALIZATION_OUTPUT_MEAN]; /* what was measured need not be measured again */
        inputs[NORMALIZATION_INPUT_VARIANCE] = node.outputs[NORMALIZATION_OUTPUT_INVERSE];
        TRY(attributes_set_int(&attributes, graph->arena, "known", 1));
    }
    TRY(graph_add_value(graph, name, &type, &again->copies[value]));
    return graph_add_node(graph, node.op, node.version, node_name, &attributes, inputs, node.input_count, &again->copies[value], 1, NULL);
}

/* A value and, before it, what it is made of: inputs are copied first. The walk keeps its own stack: graphs may be deep. */
static mitral_status copy_value(struct again *again, value_id value, value_id *stack)
{
    size_t depth = 0;
    stack[depth++] = value;
    while (depth) {
        const value_id top = stack[depth - 1];
        const struct node *node = &again->graph->nodes[again->graph->values[top].producer];
        size_t before = depth;
        for (size_t i = 0; i < node->input_count && depth < again->value_count; i++)
            if (node->inputs[i] != NO_VALUE && again->copies[node->inputs[i]] == NO_VALUE && is_cheap(again, node->inputs[i]))
                stack[depth++] = node->inputs[i];
        if (depth != before)
            continue;
        depth--;
        if (again->copies[top] == NO_VALUE)
            TRY(copy_node(again, top));
    }
    return MITRAL_OK;
}

static mitral_status copy_what_is_read(struct again *again, value_id *stack, bool *changed)
{
    struct graph *graph = again->graph;
    for (size_t n = 0, count = graph->node_count; n < count; n++) {
        if (!graph->nodes[n].op || again->forward[n])
            continue;
        for (size_t i = 0; i < graph->nodes[n].input_count; i++) {
            const value_id input = graph->nodes[n].inputs[i];
            if (input == NO_VALUE || !is_cheap(again, input))
                continue;
            if (again->copies[input] == NO_VALUE)
                TRY(copy_value(again, input, stack));
            graph->nodes[n].inputs[i] = again->copies[input];
            *changed = true;
        }
    }
    return *changed ? graph_sort(graph) : MITRAL_OK;
}

mitral_status pass_recompute(struct graph *graph, const struct pass_options *options, bool *changed)
{
    if (!options->low_memory)
        return MITRAL_OK;
    struct again again = {.graph = graph, .value_count = graph->value_count};
    again.forward = mitral_allocate(graph->context, graph->node_count + 1);
    again.copies = mitral_allocate(graph->context, (graph->value_count + 1) * sizeof *again.copies);
    bool *needed = mitral_allocate(graph->context, graph->value_count + 1);
    value_id *stack = mitral_allocate(graph->context, (graph->value_count + 1) * sizeof *stack);
    mitral_status status = again.forward && again.copies && needed && stack ? MITRAL_OK : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK) {
        for (size_t v = 0; v < graph->value_count; v++)
            again.copies[v] = NO_VALUE;
        mark_forward(&again, needed);
        status = copy_what_is_read(&again, stack, changed);
    }
    mitral_release(graph->context, again.forward);
    mitral_release(graph->context, again.copies);
    mitral_release(graph->context, needed);
    mitral_release(graph->context, stack);
    return status;
}
