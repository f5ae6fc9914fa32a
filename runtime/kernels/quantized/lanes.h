/* Vectors of integers as wide as planar/vector.h's of floats, for the files compiled once for each instruction set. */
#ifndef MITRAL_QUANTIZED_LANES_H
#define MITRAL_QUANTIZED_LANES_H

#include "runtime/kernels/planar/vector.h"
#include "runtime/kernels/quantized/micro.h"

#if defined(__SSE2__) && !defined(__AVX2__)
#include <emmintrin.h>
#endif

typedef uint32_t words __attribute__((vector_size(LANES * 4)));
typedef int32_t signed_words __attribute__((vector_size(LANES * 4)));
typedef int16_t halves __attribute__((vector_size(LANES * 4)));
typedef halves halves_unaligned __attribute__((aligned(2), may_alias));
typedef words words_unaligned __attribute__((aligned(4), may_alias));
typedef double doubles __attribute__((vector_size(LANES * 8)));

enum { COLUMNS = 2 * LANES, ROWS = VECTOR_REGISTERS == 32 ? 8 : 6 };

INLINE halves halves_load(const int16_t *from)
{
    return *(const halves_unaligned *)from;
}

/* Two neighbours in every lane. */
INLINE halves halves_spread(const int16_t *from)
{
    uint32_t both;
    memcpy(&both, from, sizeof both);
#if defined(__AVX512F__)
    return (halves)_mm512_set1_epi32((int)both);
#elif defined(__AVX2__)
    return (halves)_mm256_set1_epi32((int)both);
#else
    return (halves)((words){0} + both);
#endif
}

/* Lane by lane both products of the pairs, added to the sum. */
INLINE words words_product(halves a, halves b, words sum)
{
#if defined(__AVX512F__)
    return sum + (words)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return sum + (words)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return sum + (words)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    const signed_words odd = ((signed_words)a >> 16) * ((signed_words)b >> 16);
    const signed_words even = (signed_words)((words)a << 16) >> 16, with = (signed_words)((words)b << 16) >> 16;
    return sum + (words)odd + (words)(even * with);
#endif
}

INLINE void words_store(int32_t *to, words value)
{
    *(words_unaligned *)to = value;
}

void BLOCK(quantized_widen)(const struct quantized_widen *widen);
void BLOCK(quantized_product)(const struct quantized_tile *tile);
void BLOCK(quantized_depthwise)(const struct quantized_tile *tile);
void BLOCK(quantized_spread)(const struct quantized_spread *spread);
void BLOCK(quantized_gather)(const struct quantized_gather *gather);
void BLOCK(quantized_finish)(const struct quantized_finish *finish);

#endif
