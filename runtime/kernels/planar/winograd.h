/* The transforms of F(4, 3) on vectors: micro.h says which points. Only for the files compiled once for each instruction set. */
#ifndef MITRAL_PLANAR_WINOGRAD_H
#define MITRAL_PLANAR_WINOGRAD_H

#include "runtime/kernels/planar/vector.h"

#define WINOGRAD_A 0.70710678118654752440f
#define WINOGRAD_B 1.41421356237309504880f

/* even ± factor · odd. With 256 bits, CPUs add beside their multipliers. */
INLINE void winograd_both(vec t[2], vec even, vec factor, vec odd)
{
#if defined(__AVX512F__)
    t[0] = vec_fma(factor, odd, even);
    t[1] = vec_fnma(factor, odd, even);
#else
    odd *= factor;
    t[0] = even + odd;
    t[1] = even - odd;
#endif
}

/* Six inputs to six positions. */
INLINE void winograd_spread(vec t[6], vec x0, vec x1, vec x2, vec x3, vec x4, vec x5)
{
    VEC_KEEP(x0);
    VEC_KEEP(x1);
    VEC_KEEP(x2);
    VEC_KEEP(x3);
    VEC_KEEP(x4);
    VEC_KEEP(x5);
    vec a = vec_set(WINOGRAD_A), b = vec_set(WINOGRAD_B), two = vec_set(2), half = vec_set(0.5f), middle = vec_set(2.5f);
    vec even = vec_fnma(two, x2, x4), odd = vec_fnma(two, x1, x3);
    t[0] = vec_fnma(middle, x2, x0 + x4);
    winograd_both(t + 1, even, a, odd);
    even = vec_fnma(half, x2, x4);
    odd = vec_fnma(half, x1, x3);
    winograd_both(t + 3, even, b, odd);
    t[5] = vec_fnma(middle, x3, x1 + x5);
}

/* Six products to four outputs. */
INLINE void winograd_gather(vec y[4], vec m0, vec m1, vec m2, vec m3, vec m4, vec m5)
{
    VEC_KEEP(m1);
    VEC_KEEP(m2);
    VEC_KEEP(m3);
    VEC_KEEP(m4);
    vec a = vec_set(WINOGRAD_A), b = vec_set(WINOGRAD_B);
    vec sum_a = m1 + m2, difference_a = m1 - m2, sum_b = m3 + m4, difference_b = m3 - m4;
    y[0] = vec_fma(b, sum_a, vec_fma(a, sum_b, m0));
    y[1] = difference_a + difference_b;
    y[2] = vec_fma(a, sum_a, b * sum_b);
    y[3] = vec_fma(vec_set(0.5f), difference_a, vec_fma(vec_set(2), difference_b, m5));
}

/* Four gradients of outputs to those of six products: the transpose of winograd_gather. */
INLINE void winograd_scatter(vec m[6], vec y0, vec y1, vec y2, vec y3)
{
    vec a = vec_set(WINOGRAD_A), b = vec_set(WINOGRAD_B);
    vec even = vec_fma(b, y0, a * y2), odd = vec_fma(vec_set(0.5f), y3, y1);
    m[0] = y0;
    m[1] = even + odd;
    m[2] = even - odd;
    even = vec_fma(a, y0, b * y2);
    odd = vec_fma(vec_set(2), y3, y1);
    m[3] = even + odd;
    m[4] = even - odd;
    m[5] = y3;
}

#endif
