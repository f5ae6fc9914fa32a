/* Whole files: read as one piece, written whole or not at all. */
#ifndef MITRAL_RUNTIME_FILE_H
#define MITRAL_RUNTIME_FILE_H

#include "runtime/context.h"

/* A regular file, mapped read-only. */
struct file_mapping {
    const void *data; /* never NULL after success, also for an empty file */
    size_t size;
    void *mapping;    /* NULL: nothing is mapped (empty file) */
};

/* MITRAL_IO when there is no such regular file or it cannot be read. */
mitral_status file_map(struct file_mapping *out, mitral_context *context, const char *path);
void file_unmap(struct file_mapping *map); /* safe on a zeroed or unmapped one */

/* Where a file_write_whole callback puts its bytes, in order. */
struct file_writer;
mitral_status file_append(struct file_writer *writer, const void *bytes, size_t size);
mitral_status file_append_zeros(struct file_writer *writer, size_t size);
uint64_t file_position(const struct file_writer *writer); /* bytes appended so far */
/* Puts bytes in place of some that were appended earlier: a header whose checksum is known at the end. */
mitral_status file_patch(struct file_writer *writer, uint64_t position, const void *bytes, size_t size);

/* Writes `path` through a file beside it that is renamed over it when `write` and every operating system call have succeeded:
 * whoever looks sees the old file or the whole new one. On failure nothing is left behind and `path` is as it was. Where
 * `path` is a device or a pipe, its bytes go there directly (then file_patch fails). */
mitral_status file_write_whole(mitral_context *context, const char *path,
                               mitral_status (*write)(struct file_writer *writer, void *user), void *user);
/* Before long work whose result goes there: fails where writing would fail at its beginning (a folder that is missing or closed). */
mitral_status file_check_target(mitral_context *context, const char *path);
/* Fails where `path` is the very file `input` (by whatever name), which writing there would lose; also where neither is there yet and both
 * would be written. Devices and pipes are never refused. */
mitral_status file_check_apart(mitral_context *context, const char *path, const char *input);
/* file_write_whole for bytes that are in memory already. */
mitral_status file_write_bytes(mitral_context *context, const char *path, const void *bytes, size_t size);

#endif
