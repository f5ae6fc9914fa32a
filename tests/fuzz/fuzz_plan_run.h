/* A plan run on small inputs of the declared types. */
#ifndef MITRAL_TESTS_FUZZ_PLAN_RUN_H
#define MITRAL_TESTS_FUZZ_PLAN_RUN_H

#include <string.h>

#include "fuzz.h"
#include "runtime/tensor.h"

enum { FUZZ_MOST_INPUTS = 16, FUZZ_MOST_BYTES = 1 << 16 };

/* A value of what is declared, of sizes no larger than a few; false when there is none so small. */
static inline bool fuzz_make_value(const mitral_value_info *info, mitral_value *out, char *memory)
{
    *out = (mitral_value){.kind = info->kind};
    if (info->kind != MITRAL_TENSOR)
        return info->kind == MITRAL_SEQUENCE || info->kind == MITRAL_OPTIONAL; /* empty */
    int64_t dims[MITRAL_MAX_RANK];
    for (int32_t i = 0; i < info->rank; i++)
        dims[i] = info->dims[i] < 0 ? 2 : info->dims[i];
    tensor_set(&out->tensor, info->dtype ? info->dtype : MITRAL_FLOAT, info->rank < 0 ? 0 : info->rank, dims);
    int64_t bytes = mitral_tensor_size(&out->tensor);
    if (bytes < 0 || bytes > FUZZ_MOST_BYTES)
        return false;
    out->tensor.data = memory;
    memset(memory, 0, (size_t)bytes);
    if (info->dtype == MITRAL_STRING)
        for (int64_t i = 0; i < tensor_count(&out->tensor); i++)
            ((mitral_string *)out->tensor.data)[i] = (mitral_string){"text", 4};
    else if (info->dtype != MITRAL_COMPLEX64 && info->dtype != MITRAL_COMPLEX128)
        for (int64_t i = 0; i < tensor_count(&out->tensor); i++)
            tensor_set_double(&out->tensor, i, (double)(i % 5), true);
    return true;
}

static inline void fuzz_run_plan(mitral_context *context, mitral_plan *plan)
{
    size_t count = mitral_plan_input_count(plan), outputs = mitral_plan_output_count(plan);
    mitral_value values[FUZZ_MOST_INPUTS];
    const mitral_value *inputs[FUZZ_MOST_INPUTS], *results[FUZZ_MOST_INPUTS];
    if (count > FUZZ_MOST_INPUTS || outputs > FUZZ_MOST_INPUTS)
        return;
    char *memory = aligned_alloc(64, FUZZ_MOST_INPUTS * FUZZ_MOST_BYTES);
    bool small = memory != NULL;
    for (size_t i = 0; i < count && small; i++) {
        mitral_value_info info = mitral_plan_input(plan, i);
        small = fuzz_make_value(&info, &values[i], memory + i * FUZZ_MOST_BYTES);
        inputs[i] = &values[i];
    }
    mitral_session *session = NULL;
    if (small && mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = 1}) == MITRAL_OK)
        for (int run = 0; run < 2; run++) /* the second one on what the first left */
            (void)mitral_session_run(session, inputs, count, results, outputs);
    mitral_session_destroy(&session);
    free(memory);
}

#endif
