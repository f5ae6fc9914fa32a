/* A graph back to ONNX bytes: versions, and what concerns the model as a whole. */
#include "compiler/export.h"

#include <stdio.h>
#include <string.h>

#include "compiler/export_internal.h"
#include "runtime/file.h"

/* ---- versions ------------------------------------------------------------------------------------------------------ */

/* The opsets of one domain in which every node of it means what it means here. */
struct opset_range {
    const char *domain;
    int64_t least, most;
    const struct node *least_node, *most_node; /* which narrowed it; NULL: none */
};

struct opset_ranges {
    struct opset_range *items;
    size_t count;
};

enum { MOST_DOMAINS = 1024 };

static struct opset_range *range_of(struct opset_ranges *ranges, const char *domain)
{
    for (size_t i = 0; i < ranges->count; i++)
        if (strcmp(ranges->items[i].domain, domain) == 0)
            return &ranges->items[i];
    if (ranges->count == MOST_DOMAINS)
        return NULL;
    struct opset_range *range = &ranges->items[ranges->count++];
    *range = (struct opset_range){.domain = domain, .least = 1, .most = *domain ? INT32_MAX : schema_newest_opset};
    return range;
}

/* The opset that gives the operator its next meaning; 0: the newest has this one still. */
static int64_t next_version(const struct schema *schema)
{
    const struct schema *next = schema + 1;
    bool same = next < schema_table + schema_table_count && strcmp(next->domain, schema->domain) == 0 && strcmp(next->name, schema->name) == 0;
    return same ? next->since_version : 0;
}

static mitral_status collect_ranges(struct exporter *exporter, const struct graph *graph, struct opset_ranges *ranges)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        if (!node->op)
            continue;
        const char *domain = op_domain(node->op);
        const struct schema *schema = schema_find(domain, node->op->name, node->version);
        struct opset_range *range = range_of(ranges, domain);
        if (!range)
            return mitral_fail(exporter->context, MITRAL_LIMIT, "expected at most %d domains, found more", MOST_DOMAINS);
        if (!schema && !*domain)
            return mitral_fail(exporter->context, MITRAL_UNSUPPORTED, "%s '%s': expected an operator of the standard, found none of version %d",
                               node->op->name, node->name, node->version);
        int64_t least = schema ? schema->since_version : node->version, next = schema ? next_version(schema) : 0;
        if (least > range->least) {
            range->least = least;
            range->least_node = node;
        }
        if (next && next - 1 < range->most) {
            range->most = next - 1;
            range->most_node = node;
        }
        for (size_t k = 0; k < node->subgraph_count; k++)
            TRY(collect_ranges(exporter, node->subgraphs[k], ranges));
    }
    return MITRAL_OK;
}

static mitral_status choose_version(struct exporter *exporter, const struct opset_range *range, int64_t imported, int64_t *out)
{
    if (range->least > range->most)
        return mitral_fail(exporter->context, MITRAL_UNSUPPORTED,
                           "expected nodes that one opset can have, found %s '%s' of version %d beside %s '%s' of version %d",
                           range->least_node ? range->least_node->op->name : "?", range->least_node ? range->least_node->name : "?",
                           range->least_node ? range->least_node->version : 0, range->most_node ? range->most_node->op->name : "?",
                           range->most_node ? range->most_node->name : "?", range->most_node ? range->most_node->version : 0);
    if (imported <= 0)
        imported = *range->domain ? range->least : schema_newest_opset;
    *out = imported < range->least ? range->least : imported > range->most ? range->most : imported;
    return MITRAL_OK;
}

/* The first IR version that models of an opset have. */
static int32_t ir_version_of_opset(int64_t opset)
{
    static const struct {
        int64_t opset;
        int32_t ir_version;
    } steps[] = {{28, 14}, {25, 13}, {24, 12}, {23, 11}, {21, 10}, {19, 9}, {15, 8}, {12, 7}, {11, 6}, {10, 5}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (opset >= steps[i].opset)
            return steps[i].ir_version;
    return 4; /* from here on initializers need not be inputs too, and are not */
}

static mitral_status put_opsets(struct exporter *exporter, const struct graph *graph, Onnx__ModelProto *model)
{
    struct opset_ranges ranges = {0};
    ranges.items = export_allocate(exporter, MOST_DOMAINS, sizeof *ranges.items);
    size_t imported = graph->imports ? graph->imports->count : 0;
    if (!ranges.items)
        return MITRAL_NO_MEMORY;
    (void)range_of(&ranges, ""); /* first, and always there */
    for (size_t i = 0; i < imported; i++)
        (void)range_of(&ranges, graph->imports->items[i].domain);
    TRY(collect_ranges(exporter, graph, &ranges));
    Onnx__OperatorSetIdProto *opsets = export_allocate(exporter, ranges.count, sizeof *opsets);
    model->opset_import = export_allocate(exporter, ranges.count, sizeof *model->opset_import);
    if (!opsets || !model->opset_import)
        return MITRAL_NO_MEMORY;
    int64_t opset = 0;
    for (size_t i = 0; i < ranges.count; i++) {
        int64_t version = *ranges.items[i].domain ? 0 : graph->opset;
        for (size_t k = 0; k < imported; k++)
            if (*ranges.items[i].domain && strcmp(graph->imports->items[k].domain, ranges.items[i].domain) == 0)
                version = graph->imports->items[k].version;
        onnx__operator_set_id_proto__init(&opsets[i]);
        opsets[i].domain = export_text(ranges.items[i].domain);
        opsets[i].has_version = 1;
        TRY(choose_version(exporter, &ranges.items[i], version, &opsets[i].version));
        if (!*ranges.items[i].domain)
            opset = opsets[i].version;
        model->opset_import[model->n_opset_import++] = &opsets[i];
    }
    bool kept = graph->ir_version >= 4 && opset == graph->opset;
    model->has_ir_version = 1;
    model->ir_version = kept || graph->ir_version > ir_version_of_opset(opset) ? graph->ir_version : ir_version_of_opset(opset);
    return MITRAL_OK;
}

/* ---- refusals ------------------------------------------------------------------------------------------------------ */

struct own_nodes {
    char text[512];
    size_t used, count;
};

static void find_own_nodes(const struct graph *graph, struct own_nodes *found)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        if (!node->op)
            continue;
        if (strcmp(op_domain(node->op), "mitral") == 0) {
            int length = snprintf(found->text + found->used, sizeof found->text - found->used, "%s%.60s '%.80s'", found->count ? ", " : "",
                                  node->op->name, node->name);
            if (length > 0 && (size_t)length < sizeof found->text - found->used)
                found->used += (size_t)length;
            else
                found->text[found->used] = '\0'; /* full: the count goes on */
            found->count++;
        }
        for (size_t k = 0; k < node->subgraph_count; k++)
            find_own_nodes(node->subgraphs[k], found);
    }
}

static mitral_status refuse_own_nodes(struct exporter *exporter, const struct graph *graph)
{
    struct own_nodes found = {.count = 0};
    find_own_nodes(graph, &found);
    if (!found.count)
        return MITRAL_OK;
    return mitral_fail(exporter->context, MITRAL_UNSUPPORTED, "expected operators that ONNX has, found %zu of domain 'mitral': %s", found.count,
                       found.text);
}

/* ---- the model ----------------------------------------------------------------------------------------------------- */

static mitral_status put_metadata(struct exporter *exporter, const struct graph *graph, Onnx__ModelProto *model)
{
    model->producer_name = export_text(graph->producer_name ? graph->producer_name : "mitral");
    model->producer_version = export_text(graph->producer_version);
    model->domain = export_text(graph->domain);
    model->doc_string = export_text(graph->doc_string);
    if (graph->imports && graph->imports->model_version) {
        model->has_model_version = 1;
        model->model_version = graph->imports->model_version;
    }
    Onnx__StringStringEntryProto *entries = export_allocate(exporter, graph->metadata_count, sizeof *entries);
    model->metadata_props = export_allocate(exporter, graph->metadata_count, sizeof *model->metadata_props);
    if (!entries || !model->metadata_props)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < graph->metadata_count; i++) {
        onnx__string_string_entry_proto__init(&entries[i]);
        entries[i].key = export_text(graph->metadata[i].key);
        entries[i].value = export_text(graph->metadata[i].value);
        model->metadata_props[model->n_metadata_props++] = &entries[i];
    }
    return MITRAL_OK;
}

static mitral_status build(struct exporter *exporter, const struct graph *graph, Onnx__ModelProto *model)
{
    onnx__model_proto__init(model);
    TRY(refuse_own_nodes(exporter, graph));
    TRY(put_opsets(exporter, graph, model));
    TRY(put_metadata(exporter, graph, model));
    TRY(export_graph(exporter, graph, NULL, NULL, &model->graph));
    size_t size = protobuf_c_message_get_packed_size(&model->base);
    if (size > INT32_MAX)
        return mitral_fail(exporter->context, MITRAL_LIMIT, "expected a model of less than 2 GiB, which is all that ONNX files hold, found %zu bytes",
                           size);
    return MITRAL_OK;
}

/* protobuf-c writes into this; what goes wrong is kept until it is done, for it cannot be told to stop. */
struct file_sink {
    ProtobufCBuffer base;
    struct file_writer *writer;
    mitral_status status;
};

static void sink_append(ProtobufCBuffer *buffer, size_t size, const uint8_t *bytes)
{
    struct file_sink *sink = (struct file_sink *)buffer;
    if (sink->status == MITRAL_OK)
        sink->status = file_append(sink->writer, bytes, size);
}

static mitral_status write_model(struct file_writer *writer, void *user)
{
    const Onnx__ModelProto *model = user;
    struct file_sink sink = {.base = {sink_append}, .writer = writer, .status = MITRAL_OK};
    protobuf_c_message_pack_to_buffer(&model->base, &sink.base);
    return sink.status;
}

static void exporter_initialise(struct exporter *exporter, mitral_context *context)
{
    *exporter = (struct exporter){.context = context};
    arena_initialise(&exporter->scratch, context);
}

mitral_status export_onnx(mitral_context *context, const struct graph *graph, const char *path)
{
    struct exporter exporter;
    exporter_initialise(&exporter, context);
    Onnx__ModelProto model;
    mitral_status status = build(&exporter, graph, &model);
    if (status == MITRAL_OK)
        status = file_write_whole(context, path, write_model, &model);
    arena_clear(&exporter.scratch);
    return status;
}

mitral_status export_onnx_bytes(mitral_context *context, const struct graph *graph, void **bytes, size_t *size)
{
    *bytes = NULL;
    *size = 0;
    struct exporter exporter;
    exporter_initialise(&exporter, context);
    Onnx__ModelProto model;
    mitral_status status = build(&exporter, graph, &model);
    if (status == MITRAL_OK) {
        *size = protobuf_c_message_get_packed_size(&model.base);
        *bytes = mitral_allocate_raw(context, *size);
        if (*bytes)
            protobuf_c_message_pack(&model.base, *bytes);
        else
            status = MITRAL_NO_MEMORY;
    }
    arena_clear(&exporter.scratch);
    return status;
}
