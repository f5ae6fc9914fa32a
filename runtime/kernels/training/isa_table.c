#include "runtime/kernels/training/isa.h"

#if LANES == 16
#define NAME "avx512"
#elif LANES == 8
#define NAME "avx2"
#else
#define NAME "portable"
#endif

const struct training_blocks BLOCK(training_blocks) = {
    .name = NAME,
    .lanes = LANES,
    .spread_input = BLOCK(training_spread_input),
    .spread_gradient = BLOCK(training_spread_gradient),
    .outer = BLOCK(training_outer),
    .sum = BLOCK(training_sum),
};
