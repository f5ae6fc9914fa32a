/* Maxima of windows over channels-last maps of floats. A NaN is the largest of its window, as in the reference kernel; oneDNN's pooling
 * passes over it. */
#include "runtime/kernels/channels/max_pool.h"

#include <math.h>

#include "runtime/kernels/planar/micro.h"
#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/reference/pooling_windows.h"

/* Places of a window that are looked at together. */
enum { PLACES = 64 };

struct job {
    struct pool_parameters pool;
    const struct planar_blocks *blocks;
    int32_t dtype;
};

/* y = the largest of the `count` pixels of x at these offsets, and of itself where `onto` is set. */
static void take(const struct job *job, char *y, const char *x, const ptrdiff_t *offsets, int count, bool onto)
{
    const int64_t channels = job->pool.channels;
    if (job->dtype == MITRAL_FLOAT) {
        job->blocks->pixel_maximum(&(struct pixel_maximum){channels, (const float *)(const void *)x, offsets, count, onto, (float *)(void *)y});
        return;
    }
    job->blocks->half_maximum(&(struct half_maximum){channels, (const uint16_t *)(const void *)x, offsets, count, onto, (uint16_t *)(void *)y,
                                                     job->dtype == MITRAL_FLOAT16 ? 0x7c00 : 0x7f80});
}

static void fill_lowest(const struct job *job, char *y)
{
    for (int64_t c = 0; c < job->pool.channels; c++)
        if (job->dtype == MITRAL_FLOAT)
            ((float *)(void *)y)[c] = -INFINITY;
        else
            ((uint16_t *)(void *)y)[c] = job->dtype == MITRAL_FLOAT16 ? 0xfc00 : 0xff80;
}

/* The pixels of one row of outputs of the image at x. */
static void run_row(const struct job *job, const char *x, char *y, int64_t row)
{
    const struct pool_parameters *p = &job->pool;
    const int32_t last = p->spatial - 1;
    const size_t element = mitral_dtype_size((mitral_dtype)job->dtype);
    const struct window_rows rows = window_rows(p, row);
    for (int64_t column = 0; column < p->output[last]; column++, y += (size_t)p->channels * element) {
        const struct window_span span = window_span(p, last, column);
        ptrdiff_t offsets[PLACES];
        int count = 0;
        bool onto = false;
        for (int64_t k = 0; k < rows.count; k++) {
            const int64_t first = window_row(p, &rows, k) + span.first;
            for (int64_t j = 0; j < span.count; j++) {
                offsets[count++] = (first + j * p->dilations[last]) * p->channels;
                if (count == PLACES) {
                    take(job, y, x, offsets, count, onto);
                    onto = true;
                    count = 0;
                }
            }
        }
        if (count)
            take(job, y, x, offsets, count, onto);
        else if (!onto)
            fill_lowest(job, y);
    }
}

/* addresses: x, y. */
static mitral_status run_job(const struct kernel_call *call, void *const *addresses, const void *data)
{
    const struct job *job = data;
    const struct pool_parameters *p = &job->pool;
    const int32_t last = p->spatial - 1;
    int64_t rows = 1, pixels = p->input[last];
    for (int32_t i = 0; i < last; i++) {
        rows *= p->output[i];
        pixels *= p->input[i];
    }
    const size_t pixel = (size_t)p->channels * mitral_dtype_size((mitral_dtype)job->dtype);
#pragma omp parallel for num_threads(call->threads) schedule(static) if (call->threads > 1)
    for (int64_t row = 0; row < p->batch * rows; row++)
        run_row(job, (const char *)addresses[0] + (size_t)(row / rows * pixels) * pixel, (char *)addresses[1] + (size_t)(row * p->output[last]) * pixel,
                row % rows);
    return MITRAL_OK;
}

mitral_status channels_add_max_pool(struct onednn_program *program, const struct kernel_call *call, const struct pool_parameters *pool)
{
    const struct job job = {*pool, planar_blocks_of(cpu_isa()), call_input(call, 0)->dtype};
    struct onednn_where wheres[2] = {{PLACE_NONE, 0, 0}, onednn_output_in(program, call, 0, LAYOUT_CHANNELS_LAST)};
    TRY(onednn_input_in(program, call, 0, LAYOUT_CHANNELS_LAST, &wheres[0]));
    TRY(onednn_add_function(program, call, run_job, wheres, 2, &job, sizeof job));
    return onednn_finish_output(program, call, 0, LAYOUT_CHANNELS_LAST, wheres[1]);
}
