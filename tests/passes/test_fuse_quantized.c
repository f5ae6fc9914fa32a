/* Nodes between DequantizeLinear and QuantizeLinear compute in 8 bits. */
#include <stdio.h>

#include "results.h"

static const char *const moving[] = {"move-quantized"}, *const products[] = {"fuse-quantized"}, *const elementwise[] = {"fuse-elementwise"},
                         *const all[] = {"move-quantized", "fuse-quantized", "fold-constants", "simplify", "fuse-elementwise", "layout"};

static value_id number(struct graph *graph, const char *name, float value)
{
    return test_constant(graph, name, 0, NULL, &value);
}

static value_id byte_constant(struct graph *graph, const char *name, int32_t dtype, int32_t rank, const int64_t *dims, int low, int spread)
{
    mitral_tensor tensor;
    value_id id;
    tensor_set(&tensor, dtype, rank, dims);
    tensor.data = calloc(tensor_bytes(&tensor) + 1, 1);
    for (int64_t i = 0; i < tensor_count(&tensor); i++)
        tensor_set_int(&tensor, i, low + (spread ? i * 37 % spread : 0));
    assert_ok(graph->context, graph_add_constant(graph, name, &tensor, false, &id));
    free(tensor.data);
    return id;
}

static value_id zero_point(struct graph *graph, const char *name, int value)
{
    return byte_constant(graph, name, MITRAL_UINT8, 0, NULL, value, 0);
}

/* Names end in "_q", "_d". */
static value_id quantize(struct graph *graph, value_id value, const char *name, float scale, int zero)
{
    char text[3][32];
    for (int i = 0; i < 3; i++)
        snprintf(text[i], sizeof text[i], "%s_%s", name, (const char *[]){"s", "z", "q"}[i]);
    return test_node(graph, "QuantizeLinear", text[2], NULL, (value_id[]){value, number(graph, text[0], scale), zero_point(graph, text[1], zero)}, 3);
}

static value_id dequantize(struct graph *graph, value_id value, const char *name)
{
    const struct node *node = graph_producer(graph, value);
    char text[32];
    snprintf(text, sizeof text, "%s_d", name);
    return test_node(graph, "DequantizeLinear", text, NULL, (value_id[]){value, node->inputs[1], node->inputs[2]}, 3);
}

static value_id both(struct graph *graph, value_id value, const char *name, float scale, int zero)
{
    return dequantize(graph, quantize(graph, value, name, scale, zero), name);
}

static value_id convolution(struct graph *graph, const char *name, value_id x, int64_t channels, int64_t features, bool per_channel)
{
    char text[6][32];
    struct attributes axis = {0}, pads = test_ints(graph, "pads", (int64_t[]){1, 1, 1, 1}, 4);
    for (int i = 0; i < 6; i++)
        snprintf(text[i], sizeof text[i], "%s_%s", name, (const char *[]){"w", "ws", "wd", "b", "bs", "bd"}[i]);
    assert_ok(graph->context, attributes_set_int(&axis, graph->arena, "axis", 0));
    const value_id w = byte_constant(graph, text[0], MITRAL_INT8, 4, (int64_t[]){features, channels, 3, 3}, -60, 121);
    const value_id scale = per_channel ? test_random_constant(graph, text[1], 1, &features, 0.01f, 0.002f) : number(graph, text[1], 0.01f);
    const value_id weights = test_node(graph, "DequantizeLinear", text[2], &axis, (value_id[]){w, scale}, 2);
    const value_id bias = test_random_constant(graph, text[3], 1, &features, 0, 0.5f);
    return test_node(graph, "Conv", name, &pads, (value_id[]){x, weights, bias}, 3);
}

static void convolution_with_relu(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = both(graph, test_input(graph, "x", 4, (int64_t[]){1, 3, 9, 8}), "x", 0.01f, 128);
    value_id y = test_node(graph, "Relu", "r", NULL, (value_id[]){convolution(graph, "c", x, 3, 5, false)}, 1);
    assert_ok(graph->context, graph_add_output(graph, both(graph, y, "y", 0.02f, 0)));
    test_passes_keep_results(graph, products, 1, 0.0201);
    assert_int_equal(test_count(graph, "mitral", "QuantizedConvolution"), 1);
    assert_int_equal(test_count(graph, NULL, "Conv") + test_count(graph, NULL, "Relu"), 0);
    assert_int_equal(test_count(graph, NULL, "QuantizeLinear"), 1);   /* of x */
    assert_int_equal(test_count(graph, NULL, "DequantizeLinear"), 1); /* of y */
    assert_dump(graph, "input x: float32[1,3,9,8]\n"
                       "constant x_s: float32[]\n"
                       "constant x_z: uint8[]\n"
                       "constant c_w: int8[5,3,3,3]\n"
                       "constant c_ws: float32[]\n"
                       "constant c_b: float32[5]\n"
                       "constant y_s: float32[]\n"
                       "constant y_z: uint8[]\n"
                       "constant c_b.float32: float32[5]\n"
                       "x_q: uint8[1,3,9,8] = QuantizeLinear.28(x, x_s, x_z)\n"
                       "y_q: uint8[1,5,9,8] = mitral.QuantizedConvolution.22(x_q, x_s, x_z, c_w, c_ws, _, y_s, y_z, c_b.float32) {pads=[1,1,1,1], activation=\"Relu\"}\n"
                       "y_d: float32[1,5,9,8] = DequantizeLinear.28(y_q, y_s, y_z)\n"
                       "output y_d\n");
    test_close(graph);
}

/* Two readers, no QuantizeLinear behind: the result is float32. */
static void float_result(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    value_id x = both(graph, test_input(graph, "x", 4, (int64_t[]){2, 16, 9, 8}), "x", 0.01f, 128);
    value_id c = convolution(graph, "c", x, 16, 8, true);
    assert_ok(graph->context, graph_add_output(graph, c));
    assert_ok(graph->context, graph_add_output(graph, both(graph, c, "y", 0.02f, 128)));
    test_passes_keep_results(graph, products, 1, 0.0201);
    assert_int_equal(test_count(graph, "mitral", "QuantizedConvolution"), 1);
    assert_int_equal(test_count(graph, NULL, "QuantizeLinear"), 2);
    test_close(graph);
}

static void matrix_products(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        struct graph *graph = test_open();
        struct attributes turned = {0}, axis = {0};
        assert_ok(graph->context, attributes_set_int(&turned, graph->arena, "transB", form == 2));
        assert_ok(graph->context, attributes_set_int(&axis, graph->arena, "axis", form != 2));
        value_id x = both(graph, test_input(graph, "x", 2, (int64_t[]){6, 20}), "x", 0.01f, 128);
        const int64_t columns = 7, dims[2] = {form == 2 ? columns : 20, form == 2 ? 20 : columns};
        const value_id w = byte_constant(graph, "w", MITRAL_INT8, 2, dims, -60, 121), scale = test_random_constant(graph, "ws", 1, &columns, 0.01f, 0.002f);
        const value_id weights = test_node(graph, "DequantizeLinear", "wd", &axis, (value_id[]){w, scale}, 2);
        const value_id bias = test_random_constant(graph, "b", 1, &columns, 0, 0.5f);
        value_id y = form ? test_node(graph, "Gemm", "g", &turned, (value_id[]){x, weights, bias}, 3)
                          : test_node(graph, "Add", "a", NULL, (value_id[]){bias, test_node(graph, "MatMul", "m", NULL, (value_id[]){x, weights}, 2)}, 2);
        assert_ok(graph->context, graph_add_output(graph, both(graph, y, "y", 0.02f, 100)));
        test_passes_keep_results(graph, products, 1, 0.0201);
        assert_int_equal(test_count(graph, "mitral", "QuantizedMatMul"), 1);
        assert_int_equal(test_count(graph, NULL, "MatMul") + test_count(graph, NULL, "Gemm") + test_count(graph, NULL, "Add"), 0);
        test_close(graph);
    }
}

/* Weights that are not symmetric or computed, data of several scales: as they were. */
static void what_stays(void **state)
{
    (void)state;
    for (int form = 0; form < 2; form++) {
        struct graph *graph = test_open();
        value_id x = both(graph, test_input(graph, "x", 4, (int64_t[]){1, 3, 9, 8}), "x", 0.01f, 128), y;
        const value_id w = byte_constant(graph, "w", MITRAL_UINT8, 4, (int64_t[]){4, 3, 3, 3}, 60, 121), scale = number(graph, "ws", 0.01f);
        if (form == 0) {
            y = test_node(graph, "Conv", "c", NULL, (value_id[]){x, test_node(graph, "DequantizeLinear", "wd", NULL, (value_id[]){w, scale, zero_point(graph, "wz", 90)}, 3)}, 2);
        } else {
            value_id computed = both(graph, test_input(graph, "v", 4, (int64_t[]){4, 3, 3, 3}), "v", 0.01f, 128);
            y = test_node(graph, "Conv", "c", NULL, (value_id[]){x, computed}, 2);
        }
        assert_ok(graph->context, graph_add_output(graph, both(graph, y, "y", 0.02f, 100)));
        test_passes_keep_results(graph, products, 1, 0);
        assert_int_equal(test_count(graph, NULL, "Conv"), 1);
        test_close(graph);
    }
}

static void moves(void **state)
{
    (void)state;
    for (int same = 0; same < 2; same++) {
        struct graph *graph = test_open();
        struct attributes kernel = test_ints(graph, "kernel_shape", (int64_t[]){2, 2}, 2);
        value_id x = both(graph, test_input(graph, "x", 4, (int64_t[]){1, 3, 8, 8}), "x", 0.01f, 128);
        value_id y = test_node(graph, "MaxPool", "p", &kernel, &x, 1);
        assert_ok(graph->context, graph_add_output(graph, both(graph, y, "y", same ? 0.01f : 0.013f, 128)));
        test_passes_keep_results(graph, moving, 1, 0);
        assert_int_equal(test_count(graph, NULL, "DequantizeLinear"), same ? 1 : 2);
        if (same)
            assert_dump(graph, "input x: float32[1,3,8,8]\n"
                               "constant x_s: float32[]\n"
                               "constant x_z: uint8[]\n"
                               "constant y_s: float32[]\n"
                               "constant y_z: uint8[]\n"
                               "x_q: uint8[1,3,8,8] = QuantizeLinear.28(x, x_s, x_z)\n"
                               "y_q: uint8[1,3,7,7] = MaxPool.22(x_q) {kernel_shape=[2,2]}\n"
                               "y_d: float32[1,3,7,7] = DequantizeLinear.28(y_q, y_s, y_z)\n"
                               "output y_d\n");
        test_close(graph);
    }
}

static void concatenation(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    struct attributes axis = {0};
    assert_ok(graph->context, attributes_set_int(&axis, graph->arena, "axis", 1));
    value_id a = both(graph, test_input(graph, "a", 4, (int64_t[]){1, 3, 4, 4}), "a", 0.01f, 128);
    value_id b = both(graph, test_input(graph, "b", 4, (int64_t[]){1, 2, 4, 4}), "b", 0.02f, 100);
    assert_ok(graph->context, graph_add_output(graph, both(graph, test_node(graph, "Concat", "c", &axis, (value_id[]){a, b}, 2), "y", 0.02f, 100)));
    test_passes_keep_results(graph, moving, 1, 0);
    assert_int_equal(test_count(graph, NULL, "QuantizeLinear"), 3); /* a, b, and a in the scale of y */
    assert_int_equal(test_count(graph, NULL, "DequantizeLinear"), 2);
    test_close(graph);
}

/* Operators between 8-bit tensors, a change of scale, and mixtures with float32: equal to the bit. */
static void chains(void **state)
{
    (void)state;
    const int64_t slopes[3] = {5, 1, 1};
    for (int form = 0; form < 4; form++) {
        struct graph *graph = test_open();
        value_id f = test_input(graph, "f", 4, (int64_t[]){2, 5, 9, 7}), x = both(graph, f, "x", 0.01f, 128);
        value_id z = both(graph, test_input(graph, "z", 4, (int64_t[]){2, 5, 9, 7}), "z", 0.006f, 90), y = x;
        if (form == 0)
            y = test_node(graph, "PRelu", "p", NULL, (value_id[]){x, test_random_constant(graph, "slope", 3, slopes, 0.2f, 0.1f)}, 2);
        else if (form == 1)
            y = test_node(graph, "Relu", "r", NULL, (value_id[]){test_node(graph, "Add", "a", NULL, (value_id[]){x, z}, 2)}, 1);
        else if (form == 3)
            y = test_node(graph, "Mul", "m", NULL, (value_id[]){f, test_node(graph, "Sigmoid", "s", NULL, &z, 1)}, 2);
        assert_ok(graph->context, graph_add_output(graph, form == 3 ? y : both(graph, y, "y", 0.017f, 40)));
        test_passes_keep_results(graph, elementwise, 1, 0);
        assert_int_equal(test_count(graph, "mitral", "Elementwise"), 1);
        assert_int_equal(test_count(graph, NULL, "QuantizeLinear"), form == 0 || form == 2 ? 1 : form == 1 ? 2 : 1);
        assert_int_equal(test_count(graph, NULL, "DequantizeLinear"), form == 3 ? 0 : 1);
        test_close(graph);
    }
}

/* Two convolutions, a pool, a sum and a concatenation: 8 bits from end to end, channels-last. */
static void a_network(void **state)
{
    (void)state;
    struct graph *graph = test_open();
    struct attributes axis = {0}, kernel = test_ints(graph, "kernel_shape", (int64_t[]){2, 2}, 2);
    assert_ok(graph->context, attributes_set_int(&axis, graph->arena, "axis", 1));
    value_id x = both(graph, test_input(graph, "x", 4, (int64_t[]){2, 3, 17, 16}), "x", 0.01f, 128);
    value_id a = both(graph, convolution(graph, "c", x, 3, 16, true), "a", 0.02f, 128);
    value_id p = both(graph, test_node(graph, "MaxPool", "p", &kernel, &a, 1), "p", 0.02f, 128);
    value_id b = both(graph, convolution(graph, "e", p, 16, 16, false), "b", 0.1f, 110);
    value_id s = both(graph, test_node(graph, "Add", "s", NULL, (value_id[]){p, b}, 2), "s", 0.1f, 100);
    value_id t = both(graph, test_node(graph, "Concat", "t", &axis, (value_id[]){s, b}, 2), "t", 0.1f, 100);
    assert_ok(graph->context, graph_add_output(graph, convolution(graph, "y", t, 32, 4, true)));
    /* An element of a that rounds the other way is 0.02; what two layers make of it stays below a few steps of 0.1. */
    test_passes_keep_results(graph, all, sizeof all / sizeof *all, 0.3);
    assert_int_equal(test_count(graph, NULL, "DequantizeLinear"), 0);
    test_close(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution_with_relu), cmocka_unit_test(float_result), cmocka_unit_test(matrix_products), cmocka_unit_test(what_stays),
        cmocka_unit_test(moves),                 cmocka_unit_test(concatenation), cmocka_unit_test(chains),         cmocka_unit_test(a_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
