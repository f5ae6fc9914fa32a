/* onednn.deconvolution against the reference kernel ConvTranspose. */
#include <string.h>

#include "test_onednn_support.h"

struct form {
    int spatial;
    int64_t batch, channels, features, group, size[3], kernel[3], stride[3], dilation[3], pads[6], output_padding[3];
    bool bias;
};

static const struct form forms[] = {
    {2, 1, 16, 8, 1, {7, 6}, {2, 2}, {2, 2}, {1, 1}, {0}, {0}, true},
    {2, 2, 16, 8, 1, {7, 6}, {2, 2}, {2, 2}, {1, 1}, {0}, {0}, false},
    {2, 2, 5, 3, 1, {4, 6}, {3, 4}, {3, 4}, {1, 1}, {0}, {0}, true},
    {1, 2, 6, 10, 1, {9}, {2}, {2}, {1}, {0}, {0}, true},
    {3, 2, 4, 6, 1, {3, 4, 5}, {2, 3, 2}, {2, 3, 2}, {1, 1, 1}, {0}, {0}, true},
    {2, 1, 16, 8, 1, {7, 6}, {4, 4}, {2, 2}, {1, 1}, {1, 1, 1, 1}, {0}, true},
    {2, 1, 16, 8, 1, {7, 6}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, {1, 1}, true},
    {2, 1, 8, 8, 2, {7, 6}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, {0}, true},
    {2, 1, 8, 6, 2, {5, 5}, {2, 2}, {2, 2}, {1, 1}, {0}, {0}, true},
    {3, 1, 4, 6, 1, {3, 4, 5}, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}, {1, 1, 1, 1, 1, 1}, {1, 1, 1}, true},
    {2, 1, 4, 4, 1, {5, 5}, {3, 3}, {2, 2}, {2, 2}, {0}, {0}, false},
    {2, 1, 4, 4, 1, {5, 5}, {3, 3}, {3, 3}, {1, 1}, {0}, {2, 2}, false},
    /* weights in panels of one piece each, and just not */
    {2, 2, 24, 64, 1, {5, 15}, {2, 2}, {2, 2}, {1, 1}, {0}, {0}, true},
    {3, 1, 20, 32, 1, {3, 2, 5}, {2, 3, 2}, {2, 3, 2}, {1, 1, 1}, {0}, {0}, false},
    {1, 2, 7, 96, 1, {11}, {3}, {3}, {1}, {0}, {0}, true},
    {2, 1, 16, 28, 1, {5, 9}, {2, 2}, {2, 2}, {1, 1}, {0}, {0}, true},
};
enum { FORMS = sizeof forms / sizeof *forms };

static void set_up(struct bench *bench, const struct form *form)
{
    int64_t x[5] = {form->batch, form->channels}, w[5] = {form->channels, form->features / form->group};
    for (int i = 0; i < form->spatial; i++) {
        x[2 + i] = form->size[i];
        w[2 + i] = form->kernel[i];
    }
    bench_open(bench);
    bench_input(bench, MITRAL_FLOAT, form->spatial + 2, x, 1);
    bench_input(bench, MITRAL_FLOAT, form->spatial + 2, w, 2);
    if (form->bias)
        bench_input(bench, MITRAL_FLOAT, 1, &form->features, 3);
    bench_int(bench, "group", form->group);
    bench_ints(bench, "strides", (size_t)form->spatial, form->stride);
    bench_ints(bench, "dilations", (size_t)form->spatial, form->dilation);
    bench_ints(bench, "pads", 2 * (size_t)form->spatial, form->pads);
    bench_ints(bench, "output_padding", (size_t)form->spatial, form->output_padding);
}

static void expect(struct bench *bench, int layout, bool known, const mitral_tensor *expected, const struct form *form)
{
    bench->outputs[0].tensor = (mitral_tensor){.layout = layout};
    mitral_status status = bench_run(bench, "onednn.deconvolution", known);
    if (status != MITRAL_OK)
        print_error("%s\n", mitral_context_message(bench->context));
    assert_int_equal(status, MITRAL_OK);
    /* At most 256 products of numbers below 1 in another order. */
    double distance = bench_distance(bench, &bench->outputs[0].tensor, expected);
    if (!(distance <= 1.5e-5))
        print_error("form %d: %s, distance %g\n", (int)(form - forms), bench->description, distance);
    assert_true(distance <= 1.5e-5);
    assert_null(strstr(bench->description, "ref"));
    if (strstr(bench->description, "ConvTranspose"))
        print_error("form %d runs as %s\n", (int)(form - forms), bench->description);
    assert_null(strstr(bench->description, "ConvTranspose"));
}

static void test_forms(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++)
        for (int layouts = 0; layouts < 4; layouts++) {
            struct bench bench;
            set_up(&bench, &forms[i]);
            assert_int_equal(bench_run(&bench, "ConvTranspose", true), MITRAL_OK);
            mitral_tensor expected = bench.outputs[0].tensor;
            bench.inputs[0].tensor = bench_relayout(&bench, &bench.inputs[0].tensor, layouts & 1);
            expect(&bench, layouts >> 1, layouts != 3, &expected, &forms[i]);
            if (bench.packed.data) { /* again from the packed weights */
                bench.inputs[1].tensor = bench.packed;
                expect(&bench, layouts >> 1, true, &expected, &forms[i]);
                assert_null(bench.packed.data);
            }
            bench_close(&bench);
        }
}

static void test_activation(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++) {
        struct bench bench;
        set_up(&bench, &forms[i]);
        assert_int_equal(bench_run(&bench, "ConvTranspose", true), MITRAL_OK);
        mitral_tensor expected = bench.outputs[0].tensor;
        for (int64_t k = 0; k < tensor_count(&expected); k++)
            if (tensor_get_double(&expected, k) < 0)
                tensor_set_double(&expected, k, 0, false);
        bench_text(&bench, "activation", "Relu");
        expect(&bench, LAYOUT_CHANNELS_LAST, true, &expected, &forms[i]);
        bench_close(&bench);
    }
}

static void test_thread_count_does_not_change_the_result(void **state)
{
    (void)state;
    static const struct form wide[] = {
        {2, 1, 512, 256, 1, {14, 14}, {2, 2}, {2, 2}, {1, 1}, {0}, {0}, true},
        {2, 1, 64, 32, 1, {40, 40}, {2, 2}, {2, 2}, {1, 1}, {0}, {0}, true},
        {2, 1, 256, 64, 1, {8, 8}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, {1, 1}, true},
        /* oneDNN would cut the sums of these by the number of threads */
        {2, 3, 32, 16, 1, {16, 16}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, {1, 1}, true},
        {2, 3, 16, 16, 1, {16, 16}, {4, 4}, {2, 2}, {1, 1}, {1, 1, 1, 1}, {0}, false},
        {2, 1, 33, 4, 1, {25, 25}, {4, 4}, {2, 2}, {1, 1}, {2, 2, 2, 2}, {1, 1}, true},
        {2, 1, 32, 32, 1, {27, 26}, {1, 1}, {2, 2}, {2, 2}, {0}, {0}, true},
        {2, 2, 20, 12, 4, {32, 19}, {4, 4}, {2, 2}, {1, 1}, {3, 3, 3, 3}, {0}, true},
        /* and order the taps of these by it */
        {2, 2, 34, 34, 1, {8, 24}, {1, 4}, {1, 1}, {2, 2}, {0, 0, 0, 6}, {0}, false},
        {2, 1, 55, 38, 1, {5, 43}, {4, 3}, {1, 1}, {1, 3}, {3, 0, 0, 2}, {0}, true},
    };
    for (int i = 0; i < (int)(sizeof wide / sizeof *wide); i++) {
        struct bench bench;
        set_up(&bench, &wide[i]);
        bench.outputs[0].tensor.layout = LAYOUT_CHANNELS_LAST;
        assert_int_equal(bench_run(&bench, "onednn.deconvolution", true), MITRAL_OK);
        mitral_tensor one = bench.outputs[0].tensor;
        for (bench.threads = 2; bench.threads <= 7; bench.threads++) {
            bench.outputs[0].tensor = (mitral_tensor){.layout = LAYOUT_CHANNELS_LAST};
            assert_int_equal(bench_run(&bench, "onednn.deconvolution", true), MITRAL_OK);
            if (memcmp(bench.outputs[0].tensor.data, one.data, tensor_bytes(&one)) != 0)
                print_error("wide form %d: %s differs with %d threads\n", i, bench.description, bench.threads);
            assert_int_equal(memcmp(bench.outputs[0].tensor.data, one.data, tensor_bytes(&one)), 0);
        }
        bench_close(&bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_activation),
        cmocka_unit_test(test_thread_count_does_not_change_the_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
