/* A matrix product takes up the bias, the residual and the activation that follow it alone: MatMul and Gemm become mitral.MatMul and
 * mitral.Gemm. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"

enum { BIAS = 2, RESIDUAL = 3 };

struct fusion {
    struct graph *graph;
    struct graph_uses uses;
    bool *changed;
};

static bool has_fast_output(const struct graph *graph, const struct node *node)
{
    const struct value_type *type = &graph->values[node->outputs[0]].type;
    return type->kind == MITRAL_TENSOR && type->rank >= 2 && type->dtype == MITRAL_FLOAT;
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

/* A factor of the product: Mul or Div by a scalar. */
static mitral_status fuse_factor(struct fusion *fusion, node_id id, bool *done)
{
    struct graph *graph = fusion->graph;
    node_id reader = only_reader(graph, &fusion->uses, graph->nodes[id].outputs[0]);
    if (reader == NO_NODE || node_input(&graph->nodes[id], BIAS) != NO_VALUE)
        return MITRAL_OK;
    const struct node *node = &graph->nodes[reader];
    const bool divide = node_is(node, "Div");
    if (!(divide || node_is(node, "Mul")))
        return MITRAL_OK;
    const size_t side = node->inputs[0] == graph->nodes[id].outputs[0] ? 1 : 0;
    const mitral_tensor *factor = graph_constant(graph, node->inputs[side]);
    if (!factor || tensor_count(factor) != 1 || factor->rank > graph->values[graph->nodes[id].outputs[0]].type.rank
        || (divide && side == 0) || factor->dtype != MITRAL_FLOAT)
        return MITRAL_OK;
    const double value = tensor_get_double(factor, 0), before = (double)attribute_float(&graph->nodes[id].attributes, "alpha", 1);
    if (divide && value == 0)
        return MITRAL_OK;
    TRY(attributes_set_float(&graph->nodes[id].attributes, graph->arena, "alpha", (float)(divide ? before / value : before * value)));
    node_take_over(graph, id, reader);
    *done = true;
    return become(fusion, id, "MatMul");
}

static mitral_status fuse_sum(struct fusion *fusion, node_id id, bool *done)
{
    struct graph *graph = fusion->graph;
    node_id reader = only_reader(graph, &fusion->uses, graph->nodes[id].outputs[0]);
    if (reader == NO_NODE || !node_is(&graph->nodes[reader], "Add"))
        return MITRAL_OK;
    const struct node *sum = &graph->nodes[reader];
    const value_id value = graph->nodes[id].outputs[0], other = sum->inputs[sum->inputs[0] == value ? 1 : 0];
    if (other == value)
        return MITRAL_OK;
    const struct value_type *type = &graph->values[value].type, *added = &graph->values[other].type;
    const mitral_tensor *constant = graph_constant(graph, other);
    const int64_t columns = type->dims[type->rank - 1];
    size_t place;
    if (constant && constant->dtype == MITRAL_FLOAT && constant->rank >= 1 && constant->rank <= type->rank && columns > 0
        && tensor_count(constant) == columns && constant->dims[constant->rank - 1] == columns)
        place = BIAS;
    else if (!constant && type_is_static(type) && type_is_static(added) && added->dtype == type->dtype && added->rank == type->rank
             && memcmp(added->dims, type->dims, (size_t)type->rank * sizeof *type->dims) == 0)
        place = RESIDUAL;
    else
        return MITRAL_OK;
    const bool active = attribute_has(&graph->nodes[id].attributes, "activation");
    if (node_input(&graph->nodes[id], place) != NO_VALUE
        || (place == BIAS && (active || node_input(&graph->nodes[id], RESIDUAL) != NO_VALUE)))
        return MITRAL_OK;
    TRY(node_extend_inputs(graph, id, RESIDUAL + 1));
    graph->nodes[id].inputs[place] = other;
    if (place == RESIDUAL)
        TRY(attributes_set_int(&graph->nodes[id].attributes, graph->arena, "residual_before_activation", !active));
    node_take_over(graph, id, reader);
    *done = true;
    return become(fusion, id, "MatMul");
}

static mitral_status fuse_activation(struct fusion *fusion, node_id id, const char *name, bool *done)
{
    struct graph *graph = fusion->graph;
    struct activation activation;
    if (attribute_has(&graph->nodes[id].attributes, "activation")
        || !activation_find(graph, &fusion->uses, graph->nodes[id].outputs[0], -1, &activation) || activation.slope != NO_VALUE)
        return MITRAL_OK;
    TRY(activation_set(graph, id, &activation));
    activation_take(graph, id, &activation);
    *done = true;
    return become(fusion, id, name);
}

static mitral_status fuse_product(struct fusion *fusion, node_id id)
{
    struct graph *graph = fusion->graph;
    const bool gemm = node_is(&graph->nodes[id], "Gemm");
    if (!has_fast_output(graph, &graph->nodes[id]))
        return MITRAL_OK;
    for (bool done = true; done;) {
        done = false;
        const bool active = attribute_has(&graph->nodes[id].attributes, "activation");
        if (!gemm && !active && node_input(&graph->nodes[id], RESIDUAL) == NO_VALUE)
            TRY(fuse_factor(fusion, id, &done));
        /* A bias comes before the activation, a residual may come after it. */
        if (!gemm && !done)
            TRY(fuse_sum(fusion, id, &done));
        if (!done)
            TRY(fuse_activation(fusion, id, gemm ? "Gemm" : "MatMul", &done));
    }
    return MITRAL_OK;
}

mitral_status pass_fuse_matmul(struct graph *graph, const struct pass_options *options, bool *changed)
{
    if (options->training)
        return MITRAL_OK;
    struct fusion fusion = {.graph = graph, .changed = changed};
    TRY(graph_find_uses(graph, &fusion.uses));
    mitral_status status = MITRAL_OK;
    for (size_t i = 0; i < graph->node_count && status == MITRAL_OK; i++)
        if (graph->nodes[i].op && (node_is(&graph->nodes[i], "MatMul") || node_is(&graph->nodes[i], "Gemm")))
            status = fuse_product(&fusion, (node_id)i);
    graph_free_uses(graph, &fusion.uses);
    return status;
}
