/* 1×1 convolutions of a training step, several at once: Y_j = Σ_i W_ji·X_i + bias_j + addend_j on planar float32 maps of one size. Those
 * that read the same maps read them once, and sums of several need no map for each. */
#ifndef MITRAL_TRAINING_POINTS_H
#define MITRAL_TRAINING_POINTS_H

#include "runtime/kernel.h"
#include "runtime/kernels/planar/micro.h"
#include "runtime/kernels/training/blocks.h"

enum { POINTS_MOST = 8 };

struct points {
    int inputs, outputs, threads;
    int64_t batch, height, width, pixels;
    int64_t channels[POINTS_MOST], features[POINTS_MOST];
    int64_t depth; /* all channels */
    bool transposed; /* weights[j][i] are [channels, features], not [features, channels] */
    const struct planar_blocks *blocks;
    const struct training_blocks *training;
    const float *x[POINTS_MOST], *weights[POINTS_MOST][POINTS_MOST], *bias[POINTS_MOST];
    const float *addend[POINTS_MOST]; /* NULL: none; may be y itself */
    bool coarse[POINTS_MOST];         /* the addend has half the height and width, and is doubled bilinearly (half_pixel) */
    float *y[POINTS_MOST];
    void *scratch;
};

void points_measure(struct points *points); /* depth, of the sizes */
size_t points_scratch(const struct points *points);
void points_run(const struct points *points);

#endif
