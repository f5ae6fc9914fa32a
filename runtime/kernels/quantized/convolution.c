/* The loop over bands, blocks of columns and tiles. */
#include <string.h>

#include "runtime/kernels/quantized/step.h"

enum { DEPTH, HEIGHT, WIDTH };

struct run {
    const struct quantized_step *step;
    const void *x;
    int32_t x_zero;
    char *y;
    int64_t result_bytes; /* of an element */
};

/* The inner loops read past the last position: what lies there is multiplied by zeros. */
static size_t data_bytes(const struct quantized_step *step)
{
    return (((size_t)step->band_elements + 2 * QUANTIZED_COLUMNS) * sizeof(int16_t) + 63) & ~(size_t)63;
}

static size_t thread_bytes(const struct quantized_step *step)
{
    return data_bytes(step) + (step->winograd ? quantized_winograd_work(step) : 0);
}

size_t quantized_scratch_bytes(const struct quantized_step *step, int threads)
{
    return (size_t)threads * thread_bytes(step);
}

static void widen_row(const struct run *run, const struct quantized_band *band, int64_t depth, int64_t row, int16_t *to)
{
    const struct quantized_step *step = run->step;
    const struct quantized_shape *shape = &step->shape;
    const int64_t width = step->width, pad = shape->pad[WIDTH], channels = shape->channels, within = shape->input[WIDTH] + pad;
    const int64_t begin = pad < width ? pad : width, end = within < begin ? begin : within < width ? within : width;
    if (depth < 0 || depth >= shape->input[DEPTH] || row < 0 || row >= shape->input[HEIGHT] || begin == end) {
        memset(to, 0, (size_t)(width * channels) * sizeof *to);
        return;
    }
    const int64_t line = (band->image * shape->input[DEPTH] + depth) * shape->input[HEIGHT] + row;
    memset(to, 0, (size_t)(begin * channels) * sizeof *to);
    step->blocks->widen(&(struct quantized_widen){(const char *)run->x + (line * shape->input[WIDTH] + begin - pad) * channels, step->x_signed,
                                                  run->x_zero, to + begin * channels, (end - begin) * channels});
    memset(to + end * channels, 0, (size_t)((width - end) * channels) * sizeof *to);
}

static void widen_band(const struct run *run, const struct quantized_band *band, int16_t *to)
{
    const struct quantized_step *step = run->step;
    const struct quantized_shape *shape = &step->shape;
    for (int64_t tap = 0; tap < shape->kernel[DEPTH]; tap++) {
        const int64_t depth = band->depth * shape->stride[DEPTH] - shape->pad[DEPTH] + tap * shape->dilation[DEPTH];
        for (int64_t slot = 0; slot < step->slots; slot++, to += step->width * shape->channels) {
            int64_t row = band->row * shape->stride[HEIGHT] - shape->pad[HEIGHT] + slot;
            if (!step->shared)
                row += slot % step->band_rows * shape->stride[HEIGHT] + slot / step->band_rows * shape->dilation[HEIGHT] - slot;
            widen_row(run, band, depth, row, to);
        }
    }
}

/* One block of columns of all positions of the band. */
static void run_block(const struct run *run, const struct quantized_band *band, int64_t block)
{
    const struct quantized_step *step = run->step;
    const struct quantized_shape *shape = &step->shape;
    const struct quantized_blocks *blocks = step->blocks;
    const int64_t each = step->depthwise ? shape->features : shape->features / shape->group, within = block % step->group_blocks * blocks->columns;
    const int64_t group = block / step->group_blocks, feature = group * each + within, left = each - within;
    const int64_t first = ((band->image * shape->output[DEPTH] + band->depth) * shape->output[HEIGHT] + band->row) * shape->output[WIDTH];
    const int64_t count = band->rows * shape->output[WIDTH];
    const int16_t *from = band->data + (step->depthwise ? within : group * (shape->channels / shape->group));
    int32_t sums[QUANTIZED_ROWS * QUANTIZED_COLUMNS];
    struct quantized_tile tile = {.runs = step->runs, .run_count = step->run_count, .pairs = step->pairs,
                                  .weights = step->weights + block * step->block_weights, .sums = sums};
    tile.column_count = (int)(left < blocks->columns ? left : blocks->columns);
    struct quantized_finish finish = {.sums = sums, .columns = &step->columns, .first = block * blocks->columns,
                                      .column_count = tile.column_count,
                                      .stride = (ptrdiff_t)(shape->features * run->result_bytes)};
    for (int64_t at = 0; at < count; at += blocks->rows) {
        tile.row_count = finish.row_count = (int)(count - at < blocks->rows ? count - at : blocks->rows);
        for (int row = 0; row < tile.row_count; row++)
            tile.rows[row] = from + step->places[at + row];
        finish.to = run->y + ((first + at) * shape->features + feature) * run->result_bytes;
        (step->depthwise ? blocks->depthwise : blocks->product)(&tile);
        blocks->finish(&finish);
    }
}

/* Task by task: bands, and for each the chunks of its blocks. */
static void run_tasks(const struct run *run, int64_t first, int64_t end, int16_t *data)
{
    const struct quantized_step *step = run->step;
    for (int64_t task = first; task < end; task++) {
        const int64_t chunk = task % step->chunks, number = task / step->chunks;
        struct quantized_band band = {.data = data, .work = (char *)data + data_bytes(step), .y = run->y, .result_bytes = run->result_bytes};
        band.row = number % step->bands * step->band_rows;
        band.depth = number / step->bands % step->shape.output[DEPTH];
        band.image = number / step->bands / step->shape.output[DEPTH];
        band.rows = step->shape.output[HEIGHT] - band.row < step->band_rows ? step->shape.output[HEIGHT] - band.row : step->band_rows;
        if (chunk == 0 || task == first)
            widen_band(run, &band, data);
        const int64_t begin = step->block_count * chunk / step->chunks, last = step->block_count * (chunk + 1) / step->chunks;
        if (step->winograd)
            quantized_run_winograd(step, &band, begin, last);
        for (int64_t block = begin; block < last && !step->winograd; block++)
            run_block(run, &band, block);
    }
}

void quantized_run(const struct quantized_step *step, const void *x, int32_t x_zero, void *y, void *scratch, int threads)
{
    const struct run run = {step, x, x_zero, y, step->columns.result == RESULT_SUM || step->columns.result == RESULT_FLOAT ? 4 : 1};
    const int64_t tasks = step->shape.batch * step->shape.output[DEPTH] * step->bands * step->chunks, parts = threads;
    const size_t each = thread_bytes(step);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t part = 0; part < parts; part++)
        run_tasks(&run, tasks * part / parts, tasks * (part + 1) / parts, (int16_t *)((char *)scratch + (size_t)part * each));
}
