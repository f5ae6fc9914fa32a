#include <argp.h>
#include <string.h>

#include "cli/command.h"

struct arguments {
    const char *model, *output;
    int threads;
};

enum { KEY_THREADS = 256 };

static const struct argp_option options[] = {
    {"output", 'o', "SMALLER.onnx", 0, "the model to write", 0},
    {"threads", KEY_THREADS, "N", 0, "for folding constants [1]", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'o': arguments->output = value; return 0;
    case KEY_THREADS: arguments->threads = cli_parse_threads(state, value); return 0;
    case ARGP_KEY_ARG:
        if (arguments->model)
            cli_usage(state, "expected one model, found also '%s'", value);
        arguments->model = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->model || !arguments->output)
            cli_usage(state, "expected a model and -o SMALLER.onnx, found %s", arguments->model ? "no -o" : "no model");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int command_optimize(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "MODEL.onnx",
                                     "Folds constants, takes out nodes that change nothing and merges equal ones; writes ONNX again.\v"
                                     "Example: mitral optimize exported.onnx -o smaller.onnx", 0, 0, 0};
    struct arguments arguments = {0};
    cli_parse(&argp, CLI_LOADS_MODEL, argc, argv, &arguments);
    mitral_context *context = NULL;
    mitral_model *model = NULL;
    mitral_status status = cli_context_create(&context);
    if (status == MITRAL_OK)
        status = mitral_model_load(&model, context, arguments.model);
    if (status == MITRAL_OK)
        status = mitral_model_optimize(context, model, arguments.threads);
    if (status == MITRAL_OK)
        status = mitral_model_save(context, model, arguments.output);
    int code = status == MITRAL_OK ? 0 : cli_fail("optimize", context, status);
    mitral_model_destroy(&model);
    mitral_context_destroy(&context);
    return code;
}
