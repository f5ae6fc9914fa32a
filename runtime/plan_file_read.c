/* A plan from its unpacked metadata. Checksums guard against accidents, not against whoever made the file: every number is
 * checked here before anything follows it. */
#include <string.h>

#include "runtime/custom.h"
#include "runtime/plan_file.h"

struct reader {
    mitral_context *context;
    const char *section;
    uint64_t section_size;
};

static mitral_status bad(struct reader *reader, const char *what, const char *name, const char *expected)
{
    return mitral_fail(reader->context, MITRAL_CORRUPT, "%s '%s': expected %s", what, name, expected);
}

/* Zeroed memory of the plan; never NULL for an empty list. */
static void *take(struct reader *reader, struct mitral_plan *plan, size_t count, size_t size)
{
    size_t bytes;
    void *memory = NULL;
    if (!__builtin_mul_overflow(count, size, &bytes) && !__builtin_add_overflow(bytes, size, &bytes))
        memory = arena_allocate(&plan->arena, bytes);
    if (!memory)
        mitral_fail(reader->context, MITRAL_NO_MEMORY, "out of memory: %zu times %zu bytes were asked for", count, size);
    return memory;
}

static const char *keep(struct reader *reader, struct mitral_plan *plan, const char *text, size_t size)
{
    char *copy = take(reader, plan, size, 1);
    if (copy && size)
        memcpy(copy, text, size);
    return copy;
}

static const char *keep_text(struct reader *reader, struct mitral_plan *plan, const char *text)
{
    return keep(reader, plan, text, strlen(text));
}

/* ---- constants ----------------------------------------------------------------------------------------------------- */

static mitral_status decode_strings(struct reader *reader, struct mitral_plan *plan, const char *name, const char *bytes, uint64_t size,
                                    mitral_tensor *out)
{
    size_t count = (size_t)tensor_count(out);
    if (count > size / sizeof(uint64_t))
        return bad(reader, "constant", name, "a length for each string");
    mitral_string *strings = take(reader, plan, count, sizeof *strings);
    if (!strings)
        return MITRAL_NO_MEMORY;
    uint64_t at = (uint64_t)count * sizeof(uint64_t);
    for (size_t i = 0; i < count; i++) {
        uint64_t length;
        memcpy(&length, bytes + i * sizeof length, sizeof length);
        if (length > size - at)
            return bad(reader, "constant", name, "strings that lie in it");
        strings[i] = (mitral_string){bytes + at, (size_t)length};
        at += length;
    }
    if (at != size)
        return bad(reader, "constant", name, "strings that fill it");
    out->data = strings;
    return MITRAL_OK;
}

static mitral_status decode_tensor(struct reader *reader, struct mitral_plan *plan, const char *name, const Mitral__Plan__Tensor *message,
                                   mitral_tensor *out)
{
    if (message->n_dims > MITRAL_MAX_RANK || !mitral_dtype_size((mitral_dtype)message->dtype) || message->layout < 0 ||
        message->layout > LAYOUT_PACKED)
        return bad(reader, "constant", name, "a known element type, rank and layout");
    tensor_set(out, message->dtype, (int32_t)message->n_dims, message->dims);
    for (int32_t i = 0; i < out->rank; i++)
        if (out->dims[i] < 0)
            return bad(reader, "constant", name, "dimensions from 0");
    out->layout = message->layout;
    if (tensor_check_size(reader->context, out) != MITRAL_OK)
        return bad(reader, "constant", name, "dimensions that fit in memory");
    if (message->offset > reader->section_size || message->size > reader->section_size - message->offset ||
        message->offset % PLAN_ALIGNMENT != 0)
        return bad(reader, "constant", name, "its data to lie in the file");
    const char *data = reader->section + message->offset;
    out->data = (void *)(uintptr_t)data; /* read-only, as all constants are */
    if (message->packing) {
        struct mitral_packing *packing = take(reader, plan, 1, sizeof *packing);
        if (!packing)
            return MITRAL_NO_MEMORY;
        packing->scheme = keep_text(reader, plan, message->packing->scheme);
        packing->description = keep_text(reader, plan, message->packing->description);
        packing->bytes = (size_t)message->size;
        out->packing = packing;
        if (!packing->scheme || !packing->description)
            return MITRAL_NO_MEMORY;
        return out->dtype == MITRAL_STRING ? bad(reader, "constant", name, "strings that are not packed") : MITRAL_OK;
    }
    if (out->layout == LAYOUT_PACKED)
        return bad(reader, "constant", name, "a packed layout to say how");
    if (out->dtype == MITRAL_STRING)
        return decode_strings(reader, plan, name, data, message->size, out);
    return message->size == (uint64_t)tensor_bytes(out) ? MITRAL_OK : bad(reader, "constant", name, "as many bytes as its dimensions take");
}

/* ---- values -------------------------------------------------------------------------------------------------------- */

static mitral_status decode_shape(struct reader *reader, struct mitral_plan *plan, const Mitral__Plan__Value *message, struct plan_value *out)
{
    out->rank = message->rank;
    size_t rank = message->rank > 0 ? (size_t)message->rank : 0;
    if (message->rank < -1 || message->rank > MITRAL_MAX_RANK || message->n_dims != rank || (message->n_symbols && message->n_symbols != rank))
        return bad(reader, "value", out->name, "a rank from -1 to 12 and as many dimensions");
    for (size_t i = 0; i < rank; i++) {
        out->dims[i] = message->dims[i];
        if (out->dims[i] < -1)
            return bad(reader, "value", out->name, "dimensions from -1");
        if (message->n_symbols && *message->symbols[i]) {
            out->symbols[i] = keep_text(reader, plan, message->symbols[i]);
            if (!out->symbols[i])
                return MITRAL_NO_MEMORY;
        }
    }
    return MITRAL_OK;
}

static mitral_status decode_value(struct reader *reader, struct mitral_plan *plan, const Mitral__Plan__Value *message, size_t value_count,
                                  struct plan_value *out)
{
    *out = (struct plan_value){.kind = message->kind, .dtype = message->dtype, .role = message->role, .layout = message->layout,
                               .keep = message->keep, .variable = NO_ID};
    out->name = keep_text(reader, plan, message->name);
    if (!out->name)
        return MITRAL_NO_MEMORY;
    if (out->kind < MITRAL_TENSOR || out->kind > MITRAL_MAP || out->dtype < 0 || out->dtype >= MITRAL_DTYPE_COUNT ||
        out->role < ROLE_COMPUTED || out->role > ROLE_VARIABLE || out->layout < 0 || out->layout > LAYOUT_PACKED)
        return bad(reader, "value", out->name, "a known kind, element type, role and layout");
    TRY(decode_shape(reader, plan, message, out));
    if (message->variable > value_count || (message->variable && out->role != ROLE_COMPUTED))
        return bad(reader, "value", out->name, "a variable that exists");
    if (message->variable)
        out->variable = message->variable - 1;
    bool constant = out->role == ROLE_CONSTANT || out->role == ROLE_VARIABLE;
    if (constant != (message->constant != NULL) || (constant && out->kind != MITRAL_TENSOR))
        return bad(reader, "value", out->name, "data where it is a constant tensor or a variable, and only there");
    if (!constant)
        return MITRAL_OK;
    TRY(decode_tensor(reader, plan, out->name, message->constant, &out->constant));
    if (out->role == ROLE_VARIABLE && (out->constant.packing || out->constant.dtype == MITRAL_STRING))
        return bad(reader, "value", out->name, "a variable of plain numbers");
    if (!out->constant.packing) { /* what the constant is, is what the value is */
        out->dtype = out->constant.dtype;
        out->rank = out->constant.rank;
        memcpy(out->dims, out->constant.dims, sizeof out->dims);
    }
    return MITRAL_OK;
}

/* A value and the variable whose next state it is share memory. */
static mitral_status check_variable(struct reader *reader, const struct mitral_plan *plan, const struct plan_value *value)
{
    if (value->variable == NO_ID)
        return MITRAL_OK;
    const struct plan_value *variable = &plan->values[value->variable];
    bool same = variable->role == ROLE_VARIABLE && value->kind == MITRAL_TENSOR && value->dtype == variable->dtype && value->rank == variable->rank;
    for (int32_t i = 0; same && i < value->rank; i++)
        same = value->dims[i] == variable->dims[i];
    return same ? MITRAL_OK : bad(reader, "value", value->name, "a variable of the same type and shape");
}

/* ---- steps --------------------------------------------------------------------------------------------------------- */

static mitral_status decode_attribute(struct reader *reader, struct mitral_plan *plan, const Mitral__Plan__Attribute *message,
                                      size_t subplan_count, struct attribute *out)
{
    *out = (struct attribute){.name = keep_text(reader, plan, message->name), .kind = (enum attribute_kind)message->kind, .count = 1};
    if (!out->name)
        return MITRAL_NO_MEMORY;
    bool single = false;
    switch (message->kind) {
    case ATTRIBUTE_INT:
        single = true; /* fall through */
    case ATTRIBUTE_INTS: {
        int64_t *ints = take(reader, plan, message->n_ints, sizeof *ints);
        if (!ints)
            return MITRAL_NO_MEMORY;
        if (message->n_ints)
            memcpy(ints, message->ints, message->n_ints * sizeof *ints);
        out->ints = ints;
        out->count = message->n_ints;
        break;
    }
    case ATTRIBUTE_FLOAT:
        single = true; /* fall through */
    case ATTRIBUTE_FLOATS: {
        float *floats = take(reader, plan, message->n_floats, sizeof *floats);
        if (!floats)
            return MITRAL_NO_MEMORY;
        if (message->n_floats)
            memcpy(floats, message->floats, message->n_floats * sizeof *floats);
        out->floats = floats;
        out->count = message->n_floats;
        break;
    }
    case ATTRIBUTE_STRING:
        single = true; /* fall through */
    case ATTRIBUTE_STRINGS: {
        mitral_string *strings = take(reader, plan, message->n_strings, sizeof *strings);
        if (!strings)
            return MITRAL_NO_MEMORY;
        for (size_t i = 0; i < message->n_strings; i++) {
            strings[i].size = message->strings[i].len;
            strings[i].data = keep(reader, plan, (const char *)message->strings[i].data, message->strings[i].len);
            if (!strings[i].data)
                return MITRAL_NO_MEMORY;
        }
        out->strings = strings;
        out->count = message->n_strings;
        break;
    }
    case ATTRIBUTE_TENSOR:
        single = true; /* fall through */
    case ATTRIBUTE_TENSORS: {
        mitral_tensor *tensors = take(reader, plan, message->n_tensors, sizeof *tensors);
        if (!tensors)
            return MITRAL_NO_MEMORY;
        for (size_t i = 0; i < message->n_tensors; i++)
            TRY(decode_tensor(reader, plan, out->name, message->tensors[i], &tensors[i]));
        out->tensors = tensors;
        out->count = message->n_tensors;
        break;
    }
    case ATTRIBUTE_GRAPH:
        if (message->subplan < 0 || (size_t)message->subplan >= subplan_count)
            return bad(reader, "attribute", out->name, "a sub-plan that exists");
        out->subgraph = message->subplan;
        break;
    default:
        return bad(reader, "attribute", out->name, "a known kind");
    }
    return single && out->count != 1 ? bad(reader, "attribute", out->name, "one value") : MITRAL_OK;
}

enum { MOST_ATTRIBUTES = 1024 }; /* of a step: names are compared each with each */

static mitral_status decode_attributes(struct reader *reader, struct mitral_plan *plan, const Mitral__Plan__Step *message, struct step *out)
{
    if (message->n_attributes > MOST_ATTRIBUTES)
        return bad(reader, "step", out->name, "at most 1024 attributes");
    out->attributes.items = take(reader, plan, message->n_attributes, sizeof *out->attributes.items);
    if (!out->attributes.items)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < message->n_attributes; i++) {
        if (attribute_has(&out->attributes, message->attributes[i]->name))
            return bad(reader, "step", out->name, "every attribute once");
        mitral_status status = decode_attribute(reader, plan, message->attributes[i], message->n_subplans, &out->attributes.items[i]);
        if (status != MITRAL_OK)
            return mitral_fail_prefix(reader->context, status, "step '%s': ", out->name);
        out->attributes.count++;
    }
    return MITRAL_OK;
}

/* Which values hold something by now, while the steps are gone through in their order. */
static mitral_status decode_ids(struct reader *reader, struct mitral_plan *plan, const char *name, const uint32_t *ids, size_t count,
                                uint32_t **out)
{
    uint32_t *list = *out = take(reader, plan, count, sizeof *list);
    if (!list)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] > plan->value_count)
            return bad(reader, "step", name, "inputs and outputs that exist");
        list[i] = ids[i] ? ids[i] - 1 : NO_ID;
    }
    return MITRAL_OK;
}

static mitral_status follow_step(struct reader *reader, const struct mitral_plan *plan, const struct step *step, bool *known)
{
    for (size_t i = 0; i < step->input_count; i++)
        if (step->inputs[i] != NO_ID && !known[step->inputs[i]])
            return bad(reader, "step", step->name, "inputs that were computed before");
    for (size_t i = 0; i < step->output_count; i++) {
        uint32_t id = step->outputs[i];
        if (id == NO_ID)
            continue;
        if (plan->values[id].role != ROLE_COMPUTED || known[id])
            return bad(reader, "step", step->name, "outputs that are computed once");
        known[id] = true;
    }
    return MITRAL_OK;
}

static mitral_status decode_program(struct reader *reader, struct mitral_plan *plan, const Mitral__Plan__Program *message, int depth);

static mitral_status decode_step(struct reader *reader, struct mitral_plan *plan, const Mitral__Plan__Step *message, struct step *out, int depth)
{
    out->name = keep_text(reader, plan, message->name);
    if (!out->name)
        return MITRAL_NO_MEMORY;
    TRY(kernel_resolve(&out->kernel, reader->context, message->kernel, out->name));
    out->opset = message->opset;
    TRY(decode_ids(reader, plan, out->name, message->inputs, message->n_inputs, &out->inputs));
    TRY(decode_ids(reader, plan, out->name, message->outputs, message->n_outputs, &out->outputs));
    out->input_count = message->n_inputs;
    out->output_count = message->n_outputs;
    TRY(decode_attributes(reader, plan, message, out));
    out->subplans = take(reader, plan, message->n_subplans, sizeof *out->subplans);
    if (!out->subplans)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < message->n_subplans; i++) {
        mitral_status status = plan_create(&out->subplans[i], reader->context);
        if (status != MITRAL_OK)
            return status;
        out->subplan_count++;
        struct mitral_plan *subplan = out->subplans[i];
        subplan->parent = plan;
        subplan->isa = plan->isa;
        subplan->cpu = plan->cpu;
        subplan->threads = plan->threads;
        TRY(decode_program(reader, subplan, message->subplans[i], depth + 1));
    }
    return MITRAL_OK;
}

/* ---- programs ------------------------------------------------------------------------------------------------------ */

static mitral_status decode_interface(struct reader *reader, struct mitral_plan *plan, const Mitral__Plan__Program *message, bool *known)
{
    plan->inputs = take(reader, plan, message->n_inputs, sizeof *plan->inputs);
    plan->outputs = take(reader, plan, message->n_outputs, sizeof *plan->outputs);
    if (!plan->inputs || !plan->outputs)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < message->n_inputs; i++) {
        uint32_t id = message->inputs[i];
        if (id >= plan->value_count || plan->values[id].role != ROLE_INPUT || known[id])
            return mitral_fail(reader->context, MITRAL_CORRUPT, "input %zu: expected an input value, each once", i);
        known[id] = true;
        plan->inputs[plan->input_count++] = id;
    }
    for (size_t i = 0; i < message->n_outputs; i++) {
        if (message->outputs[i] >= plan->value_count)
            return mitral_fail(reader->context, MITRAL_CORRUPT, "output %zu: expected a value that exists", i);
        plan->outputs[plan->output_count++] = message->outputs[i];
    }
    for (size_t v = 0; v < plan->value_count; v++) {
        if (plan->values[v].role == ROLE_CONSTANT || plan->values[v].role == ROLE_VARIABLE)
            known[v] = true;
        if (plan->values[v].role == ROLE_INPUT && !known[v])
            return bad(reader, "value", plan->values[v].name, "an input to be listed as one");
    }
    return MITRAL_OK;
}

static mitral_status decode_steps(struct reader *reader, struct mitral_plan *plan, const Mitral__Plan__Program *message, bool *known, int depth)
{
    TRY(decode_interface(reader, plan, message, known));
    plan->steps = take(reader, plan, message->n_steps, sizeof *plan->steps);
    if (!plan->steps)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < message->n_steps; i++) {
        struct step *step = &plan->steps[plan->step_count++]; /* counted first: what it owns is freed with the plan */
        TRY(decode_step(reader, plan, message->steps[i], step, depth));
        TRY(follow_step(reader, plan, step, known));
    }
    for (size_t i = 0; i < plan->output_count; i++)
        if (!known[plan->outputs[i]])
            return bad(reader, "output", plan->values[plan->outputs[i]].name, "a value that a step computes");
    for (size_t v = 0; v < plan->value_count; v++)
        if (plan->values[v].variable != NO_ID && !known[v])
            return bad(reader, "value", plan->values[v].name, "a variable's next state that a step computes");
    return MITRAL_OK;
}

static mitral_status decode_program(struct reader *reader, struct mitral_plan *plan, const Mitral__Plan__Program *message, int depth)
{
    mitral_context *context = reader->context;
    if (depth > context->options.max_subgraph_depth)
        return mitral_fail(context, MITRAL_LIMIT, "expected sub-plans nested at most %d deep " LIMIT_SUBGRAPH_DEPTH ", found one of depth %d",
                           context->options.max_subgraph_depth, depth);
    if (message->n_values >= NO_ID)
        return mitral_fail(context, MITRAL_LIMIT, "expected fewer than 2^32 values");
    plan->exact = message->exact;
    plan->values = take(reader, plan, message->n_values, sizeof *plan->values);
    if (!plan->values)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < message->n_values; i++) {
        TRY(decode_value(reader, plan, message->values[i], message->n_values, &plan->values[i]));
        plan->value_count++;
    }
    for (size_t i = 0; i < plan->value_count; i++)
        TRY(check_variable(reader, plan, &plan->values[i]));
    bool *known = mitral_allocate(context, plan->value_count + 1);
    if (!known)
        return MITRAL_NO_MEMORY;
    mitral_status status = decode_steps(reader, plan, message, known, depth);
    mitral_release(context, known);
    return status;
}

mitral_status plan_decode(mitral_context *context, struct mitral_plan *plan, const Mitral__Plan__Plan *message, const char *section,
                          uint64_t section_size)
{
    struct reader reader = {.context = context, .section = section, .section_size = section_size};
    if (!message->program)
        return mitral_fail(context, MITRAL_CORRUPT, "expected a plan with steps, found none");
    plan->isa = keep_text(&reader, plan, message->isa);
    plan->cpu = keep_text(&reader, plan, message->cpu);
    plan->threads = message->threads > 0 ? message->threads : 1;
    plan->metadata = take(&reader, plan, message->n_metadata, sizeof *plan->metadata);
    if (!plan->isa || !plan->cpu || !plan->metadata)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < message->n_metadata; i++) {
        plan->metadata[i].key = keep_text(&reader, plan, message->metadata[i]->key);
        plan->metadata[i].value = keep_text(&reader, plan, message->metadata[i]->value);
        if (!plan->metadata[i].key || !plan->metadata[i].value)
            return MITRAL_NO_MEMORY;
        plan->metadata_count++;
    }
    return decode_program(&reader, plan, message->program, 0);
}
