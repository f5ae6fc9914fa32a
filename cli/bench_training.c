#include "cli/bench_training.h"

#include <argp.h>
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/profile.h"
#include "mitral/data.h"
#include "mitral/train.h"

enum { KEY_TRAIN = 256, KEY_TEACHER, KEY_METHOD, KEY_BATCH, KEY_OPTIMIZER, KEY_MEMORY, KEY_PRECISION, KEY_THREADS, KEY_REPEAT, KEY_PROFILE, MAX_SETTINGS = 16 };

struct arguments {
    const char *model;
    struct {
        const char *name, *value;
    } settings[MAX_SETTINGS];
    size_t count;
    long repeat;
    bool json, profiled;
    const char *trace;
};

static const struct argp_option options[] = {
    {"train", KEY_TRAIN, 0, 0, "time training steps instead of inference", 0},
    {"teacher", KEY_TEACHER, "T.onnx", 0, "with this teacher's forward", 0},
    {"method", KEY_METHOD, "none|logits|fitnet|cwd|at|mavkd", 0, "[mavkd where there is a teacher]", 0},
    {"batch", KEY_BATCH, "N", 0, "[8]", 0},
    {"optimizer", KEY_OPTIMIZER, "sgd|adam|adamw", 0, "[sgd]", 0},
    {"memory", KEY_MEMORY, "normal|low", 0, "low: cheap values are computed again rather than kept [low]", 0},
    {"precision", KEY_PRECISION, "f32|bf16", 0, "bf16: products in bfloat16 where they are faster; needs AMX [f32]", 0},
    {"threads", KEY_THREADS, "N", 0, "[all cores]", 0},
    {"repeat", KEY_REPEAT, "N", 0, "timed steps, after two for warming up [10]", 0},
    {"profile", KEY_PROFILE, "OUT.json", OPTION_ARG_OPTIONAL,
     "print a table by step of the last timed one, on standard error; with a file write a Chrome/Perfetto trace, too", 0},
    {"json", 'j', 0, 0, "one JSON object on standard output", 0},
    {0}};

/* Without a teacher there is nothing to learn by a method, and its time would be another's. */
static void check_method(const struct arguments *arguments, struct argp_state *state)
{
    const char *method = NULL, *teacher = NULL;
    for (size_t i = 0; i < arguments->count; i++) {
        if (strcmp(arguments->settings[i].name, "method") == 0)
            method = arguments->settings[i].value;
        if (strcmp(arguments->settings[i].name, "teacher") == 0)
            teacher = arguments->settings[i].value;
    }
    if (method && strcmp(method, "none") != 0 && !teacher)
        cli_usage(state, "--method %s: expected a teacher (--teacher T.onnx), found none", method);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    static const char *const names[] = {"teacher", "method", "batch", "optimizer", "memory", "precision", "threads"};
    switch (key) {
    case KEY_TRAIN: return 0;
    case 'j': arguments->json = true; return 0;
    case KEY_PROFILE:
        arguments->profiled = true;
        arguments->trace = value;
        return 0;
    case KEY_REPEAT:
        if (!cli_parse_count(value, &arguments->repeat) || arguments->repeat > 100000)
            cli_usage(state, "--repeat: expected a number from 1 to 100000, found '%s'", value);
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->model)
            cli_usage(state, "expected one model, found also '%s'", value);
        arguments->model = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->model)
            cli_usage(state, "expected a model, found none");
        check_method(arguments, state);
        return 0;
    default:
        if (key < KEY_TEACHER || key > KEY_THREADS)
            return ARGP_ERR_UNKNOWN;
        if (arguments->count == MAX_SETTINGS)
            cli_usage(state, "expected at most %d options", MAX_SETTINGS);
        arguments->settings[arguments->count].name = names[key - KEY_TEACHER];
        arguments->settings[arguments->count++].value = value;
        return 0;
    }
}

bool cli_asks_for_training(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--train") == 0)
            return true;
    return false;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct record {
    struct profile profile;
    bool full;
};

static void record_step(void *user, const mitral_step_info *step, double seconds)
{
    struct record *record = user;
    record->full = !cli_profile_add(&record->profile, step, seconds) || record->full;
}

static void print_timing(const struct arguments *arguments, mitral_training *training, const mitral_training_timing *timing, double peak)
{
    double *seconds = timing->step_seconds;
    qsort(seconds, timing->repeat, sizeof *seconds, compare);
    const double median = seconds[timing->repeat / 2], p90 = seconds[timing->repeat * 9 / 10];
    const double batch = atof(mitral_training_get(training, "batch"));
    if (!arguments->json) {
        printf("step %.1f ms (p90 %.1f), %.2f images/s, of which the teacher %.1f ms; built in %.0f ms; activations %.1f MB, peak %.1f MB\n",
               1e3 * median, 1e3 * p90, batch / median, 1e3 * timing->teacher_seconds, 1e3 * timing->build_seconds,
               (double)timing->arena_bytes / 1e6, peak);
        return;
    }
    cJSON *root = cJSON_CreateObject();
    cJSON_AddNumberToObject(root, "step_ms", 1e3 * median);
    cJSON_AddNumberToObject(root, "p90_ms", 1e3 * p90);
    cJSON_AddNumberToObject(root, "teacher_ms", 1e3 * timing->teacher_seconds);
    cJSON_AddNumberToObject(root, "build_ms", 1e3 * timing->build_seconds);
    cJSON_AddNumberToObject(root, "images_per_second", batch / median);
    cJSON_AddNumberToObject(root, "arena_mb", (double)timing->arena_bytes / 1048576);
    cJSON_AddNumberToObject(root, "peak_rss_mb", peak);
    char *text = cJSON_PrintUnformatted(root);
    if (text)
        puts(text);
    cJSON_free(text);
    cJSON_Delete(root);
}

int cli_bench_training(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "MODEL.onnx",
                                     "Times training steps on random images.\v"
                                     "Example: mitral bench dpu-net.onnx --train --teacher unet.onnx --method mavkd --batch 8 --json", 0, 0, 0};
    struct arguments arguments = {.repeat = 10};
    cli_parse(&argp, CLI_LOADS_MODEL, argc, argv, &arguments);
    mitral_context *context = NULL;
    mitral_training *training = NULL;
    struct record record = {.full = false};
    mitral_training_timing timing = {.repeat = (size_t)arguments.repeat, .step = arguments.profiled ? record_step : NULL, .user = &record};
    timing.step_seconds = calloc(timing.repeat, sizeof *timing.step_seconds);
    mitral_status status = timing.step_seconds ? cli_context_create(&context) : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK && arguments.trace)
        status = mitral_file_check(context, arguments.trace);
    if (status == MITRAL_OK)
        status = mitral_training_create(&training, context);
    if (status == MITRAL_OK)
        status = mitral_training_set(training, "student", arguments.model);
    for (size_t i = 0; i < arguments.count && status == MITRAL_OK; i++)
        status = mitral_training_set(training, arguments.settings[i].name, arguments.settings[i].value);
    if (status == MITRAL_OK)
        status = mitral_training_time(training, &timing);
    const double peak = cli_peak_memory(); /* before the profile, which takes memory to measure the machine with */
    if (status == MITRAL_OK && record.full)
        status = MITRAL_NO_MEMORY;
    if (status == MITRAL_OK && arguments.profiled)
        status = cli_profile_write(&record.profile, context, atoi(mitral_training_get(training, "threads")), arguments.trace, stderr);
    int code = 0;
    if (status == MITRAL_OK)
        print_timing(&arguments, training, &timing, peak);
    else
        code = cli_fail("bench", context, status);
    cli_profile_free(&record.profile);
    free(timing.step_seconds);
    mitral_training_destroy(&training);
    mitral_context_destroy(&context);
    return code;
}
