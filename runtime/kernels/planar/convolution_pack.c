/* Weights of a convolution in the order in which its way reads them. */
#include "runtime/kernels/planar/convolution.h"
#include "runtime/kernels/planar/pack.h"

static int group_channels(const struct convolution *c)
{
    return (int)(c->shape.channels / c->shape.groups);
}

static int group_features(const struct convolution *c)
{
    return (int)(c->shape.features / c->shape.groups);
}

/* Products on channels-last data walk taps, and the channels of a tap: of a row of taps all at once where they are neighbours. */
static size_t depth_of(const struct convolution *c)
{
    return (size_t)(pack_depth(group_channels(c), c->pairs) * c->shape.kernel[0] * c->shape.kernel[1]);
}

static bool by_planes(const struct convolution *c)
{
    return c->way == WAY_POINTWISE_PLANES || c->way == WAY_DIRECT_PLANES;
}

/* Floats of a panel of `columns` output channels. */
static size_t panel_floats(const struct convolution *c, int columns)
{
    size_t depth = c->way == WAY_WINOGRAD ? WINOGRAD_INPUTS * WINOGRAD_INPUTS * (size_t)c->shape.channels : depth_of(c);
    return depth * pack_width((size_t)columns);
}

/* A panel as wide as a tile of registers is one stream; wider ones, of which a tile reads a part of each row, are no worse where they
 * fit in the first-level cache. */
int convolution_panel(const struct convolution *c)
{
    enum { TILE = 16, DEEP = 64 };
    const bool fits = group_features(c) % TILE == 0 || group_features(c) > PACK_PANEL;
    return c->blocks->lanes == TILE / 2 && group_channels(c) > DEEP && fits ? TILE : PACK_PANEL;
}

static int group_panels(const struct convolution *c)
{
    const int panel = convolution_panel(c);
    return (group_features(c) + panel - 1) / panel;
}

int convolution_panels(const struct convolution *c)
{
    return (int)c->shape.groups * group_panels(c);
}

int convolution_panel_first(const struct convolution *c, int index)
{
    return index / group_panels(c) * group_features(c) + index % group_panels(c) * convolution_panel(c);
}

int convolution_panel_columns(const struct convolution *c, int first)
{
    const int left = group_features(c) - first % group_features(c), panel = convolution_panel(c);
    return left < panel ? left : panel;
}

size_t convolution_panel_offset(const struct convolution *c, int first)
{
    const int panel = convolution_panel(c), features = group_features(c), whole = group_panels(c) - 1;
    const size_t group = panel_floats(c, panel) * (size_t)whole + panel_floats(c, features - whole * panel);
    return group * (size_t)(first / features) + panel_floats(c, panel) * (size_t)(first % features / panel);
}

const char *convolution_panel_name(const struct convolution *c)
{
    return !by_planes(c) && convolution_panel(c) != PACK_PANEL ? ":narrow" : "";
}

size_t convolution_packed_floats(const struct convolution *c)
{
    const int features = (int)c->shape.features, last = convolution_panel_first(c, convolution_panels(c) - 1);
    if (by_planes(c))
        return depth_of(c) * (((size_t)features + 3) / 4 * 4);
    if (c->way == WAY_DEPTHWISE)
        return depth_of(c) * pack_width((size_t)features);
    return convolution_panel_offset(c, last) + panel_floats(c, features - last);
}

static void pack_panel(const struct convolution *c, const float *weights, int columns, float *out)
{
    const struct convolution_shape *s = &c->shape;
    const int channels = group_channels(c);
    if (c->way == WAY_WINOGRAD) {
        pack_channel_winograd(columns, channels, pack_width((size_t)columns), weights, out);
        return;
    }
    int64_t taps = s->kernel[0] * s->kernel[1];
    struct pack_matrix matrix = {.values = weights, .rows = columns, .depth = channels,
                                 .row = (ptrdiff_t)(channels * taps), .step = (ptrdiff_t)taps, .pairs = c->pairs};
    for (int64_t tap = 0; tap < taps; tap++, matrix.values++)
        out += pack_channel_weights(&matrix, out);
}

void convolution_pack(const struct convolution *c, const float *weights, float *out)
{
    const int features = (int)c->shape.features, depth = (int)(group_channels(c) * c->shape.kernel[0] * c->shape.kernel[1]);
    if (by_planes(c) || c->way == WAY_DEPTHWISE) {
        const struct pack_matrix matrix = {.values = weights, .rows = features, .depth = depth, .row = depth, .step = 1};
        (by_planes(c) ? pack_plane_weights : pack_channel_weights)(&matrix, out);
        return;
    }
    for (int i = 0; i < convolution_panels(c); i++) {
        const int first = convolution_panel_first(c, i);
        pack_panel(c, weights + (ptrdiff_t)first * depth, convolution_panel_columns(c, first), out + convolution_panel_offset(c, first));
    }
}
