/* The options of every command that makes a plan of a model: a child of the command's own parser. */
#ifndef MITRAL_CLI_PLAN_OPTIONS_H
#define MITRAL_CLI_PLAN_OPTIONS_H

#include <argp.h>

#include "cli/command.h"

enum { CLI_MAX_SHAPES = 64 };

struct cli_plan_options {
    mitral_shape shapes[CLI_MAX_SHAPES];
    mitral_compile_options compile; /* its shapes are the ones above */
    mitral_session_options session; /* its threads are the ones that choices are made for */
};

/* --shape, --precision, --threads, --interpret, --tune. The parent's parser, given ARGP_KEY_INIT, sets state->child_inputs[0] to a
 * struct cli_plan_options. */
extern const struct argp_child cli_plan_children[];

#endif
