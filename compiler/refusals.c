#include "compiler/refusals.h"

#include <stdio.h>
#include <string.h>

void refusals_add(struct refusals *refusals, const mitral_context *context, mitral_status status, const char *hint)
{
    if (refusals->count++ == 0)
        refusals->status = status;
    char line[sizeof refusals->text];
    int length = snprintf(line, sizeof line, "%s%s%s%s%s", refusals->shown ? "; " : "", context->message, hint && *hint ? " (" : "",
                          hint ? hint : "", hint && *hint ? ")" : "");
    if (length < 0 || refusals->used + (size_t)length + 1 > sizeof refusals->text || refusals->shown + 1 < refusals->count)
        return; /* the first one that has no room ends the list */
    memcpy(refusals->text + refusals->used, line, (size_t)length + 1);
    refusals->used += (size_t)length;
    refusals->shown++;
}

mitral_status refusals_report(const struct refusals *refusals, mitral_context *context)
{
    if (!refusals->count)
        return MITRAL_OK;
    if (refusals->count == 1)
        return mitral_fail(context, refusals->status, "%s", refusals->text);
    if (refusals->shown < refusals->count)
        return mitral_fail(context, refusals->status, "%zu nodes that cannot run: %s; and %zu more", refusals->count, refusals->text,
                           refusals->count - refusals->shown);
    return mitral_fail(context, refusals->status, "%zu nodes that cannot run: %s", refusals->count, refusals->text);
}

/* The call with all inputs of that type made `dtype`, their elements unknown. */
static bool accepts(const struct kernel_call *call, int32_t from, int32_t dtype)
{
    enum { VALUES = 16 };
    mitral_value inputs[VALUES], outputs[VALUES];
    const mitral_value *input_list[VALUES];
    mitral_value *output_list[VALUES];
    struct kernel_call other = *call;
    if (call->input_count > VALUES || call->output_count > VALUES)
        return false;
    for (size_t i = 0; i < call->input_count; i++) {
        input_list[i] = NULL;
        if (!call->inputs[i])
            continue;
        inputs[i] = *call->inputs[i];
        input_list[i] = &inputs[i];
        if (inputs[i].kind != MITRAL_TENSOR || inputs[i].tensor.dtype != from)
            continue;
        inputs[i].tensor.dtype = dtype;
        inputs[i].tensor.data = NULL;
    }
    for (size_t i = 0; i < call->output_count; i++) {
        outputs[i] = (mitral_value){.kind = MITRAL_TENSOR};
        output_list[i] = call->outputs[i] ? &outputs[i] : NULL;
    }
    other.inputs = input_list;
    other.outputs = output_list;
    const mitral_status status = call->kernel->shape(&other);
    return status == MITRAL_OK || status == MITRAL_DEFERRED;
}

const char *refusals_other_types(const struct kernel_call *call, char *text, size_t size)
{
    static const int32_t candidates[] = {MITRAL_FLOAT, MITRAL_DOUBLE, MITRAL_FLOAT16, MITRAL_BFLOAT16, MITRAL_INT64, MITRAL_INT32, MITRAL_INT8,
                                         MITRAL_UINT8, MITRAL_BOOL, MITRAL_STRING};
    const mitral_tensor *first = call_input(call, 0);
    char message[sizeof call->context->message];
    size_t used = 0;
    text[0] = '\0';
    if (!first)
        return text;
    memcpy(message, call->context->message, sizeof message);
    const int32_t found = first->dtype;
    const bool by_value = accepts(call, found, found); /* what the elements are, and not their type, is refused */
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates && !by_value; i++)
        if (candidates[i] != found && accepts(call, found, candidates[i])) {
            int length = snprintf(text + used, size - used, "%s%s", used ? ", " : "", mitral_dtype_name((mitral_dtype)candidates[i]));
            used = length < 0 || used + (size_t)length >= size ? size - 1 : used + (size_t)length;
        }
    memcpy(call->context->message, message, sizeof message);
    return text;
}
