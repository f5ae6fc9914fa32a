#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/command.h"
#include "cli/inputs.h"
#include "mitral/tools.h"

enum { KEY_CASE = 256, KEY_THREADS, KEY_PRECISION, KEY_INTERPRET, KEY_DENORMALS };

struct arguments {
    const char *model, *folder, *case_folder;
    struct cli_inputs inputs;
    mitral_compile_options compile;
    mitral_session_options session;
};

static const struct argp_option options[] = {
    {"input", 'i', "[NAME=]FILE", 0, "an input, .npy or .pb; without NAME= the next input in order", 0},
    {"output", 'o', "DIR", 0, "folder for the outputs, made if missing", 0},
    {"case", KEY_CASE, "CASE_DIR", 0, "run the data sets of a case of ONNX's backend suite", 0},
    {"precision", KEY_PRECISION, "f32|bf16", 0, "of a model that is compiled [f32]", 0},
    {"threads", KEY_THREADS, "N", 0, "[all cores]", 0},
    {"interpret", KEY_INTERPRET, 0, 0, "no passes: one step a node", 0},
    {"keep-denormals", KEY_DENORMALS, 0, 0, "do not flush denormal numbers to zero", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'i':
        if (!cli_inputs_add(&arguments->inputs, value))
            argp_error(state, "-i: expected [NAME=]FILE, at most %d times, found '%s'", CLI_MAX_INPUTS, value);
        return 0;
    case 'o': arguments->folder = value; return 0;
    case KEY_CASE: arguments->case_folder = value; return 0;
    case KEY_PRECISION:
        arguments->compile.precision = cli_parse_precision(state, value);
        return 0;
    case KEY_THREADS:
        arguments->session.threads = arguments->compile.threads = cli_parse_threads(state, value);
        return 0;
    case KEY_INTERPRET: arguments->compile.interpret = true; return 0;
    case KEY_DENORMALS: arguments->session.keep_denormals = true; return 0;
    case ARGP_KEY_ARG:
        if (arguments->model)
            argp_error(state, "expected one model, found also '%s'", value);
        arguments->model = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->model || !arguments->folder)
            argp_error(state, "expected a model and -o DIR");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static mitral_status make_folder(const char *path)
{
    return mkdir(path, 0777) == 0 || errno == EEXIST ? MITRAL_OK : MITRAL_IO;
}

/* A value's name as a file name: other characters become '_', names that clash get a number. */
static void file_name(const mitral_plan *plan, size_t index, char *out, size_t size)
{
    char mine[200], other[200];
    size_t clashes = 0;
    for (size_t i = 0; i <= index; i++) {
        char *to = i == index ? mine : other;
        const char *name = mitral_plan_output(plan, i).name;
        size_t n = 0;
        for (; name[n] && n + 1 < sizeof mine; n++)
            to[n] = strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", name[n]) ? name[n] : '_';
        to[n] = '\0';
        if (n == 0 || strcmp(to, ".") == 0 || strcmp(to, "..") == 0)
            strcpy(to, "output");
    }
    for (size_t i = 0; i < index; i++) {
        char before[256];
        file_name(plan, i, before, sizeof before);
        size_t length = strlen(mine);
        clashes += strncmp(before, mine, length) == 0 && (before[length] == '\0' || before[length] == '_');
    }
    snprintf(out, size, clashes ? "%s_%zu" : "%s", mine, clashes);
}

static mitral_status save_outputs(mitral_context *context, const mitral_plan *plan, const mitral_value *const *outputs,
                                  const char *folder)
{
    for (size_t i = 0; i < mitral_plan_output_count(plan); i++) {
        char name[256], path[4096];
        file_name(plan, i, name, sizeof name);
        snprintf(path, sizeof path, "%s/%s.%s", folder, name, mitral_value_fits_npy(outputs[i]) ? "npy" : "pb");
        mitral_status status = mitral_value_save(context, outputs[i], mitral_plan_output(plan, i).name, path);
        if (status != MITRAL_OK)
            return status;
    }
    return MITRAL_OK;
}

static mitral_status run_once(mitral_context *context, struct arguments *arguments)
{
    mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    mitral_value *values[CLI_MAX_INPUTS] = {0};
    const mitral_value *outputs[256];
    mitral_status status = cli_inputs_open(&plan, values, context, arguments->model, &arguments->inputs, &arguments->compile, NULL);
    if (status == MITRAL_OK)
        status = mitral_session_create(&session, context, plan, &arguments->session);
    size_t count = plan ? mitral_plan_output_count(plan) : 0;
    count = count > 256 ? 256 : count;
    if (status == MITRAL_OK)
        status = mitral_session_run(session, (const mitral_value *const *)values, mitral_plan_input_count(plan), outputs, count);
    if (status == MITRAL_OK && make_folder(arguments->folder) != MITRAL_OK)
        status = MITRAL_IO;
    if (status == MITRAL_OK)
        status = save_outputs(context, plan, outputs, arguments->folder);
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
    arguments->session.keep_denormals = true;
    mitral_status status = cli_open_plan(&plan, context, arguments->model, &arguments->compile);
    if (status == MITRAL_OK)
        status = mitral_session_create(&session, context, plan, &arguments->session);
    if (status == MITRAL_OK && make_folder(arguments->folder) != MITRAL_OK)
        status = MITRAL_IO;
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
        const mitral_value *outputs[256];
        size_t count = mitral_plan_output_count(plan);
        count = count > 256 ? 256 : count;
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
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    return status;
}

int command_run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "MODEL.onnx|MODEL.plan",
                                     "Runs a model; writes each output to DIR/<output name>.npy (.pb where .npy has no such type). "
                                     "Symbolic dimensions take the sizes of the inputs.\v"
                                     "Example: mitral run student.onnx -i image=slice.npy -o out", 0, 0, 0};
    static struct arguments arguments;
    argp_parse(&argp, argc, argv, 0, 0, &arguments);
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
