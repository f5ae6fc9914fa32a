#include "cli/profile.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "mitral/data.h"

enum { RUNS = 10, NAME_LEAST = 32, NAME_MOST = 72 };

bool cli_profile_add(struct profile *profile, const mitral_step_info *info, double seconds)
{
    if (profile->count == profile->capacity) {
        const size_t capacity = 2 * profile->capacity + 64;
        struct profile_step *steps = realloc(profile->steps, capacity * sizeof *steps);
        if (!steps)
            return false;
        profile->steps = steps;
        profile->capacity = capacity;
    }
    const size_t name = strlen(info->name) + 1, kernel = strlen(info->kernel) + 1, implementation = strlen(info->implementation) + 1;
    char *text = malloc(name + kernel + implementation);
    if (!text)
        return false;
    struct profile_step *step = &profile->steps[profile->count++];
    *step = (struct profile_step){.info = *info, .seconds = seconds, .text = text};
    step->info.name = memcpy(text, info->name, name);
    step->info.kernel = memcpy(text + name, info->kernel, kernel);
    step->info.implementation = memcpy(text + name + kernel, info->implementation, implementation);
    return true;
}

void cli_profile_free(struct profile *profile)
{
    for (size_t i = 0; i < profile->count; i++)
        free(profile->steps[i].text);
    free(profile->steps);
    *profile = (struct profile){0};
}

mitral_status cli_profile_session(struct profile *profile, mitral_session *session, const mitral_value *const *inputs, size_t input_count)
{
    mitral_status status = mitral_session_profile(session, true);
    size_t count = 0;
    mitral_session_step_seconds(session, &count);
    double *best = calloc(count + 1, sizeof *best), least = 0;
    if (!best)
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
    for (size_t i = 0; i < count && status == MITRAL_OK; i++) {
        const mitral_step_info info = mitral_session_step(session, i);
        status = cli_profile_add(profile, &info, best[i]) ? MITRAL_OK : MITRAL_NO_MEMORY;
    }
    free(best);
    return status;
}

static mitral_status write_trace(const struct profile *profile, mitral_context *context, const char *path)
{
    cJSON *root = cJSON_CreateObject(), *events = cJSON_AddArrayToObject(root, "traceEvents");
    double at = 0;
    for (size_t i = 0; i < profile->count; i++) {
        const mitral_step_info *info = &profile->steps[i].info;
        const double seconds = profile->steps[i].seconds;
        cJSON *event = cJSON_CreateObject(), *arguments = cJSON_CreateObject();
        cJSON_AddStringToObject(event, "name", info->name);
        cJSON_AddStringToObject(event, "cat", info->kernel);
        cJSON_AddStringToObject(event, "ph", "X");
        cJSON_AddNumberToObject(event, "ts", at * 1e6);
        cJSON_AddNumberToObject(event, "dur", seconds * 1e6);
        cJSON_AddNumberToObject(event, "pid", 1);
        cJSON_AddNumberToObject(event, "tid", 1);
        cJSON_AddStringToObject(arguments, "kernel", info->kernel);
        cJSON_AddStringToObject(arguments, "implementation", info->implementation);
        cJSON_AddNumberToObject(arguments, "flops", info->flops);
        cJSON_AddNumberToObject(arguments, "bytes", info->bytes);
        cJSON_AddItemToObject(event, "args", arguments);
        cJSON_AddItemToArray(events, event);
        at += seconds;
    }
    char *text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    mitral_status status = text ? mitral_file_write(context, path, text, strlen(text)) : MITRAL_NO_MEMORY;
    free(text);
    return status;
}

/* Slowest first; equals by what they are, so that the order is always the same. */
static int slowest_first(const void *a, const void *b)
{
    const struct profile_step *x = a, *y = b;
    return x->seconds < y->seconds ? 1 : x->seconds > y->seconds ? -1 : strcmp(x->info.name, y->info.name);
}

/* Attainable rate: bounded by arithmetic, or by moving what the step reads and writes. */
static double roofline_share(const mitral_step_info *info, double seconds, double flops, double bytes)
{
    double least = info->flops / flops;
    if (info->bytes / bytes > least)
        least = info->bytes / bytes;
    return least / seconds;
}

static void print_table(const struct profile *profile, double flops, double bytes, FILE *out)
{
    int width = NAME_LEAST;
    double total = 0;
    for (size_t i = 0; i < profile->count; i++) {
        const size_t length = strlen(profile->steps[i].info.name);
        width = length <= (size_t)width ? width : length < NAME_MOST ? (int)length : NAME_MOST;
        total += profile->steps[i].seconds;
    }
    fprintf(out, "peaks measured here: %.1f GFLOP/s, %.1f GB/s\n", flops / 1e9, bytes / 1e9);
    fprintf(out, "%9s %6s %9s %8s %9s  %-28s %-*s %s\n", "us", "share", "GFLOP/s", "GB/s", "roofline", "kernel", width, "node", "implementation");
    for (size_t i = 0; i < profile->count; i++) {
        const struct profile_step *step = &profile->steps[i];
        const double seconds = step->seconds;
        if (seconds > 0)
            fprintf(out, "%9.1f %5.1f%% %9.1f %8.1f %8.0f%%  %-28s %-*.*s %s\n", seconds * 1e6, 100 * seconds / total,
                    step->info.flops / seconds / 1e9, step->info.bytes / seconds / 1e9,
                    100 * roofline_share(&step->info, seconds, flops, bytes), step->info.kernel, width, width, step->info.name,
                    step->info.implementation);
    }
    fprintf(out, "%9.1f in all\n", total * 1e6);
}

mitral_status cli_profile_write(struct profile *profile, mitral_context *context, int threads, const char *path, FILE *table)
{
    mitral_status status = path ? write_trace(profile, context, path) : MITRAL_OK;
    if (status != MITRAL_OK)
        return status;
    double flops, bytes;
    mitral_measure_machine(threads, &flops, &bytes);
    if (profile->count > 0)
        qsort(profile->steps, profile->count, sizeof *profile->steps, slowest_first);
    print_table(profile, flops, bytes, table);
    return MITRAL_OK;
}
