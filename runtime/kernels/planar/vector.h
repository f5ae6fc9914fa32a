/* One vector of floats as wide as the instruction set that this translation unit is compiled for. Included only by the files
 * that are compiled once for each instruction set (meson.build gives the flags). Shuffles are written with the compilers' own
 * __builtin_shufflevector (GCC 12, clang), so that only loads, stores and fused multiply-adds differ. */
#ifndef MITRAL_PLANAR_VECTOR_H
#define MITRAL_PLANAR_VECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define VECTOR_REGISTERS 32
#if defined(__AVX512BF16__)
#define BLOCK(name) name##_avx512_bf16
#else
#define BLOCK(name) name##_avx512
#endif
#elif defined(__AVX2__)
#include <immintrin.h>
#define LANES 8
#define VECTOR_REGISTERS 16
#define BLOCK(name) name##_avx2
#else
#define LANES 4
#define VECTOR_REGISTERS 16
#define BLOCK(name) name##_portable
#endif

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float vec_unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vec vec_load(const float *from)
{
    return *(const vec_unaligned *)from;
}
INLINE void vec_store(float *to, vec value)
{
    *(vec_unaligned *)to = value;
}

/* Past the caches, to a multiple of the vector's size: what is not read again soon need not be fetched before it is written. Before others
 * read it, vec_through_done. */
INLINE void vec_store_through(float *to, vec value)
{
#if defined(__AVX512F__)
    _mm512_stream_ps(to, (__m512)value);
#elif defined(__AVX2__)
    _mm256_stream_ps(to, (__m256)value);
#else
    vec_store(to, value);
#endif
}
INLINE void vec_through_done(void)
{
#if defined(__AVX2__)
    _mm_sfence();
#endif
}

/* Keeps a loaded value in its register where there are many: compilers like to load it again for each use, and loads are what
 * transforms are short of. */
#if defined(__AVX512F__)
#define VEC_KEEP(value) __asm__("" : "+v"(value))
#else
#define VEC_KEEP(value) (void)(value)
#endif

/* At the end of an unrolled loop's body: where registers are few, compilers that mix one round with the next run out of them. */
#if VECTOR_REGISTERS == 32
#define VEC_ROUND_DONE (void)0
#else
#define VEC_ROUND_DONE __asm__ volatile("" ::: "memory")
#endif

/* The first `count` lanes (0 … LANES); the other lanes are zero when loaded and not touched when stored. */
#if defined(__AVX512F__)
INLINE vec vec_set(float value)
{
    return (vec)_mm512_set1_ps(value);
}
INLINE vec vec_load_part(const float *from, int count)
{
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
}
INLINE void vec_store_part(float *to, vec value, int count)
{
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)value);
}
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
INLINE vec vec_fnma(vec a, vec b, vec c)
{
    return (vec)_mm512_fnmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
INLINE vec vec_max(vec a, vec b)
{
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
}
INLINE vec vec_min(vec a, vec b)
{
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
}
#elif defined(__AVX2__)
INLINE vec vec_set(float value)
{
    return (vec)_mm256_set1_ps(value);
}
INLINE __m256i vec_mask(int count)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vec vec_load_part(const float *from, int count)
{
    return (vec)_mm256_maskload_ps(from, vec_mask(count));
}
INLINE void vec_store_part(float *to, vec value, int count)
{
    __m128 rest = _mm256_castps256_ps128((__m256)value); /* AMD's masked stores take a dozen cycles each */
    if (count & 4) {
        _mm_storeu_ps(to, rest);
        to += 4;
        rest = _mm256_extractf128_ps((__m256)value, 1);
    }
    if (count & 2) {
        _mm_storel_pi((__m64 *)to, rest);
        to += 2;
        rest = _mm_movehl_ps(rest, rest);
    }
    if (count & 1)
        _mm_store_ss(to, rest);
}
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
INLINE vec vec_fnma(vec a, vec b, vec c)
{
    return (vec)_mm256_fnmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
INLINE vec vec_max(vec a, vec b)
{
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
}
INLINE vec vec_min(vec a, vec b)
{
    return (vec)_mm256_min_ps((__m256)a, (__m256)b);
}
#else
INLINE vec vec_set(float value)
{
    return (vec){value, value, value, value};
}
INLINE vec vec_load_part(const float *from, int count)
{
    vec value = {0};
    for (int i = 0; i < count; i++)
        value[i] = from[i];
    return value;
}
INLINE void vec_store_part(float *to, vec value, int count)
{
    for (int i = 0; i < count; i++)
        to[i] = value[i];
}
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return a * b + c;
}
INLINE vec vec_fnma(vec a, vec b, vec c)
{
    return c - a * b;
}
INLINE vec vec_max(vec a, vec b)
{
    typedef int32_t mask __attribute__((vector_size(LANES * 4)));
    mask greater = a > b;
    return (vec)((greater & (mask)a) | (~greater & (mask)b));
}
INLINE vec vec_min(vec a, vec b)
{
    typedef int32_t mask __attribute__((vector_size(LANES * 4)));
    mask less = a < b;
    return (vec)((less & (mask)a) | (~less & (mask)b));
}
#endif

/* What the loops of the products do. Under AVX-512 BF16 lanes of a and b are pairs of bfloat16 (pairs.c), both of whose products are
 * added. */
#if defined(__AVX512BF16__)
INLINE vec vec_product(vec a, vec b, vec sum)
{
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
/* Rounded to nearest even; the lanes of low, then those of high. */
INLINE vec vec_round(vec low, vec high)
{
    return (vec)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
}
/* Lane i is the pair of even[i] and odd[i]. */
INLINE vec vec_pair(vec even, vec odd)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3,
                                           18, 2, 17, 1, 16, 0);
    return (vec)_mm512_permutexvar_epi16(order, (__m512i)vec_round(even, odd));
}
#else
INLINE vec vec_product(vec a, vec b, vec sum)
{
    return vec_fma(a, b, sum);
}
#endif

/* x > 0 ? x : slope · x, and NaN where x is. */
INLINE vec vec_slope(vec x, vec slope)
{
    typedef int32_t mask __attribute__((vector_size(LANES * 4)));
    mask positive = x > vec_set(0);
    return (vec)((positive & (mask)x) | (~positive & (mask)(slope * x)));
}

/* Neighbours apart: lanes 0, 2, 4, … of a and b one behind the other, and 1, 3, 5, …; and back together. */
#if LANES == 16
#define LANES_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define LANES_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define LANES_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define LANES_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES == 8
#define LANES_EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define LANES_ODD 1, 3, 5, 7, 9, 11, 13, 15
#define LANES_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define LANES_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LANES_EVEN 0, 2, 4, 6
#define LANES_ODD 1, 3, 5, 7
#define LANES_LOW 0, 4, 1, 5
#define LANES_HIGH 2, 6, 3, 7
#endif
INLINE vec vec_even(vec a, vec b)
{
    return __builtin_shufflevector(a, b, LANES_EVEN);
}
INLINE vec vec_odd(vec a, vec b)
{
    return __builtin_shufflevector(a, b, LANES_ODD);
}
INLINE vec vec_low(vec even, vec odd)
{
    return __builtin_shufflevector(even, odd, LANES_LOW);
}
INLINE vec vec_high(vec even, vec odd)
{
    return __builtin_shufflevector(even, odd, LANES_HIGH);
}

/* From and to bfloat16 in memory: rounded to nearest even; a NaN stays one. */
typedef uint32_t vec_bits __attribute__((vector_size(LANES * 4)));
typedef uint16_t vec_halves __attribute__((vector_size(LANES * 2)));
typedef uint16_t vec_halves_unaligned __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
INLINE vec vec_widen(const uint16_t *from)
{
    return (vec)(__builtin_convertvector(*(const vec_halves_unaligned *)from, vec_bits) << 16);
}
INLINE vec_halves vec_halves_of(vec value)
{
    const vec_bits bits = (vec_bits)value, rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, quiet = bits >> 16 | 0x40;
    const vec_bits is_nan = (vec_bits)((bits & 0x7fffffff) > 0x7f800000);
    return __builtin_convertvector((is_nan & quiet) | (~is_nan & rounded), vec_halves);
}
INLINE void vec_round_store(uint16_t *to, vec value)
{
    *(vec_halves_unaligned *)to = vec_halves_of(value);
}

/* `part` lanes of the vector count (0: all). */
INLINE vec vec_widen_some(const uint16_t *from, int part)
{
    if (!part)
        return vec_widen(from);
    uint16_t halves[LANES] = {0};
    memcpy(halves, from, (size_t)part * sizeof *from);
    return vec_widen(halves);
}
INLINE void vec_round_store_some(uint16_t *to, vec value, int part)
{
    const vec_halves halves = vec_halves_of(value);
    if (part)
        memcpy(to, &halves, (size_t)part * sizeof *to);
    else
        vec_round_store(to, value);
}
INLINE vec vec_load_some(const float *from, int part)
{
    return part ? vec_load_part(from, part) : vec_load(from);
}
INLINE void vec_store_some(float *to, vec value, int part)
{
    if (part)
        vec_store_part(to, value, part);
    else
        vec_store(to, value);
}

#endif
