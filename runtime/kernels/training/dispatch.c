#include "runtime/kernels/training/blocks.h"
#include "runtime/kernels/training/tiles.h"

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

const struct tile_blocks *training_tile_blocks(void)
{
#if defined(__x86_64__)
    if (cpu_isa() == ISA_AMX)
        return &training_tile_blocks_amx;
#endif
    return NULL;
}
