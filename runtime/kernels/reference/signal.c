/* DFT, STFT. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "runtime/kernels/reference/fourier.h"

#define LENGTH_LIMIT ((int64_t)1 << 28)

/* An optional scalar input; *value keeps its content when it is absent. */
static mitral_status scalar(struct kernel_call *call, size_t index, const char *name, int64_t *value)
{
    if (!call_input(call, index))
        return MITRAL_OK;
    const int64_t *values;
    size_t count;
    TRY(call_int_values(call, index, &values, &count));
    if (count != 1)
        return call_fail(call, MITRAL_INVALID, "a single %s expected, found %zu values", name, count);
    *value = values[0];
    return MITRAL_OK;
}

static mitral_status check_parts(struct kernel_call *call, int32_t minimum_rank)
{
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    const mitral_tensor *x = call_input(call, 0);
    if (x->rank < minimum_rank || (x->dims[x->rank - 1] != 1 && x->dims[x->rank - 1] != 2)) {
        char text[160];
        return call_fail(
            call, MITRAL_INVALID,
            "a signal of rank %d or more whose last dimension is 1 (real) or 2 (complex) expected, found %s",
            (int)minimum_rank, tensor_describe(x, text, sizeof(text)));
    }
    return MITRAL_OK;
}

/* Before the sizes are known at least the type is. */
static mitral_status with_type(struct kernel_call *call, mitral_status status)
{
    if (status == MITRAL_DEFERRED && call_output(call, 0))
        call_output(call, 0)->dtype = call_input(call, 0)->dtype;
    return status;
}

/* ---- DFT: input, length?, axis? (from version 20)
 * --------------------------------------------------------------------- */

struct dft {
    int64_t outer, size, inner;   /* input [outer, size, inner, parts] */
    int64_t parts, output_parts;  /* 1 real, 2 complex */
    int64_t length, output_size;  /* of the transform, of the output's axis */
    int64_t axis;
    bool inverse, onesided;
    enum compute compute;
};

static mitral_status decode_dft(struct kernel_call *call, struct dft *d)
{
    TRY(check_parts(call, 2));
    const mitral_tensor *x = call_input(call, 0);
    *d = (struct dft){.outer = 1, .inner = 1, .parts = x->dims[x->rank - 1],
                      .inverse = attribute_int(call->attributes, "inverse", 0) != 0,
                      .onesided = attribute_int(call->attributes, "onesided", 0) != 0};
    int64_t axis = call->opset < 20 ? attribute_int(call->attributes, "axis", 1) : -2;
    if (call->opset >= 20)
        TRY(scalar(call, 2, "axis", &axis));
    TRY(call_axis(call, axis, x->rank, &d->axis));
    if (d->axis == x->rank - 1)
        return call_fail(call, MITRAL_INVALID,
                         "an axis other than the last, which holds real and imaginary parts, expected, found %lld",
                         (long long)axis);
    for (int32_t i = 0; i < x->rank - 1; i++)
        *(i < d->axis ? &d->outer : i == d->axis ? &d->size : &d->inner) *= i == d->axis ? 1 : x->dims[i];
    d->size = x->dims[d->axis];
    d->length = d->inverse && d->onesided ? 2 * (d->size - 1) : d->size;
    TRY(scalar(call, 1, "dft_length", &d->length));
    if (d->length < 1 || d->length > LENGTH_LIMIT)
        return call_fail(call, MITRAL_INVALID, "a dft_length from 1 to %lld expected, found %lld",
                         (long long)LENGTH_LIMIT, (long long)d->length);
    if (d->onesided && !d->inverse && d->parts == 2)
        return call_fail(call, MITRAL_INVALID, "a real signal for a one-sided transform expected, found a complex one");
    /* A complex signal is transformed in its own precision, as NumPy does. A real one, whose spectrum has parts that
     * cancel exactly, goes through double, like the windowed frames of STFT. */
    d->compute = x->dtype == MITRAL_FLOAT && d->parts == 2 && !d->onesided ? COMPUTE_FLOAT : COMPUTE_DOUBLE;
    d->output_parts = d->onesided && d->inverse ? 1 : 2;
    d->output_size = d->onesided && !d->inverse ? d->length / 2 + 1 : d->length;
    return MITRAL_OK;
}

static mitral_status shape_dft(struct kernel_call *call)
{
    struct dft d;
    TRY(with_type(call, decode_dft(call, &d)));
    const mitral_tensor *x = call_input(call, 0);
    int64_t dims[MITRAL_MAX_RANK];
    memcpy(dims, x->dims, (size_t)x->rank * sizeof(*dims));
    dims[d.axis] = d.output_size;
    dims[x->rank - 1] = d.output_parts;
    call_set_output(call, 0, x->dtype, x->rank, dims);
    return MITRAL_OK;
}

static mitral_status prepare_dft(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct dft d;
    TRY(decode_dft(call, &d));
    struct work work = {0};
    struct fourier fourier;
    fourier_plan(&fourier, &work, d.compute, d.length, call->threads);
    return work_measure(call, &work, scratch_bytes);
}

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/signal_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/signal_body.h"
#undef REAL
#undef NAME

static mitral_status run_dft(struct kernel_call *call)
{
    struct dft d;
    TRY(decode_dft(call, &d));
    const mitral_tensor *x = call_input(call, 0);
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    struct work work = work_of(call);
    struct fourier fourier;
    fourier_plan(&fourier, &work, d.compute, d.length, call->threads);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t index = 0; index < d.outer * d.inner; index++) {
        const int thread = omp_get_thread_num();
        if (d.compute == COMPUTE_FLOAT)
            transform_line_float(&d, &fourier, thread, index, x, y);
        else
            transform_line_double(&d, &fourier, thread, index, x, y);
    }
    return MITRAL_OK;
}

/* ---- STFT: signal, step, window?, frame length?
 * ------------------------------------------------------------------------ */

struct stft {
    int64_t batch, size, parts, step, length, frames, bins;
};

static mitral_status decode_stft(struct kernel_call *call, struct stft *s)
{
    TRY(check_parts(call, 2));
    const mitral_tensor *x = call_input(call, 0), *window = call_input(call, 2);
    if (x->rank != 3)
        return call_fail(call, MITRAL_INVALID, "a signal [batch, length, 1 or 2] expected, found rank %d",
                         (int)x->rank);
    if (window && (window->rank != 1 || !dtype_is_float(window->dtype)))
        return call_fail(call, MITRAL_INVALID, "a window of rank 1 expected, found rank %d", (int)window->rank);
    if (!call_input(call, 1))
        return call_fail(call, MITRAL_INVALID, "a frame_step expected, found none");
    *s = (struct stft){.batch = x->dims[0], .size = x->dims[1], .parts = x->dims[2]};
    s->length = window ? window->dims[0] : s->size;
    TRY(scalar(call, 1, "frame_step", &s->step));
    TRY(scalar(call, 3, "frame_length", &s->length));
    if (s->step < 1 || s->length < 1 || s->length > s->size || s->length > LENGTH_LIMIT)
        return call_fail(call, MITRAL_INVALID,
                         "a frame_step from 1 and a frame_length from 1 to %lld expected, found %lld and %lld",
                         (long long)smaller(s->size, LENGTH_LIMIT), (long long)s->step, (long long)s->length);
    if (window && window->dims[0] != s->length)
        return call_fail(call, MITRAL_INVALID, "a window of the frame_length %lld expected, found %lld",
                         (long long)s->length, (long long)window->dims[0]);
    const bool onesided = attribute_int(call->attributes, "onesided", 1) != 0;
    if (onesided && s->parts == 2)
        return call_fail(call, MITRAL_INVALID, "a real signal for a one-sided transform expected, found a complex one");
    s->frames = (s->size - s->length) / s->step + 1;
    s->bins = onesided ? s->length / 2 + 1 : s->length;
    return MITRAL_OK;
}

static mitral_status shape_stft(struct kernel_call *call)
{
    struct stft s = {0};
    TRY(with_type(call, decode_stft(call, &s)));
    const int64_t dims[4] = {s.batch, s.frames, s.bins, 2};
    call_set_output(call, 0, call_input(call, 0)->dtype, 4, dims);
    return MITRAL_OK;
}

static mitral_status prepare_stft(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct stft s = {0};
    TRY(decode_stft(call, &s));
    struct work work = {0};
    struct fourier fourier;
    fourier_plan(&fourier, &work, COMPUTE_DOUBLE, s.length, call->threads);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_stft(struct kernel_call *call)
{
    struct stft s = {0};
    TRY(decode_stft(call, &s));
    const mitral_tensor *x = call_input(call, 0), *window = call_input(call, 2);
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    struct work work = work_of(call);
    struct fourier fourier;
    fourier_plan(&fourier, &work, COMPUTE_DOUBLE, s.length, call->threads);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t index = 0; index < s.batch * s.frames; index++) {
        const int thread = omp_get_thread_num();
        double *signal = fourier_signal(&fourier, thread);
        const int64_t start = index / s.frames * s.size + index % s.frames * s.step;
        for (int64_t i = 0; i < s.length; i++) {
            const double weight = window ? tensor_get_double(window, i) : 1;
            signal[2 * i] = weight * tensor_get_double(x, (start + i) * s.parts);
            signal[2 * i + 1] = s.parts == 2 ? weight * tensor_get_double(x, (start + i) * 2 + 1) : 0;
        }
        fourier_transform(&fourier, thread);
        for (int64_t i = 0; i < 2 * s.bins; i++)
            tensor_set_double(y, index * s.bins * 2 + i, signal[i], true);
    }
    return MITRAL_OK;
}

const struct kernel reference_signal[] = {
    {.name = "DFT", .shape = shape_dft, .prepare = prepare_dft, .run = run_dft},
    {.name = "STFT", .shape = shape_stft, .prepare = prepare_stft, .run = run_stft},
};
const size_t reference_signal_count = sizeof(reference_signal) / sizeof(*reference_signal);
