/* `mitral bench MODEL.onnx --train`: times training steps. */
#ifndef MITRAL_CLI_BENCH_TRAINING_H
#define MITRAL_CLI_BENCH_TRAINING_H

#include <stdbool.h>

/* Whether the arguments of `bench` ask for it. */
bool cli_asks_for_training(int argc, char **argv);
int cli_bench_training(int argc, char **argv);

#endif
