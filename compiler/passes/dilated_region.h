/* A dilated-parallel region of a graph, found by what its nodes do: convolutions of one value in parallel, their results merged by
 * concatenation, sum or running sums, with what comes directly before (a reducing convolution, concatenation, upsampling, pooling)
 * and after (affine, shortcut, activation). */
#ifndef MITRAL_COMPILER_DILATED_REGION_H
#define MITRAL_COMPILER_DILATED_REGION_H

#include "compiler/passes/activation.h"
#include "runtime/kernels/planar/dilated.h"

/* One convolution with its activation. */
struct region_stage {
    node_id convolution;
    value_id input, result;
    int from;                   /* an earlier stage, or enum dilated_from */
    bool active;
    struct activation activation;
};

struct region {
    const struct graph *graph;
    const struct graph_uses *uses;
    struct region_stage stages[DILATED_STAGES];
    int stage_count;
    int branches[DILATED_BRANCHES], branch_count;
    enum dilated_merge merge;
    int running_from;
    enum dilated_shortcut shortcut;
    int shortcut_stage;
    bool shortcut_first;
    value_id x;                 /* what the stages are computed of */
    value_id sources[DILATED_SOURCES];
    int64_t scales[DILATED_SOURCES];
    size_t source_count;
    node_id affine;             /* a mitral.ScaleShift or BatchNormalization; NO_NODE: none */
    bool active;
    struct activation activation;
    value_id result;            /* of the region */
    node_id inside[4 * DILATED_STAGES]; /* the nodes that the region replaces */
    size_t inside_count;
};

/* The region whose branches node `merge` brings together; false when there is none. Everything that is inside is read inside only. */
bool region_find(const struct graph *graph, const struct graph_uses *uses, node_id merge, struct region *out);

#endif
