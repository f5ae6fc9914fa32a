/* --precision bf16: which nodes compute in bfloat16, for the graph as a whole: a minimum cut over what each node takes in either type and
 * what converting a value between two nodes costs. Only products (convolutions, matrix products of constant weights) gain; nodes that
 * merely pick or move elements go along where that saves conversions. Everything else, sums of many terms, exponentials, normalizations
 * and what makes an output of the graph, stays in float32, and products accumulate in float32 too. Conversions become Cast nodes, one for a
 * value however many read it. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/minimum_cut.h"
#include "compiler/passes/passes.h"
#include "compiler/planar.h"
#include "runtime/cpu.h"

enum { WEIGHTS = 1, BIAS = 2, RESIDUAL = 3 };

/* Costs are in multiplications and additions of float32 at full speed; a byte moved costs about ten of them. */
enum { BYTE = 10, UNKNOWN_DIM = 32 };

struct choice {
    bool either, bfloat16;
    uint32_t vertex;
    int64_t cost[2];          /* in float32, in bfloat16 */
};

struct precision {
    struct graph *graph;
    struct graph_uses uses;
    struct choice *choices;   /* [node] */
    size_t node_count;
    uint32_t vertex_count;
};

static bool is_float(const struct graph *graph, value_id value)
{
    return value != NO_VALUE && graph->values[value].type.kind == MITRAL_TENSOR && graph->values[value].type.dtype == MITRAL_FLOAT;
}

static int64_t bounded(double count)
{
    return count < 1e15 ? (int64_t)count : (int64_t)1e15;
}

static double elements(const struct value_type *type)
{
    double count = 1;
    for (int32_t i = 0; i < type->rank; i++)
        count *= type->dims[i] < 0 ? UNKNOWN_DIM : (double)type->dims[i];
    return count;
}

static double rounded_up(int64_t count, int64_t step)
{
    return (double)((count + step - 1) / step * step);
}

/* How many times more products the CPU does in bfloat16. */
static double speed(void)
{
    return cpu_isa() == ISA_AMX ? 8 : 2;
}

/* ---- what nodes cost -------------------------------------------------------------------------------------------------- */

static bool is_convolution(const struct node *node)
{
    return node_is(node, "Conv") || node_is_own(node, "Convolution");
}

static bool is_transposed(const struct node *node)
{
    return node_is(node, "ConvTranspose") || node_is_own(node, "ConvolutionTranspose");
}

/* It takes operands of one type, its bias too. */
static bool is_gemm(const struct node *node)
{
    return node_is(node, "Gemm") || node_is_own(node, "Gemm");
}

static bool is_matrix_product(const struct node *node)
{
    return node_is(node, "MatMul") || node_is_own(node, "MatMul") || is_gemm(node);
}

static enum convolution_way way_of(const struct graph *graph, const struct node *node)
{
    struct convolution_shape shape;
    if (!is_convolution(node) || !planar_convolution_of(graph, node, &shape))
        return WAY_NONE;
    shape.input_layout = shape.output_layout = shape.residual_layout = LAYOUT_CHANNELS_LAST;
    return planar_convolution_preferred(&shape) ? planar_convolution_way(&shape) : WAY_NONE;
}

/* It can take and give float32 and multiply in bfloat16 inside (planar.convolution, attribute "bfloat16"). */
static bool rounds_inside(const struct graph *graph, const struct node *node)
{
    return planar_pair_blocks() && way_of(graph, node) == WAY_POINTWISE_CHANNELS;
}

/* Winograd's products are fewer; bfloat16 has no such way here. */
static double float_cost(const struct graph *graph, const struct node *node, double flops)
{
    if (is_transposed(node))
        return 1.2 * flops;
    if (rounds_inside(graph, node))
        return flops / 2; /* no tiles, whatever the CPU has */
    return way_of(graph, node) == WAY_WINOGRAD ? flops / 2.4 : flops;
}

static bool weigh_product(const struct graph *graph, const struct node *node, struct choice *out)
{
    const mitral_tensor *weights = graph_constant(graph, node_input(node, WEIGHTS));
    const struct value_type *x = &graph->values[node->inputs[0]].type, *y = &graph->values[node->outputs[0]].type;
    if (!weights || weights->dtype != MITRAL_FLOAT || weights->rank < 2 || x->rank < 1 || y->rank < 1)
        return false;
    int64_t depth, columns;
    double pixels = 1;
    if (is_matrix_product(node)) {
        const bool transposed = attribute_int(&node->attributes, "transB", 0) != 0;
        const value_id bias = is_gemm(node) ? node_input(node, BIAS) : NO_VALUE;
        if (weights->rank != 2 || (bias != NO_VALUE && !graph_constant(graph, bias)) || attribute_int(&node->attributes, "transA", 0) != 0)
            return false;
        depth = weights->dims[transposed ? 1 : 0];
        columns = weights->dims[transposed ? 0 : 1];
        pixels = elements(y) / (double)(columns > 0 ? columns : 1);
    } else {
        if (attribute_int(&node->attributes, "group", 1) != 1 || y->rank < 3 || y->rank > 5 || x->rank != y->rank)
            return false;
        const bool transposed = is_transposed(node);
        columns = weights->dims[transposed ? 1 : 0];
        depth = weights->dims[transposed ? 0 : 1];
        const struct value_type *walked = transposed ? x : y; /* each of its pixels meets every tap */
        for (int32_t i = 2; i < weights->rank; i++)
            pixels *= (double)weights->dims[i];
        for (int32_t i = 0; i < walked->rank; i++)
            pixels *= i == 1 ? 1 : walked->dims[i] < 0 ? UNKNOWN_DIM : (double)walked->dims[i];
    }
    if (depth < 8 || columns < 8)
        return false;
    const double flops = 2 * pixels * (double)depth * rounded_up(columns, 16), bytes = (double)tensor_count(weights) * BYTE;
    const double padded = 2 * pixels * rounded_up(depth, cpu_isa() == ISA_AMX ? 32 : 2) * rounded_up(columns, 16);
    const double moved = (elements(x) + elements(y)) * BYTE;
    out->cost[0] = bounded(float_cost(graph, node, flops) + 4 * bytes + 4 * moved);
    out->cost[1] = bounded(padded / speed() + 2 * bytes + 2 * moved);
    return true;
}

/* Nodes that pick or move elements, all of whose floats are computed. */
static bool weigh_carrier(const struct graph *graph, const struct node *node, struct choice *out)
{
    if (!((node->op->traits & OP_MOVES_DATA) || node_is(node, "MaxPool")) || *op_domain(node->op) || node->subgraph_count
        || node_is(node, "Pad") || node_is(node, "Identity"))
        return false;
    for (size_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NO_VALUE && graph->values[node->inputs[i]].type.kind != MITRAL_TENSOR)
            return false;
        else if (is_float(graph, node->inputs[i]) && graph_constant(graph, node->inputs[i]))
            return false;
    double moved = 0;
    for (size_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NO_VALUE)
            moved += 2 * elements(&graph->values[node->outputs[i]].type) * BYTE;
    out->cost[0] = bounded(4 * moved);
    out->cost[1] = bounded(2 * moved);
    return true;
}

static void weigh(const struct precision *precision, size_t id)
{
    const struct graph *graph = precision->graph;
    const struct node *node = &graph->nodes[id];
    struct choice *choice = &precision->choices[id];
    if (!node->op || !node->input_count || !node->output_count || !is_float(graph, node->inputs[0]) || graph_constant(graph, node->inputs[0]))
        return;
    for (size_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NO_VALUE && precision->uses.is_output[node->outputs[i]])
            return;
    if (!is_float(graph, node->outputs[0]))
        return;
    choice->either = is_convolution(node) || is_transposed(node) || is_matrix_product(node) ? weigh_product(graph, node, choice)
                                                                                            : weigh_carrier(graph, node, choice);
}

/* Inputs whose type is the node's. */
static bool follows(const struct precision *precision, size_t id, size_t index)
{
    const struct graph *graph = precision->graph;
    const struct node *node = &graph->nodes[id];
    if (!precision->choices[id].either || !is_float(graph, node->inputs[index]) || graph_constant(graph, node->inputs[index]))
        return false;
    const bool product = is_convolution(node) || is_transposed(node) || is_matrix_product(node);
    return !product || index == 0 || index == RESIDUAL;
}

/* ---- the cut ---------------------------------------------------------------------------------------------------------- */

static uint32_t side_of(const struct precision *precision, node_id node)
{
    return node != NO_NODE && precision->choices[node].either ? precision->choices[node].vertex : CUT_SOURCE;
}

static bool is_weighed(const struct graph *graph, value_id value)
{
    return is_float(graph, value) && !graph->values[value].constant;
}

/* Two vertices of a value: "some reader wants bfloat16" and "some reader wants float32". float32 is the source's side. */
static mitral_status add_value(const struct precision *precision, struct cut *cut, value_id value, uint32_t wants_bfloat16)
{
    const struct graph *graph = precision->graph;
    const uint32_t producer = side_of(precision, graph->values[value].producer), wants_float = wants_bfloat16 + 1;
    const int64_t cost = bounded(6 * BYTE * elements(&graph->values[value].type)) + 1;
    TRY(cut_add(cut, producer, wants_bfloat16, cost));
    TRY(cut_add(cut, wants_float, producer, cost));
    if (precision->uses.is_output[value])
        TRY(cut_add(cut, CUT_SOURCE, wants_float, CUT_INFINITE));
    for (uint32_t i = precision->uses.offsets[value]; i < precision->uses.offsets[value + 1]; i++) {
        const node_id reader = precision->uses.nodes[i];
        for (size_t j = 0; j < graph->nodes[reader].input_count; j++) {
            if (graph->nodes[reader].inputs[j] != value)
                continue;
            const uint32_t side = follows(precision, reader, j) ? side_of(precision, reader) : CUT_SOURCE;
            TRY(cut_add(cut, wants_bfloat16, side, CUT_INFINITE));
            TRY(cut_add(cut, side, wants_float, CUT_INFINITE));
        }
    }
    return MITRAL_OK;
}

static mitral_status fill_cut(const struct precision *precision, struct cut *cut)
{
    for (size_t i = 0; i < precision->node_count; i++)
        if (precision->choices[i].either) {
            TRY(cut_add(cut, precision->choices[i].vertex, CUT_SINK, precision->choices[i].cost[0]));
            TRY(cut_add(cut, CUT_SOURCE, precision->choices[i].vertex, precision->choices[i].cost[1]));
        }
    uint32_t vertex = precision->vertex_count;
    for (size_t v = 0; v < precision->graph->value_count; v++)
        if (is_weighed(precision->graph, (value_id)v)) {
            TRY(add_value(precision, cut, (value_id)v, vertex));
            vertex += 2;
        }
    return MITRAL_OK;
}

static mitral_status choose(struct precision *precision)
{
    const struct graph *graph = precision->graph;
    uint32_t count = 2;
    for (size_t i = 0; i < precision->node_count; i++) {
        weigh(precision, i);
        if (precision->choices[i].either)
            precision->choices[i].vertex = count++;
    }
    precision->vertex_count = count;
    for (size_t v = 0; v < graph->value_count; v++)
        count += is_weighed(graph, (value_id)v) ? 2 : 0;
    struct cut cut;
    TRY(cut_create(&cut, graph->context, count));
    bool *in_float = mitral_allocate(graph->context, count);
    mitral_status status = in_float ? fill_cut(precision, &cut) : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        status = cut_solve(&cut, in_float);
    for (size_t i = 0; i < precision->node_count && status == MITRAL_OK; i++)
        precision->choices[i].bfloat16 = precision->choices[i].either && !in_float[precision->choices[i].vertex];
    mitral_release(graph->context, in_float);
    cut_destroy(&cut);
    return status;
}

/* ---- the answer into the graph ------------------------------------------------------------------------------------------ */

static mitral_status round_weights(struct graph *graph, node_id id, size_t index)
{
    const value_id from = graph->nodes[id].inputs[index];
    const mitral_tensor *weights = graph_constant(graph, from);
    const size_t count = (size_t)tensor_count(weights);
    mitral_tensor rounded = *weights;
    uint16_t *data = arena_allocate(graph->arena, (count + 1) * sizeof *data);
    const char *name = arena_format(graph->arena, "%s.bfloat16", graph->values[from].name);
    value_id to;
    if (!data || !name)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        data[i] = float_to_bfloat16(((const float *)weights->data)[i]);
    tensor_set(&rounded, MITRAL_BFLOAT16, weights->rank, weights->dims);
    rounded.data = data;
    TRY(graph_add_constant(graph, name, &rounded, true, &to));
    graph->nodes[id].inputs[index] = to;
    return MITRAL_OK;
}

static mitral_status add_cast(struct graph *graph, value_id from, int32_t dtype, value_id *out)
{
    struct attributes attributes = {0};
    struct value_type type = graph->values[from].type;
    const char *name = arena_format(graph->arena, "%s.%s", graph->values[from].name, mitral_dtype_name((mitral_dtype)dtype));
    if (!name)
        return MITRAL_NO_MEMORY;
    type.dtype = dtype;
    TRY(attributes_set_int(&attributes, graph->arena, "to", dtype));
    TRY(graph_add_value(graph, name, &type, out));
    return graph_add_node(graph, op_find("", "Cast"), 0, name, &attributes, &from, 1, out, 1, NULL);
}

static mitral_status apply(struct precision *precision, size_t *products)
{
    struct graph *graph = precision->graph;
    const size_t value_count = graph->value_count;
    value_id *converted = mitral_allocate(graph->context, (value_count + 1) * sizeof *converted);
    bool *bfloat16 = mitral_allocate(graph->context, value_count + 1);
    mitral_status status = converted && bfloat16 ? MITRAL_OK : MITRAL_NO_MEMORY;
    for (size_t v = 0; v < value_count && status == MITRAL_OK; v++)
        converted[v] = NO_VALUE;
    for (size_t i = 0; i < precision->node_count && status == MITRAL_OK; i++)
        for (size_t j = 0; precision->choices[i].bfloat16 && j < graph->nodes[i].output_count; j++)
            if (is_float(graph, graph->nodes[i].outputs[j]))
                bfloat16[graph->nodes[i].outputs[j]] = true;
    for (size_t i = 0; i < precision->node_count && status == MITRAL_OK; i++) {
        if (!graph->nodes[i].op)
            continue;
        for (size_t j = 0; j < graph->nodes[i].input_count && status == MITRAL_OK; j++) {
            const value_id input = graph->nodes[i].inputs[j];
            if (!is_float(graph, input) || graph->values[input].constant)
                continue;
            const bool wants = precision->choices[i].bfloat16 && follows(precision, i, j);
            if (wants == bfloat16[input])
                continue;
            if (converted[input] == NO_VALUE)
                status = add_cast(graph, input, wants ? MITRAL_BFLOAT16 : MITRAL_FLOAT, &converted[input]);
            graph->nodes[i].inputs[j] = converted[input];
        }
        const struct node *node = &graph->nodes[i];
        if (status == MITRAL_OK && precision->choices[i].bfloat16 && (is_convolution(node) || is_transposed(node) || is_matrix_product(node))) {
            status = round_weights(graph, (node_id)i, WEIGHTS);
            if (status == MITRAL_OK && is_gemm(&graph->nodes[i]) && is_float(graph, node_input(&graph->nodes[i], BIAS)))
                status = round_weights(graph, (node_id)i, BIAS);
            ++*products;
        }
    }
    for (size_t v = 0; v < value_count && status == MITRAL_OK; v++)
        if (bfloat16[v])
            graph->values[v].type.dtype = MITRAL_BFLOAT16;
    mitral_release(graph->context, converted);
    mitral_release(graph->context, bfloat16);
    return status;
}

/* Nodes that keep float32 outside: dilated-parallel blocks, whose kernel rounds where that is accurate enough, and 1×1 convolutions
 * which would have won nothing that conversions do not cost. */
static mitral_status round_inside(const struct precision *precision, size_t *products, size_t *blocks)
{
    struct graph *graph = precision->graph;
    for (size_t i = 0; i < precision->node_count && planar_pair_blocks(); i++) {
        struct node *node = &graph->nodes[i];
        if (!node->op)
            continue;
        const bool block = planar_block_is_one_loop(node);
        if (block || (precision->choices[i].either && !precision->choices[i].bfloat16 && rounds_inside(graph, node))) {
            TRY(attributes_set_int(&node->attributes, graph->arena, "bfloat16", 1));
            ++*(block ? blocks : products);
        }
    }
    return MITRAL_OK;
}

/* Readers of the map that take it as it is: blocks on AMX tiles, as one of their sources. */
static bool only_tiles_read(const struct precision *precision, value_id map)
{
    const struct graph_uses *uses = &precision->uses;
    for (uint32_t i = uses->offsets[map]; i < uses->offsets[map + 1]; i++) {
        const struct node *reader = &precision->graph->nodes[uses->nodes[i]];
        for (size_t j = 0; j < reader->input_count; j++)
            if (reader->inputs[j] == map && !(planar_block_is_one_loop(reader) && j < planar_block_source_count(reader)))
                return false;
    }
    return graph_use_count(uses, map) > 0 && !uses->is_output[map];
}

/* Maps that only blocks on tiles make and read are bfloat16 in memory too: each would round them at once. */
static mitral_status round_between(const struct precision *precision)
{
    struct graph *graph = precision->graph;
    for (size_t i = 0; i < precision->node_count && planar_amx_blocks(); i++) {
        struct node *node = &graph->nodes[i];
        if (!node->op || !planar_block_is_one_loop(node) || graph->values[node->outputs[0]].type.dims[1] % 2 != 0
            || !only_tiles_read(precision, node->outputs[0]))
            continue;
        TRY(attributes_set_int(&node->attributes, graph->arena, "output_bfloat16", 1));
        graph->values[node->outputs[0]].type.dtype = MITRAL_BFLOAT16;
    }
    return MITRAL_OK;
}

/* planar.convolution can read (else write) channels-last maps of bfloat16 although it computes in float32. */
static bool converts_itself(const struct graph *graph, const struct node *node, bool reads)
{
    struct convolution_shape shape;
    if (!is_convolution(node) || way_of(graph, node) == WAY_NONE || !planar_convolution_of(graph, node, &shape))
        return false;
    shape.input_layout = shape.output_layout = shape.residual_layout = LAYOUT_CHANNELS_LAST;
    if (convolution_taps_pay(&shape))
        return false;
    return reads ? convolution_reads_rounded(&shape) && shape.channels % 2 == 0 : convolution_writes_rounded(&shape);
}

/* A conversion between such a convolution and a single other reader or maker falls away. */
static mitral_status join_conversion(struct graph *graph, const struct graph_uses *uses, node_id id)
{
    struct node *cast = &graph->nodes[id];
    const value_id from = cast->inputs[0], to = cast->outputs[0];
    if (uses->is_output[from] || uses->is_output[to])
        return MITRAL_OK;
    if (graph->values[to].type.dtype == MITRAL_BFLOAT16) {
        const node_id maker = graph->values[from].producer;
        if (maker == NO_NODE || graph_use_count(uses, from) != 1 || !converts_itself(graph, &graph->nodes[maker], false))
            return MITRAL_OK;
        TRY(attributes_set_int(&graph->nodes[maker].attributes, graph->arena, "output_bfloat16", 1));
        graph->values[from].type.dtype = MITRAL_BFLOAT16;
    } else {
        for (uint32_t i = uses->offsets[to]; i < uses->offsets[to + 1]; i++) {
            const struct node *reader = &graph->nodes[uses->nodes[i]];
            if (!reader->op || reader->inputs[0] != to || node_input(reader, RESIDUAL) == to || !converts_itself(graph, reader, true))
                return MITRAL_OK;
        }
        for (uint32_t i = uses->offsets[to]; i < uses->offsets[to + 1]; i++)
            TRY(attributes_set_int(&graph->nodes[uses->nodes[i]].attributes, graph->arena, "input_bfloat16", 1));
    }
    graph_replace_uses(graph, to, from);
    graph_remove_node(graph, id);
    return MITRAL_OK;
}

static mitral_status join_conversions(struct graph *graph, size_t first)
{
    struct graph_uses uses;
    TRY(graph_find_uses(graph, &uses));
    mitral_status status = MITRAL_OK;
    for (size_t i = first; i < graph->node_count && status == MITRAL_OK; i++)
        if (graph->nodes[i].op && node_is(&graph->nodes[i], "Cast"))
            status = join_conversion(graph, &uses, (node_id)i);
    graph_free_uses(graph, &uses);
    return status;
}

mitral_status pass_precision(struct graph *graph, const struct pass_options *options, bool *changed)
{
    if (options->precision != MITRAL_PRECISION_BF16)
        return MITRAL_OK;
    if (!cpu_has_avx512_bf16()) {
        mitral_log(graph->context, "precision bf16: this CPU (or MITRAL_ISA) has no bfloat16 arithmetic, all steps compute in f32");
        return MITRAL_OK;
    }
    struct precision precision = {.graph = graph, .node_count = graph->node_count};
    size_t products = 0, blocks = 0;
    TRY(graph_find_uses(graph, &precision.uses));
    precision.choices = mitral_allocate(graph->context, (graph->node_count + 1) * sizeof *precision.choices);
    mitral_status status = precision.choices ? choose(&precision) : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        status = apply(&precision, &products);
    if (status == MITRAL_OK)
        status = round_inside(&precision, &products, &blocks);
    if (status == MITRAL_OK)
        status = round_between(&precision);
    if (status == MITRAL_OK)
        status = join_conversions(graph, precision.node_count);
    *changed = products + blocks > 0;
    if (status == MITRAL_OK && *changed)
        status = graph_sort(graph); /* conversions come before their readers */
    if (status == MITRAL_OK && !*changed)
        mitral_log(graph->context, "precision bf16: no step is faster in bfloat16 here, all compute in f32");
    else if (status == MITRAL_OK)
        mitral_log(graph->context, "precision bf16: %zu convolutions and matrix products and %zu dilated-parallel blocks compute in bfloat16",
                   products, blocks);
    mitral_release(graph->context, precision.choices);
    graph_free_uses(graph, &precision.uses);
    return status;
}
