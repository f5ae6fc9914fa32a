/* Student, teacher and their sessions: one call a batch. */
#ifndef MITRAL_TRAINING_TRAINER_H
#define MITRAL_TRAINING_TRAINER_H

#include "compiler/model.h"
#include "mitral/data.h"
#include "training/network.h"

struct teacher_cache;

struct trainer {
    mitral_context *context;
    const struct options *options;
    int threads;
    mitral_model *student, *teacher;         /* as loaded; teacher NULL without one */
    mitral_preprocessing preprocessing;      /* what the student's metadata say */
    bool names_classes;                      /* they name the classes; else the data may */
    struct graph *teacher_graph;             /* sizes fixed, types inferred: to find taps in */
    struct interface teacher_interface;
    struct network network;
    mitral_plan *plan, *teacher_plan, *inference_plan;
    mitral_session *session, *teacher_session, *inference_session;
    const char *teacher_logits;              /* names of values of the teacher's plan */
    const char *teacher_maps[MAX_TAPS];
    int64_t teacher_images;                  /* that the teacher takes at once: one, where it takes any number */
    void *teacher_memory[MAX_TAPS + 1];      /* what it says of a batch, where that takes it several runs */
    mitral_value *values;                    /* of the training plan's inputs */
    const mitral_value **inputs;
    float rate, step, apply, first;
    double teacher_seconds;                  /* of the last step */
    struct teacher_cache *cache;             /* owned; NULL: the teacher runs at each step */
    unsigned char *kept;                     /* all variables, as trainer_keep found them; NULL: nothing kept */
};

struct step_report {
    double loss, norm;
    size_t term_count;
    const char *names[MAX_TERMS];
    double terms[MAX_TERMS];                 /* unweighted */
};

/* Loads the models, checks that they fit, builds and compiles. */
mitral_status trainer_create(struct trainer *out, mitral_context *context, const struct options *options);
void trainer_clear(struct trainer *trainer);
/* One batch: the teacher's forward, the student's forward and backward, and the update unless `apply` is false. `update` counts the
 * updates from 0. `slices`: which slices they are, whose cached outputs of the teacher are taken; NULL: the teacher runs. Nothing can
 * interrupt it half-way. */
mitral_status trainer_step(struct trainer *trainer, struct step_report *report, const float *images, const uint8_t *labels,
                           const int64_t *slices, int64_t update, bool first, bool apply);
/* The input of the training plan that takes the index-th of the teacher's outputs that the loss takes; NULL after the last. */
mitral_tensor *trainer_teacher_value(struct trainer *trainer, size_t index);
/* Gives those inputs what the teacher says of a batch. */
mitral_status trainer_run_teacher(struct trainer *trainer, const float *images);
/* Where the training plan takes an input from. */
mitral_tensor *trainer_input(struct trainer *trainer, const char *name);
/* Class of each pixel, the highest score's, of up to `batch` images [count][channels][height][width] by the current weights (the running mean
 * where there is one), out[count][height][width]. */
mitral_status trainer_predict(struct trainer *trainer, uint8_t *out, const float *images, int64_t count);
/* To be called after weights have changed and before trainer_predict. */
mitral_status trainer_sync(struct trainer *trainer);
/* Writes the student with its current weights under its own names. */
mitral_status trainer_export(struct trainer *trainer, const char *path);
/* Keeps a copy of all variables in memory, and puts it back. */
mitral_status trainer_keep(struct trainer *trainer);
void trainer_restore(struct trainer *trainer);
/* The index-th variable of the training plan, its name and memory; false after the last. */
bool trainer_variable(struct trainer *trainer, size_t index, const char **name, mitral_tensor **tensor);

#endif
