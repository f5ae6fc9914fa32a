/* --precision bf16 of a training graph: which products take their operands rounded to bfloat16, as the attribute "bfloat16" says. Sums are
 * float32, and so is everything else: weights, losses, normalisation, updates. A convolution and its gradients are marked one by one, by
 * what AMX is faster at. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"
#include "runtime/cpu.h"

/* Where there are fewer channels or features, tiles would be mostly empty. */
enum { FEWEST = 16, LARGEST_WINDOW = 7 };

/* Of stride 1, one group, all sizes known, the window of a data gradient not outside the map. */
static bool is_plain(const struct graph *graph, const struct node *node, value_id x, value_id w)
{
    if (!value_is_float_map(graph, x) || !value_is_float_map(graph, w) || attribute_int(&node->attributes, "group", 1) != 1
        || attribute_has(&node->attributes, "activation") || strcmp(attribute_string(&node->attributes, "auto_pad", "NOTSET"), "NOTSET") != 0)
        return false;
    const int64_t *dims = graph->values[w].type.dims;
    bool plain = dims[0] >= FEWEST && dims[1] >= FEWEST;
    for (size_t i = 0; i < 4; i++)
        plain = plain && node_int_at(node, "strides", i % 2, 1) == 1 && dims[2 + i % 2] <= LARGEST_WINDOW
                && node_int_at(node, "pads", i, 0) <= (dims[2 + i % 2] - 1) * node_int_at(node, "dilations", i % 2, 1);
    return plain;
}

static bool rounds(const struct graph *graph, const struct node *node)
{
    if (node_is(node, "Conv") || node_is_own(node, "Convolution") || node_is_own(node, "ConvGradientData"))
        return is_plain(graph, node, node_input(node, 0), node_input(node, 1));
    return node_is_own(node, "ConvGradientWeights") && is_plain(graph, node, node_input(node, 0), node_output(node, 0))
           && value_is_float_map(graph, node_input(node, 1));
}

mitral_status pass_round_operands(struct graph *graph, const struct pass_options *options, bool *changed)
{
    size_t products = 0, rounded = 0;
    if (options->precision != MITRAL_PRECISION_BF16 || cpu_isa() != ISA_AMX)
        return MITRAL_OK;
    for (size_t n = 0; n < graph->node_count; n++) {
        struct node *node = &graph->nodes[n];
        if (!node->op)
            continue;
        products += node_is(node, "Conv") || node_is_own(node, "Convolution") || node_is_own(node, "ConvGradientData")
                    || node_is_own(node, "ConvGradientWeights") || node_is_own(node, "Branches") || node_is_own(node, "PointConvolutions")
                    || node_is_own(node, "PointGradients") || node_is(node, "ConvTranspose") || node_is(node, "MatMul") || node_is(node, "Gemm");
        if (!rounds(graph, node))
            continue;
        TRY(attributes_set_int(&node->attributes, graph->arena, "bfloat16", 1));
        rounded++;
        *changed = true;
    }
    if (products)
        mitral_log(graph->context, "precision bf16: %zu of %zu products of a training step round their operands to bfloat16", rounded, products);
    return MITRAL_OK;
}
