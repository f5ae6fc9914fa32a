/* Which way a convolution goes, and whether that is likely to be better than oneDNN's best. */
#include "runtime/kernels/planar/convolution.h"
#include "runtime/kernels/planar/tiles.h"
#include "runtime/kernels/reference/convolution.h"

/* Below AVX-512 oneDNN's blocks are as wide as ours, and its choice of them richer. */
static bool is_narrow(void)
{
    return cpu_isa() < ISA_AVX512;
}

/* Wide vectors at full speed, as on Intel's: memory is slow beside them, and oneDNN's own 1×1 products are as good as ours. */
static bool is_fast(void)
{
    return !is_narrow() && !cpu_splits_vectors(16);
}

static bool has_one_tap(const struct convolution_shape *s)
{
    return s->kernel[0] == 1 && s->kernel[1] == 1 && s->pad_begin[0] == 0 && s->pad_begin[1] == 0;
}

bool convolution_skips_pixels(const struct convolution_shape *s)
{
    return s->input[0] != s->output[0] || s->input[1] != s->output[1];
}

static bool is_pointwise(const struct convolution_shape *s)
{
    return has_one_tap(s) && s->stride[0] == 1 && s->stride[1] == 1 && !convolution_skips_pixels(s);
}

/* Of some of the pixels: their channels are brought together first, which is worth it where the products are our best ones. */
static bool is_strided_pointwise(const struct convolution_shape *s)
{
    return has_one_tap(s) && is_narrow() && s->channels > 16 && s->input_layout == LAYOUT_CHANNELS_LAST
           && s->output_layout == LAYOUT_CHANNELS_LAST && (s->output[0] - 1) * s->stride[0] < s->input[0]
           && (s->output[1] - 1) * s->stride[1] < s->input[1];
}

/* A group for each channel. */
static bool is_depthwise(const struct convolution_shape *s)
{
    return s->groups > 1 && s->groups == s->channels && s->groups == s->features && s->kernel[0] <= DEPTHWISE_ROWS
           && s->input_layout == LAYOUT_CHANNELS_LAST && s->output_layout == LAYOUT_CHANNELS_LAST;
}

static bool is_3x3(const struct convolution_shape *s)
{
    return s->kernel[0] == 3 && s->kernel[1] == 3 && s->stride[0] == 1 && s->stride[1] == 1 && s->dilation[0] == s->dilation[1];
}

bool convolution_fetches_weights(void)
{
    return !is_fast();
}

/* Of a layer in both channels: so many that their transforms still are in a cache when the next run comes. */
static int64_t cached_weights(void)
{
    return !is_narrow() && !is_fast() ? 64 * 1024 : 16 * 1024;
}

/* Multiplications saved against weights that are four times as large: in units of one multiplication, fetching a weight from
 * memory costs about sixteen, more where vectors are fast, and transforms a quarter, or half, of the products. */
static bool winograd_pays(const struct convolution_shape *s)
{
    if (!is_3x3(s) || s->channels < 12 || s->features < 12)
        return false;
    if (s->output[0] < 0 || s->output[1] < 0)
        return true;
    double bytes = 144.0 * (double)(s->channels * s->features);
    if (!convolution_fetches_weights() && bytes > 16e6 && s->batch * s->output[0] * s->output[1] < 400)
        return false; /* all the time would go into waiting for weights */
    double tiles = (double)(tiles_along(s->output[0], s->dilation[0]) * tiles_along(s->output[1], s->dilation[1]) * s->batch);
    double pixels = (double)(s->output[0] * s->output[1] * s->batch), far = is_fast() ? 40 : 16;
    const double fetch = s->channels * s->features > cached_weights() ? far : 2, transforms = is_fast() ? 1.5 : 1.25;
    return 36 * tiles * transforms + 36 * fetch < 9 * pixels + 9 * fetch;
}

enum convolution_way planar_convolution_way(const struct convolution_shape *s)
{
    if (s->residual && s->residual_layout != s->output_layout)
        return WAY_NONE;
    bool planes = s->output_layout == LAYOUT_PLAIN;
    if (is_depthwise(s))
        return WAY_DEPTHWISE;
    if (is_strided_pointwise(s) || (s->groups != 1 && is_pointwise(s) && !planes))
        return WAY_POINTWISE_CHANNELS;
    if (s->groups != 1)
        return WAY_NONE;
    if (is_pointwise(s))
        return planes ? WAY_POINTWISE_PLANES : WAY_POINTWISE_CHANNELS;
    if (planes)
        return WAY_DIRECT_PLANES;
    return winograd_pays(s) && s->input_layout == LAYOUT_CHANNELS_LAST ? WAY_WINOGRAD : WAY_DIRECT_CHANNELS;
}

bool planar_convolution_likes_planes(const struct convolution_shape *s)
{
    return s->groups == 1 && (s->channels <= 4 || s->features <= 8 || (is_pointwise(s) && s->channels <= 64));
}

/* Whether oneDNN has code for first layers of this kind (kernels of up to seven columns) that beats ours on narrow vectors. 3×3 of one
 * channel wait for memory either way. */
static bool onednn_has_first(const struct convolution_shape *s)
{
    return s->kernel[1] <= 7 && (s->channels == 1 ? s->kernel[1] > 3 : s->features > 16);
}

/* Whether tiles of registers have too few rows. */
static bool has_few_pixels(const struct convolution_shape *s)
{
    return s->output[0] >= 0 && s->output[1] >= 0 && s->output[0] * s->output[1] < 16;
}

/* Whether its vectors would mostly be empty: depthwise convolutions, and nearly so. */
static bool has_thin_groups(const struct convolution_shape *s)
{
    return s->groups > 1 && (s->channels / s->groups < 4 || s->features / s->groups < 8);
}

/* Padding that is read at the end of rows; where sizes are not known, as much as at their beginning. */
static int64_t pad_end(const struct convolution_shape *s)
{
    const int64_t reach = (s->kernel[1] - 1) * s->dilation[1] + 1;
    const bool known = s->input[1] >= 0 && s->output[1] >= 0;
    return known ? (s->output[1] - 1) * s->stride[1] + reach - s->input[1] - s->pad_begin[1] : s->pad_begin[1];
}

/* What oneDNN could only run in one thread for an image. */
static bool has_usual_window(const struct convolution_shape *s)
{
    return convolution_window_is_usual(s->kernel[1], s->dilation[1], s->pad_begin[1], pad_end(s));
}

/* oneDNN's code for dilated ones takes as many columns of padding on a side as it has sums for pixels. Beyond, it goes by gemm, which takes 15 to 50
 * times as long as ours. */
static bool onednn_lacks_depthwise(const struct convolution_shape *s)
{
    const int64_t most = is_narrow() ? 4 : 6;
    return (s->dilation[0] > 1 || s->dilation[1] > 1) && (s->pad_begin[1] > most || pad_end(s) > most);
}

bool planar_convolution_preferred(const struct convolution_shape *s)
{
    switch (planar_convolution_way(s)) {
    case WAY_POINTWISE_CHANNELS:
        if (is_narrow() && !has_few_pixels(s))
            return !has_thin_groups(s);
        if (s->groups != 1 || (is_fast() && s->channels >= 16 && s->features >= 16))
            return false;
        /* fall through */
    case WAY_POINTWISE_PLANES:
        return s->channels <= 512 && !(is_narrow() && s->channels > 32 && s->channels * s->features > 16 * 1024);
    case WAY_DIRECT_PLANES:
        return s->channels * s->kernel[0] * s->kernel[1] <= 256 || s->features <= 8;
    case WAY_DIRECT_CHANNELS:
        return (s->channels <= 4 && !(is_narrow() && onednn_has_first(s))) || convolution_taps_pay(s) || !has_usual_window(s);
    case WAY_WINOGRAD:
        return true;
    case WAY_DEPTHWISE:
        return onednn_lacks_depthwise(s);
    case WAY_NONE:
        break;
    }
    return false;
}

bool convolution_reads_rounded(const struct convolution_shape *s)
{
    const enum convolution_way way = planar_convolution_way(s);
    return way == WAY_WINOGRAD || way == WAY_POINTWISE_CHANNELS || way == WAY_DIRECT_CHANNELS;
}

/* Winograd's results are rounded as they are made, and functions come after that. */
bool convolution_writes_rounded(const struct convolution_shape *s)
{
    return convolution_reads_rounded(s) && !(s->function && planar_convolution_way(s) == WAY_WINOGRAD);
}

bool convolution_fits(const struct convolution_shape *s)
{
    enum { MOST_ROWS = 8, MORE_COLUMNS = 64 };
    const double outputs[2] = {MOST_ROWS, (double)s->output[1] + MORE_COLUMNS};
    double floats = (double)s->channels;
    for (int i = 0; i < 2; i++) {
        const double reach = outputs[i] * (double)s->stride[i] + (double)(s->kernel[i] - 1) * (double)s->dilation[i] + 1;
        if (reach > INT32_MAX / 2)
            return false;
        floats *= reach;
    }
    return floats < 0x1p44;
}
