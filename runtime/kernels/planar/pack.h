/* Packing of convolution weights [M, C, 3, 3] or matrices for the blocks of micro.h. Each returns the floats that it wrote. */
#ifndef MITRAL_PLANAR_PACK_H
#define MITRAL_PLANAR_PACK_H

#include "runtime/kernels/planar/micro.h"

/* values[r * row + k * step] */
struct pack_matrix {
    const float *values;
    int rows, depth;
    ptrdiff_t row, step;
    bool pairs; /* packed as pairs of bfloat16 along the depth, which then has half as many entries */
};

/* Entries of the depth that `channels` are packed in. */
static inline int pack_depth(int channels, bool pairs)
{
    return pairs ? (channels + 1) / 2 : channels;
}

static inline size_t pack_width(size_t columns)
{
    return (columns + PLANAR_WIDTH - 1) / PLANAR_WIDTH * PLANAR_WIDTH;
}

/* [ceil(rows / 4)][depth][4] for plane_product. */
size_t pack_plane_weights(const struct pack_matrix *matrix, float *out);
/* [depth][pack_width(rows)] for channel_product. */
size_t pack_channel_weights(const struct pack_matrix *matrix, float *out);
/* Weights of many output channels are packed in panels of so many, one behind the other, so that each is read as one stream. */
enum { PACK_PANEL = 64 };
static inline int pack_panel_columns(int columns, int first)
{
    return columns - first < PACK_PANEL ? columns - first : PACK_PANEL;
}
/* Filters transformed along the rows: six products of depth 3·C (channel, then column) for plane_product; or of pairs of channels. */
size_t pack_plane_winograd(int outputs, int channels, const float *weights, float *out);
size_t pack_plane_winograd_pairs(int outputs, int channels, const float *weights, float *out);
/* The way back for gradients: those of a filter's six values to those of its three. */
void pack_winograd_gradient(const double values[WINOGRAD_INPUTS], double filter[3]);
/* The same of `count` filters in both directions: [36][pitch] values to [9][pitch]; values are overwritten. */
void pack_square_gradient(int count, int pitch, double *values, double *filters);
/* Filters transformed in both directions: thirty-six products of depth C for plane_batch. */
size_t pack_plane_square(int outputs, int channels, const float *weights, float *out);
/* The same for channel_batch, `width` ≥ outputs floats to a row. */
size_t pack_channel_winograd(int outputs, int channels, size_t width, const float *weights, float *out);

#endif
