/* Values that stand alone: loaded from files or made at random, each with its own memory. */
#ifndef MITRAL_RUNTIME_VALUES_H
#define MITRAL_RUNTIME_VALUES_H

#include "mitral/tools.h"
#include "runtime/tensor.h"

/* What a mitral_value handle of mitral_value_load points into. */
struct owned_value {
    mitral_value value; /* first: the handle is its address */
    struct arena arena;
};

mitral_status owned_value_create(struct owned_value **out, mitral_context *context);

/* NumPy's .npy format, versions 1.0 to 3.0 (numpy.lib.format documents it). */
bool npy_has_magic(const void *bytes, size_t size);
mitral_status npy_read(mitral_tensor *out, struct arena *arena, mitral_context *context, const void *bytes, size_t size);
mitral_status npy_write(mitral_context *context, const mitral_tensor *tensor, const char *path);

#endif
