/* A convolution takes up what follows it alone: the sum with a residual of its own shape, and an activation, in either order. The
 * result is a mitral.Convolution. A transposed convolution takes up an activation, a mitral.ScaleShift a simple one. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"

enum { RESIDUAL = 3, SLOPE = 4, INPUTS = 5 };

struct fusion {
    struct graph *graph;
    struct graph_uses uses;
    bool *changed;
};

static bool is_convolution(const struct node *node)
{
    return node->op && (node_is(node, "Conv") || node_is_own(node, "Convolution"));
}

/* Types that oneDNN computes what follows in. */
static bool has_fast_output(const struct graph *graph, const struct node *node)
{
    const struct value_type *type = &graph->values[node->outputs[0]].type;
    return type->kind == MITRAL_TENSOR && type->rank >= 3 && type->rank <= 5
           && (type->dtype == MITRAL_FLOAT || type->dtype == MITRAL_BFLOAT16 || type->dtype == MITRAL_FLOAT16);
}

static bool same_dims(const struct value_type *a, const struct value_type *b)
{
    if (a->kind != b->kind || a->dtype != b->dtype || a->rank != b->rank || a->rank < 0)
        return false;
    for (int32_t i = 0; i < a->rank; i++) {
        if (a->dims[i] != b->dims[i])
            return false;
        if (a->dims[i] < 0 && (!a->symbols[i] || !b->symbols[i] || strcmp(a->symbols[i], b->symbols[i]) != 0 || !*a->symbols[i]))
            return false;
    }
    return true;
}

/* The other operand of the sum that alone reads `value`; NO_VALUE: no such sum. */
static value_id find_residual(const struct fusion *fusion, node_id convolution, value_id value, node_id *sum)
{
    const struct graph *graph = fusion->graph;
    *sum = only_reader(graph, &fusion->uses, value);
    if (*sum == NO_NODE)
        return NO_VALUE;
    const struct node *node = &graph->nodes[*sum];
    if (!(node_is(node, "Add") || node_is(node, "Sum")) || node->input_count != 2)
        return NO_VALUE;
    value_id other = node->inputs[node->inputs[0] == value ? 1 : 0];
    if (other == value || graph_constant(graph, other) || !same_dims(&graph->values[other].type, &graph->values[value].type))
        return NO_VALUE;
    /* Of two convolutions that are summed the later one takes the other's result. */
    node_id producer = graph->values[other].producer;
    if (producer != NO_NODE && producer > convolution && is_convolution(&graph->nodes[producer])
        && only_reader(graph, &fusion->uses, other) == *sum)
        return NO_VALUE;
    return other;
}

static mitral_status become(struct fusion *fusion, node_id id, const char *name)
{
    struct node *node = &fusion->graph->nodes[id];
    *fusion->changed = true;
    if (node_is_own(node, name))
        return MITRAL_OK;
    node->op = op_find("mitral", name);
    return node->op ? MITRAL_OK
                    : mitral_fail(fusion->graph->context, MITRAL_UNSUPPORTED, "expected the operator mitral.%s, found none", name);
}

/* What multiplies and shifts the activation's result by numbers (before an activation such are in the weights already). */
static mitral_status take_affine(struct fusion *fusion, node_id id)
{
    struct graph *graph = fusion->graph;
    struct scalar_affine affine;
    if (!scalar_affine_find(graph, &fusion->uses, graph->nodes[id].outputs[0], &affine))
        return MITRAL_OK;
    TRY(attributes_set_float(&graph->nodes[id].attributes, graph->arena, "activation_scale", affine.scale));
    TRY(attributes_set_float(&graph->nodes[id].attributes, graph->arena, "activation_shift", affine.shift));
    const size_t last = affine.node_count - 1;
    for (size_t i = 0; i < last; i++)
        graph_remove_node(graph, affine.nodes[i]);
    node_take_over(graph, id, affine.nodes[last]);
    return MITRAL_OK;
}

static mitral_status fuse_convolution(struct fusion *fusion, node_id id)
{
    struct graph *graph = fusion->graph;
    if (!has_fast_output(graph, &graph->nodes[id]))
        return MITRAL_OK;
    bool active = attribute_has(&graph->nodes[id].attributes, "activation");
    bool summed = node_input(&graph->nodes[id], RESIDUAL) != NO_VALUE;
    for (;;) {
        value_id value = graph->nodes[id].outputs[0];
        struct activation activation;
        node_id sum;
        value_id residual = summed ? NO_VALUE : find_residual(fusion, id, value, &sum);
        if (residual != NO_VALUE) {
            TRY(node_extend_inputs(graph, id, INPUTS));
            graph->nodes[id].inputs[RESIDUAL] = residual;
            TRY(attributes_set_int(&graph->nodes[id].attributes, graph->arena, "residual_before_activation", !active));
            node_take_over(graph, id, sum);
            summed = true;
        } else if (!active && activation_find(graph, &fusion->uses, value, 1, &activation)) {
            TRY(node_extend_inputs(graph, id, INPUTS));
            graph->nodes[id].inputs[SLOPE] = activation.slope;
            TRY(activation_set(graph, id, &activation));
            activation_take(graph, id, &activation);
            active = true;
            if (activation.slope == NO_VALUE)
                TRY(take_affine(fusion, id));
        } else {
            return MITRAL_OK;
        }
        TRY(become(fusion, id, "Convolution"));
    }
}

static mitral_status fuse_transposed(struct fusion *fusion, node_id id)
{
    struct graph *graph = fusion->graph;
    struct activation activation;
    if (!has_fast_output(graph, &graph->nodes[id])
        || !activation_find(graph, &fusion->uses, graph->nodes[id].outputs[0], 1, &activation) || activation.slope != NO_VALUE)
        return MITRAL_OK;
    TRY(activation_set(graph, id, &activation));
    activation_take(graph, id, &activation);
    return become(fusion, id, "ConvolutionTranspose");
}

static mitral_status fuse_scale_shift(struct fusion *fusion, node_id id)
{
    struct graph *graph = fusion->graph;
    struct activation activation;
    if (attribute_has(&graph->nodes[id].attributes, "activation")
        || !activation_find(graph, &fusion->uses, graph->nodes[id].outputs[0], 1, &activation))
        return MITRAL_OK;
    if (strcmp(activation.name, "Relu") != 0 && strcmp(activation.name, "LeakyRelu") != 0 && strcmp(activation.name, "PRelu") != 0
        && strcmp(activation.name, "Clip") != 0)
        return MITRAL_OK;
    TRY(node_extend_inputs(graph, id, 4));
    graph->nodes[id].inputs[3] = activation.slope;
    TRY(activation_set(graph, id, &activation));
    activation_take(graph, id, &activation);
    *fusion->changed = true;
    return MITRAL_OK;
}

mitral_status pass_fuse_convolution(struct graph *graph, const struct pass_options *options, bool *changed)
{
    if (options->training)
        return MITRAL_OK;
    struct fusion fusion = {.graph = graph, .changed = changed};
    TRY(graph_find_uses(graph, &fusion.uses));
    mitral_status status = MITRAL_OK;
    for (size_t i = 0; i < graph->node_count && status == MITRAL_OK; i++) {
        const struct node *node = &graph->nodes[i];
        if (!node->op)
            continue;
        if (is_convolution(node))
            status = fuse_convolution(&fusion, (node_id)i);
        else if (node_is(node, "ConvTranspose"))
            status = fuse_transposed(&fusion, (node_id)i);
        else if (node_is_own(node, "ScaleShift"))
            status = fuse_scale_shift(&fusion, (node_id)i);
    }
    graph_free_uses(graph, &fusion.uses);
    return status;
}
