/* Finds kernels by name over the families' tables. */
#include "runtime/kernels/registry.h"

#include <pthread.h>
#include <string.h>

struct family {
    const struct kernel *rows;
    const size_t *count;
};

#define FAMILY_ENTRY(table) {table, &table##_count},
static const struct family families[] = {KERNEL_FAMILIES(FAMILY_ENTRY){NULL, NULL}};
#undef FAMILY_ENTRY

/* An index made once from the constant tables above: open addressing, at most half full. Should the tables outgrow it, the
 * rows beyond are found by the linear walk. */
#define INDEX_SIZE 4096u
static const struct kernel *kernel_index[INDEX_SIZE];
static pthread_once_t index_once = PTHREAD_ONCE_INIT;

static uint32_t hash_name(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash ^ hash >> 15;
}

const struct kernel *kernel_at(size_t index)
{
    for (const struct family *family = families; family->rows; family++) {
        if (index < *family->count)
            return &family->rows[index];
        index -= *family->count;
    }
    return NULL;
}

static void build_index(void)
{
    const struct kernel *kernel;
    for (size_t i = 0; i < INDEX_SIZE / 2 && (kernel = kernel_at(i)) != NULL; i++) {
        uint32_t slot = hash_name(kernel->name) % INDEX_SIZE;
        while (kernel_index[slot])
            slot = (slot + 1) % INDEX_SIZE;
        kernel_index[slot] = kernel;
    }
}

const struct kernel *kernel_find(const char *name)
{
    if (!name)
        return NULL;
    pthread_once(&index_once, build_index);
    for (uint32_t slot = hash_name(name) % INDEX_SIZE; kernel_index[slot]; slot = (slot + 1) % INDEX_SIZE)
        if (strcmp(kernel_index[slot]->name, name) == 0)
            return kernel_index[slot];
    for (size_t i = INDEX_SIZE / 2; kernel_at(i); i++)
        if (strcmp(kernel_at(i)->name, name) == 0)
            return kernel_at(i);
    return NULL;
}
