/* Matrix products and determinants. */
#include "compiler/gradients/gradients.h"

const struct op ops_matmul[] = {
    {.name = "Det"},
    {.name = "Einsum", .gradient = differentiate_einsum},
    {.name = "Gemm", .gradient = differentiate_gemm},
    {.name = "MatMul", .gradient = differentiate_matmul},
};
const size_t ops_matmul_count = sizeof(ops_matmul) / sizeof(*ops_matmul);
