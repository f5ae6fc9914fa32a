#include "cli/profile.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "mitral/data.h"
#include "mitral/tools.h"

enum { RUNS = 10 };

struct row {
    size_t step;
    double seconds;
};

static int slowest_first(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return x->seconds < y->seconds ? 1 : x->seconds > y->seconds ? -1 : x->step < y->step ? -1 : x->step > y->step;
}

/* Attainable rate: bounded by arithmetic, or by moving what the step reads and writes. */
static double roofline_share(const mitral_step_info *info, double seconds, double flops, double bytes)
{
    double least = info->flops / flops;
    if (info->bytes / bytes > least)
        least = info->bytes / bytes;
    return seconds > 0 ? least / seconds : 0;
}

static void print_table(mitral_session *session, const struct row *rows, size_t count, double total, double flops, double bytes, FILE *out)
{
    fprintf(out, "peaks measured here: %.1f GFLOP/s, %.1f GB/s\n", flops / 1e9, bytes / 1e9);
    fprintf(out, "%9s %6s %9s %8s %9s  %-28s %-32s %s\n", "us", "share", "GFLOP/s", "GB/s", "roofline", "kernel", "node", "implementation");
    for (size_t i = 0; i < count; i++) {
        mitral_step_info info = mitral_session_step(session, rows[i].step);
        double seconds = rows[i].seconds;
        if (seconds <= 0)
            continue;
        fprintf(out, "%9.1f %5.1f%% %9.1f %8.1f %8.0f%%  %-28s %-32.32s %s\n", seconds * 1e6, 100 * seconds / total,
                info.flops / seconds / 1e9, info.bytes / seconds / 1e9, 100 * roofline_share(&info, seconds, flops, bytes),
                info.kernel, info.name, info.implementation);
    }
    fprintf(out, "%9.1f in all\n", total * 1e6);
}

static mitral_status write_trace(mitral_context *context, mitral_session *session, const double *seconds, size_t count, const char *path)
{
    cJSON *root = cJSON_CreateObject(), *events = cJSON_AddArrayToObject(root, "traceEvents");
    double at = 0;
    for (size_t i = 0; i < count; i++) {
        mitral_step_info info = mitral_session_step(session, i);
        cJSON *event = cJSON_CreateObject(), *arguments = cJSON_CreateObject();
        cJSON_AddStringToObject(event, "name", info.name);
        cJSON_AddStringToObject(event, "cat", info.kernel);
        cJSON_AddStringToObject(event, "ph", "X");
        cJSON_AddNumberToObject(event, "ts", at * 1e6);
        cJSON_AddNumberToObject(event, "dur", seconds[i] * 1e6);
        cJSON_AddNumberToObject(event, "pid", 1);
        cJSON_AddNumberToObject(event, "tid", 1);
        cJSON_AddStringToObject(arguments, "kernel", info.kernel);
        cJSON_AddStringToObject(arguments, "implementation", info.implementation);
        cJSON_AddNumberToObject(arguments, "flops", info.flops);
        cJSON_AddNumberToObject(arguments, "bytes", info.bytes);
        cJSON_AddItemToObject(event, "args", arguments);
        cJSON_AddItemToArray(events, event);
        at += seconds[i];
    }
    char *text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    mitral_status status = text ? mitral_file_write(context, path, text, strlen(text)) : MITRAL_NO_MEMORY;
    free(text);
    return status;
}

mitral_status cli_profile(mitral_session *session, mitral_context *context, const mitral_value *const *inputs, size_t input_count,
                          int threads, const char *path, FILE *table)
{
    mitral_status status = mitral_session_profile(session, true);
    size_t count = 0;
    mitral_session_step_seconds(session, &count);
    double *best = calloc(count + 1, sizeof *best), least = 0;
    struct row *rows = calloc(count + 1, sizeof *rows);
    if (!best || !rows)
        status = MITRAL_NO_MEMORY;
    for (int run = 0; run < RUNS && status == MITRAL_OK; run++) {
        status = mitral_session_run(session, inputs, input_count, NULL, 0);
        const double *seconds = mitral_session_step_seconds(session, &count);
        double total = 0;
        for (size_t i = 0; i < count && status == MITRAL_OK; i++)
            total += seconds[i];
        if (status == MITRAL_OK && (run == 0 || total < least)) {
            least = total;
            memcpy(best, seconds, count * sizeof *best);
        }
    }
    if (status == MITRAL_OK) {
        double flops, bytes;
        mitral_measure_machine(threads, &flops, &bytes);
        for (size_t i = 0; i < count; i++)
            rows[i] = (struct row){i, best[i]};
        qsort(rows, count, sizeof *rows, slowest_first);
        print_table(session, rows, count, least, flops, bytes, table);
        status = write_trace(context, session, best, count, path);
    }
    free(best);
    free(rows);
    return status;
}
