/* Which initializers of a file are whose weights. */
#ifndef MITRAL_TRAINING_PARAMETERS_H
#define MITRAL_TRAINING_PARAMETERS_H

#include "compiler/graph.h"

/* Exporters and optimisers write equal initializers once: PyTorch's exporter gives the others as an Identity of the first, others let several
 * nodes read one. In a fresh network a norm's scale is its variance, and all biases are one. An Identity of an initializer becomes an initializer
 * of its own, under its name, and so does the mean or variance of a batch norm that anything else reads: each is trained by itself, and written so. */
mitral_status parameters_separate(struct graph *graph);

#endif
