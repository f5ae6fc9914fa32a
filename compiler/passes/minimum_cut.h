/* Minimum cut between a source and a sink (Dinic's algorithm): the exact answer to "each thing takes one of two forms; what does it
 * cost where neighbours differ". Deterministic. */
#ifndef MITRAL_COMPILER_PASSES_MINIMUM_CUT_H
#define MITRAL_COMPILER_PASSES_MINIMUM_CUT_H

#include "runtime/context.h"

#define CUT_INFINITE INT64_MAX

struct cut_edge {
    uint32_t to;
    uint32_t next;     /* edge of the same vertex; UINT32_MAX: last */
    int64_t capacity;  /* what is left */
};

struct cut {
    mitral_context *context;
    uint32_t vertex_count, edge_count, edge_capacity;
    uint32_t *first;   /* edge of each vertex */
    struct cut_edge *edges;
    uint32_t *level, *cursor, *queue;
};

enum { CUT_SOURCE = 0, CUT_SINK = 1 };

/* Vertices 0 (source), 1 (sink), and 2 … count − 1. */
mitral_status cut_create(struct cut *out, mitral_context *context, uint32_t vertex_count);
void cut_destroy(struct cut *cut);
/* Costs `capacity` when `from` falls on the source's side and `to` on the sink's. */
mitral_status cut_add(struct cut *cut, uint32_t from, uint32_t to, int64_t capacity);
/* Finds the cut; then on_source_side[v] says where each vertex fell (undecided ones: the sink's side). */
mitral_status cut_solve(struct cut *cut, bool *on_source_side);

#endif
