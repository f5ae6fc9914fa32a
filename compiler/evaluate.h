/* Runs one node on known inputs at compile time: for constant folding and for shapes that depend on values. */
#ifndef MITRAL_COMPILER_EVALUATE_H
#define MITRAL_COMPILER_EVALUATE_H

#include "compiler/op.h"

/* The call of a node's reference kernel on those values; `inputs` and `outputs` have as many entries as the node's lists. */
struct kernel_call evaluate_call(mitral_context *context, const struct node *node, const mitral_value *const *inputs,
                                 mitral_value *const *outputs, struct arena *arena);
/* After kernel->shape has set the outputs: allocates them in `arena`, prepares, runs, releases. */
mitral_status evaluate_run(const struct kernel *kernel, struct kernel_call *call);

#endif
