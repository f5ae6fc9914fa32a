#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "runtime/file.h"
#include "runtime/plan_file.h"

static mitral_context *context;
static char path[64];

static int start(void **state)
{
    (void)state;
    context = test_context();
    strcpy(path, "/tmp/mitral_plan_XXXXXX");
    int file = mkstemp(path);
    return file < 0 ? -1 : close(file);
}

static int stop(void **state)
{
    (void)state;
    mitral_context_destroy(&context);
    return unlink(path);
}

/* ---- a plan with everything in it ---------------------------------------------------------------------------------- */

static uint32_t *ids(struct mitral_plan *plan, size_t count, ...)
{
    uint32_t *list = arena_allocate(&plan->arena, (count + 1) * sizeof *list);
    va_list arguments;
    va_start(arguments, count);
    for (size_t i = 0; i < count; i++)
        list[i] = va_arg(arguments, uint32_t);
    va_end(arguments);
    return list;
}

static const float weights[6] = {1, 2, 3, 4, 5, 6};
static const mitral_string words[2] = {{"ab\0c", 4}, {"", 0}};
static const struct mitral_packing packing = {"scheme", "8i16o", 24};

static struct plan_value *add_value(struct mitral_plan *plan, const char *name, int32_t role, int32_t dtype, int32_t rank, int64_t first)
{
    struct plan_value *value = &plan->values[plan->value_count++];
    *value = (struct plan_value){.name = name, .role = role, .dtype = dtype, .rank = rank, .variable = NO_ID};
    if (rank > 0)
        value->dims[0] = first;
    return value;
}

static void set_constant(struct plan_value *value, const void *data)
{
    tensor_set(&value->constant, value->dtype, value->rank, value->dims);
    value->constant.data = (void *)data;
}

static struct step *add_step(struct mitral_plan *plan, const char *kernel, const char *name)
{
    struct step *step = &plan->steps[plan->step_count++];
    *step = (struct step){.kernel = kernel_find(kernel), .name = name, .opset = 14};
    assert_non_null(step->kernel);
    return step;
}

static struct mitral_plan *make_subplan(struct mitral_plan *parent)
{
    struct mitral_plan *plan;
    assert_ok(context, plan_create(&plan, context));
    plan->parent = parent;
    plan->values = arena_allocate(&plan->arena, 4 * sizeof *plan->values);
    plan->steps = arena_allocate(&plan->arena, 4 * sizeof *plan->steps);
    add_value(plan, "in", ROLE_INPUT, MITRAL_FLOAT, 1, -1);
    add_value(plan, "out", ROLE_COMPUTED, MITRAL_FLOAT, 1, -1);
    set_constant(add_value(plan, "inner", ROLE_CONSTANT, MITRAL_FLOAT, 1, 3), weights);
    struct step *step = add_step(plan, "Add", "inside");
    step->inputs = ids(plan, 2, 0u, 2u);
    step->input_count = 2;
    step->outputs = ids(plan, 1, 1u);
    step->output_count = 1;
    plan->inputs = ids(plan, 1, 0u);
    plan->outputs = ids(plan, 1, 1u);
    plan->input_count = plan->output_count = 1;
    return plan;
}

static struct mitral_plan *make_plan(void)
{
    struct mitral_plan *plan;
    assert_ok(context, plan_create(&plan, context));
    plan->values = arena_allocate(&plan->arena, 16 * sizeof *plan->values);
    plan->steps = arena_allocate(&plan->arena, 16 * sizeof *plan->steps);
    struct plan_value *x = add_value(plan, "x", ROLE_INPUT, MITRAL_FLOAT, 1, -1); /* 0 */
    x->symbols[0] = "N";
    set_constant(add_value(plan, "w", ROLE_CONSTANT, MITRAL_FLOAT, 1, 3), weights); /* 1 */
    set_constant(add_value(plan, "words", ROLE_CONSTANT, MITRAL_STRING, 1, 2), words); /* 2 */
    struct plan_value *packed = add_value(plan, "packed", ROLE_CONSTANT, MITRAL_FLOAT, 1, 5); /* 3 */
    set_constant(packed, weights);
    packed->constant.packing = &packing;
    packed->constant.layout = LAYOUT_PACKED;
    set_constant(add_value(plan, "v", ROLE_VARIABLE, MITRAL_FLOAT, 1, 3), weights + 3); /* 4 */
    add_value(plan, "next", ROLE_COMPUTED, MITRAL_FLOAT, 1, 3)->variable = 4; /* 5 */
    add_value(plan, "y", ROLE_COMPUTED, MITRAL_FLOAT, 1, -1)->keep = true; /* 6 */
    add_value(plan, "z", ROLE_COMPUTED, MITRAL_UNDEFINED, -1, 0)->kind = MITRAL_SEQUENCE; /* 7 */
    struct step *step = add_step(plan, "Add", "sum");
    step->inputs = ids(plan, 2, 4u, 1u);
    step->outputs = ids(plan, 1, 5u);
    step->input_count = 2;
    step->output_count = 1;
    static const mitral_tensor attribute_tensor = {.dtype = MITRAL_FLOAT, .rank = 1, .dims = {2}, .data = (void *)weights};
    struct arena *arena = &plan->arena;
    assert_ok(context, attributes_set_int(&step->attributes, arena, "int", INT64_MIN));
    assert_ok(context, attributes_set_ints(&step->attributes, arena, "ints", (const int64_t[]){-1, INT64_MAX}, 2));
    assert_ok(context, attributes_set_float(&step->attributes, arena, "float", -0.0f));
    assert_ok(context, attributes_set_floats(&step->attributes, arena, "none", NULL, 0));
    assert_ok(context, attributes_set_string(&step->attributes, arena, "string", "text"));
    assert_ok(context, attributes_set(&step->attributes, arena,
                                      &(struct attribute){.name = "strings", .kind = ATTRIBUTE_STRINGS, .count = 2, .strings = words}));
    assert_ok(context, attributes_set(&step->attributes, arena, &(struct attribute){.name = "tensor", .kind = ATTRIBUTE_TENSOR, .count = 1,
                                                                                   .tensors = &attribute_tensor}));
    step = add_step(plan, "If", "branch");
    step->inputs = ids(plan, 2, NO_ID, 0u);
    step->outputs = ids(plan, 3, 6u, NO_ID, 7u);
    step->input_count = 2;
    step->output_count = 3;
    step->subplans = arena_allocate(arena, 2 * sizeof *step->subplans);
    for (size_t i = 0; i < 2; i++) {
        step->subplans[step->subplan_count++] = make_subplan(plan);
        assert_ok(context, attributes_set(&step->attributes, arena, &(struct attribute){.name = i ? "else_branch" : "then_branch",
                                                                                       .kind = ATTRIBUTE_GRAPH, .count = 1,
                                                                                       .subgraph = (int32_t)i}));
    }
    plan->inputs = ids(plan, 1, 0u);
    plan->outputs = ids(plan, 2, 6u, 2u);
    plan->input_count = 1;
    plan->output_count = 2;
    plan->metadata = arena_allocate(arena, sizeof *plan->metadata);
    plan->metadata[0] = (struct plan_property){"key", "value"};
    plan->metadata_count = 1;
    plan->isa = "avx2";
    plan->cpu = "some processor";
    plan->threads = 2;
    plan->exact = true;
    return plan;
}

static void write_plan(void)
{
    struct mitral_plan *plan = make_plan();
    assert_ok(context, plan_write(context, plan, path));
    mitral_plan_destroy(&plan);
}

static struct mitral_plan *read_plan(void)
{
    struct mitral_plan *plan;
    assert_ok(context, plan_read(&plan, context, path));
    return plan;
}

/* ---- what comes back ----------------------------------------------------------------------------------------------- */

static void everything_comes_back(void **state)
{
    (void)state;
    write_plan();
    struct mitral_plan *plan = read_plan();
    assert_ok(context, mitral_plan_verify(context, plan));
    assert_int_equal(plan->value_count, 8);
    assert_string_equal(plan->isa, "avx2");
    assert_string_equal(plan->cpu, "some processor");
    assert_int_equal(plan->threads, 2);
    assert_true(plan->exact);
    assert_string_equal(mitral_plan_metadata(plan, "key"), "value");
    assert_string_equal(plan->values[0].symbols[0], "N");
    assert_int_equal(plan->values[0].dims[0], -1);
    assert_memory_equal(plan->values[1].constant.data, weights, 12);
    const mitral_string *strings = plan->values[2].constant.data;
    assert_int_equal(strings[0].size, 4);
    assert_memory_equal(strings[0].data, "ab\0c", 4);
    assert_int_equal(strings[1].size, 0);
    const mitral_tensor *packed = &plan->values[3].constant;
    assert_string_equal(packed->packing->scheme, "scheme");
    assert_string_equal(packed->packing->description, "8i16o");
    assert_int_equal(packed->packing->bytes, 24);
    assert_int_equal(packed->layout, LAYOUT_PACKED);
    assert_memory_equal(packed->data, weights, 24);
    assert_int_equal(plan->values[4].role, ROLE_VARIABLE);
    assert_int_equal(plan->values[5].variable, 4);
    assert_int_equal(plan->values[6].variable, NO_ID);
    assert_true(plan->values[6].keep);
    assert_int_equal(plan->values[7].kind, MITRAL_SEQUENCE);
    assert_int_equal(plan->values[7].rank, -1);
    const struct attributes *attributes = &plan->steps[0].attributes;
    assert_ptr_equal(plan->steps[0].kernel, kernel_find("Add"));
    assert_int_equal(plan->steps[0].opset, 14);
    assert_true(attribute_int(attributes, "int", 0) == INT64_MIN);
    size_t count;
    const int64_t *ints = attribute_ints(attributes, "ints", &count);
    assert_int_equal(count, 2);
    assert_true(ints[0] == -1 && ints[1] == INT64_MAX);
    assert_true(1 / attribute_float(attributes, "float", 1) < 0);
    assert_int_equal(attribute_find(attributes, "none")->count, 0);
    assert_string_equal(attribute_string(attributes, "string", ""), "text");
    assert_memory_equal(attribute_strings(attributes, "strings", &count)[0].data, "ab\0c", 5);
    assert_memory_equal(attribute_tensor(attributes, "tensor")->data, weights, 8);
    const struct step *branch = &plan->steps[1];
    assert_int_equal(branch->inputs[0], NO_ID);
    assert_int_equal(branch->outputs[1], NO_ID);
    assert_int_equal(branch->subplan_count, 2);
    assert_int_equal(attribute_subgraph(&branch->attributes, "else_branch"), 1);
    const struct mitral_plan *inner = branch->subplans[1];
    assert_ptr_equal(inner->parent, plan);
    assert_string_equal(inner->steps[0].name, "inside");
    assert_memory_equal(inner->values[2].constant.data, weights, 12);
    mitral_plan_destroy(&plan);
}

static void constants_are_mapped_and_aligned(void **state)
{
    (void)state;
    write_plan();
    struct mitral_plan *plan = read_plan();
    const char *mapping = plan->mapping;
    assert_non_null(mapping);
    const void *data[] = {plan->values[1].constant.data, plan->values[3].constant.data, plan->values[4].constant.data,
                          plan->steps[1].subplans[0]->values[2].constant.data};
    for (size_t i = 0; i < sizeof data / sizeof *data; i++) {
        assert_true((const char *)data[i] >= mapping && (const char *)data[i] < mapping + plan->mapping_size);
        assert_int_equal((uintptr_t)data[i] % 64, 0);
    }
    struct plan_header header;
    memcpy(&header, mapping, sizeof header);
    assert_int_equal(header.section_offset % 4096, 0);
    mitral_plan_destroy(&plan);
}

static void the_same_plan_gives_the_same_bytes(void **state)
{
    (void)state;
    write_plan();
    struct file_mapping first, second, third;
    assert_ok(context, file_map(&first, context, path)); /* the old file stays mapped when a new one takes its name */
    write_plan();
    assert_ok(context, file_map(&second, context, path));
    struct mitral_plan *plan = read_plan();
    assert_ok(context, mitral_plan_save(context, plan, path)); /* over the file that it is mapped from */
    assert_ok(context, mitral_plan_verify(context, plan));
    mitral_plan_destroy(&plan);
    assert_ok(context, file_map(&third, context, path));
    assert_int_equal(first.size, second.size);
    assert_int_equal(first.size, third.size);
    assert_memory_equal(first.data, second.data, first.size);
    assert_memory_equal(first.data, third.data, first.size);
    file_unmap(&first);
    file_unmap(&second);
    file_unmap(&third);
}

/* ---- damage -------------------------------------------------------------------------------------------------------- */

struct bytes {
    char *data;
    size_t size;
};

static struct bytes load(void)
{
    struct file_mapping file;
    assert_ok(context, file_map(&file, context, path));
    struct bytes bytes = {malloc(file.size + 1), file.size};
    memcpy(bytes.data, file.data, file.size);
    file_unmap(&file);
    return bytes;
}

static mitral_status open_bytes(const char *data, size_t size)
{
    char name[64];
    int file = memfd_create("plan", MFD_CLOEXEC);
    assert_true(file >= 0 && write(file, data, size) == (ssize_t)size);
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    struct mitral_plan *plan;
    mitral_status status = mitral_plan_open(&plan, context, name);
    if (status == MITRAL_OK)
        status = mitral_plan_verify(context, plan);
    else
        assert_null(plan);
    mitral_plan_destroy(&plan);
    close(file);
    return status;
}

static void refuses_truncated_files(void **state)
{
    (void)state;
    write_plan();
    struct bytes bytes = load();
    assert_int_equal(open_bytes(bytes.data, bytes.size), MITRAL_OK);
    for (size_t size = 0; size < bytes.size; size += size < 8000 ? 1 : 61) {
        mitral_status status = open_bytes(bytes.data, size);
        assert_int_equal(status, size < 8 ? MITRAL_INVALID : MITRAL_CORRUPT);
        assert_true(*mitral_context_message(context));
    }
    bytes.data[bytes.size] = 0; /* longer is not right either */
    assert_int_equal(open_bytes(bytes.data, bytes.size + 1), MITRAL_CORRUPT);
    free(bytes.data);
}

/* Any one byte changed anywhere is noticed: in the header and the metadata when the file is opened, in the weights by verify. */
static void notices_every_altered_byte(void **state)
{
    (void)state;
    write_plan();
    struct bytes bytes = load();
    for (size_t at = 0; at < bytes.size; at++) {
        bytes.data[at] ^= 0x20;
        mitral_status status = open_bytes(bytes.data, bytes.size);
        if (status != MITRAL_CORRUPT && !(status == MITRAL_INVALID && at < 8) && !(status == MITRAL_UNSUPPORTED && at >= 8 && at < 16))
            fail_msg("byte %zu: expected a corrupt plan, found status %d", at, status);
        bytes.data[at] ^= 0x20;
    }
    free(bytes.data);
}

static void refuses_other_files(void **state)
{
    (void)state;
    assert_int_equal(open_bytes("", 0), MITRAL_INVALID);
    assert_int_equal(open_bytes("MITRAL", 6), MITRAL_INVALID);
    assert_int_equal(open_bytes("not a plan at all, but long enough to hold the header of sixty-four bytes", 70), MITRAL_INVALID);
    struct mitral_plan *plan;
    assert_int_equal(mitral_plan_open(&plan, context, "/nonexistent/plan"), MITRAL_IO);
    assert_null(plan);
}

static void refuses_other_versions(void **state)
{
    (void)state;
    write_plan();
    struct bytes bytes = load();
    bytes.data[8] = PLAN_FORMAT + 1;
    assert_int_equal(open_bytes(bytes.data, bytes.size), MITRAL_UNSUPPORTED);
    assert_non_null(strstr(mitral_context_message(context), "compile the model again"));
    bytes.data[8] = PLAN_FORMAT;
    struct plan_header *header = (struct plan_header *)(void *)bytes.data;
    header->endian = __builtin_bswap32(PLAN_ENDIAN);
    assert_int_equal(open_bytes(bytes.data, bytes.size), MITRAL_UNSUPPORTED);
    assert_non_null(strstr(mitral_context_message(context), "expected this machine's byte order"));
    free(bytes.data);
}

/* ---- files that are whole but say what cannot be ------------------------------------------------------------------- */

/* The plan's metadata, changed by `change` and packed again with a right checksum. */
static mitral_status open_changed(void (*change)(Mitral__Plan__Plan *))
{
    struct bytes bytes = load();
    struct plan_header header;
    memcpy(&header, bytes.data, sizeof header);
    Mitral__Plan__Plan *message =
        mitral__plan__plan__unpack(NULL, (size_t)header.metadata_size, (const uint8_t *)bytes.data + sizeof header);
    assert_non_null(message);
    if (change)
        change(message);
    size_t size = mitral__plan__plan__get_packed_size(message);
    size_t section = (sizeof header + size + PLAN_PAGE - 1) / PLAN_PAGE * PLAN_PAGE;
    char *file = calloc(1, section + header.section_size);
    mitral__plan__plan__pack(message, (uint8_t *)file + sizeof header);
    memcpy(file + section, bytes.data + header.section_offset, header.section_size);
    header.metadata_size = size;
    header.section_offset = section;
    header.metadata_checksum = plan_metadata_checksum(&header, file + sizeof header);
    memcpy(file, &header, sizeof header);
    mitral_status status = open_bytes(file, section + header.section_size);
    mitral__plan__plan__free_unpacked(message, NULL);
    free(file);
    free(bytes.data);
    return status;
}

#define CHANGE(name, ...)                                                                                              \
    static void name(Mitral__Plan__Plan *plan)                                                                        \
    {                                                                                                                  \
        Mitral__Plan__Program *program = plan->program;                                                               \
        __VA_ARGS__;                                                                                                   \
    }
CHANGE(bad_input_id, program->inputs[0] = 1000)
CHANGE(input_that_is_none, program->inputs[0] = 6)
CHANGE(bad_output_id, program->outputs[0] = 1000)
CHANGE(output_never_computed, program->steps[1]->outputs[0] = 0)
CHANGE(bad_step_input, program->steps[0]->inputs[0] = 1000)
CHANGE(bad_step_output, program->steps[0]->outputs[0] = UINT32_MAX)
CHANGE(step_before_its_input, program->steps[0]->inputs[0] = 7 + 1)
CHANGE(step_writes_constant, program->steps[0]->outputs[0] = 1 + 1)
CHANGE(computed_twice, program->steps[1]->outputs[0] = 5 + 1)
CHANGE(bad_kind, program->values[0]->kind = 4)
CHANGE(bad_dtype, program->values[0]->dtype = 1000)
CHANGE(bad_role, program->values[0]->role = -1)
CHANGE(bad_layout, program->values[0]->layout = 3)
CHANGE(bad_rank, program->values[0]->rank = 13)
CHANGE(rank_without_dims, program->values[0]->rank = 2)
CHANGE(negative_dim, program->values[0]->dims[0] = -2)
CHANGE(bad_variable, program->values[5]->variable = 1000)
CHANGE(variable_of_no_variable, program->values[5]->variable = 1 + 1)
CHANGE(variable_of_other_size, program->values[5]->dims[0] = 300)
CHANGE(constant_past_the_end, program->values[1]->constant->offset = 1 << 20)
CHANGE(constant_off_alignment, program->values[1]->constant->offset = 4)
CHANGE(constant_too_long, program->values[1]->constant->size = UINT64_MAX)
CHANGE(constant_of_other_size, program->values[1]->constant->dims[0] = 300)
CHANGE(constant_absurd, program->values[1]->constant->dims[0] = INT64_MAX)
CHANGE(constant_negative, program->values[1]->constant->dims[0] = -3)
CHANGE(constant_of_no_type, program->values[1]->constant->dtype = 0)
CHANGE(constant_packed_without_scheme, program->values[1]->constant->layout = LAYOUT_PACKED)
CHANGE(constant_sequence, program->values[1]->kind = MITRAL_SEQUENCE)
CHANGE(strings_that_do_not_fit, program->values[2]->constant->size -= 1)
CHANGE(strings_without_lengths, program->values[2]->constant->dims[0] = 1000)
CHANGE(numbers_as_strings, program->values[1]->constant->dtype = MITRAL_STRING)
CHANGE(bad_attribute_kind, program->steps[0]->attributes[0]->kind = 0)
CHANGE(attribute_without_value, program->steps[0]->attributes[0]->kind = ATTRIBUTE_FLOAT)
CHANGE(bad_attribute_subplan, program->steps[1]->attributes[0]->subplan = 2)
CHANGE(negative_attribute_subplan, program->steps[1]->attributes[0]->subplan = -1)
CHANGE(inner_bad_output, program->steps[1]->subplans[0]->outputs[0] = 3)
CHANGE(inner_bad_constant, program->steps[1]->subplans[1]->values[2]->constant->offset = UINT64_MAX)

static void unknown_kernel(Mitral__Plan__Plan *plan)
{
    free(plan->program->steps[0]->kernel);
    plan->program->steps[0]->kernel = strdup("NoSuchKernel");
}

static void whole_files_are_checked_too(void **state)
{
    (void)state;
    static void (*const changes[])(Mitral__Plan__Plan *) = {
        bad_input_id, input_that_is_none, bad_output_id, output_never_computed, bad_step_input, bad_step_output, step_before_its_input,
        step_writes_constant, computed_twice, bad_kind, bad_dtype, bad_role, bad_layout, bad_rank, rank_without_dims, negative_dim,
        bad_variable, variable_of_no_variable, variable_of_other_size, constant_past_the_end, constant_off_alignment, constant_too_long,
        constant_of_other_size, constant_absurd, constant_negative, constant_of_no_type, constant_packed_without_scheme, constant_sequence,
        strings_that_do_not_fit, strings_without_lengths, numbers_as_strings, bad_attribute_kind, attribute_without_value,
        bad_attribute_subplan, negative_attribute_subplan, inner_bad_output, inner_bad_constant};
    write_plan();
    assert_int_equal(open_changed(NULL), MITRAL_OK);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        mitral_status status = open_changed(changes[i]);
        if (status != MITRAL_CORRUPT)
            fail_msg("change %zu: expected a corrupt plan, found status %d: %s", i, status, mitral_context_message(context));
    }
    assert_int_equal(open_changed(unknown_kernel), MITRAL_UNSUPPORTED);
    assert_non_null(strstr(mitral_context_message(context), "NoSuchKernel"));
}

/* Sub-plans in sub-plans: deeper than protobuf-c may be trusted with. */
static void nesting_is_bounded(void **state)
{
    (void)state;
    enum { LEVELS = 20000, BYTES = 200000 };
    uint8_t *buffer = calloc(1, BYTES), *end = buffer + BYTES;
    size_t size = 0;
    /* From the inside out: program.steps (2) and step.subplans (7) in turn; outermost plan.program (1). */
    for (int i = 0; i <= LEVELS; i++) {
        uint8_t length[5];
        size_t bytes = 0, left = size;
        do {
            length[bytes++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
            left >>= 7;
        } while (left);
        memcpy(end - size - bytes, length, bytes);
        size += bytes;
        end[-(ptrdiff_t)(++size)] = (uint8_t)((i == LEVELS ? 1 : i % 2 ? 2 : 7) << 3 | 2);
    }
    struct plan_header header = {.magic = PLAN_MAGIC, .format = PLAN_FORMAT, .endian = PLAN_ENDIAN, .metadata_offset = sizeof header,
                                 .metadata_size = size};
    header.section_offset = (sizeof header + size + PLAN_PAGE - 1) / PLAN_PAGE * PLAN_PAGE;
    header.section_checksum = XXH3_64bits("", 0);
    header.metadata_checksum = plan_metadata_checksum(&header, end - size);
    char *file = calloc(1, header.section_offset);
    memcpy(file, &header, sizeof header);
    memcpy(file + sizeof header, end - size, size);
    assert_int_equal(open_bytes(file, header.section_offset), MITRAL_LIMIT);
    free(file);
    free(buffer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(everything_comes_back), TEST(constants_are_mapped_and_aligned), TEST(the_same_plan_gives_the_same_bytes),
        TEST(refuses_truncated_files), TEST(notices_every_altered_byte), TEST(refuses_other_files), TEST(refuses_other_versions),
        TEST(whole_files_are_checked_too), TEST(nesting_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
