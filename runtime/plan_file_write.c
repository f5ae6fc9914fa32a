/* A plan to its file. */
#include <string.h>
#include <xxhash.h>

#include "runtime/file.h"
#include "runtime/plan_file.h"

struct writer {
    mitral_context *context;
    struct arena scratch;           /* the metadata's structures */
    const mitral_tensor **constants; /* in the order of their offsets */
    size_t constant_count, constant_capacity;
    uint64_t section_size;
    Mitral__Plan__Plan plan;
};

/* Zeroed; never NULL for an empty list. */
static void *take(struct writer *writer, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || __builtin_add_overflow(bytes, size, &bytes)) {
        mitral_fail(writer->context, MITRAL_NO_MEMORY, "out of memory: %zu times %zu bytes were asked for", count, size);
        return NULL;
    }
    return arena_allocate(&writer->scratch, bytes);
}

/* proto3 strings are never NULL; packing does not write to them. */
static char *text(const char *string)
{
    return (char *)(uintptr_t)(string ? string : "");
}

/* ---- constants ----------------------------------------------------------------------------------------------------- */

static mitral_status stored_bytes(struct writer *writer, const mitral_tensor *tensor, uint64_t *out)
{
    if (!tensor->data || mitral_tensor_size(tensor) < 0)
        return mitral_fail(writer->context, MITRAL_INVALID, "expected constants with data, found one without");
    if (tensor->packing) {
        *out = tensor->packing->bytes;
        return MITRAL_OK;
    }
    *out = tensor_bytes(tensor);
    if (tensor->dtype != MITRAL_STRING)
        return MITRAL_OK;
    const mitral_string *strings = tensor->data;
    size_t count = (size_t)tensor_count(tensor);
    *out = (uint64_t)count * sizeof(uint64_t);
    for (size_t i = 0; i < count; i++)
        *out += strings[i].size;
    return MITRAL_OK;
}

static mitral_status remember(struct writer *writer, const mitral_tensor *tensor)
{
    if (writer->constant_count == writer->constant_capacity) {
        size_t capacity = writer->constant_capacity ? writer->constant_capacity * 2 : 64;
        const mitral_tensor **list = take(writer, capacity, sizeof *list);
        if (!list)
            return MITRAL_NO_MEMORY;
        if (writer->constant_count)
            memcpy(list, writer->constants, writer->constant_count * sizeof *list);
        writer->constants = list;
        writer->constant_capacity = capacity;
    }
    writer->constants[writer->constant_count++] = tensor;
    return MITRAL_OK;
}

static mitral_status put_tensor(struct writer *writer, const mitral_tensor *tensor, Mitral__Plan__Tensor **out)
{
    Mitral__Plan__Tensor *message = take(writer, 1, sizeof *message);
    *out = message;
    if (!message)
        return MITRAL_NO_MEMORY;
    mitral__plan__tensor__init(message);
    message->dtype = tensor->dtype;
    message->n_dims = (size_t)tensor->rank;
    message->dims = (int64_t *)(uintptr_t)tensor->dims;
    message->layout = tensor->layout;
    TRY(stored_bytes(writer, tensor, &message->size));
    if (tensor->packing) {
        message->packing = take(writer, 1, sizeof *message->packing);
        if (!message->packing)
            return MITRAL_NO_MEMORY;
        mitral__plan__packing__init(message->packing);
        message->packing->scheme = text(tensor->packing->scheme);
        message->packing->description = text(tensor->packing->description);
    }
    message->offset = writer->section_size;
    uint64_t padded = (message->size + PLAN_ALIGNMENT - 1) / PLAN_ALIGNMENT * PLAN_ALIGNMENT;
    writer->section_size += padded; /* sums of what is in memory: no overflow */
    return remember(writer, tensor);
}

/* ---- metadata ------------------------------------------------------------------------------------------------------ */

static mitral_status put_value(struct writer *writer, const struct plan_value *value, Mitral__Plan__Value **out)
{
    Mitral__Plan__Value *message = take(writer, 1, sizeof *message);
    *out = message;
    if (!message)
        return MITRAL_NO_MEMORY;
    mitral__plan__value__init(message);
    message->name = text(value->name);
    message->kind = value->kind;
    message->dtype = value->dtype;
    message->rank = value->rank;
    message->role = value->role;
    message->layout = value->layout;
    message->keep = value->keep;
    message->variable = value->variable == NO_ID ? 0 : value->variable + 1;
    size_t rank = value->rank > 0 ? (size_t)value->rank : 0;
    message->n_dims = rank;
    message->dims = (int64_t *)(uintptr_t)value->dims;
    bool named = false;
    for (size_t i = 0; i < rank; i++)
        named |= value->symbols[i] != NULL;
    if (named) {
        message->n_symbols = rank;
        message->symbols = take(writer, rank, sizeof *message->symbols);
        if (!message->symbols)
            return MITRAL_NO_MEMORY;
        for (size_t i = 0; i < rank; i++)
            message->symbols[i] = text(value->symbols[i]);
    }
    if (value->role == ROLE_CONSTANT || value->role == ROLE_VARIABLE) {
        mitral_status status = put_tensor(writer, &value->constant, &message->constant);
        if (status != MITRAL_OK)
            return mitral_fail_prefix(writer->context, status, "value '%s': ", value->name);
    }
    return MITRAL_OK;
}

static mitral_status put_attribute(struct writer *writer, const struct attribute *attribute, Mitral__Plan__Attribute **out)
{
    Mitral__Plan__Attribute *message = take(writer, 1, sizeof *message);
    *out = message;
    if (!message)
        return MITRAL_NO_MEMORY;
    mitral__plan__attribute__init(message);
    message->name = text(attribute->name);
    message->kind = (int32_t)attribute->kind;
    size_t count = attribute->count;
    switch (attribute->kind) {
    case ATTRIBUTE_INT:
    case ATTRIBUTE_INTS:
        message->n_ints = count;
        message->ints = (int64_t *)(uintptr_t)attribute->ints;
        return MITRAL_OK;
    case ATTRIBUTE_FLOAT:
    case ATTRIBUTE_FLOATS:
        message->n_floats = count;
        message->floats = (float *)(uintptr_t)attribute->floats;
        return MITRAL_OK;
    case ATTRIBUTE_STRING:
    case ATTRIBUTE_STRINGS:
        message->n_strings = count;
        message->strings = take(writer, count, sizeof *message->strings);
        if (!message->strings)
            return MITRAL_NO_MEMORY;
        for (size_t i = 0; i < count; i++)
            message->strings[i] = (ProtobufCBinaryData){attribute->strings[i].size, (uint8_t *)(uintptr_t)attribute->strings[i].data};
        return MITRAL_OK;
    case ATTRIBUTE_TENSOR:
    case ATTRIBUTE_TENSORS:
        message->n_tensors = count;
        message->tensors = take(writer, count, sizeof *message->tensors);
        if (!message->tensors)
            return MITRAL_NO_MEMORY;
        for (size_t i = 0; i < count; i++)
            TRY(put_tensor(writer, &attribute->tensors[i], &message->tensors[i]));
        return MITRAL_OK;
    case ATTRIBUTE_GRAPH:
        message->subplan = attribute->subgraph;
        return MITRAL_OK;
    }
    return mitral_fail(writer->context, MITRAL_INVALID, "attribute '%s': expected a known kind, found %d", attribute->name, (int)attribute->kind);
}

/* Ids as the file has them: one more, so that 0 is an absent one. */
static uint32_t *put_ids(struct writer *writer, const uint32_t *ids, size_t count)
{
    uint32_t *list = take(writer, count, sizeof *list);
    for (size_t i = 0; list && i < count; i++)
        list[i] = ids[i] == NO_ID ? 0 : ids[i] + 1;
    return list;
}

static mitral_status put_program(struct writer *writer, const struct mitral_plan *plan, Mitral__Plan__Program **out);

static mitral_status put_step(struct writer *writer, const struct step *step, Mitral__Plan__Step **out)
{
    Mitral__Plan__Step *message = take(writer, 1, sizeof *message);
    *out = message;
    if (!message)
        return MITRAL_NO_MEMORY;
    mitral__plan__step__init(message);
    message->kernel = text(step->kernel->name);
    message->name = text(step->name);
    message->opset = step->opset;
    message->attributes = take(writer, step->attributes.count, sizeof *message->attributes);
    message->inputs = put_ids(writer, step->inputs, step->input_count);
    message->outputs = put_ids(writer, step->outputs, step->output_count);
    message->subplans = take(writer, step->subplan_count, sizeof *message->subplans);
    if (!message->attributes || !message->inputs || !message->outputs || !message->subplans)
        return MITRAL_NO_MEMORY;
    message->n_inputs = step->input_count;
    message->n_outputs = step->output_count;
    for (size_t i = 0; i < step->attributes.count; i++) {
        mitral_status status = put_attribute(writer, &step->attributes.items[i], &message->attributes[message->n_attributes++]);
        if (status != MITRAL_OK)
            return mitral_fail_prefix(writer->context, status, "step '%s': ", step->name);
    }
    for (size_t i = 0; i < step->subplan_count; i++)
        TRY(put_program(writer, step->subplans[i], &message->subplans[message->n_subplans++]));
    return MITRAL_OK;
}

static mitral_status put_program(struct writer *writer, const struct mitral_plan *plan, Mitral__Plan__Program **out)
{
    Mitral__Plan__Program *message = take(writer, 1, sizeof *message);
    *out = message;
    if (!message)
        return MITRAL_NO_MEMORY;
    mitral__plan__program__init(message);
    message->exact = plan->exact;
    message->inputs = plan->inputs;
    message->n_inputs = plan->input_count;
    message->outputs = plan->outputs;
    message->n_outputs = plan->output_count;
    message->values = take(writer, plan->value_count, sizeof *message->values);
    message->steps = take(writer, plan->step_count, sizeof *message->steps);
    if (!message->values || !message->steps)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < plan->value_count; i++)
        TRY(put_value(writer, &plan->values[i], &message->values[message->n_values++]));
    for (size_t i = 0; i < plan->step_count; i++)
        TRY(put_step(writer, &plan->steps[i], &message->steps[message->n_steps++]));
    return MITRAL_OK;
}

static mitral_status put_plan(struct writer *writer, const struct mitral_plan *plan)
{
    Mitral__Plan__Plan *message = &writer->plan;
    mitral__plan__plan__init(message);
    message->isa = text(plan->isa);
    message->cpu = text(plan->cpu);
    message->threads = plan->threads;
    message->producer = text(mitral_version());
    Mitral__Plan__Property *properties = take(writer, plan->metadata_count, sizeof *properties);
    message->metadata = take(writer, plan->metadata_count, sizeof *message->metadata);
    if (!properties || !message->metadata)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < plan->metadata_count; i++) {
        mitral__plan__property__init(&properties[i]);
        properties[i].key = text(plan->metadata[i].key);
        properties[i].value = text(plan->metadata[i].value);
        message->metadata[message->n_metadata++] = &properties[i];
    }
    return put_program(writer, plan, &message->program);
}

/* ---- the file ------------------------------------------------------------------------------------------------------ */

/* Appends to the section and its checksum. */
static mitral_status append(struct file_writer *file, XXH3_state_t *hash, const void *bytes, size_t size)
{
    if (size)
        XXH3_64bits_update(hash, bytes, size);
    return file_append(file, bytes, size);
}

static mitral_status append_constant(struct file_writer *file, XXH3_state_t *hash, const mitral_tensor *tensor)
{
    static const char zeros[PLAN_ALIGNMENT];
    uint64_t size = 0;
    if (tensor->dtype == MITRAL_STRING && !tensor->packing) {
        const mitral_string *strings = tensor->data;
        size_t count = (size_t)tensor_count(tensor);
        for (size_t i = 0; i < count; i++) {
            uint64_t length = strings[i].size;
            TRY(append(file, hash, &length, sizeof length));
            size += sizeof length + length;
        }
        for (size_t i = 0; i < count; i++)
            TRY(append(file, hash, strings[i].data, strings[i].size));
    } else {
        size = tensor->packing ? tensor->packing->bytes : tensor_bytes(tensor);
        TRY(append(file, hash, tensor->data, (size_t)size));
    }
    return append(file, hash, zeros, (size_t)((PLAN_ALIGNMENT - size % PLAN_ALIGNMENT) % PLAN_ALIGNMENT));
}

static mitral_status write_file(struct file_writer *file, void *user)
{
    struct writer *writer = user;
    size_t size = mitral__plan__plan__get_packed_size(&writer->plan);
    uint8_t *metadata = mitral_allocate_raw(writer->context, size);
    XXH3_state_t *hash = XXH3_createState();
    if (!metadata || !hash) {
        mitral_release(writer->context, metadata);
        XXH3_freeState(hash);
        return mitral_fail(writer->context, MITRAL_NO_MEMORY, "out of memory: a plan's metadata take %zu bytes", size);
    }
    mitral__plan__plan__pack(&writer->plan, metadata);
    struct plan_header header = {.magic = PLAN_MAGIC, .format = PLAN_FORMAT, .endian = PLAN_ENDIAN, .metadata_offset = sizeof header,
                                 .metadata_size = size, .section_size = writer->section_size};
    uint64_t end = sizeof header + size;
    header.section_offset = (end + PLAN_PAGE - 1) / PLAN_PAGE * PLAN_PAGE;
    XXH3_64bits_reset(hash);
    mitral_status status = file_append(file, &header, sizeof header);
    if (status == MITRAL_OK)
        status = file_append(file, metadata, size);
    if (status == MITRAL_OK)
        status = file_append_zeros(file, (size_t)(header.section_offset - end));
    for (size_t i = 0; i < writer->constant_count && status == MITRAL_OK; i++)
        status = append_constant(file, hash, writer->constants[i]);
    if (status == MITRAL_OK) {
        header.section_checksum = XXH3_64bits_digest(hash);
        header.metadata_checksum = plan_metadata_checksum(&header, metadata);
        status = file_patch(file, 0, &header, sizeof header);
    }
    XXH3_freeState(hash);
    mitral_release(writer->context, metadata);
    return status;
}

mitral_status plan_write(mitral_context *context, const struct mitral_plan *plan, const char *path)
{
    struct writer writer = {.context = context};
    arena_initialise(&writer.scratch, context);
    mitral_status status = put_plan(&writer, plan);
    if (status == MITRAL_OK)
        status = file_write_whole(context, path, write_file, &writer);
    arena_clear(&writer.scratch);
    return status;
}
