/* PCG32 (XSH-RR, O'Neill 2014): 64 bits of state, 2^63 streams. The state is the caller's. */
#ifndef MITRAL_DATA_RANDOM_H
#define MITRAL_DATA_RANDOM_H

#include <math.h>
#include <stdint.h>

struct random {
    uint64_t state, increment;
};

static inline uint32_t random_bits(struct random *random)
{
    uint64_t old = random->state;
    random->state = old * 6364136223846793005u + random->increment;
    uint32_t mixed = (uint32_t)(((old >> 18) ^ old) >> 27);
    uint32_t turn = (uint32_t)(old >> 59);
    return (mixed >> turn) | (mixed << ((32 - turn) & 31));
}

/* Different (seed, stream) give unrelated sequences. */
static inline struct random random_start(uint64_t seed, uint64_t stream)
{
    struct random random = {0, (stream << 1) | 1};
    random_bits(&random);
    random.state += seed;
    random_bits(&random);
    return random;
}

/* In [0, 1). */
static inline double random_unit(struct random *random)
{
    return random_bits(random) * 0x1p-32;
}

static inline double random_between(struct random *random, double low, double high)
{
    return low + (high - low) * random_unit(random);
}

/* In 0 … count - 1; count from 1. */
static inline uint32_t random_index(struct random *random, uint32_t count)
{
    return (uint32_t)(((uint64_t)random_bits(random) * count) >> 32);
}

/* Standard normal, by Box and Muller. */
static inline double random_normal(struct random *random)
{
    double radius = sqrt(-2.0 * log(1.0 - random_unit(random)));
    return radius * cos(6.283185307179586 * random_unit(random));
}

/* Normal, redrawn to stay within `limit` deviations. */
static inline double random_normal_within(struct random *random, double mean, double deviation, double limit)
{
    double value = random_normal(random);
    while (value < -limit || value > limit)
        value = random_normal(random);
    return mean + deviation * value;
}

#endif
