/* The state of the gradient pass, for gradient.c (the sweep) and gradient_emit.c (what it adds). */
#ifndef MITRAL_COMPILER_GRADIENT_INTERNAL_H
#define MITRAL_COMPILER_GRADIENT_INTERNAL_H

#include "compiler/gradient.h"

struct gradient {
    struct graph *graph;
    size_t value_count;  /* of the forward graph: later values are part of the backward one */
    bool *wanted;        /* [value]: it depends on a wrt, or is one */
    value_id *sums;      /* [value]: its gradient so far; NO_VALUE: none yet */
    size_t emitted;
    const struct node *node; /* whose hook runs: for names */
};

#endif
