/* Sequences and optionals. A sequence's items live in the run's arena: they may be shared with another sequence of the same run,
 * while tensors that enter a sequence are copied, since their memory is given away after their last use. */
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/registry.h"

static mitral_status need_sequence(const struct kernel_call *call, size_t index, const mitral_value **out)
{
    *out = index < call->input_count ? call->inputs[index] : NULL;
    if (!*out || (*out)->kind != MITRAL_SEQUENCE)
        return call_fail(call, MITRAL_INVALID, "input %zu: a sequence expected, found %s", index, *out ? "another kind" : "none");
    return MITRAL_OK;
}

/* Output 0 becomes a sequence of `count` items, not yet set. NULL in *items when nobody asked for it. */
static mitral_status make_sequence(struct kernel_call *call, int64_t count, int32_t dtype, mitral_value **items)
{
    *items = NULL;
    if (!call->output_count || !call->outputs[0])
        return MITRAL_OK;
    size_t bytes;
    if (count > INT32_MAX || __builtin_mul_overflow((size_t)count + 1, sizeof(mitral_value), &bytes))
        return call_fail(call, MITRAL_LIMIT, "sequences of at most %d items expected, found %lld", INT32_MAX, (long long)count);
    *items = arena_allocate(call->arena, bytes);
    if (!*items)
        return MITRAL_NO_MEMORY;
    *call->outputs[0] = (mitral_value){.kind = MITRAL_SEQUENCE, .count = (int32_t)count, .tensor.dtype = dtype, .items = *items};
    return MITRAL_OK;
}

static mitral_status shape_sequence_value(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    if (call->output_count && call->outputs[0]) {
        call->outputs[0]->kind = MITRAL_SEQUENCE;
        if (input)
            call->outputs[0]->tensor.dtype = input->dtype;
    }
    return MITRAL_DEFERRED;
}

static mitral_status shape_sequence_item(struct kernel_call *call)
{
    const mitral_value *sequence;
    TRY(need_sequence(call, 0, &sequence));
    return defer_output(call, 0, sequence->tensor.dtype);
}

static mitral_status position_in(const struct kernel_call *call, size_t input, int64_t count, bool past_end, int64_t *out)
{
    TRY(read_int(call, input, out));
    if (*out < -count || *out >= count + past_end)
        return call_fail(call, MITRAL_INVALID, "a position in [%lld, %lld] expected, found %lld", (long long)-count,
                         (long long)count - !past_end, (long long)*out);
    *out += *out < 0 ? count : 0;
    return MITRAL_OK;
}

/* ---- making and changing --------------------------------------------------------------------------------------------- */

static mitral_status run_sequence_empty(struct kernel_call *call)
{
    mitral_value *items;
    return make_sequence(call, 0, (int32_t)attribute_int(call->attributes, "dtype", MITRAL_FLOAT), &items);
}

static mitral_status run_sequence_construct(struct kernel_call *call)
{
    mitral_value *items;
    const mitral_tensor *first, *next;
    TRY(need_tensor(call, 0, &first));
    TRY(make_sequence(call, (int64_t)call->input_count, first->dtype, &items));
    for (size_t i = 0; i < call->input_count && items; i++) {
        TRY(need_tensor(call, i, &next));
        if (next->dtype != first->dtype)
            return call_fail(call, MITRAL_INVALID, "items of %s expected, found %s", mitral_dtype_name((mitral_dtype)first->dtype),
                             mitral_dtype_name((mitral_dtype)next->dtype));
        TRY(value_copy(&items[i], call->arena, call->inputs[i]));
    }
    return MITRAL_OK;
}

static mitral_status run_sequence_insert(struct kernel_call *call)
{
    const mitral_value *sequence;
    const mitral_tensor *item;
    mitral_value *items;
    TRY(need_sequence(call, 0, &sequence));
    TRY(need_tensor(call, 1, &item));
    int64_t at = sequence->count;
    if (call_input(call, 2))
        TRY(position_in(call, 2, sequence->count, true, &at));
    if (sequence->count && sequence->items[0].tensor.dtype != item->dtype)
        return call_fail(call, MITRAL_INVALID, "an item of %s expected, found %s",
                         mitral_dtype_name((mitral_dtype)sequence->items[0].tensor.dtype),
                         mitral_dtype_name((mitral_dtype)item->dtype));
    TRY(make_sequence(call, (int64_t)sequence->count + 1, item->dtype, &items));
    if (!items)
        return MITRAL_OK;
    if (at)
        memcpy(items, sequence->items, (size_t)at * sizeof(*items));
    if (at < sequence->count)
        memcpy(items + at + 1, sequence->items + at, (size_t)(sequence->count - at) * sizeof(*items));
    return value_copy(&items[at], call->arena, call->inputs[1]);
}

static mitral_status run_sequence_erase(struct kernel_call *call)
{
    const mitral_value *sequence;
    mitral_value *items;
    TRY(need_sequence(call, 0, &sequence));
    int64_t at = sequence->count - 1;
    if (sequence->count == 0)
        return call_fail(call, MITRAL_INVALID, "a sequence of at least one item expected, found none");
    if (call_input(call, 1))
        TRY(position_in(call, 1, sequence->count, false, &at));
    TRY(make_sequence(call, (int64_t)sequence->count - 1, sequence->tensor.dtype, &items));
    if (items && at)
        memcpy(items, sequence->items, (size_t)at * sizeof(*items));
    if (items && at + 1 < sequence->count)
        memcpy(items + at, sequence->items + at + 1, (size_t)(sequence->count - at - 1) * sizeof(*items));
    return MITRAL_OK;
}

/* ---- looking into -------------------------------------------------------------------------------------------------------- */

static mitral_status run_sequence_at(struct kernel_call *call)
{
    const mitral_value *sequence;
    int64_t at;
    TRY(need_sequence(call, 0, &sequence));
    TRY(position_in(call, 1, sequence->count, false, &at));
    return call->outputs[0] ? value_copy(call->outputs[0], call->arena, &sequence->items[at]) : MITRAL_OK;
}

static mitral_status shape_sequence_length(struct kernel_call *call)
{
    const mitral_value *sequence;
    TRY(need_sequence(call, 0, &sequence));
    call_set_output(call, 0, MITRAL_INT64, 0, NULL);
    return MITRAL_OK;
}

static mitral_status run_sequence_length(struct kernel_call *call)
{
    *(int64_t *)call_output(call, 0)->data = call->inputs[0]->count;
    return MITRAL_OK;
}

/* ---- to and from one tensor ------------------------------------------------------------------------------------------------ */

/* The lengths along the axis: `split` is NULL, a scalar or a list. */
static mitral_status part_length(const struct kernel_call *call, const mitral_tensor *split, int64_t size, int64_t index,
                                 int64_t *out)
{
    int64_t length = split && split->rank == 1 ? tensor_get_int(split, index) : split ? tensor_get_int(split, 0) : 1;
    if (length < 0)
        return call_fail(call, MITRAL_INVALID, "lengths of at least 0 expected, found %lld", (long long)length);
    if (!split || split->rank == 0) { /* equal parts, the last one maybe shorter */
        int64_t left = size - index * length;
        length = left < length ? left : length;
    }
    *out = length;
    return MITRAL_OK;
}

static mitral_status run_split_to_sequence(struct kernel_call *call)
{
    const mitral_tensor *data, *split = call_input(call, 1);
    int64_t axis, parts, from = 0;
    mitral_value *items;
    TRY(need_tensor(call, 0, &data));
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), data->rank, &axis));
    int64_t size = data->dims[axis];
    if (split && (split->rank > 1 || (split->dtype != MITRAL_INT32 && split->dtype != MITRAL_INT64)))
        return call_fail(call, MITRAL_INVALID, "split of int32 or int64 and rank 0 or 1 expected");
    parts = size;
    if (split && split->rank == 1) {
        parts = split->dims[0];
    } else if (split) {
        int64_t length = tensor_get_int(split, 0);
        if (length < 1)
            return call_fail(call, MITRAL_INVALID, "a positive split expected, found %lld", (long long)length);
        parts = size / length + (size % length != 0);
    }
    bool squeeze = !split && attribute_int(call->attributes, "keepdims", 1) == 0;
    TRY(make_sequence(call, parts, data->dtype, &items));
    int64_t outer = dims_product(data->dims, 0, (int32_t)axis), inner = dims_product(data->dims, (int32_t)axis + 1, data->rank);
    size_t element = element_size(data);
    for (int64_t i = 0; i < parts && items; i++) {
        int64_t length = 0;
        TRY(part_length(call, split, size, i, &length));
        if (length > size - from)
            return call_fail(call, MITRAL_INVALID, "lengths that sum to %lld expected, found more", (long long)size);
        mitral_tensor *part = &items[i].tensor;
        tensor_set(part, data->dtype, data->rank, data->dims);
        part->dims[axis] = length;
        size_t bytes = tensor_bytes(part);
        part->data = arena_allocate(call->arena, bytes ? bytes : 1);
        if (!part->data)
            return MITRAL_NO_MEMORY;
        copy_strided(part->data, (const char *)data->data + (size_t)(from * inner) * element, element, 2,
                     (int64_t[]){outer, length * inner}, (int64_t[]){length * inner, 1}, (int64_t[]){size * inner, 1},
                     call->threads);
        if (squeeze) {
            part->rank--;
            memmove(part->dims + axis, part->dims + axis + 1, (size_t)(part->rank - axis) * sizeof(*part->dims));
        }
        from += length;
    }
    if (items && from != size)
        return call_fail(call, MITRAL_INVALID, "lengths that sum to %lld expected, found %lld", (long long)size, (long long)from);
    return MITRAL_OK;
}

static mitral_status run_concat_from_sequence(struct kernel_call *call)
{
    const mitral_value *sequence;
    TRY(need_sequence(call, 0, &sequence));
    if (sequence->count == 0)
        return call_fail(call, MITRAL_INVALID, "a sequence of at least one item expected, found none");
    const mitral_tensor *first = &sequence->items[0].tensor;
    bool stack = attribute_int(call->attributes, "new_axis", 0) != 0;
    int64_t axis, dims[MITRAL_MAX_RANK + 1], total = 0;
    int32_t rank = first->rank + stack;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), rank, &axis));
    for (int32_t i = 0; i < sequence->count; i++) {
        const mitral_tensor *item = &sequence->items[i].tensor;
        bool fits = item->rank == first->rank && item->dtype == first->dtype;
        for (int32_t d = 0; fits && d < first->rank; d++)
            fits = item->dims[d] == first->dims[d] || (!stack && d == axis);
        if (!fits) {
            char left[256], right[256];
            return call_fail(call, MITRAL_INVALID, "items that fit %s expected, found %s",
                             tensor_describe(first, left, sizeof(left)), tensor_describe(item, right, sizeof(right)));
        }
        const int64_t before = total, more = stack ? 1 : item->dims[axis];
        if (__builtin_add_overflow(before, more, &total))
            return call_fail(call, MITRAL_LIMIT, "an output of at most 2^63 - 1 along axis %lld expected, found %lld and %lld more", (long long)axis,
                             (long long)before, (long long)more);
    }
    for (int32_t i = 0, from = 0; i < rank; i++)
        dims[i] = i == axis && stack ? total : first->dims[from++];
    dims[axis] = total;
    TRY(call_allocate(call, 0, first->dtype, rank, dims));
    mitral_tensor *output = call_output(call, 0);
    if (!output)
        return MITRAL_OK;
    size_t element = element_size(output);
    int64_t outer = dims_product(dims, 0, (int32_t)axis), inner = dims_product(dims, (int32_t)axis + 1, rank), row = 0;
    for (int32_t i = 0; i < sequence->count; i++) {
        const mitral_tensor *item = &sequence->items[i].tensor;
        int64_t run = (stack ? 1 : item->dims[axis]) * inner;
        copy_strided((char *)output->data + (size_t)row * element, item->data, element, 2, (int64_t[]){outer, run},
                     (int64_t[]){total * inner, 1}, (int64_t[]){run, 1}, call->threads);
        row += run;
    }
    return MITRAL_OK;
}

/* ---- optionals ----------------------------------------------------------------------------------------------------------- */

static mitral_status shape_optional(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    if (call->output_count && call->outputs[0]) {
        call->outputs[0]->kind = MITRAL_OPTIONAL;
        if (input)
            call->outputs[0]->tensor.dtype = input->dtype;
    }
    return MITRAL_DEFERRED;
}

static mitral_status run_optional(struct kernel_call *call)
{
    const mitral_value *element = call->input_count ? call->inputs[0] : NULL;
    mitral_value *output = call->output_count ? call->outputs[0] : NULL;
    if (!output)
        return MITRAL_OK;
    *output = (mitral_value){.kind = MITRAL_OPTIONAL};
    if (!element)
        return MITRAL_OK;
    output->items = arena_allocate(call->arena, sizeof(*output->items));
    if (!output->items)
        return MITRAL_NO_MEMORY;
    output->count = 1;
    output->tensor.dtype = element->tensor.dtype;
    return value_copy(output->items, call->arena, element);
}

static mitral_status shape_optional_element(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    if (call->output_count && call->outputs[0] && input)
        call->outputs[0]->tensor.dtype = input->dtype;
    return MITRAL_DEFERRED;
}

static mitral_status run_optional_get_element(struct kernel_call *call)
{
    const mitral_value *input = call->input_count ? call->inputs[0] : NULL;
    if (!input || (input->kind == MITRAL_OPTIONAL && input->count == 0))
        return call_fail(call, MITRAL_INVALID, "an optional with an element expected, found an empty one");
    const mitral_value *element = input->kind == MITRAL_OPTIONAL ? &input->items[0] : input;
    return call->outputs[0] ? value_copy(call->outputs[0], call->arena, element) : MITRAL_OK;
}

static mitral_status shape_optional_has_element(struct kernel_call *call)
{
    call_set_output(call, 0, MITRAL_BOOL, 0, NULL);
    return MITRAL_OK;
}

/* Allocates though its size is fixed: the value depends on the input's kind, which no shape shows. */
static mitral_status run_optional_has_element(struct kernel_call *call)
{
    const mitral_value *input = call->input_count ? call->inputs[0] : NULL;
    TRY(call_allocate(call, 0, MITRAL_BOOL, 0, NULL));
    if (call_output(call, 0))
        *(uint8_t *)call_output(call, 0)->data = input && (input->kind != MITRAL_OPTIONAL || input->count > 0);
    return MITRAL_OK;
}

#define SEQUENCE_FLAGS (KERNEL_ALLOCATES | KERNEL_EXACT)
const struct kernel reference_sequence[] = {
    {.name = "SequenceEmpty", .flags = SEQUENCE_FLAGS, .shape = shape_sequence_value, .run = run_sequence_empty},
    {.name = "SequenceConstruct", .flags = SEQUENCE_FLAGS, .shape = shape_sequence_value, .run = run_sequence_construct},
    {.name = "SequenceInsert", .flags = SEQUENCE_FLAGS, .shape = shape_sequence_value, .run = run_sequence_insert},
    {.name = "SequenceErase", .flags = SEQUENCE_FLAGS, .shape = shape_sequence_value, .run = run_sequence_erase},
    {.name = "SequenceAt", .flags = SEQUENCE_FLAGS, .shape = shape_sequence_item, .run = run_sequence_at},
    {.name = "SequenceLength", .flags = KERNEL_EXACT, .shape = shape_sequence_length, .run = run_sequence_length},
    {.name = "SplitToSequence", .flags = SEQUENCE_FLAGS, .shape = shape_sequence_value, .run = run_split_to_sequence},
    {.name = "ConcatFromSequence", .flags = SEQUENCE_FLAGS, .shape = shape_sequence_item, .run = run_concat_from_sequence},
    {.name = "Optional", .flags = SEQUENCE_FLAGS, .shape = shape_optional, .run = run_optional},
    {.name = "OptionalGetElement", .flags = SEQUENCE_FLAGS, .shape = shape_optional_element, .run = run_optional_get_element},
    {.name = "OptionalHasElement", .flags = SEQUENCE_FLAGS, .shape = shape_optional_has_element, .run = run_optional_has_element},
};
const size_t reference_sequence_count = sizeof(reference_sequence) / sizeof(reference_sequence[0]);
