/* Models in float16, and in bfloat16 on a CPU without arithmetic in that type: everything around the products computes in float32, and
 * converts where the model's inputs, outputs and operators that name a type want it, as ONNX Runtime does. Without arithmetic each convolution
 * would run by plain loops, a hundred times slower; with AVX-512 FP16 a U-Net in float16 still takes three times as long as in float32, which
 * own kernels and all fusions are there for. Intermediates are then not rounded to the narrow type, so results are closer to exact ones than
 * the model's type asks for; the interpreter rounds each step. */
#include <string.h>

#include "compiler/passes/passes.h"
#include "runtime/cpu.h"

/* Work below this is not worth another form. */
static const double least_flops = 1e7;

struct widening {
    struct graph *graph;
    int32_t narrow;           /* the type that goes */
    bool *eligible;           /* [node] */
    value_id *wide;           /* [value] its float32 form; NO_VALUE: none yet */
    bool *moved;              /* [value] read by what only moves elements */
    size_t node_count, value_count;
};

static bool is_narrow(const struct widening *widening, value_id value)
{
    return value != NO_VALUE && widening->graph->values[value].type.kind == MITRAL_TENSOR
           && widening->graph->values[value].type.dtype == widening->narrow;
}

/* Operators whose float inputs and outputs share one type that float32 may take the place of: no types among the attributes. The scales of Resize
 * are float32 anyway. */
static bool is_eligible(const struct widening *widening, const struct node *node)
{
    static const char *const typed[] = {"to", "dtype", "output_dtype", "softmax_precision"};
    static const char *const fixed[] = {"Cast", "CastLike", "BitCast", "Constant", "ConstantOfShape", "QuantizeLinear", "DequantizeLinear",
                                        "Optional", "SequenceConstruct"};
    if (!node->op || node->subgraph_count || *op_domain(node->op) || (node->op->traits & (OP_CONTROL | OP_RANDOM)))
        return false;
    for (size_t i = 0; i < sizeof typed / sizeof *typed; i++)
        if (attribute_has(&node->attributes, typed[i]))
            return false;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (node_is(node, fixed[i]))
            return false;
    bool any = false;
    for (size_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i] == NO_VALUE)
            continue;
        const struct value_type *type = &widening->graph->values[node->inputs[i]].type;
        const bool scales = i > 0 && type->dtype == MITRAL_FLOAT && (node_is(node, "Resize") || node_is(node, "Upsample"));
        if (type->kind != MITRAL_TENSOR || (dtype_is_float(type->dtype) && type->dtype != widening->narrow && !scales))
            return false;
        any = any || type->dtype == widening->narrow;
    }
    for (size_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NO_VALUE && widening->graph->values[node->outputs[i]].type.kind != MITRAL_TENSOR)
            return false;
    return any;
}

static bool is_product(const struct node *node)
{
    return node->op && (node_is(node, "Conv") || node_is(node, "ConvTranspose") || node_is(node, "MatMul") || node_is(node, "Gemm"));
}

/* Multiplications and additions, unknown sizes taken as large. */
static double flops_of(const struct graph *graph, const struct node *node)
{
    if (!node->output_count || node->outputs[0] == NO_VALUE || node->input_count < 2 || node->inputs[1] == NO_VALUE)
        return 0;
    const struct value_type *y = &graph->values[node->outputs[0]].type, *w = &graph->values[node->inputs[1]].type;
    double count = 2;
    for (int32_t i = 0; i < y->rank; i++)
        count *= y->dims[i] < 0 ? 256 : (double)y->dims[i];
    if (w->rank < 2)
        return count;
    if (node_is(node, "MatMul") || node_is(node, "Gemm"))
        return count * (double)(w->dims[w->rank - 2] < 0 ? 256 : w->dims[w->rank - 2]);
    for (int32_t i = 1; i < w->rank; i++)
        count *= w->dims[i] < 0 ? 16 : (double)w->dims[i];
    return count;
}

static bool is_worth_it(const struct widening *widening)
{
    const struct graph *graph = widening->graph;
    double flops = 0;
    for (size_t i = 0; i < graph->node_count; i++)
        if (is_product(&graph->nodes[i]) && graph->nodes[i].input_count && is_narrow(widening, graph->nodes[i].inputs[0]))
            flops += flops_of(graph, &graph->nodes[i]);
    return flops >= least_flops;
}

static const char *wide_name(struct graph *graph, value_id value)
{
    return arena_format(graph->arena, "%s.float32", graph->values[value].name);
}

static mitral_status widen_constant(struct widening *widening, value_id value, value_id *out)
{
    struct graph *graph = widening->graph;
    const mitral_tensor *from = graph->values[value].constant;
    const size_t count = (size_t)tensor_count(from);
    const char *name = wide_name(graph, value);
    float *data = arena_allocate(graph->arena, (count + 1) * sizeof *data);
    if (!data || !name)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        data[i] = (float)tensor_get_double(from, (int64_t)i);
    mitral_tensor to = *from;
    tensor_set(&to, MITRAL_FLOAT, from->rank, from->dims);
    to.data = data;
    return graph_add_constant(graph, name, &to, true, out);
}

static mitral_status add_cast(struct graph *graph, const char *name, value_id from, value_id to, int32_t dtype)
{
    struct attributes attributes = {0};
    TRY(attributes_set_int(&attributes, graph->arena, "to", dtype));
    return graph_add_node(graph, op_find("", "Cast"), 0, name, &attributes, &from, 1, &to, 1, NULL);
}

/* A new value of that one's shape in float32. */
static mitral_status add_wide(struct widening *widening, value_id value, value_id *out)
{
    struct graph *graph = widening->graph;
    struct value_type type = graph->values[value].type;
    const char *name = wide_name(graph, value);
    type.dtype = MITRAL_FLOAT;
    return name ? graph_add_value(graph, name, &type, out) : MITRAL_NO_MEMORY;
}

static mitral_status widen_input(struct widening *widening, value_id value, value_id *out)
{
    struct graph *graph = widening->graph;
    if (widening->wide[value] == NO_VALUE) {
        value_id wide;
        if (graph_constant(graph, value)) {
            TRY(widen_constant(widening, value, &wide));
        } else {
            TRY(add_wide(widening, value, &wide));
            TRY(add_cast(graph, graph->values[wide].name, value, wide, MITRAL_FLOAT));
        }
        widening->wide[value] = wide;
    }
    *out = widening->wide[value];
    return MITRAL_OK;
}

/* The node makes the float32 form; the old value, for whoever still reads it, is a conversion of that. */
static mitral_status widen_output(struct widening *widening, size_t id, size_t index)
{
    struct graph *graph = widening->graph;
    const value_id value = graph->nodes[id].outputs[index];
    value_id wide;
    TRY(add_wide(widening, value, &wide));
    graph->nodes[id].outputs[index] = wide;
    graph->values[wide].producer = (node_id)id;
    graph->values[value].producer = NO_NODE;
    widening->wide[value] = wide;
    return add_cast(graph, graph->values[value].name, wide, value, widening->narrow);
}

static bool moves_data(const struct node *node)
{
    return node->op && (node->op->traits & OP_MOVES_DATA) && !node_is(node, "Cast");
}

static void find_moved(struct widening *widening)
{
    for (size_t i = 0; i < widening->node_count; i++) {
        const struct node *node = &widening->graph->nodes[i];
        for (size_t j = 0; moves_data(node) && j < node->input_count; j++)
            if (node->inputs[j] != NO_VALUE)
                widening->moved[node->inputs[j]] = true;
    }
}

/* Casts of the file between float32 and the narrow type, next to what computes, are conversions like those made here: what float32 they
 * come from, or have become, is taken as it is. Next to what only moves elements, which ONNX Runtime does in the narrow type, they round. */
static void pass_over_casts(struct widening *widening, bool into)
{
    struct graph *graph = widening->graph;
    for (size_t i = 0; i < widening->node_count; i++) {
        struct node *node = &graph->nodes[i];
        if (!node->op || !node_is(node, "Cast") || node_input(node, 0) == NO_VALUE || node_output(node, 0) == NO_VALUE)
            continue;
        const value_id from = node->inputs[0], to = node->outputs[0], wide = widening->wide[from];
        const struct value_type *type = &graph->values[into ? from : to].type;
        if (!is_narrow(widening, into ? to : from) || type->kind != MITRAL_TENSOR || type->dtype != MITRAL_FLOAT)
            continue;
        if (into && !widening->moved[to])
            widening->wide[to] = from;
        else if (!into && wide != NO_VALUE && graph->values[wide].producer != NO_NODE && !moves_data(&graph->nodes[graph->values[wide].producer]))
            node->inputs[0] = wide;
    }
}

static mitral_status widen(struct widening *widening)
{
    struct graph *graph = widening->graph;
    find_moved(widening);
    pass_over_casts(widening, true);
    for (size_t i = 0; i < widening->node_count; i++)
        for (size_t j = 0; widening->eligible[i] && j < graph->nodes[i].output_count; j++)
            if (is_narrow(widening, graph->nodes[i].outputs[j]))
                TRY(widen_output(widening, i, j));
    for (size_t i = 0; i < widening->node_count; i++)
        for (size_t j = 0; widening->eligible[i] && j < graph->nodes[i].input_count; j++) {
            value_id wide;
            if (!is_narrow(widening, graph->nodes[i].inputs[j]))
                continue;
            TRY(widen_input(widening, graph->nodes[i].inputs[j], &wide));
            graph->nodes[i].inputs[j] = wide;
        }
    pass_over_casts(widening, false);
    return graph_sort(graph);
}

static mitral_status widen_type(struct graph *graph, int32_t narrow, bool *changed)
{
    struct widening widening = {.graph = graph, .narrow = narrow, .node_count = graph->node_count, .value_count = graph->value_count};
    if (!is_worth_it(&widening))
        return MITRAL_OK;
    widening.eligible = mitral_allocate(graph->context, graph->node_count + 1);
    widening.wide = mitral_allocate(graph->context, (graph->value_count + 1) * sizeof *widening.wide);
    widening.moved = mitral_allocate(graph->context, graph->value_count + 1);
    mitral_status status = widening.eligible && widening.wide && widening.moved ? MITRAL_OK : MITRAL_NO_MEMORY;
    for (size_t v = 0; v < widening.value_count && status == MITRAL_OK; v++)
        widening.wide[v] = NO_VALUE;
    for (size_t i = 0; i < widening.node_count && status == MITRAL_OK; i++)
        widening.eligible[i] = is_eligible(&widening, &graph->nodes[i]);
    if (status == MITRAL_OK)
        status = widen(&widening);
    *changed = true;
    mitral_release(graph->context, widening.eligible);
    mitral_release(graph->context, widening.wide);
    mitral_release(graph->context, widening.moved);
    return status;
}

mitral_status pass_widen(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    TRY(widen_type(graph, MITRAL_FLOAT16, changed));
    if (!cpu_has_avx512_bf16())
        TRY(widen_type(graph, MITRAL_BFLOAT16, changed));
    return MITRAL_OK;
}
