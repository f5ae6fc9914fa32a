/* train_batches IMAGES.npy LABELS.npy OUT.onnx OPTION=VALUE…: one step on each batch (images [steps, batch, channels, height, width]
 * float32, labels [steps, batch, height, width] uint8) with the options of mitral/train.h; a JSON line a step on standard output, then the
 * trained model. FOLDER/{adapter,deep}N.{weight,bias}.npy receive the first values of adapters and heads when an option "folder" is given. */
#include <stdio.h>
#include <string.h>

#include "mitral/tools.h"
#include "training/trainer.h"

static int fail(mitral_context *context, const char *what)
{
    fprintf(stderr, "%s: %s\n", what, mitral_context_message(context));
    return 1;
}

static void print_report(int64_t step, const struct step_report *report)
{
    printf("{\"step\": %lld, \"loss\": %.9g, \"norm\": %.9g", (long long)step, report->loss, report->norm);
    for (size_t i = 0; i < report->term_count; i++)
        printf(", \"%s\": %.9g", report->names[i], report->terms[i]);
    puts("}");
}

static mitral_status save_adapters(mitral_context *context, struct trainer *trainer, const char *folder)
{
    const char *name;
    mitral_tensor *tensor;
    char path[4096];
    for (size_t i = 0; trainer_variable(trainer, i, &name, &tensor); i++) {
        if (strncmp(name, "adapter", 7) != 0 && strncmp(name, "deep", 4) != 0)
            continue;
        const mitral_value value = {.kind = MITRAL_TENSOR, .tensor = *tensor};
        snprintf(path, sizeof path, "%s/%s.npy", folder, name);
        TRY(mitral_value_save(context, &value, name, path));
    }
    return MITRAL_OK;
}

int main(int argc, char **argv)
{
    mitral_context *context;
    static struct options options;
    mitral_value *images = NULL, *labels = NULL;
    struct trainer trainer;
    struct step_report report;
    const char *folder = NULL;
    if (argc < 4 || mitral_context_create(&context, NULL) != MITRAL_OK || options_initialise(&options, context) != MITRAL_OK)
        return 64;
    for (int i = 4; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (!equals)
            return 64;
        *equals = 0;
        if (strcmp(argv[i], "folder") == 0)
            folder = equals + 1;
        else if (options_set(&options, context, argv[i], equals + 1) != MITRAL_OK)
            return fail(context, argv[i]);
    }
    if (mitral_value_load(&images, context, argv[1], MITRAL_TENSOR) != MITRAL_OK
        || mitral_value_load(&labels, context, argv[2], MITRAL_TENSOR) != MITRAL_OK)
        return fail(context, "batches");
    const int64_t parts = options.accumulate, steps = images->tensor.dims[0];
    options.batch = images->tensor.dims[1];
    if (trainer_create(&trainer, context, &options) != MITRAL_OK)
        return fail(context, "trainer");
    if (folder && save_adapters(context, &trainer, folder) != MITRAL_OK)
        return fail(context, folder);
    const int64_t image_count = tensor_count(&images->tensor) / steps, label_count = tensor_count(&labels->tensor) / steps;
    for (int64_t i = 0; i < steps; i++) {
        if (trainer_step(&trainer, &report, (const float *)images->tensor.data + i * image_count,
                         (const uint8_t *)labels->tensor.data + i * label_count, NULL, i / parts, i % parts == 0,
                         i % parts == parts - 1) != MITRAL_OK)
            return fail(context, "step");
        print_report(i, &report);
    }
    if (trainer_export(&trainer, argv[3]) != MITRAL_OK)
        return fail(context, argv[3]);
    trainer_clear(&trainer);
    mitral_value_destroy(&images);
    mitral_value_destroy(&labels);
    mitral_context_destroy(&context);
    return 0;
}
