/* Products of 8-bit integers, as 16-bit differences from their zero points. */
#ifndef MITRAL_RUNTIME_KERNELS_REFERENCE_INTEGER_H
#define MITRAL_RUNTIME_KERNELS_REFERENCE_INTEGER_H

#include "runtime/kernel.h"

/* Sum of a[i] * b[i], modulo 2^32. Differences of bytes are at most 255: 2^14 products stay within 31 bits. */
static inline int32_t integer_dot(const int16_t *a, const int16_t *b, int64_t count)
{
    uint32_t total = 0;
    for (int64_t start = 0; start < count; start += 1 << 14) {
        int64_t end = count - start < 1 << 14 ? count : start + (1 << 14);
        int32_t sum = 0;
        for (int64_t i = start; i < end; i++)
            sum += (int32_t)a[i] * b[i];
        total += (uint32_t)sum;
    }
    return (int32_t)total;
}

/* saturate(round(value) + zero) in an 8-bit type. */
static inline int32_t requantize(double value, int32_t zero, bool is_signed)
{
    double low = is_signed ? -128 : 0, high = is_signed ? 127 : 255, result = __builtin_rint(value) + zero;
    return (int32_t)(result > low ? (result < high ? result : high) : low);
}

/* Sizes in bytes, added without overflow; false when they do not fit. */
static inline bool add_bytes(size_t *total, int64_t count, int64_t each, int64_t size)
{
    int64_t bytes;
    return count >= 0 && !__builtin_mul_overflow(count, each, &bytes) && !__builtin_mul_overflow(bytes, size, &bytes)
           && !__builtin_add_overflow(*total, (size_t)bytes + 64, total);
}

#endif
