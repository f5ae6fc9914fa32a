/* A growing string, for dumps and descriptions. */
#ifndef MITRAL_RUNTIME_TEXT_H
#define MITRAL_RUNTIME_TEXT_H

#include "runtime/context.h"

struct text {
    mitral_context *context;
    char *data; /* NUL-terminated once something was put; freed with mitral_release */
    size_t size, capacity;
    bool failed; /* there was no memory: nothing more is added */
};

void text_put(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Hands the string over; MITRAL_NO_MEMORY if it failed. */
mitral_status text_finish(struct text *text, char **out);

#endif
