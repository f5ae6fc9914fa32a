/* Operators that the caller registered with a gradient function: one more step, which calls it. */
#include <string.h>

#include "compiler/gradients/gradients.h"
#include "runtime/custom.h"

mitral_status differentiate_custom(struct gradient *gradient, const struct node *node)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    const size_t inputs = node->input_count, outputs = node->output_count, count = inputs + 2 * outputs;
    value_id *given = arena_allocate(arena, (count + 1) * sizeof *given), *made = arena_allocate(arena, (inputs + 1) * sizeof *made);
    struct attributes attributes = {0};
    if (!given || !made)
        return MITRAL_NO_MEMORY;
    memcpy(given, node->inputs, inputs * sizeof *given);
    memcpy(given + inputs, node->outputs, outputs * sizeof *given);
    for (size_t i = 0; i < outputs; i++)
        given[inputs + outputs + i] = gradient_of(gradient, node, i);
    TRY(attributes_copy(&attributes, arena, &node->attributes));
    TRY(attributes_set_int(&attributes, arena, CUSTOM_INPUTS, (int64_t)inputs));
    TRY(gradient_emit_row(gradient, custom_of_kernel(node->op->custom)->gradient->row, node->version, &attributes, given, count, made, inputs));
    struct graph *graph = gradient_graph(gradient);
    struct node *step = &graph->nodes[graph->node_count - 1];
    for (size_t i = 0; i < inputs; i++)
        if (!gradient_wants(gradient, node, i)) { /* nobody asks for it */
            step->outputs[i] = NO_VALUE;
            graph->values[made[i]].producer = NO_NODE;
        }
    for (size_t i = 0; i < inputs; i++)
        TRY(gradient_contribute(gradient, node, i, made[i]));
    return MITRAL_OK;
}
