/* Runs a model with an operator that ONNX does not have: MeanThreshold of domain com.example, which marks the elements of each
 * plane (the last two axes) that are above `factor` times the plane's mean.
 *
 *     cc custom_operator.c -lmitral -o custom_operator && ./custom_operator model.onnx */
#include <mitral.h>
#include <stdio.h>
#include <stdlib.h>

/* What comes out, of what goes in: the same shape, as bytes of true and false. */
static mitral_status threshold_shape(mitral_call *call, void *user)
{
    (void)user;
    const mitral_tensor *image = mitral_call_input(call, 0);
    if (image->dtype != MITRAL_FLOAT || image->rank < 2)
        return mitral_call_fail(call, MITRAL_UNSUPPORTED, "expected a float32 input of rank 2 or more, found %s of rank %d",
                                mitral_dtype_name((mitral_dtype)image->dtype), (int)image->rank);
    return mitral_call_set_output(call, 0, MITRAL_BOOL, image->rank, image->dims);
}

static mitral_status threshold_run(mitral_call *call, void *user)
{
    (void)user;
    const mitral_tensor *image = mitral_call_input(call, 0), *mask = mitral_call_output(call, 0);
    float factor = mitral_call_float(call, "factor", 1);
    int64_t plane = image->dims[image->rank - 1] * image->dims[image->rank - 2], count = mitral_tensor_count(image);
    for (int64_t start = 0; start < count; start += plane) {
        const float *in = (const float *)image->data + start;
        bool *out = (bool *)mask->data + start;
        double sum = 0;
        for (int64_t i = 0; i < plane; i++)
            sum += in[i];
        for (int64_t i = 0; i < plane; i++)
            out[i] = in[i] > factor * sum / (double)plane;
    }
    return MITRAL_OK;
}

static int fail(mitral_context *context)
{
    fprintf(stderr, "custom_operator: %s\n", mitral_context_message(context));
    return 1;
}

int main(int argc, char **argv)
{
    mitral_context *context = NULL;
    mitral_model *model = NULL;
    mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    if (argc != 2 || mitral_context_create(&context, NULL) != MITRAL_OK)
        return 1;

    /* Before the model is loaded, or a plan that was compiled from it is opened. */
    const mitral_operator threshold = {.domain = "com.example", .name = "MeanThreshold", .min_inputs = 1, .max_inputs = 1,
                                       .min_outputs = 1, .max_outputs = 1, .shape = threshold_shape, .run = threshold_run};
    if (mitral_context_register(context, &threshold) != MITRAL_OK || mitral_model_load(&model, context, argv[1]) != MITRAL_OK
        || mitral_compile(&plan, context, model, NULL) != MITRAL_OK
        || mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = 1}) != MITRAL_OK)
        return fail(context);
    mitral_model_destroy(&model);

    /* Two images of made-up intensities. */
    mitral_value image = {.tensor = {.dtype = MITRAL_FLOAT, .rank = 4, .dims = {2, 1, 16, 16}}};
    int64_t count = mitral_tensor_count(&image.tensor);
    float *pixels = image.tensor.data = calloc((size_t)count, sizeof *pixels);
    if (!pixels)
        return 1;
    for (int64_t i = 0; i < count; i++)
        pixels[i] = (float)(i * i % 23);
    const mitral_value *inputs[] = {&image}, *outputs[1];
    if (mitral_session_run(session, inputs, 1, outputs, 1) != MITRAL_OK)
        return fail(context);
    const float *above = outputs[0]->tensor.data;
    for (int64_t i = 0; i < outputs[0]->tensor.dims[0]; i++)
        printf("image %d: %.0f pixels above the threshold\n", (int)i, above[i]);

    free(pixels);
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    mitral_context_destroy(&context);
    return 0;
}
