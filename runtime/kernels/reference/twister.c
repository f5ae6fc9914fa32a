#include "runtime/kernels/reference/twister.h"

#include <math.h>
#include <sys/random.h>
#include <time.h>

#include "runtime/splitmix.h"

enum { MIDDLE = 397 };

void twister_seed(struct twister *twister, uint32_t seed)
{
    for (uint32_t i = 0; i < TWISTER_WORDS; i++) {
        twister->words[i] = seed;
        seed = 1812433253u * (seed ^ seed >> 30) + i + 1;
    }
    twister->position = TWISTER_WORDS;
    twister->has_normal = false;
}

void twister_seed_call(struct twister *twister, const struct kernel_call *call)
{
    const struct attribute *seed = attribute_find(call->attributes, "seed");
    if (seed && seed->kind == ATTRIBUTE_INT) {
        twister_seed(twister, (uint32_t)seed->ints[0]);
        return;
    }
    if (seed && seed->kind == ATTRIBUTE_FLOAT && isfinite(seed->floats[0])) {
        float value = seed->floats[0];
        bool fits = value > -9e18f && value < 9e18f;
        twister_seed(twister, fits ? (uint32_t)(int64_t)value : 0);
        return;
    }
    if (call->context && call->context->random.fixed) {
        twister_seed(twister, (uint32_t)splitmix_at(call->context->random.stream, call->context->random.drawn++));
        return;
    }
    uint32_t entropy;
    if (getrandom(&entropy, sizeof(entropy), 0) != (ssize_t)sizeof(entropy)) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        entropy = (uint32_t)now.tv_nsec ^ (uint32_t)now.tv_sec * 2654435761u;
    }
    twister_seed(twister, entropy);
}

static uint32_t twist(uint32_t high, uint32_t low, uint32_t far)
{
    uint32_t mixed = (high & 0x80000000u) | (low & 0x7fffffffu);
    return far ^ mixed >> 1 ^ (low & 1 ? 0x9908b0dfu : 0);
}

static uint32_t twister_word(struct twister *twister)
{
    if (twister->position == TWISTER_WORDS) {
        uint32_t *words = twister->words;
        for (int i = 0; i < TWISTER_WORDS; i++)
            words[i] = twist(words[i], words[(i + 1) % TWISTER_WORDS], words[(i + MIDDLE) % TWISTER_WORDS]);
        twister->position = 0;
    }
    uint32_t word = twister->words[twister->position++];
    word ^= word >> 11;
    word ^= word << 7 & 0x9d2c5680u;
    word ^= word << 15 & 0xefc60000u;
    return word ^ word >> 18;
}

double twister_uniform(struct twister *twister)
{
    uint32_t high = twister_word(twister) >> 5, low = twister_word(twister) >> 6;
    return ((double)high * 67108864.0 + (double)low) / 9007199254740992.0;
}

/* Marsaglia's polar method. */
double twister_normal(struct twister *twister)
{
    if (twister->has_normal) {
        twister->has_normal = false;
        return twister->normal;
    }
    double x, y, square;
    do {
        x = 2 * twister_uniform(twister) - 1;
        y = 2 * twister_uniform(twister) - 1;
        square = x * x + y * y;
    } while (square >= 1 || square == 0);
    double factor = sqrt(-2 * log(square) / square);
    twister->normal = factor * x;
    twister->has_normal = true;
    return factor * y;
}
