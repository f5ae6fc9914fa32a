/* What is cheaper before a map is enlarged than after: a rewriting of the forward graph, before there are gradients. */
#ifndef MITRAL_TRAINING_COARSE_H
#define MITRAL_TRAINING_COARSE_H

#include "training/emit.h"

/* The old nodes stay where something reads them still, and else are dead. Types must have been inferred, and are again. */
mitral_status coarse_convolutions(struct graph *graph);

#endif
