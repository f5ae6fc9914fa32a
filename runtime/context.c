#include "mitral/tools.h"
#include "runtime/custom.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

enum { HUGE_PAGE = 2 << 20, LARGE_BYTES = 8 << 20 };

static void *default_allocate(void *user, size_t size, size_t alignment)
{
    (void)user;
    void *pointer = NULL;
    const bool large = size >= LARGE_BYTES;
    if (large && size <= SIZE_MAX - HUGE_PAGE)
        size = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    if (posix_memalign(&pointer, large ? HUGE_PAGE : alignment, size) != 0)
        return NULL;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (large) /* a wish: maps that outgrow the caches are read and written half as fast again */
        madvise(pointer, size, MADV_HUGEPAGE);
#endif
    return pointer;
}

static void default_release(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}

/* No more than the machine has: a model that wants it all would else be ended by the system, without a word. */
static int64_t default_run_bytes(void)
{
    const int64_t most = (int64_t)64 << 30, pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    int64_t bytes;
    return pages > 0 && page > 0 && !__builtin_mul_overflow(pages, page, &bytes) && bytes < most ? bytes : most;
}

mitral_status mitral_context_create(mitral_context **out, const mitral_context_options *options)
{
    mitral_context_options filled = {0};
    if (options)
        filled = *options;
    *out = NULL;
    if (!filled.allocate || !filled.release) {
        filled.allocate = default_allocate;
        filled.release = default_release;
    }
    if (filled.max_tensor_bytes <= 0)
        filled.max_tensor_bytes = (int64_t)16 << 30;
    /* What is made of one tensor's dimensions by small factors (element sizes, threads) then fits in 64 bits by construction; products of
     * several tensors' dimensions are checked where they are made. */
    if (filled.max_tensor_bytes > (int64_t)1 << 47)
        filled.max_tensor_bytes = (int64_t)1 << 47;
    if (filled.max_loop_trips <= 0)
        filled.max_loop_trips = (int64_t)1 << 31;
    if (filled.max_subgraph_depth <= 0)
        filled.max_subgraph_depth = 64;
    if (filled.max_run_bytes <= 0)
        filled.max_run_bytes = default_run_bytes();
    if (filled.max_image_pixels <= 0)
        filled.max_image_pixels = (int64_t)1 << 28;
    mitral_context *context = filled.allocate(filled.user, sizeof *context, 64);
    if (!context)
        return MITRAL_NO_MEMORY;
    memset(context, 0, sizeof *context);
    context->options = filled;
    *out = context;
    return MITRAL_OK;
}

void mitral_context_destroy(mitral_context **context)
{
    if (!context || !*context)
        return;
    custom_clear(*context);
    mitral_context_options options = (*context)->options;
    options.release(options.user, *context);
    *context = NULL;
}

const char *mitral_context_message(const mitral_context *context)
{
    return context ? context->message : "";
}

const char *mitral_version(void)
{
    return MITRAL_VERSION;
}

const char *mitral_status_name(mitral_status status)
{
    static const char *const names[] = {"ok", "invalid", "unsupported", "out of memory", "input/output error",
                                        "corrupt", "limit passed", "cancelled", "deferred"};
    return (size_t)status < sizeof names / sizeof *names ? names[status] : "unknown status";
}

/* Messages are one line, whatever a file's names hold. */
static void flatten(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20)
            *text = ' ';
}

mitral_status mitral_fail(mitral_context *context, mitral_status status, const char *format, ...)
{
    if (context) {
        va_list arguments;
        va_start(arguments, format);
        char text[sizeof context->message]; /* an argument may be the old message */
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        flatten(text);
        memcpy(context->message, text, sizeof text);
    }
    return status;
}

mitral_status mitral_fail_prefix(mitral_context *context, mitral_status status, const char *format, ...)
{
    if (context) {
        va_list arguments;
        va_start(arguments, format);
        char text[sizeof context->message];
        int length = vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        if (length >= 0 && (size_t)length < sizeof text)
            snprintf(text + length, sizeof text - (size_t)length, "%s", context->message);
        flatten(text);
        memcpy(context->message, text, sizeof text);
    }
    return status;
}

mitral_status mitral_context_about(mitral_context *context, mitral_status status, const char *subject)
{
    return status == MITRAL_OK || !*mitral_context_message(context) ? status : mitral_fail_prefix(context, status, "%.1000s: ", subject);
}

void mitral_log(mitral_context *context, const char *format, ...)
{
    if (!context || !context->options.log)
        return;
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    context->options.log(context->options.user, text);
}

bool mitral_cancelled(mitral_context *context)
{
    return context && context->options.cancel && context->options.cancel(context->options.user);
}

void *mitral_allocate_raw(mitral_context *context, size_t size)
{
    void *pointer = size <= (size_t)PTRDIFF_MAX - 64
                        ? context->options.allocate(context->options.user, size ? size : 1, 64)
                        : NULL;
    if (!pointer)
        mitral_fail(context, MITRAL_NO_MEMORY, "out of memory: %zu bytes were asked for", size);
    return pointer;
}

void *mitral_allocate(mitral_context *context, size_t size)
{
    void *pointer = mitral_allocate_raw(context, size);
    if (pointer)
        memset(pointer, 0, size);
    return pointer;
}

void mitral_release(mitral_context *context, void *pointer)
{
    if (pointer)
        context->options.release(context->options.user, pointer);
}

/* ---- arena --------------------------------------------------------------------------------------------------------- */

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, size;
    char *data; /* 64-byte aligned */
};

enum { CHUNK_BYTES = 64 * 1024, CHUNK_HEADER = 64 };

bool meter_take(struct meter *meter, mitral_context *context, size_t size)
{
    if (!meter)
        return true;
    if (meter->used <= meter->limit && size <= meter->limit - meter->used) {
        meter->used += size;
        return true;
    }
    meter->passed = true;
    mitral_fail(context, MITRAL_LIMIT, "expected a run that takes at most %zu bytes " LIMIT_RUN_BYTES ", found %zu in use and %zu more wanted",
                meter->limit, meter->used, size);
    return false;
}

void meter_give(struct meter *meter, size_t size)
{
    if (meter)
        meter->used -= size;
}

void arena_initialise(struct arena *arena, mitral_context *context)
{
    *arena = (struct arena){.context = context};
}

void arena_clear(struct arena *arena)
{
    while (arena->chunks) {
        struct arena_chunk *next = arena->chunks->next;
        mitral_release(arena->context, arena->chunks);
        arena->chunks = next;
    }
    meter_give(arena->meter, arena->total);
    arena->total = 0;
}

static struct arena_chunk *chunk_create(struct arena *arena, size_t size)
{
    struct arena_chunk *chunk = mitral_allocate_raw(arena->context, CHUNK_HEADER + size);
    if (chunk)
        *chunk = (struct arena_chunk){.size = size, .data = (char *)chunk + CHUNK_HEADER};
    return chunk;
}

void *arena_allocate(struct arena *arena, size_t size)
{
    if (size > (size_t)PTRDIFF_MAX / 2) {
        mitral_fail(arena->context, MITRAL_NO_MEMORY, "out of memory: %zu bytes were asked for, %zu are in use", size, arena->total);
        return NULL;
    }
    if (!meter_take(arena->meter, arena->context, size))
        return NULL;
    size_t alignment = size >= 64 ? 64 : 16;
    struct arena_chunk *chunk = arena->chunks;
    size_t offset = chunk ? (chunk->used + alignment - 1) & ~(alignment - 1) : 0;
    if (!chunk || offset > chunk->size || chunk->size - offset < size) {
        bool large = size > CHUNK_BYTES / 4;
        chunk = chunk_create(arena, large ? size : CHUNK_BYTES);
        if (!chunk) {
            meter_give(arena->meter, size);
            return NULL;
        }
        offset = 0;
        if (large && arena->chunks) { /* keep filling the chunk that is open */
            chunk->next = arena->chunks->next;
            arena->chunks->next = chunk;
        } else {
            chunk->next = arena->chunks;
            arena->chunks = chunk;
        }
    }
    chunk->used = offset + size;
    arena->total += size;
    memset(chunk->data + offset, 0, size);
    return chunk->data + offset;
}

char *arena_string_sized(struct arena *arena, const char *text, size_t size)
{
    if (size == SIZE_MAX)
        return NULL;
    char *copy = arena_allocate(arena, size + 1);
    if (copy && size)
        memcpy(copy, text, size);
    return copy;
}

char *arena_string(struct arena *arena, const char *text)
{
    return text ? arena_string_sized(arena, text, strlen(text)) : NULL;
}

char *arena_format(struct arena *arena, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : arena_allocate(arena, (size_t)length + 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}
