/* Constant nodes: their value becomes the constant of their output. */
#include <string.h>

#include "compiler/import_internal.h"

static mitral_status fail(struct scope *scope, const onnx_node *proto, int64_t opset, const char *expected, const char *found)
{
    return mitral_fail(scope->importer->context, MITRAL_INVALID, "%s (opset %lld): expected %s, found %s", import_node_label(scope, proto),
                       (long long)opset, expected, found);
}

/* A copy of `count` elements in the graph's arena, of rank 0 or 1. */
static mitral_status from_elements(struct importer *importer, int32_t dtype, const void *data, size_t count, bool scalar, mitral_tensor *out)
{
    int64_t length = (int64_t)count;
    mitral_tensor borrowed;
    tensor_set(&borrowed, dtype, scalar ? 0 : 1, &length);
    borrowed.data = (void *)(uintptr_t)(count ? data : "");
    return tensor_copy(out, importer->graph->arena, &borrowed);
}

static mitral_status from_strings(struct importer *importer, const ProtobufCBinaryData *bytes, size_t count, bool scalar, mitral_tensor *out)
{
    mitral_string *strings = arena_allocate(&importer->scratch, (count + 1) * sizeof *strings);
    if (!strings)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        strings[i] = (mitral_string){bytes[i].len ? (const char *)bytes[i].data : "", bytes[i].len};
    return from_elements(importer, MITRAL_STRING, strings, count, scalar, out);
}

static mitral_status decode(struct importer *importer, const onnx_attribute *value, mitral_tensor *out, bool *known)
{
    const char *name = import_text(value->name);
    enum attribute_kind kind = import_attribute_kind(value);
    *known = true;
    if (strcmp(name, "value") == 0 && kind == ATTRIBUTE_TENSOR && value->t)
        return import_tensor(importer, value->t, out);
    if (strcmp(name, "sparse_value") == 0 && kind == 0 && value->sparse_tensor)
        return import_sparse_tensor(importer, value->sparse_tensor, out);
    if (strcmp(name, "value_float") == 0 && kind == ATTRIBUTE_FLOAT)
        return from_elements(importer, MITRAL_FLOAT, &value->f, 1, true, out);
    if (strcmp(name, "value_floats") == 0 && kind == ATTRIBUTE_FLOATS)
        return from_elements(importer, MITRAL_FLOAT, value->floats, value->n_floats, false, out);
    if (strcmp(name, "value_int") == 0 && kind == ATTRIBUTE_INT)
        return from_elements(importer, MITRAL_INT64, &value->i, 1, true, out);
    if (strcmp(name, "value_ints") == 0 && kind == ATTRIBUTE_INTS)
        return from_elements(importer, MITRAL_INT64, value->ints, value->n_ints, false, out);
    if (strcmp(name, "value_string") == 0 && kind == ATTRIBUTE_STRING)
        return from_strings(importer, &value->s, 1, true, out);
    if (strcmp(name, "value_strings") == 0 && kind == ATTRIBUTE_STRINGS)
        return from_strings(importer, value->strings, value->n_strings, false, out);
    *known = false;
    return MITRAL_OK;
}

mitral_status import_constant(struct scope *scope, const onnx_node *proto, const struct schema *schema, int64_t opset)
{
    struct importer *importer = scope->importer;
    if (proto->n_input || proto->n_output != 1)
        return fail(scope, proto, opset, "no input and one output", "others");
    if (proto->n_attribute > IMPORT_MAX_ATTRIBUTES)
        return fail(scope, proto, opset, "one attribute that holds the value", "too many");
    const onnx_attribute *found = NULL;
    const char *name = NULL;
    for (size_t i = 0; i < proto->n_attribute; i++) {
        const onnx_attribute *value;
        const char *given = import_text(proto->attribute[i]->name);
        TRY(import_attribute_resolve(scope, proto, proto->attribute[i], &value));
        if (!value || strncmp(given, "__", 2) == 0)
            continue;
        if (schema && !schema_attribute_find(schema, given))
            return fail(scope, proto, opset, "an attribute of the operator", given);
        if (found)
            return fail(scope, proto, opset, "one attribute that holds the value", "several");
        found = value;
        name = given;
    }
    if (!found)
        return fail(scope, proto, opset, "an attribute that holds the value", "none");
    /* Under a reference the value has the name of the function's attribute: what counts is the node's own. */
    onnx_attribute named = *found;
    named.name = (char *)(uintptr_t)name;
    mitral_tensor tensor;
    bool known;
    mitral_status status = decode(importer, &named, &tensor, &known);
    if (status != MITRAL_OK)
        return mitral_fail_prefix(importer->context, status, "%s: ", import_node_label(scope, proto));
    if (!known)
        return fail(scope, proto, opset, "an attribute of the kind that its name says", name);
    const char *output = import_text(proto->output[0]);
    const struct name_entry *entry = *output ? name_map_find(&scope->names, output) : NULL;
    if (!entry || entry->id == NO_VALUE)
        return MITRAL_OK;
    mitral_tensor *kept = arena_allocate(scope->graph->arena, sizeof *kept);
    if (!kept)
        return MITRAL_NO_MEMORY;
    *kept = tensor;
    scope->graph->values[entry->id].constant = kept;
    type_of_tensor(kept, &scope->graph->values[entry->id].type);
    return MITRAL_OK;
}
