/* Inputs named on the command line, loaded and put in the plan's order. */
#ifndef MITRAL_CLI_INPUTS_H
#define MITRAL_CLI_INPUTS_H

#include "cli/command.h"

enum { CLI_MAX_INPUTS = 256 };

struct cli_inputs {
    const char *items[CLI_MAX_INPUTS]; /* "[NAME=]FILE" */
    size_t count;
};

bool cli_inputs_add(struct cli_inputs *inputs, const char *item);
/* Loads the files and opens the model; an ONNX model is compiled for the shapes that the files have. `values` has CLI_MAX_INPUTS
 * entries, in the plan's order. With `random_seed` (NULL: an error) inputs that are not given are filled from that seed. */
mitral_status cli_inputs_open(mitral_plan **plan, mitral_value **values, mitral_context *context, const char *path,
                              const struct cli_inputs *inputs, const mitral_compile_options *options, const uint64_t *random_seed);
/* input_0.pb … of a data set of a case. */
mitral_status cli_inputs_load_case(mitral_value **values, mitral_context *context, const mitral_plan *plan, const char *folder);
void cli_inputs_close(mitral_value **values);

#endif
