/* A dilated-parallel region of a graph, found by what its nodes do: chains of convolutions of one value in parallel, their results
 * merged by concatenation, sum or running sums, with what comes directly before (a reducing convolution, concatenation, upsampling,
 * pooling) and after (affine, shortcut, activation, another convolution, a gate). */
#ifndef MITRAL_COMPILER_DILATED_REGION_H
#define MITRAL_COMPILER_DILATED_REGION_H

#include "compiler/passes/activation.h"
#include "runtime/kernels/planar/dilated.h"

/* One convolution with its activation, or an activation alone. */
struct region_stage {
    node_id weights;            /* the Conv or Gemm that has them; NO_NODE: none */
    value_id input, result;
    int from;                   /* an earlier stage, or enum dilated_from */
    int kind;                   /* enum dilated_kind */
    bool active;
    struct activation activation;
};

struct region {
    const struct graph *graph;
    const struct graph_uses *uses;
    struct region_stage stages[DILATED_STAGES];
    int stage_count;
    value_id leaves[DILATED_BRANCHES]; /* what is merged */
    int branches[DILATED_BRANCHES], branch_count;
    enum dilated_merge merge;
    int running_from;
    enum dilated_shortcut shortcut;
    int shortcut_stage;
    bool shortcut_first;
    value_id added;             /* SHORTCUT_INPUT */
    value_id x;                 /* what the stages are computed of */
    value_id sources[DILATED_SOURCES];
    int64_t scales[DILATED_SOURCES];
    size_t source_count;
    bool bfloat16;              /* products of blocks that run as one loop will be */
    bool fused;                 /* of the kind that runs as one loop */
    node_id affine;             /* a mitral.ScaleShift or BatchNormalization; NO_NODE: none */
    value_id affine_data;       /* what it is applied to */
    int tail, gate[2], head;    /* stages, −1: none */
    bool merged_active, active;
    struct activation merged_activation, activation;
    value_id merged, y, result; /* of the merge, before the head, of the region */
    node_id inside[8 * DILATED_STAGES]; /* the nodes that the region replaces */
    size_t inside_count;
};

/* The region whose branches node `merge` brings together; false when there is none. Everything that is inside is read inside only. */
bool region_find(const struct graph *graph, const struct graph_uses *uses, node_id merge, bool bfloat16, struct region *out);

/* ---- shared by the files of the search ------------------------------------------------------------------------------- */

const struct node *region_producer(const struct region *r, value_id value);
node_id region_node_id(const struct region *r, const struct node *node);
bool region_take(struct region *r, node_id node);
bool region_is_inside(const struct region *r, node_id node);
bool region_only_read_inside(const struct region *r, value_id value);
bool region_is_map(const struct region *r, value_id value);
bool region_is_sum(const struct region *r, const struct node *node);
/* The activation of `value` that all its readers belong to, if it is one that stages have. */
bool region_activation(const struct region *r, value_id value, struct activation *out);
/* A Conv with constants; 1×1, of stride 1, without padding, of any groups (or of one). */
bool region_is_convolution(const struct region *r, const struct node *node);
bool region_is_pointwise(const struct region *r, const struct node *node, bool one_group);
/* The mean over the pixels of a map. */
bool region_is_mean(const struct region *r, const struct node *node);
int region_add_stage(struct region *r, const struct region_stage *stage); /* −1: no room */
/* The stage that computes `value` from x, with the stages before it; −1: it is none. */
int region_stage_of(struct region *r, value_id value);
/* What follows the merge, and what comes before x. */
bool region_find_end(struct region *r, value_id rest);
bool region_find_sources(struct region *r);

#endif
