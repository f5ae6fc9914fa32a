/* What the teacher says of each slice, computed once and kept on disk: of use when slices are not augmented.
 *
 * File teacher-<identity>.cache: "MITRALTC", sizes, then for each slice of the data (those held back too, so that runs of other seeds
 * find it) the values that the loss takes, one after another. The identity is a hash of the teacher's file, the data as the network sees
 * them, the values' names and sizes. Written aside and renamed: whole or absent. */
#ifndef MITRAL_TRAINING_CACHE_H
#define MITRAL_TRAINING_CACHE_H

#include "training/batches.h"
#include "training/trainer.h"

/* *out stays NULL where nothing is to be cached: augmentation, no teacher, no folder, fewer samples than slices, or more than the limit
 * (which is an error where a folder for the cache was named). Runs the teacher over all slices, or finds the file. */
mitral_status teacher_cache_open(struct teacher_cache **out, struct trainer *trainer, const struct batches *batches);
void teacher_cache_close(struct teacher_cache **cache, mitral_context *context);
/* Gives the training plan the values of one batch. */
void teacher_cache_take(struct teacher_cache *cache, struct trainer *trainer, const int64_t *slices);

#endif
