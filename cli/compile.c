#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "cli/precision.h"

enum { MAX_SHAPES = 64 };

struct arguments {
    const char *model, *output;
    mitral_shape shapes[MAX_SHAPES];
    mitral_compile_options options;
};

enum { KEY_SHAPE = 256, KEY_PRECISION, KEY_DUMP, KEY_STOP, KEY_THREADS, KEY_TUNE, KEY_INTERPRET };

static const struct argp_option options[] = {
    {"output", 'o', "MODEL.plan", 0, "the plan to write", 0},
    {"shape", KEY_SHAPE, "NAME=1x1x224x224", 0, "fixes the shape of an input (may be repeated)", 0},
    {"precision", KEY_PRECISION, "f32|bf16", 0, "bf16: bfloat16 products where they are faster; says how far outputs change [f32]", 0},
    {"threads", KEY_THREADS, "N", 0, "that the choices are made for [all cores]", 0},
    {"tune", KEY_TUNE, 0, 0, "time candidate kernels on this machine and store the choice", 0},
    {"interpret", KEY_INTERPRET, 0, 0, "no passes: one step a node", 0},
    {"dump-after", KEY_DUMP, "PASS", 0, "print the graph after a pass ('import', a pass, or 'all')", 0},
    {"stop-after", KEY_STOP, "PASS", 0, "run no pass after this one", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'o': arguments->output = value; return 0;
    case KEY_SHAPE:
        if (arguments->options.shape_count == MAX_SHAPES)
            cli_usage(state, "expected at most %d shapes", MAX_SHAPES);
        if (!cli_parse_shape(value, &arguments->shapes[arguments->options.shape_count++]))
            cli_usage(state, "--shape: expected NAME=1x1x224x224, found '%s'", value);
        return 0;
    case KEY_PRECISION:
        arguments->options.precision = cli_parse_precision(state, value);
        return 0;
    case KEY_THREADS:
        arguments->options.threads = cli_parse_threads(state, value);
        return 0;
    case KEY_TUNE: arguments->options.tune = true; return 0;
    case KEY_INTERPRET: arguments->options.interpret = true; return 0;
    case KEY_DUMP: arguments->options.dump_after = value; return 0;
    case KEY_STOP: arguments->options.stop_after = value; return 0;
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
                                     "Example: mitral compile student.onnx -o student.plan --shape image=1x1x224x224", 0, 0, 0};
    struct arguments arguments = {0};
    arguments.options.dump = print_text;
    cli_parse(&argp, argc, argv, &arguments);
    arguments.options.shapes = arguments.shapes;
    mitral_context *context = NULL;
    mitral_model *model = NULL;
    mitral_plan *plan = NULL;
    mitral_status status = cli_context_create(&context);
    if (status == MITRAL_OK)
        status = mitral_model_load(&model, context, arguments.model);
    if (status == MITRAL_OK)
        status = mitral_compile(&plan, context, model, &arguments.options);
    if (status == MITRAL_OK)
        status = cli_state_precision(context, model, &arguments.options, plan);
    if (status == MITRAL_OK)
        status = mitral_plan_save(context, plan, arguments.output);
    int code = status == MITRAL_OK ? 0 : cli_fail("compile", context, status);
    mitral_plan_destroy(&plan);
    mitral_model_destroy(&model);
    mitral_context_destroy(&context);
    return code;
}
