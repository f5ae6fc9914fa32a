/* What the files compiled once for each instruction set share: their functions under suffixed names. */
#ifndef MITRAL_TRAINING_ISA_H
#define MITRAL_TRAINING_ISA_H

#include "runtime/kernels/planar/vector.h"
#include "runtime/kernels/training/blocks.h"

/* A tile of what BLOCK(training_outer) sums up. */
#if VECTOR_REGISTERS == 32
enum { OUTER_ROWS = 4, OUTER_DEPTH = 6 }; /* 24 sums; or 3 by 8, where that takes fewer tiles */
#else
enum { OUTER_ROWS = 4, OUTER_DEPTH = 3 };
#endif

void BLOCK(training_spread_input)(const struct training_spread *spread);
void BLOCK(training_spread_gradient)(const struct training_spread *spread);
#if LANES == 8
void BLOCK(training_spread_columns)(const struct training_columns *columns);
void BLOCK(training_scatter_columns)(const struct training_columns *columns);
void BLOCK(training_gather_columns)(const struct training_columns *columns);
#endif
void BLOCK(training_outer)(const struct training_outer *outer);
void BLOCK(training_collect)(const struct training_collect *rows);
double BLOCK(training_sum)(const float *x, ptrdiff_t count);
void BLOCK(training_moments)(const float *x, ptrdiff_t count, float pivot, double sums[2]);
void BLOCK(training_normalise)(const struct training_normalise *row);
void BLOCK(training_denormalise_sums)(const struct training_denormalise *row, double sums[2]);
void BLOCK(training_denormalise)(const struct training_denormalise *row);
void BLOCK(training_denormalise_pair_sums)(const struct training_denormalise_pair *row, double sums[3]);
void BLOCK(training_denormalise_pair)(const struct training_denormalise_pair *row);
void BLOCK(training_mark)(const struct training_mark *rows);
void BLOCK(training_unpool)(const struct training_unpool *rows);
void BLOCK(training_unresize)(const float *const rows[4], const float weights[4], float *temporary, float *to, ptrdiff_t count);

#endif
