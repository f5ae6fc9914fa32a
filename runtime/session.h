/* A session's inside: a frame for the plan and one for each sub-plan it has entered. */
#ifndef MITRAL_RUNTIME_SESSION_H
#define MITRAL_RUNTIME_SESSION_H

#include "runtime/plan.h"

/* More than any machine has; so many can be asked for without harm. */
enum { MOST_THREADS = 4096 };

/* Refuses a number of threads that no caller can mean; 0 stands for a default. */
mitral_status check_threads(mitral_context *context, int threads);

/* One plan being run: its values bound to memory, its steps bound to their values. */
struct frame {
    mitral_context *context;
    struct mitral_plan *plan;
    int threads;
    int depth;
    struct specialisation *specialisation; /* of the last run */
    struct arena bound;                    /* the arrays below; rebuilt when the specialisation changes */
    mitral_value *values;
    struct kernel_call *calls;             /* one a step */
    char *memory;                          /* the activations */
    size_t memory_bytes;
    struct variable_memory *variables;     /* created once, kept across specialisations */
    struct arena run;                      /* what kernels and deferred steps allocate; cleared before each run */
    struct kept_state *kept;               /* of each step, what it last prepared while running; NULL until one does */
    struct frame ***children;              /* [step][sub-plan], made when first entered */
    struct meter *meter;                   /* of the session: what its frames hold together */
    double *seconds;                       /* of each step, when profiling */
};

struct mitral_session {
    mitral_context *context;
    struct frame frame;
    bool keep_denormals;
    struct meter meter;
    struct pinning *pinning;               /* NULL: threads run where they like */
    bool ran;
};

void frame_initialise(struct frame *frame, mitral_context *context, struct mitral_plan *plan, int threads, int depth, struct meter *meter);
void frame_clear(struct frame *frame);
/* Binds the plan to the inputs' shapes, without running it. */
mitral_status frame_prepare(struct frame *frame, const mitral_value *const *inputs);
/* Runs the plan once. `inputs` are read in place; the outputs are then in frame->values. */
mitral_status frame_run(struct frame *frame, const mitral_value *const *inputs);

#endif
