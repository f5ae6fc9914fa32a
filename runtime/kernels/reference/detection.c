/* Boxes and regions: NonMaxSuppression, RoiAlign, MaxRoiPool. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/reference/detection.h"
#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/registry.h"

/* ---- NonMaxSuppression ----------------------------------------------------------------------------------------------- */

struct box {
    float left, right, top, bottom, area;
};

struct candidate {
    float score;
    int64_t index;
};

struct suppression {
    const mitral_tensor *boxes, *scores;
    int64_t batches, classes, count;
    int64_t most;          /* boxes to keep of each class */
    float overlap, threshold;
    bool has_threshold, centred;
    struct box *box;       /* of one batch */
    struct candidate *candidates;
    int64_t *kept;
    int64_t *results;      /* triples */
    int64_t result_count, result_capacity;
};

static mitral_status shape_non_max_suppression(struct kernel_call *call)
{
    return defer_output(call, 0, MITRAL_INT64);
}

static mitral_status optional_float(const struct kernel_call *call, size_t index, float *value, bool *given)
{
    const mitral_tensor *tensor = call_input(call, index);
    *given = false;
    if (!tensor || mitral_tensor_count(tensor) == 0)
        return MITRAL_OK;
    if (mitral_tensor_count(tensor) != 1 || tensor->dtype != MITRAL_FLOAT) {
        char text[256];
        return call_fail(call, MITRAL_INVALID, "input %zu: one float32 expected, found %s", index,
                         tensor_describe(tensor, text, sizeof(text)));
    }
    *value = *(const float *)tensor->data;
    *given = true;
    return MITRAL_OK;
}

static mitral_status read_suppression(const struct kernel_call *call, struct suppression *s)
{
    TRY(need_rank(call, 0, 3, &s->boxes));
    TRY(need_rank(call, 1, 3, &s->scores));
    s->batches = s->boxes->dims[0];
    s->count = s->boxes->dims[1];
    s->classes = s->scores->dims[1];
    if (s->boxes->dims[2] != 4 || s->scores->dims[0] != s->batches || s->scores->dims[2] != s->count ||
        s->boxes->dtype != MITRAL_FLOAT || s->scores->dtype != MITRAL_FLOAT) {
        char left[256], right[256];
        return call_fail(call, MITRAL_INVALID, "float32 boxes [B,N,4] and scores [B,C,N] expected, found %s and %s",
                         tensor_describe(s->boxes, left, sizeof(left)), tensor_describe(s->scores, right, sizeof(right)));
    }
    bool given;
    if (call_input(call, 2) && mitral_tensor_count(call_input(call, 2)))
        TRY(read_int(call, 2, &s->most));
    TRY(optional_float(call, 3, &s->overlap, &given));
    TRY(optional_float(call, 4, &s->threshold, &s->has_threshold));
    int64_t centre = attribute_int(call->attributes, "center_point_box", 0);
    if (centre != 0 && centre != 1)
        return call_fail(call, MITRAL_INVALID, "center_point_box of 0 or 1 expected, found %lld", (long long)centre);
    s->centred = centre == 1;
    return MITRAL_OK;
}

static void read_boxes(struct suppression *s, int64_t batch)
{
    const float *from = (const float *)s->boxes->data + batch * s->count * 4;
    for (int64_t i = 0; i < s->count; i++, from += 4) {
        struct box *box = &s->box[i];
        if (s->centred) {
            *box = (struct box){from[0] - from[2] / 2, from[0] + from[2] / 2, from[1] - from[3] / 2, from[1] + from[3] / 2, 0};
        } else { /* any two opposite corners, y first */
            *box = (struct box){fminf(from[1], from[3]), fmaxf(from[1], from[3]), fminf(from[0], from[2]),
                                fmaxf(from[0], from[2]), 0};
        }
        box->area = (box->right - box->left) * (box->bottom - box->top);
    }
}

static bool overlaps(const struct box *a, const struct box *b, float limit)
{
    float width = fminf(a->right, b->right) - fmaxf(a->left, b->left);
    float height = fminf(a->bottom, b->bottom) - fmaxf(a->top, b->top);
    if (!(width > 0) || !(height > 0) || !(a->area > 0) || !(b->area > 0))
        return false;
    float common = width * height, whole = a->area + b->area - common;
    return whole > 0 && common / whole > limit;
}

static int by_score(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

static mitral_status suppress_class(struct kernel_call *call, struct suppression *s, int64_t batch, int64_t class)
{
    const float *scores = (const float *)s->scores->data + (batch * s->classes + class) * s->count;
    int64_t candidates = 0, kept = 0;
    for (int64_t i = 0; i < s->count; i++) /* NaN is no score */
        if (s->has_threshold ? scores[i] > s->threshold : scores[i] == scores[i])
            s->candidates[candidates++] = (struct candidate){scores[i], i};
    qsort(s->candidates, (size_t)candidates, sizeof(*s->candidates), by_score);
    for (int64_t i = 0; i < candidates && kept < s->most; i++) {
        const struct box *box = &s->box[s->candidates[i].index];
        bool free = true;
        for (int64_t k = 0; k < kept && free; k++)
            free = !overlaps(box, &s->box[s->kept[k]], s->overlap);
        if (free)
            s->kept[kept++] = s->candidates[i].index;
    }
    if (s->result_count + kept > s->result_capacity) {
        int64_t capacity = 2 * (s->result_count + kept);
        int64_t *grown = mitral_allocate_raw(call->context, (size_t)capacity * 3 * sizeof(*grown));
        if (!grown)
            return MITRAL_NO_MEMORY;
        if (s->result_count)
            memcpy(grown, s->results, (size_t)s->result_count * 3 * sizeof(*grown));
        mitral_release(call->context, s->results);
        s->results = grown;
        s->result_capacity = capacity;
    }
    for (int64_t k = 0; k < kept; k++) {
        int64_t *triple = s->results + 3 * s->result_count++;
        triple[0] = batch;
        triple[1] = class;
        triple[2] = s->kept[k];
    }
    return MITRAL_OK;
}

static mitral_status suppress_all(struct kernel_call *call, struct suppression *s)
{
    size_t count = (size_t)s->count;
    s->box = mitral_allocate_raw(call->context, count * sizeof(*s->box));
    s->candidates = mitral_allocate_raw(call->context, count * sizeof(*s->candidates));
    s->kept = mitral_allocate_raw(call->context, count * sizeof(*s->kept));
    if (!s->box || !s->candidates || !s->kept)
        return MITRAL_NO_MEMORY;
    for (int64_t batch = 0; batch < s->batches && s->most > 0; batch++) {
        read_boxes(s, batch);
        for (int64_t class = 0; class < s->classes; class++) {
            if (mitral_cancelled(call->context))
                return call_fail(call, MITRAL_CANCELLED, "cancelled");
            TRY(suppress_class(call, s, batch, class));
        }
    }
    TRY(call_allocate(call, 0, MITRAL_INT64, 2, (int64_t[]){s->result_count, 3}));
    mitral_tensor *output = call_output(call, 0);
    if (output && s->result_count)
        memcpy(output->data, s->results, (size_t)s->result_count * 3 * sizeof(int64_t));
    return MITRAL_OK;
}

static mitral_status run_non_max_suppression(struct kernel_call *call)
{
    struct suppression s = {0};
    TRY(read_suppression(call, &s));
    mitral_status status = suppress_all(call, &s);
    mitral_release(call->context, s.box);
    mitral_release(call->context, s.candidates);
    mitral_release(call->context, s.kept);
    mitral_release(call->context, s.results);
    return status;
}

/* ---- RoiAlign -------------------------------------------------------------------------------------------------------- */

mitral_status align_read(const struct kernel_call *call, struct align_request *request)
{
    const char *mode = attribute_string(call->attributes, "mode", "avg");
    const char *coordinates = attribute_string(call->attributes, "coordinate_transformation_mode",
                                               call->opset < 16 ? "output_half_pixel" : "half_pixel");
    request->maximum = strcmp(mode, "max") == 0;
    request->half_pixel = strcmp(coordinates, "half_pixel") == 0;
    if (!request->maximum && strcmp(mode, "avg") != 0)
        return call_fail(call, MITRAL_INVALID, "mode avg or max expected, found %s", mode);
    if (!request->half_pixel && strcmp(coordinates, "output_half_pixel") != 0)
        return call_fail(call, MITRAL_INVALID, "half_pixel or output_half_pixel expected, found %s", coordinates);
    request->height = attribute_int(call->attributes, "output_height", 1);
    request->width = attribute_int(call->attributes, "output_width", 1);
    request->sampling = attribute_int(call->attributes, "sampling_ratio", 0);
    request->scale = (double)attribute_float(call->attributes, "spatial_scale", 1);
    if (request->height < 1 || request->width < 1 || request->sampling < 0 || request->sampling > 4096)
        return call_fail(call, MITRAL_INVALID, "a positive output size and a sampling_ratio in [0, 4096] expected");
    return MITRAL_OK;
}

static mitral_status shape_regions(struct kernel_call *call, int64_t columns, int64_t height, int64_t width)
{
    const mitral_tensor *data, *regions;
    enum compute compute;
    TRY(need_rank(call, 0, 4, &data));
    TRY(need_rank(call, 1, 2, &regions));
    TRY(check_float_operand(call, 0, &compute));
    if (regions->dims[1] != columns || !dtype_is_float(regions->dtype)) {
        char text[256];
        return call_fail(call, MITRAL_INVALID, "regions of %lld numbers expected, found %s", (long long)columns,
                         tensor_describe(regions, text, sizeof(text)));
    }
    return set_output(call, 0, data->dtype, 4, (int64_t[]){regions->dims[0], data->dims[1], height, width});
}

static mitral_status shape_roi_align(struct kernel_call *call)
{
    struct align_request request;
    const mitral_tensor *regions, *batches;
    TRY(align_read(call, &request));
    TRY(shape_regions(call, 4, request.height, request.width));
    TRY(need_tensor(call, 1, &regions));
    TRY(need_rank(call, 2, 1, &batches));
    if (batches->dims[0] != regions->dims[0] || batches->dtype != MITRAL_INT64) {
        char text[256];
        return call_fail(call, MITRAL_INVALID, "%lld batch indices of int64 expected, found %s", (long long)regions->dims[0],
                         tensor_describe(batches, text, sizeof(text)));
    }
    return MITRAL_OK;
}

static mitral_status prepare_regions(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    enum compute compute;
    struct work work = {0};
    TRY(check_float_operand(call, 0, &compute));
    work_operand(&work, compute, call_input(call, 0));
    work_result(&work, compute, call_output(call, 0));
    return work_measure(call, &work, scratch_bytes);
}

struct neighbours align_place_sample(double at, int64_t size)
{
    if (!(at >= -1 && at <= (double)size))
        return (struct neighbours){0};
    at = at < 0 ? 0 : at;
    int64_t low = (int64_t)at;
    if (low >= size - 1)
        return (struct neighbours){size - 1, size - 1, 1, 0};
    return (struct neighbours){low, low + 1, 1 - (at - (double)low), at - (double)low};
}

static double load(const void *data, enum compute compute, int64_t i)
{
    return compute == COMPUTE_FLOAT ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

/* The pooled value of one bin of one channel (a plane of height × width at `plane`). */
static double pool_bin(const struct align_request *request, const void *data, enum compute compute, int64_t plane,
                       const int64_t size[2], const double start[2], const double bin[2], const int64_t grid[2])
{
    double sum = 0;
    bool first = true;
    for (int64_t iy = 0; iy < grid[0]; iy++) {
        struct neighbours y = align_place_sample(start[0] + ((double)iy + 0.5) * bin[0] / (double)grid[0], size[0]);
        for (int64_t ix = 0; ix < grid[1]; ix++) {
            struct neighbours x = align_place_sample(start[1] + ((double)ix + 0.5) * bin[1] / (double)grid[1], size[1]);
            int64_t above = plane + y.low * size[1], below = plane + y.high * size[1];
            double a = y.low_weight * x.low_weight * load(data, compute, above + x.low);
            double b = y.low_weight * x.high_weight * load(data, compute, above + x.high);
            double c = y.high_weight * x.low_weight * load(data, compute, below + x.low);
            double d = y.high_weight * x.high_weight * load(data, compute, below + x.high);
            if (!request->maximum) {
                sum += a + b + c + d;
            } else { /* of the weighted neighbours, not of the samples: so the operator is defined */
                double most = fmax(fmax(a, b), fmax(c, d));
                sum = first ? most : fmax(sum, most);
                first = false;
            }
        }
    }
    int64_t count = grid[0] * grid[1];
    return request->maximum ? sum : sum / (double)(count > 1 ? count : 1);
}

mitral_status check_batches(const struct kernel_call *call, const mitral_tensor *indices, int64_t step, int64_t batches)
{
    for (int64_t i = 0; i < tensor_count(indices); i += step) {
        double index = tensor_get_double(indices, i);
        if (!(index >= 0 && index < (double)batches))
            return call_fail(call, MITRAL_INVALID, "batch indices in [0, %lld) expected, found %g", (long long)batches, index);
    }
    return MITRAL_OK;
}

mitral_status align_place_region(const struct kernel_call *call, const struct align_request *request, int64_t region,
                                  double start[2], double bin[2], int64_t grid[2])
{
    const int64_t out[2] = {request->height, request->width};
    const mitral_tensor *regions = call_input(call, 1);
    double offset = request->half_pixel ? 0.5 : 0;
    for (int d = 0; d < 2; d++) {
        start[d] = tensor_get_double(regions, 4 * region + 1 - d) * request->scale - offset;
        double length = tensor_get_double(regions, 4 * region + 3 - d) * request->scale - offset - start[d];
        if (!request->half_pixel)
            length = length > 1 ? length : 1;
        bin[d] = length / (double)out[d];
        double samples = request->sampling ? (double)request->sampling : ceil(bin[d]);
        if (!(samples <= 16384) || !isfinite(start[d]))
            return call_fail(call, MITRAL_LIMIT, "regions of at most 16384 samples a bin expected, found a length of %g", length);
        grid[d] = samples > 0 ? (int64_t)samples : 0;
    }
    return MITRAL_OK;
}

static mitral_status run_roi_align(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0), *batches = call_input(call, 2);
    mitral_tensor *output = call_output(call, 0);
    struct align_request request;
    enum compute compute;
    TRY(align_read(call, &request));
    TRY(check_batches(call, batches, 1, data->dims[0]));
    TRY(check_float_operand(call, 0, &compute));
    struct work work = work_of(call);
    const void *source = work_operand(&work, compute, data);
    void *target = work_result(&work, compute, output);
    int64_t channels = data->dims[1], bins = request.height * request.width;
    const int64_t size[2] = {data->dims[2], data->dims[3]};
    if (tensor_count(output) && (!size[0] || !size[1]))
        return call_fail(call, MITRAL_INVALID, "spatial dimensions of at least 1 expected");
    for (int64_t r = 0; r < output->dims[0]; r++) {
        double start[2], bin[2];
        int64_t grid[2];
        TRY(align_place_region(call, &request, r, start, bin, grid));
        int64_t batch = ((const int64_t *)batches->data)[r];
        int team = copy_team(call->threads, channels * bins * grid[0] * grid[1] * 32);
    (void)team; /* without OpenMP */
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
        for (int64_t i = 0; i < channels * bins; i++) {
            int64_t channel = i / bins, at = i % bins;
            double corner[2] = {start[0] + (double)(at / request.width) * bin[0], start[1] + (double)(at % request.width) * bin[1]};
            double value = pool_bin(&request, source, compute, (batch * channels + channel) * size[0] * size[1], size, corner,
                                    bin, grid);
            int64_t to = r * channels * bins + i;
            if (compute == COMPUTE_FLOAT)
                ((float *)target)[to] = (float)value;
            else
                ((double *)target)[to] = value;
        }
    }
    work_store(compute, output, target);
    return MITRAL_OK;
}

/* ---- MaxRoiPool ------------------------------------------------------------------------------------------------------ */

static mitral_status pooled_shape(const struct kernel_call *call, int64_t out[2])
{
    size_t count;
    const int64_t *shape = attribute_ints(call->attributes, "pooled_shape", &count);
    if (count != 2 || shape[0] < 1 || shape[1] < 1)
        return call_fail(call, MITRAL_INVALID, "a pooled_shape of two positive sizes expected");
    out[0] = shape[0];
    out[1] = shape[1];
    return MITRAL_OK;
}

static mitral_status shape_max_roi_pool(struct kernel_call *call)
{
    int64_t out[2] = {0};
    TRY(pooled_shape(call, out));
    return shape_regions(call, 5, out[0], out[1]);
}

static double bounded(double value, int64_t high)
{
    return !(value > 0) ? 0 : value > (double)high ? (double)high : value;
}

void max_roi_bin(const mitral_tensor *regions, int64_t region, double scale, const int64_t at[2], const int64_t out[2], const int64_t size[2],
                 int64_t from[2], int64_t to[2])
{
    for (int d = 0; d < 2; d++) {
        double low = round(tensor_get_double(regions, 5 * region + 2 - d) * scale);
        double high = round(tensor_get_double(regions, 5 * region + 4 - d) * scale);
        double length = high - low + 1 > 1 ? high - low + 1 : 1, bin = length / (double)out[d];
        from[d] = (int64_t)bounded(floor((double)at[d] * bin) + low, size[d]);
        to[d] = (int64_t)bounded(ceil((double)(at[d] + 1) * bin) + low, size[d]);
    }
}

static mitral_status run_max_roi_pool(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, 0), *regions = call_input(call, 1);
    mitral_tensor *output = call_output(call, 0);
    int64_t out[2] = {0};
    enum compute compute;
    TRY(pooled_shape(call, out));
    TRY(check_batches(call, regions, 5, data->dims[0]));
    TRY(check_float_operand(call, 0, &compute));
    struct work work = work_of(call);
    const void *source = work_operand(&work, compute, data);
    void *target = work_result(&work, compute, output);
    double scale = (double)attribute_float(call->attributes, "spatial_scale", 1);
    int64_t channels = data->dims[1], bins = out[0] * out[1], size[2] = {data->dims[2], data->dims[3]};
    int team = copy_team(call->threads, (int64_t)tensor_bytes(output) * 4);
    (void)team; /* without OpenMP */
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (int64_t i = 0; i < output->dims[0] * channels * bins; i++) {
        int64_t region = i / (channels * bins), channel = i / bins % channels, from[2], to[2];
        int64_t batch = (int64_t)tensor_get_double(regions, 5 * region), at[2] = {i % bins / out[1], i % bins % out[1]};
        max_roi_bin(regions, region, scale, at, out, size, from, to);
        double most = 0;
        bool first = true;
        for (int64_t y = from[0]; y < to[0]; y++)
            for (int64_t x = from[1]; x < to[1]; x++) {
                double value = load(source, compute, ((batch * channels + channel) * size[0] + y) * size[1] + x);
                most = first || value > most ? value : most;
                first = false;
            }
        if (compute == COMPUTE_FLOAT)
            ((float *)target)[i] = (float)most;
        else
            ((double *)target)[i] = most;
    }
    work_store(compute, output, target);
    return MITRAL_OK;
}

const struct kernel reference_detection[] = {
    {.name = "NonMaxSuppression", .flags = KERNEL_ALLOCATES, .shape = shape_non_max_suppression, .run = run_non_max_suppression},
    {.name = "RoiAlign", .shape = shape_roi_align, .prepare = prepare_regions, .run = run_roi_align},
    {.name = "MaxRoiPool", .shape = shape_max_roi_pool, .prepare = prepare_regions, .run = run_max_roi_pool},
};
const size_t reference_detection_count = sizeof(reference_detection) / sizeof(reference_detection[0]);
