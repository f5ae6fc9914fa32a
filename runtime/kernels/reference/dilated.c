/* mitral.DilatedParallelBlock: every stage by itself, sums in double precision. Plain layout. */
#include "runtime/kernels/planar/dilated.h"

#include <math.h>
#include <string.h>

struct maps {
    const struct kernel_call *call;
    struct dilated_form form;
    float *x, *merged, *mean, *y;
    float *stages[DILATED_STAGES];
};

static float *floats(const struct kernel_call *call, int64_t a, int64_t b, int64_t c, int64_t d)
{
    return arena_allocate(call->arena, (size_t)a * (size_t)b * (size_t)c * (size_t)d * sizeof(float) + sizeof(float));
}

static float activate(float value, enum planar_activation activation, const mitral_tensor *slope, int channel)
{
    if (activation == PLANAR_RELU)
        return value < 0 ? 0 : value;
    if (activation == PLANAR_SLOPE)
        return value > 0 ? value : ((const float *)slope->data)[channel] * value;
    return value;
}

/* Bilinear ×2, half_pixel: each output lies a quarter of an input pixel away from its nearest one. */
static float upsampled(const float *plane, int height, int width, int y, int x)
{
    int top = y / 2 - (y % 2 == 0), left = x / 2 - (x % 2 == 0);
    double down = y % 2 == 0 ? 0.75 : 0.25, right = x % 2 == 0 ? 0.75 : 0.25;
    int y0 = top < 0 ? 0 : top, y1 = top + 1 < height ? top + 1 : height - 1;
    int x0 = left < 0 ? 0 : left, x1 = left + 1 < width ? left + 1 : width - 1;
    double upper = (1 - right) * (double)plane[y0 * width + x0] + right * (double)plane[y0 * width + x1];
    double lower = (1 - right) * (double)plane[y1 * width + x0] + right * (double)plane[y1 * width + x1];
    return (float)((1 - down) * upper + down * lower);
}

static float pooled(const float *plane, int width, int y, int x)
{
    const float *at = plane + 2 * y * width + 2 * x;
    float a = at[0] > at[1] || at[0] != at[0] ? at[0] : at[1], b = at[width] > at[width + 1] || at[width] != at[width] ? at[width] : at[width + 1];
    return a > b || a != a ? a : b;
}

static mitral_status make_x(struct maps *maps)
{
    const struct dilated_form *form = &maps->form;
    maps->x = floats(maps->call, form->batch, form->channels, form->size[0], form->size[1]);
    if (!maps->x)
        return MITRAL_NO_MEMORY;
    float *to = maps->x;
    for (int n = 0; n < form->batch; n++)
        for (int s = 0; s < form->source_count; s++) {
            int height = form->sources[s].height, width = form->sources[s].width, channels = form->sources[s].channels;
            const float *image = (const float *)call_input(maps->call, (size_t)s)->data + (size_t)n * (size_t)channels * (size_t)height * (size_t)width;
            for (int c = 0; c < channels; c++, image += height * width)
                for (int y = 0; y < form->size[0]; y++)
                    for (int x = 0; x < form->size[1]; x++)
                        *to++ = form->sources[s].scale == SCALE_UPSAMPLED ? upsampled(image, height, width, y, x)
                                : form->sources[s].scale == SCALE_POOLED  ? pooled(image, width, y, x)
                                                                          : image[y * width + x];
        }
    return MITRAL_OK;
}

static double convolve(const struct dilated_stage *s, const float *input, const int size[2], int m, int y, int x)
{
    int per_group = s->channels / s->groups, first = m / (s->outputs / s->groups) * per_group;
    const float *w = (const float *)s->weights->data + (size_t)m * (size_t)per_group * (size_t)(s->kernel[0] * s->kernel[1]);
    double sum = s->bias ? (double)((const float *)s->bias->data)[m] : 0;
    for (int c = 0; c < per_group; c++, w += s->kernel[0] * s->kernel[1])
        for (int i = 0; i < s->kernel[0]; i++)
            for (int j = 0; j < s->kernel[1]; j++) {
                int row = y * s->stride[0] - s->pad_begin[0] + i * s->dilation[0], column = x * s->stride[1] - s->pad_begin[1] + j * s->dilation[1];
                if (row >= 0 && row < size[0] && column >= 0 && column < size[1])
                    sum += (double)w[i * s->kernel[1] + j] * (double)input[((size_t)(first + c) * (size_t)size[0] + (size_t)row) * (size_t)size[1] + (size_t)column];
            }
    return sum;
}

/* The mean over the pixels of each channel of each image. */
static float *means(const struct maps *maps, const float *map, int channels, const int size[2])
{
    float *out = floats(maps->call, maps->form.batch, channels, 1, 1);
    size_t pixels = (size_t)size[0] * (size_t)size[1];
    for (size_t i = 0; out && i < (size_t)maps->form.batch * (size_t)channels; i++) {
        double sum = 0;
        for (size_t p = 0; p < pixels; p++)
            sum += (double)map[i * pixels + p];
        out[i] = (float)(sum / (double)pixels);
    }
    return out;
}

static mitral_status activate_stage(struct maps *maps, int index, const float *input)
{
    const struct dilated_stage *s = &maps->form.stages[index];
    float *to = maps->stages[index] = floats(maps->call, maps->form.batch, s->outputs, s->size[0], s->size[1]);
    size_t pixels = (size_t)s->size[0] * (size_t)s->size[1], count = (size_t)maps->form.batch * (size_t)s->outputs * pixels;
    if (!to || !input)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        to[i] = activate(input[i], s->activation, s->slope, (int)(i / pixels % (size_t)s->outputs));
    return MITRAL_OK;
}

static mitral_status run_stage(struct maps *maps, int index)
{
    const struct dilated_form *form = &maps->form;
    const struct dilated_stage *s = &form->stages[index];
    const float *input = s->from >= 0 ? maps->stages[s->from] : s->from == FROM_X ? maps->x : s->from == FROM_MERGED ? maps->merged
                         : s->from == FROM_GATE ? maps->mean : maps->y;
    static const int single[2] = {1, 1};
    const int *size = s->input_size;
    if (s->kind == STAGE_ACTIVATION)
        return activate_stage(maps, index, input);
    if (s->kind == STAGE_GLOBAL) {
        input = means(maps, input, s->channels, size);
        size = single;
    }
    float *to = maps->stages[index] = floats(maps->call, form->batch, s->outputs, s->size[0], s->size[1]);
    if (!to || !input)
        return MITRAL_NO_MEMORY;
    for (int n = 0; n < form->batch; n++, input += (size_t)s->channels * (size_t)size[0] * (size_t)size[1])
        for (int m = 0; m < s->outputs; m++)
            for (int y = 0; y < s->size[0]; y++)
                for (int x = 0; x < s->size[1]; x++) {
                    float value = (float)convolve(s, input, size, m, s->kind == STAGE_GLOBAL ? 0 : y, s->kind == STAGE_GLOBAL ? 0 : x);
                    *to++ = activate(value, s->activation, s->slope, m);
                }
    return MITRAL_OK;
}

static mitral_status merge(struct maps *maps)
{
    const struct dilated_form *form = &maps->form;
    size_t pixels = (size_t)form->output_size[0] * (size_t)form->output_size[1];
    maps->merged = floats(maps->call, form->batch, form->merged_channels, form->output_size[0], form->output_size[1]);
    if (!maps->merged)
        return MITRAL_NO_MEMORY;
    for (size_t n = 0; n < (size_t)form->batch; n++) {
        float *to = maps->merged + n * (size_t)form->merged_channels * pixels;
        for (int k = 0; k < form->branch_count; k++) {
            size_t count = (size_t)form->stages[form->branches[k]].outputs * pixels;
            const float *from = maps->stages[form->branches[k]] + n * count;
            bool summed = k > (form->merge == MERGE_SUM ? 0 : form->merge == MERGE_RUNNING ? form->running_from : form->branch_count);
            if (form->merge == MERGE_SUM)
                for (size_t i = 0; i < count; i++)
                    to[i] = k == 0 ? from[i] : to[i] + from[i];
            else
                for (size_t i = 0; i < count; i++)
                    to[i] = summed ? from[i] + *(to + i - count) : from[i];
            to += form->merge == MERGE_SUM ? 0 : count;
        }
    }
    return MITRAL_OK;
}

/* Each element of the map at `map` of `channels` channels: f(value, channel, index). */
static void finish(struct maps *maps, float *map, int channels, bool first)
{
    const struct dilated_form *form = &maps->form;
    const float *shortcut = form->shortcut == SHORTCUT_STAGE ? maps->stages[form->shortcut_stage] : form->shortcut == SHORTCUT_IDENTITY ? maps->x
                            : form->shortcut == SHORTCUT_INPUT ? form->added->data : NULL;
    const float *scale = form->scale ? form->scale->data : NULL, *shift = form->shift ? form->shift->data : NULL;
    size_t pixels = (size_t)form->output_size[0] * (size_t)form->output_size[1];
    for (size_t i = 0; i < (size_t)form->batch * (size_t)channels * pixels; i++) {
        int c = (int)(i / pixels % (size_t)channels);
        if (first) {
            float value = form->shortcut_first && shortcut ? map[i] + shortcut[i] : map[i];
            value = (scale ? scale[c] : 1) * value + (shift ? shift[c] : 0);
            map[i] = activate(value, form->merged_activation, form->merged_slope, c);
        } else {
            map[i] = activate(shortcut && !form->shortcut_first ? map[i] + shortcut[i] : map[i], form->activation, form->slope, c);
        }
    }
}

static mitral_status gate(struct maps *maps)
{
    const struct dilated_form *form = &maps->form;
    maps->mean = means(maps, maps->merged, form->merged_channels, form->output_size);
    if (!maps->mean)
        return MITRAL_NO_MEMORY;
    TRY(run_stage(maps, form->gate[0]));
    TRY(run_stage(maps, form->gate[1]));
    size_t pixels = (size_t)form->output_size[0] * (size_t)form->output_size[1];
    for (size_t i = 0; i < (size_t)form->batch * (size_t)form->merged_channels * pixels; i++)
        maps->merged[i] *= 1 / (1 + expf(-maps->stages[form->gate[1]][i / pixels]));
    return MITRAL_OK;
}

static mitral_status run(struct kernel_call *call)
{
    struct maps maps = {.call = call};
    mitral_tensor *output = call_output(call, 0);
    if (!output)
        return MITRAL_OK;
    TRY(dilated_decode(call, &maps.form));
    if (maps.form.rounded || call_input(call, 0)->dtype != MITRAL_FLOAT)
        return call_fail(call, MITRAL_UNSUPPORTED, "float32 sources and result expected, found bfloat16");
    const struct dilated_form *form = &maps.form;
    for (int i = 0; i < form->stage_count; i++)
        if (form->stages[i].weights && form->stages[i].weights->layout != LAYOUT_PLAIN)
            return call_fail(call, MITRAL_UNSUPPORTED, "stage %d: plain weights expected, found packed ones", i);
    TRY(make_x(&maps));
    for (int i = 0; i < form->stage_count; i++)
        if (form->stages[i].from >= FROM_X && i != form->gate[1])
            TRY(run_stage(&maps, i));
    TRY(merge(&maps));
    finish(&maps, maps.merged, form->merged_channels, true);
    if (form->gate[0] >= 0)
        TRY(gate(&maps));
    float *last = maps.merged;
    if (form->tail >= 0) {
        TRY(run_stage(&maps, form->tail));
        last = maps.stages[form->tail];
    }
    finish(&maps, last, form->outputs, false);
    if (form->head >= 0) {
        maps.y = last;
        TRY(run_stage(&maps, form->head));
        last = maps.stages[form->head];
    }
    memcpy(output->data, last, tensor_bytes(output));
    return MITRAL_OK;
}

static double flops(const struct kernel_call *call)
{
    struct dilated_form form;
    return dilated_decode(call, &form) == MITRAL_OK ? dilated_flops(&form) : 0;
}

const struct kernel reference_dilated[] = {
    {.name = "mitral.DilatedParallelBlock", .shape = dilated_shape, .run = run, .flops = flops},
};
const size_t reference_dilated_count = sizeof reference_dilated / sizeof *reference_dilated;
