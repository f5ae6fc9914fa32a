/* The end of every planar kernel (struct planar_finish) on one vector. */
#ifndef MITRAL_PLANAR_FINISH_H
#define MITRAL_PLANAR_FINISH_H

#include "runtime/kernels/planar/micro.h"
#include "runtime/kernels/planar/vector.h"

/* Which parts a call has: constants of the compiler's inside a loop that FINISH_VARIANTS makes for each combination. */
enum finish_part {
    FINISH_READ = 1,
    FINISH_WRITE = 2,
    FINISH_RESIDUAL = 4,
    FINISH_OUTPUT = 8,
    FINISH_THROUGH = 16,
    FINISH_PLAIN = 32,   /* no scale, no shift, no activation */
    FINISH_ROUNDED = 64,
    FINISH_RELU = 128    /* scale, shift, then the residual, then a ReLU; without PLAIN or RELU the call is asked for each vector */
};

INLINE unsigned finish_parts(const struct planar_finish *f)
{
    const bool writes = f->output || f->rounded, residual = f->residual && writes;
    unsigned parts = (f->read_sum ? FINISH_READ : 0u) | (f->write_sum ? FINISH_WRITE : 0u) | (residual ? FINISH_RESIDUAL : 0u)
                     | (writes ? FINISH_OUTPUT : 0u) | (f->rounded ? FINISH_ROUNDED : 0u);
    if (writes && !f->scale && !f->shift && f->activation == PLANAR_LINEAR)
        parts |= FINISH_PLAIN;
    else if (writes && f->activation == PLANAR_RELU && !(residual && f->residual_first))
        parts |= FINISH_RELU;
    return parts;
}

#define FINISH_CASE(loop, argument, parts)                                                                             \
    case parts:                                                                                                        \
        loop(argument, parts);                                                                                         \
        break;

#define FINISH_KINDS(loop, argument, parts)                                                                            \
    FINISH_CASE(loop, argument, parts)                                                                                 \
    FINISH_CASE(loop, argument, (parts) | FINISH_PLAIN)                                                                \
    FINISH_CASE(loop, argument, (parts) | FINISH_RELU)

#define FINISH_SUMS(loop, argument, parts)                                                                             \
    FINISH_KINDS(loop, argument, parts)                                                                                \
    FINISH_KINDS(loop, argument, (parts) | FINISH_READ)                                                                \
    FINISH_KINDS(loop, argument, (parts) | FINISH_WRITE)                                                               \
    FINISH_KINDS(loop, argument, (parts) | FINISH_READ | FINISH_WRITE)

/* Calls `loop(argument, parts)` with `parts` known to the compiler; other combinations than these do not occur often enough to
 * have code of their own. FEW: for loops of much code. */
#define FINISH_FEW(loop, argument, parts)                                                                              \
    switch (parts) {                                                                                                   \
        FINISH_KINDS(loop, argument, FINISH_OUTPUT)                                                                    \
        FINISH_KINDS(loop, argument, FINISH_OUTPUT | FINISH_RESIDUAL)                                                  \
        FINISH_CASE(loop, argument, FINISH_OUTPUT | FINISH_READ)                                                       \
        FINISH_CASE(loop, argument, FINISH_OUTPUT | FINISH_WRITE)                                                      \
        FINISH_CASE(loop, argument, FINISH_OUTPUT | FINISH_READ | FINISH_WRITE)                                        \
    default:                                                                                                           \
        loop(argument, parts);                                                                                         \
    }

#define FINISH_VARIANTS(loop, argument, parts)                                                                         \
    switch (parts) {                                                                                                   \
        FINISH_SUMS(loop, argument, FINISH_OUTPUT)                                                                     \
        FINISH_SUMS(loop, argument, FINISH_OUTPUT | FINISH_RESIDUAL)                                                   \
    default:                                                                                                           \
        loop(argument, parts);                                                                                         \
    }

struct finish_constants {
    vec scale, shift, slope;
};

/* Of the channels from `first` on. */
INLINE struct finish_constants finish_constants_from(const struct planar_finish *f, int first, int part)
{
    return (struct finish_constants){f->scale ? vec_load_some(f->scale + first, part) : vec_set(1),
                                     f->shift ? vec_load_some(f->shift + first, part) : vec_set(0),
                                     f->slope ? vec_load_some(f->slope + first, part) : vec_set(0)};
}

/* The arithmetic of it, without sums; of `parts` RESIDUAL, PLAIN and RELU. */
INLINE vec finish_value(const struct planar_finish *f, unsigned parts, const struct finish_constants *constants, vec value, vec residual)
{
    if (parts & FINISH_PLAIN)
        return parts & FINISH_RESIDUAL ? value + residual : value;
    const bool first = !(parts & FINISH_RELU) && f->residual_first;
    if (parts & FINISH_RESIDUAL && first)
        value += residual;
    value = vec_fma(value, constants->scale, constants->shift);
    if (parts & FINISH_RESIDUAL && !first)
        value += residual;
    if (parts & FINISH_RELU || f->activation == PLANAR_RELU)
        return vec_max(vec_set(0), value);
    return f->activation == PLANAR_SLOPE ? vec_slope(value, constants->slope) : value;
}

/* `part` lanes of the vector count (0: all). */
INLINE void finish_vector(const struct planar_finish *f, unsigned parts, const struct finish_constants *constants, vec value,
                          ptrdiff_t sum_at, ptrdiff_t at, int part)
{
    if (parts & FINISH_READ)
        value += vec_load_some(f->sum + sum_at, part);
    if (parts & FINISH_WRITE)
        vec_store_some(f->sum + sum_at, value, part);
    if (!(parts & FINISH_OUTPUT))
        return;
    const vec residual = parts & FINISH_RESIDUAL ? vec_load_some(f->residual + at, part) : vec_set(0);
    value = finish_value(f, parts, constants, value, residual);
    if (parts & FINISH_ROUNDED)
        vec_round_store_some(f->rounded + at, value, part);
    else if (parts & FINISH_THROUGH && !part)
        vec_store_through(f->output + at, value);
    else
        vec_store_some(f->output + at, value, part);
}

#endif
