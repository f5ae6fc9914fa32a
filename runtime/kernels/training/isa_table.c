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
    .outer_rows = OUTER_ROWS,
    .outer_depth = OUTER_DEPTH,
    .spread_input = BLOCK(training_spread_input),
    .spread_gradient = BLOCK(training_spread_gradient),
#if LANES == 8
    .spread_columns = BLOCK(training_spread_columns),
    .scatter_columns = BLOCK(training_scatter_columns),
    .gather_columns = BLOCK(training_gather_columns),
#endif
    .outer = BLOCK(training_outer),
    .collect = BLOCK(training_collect),
    .sum = BLOCK(training_sum),
    .moments = BLOCK(training_moments),
    .normalise = BLOCK(training_normalise),
    .denormalise_sums = BLOCK(training_denormalise_sums),
    .denormalise = BLOCK(training_denormalise),
    .denormalise_pair_sums = BLOCK(training_denormalise_pair_sums),
    .denormalise_pair = BLOCK(training_denormalise_pair),
    .mark = BLOCK(training_mark),
    .unpool = BLOCK(training_unpool),
    .unresize = BLOCK(training_unresize),
};
