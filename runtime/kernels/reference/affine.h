/* 8-bit elements and floats by one scale and zero point, many at a time, rounded as QuantizeLinear and DequantizeLinear of float32 are. */
#ifndef MITRAL_REFERENCE_AFFINE_H
#define MITRAL_REFERENCE_AFFINE_H

#include <stddef.h>
#include <stdint.h>

/* to[i] = (from[i · stride] − zero) · scale. */
void bytes_to_floats(int32_t dtype, const void *from, ptrdiff_t stride, float scale, float zero, float *to, size_t count);
/* to[i] = saturate(round(from[i] / scale) + zero), halves to even; NaN goes to the lowest value. */
void floats_to_bytes(int32_t dtype, const float *from, float scale, float zero, void *to, size_t count);

#endif
