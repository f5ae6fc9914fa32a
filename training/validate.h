/* Dice of whole cases on the network's grid. */
#ifndef MITRAL_TRAINING_VALIDATE_H
#define MITRAL_TRAINING_VALIDATE_H

#include "training/batches.h"
#include "training/trainer.h"

/* Some slices, grouped by case, and what the current weights make of them. */
struct validation {
    struct slice_list slices;
    uint8_t *predictions;                 /* [slices.count][height][width] */
    int64_t case_count;
    int32_t *cases;                       /* index into the dataset */
    int64_t *first;                       /* [case_count + 1]: where a case begins among the slices */
    double *case_dice;                    /* [case_count][classes]; NaN where neither side has the class */
    double dice;                          /* mean over the foreground classes of by_class; NaN when no class occurs */
    double by_class[MITRAL_MAX_CLASSES];  /* mean over cases, each as a 3D volume */
};

/* On failure nothing is owned. */
mitral_status validate(struct validation *out, struct trainer *trainer, const struct batches *batches, struct slice_list slices);
void validation_clear(struct validation *validation, mitral_context *context);

#endif
