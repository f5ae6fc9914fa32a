/* Matrix products and determinants. */
#include "compiler/op.h"

const struct op ops_matmul[] = {
    {.name = "Det"},
    {.name = "Einsum"},
    {.name = "Gemm"},
    {.name = "MatMul"},
};
const size_t ops_matmul_count = sizeof(ops_matmul) / sizeof(*ops_matmul);
