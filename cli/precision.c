#include "cli/precision.h"

#include <math.h>
#include <stdlib.h>

#include "cli/inputs.h"
#include "mitral/tools.h"

static bool is_open(const mitral_plan *plan)
{
    for (size_t i = 0; i < mitral_plan_input_count(plan); i++) {
        const mitral_value_info info = mitral_plan_input(plan, i);
        if (info.rank < 0)
            return true;
        for (int32_t d = 0; d < info.rank; d++)
            if (info.dims[d] < 0)
                return true;
    }
    return false;
}

static mitral_status run(mitral_session **session, mitral_context *context, mitral_plan *plan, mitral_value *const *values,
                         const mitral_value **outputs)
{
    mitral_status status = mitral_session_create(session, context, plan, NULL);
    return status == MITRAL_OK ? mitral_session_run(*session, (const mitral_value *const *)values, mitral_plan_input_count(plan), outputs,
                                                    mitral_plan_output_count(plan))
                               : status;
}

static void state_output(const char *name, const mitral_tensor *rounded, const mitral_tensor *exact)
{
    if (rounded->dtype != MITRAL_FLOAT || exact->dtype != MITRAL_FLOAT)
        return;
    double change = 0, low = INFINITY, high = -INFINITY;
    for (int64_t i = 0, count = mitral_tensor_count(exact); i < count; i++) {
        const double a = (double)((const float *)rounded->data)[i], b = (double)((const float *)exact->data)[i];
        change = fmax(change, fabs(a - b));
        low = fmin(low, b);
        high = fmax(high, b);
    }
    printf("bf16: output '%s' changes by at most %.3g on a sample of standard-normal inputs, %.2f %% of its range there\n", name, change,
           high > low ? 100 * change / (high - low) : 0);
}

mitral_status cli_state_precision(mitral_context *context, const mitral_model *model, const mitral_compile_options *options,
                                  mitral_plan *plan)
{
    if (options->precision != MITRAL_PRECISION_BF16)
        return MITRAL_OK;
    if (is_open(plan)) {
        printf("bf16: inputs have open dimensions; with --shape the largest change of the outputs is measured on a sample\n");
        return MITRAL_OK;
    }
    mitral_compile_options plain = *options;
    plain.precision = MITRAL_PRECISION_F32;
    plain.dump = NULL;
    const size_t inputs = mitral_plan_input_count(plan), count = mitral_plan_output_count(plan);
    mitral_value *values[CLI_MAX_INPUTS] = {0};
    const mitral_value **outputs = calloc(2 * count + 1, sizeof *outputs);
    mitral_plan *exact = NULL;
    mitral_session *sessions[2] = {NULL};
    mitral_status status = outputs && inputs <= CLI_MAX_INPUTS ? mitral_compile(&exact, context, model, &plain) : MITRAL_LIMIT;
    for (size_t i = 0; i < inputs && status == MITRAL_OK; i++) {
        const mitral_value_info info = mitral_plan_input(plan, i);
        status = mitral_value_random(&values[i], context, &info, 1 + i);
    }
    if (status == MITRAL_OK)
        status = run(&sessions[0], context, plan, values, outputs);
    if (status == MITRAL_OK)
        status = run(&sessions[1], context, exact, values, outputs + count);
    for (size_t i = 0; i < count && status == MITRAL_OK; i++)
        if (outputs[i] && outputs[count + i] && outputs[i]->kind == MITRAL_TENSOR)
            state_output(mitral_plan_output(plan, i).name, &outputs[i]->tensor, &outputs[count + i]->tensor);
    mitral_session_destroy(&sessions[0]);
    mitral_session_destroy(&sessions[1]);
    mitral_plan_destroy(&exact);
    cli_inputs_close(values);
    free(outputs);
    return status;
}
