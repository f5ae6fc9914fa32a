/* What a run tells: a progress line, a JSON line a step. */
#ifndef MITRAL_TRAINING_LOG_H
#define MITRAL_TRAINING_LOG_H

#include <stdio.h>

#include "training/checkpoint.h"

struct log {
    mitral_context *context;
    FILE *file;            /* NULL: none */
    char path[PATH_SIZE + 16];
    double seconds_a_step; /* running mean; 0 before the first */
    int64_t images_a_step;
};

/* Opens FILE.jsonl. Lines of what comes after `progress` (of a run that was killed after its checkpoint) and a torn last line are cut off. */
mitral_status log_open(struct log *log, mitral_context *context, const struct options *options, const struct progress *progress);
void log_close(struct log *log);
/* After update `step` (counting from 1), which took so long. */
mitral_status log_step(struct log *log, const struct options *options, const struct step_report *report, const struct progress *progress,
                       double rate, double seconds);
mitral_status log_validation(struct log *log, const struct progress *progress, const double *by_class, int64_t classes,
                             const mitral_preprocessing *preprocessing);

#endif
