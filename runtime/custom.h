/* Operators that the caller registered with a context: kernels named "<domain>:<name>", which no kernel of the tables is. */
#ifndef MITRAL_RUNTIME_CUSTOM_H
#define MITRAL_RUNTIME_CUSTOM_H

#include "runtime/kernel.h"

struct op;

struct custom_operator {
    struct kernel kernel;         /* first: a call's kernel leads to the operator */
    mitral_operator description;
    const struct op *row;         /* for the compiler, which registers (compiler/ops/custom.c) */
    struct custom_operator *gradient; /* its kernel computes the gradients of the inputs; NULL: none is registered */
    struct custom_operator *next; /* registered before */
};

/* Attribute of a step of a gradient: how many inputs the operator has. Behind them are its outputs, then their gradients. No attribute of
 * a file is named so. */
#define CUSTOM_INPUTS ":inputs"

static inline const struct custom_operator *custom_of_kernel(const struct kernel *kernel)
{
    return (const struct custom_operator *)(const void *)kernel;
}
/* The kernel of that name, which calls the description's functions and checks what they return. */
void custom_make_kernel(struct custom_operator *custom, const char *name, bool gradient);
const struct custom_operator *custom_find(const mitral_context *context, const char *domain, const char *name);
void custom_clear(mitral_context *context); /* with the libraries that they came from */

/* custom_library.c */
void custom_release_libraries(mitral_context *context);

/* A kernel of the tables or of what was registered. MITRAL_UNSUPPORTED and a message that names the step when there is none. */
mitral_status kernel_resolve(const struct kernel **out, mitral_context *context, const char *name, const char *step);

#endif
