#include "compiler/lower.h"

#include <string.h>

#include "runtime/cpu.h"
#include "runtime/custom.h"

static mitral_status lower_value(struct lowering *lowering, value_id id, uint32_t role)
{
    const struct graph_value *from = &lowering->graph->values[id];
    struct mitral_plan *plan = lowering->plan;
    struct plan_value *to = &plan->values[plan->value_count];
    *to = (struct plan_value){.kind = from->type.kind, .dtype = from->type.dtype, .rank = from->type.rank, .role = (int32_t)role,
                              .layout = from->layout, .variable = NO_ID,
                              .keep = from->tap || lowering->level == 0};
    to->name = arena_string(&plan->arena, from->name);
    if (!to->name)
        return MITRAL_NO_MEMORY;
    for (int32_t d = 0; d < from->type.rank; d++) {
        to->dims[d] = from->type.dims[d];
        if (from->type.dims[d] < 0 && from->type.symbols[d] && !(to->symbols[d] = arena_string(&plan->arena, from->type.symbols[d])))
            return MITRAL_NO_MEMORY;
    }
    if (role == ROLE_CONSTANT || role == ROLE_VARIABLE)
        to->constant = *from->constant;
    lowering->ids[id] = (uint32_t)plan->value_count++;
    return MITRAL_OK;
}

static mitral_status lower_values(struct lowering *lowering)
{
    const struct graph *graph = lowering->graph;
    bool *used = mitral_allocate(lowering->context, graph->value_count + 1);
    if (!used)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < graph->node_count; i++) {
        for (size_t j = 0; graph->nodes[i].op && j < graph->nodes[i].input_count; j++)
            if (graph->nodes[i].inputs[j] != NO_VALUE)
                used[graph->nodes[i].inputs[j]] = true;
        for (size_t j = 0; graph->nodes[i].op && j < graph->nodes[i].output_count; j++)
            if (graph->nodes[i].outputs[j] != NO_VALUE)
                used[graph->nodes[i].outputs[j]] = true;
    }
    for (size_t i = 0; i < graph->output_count; i++)
        used[graph->outputs[i]] = true;
    mitral_status status = MITRAL_OK;
    for (size_t i = 0; i < graph->input_count && status == MITRAL_OK; i++)
        if (lowering->ids[graph->inputs[i]] == NO_ID)
            status = lower_value(lowering, graph->inputs[i], ROLE_INPUT);
    for (size_t v = 0; v < graph->value_count && status == MITRAL_OK; v++)
        if (used[v] && lowering->ids[v] == NO_ID)
            status = lower_value(lowering, (value_id)v, graph->values[v].variable ? ROLE_VARIABLE
                                                        : graph->values[v].constant ? ROLE_CONSTANT : ROLE_COMPUTED);
    mitral_release(lowering->context, used);
    return status;
}

static uint32_t *lower_ids(struct lowering *lowering, const value_id *values, size_t count)
{
    uint32_t *ids = arena_allocate(&lowering->plan->arena, (count + 1) * sizeof *ids);
    for (size_t i = 0; ids && i < count; i++)
        ids[i] = values[i] == NO_VALUE ? NO_ID : lowering->ids[values[i]];
    return ids;
}

static mitral_status grow_steps(struct mitral_plan *plan)
{
    size_t count = plan->step_count;
    if (count && (count & (count - 1)) != 0)
        return MITRAL_OK;
    struct step *steps = arena_allocate(&plan->arena, (count ? 2 * count : 1) * sizeof *steps);
    if (!steps)
        return MITRAL_NO_MEMORY;
    if (count)
        memcpy(steps, plan->steps, count * sizeof *steps);
    plan->steps = steps;
    return MITRAL_OK;
}

mitral_status lower_step(struct lowering *lowering, const struct node *node, const char *kernel,
                         const struct attributes *attributes, const value_id *inputs, size_t input_count,
                         const value_id *outputs, size_t output_count)
{
    struct mitral_plan *plan = lowering->plan;
    struct step step = {.opset = node->version, .input_count = input_count, .output_count = output_count};
    TRY(kernel_resolve(&step.kernel, lowering->context, kernel, node->name));
    step.name = arena_string(&plan->arena, node->name);
    step.inputs = lower_ids(lowering, inputs, input_count);
    step.outputs = lower_ids(lowering, outputs, output_count);
    if (!step.name || !step.inputs || !step.outputs)
        return MITRAL_NO_MEMORY;
    TRY(attributes_copy(&step.attributes, &plan->arena, attributes ? attributes : &node->attributes));
    if (node->subgraph_count) { /* how many of the last inputs the sub-plans take from outside */
        TRY(attributes_set_int(&step.attributes, &plan->arena, "captures", (int64_t)node->capture_count));
        step.subplans = arena_allocate(&plan->arena, node->subgraph_count * sizeof *step.subplans);
        if (!step.subplans)
            return MITRAL_NO_MEMORY;
    }
    TRY(grow_steps(plan));
    plan->steps[plan->step_count++] = step;
    struct step *placed = &plan->steps[plan->step_count - 1];
    for (size_t i = 0; i < node->subgraph_count; i++) {
        TRY(lower_graph(&placed->subplans[i], lowering->context, node->subgraphs[i], lowering->level, lowering->threads,
                        lowering->precision, lowering->training));
        placed->subplans[i]->parent = plan;
        placed->subplan_count++;
    }
    return MITRAL_OK;
}

mitral_status lower_node(struct lowering *lowering, const struct node *node, const char *kernel, bool *done)
{
    TRY(lower_step(lowering, node, kernel, NULL, node->inputs, node->input_count, node->outputs, node->output_count));
    *done = true;
    return MITRAL_OK;
}

static mitral_status lower_one(struct lowering *lowering, const struct node *node)
{
    bool done = false;
    if (node->op->lower)
        TRY(node->op->lower(lowering, node, &done));
    if (done)
        return MITRAL_OK;
    const struct kernel *kernel = op_kernel(node->op);
    if (!kernel)
        return mitral_fail(lowering->context, MITRAL_UNSUPPORTED, "%s '%s': expected a kernel, found none", node->op->name, node->name);
    return lower_node(lowering, node, kernel->name, &done);
}

static mitral_status lower_interface(struct lowering *lowering)
{
    const struct graph *graph = lowering->graph;
    struct mitral_plan *plan = lowering->plan;
    plan->inputs = lower_ids(lowering, graph->inputs, graph->input_count);
    plan->outputs = lower_ids(lowering, graph->outputs, graph->output_count);
    plan->metadata = arena_allocate(&plan->arena, (graph->metadata_count + 1) * sizeof *plan->metadata);
    if (!plan->inputs || !plan->outputs || !plan->metadata)
        return MITRAL_NO_MEMORY;
    plan->input_count = graph->input_count;
    plan->output_count = graph->output_count;
    for (size_t i = 0; i < graph->output_count; i++)
        plan->values[plan->outputs[i]].keep = true;
    for (size_t i = 0; i < graph->metadata_count; i++) {
        plan->metadata[i].key = arena_string(&plan->arena, graph->metadata[i].key);
        plan->metadata[i].value = arena_string(&plan->arena, graph->metadata[i].value);
        if (!plan->metadata[i].key || !plan->metadata[i].value)
            return MITRAL_NO_MEMORY;
        plan->metadata_count++;
    }
    for (size_t i = 0; i < graph->update_count; i++) {
        uint32_t value = lowering->ids[graph->updates[i].value];
        if (plan->values[value].role != ROLE_COMPUTED || plan->values[value].variable != NO_ID)
            return mitral_fail(lowering->context, MITRAL_INVALID, "update of '%s': expected a computed value that updates one variable",
                               graph->values[graph->updates[i].variable].name);
        plan->values[value].variable = lowering->ids[graph->updates[i].variable];
    }
    return MITRAL_OK;
}

mitral_status lower_graph(struct mitral_plan **out, mitral_context *context, const struct graph *graph, int level, int threads,
                          mitral_precision precision, bool training)
{
    TRY(plan_create(out, context));
    struct lowering lowering = {.context = context, .graph = graph, .plan = *out, .level = level, .threads = threads,
                                .precision = precision, .training = training};
    (*out)->isa = arena_string(&(*out)->arena, cpu_isa_name(cpu_isa()));
    (*out)->cpu = arena_string(&(*out)->arena, cpu_brand());
    (*out)->threads = threads;
    (*out)->exact = level == 0;
    lowering.ids = mitral_allocate(context, (graph->value_count + 1) * sizeof *lowering.ids);
    (*out)->values = arena_allocate(&(*out)->arena, (graph->value_count + 1) * sizeof *(*out)->values);
    mitral_status status = lowering.ids && (*out)->values && (*out)->isa && (*out)->cpu ? MITRAL_OK : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK) {
        for (size_t v = 0; v < graph->value_count; v++)
            lowering.ids[v] = NO_ID;
        status = lower_values(&lowering);
    }
    for (size_t i = 0; i < graph->node_count && status == MITRAL_OK; i++)
        if (graph->nodes[i].op)
            status = lower_one(&lowering, &graph->nodes[i]);
    if (status == MITRAL_OK)
        status = lower_interface(&lowering);
    mitral_release(context, lowering.ids);
    if (status != MITRAL_OK)
        mitral_plan_destroy(out);
    return status;
}

/* ---- packing ------------------------------------------------------------------------------------------------------- */

static bool shapes_are_static(const struct mitral_plan *plan)
{
    for (size_t i = 0; i < plan->input_count; i++) {
        const struct plan_value *value = &plan->values[plan->inputs[i]];
        if (value->kind != MITRAL_TENSOR || value->dtype == MITRAL_UNDEFINED || value->rank < 0)
            return false;
        for (int32_t d = 0; d < value->rank; d++)
            if (value->dims[d] < 0)
                return false;
    }
    return true;
}

/* A constant that several steps read is packed for none of them. */
static size_t count_readers(const struct mitral_plan *plan, uint32_t id)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->step_count; i++)
        for (size_t j = 0; j < plan->steps[i].input_count; j++)
            count += plan->steps[i].inputs[j] == id;
    for (size_t i = 0; i < plan->output_count; i++)
        count += 2 * (plan->outputs[i] == id);
    return count;
}

static mitral_status pack_step(struct mitral_plan *plan, const struct step *step, const struct step_state *state)
{
    for (size_t j = 0; j < step->input_count; j++) {
        uint32_t id = step->inputs[j];
        if (id == NO_ID || plan->values[id].role != ROLE_CONSTANT || count_readers(plan, id) != 1)
            continue;
        mitral_tensor packed = step->kernel->packed(state->state, j);
        if (!packed.data || !packed.packing)
            continue;
        TRY(tensor_copy(&plan->values[id].constant, &plan->arena, &packed));
        plan->values[id].keep = false;
    }
    return MITRAL_OK;
}

static mitral_status pack_steps(mitral_context *context, struct mitral_plan *plan)
{
    mitral_value *values = mitral_allocate(context, (plan->input_count + 1) * sizeof *values);
    const mitral_value **inputs = mitral_allocate(context, (plan->input_count + 1) * sizeof *inputs);
    struct specialisation *specialisation = NULL;
    mitral_status status = values && inputs ? MITRAL_OK : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK) {
        for (size_t i = 0; i < plan->input_count; i++) {
            const struct plan_value *value = &plan->values[plan->inputs[i]];
            tensor_set(&values[i].tensor, value->dtype, value->rank, value->dims);
            inputs[i] = &values[i];
        }
        status = specialise(&specialisation, context, plan, inputs, plan->threads);
    }
    for (size_t i = 0; i < plan->step_count && status == MITRAL_OK; i++)
        if (plan->steps[i].kernel->packed && specialisation->steps[i].state)
            status = pack_step(plan, &plan->steps[i], &specialisation->steps[i]);
    if (specialisation) {
        specialisation_release(specialisation);
        /* The states hold their own packed copies; those made from the plan's packed constants will not. */
        plan->specialisations = specialisation->next;
        plan->specialisation_count--;
        specialisation_destroy(specialisation);
    }
    mitral_release(context, values);
    mitral_release(context, inputs);
    return status;
}

mitral_status plan_pack(mitral_context *context, struct mitral_plan *plan)
{
    if (!plan->exact && shapes_are_static(plan))
        TRY(pack_steps(context, plan));
    for (size_t v = 0; v < plan->value_count; v++) {
        struct plan_value *value = &plan->values[v];
        if ((value->role == ROLE_CONSTANT || value->role == ROLE_VARIABLE) && !value->constant.packing) {
            mitral_tensor borrowed = value->constant;
            TRY(tensor_copy(&value->constant, &plan->arena, &borrowed));
        }
    }
    for (size_t i = 0; i < plan->step_count; i++)
        for (size_t j = 0; j < plan->steps[i].subplan_count; j++)
            TRY(plan_pack(context, plan->steps[i].subplans[j]));
    return MITRAL_OK;
}
