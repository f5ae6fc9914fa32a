/* mitral: compile ONNX graphs to execution plans for CPUs, run them, and train them.
 *
 * Conventions. A function that can fail returns a mitral_status; the one-line message of the last failure is read with
 * mitral_context_message. Outputs come first, as pointers; on failure they are set to NULL (or left untouched where they
 * are caller-owned structures). x_create / x_load / x_open pair with x_destroy(&x), which is safe on NULL and on a NULL
 * handle, and sets the handle to NULL. A returned `const char *` or `const mitral_value *` is borrowed from the object it
 * was asked of. Sizes are bytes, times are seconds, shapes are in ONNX order (N, C, spatial…).
 *
 * Threads. A context belongs to one thread at a time. A plan may be shared by any number of threads; a session belongs to
 * one thread at a time, with the context that it was created with. */
#ifndef MITRAL_H
#define MITRAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define MITRAL_API
#else
#define MITRAL_API __attribute__((visibility("default")))
#endif

#if defined(__GNUC__)
#define MITRAL_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define MITRAL_PRINTF(text, first)
#endif

#define MITRAL_MAX_RANK 12

typedef enum mitral_status {
    MITRAL_OK = 0,
    MITRAL_INVALID = 1,     /* an argument or an input file is malformed or contradicts itself */
    MITRAL_UNSUPPORTED = 2, /* well-formed, but nothing here can run it */
    MITRAL_NO_MEMORY = 3,   /* the allocator returned NULL */
    MITRAL_IO = 4,          /* the operating system refused a read or a write */
    MITRAL_CORRUPT = 5,     /* a plan or checkpoint whose checksum or bounds do not hold */
    MITRAL_LIMIT = 6,       /* a stated limit (nesting, size, trip count) was passed */
    MITRAL_CANCELLED = 7,   /* the cancel callback returned true */
    MITRAL_DEFERRED = 8     /* for shape functions alone: a shape that depends on values not known yet */
} mitral_status;

/* Element types; the numbers are those of ONNX's TensorProto.DataType. */
typedef enum mitral_dtype {
    MITRAL_UNDEFINED = 0, MITRAL_FLOAT = 1, MITRAL_UINT8 = 2, MITRAL_INT8 = 3, MITRAL_UINT16 = 4, MITRAL_INT16 = 5,
    MITRAL_INT32 = 6, MITRAL_INT64 = 7, MITRAL_STRING = 8, MITRAL_BOOL = 9, MITRAL_FLOAT16 = 10, MITRAL_DOUBLE = 11,
    MITRAL_UINT32 = 12, MITRAL_UINT64 = 13, MITRAL_COMPLEX64 = 14, MITRAL_COMPLEX128 = 15, MITRAL_BFLOAT16 = 16,
    MITRAL_FLOAT8E4M3FN = 17, MITRAL_FLOAT8E4M3FNUZ = 18, MITRAL_FLOAT8E5M2 = 19, MITRAL_FLOAT8E5M2FNUZ = 20,
    MITRAL_UINT4 = 21, MITRAL_INT4 = 22, MITRAL_FLOAT4E2M1 = 23, MITRAL_FLOAT8E8M0 = 24, MITRAL_UINT2 = 25,
    MITRAL_INT2 = 26, MITRAL_FLOAT6E2M3 = 27, MITRAL_FLOAT6E3M2 = 28, MITRAL_DTYPE_COUNT = 29
} mitral_dtype;

/* One element of a MITRAL_STRING tensor: `size` bytes at `data`, not necessarily NUL-terminated. */
typedef struct mitral_string {
    const char *data;
    size_t size;
} mitral_string;

struct mitral_packing;

/* A dense tensor. Elements are row-major in ONNX order. Types narrower than a byte (int4, uint2, …) are held one element a
 * byte, sign- or zero-extended. `data` holds mitral_tensor_size() bytes, 64-byte aligned for best speed. `layout` and
 * `packing` are 0 for every tensor that crosses this interface. */
typedef struct mitral_tensor {
    int32_t dtype;
    int32_t rank;
    int64_t dims[MITRAL_MAX_RANK];
    void *data;
    int32_t layout;
    const struct mitral_packing *packing;
} mitral_tensor;

typedef enum mitral_kind {
    MITRAL_TENSOR = 0,
    MITRAL_SEQUENCE = 1, /* items[0 … count) */
    MITRAL_OPTIONAL = 2, /* count is 0 or 1 */
    MITRAL_MAP = 3       /* items[0] the keys, items[1] the values, each a rank-1 tensor (or a sequence) of equal length */
} mitral_kind;

typedef struct mitral_value {
    int32_t kind;
    int32_t count;
    mitral_tensor tensor;
    struct mitral_value *items;
} mitral_value;

/* ---- context ------------------------------------------------------------------------------------------------------ */

typedef struct mitral_context mitral_context;

typedef struct mitral_context_options {
    void *(*allocate)(void *user, size_t size, size_t alignment); /* NULL: the C library's */
    void (*release)(void *user, void *pointer);
    void (*log)(void *user, const char *line);               /* NULL: silent */
    void (*progress)(void *user, const char *line);          /* NULL: silent */
    bool (*cancel)(void *user);                               /* NULL: never; polled between steps of long work */
    void *user;
    /* Limits; 0 takes the default in brackets. What passes one is refused with MITRAL_LIMIT, in a line that names the limit, what was
     * found and the command line's option of that name (--max-tensor-bytes, …). */
    int64_t max_tensor_bytes;   /* [16 GiB] of one tensor, computed or read; of one volume; more than 2^47 counts as 2^47 */
    int64_t max_loop_trips;     /* [2^31] of one Loop or Scan */
    int32_t max_subgraph_depth; /* [64] subgraphs in subgraphs, in files and in runs */
    int64_t max_run_bytes;      /* [64 GiB, or the machine's memory where that is less] of what one session computes and works with at a
                                   time: its arena and its heap. Weights and inputs are not counted */
    int64_t max_image_pixels;   /* [2^28] of one image that is decoded */
} mitral_context_options;

/* options may be NULL. */
MITRAL_API mitral_status mitral_context_create(mitral_context **out, const mitral_context_options *options);
MITRAL_API void mitral_context_destroy(mitral_context **context);
/* The last failure of a call that was given this context, one line without a newline; "" if there was none. */
MITRAL_API const char *mitral_context_message(const mitral_context *context);

MITRAL_API const char *mitral_version(void);
MITRAL_API const char *mitral_status_name(mitral_status status);
/* "float32", "int8", …; NULL for a number that is none. */
MITRAL_API const char *mitral_dtype_name(mitral_dtype dtype);
/* Bytes of one element as held in memory (sub-byte types: 1); 0 for a number that is none. */
MITRAL_API size_t mitral_dtype_size(mitral_dtype dtype);
/* Product of the dimensions; -1 when it overflows or a dimension is negative. */
MITRAL_API int64_t mitral_tensor_count(const mitral_tensor *tensor);
/* Bytes of the elements; -1 as above. */
MITRAL_API int64_t mitral_tensor_size(const mitral_tensor *tensor);

/* ---- custom operators ---------------------------------------------------------------------------------------------- */

/* One call of a custom operator's function, borrowed for the time of it. */
typedef struct mitral_call mitral_call;

/* An operator that ONNX files name and the caller computes. It takes and gives tensors; it owns no subgraphs.
 *
 * Threads. The functions may be called from any thread that compiles, opens or runs, several at once with the same `user`: of each session,
 * the thread that runs it. They call nothing of this library but mitral_call_…, which are for the calling thread, during the call.
 * Ownership. Whatever a call gives is borrowed from it. The strings are copied; `user` has to live as long as the context.
 * Errors. A function returns MITRAL_OK, or mitral_call_fail(…): then the compilation or run returns that status, and its message names the
 * operator and the node. Whatever else it returns fails too, with a message that says so. */
typedef struct mitral_operator {
    const char *domain;       /* letters, digits, '.', '_', '-'; not ONNX's own ("", "ai.onnx…") and not "mitral" */
    const char *name;         /* the same characters */
    int32_t min_inputs, max_inputs;   /* max -1: any number; the first `min_inputs` are never left out */
    int32_t min_outputs, max_outputs; /* max -1: any number */
    /* Calls mitral_call_set_output for each output, from the types and shapes of the inputs and from the attributes. The data of an input
     * is NULL where it is not known yet: a shape that depends on it returns MITRAL_DEFERRED and is asked for again in the run. It is called
     * often, also with sizes made up to find out which dimensions vary, and has to give the same answer every time. */
    mitral_status (*shape)(mitral_call *call, void *user);
    /* Writes all elements of the outputs. Inputs are not to be written. With inputs that are constant it runs at compile time. */
    mitral_status (*run)(mitral_call *call, void *user);
    /* Optional: makes the operator trainable. mitral_call_input and mitral_call_forward_output are what `run` took and gave,
     * mitral_call_output_gradient the gradient of the loss with respect to that output, mitral_call_output(call, i) that with respect to input
     * i, of its type and shape: writes all its elements. NULL stands for a gradient that is zero, and for one that nobody asked for. */
    mitral_status (*gradient)(mitral_call *call, void *user);
    bool impure;              /* run may give something else for the same inputs: never run ahead, never merged */
    void *user;
} mitral_operator;

/* For models that are loaded, compiled and plans that are opened with this context from now on. Comes before a function of that name in a
 * model. MITRAL_INVALID when there is an operator of that domain and name already, or when a function or arity makes no sense. A plan
 * file names the operator: where it is opened, it has to be registered too. Sessions run the functions of the plan's context, which has to
 * outlive the plan. */
MITRAL_API mitral_status mitral_context_register(mitral_context *context, const mitral_operator *description);
/* What a shared library exports under the name mitral_register_operators: it registers its operators with the context and returns the
 * status of that. The commands' option --custom-operators FILE.so loads such a library. */
typedef mitral_status mitral_register_operators_function(mitral_context *context);
/* Loads the shared library at a path and calls its mitral_register_operators. MITRAL_IO when it cannot be loaded, MITRAL_INVALID when it has no
 * such function. It stays loaded as long as the context. Its code runs with all rights of the process: load none that you do not trust. */
MITRAL_API mitral_status mitral_context_load_operators(mitral_context *context, const char *path);

MITRAL_API size_t mitral_call_input_count(const mitral_call *call);
MITRAL_API size_t mitral_call_output_count(const mitral_call *call);
/* NULL for one that is left out. Plain layout always. */
MITRAL_API const mitral_tensor *mitral_call_input(const mitral_call *call, size_t index);
/* NULL for one that nobody asked for. In `run` and `gradient` its elements may be written, at `data`; strings by mitral_call_set_string. */
MITRAL_API const mitral_tensor *mitral_call_output(const mitral_call *call, size_t index);
/* In `gradient`: what `run` gave as output `index`, and its gradient; NULL elsewhere. */
MITRAL_API const mitral_tensor *mitral_call_forward_output(const mitral_call *call, size_t index);
MITRAL_API const mitral_tensor *mitral_call_output_gradient(const mitral_call *call, size_t index);
/* In `run`: element `element` of a string output becomes a copy of these bytes; "" before. From the calling thread alone. */
MITRAL_API mitral_status mitral_call_set_string(mitral_call *call, size_t index, int64_t element, const char *data, size_t size);
/* In `shape`: element type and shape of an output; does nothing for one that nobody asked for. */
MITRAL_API mitral_status mitral_call_set_output(mitral_call *call, size_t index, mitral_dtype dtype, int32_t rank, const int64_t *dims);
/* The node's attributes; `fallback` where there is none of that name and kind. */
MITRAL_API int64_t mitral_call_int(const mitral_call *call, const char *name, int64_t fallback);
MITRAL_API float mitral_call_float(const mitral_call *call, const char *name, float fallback);
MITRAL_API const char *mitral_call_string(const mitral_call *call, const char *name, const char *fallback); /* NUL-terminated */
/* NULL and a count of 0 where there is none. */
MITRAL_API const int64_t *mitral_call_ints(const mitral_call *call, const char *name, size_t *count);
MITRAL_API const float *mitral_call_floats(const mitral_call *call, const char *name, size_t *count);
/* Threads that `run` may use, its own among them. */
MITRAL_API int mitral_call_threads(const mitral_call *call);
/* Makes the call fail, whatever the function returns then: sets the message, "<domain>:<name> '<node>': " in front, and returns `status`
 * (for MITRAL_OK, MITRAL_DEFERRED and what is no status MITRAL_INVALID): `return mitral_call_fail(call, MITRAL_INVALID, "expected …, found …");` */
MITRAL_API mitral_status mitral_call_fail(mitral_call *call, mitral_status status, const char *format, ...) MITRAL_PRINTF(3, 4);

/* ---- model: an ONNX graph ------------------------------------------------------------------------------------------ */

typedef struct mitral_model mitral_model;

/* What is declared of one input or output. A dimension is -1 where it is not fixed; then dim_names[i] is its symbol or "". */
typedef struct mitral_value_info {
    const char *name;
    int32_t kind;
    int32_t dtype;
    int32_t rank; /* -1: not declared */
    int64_t dims[MITRAL_MAX_RANK];
    const char *dim_names[MITRAL_MAX_RANK];
} mitral_value_info;

/* Reads an ONNX file; external data is read from the model's own folder only. All unsupported operators are reported at
 * once in the message. */
MITRAL_API mitral_status mitral_model_load(mitral_model **out, mitral_context *context, const char *path);
/* The same from memory; `folder` (NULL: none) is where external data may lie. `bytes` may be freed after the call. */
MITRAL_API mitral_status mitral_model_parse(mitral_model **out, mitral_context *context, const void *bytes, size_t size,
                                            const char *folder);
/* Writes ONNX, aside and then renamed; the same model gives the same bytes. */
MITRAL_API mitral_status mitral_model_save(mitral_context *context, const mitral_model *model, const char *path);
/* In place: constants folded (threads 0: one), nodes that change nothing taken out, equal ones merged. Still plain ONNX. */
MITRAL_API mitral_status mitral_model_optimize(mitral_context *context, mitral_model *model, int threads);
MITRAL_API void mitral_model_destroy(mitral_model **model);
MITRAL_API size_t mitral_model_input_count(const mitral_model *model);
MITRAL_API size_t mitral_model_output_count(const mitral_model *model);
MITRAL_API mitral_value_info mitral_model_input(const mitral_model *model, size_t index);
MITRAL_API mitral_value_info mitral_model_output(const mitral_model *model, size_t index);
/* The metadata_props entry of that key; NULL when there is none. */
MITRAL_API const char *mitral_model_metadata(const mitral_model *model, const char *key);

/* ---- compile ------------------------------------------------------------------------------------------------------- */

typedef struct mitral_plan mitral_plan;

typedef struct mitral_shape {
    const char *name; /* of an input */
    int32_t rank;
    int64_t dims[MITRAL_MAX_RANK];
} mitral_shape;

/* BF16 is a permission: convolutions and matrix products that gain by it compute in bfloat16 (sums in float32), all else and every output
 * of the model stay float32. On CPUs without bfloat16 arithmetic nothing changes. What was done is logged. */
typedef enum mitral_precision { MITRAL_PRECISION_F32 = 0, MITRAL_PRECISION_BF16 = 1 } mitral_precision;

typedef struct mitral_compile_options {
    const mitral_shape *shapes; /* fixes symbolic dimensions of inputs */
    size_t shape_count;
    mitral_precision precision;
    bool interpret;            /* level 0: one step a node, every value kept */
    bool tune;                 /* time candidate kernels here; the choice is stored */
    const char *const *taps;   /* values kept alive to be read by name after a run */
    size_t tap_count;
    const char *dump_after;    /* name of a pass after which the graph's text goes to `dump`; "all": after each */
    const char *stop_after;    /* name of the last pass to run; then the remaining nodes are lowered as they are */
    void (*dump)(void *user, const char *text);
    void *dump_user;
    int threads;               /* that the choices are made for, at most 4096; 0: all cores */
    bool low_memory;           /* training: values that are cheap to compute again are not kept for the backward half */
} mitral_compile_options;

/* options may be NULL. The model is not changed and not needed afterwards. */
MITRAL_API mitral_status mitral_compile(mitral_plan **out, mitral_context *context, const mitral_model *model,
                                        const mitral_compile_options *options);

/* ---- plan ---------------------------------------------------------------------------------------------------------- */

/* Maps a plan file read-only. Truncated, altered or foreign files are refused with MITRAL_CORRUPT or MITRAL_INVALID. */
MITRAL_API mitral_status mitral_plan_open(mitral_plan **out, mitral_context *context, const char *path);
MITRAL_API mitral_status mitral_plan_save(mitral_context *context, const mitral_plan *plan, const char *path);
/* Hashes the weights too, which mitral_plan_open does not. */
MITRAL_API mitral_status mitral_plan_verify(mitral_context *context, const mitral_plan *plan);
MITRAL_API void mitral_plan_destroy(mitral_plan **plan); /* after its sessions */
MITRAL_API size_t mitral_plan_input_count(const mitral_plan *plan);
MITRAL_API size_t mitral_plan_output_count(const mitral_plan *plan);
MITRAL_API mitral_value_info mitral_plan_input(const mitral_plan *plan, size_t index);
MITRAL_API mitral_value_info mitral_plan_output(const mitral_plan *plan, size_t index);
MITRAL_API const char *mitral_plan_metadata(const mitral_plan *plan, const char *key);

/* ---- session ------------------------------------------------------------------------------------------------------- */

typedef struct mitral_session mitral_session;

typedef struct mitral_session_options {
    int threads;         /* at most 4096; 0: all cores the process may use. On a machine with other work start the process with
                            GOMP_SPINCOUNT=4000, as the command does for itself: threads that wait for each other then leave their cores sooner */
    bool keep_denormals; /* false: flushed to zero in compute threads during a run; the caller's mode is restored */
    bool pin;            /* each thread on a core of its own during a run, of those that the process may use; then the affinity
                            of each, the caller's too, is as before. Linux; elsewhere nothing */
} mitral_session_options;

/* options may be NULL. The plan must outlive the session. For processes that fork see mitral_session_run. */
MITRAL_API mitral_status mitral_session_create(mitral_session **out, mitral_context *context, mitral_plan *plan,
                                               const mitral_session_options *options);
MITRAL_API void mitral_session_destroy(mitral_session **session);
/* inputs[i] is the plan's i-th input; NULL for an optional one that is left out. outputs[i] receives the i-th output: it
 * points into the session's memory and stays valid until the session's next run or destruction. A process that was forked after a run of
 * several threads cannot run with several itself: GNU OpenMP waits forever for threads that fork does not copy. One thread works, and so
 * does all in a process that was forked before. */
MITRAL_API mitral_status mitral_session_run(mitral_session *session, const mitral_value *const *inputs, size_t input_count,
                                            const mitral_value **outputs, size_t output_count);
/* A value kept alive (an output, a tap, or any value of an interpreted plan) after a run; NULL when there is none. */
MITRAL_API const mitral_value *mitral_session_value(const mitral_session *session, const char *name);

#ifdef __cplusplus
}
#endif
#endif
