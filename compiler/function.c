/* Functions: model-local ones, and the bodies that the standard gives some of its operators. A call is replaced by the body,
 * whose names get "<call>/" in front. */
#include <string.h>

#include "compiler/import_internal.h"

static char *function_key(struct importer *importer, const char *domain, const char *name, const char *overload)
{
    return arena_format(&importer->scratch, "%s\x1f%s\x1f%s", import_domain(domain), import_text(name), import_text(overload));
}

/* Opset imports are read once, however often the function is called. */
static mitral_status make(struct importer *importer, const onnx_function *proto, const void **out)
{
    struct function *function = arena_allocate(&importer->scratch, sizeof *function);
    *out = function;
    if (!function)
        return MITRAL_NO_MEMORY;
    function->proto = proto;
    const char *what = arena_format(&importer->scratch, "function '%s'", import_text(proto->name));
    return what ? import_opsets(importer, what, proto->opset_import, proto->n_opset_import, &function->opsets) : MITRAL_NO_MEMORY;
}

mitral_status function_register(struct importer *importer, const onnx_function *function)
{
    if (!*import_text(function->name))
        return mitral_fail(importer->context, MITRAL_INVALID, "expected every function to have a name, found one without");
    char *key = function_key(importer, function->domain, function->name, function->overload);
    struct name_entry *entry;
    bool existed;
    if (!key)
        return MITRAL_NO_MEMORY;
    TRY(name_map_add(&importer->functions, key, &entry, &existed));
    if (existed)
        return mitral_fail(importer->context, MITRAL_INVALID, "expected every function to be defined once, found '%s' of domain '%s' twice",
                           function->name, import_text(function->domain));
    return make(importer, function, &entry->pointer);
}

const struct function *function_find(const struct importer *importer, const onnx_node *node)
{
    if (!importer->functions.count)
        return NULL;
    char *key = function_key((struct importer *)importer, node->domain, node->op_type, node->overload);
    const struct name_entry *entry = key ? name_map_find(&importer->functions, key) : NULL;
    return entry ? entry->pointer : NULL;
}

mitral_status function_of_schema(struct importer *importer, const struct schema *schema, const struct function **out)
{
    *out = NULL;
    if (!schema->function_body)
        return MITRAL_OK;
    char *key = arena_format(&importer->scratch, "%s\x1f%s\x1f%d", schema->domain, schema->name, schema->since_version);
    struct name_entry *entry;
    bool existed;
    if (!key)
        return MITRAL_NO_MEMORY;
    TRY(name_map_add(&importer->bodies, key, &entry, &existed));
    if (!existed) {
        onnx_function *proto;
        TRY(import_unpack_function(importer, schema->function_body, schema->function_body_size, &proto));
        TRY(make(importer, proto, &entry->pointer));
    }
    *out = entry->pointer;
    return MITRAL_OK;
}

/* ---- attributes of a call ------------------------------------------------------------------------------------------ */

static bool function_has_attribute(const onnx_function *function, const struct schema *schema, const char *name)
{
    if (schema_attribute_find(schema, name))
        return true;
    for (size_t i = 0; i < function->n_attribute; i++)
        if (strcmp(import_text(function->attribute[i]), name) == 0)
            return true;
    for (size_t i = 0; i < function->n_attribute_proto; i++)
        if (strcmp(import_text(function->attribute_proto[i]->name), name) == 0)
            return true;
    return false;
}

static bool frame_has(const struct frame *frame, const char *name)
{
    for (size_t i = 0; i < frame->attribute_count; i++)
        if (strcmp(import_text(frame->attributes[i]->name), name) == 0)
            return true;
    return false;
}

/* The default of a schema as the file would write it, for references to resolve to. */
static mitral_status default_of(struct importer *importer, const struct schema_attribute *schema, const onnx_attribute **out)
{
    onnx_attribute *value = arena_allocate(&importer->scratch, sizeof *value);
    *out = value;
    if (!value)
        return MITRAL_NO_MEMORY;
    onnx__attribute_proto__init(value);
    value->name = (char *)(uintptr_t)schema->name;
    value->has_type = 1;
    switch (schema->kind) {
    case ATTRIBUTE_INT:
        value->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
        value->i = schema->default_int;
        return MITRAL_OK;
    case ATTRIBUTE_FLOAT:
        value->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
        value->f = schema->default_float;
        return MITRAL_OK;
    case ATTRIBUTE_STRING:
        value->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
        value->s.data = (uint8_t *)(uintptr_t)schema->default_string;
        value->s.len = strlen(schema->default_string);
        return MITRAL_OK;
    case ATTRIBUTE_INTS:
        value->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
        value->ints = (int64_t *)(uintptr_t)schema->default_ints;
        value->n_ints = schema->default_ints_count;
        return MITRAL_OK;
    case ATTRIBUTE_FLOATS:
        value->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS;
        value->floats = (float *)(uintptr_t)schema->default_floats;
        value->n_floats = schema->default_floats_count;
        return MITRAL_OK;
    case ATTRIBUTE_STRINGS: {
        value->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS;
        value->strings = arena_allocate(&importer->scratch, (schema->default_strings_count + 1) * sizeof *value->strings);
        if (!value->strings)
            return MITRAL_NO_MEMORY;
        value->n_strings = schema->default_strings_count;
        for (size_t i = 0; i < value->n_strings; i++) {
            value->strings[i].data = (uint8_t *)(uintptr_t)schema->default_strings[i];
            value->strings[i].len = strlen(schema->default_strings[i]);
        }
        return MITRAL_OK;
    }
    default: /* no schema has a default of another kind */
        *out = NULL;
        return MITRAL_OK;
    }
}

static mitral_status given_attributes(struct scope *scope, const onnx_node *call, const onnx_function *function,
                                      const struct schema *schema, struct frame *frame)
{
    mitral_context *context = scope->importer->context;
    for (size_t i = 0; i < call->n_attribute; i++) {
        const char *name = import_text(call->attribute[i]->name);
        const onnx_attribute *value;
        TRY(import_attribute_resolve(scope, call, call->attribute[i], &value));
        if (!value || strncmp(name, "__", 2) == 0)
            continue;
        if (!function_has_attribute(function, schema, name))
            return mitral_fail(context, MITRAL_INVALID, "%s: expected an attribute of the function, found '%s'", import_node_label(scope, call),
                               name);
        if (frame_has(frame, name))
            return mitral_fail(context, MITRAL_INVALID, "%s: expected every attribute once, found '%s' twice", import_node_label(scope, call), name);
        /* Under the name that the body refers to. */
        onnx_attribute *named = arena_allocate(&scope->importer->scratch, sizeof *named);
        if (!named)
            return MITRAL_NO_MEMORY;
        *named = *value;
        named->name = (char *)(uintptr_t)name;
        frame->attributes[frame->attribute_count++] = named;
    }
    return MITRAL_OK;
}

static mitral_status frame_attributes(struct scope *scope, const onnx_node *call, const onnx_function *function,
                                      const struct schema *schema, struct frame *frame)
{
    struct importer *importer = scope->importer;
    size_t declared = function->n_attribute_proto + (schema ? schema->attribute_count : 0);
    if (call->n_attribute > IMPORT_MAX_ATTRIBUTES || declared > IMPORT_MAX_ATTRIBUTES || function->n_attribute > IMPORT_MAX_ATTRIBUTES)
        return mitral_fail(importer->context, MITRAL_LIMIT, "%s: expected at most %d attributes, found more", import_node_label(scope, call),
                           IMPORT_MAX_ATTRIBUTES);
    frame->attributes = arena_allocate(&importer->scratch, (call->n_attribute + declared + 1) * sizeof *frame->attributes);
    if (!frame->attributes)
        return MITRAL_NO_MEMORY;
    TRY(given_attributes(scope, call, function, schema, frame));
    for (size_t i = 0; i < function->n_attribute_proto; i++)
        if (!frame_has(frame, import_text(function->attribute_proto[i]->name)))
            frame->attributes[frame->attribute_count++] = function->attribute_proto[i];
    for (size_t i = 0; schema && i < schema->attribute_count; i++) {
        const struct schema_attribute *attribute = &schema->attributes[i];
        if (frame_has(frame, attribute->name))
            continue;
        if (attribute->required)
            return mitral_fail(importer->context, MITRAL_INVALID, "%s: expected attribute '%s', found none", import_node_label(scope, call),
                               attribute->name);
        const onnx_attribute *value = NULL;
        if (attribute->has_default)
            TRY(default_of(importer, attribute, &value));
        if (value)
            frame->attributes[frame->attribute_count++] = value;
    }
    return MITRAL_OK;
}

/* ---- inputs and outputs -------------------------------------------------------------------------------------------- */

static mitral_status bind_inputs(struct scope *body, struct scope *scope, const onnx_node *call, const onnx_function *function,
                                 const value_id *inputs)
{
    if (call->n_input > function->n_input)
        return mitral_fail(scope->importer->context, MITRAL_INVALID, "%s: expected at most %zu inputs, found %zu", import_node_label(scope, call),
                           function->n_input, call->n_input);
    for (size_t i = 0; i < function->n_input; i++) {
        struct name_entry *entry;
        bool existed;
        TRY(name_map_add(&body->names, import_text(function->input[i]), &entry, &existed));
        if (existed)
            return mitral_fail(scope->importer->context, MITRAL_INVALID, "function '%s': expected distinct inputs, found '%s' twice",
                               function->name, import_text(function->input[i]));
        entry->id = i < call->n_input ? inputs[i] : NO_VALUE;
    }
    return MITRAL_OK;
}

/* A body's value that is an output is the caller's value from the start. */
static mitral_status bind_outputs(struct scope *body, struct scope *scope, const onnx_node *call, const onnx_function *function,
                                  const value_id *outputs)
{
    if (call->n_output > function->n_output)
        return mitral_fail(scope->importer->context, MITRAL_INVALID, "%s: expected at most %zu outputs, found %zu", import_node_label(scope, call),
                           function->n_output, call->n_output);
    for (size_t i = 0; i < call->n_output; i++) {
        const char *name = import_text(function->output[i]);
        struct name_entry *entry;
        bool existed;
        /* An input that is passed through stays the caller's input; connect_outputs copies it. */
        if (outputs[i] == NO_VALUE || name_map_find(&body->names, name))
            continue;
        TRY(name_map_add(&body->bound, name, &entry, &existed));
        if (!existed)
            entry->id = outputs[i];
    }
    return MITRAL_OK;
}

static bool is_input(const onnx_function *function, const char *name)
{
    for (size_t i = 0; i < function->n_input; i++)
        if (strcmp(import_text(function->input[i]), name) == 0)
            return true;
    return false;
}

/* Outputs that are inputs, or another output once more, are copies. */
static mitral_status connect_outputs(struct scope *body, struct scope *scope, const onnx_node *call, const onnx_function *function,
                                     const value_id *outputs)
{
    const struct op *identity = op_find(NULL, "Identity");
    for (size_t i = 0; i < call->n_output; i++) {
        if (outputs[i] == NO_VALUE)
            continue;
        const struct name_entry *entry = name_map_find(&body->names, import_text(function->output[i]));
        if (!entry || entry->id == NO_VALUE)
            return mitral_fail(scope->importer->context, MITRAL_INVALID, "%s: expected output '%s' to be defined in the function, found none",
                               import_node_label(scope, call), import_text(function->output[i]));
        if (entry->id == outputs[i] && is_input(function, import_text(function->output[i])))
            return mitral_fail(scope->importer->context, MITRAL_INVALID, "%s: expected outputs that are not inputs of the same call, found '%s'",
                               import_node_label(scope, call), import_text(call->output[i]));
        if (entry->id == outputs[i])
            continue;
        if (!identity)
            return mitral_fail(scope->importer->context, MITRAL_UNSUPPORTED, "%s: expected an operator Identity to pass an input through",
                               import_node_label(scope, call));
        TRY(graph_add_node(scope->graph, identity, 0, NULL, NULL, &entry->id, 1, &outputs[i], 1, NULL));
    }
    return MITRAL_OK;
}

static mitral_status check_call(struct scope *scope, const onnx_node *call, const onnx_function *function)
{
    struct importer *importer = scope->importer;
    for (const struct frame *frame = scope->frame; frame; frame = frame->parent)
        if (frame->function == function)
            return mitral_fail(importer->context, MITRAL_INVALID, "%s: expected functions that do not call themselves, found one that does",
                               import_node_label(scope, call));
    if (scope->frame && scope->frame->depth >= IMPORT_MAX_EXPANSION_DEPTH)
        return mitral_fail(importer->context, MITRAL_LIMIT, "%s: expected calls of functions nested at most %d deep, found more",
                           import_node_label(scope, call), IMPORT_MAX_EXPANSION_DEPTH);
    /* Everything counts that each call works through anew, and the call itself. */
    size_t work = function->n_node + function->n_input + function->n_output + function->n_value_info;
    if (work >= IMPORT_MAX_EXPANDED - importer->expanded)
        return mitral_fail(importer->context, MITRAL_LIMIT, "%s: expected functions that expand to at most %d nodes and values, found more",
                           import_node_label(scope, call), IMPORT_MAX_EXPANDED);
    importer->expanded += work + 1;
    return MITRAL_OK;
}

mitral_status function_expand(struct scope *scope, const onnx_node *call, const struct function *callee, const struct schema *schema)
{
    struct importer *importer = scope->importer;
    const onnx_function *function = callee->proto;
    TRY(check_call(scope, call, function));
    value_id *inputs, *outputs;
    TRY(import_node_values(scope, call, &inputs, &outputs));
    struct frame frame = {.function = function, .parent = scope->frame, .depth = scope->frame ? scope->frame->depth + 1 : 1};
    TRY(frame_attributes(scope, call, function, schema, &frame));
    struct scope body;
    scope_initialise(&body, importer, scope->graph);
    body.unique = scope->unique ? scope->unique : &scope->own_unique;
    body.frame = &frame;
    body.opsets = &callee->opsets;
    body.depth = scope->depth;
    const char *name = *import_text(call->name) ? call->name : import_text(call->n_output ? call->output[0] : call->op_type);
    body.prefix = arena_format(&importer->scratch, "%s%s/", scope->prefix, name);
    if (!body.prefix)
        return MITRAL_NO_MEMORY;
    TRY(import_infos(&body, function->value_info, function->n_value_info));
    TRY(bind_inputs(&body, scope, call, function, inputs));
    TRY(bind_outputs(&body, scope, call, function, outputs));
    TRY(import_nodes(&body, function->node, function->n_node));
    return connect_outputs(&body, scope, call, function, outputs);
}
