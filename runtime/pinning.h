/* Threads on cores of their own during a run. */
#ifndef MITRAL_RUNTIME_PINNING_H
#define MITRAL_RUNTIME_PINNING_H

#include "runtime/context.h"

struct pinning;

/* The cores that the caller may use now. *out is NULL where the system cannot pin. */
mitral_status pinning_create(struct pinning **out, mitral_context *context);
void pinning_destroy(mitral_context *context, struct pinning **pinning);
/* All three do nothing for NULL. Around a run, by the caller; and by each thread of the team. */
void pinning_begin(struct pinning *pinning);
void pinning_thread(const struct pinning *pinning, int thread);
void pinning_end(struct pinning *pinning);

#endif
