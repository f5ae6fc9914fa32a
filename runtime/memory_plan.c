#include "runtime/memory_plan.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/round.h"

/* Two orders are tried and the better kept: by size, which packs the large buffers tightly, and by size × lifetime, which
 * puts long-lived skip connections at the bottom. Ties are broken by position, so that the result is stable. */
struct rank {
    double weight;
    uint32_t index;
};

static int by_weight(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight < y->weight ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* `placed`: the buffers that have a place and a size, by offset. */
static size_t place(const struct buffer *buffers, const struct rank *order, size_t count, uint32_t *placed, size_t *offsets)
{
    size_t total = 0, placed_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct buffer *buffer = &buffers[order[i].index];
        size_t offset = 0, best = SIZE_MAX, best_gap = SIZE_MAX, at = placed_count;
        for (size_t j = 0; j < placed_count; j++) {
            const struct buffer *other = &buffers[placed[j]];
            const size_t from = offsets[placed[j]];
            if (other->first > buffer->last || buffer->first > other->last)
                continue;
            if (from >= offset && from - offset >= buffer->bytes && from - offset < best_gap) {
                best = offset;
                best_gap = from - offset;
            }
            size_t end = aligned_bytes(from + other->bytes);
            offset = end > offset ? end : offset;
        }
        offset = best != SIZE_MAX ? best : offset;
        offsets[order[i].index] = offset;
        /* Sizes count as rounded up, here as in the bound: so that the bound is one. */
        const size_t top = aligned_bytes(offset + buffer->bytes);
        total = top > total ? top : total;
        if (!buffer->bytes)
            continue;
        while (at > 0 && offsets[placed[at - 1]] > offset)
            at--;
        memmove(placed + at + 1, placed + at, (placed_count - at) * sizeof *placed);
        placed[at] = order[i].index;
        placed_count++;
    }
    return total;
}

mitral_status memory_plan(mitral_context *context, struct buffer *buffers, size_t count, uint32_t step_count, size_t *total,
                          size_t *bound)
{
    *total = *bound = 0;
    if (count == 0)
        return MITRAL_OK;
    size_t all = 0; /* no place is beyond it */
    for (size_t i = 0; i < count; i++)
        if (__builtin_add_overflow(all, buffers[i].bytes, &all) || __builtin_add_overflow(all, (size_t)LINE_BYTES, &all) || all > PTRDIFF_MAX)
            return mitral_fail(context, MITRAL_LIMIT, "expected values and scratch memory that can be addressed, found more than 2^63 bytes");
    struct rank *order = mitral_allocate(context, count * sizeof *order);
    uint32_t *placed = mitral_allocate(context, count * sizeof *placed);
    size_t *offsets = mitral_allocate(context, 2 * count * sizeof *offsets);
    size_t *alive = mitral_allocate(context, ((size_t)step_count + 2) * sizeof *alive);
    mitral_status status = order && placed && offsets && alive ? MITRAL_OK : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK) {
        for (size_t i = 0; i < count; i++) {
            size_t aligned = aligned_bytes(buffers[i].bytes);
            alive[buffers[i].first] += aligned;
            alive[buffers[i].last + 1] -= aligned; /* wraps, and wraps back in the running sum */
        }
        size_t sum = 0;
        for (size_t i = 0; i <= step_count; i++) {
            sum += alive[i];
            *bound = sum > *bound ? sum : *bound;
        }
        size_t best = SIZE_MAX;
        for (int attempt = 0; attempt < 2; attempt++) {
            for (size_t i = 0; i < count; i++)
                order[i] = (struct rank){(double)buffers[i].bytes * (attempt ? buffers[i].last - buffers[i].first + 1.0 : 1.0), (uint32_t)i};
            qsort(order, count, sizeof *order, by_weight);
            size_t *mine = offsets + (size_t)attempt * count;
            size_t size = place(buffers, order, count, placed, mine);
            if (size < best) {
                best = size;
                for (size_t i = 0; i < count; i++)
                    buffers[i].offset = mine[i];
            }
        }
        *total = best;
    }
    mitral_release(context, order);
    mitral_release(context, placed);
    mitral_release(context, offsets);
    mitral_release(context, alive);
    return status;
}
