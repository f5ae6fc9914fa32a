/* The plan in memory: what lowering makes, the file holds and the executor runs. */
#ifndef MITRAL_RUNTIME_PLAN_H
#define MITRAL_RUNTIME_PLAN_H

#include <pthread.h>

#include "runtime/kernel.h"

#define NO_ID UINT32_MAX

enum value_role { ROLE_COMPUTED = 0, ROLE_INPUT = 1, ROLE_CONSTANT = 2, ROLE_VARIABLE = 3 };

struct plan_value {
    const char *name;
    int32_t kind, dtype;
    int32_t rank;                         /* -1: not known before a run */
    int64_t dims[MITRAL_MAX_RANK];        /* -1: likewise */
    const char *symbols[MITRAL_MAX_RANK]; /* NULL: none */
    int32_t role;
    int32_t layout;
    bool keep;                            /* an output or a tap: its memory is not given away */
    mitral_tensor constant;               /* ROLE_CONSTANT and ROLE_VARIABLE (its first value): the data; borrowed from the arena
                                             or the mapped file */
    uint32_t variable;                    /* ROLE_COMPUTED: the id of the ROLE_VARIABLE that this value is the next state of, whose
                                             memory it shares; NO_ID otherwise */
};

struct step {
    const struct kernel *kernel;
    const struct kernel *alternative;     /* that could take its place, while the plan is made; NULL: none */
    const char *name;                     /* of the node that it came from */
    int opset;
    struct attributes attributes;
    uint32_t *inputs;                     /* value ids, NO_ID: absent */
    size_t input_count;
    uint32_t *outputs;
    size_t output_count;
    struct mitral_plan **subplans;
    size_t subplan_count;
};

struct plan_property {
    const char *key, *value;
};

struct mitral_plan {
    mitral_context *context;              /* allocator and limits; never its message */
    struct arena arena;
    struct plan_value *values;
    size_t value_count;
    struct step *steps;
    size_t step_count;
    uint32_t *inputs, *outputs;
    size_t input_count, output_count;
    struct plan_property *metadata;
    size_t metadata_count;
    const char *isa;                      /* that the choices were made for: "avx512", "avx2", "portable" */
    const char *cpu;                      /* brand string, for information */
    int threads;
    bool exact;                           /* level 0: keep denormals as they are */
    void *mapping;                        /* of an opened file; NULL for a plan made in this process */
    size_t mapping_size;
    struct mitral_plan *parent;           /* of a sub-plan */
    pthread_mutex_t lock;                 /* of the specialisations */
    struct specialisation *specialisations;
    size_t specialisation_count;
};

/* Empty, with an arena. */
mitral_status plan_create(struct mitral_plan **out, mitral_context *context);
/* Drops what was made for shapes; no session of the plan may be there. */
void plan_forget_specialisations(struct mitral_plan *plan);

/* ---- plan files (runtime/plan_file.c) -------------------------------------------------------------------------------
 * Header (64 bytes): magic "MITRALPL", format version, metadata offset/size/checksum, section offset/size/checksum (xxh3);
 * then the protobuf metadata (schemas/plan.proto), then page-aligned constants, mapped and never copied. */
mitral_status plan_write(mitral_context *context, const struct mitral_plan *plan, const char *path);
mitral_status plan_read(struct mitral_plan **out, mitral_context *context, const char *path);

/* ---- execution (runtime/specialise.c, runtime/executor.c) ----------------------------------------------------------- */

/* A plan bound to concrete input shapes: every shape that follows from them, the values that follow (shape arithmetic), the
 * prepared steps, and the place of each buffer in the session's arena. Shared by all sessions of the plan. */
struct step_state {
    void *state;
    size_t scratch_offset, scratch_bytes;
    bool deferred;                        /* shapes are known only when it runs: prepared then, on the heap */
    bool known;                           /* its outputs were computed at specialisation: not run */
};

struct specialisation {
    struct mitral_plan *plan;
    mitral_value *key;                    /* input types and shapes it was made for; input_count entries */
    int threads;
    mitral_value *values;                 /* value_count templates; data set for constants and known values */
    size_t *offsets;                      /* of each value in the arena; SIZE_MAX: not there */
    bool *dynamic;                        /* [value]: its shape is not known before it has run */
    uint32_t *last_use;                   /* [value]: index of the last step that reads it; for freeing dynamic values */
    struct step_state *steps;
    size_t arena_bytes;
    size_t live_bound;                    /* the largest sum of sizes alive at one step: no plan can need less */
    struct arena arena;
    uint64_t age;
    int users;
    struct specialisation *next;
};

/* From the plan's bounded cache, or made and put there; given back with specialisation_release. */
mitral_status specialise(struct specialisation **out, mitral_context *context, struct mitral_plan *plan,
                         const mitral_value *const *inputs, int threads);
void specialisation_release(struct specialisation *specialisation);
void specialisation_destroy(struct specialisation *specialisation); /* for the plan itself */

/* Does all that a first run does before computing: shapes, primitives, memory. Inputs need no data. */
mitral_status session_prepare(mitral_session *session, const mitral_value *const *inputs);
/* The session's own memory of a variable, writable between runs, from session_prepare or the first run on; NULL when the plan has
 * no variable of that name. It moves when the input shapes change. */
mitral_tensor *session_variable(mitral_session *session, const char *name);
/* The specialisation of the last run; NULL before it. */
const struct specialisation *session_specialisation(const mitral_session *session);

#endif
