/* Checkpoints: everything that a run needs to go on with the same bits. Written aside and renamed, with a checksum: whole or absent.
 *
 * File: "MITRALCK", version, sizes, XXH3 of what follows; then JSON (step, validation so far, the run's identity, the list of
 * variables); then the variables' bytes, each at a multiple of 64. There is no random state: what is drawn follows from seed and step. */
#ifndef MITRAL_TRAINING_CHECKPOINT_H
#define MITRAL_TRAINING_CHECKPOINT_H

#include "training/trainer.h"

struct progress {
    int64_t step;             /* updates done */
    double loss;              /* of the last step; NaN: none */
    double dice;              /* of the last validation; NaN: none */
    double best_dice;         /* NaN: none */
    int64_t best_step;        /* -1: none */
    int64_t bad_validations;  /* in a row */
    bool validation_due;      /* of `step`: it was interrupted, and is made again before the next update */
};

/* What a resumed run must agree with: the deciding options, and fingerprints of the models' files and the data. JSON, released with
 * mitral_release. */
mitral_status checkpoint_identity(char **out, mitral_context *context, const struct options *options, uint64_t data_fingerprint);
mitral_status checkpoint_write(struct trainer *trainer, const struct progress *progress, const char *identity, const char *path);
/* *found is false when there is no such file. MITRAL_CORRUPT: truncated or altered. MITRAL_INVALID: of another run; the message names
 * the first option that differs. */
mitral_status checkpoint_read(struct trainer *trainer, struct progress *progress, const char *identity, const char *path, bool *found);

#endif
