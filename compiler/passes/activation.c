#include "compiler/passes/activation.h"
#include "compiler/passes/passes.h"

#include <float.h>
#include <math.h>
#include <string.h>

bool node_is_own(const struct node *node, const char *name)
{
    return node && node->op && strcmp(node->op->name, name) == 0 && strcmp(op_domain(node->op), "mitral") == 0;
}

node_id only_reader(const struct graph *graph, const struct graph_uses *uses, value_id value)
{
    if (value == NO_VALUE || uses->is_output[value] || graph_use_count(uses, value) != 1)
        return NO_NODE;
    node_id node = uses->nodes[uses->offsets[value]];
    return graph->nodes[node].op ? node : NO_NODE;
}

/* A constant of one element, or `fallback` when the input is absent; false when it is not known, or has more dimensions than what it goes
 * with, which the result then has too. */
static bool scalar_input(const struct graph *graph, const struct node *node, size_t index, double fallback, double *out)
{
    value_id value = node_input(node, index);
    *out = fallback;
    if (value == NO_VALUE)
        return true;
    const mitral_tensor *constant = graph_constant(graph, value);
    const value_id data = node_input(node, index == 0 ? 1 : 0);
    if (!constant || tensor_count(constant) != 1 || !dtype_is_float(constant->dtype)
        || (constant->rank > 0 && (data == NO_VALUE || constant->rank > graph->values[data].type.rank)))
        return false;
    *out = tensor_get_double(constant, 0);
    return true;
}

static bool read_clip(const struct graph *graph, const struct node *node, struct activation *out)
{
    double low, high;
    if (node->version < 11) {
        low = (double)attribute_float(&node->attributes, "min", -FLT_MAX);
        high = (double)attribute_float(&node->attributes, "max", FLT_MAX);
    } else if (!scalar_input(graph, node, 1, (double)-FLT_MAX, &low) || !scalar_input(graph, node, 2, (double)FLT_MAX, &high)) {
        return false;
    }
    out->alpha = (float)low;
    out->beta = (float)high;
    return low <= high;
}

static bool read_prelu(const struct graph *graph, const struct node *node, int32_t channel_axis, struct activation *out)
{
    const mitral_tensor *slope = node_input(node, 1) == NO_VALUE ? NULL : graph_constant(graph, node->inputs[1]);
    const struct value_type *type = &graph->values[node->inputs[0]].type;
    if (!slope || slope->dtype != MITRAL_FLOAT || type->rank < 2 || slope->rank > type->rank)
        return false;
    if (tensor_count(slope) == 1) {
        out->name = "LeakyRelu";
        out->alpha = (float)tensor_get_double(slope, 0);
        return true;
    }
    const int32_t axis = channel_axis < 0 ? channel_axis + type->rank : channel_axis;
    for (int32_t i = 0; i < slope->rank; i++)
        if (slope->dims[i] != 1 && (i + type->rank - slope->rank != axis || slope->dims[i] != type->dims[axis]))
            return false;
    out->slope = node->inputs[1];
    return tensor_count(slope) == type->dims[axis];
}

/* One operator whose first input is `value`. */
static bool read_operator(const struct graph *graph, const struct node *node, int32_t channel_axis, struct activation *out)
{
    const struct attributes *attributes = &node->attributes;
    *out = (struct activation){.name = node->op->name, .slope = NO_VALUE};
    if (attribute_has(attributes, "runtime_bits")) /* its own bits are asked for */
        return false;
    if (node_is(node, "Relu") || node_is(node, "Sigmoid") || node_is(node, "Tanh") || node_is(node, "HardSwish") || node_is(node, "Mish")
        || node_is(node, "Softplus"))
        return true;
    if (node_is(node, "LeakyRelu"))
        out->alpha = attribute_float(attributes, "alpha", 0.01f);
    else if (node_is(node, "Elu"))
        out->alpha = attribute_float(attributes, "alpha", 1);
    else if (node_is(node, "Swish"))
        out->alpha = attribute_float(attributes, "alpha", 1);
    else if (node_is(node, "HardSigmoid"))
        out->alpha = attribute_float(attributes, "alpha", 0.2f), out->beta = attribute_float(attributes, "beta", 0.5f);
    else if (node_is(node, "Selu"))
        out->alpha = attribute_float(attributes, "alpha", 1.67326319217681884765625f),
        out->beta = attribute_float(attributes, "gamma", 1.05070102214813232421875f);
    else if (node_is(node, "Gelu"))
        out->name = strcmp(attribute_string(attributes, "approximate", "none"), "tanh") == 0 ? "GeluTanh" : "Gelu";
    else if (node_is(node, "Clip"))
        return read_clip(graph, node, out);
    else if (node_is(node, "PRelu"))
        return read_prelu(graph, node, channel_axis, out);
    else if (strcmp(op_domain(node->op), "com.microsoft") == 0 && strcmp(node->op->name, "Gelu") == 0)
        return true;
    else if (strcmp(op_domain(node->op), "com.microsoft") == 0 && strcmp(node->op->name, "QuickGelu") == 0)
        out->name = "Swish", out->alpha = attribute_float(attributes, "alpha", 1.702f);
    else
        return false;
    return true;
}

/* value · gate(value): Sigmoid gives Swish, HardSigmoid of 1/6 and 1/2 gives HardSwish. */
static bool read_gate(const struct graph *graph, const struct graph_uses *uses, value_id value, struct activation *out)
{
    if (graph_use_count(uses, value) != 2 || uses->is_output[value])
        return false;
    for (int i = 0; i < 2; i++) {
        node_id gate = uses->nodes[uses->offsets[value] + (uint32_t)i], product = uses->nodes[uses->offsets[value] + (uint32_t)(1 - i)];
        const struct node *inner = &graph->nodes[gate], *outer = &graph->nodes[product];
        if (!inner->op || !outer->op || !node_is(outer, "Mul"))
            continue;
        const bool sigmoid = node_is(inner, "Sigmoid") && !attribute_has(&inner->attributes, "runtime_bits");
        const bool hard = node_is(inner, "HardSigmoid") && fabsf(attribute_float(&inner->attributes, "alpha", 0.2f) - 1.0f / 6.0f) < 1e-6f
                          && attribute_float(&inner->attributes, "beta", 0.5f) == 0.5f;
        if (!(sigmoid || hard) || only_reader(graph, uses, inner->outputs[0]) != product)
            continue;
        *out = (struct activation){.name = sigmoid ? "Swish" : "HardSwish", .alpha = 1, .slope = NO_VALUE, .nodes = {gate, product},
                                   .node_count = 2};
        return true;
    }
    return false;
}

static bool is_scalar(const struct graph *graph, const struct node *node, size_t index, double wanted)
{
    double number;
    return node_input(node, index) != NO_VALUE && scalar_input(graph, node, index, 0, &number) && fabs(number - wanted) < 1e-6;
}

/* value · clip(value + 3, 0, 6) / 6, the division before or after the product, or a product with 1/6. */
static bool read_hard_swish(const struct graph *graph, const struct graph_uses *uses, value_id value, struct activation *out)
{
    if (graph_use_count(uses, value) != 2 || uses->is_output[value])
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        const node_id add_id = uses->nodes[uses->offsets[value] + i], product_id = uses->nodes[uses->offsets[value] + 1 - i];
        const struct node *add = &graph->nodes[add_id], *product = &graph->nodes[product_id];
        struct activation clip;
        if (!add->op || !product->op || !node_is(add, "Add") || !node_is(product, "Mul")
            || !is_scalar(graph, add, add->inputs[0] == value ? 1 : 0, 3))
            continue;
        const node_id clip_id = only_reader(graph, uses, add->outputs[0]);
        if (clip_id == NO_NODE || !node_is(&graph->nodes[clip_id], "Clip") || !read_clip(graph, &graph->nodes[clip_id], &clip) || clip.alpha != 0
            || clip.beta != 6)
            continue;
        node_id next = only_reader(graph, uses, graph->nodes[clip_id].outputs[0]);
        const bool before = next != product_id;
        const node_id scale_id = before ? next : only_reader(graph, uses, product->outputs[0]);
        const struct node *scale = scale_id == NO_NODE ? NULL : &graph->nodes[scale_id];
        const value_id scaled = before ? graph->nodes[clip_id].outputs[0] : product->outputs[0];
        if (!scale || scale->input_count < 2 || (before && only_reader(graph, uses, scale->outputs[0]) != product_id))
            continue;
        const bool divides = node_is(scale, "Div") && scale->inputs[0] == scaled && is_scalar(graph, scale, 1, 6);
        if (!divides && !(node_is(scale, "Mul") && is_scalar(graph, scale, scale->inputs[0] == scaled ? 1 : 0, 1.0 / 6)))
            continue;
        *out = (struct activation){.name = "HardSwish", .slope = NO_VALUE, .nodes = {add_id, clip_id}, .node_count = 4};
        out->nodes[2] = before ? scale_id : product_id;
        out->nodes[3] = before ? product_id : scale_id;
        return true;
    }
    return false;
}

/* 0.5 · value · (1 + erf(value / √2)), in the orders of factors that exporters write. */
static bool read_gelu(const struct graph *graph, const struct graph_uses *uses, value_id value, struct activation *out)
{
    if (graph_use_count(uses, value) != 2 || uses->is_output[value])
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        node_id scaled = uses->nodes[uses->offsets[value] + i], factor = uses->nodes[uses->offsets[value] + 1 - i];
        const struct node *divide = &graph->nodes[scaled], *times = &graph->nodes[factor];
        double number;
        if (!divide->op || !times->op || !(node_is(divide, "Div") || node_is(divide, "Mul")) || divide->inputs[0] != value
            || !scalar_input(graph, divide, 1, 0, &number)
            || fabs(number - (node_is(divide, "Div") ? 1.4142135623730951 : 0.70710678118654752)) > 1e-4)
            continue;
        node_id erf_id = only_reader(graph, uses, divide->outputs[0]);
        if (erf_id == NO_NODE || !node_is(&graph->nodes[erf_id], "Erf"))
            continue;
        node_id add_id = only_reader(graph, uses, graph->nodes[erf_id].outputs[0]);
        const struct node *add = add_id == NO_NODE ? NULL : &graph->nodes[add_id];
        if (!add || !node_is(add, "Add"))
            continue;
        const size_t one = add->inputs[0] == graph->nodes[erf_id].outputs[0] ? 1 : 0;
        node_id product = only_reader(graph, uses, add->outputs[0]);
        if (!scalar_input(graph, add, one, 0, &number) || number != 1 || product == NO_NODE || !node_is(&graph->nodes[product], "Mul"))
            continue;
        /* (value · (1 + erf)) · ½: `factor` is the product; or (value · ½) · (1 + erf): `factor` halves. */
        node_id half_id = product == factor ? only_reader(graph, uses, graph->nodes[product].outputs[0]) : factor;
        const struct node *half = half_id == NO_NODE ? NULL : &graph->nodes[half_id];
        if (!half || !(node_is(half, "Mul") || node_is(half, "Div")))
            continue;
        const value_id source = product == factor ? graph->nodes[product].outputs[0] : value;
        const size_t side = half->inputs[0] == source ? 1 : 0;
        if (!scalar_input(graph, half, side, 0, &number) || number != (node_is(half, "Mul") ? 0.5 : 2) || (node_is(half, "Div") && !side))
            continue;
        if (product != factor && only_reader(graph, uses, half->outputs[0]) != product)
            continue;
        *out = (struct activation){.name = "Gelu", .slope = NO_VALUE, .node_count = 5, .nodes = {scaled, erf_id, add_id}};
        out->nodes[3] = product == factor ? product : half_id;
        out->nodes[4] = product == factor ? half_id : product;
        return true;
    }
    return false;
}

bool activation_find(const struct graph *graph, const struct graph_uses *uses, value_id value, int32_t channel_axis,
                     struct activation *out)
{
    node_id reader = only_reader(graph, uses, value);
    if (reader != NO_NODE) {
        const struct node *node = &graph->nodes[reader];
        if (node->inputs[0] != value || !read_operator(graph, node, channel_axis, out))
            return false;
        out->nodes[0] = reader;
        out->node_count = 1;
        return true;
    }
    return value != NO_VALUE && (read_gate(graph, uses, value, out) || read_hard_swish(graph, uses, value, out)
                                 || read_gelu(graph, uses, value, out));
}

mitral_status node_extend_inputs(struct graph *graph, node_id id, size_t count)
{
    struct node *node = &graph->nodes[id];
    if (node->input_count >= count)
        return MITRAL_OK;
    value_id *inputs = arena_allocate(graph->arena, count * sizeof *inputs);
    if (!inputs)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        inputs[i] = node_input(node, i);
    node->inputs = inputs;
    node->input_count = count;
    return MITRAL_OK;
}

bool scalar_affine_find(const struct graph *graph, const struct graph_uses *uses, value_id value, struct scalar_affine *out)
{
    *out = (struct scalar_affine){.scale = 1, .result = value};
    for (;;) {
        const node_id id = only_reader(graph, uses, out->result);
        const struct node *node = id == NO_NODE ? NULL : &graph->nodes[id];
        double number;
        if (!node || node->input_count != 2 || out->node_count == sizeof out->nodes / sizeof *out->nodes
            || !type_same_dims(&graph->values[node->outputs[0]].type, &graph->values[value].type))
            break;
        const size_t side = node->inputs[0] == out->result ? 1 : 0;
        const bool ordered = side == 1;
        if (!graph_constant(graph, node->inputs[side]) || !scalar_input(graph, node, side, 0, &number))
            break;
        float scale = out->scale, shift = out->shift;
        if (node_is(node, "Mul") || (node_is(node, "Div") && ordered)) {
            const double factor = node_is(node, "Mul") ? number : 1 / number;
            scale = (float)((double)scale * factor);
            shift = (float)((double)shift * factor);
        } else if (node_is(node, "Add") || (node_is(node, "Sub") && ordered)) {
            shift = (float)((double)shift + (node_is(node, "Add") ? number : -number));
        } else {
            break;
        }
        if (!isfinite(scale) || !isfinite(shift)) /* what infinite factors do to zeros would change */
            break;
        out->scale = scale;
        out->shift = shift;
        out->nodes[out->node_count++] = id;
        out->result = node->outputs[0];
    }
    return out->node_count > 0;
}

mitral_status activation_set(struct graph *graph, node_id id, const struct activation *activation)
{
    struct attributes *attributes = &graph->nodes[id].attributes;
    TRY(attributes_set_string(attributes, graph->arena, "activation", activation->name));
    if (activation->alpha != 0 || activation->beta != 0) {
        TRY(attributes_set_float(attributes, graph->arena, "activation_alpha", activation->alpha));
        TRY(attributes_set_float(attributes, graph->arena, "activation_beta", activation->beta));
    }
    return MITRAL_OK;
}

bool value_is_float_map(const struct graph *graph, value_id value)
{
    const struct value_type *type = value == NO_VALUE ? NULL : &graph->values[value].type;
    bool yes = type && type_is_static(type) && type->dtype == MITRAL_FLOAT && type->rank == 4;
    for (int i = 0; yes && i < 4; i++)
        yes = type->dims[i] > 0;
    return yes;
}

void node_take_over(struct graph *graph, node_id id, node_id last)
{
    const value_id result = graph->nodes[last].outputs[0];
    graph_remove_node(graph, last);
    graph->values[graph->nodes[id].outputs[0]].producer = NO_NODE;
    graph->nodes[id].outputs[0] = result;
    graph->values[result].producer = id;
}

void activation_take(struct graph *graph, node_id id, const struct activation *activation)
{
    const size_t last = activation->node_count - 1;
    for (size_t i = 0; i < last; i++)
        graph_remove_node(graph, activation->nodes[i]);
    node_take_over(graph, id, activation->nodes[last]);
}

bool type_same_dims(const struct value_type *a, const struct value_type *b)
{
    if (a->rank != b->rank)
        return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i]
            || (a->dims[i] < 0 && (!a->symbols[i] || !*a->symbols[i] || !b->symbols[i] || strcmp(a->symbols[i], b->symbols[i]) != 0)))
            return false;
    return true;
}
