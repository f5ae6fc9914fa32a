#include "compiler/tune.h"

#include "mitral/tools.h"
#include "runtime/context.h"

enum { RUNS = 9 };

/* What has to be gained before the usual choice is left: below it, the next run might show the opposite. */
static const double gain = 0.97;

static bool shapes_are_known(const struct mitral_plan *plan)
{
    for (size_t i = 0; i < plan->input_count; i++) {
        const struct plan_value *value = &plan->values[plan->inputs[i]];
        if (value->kind != MITRAL_TENSOR || value->dtype != MITRAL_FLOAT || value->rank < 0)
            return false;
        for (int32_t d = 0; d < value->rank; d++)
            if (value->dims[d] < 0)
                return false;
    }
    return true;
}

static size_t count_alternatives(const struct mitral_plan *plan)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->step_count; i++)
        count += plan->steps[i].alternative != NULL;
    return count;
}

static void swap_kernels(struct mitral_plan *plan, const bool *chosen)
{
    for (size_t i = 0; i < plan->step_count; i++) {
        struct step *step = &plan->steps[i];
        if (!step->alternative || (chosen && !chosen[i]))
            continue;
        const struct kernel *other = step->alternative;
        step->alternative = step->kernel;
        step->kernel = other;
    }
}

/* The least seconds of each step over some runs. */
static mitral_status measure(mitral_context *context, struct mitral_plan *plan, const mitral_value *const *inputs, double *least)
{
    mitral_session *session = NULL;
    mitral_status status = mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = plan->threads});
    if (status == MITRAL_OK)
        status = mitral_session_profile(session, true);
    for (int run = 0; run < RUNS && status == MITRAL_OK; run++) {
        size_t count;
        status = mitral_session_run(session, inputs, plan->input_count, NULL, 0);
        const double *seconds = mitral_session_step_seconds(session, &count);
        for (size_t i = 0; i < plan->step_count && status == MITRAL_OK; i++)
            if (run == 0 || seconds[i] < least[i])
                least[i] = seconds[i];
    }
    mitral_session_destroy(&session);
    plan_forget_specialisations(plan);
    return status;
}

static mitral_status make_inputs(mitral_context *context, const struct mitral_plan *plan, mitral_value *values, const mitral_value **inputs)
{
    uint32_t state = 1;
    for (size_t i = 0; i < plan->input_count; i++) {
        const struct plan_value *from = &plan->values[plan->inputs[i]];
        tensor_set(&values[i].tensor, from->dtype, from->rank, from->dims);
        const int64_t count = tensor_count(&values[i].tensor);
        float *data = mitral_allocate(context, tensor_bytes(&values[i].tensor) + 64);
        if (!data)
            return MITRAL_NO_MEMORY;
        for (int64_t k = 0; k < count; k++) {
            state = state * 1664525u + 1013904223u;
            data[k] = (float)(int32_t)state / 1073741824.0f;
        }
        values[i].tensor.data = data;
        inputs[i] = &values[i];
    }
    return MITRAL_OK;
}

static mitral_status choose(mitral_context *context, struct mitral_plan *plan, const mitral_value *const *inputs, double *usual, double *other,
                            bool *chosen)
{
    size_t changed = 0;
    TRY(measure(context, plan, inputs, usual));
    swap_kernels(plan, NULL);
    mitral_status status = measure(context, plan, inputs, other);
    swap_kernels(plan, NULL);
    TRY(status);
    for (size_t i = 0; i < plan->step_count; i++)
        changed += chosen[i] = plan->steps[i].alternative && other[i] < gain * usual[i];
    swap_kernels(plan, chosen);
    mitral_log(context, "tune: %zu of %zu steps that have a choice take the other kernel", changed, count_alternatives(plan));
    return MITRAL_OK;
}

mitral_status plan_tune(mitral_context *context, struct mitral_plan *plan)
{
    if (count_alternatives(plan) == 0 || !shapes_are_known(plan)) {
        mitral_log(context, "tune: %s", count_alternatives(plan) ? "float32 inputs of known shape are needed: give --shape" : "no step has a choice");
        return MITRAL_OK;
    }
    mitral_value *values = mitral_allocate(context, (plan->input_count + 1) * sizeof *values);
    const mitral_value **inputs = mitral_allocate(context, (plan->input_count + 1) * sizeof *inputs);
    double *seconds = mitral_allocate(context, 2 * plan->step_count * sizeof *seconds);
    bool *chosen = mitral_allocate(context, plan->step_count);
    mitral_status status = values && inputs && seconds && chosen ? make_inputs(context, plan, values, inputs) : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        status = choose(context, plan, inputs, seconds, seconds + plan->step_count, chosen);
    for (size_t i = 0; values && i < plan->input_count; i++)
        mitral_release(context, values[i].tensor.data);
    mitral_release(context, values);
    mitral_release(context, inputs);
    mitral_release(context, seconds);
    mitral_release(context, chosen);
    return status;
}
