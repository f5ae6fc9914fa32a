/* What `train` and `distill` share: the options are those of mitral/train.h. */
#ifndef MITRAL_CLI_TRAINING_H
#define MITRAL_CLI_TRAINING_H

#include <argp.h>

/* `teacher`: the options about a teacher are there too, and one has to be named. Returns the exit code. */
int cli_training(int argc, char **argv, const char *command, const char *documentation, bool teacher);

#endif
