/* Updates of variables as nodes, and the learning rate over time. */
#ifndef MITRAL_TRAINING_OPTIMIZER_H
#define MITRAL_TRAINING_OPTIMIZER_H

#include "training/emit.h"
#include "training/options.h"

/* What every update of a graph takes as inputs. */
struct update_inputs {
    value_id rate;   /* float, this update's learning rate */
    value_id step;   /* float, number of this update, from 1 */
    value_id apply;  /* float, 0: only accumulate */
    value_id first;  /* float, 1: the first batch of an update; NO_VALUE without accumulation */
};

struct trained {
    value_id variable, gradient;
    bool decay;      /* weight decay applies */
    value_id next;   /* its value after the update; set by updates_emit */
};

/* Accumulation, clipping, and one update for each; states are variables named "<state>/<variable>". *norm: of all gradients
 * together. */
mitral_status updates_emit(struct emitter *emitter, const struct options *options, const struct update_inputs *inputs,
                           struct trained *trained, size_t count, value_id *norm);
/* A running mean of a variable, as the variable "ema/<variable>"; `next` is its new value. */
mitral_status ema_emit(struct emitter *emitter, const struct options *options, const struct update_inputs *inputs, value_id variable,
                       value_id next);
/* The learning rate of an update, counting from 0. */
double schedule_rate(const struct options *options, int64_t step);

#endif
