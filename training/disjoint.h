/* Transposed convolutions whose windows do not overlap, as the 1×1 convolutions that they are: a rewriting of the forward graph, before there
 * are gradients. */
#ifndef MITRAL_TRAINING_DISJOINT_H
#define MITRAL_TRAINING_DISJOINT_H

#include "training/emit.h"

/* The old nodes are dead. Types must have been inferred, and are again. */
mitral_status disjoint_windows(struct graph *graph);

#endif
