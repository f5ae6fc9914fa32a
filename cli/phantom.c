#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "mitral/data.h"

enum { KEY_SEED = 256, KEY_HARD, KEY_NO_CINE, KEY_THREADS };

struct arguments {
    const char *folder;
    mitral_phantom_options options;
};

static const struct argp_option options[] = {
    {"patients", 'n', "N", 0, "how many, 1 to 999; two thirds go to training, the rest to testing [30]", 0},
    {"seed", KEY_SEED, "N", 0, "the same seed writes the same bytes [0]", 0},
    {"hard", KEY_HARD, 0, 0, "shifted contrast, strong noise and shading, ghosts, banding and motion", 0},
    {"no-cine", KEY_NO_CINE, 0, 0, "leave the 4D files out, which are 20 MB a patient", 0},
    {"threads", KEY_THREADS, "N", 0, "[all cores]", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    long number;
    char *end;
    switch (key) {
    case 'n':
        if (!cli_parse_count(value, &number) || number > 999)
            cli_usage(state, "--patients: expected a number from 1 to 999, found '%s'", value);
        arguments->options.patients = (int32_t)number;
        return 0;
    case KEY_SEED:
        errno = 0;
        arguments->options.seed = strtoull(value, &end, 10);
        if (end == value || *end || errno || strchr(value, '-'))
            cli_usage(state, "--seed: expected a whole number from 0, found '%s'", value);
        return 0;
    case KEY_HARD: arguments->options.hard = true; return 0;
    case KEY_NO_CINE: arguments->options.without_cine = true; return 0;
    case KEY_THREADS:
        arguments->options.threads = cli_parse_threads(state, value);
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->folder)
            cli_usage(state, "expected one folder, found also '%s'", value);
        arguments->folder = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->folder || !*arguments->folder)
            cli_usage(state, "expected a folder to write to, found none");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int command_phantom(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "DIR",
        "Writes made-up patients in the layout of the ACDC challenge: beating hearts in short-axis view, with labels of "
        "the right ventricle, the myocardium and the left ventricle at end-diastole and end-systole.\v"
        "Example: mitral phantom hearts --patients 12 --seed 1",
        0,
        0,
        0};
    static struct arguments arguments;
    cli_parse(&argp, CLI_NO_MODEL, argc, argv, &arguments);
    mitral_context *context = NULL;
    mitral_status status = cli_context_create(&context);
    if (status == MITRAL_OK)
        status = mitral_phantom_write(context, arguments.folder, &arguments.options);
    int code = status == MITRAL_OK ? 0 : cli_fail("phantom", context, status);
    mitral_context_destroy(&context);
    return code;
}
