/* Gradients of operators that sample: mitral.GridSampleGradient, mitral.RoiAlignGradient, mitral.MaxRoiPoolGradient; and of the
 * determinant, mitral.DetGradient. Sums are made in double, in one order for any number of threads. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/detection.h"
#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/reference/grid.h"
#include "runtime/kernels/reference/matmul.h"
#include "runtime/kernels/registry.h"

static double element(const void *data, enum compute compute, int64_t i)
{
    return compute == COMPUTE_FLOAT ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

static void set_element(void *data, enum compute compute, int64_t i, double value)
{
    if (compute == COMPUTE_FLOAT)
        ((float *)data)[i] = (float)value;
    else
        ((double *)data)[i] = value;
}

/* The version of the forward operator, whose attributes are read. */
static struct kernel_call forward_call(const struct kernel_call *call)
{
    struct kernel_call forward = *call;
    forward.opset = (int)attribute_int(call->attributes, "forward_version", 16);
    return forward;
}

static mitral_status fail_shape(const struct kernel_call *call, const mitral_tensor *found)
{
    return call_fail_input(call, "a gradient of the operator's output", found);
}

/* ---- GridSample: dY, X, grid → dX, dgrid ----------------------------------------------------------------------------- */

static mitral_status grid_shape(struct kernel_call *call)
{
    const mitral_tensor *dy = call_input(call, 0), *x = call_input(call, 1), *grid = call_input(call, 2);
    enum compute compute;
    struct grid_request request;
    const struct kernel_call forward = forward_call(call);
    TRY(check_same_float(call, 2, &compute));
    TRY(grid_read_request(&forward, &request));
    if (!x || !grid || !dtype_is_float(grid->dtype) || x->rank < 3 || x->rank > 7 || dy->rank != x->rank || grid->rank != x->rank
        || grid->dims[grid->rank - 1] != x->rank - 2 || grid->dims[0] != x->dims[0])
        return fail_shape(call, dy);
    for (int32_t i = 0; i < dy->rank; i++)
        if (dy->dims[i] != (i < 2 ? x->dims[i] : grid->dims[i - 1]) || (i >= 2 && x->dims[i] < 1 && tensor_count(dy)))
            return fail_shape(call, dy);
    call_set_output(call, 0, x->dtype, x->rank, x->dims);
    call_set_output(call, 1, grid->dtype, grid->rank, grid->dims);
    return MITRAL_OK;
}

static mitral_status grid_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    return prepare_partials(call, tensor_count(call_input(call, 1)), scratch_bytes);
}

struct sampling {
    const struct grid_request *request;
    enum compute compute;
    const void *dy, *x;
    double *dx;              /* of the batch's sample; NULL: not wanted */
    int spatial;
    int64_t channels, points, plane;
    int64_t strides[MITRAL_MAX_RANK];
};

/* One position: all combinations of the dimensions' taps. */
static void sample_backward(const struct sampling *s, int64_t dy_at, int64_t x_at, int64_t taps[][4], double weights[][4],
                            double slopes[][4], double *dn)
{
    int64_t combinations = 1;
    for (int d = 0; d < s->spatial; d++)
        combinations *= s->request->taps;
    for (int64_t k = 0; k < combinations; k++) {
        int64_t rest = k, offset = 0;
        double weight = 1, sum = 0;
        int chosen[MITRAL_MAX_RANK];
        bool inside = true;
        for (int d = 0; d < s->spatial; d++) {
            chosen[d] = (int)(rest % s->request->taps);
            rest /= s->request->taps;
            inside &= taps[d][chosen[d]] >= 0;
            offset += taps[d][chosen[d]] * s->strides[d + 2];
            weight *= weights[d][chosen[d]];
        }
        if (!inside)
            continue;
        for (int64_t c = 0; c < s->channels; c++) {
            const double g = element(s->dy, s->compute, dy_at + c * s->points);
            if (s->dx)
                s->dx[c * s->plane + offset] += weight * g;
            if (dn)
                sum += g * element(s->x, s->compute, x_at + c * s->plane + offset);
        }
        for (int d = 0; dn && d < s->spatial; d++) {
            double others = slopes[d][chosen[d]];
            for (int e = 0; e < s->spatial; e++)
                others *= e == d ? 1 : weights[e][chosen[e]];
            dn[d] += sum * others;
        }
    }
}

static mitral_status grid_run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 1), *grid = call_input(call, 2);
    mitral_tensor *dgrid = call_output(call, 1);
    const enum compute compute = compute_of(x->dtype);
    const struct kernel_call forward = forward_call(call);
    struct grid_request request;
    struct placed p;
    struct work work = work_of(call);
    TRY(grid_read_request(&forward, &request));
    place_floats(call, &work, compute, &p);
    double *dx = work_take(&work, tensor_count(x), sizeof *dx);
    struct sampling s = {.request = &request, .compute = compute, .dy = p.inputs[0], .x = p.inputs[1], .spatial = x->rank - 2,
                         .channels = x->dims[1], .points = 1, .plane = 1};
    tensor_strides(x, s.strides);
    for (int d = 0; d < s.spatial; d++) {
        s.points *= grid->dims[d + 1];
        s.plane *= x->dims[d + 2];
    }
    memset(dx, 0, (size_t)tensor_count(x) * sizeof *dx);
    const int64_t sample = s.channels * s.plane;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t b = 0; b < x->dims[0]; b++) {
        struct sampling own = s;
        own.dx = p.outputs[0] ? dx + b * sample : NULL;
        for (int64_t i = 0; i < own.points && sample; i++) {
            int64_t taps[MITRAL_MAX_RANK][4];
            double weights[MITRAL_MAX_RANK][4], slopes[MITRAL_MAX_RANK][4], dn[MITRAL_MAX_RANK] = {0};
            const int64_t at = (b * own.points + i) * own.spatial;
            for (int d = 0; d < own.spatial; d++)
                grid_place(&request, tensor_get_double(grid, at + own.spatial - 1 - d), grid->dtype != MITRAL_DOUBLE, x->dims[d + 2], taps[d],
                           weights[d], slopes[d]);
            sample_backward(&own, b * own.channels * own.points + i, b * sample, taps, weights, slopes, dgrid ? dn : NULL);
            for (int d = 0; dgrid && d < own.spatial; d++)
                set_element(p.outputs[1], compute, at + own.spatial - 1 - d, dn[d]);
        }
    }
    for (int64_t i = 0; p.outputs[0] && i < tensor_count(x); i++)
        set_element(p.outputs[0], compute, i, dx[i]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- RoiAlign: dY, regions, batch indices, X (of the maximum) or its shape → dX ------------------------------------------ */

static mitral_status region_shape(struct kernel_call *call, int64_t columns, size_t x_input)
{
    const mitral_tensor *dy = call_input(call, 0), *regions = call_input(call, 1);
    mitral_tensor x;
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    TRY(call_gradient_shape(call, x_input, &x));
    if (dy->rank != 4 || x.rank != 4 || !regions || regions->rank != 2 || !dtype_is_float(regions->dtype) || regions->dims[1] != columns
        || regions->dims[0] != dy->dims[0] || x.dims[1] != dy->dims[1] || (tensor_count(dy) && (x.dims[2] < 1 || x.dims[3] < 1)))
        return fail_shape(call, dy);
    const mitral_tensor *given = call_input(call, x_input);
    if (given && !tensor_same_shape(given, &x))
        return fail_shape(call, given);
    call_set_output(call, 0, dy->dtype, 4, x.dims);
    return MITRAL_OK;
}

static mitral_status region_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    return prepare_partials(call, call_output(call, 0) ? tensor_count(call_output(call, 0)) : 0, scratch_bytes);
}

static mitral_status align_shape(struct kernel_call *call)
{
    struct align_request request;
    const struct kernel_call forward = forward_call(call);
    TRY(align_read(&forward, &request));
    TRY(region_shape(call, 4, 3));
    const mitral_tensor *dy = call_input(call, 0), *batches = call_input(call, 2), *x = call_input(call, 3);
    if (dy->dims[2] != request.height || dy->dims[3] != request.width || !batches || batches->dtype != MITRAL_INT64 || batches->rank != 1
        || batches->dims[0] != dy->dims[0] || (request.maximum && (!x || x->dtype != dy->dtype)))
        return fail_shape(call, dy);
    return MITRAL_OK;
}

/* One bin of one channel: its gradient goes to the neighbours of its samples, or to the largest weighted one of all. */
static void align_bin(const struct align_request *request, const void *x, enum compute compute, double *dx, int64_t plane,
                      const int64_t size[2], const double corner[2], const double bin[2], const int64_t grid[2], double g)
{
    double most = 0, most_weight = 0;
    int64_t best = -1;
    const double share = g / (double)(grid[0] * grid[1] > 1 ? grid[0] * grid[1] : 1);
    for (int64_t iy = 0; iy < grid[0]; iy++) {
        const struct neighbours y = align_place_sample(corner[0] + ((double)iy + 0.5) * bin[0] / (double)grid[0], size[0]);
        for (int64_t ix = 0; ix < grid[1]; ix++) {
            const struct neighbours c = align_place_sample(corner[1] + ((double)ix + 0.5) * bin[1] / (double)grid[1], size[1]);
            const int64_t places[4] = {plane + y.low * size[1] + c.low, plane + y.low * size[1] + c.high, plane + y.high * size[1] + c.low,
                                       plane + y.high * size[1] + c.high};
            const double weights[4] = {y.low_weight * c.low_weight, y.low_weight * c.high_weight, y.high_weight * c.low_weight,
                                       y.high_weight * c.high_weight};
            for (int k = 0; k < 4; k++) {
                if (!request->maximum) {
                    dx[places[k]] += share * weights[k];
                    continue;
                }
                const double value = weights[k] * element(x, compute, places[k]);
                if (best < 0 || value > most) {
                    most = value;
                    most_weight = weights[k];
                    best = places[k];
                }
            }
        }
    }
    if (best >= 0)
        dx[best] += g * most_weight;
}

static mitral_status align_run(struct kernel_call *call)
{
    const mitral_tensor *dy = call_input(call, 0), *batches = call_input(call, 2);
    mitral_tensor *out = call_output(call, 0);
    const enum compute compute = compute_of(dy->dtype);
    const struct kernel_call forward = forward_call(call);
    struct align_request request;
    struct placed p;
    struct work work = work_of(call);
    if (!out)
        return MITRAL_OK;
    const int64_t count = tensor_count(out), channels = out->dims[1], bins = dy->dims[2] * dy->dims[3], size[2] = {out->dims[2], out->dims[3]};
    TRY(align_read(&forward, &request));
    TRY(check_batches(call, batches, 1, out->dims[0]));
    place_floats(call, &work, compute, &p);
    double *dx = work_take(&work, count, sizeof *dx);
    memset(dx, 0, (size_t)count * sizeof *dx);
    for (int64_t r = 0; r < dy->dims[0] && count; r++) {
        double start[2], bin[2];
        int64_t grid[2];
        TRY(align_place_region(&forward, &request, r, start, bin, grid));
        const int64_t batch = ((const int64_t *)batches->data)[r];
        for (int64_t i = 0; i < channels * bins; i++) {
            const int64_t at = i % bins;
            const double corner[2] = {start[0] + (double)(at / dy->dims[3]) * bin[0], start[1] + (double)(at % dy->dims[3]) * bin[1]};
            align_bin(&request, p.inputs[3], compute, dx, (batch * channels + i / bins) * size[0] * size[1], size, corner, bin, grid,
                      element(p.inputs[0], compute, r * channels * bins + i));
        }
    }
    for (int64_t i = 0; i < count; i++)
        set_element(p.outputs[0], compute, i, dx[i]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- MaxRoiPool: dY, regions, X → dX --------------------------------------------------------------------------------- */

static mitral_status max_roi_shape(struct kernel_call *call)
{
    size_t count;
    const int64_t *out = attribute_ints(call->attributes, "pooled_shape", &count);
    TRY(region_shape(call, 5, 2));
    const mitral_tensor *dy = call_input(call, 0), *x = call_input(call, 2);
    if (count != 2 || dy->dims[2] != out[0] || dy->dims[3] != out[1] || !x || x->dtype != dy->dtype)
        return fail_shape(call, dy);
    return MITRAL_OK;
}

static mitral_status max_roi_run(struct kernel_call *call)
{
    const mitral_tensor *dy = call_input(call, 0), *regions = call_input(call, 1);
    mitral_tensor *out = call_output(call, 0);
    const enum compute compute = compute_of(dy->dtype);
    struct placed p;
    struct work work = work_of(call);
    if (!out)
        return MITRAL_OK;
    const int64_t count = tensor_count(out), channels = out->dims[1], pooled[2] = {dy->dims[2], dy->dims[3]};
    const int64_t bins = pooled[0] * pooled[1], size[2] = {out->dims[2], out->dims[3]};
    const double scale = (double)attribute_float(call->attributes, "spatial_scale", 1);
    TRY(check_batches(call, regions, 5, out->dims[0]));
    place_floats(call, &work, compute, &p);
    double *dx = work_take(&work, count, sizeof *dx);
    memset(dx, 0, (size_t)count * sizeof *dx);
    for (int64_t i = 0; i < dy->dims[0] * channels * bins; i++) {
        const int64_t region = i / (channels * bins), at[2] = {i % bins / pooled[1], i % bins % pooled[1]};
        const int64_t plane = ((int64_t)tensor_get_double(regions, 5 * region) * channels + i / bins % channels) * size[0] * size[1];
        int64_t from[2], to[2], best = -1;
        max_roi_bin(regions, region, scale, at, pooled, size, from, to);
        for (int64_t y = from[0]; y < to[0]; y++)
            for (int64_t x = from[1]; x < to[1]; x++)
                if (best < 0 || element(p.inputs[2], compute, plane + y * size[1] + x) > element(p.inputs[2], compute, best))
                    best = plane + y * size[1] + x;
        if (best >= 0)
            dx[best] += element(p.inputs[0], compute, i);
    }
    for (int64_t i = 0; i < count; i++)
        set_element(p.outputs[0], compute, i, dx[i]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- Det: dY, X → dX = dY · cofactors -------------------------------------------------------------------------------- */

static mitral_status det_shape(struct kernel_call *call)
{
    const mitral_tensor *dy = call_input(call, 0), *x = call_input(call, 1);
    enum compute compute;
    TRY(check_same_float(call, 2, &compute));
    if (!x || x->rank < 2 || dy->rank != x->rank - 2 || x->dims[x->rank - 1] != x->dims[x->rank - 2]
        || memcmp(dy->dims, x->dims, (size_t)dy->rank * sizeof *dy->dims) != 0)
        return fail_shape(call, dy);
    call_set_output(call, 0, x->dtype, x->rank, x->dims);
    return MITRAL_OK;
}

static mitral_status det_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    const mitral_tensor *x = call_input(call, 1);
    const int64_t n = x->dims[x->rank - 1];
    int64_t elements;
    (void)state;
    if (!multiply_sizes(n, n, &elements) || !multiply_sizes(elements, 3, &elements))
        return call_fail(call, MITRAL_LIMIT, "matrices that can be addressed expected, their size overflows");
    return prepare_partials(call, elements, scratch_bytes);
}

/* The inverse of a beside it, by elimination; false when a is singular. */
static bool invert(double *a, double *inverse, int64_t n)
{
    for (int64_t i = 0; i < n * n; i++)
        inverse[i] = i / n == i % n;
    for (int64_t column = 0; column < n; column++) {
        const int64_t pivot = largest_pivot(a, n, column);
        const double value = a[pivot * n + column];
        if (value == 0)
            return false;
        for (int64_t j = 0; j < n; j++) {
            const double left = a[pivot * n + j], right = inverse[pivot * n + j];
            a[pivot * n + j] = a[column * n + j];
            inverse[pivot * n + j] = inverse[column * n + j];
            a[column * n + j] = left / value;
            inverse[column * n + j] = right / value;
        }
        for (int64_t i = 0; i < n; i++) {
            const double factor = a[i * n + column];
            for (int64_t j = 0; i != column && factor != 0 && j < n; j++) {
                a[i * n + j] -= factor * a[column * n + j];
                inverse[i * n + j] -= factor * inverse[column * n + j];
            }
        }
    }
    return true;
}

/* Determinants of what is left without a row and a column: for singular matrices, which have no inverse. */
static void cofactors(const double *a, double *minor, double *out, int64_t n)
{
    for (int64_t row = 0; row < n; row++)
        for (int64_t column = 0; column < n; column++) {
            int64_t used = 0;
            for (int64_t i = 0; i < n * n; i++)
                if (i / n != row && i % n != column)
                    minor[used++] = a[i];
            out[row * n + column] = ((row + column) % 2 ? -1 : 1) * determinant(minor, n - 1);
        }
}

static mitral_status det_run(struct kernel_call *call)
{
    const mitral_tensor *dy = call_input(call, 0), *x = call_input(call, 1);
    const enum compute compute = compute_of(x->dtype);
    const int64_t n = x->dims[x->rank - 1], size = n * n;
    struct placed p;
    struct work work = work_of(call);
    place_floats(call, &work, compute, &p);
    double *a = work_take(&work, 3 * size, sizeof *a), *inverse = a + size, *spare = inverse + size;
    for (int64_t m = 0; p.outputs[0] && m < tensor_count(dy); m++) {
        const double g = element(p.inputs[0], compute, m);
        for (int64_t i = 0; i < size; i++)
            a[i] = spare[i] = element(p.inputs[1], compute, m * size + i);
        if (invert(spare, inverse, n)) {
            memcpy(spare, a, (size_t)size * sizeof *a);
            const double whole = g * determinant(spare, n);
            for (int64_t i = 0; i < size; i++)
                set_element(p.outputs[0], compute, m * size + i, whole * inverse[i % n * n + i / n]);
        } else {
            cofactors(a, spare, inverse, n);
            for (int64_t i = 0; i < size; i++)
                set_element(p.outputs[0], compute, m * size + i, g * inverse[i]);
        }
    }
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

const struct kernel reference_gradient_sample[] = {
    {.name = "mitral.DetGradient", .shape = det_shape, .prepare = det_prepare, .run = det_run},
    {.name = "mitral.GridSampleGradient", .shape = grid_shape, .prepare = grid_prepare, .run = grid_run},
    {.name = "mitral.MaxRoiPoolGradient", .shape = max_roi_shape, .prepare = region_prepare, .run = max_roi_run},
    {.name = "mitral.RoiAlignGradient", .shape = align_shape, .prepare = region_prepare, .run = align_run},
};
const size_t reference_gradient_sample_count = sizeof reference_gradient_sample / sizeof *reference_gradient_sample;
