/* planar.convolution: two-dimensional float32 convolutions (mitral.Convolution's inputs and attributes) by the blocks of micro.h. */
#ifndef MITRAL_PLANAR_CONVOLUTION_H
#define MITRAL_PLANAR_CONVOLUTION_H

#include "runtime/kernel.h"
#include "runtime/kernels/planar/micro.h"

/* What decides how a convolution is best run; sizes of −1 are not known. Layouts are enum layout. */
struct convolution_shape {
    int64_t batch, channels, features, groups;
    int64_t input[2], output[2], kernel[2], stride[2], dilation[2], pad_begin[2];
    int input_layout, output_layout, residual_layout;
    bool residual;
    bool function; /* an activation that is none of these follows */
    enum planar_activation activation;
};

enum convolution_way {
    WAY_NONE,
    WAY_POINTWISE_PLANES,   /* 1×1, plain output: lanes along the pixels */
    WAY_POINTWISE_CHANNELS, /* 1×1, channels-last output; of strides, channels-last input too */
    WAY_DIRECT_PLANES,      /* any, plain output: taps are offsets into padded rows */
    WAY_DIRECT_CHANNELS,    /* any, channels-last output */
    WAY_WINOGRAD,           /* 3×3 of stride 1, channels-last output: 36 products for 16 outputs */
    WAY_DEPTHWISE           /* a group for each channel, channels-last: lanes along the channels */
};

/* The best way that planar.convolution has; WAY_NONE when it has none (groups of anything but 1×1 to channels-last). */
enum convolution_way planar_convolution_way(const struct convolution_shape *shape);
/* Whether the channels-last input (of an even number of channels), or output, may be bfloat16 in memory. */
bool convolution_reads_rounded(const struct convolution_shape *shape);
bool convolution_writes_rounded(const struct convolution_shape *shape);
/* Whether what a thread holds of padded rows can be counted: windows, steps and paddings are attributes, which no tensor's size bounds. */
bool convolution_fits(const struct convolution_shape *shape);
/* Of 1×1 kernels without padding: whether not all pixels of the input are read. */
bool convolution_skips_pixels(const struct convolution_shape *shape);
/* Whether that way is likely to beat oneDNN's best in these layouts. */
bool planar_convolution_preferred(const struct convolution_shape *shape);
/* Plain layout costs this convolution nothing: few channels in or out, or 1×1. For the choice of layouts. */
bool planar_convolution_likes_planes(const struct convolution_shape *shape);

/* One of several maps whose channels, one after another, are the input's. */
struct convolution_part {
    const void *values; /* channels-last, dense */
    bool rounded;       /* bfloat16, else float32 */
    ptrdiff_t channels;
};
enum { CONVOLUTION_PARTS = 8 };

struct convolution {
    struct convolution_shape shape;
    enum convolution_way way;
    bool pairs; /* WAY_POINTWISE_CHANNELS: products of pairs of bfloat16, by planar_pair_blocks() */
    bool x_rounded, y_rounded; /* ways with channels-last output, of channels-last input: x, y is bfloat16 in memory */
    const struct planar_blocks *blocks;
    struct planar_function function; /* follows shape.activation, which is PLANAR_LINEAR then */
    int threads;
    const float *x, *weights, *bias, *residual, *slope; /* weights packed for the way */
    float *y;
    bool through; /* direct way with plain output: y, in whole lines and without a residual, is too large to be found in a cache later */
    const uint16_t *rounded_x; /* these, where they are bfloat16 */
    uint16_t *rounded_y;
    /* Channels-last data: floats from pixel to pixel of x, and of y and residual; more than the channels where the map is a part of
     * a wider one. */
    ptrdiff_t x_pitch, y_pitch;
    void *scratch;
    struct convolution_part parts[CONVOLUTION_PARTS]; /* in place of x, for Winograd */
    int part_count;                                   /* 0: there is x */
    bool joins;                                       /* parts are brought together first */
};

/* planar.convolution's inputs are X, W, bias?, residual?, slope? and further maps, whose channels follow X's: the call as one of a single
 * X (float32, without data; `inputs` beyond slope fall away). For as long as `out` is there. */
struct convolution_call {
    struct kernel_call call;
    mitral_value x;
    const mitral_value *inputs[5];
};
mitral_status convolution_as_one(const struct kernel_call *call, struct convolution_call *out);
/* What the parts are, in prepare, once the way is known; the scratch that bringing them together takes, before the way's own; and where
 * they are, in run, and that. */
mitral_status convolution_read_parts(const struct kernel_call *call, struct convolution *c);
size_t convolution_parts_scratch(const struct convolution *c); /* bytes */
void convolution_place_parts(const struct kernel_call *call, struct convolution *c);
/* The function, if there is one, of `rows` rows of finished output, `stride` apart. */
void convolution_follow(const struct convolution *c, float *values, int rows, int columns, ptrdiff_t stride);
size_t convolution_packed_floats(const struct convolution *c);
/* Of ways with channels-last output, weights are packed in panels of so many output channels of one group, one behind the other; how many
 * there are, which output channel one begins at, the columns of the one that begins at output channel `first`, and where it lies. */
int convolution_panel(const struct convolution *c);
int convolution_panels(const struct convolution *c);
int convolution_panel_first(const struct convolution *c, int index);
int convolution_panel_columns(const struct convolution *c, int first);
size_t convolution_panel_offset(const struct convolution *c, int first);
/* What the layout of these panels is called behind the way's name: "", or that they are narrow. */
const char *convolution_panel_name(const struct convolution *c);
void convolution_pack(const struct convolution *c, const float *weights, float *out);
/* How many items in a row a thread takes at a time: several turns for each, since threads are not all as fast. */
static inline int64_t convolution_turn(const struct convolution *c, int64_t items)
{
    enum { TURNS = 8 };
    return c->threads == 1 ? items : items / (TURNS * c->threads) + 1;
}
size_t convolution_planes_scratch(const struct convolution *c); /* bytes */
void convolution_planes_run(const struct convolution *c);
size_t convolution_channels_scratch(const struct convolution *c);
void convolution_channels_run(const struct convolution *c);
/* Of direct ways with channels-last output: whether so many taps read padding that they are better walked one by one. */
bool convolution_taps_pay(const struct convolution_shape *shape);
void convolution_taps_run(const struct convolution *c);
/* Whether Winograd's products ask for the weights of the next position meanwhile: those come from far, in a network that has many. Where
 * vectors take one load a cycle or are half as wide, loads are to spare. */
bool convolution_fetches_weights(void);
size_t convolution_winograd_scratch(const struct convolution *c);
void convolution_winograd_run(const struct convolution *c);
/* One row of output, counted over all images; what happens to it on its way out is the caller's to say. */
void convolution_depthwise_row(const struct convolution *c, int64_t row, const struct planar_finish *finish);
void convolution_depthwise_run(const struct convolution *c);

#endif
