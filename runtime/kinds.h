/* Sequences, optionals and maps are for the few kernels that know them: no other is handed one. */
#ifndef MITRAL_RUNTIME_KINDS_H
#define MITRAL_RUNTIME_KINDS_H

#include "runtime/plan.h"

/* In words, for messages. */
const char *kind_name(int32_t kind);
/* MITRAL_INVALID when the plan hands the step a value of a kind that its kernel does not take, or wants one that it does not give; packed
 * weights, which may be fewer bytes than their shape says, are only for kernels that pack. */
mitral_status kinds_check_step(mitral_context *context, const struct mitral_plan *plan, const struct step *step);
/* MITRAL_INVALID when what the step has computed (`values` by id) is not of the kind that the plan says. */
mitral_status kinds_check_results(mitral_context *context, const struct mitral_plan *plan, const struct step *step, const mitral_value *values);

#endif
