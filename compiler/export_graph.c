/* A graph as a GraphProto: names, initializers, nodes, and subgraphs whose captures become references to the outer scope. */
#include <string.h>

#include "compiler/export_internal.h"

/* ---- names --------------------------------------------------------------------------------------------------------- */

/* Values that the model needs: what nodes read and write, inputs and outputs. Constants that nobody reads are left out. */
static void mark_used(const struct graph *graph, bool *used)
{
    for (size_t i = 0; i < graph->input_count; i++)
        used[graph->inputs[i]] = true;
    for (size_t i = 0; i < graph->output_count; i++)
        used[graph->outputs[i]] = true;
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        for (size_t j = 0; node->op && j < node->input_count; j++)
            if (node->inputs[j] != NO_VALUE)
                used[node->inputs[j]] = true;
        for (size_t j = 0; node->op && j < node->output_count; j++)
            if (node->outputs[j] != NO_VALUE)
                used[node->outputs[j]] = true;
    }
}

/* A name that neither this graph nor one around it has. */
static mitral_status fresh_name(struct exporter *exporter, struct export_scope *scope, const char *wanted, const char **out)
{
    const struct name_map **around = export_allocate(exporter, (size_t)scope->depth, sizeof *around);
    if (!around)
        return MITRAL_NO_MEMORY;
    size_t count = 0;
    for (const struct export_scope *at = scope->parent; at; at = at->parent)
        around[count++] = &at->used;
    return name_map_unique(&scope->used, around, count, wanted && *wanted ? wanted : "value", out);
}

static mitral_status name_value(struct exporter *exporter, struct export_scope *scope, value_id id)
{
    return scope->names[id] ? MITRAL_OK : fresh_name(exporter, scope, scope->graph->values[id].name, &scope->names[id]);
}

/* Captured inputs are called what the graph around calls them; then inputs and outputs choose, which others know by name. */
static mitral_status name_values(struct exporter *exporter, struct export_scope *scope, const struct node *owner)
{
    const struct graph *graph = scope->graph;
    bool *used = export_allocate(exporter, graph->value_count, sizeof *used);
    scope->names = export_allocate(exporter, graph->value_count, sizeof *scope->names);
    if (!used || !scope->names)
        return MITRAL_NO_MEMORY;
    mark_used(graph, used);
    size_t captures = owner ? owner->capture_count : 0;
    for (size_t k = 0; k < captures; k++)
        scope->names[graph->inputs[graph->input_count - captures + k]] =
            scope->parent->names[owner->inputs[owner->input_count - captures + k]];
    for (size_t i = 0; i < graph->input_count; i++)
        TRY(name_value(exporter, scope, graph->inputs[i]));
    for (size_t i = 0; i < graph->output_count; i++)
        TRY(name_value(exporter, scope, graph->outputs[i]));
    for (value_id v = 0; v < graph->value_count; v++)
        if (used[v])
            TRY(name_value(exporter, scope, v));
    return MITRAL_OK;
}

/* ---- nodes --------------------------------------------------------------------------------------------------------- */

static bool same_bytes(const void *a, const void *b, size_t count, size_t size)
{
    return count == 0 || memcmp(a, b, count * size) == 0;
}

/* The schema's default need not be written. */
static bool is_default(const struct attribute *attribute, const struct schema_attribute *schema)
{
    if (!schema->has_default || schema->kind != (int)attribute->kind)
        return false;
    switch (attribute->kind) {
    case ATTRIBUTE_INT:
        return attribute->ints[0] == schema->default_int;
    case ATTRIBUTE_FLOAT: /* bits: a NaN is itself, -0 is not 0 */
        return same_bytes(attribute->floats, &schema->default_float, 1, sizeof(float));
    case ATTRIBUTE_STRING:
        return attribute->strings[0].size == strlen(schema->default_string) &&
               same_bytes(attribute->strings[0].data, schema->default_string, attribute->strings[0].size, 1);
    case ATTRIBUTE_INTS:
        return attribute->count == schema->default_ints_count &&
               same_bytes(attribute->ints, schema->default_ints, attribute->count, sizeof(int64_t));
    case ATTRIBUTE_FLOATS:
        return attribute->count == schema->default_floats_count &&
               same_bytes(attribute->floats, schema->default_floats, attribute->count, sizeof(float));
    default:
        return false;
    }
}

static mitral_status put_subgraph(struct exporter *exporter, const struct export_scope *scope, const struct node *node,
                                  const struct attribute *attribute, Onnx__AttributeProto **out)
{
    Onnx__AttributeProto *proto = export_allocate(exporter, 1, sizeof *proto);
    *out = proto;
    if (!proto)
        return MITRAL_NO_MEMORY;
    onnx__attribute_proto__init(proto);
    proto->name = export_text(attribute->name);
    proto->has_type = 1;
    proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH;
    return export_graph(exporter, node->subgraphs[attribute->subgraph], scope, node, &proto->g);
}

static mitral_status put_attributes(struct exporter *exporter, const struct export_scope *scope, const struct node *node,
                                    const struct schema *schema, Onnx__NodeProto *proto)
{
    proto->attribute = export_allocate(exporter, node->attributes.count, sizeof *proto->attribute);
    if (!proto->attribute)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < node->attributes.count; i++) {
        const struct attribute *attribute = &node->attributes.items[i];
        const struct schema_attribute *expected = schema_attribute_find(schema, attribute->name);
        if (schema && !expected)
            return mitral_fail(exporter->context, MITRAL_UNSUPPORTED, "%s '%s': expected attributes that the standard has, found '%s'",
                               node->op->name, node->name, attribute->name);
        if (expected && is_default(attribute, expected))
            continue;
        Onnx__AttributeProto **out = &proto->attribute[proto->n_attribute++];
        if (attribute->kind == ATTRIBUTE_GRAPH)
            TRY(put_subgraph(exporter, scope, node, attribute, out));
        else
            TRY(export_attribute(exporter, node, attribute, expected, out));
    }
    return MITRAL_OK;
}

static bool is_optional(const struct schema_parameter *parameters, size_t count, size_t index)
{
    return count && parameters[index < count ? index : count - 1].option == 1;
}

static mitral_status put_values(struct exporter *exporter, struct export_scope *scope, const struct node *node, const struct schema *schema,
                                Onnx__NodeProto *proto)
{
    size_t inputs = node->input_count - node->capture_count, outputs = node->output_count;
    while (inputs > (size_t)(schema ? schema->min_input : 0) && node->inputs[inputs - 1] == NO_VALUE)
        inputs--;
    while (outputs > (size_t)(schema ? schema->min_output : 0) && node->outputs[outputs - 1] == NO_VALUE)
        outputs--;
    proto->input = export_allocate(exporter, inputs, sizeof *proto->input);
    proto->output = export_allocate(exporter, outputs, sizeof *proto->output);
    if (!proto->input || !proto->output)
        return MITRAL_NO_MEMORY;
    proto->n_input = inputs;
    proto->n_output = outputs;
    for (size_t i = 0; i < inputs; i++)
        proto->input[i] = export_text(node->inputs[i] == NO_VALUE ? "" : scope->names[node->inputs[i]]);
    for (size_t i = 0; i < outputs; i++) {
        const char *name = "";
        if (node->outputs[i] != NO_VALUE)
            name = scope->names[node->outputs[i]];
        else if (schema && !is_optional(schema->outputs, schema->output_count, i)) /* must be there, though nobody reads it */
            TRY(fresh_name(exporter, scope, node->name, &name));
        proto->output[i] = export_text(name);
    }
    return MITRAL_OK;
}

static mitral_status put_node(struct exporter *exporter, struct export_scope *scope, const struct node *node, Onnx__NodeProto **out)
{
    Onnx__NodeProto *proto = export_allocate(exporter, 1, sizeof *proto);
    *out = proto;
    if (!proto)
        return MITRAL_NO_MEMORY;
    onnx__node_proto__init(proto);
    const char *domain = op_domain(node->op);
    const struct schema *schema = schema_find(domain, node->op->name, node->version);
    proto->name = export_text(node->name);
    proto->op_type = export_text(node->op->name);
    if (*domain)
        proto->domain = export_text(domain);
    TRY(put_values(exporter, scope, node, schema, proto));
    return put_attributes(exporter, scope, node, schema, proto);
}

static mitral_status put_identity(struct exporter *exporter, const char *input, const char *output, Onnx__NodeProto **out)
{
    Onnx__NodeProto *proto = export_allocate(exporter, 1, sizeof *proto);
    char **values = export_allocate(exporter, 2, sizeof *values);
    if (!proto || !values)
        return MITRAL_NO_MEMORY;
    *out = proto;
    onnx__node_proto__init(proto);
    proto->op_type = export_text("Identity");
    proto->name = export_text(output);
    values[0] = export_text(input);
    values[1] = export_text(output);
    proto->n_input = proto->n_output = 1;
    proto->input = &values[0];
    proto->output = &values[1];
    return MITRAL_OK;
}

/* ---- the graph ----------------------------------------------------------------------------------------------------- */

static mitral_status put_info(struct exporter *exporter, const char *name, const struct value_type *type, Onnx__ValueInfoProto **out)
{
    Onnx__ValueInfoProto *proto = export_allocate(exporter, 1, sizeof *proto);
    *out = proto;
    if (!proto)
        return MITRAL_NO_MEMORY;
    onnx__value_info_proto__init(proto);
    proto->name = export_text(name);
    /* A type of which not even the element type is known is left out: subgraphs may do so. */
    const struct value_type *innermost = type;
    while (innermost->kind != MITRAL_TENSOR && innermost->element)
        innermost = innermost->element;
    if (innermost->kind != MITRAL_TENSOR || innermost->dtype == MITRAL_UNDEFINED)
        return MITRAL_OK;
    return export_type(exporter, type, &proto->type);
}

static mitral_status put_initializers(struct exporter *exporter, const struct export_scope *scope, Onnx__GraphProto *proto)
{
    const struct graph *graph = scope->graph;
    size_t count = 0;
    for (value_id v = 0; v < graph->value_count; v++)
        count += scope->names[v] && graph->values[v].constant;
    proto->initializer = export_allocate(exporter, count, sizeof *proto->initializer);
    if (!proto->initializer)
        return MITRAL_NO_MEMORY;
    for (value_id v = 0; v < graph->value_count; v++)
        if (scope->names[v] && graph->values[v].constant)
            TRY(export_tensor(exporter, scope->names[v], graph->values[v].constant, &proto->initializer[proto->n_initializer++]));
    return MITRAL_OK;
}

/* Outputs in their order. A value of the outer scope, or one that is an output already, goes out as a copy: others refuse it
 * as it is. */
static mitral_status put_outputs(struct exporter *exporter, struct export_scope *scope, size_t own_inputs, Onnx__GraphProto *proto)
{
    const struct graph *graph = scope->graph;
    bool *seen = export_allocate(exporter, graph->value_count, sizeof *seen);
    proto->output = export_allocate(exporter, graph->output_count, sizeof *proto->output);
    if (!seen || !proto->output)
        return MITRAL_NO_MEMORY;
    for (size_t i = own_inputs; i < graph->input_count; i++)
        seen[graph->inputs[i]] = true;
    for (size_t i = 0; i < graph->output_count; i++) {
        value_id id = graph->outputs[i];
        const char *name = scope->names[id];
        if (seen[id]) {
            TRY(fresh_name(exporter, scope, name, &name));
            TRY(put_identity(exporter, scope->names[id], name, &proto->node[proto->n_node++]));
        }
        seen[id] = true;
        TRY(put_info(exporter, name, &graph->values[id].type, &proto->output[proto->n_output++]));
    }
    return MITRAL_OK;
}

mitral_status export_graph(struct exporter *exporter, const struct graph *graph, const struct export_scope *parent,
                           const struct node *owner, Onnx__GraphProto **out)
{
    struct export_scope scope = {.graph = graph, .parent = parent, .depth = parent ? parent->depth + 1 : 0};
    name_map_initialise(&scope.used, &exporter->scratch);
    Onnx__GraphProto *proto = export_allocate(exporter, 1, sizeof *proto);
    *out = proto;
    if (!proto)
        return MITRAL_NO_MEMORY;
    onnx__graph_proto__init(proto);
    proto->name = export_text(graph->name && *graph->name ? graph->name : "graph");
    if (!parent && graph->imports && graph->imports->graph_doc_string)
        proto->doc_string = export_text(graph->imports->graph_doc_string);
    TRY(name_values(exporter, &scope, owner));
    TRY(put_initializers(exporter, &scope, proto));
    size_t own_inputs = graph->input_count - (owner ? owner->capture_count : 0);
    proto->input = export_allocate(exporter, own_inputs, sizeof *proto->input);
    proto->node = export_allocate(exporter, graph->node_count + graph->output_count, sizeof *proto->node);
    if (!proto->input || !proto->node)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < own_inputs; i++)
        TRY(put_info(exporter, scope.names[graph->inputs[i]], &graph->values[graph->inputs[i]].type, &proto->input[proto->n_input++]));
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op)
            TRY(put_node(exporter, &scope, &graph->nodes[i], &proto->node[proto->n_node++]));
    return put_outputs(exporter, &scope, own_inputs, proto);
}
