/* What a training run is asked for: one table of options serves the command line, configuration files and the record of a run. */
#ifndef MITRAL_TRAINING_OPTIONS_H
#define MITRAL_TRAINING_OPTIONS_H

#include "mitral/train.h"
#include "runtime/context.h"

enum method { METHOD_NONE, METHOD_LOGITS, METHOD_FITNET, METHOD_CWD, METHOD_AT, METHOD_MAVKD };
enum optimizer { OPTIMIZER_SGD, OPTIMIZER_ADAM, OPTIMIZER_ADAMW };
enum keep { KEEP_BEST, KEEP_LAST };
enum schedule { SCHEDULE_CONSTANT, SCHEDULE_STEP, SCHEDULE_POLY, SCHEDULE_COSINE };

#define MAX_CLASS_WEIGHTS 32
#define PATH_SIZE 4096

struct options {
    /* files */
    char student[PATH_SIZE], teacher[PATH_SIZE], data[PATH_SIZE], unlabelled[PATH_SIZE], output[PATH_SIZE], checkpoint[PATH_SIZE], log[PATH_SIZE];
    char cache_teacher[PATH_SIZE];
    bool resume;
    int64_t cache_limit;        /* MB */
    int32_t keep;
    /* the run */
    int64_t steps, batch, accumulate, threads, checkpoint_every, validate_every, patience;
    int64_t seed;
    double validation;          /* share of the training patients */
    double unlabelled_share;    /* of each batch */
    /* the optimizer */
    int32_t optimizer, schedule;
    double rate, momentum, weight_decay, beta1, beta2, epsilon, clip, ema;
    int32_t memory;             /* 0 normal, 1 low */
    int32_t precision;          /* a mitral_precision */
    bool nesterov, decay_all, freeze_norm;
    int64_t warmup, step_size;
    double power, gamma, final_rate;
    /* the losses */
    double cross_entropy, dice;
    char deep[PATH_SIZE];       /* taps of deep supervision; "": none */
    double deep_weight;
    double class_weights[MAX_CLASS_WEIGHTS];
    int64_t class_weight_count;
    int32_t method;
    char taps[PATH_SIZE];
    double logits, temperature, feature, vector, map, guide_temperature;
    double scale_weights[MAX_CLASS_WEIGHTS];
    int64_t scale_weight_count;
    /* the data */
    bool no_augmentation;
    double rotation, scale_min, scale_max, gamma_min, gamma_max, flip;
};

enum option_kind { OPTION_PATH, OPTION_SWITCH, OPTION_INTEGER, OPTION_REAL, OPTION_CHOICE, OPTION_REALS };

struct option_row {
    mitral_training_option public;
    enum option_kind kind;
    size_t offset;              /* in struct options */
    size_t count_offset;        /* OPTION_REALS: of the number of values */
    double minimum, maximum;    /* of numbers */
    const char *initial;        /* as text */
    bool identity;              /* decides the result: a resumed run must agree */
};

const struct option_row *option_row_at(size_t index);
mitral_status options_initialise(struct options *options, mitral_context *context);
mitral_status options_set(struct options *options, mitral_context *context, const char *name, const char *value);
mitral_status options_read(struct options *options, mitral_context *context, const char *path);
/* The option as text into `text`. */
const char *option_text(const struct options *options, const struct option_row *row, char *text, size_t size);
/* What contradicts itself or is missing, before anything is opened. `timing`: only a step is timed. */
mitral_status options_check(const struct options *options, mitral_context *context, bool timing);
/* The whole configuration as JSON, released with mitral_release; `identity_only`: what a resumed run must agree with. */
mitral_status options_json(char **out, mitral_context *context, const struct options *options, bool identity_only);

#endif
