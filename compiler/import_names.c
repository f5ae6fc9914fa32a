#include "compiler/import_names.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static uint64_t hash_of(const struct name_map *map, const char *name)
{
    /* The arena's address differs from run to run, and nothing but the time of a look-up depends on it. */
    return XXH3_64bits_withSeed(name, strlen(name), (uint64_t)(uintptr_t)map->arena);
}

void name_map_initialise(struct name_map *map, struct arena *arena)
{
    *map = (struct name_map){.arena = arena};
}

/* The name's entry, or the free slot where it belongs. */
static struct name_entry *slot_of(struct name_entry *entries, size_t capacity, const char *name, uint64_t hash)
{
    for (size_t i = (size_t)hash & (capacity - 1);; i = (i + 1) & (capacity - 1))
        if (!entries[i].name || (entries[i].hash == hash && strcmp(entries[i].name, name) == 0))
            return &entries[i];
}

struct name_entry *name_map_find(const struct name_map *map, const char *name)
{
    if (!map->count)
        return NULL;
    struct name_entry *entry = slot_of(map->entries, map->capacity, name, hash_of(map, name));
    return entry->name ? entry : NULL;
}

static mitral_status grow(struct name_map *map)
{
    size_t capacity = map->capacity ? map->capacity * 2 : 16, bytes;
    if (__builtin_mul_overflow(capacity, sizeof *map->entries, &bytes))
        return MITRAL_NO_MEMORY;
    struct name_entry *entries = arena_allocate(map->arena, bytes);
    if (!entries)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < map->capacity; i++)
        if (map->entries[i].name)
            *slot_of(entries, capacity, map->entries[i].name, map->entries[i].hash) = map->entries[i];
    map->entries = entries;
    map->capacity = capacity;
    return MITRAL_OK;
}

mitral_status name_map_add(struct name_map *map, const char *name, struct name_entry **out, bool *existed)
{
    if (map->count * 2 >= map->capacity)
        TRY(grow(map));
    uint64_t hash = hash_of(map, name);
    struct name_entry *entry = slot_of(map->entries, map->capacity, name, hash);
    if (existed)
        *existed = entry->name != NULL;
    if (!entry->name) {
        *entry = (struct name_entry){.name = name, .hash = hash};
        map->count++;
    }
    *out = entry;
    return MITRAL_OK;
}

static bool is_taken(const struct name_map *map, const struct name_map *const *beside, size_t beside_count, const char *name)
{
    if (name_map_find(map, name))
        return true;
    for (size_t i = 0; i < beside_count; i++)
        if (name_map_find(beside[i], name))
            return true;
    return false;
}

mitral_status name_map_unique(struct name_map *map, const struct name_map *const *beside, size_t beside_count, const char *wanted,
                              const char **out)
{
    *out = NULL;
    const char *name = arena_string(map->arena, wanted);
    if (!name)
        return MITRAL_NO_MEMORY;
    struct name_entry *entry;
    if (*name && !is_taken(map, beside, beside_count, name)) {
        *out = name;
        return name_map_add(map, name, &entry, NULL);
    }
    /* The last number that was tried stays with the wanted name, so that many equal names do not count from 1 each time. */
    TRY(name_map_add(map, name, &entry, NULL));
    uint32_t number = entry->suffix;
    char *candidate;
    do {
        candidate = arena_format(map->arena, "%s_%u", name, ++number);
        if (!candidate)
            return MITRAL_NO_MEMORY;
    } while (is_taken(map, beside, beside_count, candidate));
    entry->suffix = number;
    *out = candidate;
    return name_map_add(map, candidate, &entry, NULL);
}
