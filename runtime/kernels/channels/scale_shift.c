/* mitral.ScaleShift: x · scale[c] + shift[c], then an activation: what is left of a batch normalization with no convolution before
 * it. Inputs x [N, C, …] in any layout, scale [C], shift [C], slope [C]? (float32); attributes `activation` ("", Relu, LeakyRelu,
 * Clip, PRelu), `activation_alpha`, `activation_beta`. */
#include <string.h>

#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/operand.h"

enum { X, SCALE, SHIFT, SLOPE };
enum { BLOCK = 1024, TASK_ELEMENTS = 16384 };

static mitral_status scale_shift_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, X);
    if (!x || x->rank < 2 || !dtype_is_float(x->dtype))
        return call_fail(call, MITRAL_INVALID, "a float input [N, C, …] expected");
    for (size_t i = SCALE; i <= SLOPE; i++) {
        const mitral_tensor *constants = call_input(call, i);
        char text[160];
        if (!constants && i == SLOPE)
            break;
        if (!constants || constants->dtype != MITRAL_FLOAT || tensor_count(constants) != x->dims[1])
            return call_fail(call, MITRAL_INVALID, "input %zu: %lld float32 numbers expected, found %s", i, (long long)x->dims[1],
                             constants ? tensor_describe(constants, text, sizeof text) : "none");
    }
    call_set_output_like(call, 0, x);
    return MITRAL_OK;
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
    *job = (struct job){.scale = call_input(call, SCALE)->data, .shift = call_input(call, SHIFT)->data};
    const float alpha = attribute_float(call->attributes, "activation_alpha", 0);
    const float beta = attribute_float(call->attributes, "activation_beta", 0);
    if (strcmp(name, "Relu") == 0 || strcmp(name, "LeakyRelu") == 0) {
        job->finish = FINISH_SLOPE;
        job->slope = *name == 'L' ? alpha : 0;
    } else if (strcmp(name, "PRelu") == 0 && call_input(call, SLOPE)) {
        job->finish = FINISH_SLOPE;
        job->slopes = call_input(call, SLOPE)->data;
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

/* `pixels` pixels of `channels` channels each. */
VECTOR_CLONES static void run_pixels(const float *x, float *y, int64_t pixels, int64_t channels, enum finish finish,
                                     const float *restrict scale, const float *restrict shift, const float *restrict slope, float low,
                                     float high)
{
    for (int64_t p = 0; p < pixels; p++, x += channels, y += channels) {
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

static void run_planes(const struct kernel_call *call, const struct job *job, const mitral_tensor *x, mitral_tensor *y)
{
    const int64_t channels = x->dims[1], planes = x->dims[0] * channels, size = tensor_count(x) / (planes ? planes : 1);
    const int64_t limit = x->dtype == MITRAL_FLOAT ? TASK_ELEMENTS : BLOCK, pieces = (size + limit - 1) / limit;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (planes * size > TASK_ELEMENTS)
    for (int64_t task = 0; task < planes * pieces; task++) {
        float block[BLOCK];
        const int64_t plane = task / pieces, first = task % pieces * limit, count = size - first < limit ? size - first : limit;
        const int64_t at = plane * size + first, c = plane % channels;
        float *to = target(y, at, block);
        run_row(load(x, at, count, block), to, count, job->finish, job->scale[c], job->shift[c],
                job->slopes ? job->slopes[c] : job->slope, job->low, job->high);
        store(y, at, count, to);
    }
}

static void run_channels_last(const struct kernel_call *call, const struct job *job, const mitral_tensor *x, mitral_tensor *y,
                              const float *slopes)
{
    const int64_t channels = x->dims[1], pixels = tensor_count(x) / (channels ? channels : 1);
    /* Narrow types go through a block on the stack: several pixels of few channels, or a part of one pixel of many. */
    const bool narrow = x->dtype != MITRAL_FLOAT;
    const int64_t limit = narrow ? BLOCK : TASK_ELEMENTS, group = channels < limit ? limit / channels : 1;
    const int64_t part = narrow && channels > BLOCK ? BLOCK : channels;
    const int64_t tasks = (pixels + group - 1) / group;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (pixels * channels > TASK_ELEMENTS)
    for (int64_t task = 0; task < tasks; task++) {
        float block[BLOCK];
        const int64_t first = task * group, count = pixels - first < group ? pixels - first : group;
        for (int64_t c = 0; c < channels; c += part) {
            const int64_t width = channels - c < part ? channels - c : part, at = first * channels + c;
            float *to = target(y, at, block);
            run_pixels(load(x, at, count * width, block), to, count, width, job->finish, job->scale + c, job->shift + c, slopes + c,
                       job->low, job->high);
            store(y, at, count * width, to);
        }
    }
}

static mitral_status scale_shift_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    *scratch_bytes = (size_t)call_input(call, X)->dims[1] * sizeof(float); /* one slope for all channels, spread out */
    return MITRAL_OK;
}

static mitral_status scale_shift_run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, X);
    mitral_tensor *y = call_output(call, 0);
    struct job job;
    TRY(read_job(call, &job));
    if (!y || tensor_count(x) == 0)
        return MITRAL_OK;
    if (x->layout != LAYOUT_CHANNELS_LAST) {
        run_planes(call, &job, x, y);
        return MITRAL_OK;
    }
    float *slopes = call->scratch;
    for (int64_t c = 0; !job.slopes && c < x->dims[1]; c++)
        slopes[c] = job.slope;
    run_channels_last(call, &job, x, y, job.slopes ? job.slopes : slopes);
    return MITRAL_OK;
}

static double scale_shift_flops(const struct kernel_call *call)
{
    return 2.0 * (double)tensor_count(call_input(call, X));
}

const struct kernel channels_scale_shift[] = {
    {.name = "mitral.ScaleShift", .flags = KERNEL_IN_PLACE | KERNEL_ANY_LAYOUT, .shape = scale_shift_shape, .prepare = scale_shift_prepare,
     .run = scale_shift_run, .flops = scale_shift_flops},
};
const size_t channels_scale_shift_count = sizeof channels_scale_shift / sizeof *channels_scale_shift;
