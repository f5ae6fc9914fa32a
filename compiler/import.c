/* ONNX bytes to a graph: what concerns the model as a whole. */
#include <string.h>

#include "compiler/import_internal.h"

/* ---- memory of protobuf-c ------------------------------------------------------------------------------------------ */

/* Small pieces go with the import; large ones are tensor data, which the graph keeps where they are. */
static void *unpack_allocate(void *user, size_t size)
{
    struct importer *importer = user;
    return arena_allocate(size >= IMPORT_LARGE_BYTES ? importer->graph->arena : &importer->scratch, size);
}

static void unpack_release(void *user, void *pointer)
{
    (void)user;
    (void)pointer;
}

/* Unpacked form of a file: of one with few, large tensors hardly more than the file, of one with many small nodes some ten
 * times as much, of one that is made to exhaust memory far more. */
static size_t unpacked_limit(size_t size)
{
    size_t limit;
    if (__builtin_mul_overflow(size, (size_t)16, &limit) || __builtin_add_overflow(limit, (size_t)1 << 30, &limit))
        limit = SIZE_MAX;
    return limit;
}

static mitral_status unpack(struct importer *importer, const char *what, const void *bytes, size_t size,
                            const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **out)
{
    size_t unpacked;
    TRY(wire_check(importer->context, what, bytes, size, descriptor, &unpacked));
    if (unpacked > unpacked_limit(size))
        return mitral_fail(importer->context, MITRAL_LIMIT, "%s: expected a file that takes at most %zu bytes unpacked, found %zu", what,
                           unpacked_limit(size), unpacked);
    importer->context->message[0] = '\0';
    *out = protobuf_c_message_unpack(descriptor, &importer->allocator, size, bytes);
    if (*out)
        return MITRAL_OK;
    if (importer->context->message[0]) /* the arena's: there is no memory */
        return MITRAL_NO_MEMORY;
    return mitral_fail(importer->context, MITRAL_INVALID, "%s: expected fields of the kinds that the format has, found others", what);
}

mitral_status import_unpack_function(struct importer *importer, const unsigned char *bytes, size_t size, onnx_function **out)
{
    ProtobufCMessage *message;
    TRY(unpack(importer, "function body", bytes, size, &onnx__function_proto__descriptor, &message));
    *out = (onnx_function *)message;
    return MITRAL_OK;
}

/* ---- texts and opsets ---------------------------------------------------------------------------------------------- */

const char *import_text(const char *text)
{
    return text ? text : "";
}

const char *import_domain(const char *domain)
{
    return !domain || strcmp(domain, "ai.onnx") == 0 ? "" : domain;
}

int64_t opset_of_domain(const struct opsets *opsets, const char *domain)
{
    for (size_t i = 0; i < opsets->count; i++)
        if (strcmp(opsets->items[i].domain, domain) == 0)
            return opsets->items[i].version;
    return 0;
}

/* The newest version of a domain that the schemas know; 0: they do not know the domain. */
static int64_t newest_version(const char *domain)
{
    if (!*domain)
        return schema_newest_opset;
    int64_t newest = 0;
    for (size_t i = 0; i < schema_table_count; i++)
        if (strcmp(schema_table[i].domain, domain) == 0 && schema_table[i].since_version > newest)
            newest = schema_table[i].since_version;
    return newest;
}

mitral_status import_opsets(struct importer *importer, const char *what, Onnx__OperatorSetIdProto *const *items, size_t count,
                            struct opsets *out)
{
    enum { MOST = 1024 };
    *out = (struct opsets){0};
    if (count > MOST)
        return mitral_fail(importer->context, MITRAL_LIMIT, "%s: expected at most %d opset imports, found %zu", what, MOST, count);
    struct model_import *imports = arena_allocate(importer->graph->arena, (count + 1) * sizeof *imports);
    if (!imports)
        return MITRAL_NO_MEMORY;
    out->items = imports;
    for (size_t i = 0; i < count; i++) {
        const char *domain = import_domain(items[i]->domain);
        int64_t version = items[i]->version, known = newest_version(domain), before = opset_of_domain(out, domain);
        if (version < 1 || version > INT32_MAX)
            return mitral_fail(importer->context, MITRAL_INVALID, "%s: expected a version from 1 for domain '%s', found %lld", what,
                               *domain ? domain : "ai.onnx", (long long)version);
        if (known && version > known)
            return mitral_fail(importer->context, MITRAL_UNSUPPORTED, "%s: expected at most opset %lld of domain '%s', found %lld", what,
                               (long long)known, *domain ? domain : "ai.onnx", (long long)version);
        if (before && before != version)
            return mitral_fail(importer->context, MITRAL_INVALID, "%s: expected one version of domain '%s', found %lld and %lld", what,
                               *domain ? domain : "ai.onnx", (long long)before, (long long)version);
        if (before)
            continue;
        imports[out->count].domain = arena_string(importer->graph->arena, domain);
        if (!imports[out->count].domain)
            return MITRAL_NO_MEMORY;
        imports[out->count++].version = version;
    }
    return MITRAL_OK;
}

/* ---- the model ----------------------------------------------------------------------------------------------------- */

static mitral_status keep_text(struct arena *arena, const char *text, const char **out)
{
    *out = NULL;
    if (!text || !*text)
        return MITRAL_OK;
    *out = arena_string(arena, text);
    return *out ? MITRAL_OK : MITRAL_NO_MEMORY;
}

static mitral_status import_metadata(struct importer *importer, const onnx_model *model)
{
    struct graph *graph = importer->graph;
    struct arena *arena = graph->arena;
    TRY(keep_text(arena, model->producer_name, &graph->producer_name));
    TRY(keep_text(arena, model->producer_version, &graph->producer_version));
    TRY(keep_text(arena, model->domain, &graph->domain));
    TRY(keep_text(arena, model->doc_string, &graph->doc_string));
    graph->metadata = arena_allocate(arena, (model->n_metadata_props + 1) * sizeof *graph->metadata);
    if (!graph->metadata)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < model->n_metadata_props; i++) {
        struct graph_property *property = &graph->metadata[i];
        property->key = arena_string(arena, import_text(model->metadata_props[i]->key));
        property->value = arena_string(arena, import_text(model->metadata_props[i]->value));
        if (!property->key || !property->value)
            return MITRAL_NO_MEMORY;
        graph->metadata_count++;
    }
    return MITRAL_OK;
}

static mitral_status import_versions(struct importer *importer, const onnx_model *model, struct opsets *opsets)
{
    struct graph *graph = importer->graph;
    if (!model->has_ir_version)
        return mitral_fail(importer->context, MITRAL_INVALID, "expected an ONNX model with an IR version, found none");
    if (model->ir_version < IMPORT_OLDEST_IR || model->ir_version > ONNX__VERSION__IR_VERSION)
        return mitral_fail(importer->context, MITRAL_UNSUPPORTED, "expected a model of IR version %d to %d, found %lld", IMPORT_OLDEST_IR,
                           ONNX__VERSION__IR_VERSION, (long long)model->ir_version);
    graph->ir_version = (int32_t)model->ir_version;
    if (model->n_opset_import == 0)
        return mitral_fail(importer->context, MITRAL_INVALID, "expected a model that imports an opset, found none");
    TRY(import_opsets(importer, "model", model->opset_import, model->n_opset_import, opsets));
    graph->opset = importer->opset = opset_of_domain(opsets, "");
    graph->imports = arena_allocate(graph->arena, sizeof *graph->imports);
    if (!graph->imports)
        return MITRAL_NO_MEMORY;
    graph->imports->items = (struct model_import *)opsets->items;
    graph->imports->count = opsets->count;
    graph->imports->model_version = model->has_model_version ? model->model_version : 0;
    return keep_text(graph->arena, model->graph ? model->graph->doc_string : NULL, &graph->imports->graph_doc_string);
}

static mitral_status import_model(struct importer *importer, const void *bytes, size_t size)
{
    ProtobufCMessage *message;
    TRY(unpack(importer, "ONNX model", bytes, size, &onnx__model_proto__descriptor, &message));
    const onnx_model *model = (const onnx_model *)message;
    struct opsets opsets;
    TRY(import_versions(importer, model, &opsets));
    TRY(import_metadata(importer, model));
    if (!model->graph)
        return mitral_fail(importer->context, MITRAL_INVALID, "expected a model with a graph, found none");
    for (size_t i = 0; i < model->n_functions; i++)
        TRY(function_register(importer, model->functions[i]));
    struct scope scope;
    scope_initialise(&scope, importer, importer->graph);
    scope.opsets = &opsets;
    TRY(import_graph(&scope, model->graph));
    TRY(import_report(importer));
    return import_kinds(importer->graph);
}

mitral_status import_onnx(struct graph **out, mitral_context *context, const void *bytes, size_t size, const char *folder)
{
    *out = NULL;
    struct importer importer = {.context = context, .folder = folder};
    importer.allocator = (ProtobufCAllocator){unpack_allocate, unpack_release, &importer};
    TRY(graph_create(&importer.graph, context));
    arena_initialise(&importer.scratch, context);
    name_map_initialise(&importer.functions, &importer.scratch);
    name_map_initialise(&importer.bodies, &importer.scratch);
    name_map_initialise(&importer.unsupported_index, &importer.scratch);
    mitral_status status = import_model(&importer, bytes, size);
    arena_clear(&importer.scratch);
    if (status == MITRAL_OK)
        *out = importer.graph;
    else
        graph_destroy(&importer.graph);
    return status;
}
