/* Any folder of NIfTI files that a dataset.json describes, including that of the Medical Segmentation Decathlon. */
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "data/dataset.h"

#define MAX_DESCRIPTION_BYTES ((size_t)1 << 24)

static mitral_status bad(struct dataset_builder *builder, const char *path, const char *expected)
{
    return mitral_fail(builder->context, MITRAL_INVALID, "%s: expected %s, found something else", path, expected);
}

static const char *text_or(const cJSON *object, const char *key, const char *fallback)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : fallback;
}

/* ["background", "RV"], {"background": 0, "RV": 1} or {"0": "background", "1": "RV"}. */
static mitral_status read_classes(struct dataset_builder *builder, const char *path, const cJSON *labels)
{
    const char *expected = "\"labels\" to name each class from 0 once";
    int count = cJSON_IsArray(labels) || cJSON_IsObject(labels) ? cJSON_GetArraySize(labels) : 0;
    if (count < 2 || count > MITRAL_MAX_CLASSES)
        return mitral_fail(builder->context, MITRAL_INVALID, "%s: expected \"labels\" with 2 to %d classes, found %d", path,
                           MITRAL_MAX_CLASSES, count);
    const char *names[MITRAL_MAX_CLASSES] = {NULL};
    int next = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, labels)
    {
        long index = next++;
        const char *name = cJSON_IsString(item) ? item->valuestring : NULL;
        if (item->string && name) {
            char *end;
            index = strtol(item->string, &end, 10);
            if (end == item->string || *end)
                return bad(builder, path, expected);
        } else if (item->string && cJSON_IsNumber(item)) {
            if (item->valuedouble != (double)item->valueint)
                return bad(builder, path, expected);
            index = item->valueint;
            name = item->string;
        }
        if (!name || index < 0 || index >= count || names[index])
            return bad(builder, path, expected);
        for (int i = 0; i < count; i++)
            if (names[i] && strcmp(names[i], name) == 0)
                return mitral_fail(builder->context, MITRAL_INVALID, "%s: \"labels\": expected a name for each class, found '%.200s' twice",
                                   path, name);
        names[index] = name;
    }
    return dataset_name_classes(builder, names, count);
}

static bool stays_inside(const char *name)
{
    if (!*name || *name == '/')
        return false;
    for (const char *part = name; *part;) {
        size_t length = strcspn(part, "/");
        if (length == 2 && part[0] == '.' && part[1] == '.')
            return false;
        part += length + (part[length] == '/');
    }
    return true;
}

static mitral_status resolve(const char **out, struct dataset_builder *builder, const char *folder, const char *name)
{
    if (!stays_inside(name))
        return mitral_fail(builder->context, MITRAL_INVALID, "%s: dataset.json: expected a path inside the folder, found '%.200s'",
                           folder, name);
    char *path = arena_format(&builder->arena, "%s/%s", folder, name);
    if (!path)
        return MITRAL_NO_MEMORY;
    if (!dataset_is_file(path))
        return mitral_fail(builder->context, MITRAL_INVALID, "%s: expected the file that dataset.json names, found none", path);
    *out = path;
    return MITRAL_OK;
}

static mitral_phase parse_phase(const char *text)
{
    return strcmp(text, "ED") == 0 ? MITRAL_PHASE_ED : strcmp(text, "ES") == 0 ? MITRAL_PHASE_ES : MITRAL_PHASE_OTHER;
}

/* The file's name without folder and endings. */
static char *patient_of(struct dataset_builder *builder, const char *image)
{
    const char *slash = strrchr(image, '/');
    const char *name = slash ? slash + 1 : image;
    const char *end = strstr(name, ".nii");
    return arena_string_sized(&builder->arena, name, end ? (size_t)(end - name) : strlen(name));
}

static mitral_status add_case(struct dataset_builder *builder, const char *folder, const char *path, const cJSON *item)
{
    bool bare = cJSON_IsString(item);
    const char *image = bare ? item->valuestring : text_or(item, "image", NULL);
    const char *label = bare ? NULL : text_or(item, "label", NULL);
    if (!image)
        return bad(builder, path, "each case to be an object with an \"image\"");
    mitral_case *out = dataset_add(builder);
    if (!out)
        return MITRAL_NO_MEMORY;
    TRY(resolve(&out->image, builder, folder, image));
    if (label)
        TRY(resolve(&out->label, builder, folder, label));
    const char *patient = bare ? NULL : text_or(item, "patient", NULL);
    out->patient = patient ? arena_string(&builder->arena, patient) : patient_of(builder, image);
    out->group = arena_string(&builder->arena, bare ? "" : text_or(item, "group", ""));
    out->phase = parse_phase(bare ? "" : text_or(item, "phase", ""));
    return out->patient && out->group ? MITRAL_OK : MITRAL_NO_MEMORY;
}

static mitral_status read_description(struct dataset_builder *builder, const char *folder, const char *path, const char *split,
                                      const cJSON *root)
{
    if (!cJSON_IsObject(root))
        return bad(builder, path, "a JSON object");
    TRY(read_classes(builder, path, cJSON_GetObjectItemCaseSensitive(root, "labels")));
    builder->out->name = arena_string(&builder->arena, text_or(root, "name", "NIfTI folder"));
    if (!builder->out->name)
        return MITRAL_NO_MEMORY;
    const cJSON *cases = cJSON_GetObjectItemCaseSensitive(root, split);
    if (!cases && strcmp(split, "testing") == 0)
        cases = cJSON_GetObjectItemCaseSensitive(root, "test");
    if (!cJSON_IsArray(cases) || cJSON_GetArraySize(cases) == 0)
        return mitral_fail(builder->context, MITRAL_INVALID, "%s: expected a list \"%s\" of cases, found none", path, split);
    const cJSON *item;
    cJSON_ArrayForEach(item, cases) TRY(add_case(builder, folder, path, item));
    return MITRAL_OK;
}

mitral_status dataset_open_described(struct dataset_builder *builder, const char *folder, const char *description,
                                     const char *split)
{
    char *text = NULL;
    TRY(dataset_read_text(&text, builder, description, MAX_DESCRIPTION_BYTES));
    const char *end = text;
    cJSON *root = cJSON_ParseWithOpts(text, &end, true); /* to the end: what stands behind it would be lost unseen */
    if (!root)
        return mitral_fail(builder->context, MITRAL_INVALID, "%s: expected JSON and nothing behind it, found something else at byte %lld", description,
                           (long long)(end - text));
    mitral_status status = read_description(builder, folder, description, split, root);
    cJSON_Delete(root);
    return status;
}
