/* Which values lie plain (N, C, spatial…) and which channels-last, for the graph as a whole: a minimum cut over what the nodes
 * cost in either layout and what reordering a value between two nodes costs. Changes of layout become mitral.Reorder nodes, one for a
 * value however many read it.
 *
 * A node reads and writes its maps in one layout. Vertices of the cut: each node that has a choice; and for each value two that
 * stand for "some reader wants it channels-last" and "some reader wants it plain". Plain is the source's side. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/minimum_cut.h"
#include "compiler/passes/passes.h"
#include "compiler/planar.h"

enum role { PLAIN_ONLY, CHANNELS_ONLY, EITHER };

struct choice {
    enum role role;
    uint32_t vertex;          /* of EITHER */
    int64_t plain_cost, channels_cost;
    bool channels_last;       /* the answer */
};

struct layouts {
    struct graph *graph;
    const struct pass_options *options;
    struct graph_uses uses;
    struct choice *choices;   /* [node] */
    size_t node_count;        /* before reorders are added */
    uint32_t vertex_count;
};

/* Values of unknown size count as if each unknown dimension were this. */
enum { UNKNOWN_DIM = 32 };

/* Maps are what layouts tell apart: floats and bytes of rank 3 to 5. */
static bool is_map(const struct graph *graph, value_id value)
{
    if (value == NO_VALUE)
        return false;
    const struct value_type *type = &graph->values[value].type;
    return type->kind == MITRAL_TENSOR && type->rank >= 3 && type->rank <= 5
           && (type->dtype == MITRAL_FLOAT || type->dtype == MITRAL_BFLOAT16 || type->dtype == MITRAL_FLOAT16 || type->dtype == MITRAL_UINT8
               || type->dtype == MITRAL_INT8);
}

static bool layouts_agree(const struct value_type *type)
{
    if (type->dims[1] == 1)
        return true;
    for (int32_t i = 2; i < type->rank; i++)
        if (type->dims[i] != 1)
            return false;
    return true;
}

static int64_t bytes_of(const struct graph *graph, value_id value)
{
    if (value == NO_VALUE)
        return 0;
    const struct value_type *type = &graph->values[value].type;
    int64_t bytes = (int64_t)mitral_dtype_size((mitral_dtype)type->dtype);
    for (int32_t i = 0; i < type->rank; i++)
        if (__builtin_mul_overflow(bytes, type->dims[i] < 0 ? UNKNOWN_DIM : type->dims[i], &bytes))
            return INT64_MAX / 64;
    return bytes < INT64_MAX / 64 ? bytes : INT64_MAX / 64;
}

/* ---- what nodes cost -------------------------------------------------------------------------------------------------- */

static bool is_channel_concat(const struct graph *graph, const struct node *node)
{
    const struct value_type *type = &graph->values[node->outputs[0]].type;
    int64_t axis = attribute_int(&node->attributes, "axis", 1);
    axis += axis < 0 ? type->rank : 0;
    if (!node_is(node, "Concat") || axis != 1)
        return false;
    for (size_t i = 0; i < node->input_count; i++)
        if (!is_map(graph, node->inputs[i]))
            return false;
    return true;
}

static bool is_joined_scale_shift(const struct graph *graph, const struct node *node)
{
    if (!node_is_own(node, "ConcatScaleShift"))
        return false;
    for (size_t i = 0; i < (size_t)attribute_int(&node->attributes, "parts", 1); i++)
        if (!is_map(graph, node_input(node, i)) || graph_constant(graph, node->inputs[i]))
            return false;
    return true;
}

/* Elementwise kernels give the output the layout of the first input that has its shape: that one must be a map that is computed. */
static bool follows_layout(const struct graph *graph, const struct node *node)
{
    const struct kernel *kernel = op_kernel(node->op);
    if (!(node->op->traits & OP_LAYOUT_ANY) || !kernel || !(kernel->flags & KERNEL_ANY_LAYOUT) || node->output_count != 1
        || !is_map(graph, node->outputs[0]))
        return false;
    const struct value_type *output = &graph->values[node->outputs[0]].type;
    for (size_t i = 0; i < node->input_count; i++) {
        value_id input = node->inputs[i];
        if (input == NO_VALUE || !type_same_dims(&graph->values[input].type, output))
            continue;
        return !graph_constant(graph, input) && is_map(graph, input);
    }
    return false;
}

/* Outputs that follow the node's layout: the first, of a Split all. */
static bool output_carries_layout(const struct node *node, size_t index)
{
    return index == 0 || node_is(node, "Split");
}

static bool is_channel_split(const struct graph *graph, const struct node *node)
{
    const int32_t rank = graph->values[node->inputs[0]].type.rank;
    int64_t axis = attribute_int(&node->attributes, "axis", 0);
    axis += axis < 0 ? rank : 0;
    enum { OUTPUTS = 64 }; /* as many as a kernel's shape function keeps layouts of */
    if (!node_is(node, "Split") || axis != 1 || node->output_count > OUTPUTS)
        return false;
    for (size_t i = 0; i < node->output_count; i++)
        if (!is_map(graph, node->outputs[i]))
            return false;
    return true;
}

/* Resizing of known factors that leaves images and channels alone. */
static bool is_spatial_resize(const struct graph *graph, const struct node *node)
{
    const struct value_type *from = &graph->values[node->inputs[0]].type, *to = &graph->values[node->outputs[0]].type;
    if (!(node_is(node, "Resize") || node_is(node, "Upsample")) || from->rank != to->rank || from->dims[1] < 0
        || from->dims[1] != to->dims[1]
        || strcmp(attribute_string(&node->attributes, "coordinate_transformation_mode", ""), "tf_crop_and_resize") == 0)
        return false;
    for (size_t i = 1; i < node->input_count; i++)
        if (node->inputs[i] != NO_VALUE && !graph_constant(graph, node->inputs[i]))
            return false;
    return true;
}

/* Quantization by one scale works element by element. */
static bool is_quantizer(const struct graph *graph, const struct node *node)
{
    if (!(node_is(node, "QuantizeLinear") || node_is(node, "DequantizeLinear")) || attribute_int(&node->attributes, "block_size", 0) != 0)
        return false;
    for (size_t i = 1; i < node->input_count; i++) {
        const mitral_tensor *constant = node->inputs[i] == NO_VALUE ? NULL : graph_constant(graph, node->inputs[i]);
        if (node->inputs[i] != NO_VALUE && (!constant || tensor_count(constant) != 1))
            return false;
    }
    return true;
}

static bool one_output_is_used(const struct layouts *layouts, const struct node *node)
{
    for (size_t i = 1; i < node->output_count; i++)
        if (node->outputs[i] != NO_VALUE
            && (graph_use_count(&layouts->uses, node->outputs[i]) || layouts->uses.is_output[node->outputs[i]]))
            return false;
    return true;
}

static void weigh_node(const struct layouts *layouts, const struct node *node, struct choice *out)
{
    const struct graph *graph = layouts->graph;
    *out = (struct choice){.role = PLAIN_ONLY};
    if (!node->op || node->subgraph_count || !node->output_count || node->outputs[0] == NO_VALUE || !node->input_count
        || !is_map(graph, node->inputs[0]) || !is_map(graph, node->outputs[0]) || graph_constant(graph, node->inputs[0])
        || !(one_output_is_used(layouts, node) || node_is(node, "Split")))
        return;
    const int64_t in = bytes_of(graph, node->inputs[0]), result = bytes_of(graph, node->outputs[0]);
    struct convolution_shape shape;
    if ((node_is(node, "Conv") || node_is_own(node, "Convolution")) && planar_convolution_of(graph, node, &shape)
        && planar_convolution_likes_planes(&shape) && !planar_convolution_has_rounded(node)) {
        out->role = EITHER;
    } else if (node_is_own(node, "DilatedParallelBlock")) {
        out->role = planar_block_likes_planes(graph, node) ? PLAIN_ONLY : CHANNELS_ONLY;
    } else if (node_is(node, "Conv") || node_is_own(node, "Convolution") || node_is(node, "ConvTranspose")
        || node_is_own(node, "ConvolutionTranspose") || node_is_own(node, "QuantizedConvolution")) {
        out->role = CHANNELS_ONLY; /* its plain form is this one between two reorders */
    } else if (node_is(node, "MaxPool") || node_is(node, "AveragePool") || node_is(node, "GlobalAveragePool")
               || node_is(node, "GlobalMaxPool")) {
        out->role = EITHER;
        out->plain_cost = in;
    } else if (is_channel_concat(graph, node)) {
        /* Of one image it is free in plain layout: its inputs are computed where it wants them. */
        out->role = EITHER;
        out->channels_cost = 2 * result;
        out->plain_cost = graph->values[node->outputs[0]].type.dims[0] == 1 ? 0 : 2 * result;
    } else if (is_joined_scale_shift(graph, node)) {
        out->role = EITHER;
    } else if (node_is(node, "LRN")) {
        out->role = EITHER;
        out->plain_cost = 4 * result; /* reordered on the way in and out */
    } else if (is_spatial_resize(graph, node)) {
        out->role = EITHER;
        out->plain_cost = result;
    } else if (is_channel_split(graph, node)) {
        out->role = EITHER;
    } else if (follows_layout(graph, node) || is_quantizer(graph, node)) {
        out->role = EITHER;
    }
}

/* Inputs that the node reads as well in one layout as in the other. */
static bool takes_any_layout(const struct node *node, size_t index)
{
    return node_is_own(node, "DilatedParallelBlock") && planar_block_reads_any_layout(node, index);
}

/* Inputs of the node that follow its layout. */
static bool carries_layout(const struct graph *graph, const struct node *node, size_t index)
{
    value_id input = node->inputs[index];
    if (!is_map(graph, input) || graph_constant(graph, input))
        return false;
    if (node_is(node, "Conv") || node_is_own(node, "Convolution"))
        return index == 0 || index == 3;
    if (node_is(node, "Concat"))
        return true;
    if (node_is_own(node, "ConcatScaleShift"))
        return index < (size_t)attribute_int(&node->attributes, "parts", 1);
    if (node->op->traits & OP_LAYOUT_ANY)
        return node->outputs[0] != NO_VALUE && graph->values[input].type.rank == graph->values[node->outputs[0]].type.rank;
    return index == 0;
}

/* ---- the cut ---------------------------------------------------------------------------------------------------------- */

static uint32_t side_of(const struct choice *choice)
{
    return choice->role == EITHER ? choice->vertex : choice->role == CHANNELS_ONLY ? CUT_SINK : CUT_SOURCE;
}

/* Who computes the value: its vertex. */
static uint32_t producer_side(const struct layouts *layouts, value_id value)
{
    node_id producer = layouts->graph->values[value].producer;
    const struct node *node = producer == NO_NODE ? NULL : &layouts->graph->nodes[producer];
    for (size_t i = 0; node && i < node->output_count; i++)
        if (node->outputs[i] == value && output_carries_layout(node, i))
            return side_of(&layouts->choices[producer]);
    return CUT_SOURCE;
}

static mitral_status add_value(const struct layouts *layouts, struct cut *cut, value_id value, uint32_t wants_channels,
                               uint32_t wants_plain)
{
    const struct graph *graph = layouts->graph;
    const uint32_t producer = producer_side(layouts, value);
    const int64_t bytes = bytes_of(graph, value);
    /* A transposition reads and writes; its strided side costs about as much again. One byte more breaks ties towards fewer. */
    const int64_t cost = layouts_agree(&graph->values[value].type) ? 0 : 3 * bytes + 1;
    TRY(cut_add(cut, producer, wants_channels, cost));
    TRY(cut_add(cut, wants_plain, producer, cost));
    if (layouts->uses.is_output[value])
        TRY(cut_add(cut, CUT_SOURCE, wants_plain, CUT_INFINITE));
    for (uint32_t i = layouts->uses.offsets[value]; i < layouts->uses.offsets[value + 1]; i++) {
        const node_id reader = layouts->uses.nodes[i];
        const struct node *node = &graph->nodes[reader];
        uint32_t side = CUT_SOURCE;
        bool cares = false;
        for (size_t j = 0; j < node->input_count; j++) {
            if (node->inputs[j] == value && carries_layout(graph, node, j))
                side = side_of(&layouts->choices[reader]);
            cares = cares || (node->inputs[j] == value && !takes_any_layout(node, j));
        }
        if (!cares)
            continue;
        TRY(cut_add(cut, wants_channels, side, CUT_INFINITE));
        TRY(cut_add(cut, side, wants_plain, CUT_INFINITE));
    }
    return MITRAL_OK;
}

static mitral_status fill_cut(struct layouts *layouts, struct cut *cut)
{
    const struct graph *graph = layouts->graph;
    for (size_t i = 0; i < layouts->node_count; i++)
        if (layouts->choices[i].role == EITHER) {
            TRY(cut_add(cut, layouts->choices[i].vertex, CUT_SINK, layouts->choices[i].plain_cost));
            TRY(cut_add(cut, CUT_SOURCE, layouts->choices[i].vertex, layouts->choices[i].channels_cost));
        }
    uint32_t vertex = layouts->vertex_count;
    for (size_t v = 0; v < graph->value_count; v++)
        if (is_map(graph, (value_id)v) && !graph->values[v].constant) {
            TRY(add_value(layouts, cut, (value_id)v, vertex, vertex + 1));
            vertex += 2;
        }
    return MITRAL_OK;
}

static mitral_status choose(struct layouts *layouts)
{
    const struct graph *graph = layouts->graph;
    uint32_t count = 2;
    for (size_t i = 0; i < layouts->node_count; i++) {
        weigh_node(layouts, &graph->nodes[i], &layouts->choices[i]);
        if (layouts->choices[i].role == EITHER)
            layouts->choices[i].vertex = count++;
    }
    layouts->vertex_count = count;
    for (size_t v = 0; v < graph->value_count; v++)
        count += is_map(graph, (value_id)v) && !graph->values[v].constant ? 2 : 0;
    struct cut cut;
    TRY(cut_create(&cut, graph->context, count));
    bool *plain = mitral_allocate(graph->context, count);
    mitral_status status = plain ? fill_cut(layouts, &cut) : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        status = cut_solve(&cut, plain);
    for (size_t i = 0; i < layouts->node_count && status == MITRAL_OK; i++) {
        struct choice *choice = &layouts->choices[i];
        choice->channels_last = choice->role == CHANNELS_ONLY || (choice->role == EITHER && !plain[choice->vertex]);
    }
    mitral_release(graph->context, plain);
    cut_destroy(&cut);
    return status;
}

/* ---- the answer into the graph ------------------------------------------------------------------------------------------ */

static mitral_status add_reorder(struct graph *graph, value_id from, int layout, value_id *out)
{
    struct attributes attributes = {0};
    const struct op *op = op_find("mitral", "Reorder");
    const char *suffix = layout == LAYOUT_CHANNELS_LAST ? "channels_last" : "plain";
    const char *name = arena_format(graph->arena, "%s.%s", graph->values[from].name, suffix);
    if (!op || !name)
        return mitral_fail(graph->context, MITRAL_NO_MEMORY, "expected the operator mitral.Reorder and memory");
    TRY(attributes_set_int(&attributes, graph->arena, "layout", layout));
    const struct value_type type = graph->values[from].type;
    TRY(graph_add_value(graph, name, &type, out));
    graph->values[*out].layout = layout;
    return graph_add_node(graph, op, 1, name, &attributes, &from, 1, out, 1, NULL);
}

/* The value in that layout: itself, or what its one reorder gives. */
static mitral_status value_in(struct layouts *layouts, value_id *reordered, value_id value, int layout, value_id *out)
{
    struct graph *graph = layouts->graph;
    *out = value;
    if (graph->values[value].layout == layout || layouts_agree(&graph->values[value].type))
        return MITRAL_OK;
    if (reordered[value] == NO_VALUE)
        TRY(add_reorder(graph, value, layout, &reordered[value]));
    *out = reordered[value];
    return MITRAL_OK;
}

static mitral_status apply(struct layouts *layouts, bool *changed)
{
    struct graph *graph = layouts->graph;
    const size_t value_count = graph->value_count;
    value_id *reordered = mitral_allocate(graph->context, (value_count + 1) * sizeof *reordered);
    if (!reordered)
        return MITRAL_NO_MEMORY;
    for (size_t v = 0; v < value_count; v++)
        reordered[v] = NO_VALUE;
    for (size_t i = 0; i < layouts->node_count; i++) {
        if (!layouts->choices[i].channels_last)
            continue;
        *changed = true;
        for (size_t j = 0; j < graph->nodes[i].output_count; j++) {
            if (graph->nodes[i].outputs[j] == NO_VALUE || !output_carries_layout(&graph->nodes[i], j))
                continue;
            struct graph_value *output = &graph->values[graph->nodes[i].outputs[j]];
            output->layout = layouts_agree(&output->type) ? LAYOUT_PLAIN : LAYOUT_CHANNELS_LAST;
        }
    }
    mitral_status status = MITRAL_OK;
    for (size_t i = 0; i < layouts->node_count && status == MITRAL_OK; i++)
        for (size_t j = 0; graph->nodes[i].op && j < graph->nodes[i].input_count && status == MITRAL_OK; j++) {
            value_id input = graph->nodes[i].inputs[j];
            if (!is_map(graph, input) || graph->values[input].constant || takes_any_layout(&graph->nodes[i], j))
                continue;
            const bool wants = layouts->choices[i].channels_last && carries_layout(graph, &graph->nodes[i], j);
            status = value_in(layouts, reordered, input, wants ? LAYOUT_CHANNELS_LAST : LAYOUT_PLAIN, &input);
            graph->nodes[i].inputs[j] = input;
        }
    mitral_release(graph->context, reordered);
    return status;
}

/* The node computes a new value channels-last; the old one, with its name, is what a reorder of it gives. */
static mitral_status restore_output(struct layouts *layouts, node_id id, size_t index)
{
    struct graph *graph = layouts->graph;
    const value_id output = graph->nodes[id].outputs[index];
    value_id inner;
    const char *name = arena_format(graph->arena, "%s.channels_last", graph->values[output].name);
    const struct value_type type = graph->values[output].type;
    struct attributes attributes = {0};
    if (!name)
        return MITRAL_NO_MEMORY;
    TRY(graph_add_value(graph, name, &type, &inner));
    TRY(attributes_set_int(&attributes, graph->arena, "layout", LAYOUT_PLAIN));
    graph->values[inner].producer = id;
    graph->nodes[id].outputs[index] = inner;
    /* Who takes it channels-last reads the new value; who takes it plain goes on reading the old one. */
    for (size_t k = 0; k < layouts->node_count; k++)
        for (size_t j = 0; graph->nodes[k].op && j < graph->nodes[k].input_count; j++)
            if (graph->nodes[k].inputs[j] == output && layouts->choices[k].channels_last && carries_layout(graph, &graph->nodes[k], j))
                graph->nodes[k].inputs[j] = inner;
    return graph_add_node(graph, op_find("mitral", "Reorder"), 1, graph->values[output].name, &attributes, &inner, 1, &output, 1, NULL);
}

/* Outputs and taps are plain. Where the two layouts are the same bytes a value always counts as plain. */
static mitral_status restore_outputs(struct layouts *layouts)
{
    const struct graph *graph = layouts->graph;
    for (size_t i = 0; i < layouts->node_count; i++)
        for (size_t j = 0; layouts->choices[i].channels_last && j < graph->nodes[i].output_count; j++) {
            const value_id output = graph->nodes[i].outputs[j];
            if (output != NO_VALUE && output_carries_layout(&graph->nodes[i], j) && layouts->uses.is_output[output]
                && !layouts_agree(&graph->values[output].type))
                TRY(restore_output(layouts, (node_id)i, j));
        }
    return MITRAL_OK;
}

mitral_status pass_layout(struct graph *graph, const struct pass_options *options, bool *changed)
{
    struct layouts layouts = {.graph = graph, .options = options, .node_count = graph->node_count};
    TRY(graph_find_uses(graph, &layouts.uses));
    layouts.choices = mitral_allocate(graph->context, (graph->node_count + 1) * sizeof *layouts.choices);
    mitral_status status = layouts.choices ? choose(&layouts) : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        status = restore_outputs(&layouts);
    if (status == MITRAL_OK)
        status = apply(&layouts, changed);
    if (status == MITRAL_OK && *changed)
        status = graph_sort(graph); /* reorders come before their readers */
    mitral_release(graph->context, layouts.choices);
    graph_free_uses(graph, &layouts.uses);
    return status;
}
