/* The passes in their order, and the driver that runs them. */
#ifndef MITRAL_COMPILER_PIPELINE_H
#define MITRAL_COMPILER_PIPELINE_H

#include "compiler/passes/passes.h"

/* Runs the passes that fit on the graph and its subgraphs; verifies after each; dumps and stops as `compile` says (may be NULL). */
mitral_status pipeline_run(struct graph *graph, const struct pass_options *options, const mitral_compile_options *compile);
/* One pass by name, with the driver's clean-up and verification: for tests. */
mitral_status pipeline_run_one(struct graph *graph, const char *name, const struct pass_options *options);

#endif
