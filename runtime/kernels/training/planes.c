/* 3×3 convolutions of stride 1 by Winograd along the rows: eighteen products for thirty-six, whatever the dilation. */
#include <omp.h>
#include <string.h>

#include "runtime/kernels/training/convolution.h"

enum { ALIGN = 16, ITEM_COLUMNS = 256, ITEM_BYTES = 384 << 10 };

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static ptrdiff_t rounded(int64_t count)
{
    return (ptrdiff_t)((count + ALIGN - 1) / ALIGN * ALIGN);
}

void segments_measure(struct segments *out, const struct slide *s, int64_t columns, int64_t images)
{
    const int64_t down = s->dilation[0], across = s->dilation[1], rest = s->output[0] % (4 * down);
    *out = (struct segments){.down = (int)(s->output[0] / (4 * down) * down + (rest < down ? rest : down))};
    out->step = (int)larger(s->output[1] + 2 * across - s->pad[1], s->input[1] + s->pad[1]);
    const int64_t wanted = columns / out->step, most = images * out->down;
    out->together = (int)(wanted < 1 || most < 1 ? 1 : wanted < most ? wanted : most);
    out->items = (most + out->together - 1) / out->together;
    out->width = rounded((int64_t)out->together * out->step + s->pad[1] + 2 * across) + TRAINING_SLACK;
}

void planes_measure(const struct planes_call *c, struct planes_geometry *g)
{
    const struct slide *s = &c->slide;
    int64_t columns = ITEM_BYTES / (WINOGRAD_INPUTS * (s->channels + s->features) * (int64_t)sizeof(float));
    segments_measure(&g->segments, s, columns < ITEM_COLUMNS ? columns : ITEM_COLUMNS, 1);
    g->spread_position = (ptrdiff_t)s->channels * g->segments.width + ALIGN;
    g->product_pitch = rounded((int64_t)g->segments.together * g->segments.step) + TRAINING_SLACK;
    g->product_position = (ptrdiff_t)((s->features + 3) / 4 * 4) * g->product_pitch + ALIGN;
    g->spread = (size_t)rounded(WINOGRAD_INPUTS * g->spread_position + PLANAR_SLACK);
    g->products = (size_t)rounded(WINOGRAD_INPUTS * g->product_position + PLANAR_SLACK);
}

static size_t offsets_bytes(const struct slide *s)
{
    return ((size_t)(3 * s->channels) * sizeof(ptrdiff_t) + 63) / 64 * 64;
}

size_t planes_scratch(const struct planes_call *c)
{
    struct planes_geometry g;
    planes_measure(c, &g);
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

void planes_groups(const struct planes_call *c, const struct planes_geometry *g, const struct planes_piece *piece)
{
    const struct slide *s = &c->slide;
    const struct segments *q = &g->segments;
    const ptrdiff_t in_plane = (ptrdiff_t)(s->input[0] * s->input[1]), out_plane = (ptrdiff_t)(s->output[0] * s->output[1]);
    const int64_t image = piece->image;
    for (int i = 0; i < piece->count; i++) {
        struct training_spread spread = {.channels = (int)s->channels, .columns = (int)s->input[1], .channel = in_plane,
                                         .output = piece->spread + i * q->step + s->pad[1], .position = g->spread_position, .pitch = q->width};
        const int64_t top = segment_row(piece->first + i, s->dilation[0]) - s->pad[0];
        for (int r = 0; r < WINOGRAD_INPUTS; r++) {
            const int64_t row = top + r * s->dilation[0];
            spread.rows[r] = row < 0 || row >= s->input[0] ? NULL : c->x + image * s->channels * in_plane + row * s->input[1];
        }
        c->blocks->spread_input(&spread);
    }
    struct plane_batch batch = {.count = WINOGRAD_INPUTS, .rows = (int)s->features,
                                .columns = (int)((piece->count - 1) * q->step + s->output[1]), .depth = (int)(3 * s->channels),
                                .weights = c->weights, .input = piece->spread, .position = g->spread_position, .offsets = piece->offsets,
                                .output = piece->products, .position_out = g->product_position, .pitch_out = g->product_pitch,
                                .written = c->y, .read = c->y, .ahead_rows = 1};
    look_ahead(piece, &batch);
    c->planar->plane_batch(&batch);
    for (int i = 0; i < piece->count; i++) {
        const int64_t y = segment_row(piece->first + i, s->dilation[0]), rows = (s->output[0] - y + s->dilation[0] - 1) / s->dilation[0];
        const ptrdiff_t at = image * s->features * out_plane + (ptrdiff_t)(y * s->output[1]);
        struct plane_gather gather = {.channels = (int)s->features, .columns = (int)s->output[1],
                                      .rows = rows < WINOGRAD_OUTPUTS ? (int)rows : WINOGRAD_OUTPUTS, .input = piece->products + i * q->step,
                                      .position = g->product_position, .pitch = g->product_pitch,
                                      .finish = {.output = c->y + at, .residual = c->addend ? c->addend + at : NULL, .step = out_plane,
                                                 .row = (ptrdiff_t)(s->dilation[0] * s->output[1]), .shift = c->bias, .through = c->through,
                                                 .sum_step = piece->sum_step, .sum_row = (ptrdiff_t)(s->dilation[0] * s->output[1]),
                                                 .read_sum = piece->read_sum, .write_sum = piece->write_sum}};
        if (piece->sum)
            gather.finish.sum = piece->sum + (y - piece->sum_first) * s->output[1];
        c->planar->plane_gather(&gather);
    }
}

void planes_place(const struct planes_call *c, const struct planes_geometry *g, ptrdiff_t *offsets)
{
    const struct slide *s = &c->slide;
    for (int64_t k = 0; k < 3 * s->channels; k++)
        offsets[k] = (ptrdiff_t)(k / 3) * g->segments.width + (ptrdiff_t)(k % 3 * s->dilation[1]);
}

void planes_run(const struct planes_call *c)
{
    struct planes_geometry g;
    planes_measure(c, &g);
    ptrdiff_t *offsets = c->scratch;
    float *threads = (float *)((char *)c->scratch + offsets_bytes(&c->slide));
    const struct segments *q = &g.segments;
    const int64_t items = c->slide.batch * q->items;
    planes_place(c, &g, offsets);
#pragma omp parallel num_threads(c->threads) if (c->threads > 1 && items > 1)
    {
        float *own = threads + (size_t)omp_get_thread_num() * (g.spread + g.products);
        memset(own, 0, g.spread * sizeof *own); /* what lies between the segments stays zero */
#pragma omp for schedule(static)
        for (int64_t item = 0; item < items; item++) {
            struct planes_piece piece = {.image = item / q->items, .first = item % q->items * q->together, .spread = own,
                                         .products = own + g.spread, .offsets = offsets};
            piece.count = q->down - piece.first < q->together ? (int)(q->down - piece.first) : q->together;
            piece.next.call = item + 1 < items ? c : NULL;
            piece.next.image = (item + 1) / q->items;
            piece.next.first = (item + 1) % q->items * q->together;
            planes_groups(c, &g, &piece);
        }
    }
}
