/* Options, schedules, taps, and the training graph: refusals, and memory that runs out at any moment. */
#include "test_data_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mitral/networks.h"
#include "training/trainer.h"

static void test_options(void **state)
{
    struct bench *bench = *state;
    static struct options options, again;
    char text[PATH_SIZE], *json;
    assert_ok(options_initialise(&options, bench->context));
    assert_int_equal(options.steps, 1000);
    assert_float_equal(options.momentum, 0.9, 0);
    assert_int_equal(options.method, METHOD_MAVKD);
    assert_ok(options_set(&options, bench->context, "lr", "2.5e-3"));
    assert_ok(options_set(&options, bench->context, "class-weights", "1,0.5,2"));
    assert_ok(options_set(&options, bench->context, "method", "cwd"));
    assert_ok(options_set(&options, bench->context, "nesterov", NULL));
    assert_int_equal(options.class_weight_count, 3);
    assert_refused(options_set(&options, bench->context, "lr", "fast"), MITRAL_INVALID, "found 'fast'");
    assert_refused(options_set(&options, bench->context, "lr", "-1"), MITRAL_INVALID, "found '-1'");
    assert_refused(options_set(&options, bench->context, "steps", "1.5"), MITRAL_INVALID, "whole number");
    assert_refused(options_set(&options, bench->context, "method", "logit"), MITRAL_INVALID, "none|logits");
    assert_refused(options_set(&options, bench->context, "method", ""), MITRAL_INVALID, "none|logits");
    assert_refused(options_set(&options, bench->context, "stepz", "1"), MITRAL_INVALID, "stepz");
    /* Every option survives the way through its configuration file. */
    assert_ok(options_json(&json, bench->context, &options, false));
    bench_write(bench, "config.json", json, strlen(json));
    mitral_release(bench->context, json);
    assert_ok(options_initialise(&again, bench->context));
    assert_ok(options_read(&again, bench->context, bench_path(bench, "config.json")));
    assert_memory_equal(&options, &again, sizeof options);
    const struct option_row *row;
    for (size_t i = 0; (row = option_row_at(i)); i++)
        assert_non_null(option_text(&options, row, text, sizeof text));
    assert_refused(options_check(&options, bench->context, false), MITRAL_INVALID, "student");
    const char *const bad[] = {"", "[]", "{\"lr\": {}}", "{\"lr\": [1, \"x\"]}", "{\"lr\": 1", "{\"steps\": true}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bench_write(bench, "bad.json", bad[i], strlen(bad[i]));
        assert_int_equal(options_read(&again, bench->context, bench_path(bench, "bad.json")), MITRAL_INVALID);
    }
}

static void test_schedules(void **state)
{
    struct bench *bench = *state;
    static struct options o;
    assert_ok(options_initialise(&o, bench->context));
    o.steps = 100;
    o.rate = 0.5;
    o.schedule = SCHEDULE_CONSTANT;
    assert_float_equal(schedule_rate(&o, 99), 0.5, 0);
    o.warmup = 10;
    assert_float_equal(schedule_rate(&o, 0), 0.05, 1e-12);
    assert_float_equal(schedule_rate(&o, 9), 0.5, 1e-12);
    o.schedule = SCHEDULE_POLY;
    assert_float_equal(schedule_rate(&o, 10), 0.5, 1e-12);
    assert_float_equal(schedule_rate(&o, 55), 0.5 * pow(0.5, 0.9), 1e-12);
    o.schedule = SCHEDULE_COSINE;
    o.final_rate = 0.1;
    assert_float_equal(schedule_rate(&o, 55), 0.3, 1e-12);
    o.schedule = SCHEDULE_STEP;
    o.step_size = 20;
    assert_float_equal(schedule_rate(&o, 49), 0.05, 1e-12);
}

/* A student and its teacher, small enough to build many times. */
static void write_models(struct bench *bench)
{
    mitral_network_options options = {.widths = {8, 8, 8, 8, 8}, .size = 32};
    mitral_model *model;
    assert_ok(mitral_create_dpu_net(&model, bench->context, &options));
    assert_ok(mitral_model_save(bench->context, model, bench_path(bench, "student.onnx")));
    mitral_model_destroy(&model);
    assert_ok(mitral_create_unet(&model, bench->context, &options));
    assert_ok(mitral_model_save(bench->context, model, bench_path(bench, "teacher.onnx")));
    mitral_model_destroy(&model);
}

static void set_models(struct bench *bench, struct options *options)
{
    assert_ok(options_initialise(options, bench->context));
    assert_ok(options_set(options, bench->context, "student", bench_path(bench, "student.onnx")));
    assert_ok(options_set(options, bench->context, "teacher", bench_path(bench, "teacher.onnx")));
    assert_ok(options_set(options, bench->context, "batch", "2"));
    assert_ok(options_set(options, bench->context, "threads", "1"));
}

static void test_automatic_taps(void **state)
{
    struct bench *bench = *state;
    static struct options options;
    static const char *const expected[] = {"enc4", "dec3", "dec2", "dec1", "dec0"};
    struct trainer trainer;
    write_models(bench);
    set_models(bench, &options);
    assert_ok(trainer_create(&trainer, bench->context, &options));
    assert_int_equal(trainer.network.pair_count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(trainer.network.graph->values[trainer.network.pairs[i].student].name, expected[i]);
        assert_string_equal(trainer.teacher_graph->values[trainer.network.pairs[i].teacher].name, expected[i]);
    }
    /* Weights decay, norms and biases do not. */
    for (size_t i = 0; i < trainer.network.trained_count; i++) {
        const struct trained *trained = &trainer.network.trained[i];
        const struct graph_value *value = &trainer.network.graph->values[trained->variable];
        assert_int_equal(trained->decay, value->type.rank > 1);
    }
    trainer_clear(&trainer);
}

static void test_memory_runs_out(void **state)
{
    struct bench *bench = *state;
    static struct options options;
    float images[2 * 32 * 32];
    uint8_t labels[2 * 32 * 32];
    struct step_report report;
    write_models(bench);
    set_models(bench, &options);
    for (size_t i = 0; i < sizeof labels; i++) {
        images[i] = (float)(i % 7) - 3;
        labels[i] = i / 32 % 4;
    }
    bool done = false;
    /* Every allocation at first, then ever fewer. */
    for (long allowed = 0; !done; allowed += 1 + allowed / 6) {
        struct trainer trainer;
        bench->left = allowed;
        mitral_status status = trainer_create(&trainer, bench->context, &options);
        if (status == MITRAL_OK) {
            status = trainer_step(&trainer, &report, images, labels, NULL, 0, true, true);
            trainer_clear(&trainer);
        }
        done = bench->left > 0;
        bench->left = -1;
        assert_int_equal(status, done ? MITRAL_OK : MITRAL_NO_MEMORY);
    }
    assert_true(isfinite(report.loss));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_options, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_schedules, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_automatic_taps, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_memory_runs_out, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
