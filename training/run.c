/* The loop: batches, steps, validation, checkpoints, the trained model. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/file.h"
#include "runtime/clock.h"
#include "training/cache.h"
#include "training/log.h"
#include "training/record.h"
#include "training/run.h"

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
    snprintf(training->configuration, sizeof training->configuration, "%s", path);
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
    const char *configuration; /* the file that they were read from; "": none */
    struct trainer trainer;
    struct batches *batches;
    struct log log;
    struct progress progress;
    char *identity;
    char checkpoint[PATH_SIZE + 32], best[PATH_SIZE + 32]; /* "" without a folder */
    bool made_folder;
    int64_t saved; /* step of the last checkpoint; -1: none */
    size_t spoilt; /* numbers of the student's file that are not finite, as those of masks */
    struct record record;
};

static mitral_status make_folder(struct run *run)
{
    const char *folder = run->options->checkpoint;
    struct stat status;
    if (!*folder)
        return MITRAL_OK;
    run->made_folder = mkdir(folder, 0777) == 0;
    if (!run->made_folder && errno != EEXIST)
        return mitral_fail(run->context, MITRAL_IO, "%s: expected a folder for the run that can be made, found: %s", folder, strerror(errno));
    if (stat(folder, &status) != 0 || !S_ISDIR(status.st_mode))
        return mitral_fail(run->context, MITRAL_IO, "%s: expected a folder for the run, found something else", folder);
    snprintf(run->checkpoint, sizeof run->checkpoint, "%s/checkpoint.bin", folder);
    snprintf(run->best, sizeof run->best, "%s/best.bin", folder);
    if (!run->options->resume && stat(run->checkpoint, &status) == 0)
        return mitral_fail(run->context, MITRAL_INVALID, "%s: expected a folder without a run, or --resume, which goes on with it; found checkpoint.bin",
                           folder);
    return MITRAL_OK;
}

/* After a file of the run's folder could not be written. */
static void tell_saved(struct run *run)
{
    if (run->saved >= 0)
        mitral_log(run->context, "step %lld could not be kept; %s still holds step %lld, and --resume goes on from there",
                   (long long)run->progress.step, run->checkpoint, (long long)run->saved);
}

static void describe_saved(const struct run *run, char *text, size_t size)
{
    if (run->saved >= 0)
        snprintf(text, size, "the last good checkpoint is %s of step %lld", run->checkpoint, (long long)run->saved);
    else
        snprintf(text, size, "no checkpoint was kept");
}

/* How many of the weights and of what goes with them are not finite; `where`: the first variable with such. */
static size_t count_spoilt(struct run *run, const char **where)
{
    const char *name;
    mitral_tensor *tensor;
    size_t total = 0;
    *where = "";
    for (size_t i = 0; trainer_variable(&run->trainer, i, &name, &tensor); i++) {
        const float *numbers = tensor->data;
        size_t count = 0;
        for (int64_t k = 0, size = tensor->dtype == MITRAL_FLOAT ? tensor_count(tensor) : 0; k < size; k++)
            count += !isfinite(numbers[k]);
        if (count && !total)
            *where = name;
        total += count;
    }
    return total;
}

/* A finite loss may still lead to an update that is not. Such weights are neither measured nor kept. */
static mitral_status check_weights(struct run *run)
{
    const char *where;
    char kept[PATH_SIZE + 96];
    const size_t count = count_spoilt(run, &where);
    if (count <= run->spoilt)
        return MITRAL_OK;
    describe_saved(run, kept, sizeof kept);
    return mitral_fail(run->context, MITRAL_INVALID, "step %lld: expected finite weights after the update, found %zu that are not, the first in '%s'; "
                       "%s", (long long)run->progress.step, count - run->spoilt, where, kept);
}

static mitral_status save(struct run *run)
{
    if (!*run->checkpoint)
        return MITRAL_OK;
    TRY(check_weights(run));
    const mitral_status status = checkpoint_write(&run->trainer, &run->progress, run->identity, run->checkpoint);
    if (status == MITRAL_OK)
        run->saved = run->progress.step;
    else
        tell_saved(run);
    return status;
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
    mitral_log(run->context, "%s: training %lld weights in %zu tensors on %lld slices, %lld held back for validation", run->options->student,
               (long long)weights, network->trained_count, (long long)batches_training(run->batches).count,
               (long long)batches_validation(run->batches).count);
    if (batches_unlabelled_each(run->batches))
        mitral_log(run->context, "%s: %lld slices without labels, %lld of the %lld of each batch", run->options->unlabelled,
                   (long long)batches_unlabelled(run->batches).count, (long long)batches_unlabelled_each(run->batches),
                   (long long)network->batch);
    for (size_t i = 0; i < network->pair_count; i++) {
        const struct graph_value *student = &network->graph->values[network->pairs[i].student];
        const struct graph_value *teacher = &run->trainer.teacher_graph->values[network->pairs[i].teacher];
        mitral_log(run->context, "tap %s=%s: %lld and %lld channels, %lldx%lld and %lldx%lld", student->name, teacher->name,
                   (long long)student->type.dims[1], (long long)teacher->type.dims[1], (long long)student->type.dims[2],
                   (long long)student->type.dims[3], (long long)teacher->type.dims[2], (long long)teacher->type.dims[3]);
    }
}

/* "OUT.json" beside "OUT.onnx". */
static void name_beside(const struct run *run, char *path, size_t size)
{
    const char *output = run->options->output, *dot = strrchr(output, '.'), *slash = strrchr(output, '/');
    const size_t stem = dot && (!slash || dot > slash) ? (size_t)(dot - output) : strlen(output);
    snprintf(path, size, "%.*s.json", (int)stem, output);
}

/* What the run writes is neither what it reads nor written twice. OUT.json may be the configuration that was read: it says the same again. */
static mitral_status check_files(const struct run *run)
{
    static const char *const names[] = {"checkpoint.bin", "best.bin", "configuration.json", "result.json"};
    const struct options *options = run->options;
    char beside[PATH_SIZE + 8], path[PATH_SIZE + 32];
    name_beside(run, beside, sizeof beside);
    const char *const written[] = {options->output, options->log, beside};
    const char *const read[] = {options->student, options->teacher};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 2 && *written[i]; k++)
            TRY(file_check_apart(run->context, written[i], read[k]));
        for (size_t k = i + 1; k < 3 && *written[i]; k++)
            TRY(file_check_apart(run->context, written[i], written[k]));
        for (size_t k = 0; k < sizeof names / sizeof *names && *run->checkpoint && *written[i]; k++) {
            snprintf(path, sizeof path, "%s/%s", options->checkpoint, names[k]);
            TRY(file_check_apart(run->context, written[i], path));
        }
    }
    if (*options->log)
        return file_check_apart(run->context, options->log, run->configuration);
    snprintf(path, sizeof path, "%s/log.jsonl", options->checkpoint);
    return *run->checkpoint ? file_check_apart(run->context, options->output, path) : MITRAL_OK;
}

static mitral_status open_run(struct run *run)
{
    TRY(make_folder(run));
    TRY(check_files(run));
    TRY(file_check_target(run->context, run->options->output));
    TRY(trainer_create(&run->trainer, run->context, run->options));
    if (run->trainer.network.volumes)
        return mitral_fail(run->context, MITRAL_UNSUPPORTED, "student: expected a network of slices, as scans are read here, found one of volumes");
    TRY(batches_open(&run->batches, run->context, run->options, &run->trainer.preprocessing, run->trainer.names_classes,
                     run->trainer.network.channels, run->trainer.threads));
    TRY(teacher_cache_open(&run->trainer.cache, &run->trainer, run->batches));
    TRY(checkpoint_identity(&run->identity, run->context, run->options, batches_fingerprint(run->batches)));
    tell_taps(run);
    const char *where;
    run->spoilt = count_spoilt(run, &where);
    TRY(resume(run));
    if (*run->checkpoint)
        TRY(record_configuration(run->context, run->options, run->options->checkpoint));
    return log_open(&run->log, run->context, run->options, &run->progress);
}

static void close_run(struct run *run)
{
    log_close(&run->log);
    batches_close(&run->batches);
    trainer_clear(&run->trainer);
    mitral_release(run->context, run->identity);
    if (run->made_folder)
        rmdir(run->options->checkpoint); /* goes where nothing was written: the run was refused */
}

/* A loss that is no number stops the run, and so does a gradient: the weights are spoilt from here on. */
static mitral_status check_finite(struct run *run, const struct step_report *report)
{
    const char *name = !isfinite(report->loss) ? "loss" : !isfinite(report->norm) ? "norm of the gradient" : NULL;
    double value = isfinite(report->loss) ? report->norm : report->loss;
    for (size_t i = 0; i < report->term_count; i++)
        if (!isfinite(report->terms[i])) {
            name = report->names[i];
            value = report->terms[i];
            break;
        }
    if (!name)
        return MITRAL_OK;
    char kept[PATH_SIZE + 96];
    describe_saved(run, kept, sizeof kept);
    if (isnan(value))
        value = NAN; /* printed without a sign */
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
        struct batch batch;
        const int64_t index = step * parts + part;
        TRY(batches_get(&batch, run->batches, index, index + 1));
        TRY(trainer_step(&run->trainer, &report, batch.images, batch.labels, batch.slices, step, part == 0, part + 1 == parts));
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

/* The best weights so far: in the run's folder, or in memory where there is none. */
static mitral_status keep_best(struct run *run)
{
    if (*run->best) {
        const mitral_status status = checkpoint_write(&run->trainer, &run->progress, run->identity, run->best);
        if (status != MITRAL_OK)
            tell_saved(run);
        return status;
    }
    return run->options->keep == KEEP_BEST ? trainer_keep(&run->trainer) : MITRAL_OK;
}

static mitral_status interrupted(struct run *run)
{
    if (!*run->checkpoint)
        return mitral_fail(run->context, MITRAL_CANCELLED, "interrupted after step %lld of %lld; nothing was kept, as no folder for the run (checkpoint) was given",
                           (long long)run->progress.step, (long long)run->options->steps);
    TRY(save(run));
    return mitral_fail(run->context, MITRAL_CANCELLED, "interrupted after step %lld of %lld; %s is written, the same command with --resume goes on",
                       (long long)run->progress.step, (long long)run->options->steps, run->checkpoint);
}

/* One that is interrupted, as they can take long, is made again by the run that goes on. */
static mitral_status validate_now(struct run *run)
{
    struct validation validation;
    struct progress *progress = &run->progress;
    TRY(check_weights(run));
    mitral_status status = validate(&validation, &run->trainer, run->batches, batches_validation(run->batches));
    if (status == MITRAL_CANCELLED)
        return interrupted(run);
    if (status == MITRAL_INVALID) {
        char kept[PATH_SIZE + 96], found[256];
        describe_saved(run, kept, sizeof kept);
        snprintf(found, sizeof found, "%s", mitral_context_message(run->context));
        return mitral_fail(run->context, status, "step %lld, validation: %s; %s", (long long)progress->step, found, kept);
    }
    TRY(status);
    progress->validation_due = false;
    progress->dice = validation.dice;
    const bool better = isfinite(progress->dice) && !(progress->dice <= progress->best_dice);
    progress->bad_validations = better ? 0 : progress->bad_validations + 1;
    if (better) {
        progress->best_dice = progress->dice;
        progress->best_step = progress->step;
        status = keep_best(run);
    }
    if (status == MITRAL_OK)
        status = log_validation(&run->log, progress, validation.by_class, run->trainer.network.classes, &run->trainer.preprocessing);
    validation_clear(&validation, run->context);
    return status;
}

static mitral_status train(struct run *run)
{
    const struct options *options = run->options;
    const bool validates = batches_validation(run->batches).count > 0;
    const int64_t tenth = options->steps / 10 > 0 ? options->steps / 10 : 1;
    const int64_t every = options->validate_every > 0 ? options->validate_every : tenth;
    if (run->progress.validation_due) {
        TRY(validate_now(run));
        TRY(save(run));
    }
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
        run->progress.validation_due = validates && (run->progress.step % every == 0 || last);
        if (run->progress.validation_due)
            TRY(validate_now(run));
        if (last || (options->checkpoint_every > 0 && run->progress.step % options->checkpoint_every == 0))
            TRY(save(run));
    }
    if (run->saved != run->progress.step)
        TRY(save(run));
    return check_weights(run); /* without a folder nothing was saved */
}

/* Makes the weights current that are to be written; which step they are of. */
static mitral_status choose_weights(struct run *run)
{
    const struct progress *progress = &run->progress;
    run->record.kept_step = progress->step;
    if (run->options->keep == KEEP_LAST || progress->best_step < 0 || progress->best_step == progress->step)
        return MITRAL_OK;
    run->record.kept_step = progress->best_step;
    if (!*run->best) {
        trainer_restore(&run->trainer);
        return MITRAL_OK;
    }
    struct progress best = {.step = -1};
    bool found;
    TRY(checkpoint_read(&run->trainer, &best, run->identity, run->best, &found));
    if (best.step == progress->best_step)
        return MITRAL_OK;
    char held[48] = "no file";
    if (found)
        snprintf(held, sizeof held, "those of step %lld", (long long)best.step);
    return mitral_fail(run->context, MITRAL_INVALID, "%s: expected the best weights, of step %lld, found %s; --resume --keep last writes the last ones",
                       run->best, (long long)progress->best_step, held);
}

/* "OUT.onnx" and, beside it, "OUT.json" with the whole configuration; in the run's folder its figures and pictures. */
static mitral_status write_result(struct run *run)
{
    char path[PATH_SIZE + 8], *json;
    TRY(choose_weights(run));
    TRY(trainer_export(&run->trainer, run->options->output));
    TRY(options_json(&json, run->context, run->options, false));
    name_beside(run, path, sizeof path);
    mitral_status status = file_write_bytes(run->context, path, json, strlen(json));
    mitral_release(run->context, json);
    TRY(status);
    if (!*run->checkpoint)
        return MITRAL_OK;
    status = record_result(&run->record, &run->trainer, run->batches, &run->progress);
    if (status == MITRAL_CANCELLED) /* the checkpoint of the last step is there, and is not to hold the best step's weights */
        return mitral_fail(run->context, status, "interrupted after the last step, before %s/result.json was written; the same command with --resume "
                           "writes it", run->options->checkpoint);
    return status;
}

mitral_status mitral_training_run(mitral_training *training, mitral_training_result *result)
{
    struct run run = {.context = training->context, .options = &training->options, .configuration = training->configuration, .saved = -1};
    run.progress = (struct progress){.loss = NAN, .dice = NAN, .best_dice = NAN, .best_step = -1};
    TRY(options_check(&training->options, training->context, false));
    mitral_status status = open_run(&run);
    if (status == MITRAL_CANCELLED) /* said by whatever was at work: a scan's reading, the teacher's first step */
        status = mitral_fail(run.context, status, "interrupted before the first step, while data and models were made ready; nothing was trained");
    if (status == MITRAL_OK)
        status = train(&run);
    if (status == MITRAL_OK)
        status = write_result(&run);
    if (result)
        *result = (mitral_training_result){.steps = run.progress.step, .loss = run.progress.loss, .dice = run.progress.dice,
                                           .best_dice = run.progress.best_dice, .best_step = run.progress.best_step,
                                           .kept_step = run.record.kept_step};
    close_run(&run);
    return status;
}
