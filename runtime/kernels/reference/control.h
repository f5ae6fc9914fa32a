/* What the kernels with sub-plans share. A sub-plan's inputs end with what it captures from outside, in the order of the last
 * `captures` inputs of the step. */
#ifndef MITRAL_REFERENCE_CONTROL_H
#define MITRAL_REFERENCE_CONTROL_H

#include "runtime/kernel.h"

/* Nothing is known before a run: only the sub-plan knows. */
mitral_status shape_control(struct kernel_call *call);
size_t capture_count(const struct kernel_call *call);
mitral_status find_subplan(const struct kernel_call *call, const char *name, int32_t *index);

/* A body run again and again. What a trip returns lives in one of two arenas in turn, so that memory does not grow with the
 * number of trips; what is to stay is copied into the run's arena. */
struct iteration {
    struct kernel_call *call;
    int32_t body;
    struct arena *run;
    struct arena turns[2];
    int64_t trips;
    const mitral_value **inputs;
    size_t input_count;
    mitral_value *outputs;
    size_t output_count;
    mitral_value *states;
    size_t state_count;
};

/* `inputs` and `outputs` of the body, of which `states` are carried from trip to trip. iteration_end after a failure too. */
mitral_status iteration_start(struct iteration *it, struct kernel_call *call, size_t inputs, size_t outputs, size_t states);
void iteration_end(struct iteration *it);
/* One trip; the body's outputs from `first_state` on become the states. */
mitral_status iterate(struct iteration *it, size_t first_state);
/* The elements of a trip's output, in memory that outlives it (strings) or not (what is copied at once anyway). */
mitral_status keep_tensor(struct iteration *it, mitral_tensor *out, const mitral_value *value);
/* Output `index` of a loop that made no trip: of the declared type and shape, empty along `axis`. */
mitral_status allocate_empty(struct kernel_call *call, size_t index, int64_t axis);

#endif
