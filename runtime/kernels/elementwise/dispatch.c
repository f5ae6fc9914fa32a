#include "runtime/kernels/elementwise/steps.h"

step_function elementwise_step(enum isa isa, enum elementwise_step step)
{
#if defined(__x86_64__)
    if (isa >= ISA_AVX512)
        return elementwise_steps_avx512[step];
    if (isa == ISA_AVX2)
        return elementwise_steps_avx2[step];
#else
    (void)isa;
#endif
    return elementwise_steps_portable[step];
}
