/* A total order of elements as unsigned keys, for TopK, Unique and NonMaxSuppression. */
#ifndef MITRAL_REFERENCE_ORDER_H
#define MITRAL_REFERENCE_ORDER_H

#include <string.h>

#include "runtime/tensor.h"

/* Monotone in the value; -0 equals 0, NaN is above everything. */
static inline uint64_t order_key_double(double value)
{
    if (value != value)
        return UINT64_MAX;
    uint64_t bits;
    value += 0.0; /* -0 + 0 is 0 */
    memcpy(&bits, &value, sizeof(bits));
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

static inline uint64_t order_key(const mitral_tensor *tensor, int64_t index)
{
    if (tensor->dtype == MITRAL_FLOAT)
        return order_key_double((double)((const float *)tensor->data)[index]);
    if (dtype_is_float(tensor->dtype))
        return order_key_double(tensor_get_double(tensor, index));
    if (tensor->dtype == MITRAL_UINT64)
        return ((const uint64_t *)tensor->data)[index];
    return (uint64_t)tensor_get_int(tensor, index) ^ (uint64_t)1 << 63;
}

#endif
