#include "training/validate.h"

#include <math.h>
#include <string.h>

static mitral_status predict_all(struct validation *out, struct trainer *trainer, const mitral_slices *slices, float *images)
{
    const struct network *network = &trainer->network;
    const int64_t pixels = network->height * network->width;
    for (int64_t start = 0; start < out->slices.count; start += network->batch) {
        const int64_t rest = out->slices.count - start, count = rest < network->batch ? rest : network->batch;
        for (int64_t i = 0; i < count; i++)
            for (int64_t c = 0; c < network->channels; c++)
                memcpy(images + (i * network->channels + c) * pixels, slices->images + out->slices.items[start + i] * pixels,
                       (size_t)pixels * sizeof *images);
        TRY(trainer_predict(trainer, out->predictions + start * pixels, images, count));
    }
    return MITRAL_OK;
}

static void find_cases(struct validation *out, const mitral_slices *slices)
{
    for (int64_t i = 0; i < out->slices.count; i++) {
        const int32_t item = slices->cases[out->slices.items[i]];
        if (out->case_count && out->cases[out->case_count - 1] == item)
            continue;
        out->cases[out->case_count] = item;
        out->first[out->case_count++] = i;
    }
    out->first[out->case_count] = out->slices.count;
}

static void measure_case(struct validation *out, int64_t index, const mitral_slices *slices, int64_t pixels, int64_t classes)
{
    int64_t both[MITRAL_MAX_CLASSES] = {0}, sides[MITRAL_MAX_CLASSES] = {0};
    for (int64_t at = out->first[index]; at < out->first[index + 1]; at++) {
        const uint8_t *prediction = out->predictions + at * pixels, *label = slices->labels + out->slices.items[at] * pixels;
        for (int64_t i = 0; i < pixels; i++) {
            sides[prediction[i]]++;
            sides[label[i]]++;
            both[label[i]] += prediction[i] == label[i];
        }
    }
    for (int64_t c = 0; c < classes; c++)
        out->case_dice[index * classes + c] = sides[c] ? 2.0 * (double)both[c] / (double)sides[c] : NAN;
}

static void average(struct validation *out, int64_t classes)
{
    double total = 0;
    int64_t found = 0;
    for (int64_t c = 0; c < classes; c++) {
        double sum = 0;
        int64_t count = 0;
        for (int64_t i = 0; i < out->case_count; i++)
            if (!isnan(out->case_dice[i * classes + c])) {
                sum += out->case_dice[i * classes + c];
                count++;
            }
        out->by_class[c] = count ? sum / (double)count : NAN;
        if (c > 0 && count) {
            total += out->by_class[c];
            found++;
        }
    }
    out->dice = found ? total / (double)found : NAN;
}

static mitral_status fill(struct validation *out, struct trainer *trainer, const mitral_slices *slices)
{
    const struct network *network = &trainer->network;
    mitral_context *context = trainer->context;
    const int64_t pixels = network->height * network->width;
    const size_t count = (size_t)out->slices.count;
    float *images = mitral_allocate(context, (size_t)(network->batch * network->channels * pixels) * sizeof *images);
    out->predictions = mitral_allocate(context, count * (size_t)pixels + 1);
    out->cases = mitral_allocate(context, (count + 1) * sizeof *out->cases);
    out->first = mitral_allocate(context, (count + 1) * sizeof *out->first);
    mitral_status status = images && out->predictions && out->cases && out->first ? trainer_sync(trainer) : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        status = predict_all(out, trainer, slices, images);
    mitral_release(context, images);
    TRY(status);
    find_cases(out, slices);
    out->case_dice = mitral_allocate(context, (size_t)(out->case_count * network->classes + 1) * sizeof *out->case_dice);
    if (!out->case_dice)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < out->case_count; i++)
        measure_case(out, i, slices, pixels, network->classes);
    average(out, network->classes);
    return MITRAL_OK;
}

mitral_status validate(struct validation *out, struct trainer *trainer, const struct batches *batches, struct slice_list slices)
{
    *out = (struct validation){.slices = slices, .dice = NAN};
    mitral_status status = fill(out, trainer, batches_slices(batches));
    if (status != MITRAL_OK)
        validation_clear(out, trainer->context);
    return status;
}

void validation_clear(struct validation *validation, mitral_context *context)
{
    mitral_release(context, validation->predictions);
    mitral_release(context, validation->cases);
    mitral_release(context, validation->first);
    mitral_release(context, validation->case_dice);
    *validation = (struct validation){.dice = NAN};
}
