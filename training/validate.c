#include "training/validate.h"

#include <math.h>
#include <string.h>

struct counts {
    int64_t both[MITRAL_MAX_CLASSES], sides[MITRAL_MAX_CLASSES]; /* of the case that is being counted */
    double sum[MITRAL_MAX_CLASSES];
    int64_t cases[MITRAL_MAX_CLASSES];
};

static void finish_case(struct counts *counts, int64_t classes)
{
    for (int64_t c = 1; c < classes; c++) {
        if (counts->sides[c]) {
            counts->sum[c] += 2.0 * (double)counts->both[c] / (double)counts->sides[c];
            counts->cases[c]++;
        }
        counts->both[c] = counts->sides[c] = 0;
    }
}

static void count_slice(struct counts *counts, const uint8_t *prediction, const uint8_t *label, int64_t pixels)
{
    for (int64_t i = 0; i < pixels; i++) {
        counts->sides[prediction[i]]++;
        counts->sides[label[i]]++;
        counts->both[label[i]] += prediction[i] == label[i];
    }
}

static mitral_status count_all(struct trainer *trainer, struct batches *batches, struct counts *counts, float *images, uint8_t *predictions)
{
    const struct network *network = &trainer->network;
    const int64_t pixels = network->height * network->width, total = batches_validation_slices(batches);
    for (int64_t start = 0; start < total; start += network->batch) {
        const int64_t count = total - start < network->batch ? total - start : network->batch;
        for (int64_t i = 0; i < count; i++)
            for (int64_t c = 0; c < network->channels; c++)
                memcpy(images + (i * network->channels + c) * pixels, batches_validation_image(batches, start + i), (size_t)pixels * sizeof *images);
        TRY(trainer_predict(trainer, predictions, images, count));
        for (int64_t i = 0; i < count; i++) {
            const int64_t at = start + i;
            if (at > 0 && batches_validation_case(batches, at) != batches_validation_case(batches, at - 1))
                finish_case(counts, network->classes);
            count_slice(counts, predictions + i * pixels, batches_validation_label(batches, at), pixels);
        }
    }
    finish_case(counts, network->classes);
    return MITRAL_OK;
}

mitral_status validate(struct trainer *trainer, struct batches *batches, double *dice, double *by_class)
{
    const struct network *network = &trainer->network;
    const size_t pixels = (size_t)(network->height * network->width * network->batch);
    struct counts counts = {{0}, {0}, {0}, {0}};
    TRY(trainer_sync(trainer));
    float *images = mitral_allocate(trainer->context, pixels * (size_t)network->channels * sizeof *images);
    uint8_t *predictions = mitral_allocate(trainer->context, pixels);
    mitral_status status = images && predictions ? count_all(trainer, batches, &counts, images, predictions) : MITRAL_NO_MEMORY;
    mitral_release(trainer->context, images);
    mitral_release(trainer->context, predictions);
    TRY(status);
    double sum = 0;
    int64_t classes = 0;
    for (int64_t c = 1; c < network->classes; c++) {
        const double mean = counts.cases[c] ? counts.sum[c] / (double)counts.cases[c] : NAN;
        if (by_class)
            by_class[c] = mean;
        if (counts.cases[c]) {
            sum += mean;
            classes++;
        }
    }
    *dice = classes ? sum / (double)classes : NAN;
    return MITRAL_OK;
}
