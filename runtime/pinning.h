/* Threads on cores of their own during a run. */
#ifndef MITRAL_RUNTIME_PINNING_H
#define MITRAL_RUNTIME_PINNING_H

#include "runtime/context.h"

struct pinning;

/* The cores that the caller may use now. *out is NULL where the system cannot pin. */
mitral_status pinning_create(struct pinning **out, mitral_context *context, int threads);
void pinning_destroy(mitral_context *context, struct pinning **pinning);
/* Around a run, by each thread of the team, the caller's among them: the team serves other sessions too. Nothing for NULL. */
void pinning_begin(struct pinning *pinning, int thread);
void pinning_end(struct pinning *pinning, int thread);

#endif
