/* channels.resize: Resize and Upsample of the spatial dimensions of channels-last maps. One output row at a time: the input rows that
 * it needs are summed into a row of the input's width, whose pixels are then summed into the output's. What other forms ask for is
 * left to the reference kernel. */
#include <omp.h>
#include <string.h>

#include "runtime/kernels/onednn/onednn.h"
#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/reference/resize.h"

enum { SPATIAL = 3 };

struct job {
    int32_t outer;                            /* spatial dimensions before the last one */
    int64_t images, channels;
    int64_t in[SPATIAL], out[SPATIAL];
    int64_t taps[SPATIAL];
    const int32_t *index[SPATIAL];            /* [tap · out + o] */
    const float *weight[SPATIAL];             /* NULL: nearest */
    size_t row_floats;                        /* of a thread's summed row */
    int32_t dtype;
};

/* ---- loops ------------------------------------------------------------------------------------------------------------ */

VECTOR_CLONES static void scale_row(const float *restrict from, float *restrict to, int64_t count, float weight)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = weight * from[i];
}

VECTOR_CLONES static void add_row(const float *restrict from, float *restrict to, int64_t count, float weight)
{
    for (int64_t i = 0; i < count; i++)
        to[i] += weight * from[i];
}

VECTOR_CLONES static void mix_rows(const float *restrict a, const float *restrict b, float *restrict to, int64_t count, float weight_a,
                                   float weight_b)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = weight_a * a[i] + weight_b * b[i];
}

/* The pixels of one output row from a row of the input's width. */
VECTOR_CLONES static void mix_pixels(const float *restrict row, float *restrict to, int64_t pixels, int64_t channels, int64_t taps,
                                     const int32_t *index, const float *weight)
{
    for (int64_t o = 0; o < pixels; o++, to += channels) {
        const float *a = row + index[o] * channels, *b = row + index[pixels + o] * channels;
        const float weight_a = weight[o], weight_b = weight[pixels + o];
        for (int64_t c = 0; c < channels; c++)
            to[c] = weight_a * a[c] + weight_b * b[c];
        for (int64_t t = 2; t < taps; t++) {
            const float *more = row + index[t * pixels + o] * channels, w = weight[t * pixels + o];
            for (int64_t c = 0; c < channels; c++)
                to[c] += w * more[c];
        }
    }
}

static void copy_pixels(const char *row, char *to, int64_t pixels, size_t bytes, const int32_t *index)
{
    for (int64_t o = 0; o < pixels; o++)
        memcpy(to + (size_t)o * bytes, row + (size_t)index[o] * bytes, bytes);
}

/* ---- one output row --------------------------------------------------------------------------------------------------- */

/* Number of the input row that `position` (output coordinates in the outer dimensions) takes with these taps, and its weight. */
static int64_t outer_tap(const struct job *job, const int64_t *position, int64_t tap, float *weight)
{
    int64_t row = 0;
    *weight = 1;
    for (int32_t i = 0; i < job->outer; i++) {
        const int64_t at = tap % job->taps[i] * job->out[i] + position[i];
        tap /= job->taps[i];
        row = row * job->in[i] + job->index[i][at];
        *weight *= job->weight[i] ? job->weight[i][at] : 1;
    }
    return row;
}

/* The input's rows as floats; `spare` takes the converted ones. */
static const float *float_row(const struct job *job, const char *base, int64_t row, float *spare)
{
    const int64_t count = job->in[job->outer] * job->channels;
    if (job->dtype == MITRAL_FLOAT)
        return (const float *)(const void *)base + row * count;
    half_to_floats(job->dtype, (const uint16_t *)(const void *)base + row * count, 1, spare, (size_t)count);
    return spare;
}

static const float *summed_row(const struct job *job, const char *base, const int64_t *position, float *sum, float *spare)
{
    int64_t taps = 1;
    for (int32_t i = 0; i < job->outer; i++)
        taps *= job->taps[i];
    const int64_t count = job->in[job->outer] * job->channels;
    float weights[2];
    int64_t rows[2];
    int64_t first = 0;
    rows[0] = outer_tap(job, position, 0, &weights[0]);
    if (taps == 1 && weights[0] == 1)
        return float_row(job, base, rows[0], sum);
    if (taps >= 2 && job->dtype == MITRAL_FLOAT) {
        rows[1] = outer_tap(job, position, 1, &weights[1]);
        mix_rows(float_row(job, base, rows[0], NULL), float_row(job, base, rows[1], NULL), sum, count, weights[0], weights[1]);
        first = 2;
    } else {
        scale_row(float_row(job, base, rows[0], spare), sum, count, weights[0]);
        first = 1;
    }
    for (int64_t tap = first; tap < taps; tap++) {
        rows[0] = outer_tap(job, position, tap, &weights[0]);
        if (weights[0] != 0)
            add_row(float_row(job, base, rows[0], spare), sum, count, weights[0]);
    }
    return sum;
}

static void run_row(const struct job *job, const char *x, char *y, int64_t row, float *scratch)
{
    const int32_t last = job->outer;
    const size_t element = mitral_dtype_size((mitral_dtype)job->dtype), pixel = (size_t)job->channels * element;
    int64_t position[SPATIAL] = {0}, rest = row, in_rows = 1;
    for (int32_t i = last - 1; i >= 0; i--) {
        position[i] = rest % job->out[i];
        rest /= job->out[i];
        in_rows *= job->in[i];
    }
    const char *base = x + (size_t)(rest * in_rows * job->in[last]) * pixel;
    char *to = y + (size_t)(row * job->out[last]) * pixel;
    if (!job->weight[last]) {
        float weight;
        copy_pixels(base + (size_t)(outer_tap(job, position, 0, &weight) * job->in[last]) * pixel, to, job->out[last], pixel, job->index[last]);
        return;
    }
    float *sum = scratch, *spare = scratch + job->row_floats, *result = spare + job->row_floats;
    const float *summed = summed_row(job, base, position, sum, spare);
    float *target = job->dtype == MITRAL_FLOAT ? (float *)(void *)to : result;
    mix_pixels(summed, target, job->out[last], job->channels, job->taps[last], job->index[last], job->weight[last]);
    if (job->dtype != MITRAL_FLOAT)
        floats_to_half(job->dtype, result, (uint16_t *)(void *)to, 1, (size_t)(job->out[last] * job->channels));
}

/* addresses: x, y, scratch, the tables. */
static mitral_status run_job(const struct kernel_call *call, void *const *addresses, const void *data)
{
    struct job job = *(const struct job *)data;
    int64_t rows = job.images;
    for (int32_t i = 0; i < job.outer; i++)
        rows *= job.out[i];
    const size_t thread_floats = 2 * job.row_floats + (size_t)(job.out[job.outer] * job.channels);
#pragma omp parallel for num_threads(call->threads) schedule(static) if (rows > 1)
    for (int64_t row = 0; row < rows; row++)
        run_row(&job, addresses[0], addresses[1], row, (float *)addresses[2] + (size_t)omp_get_thread_num() * thread_floats);
    return MITRAL_OK;
}

/* ---- preparation ------------------------------------------------------------------------------------------------------ */

/* Nothing but the spatial dimensions changes, in a way that the loops here know. */
static bool is_spatial(const struct kernel_call *call, const struct resize_request *request)
{
    const mitral_tensor *x = call_input(call, 0);
    if (x->rank < 3 || x->rank > 5 || request->coordinates == COORDINATES_TF_CROP_AND_RESIZE || !resize_is_identity(request, &request->axes[0])
        || !resize_is_identity(request, &request->axes[1]))
        return false;
    return x->dtype == MITRAL_FLOAT || x->dtype == MITRAL_BFLOAT16 || x->dtype == MITRAL_FLOAT16;
}

static mitral_status add_tables(struct onednn_program *program, const struct kernel_call *call, const struct resize_request *request,
                                struct job *job)
{
    struct onednn_where where;
    for (int32_t i = 0; i <= job->outer; i++) {
        const struct resize_axis *axis = &request->axes[2 + i];
        struct resize_table table = {.in = axis->in, .out = axis->out, .taps = resize_taps(request, axis)};
        job->in[i] = axis->in;
        job->out[i] = axis->out;
        const bool linear = request->mode != RESIZE_NEAREST, identity = resize_is_identity(request, axis);
        if (identity) /* for its rows; along rows two taps are always there */
            table.taps = linear && i == job->outer ? 2 : 1;
        int64_t entries;
        void *index, *weights[2];
        if (!multiply_sizes(table.taps, axis->out, &entries) || entries > INT32_MAX)
            return call_fail(call, MITRAL_LIMIT, "axis %d: at most %d samples expected, found %lld for each of %lld outputs", (int)i + 2, INT32_MAX,
                             (long long)table.taps, (long long)axis->out);
        TRY(onednn_add_buffer(program, call, (size_t)entries * sizeof(int32_t), &index, &where));
        TRY(onednn_add_buffer(program, call, (size_t)entries * sizeof(float), &weights[0], &where));
        TRY(onednn_add_buffer(program, call, (size_t)entries * sizeof(double), &weights[1], &where));
        table.index = index;
        if (linear) {
            table.weight = weights[0];
            table.weight_double = weights[1];
        }
        if (identity)
            for (int64_t k = 0; k < entries; k++) {
                table.index[k] = (int32_t)(k % axis->out);
                if (linear)
                    table.weight[k] = k < axis->out;
            }
        else
            resize_fill(request, axis, &table);
        job->taps[i] = table.taps;
        job->index[i] = table.index;
        job->weight[i] = table.weight;
    }
    return MITRAL_OK;
}

static mitral_status add_job(struct onednn_program *program, const struct kernel_call *call, const struct resize_request *request)
{
    const mitral_tensor *x = call_input(call, 0);
    struct job job = {.outer = x->rank - 3, .images = x->dims[0], .channels = x->dims[1], .dtype = x->dtype};
    struct onednn_where wheres[3] = {{PLACE_NONE, 0, 0}, onednn_output_in(program, call, 0, LAYOUT_CHANNELS_LAST), {PLACE_NONE, 0, 0}};
    TRY(onednn_input_in(program, call, 0, LAYOUT_CHANNELS_LAST, &wheres[0]));
    TRY(add_tables(program, call, request, &job));
    if (request->mode == RESIZE_LINEAR || request->mode == RESIZE_CUBIC) {
        const size_t floats = (size_t)(job.in[job.outer] * job.channels);
        job.row_floats = (floats + 15) & ~(size_t)15;
    }
    const size_t team = call->threads > 1 ? (size_t)call->threads : 1;
    wheres[2] = onednn_scratch(program, team * (2 * job.row_floats + (size_t)(job.out[job.outer] * job.channels)) * sizeof(float));
    TRY(onednn_add_function(program, call, run_job, wheres, 3, &job, sizeof job));
    return onednn_finish_output(program, call, 0, LAYOUT_CHANNELS_LAST, wheres[1]);
}

static mitral_status prepare(struct kernel_call *call, bool upsample, void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    struct resize_request request;
    TRY(upsample ? upsample_read(call, &request) : resize_read(call, &request));
    TRY(onednn_program_create(&program, call));
    mitral_status status = MITRAL_OK;
    if (tensor_count(call_output(call, 0)) == 0)
        status = MITRAL_OK;
    else if (is_spatial(call, &request))
        status = add_job(program, call, &request);
    else
        status = onednn_add_delegate(program, call, upsample ? "Upsample" : "Resize", call->input_count, NULL);
    return onednn_program_finish(program, call, status, state, scratch_bytes);
}

static mitral_status resize_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return prepare(call, false, state, scratch_bytes);
}

static mitral_status upsample_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return prepare(call, true, state, scratch_bytes);
}

static mitral_status plain_shape(struct kernel_call *call, const char *name)
{
    const struct kernel *kernel = kernel_find(name);
    return kernel ? kernel->shape(call) : call_fail(call, MITRAL_UNSUPPORTED, "the kernel %s expected, found none", name);
}

static mitral_status plain_resize_shape(struct kernel_call *call) { return plain_shape(call, "Resize"); }
static mitral_status plain_upsample_shape(struct kernel_call *call) { return plain_shape(call, "Upsample"); }
static mitral_status resize_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, plain_resize_shape); }
static mitral_status upsample_shape(struct kernel_call *call) { return onednn_shape_keeping_layouts(call, plain_upsample_shape); }

const struct kernel channels_resize[] = {
    {.name = "channels.resize", .shape = resize_shape, .prepare = resize_prepare, .run = onednn_program_run,
     .release = onednn_program_destroy, .describe = onednn_program_describe},
    {.name = "channels.upsample", .shape = upsample_shape, .prepare = upsample_prepare, .run = onednn_program_run,
     .release = onednn_program_destroy, .describe = onednn_program_describe},
};
const size_t channels_resize_count = sizeof channels_resize / sizeof *channels_resize;
