/* GridSample for any number of spatial dimensions, and AffineGrid. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/reference/grid.h"
#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/registry.h"

enum { MAX_SAMPLES = GRID_MAX_SAMPLES };

/* What one output position reads of each channel. */
struct samples {
    int count;
    int64_t offset[MAX_SAMPLES];
    double weight[MAX_SAMPLES];
};

#define REAL float
#define SAMPLE sample_float
#include "runtime/kernels/reference/grid_body.h"
#undef REAL
#undef SAMPLE
#define REAL double
#define SAMPLE sample_double
#include "runtime/kernels/reference/grid_body.h"
#undef REAL
#undef SAMPLE

mitral_status grid_read_request(const struct kernel_call *call, struct grid_request *request)
{
    const char *mode = attribute_string(call->attributes, "mode", call->opset >= 20 ? "linear" : "bilinear");
    const char *padding = attribute_string(call->attributes, "padding_mode", "zeros");
    bool named = call->opset >= 20; /* version 16 knows two dimensions only, and their names */
    if (strcmp(mode, "nearest") == 0)
        request->mode = GRID_NEAREST;
    else if (strcmp(mode, named ? "linear" : "bilinear") == 0)
        request->mode = GRID_LINEAR;
    else if (strcmp(mode, named ? "cubic" : "bicubic") == 0)
        request->mode = GRID_CUBIC;
    else
        return call_fail(call, MITRAL_INVALID, "mode nearest, %s expected, found %s",
                         named ? "linear or cubic" : "bilinear or bicubic", mode);
    if (strcmp(padding, "zeros") == 0)
        request->padding = GRID_ZEROS;
    else if (strcmp(padding, "border") == 0)
        request->padding = GRID_BORDER;
    else if (strcmp(padding, "reflection") == 0)
        request->padding = GRID_REFLECTION;
    else
        return call_fail(call, MITRAL_INVALID, "padding_mode zeros, border or reflection expected, found %s", padding);
    request->align = attribute_int(call->attributes, "align_corners", 0) != 0;
    request->taps = request->mode == GRID_NEAREST ? 1 : request->mode == GRID_LINEAR ? 2 : 4;
    return MITRAL_OK;
}

static enum compute grid_compute(const struct grid_request *request, int32_t dtype)
{
    enum compute compute = compute_of(dtype);
    if (request->mode == GRID_NEAREST)
        return COMPUTE_NONE; /* copies elements as they are */
    return compute == COMPUTE_INTEGER ? COMPUTE_DOUBLE : compute;
}

static mitral_status shape_grid_sample(struct kernel_call *call)
{
    const mitral_tensor *data, *grid;
    TRY(need_tensor(call, 0, &data));
    TRY(need_rank(call, 1, data->rank, &grid));
    struct grid_request request;
    TRY(grid_read_request(call, &request));
    int32_t spatial = data->rank - 2;
    if (spatial < 1 || (call->opset < 20 && spatial != 2))
        return call_fail(call, MITRAL_INVALID, "rank %s expected, found %d", call->opset < 20 ? "4" : "3 or more", (int)data->rank);
    if (grid->dims[0] != data->dims[0] || grid->dims[grid->rank - 1] != spatial || !dtype_is_float(grid->dtype)) {
        char left[256], right[256];
        return call_fail(call, MITRAL_INVALID, "a grid of batch %lld with %d coordinates a point expected for %s, found %s",
                         (long long)data->dims[0], (int)spatial, tensor_describe(data, left, sizeof(left)),
                         tensor_describe(grid, right, sizeof(right)));
    }
    int64_t samples = 1;
    for (int32_t i = 0; i < spatial && samples <= MAX_SAMPLES; i++)
        samples *= request.taps;
    if (samples > MAX_SAMPLES || (request.mode != GRID_NEAREST && grid_compute(&request, data->dtype) == COMPUTE_NONE)) {
        char text[256];
        return call_fail(call, MITRAL_UNSUPPORTED, "numbers, and at most %d samples a point, expected; found %s and %lld",
                         MAX_SAMPLES, tensor_describe(data, text, sizeof(text)), (long long)samples);
    }
    int64_t dims[MITRAL_MAX_RANK] = {data->dims[0], data->dims[1]};
    bool positions = true;
    for (int32_t i = 0; i < spatial; i++) {
        dims[i + 2] = grid->dims[i + 1];
        positions &= data->dims[i + 2] > 0;
    }
    TRY(set_output(call, 0, data->dtype, data->rank, dims));
    mitral_tensor *output = call_output(call, 0);
    if (output && tensor_count(output) && !positions)
        return call_fail(call, MITRAL_INVALID, "spatial dimensions of at least 1 expected");
    return MITRAL_OK;
}

static mitral_status prepare_grid_sample(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct grid_request request;
    TRY(grid_read_request(call, &request));
    const mitral_tensor *data = call_input(call, 0);
    enum compute compute = grid_compute(&request, data->dtype);
    struct work work = {0};
    if (compute != COMPUTE_NONE) {
        work_operand(&work, compute, data);
        work_result(&work, compute, call_output(call, 0));
    }
    return work_measure(call, &work, scratch_bytes);
}

/* Mirrors x at the borders until it lies between them; *slope: whether the result moves with x, against it, or not at all. */
static double reflect(double x, double low, double high, double *slope)
{
    double range = high - low;
    *slope = 0;
    if (!(range > 0))
        return low;
    double away = x < low ? low - x : x > high ? x - high : 0;
    *slope = 1;
    if (away == 0)
        return x;
    away = fmod(away, 2 * range);
    *slope = 0;
    if (away != away)
        return low;
    bool back = away > range;
    *slope = back ? 1 : -1;
    if (back)
        away -= range;
    return (x < low) != back ? low + away : high - away;
}

static int64_t place_tap(const struct grid_request *request, double at, int64_t size, double low, double high)
{
    if (at >= 0 && at < (double)size)
        return (int64_t)at;
    switch (request->padding) {
    case GRID_BORDER: return at < 0 ? 0 : size - 1;
    case GRID_REFLECTION: {
        double ignored, mirrored = reflect(at, low, high, &ignored);
        return mirrored < 0 ? 0 : mirrored >= (double)size ? size - 1 : (int64_t)mirrored;
    }
    default: return -1;
    }
}

static void tap_weights(enum grid_mode mode, double ratio, double weights[4])
{
    const double a = -0.75;
    if (mode == GRID_NEAREST) {
        weights[0] = 1;
    } else if (mode == GRID_LINEAR) {
        weights[0] = 1 - ratio;
        weights[1] = ratio;
    } else {
        for (int t = 0; t < 4; t++) {
            double x = fabs(ratio + 1 - t);
            weights[t] = x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
        }
    }
}

static void tap_slopes(enum grid_mode mode, double ratio, double scale, double slopes[4])
{
    const double a = -0.75;
    for (int t = 0; t < 4; t++) {
        const double side = ratio + 1 - t, x = fabs(side);
        const double slope = x <= 1 ? (3 * (a + 2) * x - 2 * (a + 3)) * x : (3 * a * x - 10 * a) * x + 8 * a;
        slopes[t] = mode == GRID_NEAREST ? 0 : mode == GRID_LINEAR ? (t == 0 ? -scale : scale) : copysign(slope, slope * side) * scale;
    }
}

void grid_place(const struct grid_request *request, double n, bool single, int64_t size, int64_t taps[4], double weights[4],
                double slopes[4])
{
    double slope = 1;
    double low = request->align ? 0 : -0.5, high = request->align ? (double)size - 1 : (double)size - 0.5;
    double x = request->align ? (n + 1) / 2 * (double)(size - 1) : ((n + 1) * (double)size - 1) / 2;
    if (single) /* ties of the nearest mode fall as in single precision */
        x = request->align ? (double)(((float)n + 1) / 2 * (float)(size - 1)) : (double)((((float)n + 1) * (float)size - 1) / 2);
    if (request->mode == GRID_NEAREST)
        x = rint(x);
    if (!(x >= low && x <= high)) {
        if (request->padding == GRID_BORDER && request->mode == GRID_CUBIC) {
            x = x > high ? fmin(x, (double)size + 8) : fmax(x, -8); /* each of its taps is at the border, not their middle */
        } else if (request->padding == GRID_BORDER) {
            x = x > high ? (double)(size - 1) : 0;
            slope = 0;
        } else if (request->padding == GRID_REFLECTION) {
            x = reflect(x, low, high, &slope);
        } else if (!(x > -8 && x < (double)size + 8)) {
            x = -8; /* far outside, or not a number: nothing but zeros */
        }
    }
    double first = floor(x);
    tap_weights(request->mode, x - first, weights);
    if (slopes)
        tap_slopes(request->mode, x - first, slope * (double)(request->align ? size - 1 : size) / 2, slopes);
    if (request->mode == GRID_CUBIC)
        first -= 1;
    for (int t = 0; t < request->taps; t++)
        taps[t] = place_tap(request, first + t, size, low, high);
}

/* Each dimension's taps times those before it; the two structures take turns. Returns the one that holds the result. */
static const struct samples *collect_samples(const struct grid_request *request, const mitral_tensor *data, const mitral_tensor *grid,
                                             int64_t point, const int64_t *strides, struct samples turns[2])
{
    int spatial = data->rank - 2;
    struct samples *from = &turns[0], *to = &turns[1];
    from->count = 1;
    from->offset[0] = 0;
    from->weight[0] = 1;
    for (int d = 0; d < spatial; d++) {
        int64_t taps[4];
        double weights[4], n = tensor_get_double(grid, point * spatial + (spatial - 1 - d));
        grid_place(request, n, grid->dtype != MITRAL_DOUBLE, data->dims[d + 2], taps, weights, NULL);
        to->count = 0;
        for (int k = 0; k < from->count; k++)
            for (int t = 0; t < request->taps; t++)
                if (taps[t] >= 0) { /* a tap on zeros adds nothing */
                    to->offset[to->count] = from->offset[k] + taps[t] * strides[d + 2];
                    to->weight[to->count++] = from->weight[k] * weights[t];
                }
        struct samples *swapped = from;
        from = to;
        to = swapped;
    }
    return from;
}

static mitral_status run_grid_sample(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0), *grid = call_input(call, 1);
    mitral_tensor *output = call_output(call, 0);
    struct grid_request request;
    TRY(grid_read_request(call, &request));
    int64_t strides[MITRAL_MAX_RANK], channels = data->dims[1];
    int64_t points = dims_product(output->dims, 2, output->rank), total = output->dims[0] * points;
    if (!tensor_count(output))
        return MITRAL_OK;
    tensor_strides(data, strides);
    enum compute compute = grid_compute(&request, data->dtype);
    struct work work = work_of(call);
    const void *source = data->data;
    void *target = output->data;
    if (compute != COMPUTE_NONE) {
        source = work_operand(&work, compute, data);
        target = work_result(&work, compute, output);
    }
    size_t element = element_size(data);
    static const char zero[16];
    int team = copy_team(call->threads, (int64_t)tensor_bytes(output) * request.taps);
    (void)team; /* without OpenMP */
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (int64_t i = 0; i < total; i++) {
        struct samples turns[2];
        const struct samples *samples = collect_samples(&request, data, grid, i, strides, turns);
        int64_t batch = i / points, from = batch * strides[0], to = batch * channels * points + i % points;
        if (compute == COMPUTE_FLOAT)
            sample_float((float *)target + to, (const float *)source + from, channels, points, strides[1], samples);
        else if (compute == COMPUTE_DOUBLE)
            sample_double((double *)target + to, (const double *)source + from, channels, points, strides[1], samples);
        else
            for (int64_t c = 0; c < channels; c++)
                copy_element((char *)target + (size_t)(to + c * points) * element,
                             samples->count ? (const char *)source +
                                                 (size_t)(from + c * strides[1] + samples->offset[0]) * element
                                           : zero,
                             element);
    }
    if (compute != COMPUTE_NONE)
        work_store(compute, output, target);
    return MITRAL_OK;
}

/* ---- AffineGrid ------------------------------------------------------------------------------------------------------ */

static mitral_status shape_affine_grid(struct kernel_call *call)
{
    const mitral_tensor *theta;
    TRY(need_rank(call, 0, 3, &theta));
    int64_t size[5], dims[MITRAL_MAX_RANK];
    size_t count;
    mitral_status status = read_ints(call, 1, size, 5, &count);
    if (status == MITRAL_DEFERRED)
        return defer_output(call, 0, theta->dtype);
    TRY(status);
    int64_t spatial = (int64_t)count - 2;
    if (count < 4 || theta->dims[0] != size[0] || theta->dims[1] != spatial || theta->dims[2] != spatial + 1) {
        char text[256];
        return call_fail(call, MITRAL_INVALID, "theta [N,2,3] with a size of 4 numbers, or [N,3,4] with 5, expected; found %s with %zu",
                         tensor_describe(theta, text, sizeof(text)), count);
    }
    dims[0] = size[0];
    memcpy(dims + 1, size + 2, (size_t)spatial * sizeof(*dims));
    dims[spatial + 1] = spatial;
    return set_output(call, 0, theta->dtype, (int32_t)spatial + 2, dims);
}

static double grid_position(int64_t at, int64_t size, bool align)
{
    if (align)
        return size > 1 ? -1 + 2 * (double)at / (double)(size - 1) : 0;
    return (2 * (double)at + 1) / (double)size - 1;
}

static mitral_status run_affine_grid(struct kernel_call *call)
{
    const mitral_tensor *theta = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    bool align = attribute_int(call->attributes, "align_corners", 0) != 0;
    int spatial = output->rank - 2;
    int64_t points = dims_product(output->dims, 1, spatial + 1);
    for (int64_t i = 0; i < output->dims[0] * points; i++) {
        double position[3];
        int64_t rest = i % points, row = i / points * spatial * (spatial + 1);
        for (int d = spatial - 1; d >= 0; d--) { /* x first: the innermost dimension */
            position[spatial - 1 - d] = grid_position(rest % output->dims[d + 1], output->dims[d + 1], align);
            rest /= output->dims[d + 1];
        }
        for (int r = 0; r < spatial; r++) {
            double sum = tensor_get_double(theta, row + r * (spatial + 1) + spatial);
            for (int c = 0; c < spatial; c++)
                sum += tensor_get_double(theta, row + r * (spatial + 1) + c) * position[c];
            tensor_set_double(output, i * spatial + r, sum, false);
        }
    }
    return MITRAL_OK;
}

const struct kernel reference_grid[] = {
    {.name = "GridSample", .shape = shape_grid_sample, .prepare = prepare_grid_sample, .run = run_grid_sample},
    {.name = "AffineGrid", .shape = shape_affine_grid, .run = run_affine_grid},
};
const size_t reference_grid_count = sizeof(reference_grid) / sizeof(reference_grid[0]);
