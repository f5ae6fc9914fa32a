/* Places buffers with known lifetimes in one arena. */
#ifndef MITRAL_RUNTIME_MEMORY_PLAN_H
#define MITRAL_RUNTIME_MEMORY_PLAN_H

#include "runtime/context.h"

struct buffer {
    size_t bytes;
    uint32_t first, last; /* steps during which it is alive, both included */
    size_t offset;        /* set by memory_plan; a multiple of 64 */
};

/* Sets every offset; *total is the arena's size, *bound the largest sum of sizes alive at one step (no placement needs less). */
mitral_status memory_plan(mitral_context *context, struct buffer *buffers, size_t count, uint32_t step_count, size_t *total,
                          size_t *bound);

#endif
