/* A network on a volume: the same as its parts by hand, and the networks that are none for it. */
#include "test_data_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mitral/networks.h"

enum { W = 40, H = 36, Z = 3, SIZE = 32, CLASSES = 4 };

static void make_volume(mitral_volume *volume, float *voxels)
{
    for (int i = 0; i < W * H * Z; i++)
        voxels[i] = (float)(100 + 80 * sin(0.2 * (i % W)) * cos(0.15 * (i / W % H)) + 10 * (i / (W * H)));
    *volume = (mitral_volume){{.size = {W, H, Z, 1}, .spacing = {1.5, 1.5, 8, 0}, .qfac = 1, .units = 2}, voxels};
}

static mitral_plan *make_plan(struct bench *bench, mitral_network_options options)
{
    const int64_t widths[MITRAL_STAGES] = {4, 4, 8, 8, 8};
    memcpy(options.widths, widths, sizeof widths);
    options.size = SIZE;
    options.seed = 3;
    mitral_model *model;
    mitral_plan *plan;
    assert_ok(mitral_create_dpu_net(&model, bench->context, &options));
    assert_ok(mitral_compile(&plan, bench->context, model, NULL));
    mitral_model_destroy(&model);
    return plan;
}

/* By the parts that the other tests check. */
static void segment_by_hand(struct bench *bench, uint8_t *out, mitral_plan *plan, const mitral_volume *volume)
{
    mitral_preprocessing preprocessing;
    mitral_preprocessing_default(&preprocessing);
    preprocessing.height = preprocessing.width = SIZE;
    static float images[Z * SIZE * SIZE];
    assert_ok(mitral_preprocess_frame(images, bench->context, &preprocessing, volume, 0, 1));
    mitral_session *session;
    assert_ok(mitral_session_create(&session, bench->context, plan, NULL));
    for (int z = 0; z < Z; z++) {
        mitral_value input = {
            .kind = MITRAL_TENSOR,
            .tensor = {.dtype = MITRAL_FLOAT, .rank = 4, .dims = {1, 1, SIZE, SIZE}, .data = images + z * SIZE * SIZE}};
        const mitral_value *inputs[1] = {&input}, *outputs[1];
        assert_ok(mitral_session_run(session, inputs, 1, outputs, 1));
        assert_ok(mitral_restore_slice(out + z * W * H, bench->context, &preprocessing, &volume->geometry, outputs[0]->tensor.data,
                                       SIZE, SIZE));
    }
    mitral_session_destroy(&session);
}

static void test_same_as_its_parts(void **state)
{
    struct bench *bench = *state;
    static float voxels[W * H * Z];
    static uint8_t expected[W * H * Z], out[W * H * Z];
    mitral_volume volume;
    make_volume(&volume, voxels);
    for (int batch = 0; batch < 2; batch++) {
        mitral_plan *plan = make_plan(bench, (mitral_network_options){.batch = batch});
        mitral_predictor *predictor;
        double seconds = -1;
        assert_ok(mitral_predictor_create(&predictor, bench->context, plan, NULL));
        assert_int_equal(mitral_predictor_preprocessing(predictor)->height, SIZE); /* the network's own size wins */
        assert_ok(mitral_predictor_segment(out, predictor, &volume, 0, &(mitral_segment_options){.keep_islands = true}, &seconds));
        assert_true(seconds > 0);
        segment_by_hand(bench, expected, plan, &volume);
        assert_memory_equal(out, expected, sizeof out);
        assert_ok(mitral_predictor_segment(out, predictor, &volume, 0, NULL, NULL));
        assert_ok(mitral_keep_largest(bench->context, expected, volume.geometry.size, CLASSES));
        assert_memory_equal(out, expected, sizeof out);
        assert_refused(mitral_predictor_segment(out, predictor, &volume, 1, NULL, NULL), MITRAL_INVALID, "frame below 1");
        mitral_predictor_destroy(&predictor);
        assert_null(predictor);
        mitral_predictor_destroy(&predictor);
        mitral_plan_destroy(&plan);
    }
}

static void test_refused(void **state)
{
    struct bench *bench = *state;
    static float voxels[W * H * Z];
    static uint8_t out[W * H * Z];
    mitral_volume volume;
    mitral_predictor *predictor;
    make_volume(&volume, voxels);
    mitral_plan *plan = make_plan(bench, (mitral_network_options){.batch = 2});
    assert_refused(mitral_predictor_create(&predictor, bench->context, plan, NULL), MITRAL_INVALID, "batch of 1");
    assert_null(predictor);
    mitral_plan_destroy(&plan);
    plan = make_plan(bench, (mitral_network_options){0});
    assert_ok(mitral_predictor_create(&predictor, bench->context, plan, NULL));
    volume.geometry.spacing[0] = 0;
    assert_refused(mitral_predictor_segment(out, predictor, &volume, 0, NULL, NULL), MITRAL_INVALID, "pixdim[1]");
    mitral_predictor_destroy(&predictor);
    mitral_plan_destroy(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_as_its_parts, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_refused, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
