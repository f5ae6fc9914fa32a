/* Convolutions whose taps reach far over the edge, as dilated ones on small maps do: tap by tap, each for those pixels alone that it
 * does not read padding for. Weights pass through the cache once a panel, however many rows there are. */
#include <omp.h>

#include "runtime/kernels/planar/convolution.h"
#include "runtime/kernels/planar/pack.h"

struct range {
    int64_t first, last; /* output pixels, from first to before last */
};

/* Of `size` outputs of stride 1 those that a tap `shift` pixels away reads inside an input of `input`. */
static struct range range_of(int64_t size, int64_t input, int64_t shift)
{
    struct range range = {shift < 0 ? -shift : 0, input - shift < size ? input - shift : size};
    range.first = range.first < range.last ? range.first : range.last > 0 ? range.last : 0;
    range.last = range.last > range.first ? range.last : range.first;
    return range;
}

static struct range reach(const struct convolution_shape *s, int axis, int64_t tap)
{
    return range_of(s->output[axis], s->input[axis], tap * s->dilation[axis] - s->pad_begin[axis]);
}

/* Products with pixels, not with padding, of one tap along an axis summed over the taps. */
static int64_t useful(const struct convolution_shape *s, int axis)
{
    int64_t sum = 0;
    for (int64_t tap = 0; tap < s->kernel[axis]; tap++) {
        struct range range = reach(s, axis, tap);
        sum += range.last - range.first;
    }
    return sum;
}

/* The tap that all pixels have; -1: none. */
static int64_t whole_tap(const struct convolution_shape *s, int axis)
{
    for (int64_t tap = 0; tap < s->kernel[axis]; tap++) {
        struct range range = reach(s, axis, tap);
        if (range.last - range.first == s->output[axis])
            return tap;
    }
    return -1;
}

bool convolution_taps_pay(const struct convolution_shape *s)
{
    if (s->groups != 1 || s->channels < 64 || s->stride[0] != 1 || s->stride[1] != 1 || s->output[0] < 1 || s->output[1] < 1
        || s->input[0] < 1 || s->input[1] < 1 || s->input_layout != LAYOUT_CHANNELS_LAST || s->output_layout != LAYOUT_CHANNELS_LAST
        || whole_tap(s, 0) < 0 || whole_tap(s, 1) < 0)
        return false;
    double share = (double)useful(s, 0) * (double)useful(s, 1)
                   / ((double)(s->output[0] * s->kernel[0]) * (double)(s->output[1] * s->kernel[1]));
    return share < 0.75;
}

/* What is done of the output: rows of one image by the columns of one panel. */
struct part {
    ptrdiff_t image;
    int64_t first_row, last_row;
    int first, columns; /* output channels */
};

static void add_tap(const struct convolution *c, const struct part *part, int64_t i, int64_t j, bool last)
{
    const struct convolution_shape *s = &c->shape;
    const struct range rows = reach(s, 0, i), columns = reach(s, 1, j);
    const ptrdiff_t width = (ptrdiff_t)pack_width((size_t)part->columns);
    struct channel_product product = {
        .rows = (int)(columns.last - columns.first), .columns = part->columns, .depth = (int)s->channels, .taps = 1, .pixel = c->x_pitch,
        .step = 1, .width = width, .stride = c->y_pitch, .residual_stride = c->y_pitch, .accumulate = true,
        .weights = c->weights + convolution_panel_offset(c, part->first) + (ptrdiff_t)(i * s->kernel[1] + j) * s->channels * width,
        .slope = c->slope ? c->slope + part->first : NULL, .activation = last ? s->activation : PLANAR_LINEAR};
    for (int64_t y = rows.first > part->first_row ? rows.first : part->first_row; y < rows.last && y < part->last_row; y++) {
        const int64_t from_y = y + i * s->dilation[0] - s->pad_begin[0], from_x = columns.first + j * s->dilation[1] - s->pad_begin[1];
        const ptrdiff_t at = (ptrdiff_t)((part->image * s->output[0] + y) * s->output[1] + columns.first) * c->y_pitch + part->first;
        product.input = c->x + (ptrdiff_t)((part->image * s->input[0] + from_y) * s->input[1] + from_x) * c->x_pitch;
        product.output = c->y + at;
        product.residual = last && c->residual ? c->residual + at : NULL;
        if (product.rows > 0)
            c->blocks->channel_product(&product);
        if (last)
            convolution_follow(c, product.output, product.rows, product.columns, product.stride);
    }
}

static void start_part(const struct convolution *c, const struct part *part)
{
    const struct convolution_shape *s = &c->shape;
    for (int64_t pixel = part->first_row * s->output[1]; pixel < part->last_row * s->output[1]; pixel++) {
        float *to = c->y + (ptrdiff_t)(part->image * s->output[0] * s->output[1] + pixel) * c->y_pitch + part->first;
        for (int k = 0; k < part->columns; k++)
            to[k] = c->bias ? c->bias[part->first + k] : 0;
    }
}

void convolution_taps_run(const struct convolution *c)
{
    const struct convolution_shape *s = &c->shape;
    const int width = convolution_panel(c);
    const int64_t panels = (s->features + width - 1) / width, whole[2] = {whole_tap(s, 0), whole_tap(s, 1)};
    int64_t bands = (2 * c->threads + panels * s->batch - 1) / (panels * s->batch);
    if (c->threads == 1 || bands < 1)
        bands = 1;
    if (bands > s->output[0])
        bands = s->output[0];
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t item = 0; item < panels * s->batch * bands; item++) {
        const int64_t band = item % bands, panel = item / bands % panels;
        const struct part part = {.image = (ptrdiff_t)(item / bands / panels), .first_row = s->output[0] * band / bands,
                                  .last_row = s->output[0] * (band + 1) / bands, .first = (int)panel * width,
                                  .columns = convolution_panel_columns(c, (int)panel * width)};
        start_part(c, &part);
        for (int64_t i = 0; i < s->kernel[0]; i++)
            for (int64_t j = 0; j < s->kernel[1]; j++)
                if (i != whole[0] || j != whole[1])
                    add_tap(c, &part, i, j, false);
        add_tap(c, &part, whole[0], whole[1], true); /* it alone reaches every pixel: it finishes them */
    }
}
