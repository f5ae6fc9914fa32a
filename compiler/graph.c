#include "compiler/graph.h"

#include <string.h>

#include "compiler/op.h"

mitral_status graph_create(struct graph **out, mitral_context *context)
{
    *out = mitral_allocate(context, sizeof **out);
    if (!*out)
        return MITRAL_NO_MEMORY;
    (*out)->context = context;
    arena_initialise(&(*out)->own_arena, context);
    (*out)->arena = &(*out)->own_arena;
    (*out)->name = "";
    return MITRAL_OK;
}

mitral_status graph_create_subgraph(struct graph **out, struct graph *parent)
{
    *out = arena_allocate(parent->arena, sizeof **out);
    if (!*out)
        return MITRAL_NO_MEMORY;
    (*out)->context = parent->context;
    (*out)->arena = parent->arena;
    (*out)->opset = parent->opset;
    (*out)->ir_version = parent->ir_version;
    (*out)->imports = parent->imports;
    (*out)->name = "";
    return MITRAL_OK;
}

void graph_destroy(struct graph **graph)
{
    if (!graph || !*graph)
        return;
    mitral_context *context = (*graph)->context;
    arena_clear(&(*graph)->own_arena);
    mitral_release(context, *graph);
    *graph = NULL;
}

/* Doubling arrays in the arena: what is left behind is at most as much again. */
static mitral_status grow(struct arena *arena, void *array, size_t *capacity, size_t count, size_t size)
{
    if (count < *capacity)
        return MITRAL_OK;
    size_t wanted = *capacity ? *capacity * 2 : 16;
    void *larger = arena_allocate(arena, wanted * size);
    if (!larger)
        return MITRAL_NO_MEMORY;
    void *old;
    memcpy(&old, array, sizeof old);
    if (count)
        memcpy(larger, old, count * size);
    memcpy(array, &larger, sizeof larger);
    *capacity = wanted;
    return MITRAL_OK;
}

/* Short lists (inputs, outputs, updates) grow by whole copies when a power of two is reached. */
static mitral_status append(struct arena *arena, void *array, size_t *count, size_t size, const void *item)
{
    size_t capacity = *count && (*count & (*count - 1)) == 0 ? *count : *count ? SIZE_MAX : 0;
    if (capacity != SIZE_MAX)
        TRY(grow(arena, array, &capacity, *count, size));
    void *base;
    memcpy(&base, array, sizeof base);
    memcpy((char *)base + *count * size, item, size);
    ++*count;
    return MITRAL_OK;
}

mitral_status graph_add_value(struct graph *graph, const char *name, const struct value_type *type, value_id *out)
{
    if (graph->value_count >= UINT32_MAX - 1)
        return mitral_fail(graph->context, MITRAL_LIMIT, "expected fewer than 2^32 values");
    TRY(grow(graph->arena, &graph->values, &graph->value_capacity, graph->value_count, sizeof *graph->values));
    struct graph_value *value = &graph->values[graph->value_count];
    *value = (struct graph_value){.producer = NO_NODE};
    value->name = name ? arena_string(graph->arena, name) : arena_format(graph->arena, "_%zu", graph->value_count);
    if (!value->name)
        return MITRAL_NO_MEMORY;
    if (type)
        value->type = *type;
    else
        value->type.rank = -1;
    *out = (value_id)graph->value_count++;
    return MITRAL_OK;
}

mitral_status graph_add_constant(struct graph *graph, const char *name, const mitral_tensor *tensor, bool borrow, value_id *out)
{
    mitral_tensor *copy = arena_allocate(graph->arena, sizeof *copy);
    if (!copy)
        return MITRAL_NO_MEMORY;
    if (borrow)
        *copy = *tensor;
    else
        TRY(tensor_copy(copy, graph->arena, tensor));
    struct value_type type = {0};
    type_of_tensor(tensor, &type);
    TRY(graph_add_value(graph, name, &type, out));
    graph->values[*out].constant = copy;
    return MITRAL_OK;
}

mitral_status graph_add_input(struct graph *graph, value_id value)
{
    return append(graph->arena, &graph->inputs, &graph->input_count, sizeof value, &value);
}

mitral_status graph_add_output(struct graph *graph, value_id value)
{
    return append(graph->arena, &graph->outputs, &graph->output_count, sizeof value, &value);
}

mitral_status graph_add_update(struct graph *graph, value_id variable, value_id value)
{
    struct graph_update update = {variable, value};
    return append(graph->arena, &graph->updates, &graph->update_count, sizeof update, &update);
}

static value_id *copy_ids(struct arena *arena, const value_id *ids, size_t count)
{
    value_id *copy = arena_allocate(arena, (count + 1) * sizeof *copy);
    if (copy && count)
        memcpy(copy, ids, count * sizeof *copy);
    return copy;
}

mitral_status graph_add_node(struct graph *graph, const struct op *op, int version, const char *name,
                             const struct attributes *attributes, const value_id *inputs, size_t input_count,
                             const value_id *outputs, size_t output_count, node_id *out)
{
    if (graph->node_count >= UINT32_MAX - 1)
        return mitral_fail(graph->context, MITRAL_LIMIT, "expected fewer than 2^32 nodes");
    if (version <= 0) {
        const struct schema *schema = schema_find(op_domain(op), op->name, graph->opset ? graph->opset : schema_newest_opset);
        version = schema ? schema->since_version : 1;
    }
    TRY(grow(graph->arena, &graph->nodes, &graph->node_capacity, graph->node_count, sizeof *graph->nodes));
    struct node node = {.op = op, .version = version, .input_count = input_count, .output_count = output_count};
    if (attributes)
        TRY(attributes_copy(&node.attributes, graph->arena, attributes));
    node.inputs = copy_ids(graph->arena, inputs, input_count);
    node.outputs = copy_ids(graph->arena, outputs, output_count);
    if (name && *name)
        node.name = arena_string(graph->arena, name);
    else
        node.name = arena_format(graph->arena, "%s_%s", op->name,
                                 output_count && outputs[0] != NO_VALUE ? graph->values[outputs[0]].name : "");
    if (!node.inputs || !node.outputs || !node.name)
        return MITRAL_NO_MEMORY;
    node_id id = (node_id)graph->node_count++;
    graph->nodes[id] = node;
    for (size_t i = 0; i < output_count; i++)
        if (outputs[i] != NO_VALUE)
            graph->values[outputs[i]].producer = id;
    if (out)
        *out = id;
    return MITRAL_OK;
}

void graph_remove_node(struct graph *graph, node_id id)
{
    struct node *node = &graph->nodes[id];
    for (size_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NO_VALUE && graph->values[node->outputs[i]].producer == id)
            graph->values[node->outputs[i]].producer = NO_NODE;
    node->op = NULL;
}

void graph_replace_uses(struct graph *graph, value_id from, value_id to)
{
    for (size_t i = 0; i < graph->node_count; i++)
        for (size_t j = 0; graph->nodes[i].op && j < graph->nodes[i].input_count; j++)
            if (graph->nodes[i].inputs[j] == from)
                graph->nodes[i].inputs[j] = to;
    for (size_t i = 0; i < graph->output_count; i++)
        if (graph->outputs[i] == from)
            graph->outputs[i] = to;
    for (size_t i = 0; i < graph->update_count; i++)
        if (graph->updates[i].value == from)
            graph->updates[i].value = to;
}

/* ---- order --------------------------------------------------------------------------------------------------------- */

/* Depth-first from each node in its present place: nodes that are in order already keep their places. */
mitral_status graph_sort(struct graph *graph)
{
    mitral_context *context = graph->context;
    size_t count = graph->node_count;
    uint8_t *state = mitral_allocate(context, count + 1); /* 0 new, 1 open, 2 done */
    node_id *stack = mitral_allocate(context, (count + 1) * sizeof *stack);
    size_t *next = mitral_allocate(context, (count + 1) * sizeof *next);
    node_id *place = mitral_allocate(context, (count + 1) * sizeof *place);
    struct node *sorted = arena_allocate(graph->arena, (count + 1) * sizeof *sorted);
    mitral_status status = state && stack && next && place && sorted ? MITRAL_OK : MITRAL_NO_MEMORY;
    size_t placed = 0;
    for (size_t i = 0; i < count && status == MITRAL_OK; i++) {
        if (state[i] || !graph->nodes[i].op)
            continue;
        size_t depth = 0;
        stack[depth++] = (node_id)i;
        state[i] = 1;
        next[i] = 0;
        while (depth && status == MITRAL_OK) {
            node_id top = stack[depth - 1];
            const struct node *node = &graph->nodes[top];
            if (next[top] == node->input_count) {
                state[top] = 2;
                place[top] = (node_id)placed;
                sorted[placed++] = *node;
                depth--;
                continue;
            }
            value_id input = node->inputs[next[top]++];
            node_id producer = input == NO_VALUE ? NO_NODE : graph->values[input].producer;
            if (producer == NO_NODE || state[producer] == 2)
                continue;
            if (state[producer] == 1) {
                status = mitral_fail(context, MITRAL_INVALID, "expected a graph without cycles, found one through node '%s' (%s)",
                                     graph->nodes[producer].name, graph->nodes[producer].op->name);
                break;
            }
            state[producer] = 1;
            next[producer] = 0;
            stack[depth++] = producer;
        }
    }
    if (status == MITRAL_OK) {
        for (size_t v = 0; v < graph->value_count; v++)
            if (graph->values[v].producer != NO_NODE)
                graph->values[v].producer = place[graph->values[v].producer];
        graph->nodes = sorted;
        graph->node_count = placed;
        graph->node_capacity = count + 1;
    }
    mitral_release(context, state);
    mitral_release(context, stack);
    mitral_release(context, next);
    mitral_release(context, place);
    return status;
}

bool graph_remove_dead(struct graph *graph)
{
    bool *live = mitral_allocate(graph->context, graph->value_count + 1);
    if (!live)
        return false;
    for (size_t i = 0; i < graph->output_count; i++)
        live[graph->outputs[i]] = true;
    for (size_t i = 0; i < graph->update_count; i++)
        live[graph->updates[i].value] = true;
    for (size_t v = 0; v < graph->value_count; v++)
        live[v] |= graph->values[v].tap;
    bool removed = false;
    for (size_t i = graph->node_count; i-- > 0;) {
        struct node *node = &graph->nodes[i];
        if (!node->op)
            continue;
        bool used = false;
        for (size_t j = 0; j < node->output_count; j++)
            used |= node->outputs[j] != NO_VALUE && live[node->outputs[j]];
        if (!used) {
            graph_remove_node(graph, (node_id)i);
            removed = true;
            continue;
        }
        for (size_t j = 0; j < node->input_count; j++)
            if (node->inputs[j] != NO_VALUE)
                live[node->inputs[j]] = true;
    }
    mitral_release(graph->context, live);
    return removed;
}

/* ---- uses ---------------------------------------------------------------------------------------------------------- */

mitral_status graph_find_uses(const struct graph *graph, struct graph_uses *out)
{
    *out = (struct graph_uses){0};
    size_t total = 0;
    for (size_t i = 0; i < graph->node_count; i++)
        total += graph->nodes[i].op ? graph->nodes[i].input_count : 0;
    out->offsets = mitral_allocate(graph->context, (graph->value_count + 2) * sizeof *out->offsets);
    out->nodes = mitral_allocate(graph->context, (total + 1) * sizeof *out->nodes);
    out->is_output = mitral_allocate(graph->context, graph->value_count + 1);
    if (!out->offsets || !out->nodes || !out->is_output) {
        graph_free_uses(graph, out);
        return MITRAL_NO_MEMORY;
    }
    for (size_t i = 0; i < graph->node_count; i++)
        for (size_t j = 0; graph->nodes[i].op && j < graph->nodes[i].input_count; j++)
            if (graph->nodes[i].inputs[j] != NO_VALUE)
                out->offsets[graph->nodes[i].inputs[j] + 2]++;
    for (size_t v = 2; v < graph->value_count + 2; v++)
        out->offsets[v] += out->offsets[v - 1];
    for (size_t i = 0; i < graph->node_count; i++)
        for (size_t j = 0; graph->nodes[i].op && j < graph->nodes[i].input_count; j++)
            if (graph->nodes[i].inputs[j] != NO_VALUE)
                out->nodes[out->offsets[graph->nodes[i].inputs[j] + 1]++] = (node_id)i;
    for (size_t i = 0; i < graph->output_count; i++)
        out->is_output[graph->outputs[i]] = true;
    for (size_t i = 0; i < graph->update_count; i++)
        out->is_output[graph->updates[i].value] = true;
    for (size_t v = 0; v < graph->value_count; v++)
        out->is_output[v] |= graph->values[v].tap;
    return MITRAL_OK;
}

void graph_free_uses(const struct graph *graph, struct graph_uses *uses)
{
    mitral_release(graph->context, uses->offsets);
    mitral_release(graph->context, uses->nodes);
    mitral_release(graph->context, uses->is_output);
    *uses = (struct graph_uses){0};
}

mitral_status graph_check_shaped(const struct graph *graph, const char *what)
{
    for (size_t n = 0; n < graph->node_count; n++) {
        const struct node *node = &graph->nodes[n];
        const value_id first = node->op ? node_output(node, 0) : NO_VALUE;
        if (first != NO_VALUE && graph->values[first].type.kind == MITRAL_TENSOR && graph->values[first].type.rank < 0)
            return mitral_fail(graph->context, MITRAL_UNSUPPORTED, "%s: %s '%s': expected an output of known shape, to be differentiated, found none",
                               what, node->op->name, node->name);
    }
    return MITRAL_OK;
}

const struct node *graph_producer(const struct graph *graph, value_id value)
{
    if (value == NO_VALUE || graph->values[value].producer == NO_NODE)
        return NULL;
    return &graph->nodes[graph->values[value].producer];
}

int64_t node_int_at(const struct node *node, const char *name, size_t index, int64_t fallback)
{
    size_t count;
    const int64_t *values = attribute_ints(&node->attributes, name, &count);
    return index < count ? values[index] : fallback;
}

bool node_is(const struct node *node, const char *op_name)
{
    return node && node->op && *op_domain(node->op) == '\0' && strcmp(node->op->name, op_name) == 0;
}

const mitral_tensor *graph_constant(const struct graph *graph, value_id value)
{
    return value == NO_VALUE || graph->values[value].variable ? NULL : graph->values[value].constant;
}

/* ---- types --------------------------------------------------------------------------------------------------------- */

bool type_is_static(const struct value_type *type)
{
    if (type->kind != MITRAL_TENSOR || type->dtype == MITRAL_UNDEFINED || type->rank < 0)
        return false;
    for (int32_t i = 0; i < type->rank; i++)
        if (type->dims[i] < 0)
            return false;
    return true;
}

void type_of_tensor(const mitral_tensor *tensor, struct value_type *out)
{
    *out = (struct value_type){.kind = MITRAL_TENSOR, .dtype = tensor->dtype, .rank = tensor->rank};
    if (tensor->rank > 0)
        memcpy(out->dims, tensor->dims, (size_t)tensor->rank * sizeof *out->dims);
}

void type_to_tensor(const struct value_type *type, mitral_tensor *out)
{
    tensor_set(out, type->dtype, type->rank, type->dims);
}

/* ---- copy ---------------------------------------------------------------------------------------------------------- */

static mitral_status copy_into(struct graph *out, const struct graph *graph)
{
    struct arena *arena = out->arena;
    out->name = graph->name;
    out->opset = graph->opset;
    out->ir_version = graph->ir_version;
    out->producer_name = graph->producer_name;
    out->producer_version = graph->producer_version;
    out->domain = graph->domain;
    out->doc_string = graph->doc_string;
    out->imports = graph->imports;
    out->metadata = graph->metadata;
    out->metadata_count = graph->metadata_count;
    out->value_count = out->value_capacity = graph->value_count;
    out->values = arena_allocate(arena, (graph->value_count + 1) * sizeof *out->values);
    out->node_count = out->node_capacity = graph->node_count;
    out->nodes = arena_allocate(arena, (graph->node_count + 1) * sizeof *out->nodes);
    if (!out->values || !out->nodes)
        return MITRAL_NO_MEMORY;
    if (graph->value_count)
        memcpy(out->values, graph->values, graph->value_count * sizeof *out->values);
    for (size_t i = 0; i < graph->input_count; i++)
        TRY(graph_add_input(out, graph->inputs[i]));
    for (size_t i = 0; i < graph->output_count; i++)
        TRY(graph_add_output(out, graph->outputs[i]));
    for (size_t i = 0; i < graph->update_count; i++)
        TRY(graph_add_update(out, graph->updates[i].variable, graph->updates[i].value));
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct node *from = &graph->nodes[i];
        struct node *to = &out->nodes[i];
        *to = *from;
        TRY(attributes_copy(&to->attributes, arena, &from->attributes));
        to->inputs = copy_ids(arena, from->inputs, from->input_count);
        to->outputs = copy_ids(arena, from->outputs, from->output_count);
        to->subgraphs = arena_allocate(arena, (from->subgraph_count + 1) * sizeof *to->subgraphs);
        if (!to->inputs || !to->outputs || !to->subgraphs)
            return MITRAL_NO_MEMORY;
        for (size_t j = 0; j < from->subgraph_count; j++) {
            TRY(graph_copy_subgraph(&to->subgraphs[j], out, from->subgraphs[j]));
        }
    }
    return MITRAL_OK;
}

mitral_status graph_copy_subgraph(struct graph **out, struct graph *parent, const struct graph *graph)
{
    TRY(graph_create_subgraph(out, parent));
    return copy_into(*out, graph);
}

mitral_status graph_copy(struct graph **out, const struct graph *graph)
{
    TRY(graph_create(out, graph->context));
    mitral_status status = copy_into(*out, graph);
    if (status != MITRAL_OK)
        graph_destroy(out);
    return status;
}
