/* mitral.ScaleShift: x · scale[c] + shift[c], then an activation: what is left of a batch normalization with no convolution before
 * it. Inputs x [N, C, …] in any layout, scale [C], shift [C], slope [C]? (float32); attributes `activation` ("", Relu, LeakyRelu,
 * Clip, PRelu), `activation_alpha`, `activation_beta`. mitral.ConcatScaleShift: the same of the maps that come first (attribute
 * `parts`: how many), one after another along the channels. */
#include <string.h>

#include "runtime/kernels/onednn/onednn.h"
#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/operand.h"

/* Inputs behind the maps. */
enum { SCALE, SHIFT, SLOPE, LISTS };
enum { BLOCK = 1024, TASK_ELEMENTS = 16384, MOST_PARTS = 256 };

/* 1 for mitral.ScaleShift. */
static size_t part_count(const struct kernel_call *call)
{
    const int64_t parts = attribute_int(call->attributes, "parts", 1);
    return parts < 1 || parts > MOST_PARTS ? 0 : (size_t)parts;
}

static mitral_status scale_shift_shape(struct kernel_call *call)
{
    const size_t parts = part_count(call);
    const mitral_tensor *x = call_input(call, 0);
    char text[160];
    if (!parts || !x || x->rank < 2 || !dtype_is_float(x->dtype))
        return call_fail(call, MITRAL_INVALID, "1 to %d float maps [N, C, …] expected", MOST_PARTS);
    mitral_tensor all = *x;
    for (size_t i = 1; i < parts; i++) {
        const mitral_tensor *part = call_input(call, i);
        bool fits = part && part->rank == x->rank && part->dtype == x->dtype;
        for (int32_t d = 0; fits && d < x->rank; d++)
            fits = d == 1 || part->dims[d] == x->dims[d];
        if (!fits || __builtin_add_overflow(all.dims[1], part->dims[1], &all.dims[1]))
            return call_fail(call, MITRAL_INVALID, "input %zu: a map of the first one's type and size expected, found %s", i,
                             part ? tensor_describe(part, text, sizeof text) : "none");
    }
    for (size_t i = SCALE; i < LISTS; i++) {
        const mitral_tensor *list = call_input(call, parts + i);
        if (!list && i == SLOPE)
            break;
        if (!list || list->dtype != MITRAL_FLOAT || tensor_count(list) != all.dims[1])
            return call_fail(call, MITRAL_INVALID, "input %zu: %lld float32 numbers expected, found %s", parts + i, (long long)all.dims[1],
                             list ? tensor_describe(list, text, sizeof text) : "none");
    }
    call_set_output_like(call, 0, &all);
    return MITRAL_OK;
}

/* Parts of one channel are the same in both layouts: what the output was planned with decides. */
static mitral_status concat_scale_shift_shape(struct kernel_call *call)
{
    return onednn_shape_keeping_layouts(call, scale_shift_shape);
}

enum finish { FINISH_NONE, FINISH_SLOPE, FINISH_CLIP };

struct job {
    enum finish finish;
    float slope, low, high;              /* slope: of all channels where there is no list */
    const float *scale, *shift, *slopes; /* by channel */
};

static mitral_status read_job(const struct kernel_call *call, struct job *job)
{
    const char *name = attribute_string(call->attributes, "activation", "");
    const size_t parts = part_count(call);
    *job = (struct job){.scale = call_input(call, parts + SCALE)->data, .shift = call_input(call, parts + SHIFT)->data};
    const float alpha = attribute_float(call->attributes, "activation_alpha", 0);
    const float beta = attribute_float(call->attributes, "activation_beta", 0);
    if (strcmp(name, "Relu") == 0 || strcmp(name, "LeakyRelu") == 0) {
        job->finish = FINISH_SLOPE;
        job->slope = *name == 'L' ? alpha : 0;
    } else if (strcmp(name, "PRelu") == 0 && call_input(call, parts + SLOPE)) {
        job->finish = FINISH_SLOPE;
        job->slopes = call_input(call, parts + SLOPE)->data;
    } else if (strcmp(name, "Clip") == 0) {
        job->finish = FINISH_CLIP;
        job->low = alpha;
        job->high = beta;
    } else if (*name) {
        return call_fail(call, MITRAL_UNSUPPORTED, "activation: Relu, LeakyRelu, PRelu or Clip expected, found '%s'", name);
    }
    return MITRAL_OK;
}

/* One channel. */
VECTOR_CLONES static void run_row(const float *x, float *y, int64_t count, enum finish finish, float scale, float shift, float slope,
                                  float low, float high)
{
    if (finish == FINISH_NONE) {
        for (int64_t i = 0; i < count; i++)
            y[i] = x[i] * scale + shift;
    } else if (finish == FINISH_SLOPE) {
        for (int64_t i = 0; i < count; i++) {
            const float value = x[i] * scale + shift;
            y[i] = value > 0 ? value : value * slope;
        }
    } else {
        for (int64_t i = 0; i < count; i++) {
            const float value = x[i] * scale + shift, above = value < low ? low : value;
            y[i] = above > high ? high : above;
        }
    }
}

/* `pixels` pixels of `channels` channels each; those of y are `pitch` apart. */
VECTOR_CLONES static void run_pixels(const float *x, float *y, int64_t pixels, int64_t channels, int64_t pitch, enum finish finish,
                                     const float *restrict scale, const float *restrict shift, const float *restrict slope, float low,
                                     float high)
{
    for (int64_t p = 0; p < pixels; p++, x += channels, y += pitch) {
        if (finish == FINISH_NONE) {
            for (int64_t c = 0; c < channels; c++)
                y[c] = x[c] * scale[c] + shift[c];
        } else if (finish == FINISH_SLOPE) {
            for (int64_t c = 0; c < channels; c++) {
                const float value = x[c] * scale[c] + shift[c];
                y[c] = value > 0 ? value : value * slope[c];
            }
        } else {
            for (int64_t c = 0; c < channels; c++) {
                const float value = x[c] * scale[c] + shift[c], above = value < low ? low : value;
                y[c] = above > high ? high : above;
            }
        }
    }
}

/* Elements [at, at + count) as floats: in place for float32, else by way of a block. */
static const float *load(const mitral_tensor *tensor, int64_t at, int64_t count, float *block)
{
    if (tensor->dtype == MITRAL_FLOAT)
        return (const float *)tensor->data + at;
    if (tensor->dtype == MITRAL_FLOAT16 || tensor->dtype == MITRAL_BFLOAT16)
        half_to_floats(tensor->dtype, (const uint16_t *)tensor->data + at, 1, block, (size_t)count);
    else
        for (int64_t i = 0; i < count; i++)
            block[i] = (float)tensor_get_double(tensor, at + i);
    return block;
}

static void store(mitral_tensor *tensor, int64_t at, int64_t count, const float *block)
{
    if (tensor->dtype == MITRAL_FLOAT16 || tensor->dtype == MITRAL_BFLOAT16)
        floats_to_half(tensor->dtype, block, (uint16_t *)tensor->data + at, 1, (size_t)count);
    else if (tensor->dtype != MITRAL_FLOAT)
        for (int64_t i = 0; i < count; i++)
            tensor_set_double(tensor, at + i, (double)block[i], false);
}

static float *target(mitral_tensor *tensor, int64_t at, float *block)
{
    return tensor->dtype == MITRAL_FLOAT ? (float *)tensor->data + at : block;
}

/* The planes of one part, which are the channels from `first_channel` on of y. */
static void run_planes(const struct kernel_call *call, const struct job *job, const mitral_tensor *x, mitral_tensor *y, int64_t first_channel)
{
    const int64_t channels = x->dims[1], planes = x->dims[0] * channels, size = tensor_count(x) / (planes ? planes : 1);
    const int64_t limit = x->dtype == MITRAL_FLOAT ? TASK_ELEMENTS : BLOCK, pieces = (size + limit - 1) / limit;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (planes * size > TASK_ELEMENTS)
    for (int64_t task = 0; task < planes * pieces; task++) {
        float block[BLOCK];
        const int64_t plane = task / pieces, first = task % pieces * limit, count = size - first < limit ? size - first : limit;
        const int64_t c = first_channel + plane % channels, to_plane = plane / channels * y->dims[1] + c, at = to_plane * size + first;
        float *to = target(y, at, block);
        run_row(load(x, plane * size + first, count, block), to, count, job->finish, job->scale[c], job->shift[c],
                job->slopes ? job->slopes[c] : job->slope, job->low, job->high);
        store(y, at, count, to);
    }
}

/* One group of pixels of one part. */
static void run_group(const struct job *job, const mitral_tensor *x, mitral_tensor *y, int64_t first, int64_t count, int64_t first_channel,
                      const float *slopes)
{
    const int64_t channels = x->dims[1], pitch = y->dims[1];
    if (x->dtype == MITRAL_FLOAT) {
        run_pixels((const float *)x->data + first * channels, (float *)y->data + first * pitch + first_channel, count, channels, pitch,
                   job->finish, job->scale + first_channel, job->shift + first_channel, slopes + first_channel, job->low, job->high);
        return;
    }
    /* Narrow types go through a block on the stack, a piece of one pixel at a time. */
    float block[BLOCK];
    for (int64_t p = first; p < first + count; p++)
        for (int64_t c = 0; c < channels; c += BLOCK) {
            const int64_t width = channels - c < BLOCK ? channels - c : BLOCK, at = p * pitch + first_channel + c, k = first_channel + c;
            run_pixels(load(x, p * channels + c, width, block), block, 1, width, width, job->finish, job->scale + k, job->shift + k, slopes + k,
                       job->low, job->high);
            store(y, at, width, block);
        }
}

static void run_channels_last(const struct kernel_call *call, const struct job *job, mitral_tensor *y, size_t parts, const float *slopes)
{
    const int64_t channels = y->dims[1], pixels = tensor_count(y) / (channels ? channels : 1);
    const int64_t group = channels < TASK_ELEMENTS ? TASK_ELEMENTS / channels : 1, tasks = (pixels + group - 1) / group;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (tasks > 1)
    for (int64_t task = 0; task < tasks; task++) {
        const int64_t first = task * group, count = pixels - first < group ? pixels - first : group;
        int64_t channel = 0;
        for (size_t i = 0; i < parts; i++) {
            const mitral_tensor *x = call_input(call, i);
            run_group(job, x, y, first, count, channel, slopes);
            channel += x->dims[1];
        }
    }
}

static mitral_status scale_shift_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    const mitral_tensor *y = call_output(call, 0);
    *scratch_bytes = y ? (size_t)y->dims[1] * sizeof(float) : 0; /* one slope for all channels, spread out */
    return MITRAL_OK;
}

static mitral_status scale_shift_run(struct kernel_call *call)
{
    const size_t parts = part_count(call);
    mitral_tensor *y = call_output(call, 0);
    struct job job;
    TRY(read_job(call, &job));
    if (!y || tensor_count(y) == 0)
        return MITRAL_OK;
    if (y->layout != LAYOUT_CHANNELS_LAST) {
        int64_t channel = 0;
        for (size_t i = 0; i < parts; i++) {
            run_planes(call, &job, call_input(call, i), y, channel);
            channel += call_input(call, i)->dims[1];
        }
        return MITRAL_OK;
    }
    float *slopes = call->scratch;
    for (int64_t c = 0; !job.slopes && c < y->dims[1]; c++)
        slopes[c] = job.slope;
    run_channels_last(call, &job, y, parts, job.slopes ? job.slopes : slopes);
    return MITRAL_OK;
}

static double scale_shift_flops(const struct kernel_call *call)
{
    return 2.0 * (double)tensor_count(call_output(call, 0));
}

const struct kernel channels_scale_shift[] = {
    {.name = "mitral.ConcatScaleShift", .flags = KERNEL_ANY_LAYOUT, .shape = concat_scale_shift_shape, .prepare = scale_shift_prepare,
     .run = scale_shift_run, .flops = scale_shift_flops},
    {.name = "mitral.ScaleShift", .flags = KERNEL_IN_PLACE | KERNEL_ANY_LAYOUT, .shape = scale_shift_shape, .prepare = scale_shift_prepare,
     .run = scale_shift_run, .flops = scale_shift_flops},
};
const size_t channels_scale_shift_count = sizeof channels_scale_shift / sizeof *channels_scale_shift;
