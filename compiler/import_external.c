/* Tensor data beside the model. Files come from strangers, so what they name is taken from the model's own folder only: no
 * absolute path, no "..", and no symbolic link that leads out. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compiler/import_internal.h"

struct external {
    const char *location;
    uint64_t offset, length;
    bool has_length;
};

static mitral_status parse_number(struct importer *importer, const char *key, const char *text, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (!end || *end || errno)
        return mitral_fail(importer->context, MITRAL_INVALID, "external data: expected a number for '%s', found '%s'", key, text);
    *out = value;
    return MITRAL_OK;
}

static mitral_status parse_entries(struct importer *importer, const onnx_tensor *proto, struct external *out)
{
    *out = (struct external){0};
    for (size_t i = 0; i < proto->n_external_data; i++) {
        const char *key = import_text(proto->external_data[i]->key), *value = import_text(proto->external_data[i]->value);
        if (strcmp(key, "location") == 0) {
            out->location = value;
        } else if (strcmp(key, "offset") == 0) {
            TRY(parse_number(importer, key, value, &out->offset));
        } else if (strcmp(key, "length") == 0) {
            TRY(parse_number(importer, key, value, &out->length));
            out->has_length = true;
        }
    }
    if (!out->location || !*out->location)
        return mitral_fail(importer->context, MITRAL_INVALID, "external data: expected a location, found none");
    return MITRAL_OK;
}

static bool has_parent_step(const char *path)
{
    for (const char *part = path; part; part = strchr(part, '/'), part = part ? part + 1 : NULL)
        if (part[0] == '.' && part[1] == '.' && (part[2] == '/' || part[2] == '\0'))
            return true;
    return false;
}

/* Opens a path without symbolic links below a folder, step by step: what is a link by now (it was none when the path was
 * resolved) is refused. */
static int open_below(int folder, char *path)
{
    int at = dup(folder);
    char *part = path;
    while (at >= 0) {
        char *slash = strchr(part, '/');
        if (slash)
            *slash = '\0';
        int next = openat(at, part, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (slash ? O_DIRECTORY : 0));
        close(at);
        if (!slash)
            return next;
        at = next;
        part = slash + 1;
    }
    return -1;
}

static mitral_status open_external(struct importer *importer, const char *location, int *out)
{
    mitral_context *context = importer->context;
    *out = -1;
    if (!importer->folder)
        return mitral_fail(context, MITRAL_INVALID, "external data '%s': expected a folder to read it from, found none", location);
    if (location[0] == '/' || strchr(location, '\\') || has_parent_step(location))
        return mitral_fail(context, MITRAL_INVALID, "external data: expected a path inside the model's folder, found '%s'", location);
    char *joined = arena_format(&importer->scratch, "%s/%s", *importer->folder ? importer->folder : ".", location);
    if (!joined)
        return MITRAL_NO_MEMORY;
    char *folder = realpath(*importer->folder ? importer->folder : ".", NULL), *file = realpath(joined, NULL);
    mitral_status status = MITRAL_OK;
    size_t length = folder ? strlen(folder) : 0;
    if (length == 1) /* the root: its slash is the separator */
        length = 0;
    if (!folder || !file) {
        status = mitral_fail(context, MITRAL_IO, "external data: expected file '%s' in the model's folder: %s", location, strerror(errno));
    } else if (strncmp(file, folder, length) != 0 || file[length] != '/') {
        status = mitral_fail(context, MITRAL_INVALID, "external data: expected a path inside the model's folder, found '%s', a link out of it",
                             location);
    } else {
        int at = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *out = at < 0 ? -1 : open_below(at, file + length + 1);
        if (*out < 0)
            status = mitral_fail(context, MITRAL_IO, "external data: '%s' could not be opened: %s", location, strerror(errno));
        if (at >= 0)
            close(at);
    }
    free(folder);
    free(file);
    return status;
}

static mitral_status read_range(struct importer *importer, const struct external *external, int file, char *data, size_t size)
{
    mitral_context *context = importer->context;
    struct stat status;
    if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode))
        return mitral_fail(context, MITRAL_IO, "external data: expected '%s' to be a regular file", external->location);
    uint64_t length = (uint64_t)status.st_size;
    if (external->has_length && external->length != size)
        return mitral_fail(context, MITRAL_INVALID, "external data '%s': expected %zu bytes, found a length of %llu", external->location, size,
                           (unsigned long long)external->length);
    if (external->offset > length || size > length - external->offset)
        return mitral_fail(context, MITRAL_INVALID, "external data '%s': expected %zu bytes at offset %llu, found a file of %llu", external->location,
                           size, (unsigned long long)external->offset, (unsigned long long)length);
    off_t offset = (off_t)external->offset;
    while (size > 0) {
        ssize_t done = pread(file, data, size < (1u << 30) ? size : (1u << 30), offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return mitral_fail(context, MITRAL_IO, "external data '%s' could not be read: %s", external->location,
                               done < 0 ? strerror(errno) : "the file became shorter");
        data += done;
        offset += done;
        size -= (size_t)done;
    }
    return MITRAL_OK;
}

mitral_status import_external(struct importer *importer, const onnx_tensor *proto, void *data, size_t size)
{
    struct external external;
    TRY(parse_entries(importer, proto, &external));
    int file;
    TRY(open_external(importer, external.location, &file));
    mitral_status status = read_range(importer, &external, file, data, size);
    close(file);
    return status;
}
