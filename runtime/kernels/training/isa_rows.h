/* What the files of rows share: their loop, and bits of lanes. */
#ifndef MITRAL_TRAINING_ISA_ROWS_H
#define MITRAL_TRAINING_ISA_ROWS_H

#include "runtime/kernels/training/isa.h"

typedef int32_t mask __attribute__((vector_size(LANES * 4)));

/* step(x, part) for whole vectors (part 0) from `first` on, then once for the lanes that are left. */
#define ROW_LOOP(first, last, step)                                                                                    \
    do {                                                                                                               \
        ptrdiff_t i = (first);                                                                                         \
        for (; i + LANES <= (last); i += LANES)                                                                        \
            step(i, 0);                                                                                                \
        if (i < (last))                                                                                                \
            step(i, (int)((last)-i));                                                                                  \
    } while (0)

/* A bit of each lane that is set. */
INLINE unsigned bits_of(mask set)
{
#if LANES == 16
    return _mm512_test_epi32_mask((__m512i)set, (__m512i)set);
#elif LANES == 8
    return (unsigned)_mm256_movemask_ps((__m256)set);
#else
    unsigned bits = 0;
    for (int k = 0; k < LANES; k++)
        bits |= set[k] ? 1u << k : 0;
    return bits;
#endif
}

INLINE vec vec_where(unsigned bits, vec value)
{
#if LANES == 16
    return (vec)_mm512_maskz_mov_ps((__mmask16)bits, (__m512)value);
#else
    mask lanes;
    _Pragma("GCC unroll 8") for (int k = 0; k < LANES; k++)
        lanes[k] = 1 << k;
    return (vec)((mask)value & ((lanes & (int32_t)bits) != 0));
#endif
}

/* Those of the elements from `at` on, a multiple of LANES, of a row of bits. */
INLINE unsigned bits_load(const unsigned char *row, ptrdiff_t at)
{
#if LANES == 16
    uint16_t bits;
    memcpy(&bits, row + at / 8, sizeof bits);
    return bits;
#else
    return (unsigned)row[at / 8] >> at % 8;
#endif
}

INLINE void bits_store(unsigned char *row, ptrdiff_t at, unsigned bits)
{
#if LANES == 16
    const uint16_t two = (uint16_t)bits;
    memcpy(row + at / 8, &two, sizeof two);
#elif LANES == 8
    row[at / 8] = (unsigned char)bits;
#else
    row[at / 8] = (unsigned char)(at % 8 ? row[at / 8] | bits << 4 : bits);
#endif
}

#endif
