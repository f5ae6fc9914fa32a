#include "runtime/kernels/planar/micro.h"

const struct planar_blocks *planar_blocks_of(enum isa isa)
{
#if defined(__x86_64__)
    if (isa >= ISA_AVX512)
        return &planar_blocks_avx512;
    if (isa == ISA_AVX2)
        return &planar_blocks_avx2;
#else
    (void)isa;
#endif
    return &planar_blocks_portable;
}

const struct planar_blocks *planar_amx_blocks(void)
{
#if defined(__x86_64__)
    if (cpu_isa() == ISA_AMX)
        return &planar_blocks_amx;
#endif
    return NULL;
}

const struct planar_blocks *planar_pair_blocks(void)
{
#if defined(__x86_64__)
    if (cpu_has_avx512_bf16())
        return &planar_blocks_avx512_bf16;
#endif
    return NULL;
}
