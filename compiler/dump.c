/* The graph as text. One line for each input, constant, node and output:
 *     input x: float32[1,3,H,W]
 *     constant w: float32[8,3,3,3]
 *     y: float32[1,8,H,W] = Conv.11(x, w) {group=1, pads=[1,1,1,1]}
 *     output y
 * Subgraphs follow their node, indented. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "compiler/op.h"

struct text {
    mitral_context *context;
    char *data;
    size_t size, capacity;
    bool failed;
};

static void __attribute__((format(printf, 2, 3))) put(struct text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length >= 0 && !text->failed) {
        if (text->size + (size_t)length + 1 > text->capacity) {
            size_t capacity = (text->size + (size_t)length + 1) * 2;
            char *larger = mitral_allocate_raw(text->context, capacity);
            if (larger) {
                if (text->size)
                    memcpy(larger, text->data, text->size);
                mitral_release(text->context, text->data);
                text->data = larger;
                text->capacity = capacity;
            } else {
                text->failed = true;
            }
        }
        if (!text->failed) {
            vsnprintf(text->data + text->size, (size_t)length + 1, format, again);
            text->size += (size_t)length;
        }
    }
    va_end(again);
}

static void put_type(struct text *text, const struct value_type *type)
{
    if (type->kind != MITRAL_TENSOR) {
        put(text, "%s", type->kind == MITRAL_SEQUENCE ? "sequence" : type->kind == MITRAL_OPTIONAL ? "optional" : "map");
        if (type->element) {
            put(text, "(");
            put_type(text, type->element);
            put(text, ")");
        }
        return;
    }
    const char *dtype = mitral_dtype_name((mitral_dtype)type->dtype);
    put(text, "%s", dtype ? dtype : "?");
    if (type->rank < 0) {
        put(text, "[...]");
        return;
    }
    put(text, "[");
    for (int32_t i = 0; i < type->rank; i++) {
        put(text, "%s", i ? "," : "");
        if (type->dims[i] >= 0)
            put(text, "%lld", (long long)type->dims[i]);
        else
            put(text, "%s", type->symbols[i] && *type->symbols[i] ? type->symbols[i] : "?");
    }
    put(text, "]");
}

static void put_attribute(struct text *text, const struct attribute *attribute)
{
    put(text, "%s=", attribute->name);
    const char *separator = "";
    switch (attribute->kind) {
    case ATTRIBUTE_INT: put(text, "%lld", (long long)attribute->ints[0]); break;
    case ATTRIBUTE_FLOAT: put(text, "%.9g", (double)attribute->floats[0]); break;
    case ATTRIBUTE_STRING: put(text, "\"%s\"", attribute->strings[0].data); break;
    case ATTRIBUTE_GRAPH: put(text, "graph %d", attribute->subgraph); break;
    case ATTRIBUTE_TENSOR:
    case ATTRIBUTE_TENSORS: {
        char described[256];
        for (size_t i = 0; i < attribute->count; i++)
            put(text, "%s%s", i ? ";" : "", tensor_describe(&attribute->tensors[i], described, sizeof described));
        break;
    }
    case ATTRIBUTE_INTS:
    case ATTRIBUTE_FLOATS:
    case ATTRIBUTE_STRINGS:
        put(text, "[");
        for (size_t i = 0; i < attribute->count; i++, separator = ",")
            if (attribute->kind == ATTRIBUTE_INTS)
                put(text, "%s%lld", separator, (long long)attribute->ints[i]);
            else if (attribute->kind == ATTRIBUTE_FLOATS)
                put(text, "%s%.9g", separator, (double)attribute->floats[i]);
            else
                put(text, "%s\"%s\"", separator, attribute->strings[i].data);
        put(text, "]");
        break;
    }
}

static void put_graph(struct text *text, const struct graph *graph, int indent);

static void put_node(struct text *text, const struct graph *graph, const struct node *node, int indent)
{
    put(text, "%*s", indent, "");
    for (size_t i = 0; i < node->output_count; i++) {
        put(text, "%s", i ? ", " : "");
        if (node->outputs[i] == NO_VALUE) {
            put(text, "_");
            continue;
        }
        const struct graph_value *value = &graph->values[node->outputs[i]];
        put(text, "%s: ", value->name);
        put_type(text, &value->type);
        if (value->layout == LAYOUT_CHANNELS_LAST)
            put(text, " channels_last");
    }
    put(text, " = %s%s%s.%d(", op_domain(node->op), *op_domain(node->op) ? "." : "", node->op->name, node->version);
    for (size_t i = 0; i < node->input_count; i++)
        put(text, "%s%s", i ? ", " : "", node->inputs[i] == NO_VALUE ? "_" : graph->values[node->inputs[i]].name);
    put(text, ")");
    if (node->attributes.count) {
        put(text, " {");
        for (size_t i = 0; i < node->attributes.count; i++) {
            put(text, "%s", i ? ", " : "");
            put_attribute(text, &node->attributes.items[i]);
        }
        put(text, "}");
    }
    put(text, "\n");
    for (size_t i = 0; i < node->subgraph_count; i++) {
        put(text, "%*sgraph %zu:\n", indent + 2, "", i);
        put_graph(text, node->subgraphs[i], indent + 4);
    }
}

static void put_graph(struct text *text, const struct graph *graph, int indent)
{
    for (size_t i = 0; i < graph->input_count; i++) {
        put(text, "%*sinput %s: ", indent, "", graph->values[graph->inputs[i]].name);
        put_type(text, &graph->values[graph->inputs[i]].type);
        put(text, "\n");
    }
    for (size_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].constant) {
            put(text, "%*s%s %s: ", indent, "", graph->values[v].variable ? "variable" : "constant", graph->values[v].name);
            put_type(text, &graph->values[v].type);
            put(text, "\n");
        }
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op)
            put_node(text, graph, &graph->nodes[i], indent);
    for (size_t i = 0; i < graph->update_count; i++)
        put(text, "%*supdate %s <- %s\n", indent, "", graph->values[graph->updates[i].variable].name,
            graph->values[graph->updates[i].value].name);
    for (size_t i = 0; i < graph->output_count; i++)
        put(text, "%*soutput %s\n", indent, "", graph->values[graph->outputs[i]].name);
}

mitral_status graph_dump(const struct graph *graph, char **out)
{
    struct text text = {.context = graph->context};
    put(&text, "%s", "");
    put_graph(&text, graph, 0);
    if (text.failed) {
        mitral_release(graph->context, text.data);
        return MITRAL_NO_MEMORY;
    }
    *out = text.data;
    return MITRAL_OK;
}
