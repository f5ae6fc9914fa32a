/* The limits of a command's context: --max-… options that cli_parse adds to the own ones of a command that has to do with models. */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"

enum { KEY_TENSOR_BYTES = 1024, KEY_RUN_BYTES, KEY_LOOP_TRIPS, KEY_SUBGRAPH_DEPTH, KEY_IMAGE_PIXELS };

#define TENSOR_BYTES {"max-tensor-bytes", KEY_TENSOR_BYTES, "SIZE", 0, "of one tensor [16G]", 0}

static const struct argp_option tensor_option[] = {TENSOR_BYTES, {0}};

static const struct argp_option options[] = {
    TENSOR_BYTES,
    {"max-run-bytes", KEY_RUN_BYTES, "SIZE", 0, "of all that a run computes and works with at a time [64G, or the machine's memory where that is less]", 0},
    {"max-loop-trips", KEY_LOOP_TRIPS, "N", 0, "of one Loop or Scan [2147483648]", 0},
    {"max-subgraph-depth", KEY_SUBGRAPH_DEPTH, "N", 0, "of subgraphs in subgraphs [64]", 0},
    {"max-image-pixels", KEY_IMAGE_PIXELS, "N", 0, "of an image that a model decodes [268435456]", 0},
    {0}};

static mitral_context_options limits; /* a process parses one command line */

/* A positive number; with `suffixes` K, M, G or T may follow it, powers of 1024. */
static int64_t parse_number(const struct argp_state *state, const char *option, const char *text, bool suffixes, int64_t most)
{
    static const char letters[] = "KMGT";
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    const char *letter = suffixes && *end ? strchr(letters, *end) : NULL;
    bool wrong = errno || end == text || value <= 0;
    if (letter) {
        wrong |= __builtin_mul_overflow(value, 1LL << 10 * (letter - letters + 1), &value);
        end++;
    }
    if (wrong || *end || value > most)
        cli_usage(state, "%s: expected a number from 1 to %lld%s, found '%s'", option, (long long)most,
                  suffixes ? ", K, M, G or T behind it" : "", text);
    return value;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    switch (key) {
    case KEY_TENSOR_BYTES: limits.max_tensor_bytes = parse_number(state, "--max-tensor-bytes", value, true, INT64_MAX); return 0;
    case KEY_RUN_BYTES: limits.max_run_bytes = parse_number(state, "--max-run-bytes", value, true, INT64_MAX); return 0;
    case KEY_LOOP_TRIPS: limits.max_loop_trips = parse_number(state, "--max-loop-trips", value, false, INT64_MAX); return 0;
    case KEY_SUBGRAPH_DEPTH: limits.max_subgraph_depth = (int32_t)parse_number(state, "--max-subgraph-depth", value, false, 1000); return 0;
    case KEY_IMAGE_PIXELS: limits.max_image_pixels = parse_number(state, "--max-image-pixels", value, false, INT64_MAX); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

const struct argp cli_limits = {options, parse, 0, 0, 0, 0, 0};
const struct argp cli_tensor_limit = {tensor_option, parse, 0, 0, 0, 0, 0};

mitral_context_options cli_context_options(void)
{
    return limits;
}
