/* Peak rates of the machine, for rooflines. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "mitral/tools.h"
#include "runtime/clock.h"

typedef float lanes __attribute__((vector_size(64)));

/* Twelve independent chains hide the latency of a fused multiply-add; a 64-byte vector becomes what the target has. */
#define FMA_LOOP(NAME, TARGET)                                                                                         \
    __attribute__((TARGET)) static float NAME(long rounds)                                                             \
    {                                                                                                                  \
        lanes a[12], x = {0}, y = {0};                                                                                 \
        for (int i = 0; i < 16; i++) {                                                                                 \
            x[i] = 1.0000001f;                                                                                         \
            y[i] = 1e-9f;                                                                                              \
        }                                                                                                              \
        for (int i = 0; i < 12; i++)                                                                                   \
            a[i] = y;                                                                                                  \
        for (long r = 0; r < rounds; r++)                                                                              \
            for (int i = 0; i < 12; i++)                                                                               \
                a[i] = a[i] * x + y;                                                                                   \
        float sum = 0;                                                                                                 \
        for (int i = 0; i < 12; i++)                                                                                   \
            sum += a[i][0];                                                                                            \
        return sum;                                                                                                    \
    }

#if defined(__x86_64__)
FMA_LOOP(fma_avx512, target("avx512f,fma,prefer-vector-width=512"))
FMA_LOOP(fma_avx2, target("avx2,fma"))
#endif
FMA_LOOP(fma_portable, noinline)

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
