/* onednn.convolution against the reference kernel Conv: forms, layouts, types, what follows it, packed weights, threads. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cpu.h"
#include "test_onednn_support.h"

struct form {
    int spatial;
    int64_t batch, channels, features, group, size[3], kernel[3], stride[3], dilation[3], pads[6];
    bool bias;
};

static const struct form forms[] = {
    {2, 1, 16, 32, 1, {14, 13}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, true},
    {2, 2, 8, 4, 1, {9, 11}, {1, 1}, {1, 1}, {1, 1}, {0}, false},
    {2, 1, 3, 64, 1, {32, 32}, {7, 7}, {2, 2}, {1, 1}, {3, 3, 3, 3}, true},
    {2, 1, 1, 32, 1, {20, 20}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, true},
    {2, 1, 32, 32, 32, {15, 15}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, true},
    {2, 1, 24, 48, 4, {10, 10}, {1, 1}, {1, 1}, {1, 1}, {0}, true},
    {2, 1, 16, 16, 1, {20, 20}, {3, 3}, {1, 1}, {8, 8}, {8, 8, 8, 8}, false},
    {2, 1, 5, 7, 1, {9, 12}, {2, 3}, {2, 1}, {1, 2}, {0, 1, 1, 2}, true},
    {1, 2, 12, 20, 1, {31}, {5}, {2}, {1}, {2, 2}, true},
    {3, 1, 4, 8, 1, {6, 7, 8}, {3, 3, 3}, {1, 2, 1}, {1, 1, 1}, {1, 1, 1, 1, 1, 1}, true},
    {2, 1, 6, 6, 3, {8, 8}, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}, true},
    /* Maps of one column, as files write convolutions of sequences. */
    {2, 2, 16, 24, 1, {40, 1}, {5, 1}, {1, 1}, {1, 1}, {0}, true},
    {2, 1, 16, 16, 4, {33, 1}, {3, 1}, {2, 1}, {2, 1}, {2, 0, 1, 0}, false},
};
enum { FORMS = sizeof forms / sizeof *forms };

static void set_up_form(struct bench *bench, const struct form *form, int32_t dtype)
{
    int64_t x[5] = {form->batch, form->channels}, w[5] = {form->features, form->channels / form->group};
    for (int i = 0; i < form->spatial; i++) {
        x[2 + i] = form->size[i];
        w[2 + i] = form->kernel[i];
    }
    bench_open(bench);
    bench_input(bench, dtype, form->spatial + 2, x, 1);
    bench_input(bench, dtype, form->spatial + 2, w, 2);
    if (form->bias)
        bench_input(bench, dtype, 1, &form->features, 3);
    bench_int(bench, "group", form->group);
    bench_ints(bench, "strides", (size_t)form->spatial, form->stride);
    bench_ints(bench, "dilations", (size_t)form->spatial, form->dilation);
    bench_ints(bench, "pads", 2 * (size_t)form->spatial, form->pads);
}

/* A sum of `terms` products of numbers below 1, in f32 and in another order, is at most terms · 2⁻²⁴ of the partial sums off; bf16
 * rounds the result to 8 bits. */
static double tolerance_of(const struct form *form, int32_t dtype)
{
    double terms = (double)(form->channels / form->group);
    for (int i = 0; i < form->spatial; i++)
        terms *= (double)form->kernel[i];
    return dtype == MITRAL_FLOAT ? 1e-6 + terms * 6e-8 : 0.02;
}

static void check_form(const struct form *form, int32_t dtype, int layout_in, int layout_out, bool known)
{
    struct bench bench;
    set_up_form(&bench, form, dtype);
    assert_int_equal(bench_run(&bench, "Conv", true), MITRAL_OK);
    mitral_tensor expected = bench.outputs[0].tensor;
    bench.inputs[0].tensor = bench_relayout(&bench, &bench.inputs[0].tensor, layout_in);
    bench.outputs[0].tensor = (mitral_tensor){.layout = layout_out};
    mitral_status status = bench_run(&bench, "onednn.convolution", known);
    if (status != MITRAL_OK)
        print_error("%s\n", mitral_context_message(bench.context));
    assert_int_equal(status, MITRAL_OK);
    assert_int_equal(bench.outputs[0].tensor.layout, layout_out);
    double distance = bench_distance(&bench, &bench.outputs[0].tensor, &expected);
    if (!(distance <= tolerance_of(form, dtype)))
        print_error("form %d, type %d, layouts %d → %d: %s, distance %g\n", (int)(form - forms), dtype, layout_in, layout_out,
                    bench.description, distance);
    assert_true(distance <= tolerance_of(form, dtype));
    /* Never oneDNN's own loops; with AVX-512 never ours either. */
    assert_null(strstr(bench.description, "ref"));
    if (dtype == MITRAL_FLOAT && cpu_isa() >= ISA_AVX512)
        assert_null(strstr(bench.description, "Conv"));
    bench_close(&bench);
}

static void test_forms_and_layouts(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++)
        for (int layouts = 0; layouts < 4; layouts++)
            check_form(&forms[i], MITRAL_FLOAT, layouts & 1, layouts >> 1, layouts != 3);
}

static void test_bfloat16(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++)
        check_form(&forms[i], MITRAL_BFLOAT16, LAYOUT_CHANNELS_LAST, LAYOUT_CHANNELS_LAST, true);
}

static void test_no_reference_in_many_shapes(void **state)
{
    (void)state;
    static const int64_t channels[] = {1, 3, 4, 12, 24, 40}, kernels[] = {1, 3, 5}, dilations[] = {1, 4}, strides[] = {1, 2};
    for (size_t c = 0; c < 6; c++)
        for (size_t f = 0; f < 6; f++)
            for (size_t k = 0; k < 3; k++)
                for (size_t d = 0; d < 2; d++)
                    for (size_t s = 0; s < 2; s++) {
                        int64_t pad = kernels[k] / 2 * dilations[d];
                        struct form form = {2, 1, channels[c], channels[f], 1, {18, 18}, {kernels[k], kernels[k]}, {strides[s], strides[s]},
                                            {dilations[d], dilations[d]}, {pad, pad, pad, pad}, true};
                        check_form(&form, MITRAL_FLOAT, LAYOUT_CHANNELS_LAST, LAYOUT_CHANNELS_LAST, true);
                    }
}

/* ---- what follows ---------------------------------------------------------------------------------------------------- */

static double follow(const char *name, double x, double slope)
{
    if (strcmp(name, "Relu") == 0)
        return x > 0 ? x : 0;
    if (strcmp(name, "LeakyRelu") == 0)
        return x > 0 ? x : 0.1f * x;
    if (strcmp(name, "PRelu") == 0)
        return x > 0 ? x : slope * x;
    if (strcmp(name, "Clip") == 0)
        return fmin(fmax(x, -0.25), 0.75);
    if (strcmp(name, "Sigmoid") == 0)
        return 1 / (1 + exp(-x));
    if (strcmp(name, "Swish") == 0)
        return x / (1 + exp(-x));
    if (strcmp(name, "HardSwish") == 0)
        return x * fmin(fmax(x / 6 + 0.5, 0), 1);
    if (strcmp(name, "HardSigmoid") == 0)
        return fmin(fmax(0.2f * x + 0.5, 0), 1);
    if (strcmp(name, "Elu") == 0)
        return x > 0 ? x : 0.7f * expm1(x);
    if (strcmp(name, "Selu") == 0)
        return 1.05f * (x > 0 ? x : 1.6f * expm1(x));
    if (strcmp(name, "Tanh") == 0)
        return tanh(x);
    if (strcmp(name, "Gelu") == 0)
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    if (strcmp(name, "Mish") == 0)
        return x * tanh(log1p(exp(x)));
    return x;
}

static void set_parameters(struct bench *bench, const char *name)
{
    static const struct {
        const char *name;
        float alpha, beta;
    } parameters[] = {{"LeakyRelu", 0.1f, 0}, {"Clip", -0.25f, 0.75f}, {"Swish", 1, 0}, {"HardSigmoid", 0.2f, 0.5f}, {"Elu", 0.7f, 0},
                      {"Selu", 1.6f, 1.05f}};
    bench_text(bench, "activation", name);
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++)
        if (strcmp(parameters[i].name, name) == 0) {
            bench_float(bench, "activation_alpha", parameters[i].alpha);
            bench_float(bench, "activation_beta", parameters[i].beta);
        }
}

static void check_post(const char *name, bool residual, bool first, int layout)
{
    const struct form *form = &forms[0];
    struct bench bench;
    set_up_form(&bench, form, MITRAL_FLOAT);
    assert_int_equal(bench_run(&bench, "Conv", true), MITRAL_OK);
    mitral_tensor expected = bench.outputs[0].tensor, *addend = NULL, *slope = NULL;
    if (residual)
        addend = bench_input(&bench, MITRAL_FLOAT, 4, expected.dims, 9);
    else
        bench_absent(&bench);
    if (strcmp(name, "PRelu") == 0)
        slope = bench_input(&bench, MITRAL_FLOAT, 1, &form->features, 10);
    int64_t pixels = expected.dims[2] * expected.dims[3];
    for (int64_t i = 0; i < tensor_count(&expected); i++) {
        double x = tensor_get_double(&expected, i), a = addend ? tensor_get_double(addend, i) : 0;
        double s = slope ? tensor_get_double(slope, i / pixels % form->features) : 0;
        tensor_set_double(&expected, i, first ? follow(name, x + a, s) : follow(name, x, s) + a, false);
    }
    set_parameters(&bench, name);
    bench_int(&bench, "residual_before_activation", first);
    if (layout) {
        bench.inputs[0].tensor = bench_relayout(&bench, &bench.inputs[0].tensor, layout);
        if (addend)
            *addend = bench_relayout(&bench, addend, layout);
    }
    bench.outputs[0].tensor = (mitral_tensor){.layout = layout};
    assert_int_equal(bench_run(&bench, "onednn.convolution", true), MITRAL_OK);
    /* oneDNN's polynomials for exp, tanh and erf are good to a few 1e-6. */
    double distance = bench_distance(&bench, &bench.outputs[0].tensor, &expected);
    if (!(distance <= 2e-5))
        print_error("%s, residual %d first %d: %g\n", name, residual, first, distance);
    assert_true(distance <= 2e-5);
    bench_close(&bench);
}

static const char *const activations[] = {"", "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Swish", "HardSwish", "HardSigmoid", "Elu",
                                          "Selu", "Tanh", "Gelu", "Mish"};
enum { ACTIVATIONS = sizeof activations / sizeof *activations };

static void test_what_follows(void **state)
{
    (void)state;
    for (int i = 0; i < ACTIVATIONS; i++)
        for (int form = 0; form < 3; form++)
            check_post(activations[i], form > 0, form > 1, i & 1 ? LAYOUT_CHANNELS_LAST : LAYOUT_PLAIN);
}

/* float64 has no oneDNN convolution: the same step by the reference kernel. */
static void test_other_types_take_the_reference_kernel(void **state)
{
    (void)state;
    struct bench bench;
    set_up_form(&bench, &forms[0], MITRAL_DOUBLE);
    assert_int_equal(bench_run(&bench, "Conv", true), MITRAL_OK);
    mitral_tensor expected = bench.outputs[0].tensor, *addend;
    addend = bench_input(&bench, MITRAL_DOUBLE, 4, expected.dims, 9);
    for (int64_t i = 0; i < tensor_count(&expected); i++)
        tensor_set_double(&expected, i, follow("Sigmoid", tensor_get_double(&expected, i) + tensor_get_double(addend, i), 0), false);
    bench_text(&bench, "activation", "Sigmoid");
    bench.inputs[0].tensor = bench_relayout(&bench, &bench.inputs[0].tensor, LAYOUT_PLAIN);
    bench.outputs[0].tensor = (mitral_tensor){0};
    assert_int_equal(bench_run(&bench, "onednn.convolution", true), MITRAL_OK);
    assert_non_null(strstr(bench.description, "Conv"));
    assert_true(bench_distance(&bench, &bench.outputs[0].tensor, &expected) <= 1e-12);
    bench_close(&bench);
}

static void test_wrong_residual_is_refused(void **state)
{
    (void)state;
    struct bench bench;
    set_up_form(&bench, &forms[0], MITRAL_FLOAT);
    bench_input(&bench, MITRAL_FLOAT, 4, (const int64_t[]){1, 32, 14, 12}, 4);
    assert_int_equal(bench_run(&bench, "onednn.convolution", true), MITRAL_INVALID);
    bench_text(&bench, "activation", "PRelu"); /* without a slope */
    assert_int_equal(bench_run(&bench, "onednn.convolution", true), MITRAL_INVALID);
    bench_close(&bench);
}

/* ---- packed weights -------------------------------------------------------------------------------------------------- */

static void check_packed(const struct form *form, bool foreign)
{
    struct bench bench;
    set_up_form(&bench, form, MITRAL_FLOAT);
    assert_int_equal(bench_run(&bench, "onednn.convolution", true), MITRAL_OK);
    mitral_tensor expected = bench.outputs[0].tensor, plain = bench.inputs[1].tensor;
    if (!bench.packed.data) { /* row-major weights are what the primitive wants */
        bench_close(&bench);
        return;
    }
    bench.inputs[1].tensor = bench.packed;
    if (foreign) { /* as another processor would have packed them: columns of 4 features, the last one padded */
        int64_t features = form->features, padded = (features + 3) / 4 * 4, rest = tensor_count(&plain) / features;
        int64_t kh = form->kernel[0], kw = form->kernel[1], channels = plain.dims[1];
        struct mitral_packing *packing = arena_allocate(&bench.arena, sizeof *packing);
        char *text = arena_allocate(&bench.arena, 256);
        snprintf(text, 256, "f32 d%d,%d,%d,%d p%d,%d,%d,%d s%d,%d,%d,%d b4 i0 t%d,%d,%d,%d", (int)features, (int)channels, (int)kh, (int)kw,
                 (int)padded, (int)channels, (int)kh, (int)kw, (int)(rest * 4), (int)(kh * kw * 4), (int)(kw * 4), 4, (int)rest,
                 (int)(kh * kw), (int)kw, 1);
        float *data = arena_allocate(&bench.arena, (size_t)(padded * rest) * sizeof *data);
        for (int64_t f = 0; f < features; f++)
            for (int64_t i = 0; i < rest; i++)
                data[f / 4 * rest * 4 + i * 4 + f % 4] = ((float *)plain.data)[f * rest + i];
        *packing = (struct mitral_packing){"onednn", text, (size_t)(padded * rest) * sizeof *data};
        bench.inputs[1].tensor.data = data;
        bench.inputs[1].tensor.packing = packing;
    }
    bench.outputs[0].tensor = (mitral_tensor){0};
    assert_int_equal(bench_run(&bench, "onednn.convolution", true), MITRAL_OK);
    /* Fitting weights are used where they lie; others are packed anew; the result is bitwise the same. */
    assert_int_equal(bench.packed.data != NULL, foreign);
    assert_int_equal(memcmp(bench.outputs[0].tensor.data, expected.data, tensor_bytes(&expected)), 0);
    bench_close(&bench);
}

static void test_packed_weights(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++)
        check_packed(&forms[i], false);
    check_packed(&forms[0], true);
    check_packed(&forms[1], true);
    check_packed(&forms[7], true);
}

static void test_corrupt_packing_is_refused(void **state)
{
    (void)state;
    static const char *const descriptions[] = {
        "", "f32", "f32 d32,16,3,3", "f32 d32,16,3,3 p32,16,3,3 s144,9,3,1 b i t144,9,3,1 ",
        "f32 d32,16,3,9 p32,16,3,3 s144,9,3,1 b i t144,9,3,1", "f32 d32,16,3,3 p32,16,3,3 s99999,9,3,1 b i t144,9,3,1",
        "f32 d32,16,3,3 p32,16,3,3 s144,9,3,1 b4 i7 t144,9,3,1",
        "f32 d32,16,3,3 p32,16,3,3 s9223372036854775807,9,3,1 b4 i0 t144,9,3,1",
        "f32 d32,16,3,3 p31,16,3,3 s144,9,3,1 b i t144,9,3,1", "f32 d32,16,3,3 p32,16,3,3 s144,9,3,1 b0 i0 t144,9,3,1",
        "f99 d32,16,3,3 p32,16,3,3 s144,9,3,1 b i t144,9,3,1", "f32 d32,16,3,3 p32,16,3,3 s144,9,3,1 b i",
        "f32 d32,16,3,3 p32,16,3,3 s144,9,3,1 b i t145,9,3,1", "f32 d32,16,3,3 p32,16,3,3 s144,9,3,1 b i t144,9,3",
        "f32 d1,1,1,1,1,1,1,1,1,1,1,1,1,1 p1 s1 b i t1"};
    for (size_t i = 0; i < sizeof descriptions / sizeof *descriptions; i++) {
        struct bench bench;
        set_up_form(&bench, &forms[0], MITRAL_FLOAT);
        struct mitral_packing packing = {"onednn", descriptions[i], 32 * 16 * 9 * 4};
        bench.inputs[1].tensor.layout = LAYOUT_PACKED;
        bench.inputs[1].tensor.packing = &packing;
        assert_int_equal(bench_run(&bench, "onednn.convolution", true), MITRAL_CORRUPT);
        bench_close(&bench);
    }
}

/* ---- threads --------------------------------------------------------------------------------------------------------- */

struct shared_run {
    const struct kernel *kernel;
    struct kernel_call call;
    size_t scratch_bytes;
    const mitral_tensor *expected;
    int failures;
};

static void *run_many(void *argument)
{
    struct shared_run *shared = argument;
    struct kernel_call call = shared->call;
    mitral_value output = *call.outputs[0];
    mitral_value *outputs[1] = {&output};
    size_t bytes = tensor_bytes(shared->expected);
    output.tensor.data = aligned_alloc(64, (bytes + 63) / 64 * 64);
    call.outputs = outputs;
    call.scratch = aligned_alloc(64, (shared->scratch_bytes + 127) / 64 * 64);
    for (int i = 0; i < 20; i++)
        if (shared->kernel->run(&call) != MITRAL_OK || memcmp(output.tensor.data, shared->expected->data, bytes) != 0)
            shared->failures++;
    free(output.tensor.data);
    free(call.scratch);
    return NULL;
}

static void test_one_state_serves_several_threads(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    struct bench bench;
    set_up_form(&bench, &forms[0], MITRAL_FLOAT);
    assert_int_equal(bench_run(&bench, "onednn.convolution", true), MITRAL_OK);
    struct shared_run shared = {.kernel = kernel_find("onednn.convolution"), .expected = &bench.outputs[0].tensor};
    shared.call = (struct kernel_call){.context = bench.context, .kernel = shared.kernel, .name = "test", .attributes = &bench.attributes,
                                       .threads = 1, .input_count = bench.input_count, .inputs = bench.input_list, .output_count = 1,
                                       .outputs = bench.output_list, .arena = &bench.arena};
    assert_int_equal(shared.kernel->prepare(&shared.call, &shared.call.state, &shared.scratch_bytes), MITRAL_OK);
    struct shared_run runs[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        runs[i] = shared;
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, &runs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(runs[i].failures, 0);
    }
    shared.kernel->release(bench.context, shared.call.state);
    bench_close(&bench);
}

static void check_threads(const struct form *form)
{
    struct bench bench;
    set_up_form(&bench, form, MITRAL_FLOAT);
    assert_int_equal(bench_run(&bench, "onednn.convolution", true), MITRAL_OK);
    mitral_tensor one = bench.outputs[0].tensor;
    for (bench.threads = 2; bench.threads <= 7; bench.threads++) {
        bench.outputs[0].tensor = (mitral_tensor){0};
        assert_int_equal(bench_run(&bench, "onednn.convolution", true), MITRAL_OK);
        if (memcmp(bench.outputs[0].tensor.data, one.data, tensor_bytes(&one)) != 0)
            print_error("%s differs with %d threads\n", bench.description, bench.threads);
        assert_int_equal(memcmp(bench.outputs[0].tensor.data, one.data, tensor_bytes(&one)), 0);
    }
    bench_close(&bench);
}

static void test_thread_count_does_not_change_the_result(void **state)
{
    (void)state;
    static const struct form others[] = {
        {2, 3, 3, 8, 1, {20, 20}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, true},
        {2, 2, 200, 3, 1, {7, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, true},
        {2, 2, 12, 20, 2, {9, 9}, {5, 5}, {1, 1}, {1, 1}, {2, 2, 2, 2}, true},
        {2, 1, 512, 64, 1, {5, 5}, {1, 1}, {1, 1}, {1, 1}, {0}, false},
        /* oneDNN would order the taps of these by the number of threads */
        {2, 1, 75, 50, 1, {6, 17}, {5, 7}, {1, 2}, {3, 1}, {11, 6, 0, 3}, false},
        {2, 1, 17, 51, 1, {7, 45}, {2, 6}, {1, 1}, {1, 1}, {1, 5, 0, 2}, false},
        {2, 2, 95, 64, 1, {12, 36}, {2, 2}, {2, 1}, {1, 1}, {1, 1, 0, 1}, false},
        {2, 1, 42, 81, 1, {24, 23}, {3, 7}, {1, 1}, {2, 3}, {0, 9, 0, 9}, true},
    };
    for (int i = 0; i < FORMS; i++)
        check_threads(&forms[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        check_threads(&others[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms_and_layouts),
        cmocka_unit_test(test_bfloat16),
        cmocka_unit_test(test_no_reference_in_many_shapes),
        cmocka_unit_test(test_what_follows),
        cmocka_unit_test(test_other_types_take_the_reference_kernel),
        cmocka_unit_test(test_wrong_residual_is_refused),
        cmocka_unit_test(test_packed_weights),
        cmocka_unit_test(test_corrupt_packing_is_refused),
        cmocka_unit_test(test_one_state_serves_several_threads),
        cmocka_unit_test(test_thread_count_does_not_change_the_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
