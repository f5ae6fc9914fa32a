/* Random numbers. */
#include "compiler/gradients/gradients.h"

const struct op ops_random[] = {
    {"Bernoulli", .traits = OP_RANDOM, .gradient = differentiate_zero},
    {"Multinomial", .traits = OP_RANDOM},
    {"RandomNormal", .traits = OP_RANDOM},
    {"RandomNormalLike", .traits = OP_RANDOM, .gradient = differentiate_zero},
    {"RandomUniform", .traits = OP_RANDOM},
    {"RandomUniformLike", .traits = OP_RANDOM, .gradient = differentiate_zero},
};
const size_t ops_random_count = sizeof(ops_random) / sizeof(ops_random[0]);
