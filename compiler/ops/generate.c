/* Tensors out of a few numbers. */
#include "compiler/op.h"

const struct op ops_generate[] = {
    {"Constant"},
    {"ConstantOfShape"},
    {"EyeLike"},
    {"Range"},
};
const size_t ops_generate_count = sizeof(ops_generate) / sizeof(ops_generate[0]);
