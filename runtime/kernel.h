/* The kernel interface: what a step of a plan calls. The runtime knows kernels, not operators.
 *
 * Reference kernels live in runtime/kernels/reference/<family>.c, one for each operator, and are named like the operator
 * ("Relu", "mitral.ReluGradient", "ml.Scaler", "training.Adam", "microsoft.Gelu"). oneDNN steps live in
 * runtime/kernels/onednn/ ("onednn.convolution"), own fast kernels in runtime/kernels/planar/ ("planar.dilated_block").
 * Each file ends in a table of rows; registry.c lists the tables. */
#ifndef MITRAL_RUNTIME_KERNEL_H
#define MITRAL_RUNTIME_KERNEL_H

#include "runtime/tensor.h"

struct step;
struct kernel;
struct mitral_session;

/* One call of a kernel. The same structure serves shape, prepare and run. */
struct kernel_call {
    mitral_context *context;
    const struct kernel *kernel;           /* that is called; NULL in a call made by hand: messages then lack its name */
    const char *name;                      /* of the node, for messages */
    const struct attributes *attributes;   /* with the schema's defaults filled in */
    int opset;                             /* the operator version (since_version) that the node follows */
    int threads;                           /* team size that the kernel may use */
    size_t input_count;
    const mitral_value *const *inputs;     /* [i] is NULL for an optional input that is left out. During shape and prepare
                                              tensor.data is NULL where the value is not known yet. */
    size_t output_count;
    mitral_value *const *outputs;          /* [i] is NULL for an output nobody asked for */
    void *state;                           /* what prepare made; NULL if there is no prepare */
    void *scratch;                         /* 64-byte aligned, as many bytes as prepare asked for */
    struct arena *arena;                   /* memory that lives until the end of the run: strings, sequence items, and outputs
                                              of kernels with KERNEL_ALLOCATES. During shape it lives as long as the plan. */
    /* Runs sub-plan `index` (an ATTRIBUTE_GRAPH's `subgraph`); outputs are copies in `arena`. NULL where there are none. */
    mitral_status (*run_subplan)(struct kernel_call *call, int32_t index, const mitral_value *const *inputs,
                                 size_t input_count, mitral_value *outputs, size_t output_count);
    void *executor;                        /* private to run_subplan */
};

enum kernel_flag {
    /* The output may share the memory of the first input (of the same byte size): element i is read before it is written. */
    KERNEL_IN_PLACE = 1 << 0,
    /* Output sizes are known only by running: `shape` sets what it can (kind, dtype) and returns MITRAL_DEFERRED; `run` calls
     * call_allocate for each output. Also for every kernel whose outputs are sequences, optionals or maps. */
    KERNEL_ALLOCATES = 1 << 1,
    /* Not a pure function of its inputs (random numbers, without seed): never folded. */
    KERNEL_RANDOM = 1 << 2,
    /* Reads the denormals of its input exactly; nothing to flush. */
    KERNEL_EXACT = 1 << 3,
    /* Accepts any layout of its first input and gives its output the same one (elementwise, same shape). */
    KERNEL_ANY_LAYOUT = 1 << 4,
    /* `run` reads the shapes of its inputs, not their elements (Shape, Size): its result is known before a run. */
    KERNEL_READS_SHAPES_ONLY = 1 << 5,
    /* The output is the inputs one after another along attribute "axis": where that is contiguous the inputs may already lie in the
     * output's memory, and `run` skips those whose address shows it. */
    KERNEL_CONCATENATES = 1 << 6,
    /* What prepare makes depends on types, shapes, layouts and constants alone: a step whose shapes are known only when it runs keeps it
     * while they stay the same. prepare then sees no other input's value. */
    KERNEL_PREPARES_BY_SHAPE = 1 << 7
};

struct kernel {
    const char *name;
    uint32_t flags;
    /* Sets dtype, rank and dims of every output that is not NULL, from the inputs' dtypes and dims, and from their values
     * where the operator needs them: when such a value is not known (data == NULL) returns MITRAL_DEFERRED, having set the
     * dtypes. Rejects wrong ranks, sizes and types with a message. Must be cheap. */
    mitral_status (*shape)(struct kernel_call *call);
    /* Optional. Makes what can be made once for these shapes; *scratch_bytes (preset to 0) is memory for the time of one run. */
    mitral_status (*prepare)(struct kernel_call *call, void **state, size_t *scratch_bytes);
    /* Computes the outputs into the buffers that are there. May be called from several threads at once with one state. */
    mitral_status (*run)(struct kernel_call *call);
    void (*release)(mitral_context *context, void *state);
    /* Optional: the constant input `index` as this state packed it, so that the compiler can store it packed. Borrowed from the
     * state; data NULL when that input is not packed. */
    mitral_tensor (*packed)(const void *state, size_t index);
    /* Optional: one line about what prepare chose ("brgconv:avx512_core"), for inspect and profiles. Borrowed. */
    const char *(*describe)(const void *state);
    /* Optional: whether this state allows what KERNEL_IN_PLACE allows always. */
    bool (*in_place)(const void *state);
    /* Optional: the input whose memory output `output` may take in the same way, where that is not the first two's; SIZE_MAX: none. No input
     * is named for two outputs. */
    size_t (*shares)(const struct kernel_call *call, size_t output);
    /* Optional: floating-point operations of one run at these shapes. */
    double (*flops)(const struct kernel_call *call);
};

const struct kernel *kernel_find(const char *name); /* NULL when there is none */
/* Walks all kernels: index from 0; NULL after the last. */
const struct kernel *kernel_at(size_t index);

/* ---- for kernels --------------------------------------------------------------------------------------------------- */

/* NULL too for an input of another kind: a kernel that takes tensors sees it as missing. */
static inline const mitral_tensor *call_input(const struct kernel_call *call, size_t index)
{
    bool present = index < call->input_count && call->inputs[index] && call->inputs[index]->kind == MITRAL_TENSOR;
    return present ? &call->inputs[index]->tensor : NULL;
}
static inline mitral_tensor *call_output(const struct kernel_call *call, size_t index)
{
    return index < call->output_count && call->outputs[index] ? &call->outputs[index]->tensor : NULL;
}
/* In shape: output `index` is a tensor of that type and shape. Does nothing when nobody asked for it. */
void call_set_output(struct kernel_call *call, size_t index, int32_t dtype, int32_t rank, const int64_t *dims);
/* The same with the type and shape of `like` and its layout. */
void call_set_output_like(struct kernel_call *call, size_t index, const mitral_tensor *like);
/* In run of a KERNEL_ALLOCATES kernel: sets the output's type and shape and gives it zeroed memory. */
mitral_status call_allocate(struct kernel_call *call, size_t index, int32_t dtype, int32_t rank, const int64_t *dims);
/* `mitral_fail` with "<kernel> '<node>': " in front. */
mitral_status call_fail(const struct kernel_call *call, mitral_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* MITRAL_INVALID, "… expected, found float32[1,3]"; found NULL: "none". */
mitral_status call_fail_input(const struct kernel_call *call, const char *expected, const mitral_tensor *found);
/* Wraps a negative axis; MITRAL_INVALID outside [-rank, rank). */
mitral_status call_axis(const struct kernel_call *call, int64_t axis, int64_t rank, int64_t *out);
/* Numpy broadcasting of two shapes into out. */
mitral_status call_broadcast(const struct kernel_call *call, const mitral_tensor *a, const mitral_tensor *b, int32_t *rank,
                             int64_t dims[MITRAL_MAX_RANK]);
/* Reads an integer tensor of any rank ≤ 1 as int64 values into the call's arena; MITRAL_DEFERRED when not known. */
mitral_status call_int_values(struct kernel_call *call, size_t index, const int64_t **values, size_t *count);

/* Ready-made shape functions. */
mitral_status shape_same_as_first(struct kernel_call *call); /* one output like the first input, its layout too */
mitral_status shape_broadcast(struct kernel_call *call);     /* one output: all inputs broadcast, first input's dtype */

#endif
