/* The pooling kernels against the reference ones: windows, padding, ceil_mode, layouts, types. */
#include <math.h>
#include <string.h>

#include "test_onednn_support.h"

struct form {
    const char *fast, *reference;
    int spatial;
    int64_t size[3], kernel[3], stride[3], dilation[3], pads[6];
    int ceil_mode, include_pad;
    bool delegated; /* oneDNN has nothing fast or nothing equal: the reference kernel runs inside */
};

static const struct form forms[] = {
    {"onednn.max_pool", "MaxPool", 2, {16, 16}, {2, 2}, {2, 2}, {1, 1}, {0}, 0, 0, false},
    {"onednn.max_pool", "MaxPool", 2, {15, 17}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, 0, 0, false},
    {"onednn.max_pool", "MaxPool", 2, {15, 14}, {3, 3}, {2, 2}, {1, 1}, {0}, 1, 0, false},
    {"onednn.max_pool", "MaxPool", 2, {16, 16}, {2, 2}, {1, 1}, {2, 2}, {0}, 0, 0, false},
    {"onednn.max_pool", "MaxPool", 1, {33}, {3}, {2}, {1}, {1, 1}, 0, 0, false},
    {"onednn.max_pool", "MaxPool", 3, {8, 9, 10}, {2, 2, 2}, {2, 2, 2}, {1, 1, 1}, {0}, 0, 0, false},
    {"onednn.average_pool", "AveragePool", 2, {16, 16}, {2, 2}, {2, 2}, {1, 1}, {0}, 0, 0, false},
    {"onednn.average_pool", "AveragePool", 2, {15, 17}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, 0, 0, false},
    {"onednn.average_pool", "AveragePool", 2, {15, 17}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, 0, 1, false},
    {"onednn.average_pool", "AveragePool", 2, {15, 14}, {3, 3}, {2, 2}, {1, 1}, {0}, 1, 0, false},
    {"onednn.average_pool", "AveragePool", 2, {14, 14}, {3, 3}, {2, 2}, {1, 1}, {0}, 1, 1, true},
    {"onednn.global_average_pool", "GlobalAveragePool", 2, {7, 7}, {0}, {0}, {0}, {0}, 0, 0, false},
    {"onednn.global_max_pool", "GlobalMaxPool", 2, {9, 5}, {0}, {0}, {0}, {0}, 0, 0, false},
    {"onednn.global_average_pool", "GlobalAveragePool", 3, {4, 7, 7}, {0}, {0}, {0}, {0}, 0, 0, false},
};
enum { FORMS = sizeof forms / sizeof *forms };

enum { NUMBERS, WITH_NAN, LOWEST };

static const uint16_t lowest_half[2] = {0xfc00, 0xff80};

/* A NaN in every 7th place, of both signs, or nothing but −∞, which no bound of the type may take the place of. */
static void put_specials(mitral_tensor *x, int specials)
{
    for (int64_t i = 0; i < tensor_count(x); i += specials == LOWEST ? 1 : 7)
        if (x->dtype == MITRAL_FLOAT)
            ((float *)x->data)[i] = specials == LOWEST ? -INFINITY : i % 2 ? NAN : -NAN;
        else
            ((uint16_t *)x->data)[i] = specials == LOWEST ? lowest_half[x->dtype == MITRAL_BFLOAT16] : i % 2 ? 0x7fff : 0xffff;
}

static void check_with(const struct form *form, int64_t channels, int32_t dtype, int layout_in, int layout_out, int specials)
{
    struct bench bench;
    bench_open(&bench);
    int64_t dims[5] = {2, channels};
    for (int i = 0; i < form->spatial; i++)
        dims[2 + i] = form->size[i];
    bench_input(&bench, dtype, form->spatial + 2, dims, 5);
    if (specials)
        put_specials(&bench.inputs[0].tensor, specials);
    bench.opset = 19;
    if (form->kernel[0]) {
        bench_ints(&bench, "kernel_shape", (size_t)form->spatial, form->kernel);
        bench_ints(&bench, "strides", (size_t)form->spatial, form->stride);
        bench_ints(&bench, "dilations", (size_t)form->spatial, form->dilation);
        bench_ints(&bench, "pads", 2 * (size_t)form->spatial, form->pads);
        bench_int(&bench, "ceil_mode", form->ceil_mode);
        bench_int(&bench, "count_include_pad", form->include_pad);
    }
    assert_int_equal(bench_run(&bench, form->reference, true), MITRAL_OK);
    mitral_tensor expected = bench.outputs[0].tensor;
    bench.inputs[0].tensor = bench_relayout(&bench, &bench.inputs[0].tensor, layout_in);
    bench.outputs[0].tensor = (mitral_tensor){.layout = layout_out};
    assert_int_equal(bench_run(&bench, form->fast, true), MITRAL_OK);
    assert_int_equal(bench.outputs[0].tensor.layout, layout_out);
    /* A maximum is exact; a mean of up to 196 numbers in f32 is off by rounding alone; bf16 rounds once more. */
    double tolerance = strstr(form->fast, "max") ? 0 : dtype == MITRAL_FLOAT ? 1e-6 : 0.01;
    double distance = bench_distance(&bench, &bench.outputs[0].tensor, &expected);
    if (!(distance <= tolerance))
        print_error("form %d, %d channels, type %d, layouts %d → %d: %s, distance %g\n", (int)(form - forms), (int)channels, dtype,
                    layout_in, layout_out, bench.description, distance);
    assert_true(distance <= tolerance);
    assert_null(strstr(bench.description, "ref"));
    assert_null(strstr(bench.description, "simple"));
    if (dtype == MITRAL_FLOAT && (form->delegated || channels > 16)) /* few planes are left to the reference kernel */
        assert_int_equal(strstr(bench.description, form->reference) != NULL, form->delegated);
    bench_close(&bench);
}

static void check(const struct form *form, int64_t channels, int32_t dtype, int layout_in, int layout_out)
{
    check_with(form, channels, dtype, layout_in, layout_out, NUMBERS);
}

/* Equal on every path: a maximum keeps NaN wherever it is, and −∞. */
static void test_special_values(void **state)
{
    (void)state;
    static const int32_t types[] = {MITRAL_FLOAT, MITRAL_BFLOAT16, MITRAL_FLOAT16};
    for (int i = 0; i < FORMS; i++)
        for (int t = 0; t < 3 && strstr(forms[i].fast, "max"); t++)
            for (int layouts = 0; layouts < 4; layouts++)
                for (int specials = WITH_NAN; specials <= LOWEST; specials++)
                    for (int64_t channels = 3; channels < 50; channels += 17)
                        check_with(&forms[i], channels, types[t], layouts & 1, layouts >> 1, specials);
}

/* The reference itself: one NaN is the largest and the first of it is where the index points, at every place of a window. */
static void test_places_of_nan(void **state)
{
    (void)state;
    static const int64_t dims[4] = {1, 1, 2, 2}, kernel[2] = {2, 2};
    for (int place = 0; place < 4; place++)
        for (int outputs = 1; outputs <= 2; outputs++) {
            struct bench bench;
            bench_open(&bench);
            mitral_tensor *x = bench_input(&bench, MITRAL_FLOAT, 4, dims, 5);
            for (int i = place; i < 4; i += 3)
                ((float *)x->data)[i] = NAN;
            bench_ints(&bench, "kernel_shape", 2, kernel);
            bench.output_count = (size_t)outputs;
            assert_int_equal(bench_run(&bench, "MaxPool", true), MITRAL_OK);
            assert_true(isnan(((const float *)bench.outputs[0].tensor.data)[0]));
            if (outputs == 2)
                assert_int_equal(((const int64_t *)bench.outputs[1].tensor.data)[0], place);
            bench_close(&bench);
        }
}

static void test_forms(void **state)
{
    (void)state;
    static const int64_t channels[] = {1, 3, 16, 40};
    for (int i = 0; i < FORMS; i++)
        for (int c = 0; c < 4; c++)
            for (int layouts = 0; layouts < 4; layouts++)
                check(&forms[i], channels[c], MITRAL_FLOAT, layouts & 1, layouts >> 1);
}

static void test_bfloat16(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++)
        check(&forms[i], 32, MITRAL_BFLOAT16, LAYOUT_CHANNELS_LAST, LAYOUT_CHANNELS_LAST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_bfloat16),
                                       cmocka_unit_test(test_special_values), cmocka_unit_test(test_places_of_nan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
