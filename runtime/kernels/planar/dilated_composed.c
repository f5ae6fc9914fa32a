/* Dilated-parallel blocks of every form, stage by stage on channels-last data: what composed_plan has laid out is run here. */
#include "runtime/kernels/planar/dilated_composed.h"

#include <math.h>
#include <omp.h>
#include <string.h>

static ptrdiff_t pixels_of(const int size[2])
{
    return (ptrdiff_t)size[0] * size[1];
}

/* ---- x ----------------------------------------------------------------------------------------------------------------- */

/* Where two neighbours lie that output `at` of a doubled length is blended from, and the second one's share. */
struct neighbours {
    int first, second;
    float share;
};

static struct neighbours neighbours_of(int at, int length)
{
    int first = at / 2 - (at % 2 == 0);
    return (struct neighbours){first < 0 ? 0 : first, first + 1 < length ? first + 1 : length - 1, at % 2 == 0 ? 0.75f : 0.25f};
}

/* Element (y, x) of a plane whose pixels are `pixel` apart, scaled as its source is. */
static float scaled(const float *map, ptrdiff_t pixel, int height, int width, int scale, int y, int x)
{
    if (scale == SCALE_POOLED) {
        const float *at = map + (2 * (ptrdiff_t)y * width + 2 * x) * pixel;
        return fmaxf(fmaxf(at[0], at[pixel]), fmaxf(at[width * pixel], at[(width + 1) * pixel]));
    }
    struct neighbours rows = neighbours_of(y, height), columns = neighbours_of(x, width);
    const float *upper = map + (ptrdiff_t)rows.first * width * pixel, *lower = map + (ptrdiff_t)rows.second * width * pixel;
    float above = (1 - columns.share) * upper[columns.first * pixel] + columns.share * upper[columns.second * pixel];
    float below = (1 - columns.share) * lower[columns.first * pixel] + columns.share * lower[columns.second * pixel];
    return (1 - rows.share) * above + rows.share * below;
}

/* One row of a source, of `channels` channels from channel `first` of x on. */
static void place_row(const struct composed_call *call, int source, int image, int y, int first)
{
    const struct composed *c = call->composed;
    const struct dilated_form *form = &c->form;
    int channels = form->sources[source].channels, height = form->sources[source].height, width = form->sources[source].width;
    bool plain = c->source_layouts[source] == LAYOUT_PLAIN;
    ptrdiff_t plane = (ptrdiff_t)height * width, pixel = plain ? 1 : channels, pitch = form->channels;
    const float *from = call->sources[source] + (ptrdiff_t)image * channels * plane;
    float *to = call->scratch + c->x + (((ptrdiff_t)image * form->size[0] + y) * form->size[1]) * pitch + first;
    if (form->sources[source].scale != SCALE_SAME) {
        for (int x = 0; x < form->size[1]; x++)
            for (int k = 0; k < channels; k++)
                to[x * pitch + k] = scaled(from + (plain ? k * plane : k), pixel, height, width, form->sources[source].scale, y, x);
        return;
    }
    from += (ptrdiff_t)y * width * pixel;
    struct row_planes turn = {.pixels = channels, .channels = width, .input = from, .pixel = plane, .output = to, .plane = pitch};
    if (plain)
        c->blocks->row_planes(&turn);
    for (int x = 0; x < width && !plain; x++)
        memcpy(to + x * pitch, from + (ptrdiff_t)x * channels, (size_t)channels * sizeof *to);
}

static const float *make_x(const struct composed_call *call)
{
    const struct composed *c = call->composed;
    if (c->x_is_source)
        return call->sources[0];
    int rows = c->form.batch * c->form.size[0];
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int row = 0; row < rows; row++)
        for (int s = 0, first = 0; s < c->form.source_count; first += c->form.sources[s++].channels)
            place_row(call, s, row / c->form.size[0], row % c->form.size[0], first);
    return call->scratch + c->x;
}

/* Rows of planes [C, H, W] to channels last, or back. */
static void turn_map(const struct composed *c, const float *from, float *to, int channels, const int size[2], bool to_planes)
{
    ptrdiff_t plane = pixels_of(size);
    int rows = c->form.batch * size[0];
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int row = 0; row < rows; row++) {
        ptrdiff_t image = (ptrdiff_t)(row / size[0]) * channels * plane, at = (ptrdiff_t)(row % size[0]) * size[1];
        struct row_planes turn = {.pixels = to_planes ? size[1] : channels, .channels = to_planes ? channels : size[1],
                                  .input = from + image + (to_planes ? at * channels : at), .pixel = to_planes ? channels : plane,
                                  .output = to + image + (to_planes ? at : at * channels), .plane = to_planes ? plane : channels};
        c->blocks->row_planes(&turn);
    }
}

/* ---- stages ------------------------------------------------------------------------------------------------------------ */

/* What a stage's convolution is given beyond its input: where the result goes, with what it is finished. */
struct stage_end {
    float *output;
    const float *residual, *slope;
    enum planar_activation activation;
};

static void run_convolution(const struct composed_call *call, int index, const float *input, const struct stage_end *end)
{
    const struct composed *c = call->composed;
    const struct composed_stage *stage = &c->stages[index];
    const struct dilated_stage *s = &c->form.stages[index];
    const int channels = (int)stage->convolution.shape.channels, outputs = (int)stage->convolution.shape.features;
    for (int g = 0; g < s->groups / (int)stage->convolution.shape.groups; g++) {
        struct convolution convolution = stage->convolution;
        convolution.shape.activation = end->activation;
        convolution.x = input + (ptrdiff_t)g * channels;
        convolution.weights = call->weights[index] + (size_t)g * stage->group_floats;
        convolution.bias = call->bias[index] ? call->bias[index] + g * outputs : NULL;
        convolution.slope = end->slope ? end->slope + g * outputs : NULL;
        convolution.residual = end->residual ? end->residual + g * outputs : NULL;
        convolution.shape.residual = end->residual != NULL;
        convolution.y = end->output + (ptrdiff_t)g * outputs;
        convolution.scratch = call->scratch + c->stage_scratch;
        if (convolution.way == WAY_WINOGRAD)
            convolution_winograd_run(&convolution);
        else
            convolution_channels_run(&convolution);
    }
}

/* One row of a depthwise stage, counted over all images; the finish is the caller's. */
static void depthwise_row(const struct composed_call *call, int index, const float *input, int row, const struct planar_finish *finish)
{
    struct convolution convolution = call->composed->stages[index].convolution;
    convolution.x = input;
    convolution.weights = call->weights[index];
    convolution_depthwise_row(&convolution, row, finish);
}

static void run_depthwise(const struct composed_call *call, int index, const float *input, float *output)
{
    const struct composed *c = call->composed;
    const struct dilated_stage *s = &c->form.stages[index];
    int rows = c->form.batch * s->size[0];
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int row = 0; row < rows; row++) {
        struct planar_finish finish = {.output = output + (ptrdiff_t)row * s->size[1] * s->outputs, .step = s->outputs,
                                       .shift = call->bias[index], .slope = call->slopes[index], .activation = s->activation};
        depthwise_row(call, index, input, row, &finish);
    }
}

static float activated(float value, enum planar_activation activation, float slope)
{
    if (activation == PLANAR_RELU)
        return value < 0 ? 0 : value;
    return activation == PLANAR_SLOPE && !(value > 0) ? slope * value : value;
}

/* The mean over the pixels of each channel: a thread's channels are its own, and are summed from the first pixel to the last. */
static void find_means(const struct composed *c, const float *map, int channels, const int size[2], float *means)
{
    int groups = (channels + PLANAR_WIDTH - 1) / PLANAR_WIDTH;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int item = 0; item < c->form.batch * groups; item++) {
        int image = item / groups, first = item % groups * PLANAR_WIDTH, count = channels - first < PLANAR_WIDTH ? channels - first : PLANAR_WIDTH;
        const float *from = map + (ptrdiff_t)image * channels * pixels_of(size) + first;
        double sums[PLANAR_WIDTH] = {0};
        for (int y = 0; y < size[0]; y++) {
            float row[PLANAR_WIDTH] = {0};
            for (int x = 0; x < size[1]; x++, from += channels)
                for (int k = 0; k < count; k++)
                    row[k] += from[k];
            for (int k = 0; k < count; k++)
                sums[k] += (double)row[k];
        }
        for (int k = 0; k < count; k++)
            means[image * channels + first + k] = (float)(sums[k] / (double)pixels_of(size));
    }
}

/* A stage of one pixel an image. */
static void run_global(const struct composed_call *call, int index, const float *input, float *output)
{
    const struct composed *c = call->composed;
    const struct dilated_stage *s = &c->form.stages[index];
    const float *means = input;
    if (s->kind == STAGE_GLOBAL) {
        find_means(c, input, s->channels, s->input_size, call->scratch + c->means);
        means = call->scratch + c->means;
    }
    int channels = s->channels / s->groups, outputs = s->outputs / s->groups;
    for (int image = 0; image < c->form.batch; image++)
        for (int m = 0; m < s->outputs; m++) {
            const float *w = call->weights[index] + (ptrdiff_t)m * channels, *from = means + (ptrdiff_t)image * s->channels + m / outputs * channels;
            double sum = call->bias[index] ? (double)call->bias[index][m] : 0;
            for (int k = 0; k < channels; k++)
                sum += (double)w[k] * (double)from[k];
            output[(ptrdiff_t)image * s->outputs + m] = activated((float)sum, s->activation, call->slopes[index] ? call->slopes[index][m] : 0);
        }
}

/* output = activation(input · scale + shift + residual) of maps of `channels` channels, or of one pixel an image (pitch 0). */
static void finish_map(const struct composed *c, const float *input, ptrdiff_t pitch, int channels, const int size[2],
                       const struct planar_finish *finish, bool scale_by_image)
{
    int chunks = (int)((pixels_of(size) + COMPOSED_CHUNK - 1) / COMPOSED_CHUNK);
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int item = 0; item < c->form.batch * chunks; item++) {
        ptrdiff_t image = item / chunks, first = (ptrdiff_t)(item % chunks) * COMPOSED_CHUNK, at = image * pixels_of(size) + first;
        ptrdiff_t count = pixels_of(size) - first < COMPOSED_CHUNK ? pixels_of(size) - first : COMPOSED_CHUNK;
        struct channel_finish call = {.pixels = (int)count, .channels = channels, .input = input + (pitch ? at * pitch : image * channels),
                                      .pitch = pitch, .finish = *finish};
        call.finish.output += at * finish->step;
        if (finish->residual)
            call.finish.residual += at * finish->step;
        if (finish->sum)
            call.finish.sum += at * finish->sum_step;
        if (scale_by_image)
            call.finish.scale += image * channels;
        c->blocks->channel_finish(&call);
    }
}

static const float *result_of(const struct composed_call *call, int stage)
{
    return call->scratch + call->composed->stages[stage].result;
}

static void run_stage(const struct composed_call *call, int index, const float *input)
{
    const struct composed *c = call->composed;
    const struct dilated_stage *s = &c->form.stages[index];
    float *output = call->scratch + c->stages[index].result;
    const struct stage_end end = {.output = output, .slope = call->slopes[index], .activation = s->activation};
    switch (c->stages[index].method) {
    case METHOD_CONVOLUTION:
    case METHOD_GROUPS:
        run_convolution(call, index, input, &end);
        break;
    case METHOD_DEPTHWISE:
        run_depthwise(call, index, input, output);
        break;
    case METHOD_GLOBAL:
        run_global(call, index, input, output);
        break;
    case METHOD_ACTIVATION: {
        ptrdiff_t pitch = s->from >= 0 ? c->stages[s->from].pitch : s->channels;
        struct planar_finish finish = {.output = output, .step = s->outputs, .slope = call->slopes[index], .activation = s->activation};
        finish_map(c, input, pitch, s->outputs, s->size, &finish, false);
    }
    }
}

/* ---- merge and end --------------------------------------------------------------------------------------------------- */

/* What comes after the branches' sums; `last` also the end of the block, where nothing stands between. */
static struct planar_finish merge_finish(const struct composed_call *call, const float *shortcut, bool last, float *output)
{
    const struct dilated_form *form = &call->composed->form;
    bool at_once = last && form->merged_activation == PLANAR_LINEAR;
    return (struct planar_finish){.output = output, .step = form->merged_channels, .scale = call->scale, .shift = call->shift,
                                  .residual = form->shortcut_first || at_once ? shortcut : NULL, .residual_first = form->shortcut_first,
                                  .activation = at_once ? form->activation : form->merged_activation,
                                  .slope = at_once ? call->slope : call->merged_slope};
}

static struct planar_finish branch_finish(const struct composed *c, int branch, const struct planar_finish *whole)
{
    const struct dilated_branch *b = &c->branches[branch];
    struct planar_finish finish = planar_finish_from(whole, b->first);
    finish.output = b->output ? finish.output : NULL;
    finish.read_sum = b->read_sum;
    finish.write_sum = b->write_sum;
    return finish;
}

/* Row by row, all depthwise branches of it. */
static void merge_depthwise(const struct composed_call *call, const float *input, const struct planar_finish *whole)
{
    const struct composed *c = call->composed;
    const struct dilated_form *form = &c->form;
    int rows = form->batch * form->output_size[0];
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int row = 0; row < rows; row++)
        for (int k = 0; k < form->branch_count; k++) {
            struct planar_finish finish = branch_finish(c, k, whole);
            ptrdiff_t at = (ptrdiff_t)row * form->output_size[1] * finish.step;
            finish.sum = call->scratch + c->rows + c->row_floats * (size_t)omp_get_thread_num();
            finish.sum_step = c->branches[k].channels;
            finish.output = finish.output ? finish.output + at : NULL;
            finish.residual = finish.residual ? finish.residual + at : NULL;
            depthwise_row(call, form->branches[k], input, row, &finish);
        }
}

/* Some pixels, all branches of them. */
static void merge_maps(const struct composed_call *call, const struct planar_finish *whole)
{
    const struct composed *c = call->composed;
    const struct dilated_form *form = &c->form;
    ptrdiff_t pixels = pixels_of(form->output_size);
    int chunks = (int)((pixels + COMPOSED_CHUNK - 1) / COMPOSED_CHUNK);
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int item = 0; item < form->batch * chunks; item++) {
        ptrdiff_t image = item / chunks, first = (ptrdiff_t)(item % chunks) * COMPOSED_CHUNK, at = image * pixels + first;
        ptrdiff_t count = pixels - first < COMPOSED_CHUNK ? pixels - first : COMPOSED_CHUNK;
        float *sum = call->scratch + c->rows + c->row_floats * (size_t)omp_get_thread_num();
        for (int k = 0; k < form->branch_count; k++) {
            const struct composed_stage *stage = &c->stages[form->branches[k]];
            struct planar_finish finish = branch_finish(c, k, whole);
            finish.sum = sum;
            finish.sum_step = c->branches[k].channels;
            finish.output = finish.output ? finish.output + at * finish.step : NULL;
            finish.residual = finish.residual ? finish.residual + at * finish.step : NULL;
            struct channel_finish part = {.pixels = (int)count, .channels = c->branches[k].channels,
                                          .input = result_of(call, form->branches[k]) + (stage->pitch ? at * stage->pitch : image * c->branches[k].channels),
                                          .pitch = stage->pitch, .finish = finish};
            c->blocks->channel_finish(&part);
        }
    }
}

/* y = activation(tail(merged) + shortcut), at once where the tail has no activation of its own. */
static void run_tail(const struct composed_call *call, const float *merged, const float *shortcut, float *output)
{
    const struct composed *c = call->composed;
    const struct dilated_form *form = &c->form;
    const struct dilated_stage *s = &form->stages[form->tail];
    const float *residual = form->shortcut_first ? NULL : shortcut;
    bool at_once = s->activation == PLANAR_LINEAR && c->stages[form->tail].method != METHOD_DEPTHWISE;
    if (at_once) {
        const struct stage_end end = {.output = output, .residual = residual, .slope = call->slope, .activation = form->activation};
        run_convolution(call, form->tail, merged, &end);
        return;
    }
    const struct stage_end end = {.output = output, .slope = call->slopes[form->tail], .activation = s->activation};
    if (c->stages[form->tail].method == METHOD_DEPTHWISE)
        run_depthwise(call, form->tail, merged, output);
    else
        run_convolution(call, form->tail, merged, &end);
    if (!residual && form->activation == PLANAR_LINEAR)
        return;
    struct planar_finish finish = {.output = output, .step = form->outputs, .residual = residual, .slope = call->slope,
                                   .activation = form->activation};
    finish_map(c, output, form->outputs, form->outputs, form->output_size, &finish, false);
}

/* y = activation(merged · sigmoid(second(first(mean of merged))) + shortcut). */
static void run_gate(const struct composed_call *call, const float *merged, const float *shortcut, float *output)
{
    const struct composed *c = call->composed;
    const struct dilated_form *form = &c->form;
    float *gates = call->scratch + c->stages[form->gate[1]].result;
    find_means(c, merged, form->merged_channels, form->output_size, call->scratch + c->means);
    run_stage(call, form->gate[0], call->scratch + c->means);
    run_stage(call, form->gate[1], result_of(call, form->gate[0]));
    for (int i = 0; i < form->batch * form->merged_channels; i++)
        gates[i] = 1 / (1 + expf(-gates[i]));
    struct planar_finish finish = {.output = output, .step = form->outputs, .residual = form->shortcut_first ? NULL : shortcut,
                                   .scale = gates, .slope = call->slope, .activation = form->activation};
    finish_map(c, merged, form->merged_channels, form->merged_channels, form->output_size, &finish, true);
}

static const float *find_shortcut(const struct composed_call *call, const float *x)
{
    const struct composed *c = call->composed;
    switch (c->form.shortcut) {
    case SHORTCUT_IDENTITY:
        return x;
    case SHORTCUT_STAGE:
        return result_of(call, c->form.shortcut_stage);
    case SHORTCUT_INPUT:
        if (c->added_layout == LAYOUT_CHANNELS_LAST)
            return call->added;
        turn_map(c, call->added, call->scratch + c->added, c->form.outputs, c->form.output_size, false);
        return call->scratch + c->added;
    case SHORTCUT_NONE:
        break;
    }
    return NULL;
}

void composed_run(const struct composed_call *call)
{
    const struct composed *c = call->composed;
    const struct dilated_form *form = &c->form;
    const float *x = make_x(call);
    for (int i = 0; i < form->stage_count; i++)
        if (form->stages[i].from >= FROM_X && !c->stages[i].skipped && i != form->gate[1])
            run_stage(call, i, form->stages[i].from == FROM_X ? x : result_of(call, form->stages[i].from));
    const float *shortcut = find_shortcut(call, x);
    float *output = c->output_layout == LAYOUT_CHANNELS_LAST ? call->output : call->scratch + c->output;
    bool last = form->tail < 0 && form->gate[0] < 0;
    float *merged = last ? output : call->scratch + c->merged;
    const struct planar_finish finish = merge_finish(call, shortcut, last, merged);
    if (c->branches_merge) {
        int from = form->stages[form->branches[0]].from;
        merge_depthwise(call, from == FROM_X ? x : result_of(call, from), &finish);
    } else {
        merge_maps(call, &finish);
    }
    if (form->tail >= 0) {
        run_tail(call, merged, shortcut, output);
    } else if (form->gate[0] >= 0) {
        run_gate(call, merged, shortcut, output);
    } else if (form->merged_activation != PLANAR_LINEAR && ((shortcut && !form->shortcut_first) || form->activation != PLANAR_LINEAR)) {
        struct planar_finish end = {.output = output, .step = form->outputs, .residual = form->shortcut_first ? NULL : shortcut,
                                    .slope = call->slope, .activation = form->activation};
        finish_map(c, output, form->outputs, form->outputs, form->output_size, &end, false);
    }
    if (c->output_layout != LAYOUT_CHANNELS_LAST)
        turn_map(c, output, call->output, form->outputs, form->output_size, true);
}
