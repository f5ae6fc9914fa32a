/* Reads tree ensembles from attributes, checked: indices in range, every inner node reached once, so that a walk always
 * ends. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/kernels/reference/ml.h"
#include "runtime/kernels/reference/ml_tree.h"

enum { MAX_NODES = 1 << 30 };

static mitral_status read_ints(const struct kernel_call *call, const char *name, size_t count, bool optional,
                               const int64_t **out)
{
    size_t found;
    *out = attribute_ints(call->attributes, name, &found);
    if (found == 0 && optional) {
        *out = NULL;
        return MITRAL_OK;
    }
    if (found != count)
        return call_fail(call, MITRAL_INVALID, "attribute %s: %zu values expected, found %zu", name, count, found);
    return MITRAL_OK;
}

static void *allocate(struct tree_ensemble *trees, size_t count, size_t size)
{
    return arena_allocate(&trees->arena, (count + 1) * size);
}

/* Walks all trees from their roots: an inner node that is reached twice would be a cycle or a shared subtree. */
static mitral_status check_reached_once(const struct kernel_call *call, struct tree_ensemble *trees)
{
    uint8_t *reached = allocate(trees, trees->node_count, 1);
    int32_t *stack = allocate(trees, 2 * trees->node_count + trees->root_count, sizeof(*stack));
    if (!reached || !stack)
        return MITRAL_NO_MEMORY;
    size_t top = 0;
    for (size_t i = 0; i < trees->root_count; i++)
        stack[top++] = trees->roots[i];
    while (top) {
        int32_t at = stack[--top];
        if (at < 0)
            continue;
        if (reached[at])
            return call_fail(call, MITRAL_INVALID, "trees expected, found node %d below two others", (int)at);
        reached[at] = 1;
        stack[top++] = trees->nodes[at].if_true;
        stack[top++] = trees->nodes[at].if_false;
    }
    return MITRAL_OK;
}

/* ---- one list of nodes, leaves among them ------------------------------------------------------------------------ */

struct node_key {
    int64_t tree, node;
    int32_t index;
};

static int compare_node_keys(const void *left, const void *right)
{
    const struct node_key *a = left, *b = right;
    if (a->tree != b->tree)
        return a->tree < b->tree ? -1 : 1;
    if (a->node != b->node)
        return a->node < b->node ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

static int32_t find_node(const struct node_key *keys, size_t count, int64_t tree, int64_t node)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct node_key *key = &keys[middle];
        if (key->tree < tree || (key->tree == tree && key->node < node))
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && keys[low].tree == tree && keys[low].node == node ? keys[low].index : -1;
}

static int mode_of(mitral_string name)
{
    static const char *const names[] = {"BRANCH_LEQ", "BRANCH_LT",  "BRANCH_GTE", "BRANCH_GT",
                                        "BRANCH_EQ",  "BRANCH_NEQ", "",           "LEAF"};
    for (int i = 0; i < 8; i++)
        if (name.size == strlen(names[i]) && memcmp(name.data, names[i], name.size) == 0 && name.size)
            return i;
    return -1;
}

/* Leaves are numbered in the nodes' order; code[i] is node i as children refer to it. */
static mitral_status read_nodes(struct kernel_call *call, struct tree_ensemble *trees, struct node_key **keys_out,
                                int32_t **code_out)
{
    size_t count, mode_count, value_count;
    const int64_t *tree_ids = attribute_ints(call->attributes, "nodes_treeids", &count);
    const int64_t *node_ids, *features, *if_true, *if_false, *missing;
    const mitral_string *modes = attribute_strings(call->attributes, "nodes_modes", &mode_count);
    const double *values;
    TRY(read_ints(call, "nodes_nodeids", count, false, &node_ids));
    TRY(read_ints(call, "nodes_featureids", count, false, &features));
    TRY(read_ints(call, "nodes_truenodeids", count, false, &if_true));
    TRY(read_ints(call, "nodes_falsenodeids", count, false, &if_false));
    TRY(read_ints(call, "nodes_missing_value_tracks_true", count, true, &missing));
    TRY(ml_floats(call, &trees->arena, "nodes_values", "nodes_values_as_tensor", &values, &value_count));
    if (count == 0 || count > MAX_NODES || mode_count != count || value_count != count)
        return call_fail(call, MITRAL_INVALID,
                         "as many nodes_modes and nodes_values as nodes_treeids (%zu) expected, found %zu and %zu",
                         count, mode_count, value_count);
    struct node_key *keys = allocate(trees, count, sizeof(*keys));
    int32_t *code = allocate(trees, count, sizeof(*code));
    trees->nodes = allocate(trees, count, sizeof(*trees->nodes));
    trees->roots = allocate(trees, count, sizeof(*trees->roots));
    if (!keys || !code || !trees->nodes || !trees->roots)
        return MITRAL_NO_MEMORY;
    trees->node_count = count;
    for (size_t i = 0; i < count; i++) {
        int mode = mode_of(modes[i]);
        if (mode < 0)
            return call_fail(call, MITRAL_INVALID,
                             "node %zu: a mode BRANCH_LEQ, BRANCH_LT, BRANCH_GTE, BRANCH_GT, BRANCH_EQ, "
                             "BRANCH_NEQ or LEAF expected, found '%.*s'",
                             i, modes[i].size < 32 ? (int)modes[i].size : 32, modes[i].data);
        keys[i] = (struct node_key){tree_ids[i], node_ids[i], (int32_t)i};
        code[i] = mode == TREE_LEAF ? ~(int32_t)trees->leaf_count++ : (int32_t)i;
        if (mode != TREE_LEAF && (features[i] < 0 || features[i] >= INT32_MAX))
            return call_fail(call, MITRAL_INVALID, "node %zu: a feature of at least 0 expected, found %lld", i,
                             (long long)features[i]);
        trees->nodes[i] = (struct tree_node){.split = values[i],
                                             .feature = (int32_t)features[i],
                                             .mode = (uint8_t)mode,
                                             .missing_is_true = missing && missing[i] != 0,
                                             .if_true = -1,
                                             .if_false = -1};
        if (mode != TREE_LEAF && features[i] + 1 > trees->features)
            trees->features = features[i] + 1;
    }
    qsort(keys, count, sizeof(*keys), compare_node_keys);
    for (size_t i = 1; i < count; i++)
        if (keys[i].tree == keys[i - 1].tree && keys[i].node == keys[i - 1].node)
            return call_fail(call, MITRAL_INVALID, "node ids that differ within tree %lld expected, found %lld twice",
                             (long long)keys[i].tree, (long long)keys[i].node);
    for (size_t i = 0; i < count; i++) {
        if (trees->nodes[i].mode == TREE_LEAF)
            continue;
        int32_t yes = find_node(keys, count, tree_ids[i], if_true[i]),
                no = find_node(keys, count, tree_ids[i], if_false[i]);
        if (yes < 0 || no < 0)
            return call_fail(call, MITRAL_INVALID, "node %zu: children in its own tree expected, found %lld and %lld",
                             i, (long long)if_true[i], (long long)if_false[i]);
        trees->nodes[i].if_true = code[yes];
        trees->nodes[i].if_false = code[no];
    }
    /* A tree's root is the first of its nodes in the list; trees in the order of their ids. */
    for (size_t i = 0; i < count; i++) {
        bool first = i == 0 || keys[i].tree != keys[i - 1].tree;
        if (first)
            trees->roots[trees->root_count++] = keys[i].index;
        else if (keys[i].index < trees->roots[trees->root_count - 1])
            trees->roots[trees->root_count - 1] = keys[i].index;
    }
    for (size_t i = 0; i < trees->root_count; i++)
        trees->roots[i] = code[trees->roots[i]];
    *keys_out = keys;
    *code_out = code;
    return MITRAL_OK;
}

static mitral_status read_votes(struct kernel_call *call, const char *prefix, struct tree_ensemble *trees,
                                const struct node_key *keys, const int32_t *code)
{
    char name[4][64];
    static const char *const parts[] = {"treeids", "nodeids", "ids", "weights"};
    for (int i = 0; i < 4; i++)
        snprintf(name[i], sizeof(name[i]), "%s%s", prefix, parts[i]);
    char as_tensor[80];
    snprintf(as_tensor, sizeof(as_tensor), "%s_as_tensor", name[3]);
    size_t count, weight_count;
    const int64_t *tree_ids = attribute_ints(call->attributes, name[0], &count), *node_ids, *ids;
    const double *weights;
    TRY(read_ints(call, name[1], count, false, &node_ids));
    TRY(read_ints(call, name[2], count, false, &ids));
    TRY(ml_floats(call, &trees->arena, name[3], as_tensor, &weights, &weight_count));
    if (weight_count != count)
        return call_fail(call, MITRAL_INVALID, "attribute %s: %zu values expected, found %zu", name[3], count,
                         weight_count);
    trees->leaf_votes = allocate(trees, trees->leaf_count + 1, sizeof(*trees->leaf_votes));
    trees->votes = allocate(trees, count, sizeof(*trees->votes));
    int32_t *leaves = allocate(trees, count, sizeof(*leaves));
    if (!trees->leaf_votes || !trees->votes || !leaves || count > MAX_NODES)
        return MITRAL_NO_MEMORY;
    trees->all_positive = true;
    bool one_class = true;
    for (size_t i = 0; i < count; i++) {
        int32_t node = find_node(keys, trees->node_count, tree_ids[i], node_ids[i]);
        if (node < 0 || ids[i] < 0 || ids[i] >= trees->targets)
            return call_fail(call, MITRAL_INVALID,
                             "vote %zu: a node of the ensemble and a target below %lld expected, found tree %lld "
                             "node %lld target %lld",
                             i, (long long)trees->targets, (long long)tree_ids[i], (long long)node_ids[i],
                             (long long)ids[i]);
        leaves[i] = code[node] < 0 ? ~code[node] : -1; /* votes of inner nodes count for nothing */
        if (leaves[i] >= 0)
            trees->leaf_votes[leaves[i] + 1]++;
        trees->all_positive = trees->all_positive && weights[i] >= 0;
        one_class = one_class && ids[i] == ids[0];
    }
    trees->binary = trees->targets == 2 && one_class;
    for (size_t i = 0; i < trees->leaf_count; i++)
        trees->leaf_votes[i + 1] += trees->leaf_votes[i];
    uint32_t *next = allocate(trees, trees->leaf_count, sizeof(*next));
    if (!next)
        return MITRAL_NO_MEMORY;
    memcpy(next, trees->leaf_votes, trees->leaf_count * sizeof(*next));
    for (size_t i = 0; i < count; i++)
        if (leaves[i] >= 0)
            trees->votes[next[leaves[i]]++] = (struct tree_vote){(int32_t)ids[i], weights[i]};
    trees->vote_count = count;
    return MITRAL_OK;
}

mitral_status tree_read(struct kernel_call *call, const char *prefix, int64_t targets, struct tree_ensemble *out)
{
    struct node_key *keys = NULL;
    int32_t *code = NULL;
    if (targets < 1 || targets >= INT32_MAX)
        return call_fail(call, MITRAL_INVALID, "at least one target expected, found %lld", (long long)targets);
    out->targets = targets;
    TRY(read_nodes(call, out, &keys, &code));
    TRY(read_votes(call, prefix, out, keys, code));
    TRY(ml_floats(call, &out->arena, "base_values", "base_values_as_tensor", &out->base, &out->base_count));
    return check_reached_once(call, out);
}

/* ---- nodes and leaves apart (version 5) -------------------------------------------------------------------------- */

static mitral_status read_tensor(const struct kernel_call *call, const char *name, size_t count,
                                 const mitral_tensor **out)
{
    *out = attribute_tensor(call->attributes, name);
    if (!*out || (size_t)tensor_count(*out) != count)
        return call_fail(call, MITRAL_INVALID, "attribute %s: %zu values expected, found %lld", name, count,
                         *out ? (long long)tensor_count(*out) : 0);
    return MITRAL_OK;
}

static mitral_status set_child(const struct kernel_call *call, const struct tree_ensemble *trees, int64_t id, bool leaf,
                               int32_t *out)
{
    size_t limit = leaf ? trees->leaf_count : trees->node_count;
    if (id < 0 || (uint64_t)id >= limit)
        return call_fail(call, MITRAL_INVALID, "%s in [0, %zu) expected, found %lld", leaf ? "a leaf" : "a node", limit,
                         (long long)id);
    *out = leaf ? ~(int32_t)id : (int32_t)id;
    return MITRAL_OK;
}

/* The sets of BRANCH_MEMBER nodes follow one another in the nodes' order, each ended by NaN. */
static mitral_status read_members(const struct kernel_call *call, struct tree_ensemble *trees)
{
    const mitral_tensor *values = attribute_tensor(call->attributes, "membership_values");
    size_t count = values ? (size_t)tensor_count(values) : 0, at = 0;
    trees->members = allocate(trees, count, sizeof(*trees->members));
    if (!trees->members || count > MAX_NODES)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        trees->members[i] = tensor_get_double(values, (int64_t)i);
    for (size_t i = 0; i < trees->node_count; i++) {
        struct tree_node *node = &trees->nodes[i];
        if (node->mode != TREE_MEMBER)
            continue;
        if (at >= count)
            return call_fail(call, MITRAL_INVALID,
                             "membership_values for every BRANCH_MEMBER node expected, found none for node %zu", i);
        node->first_member = (uint32_t)at;
        while (at < count && !isnan(trees->members[at]))
            at++;
        node->member_count = (uint32_t)at - node->first_member;
        at++;
    }
    return MITRAL_OK;
}

mitral_status tree_read_combined(struct kernel_call *call, struct tree_ensemble *out)
{
    const mitral_tensor *modes, *splits, *weights;
    const int64_t *features, *if_true, *if_false, *true_leafs, *false_leafs, *missing, *leaf_targets, *roots;
    size_t count, leaves, root_count;
    features = attribute_ints(call->attributes, "nodes_featureids", &count);
    leaf_targets = attribute_ints(call->attributes, "leaf_targetids", &leaves);
    roots = attribute_ints(call->attributes, "tree_roots", &root_count);
    out->targets = attribute_int(call->attributes, "n_targets", 1);
    if (out->targets < 1 || out->targets >= INT32_MAX || count > MAX_NODES || leaves > MAX_NODES)
        return call_fail(call, MITRAL_INVALID, "at least one target expected, found %lld", (long long)out->targets);
    TRY(read_tensor(call, "nodes_modes", count, &modes));
    TRY(read_tensor(call, "nodes_splits", count, &splits));
    TRY(read_tensor(call, "leaf_weights", leaves, &weights));
    TRY(read_ints(call, "nodes_truenodeids", count, false, &if_true));
    TRY(read_ints(call, "nodes_falsenodeids", count, false, &if_false));
    TRY(read_ints(call, "nodes_trueleafs", count, false, &true_leafs));
    TRY(read_ints(call, "nodes_falseleafs", count, false, &false_leafs));
    TRY(read_ints(call, "nodes_missing_value_tracks_true", count, true, &missing));
    out->node_count = count;
    out->leaf_count = leaves;
    out->root_count = root_count;
    out->nodes = allocate(out, count, sizeof(*out->nodes));
    out->roots = allocate(out, root_count, sizeof(*out->roots));
    out->leaf_votes = allocate(out, leaves + 1, sizeof(*out->leaf_votes));
    out->votes = allocate(out, leaves, sizeof(*out->votes));
    if (!out->nodes || !out->roots || !out->leaf_votes || !out->votes)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        struct tree_node *node = &out->nodes[i];
        int64_t mode = tensor_get_int(modes, (int64_t)i);
        if (mode < 0 || mode > TREE_MEMBER || features[i] < 0 || features[i] >= INT32_MAX)
            return call_fail(call, MITRAL_INVALID,
                             "node %zu: a mode from 0 to 6 and a feature expected, found %lld and %lld", i,
                             (long long)mode, (long long)features[i]);
        *node = (struct tree_node){.split = tensor_get_double(splits, (int64_t)i),
                                   .feature = (int32_t)features[i],
                                   .mode = (uint8_t)mode,
                                   .missing_is_true = missing && missing[i] != 0};
        TRY(set_child(call, out, if_true[i], true_leafs[i] != 0, &node->if_true));
        TRY(set_child(call, out, if_false[i], false_leafs[i] != 0, &node->if_false));
        out->features = features[i] + 1 > out->features ? features[i] + 1 : out->features;
    }
    for (size_t i = 0; i < root_count; i++)
        TRY(set_child(call, out, roots[i], false, &out->roots[i]));
    for (size_t i = 0; i < leaves; i++) {
        if (leaf_targets[i] < 0 || leaf_targets[i] >= out->targets)
            return call_fail(call, MITRAL_INVALID, "leaf %zu: a target below %lld expected, found %lld", i,
                             (long long)out->targets, (long long)leaf_targets[i]);
        out->votes[i] = (struct tree_vote){(int32_t)leaf_targets[i], tensor_get_double(weights, (int64_t)i)};
        out->leaf_votes[i + 1] = (uint32_t)i + 1;
    }
    out->vote_count = leaves;
    TRY(read_members(call, out));
    return check_reached_once(call, out);
}
