/* Matrix products and determinants. */
#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"
#include "compiler/lower_onednn.h"

const struct op ops_matmul[] = {
    {.name = "Det", .gradient = differentiate_determinant},
    {.name = "Einsum", .gradient = differentiate_einsum, .compose = compose_einsum},
    {.name = "Gemm", .lower = lower_gemm, .gradient = differentiate_gemm},
    {.name = "MatMul", .lower = lower_matmul, .gradient = differentiate_matmul},
};
const size_t ops_matmul_count = sizeof(ops_matmul) / sizeof(*ops_matmul);
