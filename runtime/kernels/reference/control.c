/* If, Loop and SequenceMap: kernels that run sub-plans. */
#include "runtime/kernels/reference/control.h"

#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/registry.h"

mitral_status shape_control(struct kernel_call *call)
{
    (void)call; /* only the sub-plan knows */
    return MITRAL_DEFERRED;
}

size_t capture_count(const struct kernel_call *call)
{
    int64_t captures = attribute_int(call->attributes, "captures", 0);
    return captures < 0 || (uint64_t)captures > call->input_count ? 0 : (size_t)captures;
}

mitral_status find_subplan(const struct kernel_call *call, const char *name, int32_t *index)
{
    *index = attribute_subgraph(call->attributes, name);
    if (*index < 0 || !call->run_subplan)
        return call_fail(call, MITRAL_INVALID, "a subgraph %s expected, found none", name);
    return MITRAL_OK;
}

static mitral_status read_condition(const struct kernel_call *call, const mitral_value *value, bool *out)
{
    if (value->kind != MITRAL_TENSOR || value->tensor.dtype != MITRAL_BOOL || mitral_tensor_count(&value->tensor) != 1) {
        char text[256];
        return call_fail(call, MITRAL_INVALID, "a condition of one bool expected, found %s",
                         tensor_describe(&value->tensor, text, sizeof(text)));
    }
    *out = *(const uint8_t *)value->tensor.data != 0;
    return MITRAL_OK;
}

/* ---- If -------------------------------------------------------------------------------------------------------------- */

static mitral_status run_if(struct kernel_call *call)
{
    bool condition;
    int32_t branch;
    if (!call->input_count || !call->inputs[0])
        return call_fail(call, MITRAL_INVALID, "a condition expected, found none");
    TRY(read_condition(call, call->inputs[0], &condition));
    TRY(find_subplan(call, condition ? "then_branch" : "else_branch", &branch));
    mitral_value *results = arena_allocate(call->arena, (call->output_count + 1) * sizeof(*results));
    if (!results)
        return MITRAL_NO_MEMORY;
    TRY(call->run_subplan(call, branch, call->inputs + 1, call->input_count - 1, results, call->output_count));
    for (size_t i = 0; i < call->output_count; i++)
        if (call->outputs[i])
            *call->outputs[i] = results[i];
    return MITRAL_OK;
}

/* ---- what loops share ------------------------------------------------------------------------------------------------ */

mitral_status iteration_start(struct iteration *it, struct kernel_call *call, size_t inputs, size_t outputs, size_t states)
{
    *it = (struct iteration){.call = call, .run = call->arena, .input_count = inputs, .output_count = outputs, .state_count = states};
    arena_initialise(&it->turns[0], call->context);
    arena_initialise(&it->turns[1], call->context);
    it->turns[0].meter = it->turns[1].meter = call->arena->meter;
    TRY(find_subplan(call, "body", &it->body));
    it->inputs = arena_allocate(call->arena, (inputs + 1) * sizeof(*it->inputs));
    it->outputs = arena_allocate(call->arena, (outputs + 1) * sizeof(*it->outputs));
    it->states = arena_allocate(call->arena, (states + 1) * sizeof(*it->states));
    return it->inputs && it->outputs && it->states ? MITRAL_OK : MITRAL_NO_MEMORY;
}

void iteration_end(struct iteration *it)
{
    arena_clear(&it->turns[0]);
    arena_clear(&it->turns[1]);
}

mitral_status iterate(struct iteration *it, size_t first_state)
{
    struct kernel_call *call = it->call;
    if (it->trips >= call->context->options.max_loop_trips)
        return call_fail(call, MITRAL_LIMIT, "at most %lld trips " LIMIT_LOOP_TRIPS " expected, found one more",
                         (long long)call->context->options.max_loop_trips);
    struct arena *turn = &it->turns[it->trips & 1];
    arena_clear(turn);
    call->arena = turn;
    mitral_status status = call->run_subplan(call, it->body, it->inputs, it->input_count, it->outputs, it->output_count);
    call->arena = it->run;
    TRY(status);
    it->trips++;
    for (size_t i = 0; i < it->state_count; i++)
        it->states[i] = it->outputs[first_state + i];
    return MITRAL_OK;
}

mitral_status keep_tensor(struct iteration *it, mitral_tensor *out, const mitral_value *value)
{
    if (value->kind != MITRAL_TENSOR)
        return call_fail(it->call, MITRAL_INVALID, "tensors expected to be stacked, found another kind of value");
    *out = value->tensor;
    return value->tensor.dtype == MITRAL_STRING ? tensor_copy(out, it->run, &value->tensor) : MITRAL_OK;
}

mitral_status allocate_empty(struct kernel_call *call, size_t index, int64_t axis)
{
    mitral_tensor *output = call_output(call, index);
    if (!output)
        return MITRAL_OK;
    int64_t dims[MITRAL_MAX_RANK] = {0};
    int32_t rank = output->rank < 1 ? 1 : output->rank, dtype = output->dtype ? output->dtype : MITRAL_FLOAT;
    for (int32_t i = 0; i < rank && output->rank >= 1; i++)
        dims[i] = output->dims[i] > 0 ? output->dims[i] : 0;
    dims[axis < 0 ? (axis + rank < 0 ? 0 : axis + rank) : axis < rank ? axis : 0] = 0;
    return call_allocate(call, index, dtype, rank, dims);
}

/* ---- Loop ------------------------------------------------------------------------------------------------------------ */

/* A scan output of a loop that does not know how many trips it will make. */
struct stack {
    mitral_tensor shape; /* of one trip */
    char *data;
    size_t used, capacity;
    int64_t rows;
};

static mitral_status stack_push(struct iteration *it, struct stack *stack, const mitral_value *value)
{
    mitral_tensor tensor;
    mitral_context *context = it->call->context;
    TRY(keep_tensor(it, &tensor, value));
    if (stack->rows == 0) {
        stack->shape = tensor;
    } else if (tensor.dtype != stack->shape.dtype || !tensor_same_shape(&tensor, &stack->shape)) {
        char left[256], right[256];
        return call_fail(it->call, MITRAL_INVALID, "%s from each trip expected, found %s",
                         tensor_describe(&stack->shape, left, sizeof(left)), tensor_describe(&tensor, right, sizeof(right)));
    }
    size_t bytes = tensor_bytes(&tensor), needed;
    if (__builtin_add_overflow(stack->used, bytes, &needed) || needed > (size_t)context->options.max_tensor_bytes)
        return call_fail(it->call, MITRAL_LIMIT, "scan outputs of at most %lld bytes " LIMIT_TENSOR_BYTES " expected, found %zu and %zu more",
                         (long long)context->options.max_tensor_bytes, stack->used, bytes);
    if (needed > stack->capacity) {
        size_t capacity = needed < SIZE_MAX / 2 ? 2 * needed : needed;
        char *grown = mitral_allocate_raw(context, capacity);
        if (!grown)
            return MITRAL_NO_MEMORY;
        if (stack->used)
            memcpy(grown, stack->data, stack->used);
        mitral_release(context, stack->data);
        stack->data = grown;
        stack->capacity = capacity;
    }
    if (bytes)
        memcpy(stack->data + stack->used, tensor.data, bytes);
    stack->used = needed;
    stack->rows++;
    return MITRAL_OK;
}

static mitral_status stack_store(struct kernel_call *call, size_t index, const struct stack *stack)
{
    if (stack->rows == 0)
        return allocate_empty(call, index, 0);
    int64_t dims[MITRAL_MAX_RANK + 1] = {stack->rows};
    memcpy(dims + 1, stack->shape.dims, sizeof(stack->shape.dims));
    TRY(call_allocate(call, index, stack->shape.dtype, stack->shape.rank + 1, dims));
    mitral_tensor *output = call_output(call, index);
    if (output && stack->used)
        memcpy(output->data, stack->data, stack->used);
    return MITRAL_OK;
}

static mitral_status loop_trips(struct iteration *it, struct stack *stacks, size_t captures)
{
    struct kernel_call *call = it->call;
    int64_t limit = INT64_MAX, trip = 0;
    uint8_t condition = 1;
    bool going = true;
    if (call_input(call, 0))
        TRY(read_int(call, 0, &limit));
    if (call->inputs[1])
        TRY(read_condition(call, call->inputs[1], &going));
    mitral_value number = {.tensor = {.dtype = MITRAL_INT64, .data = &trip}};
    mitral_value flag = {.tensor = {.dtype = MITRAL_BOOL, .data = &condition}};
    it->inputs[0] = &number;
    it->inputs[1] = &flag;
    for (size_t i = 0; i < it->state_count; i++) {
        if (!call->inputs[2 + i])
            return call_fail(call, MITRAL_INVALID, "an initial value expected for input %zu, found none", 2 + i);
        it->states[i] = *call->inputs[2 + i];
        it->inputs[2 + i] = &it->states[i];
    }
    for (size_t i = 0; i < captures; i++)
        it->inputs[2 + it->state_count + i] = call->inputs[2 + it->state_count + i];
    for (; going && trip < limit; trip++) {
        condition = 1;
        TRY(iterate(it, 1));
        TRY(read_condition(call, &it->outputs[0], &going));
        for (size_t k = 0; k + it->state_count + 1 < it->output_count; k++)
            if (call->outputs[it->state_count + k])
                TRY(stack_push(it, &stacks[k], &it->outputs[1 + it->state_count + k]));
    }
    for (size_t i = 0; i < it->state_count; i++)
        if (call->outputs[i])
            TRY(value_copy(call->outputs[i], call->arena, &it->states[i]));
    for (size_t k = 0; k + it->state_count < call->output_count; k++)
        TRY(stack_store(call, it->state_count + k, &stacks[k]));
    return MITRAL_OK;
}

static mitral_status run_loop(struct kernel_call *call)
{
    size_t captures = capture_count(call);
    if (call->input_count < 2 + captures || call->output_count < call->input_count - 2 - captures)
        return call_fail(call, MITRAL_INVALID, "an output for each of the %zu carried values expected, found %zu",
                         call->input_count - captures, call->output_count);
    size_t states = call->input_count - 2 - captures, scans = call->output_count - states;
    struct iteration it;
    struct stack *stacks = arena_allocate(call->arena, (scans + 1) * sizeof(*stacks));
    if (!stacks)
        return MITRAL_NO_MEMORY;
    mitral_status status = iteration_start(&it, call, call->input_count, 1 + call->output_count, states);
    if (status == MITRAL_OK)
        status = loop_trips(&it, stacks, captures);
    iteration_end(&it);
    for (size_t k = 0; k < scans; k++)
        mitral_release(call->context, stacks[k].data);
    return status;
}

/* ---- SequenceMap ------------------------------------------------------------------------------------------------------ */

static mitral_status run_sequence_map(struct kernel_call *call)
{
    int32_t body;
    TRY(find_subplan(call, "body", &body));
    size_t captures = capture_count(call), own = call->input_count - captures;
    if (own < 1 || !call->inputs[0] || call->inputs[0]->kind != MITRAL_SEQUENCE)
        return call_fail(call, MITRAL_INVALID, "a sequence expected as the first input");
    int32_t count = call->inputs[0]->count;
    const mitral_value **inputs = arena_allocate(call->arena, (call->input_count + 1) * sizeof(*inputs));
    mitral_value *results = arena_allocate(call->arena, (call->output_count + 1) * sizeof(*results));
    if (!inputs || !results)
        return MITRAL_NO_MEMORY;
    for (size_t j = 0; j < call->output_count; j++) {
        mitral_value *output = call->outputs[j];
        if (!output)
            continue;
        *output = (mitral_value){.kind = MITRAL_SEQUENCE, .count = count, .tensor.dtype = output->tensor.dtype};
        output->items = arena_allocate(call->arena, ((size_t)count + 1) * sizeof(*output->items));
        if (!output->items)
            return MITRAL_NO_MEMORY;
    }
    for (int32_t i = 0; i < count; i++) {
        for (size_t j = 0; j < call->input_count; j++) {
            const mitral_value *value = call->inputs[j];
            bool mapped = j < own && value && value->kind == MITRAL_SEQUENCE;
            if (mapped && value->count != count)
                return call_fail(call, MITRAL_INVALID, "sequences of %d items expected, found %d", (int)count, (int)value->count);
            inputs[j] = mapped ? &value->items[i] : value;
        }
        TRY(call->run_subplan(call, body, inputs, call->input_count, results, call->output_count));
        for (size_t j = 0; j < call->output_count; j++)
            if (call->outputs[j]) {
                call->outputs[j]->items[i] = results[j];
                call->outputs[j]->tensor.dtype = results[j].tensor.dtype;
            }
    }
    return MITRAL_OK;
}

const struct kernel reference_control[] = {
    {.name = "If", .flags = KERNEL_ALLOCATES | KERNEL_EXACT, .shape = shape_control, .run = run_if},
    {.name = "Loop", .flags = KERNEL_ALLOCATES | KERNEL_EXACT, .shape = shape_control, .run = run_loop},
    {.name = "SequenceMap", .flags = KERNEL_ALLOCATES | KERNEL_EXACT, .shape = shape_control, .run = run_sequence_map},
};
const size_t reference_control_count = sizeof(reference_control) / sizeof(reference_control[0]);
