/* The losses as nodes of the training graph. Each is a float of rank 0.
 *
 * Cross-entropy: mean over the pixels of -w_y log softmax(logits)_y, divided by Σ w_y. Soft Dice: over the batch, by class,
 * 1 - mean over foreground of (2 Σ p g + ε) / (Σ p + Σ g + ε), ε = 1e-5. Every divergence is KL(teacher ‖ student) of soft-max
 * distributions at temperature τ, times τ². Every distillation term is a mean over the batch. No gradient flows to the teacher. */
#ifndef MITRAL_TRAINING_LOSS_H
#define MITRAL_TRAINING_LOSS_H

#include "training/emit.h"
#include "training/options.h"

#define MAX_TERMS 8
#define NO_LABEL 255 /* of pixels of slices without label maps: left out of cross-entropy and Dice */

/* Parts of the loss, in the order in which they are reported. */
struct loss {
    size_t count;
    struct {
        const char *name; /* "cross-entropy", "dice", "logits", "vector", "map", "deep", "fitnet", "cwd", "at" */
        double weight;
        value_id value;   /* unweighted; terms of several taps are added, with the taps' weights */
    } terms[MAX_TERMS];
    value_id total;
};

/* logits [N, K, h, w] and labels [N, h, w]: cross-entropy and soft Dice, as weighted by the options. */
mitral_status loss_segmentation(struct emitter *emitter, struct loss *loss, const struct options *options, value_id logits, value_id labels);
/* The same for the head of a tapped map, resized to the labels' size: its part of the term "deep". */
mitral_status loss_deep(struct emitter *emitter, struct loss *loss, const struct options *options, double part, value_id logits, value_id labels);
/* τ² · mean over pixels of KL over the classes. */
mitral_status loss_logits(struct emitter *emitter, struct loss *loss, const struct options *options, value_id student, value_id teacher);
/* One pair of maps, weighted by the options' method; `adapted` is the student's map after its adapter, of the teacher's shape.
 *   fitnet  mean squared difference
 *   cwd     (τ²/C) Σ_c KL over the positions of each channel
 *   at      squared distance of the unit vectors of Σ_c F², flattened
 *   mavkd   vector: squared distance of the unit pooled vectors; map: (τ²/C) Σ_c a_c KL over positions, a = C softmax(v_T / τ_a) */
mitral_status loss_feature(struct emitter *emitter, struct loss *loss, const struct options *options, double scale_weight, value_id adapted,
                           value_id teacher);
/* Whether a method compares maps, and whether through adapters. */
bool method_has_taps(enum method method);
bool method_has_adapters(enum method method);
/* total = Σ weight · term. */
mitral_status loss_total(struct emitter *emitter, struct loss *loss);

#endif
