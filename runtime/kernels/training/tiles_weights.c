/* training.tiles_weights: X, dY, like? → dW, dB?: weight gradients of convolutions of stride 1, operands rounded to bfloat16 and their products
 * summed by AMX in float32. An item is a band of rows of an image, or several small images: of X its pixels in pairs, channel beside channel; of
 * dY rows of pixels, which each tap reads shifted. Threads share out the sums of every item, which each are added to in the items' order: the
 * number of threads decides nothing. */
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "runtime/kernels/training/convolution.h"
#include "runtime/kernels/training/tiles.h"

enum { LINE = 32, BLOCK = 2 * TILE };

struct state {
    struct slide slide;
    const struct tile_blocks *blocks;
    int threads, taps;
    int64_t channel_tiles, feature_tiles, band, bands, together, items;
    ptrdiff_t pitch, lead;              /* pixels of a row; before the first one of dY's */
    ptrdiff_t pixels, turned;           /* pixels of a band (or image) that are summed over; lanes that hold them for 32 channels */
    ptrdiff_t segment, plane;           /* of dY: pixels of a band with what taps reach; of a feature */
    size_t sums, x_bytes, gradient_bytes;
    bool wants_weights, wants_bias;
};

/* A row of X ends in zeros wherever a tap would read of dY what belongs to another row. */
static void measure(struct state *state)
{
    const struct slide *s = &state->slide;
    state->taps = (int)(s->kernel[0] * s->kernel[1]);
    state->channel_tiles = divide_up(s->channels, TILE);
    state->feature_tiles = divide_up(s->features, TILE);
    state->lead = (ptrdiff_t)larger(0, slide_reach(s, 1) - s->pad[1]);
    state->pitch = (ptrdiff_t)round_up(larger(s->input[1] + s->pad[1], s->output[1] + state->lead), 2);
    const int64_t row = 2 * TILE * state->pitch * (state->channel_tiles + state->feature_tiles), fits = TILE_BUFFER_BYTES / row;
    state->bands = tile_bands(s->input[0], fits, &state->band);
    state->pixels = (ptrdiff_t)round_up(state->band * state->pitch, TILE_DEPTH);
    state->turned = (state->pixels + 2 * TILE_DEPTH) / 2 * BLOCK;
    state->segment = state->lead + (ptrdiff_t)(s->pad[1] + slide_reach(s, 0) * state->pitch) + state->pixels + TILE_DEPTH;
    const int64_t images = fits / state->band;
    state->together = state->bands > 1 ? 1 : larger(1, smaller(images, s->batch));
    state->items = divide_up(s->batch, state->together) * state->bands;
    /* An odd number of cache lines, so that features do not share their places in the cache. */
    state->plane = (ptrdiff_t)(divide_up(state->together * state->segment, LINE) | 1) * LINE;
    state->sums = (size_t)(state->taps * state->channel_tiles * state->feature_tiles) * TILE_SUMS * sizeof(float);
    state->x_bytes = (size_t)(state->together * state->turned * divide_up(state->channel_tiles, 2)) * sizeof(uint32_t);
    state->gradient_bytes = (size_t)(state->feature_tiles * TILE * state->plane) * sizeof(uint16_t);
}

static mitral_status shape(struct kernel_call *call)
{
    mitral_tensor w;
    struct slide slide;
    TRY(slide_of_weights(call, &w, &slide));
    call_set_output(call, 0, MITRAL_FLOAT, w.rank, w.dims);
    call_set_output(call, 1, MITRAL_FLOAT, 1, w.dims);
    return MITRAL_OK;
}

static mitral_status prepare(struct kernel_call *call, void **out, size_t *scratch_bytes)
{
    mitral_tensor w;
    struct slide slide;
    TRY(slide_of_weights(call, &w, &slide));
    const struct tile_blocks *blocks = training_tile_blocks();
    if (!blocks || slide.stride[0] != 1 || slide.stride[1] != 1)
        return call_fail(call, MITRAL_UNSUPPORTED, "a CPU with AMX and steps of 1 expected");
    struct state *state = mitral_allocate(call->context, sizeof *state);
    if (!state)
        return MITRAL_NO_MEMORY;
    *state = (struct state){.slide = slide, .blocks = blocks, .threads = call->threads > 0 ? call->threads : 1,
                            .wants_weights = call_output(call, 0) != NULL, .wants_bias = call_output(call, 1) != NULL};
    if (slide.channels * slide.features * slide.input[0] * slide.input[1] > 0) {
        measure(state);
        *scratch_bytes = state->sums + state->x_bytes + state->gradient_bytes;
    }
    *out = state;
    return MITRAL_OK;
}

static void release(mitral_context *context, void *state)
{
    mitral_release(context, state);
}

/* ---- an item --------------------------------------------------------------------------------------------------------------- */

struct operands {
    const float *x, *dy;
    float *sums;
    uint32_t *turned;
    uint16_t *gradient;
};

/* Sixteen channels of a band of X. Rows are whole groups of pixels: each writes beyond its end what the next writes anew. */
static void spread_channels(const struct state *state, const float *image, int64_t tile, int64_t first, int64_t rows, uint32_t *to)
{
    const struct slide *s = &state->slide;
    const ptrdiff_t plane = (ptrdiff_t)(s->input[0] * s->input[1]), pitch = BLOCK;
    const int64_t left = s->channels - tile * TILE;
    const int channels = left < TILE ? (int)left : TILE;
    const float *from = image + tile * TILE * plane + first * s->input[1];
    to += tile / 2 * state->turned + tile % 2 * TILE;
    ptrdiff_t done = 0;
    for (int64_t r = 0; r < rows; r++, from += s->input[1]) {
        for (; done < (ptrdiff_t)r * state->pitch; done += 2)
            memset(to + done / 2 * pitch, 0, TILE * sizeof *to);
        state->blocks->turn(from, plane, channels, (ptrdiff_t)s->input[1], to + (ptrdiff_t)r * state->pitch / 2 * pitch, pitch);
        done = (ptrdiff_t)r * state->pitch + (ptrdiff_t)round_up(s->input[1], TILE_DEPTH);
    }
    for (; done < state->pixels; done += 2)
        memset(to + done / 2 * pitch, 0, TILE * sizeof *to);
}

/* A feature of dY: the rows that taps reach from those of X. */
static void spread_feature(const struct state *state, const float *image, int64_t feature, int64_t first, int64_t rows, uint16_t *to)
{
    const struct slide *s = &state->slide;
    uint16_t *const end = to + state->segment;
    const float *from = image + feature * s->output[0] * s->output[1];
    memset(to, 0, (size_t)state->lead * sizeof *to);
    to += state->lead;
    for (int64_t r = 0; feature < s->features && r < rows + slide_reach(s, 0); r++, to += state->pitch) {
        const int64_t row = first - slide_reach(s, 0) + s->pad[0] + r;
        const ptrdiff_t width = row < 0 || row >= s->output[0] ? 0 : (ptrdiff_t)s->output[1];
        if (width)
            state->blocks->round(from + row * s->output[1], width, to);
        memset(to + width, 0, (size_t)(state->pitch - width) * sizeof *to);
    }
    memset(to, 0, (size_t)(end - to) * sizeof *to);
}

/* One or two by one or two tiles of sums of one tap. */
static void run_sums(const struct state *state, const struct operands *o, int64_t task, int64_t images, bool is_first)
{
    const struct slide *s = &state->slide;
    const int64_t tap = task % state->taps, across = divide_up(state->channel_tiles, 2);
    const int64_t c = task / state->taps % across * 2, f = task / state->taps / across * 2;
    const int64_t y = tap / s->kernel[1], x = tap % s->kernel[1];
    const int64_t shift = state->lead + (s->kernel[0] - 1 - y) * s->dilation[0] * state->pitch + s->pad[1] - x * s->dilation[1];
    struct tiles_outer outer = {.steps = (int)(state->pixels / TILE_DEPTH), .rows = state->feature_tiles - f > 1 ? 2 : 1,
                                .columns = state->channel_tiles - c > 1 ? 2 : 1, .a_pitch = state->plane,
                                .b_pitch = BLOCK,
                                .row_step = (ptrdiff_t)state->channel_tiles * TILE_SUMS, .column_step = TILE_SUMS,
                                .sums = o->sums + ((tap * state->feature_tiles + f) * state->channel_tiles + c) * TILE_SUMS};
    for (int64_t i = 0; i < images; i++) {
        outer.a = o->gradient + f * TILE * state->plane + i * state->segment + shift;
        outer.b = o->turned + (i * across + c / 2) * state->turned;
        outer.first = is_first && i == 0;
        state->blocks->outer(&outer);
    }
}

/* By all threads of a team. */
static void run_item(const struct state *state, const struct operands *o, int64_t item)
{
    const struct slide *s = &state->slide;
    const int64_t image = item / state->bands * state->together, first = item % state->bands * state->band;
    const int64_t rows = s->input[0] - first < state->band ? s->input[0] - first : state->band;
    const int64_t images = s->batch - image < state->together ? s->batch - image : state->together;
    const int64_t across = divide_up(state->channel_tiles, 2), tasks = across * divide_up(state->feature_tiles, 2) * state->taps;
#pragma omp for schedule(static) nowait
    for (int64_t k = 0; k < images * state->channel_tiles; k++)
        spread_channels(state, o->x + (image + k / state->channel_tiles) * s->channels * s->input[0] * s->input[1], k % state->channel_tiles, first,
                        rows, o->turned + k / state->channel_tiles * across * state->turned);
    const int64_t features = state->feature_tiles * TILE;
#pragma omp for schedule(static)
    for (int64_t k = 0; k < images * features; k++)
        spread_feature(state, o->dy + (image + k / features) * s->features * s->output[0] * s->output[1], k % features, first, rows,
                       o->gradient + k % features * state->plane + k / features * state->segment);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < tasks; task++)
        run_sums(state, o, task, images, item == 0);
}

static void collect(const struct state *state, const float *sums, float *dw)
{
    const struct slide *s = &state->slide;
#pragma omp parallel for num_threads(state->threads) schedule(static) if (state->threads > 1)
    for (int64_t f = 0; f < s->features; f++)
        for (int64_t t = 0; t < state->taps; t++) {
            const float *from = sums + (t * state->feature_tiles + f / TILE) * state->channel_tiles * TILE_SUMS + f % TILE * TILE;
            for (int64_t c = 0; c < s->channels; c++)
                dw[(f * s->channels + c) * state->taps + t] = from[c / TILE * TILE_SUMS + c % TILE];
        }
}

static mitral_status run(struct kernel_call *call)
{
    const struct state *state = call->state;
    const struct slide *s = &state->slide;
    const mitral_tensor *x = call_input(call, 0), *dy = call_input(call, 1);
    mitral_tensor *dw = call_output(call, 0), *db = call_output(call, 1);
    if (db)
        sum_features(training_blocks_of(cpu_isa()), state->threads, s, dy->data, db->data);
    if (!dw || tensor_count(dw) == 0)
        return MITRAL_OK;
    if (tensor_count(x) == 0 || tensor_count(dy) == 0) {
        memset(dw->data, 0, tensor_bytes(dw));
        return MITRAL_OK;
    }
    const struct operands o = {.x = x->data, .dy = dy->data, .sums = call->scratch, .turned = (uint32_t *)((char *)call->scratch + state->sums),
                               .gradient = (uint16_t *)((char *)call->scratch + state->sums + state->x_bytes)};
#pragma omp parallel num_threads(state->threads) if (state->threads > 1)
    {
        state->blocks->begin();
        for (int64_t item = 0; item < state->items; item++)
            run_item(state, &o, item);
        state->blocks->end();
    }
    collect(state, o.sums, dw->data);
    return MITRAL_OK;
}

static const char *describe(const void *state)
{
    (void)state;
    return "tiles:bf16";
}

const struct kernel training_tiles_weights[] = {
    {.name = "training.tiles_weights", .shape = shape, .prepare = prepare, .run = run, .release = release, .describe = describe, .flops = flops_weights},
};
const size_t training_tiles_weights_count = sizeof training_tiles_weights / sizeof *training_tiles_weights;
