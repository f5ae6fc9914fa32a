/* training.tiles: X, W, B?, addend? → Y, and training.tiles_data: dY, W, like?, addend? → dX: convolutions of stride 1 whose operands are rounded
 * to bfloat16 and whose products AMX sums in float32, on planar float32 maps. An item is a band of rows of an image, or several small images:
 * its rows are rounded once, as pairs of channels, into a buffer that stays in the second cache level for all features. */
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "runtime/kernels/training/convolution.h"
#include "runtime/kernels/training/tiles.h"

enum { X, W, BIAS, ADDEND };
enum { BLOCK = 2 * TILE };

struct state {
    struct slide slide;
    const struct tile_blocks *blocks;
    int threads, taps, chunks;  /* chunks of 32 channels */
    bool data, direct;          /* direct: tiles of sums are whole parts of rows of the output */
    int64_t feature_blocks, band, bands, together, items;
    ptrdiff_t pitch, segment, plane; /* lanes of a row, of a band (or image) of one pair, of a pair */
    size_t packed, steps;            /* bytes of the weights and of the offsets */
    char text[64];
};

/* Rows follow each other so that what lies right of one is also what lies left of the next. */
static void measure(struct state *state)
{
    const struct slide *s = &state->slide;
    state->taps = (int)(s->kernel[0] * s->kernel[1]);
    state->chunks = (int)divide_up(s->channels, TILE_DEPTH);
    state->feature_blocks = divide_up(s->features, BLOCK);
    state->direct = s->output[1] % TILE == 0;
    state->pitch = (ptrdiff_t)larger(s->pad[1] + s->input[1], s->output[1] + slide_reach(s, 1) - s->pad[1]);
    const int64_t row = (int64_t)state->chunks * TILE * state->pitch * (int64_t)sizeof(uint32_t), fits = TILE_BUFFER_BYTES / row - slide_reach(s, 0);
    state->bands = tile_bands(s->output[0], fits, &state->band);
    state->segment = (ptrdiff_t)((state->band + slide_reach(s, 0)) * state->pitch + s->pad[1] + BLOCK);
    const int64_t images = TILE_BUFFER_BYTES / (row * (state->band + slide_reach(s, 0)) + 1), share = divide_up(s->batch, state->threads);
    state->together = state->bands > 1 ? 1 : larger(1, smaller(images, share));
    state->items = divide_up(s->batch, state->together) * state->bands;
    /* An odd number of cache lines, so that pairs do not share their places in the cache. */
    state->plane = (ptrdiff_t)(divide_up(state->together * state->segment, LINE_FLOATS) | 1) * LINE_FLOATS;
    state->packed = (size_t)(state->feature_blocks * state->chunks * state->taps) * BLOCK * TILE_DEPTH * sizeof(uint16_t);
    state->steps = aligned_bytes((size_t)(state->chunks * state->taps) * sizeof(ptrdiff_t));
}

static size_t thread_bytes(const struct state *state)
{
    return (size_t)state->chunks * TILE * (size_t)state->plane * sizeof(uint32_t) + BLOCK * BLOCK * sizeof(float);
}

static mitral_status prepare(struct kernel_call *call, const struct slide *slide, bool data, void **out, size_t *scratch_bytes)
{
    const struct tile_blocks *blocks = training_tile_blocks();
    if (!blocks || slide->stride[0] != 1 || slide->stride[1] != 1 || slide->kernel[0] > TILE_TAPS || slide->kernel[1] > TILE_TAPS
        || slide->kernel[0] * slide->kernel[1] > TILE_TAPS)
        return call_fail(call, MITRAL_UNSUPPORTED, "a CPU with AMX, steps of 1 and windows of up to %d expected", (int)TILE_TAPS);
    struct state *state = mitral_allocate(call->context, sizeof *state);
    if (!state)
        return MITRAL_NO_MEMORY;
    *state = (struct state){.slide = *slide, .blocks = blocks, .threads = call->threads > 0 ? call->threads : 1, .data = data};
    if (slide->batch * slide->output[0] * slide->output[1] * slide->features > 0) {
        measure(state);
        *scratch_bytes = state->packed + state->steps + (size_t)state->threads * thread_bytes(state);
    }
    snprintf(state->text, sizeof state->text, "tiles:bf16");
    *out = state;
    return MITRAL_OK;
}

static mitral_status prepare_forward(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct slide slide;
    TRY(slide_of_forward(call, &slide));
    return prepare(call, &slide, false, state, scratch_bytes);
}

static mitral_status prepare_data(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct slide slide;
    mitral_tensor x;
    TRY(slide_of_data(call, &x, &slide));
    return prepare(call, &slide, true, state, scratch_bytes);
}

static void release(mitral_context *context, void *state)
{
    mitral_release(context, state);
}

static int row_tiles(const struct slide *s, int64_t first)
{
    return s->features - first > TILE ? 2 : 1;
}

/* [feature blocks][chunks][taps][1 or 2 tiles]; of a data gradient the filters turned over, and channels and features exchanged. */
static void pack(const struct state *state, const float *w, uint16_t *packed)
{
    const struct slide *s = &state->slide;
    const ptrdiff_t row = (ptrdiff_t)(state->data ? 1 : s->channels) * state->taps, step = (ptrdiff_t)(state->data ? s->features : 1) * state->taps;
    const int64_t tasks = state->feature_blocks * state->chunks, block = (int64_t)state->taps * BLOCK * TILE_DEPTH;
#pragma omp parallel for num_threads(state->threads) schedule(static) if (state->threads > 1)
    for (int64_t task = 0; task < tasks; task++) {
        const int64_t b = task / state->chunks, k = task % state->chunks, tiles = row_tiles(s, b * BLOCK);
        uint16_t *to = packed + b * state->chunks * block + k * state->taps * tiles * TILE * TILE_DEPTH;
        const ptrdiff_t tap = (ptrdiff_t)tiles * TILE * TILE_DEPTH;
        for (int64_t i = 0; i < tiles; i++) {
            const int64_t first = b * BLOCK + i * TILE, depth = s->channels - k * TILE_DEPTH, rows = s->features - first;
            state->blocks->pack(&(struct tiles_pack){.weights = w + first * row + k * TILE_DEPTH * step, .rows = rows < TILE ? (int)rows : TILE,
                                                     .depth = depth < TILE_DEPTH ? (int)depth : TILE_DEPTH, .taps = state->taps, .row = row,
                                                     .depth_step = step, .tap = state->data ? -tap : tap,
                                                     .to = to + i * TILE * TILE_DEPTH + (state->data ? (state->taps - 1) * tap : 0)});
        }
    }
}

/* Where the pairs of a step begin: tap by tap within a chunk, whose rows then are in the first cache level. */
static void place(const struct state *state, ptrdiff_t *offsets)
{
    const struct slide *s = &state->slide;
    for (int k = 0; k < state->chunks; k++)
        for (int64_t y = 0; y < s->kernel[0]; y++)
            for (int64_t x = 0; x < s->kernel[1]; x++)
                *offsets++ = k * TILE * state->plane + (ptrdiff_t)(y * s->dilation[0]) * state->pitch + (ptrdiff_t)(x * s->dilation[1]);
}

/* ---- an item --------------------------------------------------------------------------------------------------------------- */

struct operands {
    const float *x, *bias, *addend;
    float *y;
    const uint16_t *packed;
    const ptrdiff_t *offsets;
};

/* The rows that the outputs from row `first` on read, of one image. */
static void spread(const struct state *state, const float *image, int64_t first, int64_t rows, uint32_t *pairs)
{
    const struct slide *s = &state->slide;
    const ptrdiff_t plane = (ptrdiff_t)(s->input[0] * s->input[1]), before = (ptrdiff_t)s->pad[1];
    const ptrdiff_t width = s->input[1] < state->pitch - before ? (ptrdiff_t)s->input[1] : state->pitch - before;
    for (int64_t k = 0; k < (int64_t)state->chunks * TILE; k++, pairs += state->plane) {
        const float *even = image + 2 * k * plane;
        uint32_t *to = pairs;
        for (int64_t r = 0; r < rows + slide_reach(s, 0); r++, to += state->pitch) {
            const int64_t row = first - s->pad[0] + r;
            if (2 * k >= s->channels || row < 0 || row >= s->input[0]) {
                memset(to, 0, (size_t)state->pitch * sizeof *to);
                continue;
            }
            memset(to, 0, (size_t)before * sizeof *to);
            state->blocks->pair(even + row * s->input[1], 2 * k + 1 < s->channels ? even + plane + row * s->input[1] : NULL, width, to + before);
            memset(to + before + width, 0, (size_t)(state->pitch - before - width) * sizeof *to);
        }
        memset(to, 0, (size_t)(before + BLOCK) * sizeof *to);
    }
}

/* Sums that cross the ends of rows, or are fewer than a tile has. */
static void finish(const struct state *state, const struct operands *o, const float *sums, int64_t rows, int64_t at, int64_t end, int64_t to, int64_t first)
{
    const struct slide *s = &state->slide;
    const int64_t plane = s->output[0] * s->output[1];
    for (int64_t lane = 0; lane < BLOCK && at + lane < end;) {
        const int64_t y = (at + lane) / state->pitch, x = (at + lane) % state->pitch;
        const int64_t left = s->output[1] - x, room = BLOCK - lane, count = left < room ? left : room;
        if (count > 0) {
            const int64_t place = to + y * s->output[1] + x;
            state->blocks->finish(&(struct tiles_finish){.rows = (int)rows, .columns = (int)count, .from = sums + lane, .pitch = BLOCK,
                                                         .shift = o->bias ? o->bias + first : NULL, .addend = o->addend ? o->addend + place : NULL,
                                                         .to = o->y + place, .plane = (ptrdiff_t)plane});
        }
        lane += state->pitch - x;
    }
}

/* The features from `first` on of a band of rows, which begins at `to` in the output. */
static void run_block(const struct state *state, const struct operands *o, const uint32_t *pairs, int64_t first, int64_t rows, int64_t to, float *sums)
{
    const struct slide *s = &state->slide;
    const ptrdiff_t plane = (ptrdiff_t)(s->output[0] * s->output[1]);
    const int64_t features = s->features - first < BLOCK ? s->features - first : BLOCK;
    struct tiles_product p = {.steps = state->chunks * state->taps, .rows = row_tiles(s, first), .offsets = o->offsets, .pitch = state->plane,
                              .weights = o->packed + first / BLOCK * state->chunks * state->taps * BLOCK * TILE_DEPTH};
    if (state->direct && !o->bias && features % TILE == 0) {
        p.out_pitch = plane;
        for (int64_t y = 0; y < rows; y++)
            for (int64_t x = 0; x < s->output[1]; x += BLOCK) {
                p.columns = s->output[1] - x > TILE ? 2 : 1;
                p.pairs = pairs + y * state->pitch + x;
                p.out = o->y + to + y * s->output[1] + x;
                p.start = o->addend ? o->addend + to + y * s->output[1] + x : NULL;
                state->blocks->product(&p);
            }
        return;
    }
    p.out = sums;
    p.out_pitch = BLOCK;
    const int64_t end = (rows - 1) * state->pitch + s->output[1];
    for (int64_t at = 0; at < end; at += BLOCK) {
        p.columns = end - at > TILE ? 2 : 1;
        p.pairs = pairs + at;
        state->blocks->product(&p);
        finish(state, o, sums, features, at, end, to, first);
    }
}

static void run_item(const struct state *state, const struct operands *o, int64_t item, uint32_t *pairs, float *sums)
{
    const struct slide *s = &state->slide;
    const int64_t image = item / state->bands * state->together, first = item % state->bands * state->band;
    const int64_t rows = s->output[0] - first < state->band ? s->output[0] - first : state->band;
    const int64_t images = s->batch - image < state->together ? s->batch - image : state->together;
    for (int64_t i = 0; i < images; i++)
        spread(state, o->x + (image + i) * s->channels * s->input[0] * s->input[1], first, rows, pairs + i * state->segment);
    for (int64_t f = 0; f < s->features; f += BLOCK)
        for (int64_t i = 0; i < images; i++)
            run_block(state, o, pairs + i * state->segment, f, rows,
                      ((image + i) * s->features + f) * s->output[0] * s->output[1] + first * s->output[1], sums);
}

static mitral_status run(struct kernel_call *call)
{
    const struct state *state = call->state;
    mitral_tensor *y = call_output(call, 0);
    if (!y || tensor_count(y) == 0)
        return MITRAL_OK;
    const mitral_tensor *bias = state->data ? NULL : call_input(call, BIAS), *addend = call_input(call, ADDEND);
    ptrdiff_t *offsets = call->scratch;
    uint16_t *packed = (uint16_t *)((char *)call->scratch + state->steps);
    char *threads = (char *)packed + state->packed;
    const struct operands o = {.x = call_input(call, X)->data, .bias = bias ? bias->data : NULL, .addend = addend ? addend->data : NULL, .y = y->data,
                               .packed = packed, .offsets = offsets};
    place(state, offsets);
    pack(state, call_input(call, W)->data, packed);
#pragma omp parallel num_threads(state->threads) if (state->threads > 1 && state->items > 1)
    {
        float *sums = (float *)(threads + (size_t)omp_get_thread_num() * thread_bytes(state));
        uint32_t *pairs = (uint32_t *)(sums + BLOCK * BLOCK);
        state->blocks->begin();
#pragma omp for schedule(static)
        for (int64_t item = 0; item < state->items; item++)
            run_item(state, &o, item, pairs, sums);
        state->blocks->end();
    }
    return MITRAL_OK;
}

static const char *describe(const void *state)
{
    return ((const struct state *)state)->text;
}

const struct kernel training_tiles[] = {
    {.name = "training.tiles", .shape = shape_forward, .prepare = prepare_forward, .run = run, .release = release, .describe = describe,
     .flops = flops_forward},
    {.name = "training.tiles_data", .shape = shape_data, .prepare = prepare_data, .run = run, .release = release, .describe = describe,
     .flops = flops_data},
};
const size_t training_tiles_count = sizeof training_tiles / sizeof *training_tiles;
