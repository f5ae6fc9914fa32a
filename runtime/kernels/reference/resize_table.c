/* Where each output coordinate of Resize samples its axis, and with which weights. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/reference/resize.h"

/* ---- what the node asks for ---------------------------------------------------------------------------------------- */

static mitral_status choose(const struct kernel_call *call, const char *name, const char *fallback, const char *const *names,
                            int count, int *out)
{
    const char *text = attribute_string(call->attributes, name, fallback);
    for (int i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return MITRAL_OK;
        }
    return call_fail(call, MITRAL_INVALID, "a %s of version %d expected, found %s", name, call->opset, text);
}

static mitral_status read_modes(const struct kernel_call *call, struct resize_request *request)
{
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const coordinates[] = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                                              "asymmetric", "tf_crop_and_resize", "tf_half_pixel_for_nn"};
    static const char *const nearest[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    int mode = 0, coordinate = 0, rounding = 0;
    TRY(choose(call, "mode", "nearest", modes, 3, &mode));
    TRY(choose(call, "coordinate_transformation_mode", "half_pixel", coordinates, 7, &coordinate));
    TRY(choose(call, "nearest_mode", "round_prefer_floor", nearest, 4, &rounding));
    request->mode = (enum resize_mode)mode;
    request->coordinates = (enum resize_coordinates)coordinate;
    request->nearest = (enum resize_nearest)rounding;
    request->antialias = attribute_int(call->attributes, "antialias", 0) != 0 && request->mode != RESIZE_NEAREST;
    request->exclude_outside = attribute_int(call->attributes, "exclude_outside", 0) != 0;
    request->cubic_a = (double)attribute_float(call->attributes, "cubic_coeff_a", -0.75f);
    request->extrapolation = attribute_float(call->attributes, "extrapolation_value", 0);
    return MITRAL_OK;
}

static void start_request(struct resize_request *request, const mitral_tensor *data)
{
    request->rank = data->rank;
    for (int32_t i = 0; i < data->rank; i++)
        request->axes[i] = (struct resize_axis){data->dims[i], data->dims[i], 1, 0, 1};
}

/* The scale of an axis as given; its output size is ⌊in·scale⌋ in single precision, as exporters compute it. */
static mitral_status set_scale(const struct kernel_call *call, struct resize_axis *axis, double scale)
{
    float size = floorf((float)axis->in * (float)scale);
    if (!(scale > 0) || !(size < 2147483648.0f))
        return call_fail(call, MITRAL_INVALID, "positive scales and output dimensions below 2^31 expected, found scale %g", scale);
    axis->scale = scale;
    axis->out = scale == 1 ? axis->in : (int64_t)size;
    return MITRAL_OK;
}

/* The list of floats in an input; NULL in *out when there is none or it is empty. */
static mitral_status float_list(const struct kernel_call *call, size_t index, size_t count, const mitral_tensor **out)
{
    const mitral_tensor *tensor = call_input(call, index);
    *out = NULL;
    if (!tensor || mitral_tensor_count(tensor) == 0)
        return MITRAL_OK;
    if (tensor->rank != 1 || tensor->dims[0] != (int64_t)count || !(dtype_is_float(tensor->dtype) || dtype_is_integer(tensor->dtype))) {
        char text[256];
        return call_fail(call, MITRAL_INVALID, "input %zu: %zu numbers expected, found %s", index, count,
                         tensor_describe(tensor, text, sizeof(text)));
    }
    *out = tensor;
    return tensor->data ? MITRAL_OK : MITRAL_DEFERRED;
}

static mitral_status set_sizes(const struct kernel_call *call, struct resize_request *request, const mitral_tensor *sizes,
                               const int64_t *axes, size_t count)
{
    const char *policy = attribute_string(call->attributes, "keep_aspect_ratio_policy", "stretch");
    bool stretch = strcmp(policy, "stretch") == 0, larger = strcmp(policy, "not_smaller") == 0;
    if (!stretch && !larger && strcmp(policy, "not_larger") != 0)
        return call_fail(call, MITRAL_INVALID, "policy stretch, not_larger or not_smaller expected, found %s", policy);
    double common = larger ? 0 : INFINITY;
    for (size_t i = 0; i < count; i++) {
        struct resize_axis *axis = &request->axes[axes[i]];
        int64_t size = tensor_get_int(sizes, (int64_t)i);
        if (size < 0 || size > INT32_MAX || (axis->in == 0 && size != 0))
            return call_fail(call, MITRAL_INVALID, "sizes in [0, 2^31) that the input can fill expected, found %lld",
                             (long long)size);
        axis->out = size;
        axis->scale = axis->in ? (double)size / (double)axis->in : 1;
        common = larger ? fmax(common, axis->scale) : fmin(common, axis->scale);
    }
    for (size_t i = 0; i < count && !stretch; i++) {
        struct resize_axis *axis = &request->axes[axes[i]];
        double size = floor(common * (double)axis->in + 0.5);
        if (!(size <= INT32_MAX))
            return call_fail(call, MITRAL_LIMIT, "output dimensions below 2^31 expected, found %g", size);
        axis->out = (int64_t)size;
        axis->scale = common;
    }
    return MITRAL_OK;
}

mitral_status resize_read(struct kernel_call *call, struct resize_request *request)
{
    const mitral_tensor *data, *scales, *sizes = NULL, *roi = NULL;
    TRY(need_tensor(call, 0, &data));
    TRY(read_modes(call, request));
    start_request(request, data);
    if (call->opset < 11) {
        request->coordinates = COORDINATES_ASYMMETRIC;
        request->nearest = NEAREST_SIMPLE;
    }
    int64_t axes[MITRAL_MAX_RANK];
    bool marked[MITRAL_MAX_RANK];
    size_t count = (size_t)data->rank;
    for (int32_t i = 0; i < data->rank; i++)
        axes[i] = i;
    if (call->opset >= 18 && attribute_has(call->attributes, "axes")) {
        const int64_t *list = attribute_ints(call->attributes, "axes", &count);
        if (count > (size_t)data->rank)
            return call_fail(call, MITRAL_INVALID, "at most %d axes expected, found %zu", (int)data->rank, count);
        TRY(normalise_axes(call, list, count, data->rank, axes, marked));
    }
    TRY(float_list(call, call->opset < 11 ? 1 : 2, count, &scales));
    if (call->opset >= 11)
        TRY(float_list(call, 3, count, &sizes));
    if (!scales == !sizes && count)
        return call_fail(call, MITRAL_INVALID, "either scales or sizes expected, found %s", scales ? "both" : "neither");
    if (request->coordinates == COORDINATES_TF_CROP_AND_RESIZE) {
        TRY(float_list(call, 1, 2 * count, &roi));
        if (!roi)
            return call_fail(call, MITRAL_INVALID, "a region of interest expected, found none");
        for (size_t i = 0; i < count; i++) {
            request->axes[axes[i]].roi_start = tensor_get_double(roi, (int64_t)i);
            request->axes[axes[i]].roi_end = tensor_get_double(roi, (int64_t)(i + count));
        }
    }
    if (sizes)
        return set_sizes(call, request, sizes, axes, count);
    for (size_t i = 0; i < count; i++)
        TRY(set_scale(call, &request->axes[axes[i]], tensor_get_double(scales, (int64_t)i)));
    return MITRAL_OK;
}

mitral_status upsample_read(struct kernel_call *call, struct resize_request *request)
{
    const mitral_tensor *data, *scales;
    TRY(need_tensor(call, 0, &data));
    TRY(read_modes(call, request));
    start_request(request, data);
    request->coordinates = COORDINATES_ASYMMETRIC;
    request->nearest = NEAREST_FLOOR;
    if (call->opset < 9) {
        size_t count;
        const float *list = attribute_floats(call->attributes, "scales", &count);
        if ((int64_t)count != data->rank)
            return call_fail(call, MITRAL_INVALID, "%d scales expected, found %zu", (int)data->rank, count);
        for (int32_t i = 0; i < data->rank; i++)
            TRY(set_scale(call, &request->axes[i], (double)list[i]));
        return MITRAL_OK;
    }
    TRY(float_list(call, 1, (size_t)data->rank, &scales));
    if (!scales && data->rank)
        return call_fail(call, MITRAL_INVALID, "%d scales expected, found none", (int)data->rank);
    for (int32_t i = 0; i < data->rank; i++)
        TRY(set_scale(call, &request->axes[i], tensor_get_double(scales, i)));
    return MITRAL_OK;
}

/* ---- coordinates and weights ---------------------------------------------------------------------------------------- */

static double source_coordinate(const struct resize_request *request, const struct resize_axis *axis, double at)
{
    /* The output's length is fractional where a scale was given; rounding aside. */
    double in = (double)axis->in, length = axis->scale * in;
    if (fabs(length - (double)axis->out) < 1e-6 * (double)axis->out)
        length = (double)axis->out;
    switch (request->coordinates) {
    case COORDINATES_ALIGN_CORNERS:
        return length <= 1 ? 0 : at * (in - 1) / (length - 1);
    case COORDINATES_ASYMMETRIC:
        return at / axis->scale;
    case COORDINATES_TF_CROP_AND_RESIZE:
        if (length <= 1)
            return 0.5 * (axis->roi_start + axis->roi_end) * (in - 1);
        return axis->roi_start * (in - 1) + at * (axis->roi_end - axis->roi_start) * (in - 1) / (length - 1);
    case COORDINATES_PYTORCH_HALF_PIXEL:
        return axis->out <= 1 ? 0 : (at + 0.5) / axis->scale - 0.5;
    case COORDINATES_TF_HALF_PIXEL_FOR_NN:
        return (at + 0.5) / axis->scale;
    case COORDINATES_HALF_PIXEL_SYMMETRIC:
        return in / 2 * (1 - (double)axis->out / length) + (at + 0.5) / axis->scale - 0.5;
    default:
        return (at + 0.5) / axis->scale - 0.5;
    }
}

/* Nearest: single precision throughout, as exporters and other runtimes compute it, so that coordinates halfway between two
 * elements fall alike (scale 0.8: 4 / 0.8f is 5, which it is not in double precision). */
static double single_coordinate(const struct resize_request *request, const struct resize_axis *axis, float at)
{
    float scale = (float)axis->scale;
    switch (request->coordinates) {
    case COORDINATES_ASYMMETRIC: return (double)(at / scale);
    case COORDINATES_TF_HALF_PIXEL_FOR_NN: return (double)((at + 0.5f) / scale);
    case COORDINATES_PYTORCH_HALF_PIXEL:
        if (axis->out <= 1)
            return 0;
        return (double)((at + 0.5f) / scale - 0.5f);
    case COORDINATES_HALF_PIXEL: return (double)((at + 0.5f) / scale - 0.5f);
    default: return source_coordinate(request, axis, (double)at);
    }
}

static double nearest_coordinate(const struct resize_request *request, const struct resize_axis *axis, double x)
{
    switch (request->nearest) {
    case NEAREST_PREFER_FLOOR: return ceil(x - 0.5);
    case NEAREST_PREFER_CEIL: return floor(x + 0.5);
    case NEAREST_CEIL: return ceil(x);
    case NEAREST_SIMPLE: return axis->scale < 1 ? ceil(x) : floor(x);
    default: return floor(x);
    }
}

static double linear_weight(double distance)
{
    distance = fabs(distance);
    return distance < 1 ? 1 - distance : 0;
}

static double cubic_weight(double distance, double a)
{
    double x = fabs(distance);
    if (x <= 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/* How much wider than between neighbours the filter is. */
static double filter_scale(const struct resize_request *request, const struct resize_axis *axis)
{
    return request->antialias && axis->scale < 1 ? axis->scale : 1;
}

int64_t resize_taps(const struct resize_request *request, const struct resize_axis *axis)
{
    if (request->mode == RESIZE_NEAREST)
        return 1;
    double taps = 2 * ceil((request->mode == RESIZE_LINEAR ? 1 : 2) / filter_scale(request, axis));
    return taps < 1e12 ? (int64_t)taps : (int64_t)1e12; /* beyond 2·in there is no output at all */
}

bool resize_is_identity(const struct resize_request *request, const struct resize_axis *axis)
{
    return axis->scale == 1 && axis->in == axis->out &&
           (request->coordinates != COORDINATES_TF_CROP_AND_RESIZE || (axis->roi_start == 0 && axis->roi_end == 1));
}

static int32_t clamp_index(double at, int64_t size)
{
    return at < 0 || size == 0 ? 0 : at > (double)(size - 1) ? (int32_t)(size - 1) : (int32_t)at;
}

void resize_fill(const struct resize_request *request, const struct resize_axis *axis, struct resize_table *table)
{
    double scale = filter_scale(request, axis), weights_sum;
    int64_t taps = table->taps, out = table->out;
    for (int64_t o = 0; o < out; o++) {
        double x = request->mode == RESIZE_NEAREST ? single_coordinate(request, axis, (float)o)
                                                   : source_coordinate(request, axis, (double)o);
        if (x != x)
            x = 0;
        if (request->coordinates == COORDINATES_TF_CROP_AND_RESIZE && (x < 0 || x > (double)(axis->in - 1))) {
            table->outside = true;
            for (int64_t t = 0; t < taps; t++) {
                table->index[t * out + o] = -1;
                if (table->weight_double)
                    table->weight_double[t * out + o] = 0;
            }
            continue;
        }
        if (request->mode == RESIZE_NEAREST) {
            table->index[o] = clamp_index(nearest_coordinate(request, axis, x), axis->in);
            continue;
        }
        /* The taps lie around x, half of them at or left of it; a whole x counts to the left half. */
        double first = ceil(x) - (double)(taps / 2);
        weights_sum = 0;
        for (int64_t t = 0; t < taps; t++) {
            double at = first + (double)t, distance = (at - x) * scale;
            double weight = request->mode == RESIZE_LINEAR ? linear_weight(distance) : cubic_weight(distance, request->cubic_a);
            if (request->exclude_outside && (at < 0 || at > (double)(axis->in - 1)))
                weight = 0;
            table->index[t * out + o] = clamp_index(at, axis->in);
            table->weight_double[t * out + o] = weight;
            weights_sum += weight;
        }
        if ((request->exclude_outside || scale < 1) && weights_sum != 0)
            for (int64_t t = 0; t < taps; t++)
                table->weight_double[t * out + o] /= weights_sum;
    }
    table->doubles = request->mode == RESIZE_NEAREST && out == 2 * axis->in;
    for (int64_t o = 0; o < out && table->doubles; o++)
        table->doubles = table->index[o] == o / 2;
    if (table->weight && table->weight_double)
        for (int64_t i = 0; i < taps * out; i++)
            table->weight[i] = (float)table->weight_double[i];
}
