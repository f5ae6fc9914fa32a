/* The dilated-parallel block in bfloat16 on AMX tiles: products are so cheap there that the branches are made directly, tap by tap, from a
 * map of pairs with margins of zeros, a row of y at a time; every branch's row stays in a cache until it is finished. */
#include <string.h>

#include "runtime/kernels/planar/dilated_channels.h"

enum { BAND = 16, TAPS = 9 };

static size_t aligned(size_t floats)
{
    return (floats + AMX_ROWS - 1) / AMX_ROWS * AMX_ROWS;
}

static int whole_tiles(int pixels)
{
    return (pixels + AMX_ROWS - 1) / AMX_ROWS * AMX_ROWS;
}

void dilated_amx_measure(const struct dilated_plan *plan, int widest_source, struct geometry *g)
{
    const struct dilated_block *b = &plan->block;
    const ptrdiff_t depth = amx_depth(b->reduced), columns = whole_tiles(b->width);
    const size_t chunk = (size_t)g->chunk_rows * (size_t)b->width, readable = chunk + AMX_ROWS;
    g->spread = g->products = 0;
    g->merged = aligned((size_t)columns * (size_t)b->outputs + PLANAR_SLACK);
    g->row = aligned((size_t)b->width * (size_t)b->outputs + PLANAR_SLACK);
    g->pairs = aligned(readable * (size_t)amx_depth(widest_source));
    g->stage = aligned(chunk * (size_t)b->reduced + PLANAR_SLACK);
    g->head = b->head ? aligned(readable * (size_t)amx_depth(b->outputs)) : 0;
    g->map_start = b->widest * depth;
    g->map_row = (columns + 2 * (ptrdiff_t)b->widest) * depth;
    g->reduced = aligned((size_t)b->height * (size_t)g->map_row + PLANAR_SLACK);
}

static float *map_row(const struct worker *w, int y)
{
    return w->reduced + y * w->g->map_row + w->g->map_start;
}

void dilated_amx_chunk(struct worker *w, const struct window *window)
{
    const struct dilated_block *b = &w->plan->block;
    const ptrdiff_t depth = amx_depth(b->reduced), behind = w->g->map_row - w->g->map_start - b->width * depth;
    if (b->reduce)
        dilated_stage_pixels(w, w->plan->reduce_stage, b->reduced, b->reduce_activation, w->low, window, w->stage);
    else
        dilated_turn_pixels(w, window, w->stage);
    for (int r = 0; r < window->rows; r++) {
        float *row = map_row(w, window->y + r);
        const struct row_pairs pairs = {.pixels = b->width, .channels = b->reduced, .input = w->stage + (ptrdiff_t)r * b->width * b->reduced,
                                        .pixel = b->reduced, .step = 1, .output = row, .pixel_out = depth, .step_out = 1};
        memset(row - w->g->map_start, 0, (size_t)w->g->map_start * sizeof *row);
        w->plan->products->row_pairs(&pairs);
        memset(row + b->width * depth, 0, (size_t)behind * sizeof *row);
    }
}

/* Row y of a branch's part of the merged map, with the sum of the branches before. */
static void make_branch(const struct worker *w, int k, int y)
{
    const struct dilated_block *b = &w->plan->block;
    const struct dilated_branch *branch = &b->branches[k];
    const ptrdiff_t depth = amx_depth(b->reduced), width = (ptrdiff_t)pack_width((size_t)branch->channels);
    const int d = branch->dilation, first = y - d < 0 ? 1 : 0, last = y + d < b->height ? 3 : 2; /* rows of the filter inside the map */
    ptrdiff_t offsets[TAPS];
    int taps = 0;
    for (int i = first; i < last; i++)
        for (int j = 0; j < 3; j++)
            offsets[taps++] = (i - 1) * d * w->g->map_row + (j - 1) * d * depth;
    const struct channel_product product = {.rows = whole_tiles(b->width), .columns = branch->channels, .depth = (int)depth, .taps = taps,
                                            .input = map_row(w, y), .pixel = depth, .step = 1, .offsets = offsets,
                                            .weights = w->plan->weights[w->plan->branch_stages[k]] + 3 * first * depth * width,
                                            .width = width, .output = w->merged + branch->first, .stride = b->outputs,
                                            .residual = branch->read_sum ? w->merged + b->branches[k - 1].first : NULL,
                                            .residual_stride = b->outputs};
    w->plan->products->channel_product(&product);
}

static void make_row(struct worker *w, int y)
{
    const struct window window = {.y = y, .rows = 1, .columns = w->plan->block.width};
    dilated_fetch_row(w, &window, false);
    for (int k = 0; k < w->plan->block.branch_count; k++)
        make_branch(w, k, y);
    dilated_end_row(w, &window, 0);
}

/* How many chunks rows before `row` need. */
static int chunks_for(const struct worker *w, int row)
{
    const int needed = row + w->plan->block.widest, rows = w->g->chunk_rows;
    return needed < w->plan->block.height ? (needed + rows - 1) / rows : w->g->chunks;
}

void dilated_amx_rows(struct worker *w, void (*make_chunk)(struct worker *w, int chunk))
{
    const int height = w->plan->block.height;
    int made = 0;
    for (int from = -BAND; from < height; from += BAND) { /* a band of rows, and what the next one needs */
        const int rows = from < 0 ? 0 : height - from < BAND ? height - from : BAND;
        const int until = from + BAND < height ? chunks_for(w, from + 2 * BAND) : made;
#pragma omp for schedule(dynamic)
        for (int item = 0; item < rows + until - made; item++)
            if (item < rows)
                make_row(w, from + item);
            else
                make_chunk(w, made + item - rows);
        made = until;
    }
}
