/* What a run leaves in its folder for people to look at, beside its checkpoints and log.jsonl:
 *
 *   configuration.json   every option; `--config` reads it back
 *   result.json          figures of the weights that were written, case by case, and who was held back
 *   examples/            the worst, the middle and the best held-back case as pictures (training cases where nobody was held back) */
#ifndef MITRAL_TRAINING_RECORD_H
#define MITRAL_TRAINING_RECORD_H

#include "training/checkpoint.h"
#include "training/validate.h"

struct record {
    int64_t kept_step;  /* whose weights are current */
};

mitral_status record_configuration(mitral_context *context, const struct options *options, const char *folder);
mitral_status record_result(const struct record *record, struct trainer *trainer, const struct batches *batches, const struct progress *progress);

#endif
