/* What passes and lowering ask about the planar kernels. */
#ifndef MITRAL_COMPILER_PLANAR_H
#define MITRAL_COMPILER_PLANAR_H

#include "compiler/op.h"
#include "runtime/kernels/planar/convolution.h"

/* The convolution that a Conv or mitral.Convolution is, with the layouts that its values have; false when planar.convolution has no
 * way to run it. Sizes that are not known are −1. */
bool planar_convolution_of(const struct graph *graph, const struct node *node, struct convolution_shape *out);
/* A convolution of planar_convolution_of() whose input or output is bfloat16 in memory: only channels-last, only by planar.convolution. */
bool planar_convolution_has_rounded(const struct node *node);
/* The dilated-parallel block runs as one loop, not stage by stage. */
bool planar_block_is_one_loop(const struct node *node);
/* How many of the dilated-parallel block's inputs are its sources. */
size_t planar_block_source_count(const struct node *node);
/* The dilated-parallel block computes planes, not channels-last data, on this machine. */
bool planar_block_likes_planes(const struct graph *graph, const struct node *node);
/* Input `index` of the dilated-parallel block is read equally well in any layout. */
bool planar_block_reads_any_layout(const struct node *node, size_t index);

#endif
