#include "runtime/kernels/reference/affine.h"

#include "mitral.h"
#include "runtime/kernels/reference/vector_math.h"

#define TO_FLOATS(type)                                                                                                \
    VECTORISED static void type##_floats(const type *restrict from, float scale, float zero, float *restrict to, size_t count) \
    {                                                                                                                  \
        for (size_t i = 0; i < count; i++)                                                                             \
            to[i] = ((float)from[i] - zero) * scale;                                                                   \
    }                                                                                                                  \
    static void type##_spread(const type *from, ptrdiff_t stride, float scale, float zero, float *to, size_t count)   \
    {                                                                                                                  \
        for (size_t i = 0; i < count; i++)                                                                             \
            to[i] = ((float)from[(ptrdiff_t)i * stride] - zero) * scale;                                               \
    }

/* Bounds are whole, so that it is the same to keep within them before rounding: then adding 1.5 · 2^23 leaves the rounded number, halves to
 * even, in the lowest bits. NaN takes the lower bound. */
#define TO_BYTES(type)                                                                                                 \
    VECTORISED static void type##_bytes(const float *restrict from, float scale, float least, float most, int32_t zero, \
                                        type *restrict to, size_t count)                                               \
    {                                                                                                                  \
        const float shift = 12582912.0f;                                                                               \
        const int32_t offset = zero - (int32_t)bits_of_float(shift);                                                   \
        for (size_t i = 0; i < count; i++) {                                                                           \
            float v = from[i] / scale;                                                                                 \
            v = v > least ? v : least;                                                                                 \
            v = v < most ? v : most;                                                                                   \
            to[i] = (type)((int32_t)bits_of_float(v + shift) + offset);                                                \
        }                                                                                                              \
    }

TO_FLOATS(uint8_t)
TO_FLOATS(int8_t)
TO_BYTES(uint8_t)
TO_BYTES(int8_t)

void bytes_to_floats(int32_t dtype, const void *from, ptrdiff_t stride, float scale, float zero, float *to, size_t count)
{
    if (dtype == MITRAL_UINT8)
        stride == 1 ? uint8_t_floats(from, scale, zero, to, count) : uint8_t_spread(from, stride, scale, zero, to, count);
    else
        stride == 1 ? int8_t_floats(from, scale, zero, to, count) : int8_t_spread(from, stride, scale, zero, to, count);
}

void floats_to_bytes(int32_t dtype, const float *from, float scale, float zero, void *to, size_t count)
{
    if (dtype == MITRAL_UINT8)
        uint8_t_bytes(from, scale, 0 - zero, 255 - zero, (int32_t)zero, to, count);
    else
        int8_t_bytes(from, scale, -128 - zero, 127 - zero, (int32_t)zero, to, count);
}
