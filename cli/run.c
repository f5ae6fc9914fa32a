#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/plan_options.h"
#include "mitral/tools.h"

enum { KEY_CASE = 256, KEY_DENORMALS, KEY_PIN };

struct arguments {
    const char *model, *folder, *case_folder;
    struct cli_inputs inputs;
    struct cli_plan_options plan;
};

static const struct argp_option options[] = {
    {"input", 'i', "[NAME=]FILE", 0, "an input, .npy or .pb; without NAME= the next input in order", 0},
    {"output", 'o', "DIR", 0, "folder for the outputs, made if missing", 0},
    {"case", KEY_CASE, "CASE_DIR", 0, "run the data sets of a case of ONNX's backend suite", 0},
    {"keep-denormals", KEY_DENORMALS, 0, 0, "do not flush denormal numbers to zero", 0},
    {"pin", KEY_PIN, 0, 0, "each thread on a core of its own", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &arguments->plan; return 0;
    case 'i':
        if (!cli_inputs_add(&arguments->inputs, value))
            cli_usage(state, "-i: expected [NAME=]FILE, at most %d times, found '%s'", CLI_MAX_INPUTS, value);
        return 0;
    case 'o': arguments->folder = value; return 0;
    case KEY_CASE: arguments->case_folder = value; return 0;
    case KEY_DENORMALS: arguments->plan.session.keep_denormals = true; return 0;
    case KEY_PIN: arguments->plan.session.pin = true; return 0;
    case ARGP_KEY_ARG:
        if (arguments->model)
            cli_usage(state, "expected one model, found also '%s'", value);
        arguments->model = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->model || !arguments->folder)
            cli_usage(state, "expected a model and -o DIR, found %s", arguments->model ? "no -o" : "no model");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static mitral_status make_folder(const char *path)
{
    return mkdir(path, 0777) == 0 || errno == EEXIST ? MITRAL_OK : MITRAL_IO;
}

enum { NAME_SIZE = 224 };

/* A value's name as a file name: other characters become '_'. */
static void plain_name(const char *name, char out[NAME_SIZE])
{
    size_t n = 0;
    for (; name[n] && n + 24 < NAME_SIZE; n++)
        out[n] = strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", name[n]) ? name[n] : '_';
    out[n] = '\0';
    if (n == 0 || strcmp(out, ".") == 0 || strcmp(out, "..") == 0)
        strcpy(out, "output");
}

static bool is_taken(const char (*names)[NAME_SIZE], size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* Names that clash with an earlier one get a number. */
static void file_names(const mitral_plan *plan, size_t count, char (*names)[NAME_SIZE])
{
    for (size_t i = 0; i < count; i++) {
        plain_name(mitral_plan_output(plan, i).name, names[i]);
        const size_t length = strlen(names[i]);
        for (size_t number = 1; is_taken((const char (*)[NAME_SIZE])names, i, names[i]); number++)
            snprintf(names[i] + length, NAME_SIZE - length, "_%zu", number);
    }
}

static mitral_status save_outputs(mitral_context *context, const mitral_plan *plan, const mitral_value *const *outputs,
                                  size_t count, const char *folder)
{
    char(*names)[NAME_SIZE] = calloc(count ? count : 1, sizeof *names);
    mitral_status status = names ? MITRAL_OK : MITRAL_NO_MEMORY;
    if (names)
        file_names(plan, count, names);
    for (size_t i = 0; i < count && status == MITRAL_OK; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s.%s", folder, names[i], mitral_value_fits_npy(outputs[i]) ? "npy" : "pb");
        status = mitral_value_save(context, outputs[i], mitral_plan_output(plan, i).name, path);
    }
    free(names);
    return status;
}

static mitral_status run_once(mitral_context *context, struct arguments *arguments)
{
    mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    mitral_value *values[CLI_MAX_INPUTS] = {0};
    mitral_status status = cli_inputs_open(&plan, values, context, arguments->model, &arguments->inputs, &arguments->plan.compile, NULL);
    if (status == MITRAL_OK)
        status = mitral_session_create(&session, context, plan, &arguments->plan.session);
    const size_t count = plan ? mitral_plan_output_count(plan) : 0;
    const mitral_value **outputs = calloc(count ? count : 1, sizeof *outputs);
    if (!outputs)
        status = MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        status = mitral_session_run(session, (const mitral_value *const *)values, mitral_plan_input_count(plan), outputs, count);
    if (status == MITRAL_OK && make_folder(arguments->folder) != MITRAL_OK)
        status = MITRAL_IO;
    if (status == MITRAL_OK)
        status = save_outputs(context, plan, outputs, count, arguments->folder);
    free(outputs);
    mitral_session_destroy(&session);
    cli_inputs_close(values);
    mitral_plan_destroy(&plan);
    return status;
}

/* Runs each data set of a case; outputs go to DIR/<data set>/output_N.pb. */
static mitral_status run_case(mitral_context *context, struct arguments *arguments)
{
    mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    arguments->plan.session.keep_denormals = true;
    mitral_status status = cli_open_plan(&plan, context, arguments->model, &arguments->plan.compile);
    if (status == MITRAL_OK)
        status = mitral_session_create(&session, context, plan, &arguments->plan.session);
    if (status == MITRAL_OK && make_folder(arguments->folder) != MITRAL_OK)
        status = MITRAL_IO;
    const size_t count = plan ? mitral_plan_output_count(plan) : 0;
    const mitral_value **outputs = calloc(count ? count : 1, sizeof *outputs);
    if (!outputs)
        status = MITRAL_NO_MEMORY;
    for (int set = 0; status == MITRAL_OK; set++) {
        char from[3000], to[3000], path[4096];
        struct stat info;
        snprintf(from, sizeof from, "%s/test_data_set_%d", arguments->case_folder, set);
        snprintf(to, sizeof to, "%s/test_data_set_%d", arguments->folder, set);
        if (stat(from, &info) != 0) {
            if (set == 0) {
                cli_error("run", "%s: expected a folder test_data_set_0, found none", arguments->case_folder);
                status = MITRAL_INVALID;
            }
            break;
        }
        mitral_value *values[CLI_MAX_INPUTS] = {0};
        status = cli_inputs_load_case(values, context, plan, from);
        if (status == MITRAL_OK)
            status = mitral_session_run(session, (const mitral_value *const *)values, mitral_plan_input_count(plan), outputs, count);
        if (status == MITRAL_OK && make_folder(to) != MITRAL_OK)
            status = MITRAL_IO;
        for (size_t i = 0; i < count && status == MITRAL_OK; i++) {
            snprintf(path, sizeof path, "%s/output_%zu.pb", to, i);
            status = mitral_value_save(context, outputs[i], mitral_plan_output(plan, i).name, path);
        }
        cli_inputs_close(values);
    }
    free(outputs);
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    return status;
}

int command_run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "MODEL.onnx|MODEL.plan",
                                     "Runs a model; writes each output to DIR/<output name>.npy (.pb where .npy has no such type). "
                                     "Symbolic dimensions take the sizes of the inputs.\v"
                                     "Example: mitral run student.onnx -i image=slice.npy -o out", cli_plan_children, 0, 0};
    static struct arguments arguments;
    cli_parse(&argp, CLI_LOADS_MODEL, argc, argv, &arguments);
    mitral_context *context = NULL;
    mitral_status status = cli_context_create(&context);
    if (status == MITRAL_OK)
        status = arguments.case_folder ? run_case(context, &arguments) : run_once(context, &arguments);
    if (status == MITRAL_IO && !*mitral_context_message(context))
        cli_error("run", "%s: expected a folder that can be written to: %s", arguments.folder, strerror(errno));
    int code = status == MITRAL_OK ? 0 : *mitral_context_message(context) ? cli_fail("run", context, status) : cli_exit_code(status);
    mitral_context_destroy(&context);
    return code;
}
