/* Conv, ConvTranspose. */
#include "runtime/kernels/reference/convolution.h"

#include <string.h>

#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/reference/shapes.h"

/* Attribute values and sizes up to these bounds cannot overflow the arithmetic of windows. */
#define WINDOW_LIMIT INT32_MAX
#define SIZE_LIMIT ((int64_t)1 << 40)

mitral_status window_attribute(const struct kernel_call *call, const char *name, int32_t count, int64_t minimum,
                               int64_t fallback, int64_t *out)
{
    size_t found;
    const int64_t *values = attribute_ints(call->attributes, name, &found);
    if (!values || found == 0) {
        for (int32_t i = 0; i < count; i++)
            out[i] = fallback;
        return MITRAL_OK;
    }
    if (found != (size_t)count)
        return call_fail(call, MITRAL_INVALID, "attribute %s: %d values expected, found %zu", name, (int)count, found);
    for (int32_t i = 0; i < count; i++) {
        if (values[i] < minimum || values[i] > WINDOW_LIMIT)
            return call_fail(call, MITRAL_INVALID, "attribute %s: values from %lld to %lld expected, found %lld", name,
                             (long long)minimum, (long long)WINDOW_LIMIT, (long long)values[i]);
        out[i] = values[i];
    }
    return MITRAL_OK;
}

mitral_status window_resolve(const struct kernel_call *call, const char *auto_pad, bool ceil_mode, int64_t input,
                             int64_t kernel, int64_t stride, int64_t dilation, int64_t *pad_begin, int64_t *pad_end,
                             int64_t *output)
{
    const int64_t extent = (kernel - 1) * dilation + 1;
    if (input < 0 || input > SIZE_LIMIT)
        return call_fail(call, MITRAL_LIMIT, "a spatial size of at most %lld expected, found %lld",
                         (long long)SIZE_LIMIT, (long long)input);
    if (strcmp(auto_pad, "SAME_UPPER") == 0 || strcmp(auto_pad, "SAME_LOWER") == 0) {
        *output = divide_up(input, stride);
        int64_t total = larger((*output - 1) * stride + extent - input, 0), small = total / 2;
        *pad_begin = strcmp(auto_pad, "SAME_UPPER") == 0 ? small : total - small;
        *pad_end = total - *pad_begin;
        return MITRAL_OK;
    }
    if (strcmp(auto_pad, "VALID") == 0)
        *pad_begin = *pad_end = 0;
    else if (strcmp(auto_pad, "NOTSET") != 0 && auto_pad[0])
        return call_fail(call, MITRAL_INVALID, "auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER expected, found %.40s",
                         auto_pad);
    const int64_t free = input + *pad_begin + *pad_end - extent;
    if (free < 0)
        return call_fail(call, MITRAL_INVALID,
                         "a window of at most the padded input's size expected, found %lld over %lld + %lld + %lld",
                         (long long)extent, (long long)*pad_begin, (long long)input, (long long)*pad_end);
    *output = (ceil_mode ? divide_up(free, stride) : free / stride) + 1;
    /* The last window has to start inside the input or the padding before it. */
    if (ceil_mode && (*output - 1) * stride >= input + *pad_begin)
        --*output;
    return MITRAL_OK;
}

/* What both directions have in common: ranks, sizes, attributes. */
static mitral_status decode_common(const struct kernel_call *call, const mitral_tensor *x, const mitral_tensor *w,
                                   struct convolution_parameters *p)
{
    char first[160], second[160];
    *p = (struct convolution_parameters){0};
    if (!x || !w)
        return call_fail(call, MITRAL_INVALID, "an input and weights expected, found %s",
                         x ? "no weights" : "no input");
    if (x->rank < 3 || w->rank != x->rank)
        return call_fail(call, MITRAL_INVALID, "input and weights of one rank from 3 expected, found %s and %s",
                         tensor_describe(x, first, sizeof(first)), tensor_describe(w, second, sizeof(second)));
    p->spatial = x->rank - 2;
    p->batch = x->dims[0];
    p->channels = x->dims[1];
    p->group = attribute_int(call->attributes, "group", 1);
    if (p->group < 1 || p->channels % p->group || w->dims[0] % p->group)
        return call_fail(call, MITRAL_INVALID,
                         "a group count that divides the channels expected, found %lld with input %s and weights %s",
                         (long long)p->group, tensor_describe(x, first, sizeof(first)),
                         tensor_describe(w, second, sizeof(second)));
    TRY(window_attribute(call, "kernel_shape", p->spatial, 1, 0, p->kernel));
    for (int32_t i = 0; i < p->spatial; i++) {
        p->input[i] = x->dims[2 + i];
        if (p->kernel[i] == 0)
            p->kernel[i] = w->dims[2 + i];
        if (p->kernel[i] != w->dims[2 + i] || p->kernel[i] < 1 || p->kernel[i] > WINDOW_LIMIT)
            return call_fail(
                call, MITRAL_INVALID,
                "kernel_shape[%d] equal to the weights' size, from 1, expected, found %lld with weights %s", (int)i,
                (long long)p->kernel[i], tensor_describe(w, first, sizeof(first)));
    }
    TRY(window_attribute(call, "strides", p->spatial, 1, 1, p->strides));
    return window_attribute(call, "dilations", p->spatial, 1, 1, p->dilations);
}

static mitral_status decode_pads(const struct kernel_call *call, struct convolution_parameters *p)
{
    int64_t pads[2 * MAX_SPATIAL];
    TRY(window_attribute(call, "pads", 2 * p->spatial, 0, 0, pads));
    memcpy(p->pads_begin, pads, (size_t)p->spatial * sizeof(*pads));
    memcpy(p->pads_end, pads + p->spatial, (size_t)p->spatial * sizeof(*pads));
    return MITRAL_OK;
}

mitral_status convolution_decode(const struct kernel_call *call, const mitral_tensor *x, const mitral_tensor *w,
                                 struct convolution_parameters *out)
{
    TRY(decode_common(call, x, w, out));
    out->features = w->dims[0];
    if (w->dims[1] != out->channels / out->group) {
        char text[160];
        return call_fail(call, MITRAL_INVALID,
                         "weights [M, %lld, …] for %lld channels in %lld groups expected, found %s",
                         (long long)(out->channels / out->group), (long long)out->channels, (long long)out->group,
                         tensor_describe(w, text, sizeof(text)));
    }
    TRY(decode_pads(call, out));
    const char *auto_pad = attribute_string(call->attributes, "auto_pad", "NOTSET");
    for (int32_t i = 0; i < out->spatial; i++)
        TRY(window_resolve(call, auto_pad, false, out->input[i], out->kernel[i], out->strides[i], out->dilations[i],
                           &out->pads_begin[i], &out->pads_end[i], &out->output[i]));
    return MITRAL_OK;
}

mitral_status convolution_transpose_decode(const struct kernel_call *call, const mitral_tensor *x,
                                           const mitral_tensor *w, struct convolution_parameters *out)
{
    struct convolution_parameters *p = out;
    TRY(decode_common(call, x, w, p));
    if (w->dims[0] != p->channels) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "weights [%lld, M / group, …] expected, found %s",
                         (long long)p->channels, tensor_describe(w, text, sizeof(text)));
    }
    if (!multiply_sizes(w->dims[1], p->group, &p->features))
        return call_fail(call, MITRAL_LIMIT,
                         "a number of output channels that can be addressed expected, it overflows");
    TRY(decode_pads(call, p));
    TRY(window_attribute(call, "output_padding", p->spatial, 0, 0, p->output_padding));
    const char *auto_pad = attribute_string(call->attributes, "auto_pad", "NOTSET");
    const bool upper = strcmp(auto_pad, "SAME_UPPER") == 0, lower = strcmp(auto_pad, "SAME_LOWER") == 0;
    if (strcmp(auto_pad, "VALID") == 0) {
        memset(p->pads_begin, 0, sizeof(p->pads_begin));
        memset(p->pads_end, 0, sizeof(p->pads_end));
    } else if (!upper && !lower && strcmp(auto_pad, "NOTSET") != 0 && auto_pad[0]) {
        return call_fail(call, MITRAL_INVALID, "auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER expected, found %.40s",
                         auto_pad);
    }
    /* output_shape holds the spatial sizes; some exporters put batch and channels in front. */
    size_t count;
    const int64_t *shape = attribute_ints(call->attributes, "output_shape", &count);
    if (shape && count == (size_t)p->spatial + 2)
        shape += 2;
    else if (shape && count && count != (size_t)p->spatial)
        return call_fail(call, MITRAL_INVALID, "attribute output_shape: %d values expected, found %zu", (int)p->spatial,
                         count);
    for (int32_t i = 0; i < p->spatial; i++) {
        const int64_t extent = (p->kernel[i] - 1) * p->dilations[i] + 1;
        int64_t full;
        if (p->input[i] < 0 || p->input[i] > SIZE_LIMIT || __builtin_mul_overflow(p->input[i] - 1, p->strides[i], &full)
            || __builtin_add_overflow(full, extent + p->output_padding[i], &full))
            return call_fail(call, MITRAL_LIMIT, "an output size that can be addressed expected, it overflows");
        if (p->input[i] == 0)
            full = 0;
        if ((shape && count) || upper || lower) {
            p->output[i] = shape && count ? shape[i] : p->input[i] * p->strides[i];
            if (p->output[i] < 0 || p->output[i] > SIZE_LIMIT)
                return call_fail(call, MITRAL_INVALID,
                                 "attribute output_shape: values from 0 to %lld expected, found %lld",
                                 (long long)SIZE_LIMIT, (long long)p->output[i]);
            int64_t total = larger(full - p->output[i], 0);
            p->pads_begin[i] = upper ? total / 2 : total - total / 2;
            p->pads_end[i] = total - p->pads_begin[i];
        } else {
            p->output[i] = full - p->pads_begin[i] - p->pads_end[i];
            if (p->output[i] < 0)
                return call_fail(call, MITRAL_INVALID,
                                 "pads of at most the unpadded size %lld expected, found %lld + %lld", (long long)full,
                                 (long long)p->pads_begin[i], (long long)p->pads_end[i]);
        }
    }
    return MITRAL_OK;
}

mitral_status call_convolution_parameters(const struct kernel_call *call, struct convolution_parameters *out)
{
    return convolution_decode(call, call_input(call, 0), call_input(call, 1), out);
}

mitral_status call_convolution_transpose_parameters(const struct kernel_call *call, struct convolution_parameters *out)
{
    return convolution_transpose_decode(call, call_input(call, 0), call_input(call, 1), out);
}

void convolution_output_dims(const struct convolution_parameters *parameters, int64_t dims[MITRAL_MAX_RANK])
{
    dims[0] = parameters->batch;
    dims[1] = parameters->features;
    memcpy(dims + 2, parameters->output, (size_t)parameters->spatial * sizeof(*dims));
}

double convolution_flops(const struct convolution_parameters *parameters, bool transposed)
{
    double count = 2.0 * (double)parameters->batch * (double)parameters->features
                   * ((double)parameters->channels / (double)parameters->group);
    for (int32_t i = 0; i < parameters->spatial; i++)
        count *= (double)parameters->kernel[i] * (double)(transposed ? parameters->input[i] : parameters->output[i]);
    return count;
}

/* ---- Conv and ConvTranspose ----------------------------------------------------------------------------------------
 */

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/convolution_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/convolution_body.h"
#undef REAL
#undef NAME

static mitral_status check_bias(const struct kernel_call *call, size_t index, int64_t features)
{
    const mitral_tensor *bias = call_input(call, index);
    if (bias && (bias->rank != 1 || bias->dims[0] != features)) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "a bias [%lld] expected, found %s", (long long)features,
                         tensor_describe(bias, text, sizeof(text)));
    }
    return MITRAL_OK;
}

static mitral_status shape_any(struct kernel_call *call, bool transposed)
{
    struct convolution_parameters p;
    TRY(transposed ? call_convolution_transpose_parameters(call, &p) : call_convolution_parameters(call, &p));
    TRY(check_bias(call, 2, p.features));
    const mitral_tensor *x = call_input(call, 0), *w = call_input(call, 1);
    const bool rounded_input = attribute_int(call->attributes, "input_bfloat16", 0) != 0;
    const bool rounded_output = attribute_int(call->attributes, "output_bfloat16", 0) != 0;
    if (x->dtype != (rounded_input ? MITRAL_BFLOAT16 : w->dtype) || ((rounded_input || rounded_output) && w->dtype != MITRAL_FLOAT))
        return call_fail(call, MITRAL_INVALID, "input and weights of one type expected, found %s and %s",
                         mitral_dtype_name((mitral_dtype)x->dtype), mitral_dtype_name((mitral_dtype)w->dtype));
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    int64_t dims[MITRAL_MAX_RANK];
    convolution_output_dims(&p, dims);
    call_set_output(call, 0, rounded_output ? MITRAL_BFLOAT16 : w->dtype, x->rank, dims);
    return MITRAL_OK;
}

mitral_status shape_convolution(struct kernel_call *call)
{
    TRY(shape_any(call, false));
    const mitral_tensor *sum = call_input(call, 3), *y = call_output(call, 0);
    if (sum && y && !tensor_same_shape(sum, y)) {
        char text[160], output[160];
        return call_fail(call, MITRAL_INVALID, "an addend shaped like the output %s expected, found %s",
                         tensor_describe(y, output, sizeof(output)), tensor_describe(sum, text, sizeof(text)));
    }
    return MITRAL_OK;
}

mitral_status shape_convolution_transpose(struct kernel_call *call)
{
    return shape_any(call, true);
}

struct operands {
    const void *x, *w, *bias;
    void *y;
};

static void place(const struct kernel_call *call, struct work *work, enum compute compute, struct operands *out)
{
    out->x = work_operand(work, compute, call_input(call, 0));
    out->w = work_operand(work, compute, call_input(call, 1));
    out->bias = work_operand(work, compute, call_input(call, 2));
    out->y = work_result(work, compute, call_output(call, 0));
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    struct operands operands;
    place(call, &work, compute_of(call_input(call, 0)->dtype), &operands);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_any(struct kernel_call *call, bool transposed)
{
    struct convolution_parameters p;
    TRY(transposed ? call_convolution_transpose_parameters(call, &p) : call_convolution_parameters(call, &p));
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    struct operands o;
    place(call, &work, compute, &o);
    if (!o.y)
        return MITRAL_OK; /* nobody asked, or nothing to compute */
    if (compute == COMPUTE_FLOAT)
        (transposed ? convolution_transpose_float : convolution_float)(&p, call->threads, o.x, o.w, o.bias, o.y);
    else
        (transposed ? convolution_transpose_double : convolution_double)(&p, call->threads, o.x, o.w, o.bias, o.y);
    work_store(compute, call_output(call, 0), o.y);
    return MITRAL_OK;
}

static mitral_status run_convolution(struct kernel_call *call)
{
    return run_any(call, false);
}

static mitral_status run_convolution_transpose(struct kernel_call *call)
{
    return run_any(call, true);
}

static double flops_convolution(const struct kernel_call *call)
{
    struct convolution_parameters p;
    return call_convolution_parameters(call, &p) == MITRAL_OK ? convolution_flops(&p, false) : 0;
}

static double flops_convolution_transpose(const struct kernel_call *call)
{
    struct convolution_parameters p;
    return call_convolution_transpose_parameters(call, &p) == MITRAL_OK ? convolution_flops(&p, true) : 0;
}

const struct kernel reference_convolution[] = {
    {.name = "Conv",
     .shape = shape_convolution,
     .prepare = prepare,
     .run = run_convolution,
     .flops = flops_convolution},
    {.name = "ConvTranspose",
     .shape = shape_convolution_transpose,
     .prepare = prepare,
     .run = run_convolution_transpose,
     .flops = flops_convolution_transpose},
};
const size_t reference_convolution_count = sizeof(reference_convolution) / sizeof(*reference_convolution);
