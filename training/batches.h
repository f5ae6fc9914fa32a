/* Batches of training slices, made by a thread of their own while the step before runs. What batch i holds depends on the options and
 * i alone: the order of each epoch comes from (seed, epoch), the augmentation from (seed, number of the sample). Where there are scans
 * without labels, a fixed number of the last slices of each batch are theirs, and their pixels' label is NO_LABEL. */
#ifndef MITRAL_TRAINING_BATCHES_H
#define MITRAL_TRAINING_BATCHES_H

#include "mitral/data.h"
#include "training/options.h"

struct batches;

/* Reads the training split and holds a share `validation` of its patients back, rounded up, whole patients, drawn from the seed; one
 * at least stays to train on. A network that names no classes (`names_classes`) takes the data's names, which are put into `preprocessing`. */
mitral_status batches_open(struct batches **out, mitral_context *context, const struct options *options, mitral_preprocessing *preprocessing,
                           bool names_classes, int64_t channels, int threads);
void batches_close(struct batches **batches);
/* Valid until the next call. */
struct batch {
    const float *images;    /* [batch][channels][height][width] */
    const uint8_t *labels;  /* [batch][height][width] */
    const int64_t *slices;  /* [batch]: which slices these are; NULL when they are augmented */
};
/* Batch `index`; `next` is the one that is made meanwhile. */
mitral_status batches_get(struct batch *out, struct batches *batches, int64_t index, int64_t next);
/* All slices, those without labels last, and which of them are trained on, held back, and without labels: indices in ascending order, hence
 * grouped by case. Cases of the ones without labels are counted on from the dataset's. */
struct slice_list {
    const int64_t *items;
    int64_t count;
};
const mitral_dataset *batches_dataset(const struct batches *batches);
const mitral_slices *batches_slices(const struct batches *batches);
struct slice_list batches_training(const struct batches *batches);
struct slice_list batches_validation(const struct batches *batches);
struct slice_list batches_unlabelled(const struct batches *batches);
/* How many slices of each batch have no labels. */
int64_t batches_unlabelled_each(const struct batches *batches);
/* A number that changes when the data do: of names, sizes and voxels. */
uint64_t batches_fingerprint(const struct batches *batches);

#endif
