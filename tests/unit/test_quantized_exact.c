/* The own 8-bit kernels against the reference kernels, to the bit: convolutions and products of many shapes, types and zero points, on every
 * instruction set. Weights are not symmetric, so that no processor leaves them to oneDNN. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_onednn_support.h"

static uint32_t state_of_numbers;

static int64_t number(int64_t low, int64_t high)
{
    state_of_numbers ^= state_of_numbers << 13;
    state_of_numbers ^= state_of_numbers >> 17;
    state_of_numbers ^= state_of_numbers << 5;
    return low + (int64_t)(state_of_numbers % (uint32_t)(high - low + 1));
}

static int32_t a_byte_type(void)
{
    return number(0, 1) ? MITRAL_UINT8 : MITRAL_INT8;
}

static int64_t a_byte(int32_t dtype)
{
    return dtype == MITRAL_UINT8 ? number(0, 255) : number(-128, 127);
}

static mitral_tensor *bytes(struct bench *bench, int32_t dtype, int32_t rank, const int64_t *dims)
{
    mitral_tensor *tensor = bench_input(bench, dtype, rank, dims, 1);
    for (int64_t i = 0; i < tensor_count(tensor); i++)
        tensor_set_int(tensor, i, a_byte(dtype));
    return tensor;
}

static mitral_tensor *zeros(struct bench *bench, int32_t dtype, int64_t count)
{
    return bytes(bench, dtype, count > 1 ? 1 : 0, &count);
}

static mitral_tensor *scales(struct bench *bench, int64_t count, float value)
{
    mitral_tensor *tensor = bench_input(bench, MITRAL_FLOAT, count > 1 ? 1 : 0, &count, 1);
    for (int64_t i = 0; i < count; i++)
        ((float *)tensor->data)[i] = value * (1 + 0.001f * (float)number(0, 500));
    return tensor;
}

static void compare(struct bench *bench, const char *fast, const char *plain, int layout, const char *description)
{
    assert_int_equal(bench_run(bench, plain, true), MITRAL_OK);
    const mitral_tensor expected = bench->outputs[0].tensor, input = bench->inputs[0].tensor;
    memset(&bench->outputs[0], 0, sizeof bench->outputs[0]);
    bench->outputs[0].tensor.layout = layout;
    if (layout == LAYOUT_CHANNELS_LAST)
        bench->inputs[0].tensor = bench_relayout(bench, &input, layout);
    for (bench->threads = 1; bench->threads < 4; bench->threads += 2) {
        if (bench_run(bench, fast, true) != MITRAL_OK)
            fail_msg("%s: %s", fast, mitral_context_message(bench->context));
        if (!strstr(bench->description, "exact:"))
            fail_msg("%s: expected an own kernel, found %s", fast, bench->description);
        const mitral_tensor found = bench_relayout(bench, &bench->outputs[0].tensor, LAYOUT_PLAIN);
        assert_int_equal(found.dtype, expected.dtype);
        for (int64_t i = 0; i < tensor_count(&expected); i++)
            if (memcmp((const char *)found.data + i * (int64_t)(tensor_bytes(&expected) / (size_t)tensor_count(&expected)),
                       (const char *)expected.data + i * (int64_t)(tensor_bytes(&expected) / (size_t)tensor_count(&expected)),
                       tensor_bytes(&expected) / (size_t)tensor_count(&expected)) != 0)
                fail_msg("%s, %s, %d threads, element %lld: %g, expected %g (%s)", fast, description, bench->threads, (long long)i,
                         tensor_get_double(&found, i), tensor_get_double(&expected, i), bench->description);
    }
    bench->inputs[0].tensor = input;
    bench->outputs[0].tensor.layout = LAYOUT_PLAIN;
}

struct form {
    int spatial;
    int64_t batch, channels, features, group, size[3], kernel[3], stride[3], dilation[3], pads[6];
};

static void print_form(const struct form *form, char text[256])
{
    int used = snprintf(text, 256, "%lld×%lld→%lld, %lld groups", (long long)form->batch, (long long)form->channels, (long long)form->features,
                        (long long)form->group);
    for (int i = 0; i < form->spatial; i++)
        used += snprintf(text + used, 256 - (size_t)used, ", size %lld kernel %lld stride %lld dilation %lld pads %lld %lld", (long long)form->size[i],
                         (long long)form->kernel[i], (long long)form->stride[i], (long long)form->dilation[i], (long long)form->pads[i],
                         (long long)form->pads[i + form->spatial]);
}

enum kind { FUSED, LINEAR, INTEGER };

/* One convolution of random types, numbers and parameters. `unit`: scales are powers of two, so that ties are many. */
static void convolve(const struct form *form, enum kind kind, bool unit)
{
    static const char *const names[][2] = {{"onednn.quantized_convolution", "mitral.QuantizedConvolution"},
                                           {"onednn.qlinear_convolution", "QLinearConv"},
                                           {"onednn.integer_convolution", "ConvInteger"}};
    const int32_t x_type = a_byte_type(), w_type = a_byte_type(), y_type = a_byte_type();
    const int64_t scale_count = number(0, 1) ? form->features : 1, zero_count = number(0, 1) ? form->features : 1;
    int64_t x[5] = {form->batch, form->channels}, w[5] = {form->features, form->channels / form->group}, window = w[1];
    char text[256];
    print_form(form, text);
    for (int i = 0; i < form->spatial; i++) {
        x[2 + i] = form->size[i];
        w[2 + i] = form->kernel[i];
        window *= form->kernel[i];
    }
    struct bench bench;
    bench_open(&bench);
    bench_int(&bench, "group", form->group);
    bench_ints(&bench, "strides", (size_t)form->spatial, form->stride);
    bench_ints(&bench, "dilations", (size_t)form->spatial, form->dilation);
    bench_ints(&bench, "pads", 2 * (size_t)form->spatial, form->pads);
    if (kind == INTEGER) {
        bytes(&bench, x_type, form->spatial + 2, x);
        bytes(&bench, w_type, form->spatial + 2, w);
        zeros(&bench, x_type, 1);
        ((uint8_t *)zeros(&bench, w_type, zero_count)->data)[0] = 5;
    } else {
        const bool relu = kind == FUSED && number(0, 1);
        if (relu)
            bench_text(&bench, "activation", "Relu");
        bytes(&bench, x_type, form->spatial + 2, x);
        ((float *)scales(&bench, 1, 0.02f)->data)[0] = unit ? 0.25f : 0.0213f;
        zeros(&bench, x_type, 1);
        bytes(&bench, w_type, form->spatial + 2, w);
        mitral_tensor *w_scale = scales(&bench, scale_count, 0.003f);
        for (int64_t i = 0; unit && i < scale_count; i++)
            ((float *)w_scale->data)[i] = 0.125f;
        ((uint8_t *)zeros(&bench, w_type, zero_count)->data)[0] = 5;
        if (kind == FUSED && number(0, 3) == 0) {
            bench_absent(&bench);
            bench_absent(&bench);
        } else {
            ((float *)scales(&bench, 1, 0.004f * sqrtf((float)window))->data)[0] *= 1;
            if (unit)
                ((float *)bench.inputs[6].tensor.data)[0] = 0.5f * exp2f(floorf(log2f(64 * sqrtf((float)window))));
            zeros(&bench, y_type, 1);
        }
        const int bias = (int)number(0, 3);
        if (bias == 1 || (bias && kind == LINEAR)) {
            mitral_tensor *list = bench_input(&bench, MITRAL_INT32, 1, &form->features, 1);
            for (int64_t i = 0; i < form->features; i++)
                ((int32_t *)list->data)[i] = (int32_t)number(-20000, 20000);
        } else if (bias) {
            mitral_tensor *list = bench_input(&bench, MITRAL_FLOAT, 1, &form->features, 5);
            for (int64_t i = 0; i < form->features; i++)
                ((float *)list->data)[i] *= bias == 3 ? 1e7f : 10; /* the large ones leave float32 no say */
        }
    }
    compare(&bench, names[kind][0], names[kind][1], number(0, 1) ? LAYOUT_CHANNELS_LAST : LAYOUT_PLAIN, text);
    bench_close(&bench);
}

static void random_convolutions(void **state)
{
    (void)state;
    state_of_numbers = 17;
    for (int i = 0; i < 400; i++) {
        struct form form = {.spatial = (int)number(1, 3), .batch = number(1, 2)};
        const int64_t each = number(1, 20), per_group = number(1, 20);
        form.group = number(0, 2) ? 1 : number(1, 9);
        form.channels = form.group * each;
        form.features = form.group * per_group;
        for (int d = 0; d < form.spatial; d++) {
            form.kernel[d] = number(1, 4);
            form.stride[d] = number(1, 3);
            form.dilation[d] = number(1, 3);
            form.pads[d] = number(0, 3);
            form.pads[d + form.spatial] = number(0, 3);
            form.size[d] = number((form.kernel[d] - 1) * form.dilation[d] + 1, 14);
        }
        convolve(&form, (enum kind)(i % 3), i % 7 == 0);
    }
}

static void depthwise_convolutions(void **state)
{
    (void)state;
    state_of_numbers = 18;
    for (int i = 0; i < 60; i++) {
        const int64_t channels = number(2, 70);
        struct form form = {2, number(1, 2), channels, channels, channels, {0}, {0}, {0}, {0}, {0}};
        for (int d = 0; d < 2; d++) {
            form.kernel[d] = number(1, 5);
            form.stride[d] = number(1, 2);
            form.dilation[d] = number(1, 2);
            form.pads[d] = number(0, 3);
            form.pads[d + 2] = number(0, 3);
            form.size[d] = number((form.kernel[d] - 1) * form.dilation[d] + 1, 15);
        }
        convolve(&form, (enum kind)(i % 3), false);
    }
}

/* Sizes for Winograd: edges of tiles, odd channels, several blocks and bands, one dimension of depth. */
static void three_by_three(void **state)
{
    (void)state;
    state_of_numbers = 19;
    for (int i = 0; i < 60; i++) {
        struct form form = {2, number(1, 2), number(16, 90), number(16, 70), 1, {number(6, 40), number(6, 40)}, {3, 3}, {1, 1}, {1, 1},
                            {number(0, 2), number(0, 2), number(0, 2), number(0, 2)}};
        convolve(&form, (enum kind)(i % 3), false);
    }
    struct form deep = {3, 1, 16, 16, 1, {3, 9, 13}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1, 0, 1, 1}};
    convolve(&deep, INTEGER, false);
}

/* The largest differences throughout: sums that Winograd can only tell apart a few channels at a time, and that reach past what float32 holds. */
static void largest_sums(void **state)
{
    (void)state;
    for (int sign = 0; sign < 2; sign++) {
        const int64_t x[4] = {1, 601, 9, 8}, w[4] = {20, 601, 3, 3}, pads[4] = {1, 1, 1, 1};
        struct bench bench;
        bench_open(&bench);
        bench_ints(&bench, "pads", 4, pads);
        memset(bench_input(&bench, MITRAL_UINT8, 4, x, 1)->data, 255, 601 * 72);
        memset(bench_input(&bench, MITRAL_UINT8, 4, w, 1)->data, sign ? 0 : 255, 20 * 601 * 9);
        memset(bench_input(&bench, MITRAL_UINT8, 0, NULL, 1)->data, 0, 1);
        memset(bench_input(&bench, MITRAL_UINT8, 0, NULL, 1)->data, sign ? 255 : 0, 1);
        ((uint8_t *)bench.inputs[1].tensor.data)[7] = 3;
        compare(&bench, "onednn.integer_convolution", "ConvInteger", LAYOUT_CHANNELS_LAST, "the largest sums");
        assert_string_equal(bench.description, "exact:winograd");
        bench_close(&bench);
    }
}

static void products(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"onednn.quantized_matmul", "mitral.QuantizedMatMul"}, {"onednn.qlinear_matmul", "QLinearMatMul"},
                                           {"onednn.integer_matmul", "MatMulInteger"}};
    state_of_numbers = 20;
    for (int i = 0; i < 150; i++) {
        const enum kind kind = (enum kind)(i % 3);
        const int64_t m = number(1, 40), k = number(1, 90), n = number(1, 70), a[3] = {number(1, 3), m, k}, b[2] = {k, n};
        const int32_t x_type = a_byte_type(), w_type = a_byte_type(), y_type = a_byte_type();
        const int64_t zero_count = number(0, 1) ? n : 1;
        char text[64];
        snprintf(text, sizeof text, "%lld×%lld×%lld", (long long)m, (long long)k, (long long)n);
        struct bench bench;
        bench_open(&bench);
        if (kind == INTEGER) {
            bytes(&bench, x_type, 3, a);
            bytes(&bench, w_type, 2, b);
            zeros(&bench, x_type, 1);
            ((uint8_t *)zeros(&bench, w_type, zero_count)->data)[0] = 5;
        } else {
            if (kind == FUSED && number(0, 1))
                bench_text(&bench, "activation", "Relu");
            bytes(&bench, x_type, 3, a);
            scales(&bench, 1, 0.02f);
            zeros(&bench, x_type, 1);
            bytes(&bench, w_type, 2, b);
            scales(&bench, number(0, 1) ? n : 1, 0.003f);
            ((uint8_t *)zeros(&bench, w_type, zero_count)->data)[0] = 5;
            if (kind == FUSED && number(0, 2) == 0) {
                bench_absent(&bench);
                bench_absent(&bench);
            } else {
                scales(&bench, 1, 0.004f * sqrtf((float)k));
                zeros(&bench, y_type, 1);
            }
            if (kind == FUSED && number(0, 1))
                bench_input(&bench, MITRAL_FLOAT, 1, &n, 3);
        }
        compare(&bench, names[kind][0], names[kind][1], LAYOUT_PLAIN, text);
        bench_close(&bench);
    }
}

/* Weights that are known in prepare, against those that are not. */
static void recurrent_products(void **state)
{
    (void)state;
    state_of_numbers = 21;
    for (int i = 0; i < 40; i++) {
        const int64_t directions = number(1, 2), time = number(1, 6), batch = number(1, 3), input = number(1, 40), hidden = number(1, 30);
        const int64_t x[3] = {time, batch, input}, w[3] = {directions, input, 4 * hidden}, r[3] = {directions, hidden, 4 * hidden};
        const int64_t bias[2] = {directions, 8 * hidden}, each[2] = {directions, 4 * hidden};
        const int32_t type = a_byte_type();
        const bool per_column = number(0, 1) != 0;
        struct bench bench;
        bench_open(&bench);
        bench_int(&bench, "hidden_size", hidden);
        bench_text(&bench, "direction", directions == 2 ? "bidirectional" : number(0, 1) ? "forward" : "reverse");
        bench_input(&bench, MITRAL_FLOAT, 3, x, 7);
        bytes(&bench, type, 3, w);
        bytes(&bench, type, 3, r);
        bench_input(&bench, MITRAL_FLOAT, 2, bias, 9);
        for (int absent = 0; absent < 4; absent++)
            bench_absent(&bench);
        for (int operand = 0; operand < 2; operand++) {
            mitral_tensor *scale = bench_input(&bench, MITRAL_FLOAT, per_column ? 2 : 1, each, 3);
            for (int64_t j = 0; j < tensor_count(scale); j++)
                ((float *)scale->data)[j] = 0.002f * (1 + 0.01f * (float)number(0, 90));
            bytes(&bench, type, per_column ? 2 : 1, each);
        }
        bench.output_count = 3;
        assert_int_equal(bench_run(&bench, "microsoft.DynamicQuantizeLSTM", false), MITRAL_OK);
        const mitral_tensor expected[3] = {bench.outputs[0].tensor, bench.outputs[1].tensor, bench.outputs[2].tensor};
        for (bench.threads = 1; bench.threads < 4; bench.threads += 2) {
            assert_int_equal(bench_run(&bench, "microsoft.DynamicQuantizeLSTM", true), MITRAL_OK);
            for (int j = 0; j < 3; j++)
                assert_memory_equal(bench.outputs[j].tensor.data, expected[j].data, tensor_bytes(&expected[j]));
        }
        bench_close(&bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_convolutions), cmocka_unit_test(depthwise_convolutions), cmocka_unit_test(three_by_three),
        cmocka_unit_test(largest_sums),        cmocka_unit_test(products),
        cmocka_unit_test(recurrent_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
