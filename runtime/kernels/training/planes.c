/* 3×3 convolutions of stride 1 by Winograd along the rows: eighteen products for thirty-six, whatever the dilation. With enough channels the
 * columns, too, where their transforms take less than they save: nine. */
#include <omp.h>
#include <string.h>

#include "runtime/kernels/planar/pack.h"
#include "runtime/kernels/training/convolution.h"
#include "runtime/round.h"

enum { ITEM_COLUMNS = 256, ITEM_BYTES = 96 << 10 };
/* Weights that no second cache level holds come from far away for every item, which therefore has so many columns at least. */
enum { FAR_BYTES = 4 << 20, FAR_COLUMNS = 128 };
/* Both ways: channels from which on (fewer where a multiplication of 512 bits takes two turns), channels and features whose weights do not
 * become too large, nor their sums too long to be exact, a width that fills its tiles, channels whose rows stay in the first cache level, and
 * what an item holds: so much, or so many tiles. */
enum { SQUARE_CHANNELS = 20, SQUARE_SPLIT_CHANNELS = 16, SQUARE_MOST = 512, SQUARE_WIDTH = 24, SQUARE_TOGETHER = 4, SQUARE_BYTES = 304 << 10,
       SQUARE_TILES = 32, POSITIONS = WINOGRAD_INPUTS * WINOGRAD_INPUTS };

/* About as many groups to an item as wanted, and about as many items for each of the threads. */
static void take_together(struct segments *q, int64_t wanted, int64_t images, int threads)
{
    const int64_t most = images * q->down;
    q->together = (int)(wanted < 1 || most < 1 ? 1 : wanted < most ? wanted : most);
    q->items = divide_up(most, q->together);
    if (q->items % threads) {
        q->items += threads - q->items % threads;
        q->together = (int)larger(1, divide_up(most, q->items));
        q->items = divide_up(most, q->together);
    }
}

void segments_measure(struct segments *out, const struct slide *s, int64_t columns, int64_t images, int threads)
{
    const int64_t down = s->dilation[0], across = s->dilation[1], rest = s->output[0] % (4 * down);
    *out = (struct segments){.down = (int)(s->output[0] / (4 * down) * down + (rest < down ? rest : down))};
    out->step = (int)larger(s->output[1] + 2 * across - s->pad[1], s->input[1] + s->pad[1]);
    if (round_up(out->step, LINE_FLOATS) - out->step <= out->step / 8)
        out->step = (int)round_up(out->step, LINE_FLOATS); /* few more columns, and no vector of an input or a product lies in two lines */
    take_together(out, columns / out->step, images, threads);
    out->width = round_up((int64_t)out->together * out->step + round_up(s->pad[1], LINE_FLOATS) + 2 * across, LINE_FLOATS) + TRAINING_SLACK;
}

static bool is_square(const struct planes_call *c)
{
    const struct slide *s = &c->slide;
    const int64_t least = training_column_blocks(c->blocks) != c->blocks ? SQUARE_SPLIT_CHANNELS : SQUARE_CHANNELS;
    return s->channels >= least && s->features >= least && s->channels + s->features <= SQUARE_MOST && square_fits(s, c->blocks);
}

bool square_fits(const struct slide *s, const struct training_blocks *blocks)
{
    const int64_t d = s->dilation[1];
    return training_column_blocks(blocks)->spread_columns && s->output[1] >= SQUARE_WIDTH && (d == 1 || d == 2 || d == 4 || d == 8);
}

void square_measure(struct square *out, const struct slide *s, int64_t tiles, int64_t images, int threads)
{
    struct segments *q = &out->segments;
    segments_measure(q, s, 1, 1, 1);
    out->groups = (int)divide_up(s->output[1], TRAINING_COLUMNS);
    const int64_t row = larger((int64_t)out->groups * TRAINING_COLUMNS + 2 * s->dilation[1], s->input[1]) + s->pad[1];
    out->row_pitch = round_up(row, LINE_FLOATS) + LINE_FLOATS;
    out->rows = (size_t)(WINOGRAD_INPUTS * SQUARE_TOGETHER * out->row_pitch);
    q->step = out->groups * (TRAINING_COLUMNS / WINOGRAD_OUTPUTS);
    take_together(q, tiles / q->step, images, threads);
    q->together = (int)(q->items ? divide_up(images * q->down, q->items) : 1); /* about as many each */
    q->width = round_up((int64_t)q->together * q->step, LINE_FLOATS) + LINE_FLOATS;
}

void square_spread(void (*down)(const struct training_spread *), void (*across)(const struct training_columns *), struct training_spread spread,
                   struct training_columns columns)
{
    spread.position = columns.row = SQUARE_TOGETHER * columns.row_pitch;
    spread.pitch = columns.row_pitch;
    for (int left = spread.channels; left > 0; left -= SQUARE_TOGETHER, columns.tiles += SQUARE_TOGETHER * columns.pitch) {
        spread.channels = columns.channels = left < SQUARE_TOGETHER ? left : SQUARE_TOGETHER;
        down(&spread);
        across(&columns);
        for (int r = 0; r < WINOGRAD_INPUTS; r++)
            spread.rows[r] += spread.rows[r] ? SQUARE_TOGETHER * spread.channel : 0;
    }
}

static void measure_square(const struct planes_call *c, int64_t images, struct planes_geometry *g)
{
    const struct slide *s = &c->slide;
    const int64_t fits = SQUARE_BYTES / (POSITIONS * (s->channels + s->features) * (int64_t)sizeof(float));
    const struct square *q = &g->square;
    square_measure(&g->square, s, larger(fits, SQUARE_TILES), images, c->threads);
    g->spread_position = (ptrdiff_t)s->channels * q->segments.width + LINE_FLOATS;
    g->product_pitch = q->segments.width;
    g->product_position = (ptrdiff_t)((s->features + 3) / 4 * 4) * g->product_pitch + LINE_FLOATS;
    g->spread = g->square.rows + (size_t)round_up(POSITIONS * g->spread_position + PLANAR_SLACK, LINE_FLOATS);
    g->products = g->square.rows + (size_t)round_up(POSITIONS * g->product_position + PLANAR_SLACK, LINE_FLOATS);
}

void planes_measure(const struct planes_call *c, int64_t images, struct planes_geometry *g)
{
    const struct slide *s = &c->slide;
    *g = (struct planes_geometry){0};
    if (is_square(c)) {
        measure_square(c, images, g);
        return;
    }
    int64_t columns = ITEM_BYTES / (WINOGRAD_INPUTS * (s->channels + s->features) * (int64_t)sizeof(float));
    columns = columns < ITEM_COLUMNS ? columns : ITEM_COLUMNS;
    if (planes_packed_floats(c) * sizeof(float) > FAR_BYTES)
        columns = larger(columns, FAR_COLUMNS);
    segments_measure(&g->square.segments, s, columns, images, c->threads);
    g->spread_position = (ptrdiff_t)s->channels * g->square.segments.width + LINE_FLOATS;
    g->product_pitch = round_up((int64_t)g->square.segments.together * g->square.segments.step, LINE_FLOATS) + TRAINING_SLACK;
    g->product_position = (ptrdiff_t)((s->features + 3) / 4 * 4) * g->product_pitch + LINE_FLOATS;
    g->spread = (size_t)round_up(WINOGRAD_INPUTS * g->spread_position + PLANAR_SLACK, LINE_FLOATS);
    g->products = (size_t)round_up(WINOGRAD_INPUTS * g->product_position + PLANAR_SLACK, LINE_FLOATS);
}

size_t planes_packed_floats(const struct planes_call *c)
{
    const size_t rows = (size_t)((c->slide.features + 3) / 4 * 4);
    return (is_square(c) ? POSITIONS : WINOGRAD_INPUTS * 3) * rows * (size_t)c->slide.channels;
}

void planes_pack(const struct planes_call *c, const float *weights, float *out)
{
    const int features = (int)c->slide.features, channels = (int)c->slide.channels;
    if (is_square(c))
        pack_plane_square(features, channels, weights, out);
    else
        pack_plane_winograd(features, channels, weights, out);
}

static size_t offsets_bytes(const struct slide *s)
{
    return aligned_bytes((size_t)(3 * s->channels) * sizeof(ptrdiff_t));
}

size_t planes_scratch(const struct planes_call *c)
{
    struct planes_geometry g;
    planes_measure(c, c->slide.batch, &g);
    return offsets_bytes(&c->slide) + (g.spread + g.products) * (size_t)c->threads * sizeof(float);
}

/* What the next groups read for the first time, and write, comes into the cache while products are computed. */
static void look_ahead(const struct planes_piece *piece, struct plane_batch *batch)
{
    const struct planes_call *c = piece->next.call;
    if (!c)
        return;
    const struct slide *s = &c->slide;
    const int64_t d = s->dilation[0], y = segment_row(piece->next.first, d);
    const int64_t plane = s->input[0] * s->input[1], fewer = s->channels < s->features ? s->channels : s->features;
    if (s->input[0] != s->output[0] || s->input[1] != s->output[1] || y + 4 * d >= s->input[0])
        return;
    batch->read = c->x + piece->next.image * s->channels * plane + (y + d) * s->input[1];
    batch->written = c->through ? batch->read : c->y + piece->next.image * s->features * plane + y * s->output[1];
    batch->ahead_step = (ptrdiff_t)plane;
    batch->ahead_row = (ptrdiff_t)(d * s->input[1]);
    batch->ahead_rows = WINOGRAD_OUTPUTS;
    batch->ahead_count = (int)(WINOGRAD_OUTPUTS * fewer);
    batch->ahead_lines = (int)((s->input[1] * (int64_t)sizeof(float) + 63) / 64);
}

/* Of a piece's group `i`: its image, and the first output row. */
struct place {
    int64_t image, y;
};

static struct place place_of(const struct planes_call *c, const struct planes_geometry *g, const struct planes_piece *piece, int i)
{
    const int64_t index = piece->first + i, down = g->square.segments.down;
    return (struct place){.image = piece->image + index / down, .y = segment_row(index % down, c->slide.dilation[0])};
}

/* Where a group of rows comes from. */
static struct training_spread spread_of(const struct planes_call *c, const struct planes_geometry *g, const struct planes_piece *piece, int i)
{
    const struct slide *s = &c->slide;
    const struct place at = place_of(c, g, piece, i);
    const ptrdiff_t plane = (ptrdiff_t)(s->input[0] * s->input[1]);
    struct training_spread spread = {.channels = (int)s->channels, .columns = (int)s->input[1], .channel = plane};
    for (int r = 0; r < WINOGRAD_INPUTS; r++) {
        const int64_t row = at.y - s->pad[0] + r * s->dilation[0];
        spread.rows[r] = row < 0 || row >= s->input[0] ? NULL : c->x + at.image * s->channels * plane + row * s->input[1];
    }
    return spread;
}

/* Where it goes to, and what is done on the way. */
static struct plane_gather gather_of(const struct planes_call *c, const struct planes_geometry *g, const struct planes_piece *piece, int i)
{
    const struct slide *s = &c->slide;
    const struct place first = place_of(c, g, piece, i);
    const ptrdiff_t plane = (ptrdiff_t)(s->output[0] * s->output[1]);
    const int64_t rows = (s->output[0] - first.y + s->dilation[0] - 1) / s->dilation[0];
    const ptrdiff_t at = first.image * s->features * plane + (ptrdiff_t)(first.y * s->output[1]);
    struct plane_gather gather = {.channels = (int)s->features, .columns = (int)s->output[1],
                                  .rows = rows < WINOGRAD_OUTPUTS ? (int)rows : WINOGRAD_OUTPUTS,
                                  .finish = {.output = c->y + at, .residual = c->addend ? c->addend + at : NULL, .step = plane,
                                             .row = (ptrdiff_t)(s->dilation[0] * s->output[1]), .shift = c->bias, .through = c->through,
                                             .sum_step = piece->sum_step, .sum_row = (ptrdiff_t)(s->dilation[0] * s->output[1]),
                                             .read_sum = piece->read_sum, .write_sum = piece->write_sum}};
    if (piece->sum)
        gather.finish.sum = piece->sum + (first.y - piece->sum_first) * s->output[1];
    return gather;
}

static void spread_square(const struct planes_call *c, const struct planes_geometry *g, const struct planes_piece *piece, int i)
{
    struct training_spread spread = spread_of(c, g, piece, i);
    struct training_columns columns = {.groups = g->square.groups, .dilation = (int)c->slide.dilation[1], .rows = piece->spread,
                                       .row_pitch = g->square.row_pitch, .tiles = piece->spread + g->square.rows + i * g->square.segments.step,
                                       .position = g->spread_position, .pitch = g->square.segments.width};
    spread.output = piece->spread + c->slide.pad[1];
    square_spread(c->blocks->spread_input, training_column_blocks(c->blocks)->spread_columns, spread, columns);
}

/* The way back. */
static void gather_square(const struct planes_call *c, const struct planes_geometry *g, const struct planes_piece *piece, int i)
{
    struct plane_gather gather = gather_of(c, g, piece, i);
    struct planar_finish *f = &gather.finish;
    struct training_columns columns = {.groups = g->square.groups, .dilation = (int)c->slide.dilation[1], .rows = piece->products,
                                       .row = SQUARE_TOGETHER * g->square.row_pitch, .row_pitch = g->square.row_pitch,
                                       .tiles = piece->products + g->square.rows + i * g->square.segments.step, .position = g->product_position,
                                       .pitch = g->product_pitch};
    gather.input = columns.rows;
    gather.position = columns.row;
    gather.pitch = columns.row_pitch;
    for (int left = gather.channels; left > 0; left -= SQUARE_TOGETHER, columns.tiles += SQUARE_TOGETHER * columns.pitch) {
        gather.channels = columns.channels = left < SQUARE_TOGETHER ? left : SQUARE_TOGETHER;
        training_column_blocks(c->blocks)->gather_columns(&columns);
        c->planar->plane_gather(&gather);
        f->output += SQUARE_TOGETHER * f->step;
        f->residual += f->residual ? SQUARE_TOGETHER * f->step : 0;
        f->shift += f->shift ? SQUARE_TOGETHER : 0;
        f->sum += f->sum ? SQUARE_TOGETHER * f->sum_step : 0;
    }
}

static void spread_rows(const struct planes_call *c, const struct planes_geometry *g, const struct planes_piece *piece, int i)
{
    struct training_spread spread = spread_of(c, g, piece, i);
    spread.output = piece->spread + i * g->square.segments.step + round_up(c->slide.pad[1], LINE_FLOATS);
    spread.position = g->spread_position;
    spread.pitch = g->square.segments.width;
    c->blocks->spread_input(&spread);
}

static void gather_rows(const struct planes_call *c, const struct planes_geometry *g, const struct planes_piece *piece, int i)
{
    struct plane_gather gather = gather_of(c, g, piece, i);
    gather.input = piece->products + i * g->square.segments.step;
    gather.position = g->product_position;
    gather.pitch = g->product_pitch;
    c->planar->plane_gather(&gather);
}

void planes_groups(const struct planes_call *c, const struct planes_geometry *g, const struct planes_piece *piece)
{
    const struct slide *s = &c->slide;
    const bool square = g->square.groups > 0;
    for (int i = 0; i < piece->count; i++)
        (square ? spread_square : spread_rows)(c, g, piece, i);
    struct plane_batch batch = {.count = square ? POSITIONS : WINOGRAD_INPUTS, .rows = (int)s->features,
                                .columns = (int)((piece->count - 1) * g->square.segments.step + (square ? g->square.segments.step : s->output[1])),
                                .depth = (int)(square ? s->channels : 3 * s->channels), .weights = c->weights, .input = piece->spread + g->square.rows,
                                .position = g->spread_position, .offsets = piece->offsets, .output = piece->products + g->square.rows,
                                .position_out = g->product_position, .pitch_out = g->product_pitch, .written = c->y, .read = c->y, .ahead_rows = 1};
    look_ahead(piece, &batch);
    c->planar->plane_batch(&batch);
    for (int i = 0; i < piece->count; i++)
        (square ? gather_square : gather_rows)(c, g, piece, i);
}

void planes_place(const struct planes_call *c, const struct planes_geometry *g, ptrdiff_t *offsets)
{
    const struct slide *s = &c->slide;
    for (int64_t k = 0; g->square.groups && k < s->channels; k++)
        offsets[k] = (ptrdiff_t)k * g->square.segments.width;
    const ptrdiff_t first = round_up(s->pad[1], LINE_FLOATS) - s->pad[1]; /* inputs, which are written, begin at a line */
    for (int64_t k = 0; !g->square.groups && k < 3 * s->channels; k++)
        offsets[k] = (ptrdiff_t)(k / 3) * g->square.segments.width + first + (ptrdiff_t)(k % 3 * s->dilation[1]);
}

void planes_run(const struct planes_call *c)
{
    struct planes_geometry g;
    planes_measure(c, c->slide.batch, &g);
    ptrdiff_t *offsets = c->scratch;
    float *threads = (float *)((char *)c->scratch + offsets_bytes(&c->slide));
    const struct segments *q = &g.square.segments;
    planes_place(c, &g, offsets);
#pragma omp parallel num_threads(c->threads) if (c->threads > 1 && q->items > 1)
    {
        float *own = threads + (size_t)omp_get_thread_num() * (g.spread + g.products);
        memset(own, 0, g.spread * sizeof *own); /* what lies between the segments stays zero */
#pragma omp for schedule(static)
        for (int64_t item = 0; item < q->items; item++) {
            const int64_t first = item * q->together, next = first + q->together, all = c->slide.batch * q->down;
            struct planes_piece piece = {.image = first / q->down, .first = first % q->down, .spread = own, .products = own + g.spread,
                                         .offsets = offsets};
            piece.count = all - first < q->together ? (int)(all - first) : q->together;
            piece.next.call = item + 1 < q->items ? c : NULL;
            piece.next.image = next / q->down;
            piece.next.first = next % q->down;
            planes_groups(c, &g, &piece);
        }
    }
}
