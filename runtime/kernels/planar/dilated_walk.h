/* Shared by the loops of the dilated-parallel block on planes and on channels-last data: how a team walks its maps without waiting for each
 * other at every step. */
#ifndef MITRAL_PLANAR_DILATED_WALK_H
#define MITRAL_PLANAR_DILATED_WALK_H

#include "runtime/kernels/planar/dilated.h"
#include "runtime/round.h"

struct worker;

/* Phases of pieces, then fills. A piece needs all fills of the phases before its own, a fill all pieces of them. Threads take them in
 * this order, so what one waits for has been taken by another already; none waits for the end of a phase. */
struct dilated_walk {
    int phases;
    int (*pieces)(const struct worker *worker, int phase); /* how many */
    int (*fills)(const struct worker *worker, int phase);
    void (*piece)(struct worker *worker, int phase, int index);
    void (*fill)(struct worker *worker, int phase, int index);
};

/* Floats of the team's memory for a walk of so many phases. */
size_t dilated_walk_floats(int phases);
/* Called by every thread of a parallel region, each with its worker; returns when all have ended. */
void dilated_walk_run(const struct dilated_walk *walk, struct worker *worker, float *memory);

#endif
