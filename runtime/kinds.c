#include "runtime/kinds.h"

#include <string.h>

const char *kind_name(int32_t kind)
{
    static const char *const names[] = {[MITRAL_TENSOR] = "tensor", [MITRAL_SEQUENCE] = "sequence", [MITRAL_OPTIONAL] = "optional",
                                        [MITRAL_MAP] = "map"};
    return kind >= 0 && (size_t)kind < sizeof names / sizeof *names ? names[kind] : "value of an unknown kind";
}

static bool knows_other_kinds(const struct kernel *kernel)
{
    static const char *const names[] = {"Identity",        "If",           "Loop",         "Scan",           "SequenceMap",
                                        "SequenceEmpty",   "SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceAt",
                                        "SequenceLength",  "SplitToSequence", "ConcatFromSequence", "Optional",
                                        "OptionalGetElement", "OptionalHasElement", "ml.CastMap", "ml.DictVectorizer", "ml.ZipMap"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], kernel->name) == 0)
            return true;
    return false;
}

static mitral_status check_list(mitral_context *context, const struct mitral_plan *plan, const struct step *step, const char *what,
                                const uint32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] != NO_ID && plan->values[ids[i]].kind != MITRAL_TENSOR && !knows_other_kinds(step->kernel))
            return mitral_fail(context, MITRAL_INVALID, "%s '%s': expected a tensor as %s %zu, found a %s", step->kernel->name, step->name,
                               what, i, kind_name(plan->values[ids[i]].kind));
    return MITRAL_OK;
}

mitral_status kinds_check_step(mitral_context *context, const struct mitral_plan *plan, const struct step *step)
{
    for (size_t i = 0; i < step->input_count && !step->kernel->packed; i++)
        if (step->inputs[i] != NO_ID && plan->values[step->inputs[i]].constant.layout == LAYOUT_PACKED)
            return mitral_fail(context, MITRAL_INVALID, "%s '%s': expected a plain tensor as input %zu, found packed weights",
                               step->kernel->name, step->name, i);
    TRY(check_list(context, plan, step, "input", step->inputs, step->input_count));
    return check_list(context, plan, step, "output", step->outputs, step->output_count);
}

mitral_status kinds_check_results(mitral_context *context, const struct mitral_plan *plan, const struct step *step, const mitral_value *values)
{
    for (size_t i = 0; i < step->output_count; i++) {
        if (step->outputs[i] == NO_ID)
            continue;
        const int32_t expected = plan->values[step->outputs[i]].kind, found = values[step->outputs[i]].kind;
        if (expected != found && expected != MITRAL_OPTIONAL) /* an element stands for an optional that holds it */
            return mitral_fail(context, MITRAL_INVALID, "%s '%s': expected a %s as output %zu, found a %s", step->kernel->name, step->name,
                               kind_name(expected), i, kind_name(found));
    }
    return MITRAL_OK;
}
