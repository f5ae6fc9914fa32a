#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "cli/plan_options.h"
#include "cli/precision.h"

struct arguments {
    const char *model, *output;
    struct cli_plan_options plan;
};

enum { KEY_DUMP = 256, KEY_STOP };

static const struct argp_option options[] = {
    {"output", 'o', "MODEL.plan", 0, "the plan to write", 0},
    {"dump-after", KEY_DUMP, "PASS", 0, "print the graph after a pass ('import', a pass, or 'all')", 0},
    {"stop-after", KEY_STOP, "PASS", 0, "run no pass after this one", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &arguments->plan; return 0;
    case 'o': arguments->output = value; return 0;
    case KEY_DUMP: arguments->plan.compile.dump_after = value; return 0;
    case KEY_STOP: arguments->plan.compile.stop_after = value; return 0;
    case ARGP_KEY_ARG:
        if (arguments->model)
            cli_usage(state, "expected one model, found also '%s'", value);
        arguments->model = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->model || !arguments->output)
            cli_usage(state, "expected a model and -o MODEL.plan, found %s", arguments->model ? "no -o" : "no model");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void print_text(void *user, const char *text)
{
    (void)user;
    fputs(text, stdout);
    fputc('\n', stdout);
}

int command_compile(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "MODEL.onnx",
                                     "Compiles an ONNX model to an execution plan.\v"
                                     "Example: mitral compile student.onnx -o student.plan --shape image=1x1x224x224", cli_plan_children, 0, 0};
    struct arguments arguments = {0};
    arguments.plan.compile.dump = print_text;
    cli_parse(&argp, CLI_LOADS_MODEL, argc, argv, &arguments);
    mitral_context *context = NULL;
    mitral_model *model = NULL;
    mitral_plan *plan = NULL;
    mitral_status status = cli_context_create(&context);
    if (status == MITRAL_OK)
        status = mitral_model_load(&model, context, arguments.model);
    if (status == MITRAL_OK)
        status = mitral_compile(&plan, context, model, &arguments.plan.compile);
    if (status == MITRAL_OK)
        status = cli_state_precision(context, model, &arguments.plan.compile, plan);
    if (status == MITRAL_OK)
        status = mitral_plan_save(context, plan, arguments.output);
    int code = status == MITRAL_OK ? 0 : cli_fail("compile", context, status);
    mitral_plan_destroy(&plan);
    mitral_model_destroy(&model);
    mitral_context_destroy(&context);
    return code;
}
