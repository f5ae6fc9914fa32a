/* Convolutions and matrix products between DequantizeLinear and QuantizeLinear compute in 8 bits: mitral.QuantizedConvolution and
 * mitral.QuantizedMatMul. The data are uint8 or int8 with one scale; the weights are constant and symmetric, with one scale or one an output
 * channel. What follows alone is taken along: a bias, Relu, QuantizeLinear; without the last the result is float32.
 *
 * Runs before constants are folded, which would turn the weights into float32. Sums of products are exact here, where float32 rounds each:
 * a quantized output may differ by 1 from that of the unfused nodes, where the value lies that near to a tie. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"
#include "compiler/passes/quantizer.h"

enum { X, X_SCALE, X_ZERO, W, W_SCALE, W_ZERO, Y_SCALE, Y_ZERO, BIAS, INPUTS };

struct fusion {
    struct graph *graph;
    struct graph_uses uses;
    bool *changed;
};

/* A DequantizeLinear of 8-bit data by one scale; NULL: the value is none. */
static const struct node *find_data(const struct graph *graph, value_id value)
{
    struct quantizer quantizer;
    const struct node *node = graph_producer(graph, value);
    return quantizer_read(graph, node, "DequantizeLinear", &quantizer) ? node : NULL;
}

/* A DequantizeLinear of constant 8-bit weights, symmetric, with one scale or one a slice of `axis`. */
static const struct node *find_weights(const struct graph *graph, value_id value, int64_t axis)
{
    const struct node *node = graph_producer(graph, value);
    if (!node || !node_is(node, "DequantizeLinear") || attribute_int(&node->attributes, "block_size", 0) != 0)
        return NULL;
    const mitral_tensor *w = graph_constant(graph, node->inputs[0]), *scale = graph_constant(graph, node->inputs[1]);
    const mitral_tensor *zero = node_input(node, 2) == NO_VALUE ? NULL : graph_constant(graph, node->inputs[2]);
    if (!w || !dtype_is_byte(w->dtype) || axis >= w->rank || !scale || scale->dtype != MITRAL_FLOAT || (node_input(node, 2) != NO_VALUE && !zero))
        return NULL;
    int64_t along = attribute_int(&node->attributes, "axis", 1);
    along += along < 0 ? w->rank : 0;
    if (tensor_count(scale) != 1 && (along != axis || scale->rank != 1 || tensor_count(scale) != w->dims[axis]))
        return NULL;
    const int64_t middle = w->dtype == MITRAL_UINT8 ? 128 : 0;
    for (int64_t i = 0; zero && i < tensor_count(zero); i++)
        if (tensor_get_int(zero, i) != middle)
            return NULL;
    return zero || middle == 0 ? node : NULL;
}

/* A constant of `count` numbers, or a DequantizeLinear of one, as a float32 list; false: it is neither. */
static mitral_status make_bias(struct graph *graph, value_id value, int64_t count, value_id *out, bool *found)
{
    const mitral_tensor *constant = graph_constant(graph, value), *scale = NULL;
    const struct node *node = constant ? NULL : graph_producer(graph, value);
    *found = false;
    *out = NO_VALUE;
    if (node && node_is(node, "DequantizeLinear") && attribute_int(&node->attributes, "block_size", 0) == 0) {
        const mitral_tensor *zero = node_input(node, 2) == NO_VALUE ? NULL : graph_constant(graph, node->inputs[2]);
        constant = graph_constant(graph, node->inputs[0]);
        scale = graph_constant(graph, node->inputs[1]);
        if (!scale || scale->dtype != MITRAL_FLOAT || (tensor_count(scale) != 1 && tensor_count(scale) != count)
            || (node_input(node, 2) != NO_VALUE && !zero))
            return MITRAL_OK;
        for (int64_t i = 0; zero && i < tensor_count(zero); i++)
            if (tensor_get_int(zero, i) != 0)
                return MITRAL_OK;
    }
    if (!constant || tensor_count(constant) != count || constant->rank < 1 || constant->dims[constant->rank - 1] != count
        || constant->dtype != (scale ? MITRAL_INT32 : MITRAL_FLOAT))
        return MITRAL_OK;
    mitral_tensor bias;
    tensor_set(&bias, MITRAL_FLOAT, 1, &count);
    float *data = bias.data = arena_allocate(graph->arena, (size_t)count * sizeof *data);
    const char *name = arena_format(graph->arena, "%s.float32", graph->values[value].name);
    if (!data || !name)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < count; i++)
        data[i] = (float)tensor_get_double(constant, i) * (scale ? ((const float *)scale->data)[tensor_count(scale) > 1 ? i : 0] : 1);
    *found = true;
    return graph_add_constant(graph, name, &bias, true, out);
}

static node_id reader_of(const struct fusion *fusion, node_id id, const char *name)
{
    node_id reader = only_reader(fusion->graph, &fusion->uses, fusion->graph->nodes[id].outputs[0]);
    return reader != NO_NODE && node_is(&fusion->graph->nodes[reader], name) ? reader : NO_NODE;
}

/* The zero point of a QuantizeLinear that names none. */
static mitral_status add_zero(struct graph *graph, const struct node *node, int32_t dtype, value_id *out)
{
    static const uint8_t none = 0;
    const mitral_tensor zero = {.dtype = dtype, .data = (void *)&none};
    const char *name = arena_format(graph->arena, "%s.zero", graph->values[node->outputs[0]].name);
    return name ? graph_add_constant(graph, name, &zero, false, out) : MITRAL_NO_MEMORY;
}

/* Relu and QuantizeLinear, where they alone read the result. */
static mitral_status take_what_follows(struct fusion *fusion, node_id id)
{
    struct graph *graph = fusion->graph;
    node_id reader = reader_of(fusion, id, "Relu");
    if (reader != NO_NODE) {
        TRY(attributes_set_string(&graph->nodes[id].attributes, graph->arena, "activation", "Relu"));
        node_take_over(graph, id, reader);
    }
    reader = reader_of(fusion, id, "QuantizeLinear");
    if (reader == NO_NODE)
        return MITRAL_OK;
    const struct node *quantize = &graph->nodes[reader];
    struct quantizer quantizer;
    if (!quantizer_read(graph, quantize, "QuantizeLinear", &quantizer) || quantizer.input != graph->nodes[id].outputs[0])
        return MITRAL_OK;
    value_id zero = node_input(quantize, 2);
    if (zero == NO_VALUE)
        TRY(add_zero(graph, quantize, quantizer.dtype, &zero));
    graph->nodes[id].inputs[Y_SCALE] = quantize->inputs[1];
    graph->nodes[id].inputs[Y_ZERO] = zero;
    node_take_over(graph, id, reader);
    return MITRAL_OK;
}

static mitral_status become(struct fusion *fusion, node_id id, const char *name, const struct node *data, const struct node *weights, value_id w,
                            value_id bias)
{
    struct graph *graph = fusion->graph;
    const value_id inputs[INPUTS] = {data->inputs[0], data->inputs[1], node_input(data, 2), w, weights->inputs[1], node_input(weights, 2), NO_VALUE,
                                     NO_VALUE, bias};
    const struct op *op = op_find("mitral", name);
    if (!op)
        return mitral_fail(graph->context, MITRAL_UNSUPPORTED, "expected the operator mitral.%s, found none", name);
    TRY(node_extend_inputs(graph, id, INPUTS));
    memcpy(graph->nodes[id].inputs, inputs, sizeof inputs);
    graph->nodes[id].op = op;
    *fusion->changed = true;
    return take_what_follows(fusion, id);
}

static mitral_status fuse_convolution(struct fusion *fusion, node_id id)
{
    struct graph *graph = fusion->graph;
    const struct node *node = &graph->nodes[id];
    const struct node *data = find_data(graph, node->inputs[0]), *weights = find_weights(graph, node->inputs[1], 0);
    if (!data || !weights || graph->values[node->inputs[0]].type.rank < 3 || graph->values[node->inputs[0]].type.rank > 5)
        return MITRAL_OK;
    value_id bias = NO_VALUE;
    bool found = true;
    if (node_input(node, 2) != NO_VALUE)
        TRY(make_bias(graph, node->inputs[2], graph_constant(graph, weights->inputs[0])->dims[0], &bias, &found));
    return found ? become(fusion, id, "QuantizedConvolution", data, weights, weights->inputs[0], bias) : MITRAL_OK;
}

static mitral_status fuse_matmul(struct fusion *fusion, node_id id)
{
    struct graph *graph = fusion->graph;
    const struct node *node = &graph->nodes[id];
    const struct node *data = find_data(graph, node->inputs[0]), *weights = find_weights(graph, node->inputs[1], 1);
    if (!data || !weights || graph_constant(graph, weights->inputs[0])->rank != 2 || graph->values[node->inputs[0]].type.rank < 2)
        return MITRAL_OK;
    const int64_t columns = graph_constant(graph, weights->inputs[0])->dims[1];
    const node_id sum = reader_of(fusion, id, "Add");
    value_id bias = NO_VALUE;
    bool found = false;
    if (sum != NO_NODE && graph->nodes[sum].inputs[0] != graph->nodes[sum].inputs[1]) {
        const size_t side = graph->nodes[sum].inputs[0] == node->outputs[0] ? 1 : 0;
        const struct value_type *type = &graph->values[graph->nodes[sum].inputs[side]].type;
        if (type->rank <= graph->values[node->outputs[0]].type.rank)
            TRY(make_bias(graph, graph->nodes[sum].inputs[side], columns, &bias, &found));
    }
    if (found)
        node_take_over(graph, id, sum);
    return become(fusion, id, "QuantizedMatMul", data, weights, weights->inputs[0], bias);
}

/* The weights of a Gemm, turned where they lie by columns. */
static mitral_status turn_weights(struct graph *graph, const struct node *weights, value_id *out)
{
    const mitral_tensor *w = graph_constant(graph, weights->inputs[0]);
    mitral_tensor turned;
    tensor_set(&turned, w->dtype, 2, (int64_t[]){w->dims[1], w->dims[0]});
    uint8_t *data = turned.data = arena_allocate(graph->arena, tensor_bytes(w) + 1);
    const char *name = arena_format(graph->arena, "%s.turned", graph->values[weights->inputs[0]].name);
    if (!data || !name)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < w->dims[0]; i++)
        for (int64_t j = 0; j < w->dims[1]; j++)
            data[j * w->dims[0] + i] = ((const uint8_t *)w->data)[i * w->dims[1] + j];
    return graph_add_constant(graph, name, &turned, true, out);
}

static mitral_status fuse_gemm(struct fusion *fusion, node_id id)
{
    struct graph *graph = fusion->graph;
    const struct attributes *attributes = &graph->nodes[id].attributes;
    const bool turned = attribute_int(attributes, "transB", 0) != 0;
    const struct node *data = find_data(graph, graph->nodes[id].inputs[0]), *weights = find_weights(graph, graph->nodes[id].inputs[1], turned ? 0 : 1);
    if (!data || !weights || attribute_int(attributes, "transA", 0) != 0 || attribute_float(attributes, "alpha", 1) != 1
        || attribute_float(attributes, "beta", 1) != 1)
        return MITRAL_OK;
    const value_id c = node_input(&graph->nodes[id], 2);
    value_id bias = NO_VALUE, w = weights->inputs[0];
    bool found = true;
    if (c != NO_VALUE)
        TRY(make_bias(graph, c, graph_constant(graph, w)->dims[turned ? 0 : 1], &bias, &found));
    if (!found)
        return MITRAL_OK;
    if (turned)
        TRY(turn_weights(graph, weights, &w));
    return become(fusion, id, "QuantizedMatMul", data, weights, w, bias);
}

mitral_status pass_fuse_quantized(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    struct fusion fusion = {.graph = graph, .changed = changed};
    TRY(graph_find_uses(graph, &fusion.uses));
    mitral_status status = MITRAL_OK;
    for (size_t i = 0; i < graph->node_count && status == MITRAL_OK; i++) {
        const struct node *node = &graph->nodes[i];
        if (!node->op)
            continue;
        if (node_is(node, "Conv"))
            status = fuse_convolution(&fusion, (node_id)i);
        else if (node_is(node, "MatMul"))
            status = fuse_matmul(&fusion, (node_id)i);
        else if (node_is(node, "Gemm"))
            status = fuse_gemm(&fusion, (node_id)i);
    }
    graph_free_uses(graph, &fusion.uses);
    return status;
}
