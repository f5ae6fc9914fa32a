/* What the files compiled once for each instruction set share: their functions under suffixed names. */
#ifndef MITRAL_TRAINING_ISA_H
#define MITRAL_TRAINING_ISA_H

#include "runtime/kernels/planar/vector.h"
#include "runtime/kernels/training/blocks.h"

void BLOCK(training_spread_input)(const struct training_spread *spread);
void BLOCK(training_spread_gradient)(const struct training_spread *spread);
void BLOCK(training_outer)(const struct training_outer *outer);
double BLOCK(training_sum)(const float *x, ptrdiff_t count);

#endif
