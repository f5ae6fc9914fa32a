/* The axes of reductions. */
#ifndef MITRAL_RUNTIME_KERNELS_REFERENCE_AXES_H
#define MITRAL_RUNTIME_KERNELS_REFERENCE_AXES_H

#include "runtime/kernel.h"

/* Which axes of the first input are reduced: from the second input since that version of the operator, from attribute
 * "axes" before; all when there are none, or none with attribute "noop_with_empty_axes". MITRAL_DEFERRED when not known
 * yet. */
mitral_status reduced_axes(struct kernel_call *call, int input_since, bool reduced[MITRAL_MAX_RANK]);

#endif
