/* What the command-line tools need beyond mitral.h: values in files, comparison, descriptions, profiles. */
#ifndef MITRAL_TOOLS_H
#define MITRAL_TOOLS_H

#include "mitral.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- values in files ------------------------------------------------------------------------------------------------
 * .npy (NumPy's format 1.0–3.0, C or Fortran order, either byte order; no pickled objects) or .pb (an ONNX TensorProto, or for
 * `kind` sequence, optional and map the proto of that kind). By content: .npy files start with its magic. */
MITRAL_API mitral_status mitral_value_load(mitral_value **out, mitral_context *context, const char *path, mitral_kind kind);
MITRAL_API void mitral_value_destroy(mitral_value **value); /* of mitral_value_load and mitral_value_random only */
/* Written aside, then renamed. A path that ends in .npy takes tensors of the types that NumPy has; any other gets a proto with
 * `name` inside. */
MITRAL_API mitral_status mitral_value_save(mitral_context *context, const mitral_value *value, const char *name, const char *path);
/* Whether .npy can hold the value. */
MITRAL_API bool mitral_value_fits_npy(const mitral_value *value);
/* Standard-normal numbers (floats), 0 … 9 (integers), both values (bool) from a fixed seed; unknown dimensions are 1. */
MITRAL_API mitral_status mitral_value_random(mitral_value **out, mitral_context *context, const mitral_value_info *info, uint64_t seed);

/* Equal as ONNX's backend tests compare: same type and shape, |got - want| <= atol + rtol |want|, NaN equal to NaN, strings equal.
 * Otherwise false, and the first difference in one line in `reason`. */
MITRAL_API bool mitral_value_equal(const mitral_value *got, const mitral_value *want, double rtol, double atol, char *reason,
                                   size_t reason_size);

/* ---- descriptions: text or JSON, one string, freed with mitral_text_destroy ------------------------------------------ */

MITRAL_API mitral_status mitral_model_describe(char **out, mitral_context *context, const mitral_model *model, bool json);
/* Steps with kernel and chosen implementation, shapes, constants, the arena against its lower bound (static shapes), bound for that
 * many threads (0: those that the plan was compiled for). */
MITRAL_API mitral_status mitral_plan_describe(char **out, mitral_context *context, mitral_plan *plan, int threads, bool json);
MITRAL_API void mitral_text_destroy(mitral_context *context, char **text);

/* ---- messages -------------------------------------------------------------------------------------------------------- */

/* Puts "SUBJECT: " in front of the context's message when `status` is an error: the file that it is about, where the caller alone
 * knows it. Returns `status`. */
MITRAL_API mitral_status mitral_context_about(mitral_context *context, mitral_status status, const char *subject);

/* ---- profiles -------------------------------------------------------------------------------------------------------- */

/* Makes all that the first run would make (shapes, primitives, memory) for inputs of those shapes; data is not read. */
MITRAL_API mitral_status mitral_session_prepare(mitral_session *session, const mitral_value *const *inputs, size_t input_count);
/* From now on each run records the seconds of its steps. */
MITRAL_API mitral_status mitral_session_profile(mitral_session *session, bool on);
/* Seconds spent in each step by the last run; *count is the plan's number of steps. NULL when profiling is off. */
MITRAL_API const double *mitral_session_step_seconds(const mitral_session *session, size_t *count);

typedef struct mitral_step_info {
    const char *name;           /* of the node */
    const char *kernel;
    const char *implementation; /* what the kernel chose, "" when it does not say */
    double flops;               /* of one run; 0 when not stated */
    double bytes;               /* of inputs, constants and outputs */
} mitral_step_info;
/* After a run or mitral_session_prepare. */
MITRAL_API mitral_step_info mitral_session_step(const mitral_session *session, size_t index);

/* Peak rates of this machine with that many threads, measured in about a second: FMA FLOP/s (f32) and bytes/s of a copy from
 * memory that is larger than the caches. */
MITRAL_API void mitral_measure_machine(int threads, double *flops, double *bytes);

#ifdef __cplusplus
}
#endif
#endif
