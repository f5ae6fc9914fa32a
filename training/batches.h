/* Batches of training slices, made by a thread of their own while the step before runs. What batch i holds depends on the options and
 * i alone: the order of each epoch comes from (seed, epoch), the augmentation from (seed, number of the sample). */
#ifndef MITRAL_TRAINING_BATCHES_H
#define MITRAL_TRAINING_BATCHES_H

#include "mitral/data.h"
#include "training/options.h"

struct batches;

/* Reads the training split and holds `validation` of its patients back. */
mitral_status batches_open(struct batches **out, mitral_context *context, const struct options *options,
                           const mitral_preprocessing *preprocessing, int64_t channels, int threads);
void batches_close(struct batches **batches);
/* Batch `index`: images [batch][channels][height][width] and labels [batch][height][width], valid until the next call; `next` is the batch
 * that is made meanwhile. */
mitral_status batches_get(struct batches *batches, int64_t index, int64_t next, const float **images, const uint8_t **labels);
int64_t batches_training_slices(const struct batches *batches);
/* Slices held back, grouped by case in order; and the case of one. */
int64_t batches_validation_slices(const struct batches *batches);
const float *batches_validation_image(const struct batches *batches, int64_t index);
const uint8_t *batches_validation_label(const struct batches *batches, int64_t index);
int32_t batches_validation_case(const struct batches *batches, int64_t index);
/* A number that changes when the data do: of names, sizes and voxels. */
uint64_t batches_fingerprint(const struct batches *batches);

#endif
