/* Arbitrary bytes as a plan file: opened, verified, saved again, run. Its checksum is put right first, so that damage reaches what
 * lies behind it; then the bytes are tried as they are. */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz_plan_run.h"
#include "runtime/plan_file.h"

static void open_bytes(const uint8_t *data, size_t size)
{
    char path[64];
    int file = memfd_create("plan", MFD_CLOEXEC);
    if (file < 0 || write(file, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    mitral_context *context = fuzz_context();
    mitral_plan *plan;
    mitral_status status = mitral_plan_open(&plan, context, path);
    if (status == MITRAL_OK) {
        (void)mitral_plan_verify(context, plan);
        for (size_t i = 0; i < mitral_plan_input_count(plan); i++)
            (void)mitral_plan_input(plan, i);
        (void)mitral_plan_metadata(plan, "none");
        if (mitral_plan_save(context, plan, "/dev/null") == MITRAL_OK)
            fuzz_fail("a device cannot be patched", context);
        fuzz_run_plan(context, plan);
        mitral_plan_destroy(&plan);
    } else if (!*mitral_context_message(context)) {
        fuzz_fail("a failure without a message", context);
    }
    mitral_context_destroy(&context);
    close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    open_bytes(data, size);
    struct plan_header header;
    if (size < sizeof header)
        return 0;
    /* A file in which everything that the header says of the metadata's place holds. */
    memcpy(&header, data, sizeof header);
    uint64_t metadata = header.metadata_size < size - sizeof header ? header.metadata_size : size - sizeof header;
    uint64_t section = (sizeof header + metadata + PLAN_PAGE - 1) / PLAN_PAGE * PLAN_PAGE;
    uint64_t rest = section < size ? size - section : 0;
    header = (struct plan_header){.magic = PLAN_MAGIC, .format = PLAN_FORMAT, .endian = PLAN_ENDIAN, .metadata_offset = sizeof header,
                                  .metadata_size = metadata, .section_offset = section, .section_size = rest};
    uint8_t *fixed = calloc(1, section + rest);
    if (!fixed)
        return 0;
    memcpy(fixed + sizeof header, data + sizeof header, metadata);
    if (rest)
        memcpy(fixed + section, data + section, rest);
    header.metadata_checksum = plan_metadata_checksum(&header, fixed + sizeof header);
    memcpy(fixed, &header, sizeof header);
    open_bytes(fixed, section + rest);
    free(fixed);
    return 0;
}
