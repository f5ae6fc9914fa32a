/* Operators that ONNX does not have, of domain com.example, and a program that runs a model with them:
 * MeanThreshold marks the elements of each plane (the last two axes) that are above `factor` times the plane's mean;
 * SoftClip is limit * tanh(x / limit), and can be trained.
 *
 *     cc custom_operator.c -lm -lmitral -o custom_operator && ./custom_operator model.onnx
 *
 * As a library, for every command of mitral that loads a model:
 *
 *     cc -shared -fPIC custom_operator.c -lm -o operators.so && mitral run model.onnx --custom-operators operators.so */
#include <math.h>
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

static mitral_status clip_shape(mitral_call *call, void *user)
{
    (void)user;
    const mitral_tensor *x = mitral_call_input(call, 0);
    if (x->dtype != MITRAL_FLOAT)
        return mitral_call_fail(call, MITRAL_UNSUPPORTED, "expected a float32 input, found %s", mitral_dtype_name((mitral_dtype)x->dtype));
    return mitral_call_set_output(call, 0, MITRAL_FLOAT, x->rank, x->dims);
}

static mitral_status clip_run(mitral_call *call, void *user)
{
    (void)user;
    const mitral_tensor *x = mitral_call_input(call, 0), *y = mitral_call_output(call, 0);
    float limit = mitral_call_float(call, "limit", 1);
    for (int64_t i = 0; i < mitral_tensor_count(x); i++)
        ((float *)y->data)[i] = limit * tanhf(((const float *)x->data)[i] / limit);
    return MITRAL_OK;
}

/* dx = dy * (1 - (y / limit)^2) */
static mitral_status clip_gradient(mitral_call *call, void *user)
{
    (void)user;
    const float *y = mitral_call_forward_output(call, 0)->data, *dy = mitral_call_output_gradient(call, 0)->data;
    const mitral_tensor *dx = mitral_call_output(call, 0);
    float limit = mitral_call_float(call, "limit", 1);
    for (int64_t i = 0; i < mitral_tensor_count(dx); i++)
        ((float *)dx->data)[i] = dy[i] * (1 - y[i] / limit * (y[i] / limit));
    return MITRAL_OK;
}

MITRAL_API mitral_register_operators_function mitral_register_operators;

/* What --custom-operators looks for in a library. */
mitral_status mitral_register_operators(mitral_context *context)
{
    const mitral_operator threshold = {.domain = "com.example", .name = "MeanThreshold", .min_inputs = 1, .max_inputs = 1,
                                       .min_outputs = 1, .max_outputs = 1, .shape = threshold_shape, .run = threshold_run};
    const mitral_operator clip = {.domain = "com.example", .name = "SoftClip", .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
                                  .max_outputs = 1, .shape = clip_shape, .run = clip_run, .gradient = clip_gradient};
    mitral_status status = mitral_context_register(context, &threshold);
    return status == MITRAL_OK ? mitral_context_register(context, &clip) : status;
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
    mitral_status status = mitral_register_operators(context);
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
