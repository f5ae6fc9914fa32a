#include <argp.h>
#include <cjson/cJSON.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/inputs.h"
#include "mitral/tools.h"

struct arguments {
    const char *folder;
    const char *filter;
    bool json, interpret;
    int threads;
};

enum { KEY_INTERPRET = 256, KEY_FILTER, KEY_THREADS };

static const struct argp_option options[] = {
    {"json", 'j', 0, 0, "a JSON line a case, and nothing else", 0},
    {"interpret", KEY_INTERPRET, 0, 0, "score the interpreter (one step a node) instead of compiled plans", 0},
    {"filter", KEY_FILTER, "TEXT", 0, "only cases whose name holds TEXT", 0},
    {"threads", KEY_THREADS, "N", 0, "[all cores]", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'j': arguments->json = true; return 0;
    case KEY_INTERPRET: arguments->interpret = true; return 0;
    case KEY_THREADS: arguments->threads = cli_parse_threads(state, value); return 0;
    case KEY_FILTER: arguments->filter = value; return 0;
    case ARGP_KEY_ARG:
        if (arguments->folder)
            cli_usage(state, "expected one folder, found also '%s'", value);
        arguments->folder = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->folder)
            cli_usage(state, "expected the folder of the cases, found none");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

struct outcome {
    const char *status; /* "pass", "fail", "unsupported" */
    char reason[2200];
};

static void read_tolerance(const char *folder, double *rtol, double *atol)
{
    char path[4096], text[4096];
    *rtol = 1e-3;
    *atol = 1e-7;
    snprintf(path, sizeof path, "%s/data.json", folder);
    FILE *file = fopen(path, "rb");
    if (!file)
        return;
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    cJSON *json = cJSON_Parse(text);
    const cJSON *value = cJSON_GetObjectItem(json, "rtol");
    *rtol = cJSON_IsNumber(value) ? value->valuedouble : *rtol;
    value = cJSON_GetObjectItem(json, "atol");
    *atol = cJSON_IsNumber(value) ? value->valuedouble : *atol;
    cJSON_Delete(json);
}

static mitral_status run_set(mitral_context *context, mitral_session *session, const mitral_plan *plan, const char *folder,
                             double rtol, double atol, struct outcome *outcome)
{
    mitral_value *values[CLI_MAX_INPUTS] = {0}, *wanted = NULL;
    const mitral_value *outputs[CLI_MAX_INPUTS];
    size_t count = mitral_plan_output_count(plan);
    count = count > CLI_MAX_INPUTS ? CLI_MAX_INPUTS : count;
    mitral_status status = cli_inputs_load_case(values, context, plan, folder);
    if (status == MITRAL_OK)
        status = mitral_session_run(session, (const mitral_value *const *)values, mitral_plan_input_count(plan), outputs, count);
    for (size_t i = 0; i < count && status == MITRAL_OK; i++) {
        char path[4096], reason[1024];
        if (snprintf(path, sizeof path, "%s/output_%zu.pb", folder, i) >= (int)sizeof path || access(path, F_OK) != 0)
            continue;
        status = mitral_value_load(&wanted, context, path, (mitral_kind)outputs[i]->kind);
        if (status == MITRAL_OK && !mitral_value_equal(outputs[i], wanted, rtol, atol, reason, sizeof reason)) {
            outcome->status = "fail";
            snprintf(outcome->reason, sizeof outcome->reason, "output %zu '%s': %s", i, mitral_plan_output(plan, i).name, reason);
            i = count;
        }
        mitral_value_destroy(&wanted);
    }
    cli_inputs_close(values);
    return status;
}

static void run_case(const char *folder, const struct arguments *arguments, struct outcome *outcome)
{
    mitral_context *context = NULL;
    mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    char path[4096];
    double rtol, atol;
    *outcome = (struct outcome){.status = "pass"};
    read_tolerance(folder, &rtol, &atol);
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    const mitral_context_options limits = cli_context_options();
    mitral_compile_options compile = {.interpret = arguments->interpret, .threads = arguments->threads};
    mitral_status status = cli_context_open(&context, &limits);
    if (status == MITRAL_OK)
        status = cli_open_plan(&plan, context, path, &compile);
    if (status == MITRAL_OK)
        status = mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = arguments->threads, .keep_denormals = true});
    bool any = false;
    for (int set = 0; status == MITRAL_OK && strcmp(outcome->status, "pass") == 0; set++, any = true) {
        struct stat info;
        snprintf(path, sizeof path, "%s/test_data_set_%d", folder, set);
        if (stat(path, &info) != 0)
            break;
        status = run_set(context, session, plan, path, rtol, atol, outcome);
    }
    if (status != MITRAL_OK) {
        outcome->status = status == MITRAL_UNSUPPORTED ? "unsupported" : "fail";
        snprintf(outcome->reason, sizeof outcome->reason, "%s", mitral_context_message(context));
    } else if (!any) {
        outcome->status = "fail";
        snprintf(outcome->reason, sizeof outcome->reason, "expected test_data_set_0, found none");
    }
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    mitral_context_destroy(&context);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of the folders in a folder, sorted; NULL-terminated, malloc'ed. */
static char **list_folders(const char *path)
{
    DIR *folder = opendir(path);
    if (!folder)
        return NULL;
    size_t count = 0, capacity = 64;
    char **names = malloc(capacity * sizeof *names);
    for (struct dirent *entry; names && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        if (count + 1 == capacity) {
            char **larger = realloc(names, 2 * capacity * sizeof *names);
            if (!larger)
                break;
            names = larger;
            capacity *= 2;
        }
        names[count++] = strdup(entry->d_name);
    }
    closedir(folder);
    if (names) {
        qsort(names, count, sizeof *names, by_name);
        names[count] = NULL;
    }
    return names;
}

struct score {
    int passed, failed, unsupported;
};

static void print_outcome(const char *name, const struct outcome *outcome, bool json)
{
    if (!json) {
        if (strcmp(outcome->status, "pass") != 0)
            printf("%-11s %s: %s\n", outcome->status, name, outcome->reason);
        return;
    }
    cJSON *line = cJSON_CreateObject();
    cJSON_AddStringToObject(line, "case", name);
    cJSON_AddStringToObject(line, "status", outcome->status);
    if (*outcome->reason)
        cJSON_AddStringToObject(line, "reason", outcome->reason);
    char *text = cJSON_PrintUnformatted(line);
    puts(text);
    fflush(stdout);
    free(text);
    cJSON_Delete(line);
}

static void run_suite(const struct arguments *arguments, const char *suite, struct score *score)
{
    char path[2048];
    snprintf(path, sizeof path, "%s/%s", arguments->folder, suite);
    char **cases = list_folders(path);
    for (size_t i = 0; cases && cases[i]; i++) {
        char folder[3072], model[4096], name[1024];
        struct stat info;
        snprintf(folder, sizeof folder, "%s/%s", path, cases[i]);
        snprintf(model, sizeof model, "%s/model.onnx", folder);
        snprintf(name, sizeof name, "%s/%s", suite, cases[i]);
        if (stat(model, &info) == 0 && (!arguments->filter || strstr(name, arguments->filter))) {
            struct outcome outcome;
            run_case(folder, arguments, &outcome);
            print_outcome(name, &outcome, arguments->json);
            score->passed += strcmp(outcome.status, "pass") == 0;
            score->failed += strcmp(outcome.status, "fail") == 0;
            score->unsupported += strcmp(outcome.status, "unsupported") == 0;
        }
        free(cases[i]);
    }
    free(cases);
}

int command_conformance(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "DIR",
                                     "Runs the cases of ONNX's backend suite, laid out as tests/conformance/write_cases.py writes them, and "
                                     "scores each: pass, fail or unsupported. Exit 0 when it ran to the end.\v"
                                     "Example: mitral conformance cases --json > scores.jsonl", 0, 0, 0};
    struct arguments arguments = {0};
    cli_parse(&argp, CLI_LOADS_MODEL, argc, argv, &arguments);
    char **suites = list_folders(arguments.folder);
    if (!suites)
        return cli_error("conformance", "%s: expected a folder that can be read, found none", arguments.folder);
    struct score score = {0};
    for (size_t i = 0; suites[i]; i++) {
        run_suite(&arguments, suites[i], &score);
        free(suites[i]);
    }
    free(suites);
    if (score.passed + score.failed + score.unsupported == 0)
        return cli_error("conformance", "%s: expected folders SUITE/CASE with a model.onnx, found none", arguments.folder);
    if (!arguments.json)
        printf("%d passed, %d failed, %d unsupported of %d\n", score.passed, score.failed, score.unsupported,
               score.passed + score.failed + score.unsupported);
    return 0;
}
