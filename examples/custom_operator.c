/* Runs a model with an operator that ONNX does not have: MeanThreshold of domain com.example, which marks the elements of each
 * plane (the last two axes) that are above `factor` times the plane's mean.
 *
 *     cc custom_operator.c -lmitral -o custom_operator && ./custom_operator model.onnx */
#include <mitral.h>
#include <stdio.h>

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

/* Two images of made-up intensities. */
static mitral_status count_pixels(mitral_session *session)
{
    enum { IMAGES = 2, SIZE = 16 };
    float pixels[IMAGES * SIZE * SIZE];
    for (int i = 0; i < IMAGES * SIZE * SIZE; i++)
        pixels[i] = (float)(i * i % 23);
    const mitral_value image = {.tensor = {.dtype = MITRAL_FLOAT, .rank = 4, .dims = {IMAGES, 1, SIZE, SIZE}, .data = pixels}};
    const mitral_value *inputs[] = {&image}, *outputs[1];
    mitral_status status = mitral_session_run(session, inputs, 1, outputs, 1);
    for (int i = 0; status == MITRAL_OK && i < IMAGES; i++)
        printf("image %d: %.0f pixels above the threshold\n", i, ((const float *)outputs[0]->tensor.data)[i]);
    return status;
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
    mitral_status status = mitral_context_register(context, &threshold);
    if (status == MITRAL_OK)
        status = mitral_model_load(&model, context, argv[1]);
    if (status == MITRAL_OK)
        status = mitral_compile(&plan, context, model, NULL);
    if (status == MITRAL_OK)
        status = mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = 1});
    if (status == MITRAL_OK)
        status = count_pixels(session);
    if (status != MITRAL_OK)
        fprintf(stderr, "custom_operator: %s\n", mitral_context_message(context));

    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    mitral_model_destroy(&model);
    mitral_context_destroy(&context);
    return status != MITRAL_OK;
}
