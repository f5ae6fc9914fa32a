/* The dilated-parallel block on planes, for few channels: lanes are pixels of a row.
 *
 * The map is cut into stripes of columns, which are walked down in bands of rows. The branches' input lives in a ring of padded rows that
 * is filled one dilation ahead of the band; each branch then makes its rows by Winograd down the columns, adds the running sum, and
 * finishes: scale, shift, shortcut, activation. With a head y is nowhere whole: a band of it stays in a cache. What upsampled sources
 * contribute is multiplied at their own size first, since interpolation and 1×1 convolutions commute. */
#include <omp.h>
#include <string.h>

#include "runtime/kernels/planar/dilated_planes.h"

enum { WIDEST_STRIPE = 256, NARROWEST_PIECE = 48, FILL_ROWS = 4 };

static void measure(const struct dilated_plan *plan, struct geometry *g)
{
    const struct dilated_block *b = &plan->block;
    int most = 0, rows = 0;
    *g = (struct geometry){.upsampled = false};
    for (int k = 0; k < b->branch_count; k++)
        if (b->branches[k].channels > most)
            most = b->branches[k].channels;
    for (int s = 0; s < b->source_count; s++) {
        g->upsampled = g->upsampled || b->sources[s].scale == SCALE_UPSAMPLED;
        if (b->sources[s].channels > rows)
            rows = b->sources[s].channels;
    }
    int whole_height = (int)round_up(b->height, b->span);
    g->band = b->span <= 64 ? b->span : whole_height;
    while (g->band < 16 && g->band < b->height)
        g->band += b->span;
    g->bands = (int)divide_up(b->height, g->band);
    g->stripe = (int)divide_up(divide_up(b->width, LINE_FLOATS), divide_up(b->width, WIDEST_STRIPE)) * LINE_FLOATS;
    g->stripes = (int)divide_up(b->width, g->stripe);
    /* Each thread has whole bands, as many as the others; the rest of them are cut into pieces for all. */
    const int rest = plan->threads == 1 ? 0 : g->bands % plan->threads;
    const int columns = rest > 0 ? (int)divide_up(g->stripe, divide_up(plan->threads, rest)) : g->stripe;
    g->whole_bands = g->bands - rest;
    g->last_piece = (int)round_up(columns > NARROWEST_PIECE || columns == g->stripe ? columns : NARROWEST_PIECE, LINE_FLOATS);
    g->piece = g->whole_bands > 0 ? g->stripe : g->last_piece;
    g->fill_rows = plan->threads == 1 ? g->band : FILL_ROWS;
    g->pad = (int)round_up(b->widest, LINE_FLOATS);
    /* With few bands all rows are there before the first one; else the ring has what a band reads, and what is filled meanwhile. */
    g->ahead = plan->threads > 1 && g->bands <= 2 * plan->threads ? g->bands - 1 : 0;
    g->ring_rows = (plan->threads == 1 ? 1 : 2) * g->band + 2 * b->widest;
    if (g->ahead > 0 || g->ring_rows > b->height)
        g->ring_rows = b->height;
    g->ring_pitch = g->stripe + 2 * g->pad + LINE_FLOATS;
    g->ring_plane = (g->ring_rows + 1) * g->ring_pitch + LINE_FLOATS;
    g->spread_pitch = g->piece + 2 * g->pad + LINE_FLOATS;
    g->spread_position = pack_depth(b->reduced, b->pairs) * g->spread_pitch + LINE_FLOATS;
    g->product_pitch = g->piece;
    g->product_position = round_up(most, 4) * g->product_pitch + LINE_FLOATS; /* products come in fours */
    g->waiting = b->shortcut == SHORTCUT_STAGE || (b->shortcut == SHORTCUT_IDENTITY && (b->head || b->sources[0].layout != LAYOUT_PLAIN));
    /* The running sum can stay in the last branch's part of y until that branch replaces it, unless the shortcut is there. */
    g->separate_sum = b->shortcut != SHORTCUT_NONE;
    g->low_height = b->height / 2;
    g->low_width = b->width / 2;
    g->y_plane = (ptrdiff_t)g->band * g->piece + LINE_FLOATS;
    g->ring = aligned_floats((size_t)(b->reduced * g->ring_plane) + PLANAR_SLACK);
    g->spread = aligned_floats((size_t)(WINOGRAD_INPUTS * g->spread_position) + PLANAR_SLACK);
    g->products = aligned_floats((size_t)(WINOGRAD_INPUTS * g->product_position) + PLANAR_SLACK);
    g->sums = g->separate_sum ? aligned_floats((size_t)most * (size_t)g->band * (size_t)g->piece + PLANAR_SLACK) : 0;
    g->y = b->head ? aligned_floats((size_t)(b->outputs * g->y_plane) + PLANAR_SLACK) : 0;
    g->row_pitch = g->ring_pitch > g->low_width ? g->ring_pitch : g->low_width;
    g->rows = aligned_floats(2 * (size_t)rows * (size_t)g->row_pitch + PLANAR_SLACK);
    g->pairs = b->pairs ? aligned_floats((size_t)pack_depth(rows, true) * (size_t)g->row_pitch + PLANAR_SLACK) : 0;
    g->temporary = aligned_floats(UPSAMPLED_TOGETHER * ((size_t)g->ring_pitch + PLANAR_SLACK));
    int project = b->shortcut == SHORTCUT_STAGE ? b->outputs : 0;
    g->upsampled_rows = g->upsampled ? aligned_floats((size_t)(project > b->reduced ? project : b->reduced) * (size_t)g->ring_pitch) : 0;
    g->counts = aligned_floats(dilated_walk_floats(g->bands + 1));
    g->thread = g->sums + g->y + g->spread + g->products + g->rows + g->pairs + g->upsampled_rows + g->temporary;
    g->low = g->upsampled ? aligned_floats((size_t)(b->reduced + project) * (size_t)g->low_height * (size_t)g->low_width + PLANAR_SLACK) : 0;
    g->whole = b->output_layout == LAYOUT_PLAIN ? 0 : aligned_floats((size_t)b->results * (size_t)b->height * (size_t)b->width);
}

size_t dilated_planes_scratch(const struct dilated_plan *plan)
{
    struct geometry g;
    measure(plan, &g);
    return (g.thread * (size_t)plan->threads + g.ring + g.counts + g.low + g.whole) * sizeof(float);
}

bool dilated_planes_have_one_stripe(const struct dilated_block *block)
{
    return block->width <= WIDEST_STRIPE;
}

/* Group `index` of a branch in a piece: up to four rows, dilation apart. */
static void run_group(const struct worker *w, int branch, int index)
{
    const struct dilated_plan *plan = w->plan;
    const struct dilated_block *b = &plan->block;
    const struct geometry *g = w->g;
    const int dilation = b->branches[branch].dilation, channels = b->branches[branch].channels, first = b->branches[branch].first;
    const int y = w->y_start + index / dilation * WINOGRAD_OUTPUTS * dilation + index % dilation;
    if (y >= b->height)
        return;
    struct plane_spread spread = {.channels = b->reduced, .columns = w->columns + 2 * dilation, .channel = g->ring_plane,
                                  .output = w->spread, .position = g->spread_position, .pitch = g->spread_pitch};
    for (int i = 0; i < WINOGRAD_INPUTS; i++) {
        int row = y + (i - 1) * dilation;
        row = row < 0 || row >= b->height ? g->ring_rows : row % g->ring_rows; /* the one behind the ring is zero */
        spread.rows[i] = w->ring + (ptrdiff_t)row * g->ring_pitch + g->pad + w->first - w->stripe_first - dilation;
    }
    plan->products->plane_spread(&spread);
    float *output = row_of_y(w, y) + first * w->y_plane;
    struct planar_finish finish = {
        .read_sum = b->branches[branch].read_sum, .write_sum = b->branches[branch].write_sum, .residual_first = b->shortcut_first,
        .output = b->branches[branch].output ? output : NULL, .step = w->y_plane, .row = dilation * w->y_row,
        .scale = plan->scale ? plan->scale + first : NULL, .shift = plan->offset ? plan->offset + first : NULL,
        .slope = plan->last_slope ? plan->last_slope + first : NULL, .activation = b->activation};
    if (g->separate_sum) {
        finish.sum = w->sums + (ptrdiff_t)(y - w->y_start) * g->piece;
        finish.sum_step = (ptrdiff_t)g->band * g->piece;
        finish.sum_row = (ptrdiff_t)dilation * g->piece;
    } else {
        finish.sum = row_of_y(w, y) + b->branches[b->branch_count - 1].first * w->y_plane;
        finish.sum_step = w->y_plane;
        finish.sum_row = finish.row;
    }
    if (g->waiting)
        finish.residual = output;
    else if (b->shortcut == SHORTCUT_IDENTITY)
        finish.residual = w->sources[0] + ((ptrdiff_t)w->image * b->channels + first) * plane_of(b) + (ptrdiff_t)y * b->width + w->first;
    int rows = (int)divide_up(b->height - y, dilation);
    rows = rows < WINOGRAD_OUTPUTS ? rows : WINOGRAD_OUTPUTS;
    ptrdiff_t offsets[3 * DILATED_PLANES];
    const int depth = pack_depth(b->reduced, b->pairs);
    for (int c = 0; c < depth; c++)
        for (int tap = 0; tap < 3; tap++)
            offsets[3 * c + tap] = c * g->spread_pitch + (ptrdiff_t)tap * dilation;
    struct plane_batch batch = {.count = WINOGRAD_INPUTS, .rows = channels, .columns = w->columns, .depth = 3 * depth,
                                .weights = plan->weights[plan->branch_stages[branch]], .input = w->spread,
                                .position = g->spread_position, .offsets = offsets, .output = w->products,
                                .position_out = g->product_position, .pitch_out = g->product_pitch,
                                .written = output, .read = finish.residual ? finish.residual : output, .ahead_step = w->y_plane,
                                .ahead_row = finish.row, .ahead_rows = rows, .ahead_count = rows * channels,
                                .ahead_lines = (int)divide_up(w->columns, LINE_FLOATS)};
    plan->products->plane_batch(&batch);
    struct plane_gather gather = {.channels = channels, .columns = w->columns, .rows = rows,
                                  .input = w->products, .position = g->product_position, .pitch = g->product_pitch, .finish = finish};
    plan->blocks->plane_gather(&gather);
}

/* A band's rows of y: in the result, or with a head in memory of the thread's own. */
static void place_y(struct worker *w, int band_start, int end)
{
    const struct dilated_block *b = &w->plan->block;
    w->y_start = band_start;
    w->y_end = end;
    w->y = b->head ? w->own_y : w->result + (ptrdiff_t)band_start * b->width + w->first;
    w->y_plane = b->head ? w->g->y_plane : plane_of(b);
    w->y_row = b->head ? w->g->piece : b->width;
}

/* ---- the walk down a stripe: a phase has the pieces of a band and fills the ring for the next one ------------------------ */

/* Columns of the pieces of a phase; the first phase has none. */
static int piece_columns(const struct worker *w, int phase)
{
    return phase <= w->g->whole_bands ? w->g->stripe : w->g->last_piece;
}

static int piece_count(const struct worker *w, int phase)
{
    return phase == 0 ? 0 : (int)divide_up(w->stripe_columns, piece_columns(w, phase));
}

/* The rows of the ring that are filled before a phase. */
static int filled_before(const struct worker *w, int phase)
{
    const int until = phase > 0 ? (phase + w->g->ahead) * w->g->band + w->plan->block.widest : 0;
    return until < w->plan->block.height ? until : w->plan->block.height;
}

static int fill_count(const struct worker *w, int phase)
{
    return (int)divide_up(filled_before(w, phase + 1) - filled_before(w, phase), w->g->fill_rows);
}

static void fill(struct worker *w, int phase, int index)
{
    const struct dilated_block *b = &w->plan->block;
    const int first = filled_before(w, phase) + index * w->g->fill_rows, until = filled_before(w, phase + 1);
    w->first = w->stripe_first;
    w->columns = w->stripe_columns;
    place_y(w, 0, b->height);
    for (int y = first; y < first + w->g->fill_rows && y < until; y++) {
        dilated_fill_row(w, y);
        if (w->g->waiting && !b->head)
            dilated_shortcut_row(w, y);
    }
}

static void piece(struct worker *w, int phase, int index)
{
    const struct dilated_block *b = &w->plan->block;
    const int start = (phase - 1) * w->g->band, columns = piece_columns(w, phase), left = w->stripe_columns - index * columns;
    w->first = w->stripe_first + index * columns;
    w->columns = left < columns ? left : columns;
    place_y(w, start, start + w->g->band < b->height ? start + w->g->band : b->height);
    for (int y = start; y < w->y_end && b->head && w->g->waiting; y++)
        dilated_shortcut_row(w, y);
    for (int k = 0; k < b->branch_count; k++)
        for (int i = 0; i < w->g->band / WINOGRAD_OUTPUTS; i++)
            run_group(w, k, i);
    for (int y = start; y < w->y_end && b->head; y++)
        dilated_head_row(w, y);
}

/* The branches read zeros around the map. */
static void clear_ring(const struct worker *w, int plane)
{
    const struct geometry *g = w->g;
    const int left = w->stripe_first > 0 ? 0 : g->pad;
    const int rest = w->plan->block.width - w->stripe_first, until = rest < w->stripe_columns + g->pad ? g->pad + rest : (int)g->ring_pitch;
    float *row = w->ring + plane * g->ring_plane;
    for (int y = 0; y < g->ring_rows; y++, row += g->ring_pitch) {
        memset(row, 0, (size_t)left * sizeof *row);
        memset(row + until, 0, (size_t)(g->ring_pitch - until) * sizeof *row);
    }
    memset(row, 0, (size_t)(g->ring_pitch + LINE_FLOATS) * sizeof *row);
}

static void run_image(struct worker *w, float *counts)
{
    const struct geometry *g = w->g;
    const struct dilated_walk walk = {.phases = g->bands + 1, .pieces = piece_count, .fills = fill_count, .piece = piece, .fill = fill};
    for (int stripe = 0; stripe < g->stripes; stripe++) {
        const int rest = w->plan->block.width - stripe * g->stripe;
        w->stripe_first = stripe * g->stripe;
        w->stripe_columns = rest < g->stripe ? rest : g->stripe;
#pragma omp for schedule(static)
        for (int c = 0; c < w->plan->block.reduced; c++)
            clear_ring(w, c);
        dilated_walk_run(&walk, w, counts);
    }
}

/* Rows of the finished planes into a channels-last output. */
static void turn_row(const struct dilated_plan *plan, const float *planes, int y, float *output)
{
    const struct dilated_block *b = &plan->block;
    struct row_planes turn = {.pixels = b->results, .channels = b->width, .input = planes + (ptrdiff_t)y * b->width,
                              .pixel = plane_of(b), .output = output + (ptrdiff_t)y * b->width * b->results, .plane = b->results};
    plan->blocks->row_planes(&turn);
}

void dilated_planes_run(const struct dilated_plan *plan, const float *const *sources, float *output, void *scratch)
{
    const struct dilated_block *b = &plan->block;
    struct geometry g;
    measure(plan, &g);
    float *ring = (float *)scratch + g.thread * (size_t)plan->threads, *counts = ring + g.ring, *low = counts + g.counts, *whole = low + g.low;
    bool plain = b->output_layout == LAYOUT_PLAIN;
    ptrdiff_t image_size = b->results * plane_of(b);
#pragma omp parallel num_threads(plan->threads)
    {
        struct worker w = {.plan = plan, .g = &g, .sources = sources, .ring = ring, .low = low};
        w.sums = (float *)scratch + g.thread * (size_t)omp_get_thread_num();
        w.own_y = w.sums + g.sums;
        w.spread = w.own_y + g.y;
        w.products = w.spread + g.spread;
        w.rows = w.products + g.products;
        w.pairs = w.rows + g.rows;
        w.upsampled = w.pairs + g.pairs;
        w.temporary = w.upsampled + g.upsampled_rows;
        for (int image = 0; image < b->batch; image++) {
            w.image = image;
            w.result = plain ? output + image * image_size : whole;
            w.row_source = w.pair_source = -1;
            if (g.upsampled) {
#pragma omp for schedule(dynamic, FILL_ROWS)
                for (int y = 0; y < g.low_height; y++)
                    dilated_low_plane_row(&w, y, low);
            }
            run_image(&w, counts);
            if (!plain) {
#pragma omp for schedule(static)
                for (int y = 0; y < b->height; y++)
                    turn_row(plan, whole, y, output + image * image_size);
            }
        }
    }
}
