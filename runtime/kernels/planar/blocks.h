/* What the files compiled once for each instruction set share: the vector, and their functions under suffixed names. */
#ifndef MITRAL_PLANAR_BLOCKS_H
#define MITRAL_PLANAR_BLOCKS_H

#include "runtime/kernels/planar/micro.h"
#include "runtime/kernels/planar/vector.h"

/* How many rows of output before they are written products ask for their cache lines. */
enum { ROWS_AHEAD = 24 };

void BLOCK(plane_product)(const struct plane_product *product);
void BLOCK(plane_batch)(const struct plane_batch *batch);
void BLOCK(plane_spread)(const struct plane_spread *spread);
void BLOCK(plane_gather)(const struct plane_gather *gather);
void BLOCK(channel_product)(const struct channel_product *product);
#if LANES == 8
/* A whole product of one vector of columns, of which `part` lanes (0: all) are output: one tap, neighbouring channels, an even depth up to
 * NARROW_DEPTH, no residual, at least one row. */
enum { NARROW_DEPTH = 512 };
void BLOCK(channel_narrow)(const struct channel_product *product, int part);
#endif
void BLOCK(channel_batch)(const struct channel_batch *batch);
void BLOCK(channel_spread)(const struct channel_spread *spread);
void BLOCK(channel_gather)(const struct channel_gather *gather);
void BLOCK(channel_finish)(const struct channel_finish *finish);
void BLOCK(channel_depthwise)(const struct channel_depthwise *depthwise);
void BLOCK(row_upsample)(const struct row_upsample *upsample);
void BLOCK(row_pool)(const struct row_pool *pool);
void BLOCK(pixel_maximum)(const struct pixel_maximum *maximum);
void BLOCK(half_maximum)(const struct half_maximum *maximum);
void BLOCK(row_round)(const struct row_round *round);
void BLOCK(row_widen)(const struct row_widen *widen);
void BLOCK(row_planes)(const struct row_planes *planes);
void BLOCK(row_function)(const struct row_function *function);

#endif
