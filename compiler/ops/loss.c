/* Losses of the standard. */
#include "compiler/op.h"

const struct op ops_loss[] = {
    {.name = "NegativeLogLikelihoodLoss"},
    {.name = "SoftmaxCrossEntropyLoss"},
};
const size_t ops_loss_count = sizeof(ops_loss) / sizeof(*ops_loss);
