#include <argp.h>
#include <cjson/cJSON.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/bench_training.h"
#include "cli/inputs.h"
#include "cli/plan_options.h"
#include "cli/profile.h"
#include "mitral/data.h"
#include "mitral/tools.h"

enum { KEY_REPEAT = 256, KEY_PROFILE, KEY_DENORMALS, KEY_PIN, KEY_TRAIN, WARM_UPS = 3 };

struct arguments {
    const char *model, *profile;
    struct cli_inputs inputs;
    struct cli_plan_options plan;
    long repeat;
    bool json;
};

static const struct argp_option options[] = {
    {"input", 'i', "[NAME=]FILE", 0, "an input, .npy or .pb [standard-normal numbers from a fixed seed]", 0},
    {"repeat", KEY_REPEAT, "N", 0, "timed runs [20]", 0},
    {"json", 'j', 0, 0, "one JSON object on standard output", 0},
    {"profile", KEY_PROFILE, "OUT.json", 0, "write a Chrome/Perfetto trace and print a table by step", 0},
    {"keep-denormals", KEY_DENORMALS, 0, 0, "do not flush denormal numbers to zero", 0},
    {"pin", KEY_PIN, 0, 0, "each thread on a core of its own", 0},
    {"train", KEY_TRAIN, 0, 0, "time training steps: see bench --train --help", 0},
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
    case 'j': arguments->json = true; return 0;
    case KEY_REPEAT:
        if (!cli_parse_count(value, &arguments->repeat) || arguments->repeat > 1000000)
            cli_usage(state, "--repeat: expected a number from 1 to 1000000, found '%s'", value);
        return 0;
    case KEY_PROFILE: arguments->profile = value; return 0;
    case KEY_DENORMALS: arguments->plan.session.keep_denormals = true; return 0;
    case KEY_PIN: arguments->plan.session.pin = true; return 0;
    case ARGP_KEY_ARG:
        if (arguments->model)
            cli_usage(state, "expected one model, found also '%s'", value);
        arguments->model = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->model)
            cli_usage(state, "expected a model or a plan, found none");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static double milliseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

struct timing {
    double load, first, median, p90, rss;
};

static mitral_status time_runs(mitral_session *session, const mitral_value *const *values, size_t inputs, long repeat,
                               struct timing *timing)
{
    double *times = calloc((size_t)repeat, sizeof *times);
    if (!times)
        return MITRAL_NO_MEMORY;
    double start = milliseconds();
    mitral_status status = mitral_session_run(session, values, inputs, NULL, 0);
    timing->first = milliseconds() - start;
    for (int i = 0; i < WARM_UPS && status == MITRAL_OK; i++)
        status = mitral_session_run(session, values, inputs, NULL, 0);
    for (long i = 0; i < repeat && status == MITRAL_OK; i++) {
        start = milliseconds();
        status = mitral_session_run(session, values, inputs, NULL, 0);
        times[i] = milliseconds() - start;
    }
    qsort(times, (size_t)repeat, sizeof *times, by_value);
    timing->median = repeat % 2 ? times[repeat / 2] : (times[repeat / 2 - 1] + times[repeat / 2]) / 2;
    timing->p90 = times[(repeat * 9 + 9) / 10 - 1]; /* nearest rank */
    timing->rss = cli_peak_memory();
    free(times);
    return status;
}

static void print_timing(const struct arguments *arguments, const struct timing *timing)
{
    if (!arguments->json) {
        printf("load %.2f ms, first run %.2f ms, median of %ld runs %.3f ms, p90 %.3f ms, peak memory %.1f MB\n", timing->load,
               timing->first, arguments->repeat, timing->median, timing->p90, timing->rss);
        return;
    }
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "model", arguments->model);
    const int threads = arguments->plan.session.threads;
    cJSON_AddNumberToObject(root, "threads", threads > 0 ? threads : omp_get_num_procs());
    if (!cli_is_plan(arguments->model)) /* a plan was compiled for one, and does not say which */
        cJSON_AddStringToObject(root, "precision", arguments->plan.compile.precision == MITRAL_PRECISION_BF16 ? "bf16" : "f32");
    cJSON_AddNumberToObject(root, "repeat", (double)arguments->repeat);
    cJSON_AddNumberToObject(root, "load_ms", timing->load);
    cJSON_AddNumberToObject(root, "first_ms", timing->first);
    cJSON_AddNumberToObject(root, "median_ms", timing->median);
    cJSON_AddNumberToObject(root, "p90_ms", timing->p90);
    cJSON_AddNumberToObject(root, "peak_rss_mb", timing->rss);
    char *text = cJSON_PrintUnformatted(root);
    puts(text);
    free(text);
    cJSON_Delete(root);
}

int command_bench(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "MODEL.onnx|MODEL.plan",
                                     "Times a model: load (open to ready), first run, then 3 warm-ups and the timed runs.\v"
                                     "Example: mitral bench student.plan --threads 1 --repeat 50 --json", cli_plan_children, 0, 0};
    static struct arguments arguments = {.repeat = 20};
    if (cli_asks_for_training(argc, argv))
        return cli_bench_training(argc, argv);
    cli_parse(&argp, CLI_LOADS_MODEL, argc, argv, &arguments);
    mitral_context *context = NULL;
    mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    mitral_value *values[CLI_MAX_INPUTS] = {0};
    const uint64_t seed = 1;
    struct timing timing = {0};
    struct profile profile = {0};
    mitral_status status = cli_context_create(&context);
    if (status == MITRAL_OK && arguments.profile)
        status = mitral_file_check(context, arguments.profile);
    double start = milliseconds();
    if (status == MITRAL_OK)
        status = cli_inputs_open(&plan, values, context, arguments.model, &arguments.inputs, &arguments.plan.compile, &seed);
    if (status == MITRAL_OK)
        status = mitral_session_create(&session, context, plan, &arguments.plan.session);
    size_t inputs = plan ? mitral_plan_input_count(plan) : 0;
    const mitral_value *const *given = (const mitral_value *const *)values;
    if (status == MITRAL_OK)
        status = mitral_session_prepare(session, given, inputs);
    timing.load = milliseconds() - start;
    if (status == MITRAL_OK)
        status = time_runs(session, given, inputs, arguments.repeat, &timing);
    if (status == MITRAL_OK)
        print_timing(&arguments, &timing);
    if (status == MITRAL_OK && arguments.profile)
        status = cli_profile_session(&profile, session, given, inputs);
    if (status == MITRAL_OK && arguments.profile)
        status = cli_profile_write(&profile, context, arguments.plan.session.threads, arguments.profile, arguments.json ? stderr : stdout);
    int code = status == MITRAL_OK ? 0 : *mitral_context_message(context) ? cli_fail("bench", context, status) : cli_exit_code(status);
    cli_profile_free(&profile);
    mitral_session_destroy(&session);
    cli_inputs_close(values);
    mitral_plan_destroy(&plan);
    mitral_context_destroy(&context);
    return code;
}
