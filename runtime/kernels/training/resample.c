/* training.max_pool: X → Y of a 2×2 maximum of stride 2, training.max_pool_gradient: dY, X, addend? → dX, training.resize_gradient: dY → dX
 * (attribute shape, or input 4) of a bilinear doubling with half_pixel, and training.global_average_pool: X → Y. Rows are independent. */
#include <omp.h>

#include "runtime/kernels/planar/micro.h"
#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/training/blocks.h"
#include "runtime/round.h"

/* dY has half (or twice) the height and width of X. */
static mitral_status check_sizes(const struct kernel_call *call, const mitral_tensor *large, const mitral_tensor *small)
{
    char first[160], second[160];
    bool fits = large && small && large->dtype == MITRAL_FLOAT && small->dtype == MITRAL_FLOAT && large->rank == 4 && small->rank == 4;
    for (int d = 0; fits && d < 4; d++)
        fits = large->dims[d] % (d < 2 ? 1 : 2) == 0 && large->dims[d] / (d < 2 ? 1 : 2) == small->dims[d] && large->dims[d] < INT32_MAX;
    if (!fits)
        return call_fail(call, MITRAL_INVALID, "float32 maps, one twice as high and wide as the other, expected, found %s and %s",
                         large ? tensor_describe(large, first, sizeof first) : "none", small ? tensor_describe(small, second, sizeof second) : "none");
    return MITRAL_OK;
}

static mitral_status pool_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    char found[160];
    if (!x || x->dtype != MITRAL_FLOAT || x->rank != 4 || x->dims[2] % 2 || x->dims[3] % 2 || x->dims[3] >= INT32_MAX)
        return call_fail(call, MITRAL_INVALID, "a float32 map of even height and width expected, found %s",
                         x ? tensor_describe(x, found, sizeof found) : "none");
    call_set_output(call, 0, MITRAL_FLOAT, 4, (const int64_t[]){x->dims[0], x->dims[1], x->dims[2] / 2, x->dims[3] / 2});
    return MITRAL_OK;
}

static mitral_status pool_run(struct kernel_call *call)
{
    const struct planar_blocks *blocks = planar_blocks_of(cpu_isa());
    const mitral_tensor *x = call_input(call, 0);
    mitral_tensor *y = call_output(call, 0);
    if (!y)
        return MITRAL_OK;
    const int64_t width = x->dims[3], planes = x->dims[0] * x->dims[1], rows = x->dims[2] / 2;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (call->threads > 1)
    for (int64_t plane = 0; plane < planes; plane++) {
        const float *from = (const float *)x->data + plane * 2 * rows * width;
        float *to = (float *)y->data + plane * rows * (width / 2);
        for (int64_t row = 0; row < rows; row++, from += 2 * width, to += width / 2)
            blocks->row_pool(&(struct row_pool){.planes = 1, .columns = (int)(width / 2), .above = from, .below = from + width, .output = to});
    }
    return MITRAL_OK;
}

static mitral_status unpool_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 1), *addend = call_input(call, 2);
    TRY(check_sizes(call, x, call_input(call, 0)));
    if (addend && (addend->dtype != MITRAL_FLOAT || !tensor_same_shape(addend, x)))
        return call_fail(call, MITRAL_INVALID, "an addend of the input's shape expected");
    call_set_output(call, 0, MITRAL_FLOAT, 4, x->dims);
    return MITRAL_OK;
}

static mitral_status unpool_run(struct kernel_call *call)
{
    const struct training_blocks *blocks = training_blocks_of(cpu_isa());
    const mitral_tensor *dy = call_input(call, 0), *x = call_input(call, 1), *addend = call_input(call, 2);
    mitral_tensor *dx = call_output(call, 0);
    if (!dx)
        return MITRAL_OK;
    const int64_t half = dy->dims[3], width = 2 * half, rows = dy->dims[0] * dy->dims[1] * dy->dims[2];
#pragma omp parallel for num_threads(call->threads) schedule(static) if (call->threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        const int64_t at = 2 * row * width;
        struct training_unpool window = {.count = (ptrdiff_t)half, .dy = (const float *)dy->data + row * half,
                                          .upper = (const float *)x->data + at, .to_upper = (float *)dx->data + at};
        window.lower = window.upper + width;
        window.to_lower = window.to_upper + width;
        if (addend) {
            window.add_upper = (const float *)addend->data + at;
            window.add_lower = window.add_upper + width;
        }
        blocks->unpool(&window);
    }
    return MITRAL_OK;
}

static mitral_status resize_shape(struct kernel_call *call)
{
    mitral_tensor x;
    TRY(call_gradient_shape(call, 4, &x));
    TRY(check_sizes(call, call_input(call, 0), &x));
    call_set_output(call, 0, MITRAL_FLOAT, 4, x.dims);
    return MITRAL_OK;
}

static ptrdiff_t temporary_floats(const struct kernel_call *call)
{
    return round_up(call_input(call, 0)->dims[3] + TRAINING_SLACK, LINE_FLOATS);
}

static mitral_status resize_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    *scratch_bytes = (size_t)temporary_floats(call) * sizeof(float) * (size_t)(call->threads > 0 ? call->threads : 1);
    return MITRAL_OK;
}

static mitral_status resize_run(struct kernel_call *call)
{
    const struct training_blocks *blocks = training_blocks_of(cpu_isa());
    const mitral_tensor *dy = call_input(call, 0);
    mitral_tensor *dx = call_output(call, 0);
    if (!dx || tensor_count(dx) == 0) /* edges are added to, where there are any */
        return MITRAL_OK;
    static const float weights[4] = {0.25f, 0.75f, 0.75f, 0.25f};
    const int64_t width = dx->dims[3], height = dx->dims[2], rows = dx->dims[0] * dx->dims[1] * height;
#pragma omp parallel num_threads(call->threads) if (call->threads > 1)
    {
        float *temporary = (float *)call->scratch + omp_get_thread_num() * temporary_floats(call);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row++) {
            const int64_t y = row % height;
            const float *plane = (const float *)dy->data + row / height * 4 * height * width;
            const float *from[4];
            for (int64_t k = 0; k < 4; k++) { /* what samples beyond an edge samples the edge */
                const int64_t at = 2 * y - 1 + k;
                from[k] = plane + (at < 0 ? 0 : at < 2 * height ? at : 2 * height - 1) * 2 * width;
            }
            blocks->unresize(from, weights, temporary, (float *)dx->data + row * width, (ptrdiff_t)width);
        }
    }
    return MITRAL_OK;
}

static mitral_status mean_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    if (!x || x->dtype != MITRAL_FLOAT || x->rank < 3)
        return call_fail(call, MITRAL_INVALID, "a float32 map expected");
    mitral_tensor y = *x;
    for (int32_t d = 2; d < y.rank; d++)
        y.dims[d] = 1;
    call_set_output(call, 0, MITRAL_FLOAT, y.rank, y.dims);
    return MITRAL_OK;
}

static mitral_status mean_run(struct kernel_call *call)
{
    const struct training_blocks *blocks = training_blocks_of(cpu_isa());
    const mitral_tensor *x = call_input(call, 0);
    mitral_tensor *y = call_output(call, 0);
    const int64_t planes = x->dims[0] * x->dims[1], pixels = planes ? tensor_count(x) / planes : 0;
    if (!y)
        return MITRAL_OK;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (call->threads > 1)
    for (int64_t plane = 0; plane < planes; plane++)
        ((float *)y->data)[plane] = (float)(blocks->sum((const float *)x->data + plane * pixels, (ptrdiff_t)pixels) / (double)pixels);
    return MITRAL_OK;
}

const struct kernel training_resample[] = {
    {.name = "training.global_average_pool", .shape = mean_shape, .run = mean_run},
    {.name = "training.max_pool", .shape = pool_shape, .run = pool_run},
    {.name = "training.max_pool_gradient", .shape = unpool_shape, .run = unpool_run},
    {.name = "training.resize_gradient", .shape = resize_shape, .prepare = resize_prepare, .run = resize_run},
};
const size_t training_resample_count = sizeof training_resample / sizeof *training_resample;
