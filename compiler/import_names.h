/* A table from names to numbers or pointers, for import and export. Seeded, so that no file can be made whose names all meet
 * in one slot. */
#ifndef MITRAL_COMPILER_IMPORT_NAMES_H
#define MITRAL_COMPILER_IMPORT_NAMES_H

#include "runtime/context.h"

struct name_entry {
    const char *name; /* NULL: free slot */
    uint64_t hash;
    uint32_t id;
    uint32_t suffix; /* of name_map_unique */
    const void *pointer;
};

struct name_map {
    struct arena *arena;
    struct name_entry *entries;
    size_t capacity, count;
};

void name_map_initialise(struct name_map *map, struct arena *arena);
/* NULL when the name is not there. Valid until the next add. */
struct name_entry *name_map_find(const struct name_map *map, const char *name);
/* Finds or makes the entry of a name; `name` must live as long as the map. *existed tells which (may be NULL). */
mitral_status name_map_add(struct name_map *map, const char *name, struct name_entry **out, bool *existed);
/* `wanted`, or with the first of "_1", "_2", … that makes it one that neither `map` nor `beside` (may be NULL) has; it is
 * added to `map`. *out lives in the map's arena. */
mitral_status name_map_unique(struct name_map *map, const struct name_map *const *beside, size_t beside_count, const char *wanted,
                              const char **out);

#endif
