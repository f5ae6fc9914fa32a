/* Plan files as a whole: the header, checksums, opening and verifying. */
#include "runtime/plan_file.h"

#include <string.h>
#include <xxhash.h>

#include "runtime/file.h"
#include "runtime/wire.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "plan files are little-endian and are mapped as they are");

uint64_t plan_metadata_checksum(const struct plan_header *header, const void *metadata)
{
    struct plan_header blank = *header;
    blank.metadata_checksum = 0;
    uint64_t seed = XXH3_64bits(&blank, sizeof blank);
    return XXH3_64bits_withSeed(metadata, (size_t)header->metadata_size, seed);
}

static mitral_status corrupt(mitral_context *context, const char *path, const char *expected)
{
    return mitral_fail(context, MITRAL_CORRUPT, "'%s': expected %s: the plan is truncated or was altered", path, expected);
}

/* Everything in the header is checked against the file's size and against the checksum, so that the rest may rely on it. */
static mitral_status check_header(mitral_context *context, const char *path, const char *file, uint64_t size, struct plan_header *header)
{
    size_t magic = strlen(PLAN_MAGIC);
    if (size < magic || memcmp(file, PLAN_MAGIC, magic) != 0)
        return mitral_fail(context, MITRAL_INVALID, "'%s': expected a mitral plan, found another kind of file", path);
    if (size < sizeof *header)
        return corrupt(context, path, "a header of 64 bytes");
    memcpy(header, file, sizeof *header);
    if (header->endian != PLAN_ENDIAN)
        return mitral_fail(context, MITRAL_UNSUPPORTED, "'%s': expected this machine's byte order (%#x), found %#x: compile the model again", path,
                           PLAN_ENDIAN, header->endian);
    if (header->format != PLAN_FORMAT)
        return mitral_fail(context, MITRAL_UNSUPPORTED, "'%s': expected plan format %d, found %u: compile the model again", path, PLAN_FORMAT,
                           header->format);
    if (header->metadata_offset != sizeof *header || header->metadata_size > size - sizeof *header)
        return corrupt(context, path, "the metadata to lie in the file");
    uint64_t end = sizeof *header + header->metadata_size;
    uint64_t section = (end + PLAN_PAGE - 1) / PLAN_PAGE * PLAN_PAGE;
    if (header->section_offset != section || section > size || header->section_size != size - section)
        return corrupt(context, path, "the constants to fill the rest of the file");
    if (plan_metadata_checksum(header, file + sizeof *header) != header->metadata_checksum)
        return corrupt(context, path, "the metadata to have the checksum that the header says");
    for (uint64_t i = end; i < section; i++)
        if (file[i])
            return corrupt(context, path, "zeros between metadata and constants");
    return MITRAL_OK;
}

/* protobuf-c takes its memory from the caller's allocator too. */
static void *unpack_allocate(void *user, size_t size)
{
    return mitral_allocate_raw(user, size);
}

static void unpack_release(void *user, void *pointer)
{
    mitral_release(user, pointer);
}

static mitral_status decode(mitral_context *context, struct mitral_plan *plan, const char *path, const struct plan_header *header)
{
    const char *file = plan->mapping;
    const void *metadata = file + header->metadata_offset;
    size_t size = (size_t)header->metadata_size, unpacked;
    TRY(wire_check(context, path, metadata, size, &mitral__plan__plan__descriptor, &unpacked));
    if (unpacked / 16 > size + ((size_t)1 << 26))
        return mitral_fail(context, MITRAL_LIMIT, "'%s': expected metadata that take at most 16 times their size, found more", path);
    ProtobufCAllocator allocator = {unpack_allocate, unpack_release, context};
    context->message[0] = '\0';
    Mitral__Plan__Plan *message = mitral__plan__plan__unpack(&allocator, size, metadata);
    if (!message)
        return context->message[0] ? MITRAL_NO_MEMORY : corrupt(context, path, "metadata of a plan");
    mitral_status status = plan_decode(context, plan, message, file + header->section_offset, header->section_size);
    mitral__plan__plan__free_unpacked(message, &allocator);
    return status == MITRAL_OK ? status : mitral_fail_prefix(context, status, "'%s': ", path);
}

mitral_status plan_read(struct mitral_plan **out, mitral_context *context, const char *path)
{
    *out = NULL;
    struct file_mapping file;
    TRY(file_map(&file, context, path));
    struct plan_header header;
    mitral_status status = check_header(context, path, file.data, file.size, &header);
    struct mitral_plan *plan = NULL;
    if (status == MITRAL_OK)
        status = plan_create(&plan, context);
    if (status != MITRAL_OK) {
        file_unmap(&file);
        return status;
    }
    plan->mapping = file.mapping; /* from here on the plan's */
    plan->mapping_size = file.size;
    status = decode(context, plan, path, &header);
    if (status == MITRAL_OK)
        *out = plan;
    else
        mitral_plan_destroy(&plan);
    return status;
}

/* ---- the public calls ---------------------------------------------------------------------------------------------- */

mitral_status mitral_plan_open(mitral_plan **out, mitral_context *context, const char *path)
{
    return plan_read(out, context, path);
}

mitral_status mitral_plan_save(mitral_context *context, const mitral_plan *plan, const char *path)
{
    return plan_write(context, plan, path);
}

mitral_status mitral_plan_verify(mitral_context *context, const mitral_plan *plan)
{
    if (!plan->mapping) /* made in this process: there is no file to compare with */
        return MITRAL_OK;
    const char *file = plan->mapping;
    struct plan_header header;
    memcpy(&header, file, sizeof header);
    if (plan_metadata_checksum(&header, file + sizeof header) != header.metadata_checksum)
        return mitral_fail(context, MITRAL_CORRUPT, "plan: expected the metadata to have the checksum that the header says: they were altered");
    if (XXH3_64bits(file + header.section_offset, (size_t)header.section_size) != header.section_checksum)
        return mitral_fail(context, MITRAL_CORRUPT, "plan: expected the constants to have the checksum that the header says: they were altered");
    return MITRAL_OK;
}
