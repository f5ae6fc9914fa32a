/* Losses of the standard. */
#include "compiler/gradients/gradients.h"

const struct op ops_loss[] = {
    {.name = "NegativeLogLikelihoodLoss", .gradient = differentiate_negative_log_likelihood_loss},
    {.name = "SoftmaxCrossEntropyLoss", .gradient = differentiate_softmax_cross_entropy_loss},
};
const size_t ops_loss_count = sizeof(ops_loss) / sizeof(*ops_loss);
