/* Reductions and running sums. */
#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"

const struct op ops_reduce[] = {
    {"ArgMax"},
    {"ArgMin"},
    {"CumProd", .compose = compose_cumulative_product},
    {"CumSum", .gradient = differentiate_cumulative_sum},
    {"ReduceL1", .gradient = differentiate_reduce_l1},
    {"ReduceL2", .gradient = differentiate_reduce_l2},
    {"ReduceLogSum", .gradient = differentiate_reduce_log_sum},
    {"ReduceLogSumExp", .gradient = differentiate_reduce_log_sum_exp},
    {"ReduceMax", .gradient = differentiate_reduce_extremum},
    {"ReduceMean", .gradient = differentiate_reduce_mean},
    {"ReduceMin", .gradient = differentiate_reduce_extremum},
    {"ReduceProd", .gradient = differentiate_reduce_product},
    {"ReduceSum", .gradient = differentiate_reduce_sum},
    {"ReduceSumSquare", .gradient = differentiate_reduce_sum_square},
};
const size_t ops_reduce_count = sizeof(ops_reduce) / sizeof(ops_reduce[0]);
