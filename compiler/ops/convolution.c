/* Convolution operators. */
#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"
#include "compiler/lower_onednn.h"

const struct op ops_convolution[] = {
    {.name = "CausalConvWithState", .compose = compose_causal_convolution},
    {.name = "Col2Im", .gradient = differentiate_col2im},
    {.name = "Conv", .lower = lower_convolution, .gradient = differentiate_convolution, .compose = compose_convolution},
    {.name = "ConvTranspose", .lower = lower_convolution_transpose, .gradient = differentiate_convolution_transpose,
     .compose = compose_transposed_convolution},
    {.name = "DeformConv", .compose = compose_deformable_convolution},
};
const size_t ops_convolution_count = sizeof(ops_convolution) / sizeof(*ops_convolution);
