/* Which values are tensors, sequences, optionals and maps. Inference works out the types of tensors; that a value is none has to be
 * known before, and a file may leave it unsaid, or say it wrongly. */
#include <string.h>

#include "compiler/import_internal.h"

enum { UNKNOWN_KIND = -1 };

static const char *const kind_names[] = {"a tensor", "a sequence", "an optional", "a map"};
static const char *const kind_words[] = {"tensor(", "seq(", "optional(", "map("};
enum { KINDS = sizeof kind_words / sizeof *kind_words };

static bool is_undeclared(const struct value_type *type)
{
    return type->kind == MITRAL_TENSOR && type->dtype == MITRAL_UNDEFINED && type->rank < 0;
}

/* What is known of a value by now: a type of its own that is not the blank one of a value that nobody declared. */
static int kind_of(const struct graph *graph, value_id id)
{
    if (id == NO_VALUE)
        return UNKNOWN_KIND;
    const struct value_type *type = &graph->values[id].type;
    return is_undeclared(type) ? UNKNOWN_KIND : type->kind;
}

/* The kinds that a parameter may have, a bit each. */
static unsigned allowed_kinds(const struct schema *schema, const struct schema_parameter *parameter)
{
    unsigned allowed = 0;
    const struct schema_constraint *constraint = NULL;
    for (size_t i = 0; i < schema->constraint_count; i++)
        if (strcmp(schema->constraints[i].name, parameter->type) == 0)
            constraint = &schema->constraints[i];
    size_t count = constraint ? constraint->type_count : 1;
    for (size_t i = 0; i < count; i++)
        for (int kind = 0; kind < KINDS; kind++)
            if (strncmp(constraint ? constraint->types[i] : parameter->type, kind_words[kind], strlen(kind_words[kind])) == 0)
                allowed |= 1u << kind;
    return allowed;
}

static int single_kind(unsigned allowed)
{
    for (int kind = 0; kind < KINDS; kind++)
        if (allowed == 1u << kind)
            return kind;
    return UNKNOWN_KIND;
}

static mitral_status contradiction(const struct graph *graph, const struct node *node, const char *what, size_t index, const char *expected,
                                   int found)
{
    return mitral_fail(graph->context, MITRAL_INVALID, "%s '%s' (opset %d): expected %s %zu to be %s, found %s", node->op->name, node->name,
                       node->version, what, index, expected, kind_names[found]);
}

static const struct schema_parameter *parameter_at(const struct schema_parameter *parameters, size_t count, size_t index)
{
    return count ? &parameters[index < count ? index : count - 1] : NULL;
}

/* ---- operators that own subgraphs ---------------------------------------------------------------------------------- */

static const struct graph *subgraph_of(const struct node *node, const char *name)
{
    int32_t index = attribute_subgraph(&node->attributes, name);
    return index < 0 || (size_t)index >= node->subgraph_count ? NULL : node->subgraphs[index];
}

/* The type of a subgraph's output; NULL when there is none. */
static const struct value_type *inner_type(const struct graph *graph, size_t output)
{
    return graph && output < graph->output_count ? &graph->values[graph->outputs[output]].type : NULL;
}

static size_t loop_states(const struct node *node)
{
    size_t own = node->input_count - node->capture_count;
    return own > 2 ? own - 2 : 0;
}

/* The value inside that an output is, for If and the states of Loop; NULL otherwise. */
static const struct value_type *source_of_output(const struct node *node, size_t output)
{
    if (node_is(node, "If")) {
        const struct value_type *then = inner_type(subgraph_of(node, "then_branch"), output);
        return then && !is_undeclared(then) ? then : inner_type(subgraph_of(node, "else_branch"), output);
    }
    return node_is(node, "Loop") && output < loop_states(node) ? inner_type(subgraph_of(node, "body"), output + 1) : NULL;
}

/* What the graph around a subgraph knows of the values that it takes: those of the outer scope, and the first states of a Loop. */
static void hand_in(struct graph *graph, const struct node *node)
{
    for (size_t s = 0; s < node->subgraph_count; s++) {
        struct graph *inner = node->subgraphs[s];
        for (size_t k = 2; node_is(node, "Loop") && k < node->input_count - node->capture_count && k < inner->input_count; k++) {
            const int kind = kind_of(graph, node->inputs[k]);
            struct value_type *type = &inner->values[inner->inputs[k]].type;
            if (kind != UNKNOWN_KIND && kind != MITRAL_TENSOR && is_undeclared(type))
                *type = graph->values[node->inputs[k]].type;
        }
        for (size_t k = 1; k <= node->capture_count && k <= inner->input_count; k++) {
            const struct graph_value *outer = &graph->values[node->inputs[node->input_count - k]];
            struct value_type *type = &inner->values[inner->inputs[inner->input_count - k]].type;
            if (outer->type.kind != MITRAL_TENSOR)
                *type = outer->type;
        }
    }
}

/* ---- nodes --------------------------------------------------------------------------------------------------------- */

static mitral_status check_inputs(const struct graph *graph, const struct node *node, const struct schema *schema)
{
    for (size_t i = 0; i < node->input_count - node->capture_count; i++) {
        const struct schema_parameter *parameter = parameter_at(schema->inputs, schema->input_count, i);
        int kind = kind_of(graph, node->inputs[i]);
        if (!parameter || kind == UNKNOWN_KIND)
            continue;
        unsigned allowed = allowed_kinds(schema, parameter);
        if (!(allowed & 1u << kind)) {
            int one = single_kind(allowed);
            return contradiction(graph, node, "input", i, one == UNKNOWN_KIND ? "of another kind" : kind_names[one], kind);
        }
    }
    return MITRAL_OK;
}

/* An input that the schema gives the type of this output; NULL: none that is known. */
static const struct value_type *same_typed_input(const struct graph *graph, const struct node *node, const struct schema *schema,
                                                 const struct schema_parameter *output)
{
    for (size_t i = 0; i < node->input_count - node->capture_count && i < schema->input_count; i++) {
        const struct schema_parameter *input = &schema->inputs[i];
        if (strcmp(input->type, output->type) == 0 && (input->option != 2 || input->homogeneous) &&
            kind_of(graph, node->inputs[i]) != UNKNOWN_KIND)
            return &graph->values[node->inputs[i]].type;
    }
    return NULL;
}

/* What an optional holds; a value of another kind may stand for itself. */
static const struct value_type *content_of(const struct graph *graph, value_id id)
{
    if (kind_of(graph, id) == UNKNOWN_KIND)
        return NULL;
    const struct value_type *type = &graph->values[id].type;
    return type->kind == MITRAL_OPTIONAL ? type->element : type;
}

/* An optional that nothing declares holds what it is made of. */
static mitral_status note_content(struct graph *graph, const struct node *node, struct value_type *type)
{
    if (!node_is(node, "Optional") || type->element || kind_of(graph, node_input(node, 0)) == UNKNOWN_KIND)
        return MITRAL_OK;
    struct value_type *content = arena_allocate(graph->arena, sizeof *content);
    if (!content)
        return MITRAL_NO_MEMORY;
    *content = graph->values[node->inputs[0]].type;
    type->element = content;
    return MITRAL_OK;
}

static mitral_status settle_output(struct graph *graph, const struct node *node, const struct schema *schema, size_t index)
{
    struct value_type *type = &graph->values[node->outputs[index]].type;
    const struct schema_parameter *parameter = schema ? parameter_at(schema->outputs, schema->output_count, index) : NULL;
    unsigned allowed = parameter ? allowed_kinds(schema, parameter) : 1u << MITRAL_TENSOR;
    const struct value_type *same = NULL;
    if (node_is(node, "Loop") && index >= loop_states(node)) /* what the trips give, stacked */
        allowed = 1u << MITRAL_TENSOR;
    if (node->op->traits & OP_CONTROL)
        same = source_of_output(node, index);
    else if (node_is(node, "OptionalGetElement"))
        same = content_of(graph, node->inputs[0]);
    else if (parameter && (parameter->option != 2 || parameter->homogeneous))
        same = same_typed_input(graph, node, schema, parameter);
    int kind = same && !is_undeclared(same) ? same->kind : single_kind(allowed);
    if (is_undeclared(type)) {
        if (same && same->kind != MITRAL_TENSOR)
            *type = *same;
        else if (kind != UNKNOWN_KIND)
            type->kind = kind;
        return note_content(graph, node, type);
    }
    if (kind != UNKNOWN_KIND && type->kind != kind)
        return contradiction(graph, node, "output", index, kind_names[kind], type->kind);
    if (!(allowed & 1u << type->kind))
        return contradiction(graph, node, "output", index, "of another kind", type->kind);
    return MITRAL_OK;
}

mitral_status import_kinds(struct graph *graph)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        const struct schema *schema = schema_find(op_domain(node->op), node->op->name, node->version);
        if (schema)
            TRY(check_inputs(graph, node, schema));
        hand_in(graph, node);
        for (size_t s = 0; s < node->subgraph_count; s++)
            TRY(import_kinds(node->subgraphs[s]));
        for (size_t j = 0; j < node->output_count; j++)
            if (node->outputs[j] != NO_VALUE)
                TRY(settle_output(graph, node, schema, j));
    }
    return MITRAL_OK;
}
