/* Until their own files are here. */
#include "compiler/export.h"
#include "runtime/plan.h"

__attribute__((weak)) mitral_status export_onnx(mitral_context *context, const struct graph *graph, const char *path)
{
    (void)graph;
    return mitral_fail(context, MITRAL_UNSUPPORTED, "%s: no export yet", path);
}
__attribute__((weak)) mitral_status mitral_plan_open(mitral_plan **out, mitral_context *context, const char *path)
{
    *out = NULL;
    return mitral_fail(context, MITRAL_UNSUPPORTED, "%s: no plan files yet", path);
}
__attribute__((weak)) mitral_status mitral_plan_save(mitral_context *context, const mitral_plan *plan, const char *path)
{
    (void)plan;
    return mitral_fail(context, MITRAL_UNSUPPORTED, "%s: no plan files yet", path);
}
__attribute__((weak)) mitral_status mitral_plan_verify(mitral_context *context, const mitral_plan *plan)
{
    (void)plan;
    return mitral_fail(context, MITRAL_UNSUPPORTED, "no plan files yet");
}
