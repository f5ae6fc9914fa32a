/* What a training graph can do in one pass over its maps. Batch norms take the addition and the ReLU that follow them along, and a
 * concatenation before them is not made: the parts are read where they are; backward the same (mitral.FusedNormalization and
 * mitral.FusedNormalizationGradient), where running sums of parts have their gradients added up, too. Two that are added up become one
 * (mitral.FusedNormalizationPair). Convolutions, their data gradients and those of poolings take what is added to them as an addend. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"
#include "runtime/kernels/training/normalization_operands.h"

enum { MOST_PARTS = 8 };

struct search {
    struct graph *graph;
    struct graph_uses uses; /* of the graph as it was */
};

static struct node *node_at(const struct search *search, node_id id)
{
    return id == NO_NODE || !search->graph->nodes[id].op ? NULL : &search->graph->nodes[id];
}

static node_id producer_of(const struct search *search, value_id value)
{
    return value == NO_VALUE ? NO_NODE : search->graph->values[value].producer;
}

/* The only reader of a value that is no output; NO_NODE otherwise. */
static node_id sole_reader(const struct search *search, value_id value)
{
    const struct graph_uses *uses = &search->uses;
    if (value == NO_VALUE || uses->is_output[value] || graph_use_count(uses, value) != 1)
        return NO_NODE;
    return uses->nodes[uses->offsets[value]];
}

static bool is_plain_float(const struct search *search, value_id value)
{
    const struct value_type *type = value == NO_VALUE ? NULL : &search->graph->values[value].type;
    return type && type_is_static(type) && type->dtype == MITRAL_FLOAT && type->rank >= 2;
}

static bool same_shape(const struct search *search, value_id a, value_id b)
{
    if (!is_plain_float(search, a) || !is_plain_float(search, b))
        return false;
    const struct value_type *x = &search->graph->values[a].type, *y = &search->graph->values[b].type;
    return x->rank == y->rank && memcmp(x->dims, y->dims, (size_t)x->rank * sizeof *x->dims) == 0;
}

/* ---- batch norms ---------------------------------------------------------------------------------------------------------- */

struct norm {
    node_id forward, backward;    /* backward: NO_NODE when there is none */
    node_id add, relu;            /* after it */
    value_id residual, y, shift;
    node_id relu_gradient;        /* before the backward node */
    bool keeps_gradient;          /* others read what the ReLU's gradient is, too */
    node_id concat, split;
    value_id parts[MOST_PARTS], gradients[MOST_PARTS];
    size_t part_count;
};

/* The backward node, which is told by the statistics that it reads; false when there are several. */
static bool find_backward(const struct search *search, struct norm *norm)
{
    const struct node *node = node_at(search, norm->forward);
    const value_id mean = node_output(node, NORMALIZATION_OUTPUT_MEAN);
    norm->backward = NO_NODE;
    for (uint32_t k = search->uses.offsets[mean]; k < search->uses.offsets[mean + 1]; k++) {
        const struct node *reader = node_at(search, search->uses.nodes[k]);
        if (!reader || !node_is_own(reader, "BatchNormalizationGradient") || norm->backward != NO_NODE || reader->input_count != 5
            || reader->inputs[1] != node->inputs[0] || reader->inputs[3] != mean
            || reader->inputs[4] != node_output(node, NORMALIZATION_OUTPUT_INVERSE) || !attribute_int(&reader->attributes, "training", 1))
            return false;
        norm->backward = search->uses.nodes[k];
    }
    return true;
}

/* Relu, or Add and Relu, when nobody else reads what lies between. */
static void find_activation(const struct search *search, struct norm *norm)
{
    const struct node *node = node_at(search, norm->forward);
    node_id id = sole_reader(search, node->outputs[0]), add = NO_NODE;
    const struct node *next = node_at(search, id);
    norm->y = node->outputs[0];
    norm->shift = node->inputs[NORMALIZATION_INPUT_SHIFT];
    norm->add = norm->relu = NO_NODE;
    norm->residual = NO_VALUE;
    if (next && node_is(next, "Add") && same_shape(search, next->inputs[0], next->inputs[1])) {
        add = id;
        id = sole_reader(search, next->outputs[0]);
        next = node_at(search, id);
    }
    if (!next || !node_is(next, "Relu"))
        return;
    norm->relu = id;
    norm->y = next->outputs[0];
    if (add == NO_NODE)
        return;
    norm->add = add;
    const struct node *sum = node_at(search, add);
    norm->residual = sum->inputs[sum->inputs[0] == node->outputs[0] ? 1 : 0];
}

static void find_relu_gradient(const struct search *search, struct norm *norm)
{
    norm->relu_gradient = NO_NODE;
    norm->keeps_gradient = false;
    if (norm->relu == NO_NODE || norm->backward == NO_NODE)
        return;
    const value_id dz = node_at(search, norm->backward)->inputs[0];
    const struct node *node = node_at(search, producer_of(search, dz));
    if (!node || !node_is_own(node, "ReluGradient") || node->inputs[1] != norm->y)
        return;
    norm->relu_gradient = producer_of(search, dz);
    norm->keeps_gradient = search->uses.is_output[dz] || graph_use_count(&search->uses, dz) > 1;
}

/* A concatenation of channels that only this batch norm reads, and the Split of its gradient. */
static void find_parts(const struct search *search, struct norm *norm)
{
    const struct node *forward = node_at(search, norm->forward), *backward = node_at(search, norm->backward);
    const value_id x = forward->inputs[0];
    const struct node *concat = node_at(search, producer_of(search, x));
    norm->concat = norm->split = NO_NODE;
    norm->part_count = 1;
    norm->parts[0] = x;
    norm->gradients[0] = backward ? backward->outputs[0] : NO_VALUE;
    if (!concat || !backward || !node_is(concat, "Concat") || concat->input_count < 2 || concat->input_count > MOST_PARTS
        || search->uses.is_output[x] || graph_use_count(&search->uses, x) != 2)
        return;
    const int64_t axis = attribute_int(&concat->attributes, "axis", 1), rank = search->graph->values[x].type.rank;
    const node_id id = sole_reader(search, backward->outputs[0]);
    const struct node *split = node_at(search, id);
    if ((axis < 0 ? axis + rank : axis) != 1 || !split || !node_is(split, "Split") || split->output_count != concat->input_count)
        return;
    const int64_t split_axis = attribute_int(&split->attributes, "axis", 0);
    if ((split_axis < 0 ? split_axis + rank : split_axis) != 1)
        return;
    for (size_t i = 0; i < concat->input_count; i++)
        if (!same_shape(search, concat->inputs[i], split->outputs[i]))
            return;
    norm->concat = producer_of(search, x);
    norm->split = id;
    norm->part_count = concat->input_count;
    for (size_t i = 0; i < norm->part_count; i++) {
        norm->parts[i] = concat->inputs[i];
        norm->gradients[i] = split->outputs[i];
    }
}

static void remove_node(const struct search *search, node_id id)
{
    if (id != NO_NODE)
        graph_remove_node(search->graph, id);
}

static mitral_status replace_forward(const struct search *search, const struct norm *norm)
{
    const struct node node = *node_at(search, norm->forward);
    struct attributes attributes = {0};
    value_id inputs[NORMALIZATION_INPUT_PARTS + MOST_PARTS], outputs[NORMALIZATION_OUTPUT_POOLED];
    TRY(attributes_copy(&attributes, search->graph->arena, &node.attributes));
    TRY(attributes_set_int(&attributes, search->graph->arena, "relu", norm->relu != NO_NODE));
    memcpy(inputs, node.inputs, NORMALIZATION_INPUT_RESIDUAL * sizeof *inputs);
    inputs[NORMALIZATION_INPUT_X] = norm->parts[0];
    inputs[NORMALIZATION_INPUT_RESIDUAL] = norm->residual;
    memcpy(inputs + NORMALIZATION_INPUT_PARTS, norm->parts + 1, (norm->part_count - 1) * sizeof *inputs);
    memcpy(outputs, node.outputs, sizeof outputs);
    outputs[NORMALIZATION_OUTPUT_Y] = norm->y;
    remove_node(search, norm->forward);
    remove_node(search, norm->add);
    remove_node(search, norm->relu);
    remove_node(search, norm->concat);
    const bool has_further = norm->part_count > 1 || norm->residual != NO_VALUE;
    const size_t count = has_further ? NORMALIZATION_INPUT_PARTS + norm->part_count - 1 : NORMALIZATION_INPUT_RESIDUAL;
    return graph_add_node(search->graph, op_find("mitral", "FusedNormalization"), 1, node.name, &attributes, inputs, count, outputs,
                          sizeof outputs / sizeof *outputs, NULL);
}

static mitral_status replace_backward(const struct search *search, const struct norm *norm)
{
    const struct node node = *node_at(search, norm->backward);
    value_id inputs[GRADIENT_INPUT_PARTS + MOST_PARTS] = {node.inputs[0], node.inputs[2], node.inputs[3], node.inputs[4], NO_VALUE};
    value_id outputs[GRADIENT_OUTPUT_PARTS + MOST_PARTS] = {norm->gradients[0], node_output(&node, 1), node_output(&node, 2), NO_VALUE};
    if (norm->relu_gradient != NO_NODE) {
        /* Without a residual, where y > 0 follows from what the gradient reads anyway. */
        inputs[GRADIENT_INPUT_SIGN] = norm->residual == NO_VALUE ? norm->shift : norm->y;
        inputs[GRADIENT_INPUT_DY] = node_at(search, norm->relu_gradient)->inputs[0];
        if (norm->keeps_gradient)
            outputs[GRADIENT_OUTPUT_DZ] = node.inputs[0];
    }
    memcpy(inputs + GRADIENT_INPUT_PARTS, norm->parts, norm->part_count * sizeof *inputs);
    memcpy(outputs + GRADIENT_OUTPUT_PARTS, norm->gradients + 1, (norm->part_count - 1) * sizeof *outputs);
    remove_node(search, norm->backward);
    remove_node(search, norm->relu_gradient);
    remove_node(search, norm->split);
    return graph_add_node(search->graph, op_find("mitral", "FusedNormalizationGradient"), 1, node.name, &node.attributes, inputs,
                          GRADIENT_INPUT_PARTS + norm->part_count, outputs, GRADIENT_OUTPUT_PARTS + norm->part_count - 1, NULL);
}

static mitral_status fuse_norm(const struct search *search, node_id id, bool *changed)
{
    struct norm norm = {.forward = id};
    const struct node *node = node_at(search, id);
    if (!node || !node_is_own(node, "BatchNormalizationTraining") || node->input_count != 5 || node->output_count != 5
        || node_output(node, NORMALIZATION_OUTPUT_Y) == NO_VALUE || node_output(node, NORMALIZATION_OUTPUT_MEAN) == NO_VALUE
        || !is_plain_float(search, node->inputs[0])
        || !find_backward(search, &norm))
        return MITRAL_OK;
    find_activation(search, &norm);
    find_relu_gradient(search, &norm);
    find_parts(search, &norm);
    TRY(replace_forward(search, &norm));
    if (norm.backward != NO_NODE)
        TRY(replace_backward(search, &norm));
    *changed = true;
    return MITRAL_OK;
}

/* ---- two batch norms that are added up -------------------------------------------------------------------------------------- */

/* The backward node of a fused batch norm. */
static node_id backward_of(const struct search *search, const struct node *forward)
{
    const value_id mean = node_output(forward, NORMALIZATION_OUTPUT_MEAN);
    for (uint32_t k = mean == NO_VALUE ? 0 : search->uses.offsets[mean]; mean != NO_VALUE && k < search->uses.offsets[mean + 1]; k++) {
        const struct node *reader = node_at(search, search->uses.nodes[k]);
        if (reader && node_is_own(reader, "FusedNormalizationGradient") && reader->inputs[GRADIENT_INPUT_MEAN] == mean)
            return search->uses.nodes[k];
    }
    return NO_NODE;
}

static bool same_constants(const struct node *a, const struct node *b)
{
    return attribute_float(&a->attributes, "epsilon", 1e-5f) == attribute_float(&b->attributes, "epsilon", 1e-5f)
           && attribute_float(&a->attributes, "momentum", 0.9f) == attribute_float(&b->attributes, "momentum", 0.9f);
}

/* `id` adds what another norm makes, at most one of them has several parts, and backward only that norm reads the gradient between. */
static mitral_status fuse_pair(const struct search *search, node_id id, bool *changed)
{
    const struct node *node = node_at(search, id);
    const value_id residual = node && node_is_own(node, "FusedNormalization") ? node_input(node, NORMALIZATION_INPUT_RESIDUAL) : NO_VALUE;
    const node_id other_id = producer_of(search, residual);
    const struct node *other = node_at(search, other_id);
    if (!other || !node_is_own(other, "FusedNormalization")
        || (other->input_count > NORMALIZATION_INPUT_RESIDUAL && node->input_count > NORMALIZATION_INPUT_PARTS)
        || node_input(other, NORMALIZATION_INPUT_RESIDUAL) != NO_VALUE || attribute_int(&other->attributes, "relu", 0)
        || sole_reader(search, residual) != id || !same_constants(node, other))
        return MITRAL_OK;
    const node_id back_id = backward_of(search, node), other_back_id = backward_of(search, other);
    const struct node *back = node_at(search, back_id), *other_back = node_at(search, other_back_id);
    const value_id dz = back ? node_output(back, GRADIENT_OUTPUT_DZ) : NO_VALUE;
    if (dz == NO_VALUE || !other_back || sole_reader(search, dz) != other_back_id || other_back->inputs[GRADIENT_INPUT_DY] != dz
        || node_input(other_back, GRADIENT_INPUT_SIGN) != NO_VALUE || node_output(other_back, GRADIENT_OUTPUT_DZ) != NO_VALUE)
        return MITRAL_OK;
    const bool swapped = other->input_count > NORMALIZATION_INPUT_RESIDUAL;
    const struct node first = swapped ? *other : *node, second = swapped ? *node : *other;
    const struct node first_back = swapped ? *other_back : *back, second_back = swapped ? *back : *other_back;
    const struct attributes attributes = node->attributes;
    const value_id y = node->outputs[NORMALIZATION_OUTPUT_Y], dy = back->inputs[GRADIENT_INPUT_DY];
    const size_t further = first.input_count > NORMALIZATION_INPUT_PARTS ? first.input_count - NORMALIZATION_INPUT_PARTS : 0;
    value_id inputs[PAIR_GRADIENT_INPUT_PARTS + 1 + MOST_PARTS], outputs[PAIR_OUTPUTS + MOST_PARTS];
    if (further > MOST_PARTS - 1)
        return MITRAL_OK;
    memcpy(inputs + PAIR_INPUT_FIRST, first.inputs, PAIR_INPUT_SECOND * sizeof *inputs);
    memcpy(inputs + PAIR_INPUT_SECOND, second.inputs, PAIR_INPUT_SECOND * sizeof *inputs);
    memcpy(inputs + PAIR_INPUT_PARTS, first.inputs + NORMALIZATION_INPUT_PARTS, further * sizeof *inputs);
    outputs[PAIR_OUTPUT_Y] = y;
    memcpy(outputs + PAIR_OUTPUT_FIRST, first.outputs + NORMALIZATION_OUTPUT_NEXT_MEAN, PAIR_STATISTICS * sizeof *outputs);
    memcpy(outputs + PAIR_OUTPUT_SECOND, second.outputs + NORMALIZATION_OUTPUT_NEXT_MEAN, PAIR_STATISTICS * sizeof *outputs);
    remove_node(search, id);
    remove_node(search, other_id);
    remove_node(search, back_id);
    remove_node(search, other_back_id);
    TRY(graph_add_node(search->graph, op_find("mitral", "FusedNormalizationPair"), 1, first.name, &attributes, inputs,
                       PAIR_INPUT_PARTS + further, outputs, PAIR_OUTPUTS, NULL));
    inputs[PAIR_GRADIENT_INPUT_DY] = dy;
    inputs[PAIR_GRADIENT_INPUT_SECOND] = second_back.inputs[GRADIENT_INPUT_PARTS];
    memcpy(inputs + PAIR_GRADIENT_INPUT_PARTS, first_back.inputs + GRADIENT_INPUT_PARTS, (1 + further) * sizeof *inputs);
    outputs[PAIR_GRADIENT_OUTPUT_DX2] = node_output(&second_back, GRADIENT_OUTPUT_DX);
    outputs[PAIR_GRADIENT_OUTPUT_PARTS] = node_output(&first_back, GRADIENT_OUTPUT_DX);
    for (size_t i = 0; i < further; i++)
        outputs[PAIR_GRADIENT_OUTPUT_PARTS + 1 + i] = node_output(&first_back, GRADIENT_OUTPUT_PARTS + i);
    for (size_t k = 0; k < 2; k++) {
        const struct node *forward = k ? &second : &first, *backward = k ? &second_back : &first_back;
        value_id *of_inputs = inputs + k * PAIR_STATISTICS, *of_outputs = outputs + k * PAIR_VECTORS;
        of_inputs[PAIR_GRADIENT_INPUT_SCALE] = backward->inputs[GRADIENT_INPUT_SCALE];
        of_inputs[PAIR_GRADIENT_INPUT_SHIFT] = forward->inputs[NORMALIZATION_INPUT_SHIFT];
        of_inputs[PAIR_GRADIENT_INPUT_MEAN] = backward->inputs[GRADIENT_INPUT_MEAN];
        of_inputs[PAIR_GRADIENT_INPUT_INVERSE] = backward->inputs[GRADIENT_INPUT_INVERSE];
        of_outputs[PAIR_GRADIENT_OUTPUT_DSCALE] = node_output(backward, GRADIENT_OUTPUT_DSCALE);
        of_outputs[PAIR_GRADIENT_OUTPUT_DSHIFT] = node_output(backward, GRADIENT_OUTPUT_DSHIFT);
    }
    *changed = true;
    return graph_add_node(search->graph, op_find("mitral", "FusedNormalizationPairGradient"), 1, first_back.name, &attributes, inputs,
                          PAIR_GRADIENT_INPUT_PARTS + 1 + further, outputs, PAIR_GRADIENT_OUTPUT_PARTS + 1 + further, NULL);
}

/* ---- running sums of branches ------------------------------------------------------------------------------------------------ */

/* Backward, a branch has its own part's gradient and those of the parts that it went on in: the gradient of the parts adds them up. `id` adds
 * the gradients of a part, which nobody else reads, and of the part after it, as that is by now. */
static mitral_status fuse_running(const struct search *search, node_id id, bool *changed)
{
    const struct node *add = node_at(search, id);
    const node_id producer = add && node_is(add, "Add") ? producer_of(search, add->inputs[0]) : NO_NODE;
    const struct node *found = node_at(search, producer);
    const bool pair = found && node_is_own(found, "FusedNormalizationPairGradient");
    if (!found || (!pair && !node_is_own(found, "FusedNormalizationGradient")) || producer_of(search, add->inputs[1]) != producer
        || attribute_int(&found->attributes, "pooled", 0))
        return MITRAL_OK;
    const size_t count = found->input_count - (pair ? PAIR_GRADIENT_INPUT_PARTS : GRADIENT_INPUT_PARTS);
    const size_t next = pair ? PAIR_GRADIENT_OUTPUT_PARTS : GRADIENT_OUTPUT_PARTS - 1; /* of part i from the second on at next + i */
    const struct node node = *found;
    size_t places[MOST_PARTS], place = count;
    if (count < 2 || count > MOST_PARTS || node.output_count != next + count)
        return MITRAL_OK;
    for (size_t i = 0; i < count; i++) {
        places[i] = i || pair ? next + i : GRADIENT_OUTPUT_DX;
        if (i && !same_shape(search, node_output(&node, places[i - 1]), node_output(&node, places[i])))
            return MITRAL_OK;
    }
    for (size_t i = 0; i + 1 < count; i++)
        for (size_t k = 0; k < 2; k++)
            if (add->inputs[k] == node.outputs[places[i]] && add->inputs[1 - k] == node.outputs[places[i + 1]])
                place = i;
    if (place == count)
        return MITRAL_OK;
    const value_id own = node.outputs[places[place]], after = node.outputs[places[place + 1]], sum = add->outputs[0];
    if (sole_reader(search, own) != id || (graph_use_count(&search->uses, after) < 2 && !search->uses.is_output[after]))
        return MITRAL_OK;
    struct attributes attributes = {0};
    value_id outputs[PAIR_GRADIENT_OUTPUT_PARTS + MOST_PARTS];
    int64_t sums[MOST_PARTS] = {0};
    size_t known;
    const int64_t *before = attribute_ints(&node.attributes, "sums", &known);
    memcpy(sums, before ? before : sums, known * sizeof *sums);
    sums[place] = 1;
    TRY(attributes_copy(&attributes, search->graph->arena, &node.attributes));
    TRY(attributes_set_ints(&attributes, search->graph->arena, "sums", sums, count));
    memcpy(outputs, node.outputs, node.output_count * sizeof *outputs);
    outputs[places[place]] = sum;
    remove_node(search, id);
    remove_node(search, producer);
    *changed = true;
    return graph_add_node(search->graph, node.op, 1, node.name, &attributes, node.inputs, node.input_count, outputs, node.output_count, NULL);
}

/* ---- addends --------------------------------------------------------------------------------------------------------------- */

/* Which input of the node takes the addend; 0: none. `op` is what the node becomes. */
static size_t addend_place(const struct node *node, const char **op)
{
    if (node->op && node_is(node, "Conv") && node->input_count <= 3)
        *op = "Convolution";
    else if (node->op && node_is_own(node, "ConvGradientData") && node->input_count <= 3)
        *op = "ConvGradientData";
    else if (node->op && node_is_own(node, "MaxPoolGradient") && node->input_count == 2)
        *op = "MaxPoolGradient";
    else
        return 0;
    return strcmp(*op, "MaxPoolGradient") == 0 ? 2 : 3;
}

static mitral_status fuse_addend(const struct search *search, node_id id, bool *changed)
{
    const struct node *add = node_at(search, id);
    if (!add || !node_is(add, "Add") || !same_shape(search, add->inputs[0], add->inputs[1]) || add->inputs[0] == add->inputs[1]
        || search->graph->values[add->inputs[0]].type.rank != 4)
        return MITRAL_OK;
    node_id chosen = NO_NODE;
    size_t place = 0;
    const char *op = NULL;
    value_id addend = NO_VALUE;
    for (size_t i = 0; i < 2; i++) {
        const value_id value = add->inputs[i];
        const node_id producer = producer_of(search, value);
        const struct node *node = node_at(search, producer);
        const char *name;
        const size_t at = node && sole_reader(search, value) == id ? addend_place(node, &name) : 0;
        /* Of two, the later one: what it adds is there by then. */
        if (!at || (chosen != NO_NODE && producer < chosen))
            continue;
        chosen = producer;
        place = at;
        op = name;
        addend = add->inputs[1 - i];
    }
    if (chosen == NO_NODE)
        return MITRAL_OK;
    const struct node node = *node_at(search, chosen);
    const value_id output = add->outputs[0];
    value_id inputs[4] = {node_input(&node, 0), node_input(&node, 1), node_input(&node, 2), NO_VALUE};
    inputs[place] = addend;
    remove_node(search, id);
    remove_node(search, chosen);
    *changed = true;
    return graph_add_node(search->graph, op_find("mitral", op), 1, node.name, &node.attributes, inputs, place + 1, &output, 1, NULL);
}

/* ---- losses --------------------------------------------------------------------------------------------------------------- */

enum { DEEPEST = 32 };

/* Whether `value` is made from `from`; yes, too, where that takes long to find out. */
static bool depends(const struct search *search, value_id value, value_id from, int depth)
{
    const struct node *node = node_at(search, producer_of(search, value));
    bool yes = value == from || depth > DEEPEST;
    for (size_t i = 0; node && !yes && i < node->input_count; i++)
        yes = node->inputs[i] != NO_VALUE && depends(search, node->inputs[i], from, depth + 1);
    return yes;
}

/* A divergence over positions and its gradient read the same two maps and need the same exponentials: the gradient gives the value, too. */
static mitral_status fuse_divergence(const struct search *search, node_id id, bool *changed)
{
    const struct node *forward = node_at(search, id);
    if (!forward || !node_is_own(forward, "Divergence") || strcmp(attribute_string(&forward->attributes, "over", "channels"), "positions") != 0)
        return MITRAL_OK;
    const value_id s = forward->inputs[0], value = forward->outputs[0];
    for (uint32_t k = search->uses.offsets[s]; k < search->uses.offsets[s + 1]; k++) {
        const struct node *backward = node_at(search, search->uses.nodes[k]);
        if (!backward || !node_is_own(backward, "DivergenceGradient") || backward->output_count != 1
            || backward->input_count != forward->input_count + 1
            || memcmp(backward->inputs + 1, forward->inputs, forward->input_count * sizeof *forward->inputs) != 0
            || depends(search, backward->inputs[0], value, 0))
            continue;
        const struct node node = *backward;
        const value_id outputs[2] = {node.outputs[0], value};
        remove_node(search, id);
        remove_node(search, search->uses.nodes[k]);
        *changed = true;
        return graph_add_node(search->graph, node.op, 1, node.name, &node.attributes, node.inputs, node.input_count, outputs, 2, NULL);
    }
    return MITRAL_OK;
}

static mitral_status for_each(struct graph *graph, mitral_status (*fuse)(const struct search *, node_id, bool *), bool *changed)
{
    struct search search = {.graph = graph};
    TRY(graph_find_uses(graph, &search.uses));
    mitral_status status = MITRAL_OK;
    for (size_t i = 0, count = graph->node_count; i < count && status == MITRAL_OK; i++)
        status = fuse(&search, (node_id)i, changed);
    graph_free_uses(graph, &search.uses);
    return status == MITRAL_OK && *changed ? graph_sort(graph) : status;
}

mitral_status pass_fuse_normalization(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    TRY(for_each(graph, fuse_norm, changed));
    bool paired = false;
    TRY(for_each(graph, fuse_pair, &paired));
    *changed |= paired;
    return for_each(graph, fuse_running, changed);
}

mitral_status pass_fuse_addend(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    return for_each(graph, fuse_addend, changed);
}

mitral_status pass_fuse_divergence(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    return for_each(graph, fuse_divergence, changed);
}
