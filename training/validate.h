/* Dice of the held-back patients. */
#ifndef MITRAL_TRAINING_VALIDATE_H
#define MITRAL_TRAINING_VALIDATE_H

#include "training/batches.h"
#include "training/trainer.h"

/* By the current weights, on the network's grid: Dice of each case (3D, all its slices) and foreground class where either side has the
 * class, averaged over cases, then over classes. NaN when no class occurs. `by_class`: [classes], may be NULL. */
mitral_status validate(struct trainer *trainer, struct batches *batches, double *dice, double *by_class);

#endif
