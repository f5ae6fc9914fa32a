#include "runtime/plan.h"

#include <string.h>
#include <sys/mman.h>

#include "runtime/cpu.h"

mitral_status plan_create(struct mitral_plan **out, mitral_context *context)
{
    *out = NULL;
    if (cpu_isa_unknown())
        return mitral_fail(context, MITRAL_INVALID, "MITRAL_ISA: expected portable, avx2, avx512 or amx, found '%s'", cpu_isa_unknown());
    mitral_plan *plan = mitral_allocate(context, sizeof *plan);
    if (!plan)
        return MITRAL_NO_MEMORY;
    /* A private copy: the plan outlives the context that made it, and its messages are nobody's. */
    plan->context = mitral_allocate(context, sizeof *plan->context);
    if (!plan->context || pthread_mutex_init(&plan->lock, NULL) != 0) {
        mitral_release(context, plan->context);
        mitral_release(context, plan);
        return mitral_fail(context, MITRAL_NO_MEMORY, "out of memory: a plan could not be made");
    }
    plan->context->options = context->options;
    plan->context->options.log = NULL;
    plan->context->options.progress = NULL;
    plan->context->options.cancel = NULL;
    arena_initialise(&plan->arena, plan->context);
    *out = plan;
    return MITRAL_OK;
}

void plan_forget_specialisations(struct mitral_plan *plan)
{
    while (plan->specialisations) {
        struct specialisation *next = plan->specialisations->next;
        specialisation_destroy(plan->specialisations);
        plan->specialisations = next;
    }
    plan->specialisation_count = 0;
}

void mitral_plan_destroy(mitral_plan **handle)
{
    if (!handle || !*handle)
        return;
    mitral_plan *plan = *handle;
    plan_forget_specialisations(plan);
    for (size_t i = 0; i < plan->step_count; i++)
        for (size_t j = 0; j < plan->steps[i].subplan_count; j++)
            mitral_plan_destroy(&plan->steps[i].subplans[j]);
    if (plan->mapping)
        munmap(plan->mapping, plan->mapping_size);
    pthread_mutex_destroy(&plan->lock);
    arena_clear(&plan->arena);
    mitral_context *context = plan->context;
    mitral_release(context, plan);
    mitral_context_destroy(&context);
    *handle = NULL;
}

static mitral_value_info info_of(const mitral_plan *plan, uint32_t id)
{
    const struct plan_value *value = &plan->values[id];
    mitral_value_info info = {.name = value->name, .kind = value->kind, .dtype = value->dtype, .rank = value->rank};
    for (int32_t i = 0; i < value->rank; i++) {
        info.dims[i] = value->dims[i];
        info.dim_names[i] = value->dims[i] < 0 ? (value->symbols[i] ? value->symbols[i] : "") : NULL;
    }
    return info;
}

size_t mitral_plan_input_count(const mitral_plan *plan) { return plan->input_count; }
size_t mitral_plan_output_count(const mitral_plan *plan) { return plan->output_count; }

mitral_value_info mitral_plan_input(const mitral_plan *plan, size_t index)
{
    return index < plan->input_count ? info_of(plan, plan->inputs[index]) : (mitral_value_info){.name = NULL};
}

mitral_value_info mitral_plan_output(const mitral_plan *plan, size_t index)
{
    return index < plan->output_count ? info_of(plan, plan->outputs[index]) : (mitral_value_info){.name = NULL};
}

const char *mitral_plan_metadata(const mitral_plan *plan, const char *key)
{
    for (size_t i = 0; i < plan->metadata_count; i++)
        if (strcmp(plan->metadata[i].key, key) == 0)
            return plan->metadata[i].value;
    return NULL;
}
