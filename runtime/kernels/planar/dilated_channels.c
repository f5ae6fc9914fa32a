/* The dilated-parallel block on channels-last data, for more channels: lanes are channels, so every width and dilation is the same
 * contiguous work.
 *
 * First the branches' input (and a projecting shortcut) is made for the whole image. Then pieces of the map are walked: each
 * branch makes its tiles by Winograd in both directions, adds the running sum, and finishes: scale, shift, shortcut, activation.
 * Where there is a head, y is a map of the piece's own, of which the head then makes the result: y is nowhere whole.
 * Small maps have too few pieces for all threads: there the branches' tiles are shared out singly, into maps of their own, and
 * finished in a third step. Both ways do the same operations on each element in the same order. */
#include <omp.h>
#include <string.h>

#include "runtime/kernels/planar/dilated_channels.h"
#include "runtime/kernels/planar/pack.h"
#include "runtime/kernels/planar/tiles.h"

enum { ALIGN = 16, PIECE = 32, CHUNK_PIXELS = 224, LARGEST_GROUP = 48, POSITIONS = WINOGRAD_INPUTS * WINOGRAD_INPUTS };

static size_t aligned(size_t floats)
{
    return (floats + ALIGN - 1) / ALIGN * ALIGN;
}

static int divided(int a, int b)
{
    return (a + b - 1) / b;
}

static int piece_size(int span, int whole)
{
    int rounded = divided(whole, span) * span, size = divided(PIECE, span) * span;
    return span > 2 * PIECE || size > rounded ? rounded : size;
}

static void measure(const struct dilated_plan *plan, struct geometry *g)
{
    const struct dilated_block *b = &plan->block;
    int most = 0, widest = 0, lanes = plan->blocks->lanes;
    size_t pixels = (size_t)b->height * (size_t)b->width, branches = 0;
    bool turned = b->sources[0].layout != LAYOUT_CHANNELS_LAST;
    const bool plain = b->output_layout == LAYOUT_PLAIN;
    *g = (struct geometry){.copied = !b->reduce && turned};
    for (int k = 0; k < b->branch_count; k++) {
        most = b->branches[k].channels > most ? b->branches[k].channels : most;
        branches += (size_t)b->branches[k].channels;
    }
    for (int s = 0; s < b->source_count; s++) {
        g->upsampled = g->upsampled || b->sources[s].scale == SCALE_UPSAMPLED;
        widest = b->sources[s].channels > widest ? b->sources[s].channels : widest;
    }
    g->piece_height = piece_size(b->span, b->height);
    g->piece_width = piece_size(b->span, b->width);
    g->pieces_down = divided(b->height, g->piece_height);
    g->pieces_across = divided(b->width, g->piece_width);
    g->split = plan->threads > 1 && g->pieces_down * g->pieces_across < 4 * plan->threads;
    g->local = b->head && !g->split;
    g->waiting = b->shortcut == SHORTCUT_STAGE || (b->shortcut == SHORTCUT_IDENTITY && (turned || g->local));
    g->chunk_rows = b->width < CHUNK_PIXELS ? CHUNK_PIXELS / b->width : 1;
    while (g->chunk_rows > 1 && divided(b->height, g->chunk_rows) < 2 * plan->threads)
        g->chunk_rows--;
    g->chunks = divided(b->height, g->chunk_rows);
    g->low_height = b->height / 2;
    g->low_width = b->width / 2;
    g->spread_pitch = divided(b->reduced, lanes) * lanes;
    g->product_pitch = divided(most, lanes) * lanes;
    g->group = g->spread_pitch <= 16 ? LARGEST_GROUP : LARGEST_GROUP / 2;
    g->spread_position = g->group * g->spread_pitch + ALIGN;
    g->product_position = g->group * g->product_pitch + ALIGN;
    g->spread = aligned((size_t)(POSITIONS * g->spread_position) + PLANAR_SLACK);
    g->products = aligned((size_t)(POSITIONS * g->product_position) + PLANAR_SLACK);
    g->sums = g->split ? 0 : aligned((size_t)g->piece_height * (size_t)g->piece_width * (size_t)most + PLANAR_SLACK);
    g->rows = aligned((size_t)g->chunk_rows * (size_t)b->width * (size_t)widest + PLANAR_SLACK);
    g->pairs = b->pairs ? aligned((size_t)g->chunk_rows * (size_t)b->width * (size_t)pack_depth(widest, true) + PLANAR_SLACK) : 0;
    const int project = b->shortcut == SHORTCUT_STAGE ? b->outputs : 0;
    g->piece = g->local ? aligned((size_t)g->piece_height * (size_t)g->piece_width * (size_t)b->outputs + PLANAR_SLACK) : 0;
    g->turned = b->head && plain ? aligned((size_t)g->chunk_rows * (size_t)b->width * (size_t)b->results + PLANAR_SLACK) : 0;
    g->thread = g->spread + g->products + g->sums + g->rows + g->pairs + g->piece + g->turned;
    g->reduced = b->reduce || g->copied ? aligned(pixels * (size_t)b->reduced + PLANAR_SLACK) : 0;
    g->low = g->upsampled ? aligned((size_t)(b->reduced + project) * (size_t)g->low_height * (size_t)g->low_width + PLANAR_SLACK) : 0;
    g->branches = g->split ? aligned(pixels * branches + PLANAR_SLACK) : 0;
    g->whole = (b->head && g->split) || (!b->head && plain) ? aligned(pixels * (size_t)b->outputs) : 0;
}

size_t dilated_channels_scratch(const struct dilated_plan *plan)
{
    struct geometry g;
    measure(plan, &g);
    return (g.thread * (size_t)plan->threads + g.reduced + g.low + g.branches + g.whole) * sizeof(float);
}

/* The rows of a chunk. */
static struct window chunk_window(const struct worker *w, int chunk)
{
    const struct dilated_block *b = &w->plan->block;
    const int y = chunk * w->g->chunk_rows, left = b->height - y;
    return (struct window){.y = y, .rows = left < w->g->chunk_rows ? left : w->g->chunk_rows, .columns = b->width};
}

static void make_shortcut(struct worker *w, const struct window *window, float *output)
{
    const struct dilated_block *b = &w->plan->block;
    if (b->shortcut == SHORTCUT_STAGE)
        dilated_stage_pixels(w, w->plan->shortcut_stage, b->outputs, PLANAR_LINEAR, dilated_shortcut_low(w), window, output);
    else
        dilated_turn_pixels(w, window, output);
}

static void make_chunk(struct worker *w, int chunk)
{
    const struct dilated_block *b = &w->plan->block;
    const struct geometry *g = w->g;
    const struct window window = chunk_window(w, chunk);
    const ptrdiff_t at = (ptrdiff_t)window.y * b->width;
    if (b->reduce)
        dilated_stage_pixels(w, w->plan->reduce_stage, b->reduced, b->reduce_activation, w->low, &window, w->reduced + at * b->reduced);
    if (g->copied)
        dilated_turn_pixels(w, &window, w->reduced + at * b->reduced);
    if (g->waiting && !g->local)
        make_shortcut(w, &window, w->output + at * b->outputs);
}

/* ---- tiles ----------------------------------------------------------------------------------------------------------- */

struct piece {
    int top, left, bottom, right;
};

static void run_group(const struct worker *w, int branch, const struct piece *piece, int first, int count)
{
    const struct dilated_plan *plan = w->plan;
    const struct dilated_block *b = &plan->block;
    const struct geometry *g = w->g;
    struct channel_tile tiles[LARGEST_GROUP];
    int d = b->branches[branch].dilation, channels = b->branches[branch].channels, offset = b->branches[branch].first;
    int across = (int)tiles_along(piece->right - piece->left, d);
    const ptrdiff_t sum_width = g->split ? b->width : g->piece_width;
    const ptrdiff_t output_width = g->local ? piece->right - piece->left : b->width;
    const int output_top = g->local ? piece->top : 0, output_left = g->local ? piece->left : 0;
    float *output = g->local ? w->piece : w->output;
    int sum_top = g->split ? 0 : piece->top, sum_left = g->split ? 0 : piece->left;
    int down_index = first / across, across_index = first % across, x_phase = across_index % d;
    int x = piece->left + (int)tile_start(across_index, d);
    for (int done = 0; done < count; down_index++) { /* row by row of tiles */
        const int y = piece->top + (int)tile_start(down_index, d), row_end = done + across - across_index;
        const int until = row_end < count ? row_end : count;
        const uint8_t rows_there = tile_inputs_inside(y - d, d, b->height);
        const uint8_t rows = tile_outputs_inside(y, d, piece->bottom);
        for (; done < until; done++) {
            tiles[done] = (struct channel_tile){.input = ((ptrdiff_t)(y - d) * b->width + x - d) * b->reduced,
                                                .sum = ((y - sum_top) * sum_width + x - sum_left) * channels,
                                                .output = ((y - output_top) * output_width + x - output_left) * b->outputs + offset,
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
    struct channel_spread spread = {.count = count, .channels = b->reduced, .tiles = tiles, .input = w->input,
                                    .row = (ptrdiff_t)d * b->width * b->reduced, .column = (ptrdiff_t)d * b->reduced,
                                    .output = w->spread, .position = g->spread_position, .pitch = g->spread_pitch};
    plan->blocks->channel_spread(&spread);
    struct channel_batch batch = {.count = POSITIONS, .rows = count, .columns = channels, .depth = b->reduced, .input = w->spread,
                                  .position = g->spread_position, .pitch = g->spread_pitch,
                                  .weights = plan->weights[plan->branch_stages[branch]],
                                  .width = dilated_branch_width(b, channels), .output = w->products,
                                  .position_out = g->product_position, .pitch_out = g->product_pitch};
    plan->blocks->channel_batch(&batch);
    struct planar_finish finish = {.sum = w->sums, .sum_step = (ptrdiff_t)d * channels, .sum_row = d * sum_width * channels};
    if (g->split) {
        finish.sum = w->branches;
        for (int k = 0; k < branch; k++)
            finish.sum += (ptrdiff_t)b->height * b->width * b->branches[k].channels;
        finish.write_sum = true;
    } else {
        finish.read_sum = b->branches[branch].read_sum;
        finish.write_sum = b->branches[branch].write_sum;
        finish.output = b->branches[branch].output ? output : NULL;
        finish.residual = g->waiting ? output
                          : b->shortcut == SHORTCUT_IDENTITY
                              ? w->sources[0] + (ptrdiff_t)w->image * b->height * b->width * b->outputs : NULL;
        finish.residual_first = b->shortcut_first;
        finish.step = (ptrdiff_t)d * b->outputs;
        finish.row = d * output_width * b->outputs;
        finish.scale = plan->scale ? plan->scale + offset : NULL;
        finish.shift = plan->offset ? plan->offset + offset : NULL;
        finish.slope = plan->last_slope ? plan->last_slope + offset : NULL;
        finish.activation = b->activation;
    }
    struct channel_gather gather = {.count = count, .channels = channels, .tiles = tiles, .input = w->products,
                                    .position = g->product_position, .pitch = g->product_pitch, .finish = finish};
    plan->blocks->channel_gather(&gather);
}

/* Groups of about the same size, none larger than the scratch. */
static int group_count(const struct geometry *g, int tiles)
{
    return divided(tiles, g->group);
}

static void run_share(const struct worker *w, int branch, const struct piece *piece, int tiles, int group, int groups)
{
    int first = (int)((int64_t)tiles * group / groups), last = (int)((int64_t)tiles * (group + 1) / groups);
    run_group(w, branch, piece, first, last - first);
}

static int piece_tiles(const struct worker *w, int branch, const struct piece *piece)
{
    int d = w->plan->block.branches[branch].dilation;
    return (int)(tiles_along(piece->bottom - piece->top, d) * tiles_along(piece->right - piece->left, d));
}

/* The head of some pixels of y, the result's from `at` on. */
static void make_head(const struct worker *w, const float *y, int pixels, ptrdiff_t at)
{
    const struct dilated_block *b = &w->plan->block;
    const int stage = w->plan->head_stage;
    const bool plain = b->output_layout == LAYOUT_PLAIN;
    float *output = plain ? w->turned : w->result + at * b->results;
    const struct channel_product product = {.rows = pixels, .columns = b->results, .depth = b->outputs, .taps = 1, .input = y,
                                            .pixel = b->outputs, .step = 1, .weights = w->plan->weights[stage],
                                            .width = (ptrdiff_t)pack_width((size_t)b->results), .output = output, .stride = b->results,
                                            .shift = w->plan->shift[stage], .activation = b->head_activation,
                                            .slope = w->plan->slope[stage]};
    w->plan->blocks->channel_product(&product);
    const struct row_planes turn = {.pixels = pixels, .channels = b->results, .input = output, .pixel = b->results,
                                    .output = w->result + at, .plane = (ptrdiff_t)b->height * b->width};
    if (plain)
        w->plan->blocks->row_planes(&turn);
}

/* The piece's shortcut, row by row. */
static void begin_piece(struct worker *w, const struct piece *piece)
{
    const int width = piece->right - piece->left;
    float *row = w->piece;
    for (int y = piece->top; y < piece->bottom; y++, row += (ptrdiff_t)width * w->plan->block.outputs) {
        const struct window window = {.y = y, .rows = 1, .left = piece->left, .columns = width};
        make_shortcut(w, &window, row);
    }
}

static void end_piece(const struct worker *w, const struct piece *piece)
{
    const struct dilated_block *b = &w->plan->block;
    const int width = piece->right - piece->left;
    const float *row = w->piece;
    for (int y = piece->top; y < piece->bottom; y++, row += (ptrdiff_t)width * b->outputs)
        make_head(w, row, width, (ptrdiff_t)y * b->width + piece->left);
}

static void run_piece(struct worker *w, int index)
{
    const struct dilated_block *b = &w->plan->block;
    const struct geometry *g = w->g;
    struct piece piece = {.top = index / g->pieces_across * g->piece_height, .left = index % g->pieces_across * g->piece_width};
    piece.bottom = piece.top + g->piece_height < b->height ? piece.top + g->piece_height : b->height;
    piece.right = piece.left + g->piece_width < b->width ? piece.left + g->piece_width : b->width;
    if (g->local && g->waiting)
        begin_piece(w, &piece);
    for (int k = 0; k < b->branch_count; k++) {
        int tiles = piece_tiles(w, k, &piece), groups = group_count(g, tiles);
        for (int i = 0; i < groups; i++)
            run_share(w, k, &piece, tiles, i, groups);
    }
    if (g->local)
        end_piece(w, &piece);
}

/* Item `item` of all branches' groups of tiles over the whole map. */
static void run_split(const struct worker *w, int item)
{
    const struct dilated_block *b = &w->plan->block;
    struct piece whole = {0, 0, b->height, b->width};
    for (int k = 0; k < b->branch_count; k++) {
        int tiles = piece_tiles(w, k, &whole), groups = group_count(w->g, tiles);
        if (item < groups) {
            run_share(w, k, &whole, tiles, item, groups);
            return;
        }
        item -= groups;
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

/* The third step of a split map: sums and finish of some rows. */
static void finish_chunk(const struct worker *w, int chunk)
{
    const struct dilated_plan *plan = w->plan;
    const struct dilated_block *b = &plan->block;
    const struct window window = chunk_window(w, chunk);
    ptrdiff_t at = (ptrdiff_t)window.y * b->width, pixels = (ptrdiff_t)b->height * b->width;
    float *map = w->branches, *sum = NULL;
    for (int k = 0; k < b->branch_count; k++) {
        int channels = b->branches[k].channels, offset = b->branches[k].first;
        float *input = map + at * channels;
        map += pixels * channels;
        if (!b->branches[k].read_sum)
            sum = input;
        struct planar_finish finish = {
            .sum = sum, .sum_step = channels, .read_sum = b->branches[k].read_sum,
            .write_sum = b->branches[k].read_sum && b->branches[k].write_sum, .residual_first = b->shortcut_first,
            .output = b->branches[k].output ? w->output + at * b->outputs + offset : NULL, .step = b->outputs,
            .scale = plan->scale ? plan->scale + offset : NULL, .shift = plan->offset ? plan->offset + offset : NULL,
            .slope = plan->last_slope ? plan->last_slope + offset : NULL, .activation = b->activation};
        if (w->g->waiting)
            finish.residual = finish.output;
        else if (b->shortcut == SHORTCUT_IDENTITY)
            finish.residual = w->sources[0] + ((ptrdiff_t)w->image * pixels + at) * b->outputs + offset;
        struct channel_finish call = {.pixels = window.rows * b->width, .channels = channels, .input = input, .pitch = channels, .finish = finish};
        plan->blocks->channel_finish(&call);
    }
}

/* The last step where y is whole: the head of some rows, or those rows as planes. */
static void end_chunk(const struct worker *w, int chunk)
{
    const struct dilated_block *b = &w->plan->block;
    const struct window window = chunk_window(w, chunk);
    ptrdiff_t at = (ptrdiff_t)window.y * b->width;
    if (b->head) {
        make_head(w, w->output + at * b->outputs, window.rows * b->width, at);
        return;
    }
    const struct row_planes turn = {.pixels = window.rows * b->width, .channels = b->outputs, .input = w->output + at * b->outputs,
                                    .pixel = b->outputs, .output = w->result + at, .plane = (ptrdiff_t)b->height * b->width};
    w->plan->blocks->row_planes(&turn);
}

/* The team's way through one image. */
static void run_image(struct worker *w)
{
    const struct dilated_block *b = &w->plan->block;
    const struct geometry *g = w->g;
    ptrdiff_t pixels = (ptrdiff_t)b->height * b->width;
    int pieces = g->pieces_down * g->pieces_across, items = g->split ? split_items(w) : 0;
    w->input = b->reduce || g->copied ? w->reduced : w->sources[0] + (ptrdiff_t)w->image * pixels * b->reduced;
    if (g->upsampled) {
#pragma omp for schedule(static)
        for (int y = 0; y < g->low_height; y++)
            dilated_low_row(w, y);
    }
#pragma omp for schedule(static)
    for (int chunk = 0; chunk < g->chunks; chunk++)
        make_chunk(w, chunk);
    if (g->split) {
#pragma omp for schedule(dynamic)
        for (int item = 0; item < items; item++)
            run_split(w, item);
#pragma omp for schedule(static)
        for (int chunk = 0; chunk < g->chunks; chunk++)
            finish_chunk(w, chunk);
    } else {
#pragma omp for schedule(dynamic)
        for (int piece = 0; piece < pieces; piece++)
            run_piece(w, piece);
    }
    if (w->output != w->result) {
#pragma omp for schedule(static)
        for (int chunk = 0; chunk < g->chunks; chunk++)
            end_chunk(w, chunk);
    }
}

void dilated_channels_run(const struct dilated_plan *plan, const float *const *sources, float *output, void *scratch)
{
    const struct dilated_block *b = &plan->block;
    struct geometry g;
    measure(plan, &g);
    float *reduced = (float *)scratch + g.thread * (size_t)plan->threads, *low = reduced + g.reduced, *branches = low + g.low;
    float *whole = branches + g.branches;
    ptrdiff_t image_size = (ptrdiff_t)b->height * b->width * b->results;
#pragma omp parallel num_threads(plan->threads)
    {
        float *own = (float *)scratch + g.thread * (size_t)omp_get_thread_num();
        struct worker w = {.plan = plan, .g = &g, .sources = sources, .spread = own, .reduced = reduced, .low = low,
                           .branches = branches};
        w.products = w.spread + g.spread;
        w.sums = w.products + g.products;
        w.rows = w.sums + g.sums;
        w.pairs = w.rows + g.rows;
        w.piece = w.pairs + g.pairs;
        w.turned = w.piece + g.piece;
        w.row_held.source = w.pair_held.source = -1;
        for (int image = 0; image < b->batch; image++) {
            w.image = image;
            w.result = output + image * image_size;
            w.output = g.whole ? whole : w.result;
            run_image(&w);
        }
    }
}
