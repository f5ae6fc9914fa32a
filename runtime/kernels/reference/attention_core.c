#include <math.h>
#include <omp.h>
#include <string.h>

#include "runtime/kernels/reference/attention.h"

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/attention_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/attention_body.h"
#undef REAL
#undef NAME

void attention_pack(enum compute compute, void *to, const void *from, bool merged, int64_t batch, int64_t heads,
                    int64_t length, int64_t size, int64_t first, int64_t total, double factor, int32_t dtype)
{
    if (compute == COMPUTE_DOUBLE) {
        pack_double(to, from, merged, batch, heads, length, size, first, total, factor);
        return;
    }
    pack_float(to, from, merged, batch, heads, length, size, first, total, factor);
    for (int64_t i = 0; factor != 1 && i < batch * heads; i++)
        operand_round(dtype, (float *)to + (i * total + first) * size, length * size);
}

mitral_status attention_mask_strides(const struct kernel_call *call, const struct attention *a,
                                     const mitral_tensor *mask, bool may_be_short, struct attention_mask *out)
{
    const int64_t sizes[4] = {a->batch, a->heads, a->queries, a->keys};
    const char *expected = "a mask that broadcasts to [batch, heads, queries, keys] expected, found";
    char text[160];
    if (mask->rank > 4)
        return call_fail(call, MITRAL_INVALID, "%s %s", expected, tensor_describe(mask, text, sizeof(text)));
    int64_t scale = 1;
    out->mask_keys = a->keys;
    memset(out->strides, 0, sizeof(out->strides));
    for (int32_t i = 3; i >= 0; i--) {
        const int32_t at = i - (4 - mask->rank);
        if (at < 0)
            break;
        const int64_t size = mask->dims[at];
        const bool shorter = i == 3 && may_be_short && size < a->keys;
        if (size != sizes[i] && size != 1 && !shorter)
            return call_fail(call, MITRAL_INVALID, "%s %s for [%lld,%lld,%lld,%lld]", expected,
                             tensor_describe(mask, text, sizeof(text)), (long long)sizes[0], (long long)sizes[1],
                             (long long)sizes[2], (long long)sizes[3]);
        /* Where a mask may be short its only key is the first one, not every one. */
        if (shorter)
            out->mask_keys = size;
        out->strides[i] = size == 1 ? 0 : scale;
        scale *= size;
    }
    return MITRAL_OK;
}
