/* Classical models and optimizers where the standard's suite does not look: maps, hostile trees, bad input. */
#include "kernel_bench.h"

#include <string.h>

#define TEXT(literal) {literal, sizeof(literal) - 1}

static void set_strings(struct bench *bench, const char *name, const mitral_string *values, size_t count)
{
    const struct attribute attribute = {.name = name, .kind = ATTRIBUTE_STRINGS, .count = count, .strings = values};
    assert_int_equal(attributes_set(&bench->attributes, &bench->arena, &attribute), MITRAL_OK);
}

static void test_zip_map_and_back(void **state)
{
    (void)state;
    const float scores[] = {0.25f, 0.75f, 1, 0};
    const int64_t labels[] = {30, 10};
    struct bench zip, cast;
    bench_open(&zip, "ml.ZipMap", 1);
    bench_ints(&zip, "classlabels_int64s", labels, 2);
    bench_input(&zip, MITRAL_FLOAT, 2, DIMS(2, 2), scores);
    assert_int_equal(bench_shape(&zip), MITRAL_DEFERRED);
    assert_ok(zip.context, bench_run(&zip));
    const mitral_value *sequence = &zip.outputs[0];
    assert_int_equal(sequence->kind, MITRAL_SEQUENCE);
    assert_int_equal(sequence->count, 2);
    assert_int_equal(sequence->items[1].kind, MITRAL_MAP);

    bench_open(&cast, "ml.CastMap", 1); /* the first map as a row, in the order of its keys */
    cast.input_list[cast.call.input_count++] = &sequence->items[0];
    assert_ok(cast.context, bench_run(&cast));
    bench_expect_floats(&cast, 0, (const float[]){0.75f, 0.25f}, 2, 0);
    bench_close(&cast);

    bench_open(&cast, "ml.CastMap", 1); /* a key beyond the row */
    bench_text(&cast, "map_form", "SPARSE");
    bench_int(&cast, "max_map", 20);
    cast.input_list[cast.call.input_count++] = &sequence->items[0];
    bench_refuses(&cast, MITRAL_INVALID);

    bench_open(&cast, "ml.DictVectorizer", 1);
    bench_ints(&cast, "int64_vocabulary", (const int64_t[]){10, 20, 30}, 3);
    cast.input_list[cast.call.input_count++] = &sequence->items[0];
    assert_ok(cast.context, bench_run(&cast));
    bench_expect_floats(&cast, 0, (const float[]){0.75f, 0, 0.25f}, 3, 0);
    bench_close(&cast);

    bench_open(&cast, "ml.DictVectorizer", 1); /* a tensor is no map */
    bench_input(&cast, MITRAL_FLOAT, 2, DIMS(2, 2), scores);
    bench_refuses(&cast, MITRAL_INVALID);
    bench_close(&zip);
}

/* One split of feature 0 at 0.5: 1 below, 2 above. `if_true` is the child of the root. */
static void tree(struct bench *bench, int64_t if_true, int64_t feature)
{
    const mitral_string modes[] = {TEXT("BRANCH_LEQ"), TEXT("LEAF"), TEXT("LEAF")};
    bench_open(bench, "ml.TreeEnsembleRegressor", 3);
    bench_int(bench, "n_targets", 1);
    bench_ints(bench, "nodes_treeids", (const int64_t[]){0, 0, 0}, 3);
    bench_ints(bench, "nodes_nodeids", (const int64_t[]){0, 1, 2}, 3);
    bench_ints(bench, "nodes_featureids", (const int64_t[]){feature, 0, 0}, 3);
    bench_ints(bench, "nodes_truenodeids", (const int64_t[]){if_true, 0, 0}, 3);
    bench_ints(bench, "nodes_falsenodeids", (const int64_t[]){2, 0, 0}, 3);
    bench_floats(bench, "nodes_values", (const float[]){0.5f, 0, 0}, 3);
    set_strings(bench, "nodes_modes", modes, 3);
    bench_ints(bench, "target_treeids", (const int64_t[]){0, 0}, 2);
    bench_ints(bench, "target_nodeids", (const int64_t[]){1, 2}, 2);
    bench_ints(bench, "target_ids", (const int64_t[]){0, 0}, 2);
    bench_floats(bench, "target_weights", (const float[]){1, 2}, 2);
}

static void test_trees(void **state)
{
    (void)state;
    const float rows[] = {0, 9, 1, 9, 0.5f, 9};
    struct bench bench;
    tree(&bench, 1, 0);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(3, 2), rows);
    assert_ok(bench.context, bench_run(&bench));
    bench_expect_floats(&bench, 0, (const float[]){1, 2, 1}, 3, 0);
    bench_close(&bench);

    tree(&bench, 0, 0); /* a cycle */
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(3, 2), rows);
    bench_refuses(&bench, MITRAL_INVALID);

    tree(&bench, 7, 0); /* a child that is not there */
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(3, 2), rows);
    bench_refuses(&bench, MITRAL_INVALID);

    tree(&bench, 1, 2); /* a feature that the rows lack */
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(3, 2), rows);
    bench_refuses(&bench, MITRAL_INVALID);

    tree(&bench, 1, 0); /* a vote for a target that is not there */
    bench_ints(&bench, "target_ids", (const int64_t[]){0, 1}, 2);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(3, 2), rows);
    bench_refuses(&bench, MITRAL_INVALID);
}

static void test_models_that_do_not_fit(void **state)
{
    (void)state;
    const float rows[6] = {0};
    struct bench bench;
    bench_open(&bench, "ml.LinearRegressor", 1);
    bench_floats(&bench, "coefficients", rows, 5);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 3), rows);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "ml.LinearClassifier", 1);
    bench_floats(&bench, "coefficients", rows, 6);
    bench_ints(&bench, "classlabels_ints", DIMS(1), 1);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 3), rows);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "ml.SVMClassifier", 1);
    bench_ints(&bench, "classlabels_ints", DIMS(1, 2), 2);
    bench_ints(&bench, "vectors_per_class", DIMS(INT64_MAX, INT64_MAX), 2);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 3), rows);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "ml.SVMRegressor", 1);
    bench_int(&bench, "n_supports", INT64_MAX);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 3), rows);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "ml.Scaler", 1);
    bench_floats(&bench, "scale", rows, 2);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 3), rows);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "ml.ArrayFeatureExtractor", 1);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 3), rows);
    const int64_t index = 3;
    bench_input(&bench, MITRAL_INT64, 1, DIMS(1), &index);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "ml.LabelEncoder", 2);
    bench_input(&bench, MITRAL_INT64, 1, DIMS(1), &index);
    bench_refuses(&bench, MITRAL_INVALID);

    const mitral_string categories[] = {TEXT("a"), TEXT("b")}, unknown = TEXT("c");
    bench_open(&bench, "ml.OneHotEncoder", 1);
    set_strings(&bench, "cats_strings", categories, 2);
    bench_int(&bench, "zeros", 0);
    bench_input(&bench, MITRAL_STRING, 1, DIMS(1), &unknown);
    bench_refuses(&bench, MITRAL_INVALID);
}

static void test_optimizers(void **state)
{
    (void)state;
    const float values[4] = {1, 2, 3, 4};
    const int64_t steps = 0;
    struct bench bench;
    bench_open(&bench, "training.Momentum", 1); /* no mode */
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "training.Adagrad", 1); /* a group that is not whole */
    bench_input(&bench, MITRAL_FLOAT, 0, NULL, values);
    bench_input(&bench, MITRAL_INT64, 0, NULL, &steps);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(2), values);
    bench_refuses(&bench, MITRAL_INVALID);

    bench_open(&bench, "training.Adagrad", 1); /* a gradient of another shape */
    bench_input(&bench, MITRAL_FLOAT, 0, NULL, values);
    bench_input(&bench, MITRAL_INT64, 0, NULL, &steps);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(2), values);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(3), values);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(2), values);
    bench_refuses(&bench, MITRAL_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_zip_map_and_back), cmocka_unit_test(test_trees),
                                       cmocka_unit_test(test_models_that_do_not_fit),
                                       cmocka_unit_test(test_optimizers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
