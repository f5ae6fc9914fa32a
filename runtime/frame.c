#include "runtime/session.h"
#include "runtime/clock.h"
#include "runtime/kinds.h"

#include <string.h>

struct variable_memory {
    void *data; /* NULL for values that are no variables */
};

/* What prepare made of a step whose shapes were known only then, and the inputs (without their data) that it was made for. */
struct kept_state {
    void *state;
    size_t scratch_bytes;
    mitral_value *inputs; /* NULL: nothing is kept */
};

static void forget_state(struct frame *frame, const struct step *step, struct kept_state *kept)
{
    if (kept->state && step->kernel->release)
        step->kernel->release(frame->context, kept->state);
    mitral_release(frame->context, kept->inputs);
    *kept = (struct kept_state){0};
}

static void forget_states(struct frame *frame)
{
    for (size_t i = 0; frame->kept && i < frame->plan->step_count; i++)
        forget_state(frame, &frame->plan->steps[i], &frame->kept[i]);
    mitral_release(frame->context, frame->kept);
    frame->kept = NULL;
}

void frame_initialise(struct frame *frame, mitral_context *context, struct mitral_plan *plan, int threads, int depth, struct meter *meter)
{
    *frame = (struct frame){.context = context, .plan = plan, .threads = threads, .depth = depth, .meter = meter};
    arena_initialise(&frame->bound, context);
    arena_initialise(&frame->run, context);
    frame->run.meter = meter;
}

void frame_clear(struct frame *frame)
{
    if (frame->children) {
        for (size_t i = 0; i < frame->plan->step_count; i++) {
            if (!frame->children[i])
                continue;
            for (size_t j = 0; j < frame->plan->steps[i].subplan_count; j++)
                if (frame->children[i][j]) {
                    frame_clear(frame->children[i][j]);
                    mitral_release(frame->context, frame->children[i][j]);
                }
            mitral_release(frame->context, frame->children[i]);
        }
        mitral_release(frame->context, frame->children);
    }
    forget_states(frame);
    if (frame->variables) {
        for (size_t v = 0; v < frame->plan->value_count; v++)
            mitral_release(frame->context, frame->variables[v].data);
        mitral_release(frame->context, frame->variables);
    }
    specialisation_release(frame->specialisation);
    arena_clear(&frame->bound);
    arena_clear(&frame->run);
    meter_give(frame->meter, frame->memory_bytes);
    mitral_release(frame->context, frame->memory);
    mitral_release(frame->context, frame->seconds);
    *frame = (struct frame){0};
}

/* ---- binding ------------------------------------------------------------------------------------------------------- */

static mitral_status create_variables(struct frame *frame)
{
    const struct mitral_plan *plan = frame->plan;
    frame->variables = mitral_allocate(frame->context, (plan->value_count + 1) * sizeof *frame->variables);
    if (!frame->variables)
        return MITRAL_NO_MEMORY;
    for (size_t v = 0; v < plan->value_count; v++) {
        if (plan->values[v].role != ROLE_VARIABLE)
            continue;
        size_t bytes = tensor_bytes(&plan->values[v].constant);
        frame->variables[v].data = mitral_allocate_raw(frame->context, bytes);
        if (!frame->variables[v].data)
            return MITRAL_NO_MEMORY;
        if (bytes)
            memcpy(frame->variables[v].data, plan->values[v].constant.data, bytes);
    }
    return MITRAL_OK;
}

static mitral_status run_subplan(struct kernel_call *call, int32_t index, const mitral_value *const *inputs,
                                 size_t input_count, mitral_value *outputs, size_t output_count);

static mitral_status bind_calls(struct frame *frame)
{
    const struct mitral_plan *plan = frame->plan;
    frame->calls = arena_allocate(&frame->bound, (plan->step_count + 1) * sizeof *frame->calls);
    if (!frame->calls)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < plan->step_count; i++) {
        const struct step *step = &plan->steps[i];
        const mitral_value **inputs = arena_allocate(&frame->bound, (step->input_count + 1) * sizeof *inputs);
        mitral_value **outputs = arena_allocate(&frame->bound, (step->output_count + 1) * sizeof *outputs);
        if (!inputs || !outputs)
            return MITRAL_NO_MEMORY;
        for (size_t j = 0; j < step->input_count; j++)
            inputs[j] = step->inputs[j] == NO_ID ? NULL : &frame->values[step->inputs[j]];
        for (size_t j = 0; j < step->output_count; j++)
            outputs[j] = step->outputs[j] == NO_ID ? NULL : &frame->values[step->outputs[j]];
        const struct step_state *state = &frame->specialisation->steps[i];
        frame->calls[i] = (struct kernel_call){
            .context = frame->context, .kernel = step->kernel, .name = step->name, .attributes = &step->attributes, .opset = step->opset,
            .threads = frame->threads, .input_count = step->input_count, .inputs = inputs,
            .output_count = step->output_count, .outputs = outputs, .state = state->state,
            .scratch = state->scratch_bytes ? frame->memory + state->scratch_offset : NULL, .arena = &frame->run,
            .run_subplan = run_subplan, .executor = frame};
    }
    return MITRAL_OK;
}

static mitral_status bind(struct frame *frame, struct specialisation *s)
{
    const struct mitral_plan *plan = frame->plan;
    forget_states(frame);
    specialisation_release(frame->specialisation);
    frame->specialisation = s;
    frame->values = NULL;
    arena_clear(&frame->bound);
    if (frame->memory_bytes < s->arena_bytes) {
        mitral_release(frame->context, frame->memory);
        meter_give(frame->meter, frame->memory_bytes);
        frame->memory_bytes = 0;
        frame->memory = NULL;
        if (!meter_take(frame->meter, frame->context, s->arena_bytes))
            return MITRAL_LIMIT;
        frame->memory = mitral_allocate_raw(frame->context, s->arena_bytes);
        if (!frame->memory) {
            meter_give(frame->meter, s->arena_bytes);
            return MITRAL_NO_MEMORY;
        }
        frame->memory_bytes = s->arena_bytes;
    }
    if (!frame->variables)
        TRY(create_variables(frame));
    mitral_value *values = arena_allocate(&frame->bound, (plan->value_count + 1) * sizeof *values);
    if (!values)
        return MITRAL_NO_MEMORY;
    for (size_t v = 0; v < plan->value_count; v++) {
        values[v] = s->values[v];
        if (s->offsets[v] != SIZE_MAX && frame->memory) /* NULL: all buffers are empty */
            values[v].tensor.data = frame->memory + s->offsets[v];
        if (plan->values[v].role == ROLE_VARIABLE)
            values[v].tensor.data = frame->variables[v].data;
        else if (plan->values[v].variable != NO_ID)
            values[v].tensor.data = frame->variables[plan->values[v].variable].data;
    }
    frame->values = values;
    return bind_calls(frame);
}

/* ---- running ------------------------------------------------------------------------------------------------------- */

static mitral_status run_subplan(struct kernel_call *call, int32_t index, const mitral_value *const *inputs,
                                 size_t input_count, mitral_value *outputs, size_t output_count)
{
    struct frame *frame = call->executor;
    size_t step = (size_t)(call - frame->calls);
    if (index < 0 || (size_t)index >= frame->plan->steps[step].subplan_count)
        return call_fail(call, MITRAL_INVALID, "expected a subgraph, found none");
    struct mitral_plan *plan = frame->plan->steps[step].subplans[index];
    if (input_count != plan->input_count || output_count > plan->output_count)
        return call_fail(call, MITRAL_INVALID, "expected a subgraph of %zu inputs and %zu outputs, found %zu and %zu", input_count,
                         output_count, plan->input_count, plan->output_count);
    if (frame->depth >= frame->context->options.max_subgraph_depth)
        return call_fail(call, MITRAL_LIMIT, "expected subgraphs nested at most %d deep " LIMIT_SUBGRAPH_DEPTH ", found one of depth %d",
                         frame->context->options.max_subgraph_depth, frame->depth + 1);
    if (!frame->children
        && !(frame->children = mitral_allocate(frame->context, (frame->plan->step_count + 1) * sizeof *frame->children)))
        return MITRAL_NO_MEMORY;
    if (!frame->children[step]
        && !(frame->children[step] = mitral_allocate(frame->context, frame->plan->steps[step].subplan_count * sizeof **frame->children)))
        return MITRAL_NO_MEMORY;
    struct frame **child = &frame->children[step][index];
    if (!*child) {
        if (!(*child = mitral_allocate(frame->context, sizeof **child)))
            return MITRAL_NO_MEMORY;
        frame_initialise(*child, frame->context, plan, frame->threads, frame->depth + 1, frame->meter);
    }
    TRY(frame_run(*child, inputs));
    for (size_t i = 0; i < output_count; i++)
        TRY(value_copy(&outputs[i], call->arena, &(*child)->values[plan->outputs[i]]));
    return MITRAL_OK;
}

static void forget_outputs(const struct step *step, struct frame *frame)
{
    for (size_t j = 0; j < step->output_count; j++)
        if (step->outputs[j] != NO_ID) {
            mitral_value *value = &frame->values[step->outputs[j]];
            const struct plan_value *declared = &frame->plan->values[step->outputs[j]];
            *value = (mitral_value){.kind = declared->kind}; /* the declared shape is what a loop without trips falls back on */
            value->tensor = (mitral_tensor){.dtype = declared->dtype, .rank = declared->rank, .layout = declared->layout};
            memcpy(value->tensor.dims, declared->dims, sizeof declared->dims);
        }
}

/* The input as prepare may see it: of what is computed the shape alone. */
static mitral_value shape_of_input(const struct frame *frame, const struct step *step, size_t index)
{
    const uint32_t id = step->inputs[index];
    mitral_value value = id == NO_ID ? (mitral_value){.kind = MITRAL_OPTIONAL} : frame->values[id];
    if (id != NO_ID && value.kind == MITRAL_TENSOR && frame->plan->values[id].role != ROLE_CONSTANT)
        value.tensor.data = NULL;
    return value;
}

static bool same_input(const mitral_value *a, const mitral_value *b)
{
    return a->kind == b->kind && (a->kind != MITRAL_TENSOR
                                  || (a->tensor.data == b->tensor.data && a->tensor.layout == b->tensor.layout
                                      && tensor_same_shape(&a->tensor, &b->tensor) && a->tensor.dtype == b->tensor.dtype));
}

static mitral_status prepare_kept(struct frame *frame, const struct step *step, const struct kernel_call *call, struct kept_state *kept)
{
    bool fits = kept->inputs != NULL;
    for (size_t i = 0; i < step->input_count && fits; i++) {
        const mitral_value input = shape_of_input(frame, step, i);
        fits = same_input(&kept->inputs[i], &input);
    }
    if (fits)
        return MITRAL_OK;
    forget_state(frame, step, kept);
    mitral_value *inputs = mitral_allocate(frame->context, (step->input_count + 1) * sizeof *inputs);
    const mitral_value **pointers = arena_allocate(&frame->run, (step->input_count + 1) * sizeof *pointers);
    kept->inputs = inputs;
    if (!inputs || !pointers)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < step->input_count; i++) {
        inputs[i] = shape_of_input(frame, step, i);
        pointers[i] = call->inputs[i] ? &inputs[i] : NULL;
    }
    struct kernel_call shapes = *call;
    shapes.inputs = pointers;
    mitral_status status = step->kernel->prepare(&shapes, &kept->state, &kept->scratch_bytes);
    if (status != MITRAL_OK)
        forget_state(frame, step, kept);
    return status;
}

/* Into call->state and *scratch_bytes; *kept: the state stays with the frame. */
static mitral_status prepare_deferred(struct frame *frame, const struct step *step, struct kernel_call *call, size_t *scratch_bytes,
                                      bool *kept)
{
    call->state = NULL;
    *kept = step->kernel->prepare && step->kernel->flags & KERNEL_PREPARES_BY_SHAPE;
    if (!step->kernel->prepare)
        return MITRAL_OK;
    if (!*kept)
        return step->kernel->prepare(call, &call->state, scratch_bytes);
    if (!frame->kept && !(frame->kept = mitral_allocate(frame->context, (frame->plan->step_count + 1) * sizeof *frame->kept)))
        return MITRAL_NO_MEMORY;
    struct kept_state *state = &frame->kept[step - frame->plan->steps];
    TRY(prepare_kept(frame, step, call, state));
    call->state = state->state;
    *scratch_bytes = state->scratch_bytes;
    return MITRAL_OK;
}

/* A step whose shapes are known only now. */
static mitral_status run_deferred(struct frame *frame, const struct step *step, struct kernel_call *call)
{
    forget_outputs(step, frame);
    if (!(step->kernel->flags & KERNEL_ALLOCATES)) {
        mitral_status status = step->kernel->shape(call);
        if (status == MITRAL_DEFERRED)
            return call_fail(call, MITRAL_INVALID, "expected inputs whose values decide the shape, found none");
        TRY(status);
        for (size_t j = 0; j < step->output_count; j++) {
            if (step->outputs[j] == NO_ID)
                continue;
            mitral_tensor *tensor = &frame->values[step->outputs[j]].tensor;
            TRY(tensor_check_size(frame->context, tensor));
            size_t bytes = tensor_bytes(tensor);
            tensor->data = arena_allocate(&frame->run, bytes ? bytes : 1);
            if (!tensor->data)
                return MITRAL_NO_MEMORY;
        }
    }
    size_t scratch = 0;
    bool kept;
    mitral_status status = prepare_deferred(frame, step, call, &scratch, &kept);
    call->scratch = NULL;
    if (status == MITRAL_OK && scratch && !(call->scratch = arena_allocate(&frame->run, scratch)))
        status = MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        status = step->kernel->run(call);
    if (call->state && !kept && step->kernel->release)
        step->kernel->release(frame->context, call->state);
    call->state = NULL;
    return status;
}

mitral_status frame_prepare(struct frame *frame, const mitral_value *const *inputs)
{
    struct specialisation *s = NULL;
    TRY(specialise(&s, frame->context, frame->plan, inputs, frame->threads));
    if (s != frame->specialisation || !frame->values)
        return bind(frame, s);
    specialisation_release(s); /* held once already */
    return MITRAL_OK;
}

mitral_status frame_run(struct frame *frame, const mitral_value *const *inputs)
{
    struct mitral_plan *plan = frame->plan;
    arena_clear(&frame->run);
    TRY(frame_prepare(frame, inputs));
    const struct specialisation *s = frame->specialisation;
    for (size_t i = 0; i < plan->input_count; i++)
        if (inputs[i])
            frame->values[plan->inputs[i]] = *inputs[i];
        else
            frame->values[plan->inputs[i]] = (mitral_value){.kind = plan->values[plan->inputs[i]].kind};
    double before = frame->seconds ? clock_seconds() : 0;
    for (size_t i = 0; i < plan->step_count; i++) {
        const struct step_state *state = &s->steps[i];
        if (state->known)
            continue;
        if (mitral_cancelled(frame->context))
            return mitral_fail(frame->context, MITRAL_CANCELLED, "cancelled before step '%s'", plan->steps[i].name);
        if (state->deferred) {
            TRY(run_deferred(frame, &plan->steps[i], &frame->calls[i]));
            TRY(kinds_check_results(frame->context, plan, &plan->steps[i], frame->values));
        } else {
            TRY(plan->steps[i].kernel->run(&frame->calls[i]));
        }
        if (frame->seconds) {
            double after = clock_seconds();
            frame->seconds[i] = after - before;
            before = after;
        }
    }
    return MITRAL_OK;
}
