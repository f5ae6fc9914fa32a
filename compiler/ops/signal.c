/* Fourier transforms and window functions. */
#include "compiler/op.h"

const struct op ops_signal[] = {
    {.name = "BlackmanWindow"},
    {.name = "DFT"},
    {.name = "HammingWindow"},
    {.name = "HannWindow"},
    {.name = "MelWeightMatrix"},
    {.name = "STFT"},
};
const size_t ops_signal_count = sizeof(ops_signal) / sizeof(*ops_signal);
