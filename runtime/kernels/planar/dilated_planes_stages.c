/* The 1×1 stages of the dilated-parallel block on planes, row by row: the branches' input, the shortcut, the head. */
#include <string.h>

#include "runtime/kernels/planar/dilated_planes.h"

enum { MOST_DEPTH = 256 };

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

/* `whole` with planes `step` apart, in parts of a depth that there are offsets for. */
static void multiply(const struct planar_blocks *blocks, const struct plane_product *whole, ptrdiff_t step)
{
    ptrdiff_t offsets[MOST_DEPTH];
    for (int done = 0; done < whole->depth; done += MOST_DEPTH) {
        struct plane_product part = *whole;
        part.depth = whole->depth - done < MOST_DEPTH ? whole->depth - done : MOST_DEPTH;
        for (int k = 0; k < part.depth; k++)
            offsets[k] = (done + k) * step;
        part.offsets = offsets;
        part.weights += 4 * done;
        part.accumulate = whole->accumulate || done > 0;
        if (done + part.depth < whole->depth) {
            part.residual = NULL;
            part.activation = PLANAR_LINEAR;
        }
        blocks->plane_product(&part);
    }
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
            const bool last = --left == 0 && !upsampled;
            ptrdiff_t step;
            struct plane_product product = {.rows = rows, .columns = columns, .depth = depth, .weight_step = depth, .weights = weights,
                                            .output = output, .stride = stride, .accumulate = started, .residual = last ? start : NULL,
                                            .residual_stride = w->g->ring_pitch, .shift = upsampled ? NULL : w->plan->shift[stage],
                                            .activation = last ? activation : PLANAR_LINEAR, .slope = w->plan->slope[stage],
                                            .prefetch = 3 * LINE_FLOATS};
            product.input = product_row(w, s, y, from, columns, &step);
            multiply(w->plan->products, &product, step);
            started = true;
        }
        weights += round_up(rows, 4) * depth;
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

void dilated_shortcut_row(struct worker *w, int y)
{
    const struct dilated_block *b = &w->plan->block;
    const float *low = w->low + b->reduced * (ptrdiff_t)w->g->low_height * w->g->low_width;
    if (b->shortcut == SHORTCUT_STAGE)
        make_row(w, w->plan->shortcut_stage, b->outputs, PLANAR_LINEAR, low, y, w->first, w->columns, row_of_y(w, y), w->y_plane);
    else
        copy_row(w, y, w->first, w->columns, row_of_y(w, y), w->y_plane);
}

void dilated_fill_row(struct worker *w, int y)
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
}

void dilated_head_row(const struct worker *w, int y)
{
    const struct dilated_block *b = &w->plan->block;
    const int stage = w->plan->head_stage;
    const struct plane_product product = {.rows = b->results, .columns = w->columns, .depth = b->outputs, .weight_step = b->outputs,
                                          .weights = w->plan->weights[stage], .input = row_of_y(w, y),
                                          .output = w->result + (ptrdiff_t)y * b->width + w->first, .stride = plane_of(b),
                                          .shift = w->plan->shift[stage], .activation = b->head_activation,
                                          .slope = w->plan->slope[stage]};
    multiply(w->plan->blocks, &product, w->y_plane);
}

void dilated_low_plane_row(struct worker *w, int y, float *low)
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
