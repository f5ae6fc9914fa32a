/* Types and shapes of all values, by the same shape functions that the executor calls.
 *
 * Shape functions know concrete sizes only. Where inputs have symbolic dimensions the graph is swept twice, with two sets of
 * probe sizes for the symbols: a dimension that comes out equal is fixed, one that differs depends on a symbol, and is named when
 * it is a multiple or a fraction of one. If a probe is refused (a network that wants particular sizes), what depends on the
 * symbols is left unknown. */
#include <stdio.h>
#include <string.h>

#include "compiler/evaluate.h"
#include "compiler/refusals.h"

enum {
    KNOWN_BYTES = 1 << 16, /* values up to this size are computed while shapes are inferred */
    MAX_SYMBOLS = 64
};

struct symbol {
    const char *name; /* NULL: a dimension without one */
    int64_t probe[2];
};

struct symbols {
    struct symbol items[MAX_SYMBOLS];
    size_t count;
};

struct sweep {
    const struct graph *graph;
    mitral_value *values;
    bool *unknown; /* [value] shape not known */
    struct arena arena;
    bool strict;   /* a refused shape is the graph's fault */
    struct refusals *refusals;
};

static void sweep_clear(struct sweep *sweep)
{
    arena_clear(&sweep->arena);
}

static bool value_is_known(const struct sweep *sweep, value_id id)
{
    return id == NO_VALUE || sweep->values[id].tensor.data;
}

/* Nodes are refused together at the end. What is refused for a made-up size counts where another element type would not be. */
static mitral_status note_refusal(struct sweep *sweep, const struct node *node, const struct kernel_call *call, mitral_status status)
{
    char types[128] = "", hint[192];
    bool by_value = false; /* values, not only types, may have decided */
    for (size_t i = 0; i < call->input_count && call_input(call, 0); i++)
        by_value |= call_input(call, i) && call_input(call, i)->data && call_input(call, i)->dtype == call_input(call, 0)->dtype;
    if (!node->op->custom && (sweep->strict || !by_value))
        refusals_other_types(call, types, sizeof types);
    if (!sweep->strict && !*types)
        return MITRAL_DEFERRED;
    snprintf(hint, sizeof hint, "opset %d; what works in place of %s: %s", node->version,
             call_input(call, 0) ? mitral_dtype_name((mitral_dtype)call_input(call, 0)->dtype) : "none", types);
    refusals_add(sweep->refusals, sweep->graph->context, status, *types ? hint : NULL);
    return MITRAL_DEFERRED;
}

static mitral_status sweep_node(struct sweep *sweep, const struct node *node, const mitral_value **inputs, mitral_value **outputs)
{
    bool shapes_known = true, values_known = true;
    for (size_t j = 0; j < node->input_count; j++) {
        value_id id = node->inputs[j];
        inputs[j] = id == NO_VALUE ? NULL : &sweep->values[id];
        shapes_known = shapes_known && (id == NO_VALUE || !sweep->unknown[id]);
        values_known = values_known && value_is_known(sweep, id);
    }
    for (size_t j = 0; j < node->output_count; j++) {
        outputs[j] = node->outputs[j] == NO_VALUE ? NULL : &sweep->values[node->outputs[j]];
        if (node->outputs[j] != NO_VALUE)
            sweep->unknown[node->outputs[j]] = true;
    }
    const struct kernel *kernel = op_kernel(node->op);
    if (!shapes_known || !kernel || node->subgraph_count)
        return MITRAL_OK;
    struct kernel_call call = evaluate_call(sweep->graph->context, node, inputs, outputs, &sweep->arena);
    mitral_status status = kernel->shape(&call);
    if (status == MITRAL_INVALID || status == MITRAL_UNSUPPORTED)
        status = note_refusal(sweep, node, &call, status);
    if (status == MITRAL_DEFERRED || (status != MITRAL_OK && status != MITRAL_NO_MEMORY && !sweep->strict)) {
        for (size_t j = 0; j < node->output_count; j++)
            if (outputs[j])
                outputs[j]->tensor.rank = -1;
        return MITRAL_OK;
    }
    TRY(status);
    size_t bytes = 0;
    for (size_t j = 0; j < node->output_count; j++)
        if (outputs[j]) {
            if (sweep->strict) /* the sizes of a probe are nobody's wish */
                TRY(tensor_check_size(sweep->graph->context, &outputs[j]->tensor));
            sweep->unknown[node->outputs[j]] = mitral_tensor_count(&outputs[j]->tensor) < 0;
            bytes += tensor_bytes(&outputs[j]->tensor);
        }
    if (kernel->flags & (KERNEL_RANDOM | KERNEL_ALLOCATES) || bytes > KNOWN_BYTES
        || !(values_known || kernel->flags & KERNEL_READS_SHAPES_ONLY))
        return MITRAL_OK;
    return evaluate_run(kernel, &call);
}

static bool is_weight(const struct graph_value *value)
{
    return value->parameter && dtype_is_float(value->constant->dtype);
}

/* probe: which of the symbols' sizes to take; -1: symbolic inputs are unknown. `changing`: weights are to be trained. */
static mitral_status sweep_graph(struct sweep *sweep, const struct graph *graph, const struct symbols *symbols, int probe, bool changing,
                                 struct refusals *refusals)
{
    *sweep = (struct sweep){.graph = graph, .strict = symbols->count == 0, .refusals = refusals};
    arena_initialise(&sweep->arena, graph->context);
    sweep->values = arena_allocate(&sweep->arena, (graph->value_count + 1) * sizeof *sweep->values);
    sweep->unknown = arena_allocate(&sweep->arena, graph->value_count + 1);
    size_t longest = 1;
    for (size_t i = 0; i < graph->node_count; i++) {
        longest = graph->nodes[i].input_count > longest ? graph->nodes[i].input_count : longest;
        longest = graph->nodes[i].output_count > longest ? graph->nodes[i].output_count : longest;
    }
    const mitral_value **inputs = arena_allocate(&sweep->arena, longest * sizeof *inputs);
    mitral_value **outputs = arena_allocate(&sweep->arena, longest * sizeof *outputs);
    if (!sweep->values || !sweep->unknown || !inputs || !outputs)
        return MITRAL_NO_MEMORY;
    for (size_t v = 0; v < graph->value_count; v++) {
        const struct graph_value *value = &graph->values[v];
        sweep->values[v].kind = value->type.kind;
        sweep->values[v].tensor.rank = -1;
        sweep->unknown[v] = true;
        if (value->constant) {
            sweep->values[v].tensor = *value->constant;
            sweep->unknown[v] = false;
            if (value->variable || (changing && is_weight(value)))
                sweep->values[v].tensor.data = NULL;
        }
    }
    size_t next = 0;
    for (size_t i = 0; i < graph->input_count; i++) {
        const struct value_type *type = &graph->values[graph->inputs[i]].type;
        if (type->kind != MITRAL_TENSOR || type->rank < 0 || type->dtype == MITRAL_UNDEFINED)
            continue;
        mitral_tensor *tensor = &sweep->values[graph->inputs[i]].tensor;
        type_to_tensor(type, tensor);
        bool known = true;
        for (int32_t d = 0; d < type->rank; d++) {
            if (type->dims[d] >= 0)
                continue;
            known = false;
            if (probe < 0)
                continue;
            size_t s = next;
            if (type->symbols[d] && *type->symbols[d])
                for (s = 0; s < symbols->count; s++)
                    if (symbols->items[s].name && strcmp(symbols->items[s].name, type->symbols[d]) == 0)
                        break;
            if (!(type->symbols[d] && *type->symbols[d])) {
                while (next < symbols->count && symbols->items[next].name)
                    next++;
                s = next++;
            }
            if (s < symbols->count) {
                tensor->dims[d] = symbols->items[s].probe[probe];
                known = true;
            }
        }
        sweep->unknown[graph->inputs[i]] = !known && !type_is_static(type);
    }
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op)
            TRY(sweep_node(sweep, &graph->nodes[i], inputs, outputs));
    return MITRAL_OK;
}

static void collect_symbols(const struct graph *graph, struct symbols *symbols)
{
    symbols->count = 0;
    for (size_t i = 0; i < graph->input_count; i++) {
        const struct value_type *type = &graph->values[graph->inputs[i]].type;
        for (int32_t d = 0; type->kind == MITRAL_TENSOR && d < type->rank; d++) {
            if (type->dims[d] >= 0)
                continue;
            const char *name = type->symbols[d] && *type->symbols[d] ? type->symbols[d] : NULL;
            bool seen = false;
            for (size_t s = 0; name && s < symbols->count; s++)
                seen |= symbols->items[s].name && strcmp(symbols->items[s].name, name) == 0;
            if (seen || symbols->count == MAX_SYMBOLS)
                continue;
            /* Multiples of 32 suit networks that halve their input; distinct, so that unrelated symbols do not agree by chance. */
            int64_t n = (int64_t)symbols->count;
            symbols->items[symbols->count++] = (struct symbol){name, {64 + 32 * n, 160 + 32 * n}};
        }
    }
}

static const char *name_of_dimension(struct graph *graph, const struct symbols *symbols, int64_t first, int64_t second)
{
    for (size_t s = 0; s < symbols->count; s++) {
        const struct symbol *symbol = &symbols->items[s];
        if (!symbol->name)
            continue;
        if (first == symbol->probe[0] && second == symbol->probe[1])
            return symbol->name;
        if (first > 0 && first * symbol->probe[1] == second * symbol->probe[0]) {
            if (first % symbol->probe[0] == 0)
                return arena_format(graph->arena, "%lld*%s", (long long)(first / symbol->probe[0]), symbol->name);
            if (symbol->probe[0] % first == 0)
                return arena_format(graph->arena, "%s/%lld", symbol->name, (long long)(symbol->probe[0] / first));
        }
    }
    return NULL;
}

static void set_types(struct graph *graph, const struct symbols *symbols, const struct sweep *first, const struct sweep *second)
{
    for (size_t v = 0; v < graph->value_count; v++) {
        struct graph_value *value = &graph->values[v];
        if (value->producer == NO_NODE || value->type.kind != MITRAL_TENSOR)
            continue;
        const mitral_tensor *a = &first->values[v].tensor, *b = &second->values[v].tensor;
        if (a->dtype != MITRAL_UNDEFINED)
            value->type.dtype = a->dtype;
        if (first->unknown[v] || second->unknown[v] || a->rank != b->rank)
            continue;
        value->type.rank = a->rank;
        for (int32_t d = 0; d < a->rank; d++) {
            bool fixed = a->dims[d] == b->dims[d];
            value->type.dims[d] = fixed ? a->dims[d] : -1;
            value->type.symbols[d] = fixed ? NULL : name_of_dimension(graph, symbols, a->dims[d], b->dims[d]);
        }
    }
}

static const struct
{
    const char *name;
    int32_t dtype;
} type_names[] = {
    {"tensor(float)", MITRAL_FLOAT}, {"tensor(double)", MITRAL_DOUBLE}, {"tensor(int64)", MITRAL_INT64},
    {"tensor(int32)", MITRAL_INT32}, {"tensor(bool)", MITRAL_BOOL}, {"tensor(string)", MITRAL_STRING},
    {"tensor(uint8)", MITRAL_UINT8}, {"tensor(int8)", MITRAL_INT8}, {"tensor(uint64)", MITRAL_UINT64},
};

/* The arguments of a heterogeneous variadic parameter (of If, Loop, Scan) share a constraint, not a type. */
static bool takes_many_types(const struct schema_parameter *parameter) { return parameter->option == 2 && !parameter->homogeneous; }

/* Element types follow from the schema even where shapes are unknown. */
static void set_dtypes_by_schema(struct graph *graph, const struct node *node)
{
    const struct schema *schema = schema_find(op_domain(node->op), node->op->name, node->version);
    if (!schema)
        return;
    for (size_t j = 0; j < node->output_count; j++) {
        if (node->outputs[j] == NO_VALUE || !schema->output_count)
            continue;
        struct value_type *type = &graph->values[node->outputs[j]].type;
        if (type->kind != MITRAL_TENSOR || type->dtype != MITRAL_UNDEFINED)
            continue;
        const struct schema_parameter *parameter = &schema->outputs[j < schema->output_count ? j : schema->output_count - 1];
        if (takes_many_types(parameter))
            continue;
        const char *wanted = parameter->type;
        for (size_t k = 0; k < sizeof type_names / sizeof *type_names; k++)
            if (strcmp(type_names[k].name, wanted) == 0)
                type->dtype = type_names[k].dtype;
        for (size_t k = 0; k < node->input_count && k < schema->input_count; k++)
            if (node->inputs[k] != NO_VALUE && strcmp(schema->inputs[k].type, wanted) == 0 && !takes_many_types(&schema->inputs[k])
                && graph->values[node->inputs[k]].type.kind == MITRAL_TENSOR)
                type->dtype = graph->values[node->inputs[k]].type.dtype;
    }
}

/* Results of control flow have the types of what the body gives, behind a loop's condition. */
static void set_dtypes_by_bodies(struct graph *graph, const struct node *node)
{
    const size_t first = strcmp(node->op->name, "Loop") == 0;
    for (size_t j = 0; j < node->output_count; j++)
        for (size_t k = 0; k < node->subgraph_count && node->outputs[j] != NO_VALUE; k++) {
            const struct graph *inner = node->subgraphs[k];
            struct value_type *type = &graph->values[node->outputs[j]].type;
            if (first + j >= inner->output_count || type->kind != MITRAL_TENSOR || type->dtype != MITRAL_UNDEFINED)
                continue;
            const struct value_type *given = &inner->values[inner->outputs[first + j]].type;
            if (given->kind == MITRAL_TENSOR)
                type->dtype = given->dtype;
        }
}

/* What a subgraph takes from outside has the outer value's type; a loop's own inputs keep what the file declares. */
static mitral_status infer_subgraphs(struct graph *graph, const struct node *node)
{
    for (size_t j = 0; j < node->subgraph_count; j++) {
        struct graph *inner = node->subgraphs[j];
        for (size_t k = 0; k < node->capture_count && k < inner->input_count && k < node->input_count; k++) {
            value_id outside = node->inputs[node->input_count - 1 - k];
            if (outside != NO_VALUE)
                inner->values[inner->inputs[inner->input_count - 1 - k]].type = graph->values[outside].type;
        }
        TRY(graph_infer(inner));
    }
    return MITRAL_OK;
}

mitral_status graph_find_conditions(const struct graph *graph, bool training, int8_t *known)
{
    struct symbols symbols;
    struct sweep sweep;
    struct refusals refusals = {MITRAL_OK}; /* graph_infer tells of them */
    collect_symbols(graph, &symbols);
    memset(known, -1, graph->value_count);
    const mitral_status status = sweep_graph(&sweep, graph, &symbols, symbols.count ? 0 : -1, training, &refusals);
    for (size_t v = 0; v < graph->value_count && status == MITRAL_OK; v++) {
        const mitral_tensor *tensor = &sweep.values[v].tensor;
        if (graph->values[v].type.kind == MITRAL_TENSOR && tensor->dtype == MITRAL_BOOL && tensor->data && tensor_count(tensor) == 1)
            known[v] = *(const uint8_t *)tensor->data != 0;
    }
    sweep_clear(&sweep);
    return status == MITRAL_NO_MEMORY ? status : MITRAL_OK;
}

mitral_status graph_infer(struct graph *graph)
{
    struct symbols symbols;
    collect_symbols(graph, &symbols);
    struct sweep first, second;
    struct refusals refusals = {MITRAL_OK}, again = {MITRAL_OK};
    mitral_status status = sweep_graph(&first, graph, &symbols, symbols.count ? 0 : -1, false, &refusals);
    if (status == MITRAL_OK && symbols.count) {
        status = sweep_graph(&second, graph, &symbols, 1, false, &again);
        if (status == MITRAL_OK)
            set_types(graph, &symbols, &first, &second);
        sweep_clear(&second);
    } else if (status != MITRAL_NO_MEMORY) {
        set_types(graph, &symbols, &first, &first); /* of what comes before a node that is refused, too: it tells why */
    }
    sweep_clear(&first);
    TRY(status);
    if (!symbols.count || again.count == refusals.count)
        TRY(refusals_report(&refusals, graph->context));
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op) {
            set_dtypes_by_schema(graph, &graph->nodes[i]);
            TRY(infer_subgraphs(graph, &graph->nodes[i]));
            set_dtypes_by_bodies(graph, &graph->nodes[i]);
        }
    return MITRAL_OK;
}
