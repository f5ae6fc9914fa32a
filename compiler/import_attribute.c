/* Attributes of nodes: decoded, checked against the schema, completed by its defaults. */
#include <string.h>

#include "compiler/import_internal.h"

/* Names for messages, by AttributeProto.AttributeType. */
static const char *const kind_names[] = {"none", "float", "int", "string", "tensor", "graph", "floats", "ints", "strings", "tensors",
                                         "graphs", "sparse tensor", "sparse tensors", "type", "types"};

static const char *kind_name(int type)
{
    return type >= 0 && (size_t)type < sizeof kind_names / sizeof *kind_names ? kind_names[type] : "unknown";
}

const onnx_attribute *import_attribute_of(const onnx_node *proto, const char *name)
{
    for (size_t i = 0; i < proto->n_attribute; i++)
        if (strcmp(import_text(proto->attribute[i]->name), name) == 0)
            return proto->attribute[i];
    return NULL;
}

int64_t import_int_of(const onnx_node *proto, const char *name, int64_t fallback)
{
    const onnx_attribute *found = import_attribute_of(proto, name);
    return found ? found->i : fallback;
}

/* Files from before IR version 2 have no type field, and some writers still leave it out: then the field that is set tells. */
static int type_of(const onnx_attribute *proto)
{
    if (proto->has_type && proto->type != ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED)
        return (int)proto->type;
    if (proto->has_f) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
    if (proto->has_i) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    if (proto->has_s) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
    if (proto->t) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR;
    if (proto->g) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH;
    if (proto->sparse_tensor) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__SPARSE_TENSOR;
    if (proto->tp) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TYPE_PROTO;
    if (proto->n_floats) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS;
    if (proto->n_ints) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
    if (proto->n_strings) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS;
    if (proto->n_tensors) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSORS;
    return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED;
}

enum attribute_kind import_attribute_kind(const onnx_attribute *proto)
{
    switch (type_of(proto)) {
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT: return ATTRIBUTE_FLOAT;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT: return ATTRIBUTE_INT;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING: return ATTRIBUTE_STRING;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR: return ATTRIBUTE_TENSOR;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH: return ATTRIBUTE_GRAPH;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS: return ATTRIBUTE_FLOATS;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS: return ATTRIBUTE_INTS;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS: return ATTRIBUTE_STRINGS;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSORS: return ATTRIBUTE_TENSORS;
    default: return (enum attribute_kind)0;
    }
}

static const char *schema_kind_name(int kind)
{
    static const char *const names[] = {"type or sparse tensor", "int", "float", "string", "tensor", "graph", "ints", "floats", "strings",
                                        "tensors"};
    return kind >= 0 && (size_t)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

mitral_status import_attribute_resolve(struct scope *scope, const onnx_node *node, const onnx_attribute *proto, const onnx_attribute **out)
{
    *out = proto;
    const char *reference = import_text(proto->ref_attr_name);
    if (!*reference)
        return MITRAL_OK;
    if (!scope->frame)
        return mitral_fail(scope->importer->context, MITRAL_INVALID,
                           "%s: expected a value for attribute '%s', found a reference to '%s' outside a function",
                           import_node_label(scope, node), import_text(proto->name), reference);
    *out = NULL;
    for (size_t i = 0; i < scope->frame->attribute_count; i++)
        if (strcmp(import_text(scope->frame->attributes[i]->name), reference) == 0)
            *out = scope->frame->attributes[i];
    if (*out && (*out)->g)
        return mitral_fail(scope->importer->context, MITRAL_UNSUPPORTED, "%s: attribute '%s' is a graph that a function passes on; expected it in place",
                           import_node_label(scope, node), reference);
    return MITRAL_OK;
}

/* ---- values -------------------------------------------------------------------------------------------------------- */

static mitral_status strings_of(struct arena *arena, const ProtobufCBinaryData *bytes, size_t count, const mitral_string **out)
{
    mitral_string *strings = arena_allocate(arena, (count + 1) * sizeof *strings);
    if (!strings)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        strings[i].size = bytes[i].len;
        strings[i].data = arena_string_sized(arena, (const char *)bytes[i].data, bytes[i].len);
        if (!strings[i].data)
            return MITRAL_NO_MEMORY;
    }
    *out = strings;
    return MITRAL_OK;
}

static mitral_status tensors_of(struct importer *importer, onnx_tensor *const *protos, size_t count, const mitral_tensor **out)
{
    mitral_tensor *tensors = arena_allocate(&importer->scratch, (count + 1) * sizeof *tensors);
    if (!tensors)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        TRY(import_tensor(importer, protos[i], &tensors[i]));
    *out = tensors;
    return MITRAL_OK;
}

/* A type as its name, for want of an attribute kind of its own. */
static mitral_status type_name_of(struct importer *importer, const Onnx__TypeProto *proto, struct attribute *out)
{
    struct value_type type;
    TRY(import_type(importer, proto, &type));
    enum { LONGEST = 1024 };
    char *text = arena_allocate(&importer->scratch, LONGEST);
    mitral_string *string = arena_allocate(&importer->scratch, sizeof *string);
    if (!text || !string)
        return MITRAL_NO_MEMORY;
    onnx_type_name(&type, text, LONGEST);
    *string = (mitral_string){text, strlen(text)};
    *out = (struct attribute){.name = out->name, .kind = ATTRIBUTE_STRING, .count = 1, .strings = string};
    return MITRAL_OK;
}

static mitral_status decode(struct importer *importer, const onnx_attribute *proto, struct attribute *out)
{
    /* What is put into the node is copied to the graph's arena by graph_add_node. */
    struct arena *arena = &importer->scratch;
    switch (out->kind) {
    case ATTRIBUTE_INT:
        out->ints = &proto->i;
        return MITRAL_OK;
    case ATTRIBUTE_FLOAT:
        out->floats = &proto->f;
        return MITRAL_OK;
    case ATTRIBUTE_STRING:
        return strings_of(arena, &proto->s, 1, &out->strings);
    case ATTRIBUTE_TENSOR:
        if (!proto->t)
            return mitral_fail(importer->context, MITRAL_INVALID, "expected a tensor, found none");
        return tensors_of(importer, (onnx_tensor *const *)&proto->t, 1, &out->tensors);
    case ATTRIBUTE_INTS:
        out->ints = proto->ints;
        out->count = proto->n_ints;
        return MITRAL_OK;
    case ATTRIBUTE_FLOATS:
        out->floats = proto->floats;
        out->count = proto->n_floats;
        return MITRAL_OK;
    case ATTRIBUTE_STRINGS:
        out->count = proto->n_strings;
        return strings_of(arena, proto->strings, proto->n_strings, &out->strings);
    case ATTRIBUTE_TENSORS:
        out->count = proto->n_tensors;
        return tensors_of(importer, proto->tensors, proto->n_tensors, &out->tensors);
    default:
        if (type_of(proto) == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TYPE_PROTO && proto->tp)
            return type_name_of(importer, proto->tp, out);
        return mitral_fail(importer->context, MITRAL_UNSUPPORTED, "attributes of kind %s cannot be read", kind_name(type_of(proto)));
    }
}

/* ---- the node's list ----------------------------------------------------------------------------------------------- */

static mitral_status check(struct scope *scope, const onnx_node *node, const struct schema *schema, int64_t opset, const char *name,
                           const onnx_attribute *value)
{
    mitral_context *context = scope->importer->context;
    const struct schema_attribute *expected = schema_attribute_find(schema, name);
    if (!expected)
        return mitral_fail(context, MITRAL_INVALID, "%s (opset %lld): expected an attribute of the operator, found '%s'",
                           import_node_label(scope, node), (long long)opset, name);
    if (expected->kind != (int)import_attribute_kind(value))
        return mitral_fail(context, MITRAL_INVALID, "%s (opset %lld): expected attribute '%s' to be %s, found %s",
                           import_node_label(scope, node), (long long)opset, name, schema_kind_name(expected->kind), kind_name(type_of(value)));
    return MITRAL_OK;
}

static mitral_status add_subgraph(struct scope *scope, const onnx_node *node, const onnx_attribute *value, struct attribute *out,
                                  struct scope **subgraphs, size_t *count)
{
    if (!value->g)
        return mitral_fail(scope->importer->context, MITRAL_INVALID, "%s: expected attribute '%s' to hold a graph, found none",
                           import_node_label(scope, node), out->name);
    struct scope *inner = arena_allocate(&scope->importer->scratch, sizeof *inner);
    if (!inner)
        return MITRAL_NO_MEMORY;
    TRY(import_subgraph(scope, value->g, inner));
    out->subgraph = (int32_t)*count;
    subgraphs[(*count)++] = inner;
    return MITRAL_OK;
}

static mitral_status add_default(struct importer *importer, struct attributes *attributes, const struct schema_attribute *schema)
{
    struct attribute attribute = {.name = schema->name, .kind = (enum attribute_kind)schema->kind, .count = 1};
    switch (schema->kind) {
    case ATTRIBUTE_INT:
        attribute.ints = &schema->default_int;
        break;
    case ATTRIBUTE_FLOAT:
        attribute.floats = &schema->default_float;
        break;
    case ATTRIBUTE_STRING:
        return attributes_set_string(attributes, &importer->scratch, schema->name, schema->default_string);
    case ATTRIBUTE_INTS:
        attribute.ints = schema->default_ints;
        attribute.count = schema->default_ints_count;
        break;
    case ATTRIBUTE_FLOATS:
        attribute.floats = schema->default_floats;
        attribute.count = schema->default_floats_count;
        break;
    case ATTRIBUTE_STRINGS: {
        mitral_string *strings = arena_allocate(&importer->scratch, (schema->default_strings_count + 1) * sizeof *strings);
        if (!strings)
            return MITRAL_NO_MEMORY;
        for (size_t i = 0; i < schema->default_strings_count; i++)
            strings[i] = (mitral_string){schema->default_strings[i], strlen(schema->default_strings[i])};
        attribute.strings = strings;
        attribute.count = schema->default_strings_count;
        break;
    }
    default:
        return MITRAL_OK;
    }
    return attributes_set(attributes, &importer->scratch, &attribute);
}

static mitral_status complete(struct scope *scope, const onnx_node *node, const struct schema *schema, int64_t opset,
                              struct attributes *attributes)
{
    for (size_t i = 0; i < schema->attribute_count; i++) {
        const struct schema_attribute *expected = &schema->attributes[i];
        if (attribute_has(attributes, expected->name))
            continue;
        if (expected->required)
            return mitral_fail(scope->importer->context, MITRAL_INVALID, "%s (opset %lld): expected attribute '%s', found none",
                               import_node_label(scope, node), (long long)opset, expected->name);
        if (expected->has_default)
            TRY(add_default(scope->importer, attributes, expected));
    }
    return MITRAL_OK;
}

mitral_status import_attributes(struct scope *scope, const onnx_node *node, const struct schema *schema, int64_t opset,
                                struct attributes *out, struct scope ***out_subgraphs, size_t *subgraph_count)
{
    struct importer *importer = scope->importer;
    *out = (struct attributes){0};
    *subgraph_count = 0;
    if (node->n_attribute > IMPORT_MAX_ATTRIBUTES)
        return mitral_fail(importer->context, MITRAL_LIMIT, "%s: expected at most %d attributes, found %zu", import_node_label(scope, node),
                           IMPORT_MAX_ATTRIBUTES, node->n_attribute);
    struct scope **subgraphs = arena_allocate(&importer->scratch, (node->n_attribute + 1) * sizeof *subgraphs);
    if (!subgraphs)
        return MITRAL_NO_MEMORY;
    *out_subgraphs = subgraphs;
    for (size_t i = 0; i < node->n_attribute; i++) {
        const onnx_attribute *value;
        const char *name = import_text(node->attribute[i]->name);
        TRY(import_attribute_resolve(scope, node, node->attribute[i], &value));
        /* Names with two underscores in front are the writer's private notes, by the standard's checker too. */
        if (!value || strncmp(name, "__", 2) == 0)
            continue;
        if (attribute_has(out, name))
            return mitral_fail(importer->context, MITRAL_INVALID, "%s: expected every attribute once, found '%s' twice",
                               import_node_label(scope, node), name);
        if (schema)
            TRY(check(scope, node, schema, opset, name, value));
        struct attribute attribute = {.name = name, .kind = import_attribute_kind(value), .count = 1};
        mitral_status status = MITRAL_OK;
        if (attribute.kind == ATTRIBUTE_GRAPH) {
            TRY(add_subgraph(scope, node, value, &attribute, subgraphs, subgraph_count));
        } else {
            status = decode(importer, value, &attribute);
            if (status != MITRAL_OK)
                return mitral_fail_prefix(importer->context, status, "%s, attribute '%s': ", import_node_label(scope, node), name);
        }
        TRY(attributes_set(out, &importer->scratch, &attribute));
    }
    return schema ? complete(scope, node, schema, opset, out) : MITRAL_OK;
}
