/* What the reader and the writer of plan files share. */
#ifndef MITRAL_RUNTIME_PLAN_FILE_H
#define MITRAL_RUNTIME_PLAN_FILE_H

#include "runtime/plan.h"
#include "schemas/plan.pb-c.h"

enum {
    PLAN_FORMAT = 1,
    PLAN_PAGE = 4096,      /* alignment of the constants' section in the file */
    PLAN_ALIGNMENT = 64,   /* of each constant in the section */
    PLAN_ENDIAN = 0x01020304
};

/* The first 64 bytes of a plan file, little-endian. */
struct plan_header {
    char magic[8]; /* PLAN_MAGIC */
    uint32_t format;
    uint32_t endian;
    uint64_t metadata_offset, metadata_size;
    uint64_t metadata_checksum; /* XXH3 of this header with the field 0, followed by the metadata */
    uint64_t section_offset, section_size;
    uint64_t section_checksum;  /* XXH3 of the constants' section, padding included */
};
_Static_assert(sizeof(struct plan_header) == 64, "the header is 64 bytes without holes");
#define PLAN_MAGIC "MITRALPL"

uint64_t plan_metadata_checksum(const struct plan_header *header, const void *metadata);

/* Fills a plan (plan_create has made it) from its unpacked metadata; constants point into `section`. */
mitral_status plan_decode(mitral_context *context, struct mitral_plan *plan, const Mitral__Plan__Plan *message, const char *section,
                          uint64_t section_size);

#endif
