/* The loop: batches, steps, validation, checkpoints, the trained model. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/file.h"
#include "runtime/session.h"
#include "training/batches.h"
#include "training/checkpoint.h"
#include "training/log.h"
#include "training/validate.h"
#include "runtime/clock.h"

struct mitral_training {
    mitral_context *context;
    struct options options;
    char text[PATH_SIZE]; /* what mitral_training_get returned last */
};

mitral_status mitral_training_create(mitral_training **out, mitral_context *context)
{
    *out = mitral_allocate(context, sizeof **out);
    if (!*out)
        return MITRAL_NO_MEMORY;
    (*out)->context = context;
    mitral_status status = options_initialise(&(*out)->options, context);
    if (status != MITRAL_OK)
        mitral_training_destroy(out);
    return status;
}

void mitral_training_destroy(mitral_training **training)
{
    if (training && *training) {
        mitral_release((*training)->context, *training);
        *training = NULL;
    }
}

mitral_status mitral_training_set(mitral_training *training, const char *name, const char *value)
{
    return options_set(&training->options, training->context, name, value);
}

mitral_status mitral_training_read(mitral_training *training, const char *path)
{
    return options_read(&training->options, training->context, path);
}

const char *mitral_training_get(mitral_training *training, const char *name)
{
    const struct option_row *row;
    for (size_t i = 0; (row = option_row_at(i)); i++)
        if (strcmp(row->public.name, name) == 0)
            return option_text(&training->options, row, training->text, sizeof training->text);
    return NULL;
}

/* ---- one run ------------------------------------------------------------------------------------------------------------------ */

struct run {
    mitral_context *context;
    const struct options *options;
    struct trainer trainer;
    struct batches *batches;
    struct log log;
    struct progress progress;
    char *identity;
    char checkpoint[PATH_SIZE + 32], best[PATH_SIZE + 32]; /* "" without a folder */
    int64_t saved; /* step of the last checkpoint; -1: none */
};

static mitral_status make_folder(struct run *run)
{
    const char *folder = run->options->checkpoint;
    struct stat status;
    if (!*folder)
        return MITRAL_OK;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return mitral_fail(run->context, MITRAL_IO, "%s: %s", folder, strerror(errno));
    if (stat(folder, &status) != 0 || !S_ISDIR(status.st_mode))
        return mitral_fail(run->context, MITRAL_IO, "%s: expected a folder for checkpoints, found something else", folder);
    snprintf(run->checkpoint, sizeof run->checkpoint, "%s/checkpoint.bin", folder);
    snprintf(run->best, sizeof run->best, "%s/best.bin", folder);
    return MITRAL_OK;
}

static mitral_status save(struct run *run)
{
    if (!*run->checkpoint)
        return MITRAL_OK;
    TRY(checkpoint_write(&run->trainer, &run->progress, run->identity, run->checkpoint));
    run->saved = run->progress.step;
    return MITRAL_OK;
}

static mitral_status resume(struct run *run)
{
    bool found;
    if (!run->options->resume)
        return MITRAL_OK;
    TRY(checkpoint_read(&run->trainer, &run->progress, run->identity, run->checkpoint, &found));
    if (!found) {
        mitral_log(run->context, "%s: no checkpoint yet, starting at step 0", run->options->checkpoint);
        return MITRAL_OK;
    }
    run->saved = run->progress.step;
    mitral_log(run->context, "%s: going on from step %lld", run->checkpoint, (long long)run->progress.step);
    return MITRAL_OK;
}

static void tell_taps(struct run *run)
{
    const struct network *network = &run->trainer.network;
    int64_t weights = 0;
    for (size_t i = 0; i < network->trained_count; i++) {
        mitral_tensor tensor;
        type_to_tensor(&network->graph->values[network->trained[i].variable].type, &tensor);
        weights += tensor_count(&tensor);
    }
    mitral_log(run->context, "%s: training %lld weights in %zu tensors on %lld slices%s", run->options->student, (long long)weights,
               network->trained_count, (long long)batches_training_slices(run->batches),
               batches_validation_slices(run->batches) ? ", the rest held back for validation" : "");
    for (size_t i = 0; i < network->pair_count; i++) {
        const struct graph_value *student = &network->graph->values[network->pairs[i].student];
        const struct graph_value *teacher = &run->trainer.teacher_graph->values[network->pairs[i].teacher];
        mitral_log(run->context, "tap %s=%s: %lld and %lld channels, %lldx%lld and %lldx%lld", student->name, teacher->name,
                   (long long)student->type.dims[1], (long long)teacher->type.dims[1], (long long)student->type.dims[2],
                   (long long)student->type.dims[3], (long long)teacher->type.dims[2], (long long)teacher->type.dims[3]);
    }
}

static mitral_status open_run(struct run *run)
{
    TRY(make_folder(run));
    TRY(trainer_create(&run->trainer, run->context, run->options));
    TRY(batches_open(&run->batches, run->context, run->options, &run->trainer.preprocessing, run->trainer.network.channels, run->trainer.threads));
    TRY(checkpoint_identity(&run->identity, run->context, run->options, batches_fingerprint(run->batches)));
    tell_taps(run);
    TRY(resume(run));
    return log_open(&run->log, run->context, run->options, run->progress.step);
}

static void close_run(struct run *run)
{
    log_close(&run->log);
    batches_close(&run->batches);
    trainer_clear(&run->trainer);
    mitral_release(run->context, run->identity);
}

/* A loss that is no number stops the run: the weights are spoilt from here on. */
static mitral_status check_finite(struct run *run, const struct step_report *report)
{
    const char *name = isfinite(report->loss) ? NULL : "loss";
    double value = report->loss;
    for (size_t i = 0; i < report->term_count; i++)
        if (!isfinite(report->terms[i])) {
            name = report->names[i];
            value = report->terms[i];
            break;
        }
    if (!name)
        return MITRAL_OK;
    char kept[PATH_SIZE + 96] = "no checkpoint was kept";
    if (run->saved >= 0)
        snprintf(kept, sizeof kept, "the last good checkpoint is %s of step %lld", run->checkpoint, (long long)run->saved);
    return mitral_fail(run->context, MITRAL_INVALID, "step %lld: expected a finite loss, found %g in term %s; %s",
                       (long long)run->progress.step + 1, value, name, kept);
}

/* One update: `accumulate` batches. */
static mitral_status update(struct run *run)
{
    const struct options *options = run->options;
    const int64_t parts = options->accumulate, step = run->progress.step;
    struct step_report total = {0};
    const double start = clock_seconds();
    for (int64_t part = 0; part < parts; part++) {
        struct step_report report;
        const float *images;
        const uint8_t *labels;
        const int64_t index = step * parts + part;
        TRY(batches_get(run->batches, index, index + 1, &images, &labels));
        TRY(trainer_step(&run->trainer, &report, images, labels, step, part == 0, part + 1 == parts));
        TRY(check_finite(run, &report));
        const double loss = total.loss, norm = report.norm;
        double terms[MAX_TERMS];
        memcpy(terms, total.terms, sizeof terms);
        total = report;
        total.norm = norm;
        total.loss = loss + report.loss / (double)parts;
        for (size_t i = 0; i < report.term_count; i++)
            total.terms[i] = terms[i] + report.terms[i] / (double)parts;
    }
    run->progress.step = step + 1;
    run->progress.loss = total.loss;
    return log_step(&run->log, options, &total, &run->progress, schedule_rate(options, step), clock_seconds() - start);
}

static mitral_status validate_now(struct run *run)
{
    double by_class[MITRAL_MAX_CLASSES];
    struct progress *progress = &run->progress;
    TRY(validate(&run->trainer, run->batches, &progress->dice, by_class));
    const bool better = isfinite(progress->dice) && !(progress->dice <= progress->best_dice);
    progress->bad_validations = better ? 0 : progress->bad_validations + 1;
    if (better) {
        progress->best_dice = progress->dice;
        progress->best_step = progress->step;
        if (*run->best)
            TRY(checkpoint_write(&run->trainer, progress, run->identity, run->best));
    }
    return log_validation(&run->log, progress, by_class, run->trainer.network.classes, &run->trainer.preprocessing);
}

static mitral_status interrupted(struct run *run)
{
    if (!*run->checkpoint)
        return mitral_fail(run->context, MITRAL_CANCELLED, "interrupted after step %lld of %lld; nothing was kept, as no folder for checkpoints was given",
                           (long long)run->progress.step, (long long)run->options->steps);
    TRY(save(run));
    return mitral_fail(run->context, MITRAL_CANCELLED, "interrupted after step %lld of %lld; %s is written, the same command with --resume goes on",
                       (long long)run->progress.step, (long long)run->options->steps, run->checkpoint);
}

static mitral_status train(struct run *run)
{
    const struct options *options = run->options;
    const bool validates = batches_validation_slices(run->batches) > 0;
    const int64_t tenth = options->steps / 10 > 0 ? options->steps / 10 : 1;
    const int64_t every = options->validate_every > 0 ? options->validate_every : tenth;
    while (run->progress.step < options->steps) {
        if (options->patience > 0 && run->progress.bad_validations >= options->patience) {
            mitral_log(run->context, "step %lld: no better validation Dice %lld times, stopping early", (long long)run->progress.step,
                       (long long)run->progress.bad_validations);
            break;
        }
        if (mitral_cancelled(run->context))
            return interrupted(run);
        TRY(update(run));
        const bool last = run->progress.step == options->steps;
        if (validates && (run->progress.step % every == 0 || last))
            TRY(validate_now(run));
        if (last || (options->checkpoint_every > 0 && run->progress.step % options->checkpoint_every == 0))
            TRY(save(run));
    }
    if (run->saved != run->progress.step)
        TRY(save(run));
    return MITRAL_OK;
}

/* "OUT.onnx" and, beside it, "OUT.json" with the whole configuration. */
static mitral_status write_result(struct run *run)
{
    char path[PATH_SIZE + 8], *json;
    const char *output = run->options->output, *dot = strrchr(output, '.'), *slash = strrchr(output, '/');
    const size_t stem = dot && (!slash || dot > slash) ? (size_t)(dot - output) : strlen(output);
    TRY(trainer_export(&run->trainer, output));
    TRY(options_json(&json, run->context, run->options, false));
    snprintf(path, sizeof path, "%.*s.json", (int)stem, output);
    mitral_status status = file_write_bytes(run->context, path, json, strlen(json));
    mitral_release(run->context, json);
    return status;
}

mitral_status mitral_training_run(mitral_training *training, mitral_training_result *result)
{
    struct run run = {.context = training->context, .options = &training->options, .saved = -1};
    run.progress = (struct progress){.loss = NAN, .dice = NAN, .best_dice = NAN, .best_step = -1};
    TRY(options_check(&training->options, training->context, false));
    mitral_status status = open_run(&run);
    if (status == MITRAL_OK)
        status = train(&run);
    if (status == MITRAL_OK)
        status = write_result(&run);
    if (result)
        *result = (mitral_training_result){.steps = run.progress.step, .loss = run.progress.loss, .dice = run.progress.dice,
                                           .best_dice = run.progress.best_dice, .best_step = run.progress.best_step};
    close_run(&run);
    return status;
}

/* ---- timing -------------------------------------------------------------------------------------------------------------------- */

static int compare_reals(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void tell_steps(struct trainer *trainer, mitral_training_timing *timing)
{
    size_t count;
    const double *seconds = mitral_session_step_seconds(trainer->session, &count);
    for (size_t i = 0; seconds && i < count; i++) {
        const mitral_step_info info = mitral_session_step(trainer->session, i);
        timing->step(timing->user, &info, seconds[i]);
    }
}

static mitral_status time_steps(struct trainer *trainer, mitral_training_timing *timing)
{
    const struct network *network = &trainer->network;
    const size_t pixels = (size_t)(network->batch * network->height * network->width), values = pixels * (size_t)network->channels;
    float *images = mitral_allocate(trainer->context, values * sizeof *images);
    uint8_t *labels = mitral_allocate(trainer->context, pixels);
    double *teacher = mitral_allocate(trainer->context, (timing->repeat + 1) * sizeof *teacher);
    mitral_status status = images && labels && teacher ? MITRAL_OK : MITRAL_NO_MEMORY;
    uint64_t random = 1;
    if (status == MITRAL_OK && timing->step)
        status = mitral_session_profile(trainer->session, true);
    for (size_t i = 0; status == MITRAL_OK && i < values; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        images[i] = (float)((double)(random >> 11) * 0x1p-52 - 1) * 1.7320508f; /* variance 1 */
        if (i < pixels)
            labels[i] = (uint8_t)((random >> 33) % (uint64_t)network->classes);
    }
    for (size_t i = 0; status == MITRAL_OK && i < timing->repeat + 2; i++) {
        struct step_report report;
        const double start = clock_seconds();
        status = trainer_step(trainer, &report, images, labels, (int64_t)i, true, true);
        if (i >= 2) {
            timing->step_seconds[i - 2] = clock_seconds() - start;
            teacher[i - 2] = trainer->teacher_seconds;
        }
    }
    if (status == MITRAL_OK && timing->repeat) {
        qsort(teacher, timing->repeat, sizeof *teacher, compare_reals);
        timing->teacher_seconds = teacher[timing->repeat / 2];
        timing->arena_bytes = (int64_t)trainer->session->frame.memory_bytes;
        if (timing->step)
            tell_steps(trainer, timing);
    }
    mitral_release(trainer->context, images);
    mitral_release(trainer->context, labels);
    mitral_release(trainer->context, teacher);
    return status;
}

mitral_status mitral_training_time(mitral_training *training, mitral_training_timing *timing)
{
    struct trainer trainer;
    const double start = clock_seconds();
    TRY(options_check(&training->options, training->context, true));
    TRY(trainer_create(&trainer, training->context, &training->options));
    timing->build_seconds = clock_seconds() - start;
    timing->teacher_seconds = 0;
    mitral_status status = time_steps(&trainer, timing);
    trainer_clear(&trainer);
    return status;
}
