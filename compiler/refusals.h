/* What cannot run, collected over a graph and reported in one line. */
#ifndef MITRAL_COMPILER_REFUSALS_H
#define MITRAL_COMPILER_REFUSALS_H

#include "compiler/op.h"

struct refusals {
    mitral_status status; /* of the first; MITRAL_OK: there is none */
    size_t count, shown, used;
    char text[1700];
};

/* The context's message, with `hint` (NULL: none) in brackets behind it. */
void refusals_add(struct refusals *refusals, const mitral_context *context, mitral_status status, const char *hint);
/* MITRAL_OK when there is none; else sets the message and returns the first one's status. */
mitral_status refusals_report(const struct refusals *refusals, mitral_context *context);

/* Element types with which the node's shape function accepts the call that it has refused, in place of that of its first input:
 * "float32, float64"; "" when there are none. `inputs` are the call's. */
const char *refusals_other_types(const struct kernel_call *call, char *text, size_t size);

#endif
