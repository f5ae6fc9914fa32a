#ifndef MITRAL_CLI_PROFILE_H
#define MITRAL_CLI_PROFILE_H

#include "cli/command.h"
#include "mitral/tools.h"

/* A step that has been timed; the strings of `info` are copies in `text`. */
struct profile_step {
    mitral_step_info info;
    double seconds;
    char *text;
};

/* Steps in the order in which they ran. */
struct profile {
    struct profile_step *steps;
    size_t count, capacity;
};

/* False when there is no memory for it. */
bool cli_profile_add(struct profile *profile, const mitral_step_info *info, double seconds);
void cli_profile_free(struct profile *profile);
/* Runs the session a few times with step timing and keeps the fastest run. */
mitral_status cli_profile_session(struct profile *profile, mitral_session *session, const mitral_value *const *inputs, size_t input_count);
/* A table by step, slowest first, to `table`: time, GFLOP/s, GB/s and share of the roofline, whose peaks are measured here on that many
 * threads (0: all cores); and a Chrome/Perfetto trace to `path` (NULL: none). Sorts the steps. */
mitral_status cli_profile_write(struct profile *profile, mitral_context *context, int threads, const char *path, FILE *table);

#endif
