/* The context that every fallible call is given: allocator, callbacks, limits and the message of the last failure. */
#ifndef MITRAL_RUNTIME_CONTEXT_H
#define MITRAL_RUNTIME_CONTEXT_H

#include <stdarg.h>

#include "mitral.h"

struct custom_operator;

/* How a message names a limit: the field of mitral_context_options, and the command line's option. */
#define LIMIT_TENSOR_BYTES "(max_tensor_bytes, --max-tensor-bytes)"
#define LIMIT_LOOP_TRIPS "(max_loop_trips, --max-loop-trips)"
#define LIMIT_SUBGRAPH_DEPTH "(max_subgraph_depth, --max-subgraph-depth)"
#define LIMIT_RUN_BYTES "(max_run_bytes, --max-run-bytes)"
#define LIMIT_IMAGE_PIXELS "(max_image_pixels, --max-image-pixels)"

struct mitral_context {
    mitral_context_options options; /* with defaults filled in */
    struct custom_operator *operators; /* registered by the caller (runtime/custom.h) */
    struct custom_library *libraries;  /* that were loaded for theirs (runtime/custom_library.c) */
    /* While `fixed`, random operators without a seed draw from `stream`, in the order in which they run: the n-th is `drawn`. */
    struct {
        bool fixed;
        uint64_t stream, drawn;
    } random;
    char message[2048];
};

/* Sets the message (one line; newlines become spaces) and returns `status`, so that a caller can write
 * `return mitral_fail(context, MITRAL_INVALID, "Conv '%s': expected …, found …", …);`. context may be NULL. */
mitral_status mitral_fail(mitral_context *context, mitral_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts text in front of the message that is there: "pass fold-constants: …". Returns `status`. */
mitral_status mitral_fail_prefix(mitral_context *context, mitral_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void mitral_log(mitral_context *context, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool mitral_cancelled(mitral_context *context);

/* 64-byte aligned memory of the context's allocator; NULL and a message when there is none. Zeroed. */
void *mitral_allocate(mitral_context *context, size_t size);
/* The same, not zeroed. */
void *mitral_allocate_raw(mitral_context *context, size_t size);
void mitral_release(mitral_context *context, void *pointer);

/* Returns the status of a failed call to the caller at once. */
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        mitral_status try_status = (call);                                                                             \
        if (try_status != MITRAL_OK)                                                                                   \
            return try_status;                                                                                         \
    } while (0)

/* Counts what several arenas and buffers hold together, up to a limit. */
struct meter {
    size_t used, limit;
    bool passed; /* the limit was asked to be passed: what failed for want of memory failed by it */
};

/* False, with a message, when that passes the limit; `meter` NULL: nothing is counted. */
bool meter_take(struct meter *meter, mitral_context *context, size_t size);
void meter_give(struct meter *meter, size_t size);

/* Memory that is freed all at once. */
struct arena {
    mitral_context *context;
    struct arena_chunk *chunks;
    size_t total;        /* bytes handed out */
    struct meter *meter; /* NULL: not counted */
};

void arena_initialise(struct arena *arena, mitral_context *context);
void arena_clear(struct arena *arena); /* frees all; the arena can be used again */
/* Zeroed, 64-byte aligned from 64 bytes up, 16 below. NULL and a message when there is no memory or the meter's limit is passed. */
void *arena_allocate(struct arena *arena, size_t size);
char *arena_string(struct arena *arena, const char *text);
char *arena_string_sized(struct arena *arena, const char *text, size_t size); /* NUL-terminated copy */
char *arena_format(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
