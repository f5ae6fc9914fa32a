/* Scan, over any axes and directions; in version 8 sample by sample of a batch. */
#include "runtime/kernels/reference/control.h"

#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/registry.h"

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
    slice_arena.meter = run->meter;
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
        if (length > call->context->options.max_loop_trips)
            return call_fail(call, MITRAL_LIMIT, "at most %lld trips " LIMIT_LOOP_TRIPS " expected, found %lld",
                             (long long)call->context->options.max_loop_trips, (long long)length);
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

const struct kernel reference_scan[] = {
    {.name = "Scan", .flags = KERNEL_ALLOCATES | KERNEL_EXACT, .shape = shape_control, .run = run_scan},
};
const size_t reference_scan_count = sizeof(reference_scan) / sizeof(reference_scan[0]);
