/* All that cannot be run, in one message: operator, domain, opset, type, node, and the nearest thing that works. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/import_internal.h"

/* The type of a node's first input where the file declares it; NULL otherwise. */
static mitral_status first_type(struct scope *scope, const onnx_node *proto, const char **out)
{
    *out = NULL;
    bool found;
    value_id id = NO_VALUE;
    if (proto->n_input && *import_text(proto->input[0])) {
        TRY(scope_find(scope, proto->input[0], &id, &found));
        if (!found || id == NO_VALUE)
            return MITRAL_OK;
        const struct value_type *type = &scope->graph->values[id].type;
        if (type->kind == MITRAL_TENSOR && type->dtype != MITRAL_UNDEFINED)
            *out = mitral_dtype_name((mitral_dtype)type->dtype);
    }
    return MITRAL_OK;
}

/* Subgraphs of a node that cannot be run may hold more of the kind. */
static mitral_status look_into_subgraphs(struct scope *scope, const onnx_node *proto)
{
    for (size_t i = 0; i < proto->n_attribute; i++)
        if (proto->attribute[i]->g) {
            struct scope *inner = arena_allocate(&scope->importer->scratch, sizeof *inner);
            if (!inner)
                return MITRAL_NO_MEMORY;
            TRY(import_subgraph(scope, proto->attribute[i]->g, inner));
        }
    return MITRAL_OK;
}

mitral_status import_note_unsupported(struct scope *scope, const onnx_node *proto, int64_t opset)
{
    struct importer *importer = scope->importer;
    const char *domain = import_domain(proto->domain), *name = import_text(proto->op_type);
    char *key = arena_format(&importer->scratch, "%s\x1f%s\x1f%lld", domain, name, (long long)opset);
    struct name_entry *entry;
    bool existed;
    if (!key)
        return MITRAL_NO_MEMORY;
    TRY(name_map_add(&importer->unsupported_index, key, &entry, &existed));
    if (existed) {
        importer->unsupported[entry->id].count++;
        return look_into_subgraphs(scope, proto);
    }
    if (importer->unsupported_count == importer->unsupported_capacity) {
        size_t capacity = importer->unsupported_capacity ? importer->unsupported_capacity * 2 : 16;
        struct unsupported *list = arena_allocate(&importer->scratch, capacity * sizeof *list);
        if (!list)
            return MITRAL_NO_MEMORY;
        if (importer->unsupported_count)
            memcpy(list, importer->unsupported, importer->unsupported_count * sizeof *list);
        importer->unsupported = list;
        importer->unsupported_capacity = capacity;
    }
    entry->id = (uint32_t)importer->unsupported_count;
    struct unsupported *item = &importer->unsupported[importer->unsupported_count++];
    *item = (struct unsupported){.domain = domain, .name = name, .opset = opset, .count = 1};
    item->node = arena_format(&importer->scratch, "%s%s", scope->prefix,
                              *import_text(proto->name) ? proto->name : import_text(proto->n_output ? proto->output[0] : NULL));
    if (!item->node)
        return MITRAL_NO_MEMORY;
    TRY(first_type(scope, proto, &item->type));
    return look_into_subgraphs(scope, proto);
}

/* ---- what is nearest ----------------------------------------------------------------------------------------------- */

/* Number of letters to change, add or drop; names longer than the table are cut. */
static size_t distance(const char *a, const char *b)
{
    enum { LONGEST = 48 };
    size_t row[LONGEST + 1], a_size = strnlen(a, LONGEST), b_size = strnlen(b, LONGEST);
    for (size_t j = 0; j <= b_size; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[b_size];
}

static const char *shown_domain(const char *domain)
{
    return *domain ? domain : "ai.onnx";
}

/* "opsets 7 to 28 have it", "com.microsoft has it", "nearest: ai.onnx Relu". */
static void describe_nearest(const struct unsupported *item, char *text, size_t size)
{
    const struct op *own = op_find(item->domain, item->name), *best = NULL;
    int first = 0;
    for (size_t i = 0; i < schema_table_count && !first; i++)
        if (strcmp(schema_table[i].domain, item->domain) == 0 && strcmp(schema_table[i].name, item->name) == 0)
            first = schema_table[i].since_version;
    if (own && first > item->opset) {
        snprintf(text, size, "supported from opset %d", first);
        return;
    }
    if (own) {
        snprintf(text, size, "supported from opset %d to %lld", IMPORT_OLDEST_OPSET, (long long)schema_newest_opset);
        return;
    }
    size_t least = strlen(item->name) / 2;
    for (size_t i = 0; op_at(i); i++) {
        const struct op *op = op_at(i);
        size_t apart = distance(item->name, op->name);
        if (strcmp(op_domain(op), "mitral") != 0 && apart <= least && (!best || apart < distance(item->name, best->name)))
            best = op;
    }
    if (best)
        snprintf(text, size, "nearest supported: %s of %s", best->name, shown_domain(op_domain(best)));
    else
        snprintf(text, size, "nothing like it is supported");
}

mitral_status import_report(struct importer *importer)
{
    if (!importer->unsupported_count)
        return MITRAL_OK;
    char message[sizeof importer->context->message], nearest[256];
    size_t used = 0, shown = 0;
    enum { TAIL = 64 }; /* room to say how many are not shown */
    for (size_t i = 0; i < importer->unsupported_count; i++) {
        const struct unsupported *item = &importer->unsupported[i];
        describe_nearest(item, nearest, sizeof nearest);
        char nodes[32] = "";
        if (item->count > 1)
            snprintf(nodes, sizeof nodes, " and %zu more", item->count - 1);
        char line[512];
        int length = snprintf(line, sizeof line, "%s%.80s (domain %.80s, opset %lld, %s, node '%.120s'%s; %s)", i ? "; " : "", item->name,
                              shown_domain(item->domain), (long long)item->opset, item->type ? item->type : "type not declared", item->node,
                              nodes, nearest);
        if (length < 0 || used + (size_t)length + TAIL + 64 > sizeof message)
            break;
        memcpy(message + used, line, (size_t)length);
        used += (size_t)length;
        shown++;
    }
    if (shown < importer->unsupported_count)
        used += (size_t)snprintf(message + used, TAIL, "; and %zu more operators", importer->unsupported_count - shown);
    message[used] = '\0';
    return mitral_fail(importer->context, MITRAL_UNSUPPORTED, "%zu unsupported operator%s: %s", importer->unsupported_count,
                       importer->unsupported_count == 1 ? "" : "s", message);
}
