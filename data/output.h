/* Output files that appear only when they are complete: written aside in the same folder, then renamed. */
#ifndef MITRAL_DATA_OUTPUT_H
#define MITRAL_DATA_OUTPUT_H

#include <stdio.h>
#include <zlib.h>

#include "runtime/context.h"

struct output_file {
    char *path;      /* the final name; a symbolic link is followed */
    char *aside;     /* the name while writing; NULL when `path` is a device or a pipe, which is written directly */
    int descriptor;  /* -1 once a stream owns it */
    gzFile stream;   /* of output_stream */
};

mitral_status output_open(struct output_file *out, mitral_context *context, const char *path);
/* A zlib stream on the file: compressing at `level` (1 … 9), or passing bytes through when level is 0. The same bytes give the same
 * file: no time and no name go into the gzip header. */
mitral_status output_stream(struct output_file *file, mitral_context *context, int level);
mitral_status output_write(struct output_file *file, mitral_context *context, const void *bytes, size_t size);
/* Closes and renames. On failure nothing is left behind. */
mitral_status output_commit(struct output_file *file, mitral_context *context);
/* Closes and removes; safe on a zeroed or committed file. */
void output_abandon(struct output_file *file, mitral_context *context);

/* Makes a folder and those above it. */
mitral_status output_folder(mitral_context *context, const char *path);
/* "folder/name" in the context's memory; NULL and a message when there is none. */
char *output_path(mitral_context *context, const char *folder, const char *name);

#endif
