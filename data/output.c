#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/output.h"
#include "mitral/data.h"

/* Tries names until one is free; a few collisions are all that leftovers of killed processes can cause. */
static mitral_status open_aside(struct output_file *file, mitral_context *context)
{
    size_t size = strlen(file->path) + 40;
    file->aside = mitral_allocate(context, size);
    if (!file->aside)
        return MITRAL_NO_MEMORY;
    for (unsigned attempt = 0; attempt < 1000; attempt++) {
        snprintf(file->aside, size, "%s.part-%ld-%u", file->path, (long)getpid(), attempt);
        file->descriptor = open(file->aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file->descriptor >= 0)
            return MITRAL_OK;
        if (errno != EEXIST)
            break;
    }
    mitral_status status = mitral_fail(context, MITRAL_IO, "%s: expected to create a file beside it, found: %s", file->path,
                                       strerror(errno));
    mitral_release(context, file->aside);
    file->aside = NULL;
    return status;
}

mitral_status output_open(struct output_file *out, mitral_context *context, const char *path)
{
    *out = (struct output_file){.descriptor = -1};
    if (!path || !*path)
        return mitral_fail(context, MITRAL_INVALID, "output file: expected a name, found none");
    struct stat facts;
    bool exists = stat(path, &facts) == 0;
    if (exists && S_ISDIR(facts.st_mode))
        return mitral_fail(context, MITRAL_INVALID, "%s: expected a file to write, found a folder", path);
    char *resolved = exists ? realpath(path, NULL) : NULL;
    const char *target = resolved ? resolved : path;
    size_t length = strlen(target);
    out->path = mitral_allocate(context, length + 1);
    if (out->path)
        memcpy(out->path, target, length + 1);
    free(resolved);
    if (!out->path)
        return MITRAL_NO_MEMORY;
    mitral_status status = MITRAL_OK;
    if (exists && !S_ISREG(facts.st_mode)) {
        out->descriptor = open(out->path, O_WRONLY | O_CLOEXEC);
        if (out->descriptor < 0)
            status = mitral_fail(context, MITRAL_IO, "%s: expected to open it for writing, found: %s", path, strerror(errno));
    } else {
        status = open_aside(out, context);
    }
    if (status != MITRAL_OK) {
        mitral_release(context, out->path);
        *out = (struct output_file){.descriptor = -1};
    }
    return status;
}

mitral_status output_stream(struct output_file *file, mitral_context *context, int level)
{
    char mode[4] = {'w', 'b', level > 0 ? (char)('0' + level) : 'T', 0};
    file->stream = gzdopen(file->descriptor, mode);
    if (!file->stream)
        return mitral_fail(context, MITRAL_NO_MEMORY, "%s: expected memory for a stream, found none", file->path);
    file->descriptor = -1;
    gzbuffer(file->stream, 1 << 17);
    return MITRAL_OK;
}

mitral_status output_write(struct output_file *file, mitral_context *context, const void *bytes, size_t size)
{
    const uint8_t *next = bytes;
    while (size > 0) {
        size_t piece = size < (1u << 24) ? size : (1u << 24);
        int64_t written;
        errno = 0;
        if (file->stream)
            written = gzwrite(file->stream, next, (unsigned)piece);
        else
            written = write(file->descriptor, next, piece);
        if (written < 0 && errno == EINTR && !file->stream)
            continue;
        if (written <= 0)
            return mitral_fail(context, MITRAL_IO, "%s: expected to write %zu bytes, found: %s", file->path, size,
                               errno ? strerror(errno) : "write error");
        next += written;
        size -= (size_t)written;
    }
    return MITRAL_OK;
}

static int close_file(struct output_file *file)
{
    int failed = 0;
    errno = 0;
    if (file->stream)
        failed = gzclose(file->stream) != Z_OK;
    else if (file->descriptor >= 0)
        failed = close(file->descriptor) != 0;
    file->stream = NULL;
    file->descriptor = -1;
    return failed;
}

mitral_status output_commit(struct output_file *file, mitral_context *context)
{
    mitral_status status = MITRAL_OK;
    if (close_file(file) || (file->aside && rename(file->aside, file->path) != 0))
        status = mitral_fail(context, MITRAL_IO, "%s: expected to complete the file, found: %s", file->path,
                             errno ? strerror(errno) : "write error");
    if (status == MITRAL_OK) {
        mitral_release(context, file->aside);
        file->aside = NULL;
    }
    output_abandon(file, context);
    return status;
}

void output_abandon(struct output_file *file, mitral_context *context)
{
    if (!file->path)
        return;
    close_file(file);
    if (file->aside)
        unlink(file->aside);
    mitral_release(context, file->aside);
    mitral_release(context, file->path);
    *file = (struct output_file){.descriptor = -1};
}

mitral_status mitral_file_write(mitral_context *context, const char *path, const void *bytes, size_t size)
{
    struct output_file file;
    TRY(output_open(&file, context, path));
    mitral_status status = output_write(&file, context, bytes, size);
    if (status != MITRAL_OK) {
        output_abandon(&file, context);
        return status;
    }
    return output_commit(&file, context);
}

mitral_status output_folder(mitral_context *context, const char *path)
{
    char text[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof text)
        return mitral_fail(context, MITRAL_INVALID, "folder: expected a name of 1 to %d bytes, found %zu", PATH_MAX - 1, length);
    memcpy(text, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (text[i] != '/' && text[i] != 0)
            continue;
        char kept = text[i];
        text[i] = 0;
        struct stat facts;
        int error = mkdir(text, 0777) == 0 ? 0 : errno;
        if (error && !(stat(text, &facts) == 0 && S_ISDIR(facts.st_mode)))
            return mitral_fail(context, MITRAL_IO, "%s: expected to make a folder, found: %s", text, strerror(error));
        text[i] = kept;
    }
    return MITRAL_OK;
}

char *output_path(mitral_context *context, const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = mitral_allocate(context, size);
    if (path)
        snprintf(path, size, "%s/%s", folder, name);
    return path;
}
