/* Activations and Dropout. */
#include "compiler/op.h"

enum { ELEMENTWISE = OP_ELEMENTWISE | OP_LAYOUT_ANY, ACTIVATION = ELEMENTWISE | OP_ACTIVATION };

const struct op ops_activation[] = {
    {"Celu", .traits = ACTIVATION},
    {"Elu", .traits = ACTIVATION},
    {"Gelu", .traits = ACTIVATION},
    {"HardSigmoid", .traits = ACTIVATION},
    {"HardSwish", .traits = ACTIVATION},
    {"LeakyRelu", .traits = ACTIVATION},
    {"Mish", .traits = ACTIVATION},
    {"Relu", .traits = ACTIVATION},
    {"Selu", .traits = ACTIVATION},
    {"Sigmoid", .traits = ACTIVATION},
    {"Softplus", .traits = ACTIVATION},
    {"Softsign", .traits = ACTIVATION},
    {"Swish", .traits = ACTIVATION},
    {"ThresholdedRelu", .traits = ACTIVATION},
    {"Dropout", .traits = ELEMENTWISE | OP_RANDOM},
    {"Shrink", .traits = ELEMENTWISE},
    {"Gelu", "com.microsoft", .traits = ACTIVATION},
    {"QuickGelu", "com.microsoft", .traits = ACTIVATION},
};
const size_t ops_activation_count = sizeof(ops_activation) / sizeof(ops_activation[0]);
