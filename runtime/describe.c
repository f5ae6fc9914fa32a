/* What a plan holds, as text and as JSON; and what a session's steps are. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mitral/tools.h"
#include "runtime/session.h"
#include "runtime/text.h"

void mitral_text_destroy(mitral_context *context, char **text)
{
    if (text && *text) {
        mitral_release(context, *text);
        *text = NULL;
    }
}

static void shape_text(const struct plan_value *value, char *out, size_t size)
{
    const char *dtype = mitral_dtype_name((mitral_dtype)value->dtype);
    static const char *const kinds[] = {"tensor", "sequence", "optional", "map"};
    if (value->kind != MITRAL_TENSOR) {
        snprintf(out, size, "%s", kinds[value->kind & 3]);
        return;
    }
    int used = snprintf(out, size, "%s[", dtype ? dtype : "?");
    if (value->rank < 0)
        used += snprintf(out + used, size - (size_t)used, "...");
    for (int32_t d = 0; d < value->rank && (size_t)used < size; d++)
        if (value->dims[d] >= 0)
            used += snprintf(out + used, size - (size_t)used, "%s%lld", d ? "," : "", (long long)value->dims[d]);
        else
            used += snprintf(out + used, size - (size_t)used, "%s%.40s", d ? "," : "", value->symbols[d] ? value->symbols[d] : "?");
    if ((size_t)used < size)
        snprintf(out + used, size - (size_t)used, "]");
}

struct summary {
    size_t constant_bytes, constants;
    const struct specialisation *specialisation; /* NULL: shapes are not fixed */
};

/* Binds static shapes, to tell the arena's size. Failure to do so is no failure to describe. */
static void summarise(mitral_context *context, mitral_plan *plan, int threads, struct summary *summary, mitral_session **session)
{
    *summary = (struct summary){0};
    for (size_t v = 0; v < plan->value_count; v++)
        if (plan->values[v].role == ROLE_CONSTANT) {
            const mitral_tensor *constant = &plan->values[v].constant;
            summary->constant_bytes += constant->packing ? constant->packing->bytes : tensor_bytes(constant);
            summary->constants++;
        }
    mitral_value *values = mitral_allocate(context, (plan->input_count + 1) * sizeof *values);
    const mitral_value **inputs = mitral_allocate(context, (plan->input_count + 1) * sizeof *inputs);
    bool fixed = values && inputs;
    for (size_t i = 0; i < plan->input_count && fixed; i++) {
        const struct plan_value *value = &plan->values[plan->inputs[i]];
        fixed = value->kind == MITRAL_TENSOR && value->rank >= 0 && value->dtype != MITRAL_UNDEFINED;
        for (int32_t d = 0; d < value->rank && fixed; d++)
            fixed = value->dims[d] >= 0;
        if (fixed)
            tensor_set(&values[i].tensor, value->dtype, value->rank, value->dims);
        inputs[i] = &values[i];
    }
    if (fixed && mitral_session_create(session, context, plan, &(mitral_session_options){.threads = threads > 0 ? threads : plan->threads}) == MITRAL_OK
        && mitral_session_prepare(*session, inputs, plan->input_count) == MITRAL_OK)
        summary->specialisation = session_specialisation(*session);
    mitral_release(context, values);
    mitral_release(context, inputs);
}

static const char *implementation_of(const struct step *step, const struct step_state *state)
{
    const char *text = state && state->state && step->kernel->describe ? step->kernel->describe(state->state) : NULL;
    return text ? text : "";
}

static void describe_text(struct text *text, const mitral_plan *plan, const struct summary *summary)
{
    char shape[512];
    text_put(text, "plan for %s (%s), %d threads: %zu steps, %zu constants of %.2f MB\n", plan->isa ? plan->isa : "?",
             plan->cpu ? plan->cpu : "?", plan->threads, plan->step_count, summary->constants, (double)summary->constant_bytes / 1e6);
    for (size_t i = 0; i < plan->input_count; i++) {
        shape_text(&plan->values[plan->inputs[i]], shape, sizeof shape);
        text_put(text, "input   %s %s\n", plan->values[plan->inputs[i]].name, shape);
    }
    for (size_t i = 0; i < plan->output_count; i++) {
        shape_text(&plan->values[plan->outputs[i]], shape, sizeof shape);
        text_put(text, "output  %s %s\n", plan->values[plan->outputs[i]].name, shape);
    }
    for (size_t i = 0; i < plan->metadata_count; i++)
        text_put(text, "metadata %s = %s\n", plan->metadata[i].key, plan->metadata[i].value);
    const struct specialisation *s = summary->specialisation;
    if (s)
        text_put(text, "arena   %.2f MB, lower bound %.2f MB\n", (double)s->arena_bytes / 1e6, (double)s->live_bound / 1e6);
    for (size_t i = 0; i < plan->step_count; i++) {
        const struct step *step = &plan->steps[i];
        text_put(text, "%4zu %-28s %s%s%s", i, step->kernel->name, step->name,
                 s && s->steps[i].known ? "  (known ahead)" : s && s->steps[i].deferred ? "  (shapes known when run)" : "", "");
        for (size_t j = 0; j < step->output_count; j++)
            if (step->outputs[j] != NO_ID) {
                shape_text(&plan->values[step->outputs[j]], shape, sizeof shape);
                text_put(text, "  %s%s", shape, plan->values[step->outputs[j]].layout == LAYOUT_CHANNELS_LAST ? " channels_last" : "");
            }
        const char *implementation = implementation_of(step, s ? &s->steps[i] : NULL);
        text_put(text, "%s%s%s\n", *implementation ? "  [" : "", implementation, *implementation ? "]" : "");
    }
}

static cJSON *describe_values(const mitral_plan *plan, const uint32_t *ids, size_t count)
{
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++) {
        const struct plan_value *value = &plan->values[ids[i]];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", value->name);
        const char *dtype = mitral_dtype_name((mitral_dtype)value->dtype);
        cJSON_AddStringToObject(item, "dtype", dtype ? dtype : "unknown");
        cJSON *dims = cJSON_AddArrayToObject(item, "dims");
        for (int32_t d = 0; d < value->rank; d++)
            cJSON_AddItemToArray(dims, value->dims[d] >= 0 ? cJSON_CreateNumber((double)value->dims[d])
                                                           : cJSON_CreateString(value->symbols[d] ? value->symbols[d] : "?"));
        cJSON_AddItemToArray(array, item);
    }
    return array;
}

static mitral_status describe_json(struct text *text, const mitral_plan *plan, const struct summary *summary)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "kind", "plan");
    cJSON_AddStringToObject(root, "isa", plan->isa ? plan->isa : "");
    cJSON_AddStringToObject(root, "cpu", plan->cpu ? plan->cpu : "");
    cJSON_AddNumberToObject(root, "threads", plan->threads);
    cJSON_AddItemToObject(root, "inputs", describe_values(plan, plan->inputs, plan->input_count));
    cJSON_AddItemToObject(root, "outputs", describe_values(plan, plan->outputs, plan->output_count));
    cJSON *metadata = cJSON_AddObjectToObject(root, "metadata");
    for (size_t i = 0; i < plan->metadata_count; i++)
        cJSON_AddStringToObject(metadata, plan->metadata[i].key, plan->metadata[i].value);
    cJSON_AddNumberToObject(root, "constants", (double)summary->constants);
    cJSON_AddNumberToObject(root, "constant_bytes", (double)summary->constant_bytes);
    const struct specialisation *s = summary->specialisation;
    if (s) {
        cJSON_AddNumberToObject(root, "arena_bytes", (double)s->arena_bytes);
        cJSON_AddNumberToObject(root, "arena_lower_bound", (double)s->live_bound);
    }
    cJSON *steps = cJSON_AddArrayToObject(root, "steps");
    for (size_t i = 0; i < plan->step_count; i++) {
        const struct step *step = &plan->steps[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "node", step->name);
        cJSON_AddStringToObject(item, "kernel", step->kernel->name);
        const char *implementation = implementation_of(step, s ? &s->steps[i] : NULL);
        if (*implementation)
            cJSON_AddStringToObject(item, "implementation", implementation);
        if (s)
            cJSON_AddStringToObject(item, "when", s->steps[i].known ? "known ahead" : s->steps[i].deferred ? "deferred" : "prepared");
        cJSON_AddItemToArray(steps, item);
    }
    char *printed = cJSON_PrintUnformatted(root);
    if (printed)
        text_put(text, "%s", printed);
    free(printed);
    cJSON_Delete(root);
    return printed ? MITRAL_OK : MITRAL_NO_MEMORY;
}

mitral_status mitral_plan_describe(char **out, mitral_context *context, mitral_plan *plan, int threads, bool json)
{
    *out = NULL;
    struct summary summary;
    mitral_session *session = NULL;
    struct text text = {.context = context};
    summarise(context, plan, threads, &summary, &session);
    mitral_status status = MITRAL_OK;
    if (json)
        status = describe_json(&text, plan, &summary);
    else
        describe_text(&text, plan, &summary);
    mitral_session_destroy(&session);
    mitral_status finished = text_finish(&text, out);
    return status != MITRAL_OK ? status : finished;
}

/* ---- a session's steps --------------------------------------------------------------------------------------------- */

mitral_status mitral_session_prepare(mitral_session *session, const mitral_value *const *inputs, size_t input_count)
{
    if (input_count != session->frame.plan->input_count)
        return mitral_fail(session->context, MITRAL_INVALID, "expected %zu inputs, found %zu", session->frame.plan->input_count, input_count);
    return session_prepare(session, inputs);
}

mitral_status mitral_session_profile(mitral_session *session, bool on)
{
    mitral_release(session->context, session->frame.seconds);
    session->frame.seconds = NULL;
    if (on) {
        session->frame.seconds = mitral_allocate(session->context, (session->frame.plan->step_count + 1) * sizeof(double));
        if (!session->frame.seconds)
            return MITRAL_NO_MEMORY;
    }
    return MITRAL_OK;
}

const double *mitral_session_step_seconds(const mitral_session *session, size_t *count)
{
    *count = session->frame.plan->step_count;
    return session->frame.seconds;
}

mitral_step_info mitral_session_step(const mitral_session *session, size_t index)
{
    const struct frame *frame = &session->frame;
    if (index >= frame->plan->step_count || !frame->calls)
        return (mitral_step_info){.name = "", .kernel = "", .implementation = ""};
    const struct step *step = &frame->plan->steps[index];
    const struct kernel_call *call = &frame->calls[index];
    mitral_step_info info = {.name = step->name, .kernel = step->kernel->name,
                             .implementation = implementation_of(step, &frame->specialisation->steps[index])};
    if (step->kernel->flops && !frame->specialisation->steps[index].deferred)
        info.flops = step->kernel->flops(call);
    for (size_t j = 0; j < call->input_count; j++)
        if (call->inputs[j] && call->inputs[j]->kind == MITRAL_TENSOR)
            info.bytes += (double)tensor_bytes(&call->inputs[j]->tensor);
    for (size_t j = 0; j < call->output_count; j++)
        if (call->outputs[j] && call->outputs[j]->kind == MITRAL_TENSOR)
            info.bytes += (double)tensor_bytes(&call->outputs[j]->tensor);
    return info;
}
