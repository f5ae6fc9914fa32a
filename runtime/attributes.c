#include <string.h>

#include "runtime/tensor.h"

const struct attribute *attribute_find(const struct attributes *attributes, const char *name)
{
    for (size_t i = 0; i < attributes->count; i++)
        if (strcmp(attributes->items[i].name, name) == 0)
            return &attributes->items[i];
    return NULL;
}

static const struct attribute *find_kind(const struct attributes *attributes, const char *name, enum attribute_kind kind)
{
    const struct attribute *found = attribute_find(attributes, name);
    return found && found->kind == kind ? found : NULL;
}

bool attribute_has(const struct attributes *attributes, const char *name)
{
    return attribute_find(attributes, name) != NULL;
}

int64_t attribute_int(const struct attributes *attributes, const char *name, int64_t fallback)
{
    const struct attribute *found = find_kind(attributes, name, ATTRIBUTE_INT);
    return found ? found->ints[0] : fallback;
}

float attribute_float(const struct attributes *attributes, const char *name, float fallback)
{
    const struct attribute *found = find_kind(attributes, name, ATTRIBUTE_FLOAT);
    return found ? found->floats[0] : fallback;
}

const char *attribute_string(const struct attributes *attributes, const char *name, const char *fallback)
{
    const struct attribute *found = find_kind(attributes, name, ATTRIBUTE_STRING);
    return found ? found->strings[0].data : fallback;
}

const int64_t *attribute_ints(const struct attributes *attributes, const char *name, size_t *count)
{
    const struct attribute *found = find_kind(attributes, name, ATTRIBUTE_INTS);
    *count = found ? found->count : 0;
    return found ? found->ints : NULL;
}

const float *attribute_floats(const struct attributes *attributes, const char *name, size_t *count)
{
    const struct attribute *found = find_kind(attributes, name, ATTRIBUTE_FLOATS);
    *count = found ? found->count : 0;
    return found ? found->floats : NULL;
}

const mitral_string *attribute_strings(const struct attributes *attributes, const char *name, size_t *count)
{
    const struct attribute *found = find_kind(attributes, name, ATTRIBUTE_STRINGS);
    *count = found ? found->count : 0;
    return found ? found->strings : NULL;
}

const mitral_tensor *attribute_tensor(const struct attributes *attributes, const char *name)
{
    const struct attribute *found = find_kind(attributes, name, ATTRIBUTE_TENSOR);
    return found ? found->tensors : NULL;
}

int32_t attribute_subgraph(const struct attributes *attributes, const char *name)
{
    const struct attribute *found = find_kind(attributes, name, ATTRIBUTE_GRAPH);
    return found ? found->subgraph : -1;
}

/* ---- builders ------------------------------------------------------------------------------------------------------ */

static mitral_status copy_payload(struct attribute *out, struct arena *arena, const struct attribute *from)
{
    size_t count = from->count ? from->count : 1;
    switch (from->kind) {
    case ATTRIBUTE_INT:
    case ATTRIBUTE_INTS: {
        int64_t *ints = arena_allocate(arena, count * sizeof *ints);
        if (!ints)
            return MITRAL_NO_MEMORY;
        if (from->count)
            memcpy(ints, from->ints, from->count * sizeof *ints);
        out->ints = ints;
        return MITRAL_OK;
    }
    case ATTRIBUTE_FLOAT:
    case ATTRIBUTE_FLOATS: {
        float *floats = arena_allocate(arena, count * sizeof *floats);
        if (!floats)
            return MITRAL_NO_MEMORY;
        if (from->count)
            memcpy(floats, from->floats, from->count * sizeof *floats);
        out->floats = floats;
        return MITRAL_OK;
    }
    case ATTRIBUTE_STRING:
    case ATTRIBUTE_STRINGS: {
        mitral_string *strings = arena_allocate(arena, count * sizeof *strings);
        if (!strings)
            return MITRAL_NO_MEMORY;
        for (size_t i = 0; i < from->count; i++) {
            strings[i].size = from->strings[i].size;
            strings[i].data = arena_string_sized(arena, from->strings[i].data, from->strings[i].size);
            if (!strings[i].data)
                return MITRAL_NO_MEMORY;
        }
        out->strings = strings;
        return MITRAL_OK;
    }
    case ATTRIBUTE_TENSOR:
    case ATTRIBUTE_TENSORS: {
        mitral_tensor *tensors = arena_allocate(arena, count * sizeof *tensors);
        if (!tensors)
            return MITRAL_NO_MEMORY;
        for (size_t i = 0; i < from->count; i++)
            TRY(tensor_copy(&tensors[i], arena, &from->tensors[i]));
        out->tensors = tensors;
        return MITRAL_OK;
    }
    case ATTRIBUTE_GRAPH:
        out->subgraph = from->subgraph;
        return MITRAL_OK;
    }
    return mitral_fail(arena->context, MITRAL_INVALID, "attribute '%s': unknown kind %d", from->name, (int)from->kind);
}

mitral_status attributes_set(struct attributes *attributes, struct arena *arena, const struct attribute *attribute)
{
    struct attribute copy = {.name = arena_string(arena, attribute->name), .kind = attribute->kind, .count = attribute->count};
    if (!copy.name)
        return MITRAL_NO_MEMORY;
    TRY(copy_payload(&copy, arena, attribute));
    struct attribute *old = (struct attribute *)attribute_find(attributes, attribute->name);
    if (old) {
        *old = copy;
        return MITRAL_OK;
    }
    /* Lists are short: growing by a fresh copy keeps the arena simple. Capacity is the next multiple of 8. */
    if (attributes->count % 8 == 0) {
        struct attribute *items = arena_allocate(arena, (attributes->count + 8) * sizeof *items);
        if (!items)
            return MITRAL_NO_MEMORY;
        if (attributes->count)
            memcpy(items, attributes->items, attributes->count * sizeof *items);
        attributes->items = items;
    }
    attributes->items[attributes->count++] = copy;
    return MITRAL_OK;
}

mitral_status attributes_set_int(struct attributes *attributes, struct arena *arena, const char *name, int64_t value)
{
    return attributes_set(attributes, arena, &(struct attribute){.name = name, .kind = ATTRIBUTE_INT, .count = 1, .ints = &value});
}

mitral_status attributes_set_float(struct attributes *attributes, struct arena *arena, const char *name, float value)
{
    return attributes_set(attributes, arena, &(struct attribute){.name = name, .kind = ATTRIBUTE_FLOAT, .count = 1, .floats = &value});
}

mitral_status attributes_set_string(struct attributes *attributes, struct arena *arena, const char *name, const char *value)
{
    mitral_string string = {value, strlen(value)};
    return attributes_set(attributes, arena,
                          &(struct attribute){.name = name, .kind = ATTRIBUTE_STRING, .count = 1, .strings = &string});
}

mitral_status attributes_set_ints(struct attributes *attributes, struct arena *arena, const char *name,
                                  const int64_t *values, size_t count)
{
    return attributes_set(attributes, arena,
                          &(struct attribute){.name = name, .kind = ATTRIBUTE_INTS, .count = count, .ints = values});
}

mitral_status attributes_set_floats(struct attributes *attributes, struct arena *arena, const char *name,
                                    const float *values, size_t count)
{
    return attributes_set(attributes, arena,
                          &(struct attribute){.name = name, .kind = ATTRIBUTE_FLOATS, .count = count, .floats = values});
}

void attributes_remove(struct attributes *attributes, const char *name)
{
    const struct attribute *found = attribute_find(attributes, name);
    if (!found)
        return;
    size_t index = (size_t)(found - attributes->items);
    memmove(&attributes->items[index], &attributes->items[index + 1], (attributes->count - index - 1) * sizeof *attributes->items);
    /* Keep `count % 8 == 0` meaning "full": a list that shrank onto a boundary is copied on the next set, which is harmless. */
    attributes->count--;
}

mitral_status attributes_copy(struct attributes *out, struct arena *arena, const struct attributes *attributes)
{
    struct attributes copy = {0};
    for (size_t i = 0; i < attributes->count; i++)
        TRY(attributes_set(&copy, arena, &attributes->items[i]));
    *out = copy;
    return MITRAL_OK;
}
