/* The gradient pass: a graph in, the same graph with backward nodes appended out. Hooks of operators (compiler/gradients/)
 * are called in reverse order and emit ordinary nodes, so that what they make is lowered and run like any graph. */
#ifndef MITRAL_COMPILER_GRADIENT_H
#define MITRAL_COMPILER_GRADIENT_H

#include "compiler/op.h"

/* Appends the nodes that compute d loss / d wrt[i]. `loss` has one element of a floating-point type; types must have been
 * inferred, and have to be inferred again afterwards. Nodes between the two whose operators are composed of others are replaced by
 * these first: node ids change, value ids do not. gradients[i] is NO_VALUE where the loss does not depend on wrt[i].
 * Nodes on no path from a wrt to the loss get no gradient and need no hook. MITRAL_UNSUPPORTED names the node whose operator
 * has none. On failure the graph may hold nodes that nobody uses. */
mitral_status gradient_build(struct graph *graph, value_id loss, const value_id *wrt, size_t count, value_id *gradients);
/* The same for several values at once, whose own gradients (of a bigger graph's loss) are the values seeds[k]; NO_VALUE: zero. */
mitral_status gradient_build_from(struct graph *graph, const value_id *values, const value_id *seeds, size_t value_count,
                                  const value_id *wrt, size_t count, value_id *gradients);
/* Why the operator is not differentiated, for people; NULL when it is, or when that of a custom one is not known. */
const char *gradient_reason(const struct op *op);

/* ---- for hooks ------------------------------------------------------------------------------------------------------
 * `node` is a copy that stays valid while nodes are added. A hook is called only if the gradient of at least one output is
 * there and that of at least one input is wanted. */

struct graph *gradient_graph(struct gradient *gradient);
/* Type of a forward value; never NULL. */
const struct value_type *gradient_type(struct gradient *gradient, value_id value);
/* Whether the gradient of that input leads anywhere. */
bool gradient_wants(const struct gradient *gradient, const struct node *node, size_t input);
/* The gradient of that output; NO_VALUE: zero. */
value_id gradient_of(const struct gradient *gradient, const struct node *node, size_t output);
/* Adds `value`, of the input's shape, to the gradient of that input; nothing happens when it is not wanted. */
mitral_status gradient_contribute(struct gradient *gradient, const struct node *node, size_t input, value_id value);
/* The same for a `value` of the shape of output 0 that the input was broadcast to: summed over what was repeated. */
mitral_status gradient_contribute_reduced(struct gradient *gradient, const struct node *node, size_t input, value_id value);

/* Adds a node and new values for its outputs. `op` is "Mul" or "mitral.ReluGradient"; attributes may be NULL. */
mitral_status gradient_emit(struct gradient *gradient, const char *op, const struct attributes *attributes,
                            const value_id *inputs, size_t input_count, value_id *outputs, size_t output_count);
/* The same for a row, of that version. */
mitral_status gradient_emit_row(struct gradient *gradient, const struct op *row, int version, const struct attributes *attributes,
                                const value_id *inputs, size_t input_count, value_id *outputs, size_t output_count);
mitral_status gradient_unary(struct gradient *gradient, value_id *out, const char *op, value_id a);
mitral_status gradient_binary(struct gradient *gradient, value_id *out, const char *op, value_id a, value_id b);
/* A constant of rank 0 and that type. */
mitral_status gradient_scalar(struct gradient *gradient, value_id *out, int32_t dtype, double number);
/* a · number, with `number` of the type that `like` has. */
mitral_status gradient_scale(struct gradient *gradient, value_id *out, value_id a, value_id like, double number);
/* An int64 constant of rank 1. */
mitral_status gradient_ints(struct gradient *gradient, value_id *out, const int64_t *numbers, size_t count);
/* Zeros of the shape and type of a forward value. */
mitral_status gradient_zeros(struct gradient *gradient, value_id *out, value_id like);
/* `value` with the shape of the forward value `like` (the same number of elements). */
mitral_status gradient_reshape_like(struct gradient *gradient, value_id *out, value_id value, value_id like);
/* Tells a backward operator the shape of the forward value `like`: as attribute `shape` where it is known, which does not keep
 * the value alive, otherwise as one more input. */
mitral_status gradient_set_shape(struct gradient *gradient, struct attributes *attributes, value_id like, value_id *inputs,
                                 size_t *input_count);
/* "<operator> '<node>': …" */
mitral_status gradient_fail(struct gradient *gradient, const struct node *node, mitral_status status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The integers of a constant input; NULL when it is absent or no constant. Memory of the graph's arena. */
const int64_t *gradient_constant_ints(struct gradient *gradient, const struct node *node, size_t input, size_t *count);

/* ---- for compose hooks: the node's inputs have types, what the hook emits has none yet ---------------------------------- */

/* Output `output` of the node that is replaced is `value` from now on; nothing happens when nobody asked for that output. */
mitral_status gradient_become(struct gradient *gradient, const struct node *node, size_t output, value_id value);
/* The nodes of `inner` in place of the node: its inputs are `inputs`, its outputs go to `outputs`. */
mitral_status gradient_inline(struct gradient *gradient, const struct graph *inner, const value_id *inputs, value_id *outputs);

#endif
