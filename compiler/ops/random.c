/* Random numbers. */
#include "compiler/op.h"

const struct op ops_random[] = {
    {"Bernoulli", .traits = OP_RANDOM},
    {"Multinomial", .traits = OP_RANDOM},
    {"RandomNormal", .traits = OP_RANDOM},
    {"RandomNormalLike", .traits = OP_RANDOM},
    {"RandomUniform", .traits = OP_RANDOM},
    {"RandomUniformLike", .traits = OP_RANDOM},
};
const size_t ops_random_count = sizeof(ops_random) / sizeof(ops_random[0]);
