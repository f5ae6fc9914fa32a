/* Convolutions with plain output: lanes are pixels of a row, each tap is an offset into rows that are padded, and apart by phase of
 * the stride, in scratch memory. */
#include <omp.h>
#include <string.h>

#include "runtime/kernels/planar/convolution.h"
#include "runtime/round.h"

enum { CHUNK_PIXELS = 448, CHUNK_BYTES = 256 << 10, OFFSETS = 256 };

struct geometry {
    int chunk, chunks;                 /* pixels (1×1), or rows, of an item; items of an image */
    int rows, phases;                  /* padded rows of an item; phases of the column stride */
    ptrdiff_t pitch, plane;            /* of a row's phase, of a channel's rows */
    size_t thread;                     /* floats of one thread's scratch */
};

static void measure(const struct convolution *c, struct geometry *g)
{
    const struct convolution_shape *s = &c->shape;
    *g = (struct geometry){.phases = 1};
    if (c->way == WAY_POINTWISE_PLANES) {
        int64_t pixels = s->output[0] * s->output[1];
        g->chunk = pixels < CHUNK_PIXELS ? (int)pixels : CHUNK_PIXELS;
        g->chunks = g->chunk ? (int)divide_up(pixels, g->chunk) : 0;
        g->plane = round_up(g->chunk, LINE_FLOATS);
        g->thread = s->input_layout == LAYOUT_PLAIN ? 0 : (size_t)(s->channels * g->plane) + PLANAR_SLACK;
        return;
    }
    g->phases = (int)s->stride[1];
    int64_t reach = (s->output[1] - 1) + ((s->kernel[1] - 1) * s->dilation[1]) / s->stride[1] + 2;
    g->pitch = round_up(reach, LINE_FLOATS) + LINE_FLOATS;
    for (g->chunk = 8; g->chunk > 1; g->chunk--) {
        g->rows = (int)((g->chunk - 1) * s->stride[0] + (s->kernel[0] - 1) * s->dilation[0] + 1);
        if (s->channels * g->rows * g->phases * g->pitch * (int64_t)sizeof(float) <= CHUNK_BYTES
            && s->batch * divide_up(s->output[0], g->chunk) >= c->threads)
            break;
    }
    g->rows = (int)((g->chunk - 1) * s->stride[0] + (s->kernel[0] - 1) * s->dilation[0] + 1);
    g->chunks = (int)divide_up(s->output[0], g->chunk);
    g->plane = g->rows * g->phases * g->pitch + LINE_FLOATS;
    g->thread = (size_t)(s->channels * g->plane) + PLANAR_SLACK + (s->input_layout == LAYOUT_PLAIN ? 0 : (size_t)(s->channels * s->input[1]));
}

/* The table of offsets comes first in the scratch memory, then what each thread has to itself. */
static size_t offsets_bytes(const struct convolution_shape *s)
{
    return aligned_bytes((size_t)(s->channels * s->kernel[0] * s->kernel[1]) * sizeof(ptrdiff_t));
}

size_t convolution_planes_scratch(const struct convolution *c)
{
    struct geometry g;
    measure(c, &g);
    return offsets_bytes(&c->shape) + (size_t)c->threads * g.thread * sizeof(float);
}

/* The finish of a product of which `product` is filled in but for that. */
static void multiply(const struct convolution *c, struct plane_product *product, const ptrdiff_t *offsets, int depth, ptrdiff_t at)
{
    product->weight_step = depth;
    product->through = c->through && depth <= OFFSETS; /* what parts are added to is read again at once */
    for (int done = 0; done < depth; done += OFFSETS) {
        bool last = depth - done <= OFFSETS;
        product->depth = last ? depth - done : OFFSETS;
        product->weights = c->weights + 4 * done;
        product->offsets = offsets + done;
        product->accumulate = done > 0;
        product->shift = c->bias;
        product->activation = last ? c->shape.activation : PLANAR_LINEAR;
        product->slope = c->slope;
        product->residual = last && c->residual ? c->residual + at : NULL;
        product->residual_stride = product->stride;
        c->blocks->plane_product(product);
    }
    convolution_follow(c, product->output, product->rows, product->columns, product->stride);
}

/* ---- 1×1 ----------------------------------------------------------------------------------------------------------------- */

static void run_pointwise(const struct convolution *c, const struct geometry *g, int64_t item, float *own, const ptrdiff_t *offsets)
{
    const struct convolution_shape *s = &c->shape;
    ptrdiff_t pixels = (ptrdiff_t)(s->output[0] * s->output[1]), image = (ptrdiff_t)(item / g->chunks);
    ptrdiff_t first = (ptrdiff_t)(item % g->chunks) * g->chunk;
    int count = pixels - first < g->chunk ? (int)(pixels - first) : g->chunk;
    ptrdiff_t at = image * s->features * pixels + first;
    const float *input = c->x + image * s->channels * pixels;
    if (s->input_layout == LAYOUT_PLAIN) {
        input += first;
    } else {
        struct row_planes turn = {.pixels = count, .channels = (int)s->channels, .input = input + first * s->channels,
                                  .pixel = s->channels, .output = own, .plane = g->plane};
        c->blocks->row_planes(&turn);
        input = own;
    }
    struct plane_product product = {.rows = (int)s->features, .columns = count, .input = input, .output = c->y + at, .stride = pixels,
                                    .prefetch = s->input_layout == LAYOUT_PLAIN ? 3 * LINE_FLOATS : 0};
    multiply(c, &product, offsets, (int)s->channels, at);
}

/* ---- any kernel ---------------------------------------------------------------------------------------------------------- */

/* Column x of the padded row: where phase and place of the stride put it. */
static void place_row(const struct convolution_shape *s, const struct geometry *g, const float *from, float *to)
{
    int64_t pad = s->pad_begin[1], width = s->input[1];
    if (g->phases == 1) {
        int64_t fits = g->pitch - pad < width ? g->pitch - pad : width;
        if (fits > 0)
            memcpy(to + pad, from, (size_t)fits * sizeof *to);
        return;
    }
    const ptrdiff_t phases = g->phases;
    for (ptrdiff_t phase = 0; phase < phases; phase++, to += g->pitch) {
        const ptrdiff_t start = ((phase - pad) % phases + phases) % phases, place = (start + pad) / phases;
        ptrdiff_t count = start < width ? (width - start + phases - 1) / phases : 0;
        count = count < g->pitch - place ? count : g->pitch - place;
        if (phases == 2)
            for (ptrdiff_t i = 0; i < count; i++) /* a constant step: the compiler makes shuffles of it */
                to[place + i] = from[start + 2 * i];
        else
            for (ptrdiff_t i = 0; i < count; i++)
                to[place + i] = from[start + phases * i];
    }
}

static void fill_rows(const struct convolution *c, const struct geometry *g, ptrdiff_t image, int64_t first, float *own)
{
    const struct convolution_shape *s = &c->shape;
    ptrdiff_t plane = (ptrdiff_t)(s->input[0] * s->input[1]);
    const float *input = c->x + image * s->channels * plane;
    float *turned = own + s->channels * g->plane + PLANAR_SLACK;
    for (int64_t ch = 0; ch < s->channels; ch++)
        memset(own + ch * g->plane, 0, (size_t)g->plane * sizeof *own);
    for (int r = 0; r < g->rows; r++) {
        int64_t y = first * s->stride[0] - s->pad_begin[0] + r;
        if (y < 0 || y >= s->input[0])
            continue;
        const float *row = input + y * s->input[1];
        ptrdiff_t step = plane;
        if (s->input_layout != LAYOUT_PLAIN) {
            struct row_planes turn = {.pixels = (int)s->input[1], .channels = (int)s->channels,
                                      .input = input + y * s->input[1] * s->channels, .pixel = s->channels, .output = turned,
                                      .plane = s->input[1]};
            c->blocks->row_planes(&turn);
            row = turned;
            step = s->input[1];
        }
        for (int64_t ch = 0; ch < s->channels; ch++)
            place_row(s, g, row + ch * step, own + ch * g->plane + r * g->phases * g->pitch);
    }
}

static void run_direct(const struct convolution *c, const struct geometry *g, int64_t item, float *own, const ptrdiff_t *offsets)
{
    const struct convolution_shape *s = &c->shape;
    ptrdiff_t plane = (ptrdiff_t)(s->output[0] * s->output[1]), image = (ptrdiff_t)(item / g->chunks);
    int64_t first = item % g->chunks * (int64_t)g->chunk;
    int64_t last = first + g->chunk < s->output[0] ? first + g->chunk : s->output[0];
    fill_rows(c, g, image, first, own);
    for (int64_t y = first; y < last; y++) {
        ptrdiff_t at = image * s->features * plane + y * s->output[1];
        struct plane_product product = {.rows = (int)s->features, .columns = (int)s->output[1],
                                        .input = own + (y - first) * s->stride[0] * g->phases * g->pitch, .output = c->y + at,
                                        .stride = plane};
        multiply(c, &product, offsets, (int)(s->channels * s->kernel[0] * s->kernel[1]), at);
    }
}

/* Of each channel, row and column of the kernel. */
static void place_taps(const struct convolution *c, const struct geometry *g, ptrdiff_t *offsets)
{
    const struct convolution_shape *s = &c->shape;
    ptrdiff_t plane = c->way == WAY_POINTWISE_PLANES && s->input_layout == LAYOUT_PLAIN ? (ptrdiff_t)(s->input[0] * s->input[1]) : g->plane;
    for (int64_t ch = 0; ch < s->channels; ch++)
        for (int64_t i = 0; i < s->kernel[0]; i++)
            for (int64_t j = 0; j < s->kernel[1]; j++) {
                int64_t column = j * s->dilation[1];
                *offsets++ = ch * plane + (i * s->dilation[0] * g->phases + column % g->phases) * g->pitch + column / g->phases;
            }
}

void convolution_planes_run(const struct convolution *c)
{
    struct geometry g;
    measure(c, &g);
    int64_t items = c->shape.batch * g.chunks;
    ptrdiff_t *offsets = c->scratch;
    float *threads = (float *)((char *)c->scratch + offsets_bytes(&c->shape));
    place_taps(c, &g, offsets);
#pragma omp parallel num_threads(c->threads) if (items > 1)
    {
        float *own = threads + (size_t)omp_get_thread_num() * g.thread;
#pragma omp for schedule(dynamic, convolution_turn(c, items))
        for (int64_t item = 0; item < items; item++) {
            if (c->way == WAY_POINTWISE_PLANES)
                run_pointwise(c, &g, item, own, offsets);
            else
                run_direct(c, &g, item, own, offsets);
        }
    }
}
