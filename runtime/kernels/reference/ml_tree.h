/* Ensembles of decision trees, in one form whatever the operator that describes them. */
#ifndef MITRAL_RUNTIME_KERNELS_REFERENCE_ML_TREE_H
#define MITRAL_RUNTIME_KERNELS_REFERENCE_ML_TREE_H

#include "runtime/kernel.h"

enum tree_mode { TREE_LEQ, TREE_LT, TREE_GTE, TREE_GT, TREE_EQ, TREE_NEQ, TREE_MEMBER, TREE_LEAF };

struct tree_node {
    double split;
    int32_t feature;
    uint8_t mode;
    bool missing_is_true;
    int32_t if_true, if_false;       /* a node's index, or ~index of a leaf */
    uint32_t first_member, member_count;
};

struct tree_vote {
    int32_t target;
    double weight;
};

struct tree_ensemble {
    struct arena arena;
    struct tree_node *nodes;
    size_t node_count;
    int32_t *roots;                  /* coded like a node's children */
    size_t root_count;
    uint32_t *leaf_votes;            /* leaf i has votes [leaf_votes[i], leaf_votes[i + 1]) */
    size_t leaf_count;
    struct tree_vote *votes;
    size_t vote_count;
    double *members;
    int64_t targets;
    int64_t features;                /* that the rows must have at least */
    const double *base;
    size_t base_count;
    bool binary;                     /* two classes, votes for one of them only */
    bool all_positive;               /* no vote is negative */
};

/* TreeEnsembleClassifier and TreeEnsembleRegressor: votes in attributes <prefix>treeids, <prefix>nodeids, <prefix>ids,
 * <prefix>weights. */
mitral_status tree_read(struct kernel_call *call, const char *prefix, int64_t targets, struct tree_ensemble *out);
/* TreeEnsemble of version 5. */
mitral_status tree_read_combined(struct kernel_call *call, struct tree_ensemble *out);
/* The leaf that a row of features ends in. */
int32_t tree_leaf(const struct tree_ensemble *trees, int32_t root, const double *x);

#endif
