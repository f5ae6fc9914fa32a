/* ConvInteger, QLinearConv and mitral.QuantizedConvolution: windows gathered as 16-bit differences from the zero point, then dot products. */
#include <string.h>

#include "runtime/kernels/reference/convolution.h"
#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/integer.h"
#include "runtime/kernels/reference/quantized.h"

enum { POSITIONS = 32 }; /* gathered at a time */

/* The inputs' places. */
struct places {
    size_t x, x_zero, w, w_zero;
};
static const struct places integer_places = {0, 2, 1, 3}, linear_places = {0, 2, 3, 5};

static mitral_status decode(const struct kernel_call *call, const struct places *places,
                            struct convolution_parameters *p)
{
    return convolution_decode(call, call_input(call, places->x), call_input(call, places->w), p);
}

/* One value, or one for each output channel. */
static mitral_status check_channels(const struct kernel_call *call, size_t index, int64_t features, bool one_only)
{
    const mitral_tensor *tensor = call_input(call, index);
    if (!tensor || tensor_count(tensor) == 1 || (!one_only && tensor->rank == 1 && tensor->dims[0] == features))
        return MITRAL_OK;
    char text[160];
    return call_fail(call, MITRAL_INVALID, "input %zu: one value%s expected, found %s", index,
                     one_only ? "" : " or one for each output channel", tensor_describe(tensor, text, sizeof(text)));
}

static mitral_status integer_shape(struct kernel_call *call, const struct places *places, int32_t dtype)
{
    struct convolution_parameters p;
    int64_t dims[MITRAL_MAX_RANK];
    for (size_t i = 0; i < 2; i++) {
        const mitral_tensor *tensor = call_input(call, i ? places->w : places->x);
        const mitral_tensor *zero = call_input(call, i ? places->w_zero : places->x_zero);
        if (!tensor)
            return call_fail(call, MITRAL_INVALID, "data and weights expected, one is missing");
        if (!dtype_is_byte(tensor->dtype))
            return fail_type(call, i ? places->w : places->x, tensor);
        if (zero && zero->dtype != tensor->dtype)
            return fail_type(call, i ? places->w_zero : places->x_zero, zero);
    }
    TRY(decode(call, places, &p));
    TRY(check_channels(call, places->x_zero, p.features, true));
    TRY(check_channels(call, places->w_zero, p.features, false));
    convolution_output_dims(&p, dims);
    call_set_output(call, 0, dtype, p.spatial + 2, dims);
    return MITRAL_OK;
}

static mitral_status ConvInteger_shape(struct kernel_call *call)
{
    return integer_shape(call, &integer_places, MITRAL_INT32);
}

/* What the two with scales have in common: all but the scales' types and the bias. */
static mitral_status linear_shape(struct kernel_call *call, int32_t dtype, struct convolution_parameters *p)
{
    TRY(integer_shape(call, &linear_places, dtype));
    TRY(decode(call, &linear_places, p));
    TRY(check_channels(call, 1, p->features, true));
    TRY(check_channels(call, 4, p->features, false));
    TRY(check_channels(call, 6, p->features, true));
    return check_channels(call, 7, p->features, true);
}

static mitral_status QLinearConv_shape(struct kernel_call *call)
{
    const mitral_tensor *zero = call_input(call, 7), *bias = call_input(call, 8);
    for (size_t i = 1; i < 7; i += i == 1 ? 3 : 2) {
        const mitral_tensor *scale = call_input(call, i);
        if (!scale || scale->dtype != MITRAL_FLOAT)
            return scale ? fail_type(call, i, scale)
                         : call_fail(call, MITRAL_INVALID, "8 inputs expected, input %zu is missing", i);
    }
    if (!zero || !dtype_is_byte(zero->dtype))
        return zero ? fail_type(call, 7, zero)
                    : call_fail(call, MITRAL_INVALID, "8 inputs expected, input 7 is missing");
    struct convolution_parameters p;
    TRY(linear_shape(call, zero->dtype, &p));
    if (bias && (bias->dtype != MITRAL_INT32 || bias->rank != 1 || bias->dims[0] != p.features)) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "input 8: a bias int32[%lld] expected, found %s", (long long)p.features,
                         tensor_describe(bias, text, sizeof(text)));
    }
    return MITRAL_OK;
}

/* QLinearConv's inputs; without a scale and zero point of the output it is float32, a bias may be float32, and attribute activation may be
 * Relu. */
static mitral_status QuantizedConvolution_shape(struct kernel_call *call)
{
    const mitral_tensor *zero = call_input(call, 7), *bias = call_input(call, 8), *y_scale = call_input(call, 6);
    for (size_t i = 1; i < 7; i += i == 1 ? 3 : 2) {
        const mitral_tensor *scale = call_input(call, i);
        if (i < 6 && !scale)
            return call_fail(call, MITRAL_INVALID, "scales of the data and the weights expected, input %zu is missing", i);
        if (scale && scale->dtype != MITRAL_FLOAT)
            return fail_type(call, i, scale);
    }
    if (!zero != !y_scale || (zero && !dtype_is_byte(zero->dtype)))
        return call_fail(call, MITRAL_INVALID, "a scale and an 8-bit zero point of the output, or neither, expected");
    struct convolution_parameters p;
    TRY(linear_shape(call, zero ? zero->dtype : MITRAL_FLOAT, &p));
    const char *activation = attribute_string(call->attributes, "activation", "");
    if (*activation && strcmp(activation, "Relu") != 0)
        return call_fail(call, MITRAL_UNSUPPORTED, "no activation or Relu expected, found %.40s", activation);
    if (bias && ((bias->dtype != MITRAL_INT32 && bias->dtype != MITRAL_FLOAT) || tensor_count(bias) != p.features)) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "input 8: a bias of %lld int32 or float32 expected, found %s", (long long)p.features,
                         tensor_describe(bias, text, sizeof(text)));
    }
    return MITRAL_OK;
}

struct sizes {
    int64_t window;    /* elements of one output's sum */
    int64_t positions; /* outputs of one channel */
    int64_t blocks;    /* of POSITIONS */
};

static struct sizes sizes_of(const struct convolution_parameters *p)
{
    struct sizes sizes = {p->channels / p->group, 1, 0};
    for (int32_t i = 0; i < p->spatial; i++) {
        sizes.window *= p->kernel[i];
        sizes.positions *= p->output[i];
    }
    sizes.blocks = (sizes.positions + POSITIONS - 1) / POSITIONS;
    return sizes;
}

/* Scratch: the weights' differences, then a block of windows for each thread. */
static mitral_status prepare(struct kernel_call *call, const struct places *places, void **state, size_t *scratch_bytes)
{
    struct convolution_parameters p;
    TRY(decode(call, places, &p));
    struct sizes sizes = sizes_of(&p);
    *state = NULL;
    if (!add_bytes(scratch_bytes, p.features, sizes.window, sizeof(int16_t))
        || !add_bytes(scratch_bytes, (int64_t)call->threads * POSITIONS, sizes.window, sizeof(int16_t)))
        return call_fail(call, MITRAL_LIMIT, "weights and windows that can be addressed expected, found %lld weights of each of %lld features",
                         (long long)sizes.window, (long long)p.features);
    return MITRAL_OK;
}

static mitral_status ConvInteger_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return prepare(call, &integer_places, state, scratch_bytes);
}

static mitral_status QLinearConv_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return prepare(call, &linear_places, state, scratch_bytes);
}

static int32_t byte_at(const mitral_tensor *tensor, int64_t index)
{
    return tensor->dtype == MITRAL_UINT8 ? ((const uint8_t *)tensor->data)[index]
                                         : ((const int8_t *)tensor->data)[index];
}

static void load_weights(const mitral_tensor *w, const mitral_tensor *zero, int64_t features, int64_t window,
                         int16_t *to)
{
    for (int64_t m = 0; m < features; m++) {
        int32_t zero_point = zero ? byte_at(zero, tensor_count(zero) > 1 ? m : 0) : 0;
        for (int64_t i = 0; i < window; i++)
            *to++ = (int16_t)(byte_at(w, m * window + i) - zero_point);
    }
}

/* The window of one output position, channel by channel; padding is zero. */
static void load_window(const struct convolution_parameters *p, const mitral_tensor *x, int32_t zero_point,
                        int64_t plane, int64_t channels, int64_t position, int16_t *to)
{
    int64_t origin[MAX_SPATIAL], tap[MAX_SPATIAL] = {0}, plane_size = 1, taps = 1;
    for (int32_t i = p->spatial - 1; i >= 0; i--) {
        origin[i] = position % p->output[i] * p->strides[i] - p->pads_begin[i];
        position /= p->output[i];
        plane_size *= p->input[i];
        taps *= p->kernel[i];
    }
    for (int64_t t = 0; t < taps; t++) {
        int64_t at = 0;
        bool inside = true;
        for (int32_t i = 0; i < p->spatial; i++) {
            int64_t place = origin[i] + tap[i] * p->dilations[i];
            inside = inside && place >= 0 && place < p->input[i];
            at = at * p->input[i] + place;
        }
        for (int64_t c = 0; c < channels; c++)
            to[c * taps + t] = (int16_t)(inside ? byte_at(x, (plane + c) * plane_size + at) - zero_point : 0);
        for (int32_t i = p->spatial - 1; i >= 0 && ++tap[i] == p->kernel[i]; i--)
            tap[i] = 0;
    }
}

typedef void (*finish_function)(const void *context, int64_t feature, int64_t at, int32_t sum);

static mitral_status integer_convolution(struct kernel_call *call, const struct places *places, finish_function finish,
                                         const void *context)
{
    const mitral_tensor *x = call_input(call, places->x), *w = call_input(call, places->w);
    const mitral_tensor *x_zero = call_input(call, places->x_zero), *w_zero = call_input(call, places->w_zero);
    struct convolution_parameters p;
    TRY(decode(call, places, &p));
    struct sizes sizes = sizes_of(&p);
    int64_t window = sizes.window, per_group = p.features / p.group, channels = p.channels / p.group;
    int16_t *weights = call->scratch, *windows = weights + (p.features * window + 31) / 32 * 32;
    int32_t zero_point = x_zero ? byte_at(x_zero, 0) : 0;
    load_weights(w, w_zero, p.features, window, weights);
    /* One part a thread: a scratch block each; every output is the work of one thread. */
    int64_t tasks = p.batch * p.group * sizes.blocks, parts = call->threads;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t part = 0; part < parts; part++) {
        int16_t *block = windows + part * POSITIONS * window;
        for (int64_t task = tasks * part / parts; task < tasks * (part + 1) / parts; task++) {
            int64_t first = task % sizes.blocks * POSITIONS, group = task / sizes.blocks % p.group;
            int64_t image = task / sizes.blocks / p.group;
            int64_t count = sizes.positions - first < POSITIONS ? sizes.positions - first : POSITIONS;
            for (int64_t i = 0; i < count; i++)
                load_window(&p, x, zero_point, image * p.channels + group * channels, channels, first + i,
                            block + i * window);
            for (int64_t m = group * per_group; m < (group + 1) * per_group; m++)
                for (int64_t i = 0; i < count; i++)
                    finish(context, m, (image * p.features + m) * sizes.positions + first + i,
                           integer_dot(weights + m * window, block + i * window, window));
        }
    }
    return MITRAL_OK;
}

static void store_sum(const void *context, int64_t feature, int64_t at, int32_t sum)
{
    (void)feature;
    ((int32_t *)((const mitral_tensor *)context)->data)[at] = sum;
}

static mitral_status ConvInteger_run(struct kernel_call *call)
{
    return call_output(call, 0) ? integer_convolution(call, &integer_places, store_sum, call_output(call, 0))
                                : MITRAL_OK;
}

struct linear_convolution {
    float x_scale, y_scale;
    const mitral_tensor *w_scale, *bias;
    int32_t zero;
    bool is_signed, per_channel;
    uint8_t *y;
};

static void store_requantized(const void *context, int64_t feature, int64_t at, int32_t sum)
{
    const struct linear_convolution *q = context;
    if (q->bias)
        sum = (int32_t)((uint32_t)sum + (uint32_t)((const int32_t *)q->bias->data)[feature]);
    float scale = q->x_scale * ((const float *)q->w_scale->data)[q->per_channel ? feature : 0] / q->y_scale;
    q->y[at] = (uint8_t)requantize((double)sum * (double)scale, q->zero, q->is_signed);
}

static mitral_status QLinearConv_run(struct kernel_call *call)
{
    mitral_tensor *y = call_output(call, 0);
    if (!y)
        return MITRAL_OK;
    const struct linear_convolution q = {
        .x_scale = *(const float *)call_input(call, 1)->data, .y_scale = *(const float *)call_input(call, 6)->data,
        .w_scale = call_input(call, 4), .bias = call_input(call, 8), .zero = byte_at(call_input(call, 7), 0),
        .is_signed = y->dtype == MITRAL_INT8, .per_channel = tensor_count(call_input(call, 4)) > 1, .y = y->data};
    return integer_convolution(call, &linear_places, store_requantized, &q);
}

struct quantized_convolution {
    double x_scale;
    const mitral_tensor *w_scale, *bias;
    bool per_channel, rectified;
    struct affine affine;
    mitral_tensor y;
};

static void store_quantized(const void *context, int64_t feature, int64_t at, int32_t sum)
{
    const struct quantized_convolution *q = context;
    const double scale = q->x_scale * (double)((const float *)q->w_scale->data)[q->per_channel ? feature : 0];
    double value = (double)sum * scale;
    if (q->bias)
        value += tensor_get_double(q->bias, feature) * (q->bias->dtype == MITRAL_INT32 ? scale : 1);
    value = q->rectified && value < 0 ? 0 : value;
    if (q->y.dtype == MITRAL_FLOAT)
        ((float *)q->y.data)[at] = (float)value;
    else
        ((uint8_t *)q->y.data)[at] = (uint8_t)requantize(value / (double)q->affine.scale, q->affine.zero, q->affine.is_signed);
}

static mitral_status QuantizedConvolution_run(struct kernel_call *call)
{
    const mitral_tensor *y = call_output(call, 0);
    if (!y)
        return MITRAL_OK;
    struct quantized_convolution q = {.x_scale = (double)*(const float *)call_input(call, 1)->data, .w_scale = call_input(call, 4),
                                      .bias = call_input(call, 8), .per_channel = tensor_count(call_input(call, 4)) > 1,
                                      .rectified = *attribute_string(call->attributes, "activation", "") != '\0', .y = *y};
    if (y->dtype != MITRAL_FLOAT)
        q.affine = affine_of(call, 6, 7, y->dtype);
    return integer_convolution(call, &linear_places, store_quantized, &q);
}

const struct kernel reference_quantized_convolution[] = {
    {"ConvInteger", 0, ConvInteger_shape, ConvInteger_prepare, ConvInteger_run},
    {"QLinearConv", 0, QLinearConv_shape, QLinearConv_prepare, QLinearConv_run},
    {"mitral.QuantizedConvolution", 0, QuantizedConvolution_shape, QLinearConv_prepare, QuantizedConvolution_run},
};
const size_t reference_quantized_convolution_count =
    sizeof(reference_quantized_convolution) / sizeof(reference_quantized_convolution[0]);
