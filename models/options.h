#ifndef MITRAL_MODELS_OPTIONS_H
#define MITRAL_MODELS_OPTIONS_H

#include "mitral/networks.h"

/* Fills in the defaults and checks the ranges that the builders rely on. */
mitral_status network_options(mitral_network_options *out, mitral_context *context, const mitral_network_options *options,
                              const int64_t widths[MITRAL_STAGES], int64_t width_multiple);

#endif
