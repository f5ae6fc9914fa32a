/* Convolutions that have a group for each channel, on channels-last data: row by row of the output. */
#include "runtime/kernels/planar/convolution.h"
#include "runtime/kernels/planar/pack.h"

void convolution_depthwise_row(const struct convolution *c, int64_t row, const struct planar_finish *finish)
{
    const struct convolution_shape *s = &c->shape;
    struct channel_depthwise depthwise = {.pixels = (int)s->output[1], .channels = (int)s->features,
                                          .kernel = {(int)s->kernel[0], (int)s->kernel[1]}, .stride = (int)s->stride[1],
                                          .dilation = (int)s->dilation[1], .pad = (int)s->pad_begin[1], .columns = (int)s->input[1],
                                          .pitch = c->x_pitch, .weights = c->weights, .width = (ptrdiff_t)pack_width((size_t)s->features),
                                          .finish = *finish};
    const int64_t image = row / s->output[0], top = row % s->output[0] * s->stride[0] - s->pad_begin[0];
    for (int64_t i = 0; i < s->kernel[0]; i++) {
        const int64_t y = top + i * s->dilation[0];
        depthwise.rows[i] = y < 0 || y >= s->input[0] ? NULL : c->x + (ptrdiff_t)((image * s->input[0] + y) * s->input[1]) * c->x_pitch;
    }
    c->blocks->channel_depthwise(&depthwise);
}

/* Rows a dilation apart follow each other: what they share is still in the second cache level. */
static int64_t row_at(int64_t index, int64_t rows, int64_t step)
{
    const int64_t least = rows / step, longer = rows % step, split = longer * (least + 1);
    return index < split ? index / (least + 1) + index % (least + 1) * step
                         : longer + (index - split) / least + (index - split) % least * step;
}

void convolution_depthwise_run(const struct convolution *c)
{
    const struct convolution_shape *s = &c->shape;
    const int64_t rows = s->output[0], step = s->dilation[0] % s->stride[0] == 0 ? s->dilation[0] / s->stride[0] : 1;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t index = 0; index < s->batch * rows; index++) {
        const int64_t row = index / rows * rows + row_at(index % rows, rows, step);
        const ptrdiff_t at = (ptrdiff_t)(row * s->output[1]) * c->y_pitch;
        const struct planar_finish finish = {.output = c->y + at, .residual = c->residual ? c->residual + at : NULL, .step = c->y_pitch,
                                             .shift = c->bias, .slope = c->slope, .activation = s->activation};
        convolution_depthwise_row(c, row, &finish);
        convolution_follow(c, c->y + at, (int)s->output[1], (int)s->features, c->y_pitch);
    }
}
