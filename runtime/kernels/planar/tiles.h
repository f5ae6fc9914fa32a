/* Winograd's tiles along one direction: 4 outputs, dilation apart, of 6 inputs. Tile i of a run of outputs begins at phase i % dilation of
 * the (i / dilation)-th stretch of 4 · dilation outputs. */
#ifndef MITRAL_PLANAR_TILES_H
#define MITRAL_PLANAR_TILES_H

#include "runtime/kernels/planar/micro.h"

/* How many cover `length` outputs. */
static inline int64_t tiles_along(int64_t length, int64_t dilation)
{
    const int64_t rest = length % (WINOGRAD_OUTPUTS * dilation);
    return length / (WINOGRAD_OUTPUTS * dilation) * dilation + (rest < dilation ? rest : dilation);
}

static inline int64_t tile_start(int64_t index, int64_t dilation)
{
    return index / dilation * WINOGRAD_OUTPUTS * dilation + index % dilation;
}

/* Bit i: input i of those from `first` on lies within [0, size). */
static inline uint8_t tile_inputs_inside(int64_t first, int64_t dilation, int64_t size)
{
    unsigned bits = 0;
    if (first >= 0 && first + (WINOGRAD_INPUTS - 1) * dilation < size)
        return (1 << WINOGRAD_INPUTS) - 1;
    for (int i = 0; i < WINOGRAD_INPUTS; i++)
        bits |= (unsigned)(first + i * dilation >= 0 && first + i * dilation < size) << i;
    return (uint8_t)bits;
}

/* How many of the outputs from `start` on lie before `end`. */
static inline uint8_t tile_outputs_inside(int64_t start, int64_t dilation, int64_t end)
{
    if (end - start > (WINOGRAD_OUTPUTS - 1) * dilation)
        return WINOGRAD_OUTPUTS;
    return (uint8_t)((end - start + dilation - 1) / dilation);
}

#endif
