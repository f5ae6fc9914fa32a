/* If, Loop, Scan and SequenceMap: kernels that run sub-plans. A sub-plan's inputs end with what it captures from outside, in the
 * order of the last `captures` inputs of the step. */
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/registry.h"

static mitral_status shape_control(struct kernel_call *call)
{
    (void)call; /* only the sub-plan knows */
    return MITRAL_DEFERRED;
}

static size_t capture_count(const struct kernel_call *call)
{
    int64_t captures = attribute_int(call->attributes, "captures", 0);
    return captures < 0 || (uint64_t)captures > call->input_count ? 0 : (size_t)captures;
}

static mitral_status find_subplan(const struct kernel_call *call, const char *name, int32_t *index)
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

/* A body run again and again. What a trip returns lives in one of two arenas in turn, so that memory does not grow with the
 * number of trips; what is to stay is copied into the run's arena. */
struct iteration {
    struct kernel_call *call;
    int32_t body;
    struct arena *run;
    struct arena turns[2];
    int64_t trips;
    const mitral_value **inputs;
    size_t input_count;
    mitral_value *outputs;
    size_t output_count;
    mitral_value *states;
    size_t state_count;
};

static mitral_status iteration_start(struct iteration *it, struct kernel_call *call, size_t inputs, size_t outputs, size_t states)
{
    *it = (struct iteration){.call = call, .run = call->arena, .input_count = inputs, .output_count = outputs, .state_count = states};
    arena_initialise(&it->turns[0], call->context);
    arena_initialise(&it->turns[1], call->context);
    TRY(find_subplan(call, "body", &it->body));
    it->inputs = arena_allocate(call->arena, (inputs + 1) * sizeof(*it->inputs));
    it->outputs = arena_allocate(call->arena, (outputs + 1) * sizeof(*it->outputs));
    it->states = arena_allocate(call->arena, (states + 1) * sizeof(*it->states));
    return it->inputs && it->outputs && it->states ? MITRAL_OK : MITRAL_NO_MEMORY;
}

static void iteration_end(struct iteration *it)
{
    arena_clear(&it->turns[0]);
    arena_clear(&it->turns[1]);
}

/* One trip; the body's outputs from `first_state` on become the states. */
static mitral_status iterate(struct iteration *it, size_t first_state)
{
    struct kernel_call *call = it->call;
    if (it->trips >= call->context->options.max_loop_trips)
        return call_fail(call, MITRAL_LIMIT, "at most %lld trips expected", (long long)call->context->options.max_loop_trips);
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

/* Elements that will outlive the trip. */
static mitral_status keep_tensor(struct iteration *it, mitral_tensor *out, const mitral_value *value)
{
    if (value->kind != MITRAL_TENSOR)
        return call_fail(it->call, MITRAL_INVALID, "tensors expected to be stacked, found another kind of value");
    *out = value->tensor;
    return value->tensor.dtype == MITRAL_STRING ? tensor_copy(out, it->run, &value->tensor) : MITRAL_OK;
}

/* The type declared for output `index`, for loops that make no trip. */
static mitral_status allocate_empty(struct kernel_call *call, size_t index, int64_t axis)
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
        return call_fail(it->call, MITRAL_LIMIT, "scan outputs of at most %lld bytes expected",
                         (long long)context->options.max_tensor_bytes);
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

/* ---- Scan ------------------------------------------------------------------------------------------------------------ */

/* One scanned input or output: which axis, and from which end. */
struct scanned {
    int64_t axis;
    bool backward;
};

static int64_t list_entry(const struct kernel_call *call, const char *name, size_t index)
{
    size_t count;
    const int64_t *list = attribute_ints(call->attributes, name, &count);
    return index < count ? list[index] : 0;
}

/* Slice `at` along `axis` of a tensor, or of sample `batch` of it where batch ≥ 0 (then axis does not count the batch). */
static mitral_status take_slice(struct iteration *it, mitral_value *out, const mitral_tensor *whole, int64_t batch, int64_t axis,
                                int64_t at)
{
    mitral_tensor part = *whole;
    size_t element = element_size(whole);
    if (batch >= 0) {
        part.rank--;
        memmove(part.dims, whole->dims + 1, (size_t)part.rank * sizeof(*part.dims));
        part.data = (char *)part.data + (size_t)batch * tensor_bytes(&part);
    }
    int64_t size = part.dims[axis], outer = dims_product(part.dims, 0, (int32_t)axis);
    int64_t inner = dims_product(part.dims, (int32_t)axis + 1, part.rank);
    part.rank--;
    memmove(part.dims + axis, part.dims + axis + 1, (size_t)(part.rank - axis) * sizeof(*part.dims));
    const char *source = (const char *)part.data + (size_t)(at * inner) * element;
    part.data = (void *)source;
    if (outer != 1) {
        size_t bytes = (size_t)(outer * inner) * element;
        part.data = arena_allocate(it->run, bytes ? bytes : 1);
        if (!part.data)
            return MITRAL_NO_MEMORY;
        copy_strided(part.data, source, element, 2, (int64_t[]){outer, inner}, (int64_t[]){inner, 1},
                     (int64_t[]){size * inner, 1}, 1);
    }
    *out = (mitral_value){.kind = MITRAL_TENSOR, .tensor = part};
    return MITRAL_OK;
}

/* Puts one trip's value at place `at` of `length` in output `index`, which is allocated when the first one comes. */
static mitral_status put_slice(struct iteration *it, size_t index, const mitral_value *value, struct scanned scanned,
                               int64_t batch, int64_t batches, int64_t at, int64_t length)
{
    struct kernel_call *call = it->call;
    mitral_tensor *output = call_output(call, index), tensor;
    if (!output)
        return MITRAL_OK;
    TRY(keep_tensor(it, &tensor, value));
    int64_t axis, dims[MITRAL_MAX_RANK + 2];
    int32_t rank = tensor.rank + 1, lead = batch >= 0;
    TRY(call_axis(call, scanned.axis, rank, &axis));
    if (rank + lead > MITRAL_MAX_RANK)
        return call_fail(call, MITRAL_LIMIT, "outputs of rank at most %d expected", MITRAL_MAX_RANK);
    dims[0] = batches;
    for (int32_t i = 0, from = 0; i < rank; i++)
        dims[i + lead] = i == axis ? length : tensor.dims[from++];
    mitral_tensor wanted;
    tensor_set(&wanted, tensor.dtype, rank + lead, dims);
    if (!output->data)
        TRY(call_allocate(call, index, tensor.dtype, rank + lead, dims));
    if (output->dtype != tensor.dtype || !tensor_same_shape(output, &wanted)) {
        char left[256], right[256];
        return call_fail(call, MITRAL_INVALID, "values of one shape from all trips expected (%s), found %s",
                         tensor_describe(output, left, sizeof(left)), tensor_describe(&tensor, right, sizeof(right)));
    }
    size_t element = element_size(&tensor);
    int64_t outer = dims_product(tensor.dims, 0, (int32_t)axis), inner = dims_product(tensor.dims, (int32_t)axis, tensor.rank);
    int64_t base = lead ? batch * outer * length * inner : 0;
    copy_strided((char *)output->data + (size_t)(base + at * inner) * element, tensor.data, element, 2,
                 (int64_t[]){outer, inner}, (int64_t[]){length * inner, 1}, (int64_t[]){inner, 1}, 1);
    return MITRAL_OK;
}

struct scan {
    size_t first;        /* index of the first state among the step's inputs */
    size_t scan_inputs;
    int64_t batch, batches; /* batch -1: none (version 9 on) */
    int64_t length;      /* trips */
    int64_t longest;     /* size of the scanned axis of the outputs */
    struct scanned *inputs, *outputs;
};

static mitral_status scan_trips(struct iteration *it, const struct scan *scan, mitral_value *slices)
{
    struct kernel_call *call = it->call;
    struct arena slice_arena, *run = it->run; /* slices that are copies live for one trip */
    arena_initialise(&slice_arena, call->context);
    mitral_status status = MITRAL_OK;
    for (int64_t t = 0; t < scan->length && status == MITRAL_OK; t++) {
        arena_clear(&slice_arena);
        for (size_t m = 0; m < scan->scan_inputs && status == MITRAL_OK; m++) {
            int64_t at = scan->inputs[m].backward ? scan->length - 1 - t : t;
            it->run = &slice_arena;
            status = take_slice(it, &slices[m], &call->inputs[scan->first + it->state_count + m]->tensor, scan->batch,
                                scan->inputs[m].axis, at);
            it->run = run;
            it->inputs[it->state_count + m] = &slices[m];
        }
        if (status == MITRAL_OK)
            status = iterate(it, 0);
        for (size_t k = it->state_count; k < it->output_count && status == MITRAL_OK; k++) {
            struct scanned scanned = scan->outputs[k - it->state_count];
            int64_t at = scanned.backward ? scan->length - 1 - t : t;
            status = put_slice(it, k, &it->outputs[k], scanned, scan->batch, scan->batches, at, scan->longest);
        }
    }
    arena_clear(&slice_arena);
    return status;
}

/* The scanned inputs agree on their length. */
static mitral_status scan_length(const struct kernel_call *call, struct scan *scan, size_t states)
{
    scan->longest = -1;
    for (size_t m = 0; m < scan->scan_inputs; m++) {
        const mitral_value *value = call->inputs[scan->first + states + m];
        int32_t lead = scan->batch >= 0;
        if (!value || value->kind != MITRAL_TENSOR || value->tensor.rank < 1 + lead)
            return call_fail(call, MITRAL_INVALID, "scanned input %zu: a tensor of rank at least %d expected", m, 1 + (int)lead);
        TRY(call_axis(call, scan->inputs[m].axis, value->tensor.rank - lead, &scan->inputs[m].axis));
        int64_t length = value->tensor.dims[scan->inputs[m].axis + lead];
        if (scan->longest >= 0 && length != scan->longest)
            return call_fail(call, MITRAL_INVALID, "scanned inputs of one length expected, found %lld and %lld",
                             (long long)scan->longest, (long long)length);
        scan->longest = length;
        if (lead && value->tensor.dims[0] != scan->batches)
            return call_fail(call, MITRAL_INVALID, "scanned inputs of batch %lld expected, found %lld", (long long)scan->batches,
                             (long long)value->tensor.dims[0]);
    }
    scan->length = scan->longest;
    return MITRAL_OK;
}

static mitral_status finish_scan_outputs(struct iteration *it, const struct scan *scan)
{
    for (size_t k = it->state_count; k < it->output_count; k++) {
        mitral_tensor *output = call_output(it->call, k);
        if (output && !output->data) /* no trip was made */
            TRY(allocate_empty(it->call, k, scan->outputs[k - it->state_count].axis));
    }
    return MITRAL_OK;
}

static mitral_status scan_plain(struct iteration *it, struct scan *scan, mitral_value *slices)
{
    struct kernel_call *call = it->call;
    TRY(scan_length(call, scan, it->state_count));
    for (size_t i = 0; i < it->state_count; i++) {
        if (!call->inputs[i])
            return call_fail(call, MITRAL_INVALID, "an initial state expected for input %zu, found none", i);
        it->states[i] = *call->inputs[i];
        it->inputs[i] = &it->states[i];
    }
    TRY(scan_trips(it, scan, slices));
    for (size_t i = 0; i < it->state_count; i++)
        if (call->outputs[i])
            TRY(value_copy(call->outputs[i], call->arena, &it->states[i]));
    return finish_scan_outputs(it, scan);
}

/* Version 8: every state and scanned tensor has a batch dimension, sample by sample with its own length. */
static mitral_status scan_batch(struct iteration *it, struct scan *scan, mitral_value *slices)
{
    struct kernel_call *call = it->call;
    const mitral_tensor *lengths = call_input(call, 0);
    const mitral_value *example = call->inputs[1];
    if (!example || example->kind != MITRAL_TENSOR || example->tensor.rank < 1)
        return call_fail(call, MITRAL_INVALID, "tensors with a batch dimension expected");
    scan->batches = example->tensor.dims[0];
    scan->batch = 0;
    TRY(scan_length(call, scan, it->state_count));
    if (lengths && (lengths->rank != 1 || lengths->dims[0] != scan->batches || lengths->dtype != MITRAL_INT64))
        return call_fail(call, MITRAL_INVALID, "%lld sequence lengths of int64 expected", (long long)scan->batches);
    for (scan->batch = 0; scan->batch < scan->batches; scan->batch++) {
        scan->length = lengths ? ((const int64_t *)lengths->data)[scan->batch] : scan->longest;
        if (scan->length < 0 || scan->length > scan->longest)
            return call_fail(call, MITRAL_INVALID, "sequence lengths in [0, %lld] expected, found %lld", (long long)scan->longest,
                             (long long)scan->length);
        for (size_t i = 0; i < it->state_count; i++) {
            const mitral_value *initial = call->inputs[1 + i];
            if (!initial || initial->kind != MITRAL_TENSOR || initial->tensor.rank < 1 || initial->tensor.dims[0] != scan->batches)
                return call_fail(call, MITRAL_INVALID, "initial state %zu with batch %lld expected", i, (long long)scan->batches);
            TRY(take_slice(it, &it->states[i], &initial->tensor, -1, 0, scan->batch));
            it->inputs[i] = &it->states[i];
        }
        TRY(scan_trips(it, scan, slices));
        for (size_t i = 0; i < it->state_count; i++) /* stacked along the batch */
            TRY(put_slice(it, i, &it->states[i], (struct scanned){0, false}, -1, 0, scan->batch, scan->batches));
    }
    return finish_scan_outputs(it, scan);
}

static mitral_status run_scan_of(struct iteration *it, struct scan *scan, size_t captures)
{
    struct kernel_call *call = it->call;
    bool batched = call->opset < 9;
    size_t outputs = it->output_count - it->state_count;
    mitral_value *slices = arena_allocate(call->arena, (scan->scan_inputs + 1) * sizeof(*slices));
    scan->inputs = arena_allocate(call->arena, (scan->scan_inputs + 1) * sizeof(*scan->inputs));
    scan->outputs = arena_allocate(call->arena, (outputs + 1) * sizeof(*scan->outputs));
    if (!slices || !scan->inputs || !scan->outputs)
        return MITRAL_NO_MEMORY;
    for (size_t m = 0; m < scan->scan_inputs; m++) {
        const char *directions = batched ? "directions" : "scan_input_directions";
        scan->inputs[m] = (struct scanned){batched ? 0 : list_entry(call, "scan_input_axes", m), list_entry(call, directions, m) != 0};
    }
    for (size_t k = 0; k < outputs && !batched; k++)
        scan->outputs[k] = (struct scanned){list_entry(call, "scan_output_axes", k), list_entry(call, "scan_output_directions", k) != 0};
    for (size_t i = 0; i < captures; i++)
        it->inputs[it->state_count + scan->scan_inputs + i] = call->inputs[call->input_count - captures + i];
    for (size_t i = 0; i < call->output_count; i++) /* put_slice allocates them */
        if (call->outputs[i])
            call->outputs[i]->tensor.data = NULL;
    return batched ? scan_batch(it, scan, slices) : scan_plain(it, scan, slices);
}

static mitral_status run_scan(struct kernel_call *call)
{
    size_t captures = capture_count(call), first = call->opset < 9 ? 1 : 0;
    int64_t scan_inputs = attribute_int(call->attributes, "num_scan_inputs", 0);
    if (scan_inputs < 1 || call->input_count < first + captures ||
        (uint64_t)scan_inputs > call->input_count - first - captures)
        return call_fail(call, MITRAL_INVALID, "num_scan_inputs from 1 to %zu expected, found %lld",
                         call->input_count < first + captures ? 0 : call->input_count - first - captures, (long long)scan_inputs);
    size_t states = call->input_count - first - captures - (size_t)scan_inputs;
    if (call->output_count < states)
        return call_fail(call, MITRAL_INVALID, "an output for each of the %zu states expected, found %zu", states,
                         call->output_count);
    struct scan scan = {.first = first, .scan_inputs = (size_t)scan_inputs, .batch = -1};
    struct iteration it;
    mitral_status status = iteration_start(&it, call, call->input_count - first, call->output_count, states);
    if (status == MITRAL_OK)
        status = run_scan_of(&it, &scan, captures);
    iteration_end(&it);
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
    {.name = "Scan", .flags = KERNEL_ALLOCATES | KERNEL_EXACT, .shape = shape_control, .run = run_scan},
    {.name = "SequenceMap", .flags = KERNEL_ALLOCATES | KERNEL_EXACT, .shape = shape_control, .run = run_sequence_map},
};
const size_t reference_control_count = sizeof(reference_control) / sizeof(reference_control[0]);
