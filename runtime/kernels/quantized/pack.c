/* How a step's work is cut, and its weights as the inner loops read them. */
#include <string.h>

#include "runtime/kernels/quantized/step.h"

enum { DEPTH, HEIGHT, WIDTH };

enum { FEW_TILES = 24 }; /* for which weights are worth reading */

static const double most_bytes = 0x1p32; /* of anything here */

/* Taps of height that lie nearer than a band is high share rows; else each tap has its own. */
static void set_slots(struct quantized_step *step)
{
    const struct quantized_shape *shape = &step->shape;
    const int64_t rows = step->band_rows, taps = shape->kernel[HEIGHT];
    const int64_t shared = (rows - 1) * shape->stride[HEIGHT] + (taps - 1) * shape->dilation[HEIGHT] + 1, apart = rows * taps;
    step->shared = shared < apart;
    step->slots = step->shared ? shared : apart;
    step->tap_slots = step->shared ? shape->dilation[HEIGHT] : rows;
    step->row_slots = step->shared ? shape->stride[HEIGHT] : 1;
    step->band_elements = shape->kernel[DEPTH] * step->slots * step->width * shape->channels;
}

/* Blocks of columns are counted whole. */
static bool fits(const struct quantized_shape *shape)
{
    double weights = 2.0 * (double)shape->channels * ((double)shape->features / (double)shape->group + QUANTIZED_COLUMNS), reach[QUANTIZED_SPATIAL];
    for (int i = 0; i < QUANTIZED_SPATIAL; i++) {
        weights *= (double)shape->kernel[i];
        reach[i] = (double)shape->output[i] * (double)shape->stride[i] + (double)shape->kernel[i] * (double)shape->dilation[i];
    }
    const double rows = 2.0 * (double)shape->channels * reach[WIDTH] * (double)shape->kernel[DEPTH] * (double)shape->kernel[HEIGHT];
    return weights < most_bytes && rows < most_bytes && reach[HEIGHT] < most_bytes && 8 * (double)shape->output[WIDTH] < most_bytes;
}

/* As many rows of output as let what they read lie in a quarter of the cache. */
static void cut_bands(struct quantized_step *step)
{
    const struct quantized_shape *shape = &step->shape;
    const int64_t budget = (int64_t)(cpu_level2_bytes() / 4), unit = step->winograd ? WINOGRAD_SIDE : 1;
    step->width = (shape->output[WIDTH] - 1) * shape->stride[WIDTH] + (shape->kernel[WIDTH] - 1) * shape->dilation[WIDTH] + 1;
    if (step->winograd)
        step->width = WINOGRAD_SIDE * step->tiles_across + 2;
    for (int64_t units = (shape->output[HEIGHT] + unit - 1) / unit;; units = (units + 1) / 2) {
        step->band_rows = units * unit;
        set_slots(step);
        if (2 * step->band_elements <= budget || units == 1 || (step->winograd && units * step->tiles_across <= FEW_TILES))
            break;
    }
    step->bands = (shape->output[HEIGHT] + step->band_rows - 1) / step->band_rows;
}

/* Transformed data of a group of tiles lie in half of the cache; but weights are read once for each group. */
static void cut_groups(struct quantized_step *step)
{
    const int64_t all = step->tiles_across * (step->band_rows / WINOGRAD_SIDE), each = WINOGRAD_PLANES * 2 * step->tile_channels;
    const int64_t most = (int64_t)(cpu_level2_bytes() / 2) / each;
    const int64_t wanted = most > FEW_TILES ? most / step->blocks->rows * step->blocks->rows : FEW_TILES;
    step->tile_group = wanted < all ? wanted : all;
}

/* Where there are fewer bands than threads want, threads share them out by blocks of columns. */
static void cut_chunks(struct quantized_step *step, int threads)
{
    const int64_t tasks = step->shape.batch * step->shape.output[DEPTH] * step->bands, wanted = 4 * (int64_t)threads;
    step->chunks = threads < 2 || tasks >= wanted ? 1 : (wanted + tasks - 1) / tasks;
    step->chunks = step->chunks < step->block_count ? step->chunks : step->block_count;
}

bool quantized_plan(const struct quantized_shape *shape, enum isa isa, int threads, struct quantized_step *out)
{
    const int64_t channels = shape->channels / shape->group, features = shape->features / shape->group;
    if (!fits(shape))
        return false;
    *out = (struct quantized_step){.shape = *shape, .blocks = quantized_blocks_of(isa)};
    out->depthwise = channels == 1 && features == 1 && shape->group > 1;
    const int64_t columns = out->blocks->columns, taps = shape->kernel[DEPTH] * shape->kernel[HEIGHT] * shape->kernel[WIDTH];
    if (out->depthwise) {
        out->run_length = taps;
        out->run_count = 1;
        out->group_blocks = out->block_count = (shape->features + columns - 1) / columns;
    } else {
        const bool joined = shape->group == 1 && shape->dilation[WIDTH] == 1;
        out->run_length = joined ? shape->kernel[WIDTH] * channels : channels;
        out->run_count = (int)(joined ? taps / shape->kernel[WIDTH] : taps);
        out->group_blocks = (features + columns - 1) / columns;
        out->block_count = out->group_blocks * shape->group;
    }
    out->winograd = quantized_suits_winograd(shape);
    if (out->winograd) {
        out->run_length = channels;
        out->run_count = 1;
        out->tiles_across = (shape->output[WIDTH] + 3) / 4;
        out->tile_channels = (channels + columns - 1) / columns * columns;
    }
    out->pairs = (int)((out->run_length + 1) / 2);
    out->block_weights = 2 * columns * out->pairs * out->run_count * (out->winograd ? WINOGRAD_PLANES : 1);
    cut_bands(out);
    if (out->winograd)
        cut_groups(out);
    cut_chunks(out, threads);
    return true;
}

/* ---- memory ----------------------------------------------------------------------------------------------------------- */

static size_t take(size_t *used, int64_t count, size_t size)
{
    const size_t at = *used;
    *used += ((size_t)count * size + 63) & ~(size_t)63;
    return at;
}

struct places {
    size_t weights, runs, places, offset, scale, bias, near_scale, near_bias, near_limit, end;
};

static struct places find_places(const struct quantized_step *step)
{
    struct places p = {0};
    const int64_t lists = step->block_count * step->blocks->columns;
    p.weights = take(&p.end, step->block_weights * step->block_count, sizeof *step->weights);
    p.runs = take(&p.end, step->run_count + 2 * step->pairs, sizeof *step->runs);
    p.places = take(&p.end, step->band_rows * step->shape.output[WIDTH], sizeof *step->places);
    p.offset = take(&p.end, lists, sizeof(int32_t));
    p.scale = take(&p.end, lists, sizeof(double));
    p.bias = take(&p.end, lists, sizeof(double));
    p.near_scale = take(&p.end, lists, sizeof(float));
    p.near_bias = take(&p.end, lists, sizeof(float));
    p.near_limit = take(&p.end, lists, sizeof(float));
    return p;
}

size_t quantized_memory_bytes(const struct quantized_step *step)
{
    return find_places(step).end;
}

/* Where tap number `tap`, counted over depth, height and width, lies from a position. */
static ptrdiff_t tap_place(const struct quantized_step *step, int64_t tap)
{
    const struct quantized_shape *shape = &step->shape;
    const int64_t column = tap % shape->kernel[WIDTH], row = tap / shape->kernel[WIDTH] % shape->kernel[HEIGHT];
    const int64_t depth = tap / shape->kernel[WIDTH] / shape->kernel[HEIGHT];
    return ((depth * step->slots + row * step->tap_slots) * step->width + column * shape->dilation[WIDTH]) * shape->channels;
}

void quantized_place(struct quantized_step *step, void *memory)
{
    const struct quantized_shape *shape = &step->shape;
    const struct places p = find_places(step);
    char *base = memory;
    step->weights = (int16_t *)(base + p.weights);
    step->runs = (ptrdiff_t *)(base + p.runs);
    step->places = (ptrdiff_t *)(base + p.places);
    step->columns.offset = (int32_t *)(base + p.offset);
    step->columns.scale = (double *)(base + p.scale);
    step->columns.bias = (double *)(base + p.bias);
    step->columns.near_scale = (float *)(base + p.near_scale);
    step->columns.near_bias = (float *)(base + p.near_bias);
    step->columns.near_limit = (float *)(base + p.near_limit);
    const int64_t taps = shape->kernel[DEPTH] * shape->kernel[HEIGHT] * shape->kernel[WIDTH];
    if (step->depthwise)
        for (int64_t tap = 0; tap < 2 * step->pairs; tap++)
            step->runs[tap] = tap_place(step, tap < taps ? tap : 0);
    else if (!step->winograd)
        for (int64_t run = 0; run < step->run_count; run++)
            step->runs[run] = tap_place(step, run * (taps / step->run_count));
    for (int64_t row = 0; row < step->band_rows; row++)
        for (int64_t column = 0; column < shape->output[WIDTH]; column++)
            step->places[row * shape->output[WIDTH] + column]
                = (row * step->row_slots * step->width + column * shape->stride[WIDTH]) * shape->channels;
}

/* ---- weights ---------------------------------------------------------------------------------------------------------- */

/* Element `element` of run `run` of a feature, in the order of the source. */
static int64_t source_index(const struct quantized_step *step, const struct quantized_weights_source *source, int64_t feature, int64_t run,
                            int64_t element)
{
    const struct quantized_shape *shape = &step->shape;
    const int64_t channels = shape->channels / shape->group, taps = shape->kernel[DEPTH] * shape->kernel[HEIGHT] * shape->kernel[WIDTH];
    if (source->turned)
        return element * shape->features + feature;
    if (step->depthwise)
        return feature * taps + element;
    const int64_t tap = run * (taps / step->run_count) + element / channels;
    return (feature * channels + element % channels) * taps + tap;
}

int16_t quantized_source_weight(const struct quantized_weights_source *source, int64_t feature, int64_t index)
{
    const int32_t zero = source->zero_count ? source->zeros[source->zero_count > 1 ? feature : 0] : 0;
    return (int16_t)((source->is_signed ? ((const int8_t *)source->data)[index] : ((const uint8_t *)source->data)[index]) - zero);
}

/* The place of a column among those of a block: depthwise loops interleave groups of eight. */
static int64_t lane_of(const struct quantized_step *step, int64_t column)
{
    if (!step->depthwise)
        return column;
    const int64_t half = step->blocks->columns / 2;
    return column % 8 / 4 * half + column / 8 * 4 + column % 4;
}

mitral_status quantized_pack(mitral_context *context, struct quantized_step *step, const struct quantized_weights_source *source)
{
    if (step->winograd)
        return quantized_pack_winograd(context, step, source);
    const int64_t columns = step->blocks->columns, each = step->depthwise ? step->shape.features : step->shape.features / step->shape.group;
    for (int64_t block = 0; block < step->block_count; block++) {
        const int64_t first = block / step->group_blocks * each + block % step->group_blocks * columns;
        const int64_t left = each - block % step->group_blocks * columns, count = left < columns ? left : columns;
        int16_t *to = step->weights + block * step->block_weights;
        for (int64_t run = 0; run < step->run_count; run++, to += 2 * columns * step->pairs)
            for (int64_t element = 0; element < step->run_length; element++)
                for (int64_t column = 0; column < count; column++)
                    to[element / 2 * 2 * columns + 2 * lane_of(step, column) + element % 2]
                        = quantized_source_weight(source, first + column, source_index(step, source, first + column, run, element));
    }
    return MITRAL_OK;
}
