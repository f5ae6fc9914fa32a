/* Convolutions with channels-last output: lanes are output channels. A 1×1 convolution reads its input where it lies, in either
 * layout; others read rows that are padded in scratch memory, a tap being an offset into them. */
#include <omp.h>
#include <string.h>

#include "runtime/kernels/planar/convolution.h"
#include "runtime/kernels/planar/pack.h"
#include "runtime/round.h"

enum { CHUNK_PIXELS = 224, TILE_ROWS = 6 /* on AVX2 */, CHUNK_BYTES = 128 << 10, SHALLOW = 32 };

struct geometry {
    int chunk, chunks;                 /* pixels (1×1), or rows, of an item; of an image */
    int parts;                         /* that the output channels of a chunk are cut into (1×1): an item is one of them */
    int rows;                          /* padded rows of an item */
    int taps, depth;                   /* neighbouring taps of a row are one of more depth */
    ptrdiff_t pitch;                   /* of a padded row */
    size_t result;                     /* floats of one thread's scratch before results that are not rounded yet */
    size_t thread;                     /* floats of one thread's scratch */
};

static void measure(const struct convolution *c, struct geometry *g)
{
    const struct convolution_shape *s = &c->shape;
    bool together = s->dilation[1] == 1;
    *g = (struct geometry){.parts = 1, .taps = (int)(s->kernel[0] * (together ? 1 : s->kernel[1])),
                           .depth = (int)(s->channels / s->groups * (together ? s->kernel[1] : 1))};
    if (c->way == WAY_POINTWISE_CHANNELS) {
        int64_t pixels = s->output[0] * s->output[1];
        for (g->chunk = CHUNK_PIXELS; g->chunk > 56 && s->batch * divide_up(pixels, g->chunk) < 4 * c->threads; g->chunk /= 2)
            ;
        g->chunks = (int)divide_up(pixels, g->chunk);
        if (g->chunks > 1 && c->blocks->lanes == 8) { /* of about the same size, and of whole tiles where no thread waits for another */
            g->chunk = (int)divide_up(pixels, g->chunks);
            if (c->threads == 1)
                g->chunk = (int)round_up(g->chunk, TILE_ROWS);
            g->chunks = (int)divide_up(pixels, g->chunk);
        }
        const int panels = convolution_panels(c), wanted = (int)divide_up(4 * c->threads, s->batch * g->chunks);
        g->parts = c->threads == 1 || c->pairs || c->y_rounded || wanted < 1 ? 1 : wanted < panels ? wanted : panels;
        g->depth = pack_depth(g->depth, c->pairs);
        const size_t pixel = c->pairs && !c->x_rounded ? (size_t)g->depth : convolution_skips_pixels(s) || c->x_rounded ? (size_t)s->channels : 0;
        g->result = aligned_floats((size_t)g->chunk * pixel + PLANAR_SLACK);
        g->thread = g->result + (c->y_rounded ? aligned_floats((size_t)g->chunk * (size_t)s->features + PLANAR_SLACK) : 0);
        return;
    }
    int64_t reach = (s->output[1] - 1) * s->stride[1] + (s->kernel[1] - 1) * s->dilation[1] + 1;
    g->pitch = (ptrdiff_t)(reach * s->channels);
    for (g->chunk = 8; g->chunk > 1; g->chunk--) {
        g->rows = (int)((g->chunk - 1) * s->stride[0] + (s->kernel[0] - 1) * s->dilation[0] + 1);
        if (g->rows * (int64_t)g->pitch * (int64_t)sizeof(float) <= CHUNK_BYTES && s->batch * divide_up(s->output[0], g->chunk) >= c->threads)
            break;
    }
    g->rows = (int)((g->chunk - 1) * s->stride[0] + (s->kernel[0] - 1) * s->dilation[0] + 1);
    g->chunks = (int)divide_up(s->output[0], g->chunk);
    g->result = aligned_floats((size_t)(g->rows * g->pitch) + PLANAR_SLACK);
    g->thread = g->result + (c->y_rounded ? aligned_floats((size_t)(s->output[1] * s->features) + PLANAR_SLACK) : 0);
}

static size_t offsets_bytes(const struct geometry *g)
{
    return aligned_bytes((size_t)g->taps * sizeof(ptrdiff_t));
}

size_t convolution_channels_scratch(const struct convolution *c)
{
    struct geometry g;
    measure(c, &g);
    return offsets_bytes(&g) + (size_t)c->threads * g.thread * sizeof(float);
}

/* The products of rows pixels, panel by panel, of an input that is filled in, for the pixels of the output from `at` on: part `part` of
 * the output channels. `own`: the thread's scratch. */
static void multiply(const struct convolution *c, const struct geometry *g, struct channel_product *product, ptrdiff_t at, int part, float *own)
{
    const struct convolution_shape *s = &c->shape;
    const int panels = convolution_panels(c), start = panels * part / g->parts, end = panels * (part + 1) / g->parts;
    const ptrdiff_t group_features = (ptrdiff_t)(s->features / s->groups);
    const ptrdiff_t group_step = (ptrdiff_t)(s->channels / s->groups) * product->step;
    const float *input = product->input;
    float *const output = c->y_rounded ? own + g->result : c->y + at * c->y_pitch;
    product->depth = g->depth;
    product->taps = g->taps;
    product->whole = panels == (int)s->groups;
    product->stride = product->residual_stride = c->y_pitch;
    product->activation = s->activation;
    for (int i = start; i < end; i++) {
        const int first = convolution_panel_first(c, i);
        product->columns = convolution_panel_columns(c, first);
        product->input = input + first / group_features * group_step;
        product->weights = c->weights + convolution_panel_offset(c, first);
        product->width = (ptrdiff_t)pack_width((size_t)product->columns);
        product->output = output + first;
        product->shift = c->bias ? c->bias + first : NULL;
        product->slope = c->slope ? c->slope + first : NULL;
        product->residual = c->residual ? c->residual + at * c->y_pitch + first : NULL;
        (c->pairs ? planar_pair_blocks() : c->blocks)->channel_product(product);
        convolution_follow(c, product->output, product->rows, product->columns, product->stride);
    }
    if (c->y_rounded)
        c->blocks->row_round(&(struct row_round){product->rows * c->y_pitch, output, c->rounded_y + at * c->y_pitch});
}

/* `count` pixels of x from element `at` on, `pitch` apart. */
static void copy_pixels(const struct convolution *c, float *to, ptrdiff_t at, ptrdiff_t channels, int64_t count, ptrdiff_t pitch)
{
    const float *from = c->x + (c->x_rounded ? 0 : at);
    if (c->x_rounded) {
        const bool dense = pitch == channels;
        for (int64_t i = 0; i < (dense ? 1 : count); i++)
            c->blocks->row_widen(&(struct row_widen){dense ? count * channels : channels, c->rounded_x + at + i * pitch, to + i * channels});
        return;
    }
    if (pitch == channels) {
        memcpy(to, from, (size_t)(count * channels) * sizeof *to);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        memcpy(to + i * channels, from + i * pitch, (size_t)channels * sizeof *to);
}

/* The pixels that `count` outputs from `first` on read, one behind the other. */
static void collect_pixels(const struct convolution *c, ptrdiff_t image, ptrdiff_t first, int count, float *to)
{
    const struct convolution_shape *s = &c->shape;
    const ptrdiff_t input = image * (ptrdiff_t)(s->input[0] * s->input[1]) * c->x_pitch;
    for (int64_t at = first, row; at < first + count; at += row, to += row * s->channels) {
        const int64_t x = at % s->output[1], left = first + count - at;
        row = s->output[1] - x < left ? s->output[1] - x : left;
        copy_pixels(c, to, input + (at / s->output[1] * s->stride[0] * s->input[1] + x * s->stride[1]) * c->x_pitch,
                    (ptrdiff_t)s->channels, row, (ptrdiff_t)s->stride[1] * c->x_pitch);
    }
}

static void run_pointwise(const struct convolution *c, const struct geometry *g, int64_t item, float *own)
{
    const struct convolution_shape *s = &c->shape;
    const int part = (int)(item % g->parts);
    ptrdiff_t pixels = (ptrdiff_t)(s->output[0] * s->output[1]), image = (ptrdiff_t)(item / g->parts / g->chunks);
    ptrdiff_t first = (ptrdiff_t)(item / g->parts % g->chunks) * g->chunk;
    bool plain = s->input_layout == LAYOUT_PLAIN;
    struct channel_product product = {.rows = pixels - first < g->chunk ? (int)(pixels - first) : g->chunk,
                                      .pixel = plain ? 1 : c->x_pitch, .step = plain ? pixels : 1};
    if (convolution_skips_pixels(s) || (c->x_rounded && !c->pairs)) {
        collect_pixels(c, image, first, product.rows, own);
        product.input = own;
        product.pixel = (ptrdiff_t)s->channels;
    } else {
        product.input = c->x + image * pixels * (plain ? (ptrdiff_t)s->channels : c->x_pitch) + first * product.pixel;
    }
    if (c->pairs && c->x_rounded) { /* they are pairs as they lie */
        product.input = (const float *)(const void *)(c->rounded_x + (image * pixels + first) * c->x_pitch);
        product.pixel = c->x_pitch / 2;
    } else if (c->pairs) {
        struct row_pairs pairs = {.pixels = product.rows, .channels = (int)s->channels, .planes = plain, .input = product.input,
                                  .pixel = product.pixel, .step = product.step, .output = own};
        product.input = own;
        product.pixel = pairs.pixel_out = plain ? 1 : g->depth;
        product.step = pairs.step_out = plain ? product.rows : 1;
        planar_pair_blocks()->row_pairs(&pairs);
    }
    multiply(c, g, &product, image * pixels + first, part, own);
}

static void fill_rows(const struct convolution *c, const struct geometry *g, ptrdiff_t image, int64_t first, float *own)
{
    const struct convolution_shape *s = &c->shape;
    ptrdiff_t plane = (ptrdiff_t)(s->input[0] * s->input[1]), channels = (ptrdiff_t)s->channels;
    const ptrdiff_t input = image * plane * (s->input_layout == LAYOUT_PLAIN ? channels : c->x_pitch);
    int64_t reach = g->pitch / channels, left = s->pad_begin[1] < reach ? s->pad_begin[1] : reach;
    int64_t width = reach - left < s->input[1] ? reach - left : s->input[1];
    for (int r = 0; r < g->rows; r++) {
        int64_t y = first * s->stride[0] - s->pad_begin[0] + r;
        float *to = own + r * g->pitch;
        if (y < 0 || y >= s->input[0]) {
            memset(to, 0, (size_t)g->pitch * sizeof *to);
            continue;
        }
        memset(to, 0, (size_t)(left * channels) * sizeof *to);
        memset(to + (left + width) * channels, 0, (size_t)((reach - left - width) * channels) * sizeof *to);
        to += left * channels;
        if (s->input_layout != LAYOUT_PLAIN) {
            copy_pixels(c, to, input + y * s->input[1] * c->x_pitch, channels, width, c->x_pitch);
            continue;
        }
        struct row_planes turn = {.pixels = (int)channels, .channels = (int)width, .input = c->x + input + y * s->input[1], .pixel = plane,
                                  .output = to, .plane = channels};
        c->blocks->row_planes(&turn);
    }
}

static void run_direct(const struct convolution *c, const struct geometry *g, int64_t item, float *own, const ptrdiff_t *offsets)
{
    const struct convolution_shape *s = &c->shape;
    ptrdiff_t image = (ptrdiff_t)(item / g->chunks);
    int64_t first = item % g->chunks * g->chunk, last = first + g->chunk < s->output[0] ? first + g->chunk : s->output[0];
    fill_rows(c, g, image, first, own);
    for (int64_t y = first; y < last; y++) {
        struct channel_product product = {.rows = (int)s->output[1], .pixel = (ptrdiff_t)(s->stride[1] * s->channels), .step = 1,
                                          .input = own + (y - first) * s->stride[0] * g->pitch, .offsets = offsets,
                                          .ahead = g->taps * g->depth <= SHALLOW && !c->y_rounded};
        multiply(c, g, &product, (ptrdiff_t)((image * s->output[0] + y) * s->output[1]), 0, own);
    }
}

void convolution_channels_run(const struct convolution *c)
{
    const struct convolution_shape *s = &c->shape;
    struct geometry g;
    if (c->way == WAY_DIRECT_CHANNELS && convolution_taps_pay(s) && !c->x_rounded && !c->y_rounded) {
        convolution_taps_run(c);
        return;
    }
    measure(c, &g);
    int64_t items = s->batch * g.chunks * g.parts;
    ptrdiff_t *offsets = c->scratch;
    float *threads = (float *)((char *)c->scratch + offsets_bytes(&g));
    for (int tap = 0; tap < g.taps; tap++) {
        int64_t across = g.taps / s->kernel[0];
        offsets[tap] = (ptrdiff_t)(tap / across * s->dilation[0] * g.pitch + tap % across * s->dilation[1] * s->channels);
    }
#pragma omp parallel num_threads(c->threads) if (items > 1)
    {
        float *own = threads + (size_t)omp_get_thread_num() * g.thread;
#pragma omp for schedule(dynamic, convolution_turn(c, items))
        for (int64_t item = 0; item < items; item++) {
            if (c->way == WAY_POINTWISE_CHANNELS)
                run_pointwise(c, &g, item, own);
            else
                run_direct(c, &g, item, own, offsets);
        }
    }
}
