/* From graph to plan: each node becomes one step (or few), on the kernel that its operator's `lower` hook chooses, else on the
 * reference kernel. */
#ifndef MITRAL_COMPILER_LOWER_H
#define MITRAL_COMPILER_LOWER_H

#include "compiler/op.h"
#include "runtime/plan.h"

struct lowering {
    mitral_context *context;
    const struct graph *graph;
    struct mitral_plan *plan;
    uint32_t *ids;            /* [graph value] its id in the plan */
    int level;                /* 0: interpreter, one node one step, plain layouts; 1: compiled */
    int threads;
    mitral_precision precision;
    bool training;
};

/* Emits one step of that kernel with the node's attributes, inputs and outputs; *done becomes true. MITRAL_INVALID if there is no
 * kernel of that name. */
mitral_status lower_node(struct lowering *lowering, const struct node *node, const char *kernel, bool *done);
/* The same with other attributes (NULL: the node's) and lists of graph values (NO_VALUE: absent). */
mitral_status lower_step(struct lowering *lowering, const struct node *node, const char *kernel,
                         const struct attributes *attributes, const value_id *inputs, size_t input_count,
                         const value_id *outputs, size_t output_count);
/* For hooks: the value's type, constant and layout. */
static inline const struct value_type *lowering_type(const struct lowering *lowering, value_id value)
{
    return &lowering->graph->values[value].type;
}

/* The whole graph. Constants are borrowed from the graph until plan_own_constants. */
mitral_status lower_graph(struct mitral_plan **out, mitral_context *context, const struct graph *graph, int level, int threads,
                          mitral_precision precision, bool training);
/* Stores constants as the prepared steps packed them (static shapes), then copies what is left into the plan's arena. */
mitral_status plan_pack(mitral_context *context, struct mitral_plan *plan);

#endif
