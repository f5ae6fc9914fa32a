/* Graphs and subgraphs: names, initializers, inputs, outputs, and what subgraphs take from around them. */
#include <string.h>

#include "compiler/import_internal.h"

/* ---- names --------------------------------------------------------------------------------------------------------- */

void scope_initialise(struct scope *scope, struct importer *importer, struct graph *graph)
{
    *scope = (struct scope){.importer = importer, .graph = graph, .prefix = ""};
    name_map_initialise(&scope->names, &importer->scratch);
    name_map_initialise(&scope->bound, &importer->scratch);
    name_map_initialise(&scope->infos, &importer->scratch);
    name_map_initialise(&scope->own_unique, &importer->scratch);
    name_map_initialise(&scope->captured, &importer->scratch);
}

static struct name_map *unique_names(struct scope *scope)
{
    return scope->unique ? scope->unique : &scope->own_unique;
}

static mitral_status unique_name(struct scope *scope, const char *name, const char **out)
{
    if (*scope->prefix) {
        name = arena_format(&scope->importer->scratch, "%s%s", scope->prefix, name);
        if (!name)
            return MITRAL_NO_MEMORY;
    }
    return name_map_unique(unique_names(scope), NULL, 0, name, out);
}

/* An input of the subgraph that stands for `outer`, a value of the graph around it. */
static mitral_status capture(struct scope *scope, value_id outer, value_id *out)
{
    const struct graph_value *value = &scope->parent->graph->values[outer];
    struct name_entry *entry;
    bool existed;
    TRY(name_map_add(&scope->captured, value->name, &entry, &existed));
    if (!existed) {
        const char *name;
        TRY(name_map_unique(unique_names(scope), NULL, 0, value->name, &name));
        struct value_type type = value->type;
        TRY(graph_add_value(scope->graph, name, &type, &entry->id));
    }
    *out = entry->id;
    if (existed)
        return MITRAL_OK;
    if (scope->capture_count == scope->capture_capacity) {
        size_t capacity = scope->capture_capacity ? scope->capture_capacity * 2 : 8;
        struct capture *captures = arena_allocate(&scope->importer->scratch, capacity * sizeof *captures);
        if (!captures)
            return MITRAL_NO_MEMORY;
        if (scope->capture_count)
            memcpy(captures, scope->captures, scope->capture_count * sizeof *captures);
        scope->captures = captures;
        scope->capture_capacity = capacity;
    }
    scope->captures[scope->capture_count++] = (struct capture){outer, *out};
    return MITRAL_OK;
}

mitral_status scope_find(struct scope *scope, const char *name, value_id *out, bool *found)
{
    const struct name_entry *own = name_map_find(&scope->names, name);
    *found = own != NULL;
    if (own) {
        *out = own->id;
        return MITRAL_OK;
    }
    if (!scope->parent)
        return MITRAL_OK;
    value_id outer;
    TRY(scope_find(scope->parent, name, &outer, found));
    if (!*found)
        return MITRAL_OK;
    value_id inner = NO_VALUE;
    if (outer != NO_VALUE)
        TRY(capture(scope, outer, &inner));
    struct name_entry *entry;
    TRY(name_map_add(&scope->names, name, &entry, NULL));
    entry->id = *out = inner;
    return MITRAL_OK;
}

/* Puts a name into the scope, once. */
static mitral_status claim(struct scope *scope, const char *name, value_id id)
{
    struct name_entry *entry;
    bool existed;
    TRY(name_map_add(&scope->names, name, &entry, &existed));
    if (existed)
        return mitral_fail(scope->importer->context, MITRAL_INVALID, "expected every value to be defined once, found '%s' twice", name);
    entry->id = id;
    return MITRAL_OK;
}

mitral_status scope_declare(struct scope *scope, const char *name, const struct value_type *type, value_id *out)
{
    const struct name_entry *bound = name_map_find(&scope->bound, name);
    if (bound) {
        *out = bound->id;
        return claim(scope, name, *out);
    }
    const char *unique;
    TRY(unique_name(scope, name, &unique));
    TRY(graph_add_value(scope->graph, unique, type, out));
    return claim(scope, name, *out);
}

mitral_status scope_add_unnamed(struct scope *scope, const char *key, const char *shown, const mitral_tensor *constant, value_id *out)
{
    const char *unique;
    struct name_entry *entry;
    TRY(name_map_unique(unique_names(scope), NULL, 0, shown, &unique));
    if (constant)
        TRY(graph_add_constant(scope->graph, unique, constant, false, out));
    else
        TRY(graph_add_value(scope->graph, unique, NULL, out));
    TRY(name_map_add(&scope->names, key, &entry, NULL));
    entry->id = *out;
    return MITRAL_OK;
}

/* ---- the parts of a graph ------------------------------------------------------------------------------------------ */

static mitral_status wrong(struct scope *scope, mitral_status status, const char *what, const char *name)
{
    return mitral_fail_prefix(scope->importer->context, status, "%s '%s': ", what, name);
}

mitral_status import_infos(struct scope *scope, Onnx__ValueInfoProto *const *infos, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct name_entry *entry;
        TRY(name_map_add(&scope->infos, import_text(infos[i]->name), &entry, NULL));
        entry->pointer = infos[i];
    }
    return MITRAL_OK;
}

/* The type that the file declares for a name: all unknown where it declares none. */
static mitral_status declared_type(struct scope *scope, const char *name, struct value_type *out)
{
    const struct name_entry *entry = name_map_find(&scope->infos, name);
    const Onnx__ValueInfoProto *info = entry ? entry->pointer : NULL;
    mitral_status status = import_type(scope->importer, info ? info->type : NULL, out);
    return status == MITRAL_OK ? status : wrong(scope, status, "value", name);
}

static mitral_status add_initializer(struct scope *scope, const char *name, const mitral_tensor *tensor)
{
    if (!*name)
        return mitral_fail(scope->importer->context, MITRAL_INVALID, "expected every initializer to have a name, found one without");
    const char *unique;
    value_id id;
    TRY(unique_name(scope, name, &unique));
    TRY(graph_add_constant(scope->graph, unique, tensor, true, &id));
    scope->graph->values[id].parameter = true;
    return claim(scope, name, id);
}

static mitral_status import_initializers(struct scope *scope, const onnx_graph *proto)
{
    for (size_t i = 0; i < proto->n_initializer; i++) {
        const char *name = import_text(proto->initializer[i]->name);
        mitral_tensor tensor;
        mitral_status status = import_tensor(scope->importer, proto->initializer[i], &tensor);
        if (status != MITRAL_OK)
            return wrong(scope, status, "initializer", name);
        TRY(add_initializer(scope, name, &tensor));
    }
    for (size_t i = 0; i < proto->n_sparse_initializer; i++) {
        const Onnx__SparseTensorProto *sparse = proto->sparse_initializer[i];
        const char *name = import_text(sparse->values ? sparse->values->name : NULL);
        mitral_tensor tensor;
        mitral_status status = import_sparse_tensor(scope->importer, sparse, &tensor);
        if (status != MITRAL_OK)
            return wrong(scope, status, "sparse initializer", name);
        TRY(add_initializer(scope, name, &tensor));
    }
    return MITRAL_OK;
}

/* An initializer that is listed as an input too (all of them, before IR version 4) is a constant: its declared type must be
 * its own, and it may be listed but once. */
static mitral_status check_initializer_input(struct scope *scope, value_id id, const struct value_type *type, const char *name)
{
    const mitral_tensor *tensor = scope->graph->values[id].constant;
    bool same = tensor && type->kind == MITRAL_TENSOR && (type->dtype == MITRAL_UNDEFINED || type->dtype == tensor->dtype) &&
                (type->rank < 0 || type->rank == tensor->rank);
    for (int32_t d = 0; same && d < type->rank; d++)
        same = type->dims[d] < 0 || type->dims[d] == tensor->dims[d];
    if (same)
        return MITRAL_OK;
    if (!tensor)
        return mitral_fail(scope->importer->context, MITRAL_INVALID, "expected every value to be defined once, found '%s' twice", name);
    char text[256];
    return mitral_fail(scope->importer->context, MITRAL_INVALID, "input '%s': expected the type of its initializer, %s, found another", name,
                       tensor_describe(tensor, text, sizeof text));
}

static mitral_status import_inputs(struct scope *scope, const onnx_graph *proto)
{
    for (size_t i = 0; i < proto->n_input; i++) {
        const char *name = import_text(proto->input[i]->name);
        if (!*name)
            return mitral_fail(scope->importer->context, MITRAL_INVALID, "input %zu: expected a name, found none", i);
        struct value_type type;
        mitral_status status = import_type(scope->importer, proto->input[i]->type, &type);
        if (status != MITRAL_OK)
            return wrong(scope, status, "input", name);
        const struct name_entry *initializer = name_map_find(&scope->names, name);
        if (initializer) {
            TRY(check_initializer_input(scope, initializer->id, &type, name));
            continue;
        }
        value_id id;
        TRY(scope_declare(scope, name, &type, &id));
        TRY(graph_add_input(scope->graph, id));
    }
    return MITRAL_OK;
}

static mitral_status import_outputs(struct scope *scope, const onnx_graph *proto)
{
    for (size_t i = 0; i < proto->n_output; i++) {
        const char *name = import_text(proto->output[i]->name);
        bool found = false;
        value_id id = NO_VALUE;
        if (*name)
            TRY(scope_find(scope, name, &id, &found));
        if (!found || id == NO_VALUE)
            return mitral_fail(scope->importer->context, MITRAL_INVALID,
                               "output '%s' of graph '%s': expected a value that a node, input or initializer defines, found none", name,
                               import_text(proto->name));
        TRY(graph_add_output(scope->graph, id));
    }
    return MITRAL_OK;
}

/* Outputs are declared before any node is made, so that nodes may come in any order: graph_sort puts them right. */
mitral_status import_nodes(struct scope *scope, onnx_node *const *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < nodes[i]->n_output; j++) {
            const char *name = import_text(nodes[i]->output[j]);
            if (!*name)
                continue;
            struct value_type type;
            value_id id;
            TRY(declared_type(scope, name, &type));
            TRY(scope_declare(scope, name, &type, &id));
        }
    for (size_t i = 0; i < count; i++) {
        if (mitral_cancelled(scope->importer->context))
            return mitral_fail(scope->importer->context, MITRAL_CANCELLED, "import was cancelled");
        TRY(import_node(scope, nodes[i]));
    }
    return MITRAL_OK;
}

mitral_status import_graph(struct scope *scope, const onnx_graph *proto)
{
    scope->graph->name = arena_string(scope->graph->arena, import_text(proto->name));
    if (!scope->graph->name)
        return MITRAL_NO_MEMORY;
    TRY(import_infos(scope, proto->value_info, proto->n_value_info));
    TRY(import_infos(scope, proto->output, proto->n_output));
    TRY(import_initializers(scope, proto));
    TRY(import_inputs(scope, proto));
    import_find_block(scope, proto);
    TRY(import_nodes(scope, proto->node, proto->n_node));
    TRY(import_outputs(scope, proto));
    if (scope->importer->unsupported_count) /* its nodes are missing: only the report matters now */
        return MITRAL_OK;
    return graph_sort(scope->graph);
}

mitral_status import_subgraph(struct scope *outer, const onnx_graph *proto, struct scope *inner)
{
    struct importer *importer = outer->importer;
    struct graph *graph;
    if (outer->depth >= importer->context->options.max_subgraph_depth)
        return mitral_fail(importer->context, MITRAL_LIMIT, "expected subgraphs nested at most %d deep " LIMIT_SUBGRAPH_DEPTH ", found one of depth %d",
                           importer->context->options.max_subgraph_depth, outer->depth + 1);
    TRY(graph_create_subgraph(&graph, outer->graph));
    scope_initialise(inner, importer, graph);
    inner->parent = outer;
    inner->frame = outer->frame;
    inner->opsets = outer->opsets;
    inner->prefix = outer->prefix;
    inner->depth = outer->depth + 1;
    return import_graph(inner, proto);
}
