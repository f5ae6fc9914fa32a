/* The channels-last kernels against the reference ones: ScaleShift, Concat, Split, Resize. */
#include <math.h>
#include <string.h>

#include "test_onednn_support.h"

static void check(struct bench *bench, const char *fast, const mitral_tensor *expected, double tolerance)
{
    mitral_status status = bench_run(bench, fast, true);
    if (status != MITRAL_OK)
        print_error("%s\n", mitral_context_message(bench->context));
    assert_int_equal(status, MITRAL_OK);
    for (size_t i = 0; i < bench->output_count; i++) {
        assert_int_equal(bench->outputs[i].tensor.layout, LAYOUT_CHANNELS_LAST);
        double distance = bench_distance(bench, &bench->outputs[i].tensor, &expected[i]);
        if (!(distance <= tolerance))
            print_error("%s, output %zu: distance %g\n", fast, i, distance);
        assert_true(distance <= tolerance);
    }
}

/* Runs the reference kernel on plain inputs, then the fast one on channels-last ones (the first `maps` inputs). */
static void compare(struct bench *bench, const char *reference, const char *fast, size_t maps, double tolerance)
{
    mitral_tensor expected[BENCH_VALUES];
    mitral_status status = bench_run(bench, reference, true);
    if (status != MITRAL_OK)
        print_error("%s\n", mitral_context_message(bench->context));
    assert_int_equal(status, MITRAL_OK);
    for (size_t i = 0; i < bench->output_count; i++) {
        expected[i] = bench->outputs[i].tensor;
        bench->outputs[i].tensor = (mitral_tensor){.layout = LAYOUT_CHANNELS_LAST};
    }
    for (size_t i = 0; i < maps; i++)
        bench->inputs[i].tensor = bench_relayout(bench, &bench->inputs[i].tensor, LAYOUT_CHANNELS_LAST);
    check(bench, fast, expected, tolerance);
}

static const int32_t dtypes[] = {MITRAL_FLOAT, MITRAL_BFLOAT16, MITRAL_FLOAT16};
static double rounding_of(int32_t dtype) { return dtype == MITRAL_FLOAT ? 1e-6 : dtype == MITRAL_FLOAT16 ? 2e-3 : 1e-2; }

static void concat(void **state)
{
    (void)state;
    static const int64_t widths[][3] = {{3, 5, 1}, {16, 32, 64}, {1, 1, 1}};
    for (int type = 0; type < 3; type++)
        for (int form = 0; form < 3; form++) {
            struct bench bench;
            bench_open(&bench);
            for (uint32_t i = 0; i < 3; i++)
                bench_input(&bench, dtypes[type], 4, (int64_t[]){2, widths[form][i], 5, 7}, i + 1);
            bench_int(&bench, "axis", 1);
            compare(&bench, "Concat", "channels.concat", 3, 0);
            bench_close(&bench);
        }
}

static void split(void **state)
{
    (void)state;
    for (int type = 0; type < 3; type++) {
        struct bench bench;
        bench_open(&bench);
        bench_input(&bench, dtypes[type], 4, (int64_t[]){2, 11, 5, 7}, 1);
        mitral_tensor *sizes = bench_input(&bench, MITRAL_INT64, 1, (int64_t[]){3}, 2);
        memcpy(sizes->data, (int64_t[]){2, 8, 1}, 3 * sizeof(int64_t));
        bench_int(&bench, "axis", 1);
        bench.output_count = 3;
        compare(&bench, "Split", "channels.split", 1, 0);
        bench_close(&bench);
    }
}

static void scale_shift(void **state)
{
    (void)state;
    static const char *const activations[] = {"", "Relu", "LeakyRelu", "Clip", "PRelu"};
    static const int64_t channels[] = {1, 3, 16, 1500};
    for (int type = 0; type < 3; type++)
        for (int a = 0; a < 5; a++)
            for (int c = 0; c < 4; c++)
                for (int layout = 0; layout < 2; layout++) {
                    struct bench bench;
                    bench_open(&bench);
                    mitral_tensor *x = bench_input(&bench, dtypes[type], 4, (int64_t[]){2, channels[c], 5, 3}, 1);
                    float *scale = bench_input(&bench, MITRAL_FLOAT, 1, &channels[c], 2)->data;
                    float *shift = bench_input(&bench, MITRAL_FLOAT, 1, &channels[c], 3)->data, *slope = NULL;
                    if (a == 4)
                        slope = bench_input(&bench, MITRAL_FLOAT, 1, &channels[c], 4)->data;
                    bench_text(&bench, "activation", activations[a]);
                    bench_float(&bench, "activation_alpha", a == 3 ? -0.25f : 0.1f);
                    bench_float(&bench, "activation_beta", 0.5f);
                    mitral_tensor expected = *x;
                    expected.data = arena_allocate(&bench.arena, tensor_bytes(x) + 64);
                    for (int64_t i = 0; i < tensor_count(x); i++) {
                        int64_t k = i / 15 % channels[c];
                        double v = tensor_get_double(x, i) * (double)scale[k] + (double)shift[k];
                        if (a == 1 || a == 2 || a == 4)
                            v = v > 0 ? v : v * (a == 1 ? 0 : a == 2 ? (double)0.1f : (double)slope[k]);
                        else if (a == 3)
                            v = fmin(fmax(v, -0.25), 0.5);
                        tensor_set_double(&expected, i, v, false);
                    }
                    *x = bench_relayout(&bench, x, layout);
                    assert_int_equal(bench_run(&bench, "mitral.ScaleShift", true), MITRAL_OK);
                    assert_int_equal(bench.outputs[0].tensor.layout, layout);
                    assert_true(bench_distance(&bench, &bench.outputs[0].tensor, &expected) <= rounding_of(dtypes[type]));
                    bench_close(&bench);
                }
}

/* Parts of different widths, of one channel too, in both layouts, against Concat and then ScaleShift. */
static void concat_scale_shift(void **state)
{
    (void)state;
    static const int64_t widths[][3] = {{3, 5, 1}, {1, 16, 1300}, {1, 1, 1}};
    for (int type = 0; type < 3; type++)
        for (int form = 0; form < 3; form++)
            for (int layout = 0; layout < 2; layout++) {
                struct bench bench;
                bench_open(&bench);
                const int64_t channels = widths[form][0] + widths[form][1] + widths[form][2];
                for (uint32_t i = 0; i < 3; i++)
                    bench_input(&bench, dtypes[type], 4, (int64_t[]){2, widths[form][i], 5, 7}, i + 1);
                bench_int(&bench, "axis", 1);
                assert_int_equal(bench_run(&bench, "Concat", true), MITRAL_OK);
                mitral_tensor parts[3], joined = bench.outputs[0].tensor;
                for (int i = 0; i < 3; i++)
                    parts[i] = bench.inputs[i].tensor;
                bench.input_count = 0;
                *bench_input(&bench, dtypes[type], 4, joined.dims, 1) = joined;
                for (uint32_t i = 0; i < 3; i++)
                    bench_input(&bench, MITRAL_FLOAT, 1, &channels, i + 7);
                bench_text(&bench, "activation", "PRelu");
                assert_int_equal(bench_run(&bench, "mitral.ScaleShift", true), MITRAL_OK);
                mitral_tensor expected = bench.outputs[0].tensor, lists[3];
                for (int i = 0; i < 3; i++)
                    lists[i] = bench.inputs[1 + i].tensor;
                bench_int(&bench, "parts", 3);
                bench.input_count = 0;
                for (int i = 0; i < 6; i++)
                    *bench_input(&bench, MITRAL_FLOAT, 1, (int64_t[]){1}, 1) =
                        i < 3 ? bench_relayout(&bench, &parts[i], layout) : lists[i - 3];
                bench.outputs[0].tensor = (mitral_tensor){.layout = layout};
                assert_int_equal(bench_run(&bench, "mitral.ConcatScaleShift", true), MITRAL_OK);
                assert_int_equal(bench.outputs[0].tensor.layout, layout);
                assert_true(bench_distance(&bench, &bench.outputs[0].tensor, &expected) == 0);
                bench_close(&bench);
            }
}

static void resize(void **state)
{
    (void)state;
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const coordinates[] = {"half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"};
    static const float factors[][3] = {{2, 2, 2}, {1.5f, 3, 2}, {0.5f, 0.75f, 1}, {1, 2, 2}, {2, 1, 1}};
    for (int spatial = 1; spatial <= 3; spatial++)
        for (int type = 0; type < 2; type++)
            for (int m = 0; m < 3; m++)
                for (int c = 0; c < 4; c++)
                    for (int f = 0; f < 5; f++) {
                        struct bench bench;
                        bench_open(&bench);
                        bench.opset = 19;
                        bench.threads = 1 + f % 2;
                        bench_input(&bench, dtypes[type], spatial + 2, (int64_t[]){2, 5, 6, 8, 4}, 1);
                        bench_absent(&bench);
                        float *scales = bench_input(&bench, MITRAL_FLOAT, 1, (int64_t[]){spatial + 2}, 2)->data;
                        scales[0] = scales[1] = 1;
                        for (int i = 0; i < spatial; i++)
                            scales[2 + i] = factors[f][i];
                        bench_text(&bench, "mode", modes[m]);
                        bench_text(&bench, "coordinate_transformation_mode", coordinates[c]);
                        bench_text(&bench, "nearest_mode", "round_prefer_floor");
                        bench_int(&bench, "antialias", m && f == 2);
                        /* The rounds of a narrow type differ where the reference stores intermediate results. */
                        compare(&bench, "Resize", "channels.resize", 1, 2 * rounding_of(dtypes[type]));
                        assert_null(strstr(bench.description, "Resize"));
                        bench_close(&bench);
                    }
}

/* Channels that change, and crops, are the reference kernel's. */
static void other_resizes(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    bench.opset = 19;
    bench_input(&bench, MITRAL_FLOAT, 4, (int64_t[]){1, 4, 6, 8}, 1);
    bench_absent(&bench);
    float *scales = bench_input(&bench, MITRAL_FLOAT, 1, (int64_t[]){4}, 2)->data;
    memcpy(scales, (float[]){1, 2, 2, 1}, 4 * sizeof *scales);
    bench_text(&bench, "mode", "linear");
    compare(&bench, "Resize", "channels.resize", 1, 1e-6);
    bench_close(&bench);
}

static void reorder(void **state)
{
    (void)state;
    static const int64_t channels[] = {1, 2, 3, 4, 5, 8, 16, 17, 40}, sizes[][2] = {{1, 1}, {1, 2}, {1, 3}, {3, 5}, {16, 16}, {9, 31}, {70, 60}};
    static const int32_t types[] = {MITRAL_FLOAT, MITRAL_BFLOAT16, MITRAL_DOUBLE, MITRAL_INT8, MITRAL_COMPLEX128};
    for (int type = 0; type < 5; type++)
        for (int c = 0; c < 9; c++)
            for (int size = 0; size < 7; size++)
                for (int to = 0; to < 2; to++) {
                    struct bench bench;
                    bench_open(&bench);
                    bench.threads = 1 + c % 2;
                    mitral_tensor *x = bench_input(&bench, types[type], 4, (int64_t[]){2, channels[c], sizes[size][0], sizes[size][1]}, 1);
                    if (types[type] == MITRAL_COMPLEX128)
                        for (size_t i = 0; i < tensor_bytes(x); i++)
                            ((char *)x->data)[i] = (char)(i * 7);
                    mitral_tensor expected = bench_relayout(&bench, x, to);
                    *x = bench_relayout(&bench, x, 1 - to);
                    bench_int(&bench, "layout", to);
                    assert_int_equal(bench_run(&bench, "onednn.reorder", true), MITRAL_OK);
                    assert_int_equal(bench.outputs[0].tensor.layout, to);
                    assert_int_equal(memcmp(bench.outputs[0].tensor.data, expected.data, tensor_bytes(&expected)), 0);
                    bench_close(&bench);
                }
}

static void reorder_to_another_type(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    mitral_tensor *x = bench_input(&bench, MITRAL_FLOAT, 4, (int64_t[]){1, 7, 5, 3}, 1);
    bench_int(&bench, "layout", LAYOUT_CHANNELS_LAST);
    bench_int(&bench, "to", MITRAL_BFLOAT16);
    assert_int_equal(bench_run(&bench, "onednn.reorder", true), MITRAL_OK);
    assert_int_equal(bench.outputs[0].tensor.dtype, MITRAL_BFLOAT16);
    assert_true(bench_distance(&bench, &bench.outputs[0].tensor, x) <= 1.0 / 256);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(concat),
        cmocka_unit_test(split),
        cmocka_unit_test(scale_shift),
        cmocka_unit_test(concat_scale_shift),
        cmocka_unit_test(resize),
        cmocka_unit_test(other_resizes),
        cmocka_unit_test(reorder),
        cmocka_unit_test(reorder_to_another_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
