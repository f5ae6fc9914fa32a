#include <argp.h>
#include <string.h>

#include "cli/command.h"
#include "mitral/tools.h"

struct arguments {
    const char *path;
    bool json, verify;
    int threads;
};

enum { KEY_THREADS = 256 };

static const struct argp_option options[] = {
    {"json", 'j', 0, 0, "one JSON object on standard output", 0},
    {"verify", 'v', 0, 0, "of a plan: check the weights' checksum too", 0},
    {"threads", KEY_THREADS, "N", 0, "that a plan is bound for [those it was compiled for]", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'j': arguments->json = true; return 0;
    case 'v': arguments->verify = true; return 0;
    case KEY_THREADS: arguments->threads = cli_parse_threads(state, value); return 0;
    case ARGP_KEY_ARG:
        if (arguments->path)
            cli_usage(state, "expected one file, found also '%s'", value);
        arguments->path = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->path)
            cli_usage(state, "expected a model or a plan, found none");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int command_inspect(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "MODEL.onnx|MODEL.plan",
                                     "Shows inputs, outputs, nodes or steps, memory and metadata.\v"
                                     "Example: mitral inspect student.plan", 0, 0, 0};
    struct arguments arguments = {0};
    cli_parse(&argp, CLI_LOADS_MODEL, argc, argv, &arguments);
    mitral_context *context = NULL;
    mitral_model *model = NULL;
    mitral_plan *plan = NULL;
    char *text = NULL;
    mitral_status status = cli_context_create(&context);
    if (status == MITRAL_OK && cli_is_plan(arguments.path)) {
        status = mitral_plan_open(&plan, context, arguments.path);
        if (status == MITRAL_OK && arguments.verify)
            status = mitral_plan_verify(context, plan);
        if (status == MITRAL_OK)
            status = mitral_plan_describe(&text, context, plan, arguments.threads, arguments.json);
    } else if (status == MITRAL_OK) {
        status = mitral_model_load(&model, context, arguments.path);
        if (status == MITRAL_OK)
            status = mitral_model_describe(&text, context, model, arguments.json);
    }
    if (status == MITRAL_OK)
        puts(text);
    int code = status == MITRAL_OK ? 0 : cli_fail("inspect", context, status);
    mitral_text_destroy(context, &text);
    mitral_plan_destroy(&plan);
    mitral_model_destroy(&model);
    mitral_context_destroy(&context);
    return code;
}
