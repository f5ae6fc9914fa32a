#include "training/record.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/file.h"

enum { EXAMPLES = 3, EXAMPLE_SLICES = 12 };

mitral_status record_configuration(mitral_context *context, const struct options *options, const char *folder)
{
    char path[PATH_SIZE + 32], *json;
    TRY(options_json(&json, context, options, false));
    snprintf(path, sizeof path, "%s/configuration.json", folder);
    mitral_status status = file_write_bytes(context, path, json, strlen(json));
    mitral_release(context, json);
    return status;
}

/* ---- pictures --------------------------------------------------------------------------------------------------------------- */

struct ranked {
    double dice;
    int64_t index;
};

/* Mean over the foreground classes of one case; above all Dice where it has none. */
static double case_score(const struct validation *validation, int64_t index, int64_t classes)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t c = 1; c < classes; c++)
        if (!isnan(validation->case_dice[index * classes + c])) {
            sum += validation->case_dice[index * classes + c];
            count++;
        }
    return count ? sum / (double)count : 2;
}

static int compare_ranked(const void *left, const void *right)
{
    const struct ranked *a = left, *b = right;
    if (a->dice != b->dice)
        return a->dice < b->dice ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

static mitral_status draw(const char *path, const struct validation *validation, int64_t index, double score, struct trainer *trainer,
                          const struct batches *batches)
{
    const mitral_slices *slices = batches_slices(batches);
    const mitral_preprocessing *grid = &trainer->preprocessing;
    const mitral_case *item = &batches_dataset(batches)->cases[validation->cases[index]];
    const int64_t pixels = slices->height * slices->width, first = validation->first[index], start = validation->slices.items[first] * pixels;
    const bool spaced = grid->spacing[0] > 0 && grid->spacing[1] > 0;
    const mitral_volume volume = {.geometry = {.size = {slices->width, slices->height, validation->first[index + 1] - first, 1},
                                               .spacing = {spaced ? grid->spacing[0] : 1, spaced ? grid->spacing[1] : 1, 1, 1}},
                                  .voxels = slices->images + start};
    const char *names[MITRAL_MAX_CLASSES];
    char title[160];
    for (int32_t c = 0; c < grid->class_count; c++)
        names[c] = grid->labels[c];
    snprintf(title, sizeof title, "%.60s %s: mean Dice %.3f", item->patient, mitral_phase_name(item->phase), score <= 1 ? score : 0.0);
    const int64_t count = volume.geometry.size[2];
    const mitral_overlay_options options = {.reference = slices->labels + start, .title = title, .names = names, .class_count = grid->class_count,
                                            .crop = true, .columns = count < 6 ? count : 6,
                                            .first = count > EXAMPLE_SLICES ? (count - EXAMPLE_SLICES) / 2 : 0,
                                            .count = count > EXAMPLE_SLICES ? EXAMPLE_SLICES : count, .tile = 192};
    mitral_picture picture;
    TRY(mitral_picture_overlay(&picture, trainer->context, &volume, 0, validation->predictions + first * pixels, &options));
    mitral_status status = mitral_picture_write(trainer->context, &picture, path);
    mitral_picture_free(trainer->context, &picture);
    return status;
}

static mitral_status draw_examples(const struct validation *validation, struct trainer *trainer, const struct batches *batches)
{
    static const char *const names[EXAMPLES] = {"1_worst", "2_middle", "3_best"};
    char folder[PATH_SIZE + 32], path[PATH_SIZE + 64];
    const int64_t count = validation->case_count;
    struct ranked *ranking = mitral_allocate(trainer->context, (size_t)(count + 1) * sizeof *ranking);
    if (!ranking)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < count; i++)
        ranking[i] = (struct ranked){case_score(validation, i, trainer->network.classes), i};
    qsort(ranking, (size_t)count, sizeof *ranking, compare_ranked);
    snprintf(folder, sizeof folder, "%s/examples", trainer->options->checkpoint);
    mitral_status status = mkdir(folder, 0777) == 0 || errno == EEXIST
        ? MITRAL_OK : mitral_fail(trainer->context, MITRAL_IO, "%s: %s", folder, strerror(errno));
    const int64_t chosen[EXAMPLES] = {0, (count - 1) / 2, count - 1};
    for (int i = 0; i < EXAMPLES && status == MITRAL_OK; i++) {
        snprintf(path, sizeof path, "%s/%s.png", folder, names[i]);
        const bool again = i > 0 && chosen[i] == chosen[i - 1];
        if (count == 0 || again)
            (void)unlink(path); /* of an earlier run */
        else
            status = draw(path, validation, ranking[chosen[i]].index, ranking[chosen[i]].dice, trainer, batches);
    }
    mitral_release(trainer->context, ranking);
    return status;
}

/* ---- figures ---------------------------------------------------------------------------------------------------------------- */

static bool add_real(cJSON *object, const char *name, double number)
{
    return isfinite(number) ? cJSON_AddNumberToObject(object, name, number) != NULL : cJSON_AddNullToObject(object, name) != NULL;
}

static bool add_classes(cJSON *object, const char *name, const double *dice, const struct trainer *trainer)
{
    cJSON *item = cJSON_AddObjectToObject(object, name);
    for (int64_t c = 1; item && c < trainer->network.classes; c++)
        if (!add_real(item, trainer->preprocessing.labels[c], dice[c]))
            return false;
    return item != NULL;
}

/* Patients whose slices these are, each once. */
static bool add_patients(cJSON *object, const char *name, const struct batches *batches, struct slice_list slices)
{
    const mitral_dataset *dataset = batches_dataset(batches);
    cJSON *list = cJSON_AddArrayToObject(object, name);
    const char *last = "";
    bool made = list != NULL;
    for (int64_t i = 0; i < slices.count && made; i++) {
        const char *patient = dataset->cases[batches_slices(batches)->cases[slices.items[i]]].patient;
        if (strcmp(patient, last) == 0)
            continue;
        cJSON *known = NULL;
        cJSON_ArrayForEach(known, list) if (strcmp(known->valuestring, patient) == 0)
            break;
        if (!known)
            made = cJSON_AddItemToArray(list, cJSON_CreateString(patient));
        last = patient;
    }
    return made;
}

static bool add_cases(cJSON *object, const struct validation *validation, const struct trainer *trainer, const struct batches *batches)
{
    cJSON *list = cJSON_AddArrayToObject(object, "cases");
    bool made = list != NULL;
    for (int64_t i = 0; i < validation->case_count && made; i++) {
        const mitral_case *from = &batches_dataset(batches)->cases[validation->cases[i]];
        cJSON *item = cJSON_CreateObject();
        made = item && cJSON_AddItemToArray(list, item) && cJSON_AddStringToObject(item, "patient", from->patient)
               && cJSON_AddStringToObject(item, "phase", mitral_phase_name(from->phase))
               && add_classes(item, "dice", validation->case_dice + i * trainer->network.classes, trainer);
    }
    return made;
}

static char *describe(const struct record *record, const struct validation *validation, const struct trainer *trainer,
                      const struct batches *batches, const struct progress *progress)
{
    const bool held = batches_validation(batches).count > 0;
    cJSON *root = cJSON_CreateObject();
    bool made = root && cJSON_AddNumberToObject(root, "steps", (double)progress->step) && add_real(root, "loss", progress->loss)
                && add_real(root, "last_dice", progress->dice) && add_real(root, "best_dice", progress->best_dice)
                && cJSON_AddNumberToObject(root, "best_step", (double)progress->best_step)
                && cJSON_AddNumberToObject(root, "kept_step", (double)record->kept_step)
                && cJSON_AddStringToObject(root, "data", batches_dataset(batches)->name)
                && cJSON_AddStringToObject(root, "measured_on", held ? "validation" : "training")
                && add_real(root, "dice", validation->dice) && add_classes(root, "dice_by_class", validation->by_class, trainer)
                && add_patients(root, "training_patients", batches, batches_training(batches))
                && add_patients(root, "validation_patients", batches, batches_validation(batches))
                && cJSON_AddNumberToObject(root, "training_slices", (double)batches_training(batches).count)
                && cJSON_AddNumberToObject(root, "validation_slices", (double)batches_validation(batches).count)
                && (!batches_unlabelled(batches).count
                    || cJSON_AddNumberToObject(root, "unlabelled_slices", (double)batches_unlabelled(batches).count))
                && add_cases(root, validation, trainer, batches);
    char *text = made ? cJSON_Print(root) : NULL;
    cJSON_Delete(root);
    return text;
}

/* The beginning of a list that holds whole cases, no more than `cases`. */
static struct slice_list first_cases(struct slice_list list, const mitral_slices *slices, int64_t cases)
{
    int64_t seen = 0;
    for (int64_t i = 0; i < list.count; i++)
        if (i == 0 || slices->cases[list.items[i]] != slices->cases[list.items[i - 1]])
            if (++seen > cases)
                return (struct slice_list){list.items, i};
    return list;
}

mitral_status record_result(const struct record *record, struct trainer *trainer, const struct batches *batches, const struct progress *progress)
{
    struct validation validation;
    struct slice_list list = batches_validation(batches);
    char path[PATH_SIZE + 32];
    if (list.count == 0)
        list = first_cases(batches_training(batches), batches_slices(batches), EXAMPLES);
    TRY(validate(&validation, trainer, batches, list));
    mitral_status status = draw_examples(&validation, trainer, batches);
    if (status == MITRAL_OK) {
        char *text = describe(record, &validation, trainer, batches, progress);
        snprintf(path, sizeof path, "%s/result.json", trainer->options->checkpoint);
        status = text ? file_write_bytes(trainer->context, path, text, strlen(text)) : MITRAL_NO_MEMORY;
        cJSON_free(text);
    }
    validation_clear(&validation, trainer->context);
    return status;
}
