/* 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3): which gain, their weights, and their loop. isa_winograd.c says why it is exact. */
#include <stdlib.h>

#include "runtime/kernels/quantized/step.h"

enum { DEPTH, HEIGHT, WIDTH };
enum { SIDE = WINOGRAD_SIDE, POINTS = SIDE + 2, PLANES = WINOGRAD_PLANES };

/* Sums below this are told apart from their remainder modulo 2^26. */
static const int64_t sum_limit = (int64_t)1 << 25;
enum { LARGEST_DIFFERENCE = 255 };
static const double most_weights = 0x1p28; /* bytes: eight times what they are as 8-bit taps */

bool quantized_suits_winograd(const struct quantized_shape *shape)
{
    if (shape->group != 1 || shape->kernel[DEPTH] != 1 || shape->kernel[HEIGHT] != 3 || shape->kernel[WIDTH] != 3 || shape->stride[HEIGHT] != 1
        || shape->stride[WIDTH] != 1 || shape->dilation[HEIGHT] != 1 || shape->dilation[WIDTH] != 1 || shape->channels < 16 || shape->features < 16)
        return false;
    const double tiles = (double)((shape->output[HEIGHT] + SIDE - 1) / SIDE) * (double)((shape->output[WIDTH] + SIDE - 1) / SIDE);
    const double outputs = (double)shape->output[HEIGHT] * (double)shape->output[WIDTH];
    const double weights = 2.0 * PLANES * (double)shape->channels * (double)shape->features;
    if (weights > most_weights)
        return false;
    /* Products, and transforms by the channels they are shared out among. */
    const double products = PLANES * tiles * (1 + 8 / (double)shape->channels + 8 / (double)shape->features);
    /* Large weights come from memory at the pace of some hundred products for the 36 of a pair of channels. */
    return products + (weights > 4e6 ? 470 : 0) < 9 * outputs;
}

static const int transform[POINTS][3] = {{6, 0, 0}, {1, 1, 1}, {1, -1, 1}, {1, 2, 4}, {1, -2, 4}, {0, 0, 6}};

/* U = G w Gᵀ of one pair of channels. */
static void transform_weights(const int16_t w[9], int16_t u[PLANES])
{
    int half[POINTS][3];
    for (int i = 0; i < POINTS; i++)
        for (int k = 0; k < 3; k++)
            half[i][k] = transform[i][0] * w[k] + transform[i][1] * w[3 + k] + transform[i][2] * w[6 + k];
    for (int i = 0; i < POINTS; i++)
        for (int j = 0; j < POINTS; j++)
            u[i * POINTS + j] = (int16_t)(half[i][0] * transform[j][0] + half[i][1] * transform[j][1] + half[i][2] * transform[j][2]);
}

/* The most channels at a time, an even number, of which no sum can reach the limit; `sizes` bounds what each channel adds to any feature's. Two
 * channels are always below it. */
static int64_t find_chunk(int64_t channels, const int32_t *sizes)
{
    for (int64_t chunk = (channels + 1) / 2 * 2;; chunk = (chunk / 2 + 1) / 2 * 2) {
        int64_t largest = 0;
        for (int64_t first = 0; first < channels; first += chunk) {
            int64_t sum = 0;
            for (int64_t channel = first; channel < first + chunk && channel < channels; channel++)
                sum += sizes[channel];
            largest = sum > largest ? sum : largest;
        }
        if (largest * LARGEST_DIFFERENCE < sum_limit || chunk <= 2)
            return chunk;
    }
}

mitral_status quantized_pack_winograd(mitral_context *context, struct quantized_step *step, const struct quantized_weights_source *source)
{
    const int64_t columns = step->blocks->columns, plane = 2 * columns * step->pairs, channels = step->shape.channels;
    int32_t *sizes = mitral_allocate(context, (size_t)channels * sizeof *sizes);
    if (!sizes)
        return MITRAL_NO_MEMORY;
    for (int64_t feature = 0; feature < step->shape.features; feature++)
        for (int64_t channel = 0; channel < channels; channel++) {
            int16_t w[9], u[PLANES];
            int32_t size = 0;
            for (int i = 0; i < 9; i++) {
                w[i] = quantized_source_weight(source, feature, (feature * channels + channel) * 9 + i);
                size += abs(w[i]);
            }
            sizes[channel] = size > sizes[channel] ? size : sizes[channel];
            transform_weights(w, u);
            int16_t *to = step->weights + feature / columns * step->block_weights + channel / 2 * 2 * columns + 2 * (feature % columns) + channel % 2;
            for (int i = 0; i < PLANES; i++)
                to[i * plane] = u[i];
        }
    step->channel_chunk = find_chunk(channels, sizes);
    mitral_release(context, sizes);
    return MITRAL_OK;
}

/* ---- running ---------------------------------------------------------------------------------------------------------- */

static size_t data_bytes(const struct quantized_step *step)
{
    return (size_t)(PLANES * step->tile_group * step->tile_channels) * sizeof(int16_t);
}

static size_t product_bytes(const struct quantized_step *step)
{
    return (size_t)(PLANES * step->tile_group * step->blocks->columns) * sizeof(int32_t);
}

size_t quantized_winograd_work(const struct quantized_step *step)
{
    return data_bytes(step) + product_bytes(step) + (size_t)(step->tile_group * SIDE * SIDE * step->blocks->columns) * sizeof(int32_t);
}

/* Tiles first … first + count of a band. */
struct group {
    const struct quantized_step *step;
    const struct quantized_band *band;
    int64_t first, count;
    int16_t *data;      /* [plane][tile][channel] */
    int32_t *products;  /* [plane][tile][column] */
    int32_t *sums;      /* [tile][output][column] */
};

static void spread_tiles(const struct group *group)
{
    const struct quantized_step *step = group->step;
    const int64_t channels = step->shape.channels;
    for (int64_t i = 0; i < group->count; i++) {
        const int64_t row = (group->first + i) / step->tiles_across, column = (group->first + i) % step->tiles_across;
        step->blocks->spread(&(struct quantized_spread){group->band->data + SIDE * (row * step->width + column) * channels, step->width * channels,
                                                        channels, channels, group->data + i * step->tile_channels,
                                                        step->tile_group * step->tile_channels});
    }
}

/* Products of one chunk of channels with one block of columns, all planes; then their sums. */
static void run_chunk(const struct group *group, int64_t block, int64_t channel, int column_count)
{
    const struct quantized_step *step = group->step;
    const struct quantized_blocks *blocks = step->blocks;
    const int64_t columns = blocks->columns, left = step->shape.channels - channel;
    static const ptrdiff_t start = 0;
    struct quantized_tile tile = {.runs = &start, .run_count = 1, .column_count = column_count};
    tile.pairs = (int)(((left < step->channel_chunk ? left : step->channel_chunk) + 1) / 2);
    for (int64_t plane = 0; plane < PLANES; plane++) {
        tile.weights = step->weights + block * step->block_weights + (plane * step->pairs + channel / 2) * 2 * columns;
        for (int64_t at = 0; at < group->count; at += blocks->rows) {
            tile.row_count = (int)(group->count - at < blocks->rows ? group->count - at : blocks->rows);
            for (int row = 0; row < tile.row_count; row++)
                tile.rows[row] = group->data + (plane * step->tile_group + at + row) * step->tile_channels + channel;
            tile.sums = group->products + (plane * step->tile_group + at) * columns;
            blocks->product(&tile);
        }
    }
    for (int64_t i = 0; i < group->count; i++)
        blocks->gather(&(struct quantized_gather){group->products + i * columns, step->tile_group * columns, group->sums + i * SIDE * SIDE * columns,
                                                  channel > 0});
}

/* Outputs past the edges are left out. */
static void finish_tiles(const struct group *group, int64_t block, int column_count)
{
    const struct quantized_step *step = group->step;
    const struct quantized_band *band = group->band;
    const struct quantized_shape *shape = &step->shape;
    const int64_t columns = step->blocks->columns, width = shape->output[WIDTH];
    struct quantized_finish finish = {.columns = &step->columns, .first = block * columns, .column_count = column_count,
                                      .stride = (ptrdiff_t)(shape->features * band->result_bytes)};
    for (int64_t i = 0; i < group->count; i++) {
        const int64_t row = (group->first + i) / step->tiles_across * SIDE, column = (group->first + i) % step->tiles_across * SIDE;
        finish.row_count = (int)(width - column < SIDE ? width - column : SIDE);
        for (int64_t y = row; y < row + SIDE && y < band->rows; y++) {
            const int64_t line = (band->image * shape->output[DEPTH] + band->depth) * shape->output[HEIGHT] + band->row + y;
            finish.sums = group->sums + (i * SIDE + y - row) * SIDE * columns;
            finish.to = band->y + ((line * width + column) * shape->features + block * columns) * band->result_bytes;
            step->blocks->finish(&finish);
        }
    }
}

void quantized_run_winograd(const struct quantized_step *step, const struct quantized_band *band, int64_t first_block, int64_t end_block)
{
    const int64_t tiles = (band->rows + SIDE - 1) / SIDE * step->tiles_across, columns = step->blocks->columns;
    char *work = band->work;
    struct group group = {step, band, 0, 0, (int16_t *)work, (int32_t *)(work + data_bytes(step)),
                          (int32_t *)(work + data_bytes(step) + product_bytes(step))};
    for (; group.first < tiles; group.first += group.count) {
        group.count = tiles - group.first < step->tile_group ? tiles - group.first : step->tile_group;
        spread_tiles(&group);
        for (int64_t block = first_block; block < end_block; block++) {
            const int64_t left = step->shape.features - block * columns;
            const int count = (int)(left < columns ? left : columns);
            for (int64_t channel = 0; channel < step->shape.channels; channel += step->channel_chunk)
                run_chunk(&group, block, channel, count);
            finish_tiles(&group, block, count);
        }
    }
}
