#include "cli/plan_options.h"

enum { KEY_SHAPE = 512, KEY_PRECISION, KEY_THREADS, KEY_INTERPRET, KEY_TUNE };

static const struct argp_option options[] = {
    {"shape", KEY_SHAPE, "NAME=1x1x224x224", 0, "fixes the shape of an input (may be repeated)", 0},
    {"precision", KEY_PRECISION, "f32|bf16", 0, "bf16: bfloat16 products where they are faster [f32]", 0},
    {"threads", KEY_THREADS, "N", 0, "[all cores]", 0},
    {"interpret", KEY_INTERPRET, 0, 0, "no passes: one step a node", 0},
    {"tune", KEY_TUNE, 0, 0, "time candidate kernels on this machine and keep the fastest", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct cli_plan_options *out = state->input;
    switch (key) {
    case ARGP_KEY_INIT: out->compile.shapes = out->shapes; return 0;
    case KEY_SHAPE:
        if (out->compile.shape_count == CLI_MAX_SHAPES)
            cli_usage(state, "expected at most %d shapes, found '%s' as well", CLI_MAX_SHAPES, value);
        if (!cli_parse_shape(value, &out->shapes[out->compile.shape_count++]))
            cli_usage(state, "--shape: expected NAME=1x1x224x224, found '%s'", value);
        return 0;
    case KEY_PRECISION: out->compile.precision = cli_parse_precision(state, value); return 0;
    case KEY_THREADS: out->session.threads = out->compile.threads = cli_parse_threads(state, value); return 0;
    case KEY_INTERPRET: out->compile.interpret = true; return 0;
    case KEY_TUNE: out->compile.tune = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {options, parse, 0, 0, 0, 0, 0};
const struct argp_child cli_plan_children[] = {{&argp, 0, "Of a model that is compiled:", 1}, {0}};
