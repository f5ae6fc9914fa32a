/* The activation that ONNX Runtime's optimiser puts into FusedConv and FusedGemm. */
#ifndef MITRAL_REFERENCE_FUSED_ACTIVATION_H
#define MITRAL_REFERENCE_FUSED_ACTIVATION_H

#include "runtime/kernel.h"

enum fused_function {
    FUSED_NONE, FUSED_RELU, FUSED_TANH, FUSED_SIGMOID, FUSED_LEAKY_RELU, FUSED_CLIP, FUSED_HARD_SIGMOID, FUSED_ELU, FUSED_SELU,
    FUSED_CELU, FUSED_SOFTPLUS, FUSED_SOFTSIGN, FUSED_THRESHOLDED_RELU, FUSED_FUNCTIONS
};

struct fused_activation {
    enum fused_function function;
    double alpha, beta;
};

/* By name ("" or NULL: none), with the parameters that were given; what is missing takes the operator's own default, where it has one. */
mitral_status fused_activation_decode(const struct kernel_call *call, const char *name, const float *parameters, size_t count,
                                      struct fused_activation *out);
double fused_activation_apply(const struct fused_activation *activation, double x);
/* Every element of a floating-point tensor becomes activation(element + the addend's); addend may be NULL. */
void fused_activation_tensor(const struct fused_activation *activation, mitral_tensor *tensor, const mitral_tensor *addend, int threads);

#endif
