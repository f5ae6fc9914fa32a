/* Two nodes that compute the same from the same become one. */
#include <string.h>

#include "compiler/passes/passes.h"

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u; /* FNV-1a */
    return hash;
}

static uint64_t hash_node(const struct node *node)
{
    uint64_t hash = hash_bytes(14695981039346656037u, &node->op, sizeof node->op);
    hash = hash_bytes(hash, node->inputs, node->input_count * sizeof *node->inputs);
    return hash_bytes(hash, &node->attributes.count, sizeof node->attributes.count);
}

static bool same_attribute(const struct attribute *a, const struct attribute *b)
{
    if (strcmp(a->name, b->name) != 0 || a->kind != b->kind || a->count != b->count)
        return false;
    switch (a->kind) {
    case ATTRIBUTE_INT:
    case ATTRIBUTE_INTS: return !a->count || memcmp(a->ints, b->ints, a->count * sizeof *a->ints) == 0;
    case ATTRIBUTE_FLOAT:
    case ATTRIBUTE_FLOATS: return !a->count || memcmp(a->floats, b->floats, a->count * sizeof *a->floats) == 0;
    case ATTRIBUTE_STRING:
    case ATTRIBUTE_STRINGS:
        for (size_t i = 0; i < a->count; i++)
            if (a->strings[i].size != b->strings[i].size || memcmp(a->strings[i].data, b->strings[i].data, a->strings[i].size) != 0)
                return false;
        return true;
    default: return false;
    }
}

static bool same_node(const struct node *a, const struct node *b)
{
    if (a->op != b->op || a->version != b->version || a->input_count != b->input_count || a->output_count != b->output_count
        || a->attributes.count != b->attributes.count
        || (a->input_count && memcmp(a->inputs, b->inputs, a->input_count * sizeof *a->inputs) != 0))
        return false;
    for (size_t i = 0; i < a->attributes.count; i++)
        if (!same_attribute(&a->attributes.items[i], &b->attributes.items[i]))
            return false;
    for (size_t i = 0; i < a->output_count; i++)
        if ((a->outputs[i] == NO_VALUE) != (b->outputs[i] == NO_VALUE))
            return false;
    return true;
}

mitral_status pass_merge_equal(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    size_t slots = 16;
    while (slots < 2 * graph->node_count)
        slots *= 2;
    node_id *table = mitral_allocate(graph->context, slots * sizeof *table);
    value_id *alias = mitral_allocate(graph->context, (graph->value_count + 1) * sizeof *alias);
    struct graph_uses uses = {0};
    mitral_status status = table && alias ? graph_find_uses(graph, &uses) : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK) {
        memset(table, 0xff, slots * sizeof *table);
        for (size_t v = 0; v < graph->value_count; v++)
            alias[v] = (value_id)v;
        for (size_t i = 0; i < graph->node_count; i++) {
            struct node *node = &graph->nodes[i];
            if (!node->op)
                continue;
            bool kept = false;
            for (size_t j = 0; j < node->input_count; j++)
                if (node->inputs[j] != NO_VALUE)
                    node->inputs[j] = alias[node->inputs[j]];
            for (size_t j = 0; j < node->output_count; j++)
                kept |= node->outputs[j] != NO_VALUE && uses.is_output[node->outputs[j]];
            if (kept || node->subgraph_count || node->op->traits & OP_RANDOM)
                continue;
            size_t slot = hash_node(node) & (slots - 1);
            while (table[slot] != NO_NODE && !same_node(&graph->nodes[table[slot]], node))
                slot = (slot + 1) & (slots - 1);
            if (table[slot] == NO_NODE) {
                table[slot] = (node_id)i;
                continue;
            }
            for (size_t j = 0; j < node->output_count; j++)
                if (node->outputs[j] != NO_VALUE)
                    alias[node->outputs[j]] = graph->nodes[table[slot]].outputs[j];
            graph_remove_node(graph, (node_id)i);
            *changed = true;
        }
    }
    graph_free_uses(graph, &uses);
    mitral_release(graph->context, table);
    mitral_release(graph->context, alias);
    return status;
}
