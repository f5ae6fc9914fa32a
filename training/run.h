/* What a run of the public interface consists of. */
#ifndef MITRAL_TRAINING_RUN_H
#define MITRAL_TRAINING_RUN_H

#include "training/options.h"

struct mitral_training {
    mitral_context *context;
    struct options options;
    char text[PATH_SIZE]; /* what mitral_training_get returned last */
    char configuration[PATH_SIZE]; /* the file that was read last; "": none */
};

#endif
