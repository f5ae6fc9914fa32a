#include "training/cache.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "runtime/file.h"

#define VERSION 3

struct header {
    char magic[8];
    uint64_t version, identity, slices, record; /* record: bytes of a slice */
    uint64_t checksum;                          /* of all records */
    uint64_t reserved[2];
};

static const char magic[8] = {'M', 'I', 'T', 'R', 'A', 'L', 'T', 'C'};

struct teacher_cache {
    struct file_mapping file;
    const unsigned char *records;
    size_t record;
    int64_t batch;
    size_t count;
    struct {
        size_t bytes;          /* of one slice */
        unsigned char *memory; /* of a batch */
    } values[MAX_TAPS + 1];
};

/* ---- making it ------------------------------------------------------------------------------------------------------------------ */

static size_t describe_values(struct teacher_cache *cache, struct trainer *trainer)
{
    const mitral_tensor *value;
    cache->batch = trainer->network.batch;
    for (; (value = trainer_teacher_value(trainer, cache->count)); cache->count++) {
        cache->values[cache->count].bytes = tensor_bytes(value) / (size_t)cache->batch;
        cache->record += cache->values[cache->count].bytes;
    }
    return cache->record;
}

/* The batch size counts: what the teacher says of a slice may depend on it in the last bits. */
static mitral_status find_identity(uint64_t *out, const struct teacher_cache *cache, struct trainer *trainer, const struct batches *batches)
{
    struct file_mapping file;
    const struct network *network = &trainer->network;
    const char *names[MAX_TAPS + 1];
    size_t count = 0;
    if (network->teacher_logits != NO_VALUE)
        names[count++] = trainer->teacher_logits;
    for (size_t i = 0; i < network->pair_count; i++)
        names[count++] = trainer->teacher_maps[i];
    TRY(file_map(&file, trainer->context, trainer->options->teacher));
    uint64_t hash = XXH3_64bits_withSeed(file.data, file.size, VERSION);
    file_unmap(&file);
    const uint64_t numbers[] = {batches_fingerprint(batches), (uint64_t)network->channels, (uint64_t)cache->batch,
                                (uint64_t)trainer->options->precision};
    hash = XXH3_64bits_withSeed(numbers, sizeof numbers, hash);
    for (size_t i = 0; i < count; i++) {
        hash = XXH3_64bits_withSeed(names[i], strlen(names[i]) + 1, hash);
        hash = XXH3_64bits_withSeed(&cache->values[i].bytes, sizeof cache->values[i].bytes, hash);
    }
    *out = hash;
    return MITRAL_OK;
}

struct filling {
    struct teacher_cache *cache;
    struct trainer *trainer;
    const mitral_slices *slices;
    struct header header;
    float *images;
    XXH3_state_t *hash;
};

static mitral_status append_batch(struct file_writer *writer, struct filling *filling, int64_t count)
{
    const mitral_tensor *value;
    for (int64_t i = 0; i < count; i++)
        for (size_t v = 0; (value = trainer_teacher_value(filling->trainer, v)); v++) {
            const size_t bytes = filling->cache->values[v].bytes;
            TRY(file_append(writer, (const unsigned char *)value->data + (size_t)i * bytes, bytes));
            XXH3_64bits_update(filling->hash, (const unsigned char *)value->data + (size_t)i * bytes, bytes);
        }
    return MITRAL_OK;
}

static mitral_status write_all(struct file_writer *writer, void *user)
{
    struct filling *filling = user;
    const struct network *network = &filling->trainer->network;
    const mitral_slices *slices = filling->slices;
    const int64_t pixels = slices->height * slices->width;
    TRY(file_append(writer, &filling->header, sizeof filling->header));
    for (int64_t start = 0; start < slices->count; start += network->batch) {
        const int64_t rest = slices->count - start, count = rest < network->batch ? rest : network->batch;
        if (mitral_cancelled(filling->trainer->context))
            return mitral_fail(filling->trainer->context, MITRAL_CANCELLED, "interrupted before the first step, while the teacher's outputs were cached");
        for (int64_t i = 0; i < count; i++)
            for (int64_t c = 0; c < network->channels; c++)
                memcpy(filling->images + (i * network->channels + c) * pixels, slices->images + (start + i) * pixels,
                       (size_t)pixels * sizeof *filling->images);
        TRY(trainer_run_teacher(filling->trainer, filling->images));
        TRY(append_batch(writer, filling, count));
    }
    filling->header.checksum = XXH3_64bits_digest(filling->hash);
    return file_patch(writer, 0, &filling->header, sizeof filling->header);
}

static mitral_status make_file(struct teacher_cache *cache, struct trainer *trainer, const struct batches *batches, const struct header *header,
                               const char *path)
{
    const struct network *network = &trainer->network;
    struct filling filling = {.cache = cache, .trainer = trainer, .slices = batches_slices(batches), .header = *header};
    mitral_log(trainer->context, "%s: the teacher's outputs for %llu slices, %.0f MB", path, (unsigned long long)header->slices,
               (double)header->slices * (double)header->record / 1e6);
    filling.images = mitral_allocate(trainer->context, (size_t)(network->batch * network->channels * network->height * network->width) * sizeof(float));
    filling.hash = XXH3_createState();
    mitral_status status = filling.images && filling.hash ? MITRAL_OK : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK) {
        XXH3_64bits_reset(filling.hash);
        status = file_write_whole(trainer->context, path, write_all, &filling);
    }
    XXH3_freeState(filling.hash);
    mitral_release(trainer->context, filling.images);
    return status;
}

/* ---- opening -------------------------------------------------------------------------------------------------------------------- */

static bool is_ours(const struct file_mapping *file, const struct header *wanted)
{
    struct header found;
    if (file->size != sizeof found + wanted->slices * wanted->record)
        return false;
    memcpy(&found, file->data, sizeof found);
    const uint64_t checksum = found.checksum;
    found.checksum = 0;
    return memcmp(&found, wanted, sizeof found) == 0
           && XXH3_64bits((const unsigned char *)file->data + sizeof found, file->size - sizeof found) == checksum;
}

static mitral_status open_file(struct teacher_cache *cache, struct trainer *trainer, const struct batches *batches, const char *folder)
{
    mitral_context *context = trainer->context;
    struct header header = {.version = VERSION, .slices = (uint64_t)batches_slices(batches)->count, .record = cache->record};
    char path[PATH_SIZE + 64];
    struct stat facts;
    memcpy(header.magic, magic, sizeof magic);
    TRY(find_identity(&header.identity, cache, trainer, batches));
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return mitral_fail(context, MITRAL_IO, "%s: expected a folder for the teacher's outputs that can be made, found: %s", folder, strerror(errno));
    snprintf(path, sizeof path, "%s/teacher-%016llx.cache", folder, (unsigned long long)header.identity);
    if (stat(path, &facts) == 0) {
        TRY(file_map(&cache->file, context, path));
        if (!is_ours(&cache->file, &header))
            file_unmap(&cache->file); /* damaged: made anew */
    }
    if (!cache->file.data) {
        TRY(make_file(cache, trainer, batches, &header, path));
        TRY(file_map(&cache->file, context, path));
        if (!is_ours(&cache->file, &header))
            return mitral_fail(context, MITRAL_CORRUPT, "%s: expected the teacher's outputs that were just written, found something else", path);
    }
    cache->records = (const unsigned char *)cache->file.data + sizeof header;
    for (size_t v = 0; v < cache->count; v++) {
        cache->values[v].memory = mitral_allocate_raw(context, cache->values[v].bytes * (size_t)cache->batch);
        if (!cache->values[v].memory)
            return MITRAL_NO_MEMORY;
    }
    return MITRAL_OK;
}

mitral_status teacher_cache_open(struct teacher_cache **out, struct trainer *trainer, const struct batches *batches)
{
    const struct options *options = trainer->options;
    const char *folder = *options->cache_teacher ? options->cache_teacher : options->checkpoint;
    const double slices = (double)batches_slices(batches)->count, limit = 1e6 * (double)options->cache_limit;
    const bool named = *options->cache_teacher != 0;
    *out = NULL;
    if (!trainer->teacher_session || !options->no_augmentation || !*folder || (!named && options->cache_limit == 0))
        return MITRAL_OK;
    if (!named && (double)options->steps * (double)options->batch * (double)options->accumulate < slices)
        return MITRAL_OK; /* most of it would never be read */
    struct teacher_cache *cache = mitral_allocate(trainer->context, sizeof *cache);
    if (!cache)
        return MITRAL_NO_MEMORY;
    mitral_status status = MITRAL_OK;
    const double bytes = slices * (double)describe_values(cache, trainer);
    if (cache->count == 0 || bytes > limit) {
        if (named && cache->count)
            status = mitral_fail(trainer->context, MITRAL_LIMIT, "cache-teacher: expected at most %lld MB (cache-limit), found %.0f MB for %.0f slices",
                                 (long long)options->cache_limit, bytes / 1e6, slices);
        else if (cache->count)
            mitral_log(trainer->context, "the teacher's outputs are not cached: %.0f MB, more than cache-limit, %lld MB", bytes / 1e6,
                       (long long)options->cache_limit);
        mitral_release(trainer->context, cache);
        return status;
    }
    status = open_file(cache, trainer, batches, folder);
    *out = cache;
    if (status != MITRAL_OK)
        teacher_cache_close(out, trainer->context);
    return status;
}

void teacher_cache_close(struct teacher_cache **cache, mitral_context *context)
{
    if (!*cache)
        return;
    for (size_t v = 0; v < (*cache)->count; v++)
        mitral_release(context, (*cache)->values[v].memory);
    file_unmap(&(*cache)->file);
    mitral_release(context, *cache);
    *cache = NULL;
}

void teacher_cache_take(struct teacher_cache *cache, struct trainer *trainer, const int64_t *slices)
{
    mitral_tensor *value;
    size_t offset = 0;
    for (size_t v = 0; (value = trainer_teacher_value(trainer, v)); v++) {
        const size_t bytes = cache->values[v].bytes;
        for (int64_t i = 0; i < cache->batch; i++)
            memcpy(cache->values[v].memory + (size_t)i * bytes, cache->records + (size_t)slices[i] * cache->record + offset, bytes);
        value->data = cache->values[v].memory;
        offset += bytes;
    }
}
