/* MaxUnpool: X, indices, output shape?. Indices count in the tensor that had been pooled, whose sizes follow from the
 * attributes; an output shape that is given may be larger, and the coordinates stay the same. */
#include <string.h>

#include "runtime/kernels/reference/convolution.h"
#include "runtime/kernels/reference/operand.h"

/* The sizes of the tensor that had been pooled. */
static mitral_status pooled_shape(const struct kernel_call *call, const mitral_tensor *x, int64_t dims[MITRAL_MAX_RANK])
{
    const int32_t spatial = x->rank - 2;
    int64_t kernel[MAX_SPATIAL], strides[MAX_SPATIAL], pads[2 * MAX_SPATIAL], total = 1;
    TRY(window_attribute(call, "kernel_shape", spatial, 1, 1, kernel));
    TRY(window_attribute(call, "strides", spatial, 1, 1, strides));
    TRY(window_attribute(call, "pads", 2 * spatial, 0, 0, pads));
    dims[0] = x->dims[0];
    dims[1] = x->dims[1];
    for (int32_t i = 0; i < x->rank; i++) {
        const int32_t s = i - 2;
        if (s >= 0
            && (!multiply_sizes(x->dims[i] - 1, strides[s], &dims[i])
                || __builtin_add_overflow(dims[i], kernel[s] - pads[s] - pads[spatial + s], &dims[i]) || dims[i] < 0))
            return call_fail(call, MITRAL_INVALID, "pads of at most the unpooled size expected, found %lld + %lld",
                             (long long)pads[s], (long long)pads[spatial + s]);
        if (!multiply_sizes(total, dims[i], &total))
            return call_fail(call, MITRAL_LIMIT, "an unpooled size that can be addressed expected, it overflows");
    }
    return MITRAL_OK;
}

static mitral_status shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0), *indices = call_input(call, 1);
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    char first[160], second[160];
    if (x->rank < 3 || !indices || indices->dtype != MITRAL_INT64 || !tensor_same_shape(x, indices))
        return call_fail(call, MITRAL_INVALID,
                         "an input [N, C, spatial…] and int64 indices of its shape expected, found %s and %s",
                         tensor_describe(x, first, sizeof(first)),
                         indices ? tensor_describe(indices, second, sizeof(second)) : "none");
    int64_t dims[MITRAL_MAX_RANK];
    TRY(pooled_shape(call, x, dims));
    if (call_input(call, 2)) {
        const int64_t *wanted;
        size_t count;
        mitral_status status = call_int_values(call, 2, &wanted, &count);
        if (status == MITRAL_DEFERRED && call_output(call, 0))
            call_output(call, 0)->dtype = x->dtype;
        TRY(status);
        if (count != (size_t)x->rank)
            return call_fail(call, MITRAL_INVALID, "an output shape of %d sizes expected, found %zu", (int)x->rank,
                             count);
        for (int32_t i = 0; i < x->rank; i++) {
            if (wanted[i] < dims[i] || (i < 2 && wanted[i] != dims[i]))
                return call_fail(call, MITRAL_INVALID, "an output shape %s %lld in dimension %d expected, found %lld",
                                 i < 2 ? "of" : "of at least", (long long)dims[i], (int)i, (long long)wanted[i]);
            dims[i] = wanted[i];
        }
    }
    call_set_output(call, 0, x->dtype, x->rank, dims);
    return MITRAL_OK;
}

static mitral_status run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    int64_t dims[MITRAL_MAX_RANK], total = 1;
    TRY(pooled_shape(call, x, dims));
    for (int32_t i = 0; i < x->rank; i++)
        total *= dims[i];
    const int64_t *indices = call_input(call, 1)->data;
    const size_t size = mitral_dtype_size((mitral_dtype)x->dtype);
    memset(y->data, 0, tensor_bytes(y));
    for (int64_t i = 0; i < tensor_count(x); i++) {
        if (indices[i] < 0 || indices[i] >= total)
            return call_fail(call, MITRAL_INVALID, "indices from 0 to %lld expected, found %lld", (long long)total - 1,
                             (long long)indices[i]);
        int64_t rest = indices[i], at = 0, scale = 1;
        for (int32_t d = x->rank - 1; d >= 0; d--) {
            at += rest % dims[d] * scale;
            rest /= dims[d];
            scale *= y->dims[d];
        }
        memcpy((char *)y->data + (size_t)at * size, (const char *)x->data + (size_t)i * size, size);
    }
    return MITRAL_OK;
}

const struct kernel reference_unpool[] = {
    {.name = "MaxUnpool", .shape = shape, .run = run},
};
const size_t reference_unpool_count = sizeof(reference_unpool) / sizeof(*reference_unpool);
