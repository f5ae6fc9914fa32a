/* --tune: candidate kernels of a plan's steps timed on this machine. */
#ifndef MITRAL_COMPILER_TUNE_H
#define MITRAL_COMPILER_TUNE_H

#include "runtime/plan.h"

/* Before plan_pack. Runs the plan on random inputs with each step's kernel, then with the alternatives of those that have one
 * (struct step), and leaves each step the faster of the two: the plan's file then names it. Does nothing to a plan whose shapes are
 * not known. */
mitral_status plan_tune(mitral_context *context, struct mitral_plan *plan);

#endif
