#define _XOPEN_SOURCE 700
#include "test_data_support.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void *allocate(void *user, size_t size, size_t alignment)
{
    struct bench *bench = user;
    if (bench->left == 0)
        return NULL;
    if (bench->left > 0)
        bench->left--;
    void *pointer = NULL;
    if (posix_memalign(&pointer, alignment < sizeof(void *) ? sizeof(void *) : alignment, size ? size : 1) != 0)
        return NULL;
    bench->alive++;
    return pointer;
}

static void release(void *user, void *pointer)
{
    struct bench *bench = user;
    if (pointer)
        bench->alive--;
    free(pointer);
}

int bench_setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    bench->left = -1;
    strcpy(bench->folder, "/tmp/mitral-test-XXXXXX");
    if (!mkdtemp(bench->folder))
        return 1;
    mitral_context_options options = {.allocate = allocate, .release = release, .user = bench};
    if (mitral_context_create(&bench->context, &options) != MITRAL_OK)
        return 1;
    *state = bench;
    return 0;
}

static int remove_entry(const char *path, const struct stat *facts, int type, struct FTW *place)
{
    (void)facts;
    (void)type;
    (void)place;
    return remove(path);
}

int bench_teardown(void **state)
{
    struct bench *bench = *state;
    mitral_context_destroy(&bench->context);
    nftw(bench->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    long alive = bench->alive;
    free(bench);
    if (alive != 0)
        print_error("%ld blocks of memory were not released\n", alive);
    return alive != 0;
}

const char *bench_path(const struct bench *bench, const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", bench->folder, name);
    return path;
}

void bench_write(const struct bench *bench, const char *name, const void *bytes, size_t size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", bench->folder, name);
    for (char *slash = path + strlen(bench->folder) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = 0;
        mkdir(path, 0777);
    }
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void *bench_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    void *bytes = malloc((size_t)length + 1);
    assert_int_equal(fread(bytes, 1, (size_t)length, file), (size_t)length);
    fclose(file);
    *size = (size_t)length;
    return bytes;
}

bool bench_exists(const char *path)
{
    return access(path, F_OK) == 0;
}
