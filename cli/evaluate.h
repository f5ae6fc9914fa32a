#ifndef MITRAL_CLI_EVALUATE_H
#define MITRAL_CLI_EVALUATE_H

#include "cli/command.h"
#include "mitral/data.h"

/* What an evaluation measured. */
struct evaluation {
    const char *model, *split;
    const mitral_dataset *dataset;
    mitral_overlap *overlaps; /* [case][class] */
    int64_t slices;
    double seconds;   /* in the network */
    bool by_position; /* the network names other classes than the dataset: matched by number */
};

const mitral_overlap *evaluation_overlap(const struct evaluation *evaluation, size_t index, int32_t label);
/* Mean Dice over the structures, those missing on one side as 0; NaN when none is on either side. */
double evaluation_score(const struct evaluation *evaluation, size_t index);

void evaluation_print(const struct evaluation *evaluation, FILE *out);
/* Text to be freed by the caller; NULL: no memory. */
char *evaluation_json(const struct evaluation *evaluation);
char *evaluation_csv(const struct evaluation *evaluation);

#endif
