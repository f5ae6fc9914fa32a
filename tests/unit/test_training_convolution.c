/* The convolutions of training against the reference kernels of Conv and its gradients: every way, addends, threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "planar_support.h"
#include "runtime/kernels/planar/micro.h"

struct form {
    int64_t batch, channels, features, size[2], kernel[2], stride[2], dilation[2], pads[4];
};

static const struct form forms[] = {
    /* 1×1 */
    {2, 32, 8, {24, 24}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {2, 300, 20, {7, 9}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {3, 5, 7, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {1, 7, 33, {40, 33}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {2, 32, 31, {20, 24}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {2, 22, 13, {32, 64}, {1, 1}, {1, 1}, {1, 1}, {0}}, /* channels lie pages apart */
    {1, 5, 17, {512, 512}, {1, 1}, {1, 1}, {1, 1}, {0}}, /* written past the caches */
    /* 3×3 */
    {2, 1, 32, {50, 37}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {2, 1, 32, {256, 256}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}}, /* written past the caches */
    {2, 8, 8, {35, 40}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {1, 8, 8, {64, 50}, {3, 3}, {1, 1}, {8, 8}, {8, 8, 8, 8}},
    {3, 13, 17, {14, 14}, {3, 3}, {1, 1}, {4, 4}, {4, 4, 4, 4}},
    {2, 24, 40, {17, 23}, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}},
    {1, 6, 9, {20, 21}, {3, 3}, {1, 1}, {1, 1}, {0}},
    {1, 6, 9, {12, 50}, {3, 3}, {1, 1}, {1, 3}, {2, 0, 0, 2}},
    {5, 16, 16, {4, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {1, 12, 12, {1, 1}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {2, 100, 130, {14, 15}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {3, 250, 243, {6, 9}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}}, /* large weights: items cross images */
    {2, 20, 6, {9, 8}, {3, 3}, {1, 1}, {3, 3}, {3, 3, 3, 3}},
    /* 3×3, across the columns, too, where the instruction set has that */
    {2, 24, 40, {17, 30}, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}},
    {1, 21, 23, {33, 57}, {3, 3}, {1, 1}, {8, 8}, {8, 8, 8, 8}},
    {3, 60, 62, {9, 24}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {2, 28, 20, {9, 97}, {3, 3}, {1, 1}, {4, 4}, {4, 4, 4, 4}},
    {1, 22, 24, {12, 40}, {3, 3}, {1, 1}, {1, 1}, {0}},
    {1, 40, 32, {14, 33}, {3, 3}, {1, 1}, {3, 1}, {2, 0, 0, 2}},
    {1, 24, 24, {5, 64}, {3, 3}, {1, 1}, {1, 8}, {1, 3, 0, 12}},
    {1, 20, 20, {1, 24}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {2, 33, 35, {17, 57}, {3, 3}, {1, 1}, {8, 8}, {8, 8, 8, 8}},
    {2, 32, 38, {33, 60}, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}},
    {1, 41, 32, {9, 70}, {3, 3}, {1, 1}, {4, 4}, {4, 4, 4, 4}},
    {1, 280, 272, {5, 24}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}}, /* threads share a unit of the weights' sums */
    {2, 16, 18, {19, 41}, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}},
    /* any */
    {1, 3, 40, {33, 47}, {7, 7}, {2, 2}, {1, 1}, {3, 3, 3, 3}},
    {2, 4, 9, {19, 21}, {5, 3}, {1, 2}, {2, 1}, {4, 1, 4, 1}},
    {2, 3, 5, {20, 20}, {2, 2}, {2, 2}, {1, 1}, {0}},
    {1, 2, 3, {9, 30}, {3, 3}, {3, 3}, {3, 4}, {2, 5, 2, 3}},
    {2, 70, 12, {15, 15}, {3, 1}, {1, 1}, {2, 1}, {2, 0, 2, 0}},
    {1, 16, 40, {3, 3}, {2, 2}, {1 << 26, 1 << 26}, {1, 1}, {0}}, /* steps that nothing takes */
};
enum { FORMS = sizeof forms / sizeof *forms };

/* Winograd's F(4, 3) loses up to two bits more than the direct sum, which itself is below 1e-6 of the range off here. Sums over
 * pixels of products of both signs add up to little of what went into them. */
static const double tolerance = 4e-6, sum_tolerance = 1e-5;

static bool moves_by_one(const struct form *f)
{
    return f->stride[0] == 1 && f->stride[1] == 1;
}

static int64_t positions(const struct form *f, int i)
{
    return (f->size[i] + f->pads[i] + f->pads[2 + i] - (f->kernel[i] - 1) * f->dilation[i] - 1) / f->stride[i] + 1;
}

static void set_window(struct rig *rig, const struct form *f)
{
    rig_ints(rig, "strides", f->stride, 2);
    rig_ints(rig, "dilations", f->dilation, 2);
    rig_ints(rig, "pads", f->pads, 4);
}

static void check_forward(const struct form *f, bool bias)
{
    struct rig rig;
    const int64_t x[] = {f->batch, f->channels, f->size[0], f->size[1]}, w[] = {f->features, f->channels, f->kernel[0], f->kernel[1]};
    const double range = sqrt(3.0 / (double)(f->channels * f->kernel[0] * f->kernel[1]));
    rig_open(&rig, (uint32_t)(f - forms) + 1);
    rig_input(&rig, 4, x, -1, 1);
    rig_input(&rig, 4, w, -range, range);
    if (bias)
        rig_input(&rig, 1, &f->features, -0.5, 0.5);
    set_window(&rig, f);
    mitral_tensor expected = rig_check_run(&rig, "Conv");
    rig_check_kernel(&rig, "training.convolution", &expected, (int)(f - forms), tolerance);
    if (!bias)
        rig_absent(&rig);
    rig_add(&expected, rig_input(&rig, 4, expected.dims, -1, 1));
    rig_check_kernel(&rig, "training.convolution", &expected, (int)(f - forms), tolerance);
    rig_close(&rig);
}

static void check_data(const struct form *f)
{
    struct rig rig;
    const int64_t x[] = {f->batch, f->channels, f->size[0], f->size[1]}, w[] = {f->features, f->channels, f->kernel[0], f->kernel[1]};
    const int64_t y[] = {f->batch, f->features, positions(f, 0), positions(f, 1)};
    const double range = sqrt(3.0 / (double)(f->features * f->kernel[0] * f->kernel[1]));
    rig_open(&rig, (uint32_t)(f - forms) + 100);
    rig_input(&rig, 4, y, -1, 1);
    rig_input(&rig, 4, w, -range, range);
    rig_ints(&rig, "shape", x, 4);
    set_window(&rig, f);
    mitral_tensor expected = rig_check_run(&rig, "mitral.ConvGradientData");
    rig_check_kernel(&rig, "training.convolution_data", &expected, (int)(f - forms), tolerance);
    rig_absent(&rig);
    rig_add(&expected, rig_input(&rig, 4, x, -1, 1));
    rig_check_kernel(&rig, "training.convolution_data", &expected, (int)(f - forms), tolerance);
    rig_close(&rig);
}

static void check_weights(const struct form *f)
{
    struct rig rig;
    const int64_t x[] = {f->batch, f->channels, f->size[0], f->size[1]}, w[] = {f->features, f->channels, f->kernel[0], f->kernel[1]};
    const int64_t y[] = {f->batch, f->features, positions(f, 0), positions(f, 1)};
    rig_open(&rig, (uint32_t)(f - forms) + 200);
    rig_input(&rig, 4, x, -1, 1);
    rig_input(&rig, 4, y, -1, 1);
    rig_ints(&rig, "shape", w, 4);
    set_window(&rig, f);
    mitral_tensor expected = rig_check_run(&rig, "mitral.ConvGradientWeights");
    rig_check_kernel(&rig, "training.convolution_weights", &expected, (int)(f - forms), sum_tolerance);
    if (f->kernel[0] * f->kernel[1] == 1)
        rig_check_kernel(&rig, "training.points_weights", &expected, (int)(f - forms), sum_tolerance);
    rig_close(&rig);
}

static bool is_point(const struct form *f)
{
    return f->kernel[0] == 1 && f->kernel[1] == 1 && moves_by_one(f);
}

/* Forward and data gradient once more, by the kernel that makes several: here one, with the same numbers. */
static void check_points(const struct form *f, bool data)
{
    struct rig rig;
    const int64_t x[] = {f->batch, f->channels, f->size[0], f->size[1]}, w[] = {f->features, f->channels, 1, 1};
    const int64_t y[] = {f->batch, f->features, f->size[0], f->size[1]};
    mitral_tensor expected;
    float *kept = NULL;
    for (int points = 0; points < 2; points++) {
        rig_open(&rig, (uint32_t)(f - forms) + 300);
        if (points)
            rig_absent(&rig);
        rig_input(&rig, 4, data ? y : x, -1, 1);
        rig_input(&rig, 4, w, -0.3, 0.3);
        if (!data)
            rig_input(&rig, 1, &f->features, -0.5, 0.5);
        if (points) {
            expected.data = kept;
            rig_int(&rig, "transposed", data);
            rig_check_kernel(&rig, "training.points", &expected, (int)(f - forms), tolerance);
        } else {
            rig_ints(&rig, "shape", x, 4);
            expected = rig_check_run(&rig, data ? "mitral.ConvGradientData" : "Conv");
            kept = malloc(tensor_bytes(&expected));
            assert_non_null(kept);
            memcpy(kept, expected.data, tensor_bytes(&expected));
        }
        rig_close(&rig);
    }
    free(kept);
}

static void test_forms(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++) {
        check_forward(&forms[i], i % 2);
        if (moves_by_one(&forms[i]))
            check_data(&forms[i]);
        check_weights(&forms[i]);
        for (int data = 0; data < 2 && is_point(&forms[i]); data++)
            check_points(&forms[i], data);
    }
}

/* The sum beside the weights, which is asked for alone where nothing else is trained. */
static void test_bias(void **state)
{
    (void)state;
    for (int alone = 0; alone < 2; alone++) {
        struct rig rig;
        const int64_t x[] = {2, 3, 61, 67}, w[] = {5, 3, 1, 1}, y[] = {2, 5, 61, 67};
        rig_open(&rig, 7);
        rig_input(&rig, 4, x, -1, 1);
        const float *dy = rig_input(&rig, 4, y, -1, 1)->data;
        rig_ints(&rig, "shape", w, 4);
        const struct kernel *kernel = kernel_find("training.convolution_weights");
        mitral_value dw = {.kind = MITRAL_TENSOR}, db = {.kind = MITRAL_TENSOR}, *outputs[] = {alone ? NULL : &dw, &db};
        struct kernel_call call = {.context = rig.context, .kernel = kernel, .name = "test", .attributes = &rig.attributes, .opset = 1,
                                   .threads = 2, .input_count = 2, .inputs = rig.input_list, .output_count = 2, .outputs = outputs,
                                   .arena = &rig.arena};
        size_t scratch = 0;
        float weights[15], bias[5];
        assert_int_equal(kernel->shape(&call), MITRAL_OK);
        assert_int_equal(kernel->prepare(&call, &call.state, &scratch), MITRAL_OK);
        call.scratch = arena_allocate(&rig.arena, scratch + 64);
        dw.tensor.data = weights;
        db.tensor.data = bias;
        assert_int_equal(kernel->run(&call), MITRAL_OK);
        for (int f = 0; f < 5; f++) {
            double sum = 0;
            for (int n = 0; n < 2; n++)
                for (int i = 0; i < 61 * 67; i++)
                    sum += (double)dy[(n * 5 + f) * 61 * 67 + i];
            assert_true(fabs(sum - (double)bias[f]) <= 1e-5 * (fabs(sum) + 10));
        }
        kernel->release(rig.context, call.state);
        rig_close(&rig);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    struct rig rig;
    const int64_t x[] = {2, 4, 8, 8}, w[] = {6, 4, 3, 3}, wrong[] = {2, 6, 8, 8}, y[] = {2, 6, 6, 6}, pads[] = {3, 3, 3, 3};
    rig_open(&rig, 3);
    rig_input(&rig, 4, x, -1, 1);
    rig_input(&rig, 4, w, -1, 1);
    rig_absent(&rig);
    rig_input(&rig, 4, wrong, -1, 1);
    assert_int_equal(rig_run(&rig, "training.convolution"), MITRAL_INVALID);
    rig_int(&rig, "group", 2);
    assert_int_equal(rig_run(&rig, "training.convolution"), MITRAL_INVALID);
    rig_close(&rig);
    rig_open(&rig, 3);
    rig_input(&rig, 4, wrong, -1, 1);
    rig_input(&rig, 4, w, -1, 1);
    rig_ints(&rig, "shape", x, 4);
    assert_int_equal(rig_run(&rig, "training.convolution_data"), MITRAL_INVALID);
    rig_ints(&rig, "pads", pads, 4);
    assert_int_equal(rig_run(&rig, "training.convolution_data"), MITRAL_UNSUPPORTED);
    rig_close(&rig);
    rig_open(&rig, 3);
    rig_input(&rig, 4, x, -1, 1);
    rig_input(&rig, 4, y, -1, 1);
    assert_int_equal(rig_run(&rig, "training.convolution_weights"), MITRAL_INVALID);
    rig_ints(&rig, "shape", (const int64_t[]){5, 4, 3, 3}, 4);
    assert_int_equal(rig_run(&rig, "training.convolution_weights"), MITRAL_INVALID);
    rig_close(&rig);
}

/* Products that fetch other rows meanwhile have the bits of those that don't, whatever the depth, the tiles and the share of each. */
static void test_products_that_fetch(void **test_state)
{
    enum { ROWS = 13, COLUMNS = 100, DEPTH = 23, PITCH = 128 };
    static const int sizes[][3] = {{8, 96, DEPTH}, {ROWS, COLUMNS, DEPTH}, {4, 80, 8}, {ROWS, 33, 5}, {8, 48, 1}}; /* rows, columns, depth */
    const struct planar_blocks *blocks = planar_blocks_of(cpu_isa());
    struct rig rig;
    ptrdiff_t offsets[DEPTH];
    (void)test_state;
    rig_open(&rig, 1);
    const float *input = rig_floats(&rig, DEPTH * PITCH, -1, 1), *weights = rig_floats(&rig, 16 * DEPTH, -1, 1);
    for (int k = 0; k < DEPTH; k++)
        offsets[k] = k * PITCH;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        float *expected = rig_floats(&rig, ROWS * PITCH, 0, 1), *found = rig_floats(&rig, ROWS * PITCH, 0, 1);
        struct plane_product product = {.rows = sizes[i][0], .columns = sizes[i][1], .depth = sizes[i][2], .weight_step = sizes[i][2],
                                        .weights = weights, .input = input, .offsets = offsets, .output = expected, .stride = PITCH};
        blocks->plane_product(&product);
        product.output = found;
        product.ahead = input;
        product.ahead_offsets = offsets;
        for (product.piece_shift = 0; product.piece_shift < 2; product.piece_shift++)
            for (product.pieces = 1; product.pieces < 40; product.pieces += product.pieces < 8 ? 1 : 13)
                for (product.first_piece = 0; product.first_piece < 64; product.first_piece += 21) {
                    memset(found, 0xff, ROWS * PITCH * sizeof *found);
                    blocks->plane_product(&product);
                    for (int r = 0; r < product.rows; r++)
                        assert_memory_equal(found + r * PITCH, expected + r * PITCH, (size_t)product.columns * sizeof *found);
                }
    }
    rig_close(&rig);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_bias), cmocka_unit_test(test_products_that_fetch),
                                       cmocka_unit_test(test_refusals)};
    rig_bench = argc > 1 && strcmp(argv[1], "--bench") == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
