/* The 1×1 stages of x on channels-last data: products of the sources' pixels. A source enters as it is, or pooled on its way in; of
 * an upsampled one the product is made at its own size, and that is upsampled. */
#include <string.h>

#include "runtime/kernels/planar/dilated_channels.h"
#include "runtime/kernels/planar/pack.h"

static int pixels_of(const struct window *window)
{
    return window->rows * window->columns;
}

/* False when the buffer holds that already; it is taken to hold it from now on. */
static bool held_anew(struct held *held, const struct worker *w, int source, const struct window *window)
{
    if (held->source == source && held->image == w->image && memcmp(&held->window, window, sizeof *window) == 0)
        return false;
    *held = (struct held){source, w->image, *window};
    return true;
}

/* Pixels of a window of a source, as they enter a product: element (pixel, channel) is at [pixel * *pixel + channel * *step]. */
static const float *source_pixels(struct worker *w, int source, const struct window *window, ptrdiff_t *pixel, ptrdiff_t *step)
{
    const struct dilated_block *b = &w->plan->block;
    const int channels = b->sources[source].channels, width = b->sources[source].width;
    const ptrdiff_t plane = (ptrdiff_t)b->sources[source].height * width;
    const float *image = w->sources[source] + (ptrdiff_t)w->image * channels * plane;
    const bool plain = b->sources[source].layout == LAYOUT_PLAIN;
    *pixel = plain ? 1 : channels;
    *step = plain ? plane : 1;
    if (b->sources[source].scale != SCALE_POOLED)
        return image + ((ptrdiff_t)window->y * width + window->left) * *pixel;
    *step = plain ? pixels_of(window) : 1;
    if (!held_anew(&w->row_held, w, source, window))
        return w->rows;
    for (int r = 0; r < window->rows; r++) {
        const float *above = image + (2 * (ptrdiff_t)(window->y + r) * width + 2 * window->left) * *pixel;
        struct row_pool pool = {.planes = channels, .channels = plain ? 0 : channels, .columns = window->columns, .above = above,
                                .below = above + width * *pixel, .step = plane,
                                .output = w->rows + (ptrdiff_t)r * window->columns * *pixel, .output_step = plain ? *step : channels};
        w->plan->blocks->row_pool(&pool);
    }
    return w->rows;
}

/* Pixels of a bfloat16 source are pairs already, unless they are pooled, or of a tile's padding. */
static void set_rounded_input(struct worker *w, int source, const struct window *window, struct channel_product *product)
{
    const struct dilated_block *b = &w->plan->block;
    const int channels = b->sources[source].channels, width = b->sources[source].width;
    const ptrdiff_t depth = amx_depth(channels), row = (ptrdiff_t)width * channels;
    const bool pooled = b->sources[source].scale == SCALE_POOLED;
    const uint16_t *image = (const uint16_t *)w->sources[source] + (ptrdiff_t)w->image * b->sources[source].height * row;
    const uint16_t *from = image + (pooled ? 2 : 1) * (window->y * row + (ptrdiff_t)window->left * channels);
    product->pixel = depth;
    product->step = 1;
    if (!pooled && 2 * depth == channels && product->rows >= AMX_ROWS) {
        product->input = (const float *)(const void *)from;
        return;
    }
    product->input = w->pairs;
    if (!held_anew(&w->pair_held, w, source, window))
        return;
    const ptrdiff_t square[] = {0, channels, row, row + channels};
    float *to = w->pairs;
    for (int r = 0; r < window->rows; r++, from += (pooled ? 2 : 1) * row)
        for (int x = 0; x < window->columns; x++, to += depth) {
            uint16_t *pixel = (uint16_t *)(void *)to;
            if (pooled)
                w->plan->blocks->half_maximum(&(struct half_maximum){.channels = channels, .input = from + 2 * x * (ptrdiff_t)channels,
                                                                    .offsets = square, .count = 4, .output = pixel, .infinity = 0x7f80});
            else
                memcpy(pixel, from + x * (ptrdiff_t)channels, (size_t)channels * sizeof *pixel);
            memset(pixel + channels, 0, (size_t)(2 * depth - channels) * sizeof *pixel);
        }
}

/* The product's input: those pixels, as pairs where products take pairs. */
static void set_input(struct worker *w, int source, const struct window *window, struct channel_product *product)
{
    const int channels = w->plan->block.sources[source].channels;
    if (w->plan->block.sources[source].rounded) {
        set_rounded_input(w, source, window, product);
        return;
    }
    if (!w->plan->block.pairs) {
        product->input = source_pixels(w, source, window, &product->pixel, &product->step);
        return;
    }
    const bool plain = w->plan->block.sources[source].layout == LAYOUT_PLAIN, turned = plain && !w->plan->block.amx;
    struct row_pairs pairs = {.pixels = product->rows, .channels = channels, .planes = plain, .output = w->pairs};
    product->pixel = pairs.pixel_out = turned ? 1 : dilated_depth(&w->plan->block, channels);
    product->step = pairs.step_out = turned ? product->rows : 1;
    product->input = w->pairs;
    if (!held_anew(&w->pair_held, w, source, window))
        return;
    pairs.input = source_pixels(w, source, window, &pairs.pixel, &pairs.step);
    w->plan->products->row_pairs(&pairs);
}

/* A product of every source that is (or is not) upsampled with its part of a stage's weights; the activation follows the last one. */
static void multiply_sources(struct worker *w, int stage, int columns, bool upsampled, const struct window *window,
                             enum planar_activation activation, bool started, float *output)
{
    const struct dilated_block *b = &w->plan->block;
    const ptrdiff_t width = pack_width((size_t)columns);
    const float *weights = w->plan->weights[stage];
    int left = dilated_sources(b, upsampled);
    for (int s = 0; s < b->source_count; s++) {
        int depth = dilated_depth(b, b->sources[s].channels);
        if ((b->sources[s].scale == SCALE_UPSAMPLED) == upsampled) {
            struct channel_product product = {.rows = pixels_of(window), .columns = columns, .depth = depth, .taps = 1, .whole = true,
                                              .weights = weights, .width = width, .output = output, .stride = columns,
                                              .accumulate = started, .shift = upsampled ? NULL : w->plan->shift[stage],
                                              .activation = --left == 0 && !upsampled ? activation : PLANAR_LINEAR,
                                              .slope = w->plan->slope[stage], .shape = w->shape};
            set_input(w, s, window, &product);
            w->plan->products->channel_product(&product);
            started = true;
        }
        weights += width * depth;
    }
}

/* Starts a window of a stage with what the upsampled sources contribute, and its bias. */
static void start_pixels(const struct worker *w, int stage, int channels, const float *low, const struct window *window, float *output)
{
    const struct geometry *g = w->g;
    const ptrdiff_t row = (ptrdiff_t)g->low_width * channels;
    low += (ptrdiff_t)window->left / 2 * channels;
    for (int y = window->y; y < window->y + window->rows; y++, output += (ptrdiff_t)window->columns * channels) {
        int above = y / 2 - (y % 2 == 0), below = above + 1;
        struct row_upsample up = {.channels = channels, .columns = window->columns / 2, .goes_left = window->left > 0,
                                  .goes_right = window->left + window->columns < 2 * g->low_width,
                                  .above = low + (above < 0 ? 0 : above) * row,
                                  .below = low + (below < g->low_height ? below : g->low_height - 1) * row,
                                  .weight = y % 2 == 0 ? 0.25f : 0.75f, .output = output, .output_step = channels,
                                  .shift = w->plan->shift[stage]};
        w->plan->blocks->row_upsample(&up);
    }
}

void dilated_stage_pixels(struct worker *w, int stage, int channels, enum planar_activation activation, const float *low,
                          const struct window *window, float *output)
{
    const bool upsampled = w->g->upsampled;
    if (upsampled)
        start_pixels(w, stage, channels, low, window, output);
    if (dilated_sources(&w->plan->block, false) > 0) {
        multiply_sources(w, stage, channels, false, window, activation, upsampled, output);
        return;
    }
    if (activation != PLANAR_LINEAR) { /* nothing but upsampled sources: a product of depth 0 applies the activation */
        struct channel_product product = {.rows = pixels_of(window), .columns = channels, .weights = w->plan->weights[stage],
                                          .input = output, .output = output, .stride = channels, .accumulate = true,
                                          .activation = activation, .slope = w->plan->slope[stage]};
        w->plan->blocks->channel_product(&product);
    }
}

float *dilated_shortcut_low(const struct worker *w)
{
    return w->low + (ptrdiff_t)w->g->low_height * w->g->low_width * w->plan->block.reduced;
}

void dilated_low_row(struct worker *w, int y)
{
    const struct dilated_block *b = &w->plan->block;
    const struct window window = {.y = y, .rows = 1, .columns = w->g->low_width};
    const ptrdiff_t at = (ptrdiff_t)y * w->g->low_width;
    if (b->reduce)
        multiply_sources(w, w->plan->reduce_stage, b->reduced, true, &window, PLANAR_LINEAR, false, w->low + at * b->reduced);
    if (b->shortcut == SHORTCUT_STAGE)
        multiply_sources(w, w->plan->shortcut_stage, b->outputs, true, &window, PLANAR_LINEAR, false,
                         dilated_shortcut_low(w) + at * b->outputs);
}

const float *dilated_source_pairs(struct worker *w, const struct window *window)
{
    struct channel_product product = {.rows = pixels_of(window)};
    set_input(w, 0, window, &product);
    return product.input;
}

void dilated_turn_pixels(struct worker *w, const struct window *window, float *output)
{
    const struct dilated_block *b = &w->plan->block;
    ptrdiff_t pixel, step;
    const float *from = source_pixels(w, 0, window, &pixel, &step);
    if (step == 1) {
        memcpy(output, from, (size_t)pixels_of(window) * (size_t)b->channels * sizeof *output);
        return;
    }
    struct row_planes turn = {.pixels = b->channels, .channels = pixels_of(window), .input = from, .pixel = step, .output = output,
                              .plane = b->channels};
    w->plan->blocks->row_planes(&turn);
}
