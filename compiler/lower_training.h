/* The `lower` hooks of the operators that training's own kernels compute (runtime/kernels/training). Each declines where they do not. */
#ifndef MITRAL_COMPILER_LOWER_TRAINING_H
#define MITRAL_COMPILER_LOWER_TRAINING_H

#include "compiler/lower.h"

typedef mitral_status training_lower_hook(struct lowering *lowering, const struct node *node, bool *done);

training_lower_hook lower_gradient_data, lower_gradient_weights, lower_max_pool_gradient, lower_resize_gradient;

/* Whether training.convolution computes a convolution with weights `w` of type float32. */
bool lowers_to_training_convolution(const struct lowering *lowering, const struct node *node, value_id w);

/* Whether training.max_pool computes a MaxPool. */
bool lowers_to_training_max_pool(const struct lowering *lowering, const struct node *node);

#endif
