#include "runtime/kernels/training/blocks.h"
#include "runtime/kernels/training/tiles.h"

enum { LARGE_BYTES = 16 << 20, SPARSEST = 3, DENSEST = 4 };

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

const struct training_blocks *training_column_blocks(const struct training_blocks *blocks)
{
#if defined(__x86_64__)
    if (cpu_splits_vectors(blocks->lanes))
        return &training_blocks_avx2;
#endif
    return blocks;
}

int64_t training_outer_steps(const struct training_blocks *blocks, int64_t rows, int64_t depth, int64_t columns)
{
    const int64_t wide = blocks->lanes < 16 ? 3 : 6;
    return (rows + 3) / 4 * ((depth + wide - 1) / wide) * (columns / blocks->lanes);
}

void training_ahead_pace(struct training_ahead *ahead, int64_t steps)
{
    const int64_t lines = (int64_t)ahead->count * ahead->lines, each = steps > 0 ? (lines + steps - 1) / steps : 0;
    const int64_t every = lines ? steps / lines : SPARSEST;
    ahead->each = each > DENSEST ? DENSEST : (int)each;
    ahead->every = every > SPARSEST ? SPARSEST : every < 1 ? 1 : (int)every;
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
