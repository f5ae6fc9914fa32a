/* Arbitrary bytes as an ONNX model that is compiled both ways and run on small inputs: reaches operators and subgraphs. */
#include "fuzz_plan_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mitral_context *context = fuzz_context();
    mitral_model *model;
    if (mitral_model_parse(&model, context, data, size, NULL) == MITRAL_OK)
        for (int interpret = 0; interpret < 2; interpret++) {
            mitral_plan *plan;
            mitral_compile_options options = {.interpret = interpret, .threads = 1};
            if (mitral_compile(&plan, context, model, &options) == MITRAL_OK)
                fuzz_run_plan(context, plan);
            mitral_plan_destroy(&plan);
        }
    mitral_model_destroy(&model);
    mitral_context_destroy(&context);
    return 0;
}
