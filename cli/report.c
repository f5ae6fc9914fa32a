#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/report.h"
#include "mitral/data.h"

enum { KEY_EVALUATION = 256, KEY_THREADS, MAX_BYTES = 1 << 26 };

struct arguments {
    const char *folder, *output, *evaluation;
};

static const struct argp_option options[] = {
    {"output", 'o', "REPORT.html", 0, "the page to write", 0},
    {"evaluation", KEY_EVALUATION, "FILE.json", 0, "what mitral evaluate --json wrote [RUN/evaluation.json, where it is there]", 0},
    {"threads", KEY_THREADS, "N", 0, "accepted as everywhere; writing a page takes one", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'o': arguments->output = value; return 0;
    case KEY_EVALUATION: arguments->evaluation = value; return 0;
    case KEY_THREADS: cli_parse_threads(state, value); return 0;
    case ARGP_KEY_ARG:
        if (arguments->folder)
            cli_usage(state, "expected one folder of a run, found also '%s'", value);
        arguments->folder = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->folder || !arguments->output)
            cli_usage(state, "expected the folder of a run and -o REPORT.html, found too few");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* A whole file and a zero behind it; NULL: cannot be read, or too large. */
static char *read_whole(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    char *bytes = NULL;
    size_t used = 0, capacity = 0;
    while (file && used <= MAX_BYTES) {
        if (used + 1 >= capacity) {
            capacity = capacity ? 2 * capacity : 65536;
            char *larger = realloc(bytes, capacity);
            if (!larger)
                break;
            bytes = larger;
        }
        const size_t count = fread(bytes + used, 1, capacity - used - 1, file);
        used += count;
        if (count > 0)
            continue;
        const bool whole = feof(file) && !ferror(file);
        fclose(file);
        if (!whole) {
            free(bytes);
            return NULL;
        }
        bytes[used] = 0;
        *size = used;
        return bytes;
    }
    if (file)
        fclose(file);
    free(bytes);
    return NULL;
}

/* A JSON object that holds `key`. What is not there is no error unless `needed`; what is there and is something else always is. */
static int read_json(cJSON **out, const char *path, const char *key, const char *expected, bool needed)
{
    size_t size;
    char *text = read_whole(path, &size);
    if (!text)
        return needed ? cli_error("report", "%s: expected %s, found none", path, expected) : 0;
    *out = cJSON_ParseWithLength(text, size);
    free(text);
    return cJSON_HasObjectItem(*out, key) ? 0 : cli_error("report", "%s: expected %s, found something else", path, expected);
}

/* ---- the log ---------------------------------------------------------------------------------------------------------------- */

static bool add_point(struct series *series, const char *name, double x, double y)
{
    if (series->count % 1024 == 0) {
        double *more_x = realloc(series->x, (series->count + 1024) * sizeof *more_x);
        if (more_x)
            series->x = more_x;
        double *more_y = realloc(series->y, (series->count + 1024) * sizeof *more_y);
        if (more_y)
            series->y = more_y;
        if (!more_x || !more_y)
            return false;
    }
    snprintf(series->name, sizeof series->name, "%s", name);
    series->x[series->count] = x;
    series->y[series->count++] = y;
    return true;
}

/* To the curve of that name, a new one where there is none and room for it. */
static void add_named(struct series *list, size_t *count, size_t room, const char *name, double x, const cJSON *value, double factor)
{
    size_t i = 0;
    while (i < *count && strcmp(list[i].name, name) != 0)
        i++;
    if (i == room)
        return;
    if (add_point(&list[i], name, x, cJSON_IsNumber(value) ? factor * value->valuedouble : NAN) && i == *count)
        ++*count;
}

static bool read_line(struct report *report, const cJSON *line)
{
    const cJSON *step = cJSON_GetObjectItemCaseSensitive(line, "step"), *loss = cJSON_GetObjectItemCaseSensitive(line, "loss");
    const cJSON *dice = cJSON_GetObjectItemCaseSensitive(line, "dice"), *item;
    if (!cJSON_IsNumber(step))
        return false;
    const double x = step->valuedouble;
    if (loss) {
        const cJSON *rate = cJSON_GetObjectItemCaseSensitive(line, "lr"), *norm = cJSON_GetObjectItemCaseSensitive(line, "gradient_norm");
        const cJSON *seconds = cJSON_GetObjectItemCaseSensitive(line, "seconds");
        add_named(report->loss, &report->loss_count, REPORT_TERMS, "total", x, loss, 1);
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(line, "terms"))
            add_named(report->loss, &report->loss_count, REPORT_TERMS, item->string, x, item, 1);
        add_point(&report->rate, "learning rate", x, cJSON_IsNumber(rate) ? rate->valuedouble : NAN);
        add_point(&report->norm, "norm", x, cJSON_IsNumber(norm) ? norm->valuedouble : NAN);
        report->seconds += cJSON_IsNumber(seconds) ? seconds->valuedouble : 0;
    }
    if (dice) {
        add_named(report->dice, &report->dice_count, REPORT_CLASSES, "mean", x, dice, 100);
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(line, "dice_by_class"))
            add_named(report->dice, &report->dice_count, REPORT_CLASSES, item->string, x, item, 100);
    }
    return true;
}

static bool read_log(struct report *report, const char *path)
{
    size_t size;
    char *text = read_whole(path, &size);
    for (const char *line = text, *last = text ? text + size : NULL; line < last;) {
        const char *end = memchr(line, '\n', (size_t)(last - line));
        cJSON *root = cJSON_ParseWithLength(line, (size_t)((end ? end : last) - line));
        if (!read_line(report, root) && end) /* the last one may be torn: the run goes on, or was killed */
            report->unread++;
        cJSON_Delete(root);
        line = end ? end + 1 : last;
    }
    free(text);
    return text != NULL;
}

/* ---- the folder ------------------------------------------------------------------------------------------------------------- */

static const char *const pictures[] = {"1_worst", "2_middle", "3_best"};

static int load(struct report *report, const struct arguments *arguments)
{
    char path[4096];
    report->folder = arguments->folder;
    snprintf(path, sizeof path, "%s/configuration.json", arguments->folder);
    int code = read_json(&report->configuration, path, "steps", "the configuration of a run (mitral train or distill with --checkpoint)", true);
    snprintf(path, sizeof path, "%s/result.json", arguments->folder);
    if (code == 0)
        code = read_json(&report->result, path, "steps", "the result of a run", false);
    snprintf(path, sizeof path, "%s/evaluation.json", arguments->folder);
    const char *evaluation = arguments->evaluation ? arguments->evaluation : path;
    if (code == 0)
        code = read_json(&report->evaluation, evaluation, "structures", "JSON of mitral evaluate", arguments->evaluation != NULL);
    if (code != 0)
        return code;
    const cJSON *log = cJSON_GetObjectItemCaseSensitive(report->configuration, "log");
    snprintf(path, sizeof path, "%s/log.jsonl", arguments->folder);
    if (!read_log(report, path) && (!cJSON_IsString(log) || !*log->valuestring || !read_log(report, log->valuestring)))
        return cli_error("report", "%s: expected the log of a run, found: %s", path, strerror(errno));
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/examples/%s.png", arguments->folder, pictures[i]);
        report->pictures[i] = read_whole(path, &report->picture_sizes[i]);
    }
    return 0;
}

static void free_series(struct series *series, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(series[i].x);
        free(series[i].y);
    }
}

static void unload(struct report *report)
{
    cJSON_Delete(report->configuration);
    cJSON_Delete(report->result);
    cJSON_Delete(report->evaluation);
    free_series(report->loss, REPORT_TERMS);
    free_series(report->dice, REPORT_CLASSES);
    free_series(&report->rate, 1);
    free_series(&report->norm, 1);
    for (int i = 0; i < 3; i++)
        free(report->pictures[i]);
}

/* The page replaces no file of the run, nor one that its configuration names. */
static mitral_status check_output(mitral_context *context, const struct report *report, const struct arguments *arguments)
{
    static const char *const files[] = {"configuration.json", "result.json", "evaluation.json", "log.jsonl", "checkpoint.bin", "best.bin"};
    static const char *const named[] = {"log", "student", "teacher", "output"};
    char path[4096];
    mitral_status status = arguments->evaluation ? mitral_file_check_apart(context, arguments->output, arguments->evaluation) : MITRAL_OK;
    for (size_t i = 0; i < sizeof files / sizeof *files && status == MITRAL_OK; i++) {
        snprintf(path, sizeof path, "%s/%s", arguments->folder, files[i]);
        status = mitral_file_check_apart(context, arguments->output, path);
    }
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures && status == MITRAL_OK; i++) {
        snprintf(path, sizeof path, "%s/examples/%s.png", arguments->folder, pictures[i]);
        status = mitral_file_check_apart(context, arguments->output, path);
    }
    for (size_t i = 0; i < sizeof named / sizeof *named && status == MITRAL_OK; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(report->configuration, named[i]);
        if (cJSON_IsString(item) && *item->valuestring)
            status = mitral_file_check_apart(context, arguments->output, item->valuestring);
    }
    return status;
}

static int write_page(const struct report *report, const struct arguments *arguments)
{
    mitral_context *context = NULL;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    mitral_status status = cli_context_create(&context);
    if (!out || status != MITRAL_OK) {
        if (out)
            fclose(out);
        free(text);
        return cli_error("report", "expected enough memory, found too little");
    }
    report_page(out, report);
    const bool failed = ferror(out) != 0;
    status = fclose(out) != 0 || failed ? MITRAL_NO_MEMORY : check_output(context, report, arguments);
    if (status == MITRAL_OK)
        status = mitral_file_write(context, arguments->output, text, size);
    const int code = status == MITRAL_OK ? 0 : cli_fail("report", context, status);
    mitral_context_destroy(&context);
    free(text);
    return code;
}

int command_report(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "RUN",
        "Writes what a training run left in its folder as one page: figures, Dice by structure, example pictures, curves and the configuration. "
        "The page needs no other file.\v"
        "Example: mitral evaluate student.onnx --data ACDC --json run/evaluation.json; mitral report run -o report.html",
        0,
        0,
        0};
    struct arguments arguments = {0};
    cli_parse(&argp, CLI_NO_MODEL, argc, argv, &arguments);
    struct report report = {0};
    int code = load(&report, &arguments);
    if (code == 0)
        code = write_page(&report, &arguments);
    unload(&report);
    return code;
}
