/* Operators that passes make: several nodes of a file in one step, and changes of layout. Domain mitral. */
#include "compiler/lower_onednn.h"

const struct op ops_fused[] = {
    /* Q, K, V: softmax(alpha · Q K) V. */
    {.name = "Attention", .domain = "mitral", .kernel = "planar.attention"},
    /* X: its channels in another order (runtime/kernels/channels/shuffle.c); attribute group. */
    {.name = "ChannelShuffle", .domain = "mitral", .traits = OP_LAYOUT_ANY | OP_MOVES_DATA},
    /* X0 … Xn−1, scale[C], shift[C], slope[C]?: the maps (attribute parts: n) one after another along the channels, then ScaleShift. */
    {.name = "ConcatScaleShift", .domain = "mitral", .traits = OP_LAYOUT_ANY},
    /* X, W, bias?, residual?, slope?: Conv with what follows it; attributes also activation, activation_alpha, activation_beta,
     * residual_before_activation. */
    {.name = "Convolution", .domain = "mitral", .kernel = "onednn.convolution", .lower = lower_convolution},
    /* X, W, bias?, residual?, slope?, X1 …: Convolution of the maps X, X1 …, one after another along the channels; float32 or bfloat16
     * each, channels-last. */
    {.name = "JoinedConvolution", .domain = "mitral", .kernel = "planar.convolution"},
    /* X, W, bias?: ConvTranspose with an activation. */
    {.name = "ConvolutionTranspose", .domain = "mitral", .kernel = "onednn.deconvolution"},
    /* A, B, bias?, residual?: MatMul with what follows it; attributes also alpha, a factor of the product, and those above. */
    {.name = "MatMul", .domain = "mitral", .kernel = "onednn.matmul"},
    /* QLinearConv's inputs; without y_scale and y_zero the output is float32; the bias is int32 or float32; attribute activation: Relu. */
    {.name = "QuantizedConvolution", .domain = "mitral", .kernel = "onednn.quantized_convolution"},
    /* QLinearMatMul's inputs, a float32 bias?: the same of a product. */
    {.name = "QuantizedMatMul", .domain = "mitral", .kernel = "onednn.quantized_matmul"},
    /* A, B, C?: Gemm with an activation. */
    {.name = "Gemm", .domain = "mitral", .kernel = "onednn.gemm"},
    /* X0 …: elementwise operators in one pass (runtime/kernels/reference/chain.h). */
    {.name = "Elementwise", .domain = "mitral", .traits = OP_ELEMENTWISE | OP_LAYOUT_ANY},
    /* X: the same elements in another layout (attribute "layout") or, with attribute "to", of another float type. */
    {.name = "Reorder", .domain = "mitral", .kernel = "onednn.reorder", .traits = OP_MOVES_DATA},
    /* X, scale[C], shift[C], slope[C]?: X · scale + shift by channel; attributes activation, activation_alpha, activation_beta. */
    {.name = "ScaleShift", .domain = "mitral", .traits = OP_LAYOUT_ANY},
};
const size_t ops_fused_count = sizeof(ops_fused) / sizeof(*ops_fused);
