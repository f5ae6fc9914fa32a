/* Activations that follow a value, as the fusing passes take them up. */
#ifndef MITRAL_COMPILER_PASSES_ACTIVATION_H
#define MITRAL_COMPILER_PASSES_ACTIVATION_H

#include "compiler/op.h"

/* A one-input function of an output: an operator, or a few that compute one together (x · sigmoid(x)). */
struct activation {
    const char *name;       /* as onednn_read_post knows it */
    float alpha, beta;
    value_id slope;         /* PRelu: one number a channel; NO_VALUE otherwise */
    node_id nodes[5];       /* that compute it; the last one's output is the result */
    size_t node_count;
};

/* The activation of `value`, if all uses of the value belong to it and it is no output of the graph. `channel_axis` < 0 counts from
 * the end: where a PRelu's slopes lie. */
bool activation_find(const struct graph *graph, const struct graph_uses *uses, value_id value, int32_t channel_axis,
                     struct activation *out);
/* value · scale + shift of constant numbers, however many operators in a row write it. */
struct scalar_affine {
    float scale, shift;
    node_id nodes[4];
    size_t node_count;
    value_id result;
};
bool scalar_affine_find(const struct graph *graph, const struct graph_uses *uses, value_id value, struct scalar_affine *out);
/* The only node that reads `value`; NO_NODE when there are several or none, or it is an output of the graph. */
node_id only_reader(const struct graph *graph, const struct graph_uses *uses, value_id value);
/* Puts the attributes activation, activation_alpha and activation_beta on the node. */
mitral_status activation_set(struct graph *graph, node_id node, const struct activation *activation);
/* Removes the activation's nodes and lets `node` compute the result as its output 0. */
void activation_take(struct graph *graph, node_id node, const struct activation *activation);
/* Whether the value is float32 [N, C, H, W] of known sizes, none of them 0. */
bool value_is_float_map(const struct graph *graph, value_id value);
/* Removes node `last` and lets `id` compute its output 0 in place of its own. */
void node_take_over(struct graph *graph, node_id id, node_id last);
/* The node's inputs become at least `count` long, NO_VALUE beyond the old ones. */
mitral_status node_extend_inputs(struct graph *graph, node_id node, size_t count);
/* Whether the node is the operator `name` of the domain mitral. */
bool node_is_own(const struct node *node, const char *name);

#endif
