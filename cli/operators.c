/* Operators of one's own: --custom-operators, which cli_parse adds to the own options of a command that loads models. */
#include <argp.h>

#include "cli/command.h"

enum { KEY_OPERATORS = 2048, MOST_LIBRARIES = 64 };

static const struct argp_option options[] = {
    {"custom-operators", KEY_OPERATORS, "FILE.so", 0, "a shared library that registers them: mitral_register_operators in mitral.h (may be repeated)", 0},
    {0}};

static const char *libraries[MOST_LIBRARIES]; /* a process parses one command line */
static size_t library_count;

static error_t parse(int key, char *value, struct argp_state *state)
{
    if (key != KEY_OPERATORS)
        return ARGP_ERR_UNKNOWN;
    if (library_count == MOST_LIBRARIES)
        cli_usage(state, "--custom-operators: expected at most %d libraries, found more", MOST_LIBRARIES);
    libraries[library_count++] = value;
    return 0;
}

const struct argp cli_operators = {options, parse, 0, 0, 0, 0, 0};

mitral_status cli_context_open(mitral_context **out, const mitral_context_options *options)
{
    mitral_status status = mitral_context_create(out, options);
    for (size_t i = 0; status == MITRAL_OK && i < library_count; i++)
        status = mitral_context_load_operators(*out, libraries[i]);
    return status;
}
