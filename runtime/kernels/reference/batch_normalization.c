/* BatchNormalization, every version: X, scale, bias, mean, variance. Statistics are taken in training mode, which an
 * attribute asks for, and in versions 7 and 9 asking for more outputs than Y. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/reference/shapes.h"

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/batch_normalization_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/batch_normalization_body.h"
#undef REAL
#undef NAME

struct sizes {
    int64_t batch, channels, inner;
    bool training;
};

static struct sizes sizes_of(const struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    /* A single dimension is the batch, with one channel. Version 7 may keep statistics for every position (spatial =
     * 0). */
    const bool by_position = call->opset < 9 && attribute_int(call->attributes, "spatial", 1) == 0;
    struct sizes s = {x->dims[0], x->rank > 1 ? x->dims[1] : 1, 1, false};
    for (int32_t i = 2; i < x->rank; i++)
        *(by_position ? &s.channels : &s.inner) *= x->dims[i];
    if (call->opset < 7)
        s.training = attribute_int(call->attributes, "is_test", 0) == 0;
    else if (call->opset < 14)
        s.training = call->output_count > 1;
    else
        s.training = attribute_int(call->attributes, "training_mode", 0) != 0;
    return s;
}

mitral_status shape_batch_normalization(struct kernel_call *call)
{
    static const char *const names[] = {"", "a scale", "a bias", "a mean", "a variance"};
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    const mitral_tensor *x = call_input(call, 0);
    if (x->rank < 1)
        return call_fail(call, MITRAL_INVALID, "an input [N, C, …] expected, found a scalar");
    const struct sizes s = sizes_of(call);
    for (size_t i = 1; i < 5; i++) {
        const mitral_tensor *tensor = call_input(call, i);
        if (!tensor || tensor_count(tensor) != s.channels || !dtype_is_float(tensor->dtype)) {
            char text[160];
            return call_fail(call, MITRAL_INVALID, "%s of %lld elements expected, found %s", names[i],
                             (long long)s.channels, tensor ? tensor_describe(tensor, text, sizeof(text)) : "none");
        }
    }
    call_set_output(call, 0, x->dtype, x->rank, x->dims);
    /* mean, variance and, before version 14, saved mean and saved variance */
    for (size_t i = 1; i < call->output_count; i++) {
        const mitral_tensor *like = call_input(call, i % 2 ? 3 : 4);
        call_set_output(call, i, like->dtype, like->rank, like->dims);
    }
    return MITRAL_OK;
}

struct operands {
    const void *x, *scale, *bias;
    void *y;
    double *means, *variances;
};

static void place(const struct kernel_call *call, struct work *work, enum compute compute, struct operands *out)
{
    const int64_t channels = sizes_of(call).channels;
    out->x = work_operand(work, compute, call_input(call, 0));
    out->scale = work_operand(work, compute, call_input(call, 1));
    out->bias = work_operand(work, compute, call_input(call, 2));
    out->y = work_result(work, compute, call_output(call, 0));
    out->means = work_take(work, channels, sizeof(double));
    out->variances = work_take(work, channels, sizeof(double));
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    struct operands operands;
    place(call, &work, compute_of(call_input(call, 0)->dtype), &operands);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run(struct kernel_call *call)
{
    const struct sizes s = sizes_of(call);
    const mitral_tensor *mean = call_input(call, 3), *variance = call_input(call, 4);
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    struct operands o;
    place(call, &work, compute, &o);
    if (s.training && compute == COMPUTE_FLOAT)
        channel_moments_float(s.batch, s.channels, s.inner, call->threads, o.x, o.means, o.variances);
    else if (s.training)
        channel_moments_double(s.batch, s.channels, s.inner, call->threads, o.x, o.means, o.variances);
    const double momentum = (double)attribute_float(call->attributes, "momentum", 0.9f);
    for (int64_t c = 0; c < s.channels; c++) {
        if (!s.training) {
            o.means[c] = tensor_get_double(mean, c);
            o.variances[c] = tensor_get_double(variance, c);
        }
        for (size_t i = 1; i < call->output_count; i++) {
            mitral_tensor *output = call_output(call, i);
            if (!output)
                continue;
            double value = i % 2 ? o.means[c] : o.variances[c];
            if (i <= 2 && s.training)
                value = tensor_get_double(i == 1 ? mean : variance, c) * momentum + value * (1 - momentum);
            tensor_set_double(output, c, value, true);
        }
    }
    if (!o.y)
        return MITRAL_OK;
    const double epsilon = (double)attribute_float(call->attributes, "epsilon", 1e-5f);
    if (compute == COMPUTE_FLOAT)
        normalize_channels_float(s.batch, s.channels, s.inner, call->threads, o.x, o.means, o.variances, epsilon,
                                 o.scale, o.bias, o.y);
    else
        normalize_channels_double(s.batch, s.channels, s.inner, call->threads, o.x, o.means, o.variances, epsilon,
                                  o.scale, o.bias, o.y);
    work_store(compute, call_output(call, 0), o.y);
    return MITRAL_OK;
}

const struct kernel reference_batch_normalization[] = {
    {.name = "BatchNormalization",
     .flags = KERNEL_IN_PLACE,
     .shape = shape_batch_normalization,
     .prepare = prepare,
     .run = run},
};
const size_t reference_batch_normalization_count =
    sizeof(reference_batch_normalization) / sizeof(*reference_batch_normalization);
