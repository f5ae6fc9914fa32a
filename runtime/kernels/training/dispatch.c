#include "runtime/kernels/training/blocks.h"
#include "runtime/kernels/training/tiles.h"

enum { LARGE_BYTES = 16 << 20 };

const struct training_blocks *training_blocks_of(enum isa isa)
{
#if defined(__x86_64__)
    if (isa >= ISA_AVX512)
        return &training_blocks_avx512;
    if (isa == ISA_AVX2)
        return &training_blocks_avx2;
#else
    (void)isa;
#endif
    return &training_blocks_portable;
}

void training_total(const float *sums, size_t unit, int64_t units, int count, double *out)
{
    for (int i = 0; i < count; i++)
        out[i] = 0;
    for (int64_t u = 0; u < units; u++, sums += unit)
        for (int i = 0; i < count; i++)
            out[i] += (double)sums[i];
}

bool training_is_large(int64_t floats)
{
    return floats >= LARGE_BYTES / (int64_t)sizeof(float);
}

const struct tile_blocks *training_tile_blocks(void)
{
#if defined(__x86_64__)
    if (cpu_isa() == ISA_AMX)
        return &training_tile_blocks_amx;
#endif
    return NULL;
}
