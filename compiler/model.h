/* The inside of the public model handle, and compilation of a graph. */
#ifndef MITRAL_COMPILER_MODEL_H
#define MITRAL_COMPILER_MODEL_H

#include "compiler/lower.h"

struct mitral_model {
    mitral_context *context;
    struct graph *graph;
};

/* Wraps a graph, which the model then owns; on failure the graph is the caller's still. */
mitral_status model_create(mitral_model **out, struct graph *graph);
/* Compiles a graph (changed by it). `training`: only passes that keep training semantics run. */
mitral_status compile_graph(mitral_plan **out, mitral_context *context, struct graph *graph,
                            const mitral_compile_options *options, bool training);

#endif
