/* training.points: addend × outputs, X × inputs, W × (outputs · inputs), bias × outputs → Y × outputs. Addends and biases may be left out. */
#include <omp.h>
#include "runtime/kernels/training/points.h"

#include <string.h>

#include "runtime/kernels/planar/pack.h"
#include "runtime/kernels/reference/gradient.h"
#include "runtime/round.h"

/* Few features leave little time to fetch what comes next: then the next tile rather than the next chunk. Where tiles are low, many features
 * read what a chunk has collected, in pieces that stay in the first cache level for all of them. Where they are high, CPUs fetch ahead themselves
 * what so many rows (FOLLOWED) go on with. Zen 4 does not, and waits for memory unless it is asked for long runs of each row, evenly: there
 * chunks of large maps have up to LONGER times the pixels, within RUN_BYTES. */
enum { CHUNK = 240, DEPTH_TOGETHER = 256, FEW_FEATURES = 8, NEXT_TILE = 48, PIECE = 48, PIECE_BYTES = 20 << 10, FOLLOWED = 64,
       LONGER = 4, RUN_BYTES = 128 << 10, TILE_ROWS = 8, TILE_COLUMNS = 48 };

void points_measure(struct points *p)
{
    p->depth = 0;
    for (int i = 0; i < p->inputs; i++)
        p->depth += p->channels[i];
}

static size_t packed_floats(const struct points *p, int output)
{
    return aligned_floats((size_t)((p->features[output] + 3) / 4 * 4 * p->depth));
}

/* Of the maps, then of collected rows. */
static size_t offsets_bytes(const struct points *p)
{
    return aligned_bytes((size_t)((p->batch + 1) * p->depth) * sizeof(ptrdiff_t));
}

static bool fetches_runs(const struct points *p)
{
    return cpu_splits_vectors(p->training->lanes);
}

/* Pixels of an item: whole rows where addends are doubled. */
static int64_t chunk_of(const struct points *p)
{
    for (int j = 0; j < p->outputs; j++)
        if (p->coarse[j])
            return p->width < CHUNK ? CHUNK / p->width * p->width : p->width;
    int64_t features = 0;
    for (int j = 0; j < p->outputs; j++)
        features += p->features[j];
    if (!fetches_runs(p) || !training_is_large(p->batch * (p->depth > features ? p->depth : features) * p->pixels))
        return CHUNK;
    const int64_t fits = RUN_BYTES / (p->depth * CHUNK * (int64_t)sizeof(float));
    return CHUNK * (fits < 1 ? 1 : fits < LONGER ? fits : LONGER);
}

static bool collects(const struct points *p)
{
    int64_t features = 0;
    for (int j = 0; j < p->outputs; j++)
        features += p->features[j];
    return features > FEW_FEATURES && p->training->lanes < 16;
}

/* An odd number of lines, so that rows do not share their places in a cache. */
static ptrdiff_t collected_pitch(const struct points *p)
{
    return (divide_up(chunk_of(p), LINE_FLOATS) | 1) * LINE_FLOATS;
}

static size_t collected_floats(const struct points *p)
{
    return collects(p) ? (size_t)(p->depth * collected_pitch(p)) + PLANAR_SLACK : 0;
}

/* Doubled addends of an item, and what doubling needs. */
static size_t doubled_floats(const struct points *p)
{
    size_t features = 0;
    for (int j = 0; j < p->outputs; j++)
        if (p->coarse[j] && features < (size_t)p->features[j])
            features = (size_t)p->features[j];
    const size_t upsampled = aligned_floats(UPSAMPLED_TOGETHER * ((size_t)p->width / 2 + PLANAR_SLACK));
    return features ? features * (aligned_floats((size_t)chunk_of(p)) + LINE_FLOATS) + upsampled + PLANAR_SLACK : 0;
}

static size_t thread_floats(const struct points *p)
{
    return aligned_floats(collected_floats(p)) + doubled_floats(p);
}

size_t points_scratch(const struct points *p)
{
    size_t floats = PLANAR_SLACK + (size_t)p->threads * aligned_floats(thread_floats(p));
    for (int j = 0; j < p->outputs; j++)
        floats += packed_floats(p, j);
    return offsets_bytes(p) + floats * sizeof(float);
}

/* [ceil(features / 4)][depth][4] */
static void pack(const struct points *p, int output, float *out)
{
    const int64_t features = p->features[output];
    int64_t first = 0;
    memset(out, 0, packed_floats(p, output) * sizeof *out);
    for (int i = 0; i < p->inputs; first += p->channels[i++]) {
        const float *w = p->weights[output][i];
        for (int64_t f = 0; f < features; f++)
            for (int64_t c = 0; c < p->channels[i]; c++)
                out[(f / 4 * p->depth + first + c) * 4 + f % 4] = p->transposed ? w[c * features + f] : w[f * p->channels[i] + c];
    }
}

/* Where the channels of all inputs lie, from the first input's first image on. Inputs lie in one arena, or in memory of the caller. */
static void place(const struct points *p, ptrdiff_t *offsets)
{
    for (int64_t n = 0; n < p->batch; n++)
        for (int i = 0; i < p->inputs; i++) {
            const ptrdiff_t from = ((intptr_t)p->x[i] - (intptr_t)p->x[0]) / (ptrdiff_t)sizeof(float);
            for (int64_t c = 0; c < p->channels[i]; c++)
                *offsets++ = from + (ptrdiff_t)((n * p->channels[i] + c) * p->pixels);
        }
    for (int64_t k = 0; k < p->depth; k++)
        *offsets++ = (ptrdiff_t)k * collected_pitch(p);
}

/* Rows of an addend, from pixel `first` on, doubled to own[feature][pitch]. */
static const float *double_rows(const struct points *p, int j, int64_t n, int64_t first, int count, float *own, ptrdiff_t pitch)
{
    const int64_t height = p->height / 2, width = p->width / 2;
    const float *plane = p->addend[j] + n * p->features[j] * height * width;
    for (int64_t y = first / p->width; y < (first + count) / p->width; y++) {
        const int64_t above = (y + 1) / 2 - 1, below = (y + 1) / 2; /* beyond an edge: the edge */
        struct row_upsample upsample = {.planes = (int)p->features[j], .columns = (int)width, .weight = y % 2 ? 0.75f : 0.25f,
                                        .above = plane + (above < 0 ? 0 : above) * width,
                                        .below = plane + (below < height ? below : height - 1) * width, .step = (ptrdiff_t)(height * width),
                                        .output = own + (y * p->width - first), .output_step = pitch,
                                        .temporary = own + p->features[j] * pitch + LINE_FLOATS};
        p->blocks->row_upsample(&upsample);
    }
    return own;
}

/* Past the caches goes what is in none of them, by stores of whole lines. */
static bool goes_through(const struct points *p, int j, const float *output, const float *residual)
{
    const size_t line = 64;
    return (size_t)p->training->lanes * sizeof(float) == line && (uintptr_t)output % line == 0 && (size_t)p->pixels * sizeof(float) % line == 0
           && residual != output && p->depth <= DEPTH_TOGETHER && training_is_large(p->batch * p->features[j] * p->pixels);
}

/* What one output has of a chunk: `source` says where its input lies. */
static void run_output(const struct points *p, int j, const float *packed, const struct plane_product *source, ptrdiff_t at, const float *residual)
{
    for (int64_t done = 0; done < p->depth; done += DEPTH_TOGETHER) {
        const int64_t left = p->depth - done;
        struct plane_product product = *source;
        product.rows = (int)p->features[j];
        product.depth = (int)(left < DEPTH_TOGETHER ? left : DEPTH_TOGETHER);
        product.pieces = done ? 0 : source->pieces;
        product.weight_step = (ptrdiff_t)p->depth;
        product.weights = packed + 4 * done;
        product.offsets = source->offsets + done;
        product.ahead_offsets = source->ahead ? source->ahead_offsets + done : NULL;
        product.output = p->y[j] + at;
        product.stride = (ptrdiff_t)p->pixels;
        product.shift = p->bias[j];
        product.residual = done ? NULL : residual;
        product.accumulate = done > 0;
        product.through = goes_through(p, j, product.output, residual);
        p->blocks->plane_product(&product);
    }
}

/* Tiles of an output's chunk. */
static int tiles_of(const struct points *p, int j, int count)
{
    return (int)((p->features[j] + TILE_ROWS - 1) / TILE_ROWS) * ((count + TILE_COLUMNS - 1) / TILE_COLUMNS);
}

/* The tiles of all outputs share what the next chunk is going to read. */
static void fetch_next(const struct points *p, int count, struct plane_product *source)
{
    const int64_t chunk = chunk_of(p);
    int tiles = 0;
    for (int j = 0; j < p->outputs; j++)
        tiles += tiles_of(p, j, count);
    while ((int64_t)AHEAD_PIECE << source->piece_shift < chunk)
        source->piece_shift++;
    source->ahead = source->input + chunk;
    source->ahead_offsets = source->offsets;
    source->pieces = (int)((((int64_t)p->depth << source->piece_shift) + tiles - 1) / tiles);
}

static void run_chunk(const struct points *p, const ptrdiff_t *offsets, const float *const *packed, int64_t n, int64_t first, float *own)
{
    const int64_t chunk = chunk_of(p), fits = PIECE_BYTES / (p->depth * (int64_t)sizeof(float) + 1) / PIECE * PIECE;
    const int count = p->pixels - first < chunk ? (int)(p->pixels - first) : (int)chunk;
    const ptrdiff_t pitch = (ptrdiff_t)aligned_floats((size_t)chunk) + LINE_FLOATS;
    const bool collected = collects(p);
    float *room = own + aligned_floats(collected_floats(p)); /* for doubled rows */
    struct plane_product source = {.input = p->x[0] + first, .offsets = offsets + n * p->depth};
    if (collected) {
        p->training->collect(&(struct training_collect){.rows = (int)p->depth, .columns = count, .from = source.input, .offsets = source.offsets,
                                                        .to = own, .pitch = collected_pitch(p)});
        source.ahead = source.input + chunk;
        source.ahead_offsets = source.offsets;
        source.input = own;
        source.offsets = offsets + p->batch * p->depth;
        for (int j = 0; j < p->outputs; j++)
            source.ahead_step += (int)((p->features[j] + 3) / 4);
    } else if (fetches_runs(p) && first + chunk < p->pixels) {
        fetch_next(p, count, &source);
    } else if (p->features[0] <= FEW_FEATURES && p->outputs == 1) {
        source.prefetch = NEXT_TILE;
    } else if (p->depth > FOLLOWED) {
        source.prefetch = (ptrdiff_t)chunk;
    }
    const int piece = !collected ? count : fits < PIECE ? PIECE : (int)fits;
    for (int j = 0; j < p->outputs; j++) {
        const float *doubled = p->coarse[j] ? double_rows(p, j, n, first, count, room, pitch) : NULL;
        for (int from = 0; from < count; from += piece) {
            struct plane_product part = source;
            part.input += from;
            part.ahead += collected ? from : 0;
            part.columns = count - from < piece ? count - from : piece;
            part.residual_stride = doubled ? pitch : (ptrdiff_t)p->pixels;
            const ptrdiff_t at = (ptrdiff_t)(n * p->features[j] * p->pixels + first + from);
            run_output(p, j, packed[j], &part, at, doubled ? doubled + from : p->addend[j] ? p->addend[j] + at : NULL);
        }
        source.prefetch = 0; /* once is enough */
        source.ahead_first += (int)((p->features[j] + 3) / 4);
        source.first_piece += source.pieces * tiles_of(p, j, count);
    }
}

void points_run(const struct points *p)
{
    const int64_t chunk = chunk_of(p), chunks = (p->pixels + chunk - 1) / chunk, items = p->batch * chunks;
    const float *packed[POINTS_MOST];
    ptrdiff_t *offsets = p->scratch;
    float *next = (float *)((char *)p->scratch + offsets_bytes(p));
    place(p, offsets);
    for (int j = 0; j < p->outputs; j++) {
        pack(p, j, next);
        packed[j] = next;
        next += packed_floats(p, j);
    }
#pragma omp parallel num_threads(p->threads) if (p->threads > 1 && items > 1)
    {
        float *own = next + (size_t)omp_get_thread_num() * aligned_floats(thread_floats(p));
#pragma omp for schedule(static)
        for (int64_t item = 0; item < items; item++)
            run_chunk(p, offsets, packed, item / chunks, item % chunks * chunk, own);
    }
}

/* ---- the kernel ----------------------------------------------------------------------------------------------------------- */

struct places {
    size_t addends, inputs, weights, biases; /* where each kind begins */
};

/* Sizes and, in a run, pointers. */
static mitral_status decode(const struct kernel_call *call, struct points *p, struct places *l)
{
    const int64_t inputs = attribute_int(call->attributes, "inputs", 1), outputs = attribute_int(call->attributes, "outputs", 1);
    if (inputs < 1 || inputs > POINTS_MOST || outputs < 1 || outputs > POINTS_MOST)
        return call_fail(call, MITRAL_INVALID, "1 to %d inputs and outputs expected, found %lld and %lld", (int)POINTS_MOST, (long long)inputs,
                         (long long)outputs);
    *p = (struct points){.inputs = (int)inputs, .outputs = (int)outputs, .threads = call->threads > 0 ? call->threads : 1,
                         .transposed = attribute_int(call->attributes, "transposed", 0) != 0, .blocks = planar_blocks_of(cpu_isa()),
                         .training = training_blocks_of(cpu_isa())};
    *l = (struct places){.inputs = (size_t)outputs};
    l->weights = l->inputs + (size_t)inputs;
    l->biases = l->weights + (size_t)(inputs * outputs);
    const mitral_tensor *first = call_input(call, l->inputs);
    for (int i = 0; i < p->inputs; i++) {
        const mitral_tensor *x = call_input(call, l->inputs + (size_t)i);
        if (!x || x->dtype != MITRAL_FLOAT || x->rank != 4 || x->dims[0] != first->dims[0] || x->dims[2] != first->dims[2]
            || x->dims[3] != first->dims[3] || x->dims[1] > INT32_MAX / 64)
            return call_fail(call, MITRAL_INVALID, "input %zu: a float32 map as large as the others expected", l->inputs + (size_t)i);
        p->channels[i] = x->dims[1];
        p->x[i] = x->data;
    }
    p->batch = first->dims[0];
    p->height = first->dims[2];
    p->width = first->dims[3];
    p->pixels = p->height * p->width;
    for (int j = 0; j < p->outputs; j++)
        for (int i = 0; i < p->inputs; i++) {
            const size_t at = l->weights + (size_t)(j * p->inputs + i);
            const mitral_tensor *w = call_input(call, at);
            if (!w || w->dtype != MITRAL_FLOAT || w->rank != 4 || w->dims[2] != 1 || w->dims[3] != 1)
                return call_fail(call, MITRAL_INVALID, "input %zu: float32 weights of size 1×1 expected", at);
            if (i == 0)
                p->features[j] = w->dims[p->transposed ? 1 : 0];
            if (w->dims[p->transposed ? 1 : 0] != p->features[j] || w->dims[p->transposed ? 0 : 1] != p->channels[i] || p->features[j] > INT32_MAX / 64)
                return call_fail(call, MITRAL_INVALID, "input %zu: weights for %lld and %lld channels expected, found %lld and %lld", at,
                                 (long long)p->channels[i], (long long)p->features[j], (long long)w->dims[p->transposed ? 0 : 1],
                                 (long long)w->dims[p->transposed ? 1 : 0]);
            p->weights[j][i] = w->data;
        }
    for (int j = 0; j < p->outputs; j++) {
        const mitral_tensor *addend = call_input(call, (size_t)j);
        p->coarse[j] = addend && addend->rank == 4 && p->width > 1 && addend->dims[2] * 2 == p->height && addend->dims[3] * 2 == p->width;
    }
    points_measure(p);
    return p->depth > INT32_MAX / 64 ? call_fail(call, MITRAL_LIMIT, "fewer channels expected") : MITRAL_OK;
}

static mitral_status shape(struct kernel_call *call)
{
    struct points p;
    struct places l;
    TRY(decode(call, &p, &l));
    const mitral_tensor *x = call_input(call, l.inputs);
    for (int j = 0; j < p.outputs; j++) {
        const int64_t dims[4] = {p.batch, p.features[j], x->dims[2], x->dims[3]};
        const int64_t times = p.coarse[j] ? 2 : 1, addend[4] = {p.batch, p.features[j], x->dims[2] / times, x->dims[3] / times};
        mitral_tensor y;
        tensor_set(&y, MITRAL_FLOAT, 4, addend);
        TRY(check_addend(call, (size_t)j, &y));
        const mitral_tensor *bias = call_input(call, l.biases + (size_t)j);
        if (bias && (bias->dtype != MITRAL_FLOAT || tensor_count(bias) != p.features[j]))
            return call_fail(call, MITRAL_INVALID, "input %zu: a float32 bias of %lld elements expected", l.biases + (size_t)j,
                             (long long)p.features[j]);
        call_set_output(call, (size_t)j, MITRAL_FLOAT, 4, dims);
    }
    return MITRAL_OK;
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct points p;
    struct places l;
    (void)state;
    TRY(decode(call, &p, &l));
    *scratch_bytes = points_scratch(&p);
    return MITRAL_OK;
}

static mitral_status run(struct kernel_call *call)
{
    struct points p;
    struct places l;
    TRY(decode(call, &p, &l));
    if (p.batch * p.pixels == 0)
        return MITRAL_OK;
    int present = 0;
    for (int j = 0; j < p.outputs; j++) { /* what nobody asked for is left out */
        const mitral_tensor *addend = call_input(call, (size_t)j), *bias = call_input(call, l.biases + (size_t)j), *y = call_output(call, (size_t)j);
        if (!y || tensor_count(y) == 0)
            continue;
        p.features[present] = p.features[j];
        memcpy(p.weights[present], p.weights[j], sizeof p.weights[j]);
        p.addend[present] = addend ? addend->data : NULL;
        p.coarse[present] = p.coarse[j];
        p.bias[present] = bias ? bias->data : NULL;
        p.y[present++] = y->data;
    }
    p.outputs = present;
    p.scratch = call->scratch;
    points_run(&p);
    return MITRAL_OK;
}

static double flops(const struct kernel_call *call)
{
    struct points p;
    struct places l;
    double features = 0;
    if (decode(call, &p, &l) != MITRAL_OK)
        return 0;
    for (int j = 0; j < p.outputs; j++)
        features += (double)p.features[j];
    return 2.0 * (double)(p.batch * p.pixels) * (double)p.depth * features;
}

const struct kernel training_points[] = {
    {.name = "training.points", .flags = KERNEL_IN_PLACE, .shape = shape, .prepare = prepare, .run = run, .flops = flops},
};
const size_t training_points_count = sizeof training_points / sizeof *training_points;
