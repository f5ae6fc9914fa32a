/* HannWindow, HammingWindow, BlackmanWindow, MelWeightMatrix. */
#include <math.h>
#include <string.h>

#include "runtime/kernel.h"

/* Truncates for integer types, as a Cast does. */
static void store(mitral_tensor *tensor, int64_t index, double value)
{
    if (dtype_is_float(tensor->dtype))
        tensor_set_double(tensor, index, value, true);
    else
        tensor_set_int(tensor, index, (int64_t)value);
}

static mitral_status output_type(const struct kernel_call *call, int32_t *out)
{
    const int64_t type = attribute_int(call->attributes, "output_datatype", MITRAL_FLOAT);
    *out = (int32_t)type;
    if (type <= 0 || type >= MITRAL_DTYPE_COUNT || (!dtype_is_float(*out) && !dtype_is_integer(*out)))
        return call_fail(call, MITRAL_INVALID, "output_datatype of a numeric type expected, found %lld",
                         (long long)type);
    return MITRAL_OK;
}

/* The one integer of input `index`. */
static mitral_status single(struct kernel_call *call, size_t index, const char *name, int64_t *out)
{
    const int64_t *values;
    size_t count;
    if (!call_input(call, index))
        return call_fail(call, MITRAL_INVALID, "%s expected, found none", name);
    TRY(call_int_values(call, index, &values, &count));
    if (count != 1)
        return call_fail(call, MITRAL_INVALID, "a single %s expected, found %zu values", name, count);
    *out = values[0];
    return MITRAL_OK;
}

static mitral_status known_type(struct kernel_call *call, mitral_status status, int32_t dtype)
{
    if (status == MITRAL_DEFERRED && call_output(call, 0))
        call_output(call, 0)->dtype = dtype;
    return status;
}

/* ---- windows: size -> [size], a sum of cosines
 * ------------------------------------------------------------------------- */

static mitral_status shape_window(struct kernel_call *call)
{
    int32_t dtype;
    int64_t size = 0;
    TRY(output_type(call, &dtype));
    TRY(known_type(call, single(call, 0, "size", &size), dtype));
    if (size < 0)
        return call_fail(call, MITRAL_INVALID, "a size from 0 expected, found %lld", (long long)size);
    call_set_output(call, 0, dtype, 1, &size);
    return MITRAL_OK;
}

static mitral_status run_window(const struct kernel_call *call, double constant, double first, double second)
{
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    const int64_t size = y->dims[0];
    /* A symmetric window of one element has no extent to divide by; it is the top of the window. */
    const int64_t extent = attribute_int(call->attributes, "periodic", 1) ? size : size - 1;
    for (int64_t i = 0; i < size; i++) {
        const double angle = extent ? 2 * M_PI * (double)i / (double)extent : M_PI;
        store(y, i, constant + first * cos(angle) + second * cos(2 * angle));
    }
    return MITRAL_OK;
}

static mitral_status run_hann(struct kernel_call *call)
{
    return run_window(call, 0.5, -0.5, 0);
}

static mitral_status run_hamming(struct kernel_call *call)
{
    const double alpha = 25.0 / 46.0;
    return run_window(call, alpha, alpha - 1, 0);
}

static mitral_status run_blackman(struct kernel_call *call)
{
    return run_window(call, 0.42, -0.5, 0.08);
}

/* ---- MelWeightMatrix: bins, length, rate, lower and upper edge -> [length / 2 + 1, bins]
 * ------------------------------- */

static mitral_status shape_mel(struct kernel_call *call)
{
    int32_t dtype;
    int64_t bins = 0, length = 0, rate = 0;
    TRY(output_type(call, &dtype));
    for (size_t i = 3; i < 5; i++) {
        const mitral_tensor *edge = call_input(call, i);
        if (!edge || !dtype_is_float(edge->dtype) || tensor_count(edge) != 1)
            return call_fail(call, MITRAL_INVALID, "a floating-point scalar for each edge expected");
    }
    TRY(known_type(call, single(call, 0, "num_mel_bins", &bins), dtype));
    TRY(known_type(call, single(call, 1, "dft_length", &length), dtype));
    TRY(known_type(call, single(call, 2, "sample_rate", &rate), dtype));
    if (bins < 1 || length < 1 || rate < 1 || bins > INT32_MAX || length > INT32_MAX)
        return call_fail(call, MITRAL_INVALID,
                         "num_mel_bins, dft_length and sample_rate from 1 expected, found %lld, %lld and %lld",
                         (long long)bins, (long long)length, (long long)rate);
    const int64_t dims[2] = {length / 2 + 1, bins};
    call_set_output(call, 0, dtype, 2, dims);
    return MITRAL_OK;
}

/* The spectrogram bin of mel step `index`. */
static double spectrogram_bin(double low, double step, int64_t index, int64_t length, int64_t rate)
{
    const double mel = (double)index * step + low, hertz = 700 * expm1(mel / 2595 * log(10));
    return floor((double)(length + 1) * hertz / (double)rate);
}

static mitral_status run_mel(struct kernel_call *call)
{
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    int64_t bins = 0, length = 0, rate = 0;
    TRY(single(call, 0, "num_mel_bins", &bins));
    TRY(single(call, 1, "dft_length", &length));
    TRY(single(call, 2, "sample_rate", &rate));
    const double low = 2595 * log1p(tensor_get_double(call_input(call, 3), 0) / 700) / log(10);
    const double high = 2595 * log1p(tensor_get_double(call_input(call, 4), 0) / 700) / log(10);
    const double step = (high - low) / (double)(bins + 2), last = (double)(y->dims[0] - 1);
    memset(y->data, 0, tensor_bytes(y));
    for (int64_t i = 0; i < bins; i++) {
        const double left = spectrogram_bin(low, step, i, length, rate),
                     center = spectrogram_bin(low, step, i + 1, length, rate);
        const double right = spectrogram_bin(low, step, i + 2, length, rate);
        if (!(left >= 0 && left <= center && center <= right && right <= last + 1))
            return call_fail(call, MITRAL_INVALID,
                             "edges from 0 to half the sample rate expected, found bins %g to %g of %g", left, right,
                             last);
        if (left == center && center <= last)
            store(y, (int64_t)center * bins + i, 1);
        for (int64_t j = (int64_t)left; left < center && j <= (int64_t)fmin(center, last); j++)
            store(y, j * bins + i, ((double)j - left) / (center - left));
        for (int64_t j = (int64_t)center; center < right && j < (int64_t)right; j++)
            store(y, j * bins + i, (right - (double)j) / (right - center));
    }
    return MITRAL_OK;
}

const struct kernel reference_window[] = {
    {.name = "BlackmanWindow", .shape = shape_window, .run = run_blackman},
    {.name = "HammingWindow", .shape = shape_window, .run = run_hamming},
    {.name = "HannWindow", .shape = shape_window, .run = run_hann},
    {.name = "MelWeightMatrix", .shape = shape_mel, .run = run_mel},
};
const size_t reference_window_count = sizeof(reference_window) / sizeof(*reference_window);
