/* Compiles a segmentation model, runs it on one slice of made-up intensities and counts the pixels of each class.
 *
 *     cc segment_slice.c -lmitral -o segment_slice && ./segment_slice student.onnx */
#include <mitral.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIZE = 224 };

static int fail(mitral_context *context)
{
    fprintf(stderr, "segment_slice: %s\n", mitral_context_message(context));
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

    /* ONNX to plan: the symbolic batch is fixed to one slice. */
    if (mitral_model_load(&model, context, argv[1]) != MITRAL_OK)
        return fail(context);
    mitral_shape shape = {.name = mitral_model_input(model, 0).name, .rank = 4, .dims = {1, 1, SIZE, SIZE}};
    mitral_compile_options options = {.shapes = &shape, .shape_count = 1};
    if (mitral_compile(&plan, context, model, &options) != MITRAL_OK)
        return fail(context);
    mitral_model_destroy(&model); /* the plan stands alone */

    /* A plan may serve many threads; each has its own session. */
    if (mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = 1}) != MITRAL_OK)
        return fail(context);
    float *pixels = calloc(SIZE * SIZE, sizeof *pixels);
    for (int i = 0; i < SIZE * SIZE; i++)
        pixels[i] = (float)((i % SIZE) * (i / SIZE) % 7) / 3.5f - 1;
    mitral_value image = {.tensor = {.dtype = MITRAL_FLOAT, .rank = 4, .dims = {1, 1, SIZE, SIZE}, .data = pixels}};
    const mitral_value *inputs[] = {&image}, *outputs[1];
    if (mitral_session_run(session, inputs, 1, outputs, 1) != MITRAL_OK)
        return fail(context);

    /* The output points into the session's memory until its next run. */
    const mitral_tensor *logits = &outputs[0]->tensor;
    const float *scores = logits->data;
    long counts[16] = {0};
    for (int i = 0; i < SIZE * SIZE; i++) {
        int best = 0;
        for (int c = 1; c < logits->dims[1] && c < 16; c++)
            if (scores[c * SIZE * SIZE + i] > scores[best * SIZE * SIZE + i])
                best = c;
        counts[best]++;
    }
    for (int c = 0; c < logits->dims[1] && c < 16; c++)
        printf("class %d: %ld pixels\n", c, counts[c]);

    free(pixels);
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    mitral_context_destroy(&context);
    return 0;
}
