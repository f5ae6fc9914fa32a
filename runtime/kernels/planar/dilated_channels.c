/* The dilated-parallel block on channels-last data, for more channels: lanes are channels, so every width and dilation is the same
 * contiguous work.
 *
 * Pieces of the map are walked, a row of pieces after the other: each branch makes its tiles by Winograd in both directions and adds the
 * running sum, in a merged map of the piece's own. Then its rows are finished: scale, shift, shortcut, activation, head. What the next
 * row of pieces needs of the branches' input is made meanwhile, so that x is still in a cache when the shortcut reads it.
 * Small maps have too few pieces for all threads: there the branches' tiles are shared out singly, into maps of their own, and
 * finished in a third step. Both ways do the same operations on each element in the same order. */
#include <omp.h>
#include <string.h>

#include "runtime/kernels/planar/dilated_channels.h"
#include "runtime/kernels/planar/pack.h"
#include "runtime/kernels/planar/tiles.h"

enum { PIECE = 32, CHUNK_PIXELS = 224, LARGEST_GROUP = 64, GROUPS_EACH = 4, POSITIONS = WINOGRAD_INPUTS * WINOGRAD_INPUTS };

static int piece_size(int span, int whole)
{
    int rounded = (int)round_up(whole, span), size = (int)round_up(PIECE, span);
    return span > 2 * PIECE || size > rounded ? rounded : size;
}

/* How many of `height` rows make a chunk, `most` at most: as many as leave no thread with more rows than it must have, and each with two
 * chunks. */
static int even_rows(int height, int most, int threads)
{
    int best = 1, least = (int)divide_up(height, threads);
    for (int rows = 2; rows <= most && divide_up(height, rows) >= 2 * threads; rows++) {
        const int longest = (int)divide_up(divide_up(height, rows), threads) * rows;
        if (longest <= least) {
            best = rows;
            least = longest;
        }
    }
    return best;
}

static void measure(const struct dilated_plan *plan, struct geometry *g)
{
    const struct dilated_block *b = &plan->block;
    int most = 0, widest = 0, lanes = plan->blocks->lanes;
    size_t pixels = (size_t)b->height * (size_t)b->width, branches = 0;
    bool pooled = false;
    const bool plain = b->output_layout == LAYOUT_PLAIN;
    *g = (struct geometry){.turned = b->sources[0].layout != LAYOUT_CHANNELS_LAST};
    g->copied = !b->reduce && (g->turned || b->amx);
    for (int k = 0; k < b->branch_count; k++) {
        most = b->branches[k].channels > most ? b->branches[k].channels : most;
        branches += (size_t)b->branches[k].channels;
    }
    for (int s = 0; s < b->source_count; s++) {
        g->upsampled = g->upsampled || b->sources[s].scale == SCALE_UPSAMPLED;
        pooled = pooled || b->sources[s].scale == SCALE_POOLED;
        widest = b->sources[s].channels > widest ? b->sources[s].channels : widest;
    }
    g->piece_height = piece_size(b->span, b->height);
    g->piece_width = piece_size(b->span, b->width);
    g->pieces_down = (int)divide_up(b->height, g->piece_height);
    g->pieces_across = (int)divide_up(b->width, g->piece_width);
    g->split = !b->amx && plan->threads > 1 && g->pieces_down * g->pieces_across < 4 * plan->threads;
    /* Rows of whole maps are pooled once for the reducing stage and the shortcut. */
    g->waiting = (b->shortcut == SHORTCUT_STAGE && (g->split || ((pooled || b->amx) && !b->head && !plain && !b->rounded)))
                 || (b->shortcut == SHORTCUT_IDENTITY && g->split && g->turned);
    g->chunk_rows = even_rows(b->height, b->width < CHUNK_PIXELS ? CHUNK_PIXELS / b->width : 1, plan->threads);
    g->chunks = (int)divide_up(b->height, g->chunk_rows);
    g->low_height = b->height / 2;
    g->low_width = b->width / 2;
    g->spread_pitch = round_up(b->reduced, lanes);
    g->product_pitch = round_up(most, lanes);
    g->group = g->spread_pitch <= 8 ? LARGEST_GROUP : g->spread_pitch <= 16 ? LARGEST_GROUP / 2 : LARGEST_GROUP * 3 / 8;
    if (g->split) { /* a few groups for each thread, of about the same size */
        int64_t tiles = 0;
        for (int k = 0; k < b->branch_count; k++)
            tiles += tiles_along(b->height, b->branches[k].dilation) * tiles_along(b->width, b->branches[k].dilation);
        const int share = (int)((tiles + GROUPS_EACH * plan->threads - 1) / (GROUPS_EACH * plan->threads));
        g->group = g->group < share ? g->group : share;
    }
    g->spread_position = g->group * g->spread_pitch + LINE_FLOATS;
    g->product_position = g->group * g->product_pitch + LINE_FLOATS;
    g->spread = aligned_floats((size_t)(POSITIONS * g->spread_position) + PLANAR_SLACK);
    g->in_place = g->product_pitch == g->spread_pitch && channel_batch_in_place(most, b->reduced, lanes);
    g->products = g->in_place ? 0 : aligned_floats((size_t)(POSITIONS * g->product_position) + PLANAR_SLACK);
    const int rows = g->piece_height < b->height ? g->piece_height : b->height;
    const int columns = g->piece_width < b->width ? g->piece_width : b->width;
    g->merged_columns = columns + 2; /* rows apart in the cache */
    g->merged_part = (ptrdiff_t)rows * g->merged_columns;
    g->merged = g->split ? 0 : aligned_floats((size_t)(g->merged_part * b->outputs) + PLANAR_SLACK);
    g->row = g->split ? 0 : aligned_floats((size_t)columns * (size_t)b->outputs + PLANAR_SLACK);
    g->rows = aligned_floats((size_t)g->chunk_rows * (size_t)b->width * (size_t)widest + PLANAR_SLACK);
    g->pairs = b->pairs ? aligned_floats((size_t)g->chunk_rows * (size_t)b->width * (size_t)pack_depth(widest, true) + PLANAR_SLACK) : 0;
    const int project = b->shortcut == SHORTCUT_STAGE ? b->outputs : 0;
    g->result_row = b->head && (plain || b->rounded)
                        ? aligned_floats((size_t)g->chunk_rows * (size_t)b->width * (size_t)b->results + PLANAR_SLACK) : 0;
    g->reduced = b->reduce || g->copied ? aligned_floats(pixels * (size_t)b->reduced + PLANAR_SLACK) : 0;
    if (b->amx)
        dilated_amx_measure(plan, widest, g);
    g->counts = aligned_floats(dilated_walk_floats(g->pieces_down + 1));
    g->thread = g->spread + g->products + g->rows + g->pairs + g->merged + g->row + g->result_row + g->stage + g->head;
    g->low = g->upsampled ? aligned_floats((size_t)(b->reduced + project) * (size_t)g->low_height * (size_t)g->low_width + PLANAR_SLACK) : 0;
    g->branches = g->split ? aligned_floats(pixels * branches + PLANAR_SLACK) : 0;
    g->whole = g->split && (b->head || plain) ? aligned_floats(pixels * (size_t)b->outputs) : 0;
}

size_t dilated_channels_scratch(const struct dilated_plan *plan)
{
    struct geometry g;
    measure(plan, &g);
    return (g.thread * (size_t)plan->threads + g.counts + g.reduced + g.low + g.branches + g.whole) * sizeof(float);
}

static void make_chunk(struct worker *w, int chunk)
{
    const struct dilated_block *b = &w->plan->block;
    const struct geometry *g = w->g;
    const struct window window = dilated_chunk_window(w, chunk);
    const ptrdiff_t at = (ptrdiff_t)window.y * b->width;
    if (b->amx)
        dilated_amx_chunk(w, &window);
    else if (b->reduce)
        dilated_stage_pixels(w, w->plan->reduce_stage, b->reduced, b->reduce_activation, w->low, &window, w->reduced + at * b->reduced);
    else if (g->copied)
        dilated_turn_pixels(w, &window, w->reduced + at * b->reduced);
    if (g->waiting)
        dilated_make_shortcut(w, &window, w->output + at * b->outputs);
}

/* ---- tiles ----------------------------------------------------------------------------------------------------------- */

struct piece {
    int top, left, bottom, right;
};

/* Where a branch's tiles go: pointers to its channel 0 of the piece's first pixel. */
struct target {
    float *output;
    const float *sum;                   /* of the branches before, laid out as output; NULL: none */
    ptrdiff_t pixel, row;
};

static void run_group(const struct worker *w, int branch, const struct piece *piece, int first, int count, const struct target *target)
{
    const struct dilated_plan *plan = w->plan;
    const struct dilated_block *b = &plan->block;
    const struct geometry *g = w->g;
    struct channel_tile tiles[LARGEST_GROUP];
    int d = b->branches[branch].dilation, channels = b->branches[branch].channels;
    int across = (int)tiles_along(piece->right - piece->left, d);
    int down_index = first / across, across_index = first % across, x_phase = across_index % d;
    int x = piece->left + (int)tile_start(across_index, d);
    for (int done = 0; done < count; down_index++) { /* row by row of tiles */
        const int y = piece->top + (int)tile_start(down_index, d), row_end = done + across - across_index;
        const int until = row_end < count ? row_end : count;
        const uint8_t rows_there = tile_inputs_inside(y - d, d, b->height);
        const uint8_t rows = tile_outputs_inside(y, d, piece->bottom);
        for (; done < until; done++) {
            tiles[done] = (struct channel_tile){.input = (ptrdiff_t)(y - d) * b->width + x - d,
                                                .output = (y - piece->top) * target->row + (x - piece->left) * target->pixel,
                                                .rows_there = rows_there,
                                                .columns_there = tile_inputs_inside(x - d, d, b->width), .rows = rows,
                                                .columns = tile_outputs_inside(x, d, piece->right)};
            if (++x_phase == d) {
                x_phase = 0;
                x += 3 * d;
            }
            x++;
        }
        across_index = x_phase = 0;
        x = piece->left;
    }
    struct channel_spread spread = {.count = count, .channels = b->reduced, .tiles = tiles, .input = w->input, .pixel = b->reduced,
                                    .row = (ptrdiff_t)d * b->width * b->reduced, .column = (ptrdiff_t)d * b->reduced,
                                    .output = w->spread, .position = g->spread_position, .pitch = g->spread_pitch};
    plan->blocks->channel_spread(&spread);
    struct channel_batch batch = {.count = POSITIONS, .rows = count, .columns = channels, .depth = b->reduced, .input = w->spread,
                                  .position = g->spread_position, .pitch = g->spread_pitch,
                                  .weights = plan->weights[plan->branch_stages[branch]],
                                  .width = dilated_branch_width(b, channels), .output = w->products,
                                  .position_out = g->product_position, .pitch_out = g->product_pitch};
    plan->blocks->channel_batch(&batch);
    struct channel_gather gather = {.count = count, .channels = channels, .tiles = tiles, .input = w->products,
                                    .position = g->product_position, .pitch = g->product_pitch,
                                    .finish = {.output = target->output, .residual = target->sum, .step = d * target->pixel,
                                               .row = d * target->row}};
    plan->blocks->channel_gather(&gather);
}

/* Groups of about the same size, none larger than the scratch. */
static int group_count(const struct geometry *g, int tiles)
{
    return (int)divide_up(tiles, g->group);
}

static void run_share(const struct worker *w, int branch, const struct piece *piece, int tiles, int group, int groups,
                      const struct target *target)
{
    int first = (int)((int64_t)tiles * group / groups), last = (int)((int64_t)tiles * (group + 1) / groups);
    run_group(w, branch, piece, first, last - first, target);
}

static int piece_tiles(const struct worker *w, int branch, const struct piece *piece)
{
    int d = w->plan->block.branches[branch].dilation;
    return (int)(tiles_along(piece->bottom - piece->top, d) * tiles_along(piece->right - piece->left, d));
}

static void run_piece(struct worker *w, int index)
{
    const struct dilated_block *b = &w->plan->block;
    const struct geometry *g = w->g;
    struct piece piece = {.top = index / g->pieces_across * g->piece_height, .left = index % g->pieces_across * g->piece_width};
    piece.bottom = piece.top + g->piece_height < b->height ? piece.top + g->piece_height : b->height;
    piece.right = piece.left + g->piece_width < b->width ? piece.left + g->piece_width : b->width;
    const int rows = piece.bottom - piece.top;
    struct window window = {.rows = 1, .left = piece.left, .columns = piece.right - piece.left};
    int all = 0, done = 0;
    for (int k = 0; k < b->branch_count; k++)
        all += group_count(g, piece_tiles(w, k, &piece));
    for (int k = 0; k < b->branch_count; k++) {
        const struct dilated_branch *branch = &b->branches[k];
        int tiles = piece_tiles(w, k, &piece), groups = group_count(g, tiles);
        const struct target target = {.output = dilated_merged_part(w, branch), .pixel = branch->channels,
                                      .row = (ptrdiff_t)g->merged_columns * branch->channels,
                                      .sum = branch->read_sum ? dilated_merged_part(w, branch - 1) : NULL};
        for (int i = 0; i < groups; i++, done++) {
            /* Rows that are finished with these branches come into the second-level cache while it multiplies. */
            for (int row = rows * done / all; row < rows * (done + 1) / all; row++) {
                window.y = piece.top + row;
                dilated_fetch_row(w, &window, false);
            }
            run_share(w, k, &piece, tiles, i, groups, &target);
        }
    }
    for (int row = 0; row < rows; row++) {
        window.y = piece.top + row;
        dilated_end_row(w, &window, row);
    }
}

/* Item `item` of all branches' groups of tiles over the whole map. */
static void run_split(const struct worker *w, int item)
{
    const struct dilated_block *b = &w->plan->block;
    struct piece whole = {0, 0, b->height, b->width};
    float *map = w->branches;
    for (int k = 0; k < b->branch_count; k++) {
        int tiles = piece_tiles(w, k, &whole), groups = group_count(w->g, tiles), channels = b->branches[k].channels;
        if (item < groups) {
            const struct target target = {.output = map, .pixel = channels, .row = (ptrdiff_t)b->width * channels};
            run_share(w, k, &whole, tiles, item, groups, &target);
            return;
        }
        item -= groups;
        map += (ptrdiff_t)b->height * b->width * channels;
    }
}

static int split_items(const struct worker *w)
{
    const struct dilated_block *b = &w->plan->block;
    struct piece whole = {0, 0, b->height, b->width};
    int items = 0;
    for (int k = 0; k < b->branch_count; k++)
        items += group_count(w->g, piece_tiles(w, k, &whole));
    return items;
}

/* ---- the walk: a phase has a row of pieces, and makes what the next row of them needs ------------------------------------ */

/* The first chunk that the first `rows` rows of pieces do not need. */
static int chunks_for(const struct worker *w, int rows)
{
    const struct dilated_block *b = &w->plan->block;
    const int pixels = rows > 0 ? rows * w->g->piece_height + b->widest : 0;
    return pixels < b->height ? (int)divide_up(pixels, w->g->chunk_rows) : w->g->chunks;
}

static int piece_count(const struct worker *w, int phase)
{
    const struct geometry *g = w->g;
    const int left = w->plan->block.height - (phase - 1) * g->piece_height;
    if (phase == 0)
        return 0;
    return !w->plan->block.amx ? g->pieces_across : left < g->piece_height ? left : g->piece_height;
}

static int chunk_count(const struct worker *w, int phase)
{
    return phase < w->g->pieces_down ? chunks_for(w, phase + 1) - chunks_for(w, phase) : 0;
}

static void walk_piece(struct worker *w, int phase, int index)
{
    if (w->plan->block.amx)
        dilated_amx_row(w, (phase - 1) * w->g->piece_height + index);
    else
        run_piece(w, (phase - 1) * w->g->pieces_across + index);
}

static void walk_chunk(struct worker *w, int phase, int index)
{
    make_chunk(w, chunks_for(w, phase) + index);
}

static void run_pieces(struct worker *w)
{
    const struct dilated_walk walk = {.phases = w->g->pieces_down + 1, .pieces = piece_count, .fills = chunk_count, .piece = walk_piece,
                                      .fill = walk_chunk};
    dilated_walk_run(&walk, w, w->counts);
}

static void run_branches(struct worker *w)
{
    const struct geometry *g = w->g;
    const int items = split_items(w);
#pragma omp for schedule(dynamic)
    for (int chunk = 0; chunk < g->chunks; chunk++)
        make_chunk(w, chunk);
#pragma omp for schedule(dynamic)
    for (int item = 0; item < items; item++)
        run_split(w, item);
#pragma omp for schedule(dynamic)
    for (int chunk = 0; chunk < g->chunks; chunk++)
        dilated_finish_chunk(w, chunk);
    if (w->output != w->result) {
#pragma omp for schedule(dynamic)
        for (int chunk = 0; chunk < g->chunks; chunk++)
            dilated_end_chunk(w, chunk);
    }
}

/* The team's way through one image. */
static void run_image(struct worker *w)
{
    const struct dilated_block *b = &w->plan->block;
    const struct geometry *g = w->g;
    w->input = b->reduce || g->copied ? w->reduced : w->sources[0] + (ptrdiff_t)w->image * b->height * b->width * b->reduced;
    if (g->upsampled) {
#pragma omp for schedule(dynamic)
        for (int y = 0; y < g->low_height; y++)
            dilated_low_row(w, y);
    }
    if (g->split)
        run_branches(w);
    else
        run_pieces(w);
}

void dilated_channels_run(const struct dilated_plan *plan, const float *const *sources, float *output, void *scratch)
{
    const struct dilated_block *b = &plan->block;
    struct geometry g;
    measure(plan, &g);
    float *counts = (float *)scratch + g.thread * (size_t)plan->threads, *reduced = counts + g.counts, *low = reduced + g.reduced, *branches = low + g.low;
    float *whole = branches + g.branches;
    ptrdiff_t image_size = (ptrdiff_t)b->height * b->width * b->results;
#pragma omp parallel num_threads(plan->threads)
    {
        float *own = (float *)scratch + g.thread * (size_t)omp_get_thread_num();
        struct amx_shape shape = {0, 0};
        struct worker w = {.plan = plan, .g = &g, .shape = &shape, .sources = sources, .spread = own, .counts = counts, .reduced = reduced, .low = low,
                           .branches = branches};
        w.products = g.in_place ? w.spread : w.spread + g.spread;
        w.rows = w.spread + g.spread + g.products;
        w.pairs = w.rows + g.rows;
        w.merged = w.pairs + g.pairs;
        w.row = w.merged + g.merged;
        w.result_row = w.row + g.row;
        w.stage = w.result_row + g.result_row;
        w.head = w.stage + g.stage;
        w.row_held.source = w.pair_held.source = -1;
        for (int image = 0; image < b->batch; image++) {
            w.image = image;
            w.result = (float *)((char *)output + image * image_size * (ptrdiff_t)(b->rounded ? sizeof(uint16_t) : sizeof *output));
            w.output = g.whole ? whole : w.result;
            run_image(&w);
        }
        if (b->amx)
            plan->products->release(&shape);
    }
}
