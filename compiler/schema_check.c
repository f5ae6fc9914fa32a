/* Types of nodes' inputs and outputs against the constraints of their schemas. */
#include <string.h>

#include "compiler/import.h"
#include "compiler/refusals.h"

/* Whether a type of which all is known that its name says. */
static bool is_known(const struct value_type *type)
{
    if (type->kind == MITRAL_TENSOR)
        return type->dtype != MITRAL_UNDEFINED;
    return type->element && is_known(type->element) && (type->kind != MITRAL_MAP || type->dtype != MITRAL_UNDEFINED);
}

enum { TYPE_NAME_BYTES = 256 };

/* What the constraints of one node have been bound to so far. */
struct bindings {
    char types[8][TYPE_NAME_BYTES]; /* by index of the constraint; "": not bound yet */
    const char *parameters[8];      /* the first parameter of that type */
};

static const struct schema_constraint *constraint_find(const struct schema *schema, const char *name, size_t *index)
{
    for (*index = 0; *index < schema->constraint_count; ++*index)
        if (strcmp(schema->constraints[*index].name, name) == 0)
            return &schema->constraints[*index];
    return NULL;
}

static bool is_allowed(const struct schema_constraint *constraint, const char *type)
{
    for (size_t i = 0; i < constraint->type_count; i++)
        if (strcmp(constraint->types[i], type) == 0)
            return true;
    return false;
}

/* Types as the standard spells them, cut where it gets long. */
static const char *list_types(const struct schema_constraint *constraint, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < constraint->type_count; i++) {
        size_t length = strlen(constraint->types[i]);
        if (used + length + 8 > size) {
            memcpy(text + used, ", …", strlen(", …") + 1);
            break;
        }
        if (i) {
            memcpy(text + used, ", ", 2);
            used += 2;
        }
        memcpy(text + used, constraint->types[i], length + 1);
        used += length;
    }
    return text;
}

static mitral_status check_value(const struct graph *graph, const struct node *node, const struct schema *schema,
                                 const struct schema_parameter *parameter, const char *what, size_t index, value_id id, struct bindings *bindings)
{
    const struct value_type *type = &graph->values[id].type;
    char found[TYPE_NAME_BYTES], allowed[512];
    if (!is_known(type))
        return MITRAL_OK;
    onnx_type_name(type, found, sizeof found);
    size_t at;
    const struct schema_constraint *constraint = constraint_find(schema, parameter->type, &at);
    if (!constraint) { /* the parameter's type itself */
        if (strcmp(parameter->type, found) == 0)
            return MITRAL_OK;
        return mitral_fail(graph->context, MITRAL_INVALID, "%s '%s' (opset %d): expected %s %zu, '%s', to be %s, found %s", node->op->name,
                           node->name, node->version, what, index, parameter->name, parameter->type, found);
    }
    if (!is_allowed(constraint, found))
        return mitral_fail(graph->context, MITRAL_INVALID, "%s '%s' (opset %d): expected %s %zu, '%s', to be one of %s, found %s",
                           node->op->name, node->name, node->version, what, index, parameter->name,
                           list_types(constraint, allowed, sizeof allowed), found);
    if (at >= sizeof bindings->types / sizeof *bindings->types || (parameter->option == 2 && !parameter->homogeneous))
        return MITRAL_OK;
    if (!bindings->types[at][0]) {
        memcpy(bindings->types[at], found, sizeof found);
        bindings->parameters[at] = parameter->name;
        return MITRAL_OK;
    }
    if (strcmp(bindings->types[at], found) == 0)
        return MITRAL_OK;
    return mitral_fail(graph->context, MITRAL_INVALID, "%s '%s' (opset %d): expected %s %zu, '%s', to be %s like '%s', found %s", node->op->name,
                       node->name, node->version, what, index, parameter->name, bindings->types[at], bindings->parameters[at], found);
}

static mitral_status check_list(const struct graph *graph, const struct node *node, const struct schema *schema,
                                const struct schema_parameter *parameters, size_t parameter_count, const char *what, const value_id *ids,
                                size_t count, struct bindings *bindings)
{
    for (size_t i = 0; i < count && parameter_count; i++) {
        const struct schema_parameter *parameter = &parameters[i < parameter_count ? i : parameter_count - 1];
        if (i >= parameter_count && parameter->option != 2)
            break;
        if (ids[i] != NO_VALUE)
            TRY(check_value(graph, node, schema, parameter, what, i, ids[i], bindings));
    }
    return MITRAL_OK;
}

/* What control flow hands to its subgraphs and takes from them. Captured values come last on both sides. */
static mitral_status check_subgraphs(const struct graph *graph, const struct node *node)
{
    static const struct {
        const char *name;
        int last_version; /* 0: of all */
        size_t own_inputs, more_outputs; /* inputs that the subgraph does not see; outputs that the node does not have */
    } forms[] = {{"If", 0, 1, 0}, {"Loop", 0, 0, 1}, {"Scan", 8, 1, 0}, {"Scan", 0, 0, 0}, {"SequenceMap", 0, 0, 0}};
    const size_t count = sizeof forms / sizeof *forms;
    size_t form = 0;
    while (form < count && (strcmp(forms[form].name, node->op->name) != 0 || (forms[form].last_version && node->version > forms[form].last_version)))
        form++;
    if (form == count || node->input_count < forms[form].own_inputs)
        return MITRAL_OK;
    const size_t inputs = node->input_count - forms[form].own_inputs, outputs = node->output_count + forms[form].more_outputs;
    for (size_t i = 0; i < node->subgraph_count; i++) {
        const struct graph *body = node->subgraphs[i];
        if (body->input_count != inputs || body->output_count < outputs)
            return mitral_fail(graph->context, MITRAL_INVALID, "%s '%s' (opset %d): expected a subgraph of %zu inputs and %zu outputs, found %zu and %zu",
                               node->op->name, node->name, node->version, inputs - node->capture_count, outputs,
                               body->input_count - node->capture_count, body->output_count);
    }
    return MITRAL_OK;
}

static mitral_status check_graph(const struct graph *graph, struct refusals *refusals)
{
    struct bindings *bindings = mitral_allocate_raw(graph->context, sizeof *bindings);
    if (!bindings)
        return MITRAL_NO_MEMORY;
    mitral_status status = MITRAL_OK;
    for (size_t i = 0; i < graph->node_count && status == MITRAL_OK; i++) {
        const struct node *node = &graph->nodes[i];
        const struct schema *schema = node->op ? schema_find(op_domain(node->op), node->op->name, node->version) : NULL;
        if (schema) {
            for (size_t k = 0; k < sizeof bindings->types / sizeof *bindings->types; k++)
                bindings->types[k][0] = '\0';
            status = check_list(graph, node, schema, schema->inputs, schema->input_count, "input", node->inputs,
                                node->input_count - node->capture_count, bindings);
            if (status == MITRAL_OK)
                status = check_list(graph, node, schema, schema->outputs, schema->output_count, "output", node->outputs, node->output_count,
                                    bindings);
            if (status == MITRAL_OK)
                status = check_subgraphs(graph, node);
            if (status == MITRAL_INVALID) {
                refusals_add(refusals, graph->context, status, NULL);
                status = MITRAL_OK;
            }
        }
        for (size_t k = 0; node->op && k < node->subgraph_count && status == MITRAL_OK; k++)
            status = check_graph(node->subgraphs[k], refusals);
    }
    mitral_release(graph->context, bindings);
    return status;
}

mitral_status schema_check_types(const struct graph *graph)
{
    struct refusals refusals = {MITRAL_OK};
    TRY(check_graph(graph, &refusals));
    return refusals_report(&refusals, graph->context);
}
