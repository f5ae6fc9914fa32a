/* Products of bfloat16 on AMX tiles (amx_product.c), and the pairs that they read. */
#ifndef MITRAL_PLANAR_AMX_H
#define MITRAL_PLANAR_AMX_H

#include "runtime/kernels/planar/micro.h"

enum { AMX_ROWS = 16, AMX_PAIRS = 16 };

/* Pairs of one step of a depth of so many: as even steps as possible, none larger than a tile. */
static inline int amx_pairs(int depth)
{
    const int steps = (depth + AMX_PAIRS - 1) / AMX_PAIRS;
    return steps ? (depth + steps - 1) / steps : 0;
}

/* The depth of that many channels in pairs, in whole steps: what pixels and weights are padded to, with zeros. */
static inline int amx_depth(int channels)
{
    const int depth = (channels + 1) / 2, pairs = amx_pairs(depth);
    return pairs ? (depth + pairs - 1) / pairs * pairs : 0;
}

/* As channel_product of pairs, whose depth is amx_depth() and whose step is 1. Of fewer than AMX_ROWS rows so many are read.
 * Sums start with the output's values, or the residual's, not with both. */
void amx_product(const struct channel_product *product);
void amx_release(struct amx_shape *shape);

#endif
