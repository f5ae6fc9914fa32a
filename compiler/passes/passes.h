/* The passes that pipeline.c lists. Each has one entry point and says whether it changed anything; the driver cleans up after it
 * (dead nodes, order, types) and verifies the graph, so a pass may leave dead nodes and append new ones at the end. */
#ifndef MITRAL_COMPILER_PASSES_H
#define MITRAL_COMPILER_PASSES_H

#include "compiler/op.h"

struct pass_options {
    mitral_precision precision;
    int threads;    /* that choices are made for */
    bool training;  /* the graph is a training graph: no folding of what changes */
    bool onnx;      /* the graph is written as ONNX again: operators of the standard alone, weights as small as they were */
    bool tune;
    bool low_memory; /* training: compute again rather than keep */
};

typedef mitral_status pass_function(struct graph *graph, const struct pass_options *options, bool *changed);

pass_function pass_sink_constants, pass_fold_constants, pass_simplify, pass_merge_equal, pass_dilated_parallel,
    pass_fold_batch_norm, pass_fuse_convolution, pass_fuse_concat, pass_fuse_matmul, pass_fuse_elementwise,
    pass_find_normalization, pass_find_one_hot, pass_find_shuffle, pass_fuse_attention, pass_precision, pass_layout, pass_widen,
    pass_fuse_normalization, pass_fuse_addend, pass_fuse_pool, pass_fuse_divergence, pass_fuse_points, pass_fuse_branches,
    pass_round_operands, pass_recompute, pass_mark_open, pass_fuse_quantized, pass_move_quantized, pass_read_parts, pass_choose_branch;

/* The same sizes, known or by the same symbols. */
bool type_same_dims(const struct value_type *a, const struct value_type *b);

/* Not optional, so not in the list: part of making any plan, the interpreter's too. */
mitral_status expand_gradients(struct graph *graph);
mitral_status match_runtime(struct graph *graph); /* not of training graphs */

#endif
