/* The 8-bit convolutions and products of oneDNN against the reference kernels: sums exact, quantized outputs within 1, and only rarely
 * not equal. On CPUs without exact 8-bit products own kernels are what runs, equal to the bit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_onednn_support.h"

static uint32_t next(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* All of the type's range. */
static void fill(mitral_tensor *tensor, uint32_t seed)
{
    uint32_t state = seed * 2654435761u + 99u;
    for (int64_t i = 0; i < tensor_count(tensor); i++)
        if (tensor->dtype == MITRAL_INT32)
            ((int32_t *)tensor->data)[i] = (int32_t)(next(&state) % 20001) - 10000;
        else
            ((uint8_t *)tensor->data)[i] = (uint8_t)(next(&state) >> 11);
}

static mitral_tensor *bytes(struct bench *bench, int32_t dtype, int32_t rank, const int64_t *dims, uint32_t seed)
{
    mitral_tensor *tensor = bench_input(bench, dtype, rank, dims, seed);
    fill(tensor, seed);
    return tensor;
}

static void scale(struct bench *bench, int64_t count, float value)
{
    mitral_tensor *tensor = bench_input(bench, MITRAL_FLOAT, count > 1 ? 1 : 0, &count, 1);
    for (int64_t i = 0; i < count; i++)
        ((float *)tensor->data)[i] = value * (1 + 0.125f * (float)(i % 7));
}

static void zero(struct bench *bench, int32_t dtype, int64_t count, int value)
{
    mitral_tensor *tensor = bench_input(bench, dtype, count > 1 ? 1 : 0, &count, 1);
    memset(tensor->data, value, (size_t)count);
}

/* Runs both kernels; counts and bounds what differs. The fast one's output may be planned channels-last. */
static void compare(struct bench *bench, const char *fast, const char *plain, bool known, int layout, double most)
{
    mitral_tensor expected;
    assert_int_equal(bench_run(bench, plain, true), MITRAL_OK);
    expected = bench->outputs[0].tensor;
    memset(&bench->outputs[0], 0, sizeof bench->outputs[0]);
    bench->outputs[0].tensor.layout = layout;
    mitral_tensor input = bench->inputs[0].tensor;
    if (layout == LAYOUT_CHANNELS_LAST)
        bench->inputs[0].tensor = bench_relayout(bench, &input, layout);
    for (bench->threads = 1; bench->threads < 4; bench->threads += 2) {
        if (bench_run(bench, fast, known) != MITRAL_OK)
            fail_msg("%s: %s", fast, mitral_context_message(bench->context));
        mitral_tensor *found = &bench->outputs[0].tensor;
        assert_int_equal(found->dtype, expected.dtype);
        const mitral_tensor same = bench_relayout(bench, found, LAYOUT_PLAIN);
        const bool own = strstr(bench->description, "exact:") != NULL;
        int64_t differ = 0;
        for (int64_t i = 0; i < tensor_count(&expected); i++) {
            const double d = fabs(tensor_get_double(&same, i) - tensor_get_double(&expected, i));
            const double bound = own ? 0 : expected.dtype == MITRAL_FLOAT ? most * (1 + fabs(tensor_get_double(&expected, i))) : most;
            if (!(d <= bound))
                fail_msg("%s, element %lld: %g, expected %g (%s)", fast, (long long)i, tensor_get_double(&same, i), tensor_get_double(&expected, i),
                         bench->description);
            differ += d != 0;
        }
        if (expected.dtype == MITRAL_UINT8 || expected.dtype == MITRAL_INT8)
            assert_true(differ * 500 <= tensor_count(&expected));
    }
    if (known && !strstr(bench->description, "jit") && !strstr(bench->description, "brg") && !strstr(bench->description, "exact:"))
        fail_msg("%s: expected a fast implementation, found %s", fast, bench->description);
    bench->inputs[0].tensor = input;
}

struct form {
    int spatial;
    int64_t channels, features, group, size[3], kernel[3], stride[3], dilation[3], pads[6];
};

static const struct form forms[] = {
    {2, 16, 32, 1, {14, 13}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {2, 8, 4, 1, {9, 11}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {2, 3, 20, 1, {21, 20}, {5, 5}, {2, 2}, {1, 1}, {2, 2, 2, 2}},
    {2, 1, 32, 1, {20, 20}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {2, 32, 32, 32, {15, 15}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}},
    {2, 32, 64, 2, {10, 10}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {2, 16, 16, 1, {20, 20}, {3, 3}, {1, 1}, {4, 4}, {4, 4, 4, 4}},
    {2, 5, 7, 1, {9, 12}, {2, 3}, {2, 1}, {1, 2}, {0, 1, 1, 2}},
    {1, 12, 20, 1, {31}, {5}, {2}, {1}, {2, 2}},
    {3, 4, 8, 1, {6, 7, 8}, {3, 3, 3}, {1, 2, 1}, {1, 1, 1}, {1, 1, 1, 1, 1, 1}},
    /* wrong, or crashes, on the AMX tiles of oneDNN 3.2 */
    {2, 64, 64, 1, {6, 7}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {1, 64, 128, 1, {27}, {1}, {1}, {1}, {0}},
    {2, 36, 72, 1, {36, 48}, {3, 1}, {1, 1}, {1, 1}, {1, 0, 1, 0}},
    {2, 57, 59, 1, {37, 9}, {5, 5}, {1, 1}, {2, 2}, {4, 4, 4, 4}},
    {2, 71, 16, 1, {36, 42}, {2, 2}, {1, 1}, {8, 8}, {1, 0, 1, 0}},
};

struct kind {
    int32_t x, w, y; /* y: MITRAL_FLOAT for none */
    int x_zero, y_zero;
    bool per_channel, bias, relu;
};

static const struct kind kinds[] = {
    {MITRAL_UINT8, MITRAL_INT8, MITRAL_UINT8, 113, 120, false, true, false},
    {MITRAL_UINT8, MITRAL_INT8, MITRAL_UINT8, 0, 0, true, true, true},
    {MITRAL_INT8, MITRAL_INT8, MITRAL_INT8, -7, 5, true, false, false},
    {MITRAL_UINT8, MITRAL_UINT8, MITRAL_INT8, 3, -20, true, true, true},
    {MITRAL_UINT8, MITRAL_INT8, MITRAL_FLOAT, 128, 0, true, true, false},
    {MITRAL_INT8, MITRAL_UINT8, MITRAL_FLOAT, 0, 0, false, true, true},
};

static void open_form(struct bench *bench, const struct form *form)
{
    bench_open(bench);
    bench_int(bench, "group", form->group);
    bench_ints(bench, "strides", (size_t)form->spatial, form->stride);
    bench_ints(bench, "dilations", (size_t)form->spatial, form->dilation);
    bench_ints(bench, "pads", 2 * (size_t)form->spatial, form->pads);
}

static void convolutions(void **state)
{
    (void)state;
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            const struct form *form = &forms[f];
            const struct kind *kind = &kinds[k];
            int64_t x[5] = {2, form->channels}, w[5] = {form->features, form->channels / form->group}, window = w[1];
            for (int i = 0; i < form->spatial; i++) {
                x[2 + i] = form->size[i];
                w[2 + i] = form->kernel[i];
                window *= form->kernel[i];
            }
            struct bench bench;
            open_form(&bench, form);
            if (kind->relu)
                bench_text(&bench, "activation", "Relu");
            bytes(&bench, kind->x, form->spatial + 2, x, (uint32_t)(7 * f + k));
            scale(&bench, 1, 0.02f);
            zero(&bench, kind->x, 1, kind->x_zero);
            bytes(&bench, kind->w, form->spatial + 2, w, (uint32_t)(5 * f + k));
            scale(&bench, kind->per_channel ? form->features : 1, 0.003f);
            zero(&bench, kind->w, kind->per_channel ? form->features : 1, kind->w == MITRAL_UINT8 ? 128 : 0);
            if (kind->y == MITRAL_FLOAT) {
                bench_absent(&bench);
                bench_absent(&bench);
            } else {
                scale(&bench, 1, 0.004f * sqrtf((float)window));
                zero(&bench, kind->y, 1, kind->y_zero);
            }
            if (kind->bias)
                bytes(&bench, MITRAL_INT32, 1, &form->features, 3);
            for (int layout = LAYOUT_PLAIN; layout <= LAYOUT_CHANNELS_LAST; layout++)
                compare(&bench, "onednn.quantized_convolution", "mitral.QuantizedConvolution", true, layout, kind->y == MITRAL_FLOAT ? 1e-6 : 1);
            if (kind->y != MITRAL_FLOAT && !kind->relu)
                compare(&bench, "onednn.qlinear_convolution", "QLinearConv", true, LAYOUT_CHANNELS_LAST, 1);
            compare(&bench, "onednn.quantized_convolution", "mitral.QuantizedConvolution", false, LAYOUT_PLAIN, 0); /* values not known: the reference */
            bench_close(&bench);
        }
}

static void integer_convolutions(void **state)
{
    (void)state;
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (int is_signed = 0; is_signed < 2; is_signed++) {
            const struct form *form = &forms[f];
            int64_t x[5] = {1, form->channels}, w[5] = {form->features, form->channels / form->group};
            for (int i = 0; i < form->spatial; i++) {
                x[2 + i] = form->size[i];
                w[2 + i] = form->kernel[i];
            }
            struct bench bench;
            open_form(&bench, form);
            bytes(&bench, is_signed ? MITRAL_INT8 : MITRAL_UINT8, form->spatial + 2, x, (uint32_t)f);
            bytes(&bench, MITRAL_INT8, form->spatial + 2, w, (uint32_t)f + 50);
            zero(&bench, is_signed ? MITRAL_INT8 : MITRAL_UINT8, 1, is_signed ? -9 : 200);
            compare(&bench, "onednn.integer_convolution", "ConvInteger", true, LAYOUT_CHANNELS_LAST, 0);
            bench_close(&bench);
        }
}

/* Sums far beyond what float32 holds exactly. */
static void large_sums_are_exact(void **state)
{
    (void)state;
    struct bench bench;
    const int64_t depth = 9001, a[2] = {3, depth}, b[2] = {depth, 5}, x[4] = {1, 2048, 4, 4}, w[4] = {3, 2048, 3, 3};
    bench_open(&bench);
    mitral_tensor *left = bytes(&bench, MITRAL_UINT8, 2, a, 1), *right = bytes(&bench, MITRAL_INT8, 2, b, 2);
    for (int64_t i = 0; i < tensor_count(left); i++)
        ((uint8_t *)left->data)[i] |= 0xe0;
    for (int64_t i = 0; i < tensor_count(right); i++)
        ((int8_t *)right->data)[i] = (int8_t)(100 + i % 27);
    compare(&bench, "onednn.integer_matmul", "MatMulInteger", true, LAYOUT_PLAIN, 0);
    bench_close(&bench);
    bench_open(&bench);
    left = bytes(&bench, MITRAL_UINT8, 4, x, 1), right = bytes(&bench, MITRAL_INT8, 4, w, 2);
    for (int64_t i = 0; i < tensor_count(left); i++)
        ((uint8_t *)left->data)[i] |= 0xe0;
    for (int64_t i = 0; i < tensor_count(right); i++)
        ((int8_t *)right->data)[i] = (int8_t)(100 + i % 27);
    compare(&bench, "onednn.integer_convolution", "ConvInteger", true, LAYOUT_CHANNELS_LAST, 0);
    bench_close(&bench);
}

static void products(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{1, 64, 32}, {7, 33, 5}, {64, 300, 100}, {128, 16, 64}, {2, 1, 1}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            const struct kind *kind = &kinds[k];
            const int64_t m = sizes[s][0], depth = sizes[s][1], n = sizes[s][2], a[3] = {2, m, depth}, b[2] = {depth, n};
            struct bench bench;
            bench_open(&bench);
            if (kind->relu)
                bench_text(&bench, "activation", "Relu");
            bytes(&bench, kind->x, 3, a, (uint32_t)(7 * s + k));
            scale(&bench, 1, 0.02f);
            zero(&bench, kind->x, 1, kind->x_zero);
            bytes(&bench, kind->w, 2, b, (uint32_t)(5 * s + k));
            scale(&bench, kind->per_channel ? n : 1, 0.003f);
            zero(&bench, kind->w, kind->per_channel ? n : 1, kind->w == MITRAL_UINT8 ? 128 : 0);
            if (kind->y == MITRAL_FLOAT) {
                bench_absent(&bench);
                bench_absent(&bench);
            } else {
                scale(&bench, 1, 0.004f * sqrtf((float)depth));
                zero(&bench, kind->y, 1, kind->y_zero);
            }
            if (kind->bias)
                bench_input(&bench, MITRAL_FLOAT, 1, &n, 3);
            compare(&bench, "onednn.quantized_matmul", "mitral.QuantizedMatMul", true, LAYOUT_PLAIN, kind->y == MITRAL_FLOAT ? 1e-6 : 1);
            if (kind->y != MITRAL_FLOAT && !kind->relu && !kind->bias)
                compare(&bench, "onednn.qlinear_matmul", "QLinearMatMul", true, LAYOUT_PLAIN, 1);
            bench_close(&bench);
        }
}

/* As DynamicQuantizeLinear gives it: the zero point is known in the run alone. */
static void zero_points_of_the_run(void **state)
{
    (void)state;
    struct bench bench;
    const int64_t a[2] = {40, 70}, b[2] = {70, 24};
    bench_open(&bench);
    bytes(&bench, MITRAL_UINT8, 2, a, 1);
    bytes(&bench, MITRAL_INT8, 2, b, 2);
    zero(&bench, MITRAL_UINT8, 1, 77);
    compare(&bench, "onednn.integer_matmul", "MatMulInteger", true, LAYOUT_PLAIN, 0);
    bench.threads = 1;
    const struct kernel *kernel = kernel_find("onednn.integer_matmul");
    struct kernel_call call = {.context = bench.context, .kernel = kernel, .name = "test", .attributes = &bench.attributes, .opset = 10, .threads = 1,
                               .input_count = 3, .inputs = bench.input_list, .output_count = 1, .outputs = bench.output_list, .arena = &bench.arena};
    void *data = bench.inputs[2].tensor.data;
    size_t scratch = 0;
    bench.inputs[2].tensor.data = NULL;
    assert_int_equal(kernel->prepare(&call, &call.state, &scratch), MITRAL_OK);
    bench.inputs[2].tensor.data = data;
    call.scratch = arena_allocate(&bench.arena, scratch + 64);
    const mitral_tensor expected = bench.outputs[0].tensor;
    bench.outputs[0].tensor.data = arena_allocate(&bench.arena, tensor_bytes(&expected));
    assert_int_equal(kernel->run(&call), MITRAL_OK);
    assert_memory_equal(bench.outputs[0].tensor.data, expected.data, tensor_bytes(&expected));
    kernel->release(bench.context, call.state);
    bench_close(&bench);
}

/* Zero points by row: the reference kernel. */
static void what_onednn_has_not(void **state)
{
    (void)state;
    struct bench bench;
    const int64_t a[2] = {4, 30}, b[2] = {30, 6};
    bench_open(&bench);
    bytes(&bench, MITRAL_UINT8, 2, a, 1);
    bytes(&bench, MITRAL_UINT8, 2, b, 2);
    zero(&bench, MITRAL_UINT8, 4, 9);
    zero(&bench, MITRAL_UINT8, 6, 100);
    compare(&bench, "onednn.integer_matmul", "MatMulInteger", false, LAYOUT_PLAIN, 0);
    assert_string_equal(bench.description, "MatMulInteger");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions),       cmocka_unit_test(integer_convolutions),   cmocka_unit_test(large_sums_are_exact),
        cmocka_unit_test(products),           cmocka_unit_test(zero_points_of_the_run), cmocka_unit_test(what_onednn_has_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
