/* Convolution operators. */
#include "compiler/op.h"

const struct op ops_convolution[] = {
    {.name = "CausalConvWithState"},
    {.name = "Col2Im"},
    {.name = "Conv"},
    {.name = "ConvTranspose"},
    {.name = "DeformConv"},
    {.name = "FusedConv", .domain = "com.microsoft"},
};
const size_t ops_convolution_count = sizeof(ops_convolution) / sizeof(*ops_convolution);
