/* What the fuzz targets share. */
#ifndef MITRAL_TESTS_FUZZ_H
#define MITRAL_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "mitral.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Limits so low that a small input cannot ask for much: what is looked for is wrong accesses, not slow models. */
static inline mitral_context *fuzz_context(void)
{
    mitral_context_options options = {.max_tensor_bytes = 1 << 22, .max_loop_trips = 64, .max_subgraph_depth = 16};
    mitral_context *context = NULL;
    if (mitral_context_create(&context, &options) != MITRAL_OK)
        abort();
    return context;
}

/* Something that must hold does not. */
static inline void fuzz_fail(const char *what, const mitral_context *context)
{
    fprintf(stderr, "%s: %s\n", what, mitral_context_message(context));
    abort();
}

#endif
