/* The dilated-parallel block in bfloat16 on AMX tiles: products are so cheap there that the branches are made directly, tap by tap, a row of
 * y at a time, which stays in a cache until it is finished. Their input is kept as pairs, in a ring of rows with margins of zeros. */
#include <string.h>

#include "runtime/kernels/planar/dilated_channels.h"

enum { BAND = 16, TAPS = 9 }; /* BAND: rows of y of a phase of the walk */

static int whole_tiles(int pixels)
{
    return (int)round_up(pixels, AMX_ROWS);
}

void dilated_amx_measure(const struct dilated_plan *plan, int widest_source, struct geometry *g)
{
    const struct dilated_block *b = &plan->block;
    const ptrdiff_t depth = amx_depth(b->reduced), columns = whole_tiles(b->width);
    const size_t chunk = (size_t)g->chunk_rows * (size_t)b->width, readable = chunk + AMX_ROWS;
    const int ring = 2 * BAND + 2 * b->widest + g->chunk_rows; /* what a band reads, and what is made meanwhile */
    g->ring = ring < b->height ? ring : b->height;
    g->ring_row = (columns + 2 * (ptrdiff_t)b->widest) * depth;
    g->reduced = aligned_floats((size_t)(g->ring * g->ring_row));
    g->piece_height = BAND;
    g->pieces_down = (int)divide_up(b->height, BAND);
    g->spread = g->products = 0;
    g->merged = aligned_floats((size_t)columns * (size_t)b->outputs + PLANAR_SLACK);
    g->row = aligned_floats((size_t)b->width * (size_t)b->outputs + PLANAR_SLACK);
    g->pairs = aligned_floats(readable * (size_t)amx_depth(widest_source));
    g->stage = b->reduce ? aligned_floats(chunk * (size_t)b->reduced + PLANAR_SLACK) : 0;
    g->head = b->head ? aligned_floats(readable * (size_t)amx_depth(b->outputs)) : 0;
}

/* The first pixel of row y of the branches' input. */
static float *ring_row(const struct worker *w, int y)
{
    return w->reduced + y % w->g->ring * w->g->ring_row + w->plan->block.widest * (ptrdiff_t)amx_depth(w->plan->block.reduced);
}

void dilated_amx_chunk(struct worker *w, const struct window *window)
{
    const struct dilated_block *b = &w->plan->block;
    const ptrdiff_t depth = amx_depth(b->reduced), before = b->widest * depth, pixels = b->width * depth;
    const float *rows = b->reduce ? NULL : dilated_source_pairs(w, window);
    if (b->reduce)
        dilated_stage_pixels(w, w->plan->reduce_stage, b->reduced, b->reduce_activation, w->low, window, w->stage);
    for (int r = 0; r < window->rows; r++) {
        float *to = ring_row(w, window->y + r);
        const struct row_pairs pairs = {.pixels = b->width, .channels = b->reduced, .input = w->stage + (ptrdiff_t)r * b->width * b->reduced,
                                        .pixel = b->reduced, .step = 1, .output = to, .pixel_out = depth, .step_out = 1};
        memset(to - before, 0, (size_t)before * sizeof *to);
        if (rows)
            memcpy(to, rows + r * pixels, (size_t)pixels * sizeof *to);
        else
            w->plan->products->row_pairs(&pairs);
        memset(to + pixels, 0, (size_t)(w->g->ring_row - before - pixels) * sizeof *to);
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
            offsets[taps++] = ring_row(w, y + (i - 1) * d) - w->reduced + (j - 1) * d * depth;
    const struct channel_product product = {.rows = whole_tiles(b->width), .columns = branch->channels, .depth = (int)depth, .taps = taps,
                                            .input = w->reduced, .pixel = depth, .step = 1, .offsets = offsets,
                                            .weights = w->plan->weights[w->plan->branch_stages[k]] + 3 * first * depth * width,
                                            .width = width, .output = w->merged + branch->first, .stride = b->outputs,
                                            .residual = branch->read_sum ? w->merged + b->branches[k - 1].first : NULL,
                                            .residual_stride = b->outputs, .shape = w->shape};
    w->plan->products->channel_product(&product);
}

void dilated_amx_row(struct worker *w, int y)
{
    const struct window window = {.y = y, .rows = 1, .columns = w->plan->block.width};
    dilated_fetch_row(w, &window, false);
    for (int k = 0; k < w->plan->block.branch_count; k++)
        make_branch(w, k, y);
    dilated_end_row(w, &window, 0);
}
