/* Kernels that move, choose and resample elements, where the standard's suite does not look: bad input, extreme sizes, every element
 * size, and large copies against plain loops. */
#include "kernel_bench.h"

#include <math.h>
#include <string.h>

static const float VALUES[64] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24};

/* One tensor of float32 and one of int64, which is what most of these operators take. */
static void open_two(struct bench *bench, const char *kernel, int opset, int32_t rank, const int64_t *dims, size_t count,
                     const int64_t *values)
{
    bench_open(bench, kernel, opset);
    bench_input(bench, MITRAL_FLOAT, rank, dims, VALUES);
    bench_input(bench, MITRAL_INT64, 1, DIMS((int64_t)count), values);
}

static void test_transpose_every_element_size(void **state)
{
    (void)state;
    static const int32_t types[] = {MITRAL_INT8, MITRAL_FLOAT16, MITRAL_FLOAT, MITRAL_DOUBLE, MITRAL_COMPLEX128};
    static const int64_t orders[][3] = {{0, 2, 1}, {2, 1, 0}, {1, 0, 2}, {2, 0, 1}, {1, 2, 0}};
    enum { A = 5, B = 67, C = 81 };
    static unsigned char data[A * B * C * 16];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(i * 2654435761u >> 13);
    const int64_t dims[3] = {A, B, C}, strides[3] = {B * C, C, 1};
    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++)
        for (size_t o = 0; o < sizeof(orders) / sizeof(orders[0]); o++) {
            struct bench bench;
            bench_open(&bench, "Transpose", 13);
            bench_ints(&bench, "perm", orders[o], 3);
            mitral_tensor *input = bench_input(&bench, types[t], 3, dims, data);
            assert_ok(bench.context, bench_run(&bench));
            const mitral_tensor *output = &bench.outputs[0].tensor;
            size_t element = mitral_dtype_size((mitral_dtype)input->dtype);
            int64_t at = 0;
            for (int64_t i = 0; i < output->dims[0]; i++)
                for (int64_t j = 0; j < output->dims[1]; j++)
                    for (int64_t k = 0; k < output->dims[2]; k++, at++) {
                        int64_t from = i * strides[orders[o][0]] + j * strides[orders[o][1]] + k * strides[orders[o][2]];
                        assert_memory_equal((char *)output->data + (size_t)at * element, data + (size_t)from * element, element);
                    }
            bench_close(&bench);
        }
}

/* Copies above the size from which the team works give what one thread gives. */
static void test_large_copies_by_a_team(void **state)
{
    (void)state;
    enum { ROWS = 300, COLUMNS = 401 };
    static int32_t data[ROWS * COLUMNS], first[ROWS * COLUMNS];
    for (int i = 0; i < ROWS * COLUMNS; i++)
        data[i] = i;
    static const char *const kernels[] = {"Transpose", "Concat", "Flatten"};
    for (size_t k = 0; k < 3; k++)
        for (int threads = 1; threads <= 3; threads++) {
            struct bench bench;
            bench_open(&bench, kernels[k], 13);
            bench.call.threads = threads;
            bench_int(&bench, "axis", 1);
            bench_input(&bench, MITRAL_INT32, 2, DIMS(ROWS, COLUMNS), data);
            if (k == 1)
                bench_input(&bench, MITRAL_INT32, 2, DIMS(ROWS, 0), data);
            assert_ok(bench.context, bench_run(&bench));
            if (threads == 1)
                memcpy(first, bench.outputs[0].tensor.data, sizeof(first));
            assert_memory_equal(bench.outputs[0].tensor.data, first, sizeof(first));
            if (k == 0)
                assert_int_equal(first[1], COLUMNS);
            bench_close(&bench);
        }
}

static void test_shapes_are_refused(void **state)
{
    (void)state;
    struct bench bench;
    const int64_t dims[2] = {2, 3};
    open_two(&bench, "Reshape", 14, 2, dims, 2, DIMS(-1, -1));
    bench_refuses(&bench, MITRAL_INVALID);
    open_two(&bench, "Reshape", 14, 2, dims, 2, DIMS(4, -1));
    bench_refuses(&bench, MITRAL_INVALID);
    open_two(&bench, "Reshape", 14, 2, dims, 3, DIMS(1, 1, 0)); /* copies a third dimension that is not there */
    bench_refuses(&bench, MITRAL_INVALID);
    open_two(&bench, "Reshape", 14, 2, dims, 3, DIMS((int64_t)1 << 40, (int64_t)1 << 40, 6));
    bench_refuses(&bench, MITRAL_LIMIT);
    open_two(&bench, "Reshape", 14, 2, DIMS(0, 3), 2, DIMS(0, -1)); /* with allowzero the -1 could be anything */
    bench_int(&bench, "allowzero", 1);
    bench_refuses(&bench, MITRAL_INVALID);
    open_two(&bench, "Tile", 13, 2, dims, 2, DIMS(INT64_MAX / 2, 2));
    bench_refuses(&bench, MITRAL_LIMIT);
    open_two(&bench, "Tile", 13, 2, dims, 2, DIMS(100000, 100000));
    bench_refuses(&bench, MITRAL_LIMIT);
    open_two(&bench, "Tile", 13, 2, dims, 2, DIMS(1, -1));
    bench_refuses(&bench, MITRAL_INVALID);
    open_two(&bench, "Expand", 13, 2, dims, 2, DIMS(2, 4));
    bench_refuses(&bench, MITRAL_INVALID);
    open_two(&bench, "Expand", 13, 2, dims, 3, DIMS(-3, 2, 3));
    bench_refuses(&bench, MITRAL_INVALID);
    open_two(&bench, "Squeeze", 13, 2, dims, 1, DIMS(1));
    bench_refuses(&bench, MITRAL_INVALID);
    open_two(&bench, "Unsqueeze", 13, 2, dims, 2, DIMS(0, -4)); /* the same axis twice */
    bench_refuses(&bench, MITRAL_INVALID);
    open_two(&bench, "Split", 18, 2, dims, 1, DIMS(4));
    bench_refuses(&bench, MITRAL_INVALID);
    bench_open(&bench, "DepthToSpace", 13);
    bench_input(&bench, MITRAL_FLOAT, 4, DIMS(1, 6, 2, 2), VALUES);
    bench_int(&bench, "blocksize", 4);
    bench_refuses(&bench, MITRAL_INVALID);
    bench_open(&bench, "Transpose", 13);
    bench_input(&bench, MITRAL_FLOAT, 2, dims, VALUES);
    bench_ints(&bench, "perm", DIMS(1, 1), 2);
    bench_refuses(&bench, MITRAL_INVALID);
}

/* A shape that hangs on a value waits for it, and knows the type meanwhile. */
static void test_unknown_values_defer(void **state)
{
    (void)state;
    static const char *const kernels[] = {"Reshape", "Expand", "Tile", "Slice", "Pad", "TopK", "Resize"};
    for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
        struct bench bench;
        bench_open(&bench, kernels[i], 13);
        bench_input(&bench, MITRAL_FLOAT, 1, DIMS(3), VALUES);
        if (i == 6)
            bench_absent(&bench);
        bench_input(&bench, i == 6 ? MITRAL_FLOAT : MITRAL_INT64, 1, DIMS(i == 4 ? 2 : 1), NULL);
        if (i == 3)
            bench_input(&bench, MITRAL_INT64, 1, DIMS(1), NULL);
        assert_int_equal(bench_shape(&bench), MITRAL_DEFERRED);
        assert_int_equal(bench.outputs[0].tensor.dtype, MITRAL_FLOAT);
        bench_close(&bench);
    }
}

static void test_slice_extremes(void **state)
{
    (void)state;
    static const struct {
        int64_t start, end, step;
        int count;
        float want[4];
    } cases[] = {
        {INT64_MIN, INT64_MAX, 1, 4, {1, 2, 3, 4}}, {INT64_MAX, INT64_MIN, -1, 4, {4, 3, 2, 1}},
        {INT64_MAX, INT64_MIN, INT64_MIN, 1, {4}},  {INT64_MIN, INT64_MAX, INT64_MAX, 1, {1}},
        {3, 1, 1, 0, {0}},                          {-1, -3, -1, 2, {4, 3}},
        {0, INT64_MAX, -1, 0, {0}},                 {3, INT64_MIN, -3, 2, {4, 1}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench bench;
        open_two(&bench, "Slice", 13, 1, DIMS(4), 1, &cases[i].start);
        bench_input(&bench, MITRAL_INT64, 1, DIMS(1), &cases[i].end);
        bench_input(&bench, MITRAL_INT64, 1, DIMS(1), DIMS(0));
        bench_input(&bench, MITRAL_INT64, 1, DIMS(1), &cases[i].step);
        assert_ok(bench.context, bench_run(&bench));
        bench_expect_floats(&bench, 0, cases[i].want, (size_t)cases[i].count, 0);
        bench_close(&bench);
    }
    struct bench bench;
    open_two(&bench, "Slice", 13, 1, DIMS(4), 1, DIMS(0));
    bench_input(&bench, MITRAL_INT64, 1, DIMS(1), DIMS(4));
    bench_input(&bench, MITRAL_INT64, 1, DIMS(1), DIMS(0));
    bench_input(&bench, MITRAL_INT64, 1, DIMS(1), DIMS(0)); /* a step of 0 */
    bench_refuses(&bench, MITRAL_INVALID);
}

static void test_pad_modes_and_extremes(void **state)
{
    (void)state;
    static const struct {
        const char *mode;
        int64_t begin, end;
        int count;
        float want[9];
    } cases[] = {
        {"constant", 1, -1, 3, {0, 1, 2}},       {"constant", -2, 1, 2, {3, 0}},
        {"constant", -5, 7, 5, {0, 0, 0, 0, 0}}, {"edge", 2, 1, 6, {1, 1, 1, 2, 3, 3}},
        {"reflect", 4, 2, 9, {1, 2, 3, 2, 1, 2, 3, 2, 1}}, /* farther than the input is long */
        {"reflect", -1, 1, 3, {2, 3, 2}},        {"wrap", 4, 1, 8, {3, 1, 2, 3, 1, 2, 3, 1}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench bench;
        open_two(&bench, "Pad", 19, 1, DIMS(3), 2, DIMS(cases[i].begin, cases[i].end));
        bench_text(&bench, "mode", cases[i].mode);
        assert_ok(bench.context, bench_run(&bench));
        bench_expect_floats(&bench, 0, cases[i].want, (size_t)cases[i].count, 0);
        bench_close(&bench);
    }
    static const int64_t wrong[][2] = {{INT64_MIN, INT64_MAX}, {INT64_MAX, INT64_MAX}, {(int64_t)1 << 40, 0}};
    for (size_t i = 0; i < 3; i++) {
        struct bench bench;
        open_two(&bench, "Pad", 19, 1, DIMS(3), 2, wrong[i]);
        bench_refuses(&bench, MITRAL_LIMIT);
    }
    struct bench bench;
    open_two(&bench, "Pad", 19, 1, DIMS(3), 2, DIMS(-2, -2));
    bench_refuses(&bench, MITRAL_INVALID);
    open_two(&bench, "Pad", 19, 1, DIMS(0), 2, DIMS(1, 1)); /* nothing to reflect */
    bench_text(&bench, "mode", "reflect");
    bench_refuses(&bench, MITRAL_INVALID);
    open_two(&bench, "Pad", 18, 1, DIMS(3), 2, DIMS(1, 1)); /* from version 19 on only */
    bench_text(&bench, "mode", "wrap");
    bench_refuses(&bench, MITRAL_INVALID);
}

static void test_indices_are_checked(void **state)
{
    (void)state;
    struct bench bench;
    static const char *const gathers[] = {"Gather", "GatherElements", "ScatterElements"};
    for (size_t i = 0; i < 3; i++)
        for (int64_t index = -4; index <= 3; index += 7) {
            open_two(&bench, gathers[i], 18, 1, DIMS(3), 1, &index);
            if (i == 2)
                bench_input(&bench, MITRAL_FLOAT, 1, DIMS(1), VALUES);
            bench_refuses(&bench, MITRAL_INVALID);
        }
    bench_open(&bench, "GatherND", 13);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 3), VALUES);
    bench_input(&bench, MITRAL_INT64, 2, DIMS(1, 2), DIMS(1, 3));
    bench_refuses(&bench, MITRAL_INVALID);
    bench_open(&bench, "ScatterND", 18);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(2, 3), VALUES);
    bench_input(&bench, MITRAL_INT64, 2, DIMS(1, 2), DIMS(-3, 0));
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(1), VALUES);
    bench_refuses(&bench, MITRAL_INVALID);
    static const mitral_string texts[2] = {{"a", 1}, {"b", 1}};
    bench_open(&bench, "ScatterElements", 18); /* strings do not add */
    bench_input(&bench, MITRAL_STRING, 1, DIMS(2), texts);
    bench_input(&bench, MITRAL_INT64, 1, DIMS(1), DIMS(0));
    bench_input(&bench, MITRAL_STRING, 1, DIMS(1), texts);
    bench_text(&bench, "reduction", "add");
    bench_refuses(&bench, MITRAL_UNSUPPORTED);
    open_two(&bench, "TopK", 11, 1, DIMS(3), 1, DIMS(4));
    bench_refuses(&bench, MITRAL_INVALID);
    bench_open(&bench, "TensorScatter", 24);
    bench_input(&bench, MITRAL_FLOAT, 3, DIMS(1, 4, 2), VALUES);
    bench_input(&bench, MITRAL_FLOAT, 3, DIMS(1, 2, 2), VALUES);
    bench_input(&bench, MITRAL_INT64, 1, DIMS(1), DIMS(3)); /* 3 + 2 > 4 */
    bench_refuses(&bench, MITRAL_INVALID);
}

static void test_top_k_orders_not_a_number_and_zeros(void **state)
{
    (void)state;
    static const float values[6] = {-0.0f, 0.0f, 2, NAN, -1, 2};
    for (int largest = 0; largest < 2; largest++) {
        struct bench bench;
        bench_open(&bench, "TopK", 11);
        bench.call.output_count = 2;
        bench_int(&bench, "largest", largest);
        bench_input(&bench, MITRAL_FLOAT, 1, DIMS(6), values);
        bench_input(&bench, MITRAL_INT64, 1, DIMS(1), DIMS(6));
        assert_ok(bench.context, bench_run(&bench));
        static const int64_t want[2][6] = {{4, 0, 1, 2, 5, 3}, {3, 2, 5, 0, 1, 4}}; /* NaN is above all, ties by index */
        assert_memory_equal(bench.outputs[1].tensor.data, want[largest], sizeof(want[0]));
        bench_close(&bench);
    }
}

/* Small types are moved and compared by value, one element a byte. */
static void test_unique_of_small_types(void **state)
{
    (void)state;
    static const int8_t values[6] = {-3, 7, -8, 7, -3, 0};
    struct bench bench;
    bench_open(&bench, "Unique", 11);
    bench.call.output_count = 4;
    bench_input(&bench, MITRAL_INT4, 1, DIMS(6), values);
    assert_ok(bench.context, bench_run(&bench));
    assert_int_equal(bench.outputs[0].tensor.dims[0], 4);
    assert_memory_equal(bench.outputs[0].tensor.data, ((int8_t[]){-8, -3, 0, 7}), 4);
    assert_memory_equal(bench.outputs[1].tensor.data, ((int64_t[]){2, 0, 5, 1}), 4 * sizeof(int64_t));
    assert_memory_equal(bench.outputs[2].tensor.data, ((int64_t[]){1, 3, 0, 3, 1, 2}), 6 * sizeof(int64_t));
    assert_memory_equal(bench.outputs[3].tensor.data, ((int64_t[]){1, 2, 1, 2}), 4 * sizeof(int64_t));
    bench_close(&bench);
}

static void open_resize(struct bench *bench, int opset, const float *scales, const int64_t *sizes)
{
    bench_open(bench, "Resize", opset);
    bench_input(bench, MITRAL_FLOAT, 2, DIMS(1, 4), VALUES);
    bench_absent(bench);
    if (scales)
        bench_input(bench, MITRAL_FLOAT, 1, DIMS(2), scales);
    else
        bench_absent(bench);
    if (sizes)
        bench_input(bench, MITRAL_INT64, 1, DIMS(2), sizes);
}

static void test_resize_refuses(void **state)
{
    (void)state;
    struct bench bench;
    open_resize(&bench, 13, NULL, NULL);
    bench_refuses(&bench, MITRAL_INVALID);
    open_resize(&bench, 13, (float[]){1, 2}, DIMS(1, 8));
    bench_refuses(&bench, MITRAL_INVALID);
    static const float wrong[][2] = {{1, 0}, {1, -1}, {1, NAN}, {1, INFINITY}, {1, 1e30f}};
    for (size_t i = 0; i < 5; i++) {
        open_resize(&bench, 13, wrong[i], NULL);
        bench_refuses(&bench, MITRAL_INVALID);
    }
    open_resize(&bench, 13, (float[]){1, 1e8f}, NULL); /* over the context's limit */
    bench_refuses(&bench, MITRAL_LIMIT);
    open_resize(&bench, 13, NULL, DIMS(1, -5));
    bench_refuses(&bench, MITRAL_INVALID);
    open_resize(&bench, 13, (float[]){1, 2}, NULL);
    bench_text(&bench, "coordinate_transformation_mode", "tf_crop_and_resize"); /* without a region */
    bench_refuses(&bench, MITRAL_INVALID);
    static const mitral_string texts[2] = {{"a", 1}, {"b", 1}};
    static const float scale = 2;
    bench_open(&bench, "Upsample", 9); /* strings can be repeated, not averaged */
    bench_input(&bench, MITRAL_STRING, 1, DIMS(2), texts);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(1), &scale);
    bench_text(&bench, "mode", "linear");
    bench_refuses(&bench, MITRAL_UNSUPPORTED);
}

/* Version 10 knows no coordinate modes: down for growing axes, up for shrinking ones. */
static void test_resize_of_version_10(void **state)
{
    (void)state;
    static const struct {
        float scale;
        int count;
        float want[6];
    } cases[] = {{1.5f, 6, {1, 1, 2, 3, 3, 4}}, {0.6f, 2, {1, 3}}};
    for (size_t i = 0; i < 2; i++) {
        struct bench bench;
        bench_open(&bench, "Resize", 10);
        bench_input(&bench, MITRAL_FLOAT, 1, DIMS(4), VALUES);
        bench_input(&bench, MITRAL_FLOAT, 1, DIMS(1), &cases[i].scale);
        assert_ok(bench.context, bench_run(&bench));
        bench_expect_floats(&bench, 0, cases[i].want, (size_t)cases[i].count, 0);
        bench_close(&bench);
    }
}

static void test_resize_rounds_integers(void **state)
{
    (void)state;
    static const uint8_t values[2] = {0, 255};
    static const float scale = 4;
    struct bench bench;
    bench_open(&bench, "Resize", 13);
    bench_input(&bench, MITRAL_UINT8, 1, DIMS(2), values);
    bench_absent(&bench);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(1), &scale);
    bench_text(&bench, "mode", "cubic"); /* overshoots: to be clipped */
    assert_ok(bench.context, bench_run(&bench));
    const uint8_t *found = bench.outputs[0].tensor.data;
    assert_int_equal(found[0], 0);
    assert_int_equal(found[7], 255);
    for (int i = 0; i < 4; i++)
        assert_true(found[i] + found[7 - i] >= 254 && found[i] + found[7 - i] <= 256);
    bench_close(&bench);
}

static void test_grid_points_that_are_no_numbers(void **state)
{
    (void)state;
    static const float points[8] = {NAN, 0, INFINITY, -INFINITY, 1e30f, 0, 0, 0};
    static const char *const paddings[] = {"zeros", "border", "reflection"};
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    for (int p = 0; p < 3; p++)
        for (int m = 0; m < 3; m++) {
            struct bench bench;
            bench_open(&bench, "GridSample", 20);
            bench_text(&bench, "mode", modes[m]);
            bench_text(&bench, "padding_mode", paddings[p]);
            bench_int(&bench, "align_corners", 1);
            bench_input(&bench, MITRAL_FLOAT, 4, DIMS(1, 1, 3, 3), VALUES);
            bench_input(&bench, MITRAL_FLOAT, 4, DIMS(1, 1, 4, 2), points);
            assert_ok(bench.context, bench_run(&bench));
            const float *found = bench.outputs[0].tensor.data;
            for (int i = 0; i < 3; i++)
                assert_true(p == 0 ? found[i] == 0 : found[i] >= 0 && found[i] <= 10);
            assert_true(fabsf(found[3] - 5) < 1e-5f); /* the middle */
            bench_close(&bench);
        }
}

static void test_detection_refuses(void **state)
{
    (void)state;
    struct bench bench;
    static const float huge[4] = {0, 0, 1e30f, 1e30f}, odd[5] = {7, 0, 0, 1, 1};
    bench_open(&bench, "RoiAlign", 16); /* more samples than anyone wants */
    bench_input(&bench, MITRAL_FLOAT, 4, DIMS(1, 1, 2, 2), VALUES);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(1, 4), huge);
    bench_input(&bench, MITRAL_INT64, 1, DIMS(1), DIMS(0));
    bench_refuses(&bench, MITRAL_LIMIT);
    bench_open(&bench, "RoiAlign", 16);
    bench_input(&bench, MITRAL_FLOAT, 4, DIMS(1, 1, 2, 2), VALUES);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(1, 4), VALUES);
    bench_input(&bench, MITRAL_INT64, 1, DIMS(1), DIMS(1)); /* there is one image only */
    bench_refuses(&bench, MITRAL_INVALID);
    bench_open(&bench, "MaxRoiPool", 1);
    bench_ints(&bench, "pooled_shape", DIMS(1, 1), 2);
    bench_input(&bench, MITRAL_FLOAT, 4, DIMS(1, 1, 2, 2), VALUES);
    bench_input(&bench, MITRAL_FLOAT, 2, DIMS(1, 5), odd);
    bench_refuses(&bench, MITRAL_INVALID);
    bench_open(&bench, "NonMaxSuppression", 11);
    bench_input(&bench, MITRAL_FLOAT, 3, DIMS(1, 2, 4), VALUES);
    bench_input(&bench, MITRAL_FLOAT, 3, DIMS(1, 1, 3), VALUES);
    bench_refuses(&bench, MITRAL_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transpose_every_element_size),
        cmocka_unit_test(test_large_copies_by_a_team),
        cmocka_unit_test(test_shapes_are_refused),
        cmocka_unit_test(test_unknown_values_defer),
        cmocka_unit_test(test_slice_extremes),
        cmocka_unit_test(test_pad_modes_and_extremes),
        cmocka_unit_test(test_indices_are_checked),
        cmocka_unit_test(test_top_k_orders_not_a_number_and_zeros),
        cmocka_unit_test(test_unique_of_small_types),
        cmocka_unit_test(test_resize_refuses),
        cmocka_unit_test(test_resize_of_version_10),
        cmocka_unit_test(test_resize_rounds_integers),
        cmocka_unit_test(test_grid_points_that_are_no_numbers),
        cmocka_unit_test(test_detection_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
