/* Training and distillation: an ONNX network, a teacher if wanted, and a data folder in; the trained ONNX network out.
 *
 * A run is described by options, each a name and a text, the same on the command line ("--lr 0.01"), in a configuration file
 * ({"lr": 0.01}) and here. The run writes its complete configuration beside its result.
 *
 * A run is a function of its options and files alone: the same seed gives bitwise the same weights, for any number of threads, on
 * one kind of CPU and one build, and a run that was interrupted and resumed ends with the same bits as one that was not. */
#ifndef MITRAL_TRAIN_H
#define MITRAL_TRAIN_H

#include "mitral/tools.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mitral_training mitral_training;

typedef struct mitral_training_option {
    const char *name;     /* "lr" */
    const char *argument; /* what its value is: "N", "X", "FILE", "none|logits|…"; NULL: a switch */
    const char *help;     /* one line, the default in brackets */
    bool distillation;    /* of no use without a teacher */
} mitral_training_option;

/* Walks the options: index from 0; NULL after the last. */
MITRAL_API const mitral_training_option *mitral_training_option_at(size_t index);

/* All options at their defaults. The context must outlive it. */
MITRAL_API mitral_status mitral_training_create(mitral_training **out, mitral_context *context);
MITRAL_API void mitral_training_destroy(mitral_training **training);
/* Sets one option from text (a switch: NULL, "true" or "false"). MITRAL_INVALID names what was expected. */
MITRAL_API mitral_status mitral_training_set(mitral_training *training, const char *name, const char *value);
/* Sets what a JSON file holds, an object of option names; later calls win over earlier ones. */
MITRAL_API mitral_status mitral_training_read(mitral_training *training, const char *path);
/* The option's value as text, as it would be written to a configuration file; valid until the next call. NULL: no such option. */
MITRAL_API const char *mitral_training_get(mitral_training *training, const char *name);

typedef struct mitral_training_result {
    int64_t steps;          /* done in all, those before a resumption included */
    double loss;            /* of the last step */
    double dice;            /* of the last validation, mean over foreground classes; NaN when there was none */
    double best_dice;
    int64_t best_step;      /* -1 when there was no validation */
    int64_t kept_step;      /* whose weights were written */
} mitral_training_result;

/* Trains until the last step, an early stop, or the context's cancel callback, which is asked between steps: then a checkpoint is
 * written (where a folder was given), MITRAL_CANCELLED returned, and the message says how to go on. Progress goes to the
 * context's progress callback, remarks to its log callback. result may be NULL. */
MITRAL_API mitral_status mitral_training_run(mitral_training *training, mitral_training_result *result);

typedef struct mitral_training_timing {
    double *step_seconds;   /* the caller's, `repeat` entries */
    size_t repeat;
    double build_seconds;   /* gradient pass, compilation */
    double teacher_seconds; /* median of the teacher's forward within the step; 0 without a teacher */
    int64_t arena_bytes;    /* activations of the training step */
    /* Called for each step of the training plan after the last repetition, with the seconds that it took then; NULL: none. */
    void (*step)(void *user, const mitral_step_info *step, double seconds);
    void *user;
} mitral_training_timing;

/* Times training steps on random images and labels: two for warming up, then `repeat`. Options data and output are not needed. */
MITRAL_API mitral_status mitral_training_time(mitral_training *training, mitral_training_timing *timing);

#ifdef __cplusplus
}
#endif
#endif
