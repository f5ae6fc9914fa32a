#include "training/log.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whether the line tells of something that is done again from there on: a later step, or a validation that is due. */
static bool comes_after(const char *line, const struct progress *progress)
{
    const char *at = strstr(line, "\"step\":");
    const int64_t step = at ? strtoll(at + 7, NULL, 10) : 0;
    return step > progress->step || (step == progress->step && progress->validation_due && strstr(line, "\"dice_by_class\":"));
}

/* Length of the file's beginning that holds whole lines of what was done. */
static long kept_length(FILE *file, const struct progress *progress)
{
    char *line = NULL;
    size_t capacity = 0;
    long kept = 0;
    ssize_t length;
    while ((length = getline(&line, &capacity, file)) > 0) {
        if (line[length - 1] != '\n' || comes_after(line, progress))
            break;
        kept += length;
    }
    free(line);
    return kept;
}

mitral_status log_open(struct log *log, mitral_context *context, const struct options *options, const struct progress *progress)
{
    const int64_t step = progress->step;
    *log = (struct log){.context = context, .images_a_step = options->batch * options->accumulate};
    if (*options->log)
        snprintf(log->path, sizeof log->path, "%s", options->log);
    else if (*options->checkpoint)
        snprintf(log->path, sizeof log->path, "%s/log.jsonl", options->checkpoint);
    else
        return MITRAL_OK;
    log->file = fopen(log->path, step > 0 ? "r+" : "w");
    if (!log->file && step > 0)
        log->file = fopen(log->path, "w");
    if (!log->file)
        return mitral_fail(context, MITRAL_IO, "%s: expected a log that can be written, found: %s", log->path, strerror(errno));
    if (step > 0) {
        const long kept = kept_length(log->file, progress);
        if (ftruncate(fileno(log->file), kept) != 0 || fseek(log->file, kept, SEEK_SET) != 0)
            return mitral_fail(context, MITRAL_IO, "%s: %s", log->path, strerror(errno));
    }
    return MITRAL_OK;
}

void log_close(struct log *log)
{
    if (log->file)
        fclose(log->file);
    log->file = NULL;
}

static mitral_status flush(struct log *log)
{
    if (log->file && (fflush(log->file) != 0 || ferror(log->file)))
        return mitral_fail(log->context, MITRAL_IO, "%s: %s", log->path, strerror(errno));
    return MITRAL_OK;
}

/* A name as a JSON text. */
static void put_text(FILE *file, const char *text)
{
    fputc('"', file);
    for (; *text; text++) {
        const unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\')
            fprintf(file, "\\%c", byte);
        else if (byte < 0x20)
            fprintf(file, "\\u%04x", byte);
        else
            fputc(byte, file);
    }
    fputc('"', file);
}

/* JSON has no NaN. */
static void put_real(FILE *file, const char *name, double number)
{
    if (isfinite(number))
        fprintf(file, ", \"%s\": %.9g", name, number);
    else
        fprintf(file, ", \"%s\": null", name);
}

static void write_step(struct log *log, const struct step_report *report, const struct progress *progress, double rate, double seconds)
{
    fprintf(log->file, "{\"step\": %lld", (long long)progress->step);
    put_real(log->file, "loss", report->loss);
    fputs(", \"terms\": {", log->file);
    for (size_t i = 0; i < report->term_count; i++)
        fprintf(log->file, "%s\"%s\": %.9g", i ? ", " : "", report->names[i], report->terms[i]);
    fputc('}', log->file);
    put_real(log->file, "gradient_norm", report->norm);
    put_real(log->file, "lr", rate);
    put_real(log->file, "seconds", seconds);
    fputs("}\n", log->file);
}

static void duration(char *text, size_t size, double seconds)
{
    const long long whole = seconds < 1e9 ? (long long)(seconds + 0.5) : 999999999;
    if (whole >= 3600)
        snprintf(text, size, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(text, size, "%lld:%02lld", whole / 60, whole % 60);
}

static void show_step(struct log *log, const struct options *options, const struct step_report *report, const struct progress *progress,
                      double rate)
{
    char line[1024], left[32];
    size_t used = 0;
    if (!log->context->options.progress)
        return;
    duration(left, sizeof left, log->seconds_a_step * (double)(options->steps - progress->step));
    /* Terminals may cut the end off: the terms stand there. */
    used += (size_t)snprintf(line, sizeof line, "step %lld/%lld  %s left  %.1f images/s", (long long)progress->step, (long long)options->steps, left,
                             (double)log->images_a_step / log->seconds_a_step);
    if (isfinite(progress->dice))
        used += (size_t)snprintf(line + used, sizeof line - used, "  Dice %.1f %%", 100 * progress->dice);
    used += (size_t)snprintf(line + used, sizeof line - used, "  lr %.2g  loss %.4f =", rate, report->loss);
    for (size_t i = 0; i < report->term_count && used < sizeof line; i++)
        used += (size_t)snprintf(line + used, sizeof line - used, "%s %s %.4f", i ? " +" : "", report->names[i], report->terms[i]);
    log->context->options.progress(log->context->options.user, line);
}

mitral_status log_step(struct log *log, const struct options *options, const struct step_report *report, const struct progress *progress,
                       double rate, double seconds)
{
    /* The first step makes primitives and touches memory for the first time: it is forgotten quickly. */
    const double weight = progress->step < 3 || log->seconds_a_step == 0 ? 1 : 0.1;
    log->seconds_a_step += weight * (seconds - log->seconds_a_step);
    show_step(log, options, report, progress, rate);
    if (!log->file)
        return MITRAL_OK;
    write_step(log, report, progress, rate, seconds);
    return flush(log);
}

mitral_status log_validation(struct log *log, const struct progress *progress, const double *by_class, int64_t classes,
                             const mitral_preprocessing *preprocessing)
{
    char text[1024] = "";
    size_t used = 0;
    for (int64_t c = 1; c < classes && used < sizeof text; c++) {
        char figure[32] = "in no case";
        if (isfinite(by_class[c]))
            snprintf(figure, sizeof figure, "%.1f %%", 100 * by_class[c]);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s %s", c > 1 ? ", " : "", preprocessing->labels[c], figure);
    }
    mitral_log(log->context, "step %lld: validation Dice %.2f %% (%s)%s", (long long)progress->step, 100 * progress->dice, text,
               progress->best_step == progress->step ? ", the best so far" : "");
    if (!log->file)
        return MITRAL_OK;
    fprintf(log->file, "{\"step\": %lld", (long long)progress->step);
    put_real(log->file, "dice", progress->dice);
    fputs(", \"dice_by_class\": {", log->file);
    for (int64_t c = 1; c < classes; c++) {
        fputs(c > 1 ? ", " : "", log->file);
        put_text(log->file, preprocessing->labels[c]);
        if (isfinite(by_class[c]))
            fprintf(log->file, ": %.9g", by_class[c]);
        else
            fputs(": null", log->file);
    }
    fputs("}}\n", log->file);
    return flush(log);
}
