/* MaxPool, AveragePool, LpPool and their global forms. */
#include "runtime/kernels/reference/pooling.h"

#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/reference/pooling_windows.h"
#include "runtime/kernels/reference/shapes.h"

mitral_status pool_decode(const struct kernel_call *call, const mitral_tensor *x, struct pool_parameters *out)
{
    struct pool_parameters *p = out;
    *p = (struct pool_parameters){0};
    if (!x || x->rank < 3) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "an input [N, C, spatial…] expected, found %s",
                         x ? tensor_describe(x, text, sizeof(text)) : "none");
    }
    p->spatial = x->rank - 2;
    p->batch = x->dims[0];
    p->channels = x->dims[1];
    TRY(window_attribute(call, "kernel_shape", p->spatial, 1, 0, p->kernel));
    if (p->kernel[0] == 0)
        return call_fail(call, MITRAL_INVALID, "attribute kernel_shape expected, found none");
    TRY(window_attribute(call, "strides", p->spatial, 1, 1, p->strides));
    TRY(window_attribute(call, "dilations", p->spatial, 1, 1, p->dilations));
    int64_t pads[2 * MAX_SPATIAL];
    TRY(window_attribute(call, "pads", 2 * p->spatial, 0, 0, pads));
    p->ceil_mode = attribute_int(call->attributes, "ceil_mode", 0) != 0;
    p->count_include_pad = attribute_int(call->attributes, "count_include_pad", 0) != 0;
    p->column_major = attribute_int(call->attributes, "storage_order", 0) != 0;
    p->p = attribute_int(call->attributes, "p", 2);
    if (p->p < 1)
        return call_fail(call, MITRAL_INVALID, "attribute p from 1 expected, found %lld", (long long)p->p);
    const char *auto_pad = attribute_string(call->attributes, "auto_pad", "NOTSET");
    int64_t window = 1;
    for (int32_t i = 0; i < p->spatial; i++) {
        p->input[i] = x->dims[2 + i];
        p->pads_begin[i] = pads[i];
        p->pads_end[i] = pads[p->spatial + i];
        TRY(window_resolve(call, auto_pad, p->ceil_mode, p->input[i], p->kernel[i], p->strides[i], p->dilations[i],
                           &p->pads_begin[i], &p->pads_end[i], &p->output[i]));
        if (!multiply_sizes(window, p->kernel[i], &window))
            return call_fail(call, MITRAL_LIMIT, "a window that can be addressed expected, its size overflows");
    }
    return MITRAL_OK;
}

mitral_status call_pool_parameters(const struct kernel_call *call, struct pool_parameters *out)
{
    return pool_decode(call, call_input(call, 0), out);
}

void pool_output_dims(const struct pool_parameters *parameters, int64_t dims[MITRAL_MAX_RANK])
{
    dims[0] = parameters->batch;
    dims[1] = parameters->channels;
    memcpy(dims + 2, parameters->output, (size_t)parameters->spatial * sizeof(*dims));
}

/* ---- what the loops need -------------------------------------------------------------------------------------------
 */

/* A window is walked only where it lies inside the input, so that a window of any size costs no more than the input
 * has. */
struct pool_sizes {
    int64_t planes, rows, width;     /* channels of all images; rows and their length in an output plane */
    int64_t input;                   /* elements of an input plane */
    int64_t first_place,
        last_place; /* of the window's last dimension: those that touch the input from any output column */
};

static struct pool_sizes pool_sizes(const struct pool_parameters *p)
{
    const int32_t last = p->spatial - 1;
    struct pool_sizes s = {.planes = p->batch * p->channels, .rows = 1, .width = p->output[last], .input = 1};
    for (int32_t i = 0; i < p->spatial; i++) {
        s.input *= p->input[i];
        s.rows *= i < last ? p->output[i] : 1;
    }
    const int64_t reach = (s.width - 1) * p->strides[last] - p->pads_begin[last], dilation = p->dilations[last];
    s.first_place = reach < 0 ? divide_up(-reach, dilation) : 0;
    s.last_place = smaller(divide_down(p->input[last] - 1 + p->pads_begin[last], dilation) + 1, p->kernel[last]);
    return s;
}

/* Output columns [begin, end) whose window place k of the last dimension lies inside; `first` is the input column of
 * begin. */
struct window_range {
    int64_t begin, end, first;
};

static struct window_range window_range(const struct pool_parameters *p, int64_t k)
{
    const int32_t last = p->spatial - 1;
    const int64_t stride = p->strides[last], offset = k * p->dilations[last] - p->pads_begin[last];
    struct window_range range = {.begin = offset < 0 ? divide_up(-offset, stride) : 0};
    range.end = smaller(divide_down(p->input[last] - 1 - offset, stride) + 1, p->output[last]);
    range.first = range.begin * stride + offset;
    return range;
}

/* How many places of the window at that output coordinate count: inside the input, or the padded input. */
static int64_t window_count(const struct pool_parameters *p, int32_t dimension, int64_t output)
{
    if (!p->count_include_pad)
        return window_span(p, dimension, output).count;
    /* A window starts inside the padded input; with ceil_mode it may end beyond. */
    const int64_t start = output * p->strides[dimension],
                  size = p->input[dimension] + p->pads_begin[dimension] + p->pads_end[dimension];
    return smaller(divide_down(size - 1 - start, p->dilations[dimension]) + 1, p->kernel[dimension]);
}

static double absolute_power(double value, int64_t power)
{
    value = fabs(value);
    return power == 1 ? value : power == 2 ? value * value : pow(value, (double)power);
}

#define REAL float
#define LOWEST (-INFINITY)
#define IS_NAN(x) ((x) != (x))
#define NAME(x) x##_float
#include "runtime/kernels/reference/pooling_body.h"
#include "runtime/kernels/reference/pooling_mean_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/pooling_body.h"
#include "runtime/kernels/reference/pooling_mean_body.h"
#undef REAL
#undef LOWEST
#undef IS_NAN
#undef NAME
#define IS_NAN(x) false
#define REAL int8_t
#define LOWEST INT8_MIN
#define NAME(x) x##_int8
#include "runtime/kernels/reference/pooling_body.h"
#undef REAL
#undef LOWEST
#undef NAME
#define REAL uint8_t
#define LOWEST 0
#define NAME(x) x##_uint8
#include "runtime/kernels/reference/pooling_body.h"
#undef REAL
#undef LOWEST
#undef NAME
#undef IS_NAN

/* ---- MaxPool, AveragePool, LpPool ----------------------------------------------------------------------------------
 */

static mitral_status shape_windows(struct kernel_call *call, bool bytes)
{
    struct pool_parameters p;
    TRY(call_pool_parameters(call, &p));
    const mitral_tensor *x = call_input(call, 0);
    enum compute compute;
    if (!bytes || (x->dtype != MITRAL_INT8 && x->dtype != MITRAL_UINT8))
        TRY(check_float_operand(call, 0, &compute));
    int64_t dims[MITRAL_MAX_RANK];
    pool_output_dims(&p, dims);
    call_set_output(call, 0, x->dtype, x->rank, dims);
    if (bytes)
        call_set_output(call, 1, MITRAL_INT64, x->rank, dims);
    return MITRAL_OK;
}

mitral_status shape_max_pool(struct kernel_call *call)
{
    return shape_windows(call, true);
}

mitral_status shape_pool(struct kernel_call *call)
{
    return shape_windows(call, false);
}

static void place(const struct kernel_call *call, struct work *work, enum compute compute, const void **x, void **y)
{
    const mitral_tensor *input = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    *x = dtype_is_byte(input->dtype) ? input->data : work_operand(work, compute, input);
    *y = !output ? NULL : dtype_is_byte(input->dtype) ? output->data : work_result(work, compute, output);
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    const void *x;
    void *y;
    place(call, &work, compute_of(call_input(call, 0)->dtype), &x, &y);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_max_pool(struct kernel_call *call)
{
    struct pool_parameters p;
    TRY(call_pool_parameters(call, &p));
    const int32_t dtype = call_input(call, 0)->dtype;
    enum compute compute = compute_of(dtype);
    struct work work = work_of(call);
    const void *x;
    void *y;
    place(call, &work, compute, &x, &y);
    mitral_tensor *output = call_output(call, 0), *places = call_output(call, 1);
    if (places && places->data) {
        if (dtype == MITRAL_INT8)
            max_pool_indices_int8(&p, call->threads, x, y, places->data);
        else if (dtype == MITRAL_UINT8)
            max_pool_indices_uint8(&p, call->threads, x, y, places->data);
        else if (compute == COMPUTE_FLOAT)
            max_pool_indices_float(&p, call->threads, x, y, places->data);
        else
            max_pool_indices_double(&p, call->threads, x, y, places->data);
    } else if (y) {
        if (dtype == MITRAL_INT8)
            max_pool_int8(&p, call->threads, x, y);
        else if (dtype == MITRAL_UINT8)
            max_pool_uint8(&p, call->threads, x, y);
        else if (compute == COMPUTE_FLOAT)
            max_pool_float(&p, call->threads, x, y);
        else
            max_pool_double(&p, call->threads, x, y);
    }
    if (y && !dtype_is_byte(dtype))
        work_store(compute, output, y);
    return MITRAL_OK;
}

static mitral_status run_mean_pool(struct kernel_call *call, bool average)
{
    struct pool_parameters p;
    TRY(call_pool_parameters(call, &p));
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    const void *x;
    void *y;
    place(call, &work, compute, &x, &y);
    if (!y)
        return MITRAL_OK;
    if (compute == COMPUTE_FLOAT)
        (average ? average_pool_float : lp_pool_float)(&p, call->threads, x, y);
    else
        (average ? average_pool_double : lp_pool_double)(&p, call->threads, x, y);
    work_store(compute, call_output(call, 0), y);
    return MITRAL_OK;
}

static mitral_status run_average_pool(struct kernel_call *call)
{
    return run_mean_pool(call, true);
}

static mitral_status run_lp_pool(struct kernel_call *call)
{
    return run_mean_pool(call, false);
}

/* ---- global pools --------------------------------------------------------------------------------------------------
 */

mitral_status shape_global_pool(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    if (x->rank < 2) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "an input [N, C, spatial…] expected, found %s",
                         tensor_describe(x, text, sizeof(text)));
    }
    if (attribute_int(call->attributes, "p", 2) < 1)
        return call_fail(call, MITRAL_INVALID, "attribute p from 1 expected, found %lld",
                         (long long)attribute_int(call->attributes, "p", 2));
    int64_t dims[MITRAL_MAX_RANK] = {x->dims[0], x->dims[1]};
    for (int32_t i = 2; i < x->rank; i++)
        dims[i] = 1;
    call_set_output(call, 0, x->dtype, x->rank, dims);
    return MITRAL_OK;
}

static mitral_status run_global_pool(struct kernel_call *call, char kind)
{
    const mitral_tensor *input = call_input(call, 0);
    enum compute compute = compute_of(input->dtype);
    struct work work = work_of(call);
    const void *x;
    void *y;
    place(call, &work, compute, &x, &y);
    int64_t planes = input->dims[0] * input->dims[1], size = 1, power = attribute_int(call->attributes, "p", 2);
    for (int32_t i = 2; i < input->rank; i++)
        size *= input->dims[i];
    if (!y)
        return MITRAL_OK;
    if (compute == COMPUTE_FLOAT)
        global_pool_float(kind, power, planes, size, call->threads, x, y);
    else
        global_pool_double(kind, power, planes, size, call->threads, x, y);
    work_store(compute, call_output(call, 0), y);
    return MITRAL_OK;
}

static mitral_status run_global_average(struct kernel_call *call)
{
    return run_global_pool(call, 'A');
}

static mitral_status run_global_maximum(struct kernel_call *call)
{
    return run_global_pool(call, 'M');
}

static mitral_status run_global_lp(struct kernel_call *call)
{
    return run_global_pool(call, 'L');
}

const struct kernel reference_pooling[] = {
    {.name = "AveragePool", .shape = shape_pool, .prepare = prepare, .run = run_average_pool},
    {.name = "GlobalAveragePool", .shape = shape_global_pool, .prepare = prepare, .run = run_global_average},
    {.name = "GlobalLpPool", .shape = shape_global_pool, .prepare = prepare, .run = run_global_lp},
    {.name = "GlobalMaxPool", .shape = shape_global_pool, .prepare = prepare, .run = run_global_maximum},
    {.name = "LpPool", .shape = shape_pool, .prepare = prepare, .run = run_lp_pool},
    {.name = "MaxPool", .shape = shape_max_pool, .prepare = prepare, .run = run_max_pool},
};
const size_t reference_pooling_count = sizeof(reference_pooling) / sizeof(*reference_pooling);
