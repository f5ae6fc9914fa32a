/* ai.onnx.ml: ensembles of decision trees. */
#include "runtime/kernels/reference/ml_tree.h"

#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/convert.h"
#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/ml.h"

enum aggregate { AGGREGATE_AVERAGE, AGGREGATE_SUM, AGGREGATE_MIN, AGGREGATE_MAX };
enum tree_operator { TREE_CLASSIFIER, TREE_REGRESSOR, TREE_COMBINED };

struct tree_state {
    mitral_context *context;
    struct tree_ensemble trees;
    enum aggregate aggregate;
    enum post_transform transform;
    struct ml_labels labels;
};

int32_t tree_leaf(const struct tree_ensemble *trees, int32_t root, const double *x)
{
    int32_t at = root;
    while (at >= 0) {
        const struct tree_node *node = &trees->nodes[at];
        double v = x[node->feature];
        bool yes = node->missing_is_true && isnan(v);
        switch ((enum tree_mode)node->mode) {
        case TREE_LEQ: yes = yes || v <= node->split; break;
        case TREE_LT: yes = yes || v < node->split; break;
        case TREE_GTE: yes = yes || v >= node->split; break;
        case TREE_GT: yes = yes || v > node->split; break;
        case TREE_EQ: yes = yes || v == node->split; break;
        case TREE_NEQ: yes = yes || v != node->split; break;
        case TREE_MEMBER:
            for (uint32_t i = 0; !yes && i < node->member_count; i++)
                yes = trees->members[node->first_member + i] == v;
            break;
        case TREE_LEAF: break;
        }
        at = yes ? node->if_true : node->if_false;
    }
    return ~at;
}

/* ---- what the operators share ------------------------------------------------------------------------------------ */

static void tree_release(mitral_context *context, void *state)
{
    struct tree_state *tree = state;
    if (!tree)
        return;
    arena_clear(&tree->trees.arena);
    mitral_release(context, tree);
}

static mitral_status read_aggregate(const struct kernel_call *call, enum tree_operator kind, enum aggregate *out)
{
    static const char *const names[] = {"AVERAGE", "SUM", "MIN", "MAX"};
    *out = AGGREGATE_SUM;
    if (kind == TREE_CLASSIFIER)
        return MITRAL_OK;
    if (kind == TREE_COMBINED) {
        int64_t number = attribute_int(call->attributes, "aggregate_function", AGGREGATE_SUM);
        if (number < AGGREGATE_AVERAGE || number > AGGREGATE_MAX)
            return call_fail(call, MITRAL_INVALID, "aggregate_function from 0 to 3 expected, found %lld",
                             (long long)number);
        *out = (enum aggregate)number;
        return MITRAL_OK;
    }
    const char *name = attribute_string(call->attributes, "aggregate_function", "SUM");
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum aggregate)i;
            return MITRAL_OK;
        }
    return call_fail(call, MITRAL_INVALID, "aggregate_function AVERAGE, SUM, MIN or MAX expected, found '%s'", name);
}

static mitral_status fill_state(struct kernel_call *call, enum tree_operator kind, struct tree_state *state)
{
    struct ml_rows rows = {0};
    TRY(read_aggregate(call, kind, &state->aggregate));
    if (kind == TREE_COMBINED) {
        const mitral_tensor *x = call_input(call, 0);
        rows.features = x->dims[x->rank - 1];
        int64_t transform = attribute_int(call->attributes, "post_transform", 0);
        if (transform < TRANSFORM_NONE || transform > TRANSFORM_PROBIT)
            return call_fail(call, MITRAL_INVALID, "post_transform from 0 to 4 expected, found %lld",
                             (long long)transform);
        state->transform = (enum post_transform)transform;
        TRY(tree_read_combined(call, &state->trees));
    } else {
        TRY(ml_rows(call, &rows));
        TRY(ml_post_transform(call, &state->transform));
        int64_t targets = attribute_int(call->attributes, "n_targets", 1);
        if (kind == TREE_CLASSIFIER) {
            TRY(ml_labels(call, "classlabels_int64s", "classlabels_strings", &state->labels));
            targets = (int64_t)state->labels.count;
        }
        TRY(tree_read(call, kind == TREE_CLASSIFIER ? "class_" : "target_", targets, &state->trees));
    }
    if (state->trees.features > rows.features)
        return call_fail(call, MITRAL_INVALID, "rows of at least %lld features expected, found %lld",
                         (long long)state->trees.features, (long long)rows.features);
    return MITRAL_OK;
}

/* Scratch: a row of features and of scores for each thread. */
static mitral_status tree_prepare(struct kernel_call *call, enum tree_operator kind, void **out, size_t *scratch_bytes)
{
    const mitral_tensor *x = call_input(call, 0);
    struct tree_state *state = mitral_allocate(call->context, sizeof(*state));
    if (!state)
        return MITRAL_NO_MEMORY;
    state->context = call->context;
    arena_initialise(&state->trees.arena, call->context);
    mitral_status status = fill_state(call, kind, state);
    if (status != MITRAL_OK) {
        tree_release(call->context, state);
        return status;
    }
    size_t row = (size_t)x->dims[x->rank - 1] + 2 * (size_t)state->trees.targets + 2;
    *scratch_bytes = row * sizeof(double) * (size_t)(call->threads > 0 ? call->threads : 1);
    *out = state;
    return MITRAL_OK;
}

/* The aggregated votes of one row; voted[t] counts those for target t. */
static void tree_scores(const struct tree_state *state, const double *x, double *scores, double *voted)
{
    const struct tree_ensemble *trees = &state->trees;
    memset(scores, 0, (size_t)trees->targets * sizeof(*scores));
    memset(voted, 0, (size_t)trees->targets * sizeof(*voted));
    for (size_t i = 0; i < trees->root_count; i++) {
        int32_t leaf = tree_leaf(trees, trees->roots[i], x);
        for (uint32_t v = trees->leaf_votes[leaf]; v < trees->leaf_votes[leaf + 1]; v++) {
            int32_t target = trees->votes[v].target;
            double weight = trees->votes[v].weight, *score = &scores[target];
            bool first = voted[target]++ == 0;
            switch (state->aggregate) {
            case AGGREGATE_MIN: *score = first || weight < *score ? weight : *score; break;
            case AGGREGATE_MAX: *score = first || weight > *score ? weight : *score; break;
            default: *score += weight; break;
            }
        }
    }
    for (int64_t t = 0; state->aggregate == AGGREGATE_AVERAGE && t < trees->targets; t++)
        scores[t] /= (double)trees->root_count;
}

typedef void (*tree_store)(struct kernel_call *call, const struct tree_state *state, int64_t row, double *scores,
                           double *voted);

static mitral_status tree_run(struct kernel_call *call, tree_store store)
{
    const struct tree_state *state = call->state;
    const mitral_tensor *x = call_input(call, 0);
    int64_t rows = x->rank == 2 ? x->dims[0] : 1, features = x->dims[x->rank - 1],
            parts = call->threads > 0 ? call->threads : 1;
    int64_t targets = state->trees.targets, work = rows * (int64_t)state->trees.root_count;
    parts = work > 1 << 10 ? parts : 1;
#pragma omp parallel for num_threads(parts) if (parts > 1) schedule(static)
    for (int64_t part = 0; part < parts; part++) {
        double *row_x = (double *)call->scratch + part * (features + 2 * targets + 2), *scores = row_x + features,
               *voted = scores + targets + 2;
        for (int64_t row = rows * part / parts; row < rows * (part + 1) / parts; row++) {
            ml_load_row(x, row, features, row_x);
            tree_scores(state, row_x, scores, voted);
            store(call, state, row, scores, voted);
        }
    }
    return MITRAL_OK;
}

/* ---- regressor, TreeEnsemble ------------------------------------------------------------------------------------- */

static mitral_status read_targets(const struct kernel_call *call, int64_t *out)
{
    *out = attribute_int(call->attributes, "n_targets", 1);
    if (*out < 1 || *out >= INT32_MAX)
        return call_fail(call, MITRAL_INVALID, "n_targets of at least 1 expected, found %lld", (long long)*out);
    return MITRAL_OK;
}

static mitral_status TreeEnsembleRegressor_shape(struct kernel_call *call)
{
    struct ml_rows rows = {0};
    int64_t targets = 0;
    TRY(ml_rows(call, &rows));
    TRY(read_targets(call, &targets));
    call_set_output(call, 0, MITRAL_FLOAT, 2, (const int64_t[]){rows.count, targets});
    return MITRAL_OK;
}

static mitral_status TreeEnsemble_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    if (!x || (x->dtype != MITRAL_FLOAT && x->dtype != MITRAL_DOUBLE && x->dtype != MITRAL_FLOAT16))
        return x ? fail_type(call, 0, x) : call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    if (x->rank != 2)
        return call_fail(call, MITRAL_INVALID, "features [N, F] expected, found rank %d", (int)x->rank);
    int64_t targets = 0;
    TRY(read_targets(call, &targets));
    call_set_output(call, 0, x->dtype, 2, (const int64_t[]){x->dims[0], targets});
    return MITRAL_OK;
}

static void store_regression(struct kernel_call *call, const struct tree_state *state, int64_t row, double *scores,
                             double *voted)
{
    const struct tree_ensemble *trees = &state->trees;
    (void)voted;
    for (int64_t t = 0; t < trees->targets; t++)
        scores[t] += (size_t)t < trees->base_count ? trees->base[t] : 0;
    bool softmax = state->transform == TRANSFORM_SOFTMAX || state->transform == TRANSFORM_SOFTMAX_ZERO;
    if (trees->targets > 1 || !softmax) /* of one value it would be 1 whatever the value */
        ml_transform(state->transform, scores, (size_t)trees->targets);
    for (int64_t t = 0; call_output(call, 0) && t < trees->targets; t++)
        tensor_set_double(call_output(call, 0), row * trees->targets + t, scores[t], true);
}

static mitral_status TreeEnsembleRegressor_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return tree_prepare(call, TREE_REGRESSOR, state, scratch_bytes);
}

static mitral_status TreeEnsemble_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return tree_prepare(call, TREE_COMBINED, state, scratch_bytes);
}

static mitral_status regression_run(struct kernel_call *call)
{
    return tree_run(call, store_regression);
}

/* ---- classifier -------------------------------------------------------------------------------------------------- */

static mitral_status TreeEnsembleClassifier_shape(struct kernel_call *call)
{
    struct ml_rows rows = {0};
    struct ml_labels labels = {0};
    TRY(ml_rows(call, &rows));
    TRY(ml_labels(call, "classlabels_int64s", "classlabels_strings", &labels));
    if (labels.count == 0)
        return call_fail(call, MITRAL_INVALID, "classlabels_int64s or classlabels_strings expected, found none");
    ml_set_classifier_outputs(call, &labels, rows.count, (int64_t)labels.count);
    return MITRAL_OK;
}

static void put_scores(struct kernel_call *call, int64_t row, const double *scores, int64_t count)
{
    for (int64_t t = 0; call_output(call, 1) && t < count; t++)
        tensor_set_double(call_output(call, 1), row * count + t, scores[t], false);
}

/* A single label: 1 or 0 in its place for integers; the label or nothing for strings. */
static void store_single(struct kernel_call *call, const struct tree_state *state, int64_t row, double *scores)
{
    bool positive = scores[0] > 0;
    mitral_tensor *labels = call_output(call, 0);
    if (labels && labels->dtype == MITRAL_STRING)
        ((mitral_string *)labels->data)[row] = positive ? state->labels.strings[0] : (mitral_string){"", 0};
    else if (labels)
        ((int64_t *)labels->data)[row] = positive;
    ml_write_scores(state->transform, scores, 1, -1);
    put_scores(call, row, scores, 1);
}

/* Two classes and votes for one of them: its score decides. Exporters vote for class 0 and mean the second class. */
static void store_binary(struct kernel_call *call, const struct tree_state *state, int64_t row, double *scores)
{
    const struct tree_ensemble *trees = &state->trees;
    int32_t voted_for = trees->vote_count ? trees->votes[0].target : 0;
    /* Positive votes are taken for probabilities, unless they become ones only by the logistic function. */
    bool half = trees->all_positive && state->transform != TRANSFORM_LOGISTIC,
         positive = scores[voted_for] > (half ? 0.5 : 0);
    if (call_output(call, 0))
        ml_put_label(call_output(call, 0), row, &state->labels, positive);
    if (voted_for == 0) {
        if (ml_write_scores(state->transform, scores, 1, trees->all_positive ? 0 : 2) == 1)
            scores[1] = 1 - scores[0];
    } else {
        ml_write_scores(state->transform, scores, 2, -1);
    }
    put_scores(call, row, scores, 2);
}

static void store_classification(struct kernel_call *call, const struct tree_state *state, int64_t row, double *scores,
                                 double *voted)
{
    const struct tree_ensemble *trees = &state->trees;
    for (int64_t t = 0; t < trees->targets; t++)
        scores[t] += (size_t)t < trees->base_count ? trees->base[t] : 0;
    if (trees->targets == 1) {
        store_single(call, state, row, scores);
        return;
    }
    if (trees->binary) {
        store_binary(call, state, row, scores);
        return;
    }
    int64_t best = -1;
    for (int64_t t = 0; t < trees->targets; t++)
        if ((voted[t] > 0 || (size_t)t < trees->base_count) && (best < 0 || scores[t] > scores[best]))
            best = t;
    if (call_output(call, 0))
        ml_put_label(call_output(call, 0), row, &state->labels, best < 0 ? 0 : best);
    ml_write_scores(state->transform, scores, (size_t)trees->targets, -1);
    put_scores(call, row, scores, trees->targets);
}

static mitral_status TreeEnsembleClassifier_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return tree_prepare(call, TREE_CLASSIFIER, state, scratch_bytes);
}

static mitral_status TreeEnsembleClassifier_run(struct kernel_call *call)
{
    return tree_run(call, store_classification);
}

const struct kernel reference_ml_tree[] = {
    {"ml.TreeEnsemble", 0, TreeEnsemble_shape, TreeEnsemble_prepare, regression_run, tree_release},
    {"ml.TreeEnsembleClassifier", 0, TreeEnsembleClassifier_shape, TreeEnsembleClassifier_prepare,
     TreeEnsembleClassifier_run, tree_release},
    {"ml.TreeEnsembleRegressor", 0, TreeEnsembleRegressor_shape, TreeEnsembleRegressor_prepare, regression_run,
     tree_release},
};
const size_t reference_ml_tree_count = sizeof(reference_ml_tree) / sizeof(reference_ml_tree[0]);
