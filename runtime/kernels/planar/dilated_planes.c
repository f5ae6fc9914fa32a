/* The dilated-parallel block on planes, for few channels: lanes are pixels of a row.
 *
 * The map is cut into stripes of columns and parts of rows, each of which one thread walks in bands of rows. The branches' input
 * lives in a ring of padded rows that is filled one dilation ahead of the band; each branch then makes its rows by Winograd down
 * the columns, adds the running sum, and finishes: scale, shift, shortcut, activation. What upsampled sources contribute is
 * multiplied at their own size first, since interpolation and 1×1 convolutions commute. */
#include <omp.h>
#include <string.h>

#include "runtime/kernels/planar/dilated.h"
#include "runtime/kernels/planar/pack.h"

enum { ALIGN = 16, WIDEST_STRIPE = 256, NARROWEST_STRIPE = 48 };

struct geometry {
    int band, pad, ring_rows;          /* rows of a band; columns left and right of a stripe in the ring */
    int stripes, stripe, parts, part;  /* of whole bands: numbers and sizes */
    int whole_bands, rest_stripes, rest_stripe, rest_parts, rest_part; /* of the bands that are left over */
    int low_height, low_width;         /* of upsampled sources */
    bool upsampled, separate_sum;
    bool waiting;                      /* the shortcut waits in the output: a stage, or x in another layout */
    ptrdiff_t ring_pitch, ring_plane, row_pitch, spread_pitch, spread_position, product_pitch, product_position;
    /* Floats of the parts of one thread's scratch, and of the team's. */
    size_t ring, spread, products, sums, rows, pairs, upsampled_rows, temporary, thread, low, whole;
};

static size_t aligned(size_t floats)
{
    return (floats + ALIGN - 1) / ALIGN * ALIGN;
}

static int divided(int a, int b)
{
    return (a + b - 1) / b;
}

/* What one thread works with on one stripe of one image. */
struct worker {
    const struct dilated_plan *plan;
    const struct geometry *g;
    const float *const *sources;
    int image, first, columns;          /* of the stripe */
    int start, end;                     /* rows of the part */
    float *output;                      /* of the image, planes */
    float *ring, *spread, *products, *sums, *rows, *pairs, *upsampled, *temporary;
    const float *low;
    int row_source, row, row_from, row_columns; /* what `rows` holds; −1: nothing */
    int pair_source, pair_row, pair_from, pair_columns; /* what `pairs` holds */
};

/* Every thread takes as many whole bands of rows as there are for all; those that are left over are cut into stripes of columns. Whole
 * rows are better where they can be had: neighbouring stripes share memory at their seams. */
static void cut(const struct dilated_block *b, int threads, struct geometry *g)
{
    int bands = divided(b->height, g->band), columns = divided(b->width, ALIGN);
    g->stripes = divided(b->width, WIDEST_STRIPE);
    g->stripe = divided(columns, g->stripes) * ALIGN;
    g->stripes = divided(b->width, g->stripe);
    g->whole_bands = bands / threads * threads;
    g->part = bands / threads * g->band;
    g->parts = g->part > 0 ? threads : 0;
    int rest = bands - g->whole_bands, stripes = threads;
    while (stripes > 1 && divided(columns, stripes) * ALIGN < NARROWEST_STRIPE)
        stripes--;
    stripes = stripes > g->stripes ? stripes : g->stripes;
    g->rest_stripe = divided(columns, stripes) * ALIGN;
    g->rest_stripes = divided(b->width, g->rest_stripe);
    /* With fewer stripes than threads the bands that are left go to one thread each. */
    g->rest_part = stripes < threads || rest == 0 ? g->band : rest * g->band;
    g->rest_parts = divided(rest * g->band, g->rest_part);
}

/* The rows and columns of an item. */
static void place_item(const struct dilated_block *b, const struct geometry *g, int item, struct worker *w)
{
    int whole = g->parts * g->stripes, stripe = g->stripe;
    if (item < whole) { /* threads take items in turn: a thread's stripes of the same rows */
        w->start = item % g->parts * g->part;
        w->end = w->start + g->part;
        w->first = item / g->parts * stripe;
    } else {
        item -= whole;
        stripe = g->rest_stripe;
        w->start = g->whole_bands * g->band + item / g->rest_stripes * g->rest_part;
        w->end = w->start + g->rest_part;
        w->first = item % g->rest_stripes * stripe;
    }
    w->end = w->end < b->height ? w->end : b->height;
    w->columns = b->width - w->first < stripe ? b->width - w->first : stripe;
}

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
    int whole_height = divided(b->height, b->span) * b->span;
    g->band = b->span <= 64 ? b->span : whole_height;
    while (g->band < 16 && g->band < b->height)
        g->band += b->span;
    cut(b, plan->threads, g);
    g->pad = divided(b->widest, ALIGN) * ALIGN;
    g->ring_rows = g->band + 2 * b->widest;
    g->ring_pitch = g->stripe + 2 * g->pad + ALIGN;
    g->ring_plane = (g->ring_rows + 1) * g->ring_pitch + ALIGN;
    g->spread_pitch = g->ring_pitch;
    g->spread_position = pack_depth(b->reduced, b->pairs) * g->spread_pitch + ALIGN;
    g->product_pitch = g->stripe;
    g->product_position = divided(most, 4) * 4 * g->product_pitch + ALIGN; /* products come in fours */
    /* The running sum can stay in the last branch's part of the output until that branch replaces it, unless the shortcut waits
     * there already. */
    g->waiting = b->shortcut == SHORTCUT_STAGE || (b->shortcut == SHORTCUT_IDENTITY && b->sources[0].layout != LAYOUT_PLAIN);
    g->separate_sum = g->waiting;
    g->low_height = b->height / 2;
    g->low_width = b->width / 2;
    g->ring = aligned((size_t)(b->reduced * g->ring_plane) + PLANAR_SLACK);
    g->spread = aligned((size_t)(WINOGRAD_INPUTS * g->spread_position) + PLANAR_SLACK);
    g->products = aligned((size_t)(WINOGRAD_INPUTS * g->product_position) + PLANAR_SLACK);
    g->sums = g->separate_sum ? aligned((size_t)most * (size_t)g->band * (size_t)g->stripe + PLANAR_SLACK) : 0;
    g->row_pitch = g->ring_pitch > g->low_width ? g->ring_pitch : g->low_width;
    g->rows = aligned(2 * (size_t)rows * (size_t)g->row_pitch + PLANAR_SLACK);
    g->pairs = b->pairs ? aligned((size_t)pack_depth(rows, true) * (size_t)g->row_pitch + PLANAR_SLACK) : 0;
    g->temporary = aligned(UPSAMPLED_TOGETHER * ((size_t)g->ring_pitch + PLANAR_SLACK));
    int project = b->shortcut == SHORTCUT_STAGE ? b->outputs : 0;
    g->upsampled_rows = g->upsampled ? aligned((size_t)(project > b->reduced ? project : b->reduced) * (size_t)g->ring_pitch) : 0;
    g->thread = g->ring + g->spread + g->products + g->sums + g->rows + g->pairs + g->upsampled_rows + g->temporary;
    g->low = g->upsampled ? aligned((size_t)(b->reduced + project) * (size_t)g->low_height * (size_t)g->low_width + PLANAR_SLACK) : 0;
    g->whole = b->output_layout == LAYOUT_PLAIN ? 0 : aligned((size_t)b->outputs * (size_t)b->height * (size_t)b->width);
}

size_t dilated_planes_scratch(const struct dilated_plan *plan)
{
    struct geometry g;
    measure(plan, &g);
    return (g.thread * (size_t)plan->threads + g.low + g.whole) * sizeof(float);
}

static ptrdiff_t plane_of(const struct dilated_block *b)
{
    return (ptrdiff_t)b->height * b->width;
}

/* Columns [from, from + columns) of row y of a source, as it enters the products: the first plane, and the distance of planes. */
static const float *source_row(struct worker *w, int source, int y, int from, int columns, ptrdiff_t *step)
{
    const struct dilated_block *b = &w->plan->block;
    int channels = b->sources[source].channels, scale = b->sources[source].scale;
    int factor = scale == SCALE_POOLED ? 2 : 1, width = b->sources[source].width;
    ptrdiff_t plane = (ptrdiff_t)b->sources[source].height * width, pixel = (ptrdiff_t)y * factor * width + (ptrdiff_t)from * factor;
    const float *image = w->sources[source] + (ptrdiff_t)w->image * channels * plane;
    bool plain = b->sources[source].layout == LAYOUT_PLAIN;
    if (plain && factor == 1) {
        *step = plane;
        return image + pixel;
    }
    *step = w->g->row_pitch;
    float *planes = w->rows, *pixels = w->rows + channels * w->g->row_pitch;
    if (w->row_source == source && w->row == y && w->row_from == from && w->row_columns >= columns)
        return planes;
    w->row_source = source;
    w->row = y;
    w->row_from = from;
    w->row_columns = columns;
    if (plain) {
        struct row_pool pool = {.planes = channels, .columns = columns, .above = image + pixel, .below = image + pixel + width,
                                .step = plane, .output = planes, .output_step = *step};
        w->plan->blocks->row_pool(&pool);
        return planes;
    }
    struct row_planes turn = {.pixels = columns, .channels = channels, .input = image + pixel * channels, .pixel = channels,
                              .output = planes, .plane = *step};
    if (factor == 2) {
        struct row_pool pool = {.channels = channels, .columns = columns, .above = turn.input,
                                .below = turn.input + (ptrdiff_t)width * channels, .output = pixels, .output_step = channels};
        w->plan->blocks->row_pool(&pool);
        turn.input = pixels;
    }
    w->plan->blocks->row_planes(&turn);
    return planes;
}

/* The same as the products take it: pairs of planes, or planes. */
static const float *product_row(struct worker *w, int source, int y, int from, int columns, ptrdiff_t *step)
{
    if (!w->plan->block.pairs)
        return source_row(w, source, y, from, columns, step);
    *step = w->g->row_pitch;
    if (w->pair_source == source && w->pair_row == y && w->pair_from == from && w->pair_columns >= columns)
        return w->pairs;
    struct row_pairs pairs = {.pixels = columns, .channels = w->plan->block.sources[source].channels, .planes = true, .pixel = 1,
                              .output = w->pairs, .step_out = *step};
    pairs.input = source_row(w, source, y, from, columns, &pairs.step);
    w->plan->products->row_pairs(&pairs);
    w->pair_source = source;
    w->pair_row = y;
    w->pair_from = from;
    w->pair_columns = columns;
    return w->pairs;
}

/* A product of every source that is (or is not) upsampled with its part of a stage's weights. The first one adds `start` (NULL:
 * nothing), the activation follows the last one. */
static void multiply_sources(struct worker *w, int stage, int rows, bool upsampled, int y, int from, int columns,
                             enum planar_activation activation, const float *start, float *output, ptrdiff_t stride)
{
    const struct dilated_block *b = &w->plan->block;
    const float *weights = w->plan->weights[stage];
    bool started = false;
    int left = dilated_sources(b, upsampled);
    for (int s = 0; s < b->source_count; s++) {
        int depth = pack_depth(b->sources[s].channels, b->pairs);
        if ((b->sources[s].scale == SCALE_UPSAMPLED) == upsampled) {
            ptrdiff_t step, offsets[256];
            const float *input = product_row(w, s, y, from, columns, &step);
            left--;
            for (int done = 0; done < depth; done += 256) {
                int part = depth - done < 256 ? depth - done : 256;
                for (int k = 0; k < part; k++)
                    offsets[k] = (done + k) * step;
                bool last = !upsampled && left == 0 && done + part == depth;
                struct plane_product product = {.rows = rows, .columns = columns, .depth = part, .weight_step = depth,
                                                .weights = weights + 4 * done, .input = input, .offsets = offsets, .output = output,
                                                .stride = stride, .accumulate = started, .residual = last ? start : NULL,
                                                .residual_stride = w->g->ring_pitch,
                                                .shift = upsampled ? NULL : w->plan->shift[stage],
                                                .activation = last ? activation : PLANAR_LINEAR, .slope = w->plan->slope[stage],
                                                .prefetch = 3 * ALIGN};
                w->plan->products->plane_product(&product);
                started = true;
            }
        }
        weights += (ptrdiff_t)divided(rows, 4) * 4 * depth;
    }
}

/* What the upsampled sources contribute to a row of a stage. */
static void upsample_row(struct worker *w, int rows, const float *low, const float *shift, int y, int from, int columns, float *output,
                         ptrdiff_t stride)
{
    const struct geometry *g = w->g;
    int above = y / 2 - (y % 2 == 0), below = above + 1;
    float weight = y % 2 == 0 ? 0.25f : 0.75f;
    above = above < 0 ? 0 : above;
    below = below < g->low_height ? below : g->low_height - 1;
    struct row_upsample up = {.planes = rows, .columns = columns / 2, .goes_left = from > 0, .goes_right = from + columns < 2 * g->low_width,
                              .above = low + (ptrdiff_t)above * g->low_width + from / 2, .below = low + (ptrdiff_t)below * g->low_width + from / 2,
                              .weight = weight, .step = (ptrdiff_t)g->low_height * g->low_width, .output = output,
                              .output_step = stride, .shift = shift, .temporary = w->temporary};
    w->plan->blocks->row_upsample(&up);
}

/* Columns of row y of a stage of x, from the sources. */
static void make_row(struct worker *w, int stage, int rows, enum planar_activation activation, const float *low, int y, int from,
                     int columns, float *output, ptrdiff_t stride)
{
    const struct dilated_block *b = &w->plan->block;
    bool others = dilated_sources(b, false) > 0;
    if (w->g->upsampled)
        upsample_row(w, rows, low, others ? NULL : w->plan->shift[stage], y, from, columns, others ? w->upsampled : output,
                     others ? w->g->ring_pitch : stride);
    if (others) {
        multiply_sources(w, stage, rows, false, y, from, columns, activation, w->g->upsampled ? w->upsampled : NULL, output, stride);
        return;
    }
    if (activation != PLANAR_LINEAR) { /* nothing but upsampled sources: a product of depth 0 applies the activation */
        struct plane_product product = {.rows = rows, .columns = columns, .weights = w->plan->weights[stage], .input = output,
                                        .output = output, .stride = stride, .accumulate = true, .activation = activation,
                                        .slope = w->plan->slope[stage]};
        w->plan->blocks->plane_product(&product);
    }
}

/* Columns of row y of the only source. */
static void copy_row(struct worker *w, int y, int from, int columns, float *output, ptrdiff_t stride)
{
    ptrdiff_t step;
    const float *row = source_row(w, 0, y, from, columns, &step);
    for (int c = 0; c < w->plan->block.channels; c++)
        memcpy(output + c * stride, row + c * step, (size_t)columns * sizeof *output);
}

static void fill_row(struct worker *w, int y)
{
    const struct dilated_block *b = &w->plan->block;
    const struct geometry *g = w->g;
    int from = w->first - g->pad > 0 ? w->first - g->pad : 0;
    int until = w->first + w->columns + g->pad < b->width ? w->first + w->columns + g->pad : b->width;
    float *to = w->ring + (ptrdiff_t)(y % g->ring_rows) * g->ring_pitch + g->pad + from - w->first;
    if (b->reduce)
        make_row(w, w->plan->reduce_stage, b->reduced, b->reduce_activation, w->low, y, from, until - from, to, g->ring_plane);
    else
        copy_row(w, y, from, until - from, to, g->ring_plane);
    if (y < w->start || y >= w->end) /* another part's output */
        return;
    if (b->shortcut == SHORTCUT_IDENTITY && g->waiting)
        copy_row(w, y, w->first, w->columns, w->output + (ptrdiff_t)y * b->width + w->first, plane_of(b));
    if (b->shortcut == SHORTCUT_STAGE)
        make_row(w, w->plan->shortcut_stage, b->outputs, PLANAR_LINEAR, w->low + b->reduced * (ptrdiff_t)g->low_height * g->low_width, y,
                 w->first, w->columns, w->output + (ptrdiff_t)y * b->width + w->first, plane_of(b));
}

/* One group of up to four rows, dilation apart, of one branch. */
static void run_group(const struct worker *w, int branch, int y, int band_start, const ptrdiff_t *offsets)
{
    const struct dilated_plan *plan = w->plan;
    const struct dilated_block *b = &plan->block;
    const struct geometry *g = w->g;
    int dilation = b->branches[branch].dilation, channels = b->branches[branch].channels, first = b->branches[branch].first;
    struct plane_spread spread = {.channels = b->reduced, .columns = w->columns + 2 * dilation, .channel = g->ring_plane,
                                  .output = w->spread, .position = g->spread_position, .pitch = g->spread_pitch};
    for (int i = 0; i < WINOGRAD_INPUTS; i++) {
        int row = y + (i - 1) * dilation;
        row = row < 0 || row >= b->height ? g->ring_rows : row % g->ring_rows; /* the one behind the ring is zero */
        spread.rows[i] = w->ring + (ptrdiff_t)row * g->ring_pitch + g->pad - dilation;
    }
    plan->products->plane_spread(&spread);
    ptrdiff_t plane = plane_of(b), at = (ptrdiff_t)y * b->width + w->first;
    float *output = w->output + first * plane + at;
    struct planar_finish finish = {
        .read_sum = b->branches[branch].read_sum, .write_sum = b->branches[branch].write_sum, .residual_first = b->shortcut_first,
        .output = b->branches[branch].output ? output : NULL, .step = plane, .row = (ptrdiff_t)dilation * b->width,
        .scale = plan->scale ? plan->scale + first : NULL, .shift = plan->offset ? plan->offset + first : NULL,
        .slope = plan->last_slope ? plan->last_slope + first : NULL, .activation = b->activation};
    if (g->separate_sum) {
        finish.sum = w->sums + (ptrdiff_t)(y - band_start) * g->stripe;
        finish.sum_step = (ptrdiff_t)g->band * g->stripe;
        finish.sum_row = (ptrdiff_t)dilation * g->stripe;
    } else {
        finish.sum = w->output + b->branches[b->branch_count - 1].first * plane + at;
        finish.sum_step = plane;
        finish.sum_row = finish.row;
    }
    if (g->waiting)
        finish.residual = output;
    else if (b->shortcut == SHORTCUT_IDENTITY)
        finish.residual = w->sources[0] + ((ptrdiff_t)w->image * b->channels + first) * plane + at;
    int rows = (b->height - y + dilation - 1) / dilation;
    rows = rows < WINOGRAD_OUTPUTS ? rows : WINOGRAD_OUTPUTS;
    struct plane_batch batch = {.count = WINOGRAD_INPUTS, .rows = channels, .columns = w->columns, .depth = 3 * pack_depth(b->reduced, b->pairs),
                                .weights = plan->weights[plan->branch_stages[branch]], .input = w->spread,
                                .position = g->spread_position, .offsets = offsets, .output = w->products,
                                .position_out = g->product_position, .pitch_out = g->product_pitch,
                                .written = output, .read = finish.residual ? finish.residual : output, .ahead_step = plane,
                                .ahead_row = finish.row, .ahead_rows = rows, .ahead_count = rows * channels,
                                .ahead_lines = divided(w->columns, ALIGN)};
    plan->products->plane_batch(&batch);
    struct plane_gather gather = {.channels = channels, .columns = w->columns, .rows = rows,
                                  .input = w->products, .position = g->product_position, .pitch = g->product_pitch, .finish = finish};
    plan->blocks->plane_gather(&gather);
}

static void run_band(const struct worker *w, int start, ptrdiff_t *offsets)
{
    const struct dilated_block *b = &w->plan->block;
    for (int k = 0; k < b->branch_count; k++) {
        int dilation = b->branches[k].dilation;
        for (int c = 0; c < pack_depth(b->reduced, b->pairs); c++)
            for (int tap = 0; tap < 3; tap++)
                offsets[3 * c + tap] = c * w->g->spread_pitch + (ptrdiff_t)tap * dilation;
        for (int base = start; base < start + w->g->band; base += 4 * dilation)
            for (int y = base; y < base + dilation && y < b->height; y++)
                run_group(w, k, y, start, offsets);
    }
}

static void run_part(struct worker *w)
{
    const struct dilated_block *b = &w->plan->block;
    ptrdiff_t offsets[3 * DILATED_PLANES];
    int filled = w->start - b->widest > 0 ? w->start - b->widest : 0;
    memset(w->ring, 0, w->g->ring * sizeof *w->ring);
    for (int y = w->start; y < w->end; y += w->g->band) {
        int until = y + w->g->band + b->widest < b->height ? y + w->g->band + b->widest : b->height;
        for (; filled < until; filled++)
            fill_row(w, filled);
        run_band(w, y, offsets);
    }
}

/* The upsampled sources' products at their own size, one row. */
static void run_low_row(struct worker *w, int y, float *low)
{
    const struct dilated_block *b = &w->plan->block;
    ptrdiff_t plane = (ptrdiff_t)w->g->low_height * w->g->low_width;
    float *row = low + (ptrdiff_t)y * w->g->low_width;
    if (b->reduce)
        multiply_sources(w, w->plan->reduce_stage, b->reduced, true, y, 0, w->g->low_width, PLANAR_LINEAR, NULL, row, plane);
    if (b->shortcut == SHORTCUT_STAGE)
        multiply_sources(w, w->plan->shortcut_stage, b->outputs, true, y, 0, w->g->low_width, PLANAR_LINEAR, NULL,
                         row + b->reduced * plane, plane);
}

/* Rows of the finished planes into a channels-last output. */
static void turn_row(const struct dilated_plan *plan, const float *planes, int y, float *output)
{
    const struct dilated_block *b = &plan->block;
    struct row_planes turn = {.pixels = b->outputs, .channels = b->width, .input = planes + (ptrdiff_t)y * b->width,
                              .pixel = plane_of(b), .output = output + (ptrdiff_t)y * b->width * b->outputs, .plane = b->outputs};
    plan->blocks->row_planes(&turn);
}

void dilated_planes_run(const struct dilated_plan *plan, const float *const *sources, float *output, void *scratch)
{
    const struct dilated_block *b = &plan->block;
    struct geometry g;
    measure(plan, &g);
    float *low = (float *)scratch + g.thread * (size_t)plan->threads, *whole = low + g.low;
    bool plain = b->output_layout == LAYOUT_PLAIN;
    ptrdiff_t image_size = b->outputs * plane_of(b);
#pragma omp parallel num_threads(plan->threads)
    {
        float *own = (float *)scratch + g.thread * (size_t)omp_get_thread_num();
        struct worker w = {.plan = plan, .g = &g, .sources = sources, .ring = own, .low = low};
        w.spread = w.ring + g.ring;
        w.products = w.spread + g.spread;
        w.sums = w.products + g.products;
        w.rows = w.sums + g.sums;
        w.pairs = w.rows + g.rows;
        w.upsampled = w.pairs + g.pairs;
        w.temporary = w.upsampled + g.upsampled_rows;
        for (int image = 0; image < b->batch; image++) {
            w.image = image;
            w.output = plain ? output + image * image_size : whole;
            w.row_source = w.pair_source = -1;
            if (g.upsampled) {
#pragma omp for schedule(static)
                for (int y = 0; y < g.low_height; y++)
                    run_low_row(&w, y, low);
            }
#pragma omp for schedule(static, 1)
            for (int item = 0; item < g.stripes * g.parts + g.rest_stripes * g.rest_parts; item++) {
                place_item(b, &g, item, &w);
                run_part(&w);
            }
            if (!plain) {
#pragma omp for schedule(static)
                for (int y = 0; y < b->height; y++)
                    turn_row(plan, whole, y, output + image * image_size);
            }
        }
    }
}
