/* The `lower` hooks of the operators that training's own kernels compute (runtime/kernels/training). Each declines where they do not. */
#ifndef MITRAL_COMPILER_LOWER_TRAINING_H
#define MITRAL_COMPILER_LOWER_TRAINING_H

#include "compiler/lower.h"

typedef mitral_status training_lower_hook(struct lowering *lowering, const struct node *node, bool *done);

training_lower_hook lower_gradient_data, lower_gradient_weights, lower_max_pool_gradient, lower_resize_gradient;

/* Whether training.convolution computes a convolution with weights `w` of type float32. */
bool lowers_to_training_convolution(const struct lowering *lowering, const struct node *node, value_id w);

/* Whether the pass round-operands wants the product on AMX tiles. */
bool lowers_to_tiles(const struct lowering *lowering, const struct node *node);

/* Whether the node's pooling, or its gradient, has windows of 2×2 with stride 2 and nothing around them, and the maps the sizes that go with it. */
bool pools_by_two(const struct graph *graph, const struct node *node, value_id large, value_id small);

/* Whether training.max_pool computes a MaxPool. */
bool lowers_to_training_max_pool(const struct lowering *lowering, const struct node *node);

#endif
