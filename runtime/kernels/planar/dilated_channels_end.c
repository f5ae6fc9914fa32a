/* The end of the dilated-parallel block on channels-last data: from the merged map to the result, a row of a piece or a chunk of a whole
 * map at a time. */
#include "runtime/kernels/planar/dilated_channels.h"
#include "runtime/kernels/planar/pack.h"

enum { LINE = 16 };

void dilated_make_shortcut(struct worker *w, const struct window *window, float *output)
{
    const struct dilated_block *b = &w->plan->block;
    if (b->shortcut == SHORTCUT_STAGE)
        dilated_stage_pixels(w, w->plan->shortcut_stage, b->outputs, PLANAR_LINEAR, dilated_shortcut_low(w), window, output);
    else
        dilated_turn_pixels(w, window, output);
}

/* Pixels of y to the result's planes, from `at` on. */
static void turn_pixels(const struct worker *w, const float *y, int pixels, ptrdiff_t at)
{
    const struct dilated_block *b = &w->plan->block;
    const struct row_planes turn = {.pixels = pixels, .channels = b->results, .input = y, .pixel = b->results,
                                    .output = w->result + at, .plane = (ptrdiff_t)b->height * b->width};
    w->plan->blocks->row_planes(&turn);
}

/* The head of some pixels of y, the result's from `at` on. */
static void make_head(const struct worker *w, const float *y, int pixels, ptrdiff_t at)
{
    const struct dilated_block *b = &w->plan->block;
    const int stage = w->plan->head_stage;
    const bool plain = b->output_layout == LAYOUT_PLAIN;
    float *output = plain || b->rounded ? w->result_row : w->result + at * b->results;
    struct channel_product product = {.rows = pixels, .columns = b->results, .depth = b->outputs, .taps = 1, .whole = true, .input = y,
                                      .pixel = b->outputs, .step = 1, .weights = w->plan->weights[stage],
                                      .width = (ptrdiff_t)pack_width((size_t)b->results), .output = output, .stride = b->results,
                                      .shift = w->plan->shift[stage], .activation = b->head_activation, .slope = w->plan->slope[stage],
                                      .shape = w->shape};
    if (dilated_head_is_rounded(b)) {
        const struct row_pairs pairs = {.pixels = pixels, .channels = b->outputs, .input = y, .pixel = b->outputs, .step = 1,
                                        .output = w->head, .pixel_out = amx_depth(b->outputs), .step_out = 1};
        w->plan->products->row_pairs(&pairs);
        product.input = w->head;
        product.pixel = product.depth = amx_depth(b->outputs);
        w->plan->products->channel_product(&product);
    } else {
        w->plan->blocks->channel_product(&product);
    }
    const struct row_pairs rounded = {.pixels = 1, .channels = pixels * b->results, .input = output, .step = 1,
                                      .output = (float *)(void *)((uint16_t *)(void *)w->result + at * b->results)};
    if (b->rounded)
        w->plan->products->row_pairs(&rounded);
    else if (plain)
        turn_pixels(w, output, pixels, at);
}

/* Pixels of y to the result, where y is not the result itself. */
static void give_pixels(const struct worker *w, const float *y, int pixels, ptrdiff_t at)
{
    if (w->plan->block.head)
        make_head(w, y, pixels, at);
    else
        turn_pixels(w, y, pixels, at);
}

/* The parts of y that a branch's channels are. */
static struct planar_finish branch_finish(const struct dilated_branch *branch, const struct planar_finish *whole)
{
    struct planar_finish finish = planar_finish_from(whole, branch->first);
    finish.output = branch->output ? finish.output : NULL;
    return finish;
}

/* The affine, the shortcut and the last activation. */
static struct planar_finish block_finish(const struct worker *w, float *output, const float *shortcut)
{
    const struct dilated_plan *plan = w->plan;
    return (struct planar_finish){.output = output, .residual = shortcut, .step = plan->block.outputs,
                                  .residual_first = plan->block.shortcut_first, .scale = plan->scale, .shift = plan->offset,
                                  .slope = plan->last_slope, .activation = plan->block.activation};
}

/* Where y is not made in the result itself. */
static bool ends_apart(const struct dilated_block *b)
{
    return b->head || b->output_layout == LAYOUT_PLAIN;
}

/* Element `at` of a map of float32 or bfloat16. */
static float *element_of(const float *map, ptrdiff_t at, bool rounded)
{
    return (float *)((char *)(uintptr_t)map + at * (ptrdiff_t)(rounded ? sizeof(uint16_t) : sizeof(float)));
}

/* Where whole maps hold the shortcut's row, NULL: nowhere. */
static const float *shortcut_row(const struct worker *w, ptrdiff_t at)
{
    const struct dilated_block *b = &w->plan->block;
    if (w->g->waiting)
        return w->result + at * b->outputs;
    if (b->shortcut == SHORTCUT_IDENTITY && !w->g->turned)
        return element_of(w->sources[0], ((ptrdiff_t)w->image * b->height * b->width + at) * b->outputs, b->sources[0].rounded);
    return NULL;
}

static void fetch(const float *from, ptrdiff_t elements, bool rounded, bool near)
{
    const int floats = (int)(rounded ? elements / 2 : elements);
    for (int i = 0; i < floats && near; i += LINE)
        __builtin_prefetch(from + i);
    for (int i = 0; i < floats && !near; i += LINE)
        __builtin_prefetch(from + i, 0, 2);
}

void dilated_fetch_row(const struct worker *w, const struct window *window, bool near)
{
    const struct dilated_block *b = &w->plan->block;
    const ptrdiff_t at = (ptrdiff_t)window->y * b->width + window->left, image = (ptrdiff_t)w->image * b->height * b->width;
    const float *output = ends_apart(b) ? NULL : element_of(w->result, at * b->outputs, b->rounded), *shortcut = shortcut_row(w, at);
    if (output)
        fetch(output, window->columns * (ptrdiff_t)b->outputs, b->rounded, near);
    if (shortcut && shortcut != output)
        fetch(shortcut, window->columns * (ptrdiff_t)b->outputs, b->sources[0].rounded, near);
    for (int i = 0; i < b->source_count && !shortcut && b->shortcut != SHORTCUT_NONE; i++)
        if (b->sources[i].scale == SCALE_SAME && b->sources[i].layout == LAYOUT_CHANNELS_LAST)
            fetch(element_of(w->sources[i], (image + at) * b->sources[i].channels, b->sources[i].rounded),
                  window->columns * (ptrdiff_t)b->sources[i].channels, b->sources[i].rounded, near);
}

/* All branches' pixels of a row lie together. */
static void finish_joined(const struct worker *w, const struct window *window, const struct planar_finish *whole, bool rounded_shortcut)
{
    const struct dilated_block *b = &w->plan->block;
    const struct rounded_finish finish = {.finish = {.pixels = window->columns, .channels = b->outputs, .input = w->merged,
                                                     .pitch = b->outputs, .finish = *whole},
                                          .residual = rounded_shortcut, .output = b->rounded && !ends_apart(b)};
    if (finish.residual || finish.output)
        w->plan->products->rounded_finish(&finish);
    else
        w->plan->blocks->channel_finish(&finish.finish);
}

void dilated_end_row(struct worker *w, const struct window *window, int row)
{
    const struct dilated_block *b = &w->plan->block;
    const struct geometry *g = w->g;
    const ptrdiff_t at = (ptrdiff_t)window->y * b->width + window->left;
    const bool apart = ends_apart(b);
    const float *shortcut = shortcut_row(w, at);
    const bool rounded_shortcut = shortcut && b->shortcut == SHORTCUT_IDENTITY && b->sources[0].rounded;
    if (!shortcut && b->shortcut != SHORTCUT_NONE) {
        dilated_make_shortcut(w, window, w->row);
        shortcut = w->row;
    }
    struct window below = *window;
    if (++below.y < b->height)
        dilated_fetch_row(w, &below, !b->amx);
    const struct planar_finish whole = block_finish(w, apart ? w->row : element_of(w->result, at * b->outputs, b->rounded), shortcut);
    if (b->amx)
        finish_joined(w, window, &whole, rounded_shortcut);
    for (int k = 0; k < b->branch_count && !b->amx; k++) {
        const struct dilated_branch *branch = &b->branches[k];
        const struct channel_finish part = {.pixels = window->columns, .channels = branch->channels,
                                            .input = dilated_merged_part(w, branch) + row * g->merged_columns * branch->channels,
                                            .pitch = branch->channels, .finish = branch_finish(branch, &whole)};
        if (part.finish.output)
            w->plan->blocks->channel_finish(&part);
    }
    if (apart)
        give_pixels(w, w->row, window->columns, at);
}

void dilated_finish_chunk(const struct worker *w, int chunk)
{
    const struct dilated_block *b = &w->plan->block;
    const struct window window = dilated_chunk_window(w, chunk);
    const ptrdiff_t at = (ptrdiff_t)window.y * b->width, pixels = (ptrdiff_t)b->height * b->width;
    float *map = w->branches, *sum = NULL, *output = w->output + at * b->outputs;
    const float *shortcut = w->g->waiting ? output : b->shortcut == SHORTCUT_IDENTITY ? shortcut_row(w, at) : NULL;
    const struct planar_finish whole = block_finish(w, output, shortcut);
    for (int k = 0; k < b->branch_count; k++) {
        const struct dilated_branch *branch = &b->branches[k];
        float *input = map + at * branch->channels;
        map += pixels * branch->channels;
        if (!branch->read_sum)
            sum = input;
        struct channel_finish part = {.pixels = window.rows * b->width, .channels = branch->channels, .input = input,
                                      .pitch = branch->channels, .finish = branch_finish(branch, &whole)};
        part.finish.sum = sum;
        part.finish.sum_step = branch->channels;
        part.finish.read_sum = branch->read_sum;
        part.finish.write_sum = branch->read_sum && branch->write_sum;
        w->plan->blocks->channel_finish(&part);
    }
}

void dilated_end_chunk(const struct worker *w, int chunk)
{
    const struct dilated_block *b = &w->plan->block;
    const struct window window = dilated_chunk_window(w, chunk);
    const ptrdiff_t at = (ptrdiff_t)window.y * b->width;
    give_pixels(w, w->output + at * b->outputs, window.rows * b->width, at);
}
