/* Reductions and running sums. */
#include "compiler/op.h"

const struct op ops_reduce[] = {
    {"ArgMax"},
    {"ArgMin"},
    {"CumProd"},
    {"CumSum"},
    {"ReduceL1"},
    {"ReduceL2"},
    {"ReduceLogSum"},
    {"ReduceLogSumExp"},
    {"ReduceMax"},
    {"ReduceMean"},
    {"ReduceMin"},
    {"ReduceProd"},
    {"ReduceSum"},
    {"ReduceSumSquare"},
};
const size_t ops_reduce_count = sizeof(ops_reduce) / sizeof(ops_reduce[0]);
