/* Layers as nodes of a graph, with initial weights. Each function appends to `builder->graph` and returns the output's id; after a
 * failure `builder->status` says so and everything that follows does nothing. */
#ifndef MITRAL_MODELS_BUILDER_H
#define MITRAL_MODELS_BUILDER_H

#include "compiler/graph.h"
#include "mitral/networks.h"

struct builder {
    struct graph *graph;
    uint64_t seed;
    mitral_status status;
};

/* Input of shape [batch or symbolic "batch", channels, size, size]. */
value_id build_input(struct builder *builder, const char *name, int64_t batch, int64_t channels, int64_t size);
/* Names: parameters are "<prefix>.weight", …; the output is "<prefix>" unless `name` is given. */
value_id build_convolution(struct builder *builder, const char *prefix, value_id x, int64_t in, int64_t out, int64_t kernel,
                           int64_t dilation, bool bias, const char *name);
value_id build_upsampling_convolution(struct builder *builder, const char *prefix, value_id x, int64_t in, int64_t out);
value_id build_batch_norm(struct builder *builder, const char *prefix, value_id x, int64_t channels);
value_id build_relu(struct builder *builder, const char *name, value_id x);
value_id build_add(struct builder *builder, const char *name, value_id a, value_id b);
value_id build_concat(struct builder *builder, const char *name, const value_id *values, size_t count);
value_id build_max_pool(struct builder *builder, const char *name, value_id x);
value_id build_resize_twice(struct builder *builder, const char *name, value_id x);
/* The model's output and metadata; wraps the graph, or destroys it after a failure. */
mitral_status build_finish(struct builder *builder, mitral_model **out, value_id output, int64_t classes, int64_t size);
mitral_status build_start(struct builder *builder, mitral_context *context, const char *name, uint64_t seed);

#endif
