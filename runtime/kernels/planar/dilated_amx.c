/* The dilated-parallel block in bfloat16 on AMX tiles: products are so cheap there that the branches are made directly, tap by tap, a row of
 * y at a time, which stays in a cache until it is finished.
 *
 * Their input is kept as pairs, in rows with margins of zeros. Few channels would fill a fraction of a tile: there each dilation d has
 * a map of its own, in which every d-th pixel is a neighbour, so that the three taps of a filter's row are one deep one. */
#include <string.h>

#include "runtime/kernels/planar/dilated_channels.h"

enum { BAND = 16, TAPS = 9 };

static size_t aligned(size_t floats)
{
    return (floats + AMX_ROWS - 1) / AMX_ROWS * AMX_ROWS;
}

static int divided(int a, int b)
{
    return (a + b - 1) / b;
}

static int whole_tiles(int pixels)
{
    return divided(pixels, AMX_ROWS) * AMX_ROWS;
}

/* Pixels of a row in phase `phase`. */
static int phase_pixels(int width, int phases, int phase)
{
    return phase < width ? divided(width - phase, phases) : 0;
}

static bool joins_taps(const struct dilated_block *b)
{
    return 3 * amx_depth(b->reduced) <= AMX_PAIRS;
}

static void place_maps(const struct dilated_block *b, struct geometry *g)
{
    const ptrdiff_t depth = amx_depth(b->reduced);
    ptrdiff_t floats = 0;
    g->map_count = 0;
    for (int k = 0; k < b->branch_count; k++) {
        const int phases = joins_taps(b) ? b->branches[k].dilation : 1;
        int m = 0;
        while (m < g->map_count && g->maps[m].phases != phases)
            m++;
        g->branch_map[k] = m;
        if (m < g->map_count)
            continue;
        struct pair_map *map = &g->maps[g->map_count++];
        *map = (struct pair_map){.phases = phases, .margin = joins_taps(b) ? 1 : b->widest, .first = floats};
        map->segment = divided(b->width, phases) + 2 * map->margin;
        map->row = phases * map->segment * depth;
        floats += g->ring * map->row;
    }
    g->reduced = aligned((size_t)(floats + 2 * AMX_ROWS * depth)); /* rows of tiles are read beyond the last pixel */
}

/* Whole tiles of y's row are written, of each phase. */
static int written_pixels(const struct dilated_block *b, const struct geometry *g)
{
    int most = 0;
    for (int m = 0; m < g->map_count; m++) {
        const int phases = g->maps[m].phases, last = phases * whole_tiles(divided(b->width, phases));
        most = last > most ? last : most;
    }
    return most;
}

void dilated_amx_measure(const struct dilated_plan *plan, int widest_source, struct geometry *g)
{
    const struct dilated_block *b = &plan->block;
    const size_t chunk = (size_t)g->chunk_rows * (size_t)b->width, readable = chunk + AMX_ROWS;
    const int ring = 2 * BAND + 2 * b->widest + g->chunk_rows; /* what a band reads, and what is made meanwhile */
    g->ring = ring < b->height ? ring : b->height;
    place_maps(b, g);
    g->spread = g->products = 0;
    g->merged = aligned((size_t)written_pixels(b, g) * (size_t)b->outputs + PLANAR_SLACK);
    g->row = aligned((size_t)b->width * (size_t)b->outputs + PLANAR_SLACK);
    g->pairs = aligned(readable * (size_t)amx_depth(widest_source));
    g->stage = aligned(chunk * (size_t)b->reduced + (size_t)b->width * (size_t)amx_depth(b->reduced) + PLANAR_SLACK);
    g->head = b->head ? aligned(readable * (size_t)amx_depth(b->outputs)) : 0;
}

/* Where a phase of a row begins, its margin first. */
static float *map_segment(const struct worker *w, const struct pair_map *map, int y, int phase)
{
    return w->reduced + map->first + y % w->g->ring * map->row + phase * map->segment * amx_depth(w->plan->block.reduced);
}

/* Every `phases`-th pixel, each of `depth` floats. */
static void copy_phase(const float *from, ptrdiff_t step, int count, ptrdiff_t depth, float *to)
{
    struct quad {
        float values[4];
    } quad;
    for (int i = 0; i < count && depth == 4; i++, from += step, to += 4) {
        memcpy(&quad, from, sizeof quad);
        memcpy(to, &quad, sizeof quad);
    }
    for (int i = 0; i < count && depth != 4; i++, from += step, to += depth)
        memcpy(to, from, (size_t)depth * sizeof *to);
}

/* A row of pairs to a map. */
static void give_row(const struct worker *w, const struct pair_map *map, int y, const float *pairs)
{
    const int width = w->plan->block.width;
    const ptrdiff_t depth = amx_depth(w->plan->block.reduced);
    for (int phase = 0; phase < map->phases; phase++) {
        float *segment = map_segment(w, map, y, phase), *to = segment + map->margin * depth;
        const int count = phase_pixels(width, map->phases, phase);
        memset(segment, 0, (size_t)(map->margin * depth) * sizeof *segment);
        if (map->phases == 1)
            memcpy(to, pairs, (size_t)(count * depth) * sizeof *to);
        else
            copy_phase(pairs + phase * depth, map->phases * depth, count, depth, to);
        memset(to + count * depth, 0, (size_t)((map->segment - map->margin - count) * depth) * sizeof *segment);
    }
}

void dilated_amx_chunk(struct worker *w, const struct window *window)
{
    const struct dilated_block *b = &w->plan->block;
    const ptrdiff_t depth = amx_depth(b->reduced), row = (ptrdiff_t)b->width * b->reduced;
    const float *rows = b->reduce ? NULL : dilated_source_pairs(w, window);
    float *pairs = w->stage + window->rows * row;
    if (b->reduce)
        dilated_stage_pixels(w, w->plan->reduce_stage, b->reduced, b->reduce_activation, w->low, window, w->stage);
    for (int r = 0; r < window->rows; r++) {
        for (int m = 0; m < w->g->map_count && rows; m++)
            give_row(w, &w->g->maps[m], window->y + r, rows + r * b->width * depth);
        if (rows)
            continue;
        const struct row_pairs turn = {.pixels = b->width, .channels = b->reduced, .input = w->stage + r * row, .pixel = b->reduced,
                                       .step = 1, .output = pairs, .pixel_out = depth, .step_out = 1};
        w->plan->products->row_pairs(&turn);
        for (int m = 0; m < w->g->map_count; m++)
            give_row(w, &w->g->maps[m], window->y + r, pairs);
    }
}

/* Row y of a branch's part of the merged map, with the sum of the branches before. */
static void make_branch(const struct worker *w, int k, int y)
{
    const struct dilated_block *b = &w->plan->block;
    const struct dilated_branch *branch = &b->branches[k];
    const struct pair_map *map = &w->g->maps[w->g->branch_map[k]];
    const bool joined = joins_taps(b);
    const ptrdiff_t depth = amx_depth(b->reduced), width = (ptrdiff_t)pack_width((size_t)branch->channels);
    const int d = branch->dilation, first = y - d < 0 ? 1 : 0, last = y + d < b->height ? 3 : 2; /* rows of the filter inside the map */
    const float *sum = branch->read_sum ? w->merged + b->branches[k - 1].first : NULL;
    ptrdiff_t offsets[TAPS];
    struct channel_product product = {.columns = branch->channels, .depth = (int)(joined ? 3 * depth : depth), .input = w->reduced,
                                      .pixel = depth, .step = 1, .offsets = offsets, .width = width, .shape = w->shape,
                                      .weights = w->plan->weights[w->plan->branch_stages[k]] + 3 * first * depth * width,
                                      .stride = (ptrdiff_t)map->phases * b->outputs, .residual_stride = (ptrdiff_t)map->phases * b->outputs};
    for (int phase = 0; phase < map->phases && phase < b->width; phase++) {
        product.rows = whole_tiles(phase_pixels(b->width, map->phases, phase));
        product.output = w->merged + branch->first + (ptrdiff_t)phase * b->outputs;
        product.residual = sum ? sum + (ptrdiff_t)phase * b->outputs : NULL;
        product.taps = 0;
        for (int i = first; i < last; i++) {
            const ptrdiff_t at = map_segment(w, map, y + (i - 1) * d, phase) - w->reduced + (map->margin - (joined ? 1 : d)) * depth;
            for (int j = 0; j < (joined ? 1 : 3); j++)
                offsets[product.taps++] = at + j * d * depth;
        }
        w->plan->products->channel_product(&product);
    }
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
    const int needed = row + w->plan->block.widest;
    return needed < w->plan->block.height ? divided(needed, w->g->chunk_rows) : w->g->chunks;
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
