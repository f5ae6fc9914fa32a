/* Peak rates of the machine, for rooflines. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "mitral/tools.h"
#include "runtime/clock.h"

/* Twelve independent chains of `vector` lanes' worth of fused multiply-adds hide their latency; written as such, since a compiler that
 * may not contract would make two operations of a * b + c. */
#define FMA_LOOP(NAME, TARGET, LANES, VECTOR, SET, FMA)                                                                \
    TARGET static float NAME(long rounds)                                                                              \
    {                                                                                                                  \
        VECTOR a[12], x = SET(1.0000001f), y = SET(1e-9f);                                                             \
        for (int i = 0; i < 12; i++)                                                                                   \
            a[i] = y;                                                                                                  \
        for (long r = 0; r < rounds * 16 / LANES; r++)                                                                 \
            _Pragma("GCC unroll 12") for (int i = 0; i < 12; i++)                                                      \
                a[i] = FMA(a[i], x, y);                                                                                \
        float sum = 0, first[LANES];                                                                                   \
        for (int i = 0; i < 12; i++) {                                                                                 \
            memcpy(first, &a[i], sizeof first);                                                                        \
            sum += first[0];                                                                                           \
        }                                                                                                              \
        return sum;                                                                                                    \
    }

#define PLAIN_SET(value) {value, value, value, value}
#define PLAIN_FMA(a, b, c) ((a) * (b) + (c))
typedef float four __attribute__((vector_size(16)));

#if defined(__x86_64__)
FMA_LOOP(fma_avx512, __attribute__((target("avx512f"))), 16, __m512, _mm512_set1_ps, _mm512_fmadd_ps)
FMA_LOOP(fma_avx2, __attribute__((target("avx2,fma"))), 8, __m256, _mm256_set1_ps, _mm256_fmadd_ps)
#endif
FMA_LOOP(fma_portable, , 4, four, PLAIN_SET, PLAIN_FMA)

static float (*choose(void))(long)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return fma_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return fma_avx2;
#endif
    return fma_portable;
}

void mitral_measure_machine(int threads, double *flops, double *bytes)
{
    enum { ROUNDS = 2000000 };
    const size_t size = (size_t)256 << 20;
    float (*loop)(long) = choose();
    if (threads < 1)
        threads = omp_get_num_procs();
    *flops = *bytes = 0;
    volatile float sink = 0;
    for (int attempt = 0; attempt < 4; attempt++) {
        double start = clock_seconds();
#pragma omp parallel num_threads(threads)
        {
            float value = loop(ROUNDS);
#pragma omp critical
            sink += value;
        }
        double rate = 12.0 * 16 * 2 * ROUNDS * threads / (clock_seconds() - start);
        *flops = rate > *flops ? rate : *flops;
    }
    (void)sink;
    char *from = malloc(size), *to = malloc(size);
    if (from && to) {
        memset(from, 1, size);
        memset(to, 1, size);
        for (int attempt = 0; attempt < 4; attempt++) {
            double start = clock_seconds();
#pragma omp parallel for num_threads(threads)
            for (int part = 0; part < 64; part++)
                memcpy(to + size / 64 * (size_t)part, from + size / 64 * (size_t)part, size / 64);
            double rate = 2.0 * (double)size / (clock_seconds() - start);
            *bytes = rate > *bytes ? rate : *bytes;
        }
    }
    free(from);
    free(to);
}
