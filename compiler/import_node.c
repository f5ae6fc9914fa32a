/* One node of the file: found among operators or functions, checked against its schema, added to the graph. */
#include <stdio.h>
#include <string.h>

#include "compiler/import_internal.h"
#include "runtime/custom.h"

const char *import_node_label(struct scope *scope, const onnx_node *proto)
{
    const char *name = import_text(proto->name);
    if (!*name && proto->n_output)
        name = import_text(proto->output[0]);
    const char *label = arena_format(&scope->importer->scratch, "%s '%s%s'", import_text(proto->op_type), scope->prefix, name);
    return label ? label : import_text(proto->op_type);
}

mitral_status import_refuse(struct scope *scope, const onnx_node *proto, mitral_status status, const char *expected, int64_t found)
{
    return mitral_fail(scope->importer->context, status, "%s (domain %s): expected %s, found %lld", import_node_label(scope, proto),
                       import_text(proto->domain), expected, (long long)found);
}

mitral_status import_node_values(struct scope *scope, const onnx_node *proto, value_id **inputs, value_id **outputs)
{
    struct importer *importer = scope->importer;
    *inputs = arena_allocate(&importer->scratch, (proto->n_input + 1) * sizeof **inputs);
    *outputs = arena_allocate(&importer->scratch, (proto->n_output + 1) * sizeof **outputs);
    if (!*inputs || !*outputs)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < proto->n_input; i++) {
        const char *name = import_text(proto->input[i]);
        (*inputs)[i] = NO_VALUE;
        if (!*name)
            continue;
        bool found;
        TRY(scope_find(scope, name, &(*inputs)[i], &found));
        if (!found)
            return mitral_fail(importer->context, MITRAL_INVALID,
                               "%s: expected input %zu, '%s', to be a value that a node, input or initializer defines, found none",
                               import_node_label(scope, proto), i, name);
    }
    for (size_t i = 0; i < proto->n_output; i++) {
        const char *name = import_text(proto->output[i]);
        const struct name_entry *entry = *name ? name_map_find(&scope->names, name) : NULL;
        (*outputs)[i] = entry ? entry->id : NO_VALUE;
    }
    return MITRAL_OK;
}

/* ---- the schema's word on inputs and outputs ------------------------------------------------------------------------ */

static mitral_status wrong_count(struct scope *scope, const onnx_node *proto, int64_t opset, const char *what, int least, int most,
                                 size_t found)
{
    char range[64];
    if (most == INT32_MAX)
        snprintf(range, sizeof range, "at least %d", least);
    else if (least == most)
        snprintf(range, sizeof range, "%d", least);
    else
        snprintf(range, sizeof range, "%d to %d", least, most);
    return mitral_fail(scope->importer->context, MITRAL_INVALID, "%s (opset %lld): expected %s %s, found %zu",
                       import_node_label(scope, proto), (long long)opset, range, what, found);
}

static mitral_status check_arity(struct scope *scope, const onnx_node *proto, const struct schema *schema, int64_t opset,
                                 const value_id *inputs)
{
    if (proto->n_input < (size_t)schema->min_input || proto->n_input > (size_t)schema->max_input)
        return wrong_count(scope, proto, opset, "inputs", schema->min_input, schema->max_input, proto->n_input);
    if (proto->n_output < (size_t)schema->min_output || proto->n_output > (size_t)schema->max_output)
        return wrong_count(scope, proto, opset, "outputs", schema->min_output, schema->max_output, proto->n_output);
    for (size_t i = 0; i < proto->n_input && schema->input_count; i++) {
        const struct schema_parameter *parameter = &schema->inputs[i < schema->input_count ? i : schema->input_count - 1];
        if (parameter->option != 1 && inputs[i] == NO_VALUE)
            return mitral_fail(scope->importer->context, MITRAL_INVALID, "%s (opset %lld): expected input %zu, '%s', found none",
                               import_node_label(scope, proto), (long long)opset, i, parameter->name);
    }
    return MITRAL_OK;
}

/* ---- captures ------------------------------------------------------------------------------------------------------ */

/* The values that any of the node's subgraphs takes from this graph, each once. */
static mitral_status unite_captures(struct importer *importer, struct scope *const *subgraphs, size_t count, struct scope *outer,
                                    value_id **out, size_t *out_count)
{
    struct name_map seen;
    name_map_initialise(&seen, &importer->scratch);
    size_t most = 0;
    for (size_t i = 0; i < count; i++)
        most += subgraphs[i]->capture_count;
    *out = arena_allocate(&importer->scratch, (most + 1) * sizeof **out);
    *out_count = 0;
    if (!*out)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < subgraphs[i]->capture_count; k++) {
            value_id id = subgraphs[i]->captures[k].outer;
            struct name_entry *entry;
            bool existed;
            TRY(name_map_add(&seen, outer->graph->values[id].name, &entry, &existed));
            if (!existed)
                (*out)[(*out_count)++] = id;
        }
    return MITRAL_OK;
}

/* Appends the united captures to the inputs of each subgraph: where one does not use a value, as an input that nobody reads. */
static mitral_status close_subgraphs(struct scope *const *subgraphs, size_t count, struct scope *outer, const value_id *captures,
                                     size_t capture_count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < capture_count; k++) {
            const struct graph_value *value = &outer->graph->values[captures[k]];
            const struct name_entry *entry = name_map_find(&subgraphs[i]->captured, value->name);
            value_id inner;
            if (entry) {
                inner = entry->id;
            } else {
                struct value_type type = value->type;
                const char *name;
                TRY(name_map_unique(&subgraphs[i]->own_unique, NULL, 0, value->name, &name));
                TRY(graph_add_value(subgraphs[i]->graph, name, &type, &inner));
            }
            TRY(graph_add_input(subgraphs[i]->graph, inner));
        }
    return MITRAL_OK;
}

static mitral_status attach_subgraphs(struct scope *scope, struct node *node, struct scope *const *subgraphs, size_t count,
                                      size_t capture_count)
{
    node->subgraphs = arena_allocate(scope->graph->arena, (count + 1) * sizeof *node->subgraphs);
    if (!node->subgraphs)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        node->subgraphs[i] = subgraphs[i]->graph;
    node->subgraph_count = count;
    node->capture_count = capture_count;
    return MITRAL_OK;
}

/* ---- the node ------------------------------------------------------------------------------------------------------ */

/* What a registered operator's description says, as a schema would. */
static struct schema custom_limits(const struct op *op)
{
    const mitral_operator *description = &custom_of_kernel(op->custom)->description;
    return (struct schema){.min_input = description->min_inputs,
                           .max_input = description->max_inputs < 0 ? INT32_MAX : description->max_inputs,
                           .min_output = description->min_outputs,
                           .max_output = description->max_outputs < 0 ? INT32_MAX : description->max_outputs};
}

static mitral_status add_node(struct scope *scope, const onnx_node *proto, const struct op *op, const struct schema *schema, int64_t opset)
{
    struct importer *importer = scope->importer;
    value_id *inputs, *outputs;
    TRY(import_node_values(scope, proto, &inputs, &outputs));
    if (schema)
        TRY(check_arity(scope, proto, schema, opset, inputs));
    if (op->custom) {
        const struct schema limits = custom_limits(op);
        TRY(check_arity(scope, proto, &limits, opset, inputs));
    }
    struct attributes attributes;
    struct scope **subgraphs;
    size_t subgraph_count;
    TRY(import_attributes(scope, proto, schema, opset, &attributes, &subgraphs, &subgraph_count));
    if (op->custom && subgraph_count)
        return mitral_fail(importer->context, MITRAL_UNSUPPORTED, "%s: expected no subgraphs of a registered operator, found %zu",
                           import_node_label(scope, proto), subgraph_count);
    value_id *captures;
    size_t capture_count, input_count = proto->n_input;
    TRY(unite_captures(importer, subgraphs, subgraph_count, scope, &captures, &capture_count));
    TRY(close_subgraphs(subgraphs, subgraph_count, scope, captures, capture_count));
    if (capture_count) {
        value_id *extended = arena_allocate(&importer->scratch, (input_count + capture_count) * sizeof *extended);
        if (!extended)
            return MITRAL_NO_MEMORY;
        memcpy(extended, inputs, input_count * sizeof *inputs);
        memcpy(extended + input_count, captures, capture_count * sizeof *captures);
        inputs = extended;
        input_count += capture_count;
    }
    const char *name = import_text(proto->name);
    if (*name && *scope->prefix) {
        name = arena_format(&importer->scratch, "%s%s", scope->prefix, name);
        if (!name)
            return MITRAL_NO_MEMORY;
    }
    node_id id;
    TRY(graph_add_node(scope->graph, op, schema ? schema->since_version : (int)opset, name, &attributes, inputs, input_count, outputs,
                       proto->n_output, &id));
    return attach_subgraphs(scope, &scope->graph->nodes[id], subgraphs, subgraph_count, capture_count);
}

/* Whether the row alone can run the operator; otherwise its function body is asked. */
static bool is_runnable(const struct op *op)
{
    return op && (op_kernel(op) || op->lower || (op->traits & OP_CONTROL));
}

static bool is_standard(const char *domain)
{
    return !*domain || strcmp(domain, "ai.onnx.ml") == 0 || strncmp(domain, "ai.onnx.preview", strlen("ai.onnx.preview")) == 0;
}

/* ONNX Runtime's optimiser writes these into the default domain of opsets that do not have them. */
static bool is_runtime_extension(const char *domain, const char *name)
{
    return !*domain && (strcmp(name, "LayerNormalization") == 0 || strcmp(name, "SimplifiedLayerNormalization") == 0);
}

mitral_status import_node(struct scope *scope, const onnx_node *proto)
{
    mitral_context *context = scope->importer->context;
    const char *domain = import_domain(proto->domain), *name = import_text(proto->op_type);
    if (!*name)
        return mitral_fail(context, MITRAL_INVALID, "node '%s%s': expected an operator, found none", scope->prefix, import_text(proto->name));
    const struct op *registered = op_find_registered(context, domain, name);
    const struct function *function = registered ? NULL : function_find(scope->importer, proto);
    if (function)
        return function_expand(scope, proto, function, NULL);
    int64_t opset = opset_of_domain(scope->opsets, domain);
    if (!opset)
        return mitral_fail(context, MITRAL_INVALID, "%s: expected its domain, '%s', among the opset imports, found none",
                           import_node_label(scope, proto), *domain ? domain : "ai.onnx");
    if (registered)
        return add_node(scope, proto, registered, NULL, opset);
    bool done;
    TRY(import_runtime(scope, proto, opset, &done));
    if (done)
        return MITRAL_OK;
    const struct schema *schema = schema_find(domain, name, opset);
    /* What older opsets say of an operator holds when it has not been changed since. */
    bool known = schema ? *domain || opset >= IMPORT_OLDEST_OPSET || schema == schema_find(domain, name, IMPORT_OLDEST_OPSET)
                        : !is_standard(domain) || is_runtime_extension(domain, name);
    if (!known && schema && !*domain) {
        const onnx_node *newer;
        TRY(import_legacy(scope, proto, schema, &newer));
        if (newer) {
            proto = newer;
            opset = IMPORT_OLDEST_OPSET;
            schema = schema_find(domain, name, opset);
            known = true;
        }
    }
    if (known && !*domain && strcmp(name, "Constant") == 0)
        return import_constant(scope, proto, schema, opset);
    const struct op *op = op_find(domain, name);
    if (known && is_runnable(op))
        return add_node(scope, proto, op, schema, opset);
    if (known && schema) {
        TRY(function_of_schema(scope->importer, schema, &function));
        if (function)
            return function_expand(scope, proto, function, schema);
    }
    return import_note_unsupported(scope, proto, opset);
}
