/* Softmax, LogSoftmax, LayerNormalization and LRN steps against the reference kernels. */
#include <string.h>

#include "test_onednn_support.h"

static void compare(struct bench *bench, const char *reference, const char *fast, int layout, double tolerance, bool delegated)
{
    assert_int_equal(bench_run(bench, reference, true), MITRAL_OK);
    mitral_tensor expected = bench->outputs[0].tensor;
    bench->inputs[0].tensor = bench_relayout(bench, &bench->inputs[0].tensor, layout);
    bench->outputs[0].tensor = (mitral_tensor){.layout = layout};
    assert_int_equal(bench_run(bench, fast, true), MITRAL_OK);
    assert_int_equal(bench->outputs[0].tensor.layout, layout);
    double distance = bench_distance(bench, &bench->outputs[0].tensor, &expected);
    if (!(distance <= tolerance))
        print_error("%s by %s: distance %g\n", fast, bench->description, distance);
    assert_true(distance <= tolerance);
    assert_null(strstr(bench->description, "ref"));
    if ((strstr(bench->description, reference) != NULL) != delegated)
        print_error("%s runs as %s\n", fast, bench->description);
    assert_int_equal(strstr(bench->description, reference) != NULL, delegated);
}

static void softmax(void **state)
{
    (void)state;
    for (int log = 0; log < 2; log++)
        for (int axis = -1; axis < 4; axis++)
            for (int opset = 11; opset <= 13; opset += 2) {
                struct bench bench;
                bench_open(&bench);
                bench.opset = opset;
                bench_input(&bench, MITRAL_FLOAT, 4, (int64_t[]){2, 5, 6, 33}, 1);
                bench_int(&bench, "axis", axis);
                /* oneDNN's exponential is good to about 1e-6. Along the last axis it has fast code; version 11 has no other. */
                const bool last = opset == 11 || axis == -1 || axis == 3;
                compare(&bench, log ? "LogSoftmax" : "Softmax", log ? "onednn.log_softmax" : "onednn.softmax", LAYOUT_PLAIN, 4e-6, !last);
                bench_close(&bench);
            }
}

static void softmax_of_other_forms(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    bench_input(&bench, MITRAL_DOUBLE, 2, (int64_t[]){5, 6}, 1);
    bench_int(&bench, "axis", 1);
    compare(&bench, "Softmax", "onednn.softmax", LAYOUT_PLAIN, 0, true);
    bench_close(&bench);
    bench_open(&bench);
    bench_input(&bench, MITRAL_FLOAT, 4, (int64_t[]){1, 5, 6, 7}, 1);
    bench_int(&bench, "axis", 1);
    compare(&bench, "Softmax", "onednn.softmax", LAYOUT_CHANNELS_LAST, 0, true);
    bench_close(&bench);
}

static void layer_normalization(void **state)
{
    (void)state;
    for (int bias = 0; bias < 2; bias++)
        for (int axis = -2; axis < 0; axis++) {
            struct bench bench;
            bench_open(&bench);
            bench.opset = 17;
            bench_input(&bench, MITRAL_FLOAT, 3, (int64_t[]){3, 7, 40}, 1);
            const int64_t dims[] = {7, 40};
            bench_input(&bench, MITRAL_FLOAT, -axis, dims + 2 + axis, 2);
            if (bias)
                bench_input(&bench, MITRAL_FLOAT, -axis, dims + 2 + axis, 3);
            bench_int(&bench, "axis", axis);
            bench_float(&bench, "epsilon", 1e-5f);
            compare(&bench, "LayerNormalization", "onednn.layer_normalization", LAYOUT_PLAIN, 1e-5, false);
            bench_close(&bench);
        }
}

static void local_response(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 5, 8}, channels[] = {3, 96, 1200};
    static const float betas[] = {0.75f, 0.5f, 0.6f};
    for (int s = 0; s < 5; s++)
        for (int c = 0; c < 3; c++)
            for (int b = 0; b < 3; b++)
                for (int layout = 0; layout < 2; layout++) {
                    if (sizes[s] > 2 * channels[c] + 1)
                        continue;
                    struct bench bench;
                    bench_open(&bench);
                    bench_input(&bench, MITRAL_FLOAT, 4, (int64_t[]){2, channels[c], 5, 7}, 1);
                    bench_int(&bench, "size", sizes[s]);
                    bench_float(&bench, "alpha", 0.5f);
                    bench_float(&bench, "beta", betas[b]);
                    bench_float(&bench, "bias", 1.25f);
                    compare(&bench, "LRN", "channels.lrn", layout, 1e-6, false);
                    bench_close(&bench);
                }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax),
        cmocka_unit_test(softmax_of_other_forms),
        cmocka_unit_test(layer_normalization),
        cmocka_unit_test(local_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
