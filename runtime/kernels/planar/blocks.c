/* The table of one instruction set. */
#include "runtime/kernels/planar/blocks.h"

const struct planar_blocks BLOCK(planar_blocks) = {
#if defined(__AVX512F__)
    .name = "avx512",
#elif defined(__AVX2__)
    .name = "avx2",
#else
    .name = "portable",
#endif
    .lanes = LANES,
    .plane_product = BLOCK(plane_product),
    .plane_batch = BLOCK(plane_batch),
    .plane_spread = BLOCK(plane_spread),
    .plane_gather = BLOCK(plane_gather),
    .channel_product = BLOCK(channel_product),
    .channel_batch = BLOCK(channel_batch),
    .channel_spread = BLOCK(channel_spread),
    .channel_gather = BLOCK(channel_gather),
    .channel_finish = BLOCK(channel_finish),
    .channel_depthwise = BLOCK(channel_depthwise),
    .row_upsample = BLOCK(row_upsample),
    .row_pool = BLOCK(row_pool),
    .pixel_maximum = BLOCK(pixel_maximum),
    .half_maximum = BLOCK(half_maximum),
    .row_round = BLOCK(row_round),
    .row_widen = BLOCK(row_widen),
    .row_planes = BLOCK(row_planes),
    .row_function = BLOCK(row_function),
};
