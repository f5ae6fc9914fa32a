#ifndef MITRAL_CLI_PROFILE_H
#define MITRAL_CLI_PROFILE_H

#include "cli/command.h"

/* Runs the session a few times with step timing; writes a Chrome/Perfetto trace of the fastest run to `path` and a table by step,
 * slowest first, to `table`: time, GFLOP/s, GB/s and share of the roofline, whose peaks are measured here. */
mitral_status cli_profile(mitral_session *session, mitral_context *context, const mitral_value *const *inputs, size_t input_count,
                          int threads, const char *path, FILE *table);

#endif
