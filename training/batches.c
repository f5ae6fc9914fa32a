#include "training/batches.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "data/random.h"
#include "training/classes.h"
#include "training/loss.h"

enum { STREAM_SPLIT = 1, STREAM_ORDER = 1 << 20 };
static const uint64_t stream_unlabelled = (uint64_t)1 << 40; /* added to those of the labelled ones' orders */

struct buffer {
    int64_t index; /* of the batch; -1: none */
    float *images;
    uint8_t *labels;
    int64_t *slices;
};

/* Slices that are drawn without repetition until all were seen. */
struct source {
    int64_t *items, count;
    int64_t *order, epoch; /* of one epoch */
    uint64_t stream;
};

struct batches {
    mitral_context *context;
    mitral_dataset dataset;
    mitral_slices slices;
    mitral_augmentation augmentation;
    bool augment;
    uint64_t seed;
    int64_t batch, channels;
    int64_t labelled_slices;  /* those come first */
    int64_t unlabelled_each;  /* of each batch */
    struct source training, unlabelled;
    int64_t *validation, validation_count;
    /* one buffer is being read, the other filled */
    struct buffer buffers[2];
    int reading;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t wanted;  /* the batch to make; -1: nothing to do */
    bool started, stop;
};

const mitral_dataset *batches_dataset(const struct batches *batches) { return &batches->dataset; }
const mitral_slices *batches_slices(const struct batches *batches) { return &batches->slices; }

struct slice_list batches_training(const struct batches *batches)
{
    return (struct slice_list){batches->training.items, batches->training.count};
}

struct slice_list batches_validation(const struct batches *batches)
{
    return (struct slice_list){batches->validation, batches->validation_count};
}

struct slice_list batches_unlabelled(const struct batches *batches)
{
    return (struct slice_list){batches->unlabelled.items, batches->unlabelled.count};
}

int64_t batches_unlabelled_each(const struct batches *batches)
{
    return batches->unlabelled_each;
}

uint64_t batches_fingerprint(const struct batches *batches)
{
    const mitral_slices *s = &batches->slices;
    const size_t pixels = (size_t)(s->count * s->height * s->width);
    uint64_t hash = XXH3_64bits(s->images, pixels * sizeof *s->images);
    hash = XXH3_64bits_withSeed(s->labels, pixels, hash);
    return XXH3_64bits_withSeed(s->cases, (size_t)s->count * sizeof *s->cases, hash);
}

static void shuffle(int64_t *items, int64_t count, uint64_t seed, uint64_t stream)
{
    struct random random = random_start(seed, stream);
    for (int64_t i = count - 1; i > 0; i--) {
        const int64_t k = random_index(&random, (uint32_t)(i + 1)), kept = items[i];
        items[i] = items[k];
        items[k] = kept;
    }
}

/* ---- filling -------------------------------------------------------------------------------------------------------------- */

static int64_t draw(struct source *source, uint64_t seed, int64_t sample)
{
    const int64_t epoch = sample / source->count;
    if (epoch != source->epoch) {
        memcpy(source->order, source->items, (size_t)source->count * sizeof *source->order);
        shuffle(source->order, source->count, seed, source->stream + (uint64_t)epoch);
        source->epoch = epoch;
    }
    return source->order[sample % source->count];
}

static void fill(struct batches *batches, struct buffer *buffer, int64_t index)
{
    const int64_t pixels = batches->slices.height * batches->slices.width, labelled = batches->batch - batches->unlabelled_each;
    for (int64_t i = 0; i < batches->batch; i++) {
        const int64_t sample = index * batches->batch + i;
        const int64_t slice = i < labelled ? draw(&batches->training, batches->seed, index * labelled + i)
                                           : draw(&batches->unlabelled, batches->seed, index * batches->unlabelled_each + i - labelled);
        const float *image = batches->slices.images + slice * pixels;
        const uint8_t *label = batches->slices.labels + slice * pixels;
        float *into = buffer->images + i * batches->channels * pixels;
        buffer->slices[i] = slice;
        if (batches->augment) {
            mitral_augment_slice(into, buffer->labels + i * pixels, image, label, batches->slices.height, batches->slices.width,
                                 &batches->augmentation, batches->seed, (uint64_t)sample);
        } else {
            memcpy(into, image, (size_t)pixels * sizeof *into);
            memcpy(buffer->labels + i * pixels, label, (size_t)pixels);
        }
        if (i >= labelled) /* augmentation has made what comes in from outside background */
            memset(buffer->labels + i * pixels, NO_LABEL, (size_t)pixels);
        for (int64_t c = 1; c < batches->channels; c++)
            memcpy(into + c * pixels, into, (size_t)pixels * sizeof *into);
    }
    buffer->index = index;
}

static void *work(void *user)
{
    struct batches *batches = user;
    pthread_mutex_lock(&batches->lock);
    while (!batches->stop) {
        if (batches->wanted < 0) {
            pthread_cond_wait(&batches->changed, &batches->lock);
            continue;
        }
        const int64_t index = batches->wanted;
        struct buffer *buffer = &batches->buffers[1 - batches->reading];
        pthread_mutex_unlock(&batches->lock);
        fill(batches, buffer, index);
        pthread_mutex_lock(&batches->lock);
        batches->wanted = -1;
        pthread_cond_broadcast(&batches->changed);
    }
    pthread_mutex_unlock(&batches->lock);
    return NULL;
}

mitral_status batches_get(struct batch *out, struct batches *batches, int64_t index, int64_t next)
{
    pthread_mutex_lock(&batches->lock);
    while (batches->wanted >= 0)
        pthread_cond_wait(&batches->changed, &batches->lock);
    struct buffer *made = &batches->buffers[1 - batches->reading];
    if (made->index != index)
        fill(batches, made, index); /* the first one, or one that nobody announced */
    batches->reading = 1 - batches->reading;
    batches->wanted = next;
    pthread_cond_broadcast(&batches->changed);
    pthread_mutex_unlock(&batches->lock);
    *out = (struct batch){.images = made->images, .labels = made->labels, .slices = batches->augment ? NULL : made->slices};
    return MITRAL_OK;
}

/* ---- opening --------------------------------------------------------------------------------------------------------------- */

/* Patients in the order of the dataset; `patient` of a case is its index in that list. */
static mitral_status number_patients(const struct batches *batches, int64_t *patients, int64_t *count)
{
    const mitral_dataset *dataset = &batches->dataset;
    *count = 0;
    for (size_t i = 0; i < dataset->count; i++) {
        size_t k = 0;
        while (k < i && strcmp(dataset->cases[k].patient, dataset->cases[i].patient) != 0)
            k++;
        patients[i] = k < i ? patients[k] : (*count)++;
    }
    return MITRAL_OK;
}

static mitral_status split(struct batches *batches, double share)
{
    mitral_context *context = batches->context;
    const size_t cases = batches->dataset.count;
    int64_t *patients = mitral_allocate(context, (2 * cases + 1) * sizeof *patients), *order = patients + cases, count;
    if (!patients)
        return MITRAL_NO_MEMORY;
    number_patients(batches, patients, &count);
    int64_t held = share > 0 ? (int64_t)ceil(share * (double)count) : 0;
    if (held >= count) /* one patient at least is trained on */
        held = count - 1;
    if (share > 0 && held == 0)
        mitral_log(context, "%s: one patient alone, who is trained on; nobody is left to validate on", batches->dataset.name);
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    shuffle(order, count, batches->seed, STREAM_SPLIT);
    for (int64_t i = 0; i < batches->slices.count; i++) {
        bool validation = false;
        if (i >= batches->labelled_slices) {
            batches->unlabelled.items[batches->unlabelled.count++] = i;
            continue;
        }
        for (int64_t k = 0; k < held; k++)
            validation |= order[k] == patients[batches->slices.cases[i]];
        if (validation)
            batches->validation[batches->validation_count++] = i;
        else
            batches->training.items[batches->training.count++] = i;
    }
    mitral_release(context, patients);
    return MITRAL_OK;
}

static mitral_status allocate(struct batches *batches)
{
    mitral_context *context = batches->context;
    const size_t count = (size_t)batches->slices.count, pixels = (size_t)(batches->slices.height * batches->slices.width);
    struct source *sources[2] = {&batches->training, &batches->unlabelled};
    batches->validation = mitral_allocate(context, count * sizeof(int64_t));
    bool made = batches->validation != NULL;
    for (int i = 0; i < 2; i++) {
        *sources[i] = (struct source){.epoch = -1, .stream = STREAM_ORDER + (i ? stream_unlabelled : 0)};
        sources[i]->items = mitral_allocate(context, count * sizeof(int64_t));
        sources[i]->order = mitral_allocate(context, count * sizeof(int64_t));
        made = made && sources[i]->items && sources[i]->order;
    }
    for (int i = 0; i < 2; i++) {
        batches->buffers[i].index = -1;
        batches->buffers[i].images = mitral_allocate(context, (size_t)(batches->batch * batches->channels) * pixels * sizeof(float));
        batches->buffers[i].labels = mitral_allocate(context, (size_t)batches->batch * pixels);
        batches->buffers[i].slices = mitral_allocate(context, (size_t)batches->batch * sizeof(int64_t));
        made = made && batches->buffers[i].images && batches->buffers[i].labels && batches->buffers[i].slices;
    }
    return made ? MITRAL_OK : MITRAL_NO_MEMORY;
}

/* The data's classes become the network's: by name where the data have all of the network's names, in whatever order; else by number. */
static void match_classes(struct batches *batches, const mitral_preprocessing *network)
{
    const mitral_dataset *dataset = &batches->dataset;
    uint8_t map[256];
    bool all = true, same = true;
    for (int32_t i = 0; i < dataset->class_count; i++) {
        int32_t found = 0;
        while (found < network->class_count && strcmp(network->labels[found], dataset->labels[i]) != 0)
            found++;
        all &= found < network->class_count;
        same &= found == i;
        map[i] = (uint8_t)found;
    }
    if (!all)
        mitral_log(batches->context, "%s: the network's class names are not those of the data: matched by number", dataset->name);
    if (!all || same)
        return;
    mitral_log(batches->context, "%s: the classes are in another order than the network's: matched by name", dataset->name);
    for (int64_t i = 0, count = batches->slices.count * batches->slices.height * batches->slices.width; i < count; i++)
        batches->slices.labels[i] = map[batches->slices.labels[i]];
}

/* ---- scans without labels -------------------------------------------------------------------------------------------------- */

/* Leaves out the images that the labelled data have too, those held back among them. */
static mitral_status leave_out_known(mitral_dataset *dataset, const struct batches *batches)
{
    const mitral_dataset *known = &batches->dataset;
    char **paths = mitral_allocate(batches->context, (known->count + 1) * sizeof *paths);
    size_t kept = 0;
    if (!paths)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < known->count; i++)
        paths[i] = realpath(known->cases[i].image, NULL);
    for (size_t i = 0; i < dataset->count; i++) {
        char *path = realpath(dataset->cases[i].image, NULL);
        bool found = false;
        for (size_t k = 0; k < known->count && path; k++)
            found |= paths[k] && strcmp(paths[k], path) == 0;
        free(path);
        if (!found)
            dataset->cases[kept++] = dataset->cases[i];
    }
    for (size_t i = 0; i < known->count; i++)
        free(paths[i]);
    mitral_release(batches->context, paths);
    dataset->count = kept;
    return MITRAL_OK;
}

/* Behind the labelled slices, with labels that the losses leave out. */
static mitral_status append(mitral_slices *slices, mitral_context *context, const mitral_slices *more, int32_t first_case)
{
    const size_t pixels = (size_t)(slices->height * slices->width), before = (size_t)slices->count, added = (size_t)more->count;
    mitral_slices all = *slices;
    all.count += more->count;
    all.images = mitral_allocate_raw(context, (before + added) * pixels * sizeof *all.images);
    all.labels = mitral_allocate_raw(context, (before + added) * pixels);
    all.cases = mitral_allocate_raw(context, (before + added) * sizeof *all.cases);
    all.positions = mitral_allocate_raw(context, (before + added) * sizeof *all.positions);
    if (!all.images || !all.labels || !all.cases || !all.positions) {
        mitral_slices_free(context, &all);
        return MITRAL_NO_MEMORY;
    }
    memcpy(all.images, slices->images, before * pixels * sizeof *all.images);
    memcpy(all.images + before * pixels, more->images, added * pixels * sizeof *all.images);
    memcpy(all.labels, slices->labels, before * pixels);
    memset(all.labels + before * pixels, NO_LABEL, added * pixels);
    memcpy(all.cases, slices->cases, before * sizeof *all.cases);
    for (size_t i = 0; i < added; i++)
        all.cases[before + i] = first_case + more->cases[i];
    memcpy(all.positions, slices->positions, before * sizeof *all.positions);
    memcpy(all.positions + before, more->positions, added * sizeof *all.positions);
    mitral_slices_free(context, slices);
    *slices = all;
    return MITRAL_OK;
}

static mitral_status add_unlabelled(struct batches *batches, const struct options *options, const mitral_preprocessing *preprocessing,
                                    int threads)
{
    mitral_context *context = batches->context;
    mitral_dataset dataset;
    mitral_slices slices = {0};
    batches->labelled_slices = batches->slices.count;
    if (!*options->unlabelled)
        return MITRAL_OK;
    const int64_t batch = options->batch;
    batches->unlabelled_each = llround(options->unlabelled_share * (double)batch);
    if (batches->unlabelled_each < 1 || batches->unlabelled_each >= batch)
        return mitral_fail(context, MITRAL_INVALID, "unlabelled-share: expected slices of both kinds in each batch of %lld, a share from about %.3g to %.3g, "
                           "found %g", (long long)batch, 1 / (double)batch, (double)(batch - 1) / (double)batch, options->unlabelled_share);
    TRY(mitral_dataset_open(&dataset, context, options->unlabelled, "training"));
    mitral_status status = leave_out_known(&dataset, batches);
    if (status == MITRAL_OK && dataset.count == 0)
        status = mitral_fail(context, MITRAL_INVALID, "%s: expected training images that %s does not hold, found none", options->unlabelled,
                             options->data);
    if (status == MITRAL_OK)
        status = mitral_slices_load_images(&slices, context, &dataset, preprocessing, threads);
    if (status == MITRAL_OK)
        status = append(&batches->slices, context, &slices, (int32_t)batches->dataset.count);
    mitral_slices_free(context, &slices);
    mitral_dataset_free(context, &dataset);
    return status;
}

static mitral_status open_data(struct batches *batches, const struct options *options, mitral_preprocessing *preprocessing, bool names_classes,
                               int threads)
{
    TRY(mitral_dataset_open(&batches->dataset, batches->context, options->data, "training"));
    if (!names_classes)
        classes_take_names(preprocessing, &batches->dataset);
    TRY(mitral_slices_load(&batches->slices, batches->context, &batches->dataset, preprocessing, threads));
    match_classes(batches, preprocessing);
    TRY(add_unlabelled(batches, options, preprocessing, threads));
    TRY(allocate(batches));
    TRY(split(batches, options->validation));
    if (batches->training.count == 0)
        return mitral_fail(batches->context, MITRAL_INVALID, "%s: expected training slices, found none", options->data);
    if (pthread_create(&batches->thread, NULL, work, batches) != 0)
        return mitral_fail(batches->context, MITRAL_NO_MEMORY, "expected to start a thread for the data, the system refused");
    batches->started = true;
    return MITRAL_OK;
}

mitral_status batches_open(struct batches **out, mitral_context *context, const struct options *options, mitral_preprocessing *preprocessing,
                           bool names_classes, int64_t channels, int threads)
{
    struct batches *batches = mitral_allocate(context, sizeof *batches);
    *out = NULL;
    if (!batches)
        return MITRAL_NO_MEMORY;
    batches->context = context;
    batches->seed = (uint64_t)options->seed;
    batches->batch = options->batch;
    batches->channels = channels;
    batches->augment = !options->no_augmentation;
    batches->wanted = -1;
    mitral_augmentation_default(&batches->augmentation);
    batches->augmentation.flip_x = batches->augmentation.flip_y = options->flip;
    batches->augmentation.rotation = options->rotation;
    batches->augmentation.scale_min = options->scale_min;
    batches->augmentation.scale_max = options->scale_max;
    batches->augmentation.gamma_min = options->gamma_min;
    batches->augmentation.gamma_max = options->gamma_max;
    pthread_mutex_init(&batches->lock, NULL);
    pthread_cond_init(&batches->changed, NULL);
    mitral_status status = open_data(batches, options, preprocessing, names_classes, threads);
    *out = batches;
    if (status != MITRAL_OK)
        batches_close(out);
    return status;
}

void batches_close(struct batches **out)
{
    struct batches *batches = *out;
    if (!batches)
        return;
    mitral_context *context = batches->context;
    if (batches->started) {
        pthread_mutex_lock(&batches->lock);
        batches->stop = true;
        pthread_cond_broadcast(&batches->changed);
        pthread_mutex_unlock(&batches->lock);
        pthread_join(batches->thread, NULL);
    }
    pthread_mutex_destroy(&batches->lock);
    pthread_cond_destroy(&batches->changed);
    for (int i = 0; i < 2; i++) {
        mitral_release(context, batches->buffers[i].images);
        mitral_release(context, batches->buffers[i].labels);
        mitral_release(context, batches->buffers[i].slices);
    }
    mitral_release(context, batches->training.items);
    mitral_release(context, batches->training.order);
    mitral_release(context, batches->unlabelled.items);
    mitral_release(context, batches->unlabelled.order);
    mitral_release(context, batches->validation);
    mitral_slices_free(context, &batches->slices);
    mitral_dataset_free(context, &batches->dataset);
    mitral_release(context, batches);
    *out = NULL;
}
