#include "runtime/kernels/quantized/micro.h"

const struct quantized_blocks *quantized_blocks_of(enum isa isa)
{
#if defined(__x86_64__)
    if (isa >= ISA_AVX512)
        return &quantized_blocks_avx512;
    if (isa == ISA_AVX2)
        return &quantized_blocks_avx2;
#else
    (void)isa;
#endif
    return &quantized_blocks_portable;
}
