/* Quotients and sizes that are rounded, and the smaller and the larger of two. */
#ifndef MITRAL_RUNTIME_ROUND_H
#define MITRAL_RUNTIME_ROUND_H

#include <stddef.h>
#include <stdint.h>

/* A cache line: what several threads write, or what is read in whole vectors, begins at one. */
enum { LINE_BYTES = 64, LINE_FLOATS = LINE_BYTES / sizeof(float) };

/* ceil(a / b) and floor(a / b) for b > 0 and any a. */
static inline int64_t divide_up(int64_t a, int64_t b)
{
    return a >= 0 ? a / b + (a % b != 0) : -(-a / b);
}
static inline int64_t divide_down(int64_t a, int64_t b)
{
    return a >= 0 ? a / b : -(-a / b) - (-a % b != 0);
}
/* The next multiple of `step`. */
static inline int64_t round_up(int64_t count, int64_t step)
{
    return divide_up(count, step) * step;
}
/* To whole cache lines. */
static inline size_t aligned_floats(size_t floats)
{
    return (floats + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS;
}
static inline size_t aligned_bytes(size_t bytes)
{
    return (bytes + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
}
static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#endif
