#include "runtime/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ------------------------------------------------------------------------------------------------------- */

mitral_status file_map(struct file_mapping *out, mitral_context *context, const char *path)
{
    *out = (struct file_mapping){.data = ""};
    /* Opening a pipe that nobody writes to would wait for ever. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return mitral_fail(context, MITRAL_IO, "'%s': expected a readable file, found: %s", path, strerror(errno));
    struct stat status;
    if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(file);
        return mitral_fail(context, MITRAL_IO, "'%s': expected a regular file, found something else", path);
    }
    if (status.st_size < 0 || (uintmax_t)status.st_size > (uintmax_t)PTRDIFF_MAX) {
        close(file);
        return mitral_fail(context, MITRAL_LIMIT, "'%s': the file is too large to be mapped", path);
    }
    if (status.st_size > 0) {
        void *mapping = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (mapping == MAP_FAILED) {
            int reason = errno;
            close(file);
            return mitral_fail(context, MITRAL_IO, "'%s' could not be mapped: %s", path, strerror(reason));
        }
        *out = (struct file_mapping){mapping, (size_t)status.st_size, mapping};
    }
    close(file);
    return MITRAL_OK;
}

void file_unmap(struct file_mapping *map)
{
    if (map->mapping)
        munmap(map->mapping, map->size);
    *map = (struct file_mapping){0};
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

enum { BUFFER_BYTES = 64 * 1024 };

struct file_writer {
    mitral_context *context;
    const char *path; /* as the caller named it, for messages */
    int file;
    bool whole;       /* a regular file of its own: can be patched */
    uint64_t position;
    size_t used;
    char buffer[BUFFER_BYTES];
};

static mitral_status fail_system(mitral_context *context, const char *path, int reason)
{
    return mitral_fail(context, MITRAL_IO, "'%s' could not be written: %s", path, strerror(reason));
}

static mitral_status write_all(struct file_writer *writer, const char *bytes, size_t size)
{
    while (size > 0) {
        /* Linux transfers at most 2 GiB a call; a signal may cut it shorter. */
        ssize_t done = write(writer->file, bytes, size < (1u << 30) ? size : (1u << 30));
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return fail_system(writer->context, writer->path, done < 0 ? errno : EIO);
        bytes += done;
        size -= (size_t)done;
    }
    return MITRAL_OK;
}

static mitral_status flush(struct file_writer *writer)
{
    size_t used = writer->used;
    writer->used = 0;
    return write_all(writer, writer->buffer, used);
}

mitral_status file_append(struct file_writer *writer, const void *bytes, size_t size)
{
    if (size == 0)
        return MITRAL_OK;
    writer->position += size;
    if (size > BUFFER_BYTES - writer->used)
        TRY(flush(writer));
    if (size > BUFFER_BYTES)
        return write_all(writer, bytes, size);
    memcpy(writer->buffer + writer->used, bytes, size);
    writer->used += size;
    return MITRAL_OK;
}

mitral_status file_append_zeros(struct file_writer *writer, size_t size)
{
    static const char zeros[4096];
    while (size > 0) {
        size_t part = size < sizeof zeros ? size : sizeof zeros;
        TRY(file_append(writer, zeros, part));
        size -= part;
    }
    return MITRAL_OK;
}

uint64_t file_position(const struct file_writer *writer)
{
    return writer->position;
}

mitral_status file_patch(struct file_writer *writer, uint64_t position, const void *bytes, size_t size)
{
    if (!writer->whole)
        return mitral_fail(writer->context, MITRAL_IO, "'%s': expected a regular file, found a device or a pipe", writer->path);
    if (position > writer->position || size > writer->position - position)
        return mitral_fail(writer->context, MITRAL_INVALID, "'%s': a change past the end of what was written", writer->path);
    TRY(flush(writer));
    const char *from = bytes;
    while (size > 0) {
        ssize_t done = pwrite(writer->file, from, size, (off_t)position);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return fail_system(writer->context, writer->path, done < 0 ? errno : EIO);
        from += done;
        position += (uint64_t)done;
        size -= (size_t)done;
    }
    return MITRAL_OK;
}

/* The folder part of a path, with its slash, as a length: 0 for a bare name. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

/* Opens a new file in the folder of `target`; its path goes to `aside`. */
static int open_aside(const char *target, mode_t mode, char *aside, size_t size)
{
    for (unsigned attempt = 0; attempt < 1000; attempt++) {
        int length = snprintf(aside, size, "%.*s.mitral-%ld-%u.part", (int)folder_length(target), target, (long)getpid(), attempt);
        if (length < 0 || (size_t)length >= size) {
            errno = ENAMETOOLONG;
            return -1;
        }
        int file = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (file >= 0 || errno != EEXIST)
            return file;
    }
    return -1;
}

/* The new name must survive a crash too. Some file systems cannot do it for folders: no reason to fail. */
static void sync_folder(const char *path)
{
    char folder[4096];
    int length = snprintf(folder, sizeof folder, "%.*s", (int)folder_length(path), path);
    if (length < 0 || (size_t)length >= sizeof folder)
        return;
    int file = open(length ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file >= 0) {
        (void)fsync(file);
        close(file);
    }
}

static mitral_status write_directly(struct file_writer *writer, mitral_status (*write)(struct file_writer *, void *), void *user)
{
    writer->file = open(writer->path, O_WRONLY | O_CLOEXEC);
    if (writer->file < 0)
        return fail_system(writer->context, writer->path, errno);
    mitral_status status = write(writer, user);
    if (status == MITRAL_OK)
        status = flush(writer);
    if (close(writer->file) != 0 && status == MITRAL_OK)
        status = fail_system(writer->context, writer->path, errno);
    return status;
}

static mitral_status write_aside(struct file_writer *writer, const char *target, const struct stat *old,
                                 mitral_status (*write)(struct file_writer *, void *), void *user)
{
    char aside[4096];
    writer->whole = true;
    writer->file = open_aside(target, 0666, aside, sizeof aside);
    if (writer->file < 0)
        return fail_system(writer->context, writer->path, errno);
    mitral_status status = write(writer, user);
    if (status == MITRAL_OK)
        status = flush(writer);
    if (old && fchmod(writer->file, old->st_mode & 0777) != 0 && status == MITRAL_OK)
        status = fail_system(writer->context, writer->path, errno);
    if (status == MITRAL_OK && fsync(writer->file) != 0)
        status = fail_system(writer->context, writer->path, errno);
    if (close(writer->file) != 0 && status == MITRAL_OK)
        status = fail_system(writer->context, writer->path, errno);
    if (status == MITRAL_OK && rename(aside, target) != 0)
        status = fail_system(writer->context, writer->path, errno);
    if (status != MITRAL_OK)
        unlink(aside);
    else
        sync_folder(target);
    return status;
}

/* What is there already: *exists and, if so, *old. */
static mitral_status look_at_target(mitral_context *context, const char *path, bool *exists, struct stat *old)
{
    if (!path || !*path)
        return mitral_fail(context, MITRAL_IO, "expected the path of a file to write, found none");
    *exists = stat(path, old) == 0;
    if (*exists && S_ISDIR(old->st_mode))
        return mitral_fail(context, MITRAL_IO, "'%s': expected a path to write a file at, found a folder", path);
    return MITRAL_OK;
}

/* The folder that holds the path, and its name there. */
static bool find_folder(const char *path, struct stat *folder, const char **name)
{
    char text[4096];
    const char *slash = strrchr(path, '/');
    const size_t length = slash ? (size_t)(slash - path) + 1 : 0;
    *name = path + length;
    if (length >= sizeof text)
        return false;
    memcpy(text, path, length);
    text[length] = 0;
    return stat(length ? text : ".", folder) == 0;
}

mitral_status file_check_apart(mitral_context *context, const char *path, const char *input)
{
    struct stat from, to;
    const char *names[2] = {"", ""};
    bool same;
    if (stat(input, &from) == 0) /* a device or a pipe keeps nothing that could be lost */
        same = S_ISREG(from.st_mode) && stat(path, &to) == 0;
    else /* neither may be there yet */
        same = stat(path, &to) != 0 && find_folder(input, &from, &names[0]) && find_folder(path, &to, &names[1]) && strcmp(names[0], names[1]) == 0;
    if (same && from.st_dev == to.st_dev && from.st_ino == to.st_ino)
        return mitral_fail(context, MITRAL_INVALID, "%s: expected another file to write to than %s, found the same", path, input);
    return MITRAL_OK;
}

mitral_status file_check_target(mitral_context *context, const char *path)
{
    struct stat old;
    bool exists;
    TRY(look_at_target(context, path, &exists, &old));
    if (exists && !S_ISREG(old.st_mode))
        return access(path, W_OK) == 0 ? MITRAL_OK : fail_system(context, path, errno);
    char aside[4096], *resolved = exists ? realpath(path, NULL) : NULL;
    const int file = open_aside(resolved ? resolved : path, 0666, aside, sizeof aside), error = errno;
    free(resolved);
    if (file < 0)
        return fail_system(context, path, error);
    close(file);
    unlink(aside);
    return MITRAL_OK;
}

mitral_status file_write_whole(mitral_context *context, const char *path,
                               mitral_status (*write)(struct file_writer *writer, void *user), void *user)
{
    struct stat old;
    bool exists;
    TRY(look_at_target(context, path, &exists, &old));
    struct file_writer *writer = mitral_allocate_raw(context, sizeof *writer);
    if (!writer)
        return MITRAL_NO_MEMORY;
    writer->context = context;
    writer->path = path;
    writer->file = -1;
    writer->whole = false;
    writer->position = 0;
    writer->used = 0;
    mitral_status status;
    if (exists && !S_ISREG(old.st_mode)) {
        status = write_directly(writer, write, user);
    } else {
        /* Through a symbolic link the file that it names is replaced, not the link. */
        char *resolved = exists ? realpath(path, NULL) : NULL;
        status = write_aside(writer, resolved ? resolved : path, exists ? &old : NULL, write, user);
        free(resolved);
    }
    mitral_release(context, writer);
    return status;
}

struct piece {
    const void *bytes;
    size_t size;
};

static mitral_status write_piece(struct file_writer *writer, void *user)
{
    const struct piece *piece = user;
    return file_append(writer, piece->bytes, piece->size);
}

mitral_status file_write_bytes(mitral_context *context, const char *path, const void *bytes, size_t size)
{
    struct piece piece = {bytes, size};
    return file_write_whole(context, path, write_piece, &piece);
}
