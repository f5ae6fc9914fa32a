/* Nodes added to a graph by code that is no pass: losses, updates, and what goes between teacher and student. */
#ifndef MITRAL_TRAINING_EMIT_H
#define MITRAL_TRAINING_EMIT_H

#include "compiler/op.h"

struct emitter {
    struct graph *graph;
    const char *prefix; /* of node and value names: "training/loss" */
    size_t count;
};

/* `op` is "Mul" or "mitral.SoftDice"; the newest version; attributes may be NULL. */
mitral_status emit_node(struct emitter *emitter, const char *op, const struct attributes *attributes, const value_id *inputs,
                        size_t input_count, value_id *outputs, size_t output_count);
/* A float constant of rank 0, or of rank 1 with `count` elements. */
mitral_status emit_scalar(struct emitter *emitter, value_id *out, double number);
mitral_status emit_floats(struct emitter *emitter, value_id *out, const double *numbers, size_t count);
mitral_status emit_ints(struct emitter *emitter, value_id *out, const int64_t *numbers, size_t count);
/* A graph input. */
mitral_status emit_input(struct emitter *emitter, value_id *out, const char *name, int32_t dtype, int32_t rank, const int64_t *dims);
/* A variable with that first value, whose data is borrowed for as long as the graph lives. */
mitral_status emit_variable(struct emitter *emitter, value_id *out, const char *name, const mitral_tensor *first);
/* A variable of zeros of the shape of `like`. */
mitral_status emit_zero_variable(struct emitter *emitter, value_id *out, const char *name, value_id like);
/* [N, C, h, w] resized linearly (half-pixel centres) to h, w of another value of rank 4 with fixed size. */
mitral_status emit_resize(struct emitter *emitter, value_id *out, value_id x, int64_t height, int64_t width);

#endif
