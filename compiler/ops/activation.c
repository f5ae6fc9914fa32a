/* Activations and Dropout. */
#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"

enum { ELEMENTWISE = OP_ELEMENTWISE | OP_LAYOUT_ANY, ACTIVATION = ELEMENTWISE | OP_ACTIVATION };

const struct op ops_activation[] = {
    {"Celu", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"Elu", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"Gelu", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"HardSigmoid", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"HardSwish", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"LeakyRelu", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"Mish", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"Relu", .traits = ACTIVATION, .gradient = differentiate_relu},
    {"Selu", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"Sigmoid", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"Softplus", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"Softsign", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"Swish", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"ThresholdedRelu", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"Dropout", .traits = ELEMENTWISE | OP_RANDOM, .gradient = differentiate_dropout, .compose = compose_dropout},
    {"Shrink", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Gelu", "com.microsoft", .traits = ACTIVATION, .gradient = differentiate_elementwise},
    {"QuickGelu", "com.microsoft", .traits = ACTIVATION, .gradient = differentiate_elementwise},
};
const size_t ops_activation_count = sizeof(ops_activation) / sizeof(ops_activation[0]);
