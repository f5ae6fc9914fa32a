/* The graph as text. One line for each input, constant, node and output:
 *     input x: float32[1,3,H,W]
 *     constant w: float32[8,3,3,3]
 *     y: float32[1,8,H,W] = Conv.11(x, w) {group=1, pads=[1,1,1,1]}
 *     output y
 * Subgraphs follow their node, indented. */
#include "compiler/op.h"
#include "runtime/text.h"

static void put_type(struct text *text, const struct value_type *type)
{
    if (type->kind != MITRAL_TENSOR) {
        text_put(text, "%s", type->kind == MITRAL_SEQUENCE ? "sequence" : type->kind == MITRAL_OPTIONAL ? "optional" : "map");
        if (type->element) {
            text_put(text, "(");
            put_type(text, type->element);
            text_put(text, ")");
        }
        return;
    }
    const char *dtype = mitral_dtype_name((mitral_dtype)type->dtype);
    text_put(text, "%s", dtype ? dtype : "?");
    if (type->rank < 0) {
        text_put(text, "[...]");
        return;
    }
    text_put(text, "[");
    for (int32_t i = 0; i < type->rank; i++) {
        text_put(text, "%s", i ? "," : "");
        if (type->dims[i] >= 0)
            text_put(text, "%lld", (long long)type->dims[i]);
        else
            text_put(text, "%s", type->symbols[i] && *type->symbols[i] ? type->symbols[i] : "?");
    }
    text_put(text, "]");
}

static void put_attribute(struct text *text, const struct attribute *attribute)
{
    text_put(text, "%s=", attribute->name);
    const char *separator = "";
    switch (attribute->kind) {
    case ATTRIBUTE_INT: text_put(text, "%lld", (long long)attribute->ints[0]); break;
    case ATTRIBUTE_FLOAT: text_put(text, "%.9g", (double)attribute->floats[0]); break;
    case ATTRIBUTE_STRING: text_put(text, "\"%s\"", attribute->strings[0].data); break;
    case ATTRIBUTE_GRAPH: text_put(text, "graph %d", attribute->subgraph); break;
    case ATTRIBUTE_TENSOR:
    case ATTRIBUTE_TENSORS: {
        char described[256];
        for (size_t i = 0; i < attribute->count; i++)
            text_put(text, "%s%s", i ? ";" : "", tensor_describe(&attribute->tensors[i], described, sizeof described));
        break;
    }
    case ATTRIBUTE_INTS:
    case ATTRIBUTE_FLOATS:
    case ATTRIBUTE_STRINGS:
        text_put(text, "[");
        for (size_t i = 0; i < attribute->count; i++, separator = ",")
            if (attribute->kind == ATTRIBUTE_INTS)
                text_put(text, "%s%lld", separator, (long long)attribute->ints[i]);
            else if (attribute->kind == ATTRIBUTE_FLOATS)
                text_put(text, "%s%.9g", separator, (double)attribute->floats[i]);
            else
                text_put(text, "%s\"%s\"", separator, attribute->strings[i].data);
        text_put(text, "]");
        break;
    }
}

static void put_graph(struct text *text, const struct graph *graph, int indent);

static void put_node(struct text *text, const struct graph *graph, const struct node *node, int indent)
{
    text_put(text, "%*s", indent, "");
    for (size_t i = 0; i < node->output_count; i++) {
        text_put(text, "%s", i ? ", " : "");
        if (node->outputs[i] == NO_VALUE) {
            text_put(text, "_");
            continue;
        }
        const struct graph_value *value = &graph->values[node->outputs[i]];
        text_put(text, "%s: ", value->name);
        put_type(text, &value->type);
        if (value->layout == LAYOUT_CHANNELS_LAST)
            text_put(text, " channels_last");
    }
    text_put(text, " = %s%s%s.%d(", op_domain(node->op), *op_domain(node->op) ? "." : "", node->op->name, node->version);
    for (size_t i = 0; i < node->input_count; i++)
        text_put(text, "%s%s", i ? ", " : "", node->inputs[i] == NO_VALUE ? "_" : graph->values[node->inputs[i]].name);
    text_put(text, ")");
    if (node->attributes.count) {
        text_put(text, " {");
        for (size_t i = 0; i < node->attributes.count; i++) {
            text_put(text, "%s", i ? ", " : "");
            put_attribute(text, &node->attributes.items[i]);
        }
        text_put(text, "}");
    }
    text_put(text, "\n");
    for (size_t i = 0; i < node->subgraph_count; i++) {
        text_put(text, "%*sgraph %zu:\n", indent + 2, "", i);
        put_graph(text, node->subgraphs[i], indent + 4);
    }
}

static void put_graph(struct text *text, const struct graph *graph, int indent)
{
    for (size_t i = 0; i < graph->input_count; i++) {
        text_put(text, "%*sinput %s: ", indent, "", graph->values[graph->inputs[i]].name);
        put_type(text, &graph->values[graph->inputs[i]].type);
        text_put(text, "\n");
    }
    for (size_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].constant) {
            text_put(text, "%*s%s %s: ", indent, "", graph->values[v].variable ? "variable" : "constant", graph->values[v].name);
            put_type(text, &graph->values[v].type);
            text_put(text, "\n");
        }
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op)
            put_node(text, graph, &graph->nodes[i], indent);
    for (size_t i = 0; i < graph->update_count; i++)
        text_put(text, "%*supdate %s <- %s\n", indent, "", graph->values[graph->updates[i].variable].name,
            graph->values[graph->updates[i].value].name);
    for (size_t i = 0; i < graph->output_count; i++)
        text_put(text, "%*soutput %s\n", indent, "", graph->values[graph->outputs[i]].name);
}

mitral_status graph_dump(const struct graph *graph, char **out)
{
    struct text text = {.context = graph->context};
    put_graph(&text, graph, 0);
    return text_finish(&text, out);
}
