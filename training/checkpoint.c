#include "training/checkpoint.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "runtime/file.h"

#define VERSION 1

struct header {
    char magic[8];
    uint32_t version, zero;
    uint64_t json_size, data_size, checksum;
};

static const char magic[8] = {'M', 'I', 'T', 'R', 'A', 'L', 'C', 'K'};

static uint64_t align(uint64_t size)
{
    return (size + 63) / 64 * 64;
}

/* ---- identity ----------------------------------------------------------------------------------------------------------------- */

static mitral_status add_file(cJSON *root, mitral_context *context, const char *name, const char *path)
{
    struct file_mapping file;
    char text[32];
    if (!*path)
        return MITRAL_OK;
    TRY(file_map(&file, context, path));
    snprintf(text, sizeof text, "%016llx", (unsigned long long)XXH3_64bits(file.data, file.size));
    file_unmap(&file);
    return cJSON_AddStringToObject(root, name, text) ? MITRAL_OK : MITRAL_NO_MEMORY;
}

mitral_status checkpoint_identity(char **out, mitral_context *context, const struct options *options, uint64_t data_fingerprint)
{
    char *json, text[32];
    *out = NULL;
    TRY(options_json(&json, context, options, true));
    cJSON *root = cJSON_Parse(json);
    mitral_release(context, json);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)data_fingerprint);
    mitral_status status = root && cJSON_AddStringToObject(root, "contents of data", text) ? MITRAL_OK : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        status = add_file(root, context, "contents of student", options->student);
    if (status == MITRAL_OK && options->method != METHOD_NONE)
        status = add_file(root, context, "contents of teacher", options->teacher);
    char *printed = status == MITRAL_OK ? cJSON_PrintUnformatted(root) : NULL;
    if (printed && (*out = mitral_allocate(context, strlen(printed) + 1)))
        strcpy(*out, printed);
    cJSON_free(printed);
    cJSON_Delete(root);
    return status != MITRAL_OK ? status : *out ? MITRAL_OK : MITRAL_NO_MEMORY;
}

static mitral_status compare_identity(mitral_context *context, const cJSON *stored, const char *identity, const char *path)
{
    cJSON *now = cJSON_Parse(identity);
    mitral_status status = MITRAL_OK;
    for (const cJSON *item = now ? now->child : NULL; item && status == MITRAL_OK; item = item->next) {
        const cJSON *before = cJSON_GetObjectItemCaseSensitive(stored, item->string);
        if (before && cJSON_Compare(before, item, true))
            continue;
        char *was = before ? cJSON_PrintUnformatted(before) : NULL, *is = cJSON_PrintUnformatted(item);
        status = mitral_fail(context, MITRAL_INVALID, "%s: expected a checkpoint of this run, found %s %.80s there and %.80s now", path, item->string,
                             was ? was : "absent", is ? is : "?");
        cJSON_free(was);
        cJSON_free(is);
    }
    cJSON_Delete(now);
    return status;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------ */

struct writing {
    struct trainer *trainer;
    char *json;
    XXH3_state_t *hash;
    uint64_t written;
};

static bool add_real(cJSON *object, const char *name, double number)
{
    char text[40];
    if (!isfinite(number))
        return cJSON_AddNullToObject(object, name) != NULL;
    snprintf(text, sizeof text, "%.17g", number);
    return cJSON_AddRawToObject(object, name, text) != NULL;
}

static mitral_status describe(char **out, struct trainer *trainer, const struct progress *progress, const char *identity)
{
    cJSON *root = cJSON_CreateObject(), *variables = root ? cJSON_AddArrayToObject(root, "variables") : NULL;
    const char *name;
    mitral_tensor *tensor;
    bool made = variables && cJSON_AddNumberToObject(root, "step", (double)progress->step) && add_real(root, "loss", progress->loss)
                && add_real(root, "dice", progress->dice)
                && add_real(root, "best_dice", progress->best_dice) && cJSON_AddNumberToObject(root, "best_step", (double)progress->best_step)
                && cJSON_AddNumberToObject(root, "bad_validations", (double)progress->bad_validations)
                && cJSON_AddBoolToObject(root, "validation_due", progress->validation_due) && cJSON_AddRawToObject(root, "identity", identity);
    for (size_t i = 0; made && trainer_variable(trainer, i, &name, &tensor); i++) {
        cJSON *item = cJSON_CreateObject();
        made = item && cJSON_AddItemToArray(variables, item) && cJSON_AddStringToObject(item, "name", name)
               && cJSON_AddNumberToObject(item, "type", tensor->dtype) && cJSON_AddNumberToObject(item, "bytes", (double)tensor_bytes(tensor));
    }
    *out = made ? cJSON_PrintUnformatted(root) : NULL;
    cJSON_Delete(root);
    return *out ? MITRAL_OK : mitral_fail(trainer->context, MITRAL_NO_MEMORY, "no memory for a checkpoint");
}

static mitral_status put(struct file_writer *writer, struct writing *writing, const void *bytes, size_t size)
{
    static const char zeros[64];
    const size_t padding = (size_t)(align(size) - size);
    TRY(file_append(writer, bytes, size));
    TRY(file_append(writer, zeros, padding));
    XXH3_64bits_update(writing->hash, bytes, size);
    XXH3_64bits_update(writing->hash, zeros, padding);
    writing->written += align(size);
    return MITRAL_OK;
}

static mitral_status write_parts(struct file_writer *writer, void *user)
{
    struct writing *writing = user;
    struct header header = {.version = VERSION, .json_size = strlen(writing->json)};
    const char *name;
    mitral_tensor *tensor;
    memcpy(header.magic, magic, sizeof magic);
    TRY(file_append(writer, &header, sizeof header));
    TRY(put(writer, writing, writing->json, header.json_size));
    for (size_t i = 0; trainer_variable(writing->trainer, i, &name, &tensor); i++)
        TRY(put(writer, writing, tensor->data, tensor_bytes(tensor)));
    header.data_size = writing->written - align(header.json_size);
    header.checksum = XXH3_64bits_digest(writing->hash);
    return file_patch(writer, 0, &header, sizeof header);
}

mitral_status checkpoint_write(struct trainer *trainer, const struct progress *progress, const char *identity, const char *path)
{
    struct writing writing = {.trainer = trainer};
    TRY(describe(&writing.json, trainer, progress, identity));
    writing.hash = XXH3_createState();
    mitral_status status = writing.hash ? MITRAL_OK : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK) {
        XXH3_64bits_reset(writing.hash);
        status = file_write_whole(trainer->context, path, write_parts, &writing);
    }
    XXH3_freeState(writing.hash);
    cJSON_free(writing.json);
    return status;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------ */

static double real_of(const cJSON *root, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, name);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static mitral_status take_variables(struct trainer *trainer, const cJSON *root, const unsigned char *data, uint64_t size, const char *path)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "variables");
    const char *name;
    mitral_tensor *tensor;
    uint64_t at = 0;
    item = item ? item->child : NULL;
    for (size_t i = 0; trainer_variable(trainer, i, &name, &tensor); i++, item = item->next) {
        const cJSON *stored = item ? cJSON_GetObjectItemCaseSensitive(item, "name") : NULL;
        const size_t bytes = tensor_bytes(tensor);
        if (!cJSON_IsString(stored) || strcmp(stored->valuestring, name) != 0 || (size_t)real_of(item, "bytes") != bytes
            || (int32_t)real_of(item, "type") != tensor->dtype || size - at < align(bytes))
            return mitral_fail(trainer->context, MITRAL_INVALID, "%s: expected variable '%s' of %zu bytes, found %s", path, name, bytes,
                               cJSON_IsString(stored) ? stored->valuestring : "none");
        memcpy(tensor->data, data + at, bytes);
        at += align(bytes);
    }
    return item ? mitral_fail(trainer->context, MITRAL_INVALID, "%s: expected the variables of this run, found more", path) : MITRAL_OK;
}

static mitral_status read_parts(struct trainer *trainer, struct progress *progress, const char *identity, const char *path,
                                const struct file_mapping *file)
{
    struct header header;
    if (file->size < sizeof header)
        return mitral_fail(trainer->context, MITRAL_CORRUPT, "%s: expected a checkpoint, found %zu bytes", path, file->size);
    memcpy(&header, file->data, sizeof header);
    if (memcmp(header.magic, magic, sizeof magic) != 0 || header.version != VERSION)
        return mitral_fail(trainer->context, MITRAL_CORRUPT, "%s: expected a checkpoint of version %d, found another file", path, VERSION);
    const uint64_t rest = file->size - sizeof header;
    const unsigned char *body = (const unsigned char *)file->data + sizeof header;
    if (header.json_size > rest || align(header.json_size) > rest || header.data_size != rest - align(header.json_size)
        || XXH3_64bits(body, rest) != header.checksum)
        return mitral_fail(trainer->context, MITRAL_CORRUPT, "%s: expected a whole checkpoint, found one that is truncated or altered", path);
    cJSON *root = cJSON_ParseWithLength((const char *)body, header.json_size);
    mitral_status status = root ? MITRAL_OK : mitral_fail(trainer->context, MITRAL_CORRUPT, "%s: expected a description, found none", path);
    if (status == MITRAL_OK)
        status = compare_identity(trainer->context, cJSON_GetObjectItemCaseSensitive(root, "identity"), identity, path);
    if (status == MITRAL_OK)
        status = take_variables(trainer, root, body + align(header.json_size), header.data_size, path);
    if (status == MITRAL_OK) {
        progress->step = (int64_t)real_of(root, "step");
        progress->loss = real_of(root, "loss");
        progress->dice = real_of(root, "dice");
        progress->best_dice = real_of(root, "best_dice");
        progress->best_step = (int64_t)real_of(root, "best_step");
        progress->bad_validations = (int64_t)real_of(root, "bad_validations");
        progress->validation_due = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "validation_due"));
    }
    cJSON_Delete(root);
    return status;
}

mitral_status checkpoint_read(struct trainer *trainer, struct progress *progress, const char *identity, const char *path, bool *found)
{
    struct file_mapping file;
    *found = access(path, F_OK) == 0;
    if (!*found && errno == ENOENT)
        return MITRAL_OK;
    *found = true;
    TRY(file_map(&file, trainer->context, path));
    mitral_status status = read_parts(trainer, progress, identity, path, &file);
    file_unmap(&file);
    return status;
}
