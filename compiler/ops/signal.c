/* Fourier transforms and window functions. */
#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"

const struct op ops_signal[] = {
    {.name = "BlackmanWindow"},
    {.name = "DFT", .gradient = differentiate_dft},
    {.name = "HammingWindow"},
    {.name = "HannWindow"},
    {.name = "MelWeightMatrix"},
    {.name = "STFT", .compose = compose_stft},
};
const size_t ops_signal_count = sizeof(ops_signal) / sizeof(*ops_signal);
